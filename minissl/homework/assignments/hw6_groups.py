"""Homework 6, a batch with labels as a whole: tasks 6.5 to 6.7."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.tensor import Tensor
from minissl.homework.assignments import hw6_oracle as oracle
from minissl.homework.assignments.differences import check_gradients
from minissl.homework.task import Draw, Task, Wrong, call, expect, expect_error

HIDDEN = (
    "same_and_different", "labels_beside", "_reduced", "_check_rows", "with_temperature", "fused",
    "gpu",
)  # fmt: skip

# ---- 6.5 lifted_structured_loss ------------------------------------------------------------------

lifted = Task(
    "6.5",
    "minissl.losses.metric:lifted_structured_loss",
    "a pair against all its negatives",
    "lectures/12, section 13",
    hides=HIDDEN,
)
supcon = Task(
    "6.6",
    "minissl.losses.supervised:supcon_loss",
    "contrast with labels",
    "lectures/12, section 14",
    hides=HIDDEN,
)
soft_nearest = Task(
    "6.7",
    "minissl.losses.supervised:soft_nearest_neighbor_loss",
    "how much of the softmax is one's own",
    "lectures/12, section 14",
    hides=HIDDEN,
)


def _batches(draw: Draw, *fixed: list[int], most: int = 3) -> Any:
    """(rows, labels), the smallest first; the last of several rows may be the first once more."""

    def more(generator: np.random.Generator) -> list[int]:
        labels: list[int] = generator.integers(0, most, 5).tolist()
        return labels

    for labels in draw.cases(*fixed, more=more):
        yield draw.normal(len(labels), 3), labels


WITH_PAIRS = ([0, 0, 1], [0, 1, 0, 2, 0], [0, 1, 0, 1])


def _loss(subject: Any, labels: list[int], **options: Any) -> Any:
    """The loss as a function of the rows."""
    return lambda rows: subject(rows, np.array(labels), **options)


@lifted.check(3)
def a_pair_and_its_negatives(subject: Any, draw: Draw) -> None:
    """½ max(0, J)² of every pair i < j of one label; the mean over these pairs."""
    for rows, labels in _batches(draw, *WITH_PAIRS):
        for margin, scale in ((1.0, 0.4), (2.5, 0.4), (0.5, 2.0)):
            rows = scale * draw.normal(*rows.shape)  # near ones have a loss, far ones often none
            right = oracle.lifted(rows, labels, margin)

            def wrong(rows: NDArray = rows, labels: Any = labels, m: float = margin, **how: Any):
                found = oracle.lifted(rows, labels, m, **how)
                return float(found.mean()) if len(found) else 0.0

            symptoms = {
                "only the negatives of i were taken: those of j push, too": wrong(both_ends=False),
                "plain distances are meant, not squares": wrong(measure=oracle.square),
                "the half is missing": wrong(finish=lambda j: max(0.0, j) ** 2),
                "the square is missing": wrong(finish=lambda j: max(0.0, j) / 2),
                "max(0, ...) is missing: a pair whose J is below 0 has no loss": wrong(
                    finish=lambda j: j**2 / 2
                ),
                "the margin is given: it need not be 1": wrong(m=1.0),
                "the sum over the pairs was taken, not the mean": right.sum(),
                "divided by the rows, not by the pairs": right.sum() / len(rows),
                "divided by twice the pairs: i < j, each once": right.sum()
                / max(2 * len(right), 1),
            }
            given = {"embeddings": rows, "labels": labels, "margin": margin}
            got = call(_loss(subject, labels, margin=margin), Tensor(rows))
            expect(got, wrong(), given=given, symptoms=symptoms)
    rows, labels = draw.normal(5, 2), [1, 0, 1, 0, 1]
    right = np.sort(oracle.lifted(rows, labels, 1.0))
    got = call(_loss(subject, labels, reduction="none"), Tensor(rows))
    if np.shape(got) != right.shape:
        sentence = "reduction='none' gives a number for each pair i < j of one label"
        raise Wrong(sentence, {"labels": labels}, got, right)
    given = {"embeddings": rows, "labels": labels, "reduction": "none, sorted here"}
    expect(np.sort(np.asarray(got.numpy())), right, given=given)


@lifted.check(2)
def without_a_pair(subject: Any, draw: Draw) -> None:
    """Without a pair of one label the mean is 0; a pair without any negative has no loss."""
    for rows, labels in _batches(draw, [4], [0, 1], [2, 2], [1, 1, 1], most=9):
        found = oracle.lifted(rows, labels, 1.0)
        right = float(found.mean()) if len(found) else 0.0
        given = {"embeddings": rows, "labels": labels}
        sentence = "what is the mean of no pair, and the logarithm of no negative?"
        expect(call(_loss(subject, labels), Tensor(rows)), right, given=given, otherwise=sentence)
    for margin in (0.0, -1.0, math.inf):
        expect_error(ValueError, _loss(subject, [0, 0], margin=margin), Tensor(np.ones((2, 1))))
    expect_error(ValueError, _loss(subject, [0]), Tensor(np.ones((2, 1))))


@lifted.check(1)
def far_negatives(subject: Any, draw: Draw) -> None:
    """Where e^(margin − d) has no digits left, J has: on a line at 0, 1000 and 2000."""
    rows = np.array([[0.0], [1000.0], [2000.0]])
    sentence = "e^(−1000) is 0 and its logarithm −∞: use logsumexp, which takes the largest out"
    for labels, right in (([0, 0, 1], 0.5), ([0, 1, 0], (1001 + math.log(2)) ** 2 / 2)):
        given = {"embeddings": rows, "labels": labels}
        got = call(_loss(subject, labels), Tensor(rows))
        expect(got, right, given=given, otherwise=sentence)


@lifted.check(2)
def slopes_of_the_lifted_loss(subject: Any, draw: Draw) -> None:
    """The gradient is right, also with an example twice in the batch and with singletons."""
    for rows, labels in _batches(draw, *WITH_PAIRS, [0, 0], [0, 1]):
        while any(0 < abs(x) < 0.02 for x in oracle.lifted(rows, labels, 2.0)):
            rows = rows + draw.normal(*rows.shape)  # away from the kink

        def right(rows: NDArray, labels: list[int] = labels) -> float:
            found = oracle.lifted(rows, labels, 2.0)
            return float(found.mean()) if len(found) else 0.0

        for twice in (False, True):
            rows = rows.copy()
            if twice:
                rows[-1] = rows[0]
            hint = "a distance of 0 has no slope, it must not have NaN" if twice else ""
            check_gradients(
                _loss(subject, labels, margin=2.0), right, {"embeddings": rows}, hint=hint,
                tolerance=1e-4 if twice else 1e-6,  # beside the kink of a distance of 0
            )  # fmt: skip


# ---- 6.6 supcon_loss -----------------------------------------------------------------------------

BATCHES = ([0, 0], [0, 0, 1], [1, 0, 1, 0], [0, 1, 0, 0, 1], [0, 0, 0, 1, 2])


def _check_supcon(subject: Any, draw: Draw, logarithm: str, mean: Any, other: Any) -> None:
    name = {"outside": "L_out", "inside": "L_in"}
    last = "inside" if logarithm == "outside" else "outside"
    for rows, labels in _batches(draw, *BATCHES):
        temperature = float(draw.generator.uniform(0.2, 0.9))
        cosines = oracle.cosines(rows)

        def of(logits: NDArray, mean: Any = mean, labels: Any = labels, **how: Any) -> float:
            return oracle.counted(oracle.found(logits, labels, mean, **how))

        logits = cosines / temperature
        losses = oracle.found(logits, labels, mean)
        mistakes = {
            f"this is {name[last]}: where does the logarithm stand, before the mean over the "
            "positives or after it?": of(logits, other),
            "the positives were added up: divide by how many a row has": of(
                logits, math.fsum if logarithm == "outside" else oracle.log_sum
            ),
            "a row is no candidate of itself: mask the diagonal": of(logits, itself=True),
            "the other positives stand below the fraction, too: all rows but i": of(
                logits, own=False
            ),
            "the temperature was forgotten": of(cosines),
            "multiplied by the temperature instead of divided": of(cosines * temperature),
            "inner products were used, not cosines": of(rows @ rows.T / temperature),
            "a row without a positive does not count in the mean": float(
                oracle.all_rows(losses).mean()
            ),
            "the sum over the rows was taken, not the mean": float(oracle.all_rows(losses).sum()),
            "the sign is wrong": -oracle.counted(losses),
        }
        given = {"features": rows, "labels": labels, "temperature": temperature}
        given["logarithm"] = logarithm
        options = {"temperature": temperature, "logarithm": logarithm}
        got = call(_loss(subject, labels, **options), Tensor(rows))
        expect(got, oracle.counted(losses), given=given, symptoms=mistakes)
        got = call(_loss(subject, labels, **options, reduction="none"), Tensor(rows))
        expect(got, oracle.all_rows(losses), given={**given, "reduction": "none"})


@supcon.check(3)
def logarithm_outside(subject: Any, draw: Draw) -> None:
    """L_out, the default: minus the mean over the positives of ln softmax."""
    _check_supcon(subject, draw, "outside", oracle.outside, oracle.inside)
    rows = draw.normal(4, 3)
    right = oracle.counted(oracle.found(oracle.cosines(rows), [0, 0, 0, 1], oracle.outside))
    sentence = "without being told the logarithm stands outside"
    got = call(_loss(subject, [0, 0, 0, 1], temperature=1.0), Tensor(rows))
    given = {"features": rows, "labels": [0, 0, 0, 1], "temperature": 1.0}
    expect(got, right, given=given, otherwise=sentence)


@supcon.check(2)
def logarithm_inside(subject: Any, draw: Draw) -> None:
    """L_in: minus ln of the mean over the positives of the softmax."""
    _check_supcon(subject, draw, "inside", oracle.inside, oracle.outside)


@supcon.check(2)
def alone_with_a_label(subject: Any, draw: Draw) -> None:
    """A row without a positive: its loss is 0, it does not count in the mean, others see it."""
    for rows, labels in _batches(draw, [5], [0, 1], [0, 1, 0], [0, 0, 1, 2], most=4):
        for logarithm, mean in (("outside", oracle.outside), ("inside", oracle.inside)):
            losses = oracle.found(oracle.cosines(rows) / 0.5, labels, mean)
            given = {"features": rows, "labels": labels, "logarithm": logarithm}
            seen = [i for i, loss in enumerate(losses) if loss is not None]
            symptoms = {"rows that are alone are candidates of the others": 0.0}
            if seen:
                kept = oracle.cosines(rows[seen]) / 0.5
                only = oracle.found(kept, [labels[i] for i in seen], mean)
                symptoms["rows that are alone are candidates of the others"] = oracle.counted(only)
                symptoms["a row without a positive does not count in the mean"] = float(
                    oracle.all_rows(losses).mean()
                )
            loss = _loss(subject, labels, temperature=0.5, logarithm=logarithm)
            got = call(loss, Tensor(rows))
            sentence = "what is 0 / 0, and the mean of no row? (it is 0 here)"
            right = oracle.counted(losses)
            expect(got, right, given=given, symptoms=symptoms, otherwise=sentence)
            check_gradients(
                loss,
                lambda x, y=labels, mean=mean: oracle.counted(
                    oracle.found(oracle.cosines(x) / 0.5, y, mean)
                ),
                {"features": rows},
                hint="of a row without a positive no gradient may be NaN",
            )


@supcon.check(2)
def closed_forms(subject: Any, draw: Draw) -> None:
    """Collapsed it is ln(batch − 1); small temperatures do not overflow; float32 stays float32."""
    for size in draw.cases(2, 5, more=lambda g: int(g.integers(3, 8))):
        rows = np.tile(draw.normal(1, 3), (size, 1))
        given = {"features": rows, "labels": "all equal"}
        sentence = "where all rows are equal, each other row has the probability 1 / (batch − 1)"
        for logarithm in ("outside", "inside"):
            loss = _loss(subject, [7] * size, temperature=0.1, logarithm=logarithm)
            got = call(loss, Tensor(rows)) + 1.0
            expect(got, 1 + math.log(size - 1), given=given, otherwise=sentence)
    rows, labels = np.array([[1.0, 0], [0, 1], [-1, 0], [1, 0]], np.float32), [0, 1, 0, 2]
    given = {"features": rows, "labels": labels, "temperature": 1e-3}
    sentence = "e^1000 has no room: take the largest logit out (log_softmax does)"
    got = call(_loss(subject, labels, temperature=1e-3), Tensor(rows))
    expect(got, np.float32(1500), given=given, tolerance=1e-5, otherwise=sentence)
    for wrong in (np.ones((3, 2, 1)), np.ones((2, 2))):
        expect_error(ValueError, _loss(subject, [0, 1, 0], temperature=1.0), Tensor(wrong))
    options: dict[str, Any] = {"temperature": 1.0, "logarithm": "between"}
    expect_error(ValueError, _loss(subject, labels, **options), Tensor(rows))


@supcon.check(1)
def without_lengths(subject: Any, draw: Draw) -> None:
    """``normalize=False`` takes inner products as they are."""
    for rows, labels in _batches(draw, [0, 0, 1]):
        losses = oracle.found(rows @ rows.T / 2, labels, oracle.outside)
        given = {"features": rows, "labels": labels, "temperature": 2.0, "normalize": False}
        got = call(_loss(subject, labels, temperature=2.0, normalize=False), Tensor(rows))
        expect(got, oracle.counted(losses), given=given)


@supcon.check(2)
def slopes_of_supcon(subject: Any, draw: Draw) -> None:
    """The gradient is right by the features and by a temperature that is learned."""
    for rows, labels in _batches(draw, [0, 0], [0, 0, 1], [0, 1, 0, 1]):
        for logarithm, mean in (("outside", oracle.outside), ("inside", oracle.inside)):

            def loss(rows: Any, temperature: Any, y: Any = labels, how: str = logarithm) -> Any:
                return subject(rows, np.array(y), temperature=temperature, logarithm=how)

            def right(rows: Any, temperature: Any, y: Any = labels, mean: Any = mean) -> float:
                logits = oracle.cosines(rows) / float(temperature)
                return oracle.counted(oracle.found(logits, y, mean))

            check_gradients(loss, right, {"features": rows, "temperature": np.array(0.6)})


# ---- 6.7 soft_nearest_neighbor_loss --------------------------------------------------------------


def _soft(rows: NDArray, labels: list[int], temperature: Any, **how: Any) -> list[float | None]:
    measure = how.pop("measure", oracle.square)
    logits = -oracle.distances(rows, rows, measure) / float(temperature)
    return oracle.found(logits, labels, how.pop("mean", oracle.log_sum), **how)


@soft_nearest.check(3)
def share_of_the_own(subject: Any, draw: Draw) -> None:
    """−ln of the share that the own label has of Σ e^(−d²/T) over all others."""
    for rows, labels in _batches(draw, *BATCHES):
        temperature = float(draw.generator.uniform(0.5, 3))
        right = _soft(rows, labels, temperature)

        def wrong(
            t: float = temperature, rows: NDArray = rows, labels: Any = labels, **how: Any
        ) -> float:
            return oracle.counted(_soft(rows, labels, t, **how))

        symptoms = {
            "the distances are not squared": wrong(measure=math.dist),
            "the temperature was forgotten": wrong(1.0),
            "multiplied by the temperature instead of divided": wrong(1 / temperature),
            "divided by T²: here it is e^(−d²/T)": wrong(temperature**2),
            "divided by 2 T: here it is e^(−d²/T)": wrong(2 * temperature),
            "a row is no neighbour of itself: e⁰ = 1 is the largest of all": wrong(itself=True),
            "the mean over the own label was taken: here it is its sum": wrong(mean=oracle.inside),
            "the logarithm stands before the sum: this is supervised contrastive": wrong(
                mean=oracle.outside
            ),
            "the rows were made unit vectors: they are taken as they are": oracle.counted(
                _soft(oracle.unit(rows), labels, temperature)
            ),
            "a row without a positive does not count in the mean": float(
                oracle.all_rows(right).mean()
            ),
            "the logarithm is missing: this is the share, averaged": float(
                np.mean([math.exp(-loss) for loss in right if loss is not None] or [0])
            ),
            "the sum over the rows was taken, not the mean": float(oracle.all_rows(right).sum()),
        }
        given = {"embeddings": rows, "labels": labels, "temperature": temperature}
        got = call(_loss(subject, labels, temperature=temperature), Tensor(rows))
        expect(got, oracle.counted(right), given=given, symptoms=symptoms)
        options: dict[str, Any] = {"temperature": temperature, "reduction": "none"}
        got = call(_loss(subject, labels, **options), Tensor(rows))
        expect(got, oracle.all_rows(right), given={**given, "reduction": "none"})


@soft_nearest.check(2)
def limits_of_the_temperature(subject: Any, draw: Draw) -> None:
    """A tiny T sees the nearest, a huge one all; who is alone with a label does not count."""
    rows, labels = np.array([[0.0], [1.0], [3.0], [20.0]]), [0, 1, 0, 2]
    given = {"embeddings": rows, "labels": labels, "temperature": 1e-3}
    sentence = "e^(−1000) is 0 and its logarithm −∞: work with logarithms (logsumexp)"
    got = call(_loss(subject, labels, temperature=1e-3), Tensor(rows))
    expect(got, (8000.0 + 5000.0) / 2, given=given, otherwise=sentence)
    got = call(_loss(subject, labels, temperature=1e12), Tensor(rows))
    given = {**given, "temperature": 1e12}
    expect(got, math.log(3), given=given, tolerance=1e-6, otherwise="all others count alike")
    for rows, alone in _batches(draw, [0], [0, 1], [0, 1, 0], most=9):
        right = oracle.counted(_soft(rows, alone, 1.0))
        got = call(_loss(subject, alone, temperature=1.0), Tensor(rows))
        given = {"embeddings": rows, "labels": alone}
        sentence = "what is the mean of no row? (it is 0 here)"
        expect(got, right, given=given, otherwise=sentence)


@soft_nearest.check(3)
def learned_temperature(subject: Any, draw: Draw) -> None:
    """The gradient is right by the rows, an example twice among them, and by the temperature."""
    for rows, labels in _batches(draw, [0, 0], [0, 0, 1], [0, 1, 0, 2], [3]):
        for twice in (False, True):
            rows = rows.copy()
            if twice:
                rows[-1] = rows[0]

            def loss(rows: Any, temperature: Any, y: Any = labels) -> Any:
                return subject(rows, np.array(y), temperature=temperature)

            def right(rows: Any, temperature: Any, y: Any = labels) -> float:
                return oracle.counted(_soft(rows, y, temperature))

            given = {"embeddings": rows, "temperature": np.array(1.5)}
            hint = "two equal rows have d² = 0, whose gradient is 0" if twice else ""
            check_gradients(loss, right, given, hint=hint)

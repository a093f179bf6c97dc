"""Homework 3, the experiment: what the checker repeats of it, and what a person judges."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.homework.experiment import Experiment, Handed, Item
from minissl.homework.task import Draw, Wrong, call, expect
from minissl.text.documents import Document

experiment = Experiment(
    "3.16",
    "minissl.homework.assignments.hw3_experiment:measure",
    "why does the curve look like this?",
    "lecture 05, section 5",
    writes=("landmarks", "curve", "measure", "draw"),
    measures=("counts", "pairs", "start", "best", "last", "training"),
    rubric=(
        Item(1, "Expected: where the curves start, and of which text the two part; guesses that "
                "could turn out wrong, with a reason"),
        Item(2, "the plot: axes named, training and held-out told apart, all seeds to be seen, the "
                "landmarks in it, readable in print without colours"),
        Item(2, "Measured: why it starts where it starts, what the network has learned where it "
                "passes a landmark, where training and held-out part and why; by the numbers"),
        Item(1, "Not shown: one thing that these curves do not tell, and what would"),
    ),
)  # fmt: skip


# ---- on streams and records that are given -------------------------------------------------------


def _counts(stream: NDArray, held_out: NDArray, size: int, add: float = 1.0) -> float:
    """Token by token."""
    seen = Counter(stream.tolist())
    total = len(stream) + add * size
    costs = [-math.log((seen[token] + add) / total) for token in held_out.tolist()]
    return math.fsum(costs) / len(costs)


def _pairs(stream: NDArray, held_out: NDArray, size: int) -> float:
    """Kneser-Ney, pair by pair."""
    pairs = Counter(pairwise(stream.tolist()))
    ones, twos = (sum(count == n for count in pairs.values()) for n in (1, 2))
    discount = min(0.9, max(0.1, ones / max(ones + 2 * twos, 1)))
    costs = []
    for v, w in pairwise(held_out.tolist()):
        lower = (sum(b == w for _, b in pairs) + 1) / (len(pairs) + size)
        after = [count for (a, _), count in pairs.items() if a == v]
        p = lower
        if after:
            kept = max(pairs[v, w] - discount, 0) / sum(after)
            p = kept + discount * len(after) / sum(after) * lower
        costs.append(-math.log(p))
    return math.fsum(costs) / len(costs)


@experiment.check(1)
def landmarks_by_counting(handed: Handed, draw: Draw) -> None:
    """landmarks: ln vocab_size, single counts and pairs, over all held-out tokens but the first."""
    for size in draw.cases(3, 5, more=lambda g: int(g.integers(4, 9))):
        stream, held_out = (draw.generator.integers(0, size, n) for n in (40, 12))
        stream[: 3 * size] = np.repeat(np.arange(size), 3)[: len(stream)]
        given = {"stream": stream, "held_out": held_out, "vocab_size": size}
        got = call(handed.function("landmarks"), stream, held_out, size)
        names = ("nothing", "counts", "pairs")
        if not isinstance(got, dict) or got.keys() != {*names}:
            raise Wrong("landmarks gives a dictionary of three numbers", given, got, names)
        after, all_tokens = held_out[1:], len(held_out)
        right = _counts(stream, after, size)
        symptoms = {
            "counts: the first token is given, and is no cost": _counts(stream, held_out, size),
            "counts: one is added to each count, or what was never seen costs infinitely much": (
                _counts(stream, after, size, add=1e-12)
            ),
            "counts: they are those of the held-out text, which nobody knows before": (
                _counts(held_out, after, size)
            ),
            "counts: this is the sum, the mean over the tokens is asked for": right * len(after),
            "counts: divided by all tokens, the first one too": right * len(after) / all_tokens,
        }
        bits = "this is in bits: use the natural logarithm"
        values = {
            "nothing": (math.log(size), {bits: math.log2(size)}),
            "counts": (right, {**symptoms, bits: right / math.log(2)}),
            "pairs": (_pairs(stream, held_out, size), {}),
        }
        for name, (value, wrong) in values.items():
            shown = {s: np.asarray(w) for s, w in wrong.items()}
            expect(np.asarray(got[name]), value, given=given, symptoms=shown,
                   otherwise=f"{name!r} is wrong")  # fmt: skip


def _mistaken_curves(records: list[dict[str, Any]]) -> dict[str, list[tuple[Any, ...]]]:
    measured = [r for r in records if "held_out_loss" in r]
    later = [r for r in measured if "loss" in r]
    losses = [r["loss"] for r in records if "loss" in r]

    def mean(first: int, last: int) -> float:
        return sum(losses[first:last]) / (last - first)

    return {
        "the training loss of a point is the mean over its steps, not that of one batch": [
            (r["step"], r["loss"], r["held_out_loss"]) for r in later
        ],
        "the mean goes over the steps since the point before, not over all steps": [
            (r["step"], mean(0, r["step"]), r["held_out_loss"]) for r in later
        ],
        "training and held-out loss are exchanged": [
            (s, after, loss) for s, loss, after in _points(records)
        ],
        "the step of a point is that of its measurement": [
            (number + 1, *rest) for number, (_, *rest) in enumerate(_points(records))
        ],
        "the mean leaves the step of the measurement out": [
            (b["step"], mean(a["step"], b["step"] - 1), b["held_out_loss"])
            for a, b in pairwise(measured)
            if b["step"] - a["step"] > 1
        ],
        "a mean of every point is that of the point before": [
            (a[0], b[1], a[2]) for a, b in zip(_points(records)[1:], _points(records))
        ],
    }


def _points(records: list[dict[str, Any]]) -> list[tuple[int, float, float]]:
    """From one measurement to the next."""
    losses = [r["loss"] for r in records if "loss" in r]
    measured = [r for r in records if "held_out_loss" in r]
    return [
        (b["step"], math.fsum(part := losses[a["step"] : b["step"]]) / len(part),
         b["held_out_loss"])
        for a, b in pairwise(measured)
    ]  # fmt: skip


@experiment.check(1)
def points_of_a_curve(handed: Handed, draw: Draw) -> None:
    """curve: a point for each measurement after step 0, with the mean of the losses before it."""
    for steps, every in draw.cases(
        (2, 2), (6, 2), (7, 3), more=lambda g: (12, int(g.integers(2, 6)))
    ):
        records: list[dict[str, Any]] = [{"step": 0, "held_out_loss": 5.5}]
        for step in range(1, steps + 1):
            records.append({"step": step, "loss": float(draw.normal(1)[0] + 9)})
            if step % every == 0 or step == steps:
                records[-1]["held_out_loss"] = float(draw.normal(1)[0] + 3)
        got = call(handed.function("curve"), records)
        given, right = {"records": records}, _points(records)
        try:
            found = np.array([[float(x) for x in point] for point in got])
        except (TypeError, ValueError):
            sentence = "curve gives a list of points, each three numbers"
            raise Wrong(sentence, given, got, right) from None
        symptoms = {
            "step 0 is no point: nothing was trained yet": np.array(
                [(0, found[0, 1] if found.size else 0, 5.5), *right]
            ),
            **{s: np.array(points, float) for s, points in _mistaken_curves(records).items()},
        }
        expect(found, np.array(right), given=given, symptoms=symptoms)


# ---- training, in small --------------------------------------------------------------------------

STEPS = 30


def _alternating(pair: str, number: int) -> list[Document]:
    """Documents in which two letters take turns: nothing is easier to predict."""
    return [Document(f"{pair} {i}", pair, pair * (20 + i)) for i in range(number)]


def _small(handed: Handed, held_out: str, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    options = {
        "num_layers": 1, "width": 16, "num_heads": 2, "context_length": 16, "batch_size": 4,
        "steps": STEPS, "evaluations": 3, "learning_rate": 0.03,
    }  # fmt: skip
    texts = _alternating("ab", 6), _alternating(held_out, 2)
    given = {"trained on": "ababab ...", "held out": 3 * held_out + " ...", **options, "seed": seed}
    got = call(handed.function("measure"), *texts, options, seed)
    names = {"curve", "start", "best", "last", "training"}
    if not isinstance(got, dict) or got.keys() != names:
        raise Wrong("measure gives a dictionary of a curve and four numbers", given, got, names)
    for name in sorted(names - {"curve"}):
        if not isinstance(got[name], float | int) or not math.isfinite(got[name]):
            raise Wrong(f"{name!r} is no finite number", given, got, "a finite number")
    if abs(got["start"] - math.log(257)) > 0.3:
        sentence = "start is measured before training, near ln 257: of a network that knows nothing"
        raise Wrong(sentence, given, got["start"], math.log(257))
    return got, given


@experiment.check(1)
def numbers_of_the_curve(handed: Handed, draw: Draw) -> None:
    """measure: a point for each evaluation; best is the lowest, last and training the last."""
    got, given = _small(handed, "cd", 1)
    points = [tuple(point) for point in got["curve"]]
    steps = [point[0] for point in points]
    if steps != [10, 20, 30]:
        raise Wrong("the curve has a point for each evaluation", given, steps, [10, 20, 30])
    held_out = [point[2] for point in points]
    if min(held_out) < 2:
        sentence = "the held-out text cannot be learned from this one: was it trained on?"
        raise Wrong(sentence, given, held_out, "more than 2 nats")
    right = {"best": min(held_out), "last": held_out[-1], "training": points[-1][1]}
    wrong = {"best": {"best is the lowest held-out loss, not the lowest training loss": min(
        point[1] for point in points), "best is the lowest, not the last": held_out[-1]},
        "last": {"last is the held-out loss, not the training loss": points[-1][1],
                 "last is the last, not the lowest": min(held_out)},
        "training": {"training is the training loss": held_out[-1]}}  # fmt: skip
    for name, value in right.items():
        symptoms = {s: np.asarray(float(w)) for s, w in wrong[name].items()}
        expect(np.asarray(float(got[name])), float(value), given={**given, "curve": points},
               symptoms=symptoms, otherwise=f"{name!r} is not that of the curve")  # fmt: skip


@experiment.check(1)
def training_in_small(handed: Handed, draw: Draw) -> None:
    """measure: start knows nothing, two letters are learned; the seed decides, and nothing else."""
    (first, given), (again, _), (other, _) = (_small(handed, "ab", seed) for seed in (1, 1, 2))
    if first != again:
        raise Wrong("the same seed gave other numbers", given, again, first)
    if other == first:
        raise Wrong("another seed gave the same numbers: hand it on", given, other, "others")
    if other["start"] == first["start"]:
        sentence = "the weights of two seeds are the same: hand the seed to build() as well"
        raise Wrong(sentence, given, other["start"], "another start")
    if first["last"] > 1:
        sentence = "letters that take turns were not learned: are options handed on?"
        raise Wrong(sentence, given, first["last"], "less than 1 nat")


experiment.check_files(results=1, report=1)

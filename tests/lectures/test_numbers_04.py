"""The numbers quoted in lecture 04, computed again and looked up in the text."""

import re
import sys

import numpy as np
import pytest

from minissl.autograd import Tensor
from minissl.autograd import operations as ops
from minissl.data.labels import mean_ranks, rank_correlation
from minissl.data.vectors import analogy_scores
from minissl.data.word_tests import AnalogyQuestions, WordPairs, summary
from minissl.losses.words import glove, glove_weights, negative_sampling, noise_contrastive
from minissl.nn.module import Parameter
from minissl.optim import AdaGrad
from minissl.pretrain.windows import BLOCK, SHARED, WindowSettings
from minissl.text.cooccurrence import (
    cooccurrences,
    keep_probabilities,
    noise_distribution,
    pointwise_mutual_information,
)
from tests.lectures.reading import figures, says, text


def row(*cells):
    """A row of a table stands in the lecture."""
    shown = "| " + " | ".join(cells) + " |"
    assert shown in text("04"), f"lecture 04 has no row {shown!r}"


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, float)))


# ---- 1 and 2 -------------------------------------------------------------------------------------


def test_lookup_and_its_gradient():
    table = Tensor(np.zeros((4, 2)), requires_grad=True)
    arrived = np.array([[1.0, 1.0], [10.0, 10.0], [100.0, 100.0]])
    ids = np.array([2, 0, 2])
    ops.take(table, ids).backward(arrived)
    np.testing.assert_array_equal(table.grad, np.eye(4)[ids].T @ arrived)
    assert table.grad.tolist() == [[10, 10], [0, 0], [101, 101], [0, 0]]
    for passage in ("$(101, 101)$", "$(10, 10)$"):
        assert passage in text("04")
    says("04", "40", 100_000 * 100 * 4 / 1e6)
    for wrong in ("assigned", "added in place"):
        grad = np.zeros((4, 2))
        if wrong == "assigned":
            grad[ids] = arrived
        else:
            grad[ids] += arrived
        assert grad[2].tolist() == [100, 100]


def test_counting_by_hand():
    pairs = cooccurrences([0, 1, 0, 2], np.zeros(4, int), 3, 2)
    table = np.zeros((3, 3))
    table[pairs.rows, pairs.columns] = pairs.counts
    for word, counts in zip(("the", "cat", "dog"), table):
        row(word, *(f"{count:g}" for count in counts), f"{counts.sum():g}")
    assert table.sum() == 8
    mutual = np.full((3, 3), -np.inf)
    mutual[pairs.rows, pairs.columns] = pointwise_mutual_information(pairs, 3)
    for shown, place in (
        ("0.470", (0, 1)),
        ("0.288", (0, 2)),
        ("0.065", (1, 2)),
        ("-0.693", (0, 0)),
    ):
        says("04", shown, mutual[place])
    assert mutual[1, 1] == -np.inf


# ---- 3 -------------------------------------------------------------------------------------------


def test_negative_sampling_by_hand():
    w, c = (Tensor(np.array([x]), requires_grad=True) for x in ([1.0, 2.0], [1.0, 0.5]))
    noise = np.array([[[-1.0, 1.0], [2.0, -1.0]]])
    loss = negative_sampling(w, c, noise)
    loss.backward()
    says("04", "2.1333", loss.item())
    for shown, score in (("0.1269", 2), ("1.3133", -1), ("0.6931", 0)):
        says("04", shown, -np.log(sigmoid(score)))
    for shown, slope in (("0.7311", sigmoid(1)), ("0.1192", 1 - sigmoid(2))):
        says("04", shown, slope)
    says("04", "0.1497", w.grad[0, 0])
    says("04", "0.1715", w.grad[0, 1])
    says("04", "-0.1192", c.grad[0, 0])
    says("04", "-0.2384", c.grad[0, 1])
    start = negative_sampling(np.ones((1, 2)), np.zeros((1, 2)), np.zeros((1, 5, 2)))
    says("04", "4.159", start.item())


def test_what_a_block_reads():
    settings = WindowSettings()
    around = BLOCK + 2 * settings.window
    assert (BLOCK, SHARED, around, around + SHARED) == (16, 16, 26, 42)
    pairs = 2 * np.mean(np.arange(1, settings.window + 1))
    assert pairs == 6
    says("04", "592", BLOCK * (1 + pairs + settings.negatives * pairs))
    says("04", "58", BLOCK + around + SHARED)
    says("04", "10,240", settings.batch_size)
    says("04", "0.3", settings.learning_rate)
    defaults = (
        ("width", "300", "100", settings.width),
        ("window, shrunk at random", "5", "5", settings.window),
        ("$k$", "5 to 20, 2 to 5 for large texts", "5", settings.negatives),
        ("power of the noise", "0.75", "0.75", settings.noise_power),
        ("fewest occurrences of a word", "5", "5", settings.min_count),
    )
    for name, paper, program, here in defaults:
        row(name, paper, program, f"{here:g}")
    assert settings.threshold == 1e-3
    assert f"{settings.steps} steps of {settings.batch_size:,} centers" in text("04")
    near = [np.mean([d <= reach for reach in range(1, 6)]) for d in range(1, 6)]
    assert near == [1, 0.8, 0.6, 0.4, 0.2]


# ---- 4 -------------------------------------------------------------------------------------------


def test_who_stays():
    shares = np.array([0.05, 0.01, 0.001, 0.0001, 0.00001])
    counts = np.append(shares, 1 - shares.sum())
    program = keep_probabilities(counts)[:-1]
    for number, f in enumerate(shares):
        cells = (program[number], *(min(1, (t / f) ** 0.5) for t in (1e-3, 1e-5)))
        row(f"{f:.5f}".rstrip("0"), *(f"{p:.3f}".rstrip("0").rstrip(".") for p in cells))
    edge = ((5**0.5 + 1) / 2) ** 2
    says("04", "2.618", edge)
    assert (1 / edge) ** 0.5 + 1 / edge == pytest.approx(1)
    stays = keep_probabilities([2, 98], 0.001)[0]
    says("04", "0.274", stays)
    says("04", "0.224", 0.05**0.5)


def test_what_is_drawn():
    np.testing.assert_allclose(noise_distribution([16, 1]), [8 / 9, 1 / 9])
    for power, name in ((1, "1, as in the text"), (0.75, "0.75"), (0, "0, all alike")):
        row(name, *(f"{p:.4f}" for p in noise_distribution([10_000, 100, 1], power)))
    rarest = [noise_distribution([10_000, 100, 1], power)[2] for power in (1, 0.75)]
    assert 9 < rarest[1] / rarest[0] < 10


# ---- 5 and 6 -------------------------------------------------------------------------------------


def test_what_the_loss_learns():
    """The least loss of one pair, found on a grid, is at PMI − log k."""
    x = np.linspace(-4, 4, 800_001)
    pair, of_w, of_c, total, k = 2, 4, 2.5, 8, 5
    loss = -pair * np.log(sigmoid(x)) - k * of_w * of_c / total * np.log(sigmoid(-x))
    says("04", "1.609", np.log(5))
    says("04", "-1.139", x[loss.argmin()])
    for shown, k in (("−1.609", 5), ("−2.996", 20)):
        says("04", shown, -np.log(k))


P, Q, SAID = np.array([0.6, 0.3, 0.1]), np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])


def expected_gradient(k):
    """∂/∂s of the expected loss of the library: contexts by P, noise by Q, w = 1, c = log e^s."""
    s = Tensor(np.log(SAID)[:, None], requires_grad=True)
    one = np.ones((1, 1))
    logs = np.log(Q)
    for context in range(3):
        for noise in range(3):
            loss = noise_contrastive(
                one,
                ops.take(s, np.array([context])),
                ops.take(s, np.full((1, k), noise)),
                logs[[context]],
                np.full((1, k), logs[noise]),
            )
            (loss * (P[context] * Q[noise])).backward()
    return s.grad[:, 0]


def test_the_gradient_becomes_the_likelihoods():
    likelihood = SAID - P
    for k in (1, 10, 100):
        factor = k * Q / (SAID + k * Q)
        gradient = factor * likelihood
        np.testing.assert_allclose(expected_gradient(k), gradient, atol=1e-12)
        cosine = gradient @ likelihood / np.linalg.norm(gradient) / np.linalg.norm(likelihood)
        shown = f"({gradient[0]:.3f}, 0, {gradient[2]:.3f})".replace("-", "−")
        row(f"{k}", ", ".join(f"{f:.3f}" for f in factor), shown, f"{cosine:.3f}")


def test_where_negative_sampling_ends():
    ends = P / Q
    says("04", "2.7", ends.sum())
    share = ends / ends.sum()
    assert f"({', '.join(f'{p:.3f}' for p in share)})" in text("04")
    says("04", "2.594", np.exp(-(P * np.log(share)).sum()))
    says("04", "2.455", np.exp(-(P * np.log(P)).sum()))


# ---- 7 -------------------------------------------------------------------------------------------


def test_glove_by_hand():
    weights = glove_weights(np.array([1.0, 10.0, 50.0, 100.0, 1000.0]))
    row("$f(X)$, $X_{\\max} = 100$, $\\alpha = 0.75$", *(f"{w:.3f}" for w in weights[:3]), "1", "1")
    assert weights[3:].tolist() == [1, 1]
    says("04", "-1.303", 1 - np.log(10))
    says("04", "0.151", glove(np.array([1.0]), np.array([10.0])).item())


def adagrad(gradients, lr):
    """Where a number is after each gradient; it begins at 0, and the sum of squares at 1."""
    number = Parameter(np.zeros(1))
    optimizer = AdaGrad([("x", number)], lr=lr, initial_sum=1.0, eps=0.0)
    places = []
    for g in gradients:
        number.grad = np.array([float(g)])
        optimizer.step()
        places.append(number.numpy()[0])
    return np.array(places)


def test_adagrad_by_hand():
    steps = -np.diff(adagrad([2, 2], 0.05), prepend=0)
    says("04", "0.0447", steps[0])
    says("04", "0.0333", steps[1])
    travelled = figures("04")["travelled"](np.ones(1000))
    np.testing.assert_allclose(adagrad(np.ones(1000), 0.05), -travelled)
    says("04", "3.04", travelled[-1])
    says("04", "0.216", travelled[9])
    exercise = adagrad([0, 3, 4], 0.1)
    says("04", "-0.0949", exercise[1])
    says("04", "-0.0784", exercise[2] - exercise[1])
    says("04", "−0.1733", exercise[2])


# ---- 8 -------------------------------------------------------------------------------------------


def test_analogies_and_ranks_by_hand():
    near, far = [np.array([0.9, 0.55]), np.array([0.1, 0.45])], [np.array([0, 0.05])]
    added, multiplied = analogy_scores(near, far), analogy_scores(near, far, "multiply")
    says("04", "1.0", added[0])
    says("04", "0.95", added[1])
    says("04", "1.043", multiplied[0])
    says("04", "1.068", multiplied[1])
    people, cosines = [9, 7, 7, 2], [0.8, 0.5, 0.6, 0.1]
    assert mean_ranks(people).tolist() == [4, 2.5, 2.5, 1]
    assert mean_ranks(cosines).tolist() == [4, 2, 3, 1]
    says("04", "0.949", rank_correlation(people, cosines))
    assert np.corrcoef([4, 2, 3, 1], mean_ranks(cosines))[0, 1] == pytest.approx(1)
    assert np.corrcoef([4, 3, 2, 1], mean_ranks(cosines))[0, 1] == pytest.approx(0.8)


def test_a_sum_that_stops():
    stuck = np.float32(2**27)
    says("04", "134,217,728", int(stuck))
    assert np.spacing(stuck) == 16
    assert stuck + np.float32(8) == stuck
    says("04", "32", 2**27 / (6 * np.log(2)) / 1e6)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the corpus is that of Python 3.11")
class TestMeasured:
    """On the English inside Python 3.11, which changes a little with every release.

    Another processor rounds differently, and training multiplies that: cosines within 0.05.
    """

    def test_counts(self):
        data = figures("04")["words"]()
        counts = data.vocabulary.counts.copy()
        counts[0] = 0
        keep = keep_probabilities(counts)[1:]
        the = data.vocabulary.ids["the"]
        met, share, weight = figures("04")["rarity"]()
        measured = {
            "299,388": len(data.stream), "4,008": len(counts) - 1, "20,231": counts[the],
            "49": (keep < 1).sum(), "13.6": 100 * keep[the - 1],
            "227,333": keep @ counts[1:], "71": 100 * share, "17": 100 * weight,
            "4 %": 100 * met,
        }  # fmt: skip
        for shown, value in measured.items():
            assert shown in text("04")
            printed = float(shown.replace(",", "").removesuffix(" %"))
            assert value == pytest.approx(printed, rel=0.02, abs=0.5), shown

    def test_losses(self):
        _, history = figures("04")["skipgram"]()
        held_out = history.column("held_out_loss")[1]
        says("04", "4.159", history.column("loss")[1][0])
        assert held_out[-1] == pytest.approx(2.39, abs=0.03)
        assert history.column("loss")[1][-1] == pytest.approx(2.25, abs=0.05)
        assert max(history.column("loss")[1][:10]) > 5

    def test_neighbours_as_printed(self):
        vectors = figures("04")["vectors"]()
        for word, other, shown in re.findall(r"(\w+) +(\w+) +(0\.\d{3})", self.shown()):
            assert vectors.similarity(word, other) == pytest.approx(float(shown), abs=0.05)
        assert vectors.neighbors("red", 2)[0][0] in ("blue", "green")

    @staticmethod
    def shown():
        """Pairs "red blue 0.913" of the printed table."""
        block = re.search(r"red day thread integer blue (.*?) ```", text("04"))[0]
        words = block.split()
        heads, cells = words[:4], re.findall(r"(\w+) (0\.\d{3})", block)
        assert len(cells) == 12
        return "\n".join(
            f"{heads[i % 4]} {word} {cosine}" for i, (word, cosine) in enumerate(cells)
        )

    def test_analogies(self):
        vectors = figures("04")["vectors"]()
        for rule, *shown in (("add", "0.967", "0.910"), ("multiply", "1.000", "0.998")):
            found = vectors.analogy("input", "output", "stdin", rule, 2)
            assert found[0][0] == "stdout"
            for number, (_, score) in zip(shown, found):
                says("04", number, score, within=0.05)
        assert vectors.analogy("string", "strings", "integer", count=1)[0][0] == "integers"
        units = {word: vectors.units[vectors.row(word)] for word in vectors.words}
        whole = units["output"] - units["input"] + units["stdin"]
        first, second = vectors.neighbors(whole, 2)
        assert (first[0], second[0]) == ("stdin", "stdout")
        says("04", "0.802", first[1], within=0.05)
        says("04", "0.685", second[1], within=0.05)
        assert all(vectors.neighbors(word, 1)[0][0] == "stdout" for word in ("stdin", "output"))
        number = units["strings"] - units["string"] + units["integer"]
        says("04", "0.720", vectors.neighbors(number, 1)[0][1], within=0.05)
        for word in ("integer", "strings"):
            assert "integers" not in dict(vectors.neighbors(word, 8))

    def test_toy_sets(self):
        vectors = figures("04")["vectors"]()
        answered = summary(AnalogyQuestions.toy().measure(vectors))[-1]
        assert (answered.known, answered.total) == (28, 132)
        assert answered.right <= 4
        found = WordPairs.toy().measure(vectors)
        assert (found.known, found.total) == (5, 48)

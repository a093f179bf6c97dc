"""The quizzes: what a question is made of, and every number computed once more.

A question with numbers has a row below: a value for each of its choices, the right one first, from
the library or a closed form; the wrong ones are computed as their misconceptions compute them.
"""

import math
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from minissl.autograd import operations as ops
from minissl.autograd.composed import cross_entropy as composed
from minissl.autograd.tensor import Tensor
from minissl.data.streams import consecutive_windows
from minissl.homework.assignments.hw8_by_hand import span_f1
from minissl.losses import contrastive
from minissl.losses.triplets import mine_triplets
from minissl.losses.words import negative_sampling
from minissl.models.generate import next_token_probabilities
from minissl.nn import BatchNorm
from minissl.nn.transformer import TransformerConfig
from minissl.text.bag_of_words import inverse_document_frequency
from minissl.text.bpe import learn_merges, segment
from minissl.text.cooccurrence import noise_distribution
from minissl.text.masking import budget
from minissl.text.words import Bytes
from minissl.training.verification import roc

ROOT = Path(__file__).parents[2]
QUIZ = ROOT / "docs" / "quiz"
LECTURES = sorted(path.name[:2] for path in (ROOT / "lectures").glob("[0-9][0-9]_*.md"))
KINDS = ("Number", "Shape", "Why")
BEGIN = re.compile(r"^\*\*(\d+)\. (Number|Shape|Why)\.\*\* ", re.MULTILINE)
CHOICE = re.compile(r"^- ([A-D]): (.+?)(?=\n- |\n\n)", re.MULTILINE | re.DOTALL)
ANSWER = re.compile(
    r"<details><summary>Answer to (\d+) \(section (\d+)\)</summary>\n\n(.+?)\n\n</details>",
    re.DOTALL,
)
NUMERAL = re.compile(r"[-−]?\d[\d,]*(?:\.\d+)?")


@cache
def questions(page):
    """number -> (kind, question, choices, section, answer)."""
    text = (QUIZ / f"{page}.md").read_text(encoding="utf-8")
    _, *parts = BEGIN.split(text)
    found = {}
    for number, kind, body in zip(parts[::3], parts[1::3], parts[2::3]):
        answers = ANSWER.findall(body)
        assert [a[0] for a in answers] == [number], (page, number)
        found[int(number)] = (
            kind,
            body.partition("<details>")[0],
            dict(CHOICE.findall(body)),
            *answers[0][1:],
        )
    return found


def numerals(text):
    return [(n, float(n.replace(",", "").replace("−", "-"))) for n in NUMERAL.findall(text)]


def test_each_lecture_has_a_quiz_and_the_guide_leads_there():
    assert sorted(path.stem for path in QUIZ.glob("*.md")) == LECTURES
    guide = (ROOT / "docs" / "instructor_guide.md").read_text(encoding="utf-8")
    assert all(f"(quiz/{page}.md)" in guide for page in LECTURES)


@pytest.mark.parametrize("page", LECTURES)
def test_a_quiz_has_all_kinds_and_answers_that_can_be_found(page):
    found = questions(page)
    (path,) = (ROOT / "lectures").glob(f"{page}_*.md")
    lecture = path.read_text(encoding="utf-8")
    text = (QUIZ / f"{page}.md").read_text(encoding="utf-8")
    assert f"(../../lectures/{path.name})" in text
    assert list(found) == list(range(1, len(found) + 1))
    assert len(found) >= 8
    assert text.count("<details>") == len(found)
    kinds = [kind for kind, *_ in found.values()]
    assert all(kinds.count(kind) >= 2 for kind in KINDS)
    right = []
    for kind, question, choices, section, answer in found.values():
        assert f"\n## {section}. " in lecture
        assert " ".join(question.split())[:60] not in " ".join(lecture.split())  # no exercise again
        if kind == "Why":
            assert not choices
            assert re.search(r"Half\s+an\s+answer:\s", answer) or len(answer.split()) > 60
            continue
        letter = re.match(r"\*\*([A-D])\.\*\* ", answer)[1]
        right.append(letter)
        assert list(choices) == list("ABCD")[: len(choices)]
        assert len(choices) >= 3
        for wrong in choices.keys() - {letter}:  # each leads back to what somebody thought
            assert re.search(rf"\*{wrong}\*", answer), (page, question, wrong)
    assert max(map(right.count, "ABCD")) <= len(right) * 2 // 3


# ---- every number --------------------------------------------------------------------------------
ln, e, root = math.log, math.exp, math.sqrt


def sigmoid(x):
    return 1 / (1 + e(-x))


def conv_size(padding, stride, first=1):
    return (28 + 2 * padding - 5) // stride + first


def cross_entropy(logits, right):
    return float(composed(Tensor(np.array([logits], float)), np.array([right])).numpy())


def contrast(loss, **settings):
    """A loss of two pairs: perfect partners, all others at right angles."""
    views = np.eye(2)
    return float(getattr(contrastive, loss)(Tensor(views), Tensor(views), **settings).numpy())


def triplets(mining):
    """The losses of the anchor at 0, of the triplets that the library finds."""
    points = np.array([0.0, 0.4, 0.3, 0.5, 0.7])
    distances, labels = np.abs(points[:, None] - points), np.array([0, 0, 1, 2, 3])
    found = mine_triplets(distances, labels, mining, margin=0.2, squared=False, width=1)
    pairs = [(p, n) for a, p, n in zip(*found) if a == 0]
    return np.array([max(0, points[p] - points[n] + 0.2) for p, n in pairs])


def gradient_of_b():
    a, b = Tensor(1.0, requires_grad=True), Tensor(3.0, requires_grad=True)
    ((a + b) * b).backward()
    return float(b.grad)


def softmax_back():
    logits = Tensor(np.log([0.25, 0.75]), requires_grad=True)
    ops.softmax(logits, axis=-1).backward(np.array([0.0, 2.0]))
    return float(np.asarray(logits.grad)[0])


def gpt(biases=1, tables=1, output=0):
    d, blocks = 384, TransformerConfig(width=384, num_layers=6, num_heads=6).num_parameters()
    table = 8000 * d + 256 * d
    return blocks * biases + (1 - biases) * 6 * 12 * d * d + tables * table + output * 8000 * d


def spans(start, end, fits=lambda i, j: i <= j):
    return max(s + t for i, s in enumerate(start) for j, t in enumerate(end) if fits(i, j))


def tiles(time, queries=128, keys=64):
    """How many tiles a causal mask leaves full, cuts, and empties: by looking at every place."""
    seen = np.tril(np.ones((time, time))).reshape(time // queries, queries, time // keys, keys)
    share = seen.mean(axis=(1, 3))
    return int((share == 1).sum()), int(((share > 0) & (share < 1)).sum()), int((share == 0).sum())


def rows_04():
    loss = [Tensor(np.array([row], float)) for row in ([1, 1], [1, 0])]
    loss = float(negative_sampling(*loss, Tensor(np.array([[[0.0, -1.0]]]))).numpy())
    one = -ln(sigmoid(1))
    noise = noise_distribution([81, 1])[1]
    return {
        1: [ln(6 * 200 / (20 * 30)), -ln(2), 2, 1],
        2: [loss, one, one - ln(sigmoid(-1)), 2 * ln(2)],
        3: [16 * ln(2), 15 * ln(2), ln(2), ln(16)],
        4: [1.2 - ln(5), 1.2, 1.2 + ln(5), 1.2 / 5],
        5: [
            sum(0.1 / root(1 + t) for t in (1, 2, 3)),
            0.3,
            3 * 0.1 / root(4),
            sum(0.1 / root(t) for t in (1, 2, 3)),
        ],
        6: [noise, 1 / 82, 1 / 2, 1 / 27],
        8: [(2, 3), (1, 3), 3, (2, 1.5)],
    }


def rows_03():
    _, second, *_ = learn_merges({b"tin": 4, b"ten": 3, b"tint": 2})
    assert second == (b"ti", b"n")
    ranks = {token: i for i, token in enumerate([*map(bytes, zip(range(256))), *LOW])}
    pieces = [segment(word, ranks) for word in (b"new", b"est", b"newest")]
    assert list(map(len, pieces)) == [2, 1, 1]  # question 6
    counts = np.array([[1], [0], [0], [0]])
    p = 0.5
    bits = 3.6 / ln(2)
    return {
        1: [6, 6, 3, 4],
        2: [bits / 2.5, 3.6 / 2.5, bits, bits * 2.5],
        3: [inverse_document_frequency(counts)[0], ln(4), 1 + ln(4), ln(5 / 2)],
        4: [p * (1 - p) ** 2 + p**2 * (1 - p) ** 2, p * (1 - p) ** 2, 1 - p, (1 - p) ** 2],
        5: [len(Bytes().encode("naïve 你")), len("naïve 你"), 8, 2],
    }


def rows_11():
    down, up = np.array([[1.0, -1.0]]), np.array([[0.5], [2.0]])
    added = 4 / 1 * up @ down @ np.array([3.0, 1.0])
    gold = "B-PER I-PER O B-LOC O O".split()
    found = "B-PER I-PER B-LOC B-LOC O O".split()
    start, end = (1, 4, 0), (3, 0, 2.5)
    weights = np.array([2.0, 1.0, 1.0]) / 4
    return {
        1: [100 * root(0.8 * 0.2 / 400), 0.8 * 0.2 / 400 * 100, 100 * root(0.8 * 0.2), 4],
        2: [6 * 4 * 512, 6 * 256**2, 6 * 4 * 256, 6 * 256],
        3: [added[1], added[1] / 4, added[1] / 2, 4 * 2 * (3 + 1)],
        4: [weights @ [6, 1, 3], (1 + 3) / 2, (6 + 1 + 3) / 3, 6],
        5: [span_f1([gold], [found]), 5 / 6, 2 / 3, 1],
        6: [spans(start, end), max(start) + max(end), spans(start, end, lambda i, j: i == j), 3.5],
        7: [160, 40, 80, 120],
    }


LOW = [b"st", b"est", b"ow", b"low", b"west", b"ne", b"newest"]  # section 3 of lecture 03


@cache
def rows():
    """page -> question -> its choices as they are computed, the right one first."""
    step = 0.1 / root(0.001)
    perplexity = [1, 2, 6]
    s2 = 512 * 0.02**2
    square = 4 * 8 * 2048**2
    r = e(0 - 1)
    row = np.arange(1.0, 6.0)
    squares = ((row - 3) ** 2).sum()
    hidden = budget(np.array([[True] * 469]))[0]
    fits = 1e-4
    p = 0.3 * 0.7 ** np.arange(10)
    kept = next_token_probabilities(np.log([0.5, 0.25, 0.15, 0.1]), top_p=0.8)[0]
    warm = next_token_probabilities(np.log([0.9, 0.1]), temperature=2)[0]
    cold = next_token_probabilities(np.log([0.9, 0.1]), temperature=0.5)[0]
    cache_size = 2 * 24 * 1024 * 4096 * 2 / 1e6
    removed = next_token_probabilities(np.array([-3.0, -4, 0, 0]))[2:].sum()
    semi, hard, every = triplets("semi-hard"), triplets("hard"), triplets("all")
    return {
        "00": {
            1: [2 * (2 - 5) * 2, 2 * (2 - 5), 12, 2 - 5],
            2: [cross_entropy([0, ln(4)], 0), cross_entropy([0, ln(4)], 1), ln(4), 0],
            3: [conv_size(2, 2), conv_size(2, 2, 0), conv_size(0, 2), conv_size(2, 1)],
            4: [step, 1, 0.1, 0.001],
            5: [3 / 0.8, 3, 3 * 0.8, 3 / 0.2],
        },
        "01": {
            1: [9 / root(14 * 6), 1, np.dot([0, 2, 1, 0, 0, 3], [0, 1, 1, 0, 0, 2])],
            2: [cross_entropy([0] * 20, 3), 1 / 20, math.log2(20), 0],
            3: [contrastive.chance_level("nt_xent", 64), ln(64), ln(128), ln(2)],
        },
        "02": {
            1: [gradient_of_b(), 4, 3, 12],
            2: [softmax_back(), 0, -softmax_back(), 0 - 2 * 0.75],
            3: [4, 1, 12, 1 / 4],
            4: [n * 2 * 64 * 512 * 128 / 1e6 for n in (3, 1, 2, 1.5)],
            7: [(2**10, 20), (20, 20), (2**10, 2**10), (2**10, 2**11 - 1)],
        },
        "03": rows_03(),
        "04": rows_04(),
        "05": {
            1: [ln(4 * 2 * 4) / 3, ln(32), math.log2(32) / 3, 1 / 32],
            2: [e(np.mean(perplexity)), np.mean([e(n) for n in perplexity]), e(2), 3],
            3: [ln(32000) + s2 / 2, ln(32000), ln(32000) + s2, math.log2(32000)],
            4: [n / ln(2) for n in (2.9 * 5 / 18, 2.9 * 5 / 18 * ln(2), 2.9, 2.9 * 18 / 5)],
            5: [15 / 12, 15 / 18, (2 + 1) / 2, 15],
            6: [sigmoid(2) ** 10, 0.5**10, sigmoid(2), 1 - sigmoid(2)],
            7: [lane(1, 1), lane(0, 1), lane(1, 0), lane(2, 0)],
        },
        "06": {
            1: [(1 * 4 + 3 * 8) / 4, (4 + 8) / 2, 8, 1 * 4 + 3 * 8],
            2: [gpt(), gpt(biases=0), gpt(output=1), gpt(tables=0)],
            3: [6 * 1024, 1024, 12 * 1024, 2 * 1024],
            4: [4 * square / 1e6, 4 * square / 8 / 1e6, square / 1e6, 4 * square / 2 / 1e6],
            5: [1 / (2 * e(2) + 1), 0, 1 / 3, 1 / 2],
            6: [(2, 4, 10, 30), (2, 4, 30, 10), (2, 4, 10, 10), (2, 10, 30, 16)],
        },
        "07": {
            1: [(6 * r + 12) / (r + 1), (6 + 12) / 2, 6 * r + 12, 12],
            2: [2 / 4, 2 / 2, 2 / 8, 2],
            3: [1 + 2048 / 128, 2048 / 128, 4096 / 64, 1 + 2048 / 128 / 2],
            4: [(squares + n * 9) / w for n, w in ((3, 5), (0, 5), (3, 8), (2, 5))],
            5: [tiles(512), (16, 0, 16), (12, 4, 16), (28, 4, 0)],
        },
        "08": {
            1: [hidden, round(0.15 * 512), round(0.15 * 509), round(0.8 * hidden)],
            2: [(ln(2) + 2 * ln(4)) / 3, ln(32), ln(32) / 20, -ln((0.5 + 0.25 + 0.25) / 3)],
            3: [fits / (fits + 1 / 30522), fits, 0.5, 0.1],
            4: [p[0] / p.sum(), p[0], 0.1, 0.2 / (1 - 0.8**10)],
            5: [1 + 6 + 1, 6, 1 + 6, 1 + 6 + 2],
        },
        "10": {
            1: [warm, cold, 0.5, 0.9 / 2],
            2: [kept, 0.5 / 0.75, 0.5, 0.5 / 0.8],
            3: [cache_size, cache_size / 2, cache_size * 2, cache_size / 24],
            4: [(sum(range(10, 60)), 59), (1275, 50), (1725, 60), (50 * 60, 59)],
            5: [1 / (1 / 2 + 1), 0.2 / 0.3, 0.4 / 0.5, 0.4 / 0.5],
            6: [removed, 0, 1 / 2, 1 - removed],
        },
        "11": rows_11(),
        "12": {
            1: [
                float(contrastive.alignment_loss(*map(Tensor, ([[3.0, 4]], [[4.0, 3]]))).numpy()),
                (3 - 4) ** 2 + (4 - 3) ** 2,
                24 / 25,
                1 - 24 / 25,
            ],
            2: [contrastive.chance_level("nt_xent", 32), ln(32), ln(64), ln(31)],
            3: [*(ln(1 + 254 * e(-1 / t)) for t in (0.5, 0.1)), ln(255), 0],
            4: [contrast("info_nce", temperature=1), contrast("nt_xent", temperature=1), ln(2), 0],
            5: [semi.mean(), hard.mean(), every.mean(), every[every > 0].mean()],
            6: [contrastive.information_bound(1.5, 128), 1.5, ln(128), 7 - 1.5],
            7: [roc([0.8, 0.5], [0.6, 0.1]).area, 0.5, 1, (0.8 + 0.5) / 2],
            8: [1 / root(1024), 1, 1 / 1024, 1 / root(64)],
        },
    }  # fmt: skip


def lane(which, number):
    read = consecutive_windows(np.arange(24), 3, 4, number)[which]
    return int(read[0]), int(read[-2])  # the last is only predicted


@pytest.mark.parametrize("page", LECTURES)
def test_every_number_is_computed(page):
    """Each choice is one of the row's values, and the answer is the first of them."""
    for number, (kind, _, choices, _, answer) in questions(page).items():
        computed = rows()[page].get(number)
        shown = {letter: numerals(text) for letter, text in choices.items()}
        if computed is None:
            assert kind != "Number", (page, number)
            assert not shown or not all(shown.values()), (page, number)
            continue
        assert len(computed) == len(choices), (page, number)
        left = [values if isinstance(values, tuple) else (values,) for values in computed]
        right = re.match(r"\*\*([A-D])\.\*\*", answer)[1]
        for letter in (right, *(choices.keys() - {right})):
            fits = [values for values in left if agree(shown[letter], values)]
            assert fits, (page, number, letter, choices[letter], left)
            if letter == right:
                assert fits[0] == left[0], (page, number, "the answer is another one")
            left.remove(min(fits, key=lambda values: abs(values[0] - shown[letter][0][1])))


def agree(shown, values):
    """Whether the printed numbers are these, to the last digit that is printed."""
    return len(shown) == len(values) and all(
        abs(printed - value) <= 0.5001 * 10.0 ** -len(text.partition(".")[2])
        for (text, printed), value in zip(shown, values)
    )


def test_batch_norm_forgets_a_vector_that_is_its_own_batch():
    norm = BatchNorm(3)
    norm.bias.array[:] = [1, 2, 3]
    for row in ([1.0, 5.0, 9.0], [-4.0, 0.0, 2.0]):
        said = norm(Tensor(np.array([row, row], np.float32))).numpy()
        np.testing.assert_allclose(said, [[1, 2, 3]] * 2)  # question 7 of quiz 00


def test_what_answers_say_beside_their_choices():
    """Numbers in explanations: each stands there, and is right to its last digit."""
    for page, number, shown, value in (
        ("00", 2, "1/5", 0.2),
        ("00", 3, "13.5", (28 + 4 - 5) / 2),
        ("00", 4, "0.0316", root(0.001)),
        ("04", 2, "0.313", -ln(sigmoid(1))),
        ("05", 3, "0.205", 512 * 0.02**2),
        ("05", 6, "0.881", sigmoid(2)),
        ("07", 1, "0.368", e(-1)),
        ("07", 1, "1.368", 1 + e(-1)),
        ("07", 1, "14.207", 6 * e(-1) + 12),
        ("07", 6, "2,400,000,000", 40_000 * 60_000),
        ("07", 6, "2,147,483,648", 2**31),
        ("07", 9, "2.4", 0.945 / 0.399),
        ("08", 1, "70.35", 0.15 * 469),
        ("08", 3, "0.0000328", 1 / 30522),
        ("10", 5, "0.889", 0.2 * 0.4 / (0.2 * 0.4 + 0.1 * 0.1)),
        ("12", 11, "0.023", ln(1 + 510 * e(-10))),
        ("12", 11, "4.249", ln(1 + 510 * e(-2))),
    ):
        answer = questions(page)[number][-1]
        assert re.search(rf"(?<![\d.]){re.escape(shown)}(?!\d)", answer), (page, number, shown)
        if "/" not in shown:
            assert agree(numerals(shown), (value,)), (page, number, shown, value)

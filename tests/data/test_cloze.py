"""Cloze pairs: files with their faults, and counts by hand on a model whose scores are known."""

import math

import numpy as np
import pytest

from minissl.data.cloze import (
    BATCH,
    ClozePair,
    KindScore,
    answer_scores,
    by_kind,
    read_pairs,
    score_pairs,
    small_zoo,
    to_tsv,
)

PAIRS = [
    ClozePair("number", "put two", " forks", " fork"),
    ClozePair("letter", "", "A", "B"),
    ClozePair("number", "put a", " fork", " forks"),
    ClozePair("number", "#1 ünd", ", dann", ", wann"),
]


class Toy:
    """A model whose ln p is the length of the prompt plus a number for each answer."""

    def __init__(self, known):
        self.known, self.asked = known, []

    def score(self, prompts, answers):
        self.asked.append(len(prompts))
        return np.array([len(p) + self.known[a] for p, a in zip(prompts, answers, strict=True)])


def write(folder, data):
    path = folder / "pairs.tsv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


# ---- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("header", [True, False])
def test_what_is_written_is_read(tmp_path, end, header):
    text = to_tsv(PAIRS) if header else to_tsv(PAIRS).split("\n", 1)[1]
    assert read_pairs(write(tmp_path, text.replace("\n", end))) == PAIRS
    assert read_pairs(write(tmp_path, f"{end}{text.replace(chr(10), end + end)}")) == PAIRS


def test_the_zoo_is_written_and_read(tmp_path):
    pairs = small_zoo(10, 3)
    assert len(pairs) == 70
    assert read_pairs(write(tmp_path, to_tsv(pairs))) == pairs
    assert all(pair.right[0] == pair.wrong[0] == " " for pair in pairs)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("", "it has no pair"),
        ("kind\tprompt\tright\twrong\n", "it has no pair"),
        ("Kind\tPrompt\tRight\tWrong\n", "it has no pair"),
        ("a\tb\t c\t d\na\tb\t c\n", r"line 2 has 3 column.s., expected 4 with tabs .* 'a\\tb"),
        ("a\tb\t c\t d\t\n", r"line 1 has 5 column"),
        ("a,b, c, d\n", r"line 1 has 1 column"),
        ("a\tb\t c\t d\n\n\tb\t c\t d\n", "line 3: the kind or an answer is empty"),
        ("a\tb\t\t d\n", "line 1: the kind or an answer is empty"),
        ("a\tb\t c\t \n", "line 1: the kind or an answer is empty"),
        ("a\tb\t c\t c\n", "line 1: both answers are ' c': one must be wrong"),
        ("a\tb \t c\t d\n", "line 1: the prompt 'b ' ends with a space"),
        ("a\tb\tc\t d\n", "line 1: the answers 'c' and ' d' begin or end with other spaces"),
        ("a\tb\t  c\t d\n", "begin or end with other spaces: give the same to both"),
        ("a\tb\t c\t d \n", "' d ' begin or end with other .* --write-pairs FILE"),
        ("a\tb\t c\t d\nkind\tprompt\tright\twrong\tx\n", "line 2 has 5"),
        (b"a\tb\t c\t \xff\n", "not UTF-8"),
        (b"a\tb\t c\t d\0\n", "NUL"),
    ],
)
def test_a_damaged_file_is_refused_with_its_name_and_line(tmp_path, data, said):
    path = write(tmp_path, data)
    with pytest.raises(ValueError, match=said) as caught:
        read_pairs(path)
    assert str(path) in str(caught.value)


def test_what_a_line_cannot_hold_is_refused():
    for prompt in ("a\tb", "a\nb", "a\rb"):
        with pytest.raises(ValueError, match="a tab or the end of a line cannot be written"):
            to_tsv([ClozePair("kind", prompt, " a", " b")])


# ---- scores --------------------------------------------------------------------------------------


def test_kinds_are_counted_by_hand():
    known = {" forks": -1.0, " fork": -2.5, "A": -3.0, "B": -3.0, ", dann": -7.0, ", wann": -4.0}
    assert score_pairs(Toy(known), PAIRS) == [
        KindScore("number", 3, pytest.approx(1 / 3), pytest.approx((1.5 - 1.5 - 3) / 3)),
        KindScore("letter", 1, 0.5, 0.0),  # equals: half
    ]


def test_every_pair_has_its_scores_whatever_the_batches():
    count = 2 * BATCH + 3
    pairs = [ClozePair("x", "a" * i, f"r{i}", f"w{i}") for i in range(count)]
    known = {f"{letter}{i}": -math.sqrt(i + shift) for i in range(count)
             for letter, shift in (("r", 1), ("w", 5))}  # fmt: skip
    toy, seen = Toy(known), []
    scores = answer_scores(toy, pairs, lambda batches: seen.append(len(batches)) or batches)
    expected = [[i + known[f"r{i}"], i + known[f"w{i}"]] for i in range(count)]
    np.testing.assert_array_equal(scores, expected)
    assert (seen, toy.asked) == ([3], [2 * BATCH, 2 * BATCH, 6])
    assert by_kind(pairs, scores)[0].right == 1.0


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_a_score_that_is_no_number_is_refused_with_its_pair(bad):
    known = {" forks": -1.0, " fork": -2.0, "A": bad, "B": -3.0}
    with pytest.raises(ValueError, match=r"no finite score to 'letter\\t\\tA\\tB'"):
        answer_scores(Toy(known), PAIRS[:3])


def test_more_than_there_are_is_refused():
    with pytest.raises(ValueError, match="about trivia, asked for 200"):
        small_zoo(200)

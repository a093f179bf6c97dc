"""Training and held-out text: the share, nothing lost, order, copies, and the rule for many."""

import hashlib
import random
import re
from collections import Counter
from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minissl.text.documents import (
    Document,
    cut,
    held_out_share,
    read_text_documents,
    split_documents,
)

relaxed = settings(deadline=None, max_examples=150)
PROSE = "It was a dark night; rain fell on 12 roofs.\n\nNobody slept. Naïve 你好 🙂 cats\r\n"


def documents_of(texts):
    return [Document(f"d{i}", "source", text) for i, text in enumerate(texts)]


@cache
def filler(kind, size, seed=0):
    """A text of so many characters."""
    if kind == "one letter":
        return "a" * size
    if kind == "noise":  # no two stretches alike, no blank line, all on one line
        return "".join(random.Random(seed).choices("abcdefgh 你🙂", k=size))
    if kind == "lines":
        words = random.Random(seed).choices(PROSE.split(" "), k=size // 2 + 1)
        return (" ".join(words) + PROSE * (size // len(PROSE) + 1))[:size]
    return (PROSE * (size // len(PROSE) + 1))[:size]  # "copies": the same few lines


KINDS = st.sampled_from(["one letter", "noise", "lines", "copies"])


def check(documents, fraction=0.05, low=0.03, high=0.15):
    """Everything that holds for fewer than 200 documents of any kind; returns both parts."""
    train, held_out = split_documents(documents, fraction)
    assert (train, held_out) == split_documents(list(documents), fraction)
    assert low <= held_out_share(train, held_out) <= high
    assert train
    assert held_out
    assert all(document.text for document in train + held_out)
    names = [document.name for document in train + held_out]
    assert len(set(names)) == len(names)
    for document in documents:
        assert together(document, train, held_out) == document.text
    original = [document.name for document in documents]
    for part in (train, held_out):
        places = [place(document.name, original) for document in part]
        assert places == sorted(places)
    return train, held_out


def place(name, names):
    """The number of the document a name belongs to, and of the first piece."""
    whole, first = re.fullmatch(r"(.*?)(?:\[(\d+)(?:-\d+)?\])?", name).groups()
    return (names.index(name), 0) if name in names else (names.index(whole), int(first))


def together(document, train, held_out):
    """The parts of a document, put in the order that their names tell."""
    found = {}
    for part in train + held_out:
        if part.name == document.name:
            return part.text
        if match := re.fullmatch(re.escape(document.name) + r"\[(\d+)(?:-(\d+))?\]", part.name):
            found[int(match[1])] = (int(match[2] or match[1]), part.text)
    following = 0
    for first in sorted(found):
        assert first == following, "a piece is missing or there twice"
        following = found[first][0] + 1
    return "".join(found[first][1] for first in sorted(found))


# ---- few documents -------------------------------------------------------------------------------


@relaxed
@given(KINDS, st.integers(20, 60_000), st.integers(0, 99))
@example("noise", 20, 0)
@example("lines", 10_001, 0)
@example("noise", 12_000, 0)
@example("lines", 1_999_999, 0)
@example("one letter", 2_000_000, 0)
@example("copies", 2_000_000, 0)
def test_a_text_of_any_size_is_held_out_to_a_twentieth(kind, size, seed):
    check(documents_of([filler(kind, size, seed)]))


@pytest.mark.parametrize("size", [20, 300, 9_999, 10_000, 10_001, 12_000, 30_000, 400_000])
def test_a_file_of_any_size_is_held_out_to_a_twentieth(size, tmp_path):
    for seed in range(5):
        (tmp_path / "book.txt").write_text(filler("lines", size, seed), encoding="utf-8")
        documents = read_text_documents(tmp_path / "book.txt")
        train, held_out = check(documents)
        assert 0.05 <= held_out_share(train, held_out) <= 0.075 + 1 / size


@relaxed
@given(
    st.lists(st.tuples(KINDS, st.integers(0, 2_000), st.integers(0, 3)), min_size=1, max_size=30),
    st.integers(0, 20_000),
)
@example([("copies", 7, 0)] * 29, 20_000)
@example([("noise", 2_000, 1)] * 10, 0)
@example([("noise", 0, 0), ("noise", 20, 0), ("noise", 0, 0)], 0)
@example([("one letter", 1, 0)] * 20, 0)
def test_documents_of_any_sizes(shapes, huge):
    """Huge ones and empty ones, equal ones, with blank lines and without."""
    texts = [filler(*shape) for shape in shapes] + [filler("noise", huge)]
    if sum(map(len, texts)) >= 20:
        check(documents_of(texts))


@relaxed
@given(st.text(min_size=20, max_size=300))
def test_any_text(text):
    check(documents_of([text]))


@relaxed
@given(KINDS, st.integers(20, 3_000), st.floats(0.001, 0.999))
def test_other_fractions(kind, size, fraction):
    one = 1 / size  # a character
    low, high = min(0.6 * fraction, 1 - one) - one, max(3 * fraction, fraction + one)
    check(documents_of([filler(kind, size)]), fraction, low, min(high, 1 - one + 1e-9))


def test_the_training_text_is_the_text_with_holes():
    text = filler("noise", 40_000)
    pieces = [piece.text for piece in cut(Document("d0", "source", text), 1_000)]
    assert len(pieces) == 40
    smallest = sorted(pieces, key=lambda piece: hashlib.sha256(piece.encode()).digest())[:2]
    first, second = sorted(map(pieces.index, smallest))
    assert 0 < first < second - 1 < 38
    train, held_out = split_documents(documents_of([text]))
    assert [d.text for d in held_out] == [pieces[first], pieces[second]]
    assert [d.name for d in held_out] == [f"d0[{first}]", f"d0[{second}]"]
    runs = [pieces[:first], pieces[first + 1 : second], pieces[second + 1 :]]
    assert [d.text for d in train] == ["".join(run) for run in runs]
    assert train[2].name == f"d0[{second + 1}-39]"


def test_small_documents_stay_whole_and_keep_their_names():
    documents = documents_of([filler("noise", 100 + i, i) for i in range(100)])
    train, held_out = check(documents)
    assert set(train) | set(held_out) == set(documents)
    assert len(held_out) < 10


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 40), min_size=150, max_size=199))
def test_copies_stand_on_one_side(seeds):
    """Of 41 texts some occur often, none so often that it must stand on both sides."""
    texts = [filler("noise", 50, seed) for seed in seeds]
    train, held_out = check(documents_of(texts))
    if max(Counter(texts).values()) <= 0.1 * len(texts):
        assert not {d.text for d in train} & {d.text for d in held_out}


def test_a_text_that_is_most_of_everything_is_not_held_out_for_its_hash():
    common, rare = filler("noise", 50, 1), [filler("noise", 50, seed) for seed in range(2, 12)]
    train, held_out = check(documents_of([common] * 90 + rare))
    assert {d.text for d in held_out} <= set(rare)
    assert [d.text for d in train].count(common) == 90


def test_a_little_less_than_the_fraction_is_better_than_copies_on_both_sides():
    common, rare = filler("noise", 50, 1), filler("noise", 50, 2)
    _, held_out = check(documents_of([common] * 96 + [rare] * 4))
    assert [d.text for d in held_out] == [rare] * 4


@pytest.mark.parametrize("kinds", [("copies", "noise", "lines"), ("noise",)])
def test_the_order_of_the_documents_moves_none_to_the_other_side(kinds):
    """With one kind all documents are equal, and only their names are left to decide."""
    documents = documents_of([filler(kind, 900) for kind in kinds] * 40)
    expected = [{d.name for d in part} for part in split_documents(documents)]
    for seed in range(5):
        shuffled = random.Random(seed).sample(documents, len(documents))
        assert [{d.name for d in part} for part in check(shuffled)] == expected


# ---- 200 documents or more -----------------------------------------------------------------------


def rule_of_hashes(documents, fraction):
    """As lecture 5 tells it: the first 8 bytes of the sha256 as a number below the fraction."""
    hashes = {d: hashlib.sha256(d.text.encode()).digest() for d in documents}
    order = sorted(documents, key=hashes.__getitem__)
    below = [int.from_bytes(hashes[d][:8], "big") < round(fraction * 2**64) for d in order]
    number = min(max(sum(below), 1), len(order) - 1)
    return order[number:], order[:number]


@settings(deadline=None, max_examples=30)
@given(st.integers(200, 260), st.integers(0, 1000), st.sampled_from([0.0001, 0.05, 0.3, 0.9999]))
def test_many_documents_are_split_by_hash_alone(number, seed, fraction):
    documents = documents_of([filler("noise", 40, seed + i) for i in range(number)])
    expected = rule_of_hashes(documents, fraction)
    assert split_documents(documents, fraction) == expected
    random.Random(seed).shuffle(documents)
    assert split_documents(documents, fraction) == expected


@settings(deadline=None, max_examples=30)
@given(st.randoms(use_true_random=False), st.sampled_from([0.1, 0.5]))
def test_of_many_a_documents_part_and_place_do_not_depend_on_the_others(chance, fraction):
    documents = documents_of([filler("noise", 30, seed) for seed in range(400)])
    train, held_out = split_documents(documents, fraction)
    some = chance.sample(documents, chance.randint(200, 400))
    assert split_documents(some, fraction) == (
        [d for d in train if d in some],
        [d for d in held_out if d in some],
    )


def test_the_rule_changes_at_200_documents():
    documents = documents_of([filler("noise", 50, seed) for seed in range(200)])
    assert split_documents(documents) == rule_of_hashes(documents, 0.05)
    check(documents[:199])


# ---- what cannot be split ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "fraction", "message"),
    [
        ([], 0.5, r"0 character\(s\) in 0 document\(s\) cannot be split .* at least 20"),
        (["", ""], 0.5, r"0 character\(s\) in 2 document\(s\)"),
        (["x" * 10, "y" * 9], 0.5, r"19 character\(s\) in 2 document\(s\) .* give more text"),
        ([PROSE], 0.0, "expected between 0 and 1"),
        ([PROSE], 1.0, "expected between 0 and 1"),
        ([PROSE], float("nan"), "expected between 0 and 1"),
    ],
)
def test_impossible_splits_are_refused(texts, fraction, message):
    with pytest.raises(ValueError, match=message):
        split_documents(documents_of(texts), fraction)


def test_the_share_counts_characters():
    train, held_out = documents_of(["é" * 30, "b" * 30]), documents_of(["🙂" * 20])
    assert held_out_share(train, held_out) == 0.25
    assert held_out_share(train, []) == held_out_share([], []) == 0.0

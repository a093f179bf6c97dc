"""The windows of truncated back-propagation against lists, and their refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minissl.data import Kept
from minissl.data.streams import consecutive_windows
from minissl.data.words import WordOptions, WordSequenceTexts, WordTexts, to_stream
from minissl.pretrain.language.elmo import with_boundaries
from minissl.text.documents import Document


def by_hand(stream, lanes, length, number):
    """Walk: each lane stands at its beginning and takes ``number`` windows, then one more token."""
    found = []
    for lane in range(lanes):
        place = lane * len(stream) // lanes
        for _ in range(number * length):
            place = place + 1 if place + 1 < len(stream) else 0
        row = []
        for _ in range(length + 1):
            row.append(stream[place])
            place = place + 1 if place + 1 < len(stream) else 0
        found.append(row)
    return found


@given(st.integers(2, 30), st.integers(1, 8), st.integers(1, 12), st.integers(0, 9))
def test_windows_against_lists(time, lanes, length, number):
    stream = np.arange(100, 100 + max(time, length + 1, lanes), dtype=np.uint8)
    windows = consecutive_windows(stream, lanes, length, number)
    assert windows.dtype == stream.dtype
    assert windows.tolist() == by_hand(stream.tolist(), lanes, length, number)
    after = consecutive_windows(stream, lanes, length, number + 1)
    np.testing.assert_array_equal(windows[:, -1], after[:, 0])


def test_examples():
    stream = np.arange(6)
    assert consecutive_windows(stream, 2, 2, 0).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert consecutive_windows(stream, 2, 2, 1).tolist() == [[2, 3, 4], [5, 0, 1]]
    far = consecutive_windows(stream, 2, 2, 10**12)  # where a long run is
    assert far.tolist() == consecutive_windows(stream, 2, 2, 10**12 % 3).tolist()


def test_every_token_is_predicted_once_in_a_pass():
    stream = np.arange(24)
    targets = [consecutive_windows(stream, 3, 4, number)[:, 1:] for number in range(2)]
    assert sorted(np.concatenate(targets).ravel()) == list(range(24))


@pytest.mark.parametrize(
    ("time", "lanes", "length", "number"),
    [(6, 0, 2, 0), (6, 2, 0, 0), (6, 2, 2, -1), (2, 1, 2, 0), (3, 4, 1, 0), (0, 1, 1, 0)],
)
def test_refusals(time, lanes, length, number):
    with pytest.raises(ValueError, match=r"window -?\d+ of length \d in \d lanes of a stream"):
        consecutive_windows(np.arange(time), lanes, length, number)


def test_a_stream_of_two_axes_is_refused():
    with pytest.raises(ValueError, match=r"of shape \(4, 6\): expected"):
        consecutive_windows(np.zeros((4, 6), int), 2, 2, 0)


# ---- words in sequences -------------------------------------------------------------------------


def test_sequences_keep_unknown_words_where_they_are():
    documents = [[3, 0, 1], [], [0], [2, 2]]
    kept = to_stream(documents, known_only=False)
    assert kept.words.tolist() == [3, 0, 1, 0, 2, 2]
    assert kept.documents.tolist() == [0, 0, 0, 2, 3, 3]
    known = to_stream(documents)
    assert known.words.tolist() == [3, 1, 2, 2]
    assert known.documents.tolist() == [0, 0, 3, 3]


def test_boundaries_against_lists():
    documents = [[3, 0, 1], [], [0], [2, 2]]
    found = with_boundaries(to_stream(documents, known_only=False), 9)
    assert found.tolist() == [9, 3, 0, 1, 9, 0, 9, 2, 2, 9]
    assert found.dtype == np.int64
    assert with_boundaries(to_stream([]), 9).tolist() == []


@pytest.mark.parametrize(("kind", "unknown"), [(WordTexts, 0), (WordSequenceTexts, 1)])
def test_both_parts_are_made_alike_and_say_what_they_have(kind, unknown):
    options = WordOptions(min_count=2)
    raw = kind(
        [Document(f"{i}.txt", "", f"the dog saw the cat number{i} the dog ran") for i in range(40)]
    )
    data = raw.prepare(Kept(), options)
    both = len(data.stream) + len(data.held_out)  # a document may be cut inside a word
    assert 40 * (8 + unknown) <= both < 40 * (8 + unknown) + 8
    assert len(data.held_out) > 0
    for stream in (data.stream, data.held_out):
        assert (stream.words == 0).any() == unknown
    fresh = data.unseen(kind([Document("x", "", "the dog unheard the cat")]))
    assert len(fresh.held_out) == 4 + unknown
    assert len(fresh.stream) == 0
    words = "words" if unknown else "known words"
    assert f" {len(data.stream):,} {words} to train on" in data.describe()
    new = kind([Document("x", "", "The DOG, unheard-of: cat's!"), Document("y", "", "")])
    assert data.pieces(new) == [["the", "dog", "unheard", "of", "cat's"], []]
    assert [len(one) for one in data.examples(new).inputs] == [5, 0]

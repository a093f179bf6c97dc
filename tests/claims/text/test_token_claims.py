"""The claims about tokens: what they count, by hand."""

from collections import Counter

import pytest

from minissl.claims import gpt_on_english as english
from minissl.claims.claim import Setup
from minissl.claims.experiments.text import segmentation, subwords
from minissl.text import Tokenizer
from minissl.text.documents import Document
from tests.claims.reading import require_whole

NAMES = ("segmentation", "subwords")
SEEDS = [0, 1]


def documents(*texts):
    return [Document(f"document {number}", "here", text) for number, text in enumerate(texts)]


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_runs_from_end_to_end(runs, name):
    result, folder = runs(name)
    require_whole(name, result, folder)
    for row in result["table"].values():
        for column, cell in row.items():
            assert "%" not in column or 0 <= cell["low"] <= cell["high"]


@pytest.mark.parametrize(
    ("name", "baselines"),
    [
        ("segmentation", {"bytes"}),
        ("subwords", {subwords.CHARACTERS, "words, 4,096"}),
    ],
)
def test_simple_baselines_stand_beside_the_claim(runs, name, baselines):
    assert baselines <= set(runs(name)[0]["table"])


def test_unknown_words_by_hand():
    new = subwords.count_words(documents("The cat, the dog2", "the don't"))
    assert new == {"The": 1, "cat": 1, "the": 2, "dog": 1, "don": 1, "t": 1}
    found = subwords.words_known({"the", "cat", "laern"}, new)
    assert found == {"unknown words (%)": pytest.approx(100 * 4 / 7), "invented words kept": 1}
    found = subwords.characters_known(set("thecadogn lr"), new, "")
    assert found["unknown words (%)"] == pytest.approx(100 * 1 / 7)  # the T of The
    assert found["invented words kept"] == 1


def test_a_smaller_tokenizer_is_what_training_would_have_given():
    texts = [document.text for document in english.english(Setup(0, {"documents": 60}))[0]]
    large = Tokenizer.train(texts, 500)
    assert subwords.smaller(large, 300).ranks == Tokenizer.train(texts, 300).ranks


def test_pieces_against_rank_by_hand():
    tokenizer = Tokenizer.from_merges([(b" ", b"a"), (b" a", b"b")])
    counts = Counter({"ab": 9, "abc": 5, "x": 3, "xyz": 1, "a": 1})
    ranks, pieces = subwords.pieces_by_rank(tokenizer, counts, 4)
    assert ranks == pytest.approx([2**0.5, 2 * 2**0.5])
    assert pieces == [1, (2 + 2) / 2]  # " ab"; " ab|c" and " |x"


def test_a_word_that_is_lost_is_counted():
    class Forgetful(Tokenizer):
        def decode(self, ids, errors="replace"):
            return super().decode(ids, errors).replace("q", "")

    tokenizer = Forgetful.from_merges([])
    assert subwords.not_restored(tokenizer, Counter({"queue": 3, "list": 5})) == 3


def test_pieces_of_the_subwords_claim(runs):
    table = runs("subwords")[0]["table"]
    for size in ("512", "4,096", "8,192"):
        row = table[f"BPE, {size}"]
        assert row["unknown words (%)"]["high"] == 0
        assert row["pieces, common words"]["high"] < row["pieces, unseen words"]["low"]
    assert table["words, 512"]["unknown words (%)"]["low"] > 10


def test_segmentations_are_counted_by_hand():
    ranks = {bytes([b]): b for b in range(256)}
    ranks |= {t: 256 + i for i, t in enumerate([b"ab", b"bc", b"cd", b"abc", b"bcde", b"de"])}
    words = {b"abcde": 2, b"abcd": 3, b"de": 5, b"x": 1}
    # merges: ab cd e | ab cd | de;  longest: abc de | abc d | de;  fewest: abc de | abc d | de
    rows = segmentation.compare(words, segmentation.ways(ranks, 0))
    assert rows["fewest pieces"]["bytes per token"] == (10 + 12 + 10 + 1) / (4 + 6 + 5 + 1)
    merges = rows["merges replayed"]
    assert merges["more than needed (%)"] == pytest.approx(100 * 2 / 16)
    assert merges["not the fewest (%)"] == pytest.approx(100 * 2 / 5)
    assert merges["not as by merges (%)"] == 0
    longest = rows["longest match"]
    assert longest["not the fewest (%)"] == 0
    assert longest["not as by merges (%)"] == 100
    assert all(row["words below the fewest"] == 0 for row in rows.values())


def test_what_is_below_the_fewest_would_be_noticed():
    ways = {**segmentation.ways({b"a": 0}, 0), "lossy": lambda word: [b"a"]}
    ways[segmentation.MERGES] = ways[segmentation.FEWEST]
    rows = segmentation.compare({b"aa": 1, b"aaa": 1}, ways)
    assert rows["lossy"]["words below the fewest"] == 2

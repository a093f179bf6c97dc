"""The claims about vocabularies that grow: what they count, by hand."""

from collections import Counter

import numpy as np
import pytest

from minissl.claims.experiments.text import agglutination, word_growth
from minissl.claims.experiments.text.agglutination import Verb, conjugate, holder
from minissl.text import Bytes, Characters, Tokenizer, WordVocabulary, words_of
from tests.claims.reading import require_whole

NAMES = ("agglutination", "word-growth")
SEEDS = [0, 1]


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_runs_from_end_to_end(runs, name):
    result, folder = runs(name)
    require_whole(name, result, folder)
    for row in result["table"].values():
        for column, cell in row.items():
            assert "%" not in column or 0 <= cell["low"] <= cell["high"] <= 100


# ---- growth --------------------------------------------------------------------------------------


def test_growth_by_hand():
    stream = "ab ac abd ae a a a a f g".split(" ") + list("hhhhhhhhhi")
    firsts = word_growth.first_times(stream)
    assert firsts.tolist() == [0, 1, 2, 3, 4, 8, 9, 10, 19]
    found = word_growth.growth(firsts, 20)
    assert found[word_growth.ALL] == 9
    assert found[word_growth.EXPONENT] == pytest.approx(np.log2(9 / 7))  # 7 among the first ten
    assert found[word_growth.NEW] == 1000 * 1 / 2  # of the last two items one


def test_heaps_exponent_is_found():
    """A stream of which as many items are new as a power of the length says."""
    length, power = 200_000, 0.55
    different = np.ceil(np.arange(1, length + 1) ** power).astype(int)
    firsts = word_growth.first_times(different.tolist())
    found = word_growth.growth(firsts, length)
    assert found[word_growth.EXPONENT] == pytest.approx(power, abs=1e-3)
    expected = 1000 * (length**power - (0.9 * length) ** power) / (0.1 * length)
    assert found[word_growth.NEW] == pytest.approx(expected, rel=0.05)
    read, seen = word_growth.counted(firsts, length)
    assert (read[0], read[-1], seen[-1]) == (100, length, len(firsts))
    for n, count in zip(read, seen):
        assert count == len(set(different[:n]))


def test_words_that_do_not_come_back_are_lost():
    words = Counter({"dog": 3, "laern": 1})
    assert word_growth.lost(WordVocabulary({"dog": 1, "learn": 1}), words) == 25
    assert word_growth.lost(Characters("dog, lear"), words) == 25  # it has no n
    assert word_growth.lost(Bytes(), words) == 0
    assert word_growth.lost(Tokenizer.from_merges([]), words) == 0


def test_words_are_lost_and_subwords_are_not(runs):
    table = runs("word-growth")[0]["table"]
    unknown = {row: cells[word_growth.UNKNOWN] for row, cells in table.items()}
    assert unknown["BPE, 4,096"]["high"] == 0
    assert unknown[word_growth.FREQUENT]["low"] > unknown[word_growth.WORDS]["high"] > 0


# ---- a language of verbs -------------------------------------------------------------------------


def test_a_verb_is_conjugated():
    verbs = conjugate("pend", agglutination.BEFORE, agglutination.AFTER)
    assert len({verb.form for verb in verbs}) == len(verbs) == 6 * 5 * 5 * 3 == 450
    assert all(verb.form[verb.start : verb.end] == "pend" for verb in verbs)
    (found,) = [verb for verb in verbs if verb.form == "ninakupenda"]
    assert found == Verb("ninakupenda", 6, 10, 1 / 2 * 1 * 1 / 3 * 1)
    few = [verb.form for verb in conjugate("walk", *agglutination.FEW)]
    assert few == ["walka", "walkas", "walkaed", "walkaing"]


def test_no_form_belongs_to_two_stems():
    stems = agglutination.make_stems(60, np.random.default_rng(0))
    assert stems == agglutination.make_stems(60, np.random.default_rng(0))
    forms = [
        verb.form
        for stem in stems
        for verb in conjugate(stem, agglutination.BEFORE, agglutination.AFTER)
    ]
    assert len(set(forms)) == len(forms) == 60 * 450
    assert [words_of(form) for form in forms[::99]] == [[form] for form in forms[::99]]


def test_a_text_has_the_forms_as_often_as_they_are_frequent():
    verbs = [[Verb("a", 0, 1, 1.0), Verb("b", 0, 1, 0.5)], [Verb("c", 0, 1, 1.0)]]
    text = Counter(agglutination.write(verbs, 40_000, np.random.default_rng(0)))
    for form, weight in {"a": 1.0, "b": 0.5, "c": 0.5}.items():
        assert text[form] / 40_000 == pytest.approx(weight / 2, abs=0.01)
    assert agglutination.grown(list("aabacdda"), 4) == ([2, 4, 6, 8], [1, 2, 4, 4])


@pytest.mark.parametrize(
    ("pieces", "found"),
    [
        ([" nina", "kupend", "a"], "kupend"),
        ([" ninaku", "pend", "a"], "pend"),
        ([" ninakupenda"], " ninakupenda"),
        ([" ", "ninaku", "penda"], "penda"),
        ([" ninaku", "pe", "nda"], None),
        (list(" ninakupenda"), None),
        ([" ninakup", "enda"], None),
    ],
)
def test_the_piece_that_holds_the_stem(pieces, found):
    verb = Verb("ninakupenda", 6, 10, 1.0)
    assert "".join(pieces) == " " + verb.form
    assert holder(verb, pieces) == found


def test_pieces_by_hand():
    one, two, three = (Verb("a" * n + "pend" + "a", n, n + 4, 1.0) for n in (0, 1, 2))
    cuts = {" penda": [" pend", "a"], " apenda": [" a", "pend", "a"], " aapenda": [" aap", "enda"]}
    found = agglutination.of_pieces(cuts.get, [[one, two], [three]], [[two], [three]])
    assert found[agglutination.ROWS] == (2 + 0) / 2  # " pend" and "pend"; none
    assert found[agglutination.WHOLE] == 50
    assert found[agglutination.PIECES] == (3 + 2) / 2
    vocabulary = WordVocabulary({"penda": 1, "aapenda": 1})
    found = agglutination.of_words(vocabulary, [[one, two], [three]], [[two], [three]])
    assert found[agglutination.ROWS] == (1 + 1) / 2
    assert found[agglutination.UNKNOWN] == 50


def test_random_cuts_have_the_same_lengths():
    cut = agglutination.at_random(
        lambda text: [text[:1], text[1:4], text[4:]], np.random.default_rng(0)
    )
    found = {tuple(map(len, cut(" ninapenda"))) for _ in range(60)}
    assert found == {(1, 3, 6), (1, 6, 3), (3, 1, 6), (3, 6, 1), (6, 1, 3), (6, 3, 1)}
    assert "".join(cut(" ninapenda")) == " ninapenda"


def test_tokens_are_those_of_the_tokenizer():
    text = " ".join(agglutination.make_stems(20, np.random.default_rng(1)))
    tokenizer = Tokenizer.train(text, 300)
    for word in text.split():
        pieces = agglutination.tokens_of(tokenizer)(" " + word)
        assert pieces == [tokenizer.decode([i]) for i in tokenizer.encode(" " + word)]


def test_every_unseen_form_is_unknown_to_words_alone(runs):
    table = runs("agglutination")[0]["table"]
    unknown = agglutination.UNKNOWN
    assert table[agglutination.WORDS][unknown]["low"] == 100
    assert table[agglutination.MAIN][unknown]["high"] == 0
    assert table[agglutination.BYTES][agglutination.WHOLE]["high"] == 0

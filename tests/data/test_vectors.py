"""Neighbours and analogies: by hand, and against float64 NumPy and gensim."""

import numpy as np
import pytest

from minissl.data import vectors as module
from minissl.data.vectors import WordVectors, analogy_scores

# Two plain numbers: how royal, how male.
PLANE = WordVectors(
    ["king", "queen", "man", "woman", "throne", "nothing"],
    [[2, 1], [2, -1], [0.1, 1], [0.1, -1], [3, 0], [0, 0]],
)


def drawn(count=60, width=8, seed=0):
    matrix = np.random.default_rng(seed).standard_normal((count, width))
    return WordVectors([f"w{i}" for i in range(count)], matrix)


def cosines(vectors):
    matrix = vectors.matrix.astype(np.float64)
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    return unit @ unit.T


def names(scored):
    return [word for word, _ in scored]


# ---- words and their vectors ---------------------------------------------------------------------


def test_it_is_like_a_dictionary():
    assert len(PLANE) == 6
    assert "king" in PLANE
    assert "emperor" not in PLANE
    assert [*PLANE] == PLANE.words
    assert PLANE["queen"].tolist() == [2, -1]
    assert (PLANE["queen"].dtype, PLANE.width) == (np.float32, 2)


def test_what_is_given_is_not_changed_and_changes_nothing():
    given = np.ones((2, 3), np.float32)
    vectors = WordVectors(["a", "b"], given)
    given[:] = 7
    assert vectors["a"].tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="read-only"):
        vectors["a"][0] = 2
    frozen = given.copy()
    frozen.flags.writeable = False
    assert np.shares_memory(WordVectors(["a", "b"], frozen).matrix, frozen)  # no copy of gigabytes


@pytest.mark.parametrize(
    ("words", "matrix", "said"),
    [
        (["a", "b"], [[1, 2], [np.nan, 0]], r"row 1: the vector of 'b' is not finite"),
        (["a", "b"], [[np.inf, 2], [np.nan, 0]], r"row 0: the vector of 'a' is not finite"),
        (["a", "b"], [[1, 2], [1e39, 0]], r"row 1: the vector of 'b' is not finite"),
        (["a", "b", "a"], np.ones((3, 2)), "row 0 and row 2 both are the vector of 'a'"),
        (["a", ""], np.ones((2, 2)), "row 1: the word is empty"),
        (["a", "b\ud800"], np.ones((2, 2)), "row 1: .* half of a character"),
        (["a", 3], np.ones((2, 2)), "row 1: a word is a text, got 3"),
        ("ab", np.ones((2, 2)), "words is one string"),
        (["a"], np.ones((2, 2)), r"each of 1 words .* got shape \(2, 2\)"),
        (["a", "b"], np.ones(2), r"expected numbers \(words, width\)"),
        ([], np.ones((0, 2)), "at least one, got shape"),
        (["a"], np.ones((1, 0)), "at least one, got shape"),
        (["a"], [["x"]], "got shape .* of <U1"),
        (["a"], [[1j]], "of complex128"),
    ],
)  # fmt: skip
def test_no_vectors_are_made_of_what_is_none(words, matrix, said):
    with pytest.raises(ValueError, match=said):
        WordVectors(words, matrix)


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [("quen", "queen"), ("King", "king"), ("THRONE", "throne"), ("wman", "woman")],
)
def test_an_unknown_word_is_told_with_its_nearest_spellings(typed, nearest):
    for call in (
        lambda: PLANE[typed],
        lambda: PLANE.neighbors(typed),
        lambda: PLANE.analogy("man", typed, "woman"),
        lambda: PLANE.similarity("man", typed),
        lambda: PLANE.combine(["man"], [typed]),
    ):
        with pytest.raises(KeyError, match=f"no vector of the word '{typed}' among 6; .*{nearest}"):
            call()


def test_small_letters_are_found_among_rare_words_too(monkeypatch):
    monkeypatch.setattr(module, "SPELLINGS", 1)
    assert PLANE.spellings("THRONE") == ["throne"]
    assert PLANE.spellings("thron") == []


def test_a_word_that_is_like_no_other_has_no_spellings():
    with pytest.raises(KeyError, match=r"'zzzzzz' among 6'?\"?$"):
        PLANE["zzzzzz"]
    with pytest.raises(TypeError, match="a word is a text, got int"):
        PLANE[3]


# ---- neighbours ----------------------------------------------------------------------------------


def test_neighbours_by_hand():
    found = PLANE.neighbors("king", count=2)
    assert names(found) == ["throne", "queen"]
    assert [score for _, score in found] == pytest.approx([2 / 5**0.5, 3 / 5], rel=1e-6)
    assert names(PLANE.neighbors("king", 2, without=["throne", "unknown"])) == ["queen", "man"]
    assert names(PLANE.neighbors([1, 0], 1)) == ["throne"]  # a vector leaves nothing out


@pytest.mark.parametrize("rows", [7, 4096])
def test_neighbours_are_those_of_float64(monkeypatch, rows):
    monkeypatch.setattr(module, "ROWS", rows)
    vectors = drawn()
    right = cosines(vectors)
    for row, word in enumerate(vectors):
        found = vectors.neighbors(word, count=60)
        order = np.argsort(-np.delete(right[row], row), kind="stable")
        assert names(found) == np.delete(vectors.words, row)[order].tolist()
        scores = np.delete(right[row], row)[order]
        np.testing.assert_allclose([score for _, score in found], scores, atol=1e-6)
        assert vectors.similarity(word, "w7") == pytest.approx(right[row, 7], abs=1e-12)


@pytest.mark.parametrize("scale", [1e-45, 1e-38, 1e-20, 1.0, 1e19, 3e38])
def test_a_length_changes_no_cosine(scale):
    """In float32 the square of 1e-30 is 0, that of 1e20 infinite."""
    vectors = WordVectors(["a", "b", "c"], np.array([[1, 0], [1, 1], [0, 1]]) * scale)
    found = vectors.neighbors("a")
    assert names(found) == ["b", "c"]
    assert [score for _, score in found] == pytest.approx([0.5**0.5, 0], abs=1e-6)
    assert vectors.similarity("a", "b") == pytest.approx(0.5**0.5, abs=1e-12)
    assert names(vectors.neighbors(vectors["a"], 1)) == ["a"]


def test_a_zero_vector_has_the_cosine_0_with_everything():
    assert PLANE.similarity("nothing", "king") == 0
    assert dict(PLANE.neighbors("king"))["nothing"] == 0
    assert PLANE.neighbors("nothing") == [(word, 0) for word in PLANE.words[:-1]]
    assert PLANE.neighbors([0, 0], 1) == [("king", 0)]
    assert PLANE.similarity("nothing", "nothing") == 0
    for rule in ("add", "multiply"):
        scored = PLANE.analogy("nothing", "king", "queen", rule)
        assert np.isfinite([score for _, score in scored]).all()


def test_no_cosine_is_above_1():
    vectors = drawn(200, 300)
    rows = np.concatenate([vectors.matrix, vectors.matrix * 3])
    twice = WordVectors([f"w{i}" for i in range(400)], rows)
    for word in twice:
        assert twice.neighbors(word, 1)[0][1] <= 1
        assert twice.similarity(word, word) <= 1


def test_of_equally_near_words_the_first_comes_first():
    vectors = WordVectors(["x", "a", "b", "c", "d"], [[1, 0], [1, 0], [2, 0], [3, 0], [0, 1]])
    assert names(vectors.neighbors("x", 3)) == ["a", "b", "c"]
    assert names(vectors.neighbors("c", 2)) == ["x", "a"]


@pytest.mark.parametrize("count", [0, -1, 2.0, True, None, "3"])
def test_a_count_that_is_none_is_refused(count):
    with pytest.raises(ValueError, match="count must be a whole number ≥ 1"):
        PLANE.neighbors("king", count)


@pytest.mark.parametrize(
    ("vector", "said"),
    [
        ([1, np.nan], "not finite"),
        ([1, -np.inf], "not finite"),
        ([1, 2, 3], r"a vector \(2,\) of numbers, got shape \(3,\)"),
        ([[1, 2]], r"got shape \(1, 2\)"),
        (3, r"got shape \(\)"),
        (["king", "queen"], "of <U5"),
    ],
)
def test_a_vector_that_is_none_is_refused(vector, said):
    with pytest.raises(ValueError, match=said):
        PLANE.neighbors(vector)


# ---- analogies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["add", "multiply"])
def test_man_is_to_king_as_woman_is_to_queen(rule):
    assert names(PLANE.analogy("man", "king", "woman", rule, 1)) == ["queen"]
    left = names(PLANE.analogy("man", "king", "woman", rule, 10))
    assert not {"man", "king", "woman"} & {*left}


def test_both_rules_are_the_formulas_of_their_papers():
    vectors = drawn(40)
    right = cosines(vectors)
    a, b, c = (right[i] for i in (3, 8, 21))
    half_a, half_b, half_c = ((1 + row) / 2 for row in (a, b, c))
    formulas = {"add": b - a + c, "multiply": half_b * half_c / (half_a + 0.001)}
    for rule, scores in formulas.items():
        scores[[3, 8, 21]] = -np.inf
        order = np.argsort(-scores)[:37]
        found = vectors.analogy("w3", "w8", "w21", rule, 99)
        assert names(found) == [f"w{i}" for i in order]
        np.testing.assert_allclose([score for _, score in found], scores[order], rtol=1e-4)


def test_adding_is_the_cosine_with_the_sum_of_vectors_at_length_1():
    vectors = drawn(50)
    unit = vectors.matrix / np.linalg.norm(vectors.matrix, axis=1, keepdims=True)
    total = unit[1] + unit[2] + unit[4] - unit[3] - unit[9]
    given = ["w1", "w2", "w4"], ["w3", "w9"]
    by_sum = vectors.neighbors(total, 9, without=given[0] + given[1])
    assert names(vectors.combine(*given, count=9)) == names(by_sum)


def test_one_word_alone_has_its_neighbours():
    vectors = drawn(50)
    for rule in ("add", "multiply"):
        assert names(vectors.combine(["w3"], rule=rule)) == names(vectors.neighbors("w3"))


def test_what_cannot_be_combined_is_refused():
    with pytest.raises(ValueError, match="rule must be one of add, multiply, got 'mul'"):
        PLANE.analogy("man", "king", "woman", "mul")
    with pytest.raises(ValueError, match="rule must be one of"):
        analogy_scores([np.ones(2)], [], "cos")
    with pytest.raises(ValueError, match="plus is empty"):
        PLANE.combine([], ["king"])
    with pytest.raises(ValueError, match="plus is one string"):
        PLANE.combine("king")


def test_few_words_have_few_answers():
    vectors = WordVectors(["a", "b", "c"], np.eye(3))
    assert vectors.analogy("a", "b", "c") == []
    assert len(vectors.neighbors("a", 99)) == 2


@pytest.mark.filterwarnings("ignore:Call to deprecated `init_sims`:DeprecationWarning")  # its own
def test_gensim_says_the_same():
    models = pytest.importorskip("gensim.models")
    vectors = drawn(300, 20)
    theirs = models.KeyedVectors(20)
    theirs.add_vectors(vectors.words, vectors.matrix)
    for i in range(0, 300, 7):
        a, b, c = (f"w{(i + step) % 300}" for step in (0, 1, 5))
        near = theirs.most_similar(a, topn=12)
        assert names(vectors.neighbors(a, 12)) == names(near)
        ours = [score for _, score in vectors.neighbors(a, 12)]
        np.testing.assert_allclose(ours, [score for _, score in near], atol=1e-6)
        assert vectors.similarity(a, b) == pytest.approx(theirs.similarity(a, b), abs=1e-6)
        added = theirs.most_similar([b, c], [a], topn=5)
        assert names(vectors.analogy(a, b, c, count=5)) == names(added)
        product = theirs.most_similar_cosmul([b, c], [a], topn=1)  # its ε is 1e-6
        assert names(vectors.analogy(a, b, c, "multiply", 1)) == names(product)


# ---- texts ---------------------------------------------------------------------------------------


def test_the_mean_of_a_text_is_that_of_its_known_words():
    vector, known = PLANE.mean(["the", "king", "king", "queen", "sat"])
    assert known == 3
    assert vector.dtype == np.float32
    np.testing.assert_allclose(vector, [2, 1 / 3], rtol=1e-6)


@pytest.mark.parametrize("text", [[], ["the", "cat"]])
def test_a_text_without_a_known_word_is_zero_and_says_so(text):
    vector, known = PLANE.mean(text)
    assert (vector.tolist(), vector.dtype, known) == ([0, 0], np.float32, 0)
    with pytest.raises(ValueError, match="words is one string"):
        PLANE.mean("king")


def test_the_mean_of_many_is_accurate():
    vectors = WordVectors(["a", "b"], [[1e-3, 0], [1e4, 0]])
    vector, _ = vectors.mean(["b", *["a"] * 300_000])
    assert float(vector[0]) == pytest.approx((1e4 + 300) / 300_001, rel=1e-6)

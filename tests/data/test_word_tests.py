"""Word pairs against SciPy and gensim, analogy questions against the formulas, one at a time."""

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from minissl.data import word_tests
from minissl.data.labels import mean_ranks, rank_correlation
from minissl.data.vectors import WordVectors
from minissl.data.word_tests import Agreement, AnalogyQuestions, Answered, WordPairs, summary


def drawn(count=60, width=8, seed=0):
    matrix = np.random.default_rng(seed).standard_normal((count, width))
    return WordVectors([f"w{i}" for i in range(count)], matrix)


def write(folder, data, name="a.txt"):
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


# ---- ranks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [3, 10, 1000])
def test_ranks_and_their_correlation_are_scipys(values):
    draw = np.random.default_rng(0)
    first, second = draw.integers(0, values, (2, 200))
    np.testing.assert_array_equal(mean_ranks(first), rankdata(first))
    expected = spearmanr(first, second).statistic
    assert rank_correlation(first, second) == pytest.approx(expected, abs=1e-12)
    assert rank_correlation(first, np.exp(first / 100)) == pytest.approx(1)
    assert rank_correlation(first, -first) == pytest.approx(-1)


def test_a_constant_has_the_rank_correlation_0():
    assert rank_correlation([1, 1, 1], [1, 2, 3]) == rank_correlation([1, 2, 3], [4, 4, 4]) == 0


@pytest.mark.parametrize(
    ("first", "second"),
    [([1, np.nan], [1, 2]), ([1, 2], [1, np.inf]), ([1, 2], [1, 2, 3]), ([], []), ([[1]], [[1]])],
)
def test_what_has_no_rank_is_refused(first, second):
    with pytest.raises(ValueError, match=r"not finite|expected \(examples,\)"):
        rank_correlation(first, second)


# ---- pairs ---------------------------------------------------------------------------------------

PAIRS = [("w1", "w2"), ("w3", "w9"), ("w1", "w50"), ("w7", "w7"), ("w4", "w5")]
SCORES = [7.5, 1, 0.25, 10, 3]


@pytest.mark.parametrize("header", ["", "word1{0}word2{0}Human (mean)\n", "# a remark\n\n"])
@pytest.mark.parametrize("separator", ["\t", ",", " ", "  "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_pairs_in_every_form_are_the_same(tmp_path, header, separator, end):
    if not separator.strip(" ") and "Human" in header:
        header = "word1 word2 score\n"
    lines = [separator.join([*pair, str(score)]) for pair, score in zip(PAIRS, SCORES)]
    text = (header.format(separator) + "\n".join(lines) + "\n").replace("\n", end)
    found = WordPairs.read(write(tmp_path, text))
    assert found.pairs == tuple(PAIRS)
    assert found.scores.tolist() == SCORES


def test_quotes_of_a_csv_and_further_columns_are_passed_over(tmp_path):
    text = 'Word 1,Word 2,Mean,1,2\n"new york","city",7.5,7,8\na,b,2,1,3\n'
    found = WordPairs.read(write(tmp_path, text, "a.csv"))
    assert found.pairs == (("new york", "city"), ("a", "b"))
    assert found.scores.tolist() == [7.5, 2]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("", "it has no pair"),
        ("word1\tword2\tscore\n", "it has no pair"),
        ("a\tb\t3\nc\td\n", r"line 2 has 'c \| d', expected two words and a score"),
        ("a b 3\nc 4\n", "line 2 has"),
        ("a\tb\t3\n\td\t4\n", "line 2 has"),
        ("a\tb\t3\nc\td\tx\n", "line 2 has the score 'x'"),
        ("a\tb\t3\nc\td\t\n", "line 2 has the score ''"),
        ("a\tb\tnan\nc\td\t4\n", "line 1 has the score 'nan'"),
        ("a\tb\t1e999\n", "line 1 has the score '1e999'"),
        ("a\tb\t3\nc\td\t1_0\n", "line 2 has the score '1_0'"),
        ("a\tb\t7.3x\nc\td\t4\n", "line 1 has the score '7.3x'"),  # no name of a column
        ("x\ty\tscore\nx\ty\tscore\na\tb\t1", "line 2 has the score 'score'"),
        ("word1\tword2\tPOS\told\tA\nnew\told\tA\t1.5\n", "line 2 has the score 'A'"),
        ("a\tb\t3,5\nc\td\t4\n", "line 1 has the score '3,5'"),
        (b"a\tb\t3\n\xff\td\t4\n", "not UTF-8"),
        (b"a\tb\t3\0\n", "NUL"),
    ],
)
def test_damaged_pairs_are_refused_with_file_and_line(tmp_path, data, said):
    path = write(tmp_path, data)
    with pytest.raises(ValueError, match=said) as caught:
        WordPairs.read(path)
    assert str(path) in str(caught.value)


def test_the_agreement_is_scipys_with_its_coverage():
    vectors = drawn()
    draw = np.random.default_rng(1)
    pairs = tuple((f"W{i}", f"w{j}") for i, j in draw.integers(0, 80, (300, 2)))  # of 60 words
    asked = WordPairs(pairs, draw.integers(0, 5, 300).astype(float))
    cosines, scores = [], []
    for (one, other), score in zip(pairs, asked.scores):
        if one.lower() in vectors and other in vectors:
            a, b = (vectors[w].astype(float) for w in (one.lower(), other))
            cosines.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
            scores.append(score)
    found = asked.measure(vectors)
    assert (found.known, found.total) == (len(scores), 300)
    assert 0 < found.known < 300
    expected = spearmanr(np.round(cosines, 12), scores).statistic  # words with themselves are ties
    assert found.spearman == pytest.approx(expected, abs=1e-12)


def test_no_agreement_is_told_of_fewer_than_two_pairs():
    asked = WordPairs((("w1", "w2"), ("x", "y"), ("w1", "y")), np.arange(3.0))
    assert asked.measure(drawn()) == Agreement(None, 1, 3)
    assert WordPairs.toy().measure(drawn()) == Agreement(None, 0, 48)


def test_zero_vectors_agree_with_nobody():
    vectors = WordVectors(["w1", "w2", "w3"], np.zeros((3, 2)))
    asked = WordPairs((("w1", "w2"), ("w1", "w3")), np.arange(2.0))
    assert asked.measure(vectors) == Agreement(0.0, 2, 2)


def test_every_word_is_as_like_itself_as_any_other():
    vectors = drawn()
    pairs = [(word, word) for word in vectors.words[:30]] + [("w1", "w2"), ("w3", "w4")]
    scores = np.random.default_rng(0).standard_normal(32)
    found = WordPairs(tuple(pairs), scores).measure(vectors)
    ties = [*[1] * 30, vectors.similarity("w1", "w2"), vectors.similarity("w3", "w4")]
    assert found.spearman == pytest.approx(spearmanr(ties, scores).statistic, abs=1e-12)


def test_the_toy_pairs_are_pairs():
    toy = WordPairs.toy()
    assert len({frozenset(pair) for pair in toy.pairs}) == len(toy.pairs) == 48
    assert toy.scores.min() >= 0
    assert toy.scores.max() <= 10


# ---- questions -----------------------------------------------------------------------------------


def test_questions_are_read_by_section(tmp_path):
    text = "//remark\n: family\nman king woman queen\r\n\n: gram1 x\n a  b\tc d\ne f g h\n: empty\n"
    assert AnalogyQuestions.read(write(tmp_path, text)).sections == (
        ("family", (("man", "king", "woman", "queen"),)),
        ("gram1 x", (("a", "b", "c", "d"), ("e", "f", "g", "h"))),
    )
    without = AnalogyQuestions.read(write(tmp_path, "a b c d\n"))
    assert without.sections == (("questions", (("a", "b", "c", "d"),)),)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("", "it has no question"),
        (": a section\n", "it has no question"),
        (": a\na b c d\na b c\n", "line 3 has 3 word.s., expected four .* 'a b c'"),
        ("a b c d e\n", "line 1 has 5 word"),
        (b"a b c d\n\xff b c d\n", "not UTF-8"),
    ],
)
def test_damaged_questions_are_refused_with_file_and_line(tmp_path, data, said):
    path = write(tmp_path, data)
    with pytest.raises(ValueError, match=said) as caught:
        AnalogyQuestions.read(path)
    assert str(path) in str(caught.value)


def asked_of(vectors, count=150, seed=2):
    """Questions in two sections, whose answers are right about half the time by rule."""
    draw = np.random.default_rng(seed)
    questions = []
    for _ in range(count):
        a, b, c = (f"w{i}" for i in draw.choice(len(vectors), 3, replace=False))
        rule = ["add", "multiply"][draw.integers(2)]
        right = vectors.analogy(a, b, c, rule)[draw.integers(2)][0]
        questions.append((a.upper(), b, c, right))
    return AnalogyQuestions(
        (("family", tuple(questions[: count // 3])), ("gram1", tuple(questions[count // 3 :])))
    )


@pytest.mark.parametrize("rule", ["add", "multiply"])
@pytest.mark.parametrize("columns", [7, 4096])
def test_every_question_is_answered_as_one_alone(monkeypatch, rule, columns):
    """In blocks of candidates and of questions; what ``analogy`` says is tested on its own."""
    monkeypatch.setattr(word_tests, "COLUMNS", columns)
    vectors = drawn()
    asked = asked_of(vectors)
    found = asked.measure(vectors, rule)
    for (name, questions), one in zip(asked.sections, found):
        right = [vectors.analogy(a.lower(), b, c, rule, 1)[0][0] == d for a, b, c, d in questions]
        assert one == Answered(name, sum(right), len(questions), len(questions))
        assert 0.2 < one.accuracy < 0.8


@pytest.mark.parametrize("rule", ["add", "multiply"])
def test_of_equal_answers_the_first_is_given_whatever_the_blocks(monkeypatch, rule):
    monkeypatch.setattr(word_tests, "COLUMNS", 2)
    rows = [[1, 0], [1, 0.5], [0, 1], [0.3, 1], [0.3, 1], [0.3, 1]]
    vectors = WordVectors([*"abcdef"], rows)
    sections = tuple((answer, (("a", "b", "c", answer),)) for answer in "def")
    found = AnalogyQuestions(sections).measure(vectors, rule)
    assert [one.right for one in found] == [1, 0, 0]


def test_only_the_first_words_are_known_and_may_be_answers():
    vectors = drawn()
    asked, first = asked_of(vectors), WordVectors(vectors.words[:25], vectors.matrix[:25])
    assert asked.measure(vectors, most=25) == asked.measure(first)
    known = sum(one.known for one in asked.measure(first))
    assert 0 < known < 150
    for most in (0, -1, 2.0, True):
        with pytest.raises(ValueError, match="most must be a whole number"):
            asked.measure(vectors, most=most)
    with pytest.raises(ValueError, match="rule must be one of"):
        asked.measure(vectors, "mul")


def test_a_word_that_is_given_is_no_answer():
    """Also not when nothing else is there: the right answer may be one of them, and is missed."""
    vectors = WordVectors(["a", "b", "c", "d"], [[1, 0], [1, 0.1], [1, 0.2], [-1, -1]])
    sections = (("x", (("a", "b", "c", "d"), ("a", "b", "c", "c"), ("a", "b", "c", "b"))),)
    for rule in ("add", "multiply"):
        assert AnalogyQuestions(sections).measure(vectors, rule) == [Answered("x", 1, 3, 3)]


def test_nothing_known_has_no_accuracy():
    found = AnalogyQuestions((("x", (("a", "b", "c", "d"),)),)).measure(drawn())
    assert found == [Answered("x", 0, 0, 1)]
    assert found[0].accuracy is None
    assert summary(found) == [Answered("all", 0, 0, 1)]


def test_sections_together():
    parts = [Answered("family", 1, 2, 4), Answered("gram1", 2, 3, 3), Answered("gram2", 0, 1, 9)]
    assert summary(parts) == [
        Answered("semantic", 1, 2, 4), Answered("syntactic", 2, 4, 12), Answered("all", 3, 6, 16),
    ]  # fmt: skip
    assert summary(parts[:1]) == [Answered("all", 1, 2, 4)]


def test_the_toy_questions_are_every_pair_with_every_other():
    toy = AnalogyQuestions.toy()
    assert [len(questions) for _, questions in toy.sections] == [42, 20, 30, 20, 20]
    assert ("man", "woman", "king", "queen") in dict(toy.sections)["family"]
    assert ("king", "queen", "man", "woman") in dict(toy.sections)["family"]
    assert all(len({*question}) > 2 for _, some in toy.sections for question in some)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_gensim_counts_the_same(tmp_path):
    models = pytest.importorskip("gensim.models")
    vectors = drawn()
    theirs = models.KeyedVectors(vectors.width)
    theirs.add_vectors(vectors.words, vectors.matrix)
    asked = asked_of(vectors)
    lines = [
        line
        for name, questions in asked.sections
        for line in (f": {name}", *map(" ".join, questions))
    ]
    path = write(tmp_path, "\n".join([*lines, ""]))
    _, sections = theirs.evaluate_word_analogies(path, restrict_vocab=40)
    found = AnalogyQuestions.read(path).measure(vectors, most=40)
    for ours, one in zip(found, sections):
        right, wrong = len(one["correct"]), len(one["incorrect"])
        assert (ours.section, ours.right, ours.known) == (one["section"], right, right + wrong)

    path = write(tmp_path, "".join(f"w{i}\tw{i * 7 % 65}\t{i % 9}\n" for i in range(1, 32)))
    _, spearman, unknown = theirs.evaluate_word_pairs(path)
    found = WordPairs.read(path).measure(vectors)
    assert found.spearman == pytest.approx(spearman.statistic, abs=1e-6)
    assert 1 - found.known / found.total == pytest.approx(unknown / 100)

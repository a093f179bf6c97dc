"""Questions in SQuAD's form: what is read, what is refused, and how a text becomes words."""

import json

import numpy as np
import pytest

from minissl.data import Kept
from minissl.data.asked import Asked, examples_of, labelled_of
from minissl.data.in_context import LEAST, context_reader, word_places
from minissl.data.questions import Answer, Question, Questions
from minissl.data.texts import TextOptions, Texts
from tests.pretrain.toy import toy_data, toy_settings

TEXT = "Ada was born in 1815. She died in 1852 in London, where she was born."


def entry(name="q1", question="When was Ada born?", **more):
    return {"id": name, "question": question} | more


def written(tmp_path, *entries, context=TEXT, **whole):
    """A file with one text and these questions."""
    article = {"title": "Ada", "paragraphs": [{"context": context, "qas": list(entries)}]}
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"version": "1.1", "data": [article]} | whole), encoding="utf-8")
    return path


def marked(text, start):
    return {"answers": [{"text": text, "answer_start": start}]}


def prepared(name):
    """The tokenizer of a toy run of this method."""
    settings = toy_settings(name, vocab_size=400)
    return toy_data(name, settings).prepare(Kept(), settings)


# ---- the file ------------------------------------------------------------------------------------


def test_both_versions_are_read(tmp_path):
    none = {"answers": [], "is_impossible": True, "plausible_answers": marked("1815", 16)}
    several = {"answers": [*marked("London", 42)["answers"], *marked("in London", 39)["answers"]]}
    path = written(
        tmp_path,
        entry(**marked("1815", 16)),
        entry("q2", "Where?", is_impossible=False, **several),
        entry("q3", "Who?", **none),
    )
    raw = Questions.read(path)
    assert isinstance(raw, Asked)
    assert raw.fitted == ""
    assert raw.questions == (
        Question("q1", "When was Ada born?", TEXT, (Answer("1815", 16),)),
        Question("q2", "Where?", TEXT, (Answer("London", 42), Answer("in London", 39))),
        Question("q3", "Who?", TEXT),
    )
    unlabelled = Questions.read_examples(path)
    assert [one[:3] for one in unlabelled.questions] == [one[:3] for one in raw.questions]
    assert not any(one.answers for one in unlabelled.questions)
    assert unlabelled.fingerprint()["sha256"] != raw.fingerprint()["sha256"]
    without = written(tmp_path, entry())  # a test file has none at all
    assert len(Questions.read_examples(without)) == 1


def test_an_answer_that_stands_once_is_found_and_that_is_told(tmp_path):
    raw = Questions.read(
        written(tmp_path, entry(**marked("1852", 30)), entry("b", **marked("S", 22)))
    )
    assert raw.questions[0].answers == (Answer("1852", 34),)
    assert raw.questions[1].answers == (Answer("S", 22),)
    assert raw.fitted.startswith("1 answers stood elsewhere")
    behind = written(tmp_path, entry(**marked("here", -4)), context="It is here")
    assert Questions.read(behind).questions[0].answers == (Answer("here", 6),)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([entry(**marked("1816", 16))], r"question 'q1': its answer '1816' .* stands nowhere"),
        ([entry(**marked("born", 9))], "'born' is not at 9 .* in several other places"),
        ([entry(**marked("born", -1))], "in several other places"),
        ([entry(**marked("  ", 3))], r"question 'q1': its 'text' is empty"),
        ([entry(answers=[])], r"question 'q1': it has no answers: give one"),
        ([entry()], r"question 'q1': it has no answers"),
        ([entry(answers=3)], r"question 'q1': its 'answers' is the number 3, expected a list"),
        ([entry(answers=["1815"])], r"question 'q1' is the text '1815', expected an object"),
        ([entry(answers=[{"text": "1815"}])], r"'q1': it has no 'answer_start'"),
        ([entry(**marked("1815", 16.0))], "'answer_start' is the number 16.0"),
        ([entry(**marked("1815", True))], "'answer_start' is true or false"),
        ([entry(is_impossible=True, **marked("1815", 16))], "'q1': it is_impossible, and has an"),
        ([entry(is_impossible="yes", **marked("1815", 16))], "'is_impossible' is the text 'yes'"),
        ([entry(question=" ")], r"question 'q1': its 'question' is empty"),
        ([entry(name=7)], r"data 0, paragraph 0, question 0: its 'id' is the number 7"),
        ([entry(**marked("1815", 16))] * 2, "the id 'q1' comes twice"),
        ([], "has no questions"),
    ],
)  # fmt: skip
def test_what_is_refused_names_file_and_question(tmp_path, entries, words):
    with pytest.raises(ValueError, match=words) as told:
        Questions.read(written(tmp_path, *entries))
    assert "a.json" in str(told.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "a.json cannot be read as questions in SQuAD's form"),
        ("[]", "it holds a list, expected an object"),
        ("{}", "it has no 'data', expected a list"),
        ('{"data": 3}', "its 'data' is the number 3"),
        ('{"data": [3]}', "data 0 is the number 3"),
        ('{"data": [{}]}', "data 0: it has no 'paragraphs'"),
        ('{"data": [{"paragraphs": [{"qas": []}]}]}', "paragraph 0: it has no 'context'"),
        ('{"data": [{"paragraphs": [{"context": " ", "qas": []}]}]}', "'context' is empty"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, text, words):
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        Questions.read(path)


def test_what_else_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"from a \.json file in SQuAD's form"):
        Questions.read(None)
    with pytest.raises(ValueError, match=r"a\.json\.xz' is packed"):
        Questions.read_examples((written(tmp_path)).rename(tmp_path / "a.json.xz"))
    with pytest.raises(ValueError, match="answered by a span each, asked for is 'class'"):
        Questions.read(written(tmp_path, entry(**marked("1815", 16))), labels="class")
    with pytest.raises(
        ValueError, match="question 'a': its text does not have the answer 'x' at 0"
    ):
        Questions([Question("a", "Who?", "y x", (Answer("x", 0),))])
    with pytest.raises(ValueError, match="no questions"):
        Questions([])
    words = pytest.raises(ValueError, match="read by a run of texts that cuts them into tokens")
    with words:
        examples_of(object(), Questions.toy())


def test_no_text_is_on_both_sides():
    texts = [f"text {i} is here" for i in range(9)]
    questions = [
        Question(f"{i}.{j}", "?", text, (Answer("here", 10),))
        for i, text in enumerate(texts) for j in range(1 + i)
    ]  # fmt: skip
    labelled = labelled_of(prepared("bert"), Questions(questions))
    assert labelled.kind == "span"
    train, test = (
        {questions[i].context for i in range(len(questions)) if (i in labelled.held_out) == side}
        for side in (False, True)
    )
    assert not train & test
    assert (len(train), len(test)) == (6, 3)
    assert [len(part) for part in labelled.split()] == [45 - len(labelled.held_out),
                                                        len(labelled.held_out)]  # fmt: skip
    chosen = np.array([0, 5])
    assert labelled_of(prepared("bert"), Questions(questions, chosen)).held_out is chosen


def test_the_toys_are_always_the_same_and_their_answers_follow_what_is_asked():
    raw = Questions.toy(seed=3)
    assert raw.fingerprint() == Questions.toy(seed=3).fingerprint()
    assert raw.fingerprint()["sha256"] != Questions.toy(seed=4).fingerprint()["sha256"]
    for one in raw.questions:
        words = one.context.split()
        assert one.answers[0].text == words[words.index(one.question) + 1]


# ---- words and their places ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's 5 m.", ["It", "'", "s", "5", "m", "."]),
        ("a\r\nb\t\u00a0c", ["a", "b", "c"]),
        ("e\u0301te\u0301s!", ["e\u0301te\u0301s", "!"]),  # combining accents
        ("👩‍👩‍👧 👍🏽👍", ["👩‍👩‍👧", "👍🏽", "👍"]),
        ("東京は1つ。", ["東", "京", "は", "1", "つ", "。"]),
        ("हिन्दी है", ["हिन्दी", "है"]),
        ("snake_case £1,000", ["snake", "_", "case", "£", "1", ",", "000"]),
        (" \n", []),
        ("", []),
    ],
)
def test_words_are_slices_of_the_text(text, words):
    assert [text[begin:end] for begin, end in word_places(text)] == words


def test_nothing_but_spaces_stands_between_the_words():
    generator = np.random.default_rng(0)
    alphabet = [*"ab1 .,_-'\n\r\t\u00a0\u0301\u200b\u200d東👩🏽é\u0903", "ß", "\u0000", "\ufe0f"]
    for _ in range(200):
        text = "".join(generator.choice(alphabet, 30))
        places = word_places(text)
        left = set(range(len(text))) - {c for b, e in places for c in range(b, e)}
        assert all(text[c].isspace() for c in left)
        assert (places[1:, 0] >= places[:-1, 1]).all()


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_the_tokens_are_those_of_two_texts(name):
    run = prepared(name)
    question, text = "did the cat sing", "The cat sat on the mat, the dog ran to the log"
    read = context_reader(run)(question, text)
    assert [*read] == run.pair_tokens(question, text)


def test_a_decoder_reads_the_question_first_and_ends_with_the_token_between_documents():
    run = prepared("gpt")
    question, text = "did the cat sing", "The cat sat on the mat, the dog ran to the log"
    read = context_reader(run)(question, text)
    assert [*read] == [*run.pair_tokens(question, text), run.separator]
    assert not read.none_first


def test_an_answer_is_the_slice_that_was_marked_whatever_the_tokenizer_loses():
    text = "\u00c9t\u00e9 \r\n👩‍👩‍👧  e\u0301tude: \u00a35 \u2013 FIN"
    answers = [
        "\u00c9t\u00e9",
        "👩‍👩‍👧",
        "e\u0301tude",
        "\u00a35",
        "FIN",
        text,
        "👩‍👩‍👧  e\u0301tude:",
    ]
    for name in ("bert", "gpt"):
        read = context_reader(prepared(name))("?", text)
        for answer in answers:
            begin = text.index(answer)
            assert read.answer(*read.words_of(begin, begin + len(answer))) == answer
    inside = text.index("tude")
    assert read.answer(*read.words_of(inside, inside + 2)) == "e\u0301tude"  # the whole word
    assert read.words_of(3, 5) is None  # spaces


def test_words_without_a_token_have_no_place():
    read = context_reader(prepared("bert"))("?", "\u0301 cat \u200b mat")
    assert [read.answer(i, i) for i in range(len(read.words))] == ["cat", "mat"]
    nothing = context_reader(prepared("bert"))("?", "\u0301")
    (window,) = nothing.windows(12)
    assert len(window.begins) == 0
    assert window.tokens == [*nothing]


# ---- windows -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bert", "gpt"])
@pytest.mark.parametrize("longest", [LEAST, 5, 9, 16, 33, 1000])
def test_windows_have_every_word_and_every_answer_of_half_a_window(name, longest):
    run, generator = prepared(name), np.random.default_rng(longest)
    words = "the cat sat mat. a unforgettable dog ran, log song? bird sang".split()
    for size in (1, 7, 60):
        text = " ".join(generator.choice(words, size))
        read = context_reader(run)("what did the bird do", text)
        windows = read.windows(longest)
        whole, seen = set(), set()
        for window in windows:
            assert len(window.tokens) <= longest
            assert window.none == (0 if name == "bert" else len(window.tokens) - 1)
            count = len(window.begins)
            seen |= {*range(window.first, window.first + count)}
            whole |= {(window.first + i, window.first + j)
                      for i in range(count) for j in range(i, count)}  # fmt: skip
            for number, (begin, end) in enumerate(zip(window.begins, window.ends)):
                pieces = window.tokens[begin : end + 1]
                assert pieces == read.words[window.first + number][: len(pieces)]
                assert pieces
        assert seen == {*range(len(read.words))}
        assert [window.first for window in windows] == sorted({w.first for w in windows})
        room = min(len(w.tokens) - (w.begins[0] if len(w.begins) else 0) for w in windows[:1]) - 1
        sizes = [len(word) for word in read.words]
        for i in range(len(sizes)):
            for j in range(i, len(sizes)):
                if longest >= 16 and sum(sizes[i : j + 1]) <= room // 2 - max(sizes):
                    assert (i, j) in whole
        if len(read) <= longest:
            assert [window.tokens for window in windows] == [[*read]]


def test_a_long_question_leaves_half_for_the_text():
    (window,) = context_reader(prepared("bert"))("the cat " * 50, "a dog ran to the log").windows(
        20
    )
    assert [window.first, len(window.begins), len(window.tokens)] == [0, 6, 20]
    read = context_reader(prepared("bert"))("the cat " * 50, "a dog ran to the log " * 3)
    for window in read.windows(20):
        assert window.begins[0] <= 10
        assert len(window.tokens) <= 20
    with pytest.raises(ValueError, match=r"reads 3 tokens has no room .* takes 4 or more"):
        read.windows(3)


def test_a_word_that_no_window_holds_is_cut():
    settings = TextOptions(vocab_size=300)
    run = Texts.toy().prepare(Kept(), settings)
    read = context_reader(run)("?", "q" * 50 + " end")
    windows = read.windows(12)
    assert all(len(window.tokens) <= 12 for window in windows)
    assert windows[0].first == 0
    assert windows[0].ends[0] == len(windows[0].tokens) - 2
    assert windows[-1].first + len(windows[-1].begins) == 2

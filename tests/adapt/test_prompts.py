"""Templates, words of classes and what is read off an answer: tables of what comes out."""

import re

import pytest

from minissl.adapt.prompts import NO_ANSWER, Template, check_told_apart, class_words, find_answer


@pytest.mark.parametrize(
    ("template", "prompt", "answer"),
    [
        ("{text} is", "T is", " good"),
        ("{text} is ", "T is", " good"),
        ("{text} is\n", "T is", "\ngood"),
        ("{text} is {class}.", "T is", " good."),
        ("{text}\n{class}", "T", "\ngood"),
        ("{text}{class}", "T", "good"),
        ("{text}", "T", " good"),
        ('{"a": 1} {text} { } {class}!}', '{"a": 1} T { }', " good!}"),
        ("评论：{text}很{class}。", "评论：T很", "good。"),
    ],
)
def test_templates(template, prompt, answer):
    read = Template.read(template)
    assert (read.prompt("T"), read.answer("good")) == (prompt, answer)


def test_a_text_may_hold_what_a_template_holds():
    text = "{text} {class} {0} %s \\1 {"
    assert Template.read("a {text} b {class}").prompt(text) == f"a {text} b"


@pytest.mark.parametrize(
    ("given", "names", "expected"),
    [
        ("", ("no", " yes "), ["no", "yes"]),
        ("", ("a=b", " c=d"), ["a=b", "c=d"]),
        ("no=bad,yes=good", ("no", "yes"), ["bad", "good"]),
        (" yes = good, no = bad ", ("no", "yes"), ["bad", "good"]),
        ("no=bad, very bad,yes=good, yes", ("no", "yes"), ["bad, very bad", "good, yes"]),
        ("a,b=1,a=2", ("a", "a,b"), ["2", "1"]),
        ("x=y=eq,x=ex", ("x", "x=y"), ["ex", "eq"]),
        ("好=不错,坏=糟", ("坏", "好"), ["糟", "不错"]),
    ],
)
def test_words_of_classes(given, names, expected):
    assert class_words(given, names) == expected


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("no=bad", "words has no, expected each class once: no=...,yes=..."),
        ("bad, good", "words has no class"),
        ("maybe=so,no=bad,yes=good", "words has no class"),
        ("no=bad,yes=good,no=worse", "words has no, yes, no"),
        ("no=,yes=good", "words has '' for class 'no'"),
        ("no=no=no,yes=yes", "words has 'no=no' for class 'no'"),
        ("no=bad,maybe=so,yes=good", "words has 'bad,maybe=so' for class 'no'"),
    ],
)
def test_words_that_do_not_fit_the_classes(given, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        class_words(given, ("no", "yes"))


GOOD_BAD = ("good", "bad")


@pytest.mark.parametrize(
    ("written", "words", "expected"),
    [
        (" good", GOOD_BAD, 0),
        ("It was Bad.", GOOD_BAD, 1),
        ("", GOOD_BAD, NO_ANSWER),
        ("I do not know", GOOD_BAD, NO_ANSWER),
        ("good or bad? bad", GOOD_BAD, 0),
        ("badminton goodness", GOOD_BAD, NO_ANSWER),
        ("non-bad", GOOD_BAD, 1),
        ("very good indeed", ("good", "very good", "very"), 1),
        ("very god", ("good", "very good", "very"), 2),
        ("10", ("1", "10"), 1),
        ("12", ("1", "10"), NO_ANSWER),
        ("c++ it is", ("c", "c++"), 1),
        ("c, it is", ("c", "c++"), 0),
        ("STRASSE", ("Straße", "Weg"), 0),
        ("cafe\u0301!", ("café", "bar"), 0),
        ("这很好的", ("坏", "好"), 1),
        ("a.b", ("a.b", "axb"), 0),
        ("axb", ("a.b", "x"), NO_ANSWER),
        ("\ufffd bad \ufffd", GOOD_BAD, 1),
        ("new york is new", ("new", "new york"), 1),
        ("good_bad", GOOD_BAD, NO_ANSWER),
    ],
)
def test_what_was_answered(written, words, expected):
    assert find_answer(written, words) == expected


def test_words_that_are_told_apart():
    check_told_apart(["US", "us", "straße"])
    with pytest.raises(ValueError, match="two classes have the words 'a' and 'a'"):
        check_told_apart(["a", "b", "a"])
    with pytest.raises(ValueError, match="two classes have the words 'Straße' and 'STRASSE'"):
        check_told_apart(["Straße", "STRASSE"], by_eye=True)

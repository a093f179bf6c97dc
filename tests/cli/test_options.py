"""Every option of every command with 0, -1, nan and a word: refused by name, or it works."""

import argparse
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from minissl.adapt import adaptation_names
from minissl.cli import command_names, main, parser_of
from minissl.data.sets import python_english
from minissl.options import check_value, option
from minissl.pretrain import load_method, method_names
from minissl.text.documents import Document
from tests.pretrain.toy import TINY

VALUES = ("0", "-1", "nan", "word")
# What is not run here but only read: each would take minutes.
READ_ONLY = ("demo", "claim", "homework")
ADAPTED = "lora"  # of the adaptations this one is run, the others are read
WATCHED = (
    "simclr"  # the same of the methods, for options that every one has and no word is wrong for
)
OF_ALL = ("--watch", "--label-field")


def parsers():
    """Each command, verb or method as its words, with the parser of what follows them."""
    for name in command_names():
        members = {"pretrain": method_names, "adapt": adaptation_names}.get(name, list)()
        yield from (((name, member), parser_of(name, [member])) for member in members)
        if members:
            continue
        parser = parser_of(name, [])
        verbs = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        if not verbs:
            yield (name,), parser
        for action in verbs:
            yield from (((name, verb), below) for verb, below in action.choices.items())


def cases():
    for words, parser in parsers():
        for action in parser._actions:
            if action.option_strings and action.nargs != 0:
                name = action.option_strings[-1]
                if not isinstance(action, argparse.BooleanOptionalAction):
                    yield pytest.param(words, name, id=f"{'-'.join(words)} {name}")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a run of text and a run of images, and small inputs."""
    folder = tmp_path_factory.mktemp("options")
    (folder / "text.txt").write_text(
        "A few words, and a few more of them.\n\n" * 20, encoding="utf-8"
    )
    (folder / "words.txt").write_text("king 1 2\nqueen 1 3\nman 2 1\n", encoding="utf-8")
    return folder


@cache  # asked before each of 600 tests
def kinds_of_data():
    return {load_method(name).Data for name in method_names()}


@pytest.fixture(autouse=True)
def toys(monkeypatch, place):
    """All data that is read is generated, so that every method can be called alike."""
    for kind in kinds_of_data():
        monkeypatch.setattr(
            kind, "read", classmethod(lambda cls, path, settings, fields: cls.toy(settings))
        )
    for kind in {kind.with_labels for kind in kinds_of_data()}:
        monkeypatch.setattr(kind, "read", classmethod(labelled))
    few = [Document("a", "b", "A few words."), Document("c", "d", "A few more of them.")]
    monkeypatch.setattr(
        python_english, "DATASET", replace(python_english.DATASET, embedded=few.copy)
    )
    monkeypatch.chdir(place)


def labelled(cls, path, settings, fields, labels="class"):
    return cls.toy(settings, labels=labels)


def tiny(words, option):
    """The method's options at sizes for tests, but for the one that is tried."""
    known = {a.option_strings[-1] for a in parser_of(*words[:1], words[1:])._actions[1:] if
             a.option_strings}  # fmt: skip
    for key, value in {**TINY, "rank": 2}.items():
        name = f"--{key.replace('_', '-')}"
        if name in known and name != option:
            yield from (name, str(value))


def run_of(name):
    """The folder of a run of a method, made when it is first asked for."""
    folder = f"made-{name}"
    words = ("pretrain", name)
    if not Path(folder).exists():
        assert main([*words, "--run", folder, "--quiet", *tiny(words, None)]) == 0
    return folder


def base(words, option, number):
    """The rest of a call that would work."""
    if words[0] == "pretrain":
        run = [] if option == "--run" else ["--run", f"run-{words[1]}-{option}-{number}"]
        return [*run, "--quiet", *tiny(words, option)]
    if words[0] == "adapt":
        return [run_of("simclr"), "--quiet", *tiny(words, option)]
    if words[0] == "predict":
        if not Path("adapted").exists():
            assert main(["adapt", "probe", run_of("simclr"), "--run", "adapted"]) == 0
        return ["adapted", "text.txt"]
    if words[0] == "sample":
        return [run_of("gpt"), *([] if option == "--tokens" else ["--tokens", "3"])]
    if words[0] == "probe":
        few = {"--draws": "1", "--labels": "1"}
        return [run_of("simclr"), *(w for pair in few.items() if pair[0] != option for w in pair)]
    if words[0] == "cloze":
        return [run_of("gpt"), *([] if option == "--count" else ["--count", "2"])]
    if words[0] in ("embed", "evaluate"):
        return [run_of("gpt")]
    if words[0] == "neighbors":
        return ["words.txt", *("king + man" if option == "--rule" else "king").split()]
    if words[0] in ("analogy", "wordsim"):
        return ["words.txt", *(["king", "man", "queen"] if option == "--count" else [])]
    if words == ("tokenizer", "train"):
        sizes = [] if option == "--vocab-size" else ["--vocab-size", "258"]
        return ["text.txt", *sizes, *([] if option == "--out" else ["--out", "t.json"])]
    if words[0] == "tokenizer":
        text = [] if option == "--text" else ["--text", "1 2"]
        return [*text, *([] if option == "--tokenizer" else ["--tokenizer", run_of("gpt")])]
    return []


@pytest.mark.parametrize(("words", "option"), list(cases()))
def test_an_odd_value_is_refused_by_name_or_works(words, option, capsys):
    for number, value in enumerate(VALUES):
        rest = base(words, option, number)
        capsys.readouterr()
        try:
            of_another = words[0] == "pretrain" and words[1] != WATCHED and option in OF_ALL
            of_another |= words[0] == "adapt" and words[1] != ADAPTED
            if words[0] in READ_ONLY or of_another:
                parser_of(words[0], words[1:]).parse_args([*words[1:], option, value])
                status = 0
            else:
                status = main([*words, *rest, option, value])
        except SystemExit as stop:
            status = stop.code
        error = capsys.readouterr().err
        assert status in (0, 1, 2)
        assert "Traceback" not in error
        if status:
            last = error.strip().splitlines()[-1]
            needed = "required" in last  # the positional arguments of what is only read
            named = option in last or option.strip("-").replace("-", "_") in last
            assert named or needed or value in last, error
            assert len(error) < 4000


@pytest.mark.parametrize("name", method_names())
@pytest.mark.parametrize("value", [0, -1, float("nan"), "word", None, [1]])
def test_in_python_the_same_values_are_refused_by_the_same_sentence(name, value):
    """Only what the command line would take is taken, and the error names the setting."""
    from dataclasses import fields

    kind = load_method(name).Settings
    for one in fields(kind):
        error = raised(lambda one=one: kind(**{one.name: value}))
        if error is None:
            assert isinstance(value, type(one.default)) or value == 0
        else:
            assert str(error).startswith(f"{one.name} must be ")


@pytest.mark.parametrize(
    ("one", "inside", "outside"),
    [
        (option(2, "", least=1, most=3), (1, 2, 3), (0, 4, 2.0, True)),
        (option(0.5, "", least=0, most=1), (0, 1, 0.5), (-0.1, 1.1, math.nan, True)),
        (option(0.5, "", above=0), (1e-300, 9), (0, -1, math.inf, math.nan)),
        (option(0.5, ""), (0, -1e300), (math.inf, -math.inf, math.nan)),
    ],
)
def test_least_and_most_are_allowed_and_above_is_not(one, inside, outside):
    for value in inside:
        check_value(one, value)
    for value in outside:
        with pytest.raises(ValueError, match="must be a"):
            check_value(one, value)


def raised(call):
    try:
        call()
    except ValueError as error:
        return error


def test_a_size_that_no_memory_holds_is_a_sentence(capsys, monkeypatch):
    def too_large(*arguments, **options):
        raise MemoryError("Unable to allocate 37.3 PiB for an array")

    monkeypatch.setattr(load_method("gpt"), "build", too_large)
    assert main(["pretrain", "gpt", "--run", "big", "--quiet", *tiny(("pretrain", "gpt"), "")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("minissl: the computer's memory is too small for this (Unable to")
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", method_names())
def test_help_speaks_of_several_processes_where_they_are_not_refused(name):
    said = parser_of("pretrain", [name]).format_help()
    assert ("torchrun" in said) == load_method(name).in_processes

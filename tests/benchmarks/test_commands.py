"""The commands of the benchmarks: what is asked wrongly, what is absent, and Ctrl-C."""

import os
import signal
import subprocess
import sys
from importlib import import_module

import pytest

from benchmarks import common

RACES = [
    "adaptation_step", "encoder_step", "gpt_step", "images_steps", "losses", "lstm_step",
    "sampling", "shakespeare", "simclr_step",
]  # fmt: skip
OTHERS = ["masking", "processes", "tokenizer", "word_vectors", "wordpiece"]
COMMANDS = [*RACES, *OTHERS, "growth.__main__"]
WRONG = [
    *((name, ["--repeats", "0"], "got 0, expected 1 or more") for name in COMMANDS[:-1]),
    *((name, ["--threads", "0"], "got 0, expected 1 or more") for name in RACES),
    ("masking", ["--ids", "0"], "got 0, expected 1 or more"),
    ("processes", ["--steps", "5"], "the first 5 are not counted"),
    *((name, ["--megabytes", "0"], "expected more than 0") for name in ("tokenizer", "wordpiece")),
    ("tokenizer", ["--text", "absent.txt"], "absent.txt: there is no such file"),
    ("shakespeare", ["--data", "absent.txt"], "'absent.txt' is no file, no folder and no data set"),
    ("shakespeare", ["--data", "digits"], "digits is no text file"),
]


def call(monkeypatch, name, *options):
    monkeypatch.setattr(sys, "argv", [name, *options])
    with pytest.raises(SystemExit) as ended:
        import_module(f"benchmarks.{name}").main()
    return ended.value.code


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_is_the_docstring(name, monkeypatch, capsys):
    assert call(monkeypatch, name, "--help") == 0
    command = f"python -m benchmarks.{name.removesuffix('.__main__')}"
    shown = capsys.readouterr().out
    assert f"usage: {command} [" in shown
    assert f"\n    {command}" in shown  # the line of the docstring, not folded into its text


@pytest.mark.parametrize(("name", "options", "message"), WRONG)
def test_wrong_options_are_refused_before_any_work(name, options, message, monkeypatch, capsys):
    assert call(monkeypatch, name, *options) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "peer"),
    [(name, "torch") for name in [*RACES, "processes"]]
    + [("masking", "transformers"), ("tokenizer", "tiktoken"), ("word_vectors", "gensim")],
)
def test_a_peer_that_is_absent_is_named(name, peer, monkeypatch):
    monkeypatch.setitem(sys.modules, peer, None)
    message = call(monkeypatch, name)
    assert f"compares with {peer}, not installed here: pip install" in message


def test_every_benchmark_of_the_make_target_is_there_and_every_race_in_it():
    makefile = (common.RESULTS.parents[1] / "Makefile").read_text(encoding="utf-8")
    listed = makefile.split("for name in ")[1].split(";")[0].split()
    assert sorted(listed) == sorted([*RACES, *OTHERS])


def test_ctrl_c_ends_all_processes_with_one_line():
    race = "race('tests.benchmarks.test_turns', ['sleeper', 'pid'], 10_000, threads=1)"
    program = "from benchmarks.common import stoppable; from benchmarks.turns import race; "
    command = [sys.executable, "-c", f"{program}stoppable(lambda: {race})"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True) as process:
        said = b""
        while b"turn 2" not in said:
            said += process.stderr.read(1)
        os.killpg(process.pid, signal.SIGINT)  # what a terminal does: to all of them
        rest = process.stderr.read()  # ends when all of them have
    assert b"Traceback" not in rest
    assert rest.endswith(b"\nstopped: no results were written\n")
    assert process.returncode == 130

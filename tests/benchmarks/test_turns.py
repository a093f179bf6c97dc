"""Races: each contender alone in its process, in turn, and what is counted."""

import os
import time

import pytest

from benchmarks.turns import Contender, race

MEGABYTE = 1 << 20


def sleeper(seconds: float = 0.02):
    print("a library that prints")
    return lambda: time.sleep(seconds)


def pid():
    return os.getpid


def threads():
    return lambda: " ".join(os.environ[f"{kind}_NUM_THREADS"] for kind in ("OMP", "OPENBLAS"))


def hungry(megabytes: int = 60):
    return lambda: len(b"\1" * (megabytes * MEGABYTE)) // MEGABYTE


def slow_at_first():
    turns = iter([0.3, 0.3])
    return lambda: time.sleep(next(turns, 0.01))


def failing():
    return lambda: 1 / 0


CONTENDERS = {
    "sleeper": Contender(sleeper),
    "pid": Contender(pid),
    "threads": Contender(threads),
    "hungry": Contender(hungry, keeps_memory=True),
    "slow at first": Contender(slow_at_first),
    "failing": Contender(failing),
}


def run(*names, repeats=3, **settings):
    return race(__name__, names, repeats, threads=3, **settings)


def test_each_has_a_process_of_its_own_with_these_threads():
    found = run("pid", "threads")
    assert found["pid"].answer != os.getpid()
    assert found["threads"].answer == "3 3"


def test_the_median_is_of_what_was_asked_without_the_warmup():
    found = run("sleeper", settings={"seconds": 0.05})
    assert 0.05 <= found["sleeper"].seconds < 0.2
    assert run("slow at first", warmup=2, repeats=1)["slow at first"].seconds < 0.1
    assert run("slow at first", warmup=0, repeats=3)["slow at first"].seconds >= 0.3


def test_memory_is_that_of_the_contender_alone():
    ours = b"\1" * (200 * MEGABYTE)  # of the process that starts the others
    found = run("hungry", "sleeper", repeats=1)
    assert found["hungry"].answer == 60
    assert 50 < found["hungry"].megabytes < 120
    assert found["sleeper"].megabytes < 30
    del ours


def test_the_one_that_fails_is_named(capfd):
    with pytest.raises(SystemExit, match="failing ended in the middle of the race"):
        run("sleeper", "failing")
    assert "ZeroDivisionError" in capfd.readouterr().err

"""The growth benchmark: slopes and marks of planted numbers, everything at its smallest size."""

import json
import math
import sys

import numpy as np
import pytest

from benchmarks.growth import __main__ as growth
from benchmarks.growth.law import CONSTANT, LINEAR, SORTED, SQUARE, Growth, Law, slope, slopes
from benchmarks.growth.measure import in_a_process, measure
from benchmarks.growth.text import one_word, words

SIZES = [100 << i for i in range(7)]


def found(law, sizes=SIZES):
    return [law(n) for n in sizes]


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0, 3.0])
def test_the_slope_of_a_power_is_its_exponent(power):
    assert slope(SIZES, found(lambda n: 7 * n**power)) == pytest.approx(power, abs=1e-12)


def test_the_slope_is_least_squares():
    values = np.exp(np.random.default_rng(0).normal(size=7))
    expected = np.polyfit(np.log(SIZES), np.log(values), 1)[0]
    assert slope(SIZES, values) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("law", "measured", "steep"),
    [
        (LINEAR, lambda n: 3e-6 * n, False),
        (LINEAR, lambda n: 3e-6 * n * n, True),
        (LINEAR, lambda n: n + n * n / 100, True),
        (LINEAR, lambda n: 1e6 + n * n, True),  # the constant hides it, but not at the end
        (LINEAR, lambda n: 1e6 + n, False),
        (LINEAR, lambda n: n * min(n, 800), True),  # linear again at the end, too late
        (LINEAR, lambda n: n**1.14, False),
        (LINEAR, lambda n: n**1.16, True),
        (SORTED, lambda n: n * math.log(n), False),
        (CONSTANT, lambda n: math.log(n), True),
        (SQUARE, lambda n: n**1.5, False),
        (Law("n² + 1000 n", lambda n: n * n + 1000 * n), lambda n: n * n + 1000 * n, False),
        (Law("n² + 1000 n", lambda n: n * n + 1000 * n), lambda n: n * n, True),
    ],
)
def test_what_is_steeper_than_its_formula_is_marked(law, measured, steep):
    assert slopes(law, SIZES, found(measured)).too_steep == steep


def planted(**settings):
    return Growth("Planted", "size", SIZES, lambda n: None, LINEAR, SQUARE, **settings)


def test_a_row_says_what_is_above_and_why():
    measured = [(n * n, n) for n in SIZES]
    time, memory = growth.rows_of(planted(), SIZES, measured)
    assert time["above"] == "**+1.00**"
    assert time["why"] == "not explained"
    assert (memory["above"], memory["why"]) == ("-1.00", "")
    assert (memory["its slope"], memory["measured"]) == ("2.00", "1.00")
    (time, _) = growth.rows_of(planted(why={"time": "planted here"}), SIZES, measured)
    assert time["why"] == "planted here"


def test_the_picture_marks_what_is_too_steep():
    svg = growth.picture([(planted(), SIZES, [(n * n, n) for n in SIZES])])
    assert svg.startswith("<?xml")
    assert "time, at last 4.1e+07 s !<" in svg
    assert "memory, at last 6.4e+03 MB<" in svg


@pytest.mark.parametrize("one", growth.GROWTHS, ids=lambda one: one.name)
def test_each_runs_at_its_smallest_size(one):
    assert one.sizes[-1] >= 32 * one.sizes[0]
    assert list(one.sizes) == sorted(one.sizes)
    one.build(one.sizes[0])()
    for law in (one.time, one.memory):
        assert all(law.count(n) <= law.count(2 * n) for n in one.sizes)
    assert one.why.keys() <= {"time", "memory"}


def test_names_are_found_by_how_they_begin():
    names = [one.name for one in growth.GROWTHS]
    assert len(set(names)) == len(names)
    assert {one.name for one in growth.chosen(["gpt", "infonce"])} == {
        name for name in names if name.startswith(("gpt", "infonce"))
    }
    with pytest.raises(SystemExit, match="nothing is named gtp"):
        growth.chosen(["gpt", "gtp"])


def test_memory_and_time_are_those_of_the_run():
    """A megabyte is held by what is built, and five more for as long as it runs."""

    def build(size):
        held = np.ones(size, np.uint8)
        return lambda: int(np.ones(5 * size, np.uint8).sum()) + len(held)

    seconds, megabytes = measure(Growth("x", "y", [1], build), 1_000_000, 0.0)
    assert megabytes == pytest.approx(6, rel=0.1)
    assert 1e-4 < seconds < 0.1


def test_a_process_of_its_own(monkeypatch):
    (one,) = growth.chosen(["cross-entropy"])
    ((seconds, megabytes),) = in_a_process(one, [512], 0.0)
    assert 0 < seconds < 1
    assert 1 < megabytes < 3  # half a megabyte each of logits, exponentials, gradient
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(SystemExit, match="cross-entropy-vocabulary ended at size 512"):
        in_a_process(one, [512], 0.0)


def imagined(one, sizes, patience):
    return [(size / 1e6, size * 1.0) for size in sizes]


def test_what_seems_too_steep_is_measured_again(monkeypatch):
    """A busy moment at the last size, and another one at the first."""
    slow = iter([*[1] * 6, 9, 9, *[1] * 6])
    monkeypatch.setattr(
        growth, "in_a_process", lambda one, sizes, patience: [(sizes[0] * next(slow), 1.0)]
    )
    found = growth.at_all(planted(), SIZES, quick=False, place="")
    assert found == [[n, 1] for n in SIZES]
    assert next(slow, None) is None


def test_a_quick_run_prints_a_table(monkeypatch, capsys):
    monkeypatch.setattr(growth, "in_a_process", imagined)
    monkeypatch.setattr(sys, "argv", ["growth", "adamw", "--quick"])
    growth.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert "131,072 - 524,288" in lines[2]


def test_a_whole_run_writes_table_and_picture(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(growth, "in_a_process", imagined)
    monkeypatch.setattr(growth, "GROWTHS", growth.GROWTHS[:2])
    monkeypatch.setattr(growth, "RESULTS", tmp_path)
    monkeypatch.setattr("benchmarks.common.RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["growth"])
    growth.main()
    assert len(json.loads((tmp_path / "growth.json").read_text(encoding="utf-8"))["rows"]) == 4
    assert {path.name for path in tmp_path.iterdir()} == {"growth.md", "growth.json", "growth.svg"}


def test_the_made_up_language():
    text = words(100_000)
    assert len(text) == 100_000
    assert text == words(100_000)
    found = [len(set(words(n).split())) for n in (1 << 14, 1 << 16, 1 << 18, 1 << 20)]
    assert slope([1, 4, 16, 64], found) == pytest.approx(0.65, abs=0.05)  # Heaps' law
    assert len(one_word(5000)) == 5000
    assert one_word(5000).isalpha()

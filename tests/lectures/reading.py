"""What a lecture says, and the module that draws its figures."""

import re
from functools import cache
from pathlib import Path
from runpy import run_path

LECTURES = Path(__file__).parents[2] / "lectures"


@cache
def text(number):
    """The lecture in one line, without the marks of formulas between digits."""
    (path,) = LECTURES.glob(f"{number}_*.md")
    return " ".join(path.read_text(encoding="utf-8").split()).replace("{,}", ",")


@cache
def figures(number):
    """What ``lectures/figures/lecture_NN.py`` defines, by name."""
    return run_path(str(LECTURES / "figures" / f"lecture_{number}.py"))


def says(number, shown, value, within=None):
    """The lecture prints ``shown``, and that is ``value`` to the digits printed.

    ``within``: the error allowed instead, where another processor rounds training differently.
    """
    found = re.search(rf"(?<![\d.]){re.escape(shown)}(?!\d|\.\d)", text(number))
    assert found, f"lecture {number} does not say {shown!r}"
    plain = shown.replace(",", "").replace("−", "-")
    decimals = len(plain.partition(".")[2])
    allowed = 0.5001 * 10.0**-decimals if within is None else within
    assert abs(float(plain) - value) <= allowed, f"{shown}: computed {value}"

"""The figures of the lectures: colors of the palette alone, for light and dark pages, and more."""

import importlib
import re
from xml.etree import ElementTree

import pytest

from docs.site.pictures import knows_the_dark
from docs.site.python_source import ROOT
from minissl.figures import new_figure
from minissl.palette import BLUE, DARK, RED

FOLDER = ROOT / "lectures" / "figures"
SOURCES = sorted(FOLDER.glob("lecture_[0-9]*.py"))
# What is drawn in a second and has more than one curve or kind of bars.
QUICK = """
    05_start 05_far_back 06_depth 06_costs 07_memory_traffic 07_online_softmax 07_cancellation
    07_attention_h200 08_lengths 10_temperature 10_growth 12_temperature 12_characteristic
""".split()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_a_figure_has_no_color_of_its_own(path):
    text = path.read_text("utf-8")
    assert re.findall(r"#[0-9a-fA-F]{3}(?:[0-9a-fA-F]{3})?\b", text.replace('f"#{', "")) == []
    named = r'"(?:C\d|tab:\w+|red|green|blue|black|white|gr[ae]y|lightgr[ae]y|k|r|b|g)"'
    colors = rf"(?:color|edge|face|ecolor|fill|stroke)\w*=(?:{named})"
    assert re.findall(colors, text) == []


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.svg")), ids=lambda path: path.stem)
def test_a_figure_knows_the_dark_or_is_pixels_on_white(path):
    """Every color that is drawn is one of the palette: so none is left light on a dark page."""
    text = path.read_text("utf-8")
    assert knows_the_dark(path) != ("<image" in text)
    if "<image" in text:
        return
    drawn = re.sub(r'<g class="pixels">.*?</g>|<style\b.*?</style>', "", text, flags=re.DOTALL)
    ElementTree.fromstring(text)
    colors = re.findall(r"(?:fill|stroke)(?:=\"|: ?)(#[0-9a-fA-F]{3,6}|[a-z]+)", drawn)
    others = set(colors) - set(DARK) - {"none", "url"}
    assert not others


@pytest.mark.parametrize("name", QUICK)
def test_nothing_is_told_by_its_color_alone(name, monkeypatch):
    """Two curves of a panel differ in line or marker, two kinds of bars in hatch or edge."""
    monkeypatch.syspath_prepend(str(FOLDER))
    drawn = importlib.import_module(f"lecture_{name[:2]}").FIGURES[name]()
    assert alike(drawn) == []


def test_curves_of_one_form_are_found():
    figure, (axis,) = new_figure()
    for color in (BLUE, RED):
        axis.plot([0, 1], [0, 1], color=color, label=color)
        axis.bar([0, 1], [1, 2], color=color, label=color)
    assert alike(figure) == [RED, RED]


def alike(figure):
    """The names of the curves and bars of a panel that look like one before but for the color."""
    found = []
    for axis in figure.axes:
        forms = set()
        named = [one for one in axis.get_lines() if one.get_label()[0] != "_"]
        bars = [one for one in axis.containers if one.get_label()[0] != "_"]
        for one in (*named, *bars):
            if one in named:
                dashes = one.get_linestyle() != "None" and one._unscaled_dash_pattern
                form = str((dashes, one.get_marker(), one.get_linewidth() > 2))
            else:
                bar = one.patches[0]
                form = str((bar.get_hatch(), bar.get_edgecolor()))
            if form in forms:
                found.append(one.get_label())
            forms.add(form)
    return found

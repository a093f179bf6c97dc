"""What figures share: names at the ends of curves, and the head that is shown large."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest

from minissl import figures
from minissl.palette import BLUE, OCHRE, RED, SERIES, look


def with_curves(*ends, x_end=1.0, height=3.0):
    """A panel with curves from 0 that end at these heights, named by them."""
    _, (axis,) = figures.new_figure(width=4, height=height)
    for place, end in enumerate(ends):
        axis.plot([0, x_end], [0, end], **look(SERIES[place % 6]), label=f"curve to {end}")
    axis.set(xlim=(0, 1), ylim=(0, 1))
    return axis


def places(axis):
    """Name -> (height, half of what it is high) as drawn, in parts of the axes."""
    axis.figure.draw_without_rendering()
    found = {}
    for text in axis.texts:
        box = text.get_window_extent().transformed(axis.transAxes.inverted())
        found[text.get_text()] = ((box.y0 + box.y1) / 2, (box.y1 - box.y0) / 2)
        assert box.x0 > 1  # outside, right of the axes
    return found


def test_names_that_have_room_stand_where_their_curves_end():
    axis = with_curves(0.2, 0.5, 0.9)
    assert figures.label_ends(axis, letters=30)
    assert axis.get_legend() is None
    assert {name: round(y, 2) for name, (y, _) in places(axis).items()} == {
        "curve to 0.2": 0.2, "curve to 0.5": 0.5, "curve to 0.9": 0.9,
    }  # fmt: skip


def test_names_that_would_touch_move_apart_and_keep_their_order():
    axis = with_curves(0.98, 0.5, 0.52, 0.51, 0.99, 1.0)
    assert figures.label_ends(axis)
    found = places(axis)
    order = sorted(found, key=lambda name: float(name.split()[-1]))
    for (low, low_half), (high, high_half) in zip(
        (found[name] for name in order), (found[name] for name in order[1:])
    ):
        assert high - low >= low_half + high_half
    middle = np.mean([found[f"curve to {end}"][0] for end in (0.5, 0.51, 0.52)])
    assert middle == pytest.approx(0.51, abs=0.005)  # moved as little as can be
    top, half = found["curve to 1.0"]
    assert top + half < 1.02


def test_a_name_stands_at_its_curve_where_nobody_chose_the_limits():
    _, (axis,) = figures.new_figure(width=4, height=3)
    axis.plot([0, 10], [0, 70], label="up")
    axis.plot([0, 10], [0, -30], label="down")
    assert figures.label_ends(axis)
    low, high = axis.get_ylim()
    for name, end in (("up", 70), ("down", -30)):
        assert places(axis)[name][0] == pytest.approx((end - low) / (high - low), abs=0.01)


def test_the_line_to_a_name_has_the_color_of_its_curve():
    axis = with_curves(0.5, 0.52, 0.6)
    figures.label_ends(axis)
    leaders = [line for line in axis.get_lines() if line.get_label() == "_leader"]
    assert [line.get_color() for line in leaders] == [BLUE, RED, OCHRE]
    starts = [line.get_ydata()[0] for line in leaders]
    assert starts == pytest.approx([0.5, 0.52, 0.6])


@pytest.mark.parametrize("panel", [{"x_end": 0.5}, {"height": 1.1}])
def test_a_legend_where_a_curve_ends_earlier_or_there_is_no_room(panel):
    axis = with_curves(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, **panel)
    assert not figures.label_ends(axis)
    assert len(axis.get_legend().get_texts()) == 7
    assert not axis.texts


def test_a_level_is_named_at_its_height():
    axis = with_curves(0.8)
    axis.axhline(0.3, label="guessing")
    assert figures.label_ends(axis)
    assert places(axis)["guessing"][0] == pytest.approx(0.3, abs=0.01)


def rows(kind, time=6):
    """Causal weights (time, time) that look in one way."""
    may = np.tril(np.ones((time, time)))
    if kind == "everywhere":
        return may / may.sum(axis=1, keepdims=True)
    if kind == "itself":
        return np.eye(time)
    shift = np.eye(time, k=-1)
    shift[0, 0] = 1
    mild = 0.4 * np.eye(time) + 0.3 * shift + 0.3 * rows("everywhere", time)
    mostly = 0.8 * shift + 0.2 * rows("everywhere", time)
    return {"before": shift, "mostly before": mostly, "a bit of all": mild}[kind]


@pytest.mark.parametrize(
    "heads",
    [
        ("everywhere", "itself", "mostly before"),
        ("mostly before", "before"),
        ("itself", "before", "everywhere"),
        ("everywhere", "itself", "a bit of all"),
    ],
)
def test_the_head_shown_large_neither_looks_everywhere_nor_at_itself(heads):
    chosen = figures.telling_head(np.stack([rows(kind) for kind in heads]))
    order = ("before", "mostly before", "a bit of all")
    assert heads[chosen] == next(kind for kind in order if kind in heads)


def test_one_large_head_has_the_tokens_and_the_others_are_small():
    weights = np.stack([rows(kind) for kind in ("everywhere", "before", "itself")])
    figure = figures.attention_map(weights, list("abcdef"))
    figure.draw_without_rendering()
    large, *small = figure.axes
    assert large.get_title() == "head 1"
    assert [axis.get_title() for axis in small] == ["head 0", "head 2"]
    assert [tick.get_text() for tick in large.get_yticklabels()] == list("abcdef")
    assert min(tick.get_fontsize() for tick in large.get_xticklabels()) >= 9
    assert figure.get_figwidth() <= 5.4  # of 390 pixels a point is one: nine are read
    assert large.get_window_extent().width > 2 * small[0].get_window_extent().width


def test_one_head_alone_is_drawn_alone():
    figure = figures.attention_map(rows("before")[None], list("abcdef"))
    assert len(figure.axes) == 1


def test_the_first_picture_of_the_readme_is_that_of_its_numbers():
    """Drawn again it is the file; its numbers are in the table that a reader finds."""
    docs = Path(__file__).parent.parent / "docs"
    spec = importlib.util.spec_from_file_location("demo_labels", docs / "demo_labels.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.picture() == (docs / "demo_labels.svg").read_bytes()
    kept = json.loads((docs / "demo_labels.json").read_text(encoding="utf-8"))
    pages = [docs.parent / "README.md", *docs.rglob("*.md")]
    written = re.sub(" +", " ", "\n".join(page.read_text(encoding="utf-8") for page in pages))
    for name, accuracies in kept["accuracy (%)"].items():
        assert f"| {name} | {' | '.join(map(str, accuracies))} |" in written


@pytest.mark.parametrize(("median", "shown"), [(0.0, "gray_r"), (0.3, "gray"), (0.8, "gray")])
def test_strokes_are_dark_as_on_paper_and_a_dark_photograph_is_no_negative(median, shown):
    images = np.full((4, 6, 6, 1), median)
    images[:, 1:5, 1:5] = 1.0  # most of it is ink, but not at the edges
    nearest = np.array([[0, 1], [2, 3]])
    for figure in (
        figures.contact_sheet(images, list("abcd"), nearest, np.ones((2, 2))),
        figures.gallery(images, list("abcd")),
    ):
        assert {image.get_cmap().name for axis in figure.axes for image in axis.images} == {shown}

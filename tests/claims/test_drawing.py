"""The figures of claims show the means of the seeds, and where the seeds lie."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from minissl.claims import claim_names, load_claim
from minissl.claims.claim import Measured
from minissl.claims.drawing import by_labels, groups, line
from minissl.palette import BLUE, RED
from minissl.reading import read_json


def test_rows_by_labels_are_means_with_a_band_from_the_lowest_to_the_highest_seed():
    columns = ["2 labels", "5 per class", "all labels"]
    numbers = {"one": [[1.0, 4, 7], [3, 4, 11]], "other": [[0, 1, 2], [2, 5, 8]]}
    measured = [
        Measured({row: dict(zip(columns, seeds[seed])) for row, seeds in numbers.items()})
        for seed in (0, 1)
    ]
    axis = Figure().subplots()
    by_labels(axis, measured, {"one": (BLUE, "-"), "other": (RED, ":")}, columns)
    lines, bands = axis.get_lines(), axis.collections
    assert [(one.get_label(), one.get_color()) for one in lines] == [("one", BLUE), ("other", RED)]
    for (_, seeds), drawn, band in zip(numbers.items(), lines, bands, strict=True):
        np.testing.assert_array_equal(drawn.get_xdata(), [0, 1, 2])
        np.testing.assert_allclose(drawn.get_ydata(), np.mean(seeds, axis=0))
        corners = band.get_paths()[0].vertices
        for place in range(3):
            heights = corners[corners[:, 0] == place, 1]
            assert (heights.min(), heights.max()) == (
                np.min(seeds, axis=0)[place], np.max(seeds, axis=0)[place],
            )  # fmt: skip
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["2", "5", "all"]


def test_a_color_brings_its_line_and_marker_unless_they_say_something_else():
    measured = [Measured({}, {"one": ([1, 2], [3, 4]), "other": ([1, 2], [4, 4])})]
    axis = Figure().subplots()
    line(axis, measured, "one", color=RED)
    line(axis, measured, "other", color=RED, linestyle=":", marker="o", ms=9)
    plain, dotted = axis.get_lines()
    assert plain.get_linestyle() == "--"
    assert plain.get_marker() in ("None", None, "")
    assert (dotted.get_linestyle(), dotted.get_marker()) == (":", "s")


def test_bars_of_a_group_differ_in_their_pattern():
    measured = [Measured({"one": {"a": 1.0}, "other": {"a": 2.0}})]
    axis = Figure().subplots()
    groups(axis, measured, {"one": BLUE, "other": RED}, {"a": "A"})
    assert len({bar.get_hatch() for bar in axis.patches}) == 2


KEPT = Path(__file__).parents[2] / "lectures" / "claims"


@pytest.mark.parametrize("name", claim_names())
def test_what_a_kept_figure_names_is_told_without_its_color(name):
    """Two curves of a panel differ in line or marker, two kinds of bars in their pattern."""
    if not (KEPT / f"{name}.json").exists():
        pytest.skip("not kept")
    kept = read_json(KEPT / f"{name}.json", "a result", {"table": dict, "curves": list})
    measured = [
        Measured(
            {row: {c: cell["values"][seed] for c, cell in cells.items()}
             for row, cells in kept["table"].items()},
            {curve: tuple(xy) for curve, xy in kept["curves"][seed].items()},
        )
        for seed in range(len(kept["seeds"]))
    ]  # fmt: skip
    for axis in load_claim(name).figure(measured, kept["settings"]).axes:
        lines = [line for line in axis.get_lines() if line.get_label()[0] != "_"]
        forms = [
            (line.get_linestyle() != "None" and line._unscaled_dash_pattern, line.get_marker())
            for line in lines
        ]
        assert len(set(map(str, forms))) == len(forms), [line.get_label() for line in lines]
        bars = [b for b in axis.containers if hasattr(b, "patches") and b.get_label()[0] != "_"]
        assert len({b.patches[0].get_hatch() for b in bars}) == len(bars)

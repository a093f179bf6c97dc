"""The figures of claims show the means of the seeds, and where the seeds lie."""

import numpy as np
from matplotlib.figure import Figure

from minissl.claims.claim import Measured
from minissl.claims.drawing import by_labels
from minissl.palette import BLUE, RED


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

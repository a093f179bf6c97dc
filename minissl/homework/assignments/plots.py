"""The plot of an experiment, as far as a checker can see: there is one, and it shows data."""

from __future__ import annotations

import importlib.util
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minissl.homework.experiment import Experiment, Handed, Row
from minissl.homework.task import Draw, Wrong, call

_SVG = rb"(?s)\s*<.*<svg\b|\s*<svg\b"
_OTHERS = rb"\x89PNG\r\n|\xff\xd8\xff"
_PLACES = rb'[\s"](?:d|x|y|cx|cy|x1|x2|y1|y2|points|width|height|transform)="([^"]*)"'


def add_plot_check(experiment: Experiment, points: int) -> None:
    """Add the check of ``draw``, worth so many points."""

    def a_plot_of_the_rows(handed: Handed, draw: Draw) -> None:
        """draw: of rows that are made up it writes a picture, of other rows another one."""
        names = [*handed.functions.get("SETTINGS", ())] or ["first", "second"]
        pictures = []
        for _ in range(2):
            rows: list[Row] = [
                {"setting": name, "seed": seed}
                | {
                    measure: float(draw.generator.uniform(0.05, 0.95))
                    for measure in experiment.measures
                }
                for name in names
                for seed in range(3)
            ]
            pictures.append(_drawn(handed, rows))
        if pictures[0] is not None and pictures[0] == pictures[1]:
            sentence = "draw gave the same picture of other rows: it has to show what they hold"
            raise Wrong(sentence, {"rows": rows}, "the same picture", "another one")

    experiment.check(points)(a_plot_of_the_rows)


def _drawn(handed: Handed, rows: Sequence[Row]) -> Any:
    """What the picture shows, and where; None where there is no matplotlib to draw with."""
    function = handed.function("draw")
    if importlib.util.find_spec("matplotlib") is None:
        return None
    with tempfile.TemporaryDirectory(prefix="homework") as folder:
        path = Path(folder, "figure.svg")
        call(function, list(rows), path)
        given = {"rows": rows, "path": "figure.svg"}
        data = path.read_bytes() if path.is_file() else b""
        if re.match(_SVG, data):
            return sorted(re.findall(_PLACES, data))
        if re.match(_OTHERS, data):
            return data
        raise Wrong(
            "draw wrote no picture to the path that it is given", given, data[:80], "<svg ..."
        )

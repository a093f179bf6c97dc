"""A claim that takes no time, for the tests of running, keeping and judging."""

from dataclasses import replace

import numpy as np

from minissl.claims.claim import Cell, Claim, Expectation, Measured
from minissl.figures import new_figure

TRUTH, LIE = Cell("truth", "score"), Cell("lie", "score")


def measure(setup):
    """Truth is ahead by the setting ``gap`` plus up to a tenth; everything comes from the seed."""
    setup.note("measuring")
    noise = np.random.default_rng(setup.seed).uniform(0, 0.1, 2)
    table = {"truth": {"score": setup.settings["gap"] + noise[0], "length": 3}}
    return Measured(table | {"lie": {"score": -noise[1]}}, {"path": (np.arange(2), noise)})


def measure_alone(seed, gap=2):
    """The score of truth with this seed."""
    return gap + np.random.default_rng(seed).uniform(0, 0.1, 2)[0]


def figure(measured, settings):
    drawn, (axis,) = new_figure(width=4)
    for run in measured:
        axis.plot(*run.curves["path"])
    return drawn


TOY = Claim(
    name="toy",
    title="A toy",
    statement="Truth scores more.",
    lecture="1",
    measure=measure,
    expectations=(Expectation(TRUTH, LIE, 1, "it is true"),),
    figure=figure,
    scales={"quick": {"gap": 5}, "small": {"gap": 2}, "full": {"gap": 0.5}},
    own=["gap"],
    formats={"length": ".0f"},
    rows="who",
    about="Made for the tests.",
)


class Counting:
    """The toy claim, which writes down its seeds and is stopped before one of them."""

    def __init__(self, stop_at=None, error=KeyboardInterrupt):
        self.seeds, self.stop_at, self.error = [], stop_at, error
        self.claim = replace(TOY, measure=self._measure)

    def _measure(self, setup):
        if setup.seed == self.stop_at:
            raise self.error
        self.seeds.append(setup.seed)
        return measure(setup)

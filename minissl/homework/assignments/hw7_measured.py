"""Homework 7, the experiment: what the checker repeats of it, and what a person judges."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.homework.assignments import hw7_oracle as oracle
from minissl.homework.experiment import Experiment, Handed, Item
from minissl.homework.task import Draw, Wrong, call, expect

experiment = Experiment(
    "7.13",
    "minissl.homework.assignments.hw7_experiment:measure",
    "what are the random tokens good for, and those that stay?",
    "lecture 08, section 3",
    writes=("three_views", "mean_nats", "measure", "draw"),
    measures=("masked", "kept", "random"),
    rubric=(
        Item(1, "Expected: for each view a guess that could turn out wrong, and the reason"),
        Item(2, "the plot: axes named, all seeds to be seen, readable in print without colours"),
        Item(1, "the table: means and spread over the seeds, and they are those of results.json"),
        Item(2, "Measured: what each of the 10 % does to the three numbers, and of a difference "
                "whether it is more than the seeds differ among themselves"),
        Item(1, "Not shown: one thing that these numbers do not tell, and what would"),
    ),
)  # fmt: skip
VIEWS = ("masked", "kept", "random")


def _some_rows(draw: Draw) -> Any:
    """Rows, places and other tokens."""

    def more(generator: np.random.Generator) -> tuple[int, int]:
        count, time = generator.integers(1, 6, 2).tolist()
        return count, time + 1

    for count, time in draw.cases((1, 2), (2, 5), more=more):
        rows, others = draw.generator.integers(10, 60, (2, count, time))
        places = draw.generator.random((count, time)) < 0.4
        places[0, 0], places[0, 1] = True, False
        yield rows, places, others


# ---- on numbers that are given -------------------------------------------------------------------


@experiment.check(2)
def views_of_rows(handed: Handed, draw: Draw) -> None:
    """three_views, on rows that are given: they differ at the places alone."""
    function = handed.function("three_views")
    for rows, places, others in _some_rows(draw):
        given = {"rows": rows, "places": places, "others": others, "mask": 3}
        got = call(function, rows, places, others, 3)
        if not isinstance(got, dict) or got.keys() != {*VIEWS}:
            raise Wrong("three_views gives a dictionary of three arrays", given, got, VIEWS)
        right = {
            "masked": np.where(places, 3, rows), "kept": rows,
            "random": np.where(places, others, rows),
        }  # fmt: skip
        symptoms = {
            "this is the view of the visible places: change those that are True": {
                "masked": np.where(places, rows, 3), "random": np.where(places, rows, others),
            },
            "a place was changed where nothing is hidden": {
                "masked": np.full_like(rows, 3), "random": others,
            },
            "masked and random are exchanged": {
                "masked": right["random"], "random": right["masked"],
            },
            "kept is the text as it is": {"kept": right["masked"]},
        }  # fmt: skip
        for name in VIEWS:
            own = {s: values[name] for s, values in symptoms.items() if name in values}
            expect(got[name], right[name], given={**given, "view": name}, symptoms=own)
            if any(np.shares_memory(got[name], x) for x in (rows, others)):
                sentence = f"{name!r} is one of the arrays that were handed over: give new arrays"
                raise Wrong(sentence, given, "the argument itself", "a copy")


@experiment.check(2)
def nats_of_places(handed: Handed, draw: Draw) -> None:
    """mean_nats, on logarithms that are given: over the places, of the tokens of the row."""
    function = handed.function("mean_nats")
    for rows, places, others in _some_rows(draw):
        rows, others = rows % 4, others % 4
        logits = 2 * draw.normal(*rows.shape, 4)
        log_p = np.array([[oracle.log_softmax(x) for x in row] for row in logits.tolist()])
        costs = -np.take_along_axis(log_p, rows[..., None], axis=2)[..., 0]
        right = float(costs[places].mean())
        by_row = [c[p].mean() for c, p in zip(costs, places) if p.any()]
        symptoms = {
            "the mean is over all tokens, not the places": float(costs.mean()),
            "this is of the tokens that are no places": float(costs[~places].mean()),
            "the sum was taken, not the mean": float(costs[places].sum()),
            "the sign is wrong": -right,
            "these are bits: log_p is in nats already": right / math.log(2),
            "the mean of the probabilities was taken, not of their logarithms": float(
                -np.log(np.exp(-costs[places]).mean())
            ),
            "the mean of the rows' means was taken: all places count alike": float(np.mean(by_row)),
            "this is the median: the mean is asked for": float(np.median(costs[places])),
            "this is the worst place: the mean is asked for": float(costs[places].max()),
            "this is a perplexity: the mean of the nats is its logarithm": math.exp(right),
            "the likeliest token was looked at: that of the row is asked for": float(
                -log_p.max(axis=2)[places].mean()
            ),
        }
        given = {"log_p": log_p, "rows": rows, "places": places}
        got = call(function, log_p, rows, places)
        expect(float(got), right, given=given, symptoms=symptoms)


# ---- training, in small --------------------------------------------------------------------------


def _trained(rows: NDArray, held_out: NDArray, options: dict, seed: int, **how: Any) -> dict:
    """The three numbers, with something to get wrong."""
    from minissl.homework.assignments.hw7_experiment import MASK, Masked  # for this task only
    from minissl.optim.adamw import AdamW
    from minissl.text.masking import choose_pieces
    from minissl.training.plain import plain_loop

    vocab, options = how.get("vocab", 9), {**options, **how.get("changed", {})}
    taught = np.concatenate([rows, held_out]) if how.get("taught_all") else rows
    method = Masked(taught, vocab, options, seed=how.get("network", seed))
    optimizer = AdamW(method.model.named_parameters(), lr=options["learning_rate"])
    plain_loop(method, optimizer, options["steps"], seed=how.get("loop", seed))
    method.model.eval()
    text = rows if how.get("of_training") else held_out
    generator = np.random.default_rng(how.get("places", 0))
    lowest, others = how.get("lowest", 1), None
    if how.get("others_first"):
        others = generator.integers(lowest, vocab, size=text.shape)
    places = choose_pieces(np.ones(text.shape, bool), generator)
    if others is None:
        others = generator.integers(lowest, vocab, size=text.shape)
    found = {}
    for name, stands in (("masked", MASK), ("kept", text), ("random", others)):
        log_p = method.log_probabilities(np.where(places, stands, text))
        costs = [-log_p[i, t, text[i, t]] for i, t in np.argwhere(places)]
        found[name] = math.fsum(costs) / len(costs)
    return found


@experiment.check(2)
def training_in_small(handed: Handed, draw: Draw) -> None:
    """measure, on 30 short rows: its three numbers are those of the recipe, for every seed."""
    function = handed.function("measure")
    rows = (draw.generator.integers(8, size=(40, 1)) + np.arange(8)) % 8 + 1
    rows, held_out = rows[:30], rows[30:]
    options: dict[str, Any] = {"steps": 3, "width": 8, "batch_size": 8, "learning_rate": 1e-2}
    for seed, shares in ((0, (0.8, 0.1)), (1, (1.0, 0.0))):
        options["shares"] = shares
        given = {"options": dict(options), "seed": seed, "rows": "30 and 10 of 8 tokens"}
        got = experiment.numbers_twice(
            function, rows, held_out, 9, dict(options), seed, given=given
        )
        right = _trained(rows, held_out, options, seed)
        if all(abs(got[name] - right[name]) <= 1e-4 * right[name] for name in VIEWS):
            continue
        for sentence, mistake in _MISTAKES.items():
            mistake = {k: v(seed) if callable(v) else v for k, v in mistake.items()}
            wrong = _trained(rows, held_out, options, seed, **mistake)
            if all(abs(got[name] - wrong[name]) <= 1e-4 * wrong[name] for name in VIEWS):
                raise Wrong(sentence, given, got, right)
        (name, *_) = (n for n in VIEWS if abs(got[n] - right[n]) > 1e-4 * right[n])
        raise Wrong(f"{name!r} is another than that of the recipe", given, got, right)


_MISTAKES: dict[str, dict[str, Any]] = {
    "these are the training rows: measure on those that were held out": {"of_training": True},
    "it was not trained": {"changed": {"steps": 0}},
    "the loop has a seed, too": {"loop": 0},
    "the network is not that of the seed: hand it on": {"network": lambda seed: 1 - seed},
    "the places are drawn by generator 0, for every seed": {"places": lambda seed: seed},
    "other tokens are drawn from 1 on: 0 is [MASK]": {"lowest": 0},
    "the places are drawn first, and the other tokens after them": {"others_first": True},
    "it was trained on the held-out rows, too": {"taught_all": True},
    "learning_rate is not handed on": {"changed": {"learning_rate": 3e-3}},
    "batch_size is not handed on": {"changed": {"batch_size": 32}},
    "it was trained a step too many": {"changed": {"steps": 4}},
    "the shares are not handed on": {"changed": {"shares": (0.8, 0.1)}},
}


experiment.check_files(results=1, report=1)

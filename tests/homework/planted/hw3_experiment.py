"""Wrong answers to homework 3: the experiment and its report."""

import json
import math
from itertools import accumulate, pairwise

import numpy as np

from minissl.homework.assignments import hw3_experiment as ours
from minissl.homework.assignments.hw3_measured import experiment
from minissl.training import fit
from tests.homework.planted import Collection, HandedIn

PLANTED = Collection()
handed = HandedIn(experiment, "hw3")
FILES, ROWS, TEXT = handed.files, handed.rows, handed.text


# ---- the functions -------------------------------------------------------------------------------


def marks(
    cost=lambda p: -math.log(p), add=1, after=lambda held_out: held_out[1:],
    seen=lambda stream, held_out: stream, finish=np.mean, names=("nothing", "counts", "pairs"),
):  # fmt: skip
    """landmarks with counts in a list, with something to get wrong in it."""

    def landmarks(stream, held_out, vocab_size):
        counts = [add] * vocab_size
        for token in seen(stream, held_out):
            counts[token] += 1
        costs = [cost(counts[token] / sum(counts)) for token in after(held_out)]
        pairs = ours.landmarks(stream, held_out, vocab_size)["pairs"]
        found = cost(1 / vocab_size), float(finish(costs)), pairs
        return dict(zip(names, found))

    return landmarks


def points(
    mean=np.mean, since=True, zero=False, order=(0, 1, 2), last=0, number=lambda k, step: step
):
    """curve by slices of all losses, with something to get wrong in it."""

    def curve(records):
        losses = [record["loss"] for record in records if "loss" in record]
        measured = [record for record in records if "held_out_loss" in record]
        found = [(0, measured[0]["held_out_loss"], measured[0]["held_out_loss"])] if zero else []
        for k, (a, b) in enumerate(pairwise(measured)):
            part = losses[a["step"] if since else 0 : b["step"] - last]
            point = number(k, b["step"]), float(mean(part)), b["held_out_loss"]
            found.append(tuple(point[i] for i in order))
        return found

    return curve


def curve_by_sums(records):
    """curve by running sums."""
    losses = [record.get("loss", 0.0) for record in records]
    sums = dict(zip((record["step"] for record in records), accumulate(losses)))
    steps = {r["step"]: r["held_out_loss"] for r in records if "held_out_loss" in r}
    return [
        [step, (sums[step] - sums[before]) / (step - before), steps[step]]
        for before, step in pairwise(steps)
    ]


def measured(change=lambda found: found, seed=lambda given: given, texts=lambda a, b: (a, b),
             options=lambda given: given):  # fmt: skip
    """measure, with something to get wrong in it."""

    def measure(documents, held_out, given, number):
        return change(ours.measure(*texts(documents, held_out), options(given), seed(number)))

    return measure


def measure_by_fit(documents, held_out, options, seed):
    """measure with the loop itself."""
    settings = ours.GPTPretraining.Settings(vocab_size=257, **options)
    streams = ours.encode_documents(documents, held_out, ours.BYTES)
    method = ours.GPTPretraining.build(settings, streams, seed=seed)
    before = method.evaluate()["held_out_loss"]
    history = fit(
        method, settings.optimizer(method.model), steps=settings.steps, seed=seed, clip=1.0,
        schedule=settings.schedule, progress=False,
        evaluate_every=settings.steps // settings.evaluations,
    )  # fmt: skip
    found = curve_by_sums(history.records)
    return {
        "start": before, "best": sorted(point[2] for point in found)[0],
        "last": history.latest("held_out_loss"), "training": found[-1][1], "curve": found,
    }  # fmt: skip


def _of_seed_zero(documents, held_out, options, seed):
    settings = ours.GPTPretraining.Settings(vocab_size=257, **options)
    streams = ours.encode_documents(documents, held_out, ours.BYTES)
    method = ours.GPTPretraining.build(settings, streams, seed=0)
    history = ours.train(method, settings, seed=seed, progress=False)
    found = ours.curve(history.records)
    last = {"last": found[-1][2], "training": found[-1][1]}
    best = min(point[2] for point in found)
    return {"curve": found, "start": history[0]["held_out_loss"], "best": best, **last}


COUNTED = iter(range(10**9))

for _mistake, _shows, _functions in [
    ("bits", "in bits", {"landmarks": marks(cost=lambda p: -math.log2(p))}),
    ("the first token too", "no cost", {"landmarks": marks(after=lambda held_out: held_out)}),
    ("nothing added", "one is added", {"landmarks": marks(add=1e-12)}),
    ("held-out counts", "nobody knows before", {"landmarks": marks(seen=lambda a, b: b)}),
    ("a sum", "this is the sum", {"landmarks": marks(finish=np.sum)}),
    ("other names", "three numbers", {"landmarks": marks(names=("a", "b", "c"))}),
    ("one batch", "not that of one batch", {"curve": points(mean=lambda part: part[-1])}),
    ("from the beginning", "not over all steps", {"curve": points(since=False)}),
    ("step 0", "step 0 is no point", {"curve": points(zero=True)}),
    ("exchanged", "are exchanged", {"curve": points(order=(0, 2, 1))}),
    ("numbered", "step of a point is that", {"curve": points(number=lambda k, step: k + 1)}),
    ("pairs of numbers", "shape", {"curve": points(order=(0, 2))}),
    ("always seed 0", "hand it on", {"measure": measured(seed=lambda given: 0)}),
    ("no seed", "same seed gave other", {"measure": measured(seed=lambda given: next(COUNTED))}),
    ("weights of seed 0", "weights of two seeds are the same", {"measure": _of_seed_zero}),
    ("trained on both", "was it trained on", {"measure": measured(texts=lambda a, b: (b, b))}),
    (
        "few steps",
        "a point for each",
        {"measure": measured(options=lambda given: {**given, "steps": 3})},
    ),
    (
        "start after training",
        "before training",
        {"measure": measured(lambda found: {**found, "start": found["last"]})},
    ),
    (
        "best of training",
        "not the lowest training loss|not that of the curve",
        {"measure": measured(lambda found: {**found, "best": found["training"]})},
    ),
    ("no curve", "four numbers", {"measure": measured(lambda found: {"start": found["start"]})}),
    ("not there", "does not define the function", {"curve": None}),
]:
    PLANTED.add("3.16", _mistake, shows=_shows)(handed(**_functions))

for _mistake, _shows, _files in [
    ("no results", "there is no results.json", {"report.md": FILES["report.md"]}),
    ("no report", "there is no report.md", {"results.json": FILES["results.json"]}),
    (
        "one setting",
        "one setting compares nothing",
        {**FILES, "results.json": json.dumps(ROWS[:3]).encode()},
    ),
    (
        "no landmarks",
        "needs a number as 'pairs'",
        {
            **FILES,
            "results.json": json.dumps([{**row, "pairs": None} for row in ROWS]).encode(),
        },
    ),
    (
        "a setting is missing",
        "no row for the setting 'book'",
        {**FILES, "report.md": TEXT.replace("| book |", "| novel |").encode()},
    ),
]:
    PLANTED.add("3.16", _mistake, shows=_shows)(handed(_files, measure=None, curve=None))

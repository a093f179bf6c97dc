"""Wrong answers to homework 4, contrastive losses and kernels: the experiment and its report."""

import json

import numpy as np

from minissl.homework.assignments import hw4_experiment as ours
from minissl.homework.assignments.hw4_measured import experiment
from minissl.training import diagnostics
from minissl.training.fit import fit
from tests.homework.planted import Collection, HandedIn

PLANTED = Collection()
handed = HandedIn(experiment, "hw4")
FILES, ROWS, TEXT = handed.files, handed.rows, handed.text


# ---- the functions -------------------------------------------------------------------------------


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def aligned(of=lambda a, b: ((a - b) ** 2).sum(axis=1).mean(), scale=unit):
    """alignment, with something to get wrong in it."""
    return lambda first, second: float(of(scale(first), scale(second)))


def near(scale=unit, itself=False, turn=1, share=True, sides=lambda a, b: (a, b)):
    """neighbors row by row, with something to get wrong in it."""

    def neighbors(first, second, labels):
        first, second = sides(first, second)
        a, b, hits = scale(first), scale(second), 0
        for i, row in enumerate(a):
            others = [j for j in range(len(b)) if itself or j != i]
            hits += labels[max(others, key=lambda j: turn * (row @ b[j]))] == labels[i]
        return hits / len(labels) if share else float(hits)

    return neighbors


def measured(
    change=lambda found: found, split=lambda s: s, options=lambda o: o, seed=lambda given: given
):
    """measure, with something to get wrong in it."""

    def measure(given, chosen, number):
        return change(ours.measure(split(given), options(chosen), seed(number)))

    return measure


def viewed(views=lambda images, g: (ours.AUGMENT(images, g), ours.AUGMENT(images, g)),
           loop=lambda seed: seed, generator=np.random.default_rng):  # fmt: skip
    """measure by ``fit``, with other views or another loop."""

    def measure(split, options, seed):
        method = ours.ViewNetwork(split.train_images, options, seed=seed)
        optimizer = ours.AdamW(method.model.named_parameters(), lr=options["learning_rate"])
        fit(method, optimizer, steps=options["steps"], seed=loop(seed), progress=False)
        first, second = map(method.represent, views(split.test_images, generator(seed)))
        return {
            "neighbors": near()(first, second, split.test_labels),
            "alignment": diagnostics.alignment(first, second),
            "spread": diagnostics.z_std(first),
        }

    return measure


def same_twice(images, generator):
    view = ours.AUGMENT(images, generator)
    return view, view


COUNTED = iter(range(10**9))

for _mistake, _shows, _functions in [
    (
        "plain distances",
        "not their squares",
        {"alignment": aligned(lambda a, b: np.linalg.norm(a - b, axis=1).mean())},
    ),
    ("any length", "not scaled to length 1", {"alignment": aligned(scale=lambda x: x)}),
    (
        "cosines",
        "mean cosine",
        {"alignment": aligned(lambda a, b: (a * b).sum(axis=1).mean())},
    ),
    ("a sum", "sum over the images", {"alignment": aligned(lambda a, b: ((a - b) ** 2).sum())}),
    (
        "the mean of all squares",
        "mean over the columns",
        {"alignment": aligned(lambda a, b: ((a - b) ** 2).mean())},
    ),
    (
        "all pairs",
        "every image was compared",
        {"alignment": aligned(lambda a, b: (2 - 2 * a @ b.T).mean())},
    ),
    ("the same image", "of the same image was found", {"neighbors": near(itself=True)}),
    ("inner products", "inner products were used", {"neighbors": near(scale=lambda x: x)}),
    ("the farthest", "farthest view", {"neighbors": near(turn=-1)}),
    ("first views only", "among the first", {"neighbors": near(sides=lambda a, b: (a, a))}),
    ("a number of rows", "divide by how many", {"neighbors": near(share=False)}),
    ("always seed 0", "seed is handed on to nothing|another than", {"measure": measured(
        seed=lambda _: 0)}),
    ("no seed", "same seed gave other", {"measure": measured(seed=lambda _: next(COUNTED))}),
    ("no training", "was not trained", {"measure": measured(options=lambda o: {**o, "steps": 0})}),
    (
        "of the training images",
        "these are the training images",
        {"measure": measured(split=lambda s: ours.LabelledSplit(*s[:2], *s[:2]))},
    ),
    (
        "no views",
        "not views of them",
        {"measure": viewed(lambda images, g: (images, images))},
    ),
    ("one view", "both views are the same|another than", {"measure": viewed(same_twice)}),
    ("views of seed 0", "views are not those", {"measure": viewed(
        generator=lambda seed: np.random.default_rng(1 - seed))}),
    ("the loop of another seed", "loop has a seed", {"measure": viewed(loop=lambda s: 1 - s)}),
    ("a number too few", "three numbers", {"measure": measured(lambda f: {"spread": f["spread"]})}),
    (
        "not a number",
        "no finite number",
        {"measure": measured(lambda found: {**found, "spread": float("nan")})},
    ),
    ("not there", "does not define the function", {"measure": None}),
]:  # fmt: skip
    PLANTED.add("4.8", _mistake, shows=_shows)(handed(**_functions))


# ---- the files -----------------------------------------------------------------------------------


def results(rows):
    """The right files with these rows."""
    return {**FILES, "results.json": json.dumps(rows).encode()}


for _mistake, _shows, _files in [
    ("no results", "there is no results.json", {"report.md": FILES["report.md"]}),
    ("no spread", "needs a number as 'spread'", results([{**ROWS[0], "spread": None}])),
    ("two seeds", "fewer than 3 seeds", results([row for row in ROWS if row["seed"] < 2])),
    (
        "the flat one left out",
        "no row for the setting 'flat'",
        {**FILES, "report.md": TEXT.replace("| flat |", "| level |").encode()},
    ),
    (
        "no expectation",
        'no section "## Expected"',
        {**FILES, "report.md": TEXT.replace("## Expected", "## Result").encode()},
    ),
    ("an empty plot", "shows 'figure.svg'", {**FILES, "figure.svg": b""}),
]:
    PLANTED.add("4.8", _mistake, shows=_shows)(handed(_files, measure=None))

"""Wrong answers to homework 6, contrast: the experiment and its report."""

import json

import numpy as np
from sklearn.neighbors import NearestNeighbors

from minissl.homework.assignments import hw6_experiment as ours
from minissl.homework.assignments.hw6_measured import experiment
from minissl.losses import triplets
from minissl.training.fit import fit
from tests.homework.planted import Collection, HandedIn

PLANTED = Collection()
handed = HandedIn(experiment, "hw6")
FILES, ROWS, TEXT = handed.files, handed.rows, handed.text


# ---- the functions -------------------------------------------------------------------------------


def active(
    margin=lambda given: given,
    itself=False,
    turn=1,
    hit=lambda gap: gap > 0,
    share=lambda active, every: sum(active) / sum(every),
    mine=None,
):
    """active_share in loops, with something to get wrong in it."""

    def active_share(distances, labels, given):
        if mine is not None:
            found = mine(distances, labels)
        else:
            found = [
                (a, p, n)
                for a, label in enumerate(labels)
                for p in np.flatnonzero(labels == label)
                if itself or p != a
                for n in np.flatnonzero(labels != label)
            ]
        active, every = [0] * len(labels), [0] * len(labels)
        for a, p, n in found:
            gap = turn * (distances[a, p] - distances[a, n]) + margin(given)
            active[a] += bool(hit(gap))
            every[a] += 1
        return share(active, every)

    return active_share


def recall(near=lambda a, b: -np.linalg.norm(a - b), itself=False, share=True):
    """recall_at_1 row by row, with something to get wrong in it."""

    def recall_at_1(embeddings, labels):
        hits = 0
        for i, row in enumerate(embeddings):
            others = [j for j in range(len(embeddings)) if itself or j != i]
            hits += labels[max(others, key=lambda j: near(row, embeddings[j]))] == labels[i]
        return hits / len(labels) if share else float(hits)

    return recall_at_1


def measured(
    change=lambda found: found, split=lambda s: s, options=lambda o: o, seed=lambda given: given
):
    """measure, with something to get wrong in it."""

    def measure(given, chosen, number):
        return change(ours.measure(split(given), options(chosen), seed(number)))

    return measure


def active_by_mining(distances, labels, margin):
    """The library's triplets, and its share."""
    return triplets.active_share(
        distances, triplets.mine_triplets(distances, labels, "all"), margin
    )


def recall_by_neighbors(embeddings, labels):
    """scikit-learn's search."""
    nearest = NearestNeighbors(n_neighbors=1).fit(embeddings).kneighbors(return_distance=False)
    return float(np.mean(labels[nearest[:, 0]] == labels))


def measure_by_fit(split, options, seed):
    """measure with ``fit`` in place of the plain loop, and distances one by one."""
    method = ours.TripletNetwork(split.train_images, split.train_labels, options, seed=seed)
    optimizer = ours.AdamW(method.model.named_parameters(), lr=options["learning_rate"])
    fit(method, optimizer, steps=options["steps"], seed=seed, progress=False)
    rows, labels = method.represent(split.test_images), split.test_labels
    squares = ((rows[:, None] - rows) ** 2).sum(axis=2)
    return {
        "recall": recall_by_neighbors(rows, labels),
        "apart": np.mean([s for s, a in zip(squares, labels) for s in s[labels != a]]).item(),
        "active": active_by_mining(squares, labels, options["margin"]),
    }


COUNTED = iter(range(10**9))


def per_anchor(active, every):
    """The mean of the anchors' shares."""
    return float(np.mean([a / n for a, n in zip(active, every) if n]))


def hardest(distances, labels):
    """Only these."""
    return zip(*triplets.mine_triplets(distances, labels, "hard"))


for _mistake, _shows, _functions in [
    ("itself a positive", "no positive of itself", {"active_share": active(itself=True)}),
    ("no margin", "margin is missing", {"active_share": active(margin=lambda given: 0)}),
    ("less the margin", "wrong side", {"active_share": active(margin=lambda given: -given)}),
    ("those that are done", "that are done", {"active_share": active(hit=lambda gap: gap <= 0)}),
    ("a count", "divide by how many", {"active_share": active(share=lambda a, n: float(sum(a)))}),
    ("turned", "are exchanged", {"active_share": active(turn=-1)}),
    ("anchor by anchor", "averaged", {"active_share": active(share=per_anchor)}),
    ("of the hardest", "only the hardest", {"active_share": active(mine=hardest)}),
    ("near itself", "its own nearest", {"recall_at_1": recall(itself=True)}),
    ("products", "largest inner product", {"recall_at_1": recall(near=lambda a, b: a @ b)}),
    (
        "the farthest",
        "farthest row",
        {"recall_at_1": recall(near=lambda a, b: np.linalg.norm(a - b))},
    ),
    ("a number of rows", "divide by how many", {"recall_at_1": recall(share=False)}),
    ("always seed 0", "not that of the seed|another than", {"measure": measured(seed=lambda _: 0)}),
    ("no seed", "same seed gave other", {"measure": measured(seed=lambda _: next(COUNTED))}),
    (
        "no training",
        "was not trained",
        {"measure": measured(options=lambda o: {**o, "steps": 0})},
    ),
    (
        "of the training images",
        "these are the training images",
        {"measure": measured(split=lambda s: ours.LabelledSplit(*s[:2], *s[:2]))},
    ),
    (
        "plain distances",
        "looks at squared distances|another than",
        {"measure": measured(lambda found: {**found, "apart": found["apart"] ** 0.5})},
    ),
    ("a number too few", "three numbers", {"measure": measured(lambda f: {"recall": f["recall"]})}),
    (
        "not a number",
        "no finite number",
        {"measure": measured(lambda found: {**found, "apart": float("nan")})},
    ),
    ("not there", "does not define the function", {"measure": None}),
]:
    PLANTED.add("6.12", _mistake, shows=_shows)(handed(**_functions))


# ---- numbers that nothing measured, and what is right for some inputs only -----------------------

COPIED = {}


def copied(split, options, seed):
    """The numbers of the first seed for all."""
    key = split.train_images.tobytes(), options["mining"]
    if key not in COPIED:
        COPIED[key] = ours.measure(split, options, seed)
    return COPIED[key]


def made_up(split, options, seed):
    """Plausible numbers."""
    numbers = np.random.default_rng(seed)
    names = ("active", "recall", "apart")
    return {name: float(numbers.uniform(0.2, 0.9)) for name in names}


def infinite_diagonal(embeddings, labels):
    """Writes into the rows."""
    found = recall()(embeddings, labels)
    embeddings -= embeddings.mean(axis=0)
    return found


def by_class(embeddings, labels):
    """The mean of the labels' shares."""
    d = np.linalg.norm(embeddings[:, None] - embeddings, axis=2) + 1e9 * np.eye(len(labels))
    hits = labels[d.argmin(axis=1)] == labels
    return float(np.mean([hits[labels == label].mean() for label in np.unique(labels)]))


def by_vote(embeddings, labels):
    """Any of the three nearest."""
    d = np.linalg.norm(embeddings[:, None] - embeddings, axis=2) + 1e9 * np.eye(len(labels))
    order = np.argsort(d, axis=1)[:, :3]
    return float(np.mean((labels[order] == labels[:, None]).any(axis=1)))


def nothing(rows, path):
    """No plot."""


def always_the_same(rows, path):
    """A picture of nothing that was measured."""
    path.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>", encoding="utf-8")


def no_margin_for_the_share(split, options, seed):
    """The share without the margin."""
    found = ours.measure(split, options, seed)
    method = ours.TripletNetwork(split.train_images, split.train_labels, options, seed=seed)
    optimizer = ours.AdamW(method.model.named_parameters(), lr=options["learning_rate"])
    ours.plain_loop(method, optimizer, options["steps"], seed=seed)
    rows = method.represent(split.test_images)
    d = ours.pairwise_distances(rows, squared=True).numpy()
    return {**found, "active": active(margin=lambda given: 0)(d, split.test_labels, 0.0)}


for _mistake, _shows, _functions in [
    ("copied from one seed", "seed before", {"measure": copied}),
    ("made-up numbers", "another than", {"measure": made_up}),
    ("its own learning rate", "learning rate", {
        "measure": measured(options=lambda o: {**o, "learning_rate": 1e-2})}),
    ("always the same mining", "mining", {
        "measure": measured(options=lambda o: {**o, "mining": "hard"})}),
    ("no margin in measure", "margin", {"measure": no_margin_for_the_share}),
    ("the loss is on the kink", "above 0", {"active_share": active(hit=lambda gap: gap >= 0)}),
    ("moves the rows", "changed its input", {"recall_at_1": infinite_diagonal}),
    ("label by label", "all rows count alike", {"recall_at_1": by_class}),
    ("any of three", "three nearest", {"recall_at_1": by_vote}),
    ("draws nothing", "wrote no picture", {"draw": nothing}),
    ("one picture for all rows", "other rows", {"draw": always_the_same}),
]:  # fmt: skip
    PLANTED.add("6.12", _mistake, shows=_shows)(handed(**_functions))


# ---- the files: what homework 5 does not try -----------------------------------------------------


def results(rows):
    """The right files with these rows."""
    return {**FILES, "results.json": json.dumps(rows).encode()}


for _mistake, _shows, _files in [
    ("no results", "there is no results.json", {"report.md": FILES["report.md"]}),
    ("no recall", "needs a number as 'recall'", results([{**ROWS[0], "recall": None}])),
    ("two settings' seeds", "the same seeds", results([*ROWS[:-1], {**ROWS[-1], "seed": 7}])),
    (
        "the hardest left out",
        "no row for the setting 'hardest'",
        {**FILES, "report.md": TEXT.replace("| hardest |", "| hard |").encode()},
    ),
    ("an empty plot", "shows 'figure.svg'", {**FILES, "figure.svg": b""}),
    (
        "a recall that no count gives",
        "images, which the test has",
        results([{**ROWS[0], "recall": 0.95123}, *ROWS[1:]]),
    ),
    ("shares above 1", "from 0 to 1", results([{**row, "active": 1.5} for row in ROWS])),
]:
    PLANTED.add("6.12", _mistake, shows=_shows)(handed(_files, measure=None))

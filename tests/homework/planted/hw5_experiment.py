"""Wrong answers to homework 5, words: the experiment and its report."""

import json
import re

import numpy as np
from sklearn.neighbors import NearestNeighbors

from minissl.data import Kept
from minissl.homework.assignments import hw5_experiment as ours
from minissl.homework.assignments.hw5_measured import experiment
from minissl.pretrain.run import train
from tests.homework.planted import Collection, HandedIn

PLANTED = Collection()
handed = HandedIn(experiment, "hw5")
FILES, ROWS, TEXT = handed.files, handed.rows, handed.text


# ---- the functions -------------------------------------------------------------------------------


def topics(
    near=lambda x: x @ x.T / np.outer(*2 * [np.linalg.norm(x, axis=1)]), itself=False, share=True
):
    """same_topic by a double loop over a matrix, with something to get wrong in it."""

    def same_topic(vectors, documents):
        rows, sources = [], []
        for document in documents:
            words = [w for w in ours.words_of(document.text) if w in vectors]
            if words:
                rows.append(np.mean([vectors[w].astype(np.float64) for w in words], axis=0))
                sources.append(document.source)
        table, hits = near(np.array(rows)), 0
        for i, source in enumerate(sources):
            others = [j for j in range(len(rows)) if itself or j != i]
            hits += sources[max(others, key=lambda j: table[i, j])] == source
        return hits / len(rows) if share else float(hits)

    return same_topic


def endings(letters=3, every=False, near=lambda u, v: u @ u.T, itself=False):
    """same_ending with sorted neighbours, with something to get wrong in it."""

    def same_ending(vectors):
        pairs = [
            (
                row,
                next((e for e in ours.ENDINGS if w.endswith(e) and len(w) - len(e) >= letters), ""),
            )
            for row, w in enumerate(vectors.words)
        ]
        pairs = [pair for pair in pairs if pair[1] or every]
        rows = [row for row, _ in pairs]
        table = near(vectors.units[rows], vectors.matrix[rows]).astype(np.float64)
        if not itself:
            table -= 1e9 * np.eye(len(rows))
        order = np.argsort(-table, axis=1)[:, 0]
        return float(np.mean([pairs[i][1] == pairs[j][1] for i, j in enumerate(order)]))

    return same_ending


def measured(change=lambda found, options: found, seed=lambda given: given, fewer=False):
    """measure, with something to get wrong in it."""

    def measure(documents, labelled, options, number):
        options = {**options, "steps": 1} if fewer else options
        return change(ours.measure(documents, labelled, options, seed(number)), options)

    return measure


def topics_by_neighbors(vectors, documents):
    """same_topic by scikit-learn's search."""
    known = [d for d in documents if any(w in vectors for w in ours.words_of(d.text))]
    rows = np.array([vectors.mean(ours.words_of(d.text)).vector for d in known], np.float64)
    search = NearestNeighbors(n_neighbors=1, metric="cosine").fit(rows)
    nearest = search.kneighbors(return_distance=False)[:, 0]
    return float(np.mean([known[j].source == d.source for d, j in zip(known, nearest)]))


def endings_by_neighbors(vectors):
    """same_ending by a pattern and the library's own neighbours."""
    endings = {w: found[1] for w in vectors if (found := re.fullmatch(r".{3,}?(ing|ed|ly)", w))}
    without = set(vectors.words) - endings.keys()
    hits = [endings[vectors.neighbors(w, 1, without)[0][0]] == endings[w] for w in endings]
    return sum(hits) / len(hits)


def measure_step_by_step(documents, labelled, options, seed):
    """measure with data that was prepared, a method that was built, and pairs in a loop."""
    settings = ours.SkipGram.Settings(**options)
    data = ours.WordTexts(documents).prepare(Kept(), settings)
    method = ours.SkipGram.build(settings, data, seed=seed)
    train(method, settings, seed=seed, progress=False)
    of = data.stream.documents
    pairs = sum(2 * int((of[d:] == of[:-d]).sum()) for d in range(1, settings.window + 1))
    topic = ours.same_topic(method.vectors(), labelled)
    return {"topic": topic, "ending": ours.same_ending(method.vectors()), "pairs": pairs}


COUNTED = iter(range(10**9))

for _mistake, _shows, _functions in [
    ("a document is near itself", "its own nearest", {"same_topic": topics(itself=True)}),
    ("dot products", "largest dot product", {"same_topic": topics(near=lambda x: x @ x.T)}),
    ("a count", "divide by how many", {"same_topic": topics(share=False)}),
    ("a word is near itself", "its own nearest", {"same_ending": endings(itself=True)}),
    (
        "products of words",
        "largest dot product",
        {"same_ending": endings(near=lambda u, v: v @ v.T)},
    ),
    ("red has an ending", "three letters", {"same_ending": endings(letters=1)}),
    ("all words", "not looked at", {"same_ending": endings(every=True)}),
    ("always seed 0", "hand them on", {"measure": measured(seed=lambda given: 0)}),
    ("no seed", "same seed gave other", {"measure": measured(seed=lambda given: next(COUNTED))}),
    ("no training", "nearly always be of its topic", {"measure": measured(fewer=True)}),
    (
        "half of the pairs",
        "both directions count",
        {"measure": measured(lambda found, o: {**found, "pairs": found["pairs"] / 2})},
    ),
    (
        "a number too few",
        "three numbers",
        {"measure": measured(lambda found, o: {"topic": found["topic"]})},
    ),
    (
        "not a number",
        "no finite number",
        {"measure": measured(lambda found, o: {**found, "ending": float("nan")})},
    ),
    ("not there", "does not define the function", {"measure": None}),
]:
    PLANTED.add("5.12", _mistake, shows=_shows)(handed(**_functions))


# ---- numbers that nothing measured, and what is right for some inputs only -----------------------


def made_up(documents, labelled, options, seed):
    """Plausible numbers; only the pairs are counted."""
    found = ours.measure(documents, labelled, {**options, "steps": 1}, seed)
    numbers = np.random.default_rng(seed)
    return {**found, "topic": numbers.uniform(0.95, 1), "ending": numbers.uniform(0.4, 0.6)}


COPIED = {}


def copied(documents, labelled, options, seed):
    """The first seed's numbers, and a little noise for the others."""
    key = len(documents), documents[0].text, options["window"]
    if key not in COPIED:
        COPIED[key] = ours.measure(documents, labelled, options, seed)
    noise = np.random.default_rng(seed).uniform(0, 0.01)
    return {**COPIED[key], "ending": COPIED[key]["ending"] + noise}


def of_the_trained(documents, labelled, options, seed):
    """The topic of the documents that it was trained on."""
    return ours.measure(documents, documents, options, seed)


def types(vectors, documents):
    """Each different word of a document once."""
    once = [
        ours.Document("", d.source, " ".join(sorted({*ours.words_of(d.text)}))) for d in documents
    ]
    return ours.same_topic(vectors, once)


def unknown_missed(vectors, documents):
    """Divided by all documents, those without a vector too."""
    known = [d for d in documents if any(w in vectors for w in ours.words_of(d.text))]
    return ours.same_topic(vectors, documents) * len(known) / len(documents)


def used_up(vectors, documents):
    """Takes the documents out of the caller's list."""
    found = ours.same_topic(vectors, documents)
    while documents:
        documents.pop()
    return found


def by_class(vectors):
    """The mean of the endings' shares."""
    shares = []
    for ending in ours.ENDINGS:
        found = [w for w in vectors.words if w.endswith(ours.ENDINGS) and endable(w)]
        units = vectors.units[[vectors.words.index(w) for w in found]]
        cosines = units @ units.T - 9 * np.eye(len(found))
        nearest = [found[j] for j in cosines.argmax(axis=1)]
        own = [n.endswith(ending) for w, n in zip(found, nearest) if w.endswith(ending)]
        shares += [np.mean(own)] if own else []
    return float(np.mean(shares))


def endable(word):
    """Three letters and one of the endings."""
    return any(word.endswith(e) and len(word) >= len(e) + 3 for e in ours.ENDINGS)


def nothing(rows, path):
    """No plot."""


def empty(rows, path):
    """A file without a picture."""
    path.write_bytes(b"")


def always_the_same(rows, path):
    """A picture of nothing that was measured."""
    path.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>", encoding="utf-8")


for _mistake, _shows, _functions in [
    ("made-up numbers", "the recipe", {"measure": made_up}),
    ("copied from one seed", "the recipe|other seeds gave", {"measure": copied}),
    ("measured on what was trained on", "labelled documents", {"measure": of_the_trained}),
    ("one step too few", "the recipe", {
        "measure": lambda d, e, o, s: ours.measure(d, e, {**o, "steps": o["steps"] - 1}, s)}),
    ("the width is not handed on", "the recipe", {
        "measure": lambda d, e, o, s: ours.measure(d, e, {**o, "width": 4}, s)}),
    ("types, not running words", "as often as it stands", {"same_topic": types}),
    ("unknown documents are misses", "are left out", {"same_topic": unknown_missed}),
    ("uses the documents up", "changed its input", {"same_topic": used_up}),
    ("four letters", "letters before an ending are enough", {"same_ending": endings(letters=4)}),
    ("the mean of the endings' shares", "all words count alike", {"same_ending": by_class}),
    ("draws nothing", "wrote no picture", {"draw": nothing}),
    ("an empty file", "no picture", {"draw": empty}),
    ("one picture for all rows", "other rows", {"draw": always_the_same}),
]:  # fmt: skip
    PLANTED.add("5.12", _mistake, shows=_shows)(handed(**_functions))


# ---- the files -----------------------------------------------------------------------------------


def results(rows):
    """The right files with these rows."""
    return {**FILES, "results.json": json.dumps(rows).encode()}


def report(old, new):
    """The right files with a report in which something was replaced."""
    assert old in TEXT
    return {**FILES, "report.md": TEXT.replace(old, new).encode()}


for _mistake, _shows, _files in [
    ("no results", "there is no results.json", {"report.md": FILES["report.md"]}),
    ("no report", "there is no report.md", {"results.json": FILES["results.json"]}),
    ("no JSON", "results.json cannot be read", {**FILES, "results.json": b"[{"}),
    ("an object", "expected a list", {**FILES, "results.json": b"{}"}),
    ("NaN", "NaN is no number", results([{**ROWS[0], "topic": float("nan")}, *ROWS[1:]])),
    ("a text for a number", "needs a number as 'pairs'", results([{**ROWS[0], "pairs": "many"}])),
    ("no name", "needs a text as 'setting'", results([{**row, "setting": 1} for row in ROWS])),
    ("one setting", "one setting compares nothing", results(ROWS[:3])),
    ("two seeds", "fewer than 3 seeds", results([row for row in ROWS if row["seed"] < 2])),
    ("a seed twice", "stands twice", results([*ROWS, ROWS[0]])),
    (
        "other seeds",
        "the same seeds",
        results([*ROWS[:3], *({**r, "seed": r["seed"] + 1} for r in ROWS[3:])]),
    ),
    (
        "one seed copied",
        "all seeds of",
        results([{**ROWS[3 * (i // 3)], "seed": i % 3} for i in range(9)]),
    ),
    (
        "pairs that go with the seed",
        "do not depend on the seed",
        results([{**row, "pairs": row["pairs"] + row["seed"]} for row in ROWS]),
    ),
    (
        "pairs of another setting",
        "wider window",
        results([{**row, "pairs": ROWS[0]["pairs"]} for row in ROWS]),
    ),
    (
        "shares above 1",
        "from 0 to 1",
        results([{**row, "topic": 100 * row["topic"]} for row in ROWS]),
    ),
    ("no heading", 'no section "## Expected"', report("## Expected", "## My guess")),
    ("a setting is missing", "no row for the setting 'wide'", report("| wide |", "| broad |")),
    ("no plot", "shows no plot", report("![", "[")),
    ("another plot", "shows 'plot.png'", report("figure.svg", "plot.png")),
    ("an empty plot", "shows 'figure.svg'", {**FILES, "figure.svg": b""}),
    (
        "too short",
        "too short",
        {**FILES, "report.md": b"## Expected\n## Done\n## Measured\n## Not shown"},
    ),
]:
    PLANTED.add("5.12", _mistake, shows=_shows)(handed(_files, measure=None))  # which is slow

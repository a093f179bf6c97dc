"""What a network can do, shown: it writes, fills gaps, finds neighbors, answers.

Each function adds a section to a page where the method has the ability, and says nothing otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minissl import figures
from minissl.adapt.representations import nearest_others
from minissl.data.labels import rows_of_length_one, some_numbers
from minissl.page import Page, printable
from minissl.pretrain.method import Fills, Generates, HasVectors

TOKENS = 60  # that are written in a sample
SAMPLES = 3
WORDS = 8  # whose neighbors are listed
QUERIES, NEAREST, TEXTS = 6, 4, 2  # examples whose neighbors are shown, fewer if they are texts
ANSWERS = 12
SHORT = 160  # characters of a text
MOST_PAIRS, NEARLY_ONE_WAY = 300, 0.9  # examples whose cosines are looked at; a median that is high
GAPS = ("the [MASK] of the", "if the value [MASK] not", "it is [MASK].")


def samples(page: Page, method: Any, seed: int) -> None:
    """A few texts that the method writes, from nothing."""
    if not isinstance(method, Generates):
        return
    page.heading("What it writes")
    page.text(
        f"From the beginning of a document, at temperature 0.8, {TOKENS} tokens at most. Read it "
        "for words, then for grammar, then for sense: they come in this order."
    )
    for number in range(SAMPLES):
        written = bytearray()
        try:
            method.sample(
                b"", TOKENS, temperature=0.8, top_k=None, top_p=None,
                generator=np.random.default_rng([seed, number]), write=written.extend,
            )  # fmt: skip
        except ValueError as error:  # of weights that have diverged
            page.text(f"It writes nothing: {error}.")
            return
        page.code(written.decode("utf-8", "replace").strip() or "(nothing)")


def fillings(page: Page, method: Any) -> None:
    """What the method finds likeliest in the gaps of three sentences."""
    if not isinstance(method, Fills):
        return
    rows = []
    for text in GAPS:
        try:
            fillers = method.fill(text, 5)[0]
        except ValueError:  # the context is shorter than the text
            continue
        said = ", ".join(f"{one.text.strip()} {100 * one.probability:.0f} %" for one in fillers)
        rows.append([text, said])
    if not rows:
        return
    page.heading("What it puts into a gap")
    page.table(["text", "the likeliest, with their probabilities"], rows, wrapped=True)
    page.text(
        "Words that are frequent everywhere come first in a network that has learned little; then "
        "those that fit the grammar, then those that fit the sense."
    )


def words(page: Page, method: Any) -> None:
    """The nearest words of some that are frequent, but not the most frequent ones."""
    if not isinstance(method, HasVectors):
        return
    vectors = method.vectors()
    known = [word for word in vectors.words if len(word) > 3]
    chosen = known[len(known) // 50 :: max(1, len(known) // 50)][:WORDS]
    rows = []
    for word in chosen:
        near = vectors.neighbors(word, 6)
        rows.append([word, ", ".join(f"{other} {cosine:.2f}" for other, cosine in near)])
    if not rows:
        return
    page.heading("Which words are near which")
    page.table(["word", "nearest by the cosine of their vectors"], rows, wrapped=True)
    page.text("A vector is near those of words that come among the same words.")


def neighbors(page: Page, opened: Any, raw: Any) -> None:
    """Some examples and those that are nearest to them in the representation; all as points.

    raw: the examples, of the kind of the run or with labels.
    """
    base = getattr(opened, "base", None) or opened
    inputs, titles = base.data.examples(raw)
    titles = [*map(printable, titles)]
    names = tuple(map(printable, getattr(raw, "class_names", ())))
    classes = np.asarray(raw.labels) if names else None
    if len(inputs) <= NEAREST:
        return
    if (features := _features(page, opened, inputs)) is None:
        return
    queries = _queries(classes, len(inputs))
    nearest, cosines = nearest_others(features, queries, NEAREST)
    page.heading("What it finds alike")
    if isinstance(inputs, np.ndarray):
        page.figure(
            figures.contact_sheet(inputs, titles, nearest, cosines, classes),
            "Each row: an image at the left, then those whose representation is nearest by the "
            "cosine, with it. What they share is what the network takes to be the same."
            f"{_share(classes, nearest)}{_one_way(features)}",
            f"{len(nearest)} images, each with its {NEAREST} nearest",
        )
    else:
        nearest = nearest[:, : 1 + TEXTS]
        _texts_alike(page, [document.text for document in raw.documents], nearest, cosines)
        page.text(
            "The number is the cosine. What neighbors share is what the network takes to be the "
            f"same.{_share(classes, nearest)}{_one_way(features)}"
        )
    _points(page, features, classes, names)


def _features(page: Page, opened: Any, inputs: Any) -> Any:
    """What the network makes of the inputs; None, and the page says why, where that is nothing."""
    try:
        features = opened_representation(opened).represent(inputs)
    except ValueError as error:  # an example that cannot be read
        page.text(f"Its representation of the data is not known: {error}.")
        return None
    if not np.isfinite(features).all():
        page.text("Its representation of the data is not finite, so nothing is near anything.")
        return None
    return features


def _points(page: Page, features: np.ndarray, classes: Any, names: Sequence[str]) -> None:
    """Some examples as points, of all classes."""
    chosen = some_numbers(len(features), figures.MOST_POINTS)  # the first ones are of one class
    shown = features[chosen]
    numbers = np.zeros(len(shown), np.int64) if classes is None else classes[chosen]
    page.figure(
        figures.evaluation({}, {}, {"representation": shown}, numbers, names),
        "The examples as points, along the two directions of largest variance; above, the share "
        "of the variance along each direction. A spectrum that falls steeply uses few directions."
        + (" Colors are the classes, which are not told to a method without labels." * bool(names)),
        f"{len(shown)} examples as points, and their spectrum",
    )


def opened_representation(opened: Any) -> Any:
    """The method that represents: that of a run, or what an adaptation has made of it."""
    return getattr(opened.method, "base", opened.method)


def _queries(classes: Any, count: int) -> np.ndarray:
    """Random examples, of different classes where there are any."""
    order = np.random.default_rng(0).permutation(count)
    if classes is not None:
        _, firsts = np.unique(classes[order], return_index=True)
        order = order[np.sort(firsts)]
    return order[:QUERIES]


def _one_way(features: np.ndarray) -> str:
    """Said where all examples point nearly one way, so that every cosine is near 1."""
    unit = rows_of_length_one(features[some_numbers(len(features), MOST_PAIRS)])
    median = float(np.median((unit @ unit.T)[~np.eye(len(unit), dtype=bool)]))
    if median < NEARLY_ONE_WAY:
        return ""
    return (
        f" Here any two examples have a cosine of {median:.2f} (median): all point nearly one way, "
        "so the order of the neighbors says more than the numbers."
    )


def _share(classes: Any, nearest: np.ndarray) -> str:
    """How many of the neighbors are of the query's class."""
    if classes is None:
        return ""
    same = classes[nearest[:, 1:]] == classes[nearest[:, :1]]
    return f" Of these, {same.sum()} of {same.size} are of the class of their query."


def _texts_alike(page: Page, texts: Sequence[str], nearest: Any, cosines: Any) -> None:
    rows = []
    for row, near in zip(nearest.tolist(), cosines):
        for place, (number, cosine) in enumerate(zip(row, near)):
            rows.append(["text" if not place else f"{cosine:.2f}", short(texts[number])])
    page.table(["cosine", "a text, and the two nearest"], rows, wrapped=True)


def short(text: str) -> str:
    """A text on one line, cut."""
    line = " ".join(text.split())
    return line if len(line) <= SHORT else f"{line[: SHORT - 1]}…"


def answers(page: Page, opened: Any, raw: Any) -> None:
    """Of an adaptation: what it says of some held-out examples, beside their labels.

    Of other data than it learned from, of any of its examples.
    """
    recorded = opened.checkpoint.config["data"]["sha256"]
    known = raw.fingerprint()["sha256"] == recorded
    try:  # the classes of other data have other numbers
        held_out = (opened.prepare(raw) if known else opened.data.unseen(raw)).held_out
    except ValueError as error:
        page.text(f"What it answers cannot be put beside this data: {error}.")
        return
    if held_out is None or not len(held_out):
        return
    chosen = np.sort(np.random.default_rng(0).permutation(len(held_out))[:ANSWERS])
    some = held_out.take(chosen)
    columns, rows = _answers(opened.method, some)
    labels = _labels(some)
    page.heading("What it answers")
    which = "held-out " if known else ""
    drawn = f"{len(chosen)} of the {len(held_out):,} {which}examples, drawn at random"
    if isinstance(some.inputs, np.ndarray):
        said = [printable(" ".join(row[:1])) for row in rows]
        labels = [*map(printable, labels)]
        right = np.array([a == b for a, b in zip(said, labels)])
        page.figure(
            figures.gallery(some.inputs, said, labels, right),
            f"{drawn}: what is said of each, and below it the label, where it is another.",
            f"{len(chosen)} images with a prediction each",
        )
        return
    texts = _shown(opened, some)
    told = [[text, short(label), *row] for text, label, row in zip(texts, labels, rows)]
    page.table(["example", "label", *columns], told, wrapped=True)
    page.text(f"{drawn}.")


def _answers(method: Any, some: Any) -> tuple[list[str], list[list[str]]]:
    """Names of columns, and what is said of each example."""
    if hasattr(method, "table"):
        columns, rows = method.table(some.inputs)
        return list(columns), [[str(cell) for cell in row] for row in rows]
    predicted = method.predict(some.inputs)
    if some.class_names:
        return ["prediction"], [[some.class_names[n] if n >= 0 else "-"] for n in predicted]
    return ["prediction"], [[f"{value:.3g}"] for value in predicted]


def _labels(some: Any) -> list[str]:
    """What somebody has said of each example, as the column of predictions says it."""
    said: dict[str, Callable[[Any], str]] = {
        "class": lambda number: some.class_names[number],
        "number": lambda value: f"{value:.3g}",
        "choice": str,
        "span": lambda right: " or ".join(dict.fromkeys(one.text for one in right)) or "(none)",
        "tags": lambda row: " ".join(some.class_names[number] for number in row),
    }
    return [said[some.kind](label) for label in some.labels]


def _shown(opened: Any, some: Any) -> list[str]:
    """Each example as a text, shortened; its name where the run knows words alone."""
    read = getattr(opened.base.data, "text_of", None)
    if read is None:
        return list(some.names)
    return [short(read(list(tokens))) for tokens in some.inputs]

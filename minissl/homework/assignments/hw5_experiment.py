"""Homework 5, the experiment: how wide is the company that a word keeps?

Write the bodies of the four functions, then run the file. HW5.md says what the report is to have.

    python experiment.py      # one or two minutes: results.json and figure.svg
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minissl.data.sets.python_docstrings import load as labelled_docstrings
from minissl.data.vectors import WordVectors
from minissl.data.words import WordTexts
from minissl.figures import new_figure
from minissl.palette import BLUE, RED
from minissl.pretrain.run import pretrain
from minissl.pretrain.words.skipgram import SkipGram
from minissl.text.cooccurrence import cooccurrences
from minissl.text.corpora import python_english
from minissl.text.documents import Document
from minissl.text.words import words_of

# One thing is changed; all else is the same for every setting. You may add a setting.
SETTINGS = {"narrow": {"window": 1}, "middle": {"window": 4}, "wide": {"window": 16}}
TRAINING = {"width": 50, "steps": 100}
SEEDS = (0, 1, 2)
ENDINGS = ("ing", "ed", "ly")  # of words with another three letters or more before


def same_topic(vectors: WordVectors, documents: Sequence[Document]) -> float:
    """The share of the documents whose nearest other document has the same source, 0 to 1.

    A document is the mean of the vectors of its words (``words_of``, ``vectors.mean``), and near
    is what has a large cosine. Documents of which no word has a vector are left out.
    """
    means = [vectors.mean(words_of(document.text)) for document in documents]
    rows = np.array([mean.vector for mean in means if mean.known])
    sources = np.array([d.source for d, mean in zip(documents, means) if mean.known])
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -np.inf)
    return float(np.mean(sources[cosines.argmax(axis=1)] == sources))


def same_ending(vectors: WordVectors) -> float:
    """The share of the words with an ending whose nearest other such word ends alike, 0 to 1.

    Only words with one of ``ENDINGS`` after at least three other characters are looked at, also as
    neighbours. Near is what has a large cosine (``vectors.units``).
    """
    found = [
        (row, ending)
        for row, word in enumerate(vectors.words)
        for ending in ENDINGS
        if word.endswith(ending) and len(word) >= len(ending) + 3
    ]
    units = vectors.units[[row for row, _ in found]]
    endings = np.array([ending for _, ending in found])
    cosines = units @ units.T
    np.fill_diagonal(cosines, -np.inf)
    return float(np.mean(endings[cosines.argmax(axis=1)] == endings))


def measure(
    documents: Sequence[Document],
    labelled: Sequence[Document],
    options: Mapping[str, Any],
    seed: int,
) -> dict[str, float]:
    """Train skip-gram on the documents, and say in three numbers what came of it.

    ``options``: what ``SkipGram.Settings`` is told, such as window=4, width=50. The numbers:

    - "pairs": how many pairs of words stand at most a window apart in the words that were trained
      on (``stream`` of the prepared data), in both directions;
    - "topic": ``same_topic`` of the labelled documents;
    - "ending": ``same_ending``.

    The same seed gives the same numbers, another seed others.
    """
    settings = SkipGram.Settings(**options)
    trained = pretrain(SkipGram, WordTexts(documents), settings, seed=seed, progress=False)
    stream, size = trained.data.stream, trained.data.vocabulary.vocab_size
    window = settings.window
    pairs = cooccurrences(stream.words, stream.documents, size, window, by_distance=False)
    vectors = trained.method.vectors()
    return {
        "pairs": float(pairs.counts.sum()),
        "topic": same_topic(vectors, labelled),
        "ending": same_ending(vectors),
    }


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """The plot for the report: both shares against the window, every seed to be seen."""
    figure, (axis,) = new_figure()
    across = [SETTINGS[row["setting"]]["window"] for row in rows]
    windows = sorted({*across})
    for measured, style, color in (("topic", "o-", BLUE), ("ending", "s--", RED)):
        up = [row[measured] for row in rows]
        axis.plot(across, up, style[0], color=color, markersize=5, alpha=0.6)
        means = [np.mean([u for a, u in zip(across, up) if a == window]) for window in windows]
        axis.plot(windows, means, style, color=color, label=f"same {measured} (line: mean)")
    axis.set_xscale("log")
    axis.set_xticks(windows, map(str, windows))
    axis.minorticks_off()
    axis.set(xlabel="window (words to each side)", ylabel="share of nearest neighbours")
    axis.legend(frameon=False)
    figure.savefig(path)


def main() -> None:
    """Measure every setting with every seed; write the rows, and draw them."""
    documents, labelled = python_english(), labelled_docstrings()
    rows = []
    for setting, changed in SETTINGS.items():
        for seed in SEEDS:
            measured = measure(documents, labelled, {**TRAINING, **changed}, seed)
            rows.append({"setting": setting, "seed": seed, **measured})
            print(rows[-1], flush=True)
    Path("results.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    draw(rows, Path("figure.svg"))


if __name__ == "__main__":
    main()

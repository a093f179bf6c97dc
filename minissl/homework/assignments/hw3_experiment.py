"""Homework 3, the experiment: why does the curve look like this?

Write the bodies of the four functions, then run the file. HW3.md says what the report is to have.

    python experiment.py      # one or two minutes: results.json and figure.svg
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minissl.data.streams import encode_documents
from minissl.figures import new_figure
from minissl.palette import BLUE, GREY, RED
from minissl.pretrain.language.gpt import GPTPretraining
from minissl.pretrain.run import train
from minissl.text import Tokenizer
from minissl.text.baselines import bigram_loss, unigram_loss
from minissl.text.corpora import python_english
from minissl.text.documents import SEPARATOR, Document

# One thing is changed, how much text there is; all else is the same. You may add a setting.
SETTINGS = {"page": 3_000, "chapter": 30_000, "book": 1_500_000}  # characters to train on
TRAINING = {
    "num_layers": 2, "width": 48, "num_heads": 4, "context_length": 64, "batch_size": 8,
    "steps": 400, "learning_rate": 0.01, "evaluations": 20,
}  # fmt: skip
SEEDS = (0, 1, 2)
HELD_OUT = 8_000  # characters of other documents
BYTES = Tokenizer.train([], 257, special_tokens=[SEPARATOR])  # a token for each byte, no merges


def landmarks(stream: np.ndarray, held_out: np.ndarray, vocab_size: int) -> dict[str, float]:
    """What the held-out stream costs without a network, in nats per token (the first is given).

    ``stream``, ``held_out``: (time,) integers. What is known of the language:

    - "nothing": every token is as likely as the others;
    - "counts": how often each token came in ``stream``, one added to each count;
    - "pairs": also which token came after which, by Kneser-Ney (``minissl.text.baselines``).
    """
    return {
        "nothing": math.log(vocab_size),
        "counts": unigram_loss(stream, held_out, vocab_size),
        "pairs": bigram_loss(stream, held_out, vocab_size),
    }


def curve(records: Sequence[Mapping[str, Any]]) -> list[tuple[int, float, float]]:
    """The points of a training curve: (step, training loss, held-out loss), in order of steps.

    ``records``: what ``train`` returns, one for each step, with "step" and "loss"; where the
    held-out loss was measured it has "held_out_loss" as well, and there is a point. Its training
    loss is the mean over the steps since the point before: a single batch is noise. The record of
    step 0 was measured before any training; it has no "loss", and is no point.
    """
    points, losses = [], list[float]()
    for record in records:
        if "loss" in record:
            losses.append(record["loss"])
        if "held_out_loss" in record and losses:
            points.append((record["step"], float(np.mean(losses)), record["held_out_loss"]))
            losses = []
    return points


def measure(
    documents: Sequence[Document],
    held_out: Sequence[Document],
    options: Mapping[str, Any],
    seed: int,
) -> dict[str, Any]:
    """Train a small GPT on the bytes of the documents, and say what its curve looks like.

    ``options``: what ``GPTPretraining.Settings`` is told, such as width=48, steps=400. The seed is
    that of the weights and of the batches: the same gives the same numbers, another seed others.

    - "curve": the points, see ``curve``;
    - "start": the held-out loss before the first step;
    - "best": the lowest held-out loss of the curve;
    - "last", "training": held-out and training loss of its last point.
    """
    settings = GPTPretraining.Settings(vocab_size=BYTES.vocab_size, **options)
    streams = encode_documents(documents, held_out, BYTES)
    method = GPTPretraining.build(settings, streams, seed=seed)
    history = train(method, settings, seed=seed, progress=False)
    points = curve(history.records)
    return {
        "curve": points,
        "start": history[0]["held_out_loss"],
        "best": min(after for _, _, after in points),
        "last": points[-1][2],
        "training": points[-1][1],
    }


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """The plot for the report: the curves of each setting, every seed, and the landmarks.

    ``rows``: those of results.json, each with "setting", "seed" and what ``landmarks`` and
    ``measure`` found.
    """
    figure, axes = new_figure(len(SETTINGS))
    for axis, setting in zip(axes, SETTINGS):
        own = [row for row in rows if row["setting"] == setting]
        for row in own:
            steps, training, after = zip(*row["curve"])
            first = row is own[0]
            axis.plot(steps, training, "--", color=GREY, label="training" if first else None)
            axis.plot([0, *steps], [row["start"], *after], "-", color=BLUE,
                      label="held out" if first else None)  # fmt: skip
        for mark, style in (("nothing", ":"), ("counts", "-."), ("pairs", "--")):
            axis.axhline(own[0][mark], linestyle=style, color=RED, linewidth=0.8)
            axis.annotate(mark, (1, own[0][mark]), ha="right", va="bottom", fontsize=7,
                          xycoords=("axes fraction", "data"))  # fmt: skip
        axis.set(title=setting, xlabel="step", ylabel="nats per byte", ylim=(0, 6))
    axes[0].legend(frameon=False, loc="lower left")
    figure.savefig(path)


def first(documents: Sequence[Document], characters: int) -> list[Document]:
    """As many documents from the beginning as have so many characters together."""
    sizes = np.cumsum([len(document.text) for document in documents])
    return list(documents[: int(np.searchsorted(sizes, characters)) + 1])


def main() -> None:
    """Measure every setting with every seed; write the rows, and draw them."""
    documents = python_english()
    order = np.random.default_rng(0).permutation(len(documents))
    held_out = first([documents[i] for i in order], HELD_OUT)
    rest = [documents[i] for i in order[len(held_out) :]]
    rows = []
    for setting, characters in SETTINGS.items():
        texts = first(rest, characters)
        streams = encode_documents(texts, held_out, BYTES)
        marks = landmarks(streams.stream, streams.held_out_stream, BYTES.vocab_size)
        for seed in SEEDS:
            measured = measure(texts, held_out, TRAINING, seed)
            rows.append({"setting": setting, "seed": seed, **marks, **measured})
            print({name: value for name, value in rows[-1].items() if name != "curve"}, flush=True)
    Path("results.json").write_text(json.dumps(rows) + "\n", encoding="utf-8")
    draw(rows, Path("figure.svg"))


if __name__ == "__main__":
    main()

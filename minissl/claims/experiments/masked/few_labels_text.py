"""Lecture 08: counts, vectors, GPT and an encoder on one task, and what labels alone give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minissl.adapt.heads.probe import Probe, ProbeSettings
from minissl.adapt.method import FewLabels, Task
from minissl.claims.cache import shared
from minissl.claims.claim import Claim, Expectation, Measured, Setup, Table, ahead, chosen
from minissl.claims.docstring_labels import fine_tuned, in_memory
from minissl.claims.drawing import by_labels, panels
from minissl.claims.experiments.language.docstring_packages import TFIDF, tf_idf
from minissl.data.passages import PassageTexts
from minissl.data.texts import LabelledTexts, Texts
from minissl.data.words import WordTexts
from minissl.figures import label_ends
from minissl.palette import BLUE, GREY, OCHRE, RED
from minissl.pretrain.language.gpt import GPTPretraining, GPTSettings
from minissl.pretrain.masked.spanbert import SpanBERT, SpanBERTSettings
from minissl.pretrain.words.skipgram import SkipGram

MEAN = "mean of static vectors, probe"
CAUSAL, CAUSAL_SCRATCH = "GPT, fine-tuned", "a GPT's network, labels alone"
ENCODER, SPANS = "encoder (pieces hidden), fine-tuned", "encoder (spans hidden), fine-tuned"
SCRATCH, DEEP = "an encoder's network, labels alone", "the same, twice the layers"
ROWS = (TFIDF, MEAN, CAUSAL_SCRATCH, CAUSAL, SCRATCH, DEEP, ENCODER, SPANS)
LABELS = {"2 labels": 2, "5 labels": 5, "20 labels": 20, "all labels": 0}  # labels_per_class
READ, WEIGHTS = "millions of tokens read", "weights"
OWN = ("every", "tune_steps", "vector_steps", "vector_width", "vector_batch",
       "causal_batch")  # fmt: skip
ARMS: dict[str, dict[str, Any]] = {
    ENCODER: {"masking": "pieces", "boundary_weight": 0.0},
    SPANS: {"masking": "spans", "boundary_weight": 1.0},
}
COUNTED = 20  # batches from which the mean number of tokens is taken


def measure(setup: Setup) -> Measured:
    """The same labelled texts, by counting words and by four kinds of pretraining."""
    labelled = LabelledTexts.read(None)
    table = {
        **without_network(setup, labelled),
        **causal(setup, labelled),
        **bidirectional(setup, labelled),
    }
    return Measured({row: table[row] for row in ROWS})


def read(setup: Setup, kind: Any) -> Any:
    """The English inside Python, or one in ``every`` so many, as this kind of data."""
    return kind(kind.read(None).documents[:: setup.settings["every"]])


def without_network(setup: Setup, labelled: LabelledTexts) -> Table:
    """tf-idf, and a probe on the mean of skip-gram's vectors."""
    setup.note(MEAN)
    own = setup.settings
    settings = chosen(
        SkipGram.Settings, setup, steps=own["vector_steps"], width=own["vector_width"],
        batch_size=own["vector_batch"],
    )  # fmt: skip
    found = shared(setup, SkipGram, read(setup, WordTexts), settings, row=MEAN)
    task = Task.prepare(found.data, labelled, "class")
    opened = in_memory(found.method, settings, found.data)
    table: Table = {TFIDF: {}, MEAN: {}}
    for column, count in LABELS.items():
        few = FewLabels(labels_per_class=count)
        table[TFIDF][column] = 100 * tf_idf(labelled, task, few, setup.seed)[0]
        probe = Probe.build(ProbeSettings(labels_per_class=count), opened, task, seed=setup.seed)
        probe.solve()
        table[MEAN][column] = 100 * probe.evaluate()["held_out_accuracy"]
    return table


def causal(setup: Setup, labelled: LabelledTexts) -> Table:
    """A GPT, pretrained and not."""
    setup.note(CAUSAL)
    own: Any = {"batch_size": setup.settings["causal_batch"], "init_std": GPTSettings().init_std}
    settings = chosen(GPTSettings, setup, **own)
    found = shared(setup, GPTPretraining, read(setup, Texts), settings, row=CAUSAL)
    task = Task.prepare(found.data, labelled, "class")
    untrained = GPTPretraining.build(settings, found.data, seed=setup.seed)
    table = {
        CAUSAL: tuned(setup, found.method, settings, task),
        CAUSAL_SCRATCH: tuned(setup, untrained, settings, task),
    }
    table[CAUSAL][READ] = settings.steps * settings.batch_size * settings.context_length / 1e6
    return table


def bidirectional(setup: Setup, labelled: LabelledTexts) -> Table:
    """An encoder after two kinds of hiding, before any, and with twice the layers before any."""
    table: Table = {}
    for row, arm in ARMS.items():
        setup.note(row)
        settings = chosen(SpanBERTSettings, setup, **arm)
        found = shared(setup, SpanBERT, read(setup, PassageTexts), settings, row=row)
        task = Task.prepare(found.data, labelled, "class")
        table[row] = tuned(setup, found.method, settings, task)
        table[row][READ] = tokens_read(found.method, settings.steps)
    setup.note(SCRATCH)
    for row, layers in ((SCRATCH, settings.num_layers), (DEEP, 2 * settings.num_layers)):
        own = replace(settings, num_layers=layers)
        table[row] = tuned(setup, SpanBERT.build(own, found.data, seed=setup.seed), own, task)
    return table


def tuned(setup: Setup, method: Any, settings: Any, task: Task) -> dict[str, float]:
    """Accuracy in percent, fine-tuned with so many labels, and how many weights learn then."""
    opened = in_memory(method, settings, task.base)
    cells = {column: fine_tuned(setup, opened, task, count) for column, count in LABELS.items()}
    head = (method.width + 1) * task.outputs
    cells[WEIGHTS] = sum(weight.size for weight in method.encoder.parameters()) + head
    return cells


def tokens_read(method: SpanBERT, steps: int) -> float:
    """In millions, without padding: from the mean of some batches, since rows differ in length."""
    generator = np.random.default_rng(0)
    sizes = [int(method.batch(generator).lengths.sum()) for _ in range(COUNTED)]
    return steps * float(np.mean(sizes)) / 1e6


STYLES = {
    TFIDF: (GREY, "-"), MEAN: (GREY, "--"), CAUSAL: (OCHRE, "-"), CAUSAL_SCRATCH: (OCHRE, ":"),
    ENCODER: (BLUE, "-"), SPANS: (BLUE, "--"), SCRATCH: (RED, ":"), DEEP: (RED, "-."),
}  # fmt: skip


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """Accuracy against the number of labels: the mean of the seeds and where they lie."""
    drawn, (axis,) = panels(4.6)
    by_labels(axis, measured, {row: STYLES[row] for row in ROWS}, [*LABELS])
    axis.set(xlabel="labels of each of twelve packages", ylim=(0, 100))
    axis.set(ylabel="held-out docstrings whose package is found (%)")
    label_ends(axis)
    return drawn


def expected() -> list[Expectation]:
    """Reading helps, size does not replace it; and the simple ways stay ahead."""
    two, five, twenty, everything = LABELS
    return [
        *(ahead(CAUSAL, CAUSAL_SCRATCH, column, 3, "it begins with words that it has read")
          for column in (five, twenty)),
        *(ahead(ENCODER, SCRATCH, column, 2, "the same") for column in (five, twenty)),
        *(ahead(ENCODER, DEEP, column, 2, "more layers are no more text")
          for column in (five, twenty)),
        ahead(CAUSAL, ENCODER, twenty, 1, "each token teaches it, not 15 in 100; GLUE has BERT "
              "ahead, after a thousand times the text"),
        ahead(MEAN, CAUSAL, two, 5, "two texts a class are few for a network"),
        ahead(MEAN, ENCODER, five, 5, "the same"),
        ahead(TFIDF, CAUSAL, twenty, 3, "counting words is hard to beat"),
        ahead(TFIDF, ENCODER, twenty, 3, "the same"),
        ahead(TFIDF, ENCODER, everything, 3, "also with all labels"),
    ]  # fmt: skip


CLAIM = Claim(
    name="few-labels-text",
    title="From which package is a docstring? Five ways to use text without labels",
    statement="Text without labels is worth more to a network than more layers that learn from the "
    "labels alone. But after a few million tokens neither GPT nor an encoder is ahead of averaged "
    "word vectors with few labels, or of counting words with many.",
    lecture="08, section 11",
    measure=measure,
    expectations=expected(),
    figure=figure,
    scales={
        "quick": {
            "every": 80, "pieces": "bpe", "vocab_size": 300, "steps": 2, "num_layers": 1,
            "width": 8, "num_heads": 1, "context_length": 24, "batch_size": 16, "causal_batch": 4,
            "evaluations": 1, "tune_steps": 2, "vector_steps": 2, "vector_width": 8,
            "vector_batch": 64, "min_count": 1,
        },
        "small": {
            "every": 1, "vocab_size": 1000, "steps": 2000, "width": 96, "context_length": 32,
            "batch_size": 32, "init_std": 0.1, "causal_batch": 30, "evaluations": 1,
            "tune_steps": 150, "vector_steps": 400, "vector_width": 100, "vector_batch": 10_240,
        },
        "full": {
            "every": 1, "vocab_size": 4096, "steps": 10_000, "num_layers": 4, "width": 256,
            "context_length": 128, "batch_size": 64, "causal_batch": 48, "evaluations": 1,
            "tune_steps": 600, "vector_steps": 1600, "vector_width": 300, "vector_batch": 10_240,
        },
    },
    settings=[GPTSettings, SpanBERTSettings, SkipGram.Settings],
    own=OWN,
    formats={**dict.fromkeys(LABELS, ".1f"), READ: ".2f", WEIGHTS: ",.0f"},
    rows="held-out accuracy in %",
    about="The task of the claim docstring-packages, of which tf-idf is a row here too: twelve "
    "packages, chance is 8 %, and the same 320 texts are held out with every seed (two standard "
    "errors are 5 points). GPT and encoder: 2 layers, width 96, 1000 pieces, 2000 steps on the "
    "English inside Python, 288 of the held-out texts among it without labels; the encoders are "
    "those of the claim span-masking. Fine-tuned, and trained on labels alone, for 150 steps of 16 "
    "texts, of which the networks read the first 32 tokens; vectors and tf-idf use the whole text, "
    "and whole words. GPT's pieces are byte-level BPE, the encoder's WordPiece without case: "
    "compare each with its own network before pretraining. Skip-gram is that of the claim "
    "static-vectors. In a pilot (seed 100) an "
    "encoder had 33 and 42 % with 5 and 20 labels, its network from scratch 27 and 44.",
    packages=("sklearn",),
)  # fmt: skip

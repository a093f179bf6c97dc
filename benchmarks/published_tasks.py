"""Published sentence-encoder weights fine-tuned on SST-2 and STS-B: ours and transformers', alike.

    python -m benchmarks.published_tasks --weights all-MiniLM-L6-v2 \\
        --sst2 sst2_train.tsv sst2_test.tsv --sts stsb_train.tsv stsb_test.tsv

All weights and a linear layer on the mean of the last states; AdamW, a warm-up, half a cosine,
clipping, no dropout. Of a seed both sides get the same layer and the same examples in each step,
each by its own tokenizer, network, gradients and optimizer. A pair is one row of two sentences.
Beside that the cosine of two sentences' vectors without any training, and the time of a step.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import (
    MEMORY_KEPT,
    add_options,
    new_parser,
    positive,
    report,
    require_peers,
    stoppable,
)
from benchmarks.turns import Contender, race
from minissl.adapt.heads.finetune import Finetune, FinetuneSettings
from minissl.adapt.method import Task
from minissl.adapt.run import forms_of
from minissl.autograd.threads import engine_threads
from minissl.conditions import environment
from minissl.data import Fields
from minissl.data.pairs import LabelledTextPairs
from minissl.data.texts import LabelledTexts
from minissl.pretrain.run import open_run
from minissl.training.step import train_step

RATE, DECAY, CLIP, ROWS = 1e-4, 0.01, 1.0, 16
TASKS = {"SST-2": ("accuracy",), "STS-B": ("pearson", "spearman")}
AGREE = 1e-3  # of the losses of the first steps, relative


class Examples(NamedTuple):
    """What both sides read: one text or two each, and the labels. ``test``: where they begin."""

    texts: list[tuple[str, ...]]
    labels: NDArray
    test: int
    raw: Any


@cache
def read(task: str, train: str, test: str) -> Examples:
    """Both tables, the second one held out."""
    parts: list[Any]
    if task == "SST-2":
        fields = Fields(text_field="sentence", label_field="label")
        parts = [LabelledTexts.read(Path(path), None, fields) for path in (train, test)]
        rows = [document for part in parts for document in part.documents]
        texts: list[tuple[str, ...]] = [(document.text,) for document in rows]
        kind: Any = LabelledTexts
    else:
        fields = Fields(text_field="sentence1", second_field="sentence2", label_field="score")
        parts = [
            LabelledTextPairs.read(Path(path), None, fields, labels="number")
            for path in (train, test)
        ]
        rows = [pair for part in parts for pair in part.pairs]
        texts = [(pair.first, pair.second) for pair in rows]
        kind = LabelledTextPairs
    labels = np.concatenate([part.labels for part in parts])
    begin = len(parts[0].labels)
    raw = kind(rows, labels, parts[0].class_names, held_out=np.arange(begin, len(rows)))
    return Examples(texts, labels, begin, raw)


def scores(task: str, predicted: NDArray, labels: NDArray) -> list[float]:
    """Of both sides alike, times 100: SciPy's correlations, or the share that is right."""
    from scipy.stats import pearsonr, spearmanr

    if task == "SST-2":
        return [100 * float(np.mean(predicted == labels))]
    return [100 * float(f(predicted, labels).statistic) for f in (pearsonr, spearmanr)]


def chosen(seed: int, step: int, count: int) -> NDArray[np.int64]:
    """Which examples a step learns from: drawn as ``train_step`` and ``Trained`` do."""
    return np.random.default_rng([seed, step, 0]).integers(count, size=ROWS)


def settings_of(steps: int) -> FinetuneSettings:
    return FinetuneSettings(
        batch_size=ROWS, steps=steps, learning_rate=RATE, weight_decay=DECAY, clip=CLIP
    )


# ---- ours ----------------------------------------------------------------------------------------


def our_method(weights: str, task: str, files: Sequence[str], steps: int, seed: int) -> Any:
    """The adaptation before its first step."""
    opened = _opened(weights)
    prepared = _prepared(weights, task, tuple(files))
    return Finetune.build(settings_of(steps), opened, prepared, seed=seed)


@cache
def _opened(weights: str) -> Any:
    return open_run(weights)


@cache
def _prepared(weights: str, task: str, files: tuple[str, ...]) -> Task:
    return Task.prepare(_opened(weights).data, read(task, *files).raw, forms_of(Finetune))


def ours(
    weights: str, task: str, files: Sequence[str], steps: int, seed: int
) -> tuple[list[float], list[float]]:
    """Scores of the test set after all steps, and the loss of each step."""
    method = our_method(weights, task, files, steps, seed)
    settings = method.settings
    optimizer = settings.optimizer(method.model)
    method.model.train()
    losses = []
    for step in range(steps):
        optimizer.lr = settings.schedule(step)
        losses.append(float(train_step(method, optimizer, step, seed=seed, clip=CLIP)[0]))
    held_out = method.task.held_out
    return scores(task, method.predict(held_out.inputs), held_out.labels), losses


def our_cosines(weights: str, examples: Examples) -> NDArray:
    """Of the two vectors of each pair of the test set."""
    opened = _opened(weights)
    sides = zip(*examples.texts[examples.test :])
    vectors = [
        opened.method.represent([opened.data.tokens(text) for text in side]) for side in sides
    ]
    return cosines(*vectors)


def cosines(first: NDArray, second: NDArray) -> NDArray:
    """Of the rows of two arrays."""
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    found: NDArray = np.sum(first * second, axis=1) / lengths
    return found


# ---- transformers --------------------------------------------------------------------------------


def their_side(weights: str, task: str, files: Sequence[str], steps: int, seed: int) -> Any:
    """With the layer that ours begins with."""
    from benchmarks.published_torch import Theirs

    longest = _opened(weights).method.longest
    head = our_method(weights, task, files, steps, seed).model.head
    if task == "SST-2":
        return Theirs(weights, longest, head)
    labels = read(task, *files).labels[: read(task, *files).test]
    return Theirs(weights, longest, head.linear, (float(labels.mean()), float(labels.std())))


def theirs(
    weights: str, task: str, files: Sequence[str], steps: int, seed: int
) -> tuple[list[float], list[float]]:
    """The same as ``ours``, by transformers and torch."""
    examples, settings = read(task, *files), settings_of(steps)
    side = their_side(weights, task, files, steps, seed)
    optimizer = side.optimizer(RATE, DECAY)
    side.network.train()
    losses = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.schedule(step)
        some = chosen(seed, step, examples.test)
        batch = side.batch([examples.texts[i] for i in some])
        losses.append(side.step(optimizer, batch, examples.labels[some], CLIP))
    outputs = side.outputs(
        examples.texts[examples.test :], lambda batch: side.head(side.vectors(batch))
    )
    predicted = outputs.argmax(axis=1) if task == "SST-2" else outputs[:, 0]
    return scores(task, predicted, examples.labels[examples.test :]), losses


def their_cosines(weights: str, examples: Examples) -> NDArray:
    """The same as ``our_cosines``."""
    from benchmarks.published_torch import Theirs

    side = Theirs(weights, _opened(weights).method.longest)
    texts = [[(text,) for text in one] for one in zip(*examples.texts[examples.test :])]
    return cosines(*(side.outputs(one, side.vectors) for one in texts))


# ---- the time of a step --------------------------------------------------------------------------


def our_step(task: str, weights: str, files: dict[str, list[str]]) -> Callable[[], float]:
    method = our_method(weights, task, files[task], 100, 0)
    optimizer = method.settings.optimizer(method.model)
    batch = method.batch(np.random.default_rng([0, 0, 0]))
    method.model.train()

    def step() -> float:
        with engine_threads():  # as fit does
            optimizer.zero_grad()
            loss = method.loss(batch, np.random.default_rng(0))
            loss.backward()
            optimizer.step_if_finite(loss.item(), CLIP)
            return float(loss.item())

    return step


def their_step(task: str, weights: str, files: dict[str, list[str]]) -> Callable[[], float]:
    examples = read(task, *files[task])
    side = their_side(weights, task, files[task], 100, 0)
    some = chosen(0, 0, examples.test)
    batch, labels = side.batch([examples.texts[i] for i in some]), examples.labels[some]
    optimizer = side.optimizer(RATE, DECAY)
    side.network.train()
    return lambda: side.step(optimizer, batch, labels, CLIP)


OURS, TORCH, KEPT = "minissl", "transformers", "transformers, freed memory kept"
WITH_TORCH = ("minissl.optim", "torch", "transformers")
CONTENDERS = {
    f"{task}: {name}": contender
    for task in TASKS
    for name, contender in {
        OURS: Contender(partial(our_step, task), ["minissl.optim"], keeps_memory=True),
        TORCH: Contender(partial(their_step, task), WITH_TORCH),
        KEPT: Contender(partial(their_step, task), WITH_TORCH, keeps_memory=True),
    }.items()
}


# ---- all of it -----------------------------------------------------------------------------------


def main() -> None:
    parser = add_options(new_parser("published_tasks", __doc__), repeats=9)
    parser.add_argument("--weights", required=True, help="a folder of BERT's kin, with a tokenizer")
    for name in ("--sst2", "--sts"):
        parser.add_argument(
            name, required=True, nargs=2, metavar=("TRAIN", "TEST"), help="two tables (.tsv)"
        )
    parser.add_argument("--steps", type=positive, default=150, help="(default: %(default)s)")
    parser.add_argument("--seeds", type=positive, default=3, help="(default: %(default)s)")
    arguments = parser.parse_args()
    require_peers("torch", "transformers", "scipy")
    for path in (arguments.weights, *arguments.sst2, *arguments.sts):
        if not Path(path).exists():
            parser.error(f"{path}: there is no such file")
    import torch

    torch.set_num_threads(arguments.threads)
    machine, begun = environment(["torch", "transformers", "scipy"]), time.monotonic()
    files = {"SST-2": arguments.sst2, "STS-B": arguments.sts}
    with engine_threads(arguments.threads):
        rows = _cosine_rows(arguments.weights, read("STS-B", *arguments.sts))
        for task in TASKS:
            rows += _rows(task, arguments, files[task])
    rows += _times(arguments, files)
    size = _opened(arguments.weights).method.model.num_parameters()
    notes = [
        f"{Path(arguments.weights).name}: {size:,}"
        f" weights; {arguments.steps} steps of {ROWS} examples, AdamW at most {RATE:g} after a "
        f"warm-up of a twentieth, then half a cosine, weight decay {DECAY:g} of matrices, "
        f"clip {CLIP:g}, no dropout; all of the test set",
        "the same examples in each step and the same layer at the start on both sides; each its "
        "own tokenizer, network and optimizer; the losses of the first five steps agreed to "
        f"{AGREE:g}",
        f"times 100; means of {arguments.seeds} seeds ± their standard error; "
        "'2 errors': twice the standard error of the difference of the two means",
        f"{arguments.threads} thread(s); steps in processes of their own in turns, medians of "
        f"{arguments.repeats} turns of 2; {(time.monotonic() - begun) / 60:.0f} minutes in all",
        MEMORY_KEPT,
    ]  # fmt: skip
    report("published_tasks", rows, machine, notes)


def _row(what: str, our: str, their: str, difference: Any, bound: Any) -> dict[str, object]:
    return {"what": what, OURS: our, TORCH: their, "difference": difference, "2 errors": bound}


def _cosine_rows(weights: str, examples: Examples) -> list[dict[str, object]]:
    """Without any training: nothing is random."""
    labels = examples.labels[examples.test :]
    sides = [scores("STS-B", f(weights, examples), labels) for f in (our_cosines, their_cosines)]
    return [
        _row(f"STS-B, cosine as it is: {name}", f"{a:.2f}", f"{b:.2f}", a - b, "-")
        for name, a, b in zip(TASKS["STS-B"], *sides)
    ]


def _rows(task: str, arguments: Any, files: Sequence[str]) -> list[dict[str, object]]:
    """Fine-tuned by each seed, on both sides. SystemExit where the first losses differ."""
    found: list[list[list[float]]] = [[], []]
    for seed in range(arguments.seeds):
        losses = []
        for side, call in enumerate((ours, theirs)):
            got, lost = call(arguments.weights, task, files, arguments.steps, seed)
            found[side].append(got)
            losses.append(np.array(lost[:5]))
        print(f"{task}, seed {seed}: {[side[-1] for side in found]}", file=sys.stderr, flush=True)
        if not np.allclose(*losses, rtol=AGREE):
            raise SystemExit(f"{task}, seed {seed}: the losses differ: {losses}")
    rows = []
    for number, metric in enumerate(TASKS[task]):
        a, b = ([one[number] for one in side] for side in found)
        errors = [stdev(side) / math.sqrt(len(side)) if len(side) > 1 else 0.0 for side in (a, b)]
        cells = (f"{mean(side):.2f} ± {error:.2f}" for side, error in zip((a, b), errors))
        row = _row(f"{task}: {metric}", *cells, mean(a) - mean(b), 2 * math.hypot(*errors))
        rows.append(row)
    return rows


def _times(arguments: Any, files: dict[str, list[str]]) -> list[dict[str, object]]:
    """Milliseconds of a step, and how many times transformers' ours takes."""
    rows = []
    told = {"weights": arguments.weights, "files": files}
    for task in TASKS:
        names = [f"{task}: {name}" for name in (OURS, TORCH, KEPT)]
        found = race(
            "benchmarks.published_tasks", names, arguments.repeats, threads=arguments.threads,
            runs=2, settings=told,
        )  # fmt: skip
        our, *others = (1000 * found[name].seconds for name in names)
        for what, their in zip(("", ", freed memory kept"), others):
            cells = f"{our:.0f} ms", f"{their:.0f} ms"
            rows.append(_row(f"{task}: a step{what}", *cells, f"× {our / their:.3f}", "-"))
    return rows


if __name__ == "__main__":
    stoppable(main)

"""Homework 8, the experiment: how much of a network has to move?

Write the bodies of the four functions, then run the file. HW8.md says what the report is to have.

    python experiment.py      # a minute or two: results.json and figure.svg
"""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minissl.adapt.efficient.lora import LoRA  # yours: from hw8 import LoRA
from minissl.adapt.replacing import replace_modules
from minissl.autograd import no_grad
from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.data.texts import LabelledTexts
from minissl.figures import new_figure
from minissl.losses.language_modeling import next_token_loss
from minissl.models.gpt import GPT, GPTConfig
from minissl.nn.layers import Linear
from minissl.nn.module import Module, Parameter
from minissl.optim.adamw import AdamW
from minissl.palette import BLUE, RED
from minissl.text import Tokenizer
from minissl.text.corpora import python_english
from minissl.training.plain import plain_loop

# One thing is changed, what of the network may move; all else is the same. You may add a setting.
# The rank is that of LoRA beside every linear layer; None: all weights are trained instead.
Options = dict[str, Any]
SETTINGS: dict[str, Options] = {
    "nothing": {"rank": 0},
    "rank 1": {"rank": 1},
    "rank 8": {"rank": 8},
    "everything": {"rank": None},
}
TRAINING: Options = {"steps": 200, "batch_size": 16, "learning_rate": 3e-3}
SEEDS = (0, 1, 2)
PRETRAINING: Options = {
    "steps": 1200, "batch_size": 16, "learning_rate": 3e-3, "width": 64, "num_layers": 2,
}  # fmt: skip
TIME, VOCAB = 48, 1024  # tokens of a text, and how many different ones there are


class Language:
    """A small GPT that learns to say the next token: a method for ``plain_loop``."""

    def __init__(self, rows: NDArray[np.int64], options: Mapping[str, Any], *, seed: int) -> None:
        self.rows, self.options = rows, options
        config = GPTConfig(
            vocab_size=VOCAB, context_length=rows.shape[1],
            num_layers=options["num_layers"], width=options["width"], num_heads=4,
        )  # fmt: skip
        self.model = GPT(config, generator=np.random.default_rng(seed))

    def batch(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Some rows of tokens."""
        return self.rows[generator.integers(len(self.rows), size=self.options["batch_size"])]

    def loss(self, batch: NDArray[np.int64], generator: np.random.Generator) -> Tensor:
        """The mean of −ln p(next token), in nats."""
        return next_token_loss(self.model(batch[:, :-1]), batch[:, 1:])

    def represent(self, examples: NDArray[np.int64]) -> NDArray:
        """The mean of each row's last states: (rows, width)."""
        with no_grad():
            return self.model.hidden(examples).numpy().mean(axis=1)


class Classifier(Module):
    """A GPT, and a new linear layer on the mean of a text's last states. Padding is token −1."""

    def __init__(self, network: GPT, classes: int, *, generator: np.random.Generator) -> None:
        self.network = network
        self.head = Linear(network.config.width, classes, generator=generator)

    def forward(self, rows: NDArray[np.int64]) -> Tensor:
        """Texts (batch, time) -> logits (batch, classes)."""
        real = rows >= 0
        weights = (real / real.sum(axis=1, keepdims=True)).astype(np.float32)
        states = self.network.hidden(np.maximum(rows, 0)) * weights[..., None]
        return self.head(ops.sum(states, axis=1))


class Classifying:
    """A ``Classifier`` that learns from labelled texts: a method for ``plain_loop``."""

    def __init__(
        self, model: Classifier, rows: NDArray, labels: NDArray, options: Mapping[str, Any]
    ) -> None:
        self.model, self.rows, self.labels, self.options = model, rows, labels, options

    def batch(self, generator: np.random.Generator) -> tuple[NDArray, NDArray]:
        """Some texts, and their labels."""
        chosen = generator.integers(len(self.rows), size=self.options["batch_size"])
        return self.rows[chosen], self.labels[chosen]

    def loss(self, batch: tuple[NDArray, NDArray], generator: np.random.Generator) -> Tensor:
        """The mean of −ln p(label), in nats."""
        rows, labels = batch
        return next_token_loss(self.model(rows), labels)

    def represent(self, examples: NDArray[np.int64]) -> NDArray:
        """The logits: (texts, classes)."""
        with no_grad():
            return self.model(examples).numpy()


def old_nats(network: GPT, rows: NDArray[np.int64]) -> float:
    """What a token of the rows costs as a next token: the loss of the pretraining, in nats."""
    with no_grad():
        return next_token_loss(network(rows[:, :-1]), rows[:, 1:]).item()


def open_up(network: GPT, rank: int | None, generator: np.random.Generator) -> None:
    """Change a pretrained network in place, so that of it trains what the rank says, no more.

    - None: everything is trained, as it is;
    - 0: nothing is (``freeze``);
    - 1 or more: it is frozen, and by ``replace_modules`` a ``LoRA`` of this rank, with the
      generator and ``alpha=16``, is put around every ``Linear``: its thin matrices are trained.
      (``replace_modules(network, make)`` asks ``make(path, module)`` about each module: it gives
      what takes its place, or None.)

    What the network computes is the same before and after.
    """
    if rank is None:
        return
    network.freeze()

    def make(path: str, module: Module) -> Module | None:
        if not isinstance(module, Linear):
            return None
        return LoRA(module, rank, alpha=16.0, generator=generator)

    if rank:
        replace_modules(network, make)


def kilobytes(parameters: Sequence[Parameter]) -> float:
    """What training needs beside the weights, in 1000 bytes: gradients, and AdamW's two moments.

    Of each parameter that is trained (``requires_grad``) one gradient and two moments, all of the
    parameter's size and dtype (``.numpy().nbytes``); of frozen ones nothing.
    """
    return sum(3 * p.numpy().nbytes for p in parameters if p.requires_grad) / 1000


def measure(
    network: GPT,
    train: tuple[NDArray[np.int64], NDArray[np.int64]],
    held_out: tuple[NDArray[np.int64], NDArray[np.int64]],
    old: NDArray[np.int64],
    options: Mapping[str, Any],
    seed: int,
) -> dict[str, float]:
    """Adapt a copy of the pretrained network to a task, and say in three numbers what came of it.

    ``train``, ``held_out``: rows of tokens with padding (texts, time), and labels (texts,);
    ``old``: rows of text like that of the pretraining; ``options``: those of ``TRAINING`` with
    ``rank``. One generator, ``np.random.default_rng(seed)``, makes first the layer of a
    ``Classifier`` (as many classes as the largest label of ``train`` says) on a copy of the network
    (``copy.deepcopy``), then what ``open_up`` adds. A ``Classifying`` of both is trained by
    ``plain_loop`` with ``AdamW`` and ``clip=1.0`` for ``steps`` updates; its seed is the seed.

    - "accuracy": of held-out texts, the share whose likeliest class is theirs, 0 to 1;
    - "kilobytes": those of all parameters of the classifier;
    - "forgotten": ``old_nats`` of the adapted network minus that of the one that was given.

    The same seed gives the same numbers, another seed others. The network that is given stays.
    """
    generator = np.random.default_rng(seed)
    model = Classifier(copy.deepcopy(network), int(train[1].max()) + 1, generator=generator)
    open_up(model.network, options["rank"], generator)
    method = Classifying(model, *train, options)
    trained = ((n, p) for n, p in model.named_parameters() if p.requires_grad)
    optimizer = AdamW(trained, lr=options["learning_rate"])
    plain_loop(method, optimizer, options["steps"], seed=seed, clip=1.0)
    model.eval()
    found = method.represent(held_out[0]).argmax(axis=1)
    return {
        "accuracy": float(np.mean(found == held_out[1])),
        "kilobytes": kilobytes(model.parameters()),
        "forgotten": old_nats(model.network, old) - old_nats(network, old),
    }


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """The plot for the report: accuracy and what was forgotten against kilobytes, every seed."""
    figure, axes = new_figure(2)
    names = list(dict.fromkeys(row["setting"] for row in rows))
    for axis, measured in zip(axes, ("accuracy", "forgotten")):
        for name, marker in zip(names, "os^Dv*<>" * len(names)):
            own = [row for row in rows if row["setting"] == name]
            places = np.log10([row["kilobytes"] for row in own])
            found = [row[measured] for row in own]
            axis.plot(places, found, marker, color=BLUE, markersize=6, alpha=0.6)
            axis.plot(np.mean(places), np.mean(found), "_", color=RED, markersize=16)
            axis.annotate(name, (np.mean(places), max(found)), (0, 6), ha="center", fontsize=8,
                          textcoords="offset points")  # fmt: skip
        low, high = np.round(axis.get_xlim())
        ticks = np.arange(low, high + 1)
        axis.set_xticks(ticks, [f"{10**n:g}" for n in ticks])
        axis.set(xlabel="kilobytes beside the weights (line: mean)")
        axis.margins(0.15)
    axes[0].set(ylabel="accuracy on held-out texts")
    axes[1].set(ylabel="nats lost on old text")
    figure.savefig(path)


# ---- what it is measured on ----------------------------------------------------------------------


class World(NamedTuple):
    """A pretrained network, labelled texts as rows of tokens, and text like its own."""

    network: GPT
    tokenizer: Tokenizer
    class_names: tuple[str, ...]
    train: tuple[NDArray[np.int64], NDArray[np.int64]]
    held_out: tuple[NDArray[np.int64], NDArray[np.int64]]
    old: NDArray[np.int64]


def as_rows(texts: Sequence[str], tokenizer: Tokenizer) -> NDArray[np.int64]:
    """The first TIME tokens of each text, and behind them padding: −1."""
    rows = np.full((len(texts), TIME), -1)
    for row, text in zip(rows, texts):
        tokens = tokenizer.encode(text)[:TIME]
        row[: len(tokens)] = tokens
    return rows


def make_world(held_out: int = 320, old: int = 100) -> World:
    """Pretrain on the English in Python's library, without the docstrings that are held out.

    The labelled texts are docstrings of twelve packages, 80 of each; ``old`` rows of the English
    are not pretrained on either, and tell what was forgotten.
    """
    labelled, generator = LabelledTexts.read(None), np.random.default_rng(0)
    order = generator.permutation(len(labelled.labels))
    texts, labels = [labelled.documents[i].text for i in order], labelled.labels[order]
    hidden = {*texts[:held_out]}
    english = [document.text for document in python_english() if document.text not in hidden]
    tokenizer = Tokenizer.train(english, VOCAB)
    mixed = [tokenizer.encode(english[i] + "\n\n") for i in generator.permutation(len(english))]
    stream = np.concatenate(mixed)
    rows = stream[: len(stream) // TIME * TIME].reshape(-1, TIME)
    language = Language(rows[old:], PRETRAINING, seed=0)
    optimizer = AdamW(language.model.named_parameters(), lr=PRETRAINING["learning_rate"])
    plain_loop(language, optimizer, PRETRAINING["steps"], clip=1.0)
    language.model.eval()
    inputs = as_rows(texts, tokenizer)
    return World(
        language.model, tokenizer, labelled.class_names,
        (inputs[held_out:], labels[held_out:]), (inputs[:held_out], labels[:held_out]), rows[:old],
    )  # fmt: skip


def milestone(rows: Sequence[Mapping[str, Any]], world: World) -> None:
    """Say what LoRA made of the GPT, if with each seed it is ahead of the network that stays."""
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(row["setting"], []).append(row["accuracy"])
    still = found.get("nothing", [1.0])
    ahead = [
        (float(np.mean(own)), name)
        for name, own in found.items()
        if name.startswith("rank") and all(a > b for a, b in zip(own, still))
    ]
    if not ahead:
        return
    share, name = max(ahead)
    whose = "Your" if LoRA.__module__ == "hw8" else "The library's"
    print(
        f"{whose} LoRA turns our GPT into a classifier of docstrings: {share:.1%} of "
        f"{len(world.held_out[1])} held-out ones ({name}), where guessing finds "
        f"{1 / len(world.class_names):.1%}."
    )


def main() -> None:
    """Measure every setting with every seed; write the rows, draw them, and say how it went."""
    world, rows = make_world(), []
    for setting, changed in SETTINGS.items():
        for seed in SEEDS:
            options = {**TRAINING, **changed}
            measured = measure(world.network, world.train, world.held_out, world.old, options, seed)
            rows.append({"setting": setting, "seed": seed, **measured})
            print(rows[-1], flush=True)
    Path("results.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    draw(rows, Path("figure.svg"))
    milestone(rows, world)


if __name__ == "__main__":
    main()

"""Homework 8, the experiment: what the checker repeats of it, and what a person judges."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.homework.assignments.plots import add_plot_check
from minissl.homework.experiment import Experiment, Handed, Item
from minissl.homework.task import Draw, Wrong, call, expect
from minissl.nn.module import Parameter

experiment = Experiment(
    "8.12",
    "minissl.homework.assignments.hw8_experiment:measure",
    "how much of a network has to move?",
    "lecture 11, section 7",
    writes=("open_up", "kilobytes", "measure", "draw"),
    measures=("accuracy", "kilobytes", "forgotten"),
    rubric=(
        Item(1, "Expected: the order of the four settings in accuracy and in what is forgotten, "
                "and a reason for each"),
        Item(2, "the plot: axes named, all seeds to be seen, readable in print without colours"),
        Item(1, "the table: means and spread over the seeds, and they are those of results.json"),
        Item(2, "Measured: what a kilobyte buys, and of each difference whether it is more than "
                "the seeds differ among themselves"),
        Item(1, "Not shown: one thing that these numbers do not tell, and what would"),
    ),
)  # fmt: skip


def _network(draw: Draw, width: int = 8, time: int = 6) -> Any:
    """A GPT of random weights."""
    from minissl.models.gpt import GPT, GPTConfig

    config = GPTConfig(vocab_size=12, context_length=time, num_layers=1, width=width, num_heads=2)
    return GPT(config, generator=draw.generator)


# ---- on networks that are given ------------------------------------------------------------------


@experiment.check(2)
def what_is_opened(handed: Handed, draw: Draw) -> None:
    """open_up: of the network trains what the rank says, and it computes what it did before."""
    function = handed.function("open_up")
    for rank in draw.cases(None, 0, 1, 3, more=lambda g: int(g.integers(1, 6))):
        network = _network(draw, width=2 * int(draw.generator.integers(3, 6)))
        rows = draw.generator.integers(12, size=(2, 6))
        before, shapes = network(rows).numpy(), _shapes(network)
        given = {"rank": rank, "shapes of its Linears": shapes}
        call(function, network, rank, np.random.default_rng(5))
        expect(network(rows), before, given=given, tolerance=1e-5,
               otherwise="it computes something else before anything is learned")  # fmt: skip
        opened = [p for p in network.parameters() if p.requires_grad]
        got, whole = sum(p.size for p in opened), network.num_parameters()
        right = sum((rank or 0) * (out + columns) for out, columns in shapes)
        right = whole if rank is None else right
        symptoms = {
            "nothing is trained": 0,
            "the frozen weights are trained, too: call freeze() first": whole,
            "beside every Linear, not beside queries and values alone": sum(
                (rank or 0) * (out + columns) for out, columns in shapes[:2]
            ),
            "rank 0: nothing of the network is trained": whole if rank == 0 else -1,
        }
        expect(got, right, given={**given, "numbers that are trained": ""}, symptoms=symptoms,
               otherwise="another part of the network is trained")  # fmt: skip
        if rank:
            _check_scale(network, rank, given)


def _shapes(network: Any) -> list[tuple[int, ...]]:
    from minissl.nn.layers import Linear

    layers = (m for _, m in network.named_modules() if isinstance(m, Linear))
    return [layer.weight.shape for layer in layers]


def _check_scale(network: Any, rank: int, given: dict[str, Any]) -> None:
    """alpha is 16 beside every layer, and the generator is the one that was given."""
    parts = [m for _, m in network.named_modules() if hasattr(m, "scale") and hasattr(m, "down")]
    for part in parts:
        expect(float(part.scale), 16 / rank, given=given, otherwise="alpha is 16")
    if parts:
        least = 1 / math.sqrt(parts[0].down.shape[1])
        first = np.random.default_rng(5).uniform(-least, least, parts[0].down.shape)
        expect(parts[0].down, first.astype(np.float32), given=given, tolerance=1e-5,
               otherwise="the thin matrices are drawn from the generator that is given, in the "
               "order of the layers")  # fmt: skip


@experiment.check(1)
def kilobytes_of_training(handed: Handed, draw: Draw) -> None:
    """kilobytes: three arrays for each trained parameter, of its dtype; frozen ones have none."""
    function = handed.function("kilobytes")
    for count in draw.cases(1, 3, more=lambda g: int(g.integers(2, 6))):
        parameters, right, whole = [], 0, 0
        for number in range(count):
            shape = tuple(draw.generator.integers(1, 30, int(draw.generator.integers(1, 3))))
            dtype = np.float16 if number % 3 == 2 else np.float32
            parameter = Parameter(draw.normal(*shape, dtype=dtype))
            parameter.requires_grad = bool(number % 2 == 0)
            size = int(np.prod(shape)) * np.dtype(dtype).itemsize
            right, whole = right + size * parameter.requires_grad, whole + size
            parameters.append(parameter)
        symptoms = {
            "frozen parameters need neither gradient nor moments": 3 * whole / 1000,
            "these are bytes: a kilobyte is 1000": 3.0 * right,
            "a kilobyte is 1000 bytes here, not 1024": 3 * right / 1024,
            "three arrays: a gradient and two moments": right / 1000,
            "a gradient and two moments: the weights are there anyway": 4 * right / 1000,
            "the gradient is needed, too": 2 * right / 1000,
        }
        given = {"shapes": [p.shape for p in parameters],
                 "trained": [p.requires_grad for p in parameters]}  # fmt: skip
        expect(float(call(function, parameters)), 3 * right / 1000, given=given, symptoms=symptoms)


# ---- training, in small --------------------------------------------------------------------------


def _adapted(world: Any, options: dict[str, Any], seed: int, **how: Any) -> dict[str, float]:
    """The three numbers, with something to get wrong."""
    from minissl.adapt.efficient.lora import add_lora
    from minissl.autograd import no_grad
    from minissl.homework.assignments.hw8_experiment import Classifier, Classifying
    from minissl.optim.adamw import AdamW
    from minissl.training.plain import plain_loop

    network, train, held_out, old = world
    options = {**options, **how.get("changed", {})}
    if how.get("taught_all"):
        train = tuple(np.concatenate([a, b]) for a, b in zip(train, held_out))
    generator = np.random.default_rng(how.get("weights", seed))
    copied = copy.deepcopy(network)
    if how.get("opened_first") and options["rank"]:
        add_lora(copied, options["rank"], where=".", generator=generator)
    model = Classifier(copied, int(train[1].max()) + 1, generator=generator)
    if options["rank"] == 0:
        model.network.freeze()
    elif options["rank"] and not how.get("opened_first"):
        add_lora(model.network, options["rank"], where=".", generator=generator)
    method = Classifying(model, train[0], train[1], options)
    optimizer = AdamW(
        [(n, p) for n, p in model.named_parameters() if p.requires_grad],
        lr=options["learning_rate"],
    )
    plain_loop(
        method, optimizer, options["steps"], seed=how.get("loop", seed), clip=how.get("clip", 1.0)
    )
    model.eval()
    part = train if how.get("of_training") else held_out
    with no_grad():
        found = model(part[0]).numpy().argmax(axis=1)
    costs = [_cost(x, old) for x in (model.network, network)]
    counted = model.network if how.get("without_head") else model
    return {
        "accuracy": float(np.mean(found == part[1])),
        "kilobytes": sum(p.numpy().nbytes for p in counted.parameters() if p.requires_grad) * 0.003,
        "forgotten": how.get("sign", 1) * (costs[0] - how.get("less", 1) * costs[1]),
    }  # fmt: skip


def _cost(network: Any, old: NDArray) -> float:
    """Nats of a next token, with a softmax of our own."""
    from minissl.autograd import no_grad

    with no_grad():
        logits = network(old[:, :-1]).numpy().astype(np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return float(-np.mean(np.take_along_axis(log_p, old[:, 1:, None], axis=2)))


def _near(one: dict[str, float], other: dict[str, float]) -> list[str]:
    """The names of numbers that differ."""
    return [n for n in one if abs(one[n] - other[n]) > 1e-3 * max(abs(other[n]), 0.05)]


@experiment.check(2)
def adapting_in_small(handed: Handed, draw: Draw) -> None:
    """measure, on 40 short rows: its three numbers are those of the recipe, for every seed."""
    function = handed.function("measure")
    network = _network(draw)
    network.eval()
    labels = draw.generator.integers(3, size=60)
    rows = draw.generator.integers(4, size=(60, 6)) + 4 * labels[:, None]
    rows[::3, 4:] = -1
    world = (network, (rows[:40], labels[:40]), (rows[40:], labels[40:]), np.maximum(rows[:9], 0))
    options: dict[str, Any] = {"steps": 4, "batch_size": 8, "learning_rate": 0.02}
    _check_copied(function, world, options)
    for seed, rank in ((0, 2), (1, None), (2, 0)):
        options["rank"] = rank
        given = {"options": dict(options), "seed": seed, "texts": "40 and 20 of 6 tokens"}
        got = experiment.numbers_twice(function, *world, dict(options), seed, given=given)
        right = _adapted(world, options, seed)
        if not (wrong := _near(got, right)):
            continue
        for sentence, mistake in _MISTAKES.items():
            mistake = {k: v(seed) if callable(v) else v for k, v in mistake.items()}
            if not _near(got, _adapted(world, options, seed, **mistake)):
                raise Wrong(sentence, given, got, right)
        raise Wrong(f"{wrong[0]!r} is another than that of the recipe", given, got, right)


def _check_copied(function: Any, world: Any, options: dict[str, Any]) -> None:
    """The network that is handed over stays as it is: its parts, its weights, what of it learns."""
    for rank in (2, None, 0):
        before = {n: p.numpy().copy() for n, p in world[0].named_parameters()}
        given = {"options": {**options, "rank": rank, "steps": 1}, "seed": 0}
        call(function, *world, given["options"], 0)
        after = dict(world[0].named_parameters())
        same = before.keys() == after.keys() and all(p.requires_grad for p in after.values())
        if not same or not all(np.array_equal(before[n], after[n].numpy()) for n in after):
            sentence = "the network that was given has changed: adapt a copy"
            raise Wrong(sentence, given, "another network", "what it was")


_MISTAKES: dict[str, dict[str, Any]] = {
    "these are the texts to learn from: measure on those that were held out": {"of_training": True},
    "it was not trained": {"changed": {"steps": 0}},
    "it was trained a step too many": {"changed": {"steps": 5}},
    "the loop has a seed, too": {"loop": 0},
    "the weights are not those of the seed: hand it on": {"weights": lambda seed: 1 - seed % 2},
    "clip=1.0 is missing": {"clip": None},
    "learning_rate is not handed on": {"changed": {"learning_rate": 3e-3}},
    "batch_size is not handed on": {"changed": {"batch_size": 16}},
    "the rank is not handed on": {"changed": {"rank": 1}},
    "the whole network was trained": {"changed": {"rank": None}},
    "nothing of the network was trained": {"changed": {"rank": 0}},
    "it was trained on the held-out texts, too": {"taught_all": True},
    "the generator makes first the new layer, then the thin matrices": {"opened_first": True},
    "the new layer is trained, too: its kilobytes count": {"without_head": True},
    "forgotten is what was lost: the loss after it minus the loss before": {"sign": -1},
    "forgotten is a difference: take the loss before it off": {"less": 0},
}


add_plot_check(experiment, 1)
experiment.check_files(results=1, report=1)

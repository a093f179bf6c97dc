"""Wrong answers to homework 8, adaptation: the experiment and its report."""

import copy
import json

import numpy as np

from minissl.adapt.efficient.lora import add_lora
from minissl.homework.assignments import hw8_experiment as ours
from minissl.homework.assignments.hw8_measured import experiment
from minissl.nn.layers import Linear
from minissl.training.fit import fit
from tests.homework.planted import Collection, HandedIn

PLANTED = Collection()
handed = HandedIn(experiment, "hw8")
FILES, ROWS, TEXT = handed.files, handed.rows, handed.text


# ---- the functions -------------------------------------------------------------------------------


def opener(
    freeze=lambda network, rank: network.freeze(),
    alpha=16.0,
    where=".",
    own=lambda generator: generator,
    rank_of=lambda rank: rank,
    also=lambda network: None,
):
    """open_up by ``add_lora``, with something to get wrong in it."""

    def open_up(network, rank, generator):
        if rank_of(rank) is None:
            return
        if rank_of(rank):
            how = {"alpha": alpha, "where": where, "generator": own(generator)}
            add_lora(network, rank_of(rank), **how)
        freeze_or_not(network, rank, freeze)
        also(network)

    return open_up


def freeze_or_not(network, rank, freeze):
    """Rank 0; with thin matrices everything but these is frozen already."""
    if not rank:
        freeze(network, rank)


def open_layer_by_layer(network, rank, generator):
    """By hand, attribute after attribute."""
    if rank is None:
        return
    network.freeze()
    modules = [m for _, m in network.named_modules()] if rank else []
    for module in modules:
        for name, layer in [*vars(module).items()]:
            if isinstance(layer, Linear):
                new = ours.LoRA(layer, rank, alpha=16.0, generator=generator)
                setattr(module, name, new)


def without_freezing(network, rank, generator):
    """The thin matrices are there, and everything else learns, too."""
    before = network.parameters()
    opener()(network, rank, generator)
    if rank:
        for parameter in before:
            parameter.requires_grad = True


def counter(
    arrays=3,
    of=lambda p: p.requires_grad,
    size=lambda p: p.numpy().nbytes,
    unit=1000,
):
    """kilobytes with something to get wrong in it."""

    def kilobytes(parameters):
        total = 0
        for parameter in parameters:
            total += arrays * size(parameter) if of(parameter) else 0
        return total / unit

    return kilobytes


def recipe(
    copied=copy.deepcopy,
    weights=lambda seed: seed,
    loop=lambda seed: seed,
    changed=dict,
    text=lambda train, held_out: train,
    asked=lambda train, held_out: held_out,
    clip=1.0,
    opened_first=False,
    forgotten=lambda after, before: after - before,
    counted=lambda model: model.parameters(),
    train=fit,
    finish=lambda found: found,
):
    """measure written anew, by ``fit``, with something to get wrong in it."""

    def measure(network, texts, held_out, old, options, seed):
        options = changed(options)
        learned = text(texts, held_out)
        generator, own = np.random.default_rng(weights(seed)), copied(network)
        if opened_first:
            ours.open_up(own, options["rank"], generator)
        model = ours.Classifier(own, len(np.unique(learned[1])), generator=generator)
        if not opened_first:
            ours.open_up(model.network, options["rank"], generator)
        method = ours.Classifying(model, *learned, options)
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        optimizer = ours.AdamW(named, lr=options["learning_rate"])
        train(method, optimizer, steps=options["steps"], seed=loop(seed), clip=clip, progress=False)
        model.eval()
        rows, labels = asked(texts, held_out)
        right = method.represent(rows).argmax(1) == labels
        return finish({
            "forgotten": forgotten(
                ours.old_nats(model.network, old), ours.old_nats(network, old)
            ),
            "kilobytes": counter()(counted(model)),
            "accuracy": sum(right.tolist()) / len(right),
        })  # fmt: skip

    return measure


def takes_steps(options):
    """Out of the caller's options."""
    return {"steps": options.pop("steps"), **options}


def both(train, held_out):
    """One after the other."""
    return tuple(np.concatenate(pair) for pair in zip(train, held_out))


def same_picture(rows, path):
    """Whatever the rows are."""
    path.write_text(
        "<svg xmlns='http://www.w3.org/2000/svg'><path d='M 0 0 L 1 1'/></svg>", encoding="utf-8"
    )


COUNTED = iter(range(10**9))

for _mistake, _shows, _functions in [
    ("nothing is frozen", "frozen weights are trained", {"open_up": without_freezing}),
    ("the probe moves", "nothing of the network is trained|frozen weights are trained", {
        "open_up": opener(freeze=lambda network, rank: None)}),
    ("queries and values alone", "not beside queries and values|another part", {
        "open_up": opener(where="(query|value)$")}),
    ("no LoRA at all", "nothing is trained", {
        "open_up": lambda network, rank, generator: rank is None or network.freeze()}),
    ("everything is frozen", "nothing is trained", {
        "open_up": lambda network, rank, generator: network.freeze()}),
    ("alpha 1", "alpha is 16", {"open_up": opener(alpha=1.0)}),
    ("a generator of its own", "generator that is given", {
        "open_up": opener(own=lambda generator: np.random.default_rng(0))}),
    ("twice the rank", "another part of the network", {
        "open_up": opener(rank_of=lambda rank: 2 * rank if rank else rank)}),
    ("not the same at first", "before anything is learned", {
        "open_up": opener(also=lambda network: network.map_arrays(lambda array: 1.1 * array))}),
    ("all parameters", "frozen parameters need neither", {"kilobytes": counter(of=lambda p: True)}),
    ("bytes", "these are bytes", {"kilobytes": counter(unit=1)}),
    ("1024", "not 1024", {"kilobytes": counter(unit=1024)}),
    ("one array", "three arrays", {"kilobytes": counter(arrays=1)}),
    ("no gradient", "gradient is needed", {"kilobytes": counter(arrays=2)}),
    ("with the weights", "there anyway", {"kilobytes": counter(arrays=4)}),
    ("four bytes each", "values are wrong|three arrays", {
        "kilobytes": counter(size=lambda p: 4 * p.size)}),
    ("the network itself", "adapt a copy", {"measure": recipe(copied=lambda network: network)}),
    ("seed 0 for the weights", "not those of the seed|another than", {
        "measure": recipe(weights=lambda seed: 0)}),
    ("the loop's seed", "loop has a seed", {"measure": recipe(loop=lambda seed: 0)}),
    ("no seed", "same seed gave other", {"measure": recipe(loop=lambda _: next(COUNTED))}),
    ("no training", "was not trained", {"measure": recipe(
        train=lambda *given, **how: None)}),
    ("a step too many", "a step too many", {"measure": recipe(
        changed=lambda o: {**o, "steps": o["steps"] + 1})}),
    ("no clip", "clip=1.0 is missing", {"measure": recipe(clip=None)}),
    ("a learning rate of its own", "learning_rate is not handed on", {"measure": recipe(
        changed=lambda o: {**o, "learning_rate": 3e-3})}),
    ("a batch size of its own", "batch_size is not handed on", {"measure": recipe(
        changed=lambda o: {**o, "batch_size": 16})}),
    ("always everything", "whole network was trained", {"measure": recipe(
        changed=lambda o: {**o, "rank": None})}),
    ("always a probe", "nothing of the network was trained", {"measure": recipe(
        changed=lambda o: {**o, "rank": 0})}),
    ("always rank 1", "rank is not handed on", {"measure": recipe(
        changed=lambda o: {**o, "rank": 1})}),
    ("of the texts to learn from", "these are the texts to learn from", {"measure": recipe(
        asked=lambda train, held_out: train)}),
    ("trained on the held-out texts, too", "on the held-out texts, too", {"measure": recipe(
        text=both)}),
    ("thin matrices first", "makes first the new layer", {"measure": recipe(opened_first=True)}),
    ("without the layer's bytes", "its kilobytes count", {"measure": recipe(
        counted=lambda model: model.network.parameters())}),
    ("what was won", "loss after it minus", {"measure": recipe(
        forgotten=lambda after, before: before - after)}),
    ("the loss after it", "is a difference", {"measure": recipe(
        forgotten=lambda after, before: after)}),
    ("takes the steps out of the options", "changed its input", {"measure": recipe(
        changed=takes_steps)}),
    ("a number too few", "three numbers", {"measure": recipe(
        finish=lambda found: {"accuracy": found["accuracy"]})}),
    ("percent", "another than", {"measure": recipe(
        finish=lambda found: {**found, "accuracy": 100 * found["accuracy"]})}),
    ("not a number", "no finite number", {"measure": recipe(
        finish=lambda found: {**found, "forgotten": float("nan")})}),
    ("the same picture", "same picture", {"draw": same_picture}),
    ("no picture", "wrote no picture", {"draw": lambda rows, path: None}),
    ("not there", "does not define the function", {"measure": None}),
]:  # fmt: skip
    PLANTED.add("8.12", _mistake, shows=_shows)(handed(**_functions))


# ---- the files: what homework 5 does not try -----------------------------------------------------


def results(rows):
    """The right files with these rows."""
    return {**FILES, "results.json": json.dumps(rows).encode()}


for _mistake, _shows, _files in [
    ("no results", "there is no results.json", {"report.md": FILES["report.md"]}),
    ("nothing forgotten", "needs a number as 'forgotten'", results(
        [{**ROWS[0], "forgotten": None}])),
    ("one setting", "one setting compares nothing", results(ROWS[:3])),
    ("rank 8 left out", "no row for the setting 'rank 8'", {
        **FILES, "report.md": TEXT.replace("| rank 8 |", "| rank eight |").encode()}),
    ("no plot", "shows 'figure.svg'", {n: f for n, f in FILES.items() if n != "figure.svg"}),
]:  # fmt: skip
    PLANTED.add("8.12", _mistake, shows=_shows)(handed(_files, measure=None))

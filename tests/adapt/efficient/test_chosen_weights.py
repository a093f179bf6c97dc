"""Bias alone and last layers alone: exactly which parameters move, by name, on every network."""

import numpy as np
import pytest

from minissl.adapt import load_adaptation
from minissl.adapt.method import Task
from minissl.optim import SGD
from tests.adapt.toy import adapting, toy_labelled
from tests.pretrain.toy import toy_method


def of(bases, name):
    """Texts by three layers; the networks of images have three convolutions, or eight blocks."""
    return bases[f"{name} 3" if name in ("bert", "gpt", "lstm", "elmo") else name]


def moved(name, opened, **changes):
    """The names of what a step of SGD has changed in the encoder, and those in it."""
    task = Task.prepare(opened.data, toy_labelled(name, opened), "class")
    method = load_adaptation(name).build(adapting(name, **changes), opened, task, seed=0)
    before = method.base.encoder.state_dict()
    optimizer = SGD(method.model.named_parameters(), lr=100.0)
    for seed in range(3):
        method.loss(method.batch(np.random.default_rng(seed)), np.random.default_rng(1)).backward()
        optimizer.step()
        optimizer.zero_grad()
    after = method.base.encoder.state_dict()
    changed = {n for n, array in before.items() if array.tobytes() != after[n].tobytes()}
    saved = {
        n.removeprefix("encoder.") for n in method.saved().state_dict() if n.startswith("encoder.")
    }
    assert changed <= saved
    return changed, [*before]


BEHIND = {"gpt": ["transformer.final_norm."], "simclr": ["output."], "byol": ["output."]}
LAYER = {
    "bert": ["transformer.blocks.{}."], "gpt": ["transformer.blocks.{}."], "lstm": ["layers.{}."],
    "elmo": ["ahead.layers.{}.", "behind.layers.{}."], "simclr": ["convolutions.{}."],
    "resnet": ["blocks.{}."], "byol": ["convolutions.{}."],
}  # fmt: skip


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", [*LAYER])
def test_the_last_layers_move_and_what_is_behind_them(name, layers, bases):
    changed, names = moved("last-layers", of(bases, name), layers=layers)
    count = 8 if name == "resnet" else 3
    begins = [one.format(i) for one in LAYER[name] for i in range(count - layers, count)]
    begins += BEHIND.get(name, [])
    wanted = {n for n in names if n.startswith(tuple(begins)) and "running_" not in n}
    wanted -= {n for n in names if n.endswith("key.bias")}  # adds the same to every score
    assert changed - {n for n in names if n.endswith("key.bias")} == wanted
    assert wanted


@pytest.mark.parametrize("name", [*LAYER])
def test_the_biases_move_and_nothing_else(name, bases):
    changed, names = moved("bias", of(bases, name))
    wanted = {n for n in names if "bias" in n.rpartition(".")[2]} - {
        n for n in names if n.endswith("key.bias")
    }
    assert changed - {n for n in names if n.endswith("key.bias")} == wanted
    assert all("norm" in n for n in wanted) == (name == "resnet"), "its convolutions have none"


def test_all_layers_are_not_the_whole_network(bases):
    changed, names = moved("last-layers", of(bases, "bert"), layers=3)
    assert {n for n in names if not n.startswith("transformer")} == {
        "tokens.weight", "positions.weight", "segments.weight", "norm.weight", "norm.bias",
    }  # fmt: skip
    assert all(n.startswith("transformer.blocks.") for n in changed)
    for name, count in (("bert", 3), ("elmo", 3), ("resnet", 8)):
        with pytest.raises(ValueError, match=rf"layers is 9, this network has {count}: give fewer"):
            moved("last-layers", of(bases, name), layers=9)


def test_a_table_of_words_has_neither(bases):
    opened = bases["skipgram"]
    with pytest.raises(ValueError, match="no biases: take layers-on-top or finetune"):
        moved("bias", opened)
    with pytest.raises(ValueError, match=r"no list of layers, .*: take layers-on-top or finetune"):
        moved("last-layers", opened)


def test_below_the_last_layers_there_is_no_graph():
    """What is frozen below is computed without one: its states need no gradient."""
    from minissl.adapt.efficient.last_layers import LastLayers, LastLayersSettings

    method = toy_method("gpt", num_layers=2)
    LastLayers.open_up(method, LastLayersSettings(layers=1), np.random.default_rng(0))
    states = method.states(method.collate([[1, 2, 3]]))
    assert [state.requires_grad for state in states] == [False, False, True]

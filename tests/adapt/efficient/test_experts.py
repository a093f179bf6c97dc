"""LoRA experts: loops over tokens and experts in torch, ties, the balance's closed forms."""

import numpy as np
import pytest
import torch

from minissl.adapt.efficient.experts import (
    Experts,
    ExpertSettings,
    LoRAExperts,
    add_experts,
    largest,
    load_balance,
)
from minissl.adapt.efficient.lora import LoRA
from minissl.adapt.method import Task
from minissl.autograd import no_grad
from minissl.autograd.tensor import Tensor
from minissl.nn.layers import Linear
from tests.adapt.toy import adapted, adapting, toy_labelled
from tests.pretrain.toy import toy_method

INS, OUTS, RANK, EXPERTS = 6, 5, 2, 4


def layer(top, experts=EXPERTS, seed=0):
    """In float64, with every number somewhere."""
    generator = np.random.default_rng(seed)
    inner = Linear(INS, OUTS, generator=generator)
    one = Experts(inner, RANK, experts=experts, top=top, alpha=6, generator=generator)
    for p in one.astype(np.float64).parameters():
        p.array = generator.standard_normal(p.shape)
    return one


def by_hand(one, x, top):
    """Token by token, expert by expert, in torch: outputs and the load balance, with a graph."""
    parts = (one.inner.weight, one.inner.bias, one.gate.weight, one.down, one.up)
    w, b, gate, down, up = (torch.tensor(p.numpy(), requires_grad=True) for p in parts)
    rows = torch.tensor(x, requires_grad=True)
    outputs, probabilities, counts = [], [], torch.zeros(len(gate), dtype=torch.float64)
    for row in rows.reshape(-1, INS):
        p = torch.softmax(gate @ row, dim=0)
        order = sorted(range(len(gate)), key=lambda e: (-p[e].item(), e))[:top]
        y = w @ row + b
        total = sum(p[e] for e in order) if top > 1 else 1.0
        for e in order:
            part = slice(e * RANK, (e + 1) * RANK)
            y = y + 6 / RANK * p[e] / total * (up[:, part] @ (down[part] @ row))
            counts[e] += 1
        outputs.append(y)
        probabilities.append(p)
    share = counts / counts.sum()
    balance = len(gate) * (share * torch.stack(probabilities).mean(dim=0)).sum()
    leaves = {"x": rows, "gate": gate, "down": down, "up": up}
    return torch.stack(outputs).reshape(*x.shape[:-1], OUTS), balance, leaves


@pytest.mark.parametrize("top", [1, 2, 3, EXPERTS])
@pytest.mark.parametrize("shape", [(7, INS), (2, 3, INS), (1, 1, INS)])
def test_forward_and_gradients_are_those_of_loops(top, shape):
    one = layer(top)
    generator = np.random.default_rng(1)
    x, cotangent = generator.standard_normal(shape), generator.standard_normal((*shape[:-1], OUTS))
    rows = Tensor(x, requires_grad=True)
    outputs = one(rows)
    ((outputs * cotangent).sum() + 3 * one.balance[0]).backward()
    expected, balance, leaves = by_hand(one, x, top)
    ((expected * torch.tensor(cotangent)).sum() + 3 * balance).backward()
    np.testing.assert_allclose(outputs.numpy(), expected.detach().numpy(), rtol=1e-10)
    assert one.balance[0].item() == pytest.approx(balance.item(), rel=1e-12)
    found = {"x": rows, "gate": one.gate.weight, "down": one.down, "up": one.up}
    for name, leaf in leaves.items():
        np.testing.assert_allclose(found[name].grad, leaf.grad, rtol=1e-8, atol=1e-10)
    assert one.inner.weight.grad is None


@pytest.mark.parametrize("top", [1, 2])
def test_the_loss_alone_teaches_the_gate(top):
    """With one expert divided by itself it would learn from the balance alone."""
    one = layer(top)
    (one(np.random.default_rng(1).standard_normal((9, INS))) ** 2).sum().backward()
    for p in (one.gate.weight, one.down, one.up):
        assert np.abs(p.grad).max() > 1e-3


def test_one_expert_is_lora():
    one = layer(1, experts=1)
    inner = Linear(INS, OUTS, generator=np.random.default_rng(0))
    lora = LoRA(inner, RANK, alpha=6, generator=np.random.default_rng(0)).astype(np.float64)
    inner.weight.array, inner.bias.array = one.inner.weight.numpy(), one.inner.bias.numpy()
    lora.down.array, lora.up.array = one.down.numpy(), one.up.numpy()
    x = np.random.default_rng(1).standard_normal((3, 4, INS))
    np.testing.assert_allclose(one(x).numpy(), lora(x).numpy(), rtol=1e-12)
    assert one.balance[0].item() == 1


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_largest_of_equal_ones_are_the_first(count):
    values = np.random.default_rng(0).integers(3, size=(50, 5)).astype(np.float64)
    expected = np.zeros_like(values)
    for row, order in zip(expected, np.argsort(-values, axis=1, kind="stable")):
        row[order[:count]] = 1
    np.testing.assert_array_equal(largest(values, count), expected)
    np.testing.assert_array_equal(largest(np.zeros((2, 5)), count)[0], np.arange(5) < count)
    on_torch = largest(torch.tensor(values), count)
    np.testing.assert_array_equal(on_torch.numpy(), expected)
    assert largest(values.astype(np.float32), count).dtype == np.float32


def test_closed_forms_of_the_balance():
    """Used alike: 1. One does it all: as many as there are. ``top`` of them equally: E / top."""
    alike = Tensor(np.full((8, 4), 0.25))
    assert load_balance(alike, np.eye(4)[[0, 1, 2, 3] * 2]).item() == pytest.approx(1)
    alone = np.eye(4)[[2] * 6]
    assert load_balance(Tensor(alone), alone).item() == pytest.approx(4)
    half = np.tile([0.5, 0.5, 0, 0], (3, 2, 1))
    assert load_balance(Tensor(half), (half > 0).astype(float)).item() == pytest.approx(2)
    generator = np.random.default_rng(0)
    p = generator.dirichlet(np.ones(5), size=(3, 7))
    chosen = largest(p, 2)
    f, mean = chosen.reshape(-1, 5).sum(axis=0) / 42, p.reshape(-1, 5).mean(axis=0)
    assert load_balance(Tensor(p), chosen).item() == pytest.approx(5 * np.sum(f * mean))


@pytest.mark.parametrize("base", ["bert", "simclr"])
def test_before_the_first_step_nothing_has_changed(base):
    method = toy_method(base)
    examples = (
        np.random.default_rng(0).random((4, 8, 8, 1), np.float32)
        if base == "simclr" else [[5, 6, 7, 8], [9, 10]]
    )  # fmt: skip
    before = method.represent(examples)
    add_experts(method.encoder, 2, experts=3, top=2, generator=np.random.default_rng(0))
    np.testing.assert_array_equal(method.represent(examples), before)


def test_the_loss_is_the_forms_and_the_mean_balance_of_the_layers(bases):
    opened = bases["gpt"]
    task = Task.prepare(opened.data, toy_labelled("experts", opened), "class")

    def loss(weight):
        method = LoRAExperts.build(adapting("experts", balance=weight), opened, task, seed=0)
        batch = method.batch(np.random.default_rng(0))
        value = method.loss(batch, np.random.default_rng(0))
        return value, method

    plain, method = loss(0.0)
    balances = [one.item() for one in method.balances()]
    assert len(balances) == 2  # queries and values of one block
    assert all(1 <= one <= 3 for one in balances)
    assert loss(0.5)[0].item() == pytest.approx(plain.item() + 0.5 * np.mean(balances), rel=1e-6)
    value, method = loss(0.5)
    value.backward()
    layers = [m for _, m in method.model.named_modules() if isinstance(m, Experts)]
    assert all(np.abs(one.gate.weight.grad).max() > 0 for one in layers)
    assert not [n for n in method.saved().state_dict() if "balance" in n]


def test_what_is_told_of_the_balance_is_that_of_the_held_out_texts(bases):
    """From what the first block's queries read, in float64: both of its layers read the same."""
    made = adapted("experts", bases["gpt"], changes={"steps": 2}).method
    network, inputs = made.base.model, made.task.held_out.inputs
    with no_grad():
        collated = made.base.collate(sorted(inputs, key=len))
        block = network.transformer.blocks[0]
        seen = block.attention_norm(network._embed(collated[0])).numpy().astype(np.float64)
    found = []
    for one in (block.attention.query, block.attention.value):
        p = torch.softmax(torch.tensor(seen @ one.gate.weight.numpy().T), dim=-1).reshape(-1, 3)
        chosen = np.argsort(-p.numpy(), axis=1, kind="stable")[:, :2]
        share = np.bincount(chosen.ravel(), minlength=3) / chosen.size
        found.append(3 * float(share @ p.numpy().mean(axis=0)))
    assert made.evaluate()["load_balance"] == pytest.approx(np.mean(found), rel=1e-4)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"top": 5}, "top must be from 1 to 4, the number of experts, got 5"),
        ({"top": 0}, "top must be from 1 to 4"),
        ({"rank": 17}, "rank must be from 1 to 16 here, got 17"),
        ({"where": "norm"}, "no layer matches 'norm'; there are"),
    ],
)
def test_what_is_refused_changes_nothing(options, match):
    model = toy_method("bert").encoder
    options = {"rank": 2, "experts": 4, "top": 2, **options}
    with pytest.raises(ValueError, match=match):
        add_experts(model, generator=np.random.default_rng(0), **options)
    assert not [m for _, m in model.named_modules() if isinstance(m, Experts)]
    assert all(p.requires_grad for p in model.parameters())


def test_more_than_there_are_is_refused_where_it_is_said():
    with pytest.raises(ValueError, match="top must be from 1 to 2, the number of experts, got 3"):
        ExpertSettings(experts=2, top=3)
    residual = toy_method("simclr", encoder="resnet18", features=8).encoder
    with pytest.raises(ValueError, match="no Linear that experts could stand beside: take"):
        add_experts(residual, 2, experts=2, top=1, generator=np.random.default_rng(0))

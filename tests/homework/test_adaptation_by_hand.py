"""Homework 8 in plain NumPy does what the library does: the answer key against it."""

import numpy as np
import pytest

from minissl.adapt.efficient import experts, lora
from minissl.adapt.efficient.adapters import Adapter
from minissl.adapt.efficient.prefixes import PrefixedAttention
from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.forms import spans, tags
from minissl.homework.assignments import hw8_by_hand as by_hand
from minissl.models.gpt import GPT, GPTConfig
from minissl.nn.attention import MultiHeadAttention
from minissl.nn.layers import Linear
from minissl.optim.adamw import AdamW

GENERATOR = np.random.default_rng


def random_lora(seed=0, rank=2):
    """A module with an ``up`` that is not 0, in float64; and its three matrices."""
    inner = Linear(4, 3, generator=GENERATOR(seed)).astype("float64")
    module = lora.LoRA(inner, rank, alpha=5.0, generator=GENERATOR(seed + 1))
    module.up.array = GENERATOR(seed + 2).normal(size=(3, rank))
    return module, [t.numpy().copy() for t in (inner.weight, module.down, module.up)]


def test_a_merged_weight_is_the_librarys():
    module, arrays = random_lora()
    merged, rank = by_hand.merge(*arrays, 5.0)
    holder = GPT(GPTConfig(vocab_size=5, context_length=3, width=4, num_heads=1, num_layers=1),
                 generator=GENERATOR(0))  # fmt: skip
    holder.extra = module
    assert lora.merge_lora(holder) == ["extra"]
    np.testing.assert_allclose(merged, holder.extra.weight.numpy(), atol=1e-12)
    assert rank == np.linalg.matrix_rank(merged - arrays[0]) == 2


def test_the_gradients_are_the_engines():
    module, arrays = random_lora(3)
    x, by_y = GENERATOR(6).normal(size=(5, 4)), GENERATOR(7).normal(size=(5, 3))
    rows = Tensor(x, requires_grad=True)
    ops.sum(module(rows) * by_y).backward()
    own = by_hand.lora_gradients(*arrays, 5.0, x, by_y)
    for mine, tensor in zip(own, (rows, module.down, module.up)):
        np.testing.assert_allclose(mine, tensor.grad, atol=1e-12)
    assert module.inner.weight.grad is None


@pytest.mark.parametrize("causal", [False, True])
def test_a_prefix_before_one_head(causal):
    inner = MultiHeadAttention(4, 1, generator=GENERATOR(8)).astype("float64")
    module = PrefixedAttention(inner, 3, generator=GENERATOR(9)).astype("float64")
    x, lengths = GENERATOR(10).normal(size=(2, 5, 4)), np.array([5, 2])
    query, key, value = (getattr(inner, n)(Tensor(x)).numpy() for n in ("query", "key", "value"))
    prefix = (module.key.numpy(), module.value.numpy())
    heads = by_hand.attend_with_prefix(query, key, value, prefix, lengths, causal=causal)
    own = inner.output(Tensor(heads)).numpy()
    other = module(Tensor(x), key_lengths=lengths, causal=causal).numpy()
    real = np.arange(5) < lengths[:, None]
    np.testing.assert_allclose(own[real], other[real], atol=1e-12)


def test_an_adapter_and_how_it_begins():
    layer = Linear(6, 6, generator=GENERATOR(11)).astype("float64")
    module = Adapter(layer, 6, 3, generator=GENERATOR(12)).astype("float64")
    names = ("down", "down_bias", "up", "up_bias")
    weights = tuple(getattr(module, name).numpy() for name in names)
    h = GENERATOR(13).normal(size=(2, 4, 6))
    own = by_hand.adapt(layer(Tensor(h)).numpy(), weights)
    np.testing.assert_allclose(own, module(Tensor(h)).numpy(), atol=1e-12)
    for mine, theirs in zip(by_hand.new_adapter(6, 3, GENERATOR(14)), weights):
        assert mine.shape == theirs.shape
        assert (mine.std() == 0) == (theirs.std() == 0)
    assert np.abs(own - layer(Tensor(h)).numpy()).max() < 0.01, "nearly the identity"


def test_the_gate_of_the_experts():
    logits = GENERATOR(15).normal(size=(6, 5))
    p = ops.softmax(Tensor(logits), axis=-1)
    chosen = experts.largest(p.numpy(), 2)
    weights, balance = by_hand.gate(logits, 2)
    right = p.numpy() * chosen
    np.testing.assert_allclose(weights, right / right.sum(axis=1, keepdims=True), atol=1e-12)
    assert balance == pytest.approx(experts.load_balance(p, chosen).item(), abs=1e-12)


@pytest.mark.parametrize("longest", [1, 3, 30])
def test_the_best_span_of_a_window(longest):
    for seed in range(20):
        start, end = GENERATOR(seed).normal(size=(2, 9))
        context = np.arange(9) > 2
        start[0] = end[0] = -9.0
        i, j = spans.best_span(start[3:], end[3:], longest)
        assert by_hand.best_span(start, end, context, longest=longest) == (3 + i, 3 + j)


def test_names_are_those_of_the_tagger():
    marks = np.array(["O", "B-a", "I-a", "I-b", "B-b"])
    for seed in range(20):
        right, found = GENERATOR(seed).choice(marks, size=(2, 4, 6)).tolist()
        score = tags.span_scores(found, right)["f1"]
        assert by_hand.span_f1(right, found) == pytest.approx(score, abs=1e-12)


@pytest.mark.parametrize("way", ["all", "bias", "lora", "lora of MLPs"])
def test_bytes_are_those_that_the_library_holds(way):
    config = GPTConfig(vocab_size=7, context_length=3, width=4, num_heads=2, num_layers=2)
    model = GPT(config, generator=GENERATOR(16))
    shapes = {name: p.shape for name, p in model.named_parameters()}
    where, rank = {"all": ("", 0), "bias": ("bias$", 0), "lora": (r"(query|value)\.weight", 3),
                   "lora of MLPs": (r"mlp.*weight", 1)}[way]  # fmt: skip
    if way == "bias":
        for name, p in model.named_parameters():
            p.requires_grad = name.endswith("bias")
    elif rank:
        place = where.replace(r"\.weight", "$").replace("weight", "")
        lora.add_lora(model, rank, where=place, generator=GENERATOR(17))
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    optimizer = AdamW(trained)
    loss = ops.sum(model(np.array([[1, 2, 3]])) ** 2)
    loss.backward()
    optimizer.step()
    moments = [a for slot in optimizer.state.values() for a in slot.values()]
    assert by_hand.training_bytes(shapes, where, rank=rank) == {
        "weights": sum(p.numpy().nbytes for p in model.parameters()),
        "gradients": sum(np.asarray(p.grad).nbytes for _, p in trained),
        "optimizer": sum(np.asarray(m).nbytes for m in moments),
        "saved": sum(p.numpy().nbytes for _, p in trained),
    }

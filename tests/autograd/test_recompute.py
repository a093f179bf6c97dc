"""Computing again instead of keeping: the same gradients, fewer arrays alive."""

import tracemalloc

import numpy as np
import pytest

from minissl.autograd import Tensor, no_grad
from minissl.autograd import operations as ops
from minissl.autograd.recompute import recompute
from minissl.nn.transformer import Transformer, TransformerConfig


def transformer(recompute, **choices):
    config = TransformerConfig(
        num_layers=3, width=16, num_heads=2, dropout=0.2, attention_dropout=0.1,
        recompute=recompute, **choices,
    )  # fmt: skip
    return Transformer(config, generator=np.random.default_rng(0))


@pytest.mark.parametrize("with_memory", [False, True])
def test_gradients_are_equal(with_memory):
    generator = np.random.default_rng(1)
    arrays = [generator.standard_normal((2, 5, 16), dtype=np.float32) for _ in range(3)]
    runs = []
    for again in (False, True):
        model = transformer(again, cross_attention=with_memory)
        inputs = [Tensor(a, requires_grad=True) for a in arrays[: 1 + with_memory]]
        y = model(*inputs, causal=True, generator=np.random.default_rng(2))
        y.backward(arrays[2])
        gradients = [t.grad for t in (*inputs, *model.parameters())]
        runs.append([y.array, *gradients])
    for ours, theirs in zip(*runs):
        if with_memory:  # which all blocks use: its gradient is summed in another order
            assert np.allclose(ours, theirs, rtol=1e-5, atol=1e-6)
        else:
            assert ours.tobytes() == theirs.tobytes()


def test_less_is_alive_between_forward_and_backward():
    x = Tensor(np.zeros((64, 256, 16), np.float32), requires_grad=True)
    alive = []
    for again in (False, True):
        model = transformer(again)
        tracemalloc.start()
        y = model(x, causal=True, generator=np.random.default_rng(0))
        alive.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        del y
    assert alive[1] < 0.2 * alive[0]


def test_without_a_graph_nothing_is_kept():
    x = Tensor([1.0, 2.0], requires_grad=True)
    with no_grad():
        assert recompute(lambda a, generator: a * 2, x).node is None


def test_inputs_without_gradient_and_inputs_that_are_not_used():
    x = Tensor(np.float32([1, 2]), requires_grad=True)
    unused = Tensor(np.float32([3, 4]), requires_grad=True)
    fixed = Tensor(np.float32([5, 6]))
    y = recompute(lambda a, b, c, generator: ops.exp(a) * c, x, unused, fixed)
    y.backward(np.float32([1, -1]))
    assert np.allclose(x.grad, np.exp(x.array) * fixed.array * [1, -1])
    assert np.array_equal(unused.grad, [0, 0])
    assert fixed.grad is None


def test_only_parameters_inside_need_a_gradient():
    weight = Tensor(np.float32([2, 3]), requires_grad=True)
    x = Tensor(np.float32([1, 10]))
    y = recompute(lambda a, generator: weight * a, x)
    with no_grad():  # where backward() is called does not matter
        y.backward(np.float32([1, 1]))
    assert np.array_equal(weight.grad, [1, 10])


def test_the_second_backward_is_an_error_here_too():
    x = Tensor(np.float32([1]), requires_grad=True)
    y = recompute(lambda a, generator: a * a, x)
    y.backward()
    with pytest.raises(RuntimeError, match="'recompute' a second time"):
        y.backward()


def test_a_frozen_part_hands_nothing_on_and_the_rest_learns():
    model = transformer(True)
    for block in model.blocks[:2]:
        block.freeze()
    x = Tensor(np.ones((1, 3, 16), np.float32))
    model(x, generator=np.random.default_rng(0)).sum().backward()
    assert all(p.grad is None for block in model.blocks[:2] for p in block.parameters())
    assert all(p.grad is not None for p in model.blocks[2].parameters())


def test_integers_are_inputs_too():
    weight = Tensor(np.float32([[1, 2], [3, 4]]), requires_grad=True)
    rows = Tensor(np.array([1, 1]))
    recompute(lambda w, i, generator: ops.take(w, i.array), weight, rows).sum().backward()
    assert np.array_equal(weight.grad, [[0, 0], [2, 2]])


def test_the_forward_pass_keeps_no_more_than_it_must_at_any_moment():
    x = Tensor(np.zeros(100_000, np.float32), requires_grad=True)

    def chain(a, generator):
        for _ in range(20):
            a = ops.exp(a) * 0.1
        return a

    recompute(chain, x)  # once, for what is imported or built on first use
    tracemalloc.start()
    recompute(chain, x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * x.array.nbytes

"""What the graph means: who gets which gradient, when, and what is kept in memory."""

import gc
import math
import threading
import time
import tracemalloc
import weakref

import numpy as np
import pytest
import torch

from minissl.autograd import Tensor, no_grad
from minissl.autograd import operations as ops
from minissl.autograd.nodes import Node
from minissl.autograd.recording import is_recording
from minissl.autograd.tensor import differentiable
from tests.autograd.compare import assert_close, random_like


def leaf(*shape, seed=0, dtype=np.float64):
    draw = np.random.default_rng(seed).standard_normal(shape)
    return Tensor(np.asarray(draw).astype(dtype), requires_grad=True)


# ---- adding up ----------------------------------------------------------------------------------


def test_leaves_accumulate_over_losses():
    x = leaf(3)
    (x * 2.0).backward(np.ones(3))
    first = x.grad
    (x * x).backward(np.ones(3))
    assert_close(x.grad, 2 + 2 * x.array)
    assert first.tolist() == [2, 2, 2], "the old gradient is a value: it must not change"
    x.grad = None
    (x * 3.0).backward(np.ones(3))
    assert x.grad.tolist() == [3, 3, 3]


def test_inner_results_keep_no_gradient():
    x = leaf(3)
    y = x * 2.0
    y.sum().backward()
    assert y.grad is None
    assert y.requires_grad


def test_shared_subexpressions():
    x = leaf(4)
    c = random_like(x)
    (x * x + x).backward(c)
    assert_close(x.grad, c * (2 * x.array + 1))

    a, b = leaf(4, seed=1), leaf(4, seed=2)
    shared = a * b
    left, right = ops.tanh(shared), shared * shared
    (left * right + shared).backward(c)
    s = a.array * b.array
    slope = (1 - np.tanh(s) ** 2) * s**2 + np.tanh(s) * 2 * s + 1
    assert_close(a.grad, c * slope * b.array)
    assert_close(b.grad, c * slope * a.array)


def test_a_node_waits_for_all_of_its_uses():
    """y is used early and late: a walk in the wrong order would send half of its gradient."""
    x = leaf()
    y = x * 3.0
    z = y
    for _ in range(5):
        z = z * 1.0 + y
    z.backward()
    assert x.grad == 18.0


def test_a_tensor_used_ten_times():
    x = leaf(3)
    total = x * 1.0
    for factor in range(2, 11):
        total = total + x * float(factor)
    c = random_like(x)
    total.backward(c)
    assert_close(x.grad, 55 * c)
    y = leaf(3)
    ops.concatenate([y] * 10).backward(np.ones(30))
    assert y.grad.tolist() == [10, 10, 10]
    z = leaf(3)
    (z * z).backward(c)
    assert_close(z.grad, 2 * c * z.array)


def test_a_graph_with_exponentially_many_paths_takes_linear_time():
    x = leaf()
    y = x
    for _ in range(60):  # 2⁶⁰ paths from y to x
        y = y + y
    start = time.perf_counter()
    y.backward()
    assert time.perf_counter() - start < 1
    assert x.grad == 2.0**60


def test_an_input_that_needs_no_gradient_costs_and_gets_none():
    calls = []

    @differentiable
    def traced(a, b, /):
        return a + b, (lambda g: calls.append("a") or g, lambda g: calls.append("b") or g)

    x = leaf(2)
    traced(x, Tensor(np.ones(2))).backward(np.ones(2))
    traced(np.ones(2), x).backward(np.ones(2))
    assert calls == ["a", "b"]


def test_backward_on_a_leaf():
    x = leaf(2)
    given = np.array([1.0, 2.0])
    x.backward(given)
    x.backward(given)
    assert x.grad.tolist() == [2.0, 4.0]
    y = leaf(2)
    y.backward(given)
    y.grad[0] = 100
    assert given.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("library", [np.asarray, torch.tensor], ids=["numpy", "torch"])
def test_gradients_of_leaves_share_no_memory(library):
    a, b, c, d = (Tensor(library(np.full((2, 2), 3.0)), requires_grad=True) for _ in range(4))
    seed = library(np.ones((2, 2)))
    (a + b + c.reshape(4).reshape(2, 2) + d.mT).backward(seed)
    for tensor in (a, b, c, d):
        assert (tensor.grad == 1).all(), "an earlier write reached another leaf's gradient"
        tensor.grad[...] = 7.0
    assert (seed == 1).all()
    e, f = (Tensor(library(np.full((2, 2), 3.0)), requires_grad=True) for _ in range(2))
    ((e + f) * 2.0).backward(seed)
    e.grad[...] = 7.0
    assert (f.grad == 2).all()
    e.grad = f.grad = None
    ((e * 2.0).sum() + f.sum() * 2.0).backward()
    e.grad[0, 0] = 5.0
    f.grad[0, 0] = 5.0
    assert e.grad.tolist() == f.grad.tolist() == [[5.0, 2.0], [2.0, 2.0]]
    assert (a.array == 3).all()


# ---- once ---------------------------------------------------------------------------------------


def test_a_second_backward_is_an_error():
    x = leaf(3)
    loss = (x * x).sum()
    loss.backward()
    gradient = x.grad
    with pytest.raises(RuntimeError, match=r"'sum' a second time.*Compute the loss again"):
        loss.backward()
    np.testing.assert_array_equal(x.grad, gradient)


def test_a_second_backward_through_a_shared_part_is_an_error():
    x, w = leaf(3), leaf(3, seed=1)
    shared = x * x
    (shared * 2.0).sum().backward()
    gradient = x.grad
    with pytest.raises(RuntimeError, match="'multiply' a second time"):
        (shared * w).sum().backward()
    np.testing.assert_array_equal(x.grad, gradient)
    assert w.grad is None, "nothing is half added when backward fails"


def test_adding_the_losses_is_what_the_message_advises():
    x = leaf(3)
    shared = x * x
    ((shared * 2.0).sum() + (shared * 3.0).sum()).backward()
    assert_close(x.grad, 10 * x.array)


# ---- what backward refuses ----------------------------------------------------------------------


def test_backward_needs_a_gradient_unless_there_is_one_element():
    x = leaf(2, 3)
    with pytest.raises(ValueError, match=r"one element, this one has shape \(2, 3\)"):
        (x * 2.0).backward()
    (x[0, :1] * 2.0).backward()  # shape (1,) is one element
    assert x.grad[0, 0] == 2


@pytest.mark.parametrize(
    ("gradient", "words"),
    [
        (np.ones(3), r"\(3,\), the tensor \(2, 3\)"),
        (np.ones((3, 2)), r"\(3, 2\), the tensor \(2, 3\)"),
        (1.0, r"\(\), the tensor \(2, 3\)"),
        (np.ones((2, 3), np.float32), "float32.*float64"),
        (np.ones((2, 3), np.int64), "int64.*float64"),
        (torch.ones(2, 3, dtype=torch.float64), "torch cpu.*numpy"),
    ],
)
def test_a_wrong_gradient(gradient, words):
    x = leaf(2, 3)
    with pytest.raises(ValueError, match=words):
        (x * 2.0).backward(gradient)
    assert x.grad is None


def test_backward_without_parameters():
    for tensor in (Tensor([1.0]), Tensor([1.0]) * 2.0, Tensor([1, 2])[0], leaf(1).detach() * 2.0):
        with pytest.raises(RuntimeError, match="requires_grad=True"):
            tensor.backward()


# ---- no_grad and detach -------------------------------------------------------------------------


def test_no_grad():
    x = leaf(3)
    assert is_recording()
    with no_grad():
        assert not is_recording()
        y = x * 2.0
        with no_grad():
            assert (x * 2.0).node is None
        assert (x + y).node is None, "an inner no_grad must not end the outer one"
    assert y.node is None
    assert not y.requires_grad
    assert x.requires_grad
    assert (x * 2.0).requires_grad


def test_no_grad_ends_with_an_exception():
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert is_recording()


def test_no_grad_as_a_decorator():
    @no_grad()
    def evaluate(x):
        return x * 2.0

    assert evaluate(leaf(2)).node is None
    assert evaluate(leaf(2)).node is None
    assert is_recording()


def test_no_grad_belongs_to_its_thread():
    inside, leave = threading.Event(), threading.Event()
    seen = []

    def quiet():
        with no_grad():
            inside.set()
            leave.wait(10)
            seen.append(is_recording())

    thread = threading.Thread(target=quiet)
    thread.start()
    inside.wait(10)
    seen.append(is_recording())
    leave.set()
    thread.join()
    assert seen == [True, False]


def test_detach_stops_the_gradient():
    x = leaf(3)
    y = x * 2.0
    detached = y.detach()
    assert detached.array is y.array
    assert not detached.requires_grad
    (x * detached).backward(np.ones(3))
    assert_close(x.grad, 2 * x.array)


def test_constants_make_no_graph():
    assert (Tensor([1.0]) * 2.0).node is None
    assert (Tensor([1, 2]) + 1).node is None
    assert (leaf(2) > 0.0).node is None


# ---- length and memory --------------------------------------------------------------------------


def chain(x, length):
    for _ in range(length):
        x = x + 1.0
    return x


def test_two_hundred_thousand_operations():
    x = leaf()
    chain(x, 200_000).backward()
    assert x.grad == 1.0


def test_ten_thousand_multiplications():
    x = Tensor(np.float64(1.0001), requires_grad=True)
    y = x
    for _ in range(9_999):
        y = y * x
    y.backward()
    assert_close(x.grad, 10_000 * 1.0001**9_999, bits=16)


def test_dropping_a_long_graph_without_backward():
    y = chain(leaf(), 100_000)
    del y  # recursive deallocation would end the process here
    gc.collect()


def test_results_that_no_rule_needs_are_freed_during_forward():
    """Only exp and multiply need arrays; sums, shapes and views hold none of their inputs."""
    x = leaf(100, 10)
    for function in (
        lambda a: a + 1.0,
        lambda a: -a,
        lambda a: a.sum(axis=0),
        lambda a: a.mean(),
        lambda a: a.reshape(10, 100),
        lambda a: a.mT,
        lambda a: ops.pad(a, ((1, 0), (0, 0))),
        lambda a: ops.concatenate([a, a]),
        lambda a: a[np.array([1, 1])],
        lambda a: ops.take(a, [3, 3]),
        lambda a: ops.take_along_axis(a, np.zeros((100, 1), int)),
        lambda a: ops.cumsum(a, axis=0),
        lambda a: ops.where(x.array > 0, a, 0.0),
        ops.exp,
        ops.softmax,
        lambda a: ops.linear(a, leaf(3, 10).detach()),
    ):
        inner = x * 2.0
        gone = weakref.ref(inner.array)
        y = function(inner)
        if np.shares_memory(y.array, inner.array):
            y = y * 1.0
        del inner
        assert gone() is None, "a rule that does not need its input keeps it alive"
        assert y.node is not None


def test_the_walk_frees_what_it_has_passed():
    alive = []

    @differentiable
    def watched(a, /):
        kept = a.copy()
        mine = weakref.ref(kept)

        def vjp(g):
            alive.append(sum(r() is not None for r in every))
            return g + 0 * kept

        every.append(mine)
        return a + 1.0, (vjp,)

    every: list = []
    x = leaf(10)
    y = x
    for _ in range(6):
        y = watched(y)
    y.backward(np.ones(10))
    del _
    assert alive == [6, 5, 4, 3, 2, 1]
    assert not any(r() is not None for r in every), "a finished graph keeps no arrays"
    assert isinstance(y.node, Node)


def test_the_peak_of_backward_is_a_few_arrays():
    size, length = 100_000, 100  # 0.8 MB each, 80 MB if everything were kept
    x = leaf(size)
    y = chain(x, length)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    y.backward(np.ones(size))
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert peak < 4 * x.array.nbytes


def test_forward_under_no_grad_keeps_nothing():
    size = 100_000
    x = leaf(size)
    tracemalloc.start()
    with no_grad():
        y = x
        for _ in range(50):
            y = ops.tanh(y * 1.01)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * x.array.nbytes


def test_the_running_sum_is_added_in_place_only_on_its_own_arrays():
    """The second use makes a new array, the third adds into it; g itself stays as it was."""
    x = leaf(3)
    kept = []

    @differentiable
    def keep(a, /):
        return a + 0.0, (lambda g: kept.append(g) or g,)

    seed = np.ones(3)
    (keep(x) + keep(x) + keep(x) + x).backward(seed)
    assert x.grad.tolist() == [4, 4, 4]
    assert seed.tolist() == [1, 1, 1]
    assert all(g.tolist() == [1, 1, 1] for g in kept)


def test_wide_contributions_are_cast_and_summed_to_their_leaf():
    """A rule may answer in another dtype or in a broadcast shape: backward puts it right."""

    @differentiable
    def careless(a, /):
        return a * 1, (lambda g: np.ones((5, *g.shape)) * g,)

    x = leaf(2, dtype=np.float32)
    careless(x).backward(np.array([1, 2], np.float32))
    assert x.grad.dtype == np.float32
    assert x.grad.tolist() == [5, 10]


def test_gradient_of_a_deep_network_matches_a_closed_form():
    x = Tensor(np.array([0.3, -0.2]), requires_grad=True)
    y = x
    for _ in range(30):
        y = ops.tanh(y)
    y.backward(np.array([1.0, -2.0]))
    value, slope = x.array, np.ones(2)
    for _ in range(30):
        value = np.tanh(value)
        slope = slope * (1 - value**2)
    assert_close(x.grad, slope * np.array([1.0, -2.0]), bits=8)
    assert math.isfinite(x.grad[0])


def test_leaves_are_ready_as_soon_as_their_last_use_has_been_walked():
    a, b, c = leaf(3), leaf(3, seed=1), leaf(3, seed=2)
    hidden = a * b
    loss = (hidden * c * a).sum()  # c is near the end of the graph, b and the other a are not
    order = []

    def ready(parameter):
        assert parameter.grad is not None
        order.append(id(parameter))
        parameter.grad *= 2  # as an all-reduce would: in place, while the walk goes on

    loss.backward(ready=ready)
    assert order[0] == id(c)
    assert sorted(order) == sorted(map(id, (a, b, c)))
    np.testing.assert_allclose(a.grad, 2 * 2 * a.array * b.array * c.array, rtol=1e-6)
    np.testing.assert_allclose(b.grad, 2 * a.array**2 * c.array, rtol=1e-6)
    np.testing.assert_allclose(c.grad, 2 * a.array**2 * b.array, rtol=1e-6)


def test_what_is_ready_shares_no_memory_with_what_is_still_to_come():
    """c = a + b hands one array to both, and to the part of the graph below."""
    a, b, x = leaf(3), leaf(3, seed=1), leaf(3, seed=2)
    loss = (x * 3.0 + a + b).sum()

    def spoil(parameter):
        parameter.grad[...] = 100.0

    seen = []
    loss.backward(ready=lambda p: (seen.append(p.grad.copy()), spoil(p)))
    assert all(np.array_equal(g, np.ones(3)) or np.array_equal(g, 3 * np.ones(3)) for g in seen)
    assert len(seen) == 3


def test_a_leaf_alone_is_ready_too():
    x = Tensor(np.float32(2.0), requires_grad=True)
    seen = []
    x.backward(ready=seen.append)
    assert seen[0] is x
    assert x.grad == 1


def test_a_leaf_before_a_node_gets_an_array_of_its_own_too():
    """Here the leaf is served first, and the node has yet to be sent the same array."""
    a, b, x = leaf(3), leaf(3, seed=1), leaf(3, seed=2)

    def spoil(parameter):
        seen.append(parameter.grad.copy())
        parameter.grad[...] = 100.0

    seen = []
    ((a + (b + x * 3.0)) * 2.0).backward(np.ones(3), ready=spoil)
    assert [g.tolist() for g in seen] == [[2, 2, 2], [2, 2, 2], [6, 6, 6]]


def test_a_rule_may_hand_out_one_array_twice():
    kept = np.ones(3)

    @differentiable
    def twins(a, b, /):
        return a + b, (lambda g: kept, lambda g: kept)

    @differentiable
    def pair(a, b, /):
        return a + b, lambda g: (both := 2 * g, both)

    for operation in (twins, pair):
        a, b = leaf(3), leaf(3, seed=1)
        operation(a, b).backward(np.ones(3))
        assert a.grad.tolist() == b.grad.tolist()
        assert not np.shares_memory(a.grad, b.grad)


def test_one_array_for_a_node_and_then_a_leaf():
    @differentiable
    def pair(a, b, /):
        return a + b, lambda g: (both := 2 * g, both)

    x, b = leaf(3), leaf(3, seed=1)

    def spoil(parameter):
        seen.append(parameter.grad.copy())
        parameter.grad[...] = 100.0

    seen = []
    pair(x * 3.0, b).backward(np.ones(3), ready=spoil)
    assert [g.tolist() for g in seen] == [[2, 2, 2], [6, 6, 6]]


@pytest.mark.parametrize("library", [np.asarray, torch.tensor], ids=["numpy", "torch"])
def test_no_gradient_repeats_one_place_in_memory(library):
    x = Tensor(library(np.full((2, 2), 3.0)), requires_grad=True)
    x.mean().backward()
    x.grad[0, 0] = 5.0
    assert x.grad.tolist() == [[5, 0.25], [0.25, 0.25]]

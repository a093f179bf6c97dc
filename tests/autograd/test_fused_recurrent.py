"""LSTM and GRU layers against torch, their compositions, and what must hold step by step."""

import warnings

import numpy as np
import pytest
import torch

from minissl.autograd import Tensor, checked, composed, fused, gradcheck, no_grad, threads
from minissl.autograd import operations as ops
from minissl.autograd.fused import recurrent
from minissl.autograd.recompute import recompute
from minissl.autograd.threads import engine_threads
from tests.autograd.compare import ours, random_like
from tests.autograd.fused_cases import all_of_lstm
from tests.autograd.fused_checks import check, draw, runs_on_torch_arrays


def lstm_by_steps(*inputs):
    outputs, c = composed.lstm(*inputs)
    return ops.concatenate([outputs, ops.expand_dims(c, axis=1)], axis=1)


def lstm_in_torch(x, *rest):
    *weights, h, c = rest
    outputs, _, c = torch.lstm(
        x, (h[None], c[None]), weights, True, 1, 0.0, False, False, batch_first=True
    )
    return torch.cat([outputs, c.transpose(0, 1)], 1)


def gru_in_torch(x, *rest):
    *weights, h = rest
    return torch.gru(x, h[None], weights, True, 1, 0.0, False, False, batch_first=True)[0]


KINDS = {  # fused, composed, torch's; gates, arrays of the state
    "lstm": (all_of_lstm, lstm_by_steps, lstm_in_torch, 4, 2),
    "gru": (fused.gru, composed.gru, gru_in_torch, 3, 1),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def both_ways(function, inputs):
    """Output and gradients, for a gradient of the output that is always the same."""
    output = function(*map(Tensor, inputs))
    return ours(function, inputs, random_like(output).astype(output.dtype))


def inputs_of(kind, batch, steps, size, hidden, scale=1.0, seed=0):
    *_, gates, states = KINDS[kind]
    shapes = [(batch, steps, size), (gates * hidden, size), (gates * hidden, hidden)]
    shapes += [(gates * hidden,)] * 2 + [(batch, hidden)] * states
    weights = slice(1, 3)
    arrays = [draw(*shape, seed=seed + i) * scale for i, shape in enumerate(shapes)]
    arrays[weights] = [w / np.sqrt(w.shape[1]) for w in arrays[weights]]
    return arrays


@each_kind
@pytest.mark.parametrize(
    ("batch", "steps", "size", "hidden"),
    [
        (3, 5, 2, 4),
        (1, 1, 1, 1),
        (2, 1, 3, 5),
        (1, 7, 2, 1),
        (33, 3, 3, 7),
        (17, 2, 1, 300),  # pieces of 9 and of 8 examples
        (0, 4, 3, 5),
        (90, 2, 5, 101),  # blocks of 64 columns, the last of which is not full
        (17, 2, 5, 258),  # 32 columns on the way back
    ],
)
def test_equals_torch_and_the_composition(kind, batch, steps, size, hidden):
    fast, by_steps, in_torch, *_ = KINDS[kind]
    inputs = inputs_of(kind, batch, steps, size, hidden)
    if batch:
        check(fast, by_steps, in_torch, inputs, bits=12)
    runs_on_torch_arrays(fast, inputs)
    output, gradients = both_ways(fast, inputs)
    assert output.shape == (batch, steps + (kind == "lstm"), hidden)
    assert [g.shape for g in gradients] == [a.shape for a in inputs]
    if 0 < batch * hidden < 20:
        gradcheck(fast, inputs)


@pytest.mark.parametrize("rows", [1, 11, 16, 40])
@pytest.mark.parametrize("shape", [(256, 1024), (1024, 256), (77, 5), (4000, 1000), (500, 130)])
def test_a_product_in_blocks_is_the_product(rows, shape):
    weight, x = draw(*shape), draw(rows, shape[0], seed=1)
    blocks = recurrent._blocks(weight, rows)
    room, in_blocks = recurrent._room(x, blocks, shape[1])
    np.matmul(x, blocks, out=in_blocks)
    np.testing.assert_allclose(room, x @ weight, rtol=1e-11, atol=1e-11)
    small = rows * shape[0] * blocks.shape[2] <= recurrent.UNPACKED
    assert small or len(blocks) == 1


@pytest.mark.parametrize("hidden", [1, 5, 100, 256, 1000])
def test_every_example_is_in_one_piece(hidden):
    for batch in [*range(70), 241, 4097]:
        pieces: list[slice] = []
        recurrent._share_batch(
            lambda _, piece, to=pieces: to.append(piece), np.empty((batch, hidden))
        )
        assert [i for piece in pieces for i in range(batch)[piece]] == list(range(batch))


# ---- what is not finite, what is saturated ------------------------------------------------------


@each_kind
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("hidden", [3, 130])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_only_one_example_from_one_step_on(kind, value, hidden):
    """Infinity saturates a gate as a large number does; NaN is NaN until the end, and before."""
    fast, by_steps, *_ = KINDS[kind]
    inputs = inputs_of(kind, 40, 6, 2, hidden)
    clean, clean_back = both_ways(fast, inputs)
    inputs[0][5, 3, 1] = value
    output, gradients = both_ways(fast, inputs)
    expected, expected_back = both_ways(by_steps, inputs)
    np.testing.assert_allclose(output, expected, rtol=1e-9, atol=1e-12)
    for mine, theirs in zip(gradients, expected_back, strict=True):
        np.testing.assert_array_equal(np.isfinite(mine), np.isfinite(theirs))
    others = np.arange(40) != 5
    np.testing.assert_array_equal(output[others], clean[others])
    np.testing.assert_array_equal(output[5, :3], clean[5, :3])
    np.testing.assert_array_equal(gradients[0][others], clean_back[0][others])
    assert np.isnan(value) == np.isnan(output[5, 3:]).all()
    assert np.isnan(value) == np.isnan(gradients[0][5, :4]).all()


@each_kind
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1, 20, 80])
def test_saturated_gates_keep_all_their_digits(kind, dtype, scale):
    """Each gate, and each slope, is right relative to itself: at 20 it is some 10⁻⁹, not 0."""
    fast, _, _, gates, _ = KINDS[kind]
    hidden, rng = 5, np.random.default_rng(0)
    inputs = inputs_of(kind, 4, 1, gates * hidden, hidden)
    inputs[0] = rng.choice([-1, 1], inputs[0].shape) * scale * rng.uniform(0.5, 1, inputs[0].shape)
    inputs[1] = np.eye(gates * hidden)
    inputs[2] *= 0
    inputs = [a.astype(dtype) for a in inputs]
    wide = [a.astype(np.longdouble) for a in inputs]
    cotangent = random_like(fast(*map(Tensor, inputs))).astype(dtype)
    output, (back, *_) = ours(fast, inputs, cotangent)
    exact, exact_back = longdouble_step(kind, wide, cotangent.astype(np.longdouble))
    tolerance = {"rtol": 300 * np.finfo(dtype).eps, "atol": 1e-36}
    np.testing.assert_allclose(output.astype(float), exact.astype(float), **tolerance)
    np.testing.assert_allclose(back[:, 0].astype(float), exact_back.astype(float), **tolerance)


@each_kind
def test_gradients_that_fade_end_at_zero_and_not_in_denormal_numbers(kind, monkeypatch):
    """A processor computes with those a hundred times slower; a shut gate leaves many of them."""
    fast = KINDS[kind][0]
    hidden = 8
    inputs = inputs_of(kind, 3, 100, 4, hidden)
    inputs[2] *= 0.1  # each step passes on a small part of the gradient
    inputs[3][hidden : 2 * hidden] = -3  # the forget gate, or the update gate
    inputs = [array.astype(np.float32) for array in inputs]
    cotangent = np.zeros_like(random_like(fast(*map(Tensor, inputs))), dtype=np.float32)
    cotangent[:, -1] = 1
    smallest = np.finfo(np.float32).tiny

    def denormal():
        of_gates = []
        monkeypatch.setattr(recurrent, "product", lambda a, b: of_gates.append(a) or a @ b)
        _, found = ours(fast, inputs, cotangent)
        size = np.abs(of_gates[-1])
        return np.mean((size > 0) & (size < smallest)), found

    share, gradients = denormal()
    assert share == 0
    monkeypatch.setattr(recurrent, "_flush", lambda array: None)
    share, expected = denormal()
    assert share > 0.01  # or this test would show nothing
    for mine, other in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-36)


def longdouble_step(kind, inputs, cotangent):
    """The first step where weight_ih is 1 and weight_hh is 0, and the gradient of its input."""
    x, _, _, b, b_h, h, *c = inputs
    sigmoid = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
    slope = lambda a: sigmoid(a) * sigmoid(-a)  # noqa: E731
    tanh_slope = lambda a: 4 * slope(2 * a)  # noqa: E731
    if kind == "lstm":
        i, f, g, o = np.split(x[:, 0] + b + b_h, 4, axis=1)
        new = sigmoid(f) * c[0] + sigmoid(i) * np.tanh(g)
        dh, dc = cotangent[:, 0], cotangent[:, 1]
        dc = dc + dh * sigmoid(o) * tanh_slope(new)
        gates = [dc * np.tanh(g) * slope(i), dc * c[0] * slope(f)]
        gates += [dc * sigmoid(i) * tanh_slope(g), dh * np.tanh(new) * slope(o)]
        outputs = np.stack([sigmoid(o) * np.tanh(new), new], axis=1)
        return outputs, np.concatenate(gates, axis=1)
    (r, z, n), (r_h, z_h, u) = np.split(x[:, 0] + b, 3, axis=1), np.split(b_h, 3)
    r, z, dh = r + r_h, z + z_h, cotangent[:, 0]
    n = n + sigmoid(r) * u
    dn = dh * sigmoid(-z) * tanh_slope(n)
    gates = [dn * u * slope(r), dh * (h - np.tanh(n)) * slope(z), dn]
    output = sigmoid(-z) * np.tanh(n) + sigmoid(z) * h
    return output[:, None], np.concatenate(gates, axis=1)


@each_kind
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_large_inputs_give_no_warning(kind, dtype):
    fast, *_ = KINDS[kind]
    inputs = [a.astype(dtype) for a in inputs_of(kind, 3, 4, 2, 5)]
    inputs[0] *= dtype(2000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        output, gradients = both_ways(fast, inputs)
    for array in (output, *gradients):
        assert array.dtype == dtype
        assert np.isfinite(array).all()


# ---- how it is used -----------------------------------------------------------------------------


def on_several_threads(kind, size):
    """Output and gradients with 1, 2 and 3 threads, one list of arrays each."""
    fast, *_ = KINDS[kind]
    inputs = [a.astype(np.float32) for a in inputs_of(kind, 70, 5, size, 130)]
    cotangent = random_like(fast(*map(Tensor, inputs))).astype(np.float32)
    for count in (1, 2, 3):
        with engine_threads(count):
            output, gradients = ours(fast, inputs, cotangent)
            yield [output, *gradients]


@each_kind
def test_the_number_of_threads_changes_nothing(kind):
    """The input's product is too small to be shared: all that could differ is the recurrence."""
    gates, size = KINDS[kind][3], 5
    assert 70 * 5 * size * gates * 130 < threads.LARGE_PRODUCT
    first, *others = on_several_threads(kind, size)
    for other in others:
        for i in (0, 6, 7)[: len(first) - 5]:  # what was read, and what reached the first state
            np.testing.assert_array_equal(first[i], other[i])


@each_kind
def test_the_number_of_threads_changes_large_products_by_rounding_only(kind):
    """BLAS may add up in another order at the edges of a part."""
    first, *others = on_several_threads(kind, size=20)
    for other in others:
        for mine, theirs in zip(first, other, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5 * abs(theirs).max())


@each_kind
def test_without_a_graph_checked_recomputed_and_used_twice(kind):
    fast, by_steps, *_ = KINDS[kind]
    inputs = inputs_of(kind, 3, 4, 5, 5)
    expected, _ = both_ways(fast, inputs)
    cotangent = random_like(Tensor(expected))
    with no_grad():
        assert fast(*(Tensor(a, requires_grad=True) for a in inputs)).node is None
        np.testing.assert_array_equal(fast(*map(Tensor, inputs)).array, expected)
    with checked():
        again = ours(fast, inputs, cotangent)
    inside = ours(lambda *t: recompute(lambda *u, generator: fast(*u), *t), inputs, cotangent)
    plain = ours(fast, inputs, cotangent)
    for mine, theirs in zip([again, inside], [plain, plain]):
        np.testing.assert_array_equal(mine[0], theirs[0])
        for a, b in zip(mine[1], theirs[1], strict=True):
            np.testing.assert_array_equal(a, b)

    def twice(function):
        return lambda x, *rest: function(function(x, *rest)[:, :4], *rest)

    found, expected = (both_ways(twice(f), inputs) for f in (fast, by_steps))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-12)
    for a, b in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)


@each_kind
def test_the_weights_gradient_over_many_steps_keeps_its_digits(kind):
    fast, *_ = KINDS[kind]
    inputs = inputs_of(kind, 2, 20_000, 1, 2, scale=0.1)
    inputs[0] = abs(inputs[0])
    narrow = [a.astype(np.float32) for a in inputs]
    wide = [a.astype(np.float64) for a in narrow]
    cotangent = np.full(fast(*map(Tensor, narrow)).shape, 0.1, np.float32)
    _, found = ours(fast, narrow, cotangent)
    _, exact = ours(fast, wide, cotangent.astype(np.float64))
    for a, b in zip(found[1:5], exact[1:5], strict=True):
        assert abs(a - b).max() <= 1e-5 * abs(b).max()


@each_kind
def test_backward_twice_is_an_error(kind):
    fast, *_ = KINDS[kind]
    y = fast(*(Tensor(a, requires_grad=True) for a in inputs_of(kind, 2, 3, 2, 2))).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


WRONG = [  # which input, and its shape
    *[(0, (2, 4)), (0, (2, 0, 4)), (0, (3, 3, 4)), (1, (20, 3)), (2, (5, 5)), (2, ()), (3, (5,))],
    *[(4, (1,)), (5, (1, 5)), (5, (2, 4))],
]


@each_kind
@pytest.mark.parametrize("library", [np.asarray, torch.tensor], ids=["numpy", "torch"])
def test_shapes_that_do_not_fit_are_refused(kind, library):
    function = getattr(fused, kind)
    inputs = [library(a) for a in inputs_of(kind, 2, 3, 4, 5)]
    for i, wrong in WRONG:
        changed = [library(np.zeros(wrong)) if k == i else a for k, a in enumerate(inputs)]
        with pytest.raises(ValueError, match=rf"{kind}: the input has shape .* expected \(batch"):
            function(*changed)
    with pytest.raises(TypeError, match=f"{kind}: expected floating arrays, got int64"):
        function(library(np.zeros((2, 3, 4), np.int64)), *inputs[1:])


@each_kind
@pytest.mark.parametrize("library", [np.asarray, torch.tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dtypes_that_differ_are_refused(kind, library, dtype):
    """Also half precision, which is computed on in float32: it stood beside anything."""
    function = getattr(fused, kind)
    inputs = inputs_of(kind, 2, 3, 4, 5)
    for i in range(len(inputs)):
        for other in {"float16", "float32", "float64"} - {dtype}:
            mixed = [library(a.astype(other if k == i else dtype)) for k, a in enumerate(inputs)]
            with pytest.raises(TypeError, match=f"{kind}: got float.*never promoted silently"):
                function(*map(Tensor, mixed))

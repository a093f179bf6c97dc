"""SGD, AdaGrad, AdamW and clipping against torch, step by step."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minissl.autograd.fused.adamw import adamw_update
from minissl.autograd.fused.chunks import PIECE_BYTES
from minissl.nn.module import Module, Parameter
from minissl.optim import SGD, AdaGrad, AdamW, clip_grad_norm, grad_norm

SHAPES = {"weight": (5, 7), "bias": (7,), "kernel": (3, 2, 2), "scale": (), "empty": (0, 4)}


class Bag(Module):
    """Parameters of the given shapes, as a model."""

    def __init__(self, dtype, seed=0):
        rng = np.random.default_rng(seed)
        for name, shape in SHAPES.items():
            setattr(self, name, Parameter(np.asarray(rng.standard_normal(shape), dtype)))


def compare_with_torch(ours, theirs_of, dtype, rtol, steps=25, skip=lambda name, step: False):
    """Run both on the same gradients, with a learning rate that changes, and compare each step.

    ``ours(model)`` and ``theirs_of(parameters by name)`` make the optimizers. ``skip``: where a
    parameter gets no gradient.
    """
    model = Bag(dtype)
    theirs = {n: torch.nn.Parameter(torch.tensor(p.array)) for n, p in model.named_parameters()}
    optimizer, torch_optimizer = ours(model), theirs_of(theirs)
    base = optimizer.lr
    rng = np.random.default_rng(1)
    for step in range(steps):
        optimizer.lr = base * (1 + step % 3)
        for group in torch_optimizer.param_groups:
            group["lr"] = optimizer.lr
        for name, parameter in model.named_parameters():
            gradient = np.asarray(rng.standard_normal(parameter.shape), dtype)
            if skip(name, step):
                parameter.grad, theirs[name].grad = None, None
            else:
                parameter.grad, theirs[name].grad = gradient, torch.tensor(gradient)
        optimizer.step()
        torch_optimizer.step()
        for name, parameter in model.named_parameters():
            assert parameter.array.dtype == dtype
            expected = theirs[name].detach().numpy()
            assert parameter.array.shape == expected.shape
            np.testing.assert_allclose(
                parameter.array, expected, rtol=rtol, atol=rtol, err_msg=name
            )


DTYPES = pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-12), (np.float32, 3e-6)])


@DTYPES
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": 0.9},
        {"momentum": 0.8, "nesterov": True},
        {"weight_decay": 0.1},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.05},
    ],
    ids=str,
)
def test_sgd_equals_torch(dtype, rtol, options):
    compare_with_torch(
        lambda model: SGD(model.named_parameters(), lr=0.05, **options),
        lambda parameters: torch.optim.SGD(parameters.values(), lr=0.05, **options),
        dtype,
        rtol,
    )


@DTYPES
@pytest.mark.parametrize(("first", "eps"), [(0.0, 1e-10), (1.0, 1e-10), (0.1, 1e-2), (0.5, 0.0)])
def test_adagrad_equals_torch(dtype, rtol, first, eps):
    compare_with_torch(
        lambda model: AdaGrad(model.named_parameters(), lr=0.05, initial_sum=first, eps=eps),
        lambda parameters: torch.optim.Adagrad(
            parameters.values(), lr=0.05, initial_accumulator_value=first, eps=eps
        ),
        dtype,
        rtol,
        skip=lambda name, step: name == "bias" and step < 10,
    )


def test_adagrads_steps_under_a_constant_gradient():
    """s = g² t, so that step t is lr / √t, whatever the size of the gradient."""
    for size in (1e-3, -20.0):
        p = Parameter(np.zeros(2))
        optimizer = AdaGrad([("p", p)], lr=0.5, eps=1e-30)
        for _ in range(9):
            p.grad = np.full(2, size)
            optimizer.step()
        expected = -0.5 * math.copysign(sum(1 / math.sqrt(t) for t in range(1, 10)), size)
        np.testing.assert_allclose(p.array, expected, rtol=1e-12)


@DTYPES
@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize(
    "options", [{}, {"betas": (0.7, 0.95), "eps": 1e-2}, {"betas": (0.0, 0.5)}], ids=str
)
def test_adamw_equals_torch_with_its_decay_groups(dtype, rtol, decay, options):
    def theirs(parameters):
        groups = [
            {"params": [p for p in parameters.values() if p.ndim >= 2], "weight_decay": decay},
            {"params": [p for p in parameters.values() if p.ndim < 2], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=0.01, **options)

    compare_with_torch(
        lambda model: AdamW(model.named_parameters(), lr=0.01, weight_decay=decay, **options),
        theirs,
        dtype,
        rtol,
    )


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_parameter_without_gradient_stays_and_does_not_age(kind):
    make = {
        "sgd": (SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
        "adamw": (AdamW, torch.optim.AdamW, {"lr": 0.1, "weight_decay": 0.1}),
    }[kind]
    extra = {"decay": lambda name, parameter: True} if kind == "adamw" else {}
    compare_with_torch(
        lambda model: make[0](model.named_parameters(), **make[2], **extra),
        lambda parameters: make[1](parameters.values(), **make[2]),
        np.float64,
        1e-12,
        skip=lambda name, step: (
            (name == "weight" and step % 3 == 0)
            or (name == "bias" and step < 10)
            or name == "kernel"
        ),
    )


def test_decay_can_be_chosen_by_name():
    model = Bag(np.float64)
    before = model.state_dict()
    optimizer = AdamW(
        model.named_parameters(), lr=0.5, weight_decay=0.1, decay=lambda name, p: name == "bias"
    )
    for parameter in model.parameters():
        parameter.grad = np.zeros(parameter.shape)
    optimizer.step()
    for name, parameter in model.named_parameters():
        factor = 0.95 if name == "bias" else 1.0
        np.testing.assert_allclose(parameter.array, before[name] * factor, rtol=1e-15)


# ---- the fused update ---------------------------------------------------------------------------


def adamw_by_the_book(p, g, m, v, step, lr, betas, eps, weight_decay):
    """The update in the order of the paper, in float64."""
    p, g, m, v = (np.asarray(a, np.float64) for a in (p, g, m, v))
    m = betas[0] * m + (1 - betas[0]) * g
    v = betas[1] * v + (1 - betas[1]) * g**2
    m_hat, v_hat = m / (1 - betas[0] ** step), v / (1 - betas[1] ** step)
    return p - lr * weight_decay * p - lr * m_hat / (np.sqrt(v_hat) + eps), m, v


def arrays_for_update(shape, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    p, g, m, v = (np.asarray(rng.standard_normal(shape), dtype) for _ in range(4))
    return p, g, m, abs(v)


LINE = PIECE_BYTES // 8  # float64 elements in one piece


@pytest.mark.parametrize(
    "shape", [(), (0,), (1,), (LINE - 1,), (LINE,), (LINE + 1,), (3, LINE // 2 + 5)], ids=str
)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_adamw_update_equals_the_formula_at_every_piece_border(shape, library):
    settings_ = {"step": 7, "lr": 0.03, "betas": (0.8, 0.97), "eps": 1e-3, "weight_decay": 0.2}
    arrays = arrays_for_update(shape)
    expected = adamw_by_the_book(*arrays, **settings_)
    gradient = arrays[1].copy()
    given_ = [np.array(a) if library == "numpy" else torch.tensor(a) for a in arrays]
    adamw_update(*given_, **settings_)
    p, g, m, v = given_
    for result, reference in zip((p, m, v), expected):
        np.testing.assert_allclose(np.asarray(result), reference, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(np.asarray(g), gradient)  # only read


def test_adamw_update_works_on_transposed_strided_and_broadcast_arrays():
    settings_ = {"step": 1, "lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.1}
    p, _, m, v = arrays_for_update((6, 4))
    gradient = np.broadcast_to(np.random.default_rng(5).standard_normal(4), (6, 4))
    expected = adamw_by_the_book(p, gradient, m, v, **settings_)
    transposed = np.asfortranarray(p)
    every_second = np.zeros((12, 4))[::2]
    every_second[...] = m
    adamw_update(transposed, gradient, every_second, v, **settings_)
    for result, reference in zip((transposed, every_second, v), expected):
        np.testing.assert_allclose(result, reference, rtol=1e-12)


def test_adamw_update_is_the_same_bits_every_time():
    settings_ = {"step": 3, "lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.1}
    first, second = (arrays_for_update((300, 513), np.float32) for _ in range(2))
    adamw_update(*first, **settings_)
    adamw_update(*second, **settings_)
    assert [a.tobytes() for a in first] == [a.tobytes() for a in second]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p, g, m, v: (p, g[:2], m, v), r"gradient is float64 \(2, 4\) in numpy"),
        (lambda p, g, m, v: (p, g, m.astype("f"), v), "first moment is float32"),
        (lambda p, g, m, v: (p, g, m, torch.tensor(v)), "second moment .* in torch cpu"),
    ],
)
def test_adamw_update_refuses_arrays_that_do_not_fit(spoil, message):
    arrays = spoil(*arrays_for_update((3, 4)))
    with pytest.raises(ValueError, match=message):
        adamw_update(*arrays, step=1, lr=0.1, betas=(0.9, 0.9), eps=0.1, weight_decay=0.0)


def test_adamw_update_counts_steps_from_one():
    with pytest.raises(ValueError, match="count from 1, got 0"):
        adamw_update(
            *arrays_for_update((3,)), step=0, lr=0.1, betas=(0.9, 0.9), eps=0.1, weight_decay=0.0
        )


# ---- what every optimizer does ------------------------------------------------------------------

MAKERS = {
    "sgd": lambda named: SGD(named, lr=0.1),
    "momentum": lambda named: SGD(named, lr=0.1, momentum=0.9),
    "adagrad": lambda named: AdaGrad(named, lr=0.1, initial_sum=0.5),
    "adamw": lambda named: AdamW(named, lr=0.1),
}
EVERY_OPTIMIZER = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def advance(model, optimizer, seed, steps):
    for step in range(steps):
        rng = np.random.default_rng([seed, step])
        for name, parameter in model.named_parameters():
            gradient = np.asarray(rng.standard_normal(parameter.shape), parameter.dtype)
            parameter.grad = None if name == "kernel" else gradient
        optimizer.step()


@EVERY_OPTIMIZER
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_restored_state_continues_bit_for_bit(make, dtype):
    model = Bag(dtype)
    optimizer = make(model.named_parameters())
    advance(model, optimizer, 0, 5)
    weights, state = model.state_dict(), optimizer.state_dict()
    saved = {name: array.copy() for name, array in state.items()}
    advance(model, optimizer, 1, 5)
    assert all((state[name] == saved[name]).all() for name in saved)  # a copy, not a view

    again = Bag(dtype, seed=9)
    again.load_state_dict(weights)
    restored = make(again.named_parameters())
    restored.load_state_dict(state)
    advance(again, restored, 1, 5)
    for (name, a), b in zip(again.named_parameters(), model.parameters()):
        assert a.array.tobytes() == b.array.tobytes(), name
    assert restored.state_dict().keys() == optimizer.state_dict().keys()
    assert all((state[name] == saved[name]).all() for name in saved)  # loading copied it, too


def test_state_names_and_zero_grad():
    model = Bag(np.float32)
    optimizer = AdamW(model.named_parameters())
    assert optimizer.state_dict() == {}
    advance(model, optimizer, 0, 3)
    trained = [name for name in SHAPES if name != "kernel"]
    expected = {f"{s}/{n}" for s in ("step", "first_moment", "second_moment") for n in trained}
    state = optimizer.state_dict()
    assert state.keys() == expected
    assert {int(state[f"step/{name}"]) for name in trained} == {3}
    optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda s: s | {"third_moment/bias": s["step/bias"]}, KeyError, "unknown.*third_moment"),
        (lambda s: s | {"step/nobody": s["step/bias"]}, KeyError, "unknown.*nobody"),
        (
            lambda s: {n: a for n, a in s.items() if n != "second_moment/bias"},
            KeyError,
            "missing.*second_moment/bias",
        ),
        (
            lambda s: s | {"first_moment/bias": np.zeros(3)},
            ValueError,
            r"'first_moment/bias' has shape \(3,\) in the state, expected \(7,\)",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(spoil, error, message):
    model = Bag(np.float64)
    optimizer = AdamW(model.named_parameters())
    advance(model, optimizer, 0, 2)
    before = optimizer.state_dict()
    with pytest.raises(error, match=message):
        optimizer.load_state_dict(spoil(before))
    after = optimizer.state_dict()
    assert after.keys() == before.keys()
    assert all((after[name] == before[name]).all() for name in before)


def test_state_of_torch_arrays_goes_through_numpy():
    model, twin = Bag(np.float32), Bag(np.float32)
    model.map_arrays(torch.tensor)
    optimizer = AdamW(model.named_parameters())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter.array)
    optimizer.step()
    state = optimizer.state_dict()
    assert all(isinstance(array, np.ndarray) for array in state.values())
    twin.map_arrays(torch.tensor)
    restored = AdamW(twin.named_parameters())
    restored.load_state_dict(state)
    moment = restored.state["first_moment"]["weight"]
    assert isinstance(moment, torch.Tensor)
    assert torch.equal(moment, optimizer.state["first_moment"]["weight"])


@EVERY_OPTIMIZER
def test_tied_parameters_are_stepped_once(make):
    shared = Parameter(np.ones((2, 2)))
    alone = Parameter(np.ones((2, 2)))
    tied = make([("embedding.weight", shared), ("head.weight", shared)])
    single = make([("embedding.weight", alone)])
    assert list(tied.parameters) == ["embedding.weight"]
    for _ in range(3):
        shared.grad, alone.grad = np.full((2, 2), 0.5), np.full((2, 2), 0.5)
        tied.step()
        single.step()
    np.testing.assert_array_equal(shared.array, alone.array)


@pytest.mark.parametrize("lr", [math.nan, math.inf, -0.1])
@EVERY_OPTIMIZER
def test_an_impossible_learning_rate_is_refused_at_the_step(make, lr):
    optimizer = make(Bag(np.float64).named_parameters())
    optimizer.lr = lr
    with pytest.raises(ValueError, match="lr must be a finite number ≥ 0"):
        optimizer.step()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda b: SGD(b.named_parameters(), lr=math.nan), ValueError, "lr must be .* got nan"),
        (lambda b: SGD(b.named_parameters(), lr=1, momentum=1), ValueError, "momentum must be"),
        (lambda b: SGD(b.named_parameters(), lr=1, momentum=-0.1), ValueError, "momentum"),
        (lambda b: SGD(b.named_parameters(), lr=1, nesterov=True), ValueError, "set momentum"),
        (lambda b: SGD(b.named_parameters(), lr=1, weight_decay=-1), ValueError, "weight_decay"),
        (lambda b: AdaGrad(b.named_parameters(), lr=-1), ValueError, "lr must be"),
        (lambda b: AdaGrad(b.named_parameters(), initial_sum=-1), ValueError, "initial_sum must"),
        (lambda b: AdaGrad(b.named_parameters(), eps=math.nan), ValueError, "eps must be"),
        (lambda b: AdaGrad(b.named_parameters(), eps=0), ValueError, "both 0: the first step"),
        (lambda b: AdamW(b.named_parameters(), betas=(0.9, 1)), ValueError, r"betas\[1\].*below 1"),
        (lambda b: AdamW(b.named_parameters(), betas=(-1, 0.9)), ValueError, r"betas\[0\]"),
        (lambda b: AdamW(b.named_parameters(), eps=math.inf), ValueError, "eps must be"),
        (lambda b: AdamW(b.parameters()), TypeError, "pass model.named_parameters"),
        (lambda b: AdamW([]), ValueError, "no parameter to train"),
        (lambda b: AdamW([("x", np.zeros(3))]), TypeError, "'x' is a ndarray"),
        (lambda b: AdamW([("x", b.weight), ("x", b.bias)]), ValueError, "two parameters .* 'x'"),
    ],
)
def test_wrong_settings_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make(Bag(np.float32))


@EVERY_OPTIMIZER
def test_a_numpy_number_as_learning_rate_does_not_widen_float32(make):
    model = Bag(np.float32)
    optimizer = make(model.named_parameters())
    optimizer.lr = np.float64(0.1)
    advance(model, optimizer, 0, 2)
    state = optimizer.state_dict()
    arrays = [p.array for p in model.parameters()]
    arrays += [array for name, array in state.items() if not name.startswith("step/")]
    assert {array.dtype for array in arrays} == {np.dtype(np.float32)}


# ---- clipping -----------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 9999), max_norm=st.floats(1e-3, 1e3), scale=st.floats(1e-3, 1e3))
def test_clipping_equals_torch(seed, max_norm, scale):
    rng = np.random.default_rng(seed)
    shapes = [(4, 5), (3,), (), (0, 2)]
    ours = [Parameter(np.asarray(rng.standard_normal(shape))) for shape in shapes]
    theirs = [torch.nn.Parameter(torch.tensor(p.array)) for p in ours]
    for a, b in zip(ours, theirs):
        a.grad = np.asarray(rng.standard_normal(a.shape) * scale)
        b.grad = torch.tensor(a.grad)
    originals = [(a.grad, a.grad.copy()) for a in ours]
    frozen = Parameter(np.ones(3))
    norm = clip_grad_norm([*ours, frozen], max_norm)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm)
    assert norm == pytest.approx(float(expected), rel=1e-12)
    # torch divides by norm + 1e-6, which is visible for small norms only
    for a, b in zip(ours, theirs):
        assert isinstance(a.grad, np.ndarray)
        assert a.grad.dtype == np.float64
        np.testing.assert_allclose(a.grad, b.grad.numpy(), rtol=2e-6 / min(norm, 1) + 1e-12)
    assert grad_norm(ours) == pytest.approx(min(norm, max_norm), rel=1e-12)
    assert frozen.grad is None
    assert all((array == copy).all() for array, copy in originals)  # values are replaced


def test_clipping_counts_a_tied_parameter_once():
    p = Parameter(np.zeros(2))
    p.grad = np.array([3.0, 4.0])
    assert clip_grad_norm([p, p], 1.0) == 5.0
    np.testing.assert_allclose(p.grad, [0.6, 0.8])


def test_norm_is_summed_in_float64():
    p, q = Parameter(np.zeros(1 << 17, np.float32)), Parameter(np.zeros(2, np.float32))
    p.grad = np.full(1 << 17, 1e-3, np.float32)
    q.grad = np.array([1e25, 0], np.float32)  # its square overflows float32
    exact = math.sqrt((1 << 17) * float(np.float32(1e-3)) ** 2)
    assert grad_norm([p]) == pytest.approx(exact, rel=1e-13)
    assert clip_grad_norm([q], 1.0) == pytest.approx(1e25)
    np.testing.assert_allclose(q.grad, [1, 0])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_norm_that_is_not_finite_is_returned_and_nothing_is_scaled(bad):
    p = Parameter(np.zeros(3))
    p.grad = np.array([1.0, bad, 2.0])
    assert not math.isfinite(clip_grad_norm([p], 0.1))
    np.testing.assert_array_equal(p.grad, [1.0, bad, 2.0])


def test_clipping_torch_arrays():
    p = Parameter(torch.zeros(2))
    p.grad = torch.tensor([3.0, 4.0])
    assert clip_grad_norm([p], 1.0) == pytest.approx(5.0)
    np.testing.assert_allclose(p.grad.numpy(), [0.6, 0.8], rtol=1e-6)


@pytest.mark.parametrize("max_norm", [0, -1.0, math.nan])
def test_an_impossible_max_norm_is_refused(max_norm):
    with pytest.raises(ValueError, match="max_norm must be positive"):
        clip_grad_norm([], max_norm)

"""Layer norm against float64: our reference, torch's autograd and finite differences."""

import numpy as np
import pytest
import torch
from minissl_kernels import layer_norm as module
from minissl_kernels import layer_norm_wide
from minissl_kernels.layer_norm import layer_norm, reference
from torch.nn import functional as F

from tests.kernels.compare import assert_as_accurate, float64

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
NAMES = ("y", "dx", "dw", "db")


def draw(shape, dtype, device, seed=0, shift=0.0):
    """x, weight, bias and a cotangent; no two columns have the same weight or bias."""
    generator = torch.Generator().manual_seed(seed)
    width = shape[-1]
    x = torch.randn(shape, generator=generator) * 2 + shift
    weight = 1 + torch.randn(width, generator=generator) / 2
    bias = torch.randn(width, generator=generator)
    return tuple(
        t.to(device, dtype) for t in (x, weight, bias, torch.randn(shape, generator=generator))
    )


def gradients(function, x, weight, bias, g, **settings):
    """y and the gradients of all that is not None."""
    leaves = [t.detach().requires_grad_() for t in (x, weight, bias) if t is not None]
    arguments = leaves if bias is not None else [*leaves, None]
    y = function(*arguments, **settings)
    return [y.detach(), *torch.autograd.grad(y, leaves, g)]


def by_torch(x, weight, bias, eps=1e-5):
    """torch's layer norm in x's dtype; parameters of another dtype are rounded to it."""
    bias = None if bias is None else bias.to(x.dtype)
    return F.layer_norm(x, x.shape[-1:], weight.to(x.dtype), bias, eps)


def check(x, weight, bias, g, factor=2.0, eps=1e-5):
    ours = gradients(layer_norm, x, weight, bias, g, eps=eps)
    peer = gradients(by_torch, x, weight, bias, g, eps=eps)
    rows = (float64(t).reshape(-1, x.shape[-1]) for t in (x, g))
    x64, g64 = rows
    bias64 = np.zeros(x.shape[-1]) if bias is None else float64(bias)
    exact = reference(x64, float64(weight), bias64, g64, eps)
    for name, mine, theirs, expected in zip(NAMES, ours, peer, exact):
        expected = expected.reshape(mine.shape)
        if name == "dx" and x.shape[-1] == 1:
            assert_nothing_but_rounding(mine, weight, g, eps)
        else:
            assert_as_accurate(mine, expected, theirs, factor, what=name)
    return ours


def assert_nothing_but_rounding(dx, weight, g, eps):
    """Rows of one column: dx = rstd · (g·w − mean(g·w)) is 0, and so is torch's.

    A GPU's fused multiply-add has g·w exactly in the difference and rounded in the mean. What
    remains is that rounding, which rstd = 1/√eps makes 316 times as large: it is small beside
    rstd · |g·w|, of which it is the difference, not beside 0.
    """
    cancelled = np.abs(float64(g) * float64(weight)).max() / np.sqrt(eps)
    assert np.abs(float64(dx)).max() <= torch.finfo(torch.float32).eps * cancelled


def small_blocks(**changes):
    """A configuration of four columns to a block of two rows, and few programs."""

    def configuration(width):
        block = max(4, 1 << (width - 1).bit_length())
        settings = {
            "block": block, "forward_rows": 2, "forward_warps": 1, "backward_rows": 2,
            "backward_warps": 1, "backward_stages": 1, "backward_programs": 1,
        }  # fmt: skip
        return module.Configuration(**{**settings, **changes})

    return configuration


def small_pieces(monkeypatch):
    """Wide rows in pieces of 16 columns."""
    for name, value in {"BLOCK": 16, "SUM_ROWS": 4, "SUM_COLUMNS": 8}.items():
        monkeypatch.setattr(layer_norm_wide, name, value)


# ---- the reference ------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 2, 7, 64])
def test_the_reference_is_torch_in_float64(width):
    x, weight, bias, g = draw((5, width), torch.float64, "cpu")
    exact = gradients(by_torch, x, weight, bias, g)
    for name, mine, theirs in zip(NAMES, reference(x, weight, bias, g), exact):
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=1e-10, atol=1e-12, err_msg=name)


def test_the_reference_by_finite_differences():
    arrays = [t.numpy() for t in draw((4, 6), torch.float64, "cpu")]
    *inputs, g = arrays
    _, *slopes = reference(*inputs, g)
    generator = np.random.default_rng(0)
    for position, slope in enumerate(slopes):
        direction = generator.standard_normal(slope.shape)
        ends = []
        for step in (1e-5, -1e-5):
            moved = list(inputs)
            moved[position] = moved[position] + step * direction
            ends.append((reference(*moved, g)[0] * g).sum())
        numeric = (ends[0] - ends[1]) / 2e-5
        assert abs(numeric - (slope * direction).sum()) < 1e-8 * (1 + abs(numeric))


# ---- right everywhere ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(3, 256), (37, 100), (2, 5, 768), (3, 1024), (2, 4100)], ids=str)
def test_shipped_configurations(device, dtype, shape):
    check(*draw(shape, dtype, device))


@pytest.mark.parametrize("width", [1, 2, 3, 8, 17, 64])
@pytest.mark.parametrize("rows", [1, 2, 13])
def test_ragged_blocks(device, monkeypatch, rows, width):
    monkeypatch.setattr(module, "configuration", small_blocks())
    check(*draw((rows, width), torch.float32, device, seed=rows + width), factor=4)


def test_many_programs_sum_their_shares(device, monkeypatch):
    """On the CPU, 4 programs take 27 rows in turns of 2; their shares are read in steps of 2."""
    monkeypatch.setattr(module, "configuration", small_blocks())
    monkeypatch.setattr(module, "SUM_ROWS", 2)
    check(*draw((27, 33), torch.float32, device))


@pytest.mark.parametrize("widest", [module.WIDEST_IN_REGISTERS, 0], ids=["registers", "wide"])
def test_in_any_order_of_programs(device, monkeypatch, reversed_programs, widest):
    monkeypatch.setattr(module, "configuration", small_blocks())
    monkeypatch.setattr(module, "WIDEST_IN_REGISTERS", widest)
    small_pieces(monkeypatch)
    check(*draw((27, 33), torch.float32, device))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_wide_rows(device, monkeypatch, dtype):
    monkeypatch.setattr(module, "SUM_COLUMNS", 1024)
    check(*draw((2, 8200), dtype, device))


@pytest.mark.parametrize("shape", [(1, 1), (5, 8), (19, 37)], ids=str)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_wide_kernels_in_small_pieces(device, monkeypatch, shape, bias):
    monkeypatch.setattr(module, "WIDEST_IN_REGISTERS", 0)
    small_pieces(monkeypatch)
    x, weight, b, g = draw(shape, torch.float32, device, shift=3.0)
    check(x, weight, b if bias else None, g)
    if shape[1] > 1:
        spread = draw((shape[0], 2 * shape[1]), torch.float32, device)[0][:, : shape[1]]
        check(spread, weight, b, draw((shape[0], shape[1] + 1), x.dtype, device)[3][:, 1:])


def test_without_bias(device):
    x, weight, _, g = draw((7, 48), torch.float32, device)
    assert len(check(x, weight, None, g)) == 3
    assert torch.equal(layer_norm(x, weight), layer_norm(x, weight, torch.zeros(48, device=device)))


@pytest.mark.parametrize("parameters", ["weight", "bias", "both"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_float32_parameters_of_half_precision_rows(device, dtype, parameters):
    x, weight, bias, g = draw((9, 80), torch.float32, device)
    x, g = x.to(dtype), g.to(dtype)
    weight = weight if parameters != "bias" else weight.to(dtype)
    bias = bias if parameters != "weight" else bias.to(dtype)
    ours = gradients(layer_norm, x, weight, bias, g)
    assert [t.dtype for t in ours] == [dtype, dtype, weight.dtype, bias.dtype]
    exact = reference(*(float64(t) for t in (x, weight, bias, g)))
    whole = gradients(by_torch, x.float(), weight.float(), bias.float(), g.float())
    for name, mine, theirs, expected in zip(NAMES, ours, whole, exact):
        assert_as_accurate(mine, expected, theirs.to(mine.dtype), what=name)


# ---- strides ------------------------------------------------------------------------------------


def test_views(device):
    """Row strides, misaligned starts, a transposed input, repeated rows, and such gradients."""
    x, weight, bias, g = draw((6, 4, 37), torch.float32, device)
    wide, _, _, wide_g = draw((6, 4, 80), torch.float32, device, seed=1)
    check(wide[..., 3:40], weight, bias, g)
    check(x, weight, bias, wide_g[..., 5:42])
    check(x.transpose(0, 1), weight, bias, g.transpose(0, 1))
    check(wide[..., 1:75:2], weight, bias, wide_g[..., 1:75:2])
    check(x[:1].expand(6, 4, 37), weight, bias, g)
    flat = draw((1 + 24 * 37,), torch.float32, device)[0]
    check(flat[1:].view(24, 37), weight, bias, g.reshape(24, 37))
    spread = torch.stack([weight, bias], dim=1)
    check(x, spread[:, 0], spread[:, 1], g)


def test_a_constant_gradient_of_one_number(device):
    x, weight, bias, _ = draw((5, 24), torch.float32, device)
    check(x, weight, bias, torch.tensor(0.7, device=device).expand(5, 24))


def test_inputs_are_left_alone(device):
    tensors = draw((5, 40), torch.float32, device)
    before = [t.clone() for t in tensors]
    gradients(layer_norm, *tensors)
    assert all(torch.equal(a, b) for a, b in zip(tensors, before))


def test_one_row_and_one_dimension(device):
    x, weight, bias, g = draw((24,), torch.float32, device)
    check(x, weight, bias, g)


@pytest.mark.parametrize("shape", [(0, 8), (3, 0, 8)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_empty_batch(device, shape, bias):
    x, weight, b, g = draw(shape, torch.float32, device)
    y, dx, *rest = gradients(layer_norm, x, weight, b if bias else None, g)
    assert y.shape == dx.shape == shape
    assert all(torch.equal(t, torch.zeros_like(weight)) for t in rest)
    assert len(rest) == 1 + bias


# ---- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [100, 8200])
def test_a_mean_far_from_zero(device, monkeypatch, width):
    """E[x²] − E[x]² would be wrong in every digit: the squares are 1e8, the variance 4."""
    monkeypatch.setattr(module, "SUM_COLUMNS", 1024)
    x, weight, bias, g = draw((2, width), torch.float32, device, shift=1e4)
    check(x, weight, bias, g)
    ours = layer_norm(x, torch.ones(width, device=device))
    assert abs(ours.std(unbiased=False).item() - 1) < 1e-3


def test_equal_values_and_eps(device):
    """A row without variance is divided by √eps; eps counts where the variance is small."""
    x, weight, bias, g = draw((4, 32), torch.float32, device)
    x[0] = 3.0
    check(x, weight, bias, g, eps=0.5)
    check(x * 1e-3, weight, bias, g, eps=1e-6)
    assert torch.equal(layer_norm(x, weight, bias)[0], bias)


def test_large_and_small_values(device):
    x, weight, bias, g = draw((4, 32), torch.float32, device)
    check(x * 1e15, weight, bias, g)
    check(x, weight * 1e10, bias, g * 1e-10)
    half = draw((4, 32), torch.float16, device)
    check(half[0] * (20000 / half[0].abs().max()), *half[1:])


def test_a_row_with_nan_spoils_no_other(device):
    x, weight, bias, g = draw((6, 24), torch.float32, device)
    expected = gradients(layer_norm, x, weight, bias, g)
    x[2, 3] = float("nan")
    y, dx, *_ = gradients(layer_norm, x, weight, bias, g)
    assert y[2].isnan().all()
    assert dx[2].isnan().all()
    others = [0, 1, 3, 4, 5]
    assert torch.equal(y[others], expected[0][others])
    assert torch.equal(dx[others], expected[1][others])


# ---- autograd, operators, compilation -----------------------------------------------------------


def test_the_same_bits_again_and_backward_twice(device):
    x, weight, bias, g = draw((150, 256), torch.float32, device)
    first = gradients(layer_norm, x, weight, bias, g)
    for mine, again in zip(first, gradients(layer_norm, x, weight, bias, g)):
        assert torch.equal(mine, again)
    leaves = [t.requires_grad_() for t in (x, weight, bias)]
    y = layer_norm(*leaves)
    once = torch.autograd.grad(y, leaves, g, retain_graph=True)
    twice = torch.autograd.grad(y, leaves, g)
    for mine, again, expected in zip(once, twice, first[1:]):
        assert torch.equal(mine, again)
        assert torch.equal(mine, expected)


def test_only_some_gradients_are_asked_for(device):
    x, weight, bias, g = draw((5, 24), torch.float32, device)
    _, dx, _, db = gradients(layer_norm, x, weight, bias, g)
    x.requires_grad_()
    assert torch.equal(torch.autograd.grad(layer_norm(x, weight, bias), x, g)[0], dx)
    x = x.detach()
    bias.requires_grad_()
    assert torch.equal(torch.autograd.grad(layer_norm(x, weight, bias), bias, g)[0], db)
    assert not layer_norm(x, weight, bias.detach()).requires_grad


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.filterwarnings("ignore:The CUDA Graph is empty")
def test_opcheck(device, bias):
    x, weight, b, _ = draw((6, 24), torch.float32, device)
    leaves = [t.requires_grad_() for t in (x, weight, b)]
    arguments = (*leaves[:2], leaves[2] if bias else None, 1e-5)
    operator = torch.ops.minissl.layer_norm.default
    torch.library.opcheck(operator, arguments)
    assert [output.requires_grad for output in operator(*arguments)] == [True, False]


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_compiled_as_one_graph_with_the_same_bits(device, bias):
    x, weight, b, g = draw((6, 24), torch.float32, device)
    b = b if bias else None
    expected = gradients(layer_norm, x, weight, b, g)
    compiled = torch.compile(layer_norm, fullgraph=True, backend="aot_eager")
    for mine, other in zip(expected, gradients(compiled, x, weight, b, g)):
        assert torch.equal(mine, other)


def test_a_tracer_sees_one_operator(device):
    from torch.fx.experimental.proxy_tensor import make_fx

    x, weight, bias, _ = draw((6, 24), torch.float32, device)
    graph = make_fx(lambda *tensors: layer_norm(*tensors))(x, weight, bias)
    called = [node.target for node in graph.graph.nodes if node.op == "call_function"]
    assert torch.ops.minissl.layer_norm.default in called
    assert torch.equal(graph(x + 1, weight, bias), layer_norm(x + 1, weight, bias))


def test_under_a_fake_mode_nothing_runs():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        device = "cuda" if not module.launch.interpreted() else "cpu"
        x = torch.empty(4, 24, device=device, dtype=torch.bfloat16)
        y = layer_norm(x, torch.empty(24, device=device), None)
    assert y.shape == (4, 24)
    assert y.dtype == torch.bfloat16


# ---- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": torch.zeros(())}, ValueError, r"x must have shape \(..., width\)"),
        ({"x": torch.zeros(3, 0)}, ValueError, "width at least 1"),
        ({"x": torch.zeros(3, 8, dtype=torch.float64)}, TypeError, "got torch.float64"),
        ({"x": torch.zeros(3, 8, dtype=torch.int64)}, TypeError, "got torch.int64"),
        ({"weight": torch.ones(7)}, ValueError, r"weight must have shape \(width,\) = \(8,\)"),
        ({"weight": torch.ones(1, 8)}, ValueError, r"got \(1, 8\)"),
        ({"bias": torch.ones(9)}, ValueError, "bias must have shape"),
        ({"weight": torch.ones(8).half()}, TypeError, "weight must be torch.float32"),
        ({"bias": torch.ones(8).bfloat16()}, TypeError, r"convert with .to\(dtype\)"),
        ({"eps": -1.0}, ValueError, "eps must be at least 0"),
        ({"eps": float("nan")}, ValueError, "eps must be at least 0"),
    ],
)
def test_errors(device, change, error, message):
    good = {"x": torch.zeros(3, 8), "weight": torch.ones(8), "bias": torch.ones(8)}
    arguments = {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in {**good, **change}.items()
    }
    with pytest.raises(error, match=message):
        layer_norm(**arguments)


def test_devices(device, monkeypatch):
    x, weight = torch.zeros(3, 8, device=device), torch.ones(8, device="meta")
    with pytest.raises(RuntimeError, match="one device"):
        layer_norm(x, weight)
    with pytest.raises(RuntimeError, match="do not run on device 'meta'"):
        layer_norm(x.to("meta"), weight)
    monkeypatch.setattr(module.launch, "interpreted", lambda: False)
    with pytest.raises(RuntimeError, match="TRITON_INTERPRET=1"):
        layer_norm(torch.zeros(3, 8), torch.ones(8))


# ---- sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", module.CANDIDATES, ids=str)
@pytest.mark.parametrize("width", [1, 2, 255, 256, 768, 1024, 4096, 8192])
def test_configurations_hold_whole_rows_in_their_registers(choice, width):
    c = module.configuration(width, choice)
    assert width <= c.block < 2 * width
    for rows, warps, per_thread in (
        (c.forward_rows, c.forward_warps, 64),
        (c.backward_rows, c.backward_warps, 32),
    ):
        assert rows in (1, 2, 4, 8, 16, 32, 64)
        assert warps in (1, 2, 4, 8, 16)
        assert rows * c.block <= warps * 32 * per_thread
    assert 32 * c.backward_warps * c.backward_programs <= 2048  # threads of a multiprocessor


@pytest.mark.parametrize("shape", [(16384, 256), (8191, 1000), (4096, 4096), (70, 65536)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_large(gpu_only, shape, dtype):
    check(*draw(shape, dtype, gpu_only))


def test_offsets_beyond_31_bits(gpu_only):
    x = torch.zeros(2**20 + 3, 2304, dtype=torch.float16, device=gpu_only)
    tail = torch.randn(3, 2304, device=gpu_only).half()
    x[-3:] = tail
    weight, bias = torch.ones(2304, device=gpu_only), torch.zeros(2304, device=gpu_only)
    assert torch.equal(layer_norm(x, weight, bias)[-3:], layer_norm(tail, weight, bias))

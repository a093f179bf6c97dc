"""Linear + cross-entropy against its NumPy reference, torch's composition and torch's own."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from minissl_kernels import linear_cross_entropy as module
from minissl_kernels.linear_cross_entropy import linear_cross_entropy, reference
from torch.utils._python_dispatch import TorchDispatchMode

from tests.kernels import sanitizer
from tests.kernels.compare import assert_as_accurate, float64
from tests.kernels.cross_entropy_cases import draw, draw_targets, small_tiles, torchs

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
DEFAULTS = {"ignore_index": -100, "label_smoothing": 0.0, "z_loss": 0.0}
SETTINGS = {
    "plain": {},
    "ignored": {"ignore_index": 7},
    "everything": {"ignore_index": 7, "label_smoothing": 0.2, "z_loss": 0.01},
}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Several chunks of rows and tiles of logits."""
    small_tiles(monkeypatch, repeat=2, lanes=8, vector=2)
    monkeypatch.setattr(module, "CHUNK", 4)


def drawn(rows=10, classes=37, width=40, dtype=torch.float32, device="cpu", ignore_index=None):
    x = draw(rows, width, scale=1.0, dtype=dtype, device=device)
    weight = draw(classes, width, seed=4, scale=0.3, dtype=dtype, device=device)
    return x, weight, draw_targets(rows, classes, ignore_index, device=device)


def results(function, x, weight, upstream):
    """Loss and both gradients."""
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    loss = function(x, weight)
    gradients = torch.autograd.grad(loss, (x, weight), upstream.to(loss.dtype).expand(loss.shape))
    return loss.detach(), *gradients


def by_torch(x, weight, targets, upstream, **settings):
    """The composition in float64, on the tensors' device: NumPy takes a minute for many classes."""
    wide = [t.double() for t in (x, weight, upstream)]
    found = results(lambda a, b: torchs(F.linear(a, b), targets, None, **settings), *wide)
    return [float64(t) for t in found]


def by_numpy(x, weight, targets, upstream, **settings):
    arrays = [float64(x), float64(weight), targets.cpu().numpy()]
    return reference(*arrays, upstream=float64(upstream), **settings)


def check(x, weight, targets, reduction="none", exact=by_numpy, **settings):
    """As accurate as torch's float32 loss of logits in the same dtype."""
    settings = {**DEFAULTS, **settings, "reduction": reduction}
    upstream = draw(len(x) if reduction == "none" else 1, seed=9, device=x.device)
    upstream = upstream if reduction == "none" else upstream[0]
    ours = results(
        lambda a, b: linear_cross_entropy(a, b, targets, **settings), x, weight, upstream
    )
    peers = results(
        lambda a, b: torchs(F.linear(a, b).float(), targets, None, **settings), x, weight, upstream
    )
    trues = exact(x, weight, targets, upstream, **settings)
    for our, true, peer, what in zip(ours, trues, peers, ("loss", "input", "weight")):
        assert_as_accurate(our, np.asarray(true), peer, what=what)
    return ours


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_the_reference_against_torch(setting, reduction):
    settings = {**DEFAULTS, **SETTINGS[setting], "reduction": reduction}
    x, weight, targets = drawn(dtype=torch.float64, ignore_index=settings["ignore_index"])
    upstream = draw(10 if reduction == "none" else 1, seed=9, dtype=torch.float64)
    upstream = upstream if reduction == "none" else upstream[0]
    torch_results = results(
        lambda a, b: torchs(F.linear(a, b), targets, None, **settings), x, weight, upstream
    )
    exact = reference(
        float64(x), float64(weight), targets.numpy(), upstream=upstream.numpy(), **settings
    )
    for ours, peer in zip(exact, torch_results, strict=True):
        np.testing.assert_allclose(ours, float64(peer), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_settings(device, setting, reduction):
    settings = SETTINGS[setting]
    inputs = drawn(device=device, ignore_index=settings.get("ignore_index"))
    check(*inputs, reduction, **settings)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_dtypes(device, dtype, reduction):
    check(*drawn(dtype=dtype, device=device, ignore_index=-100), reduction, label_smoothing=0.1)


@pytest.mark.parametrize("rows", [1, 4, 5])
@pytest.mark.parametrize(("classes", "width"), [(1, 1), (2, 3), (16, 32), (17, 33), (40, 70)])
def test_ragged_sizes(device, rows, classes, width):
    check(*drawn(rows, classes, width, device=device), "mean" if rows == 4 else "none")


def test_shipped_tiles(device, monkeypatch):
    monkeypatch.undo()
    assert module.CHUNK >= 1024
    monkeypatch.setattr(module, "CHUNK", 16)
    check(*drawn(19, 150, 300, torch.bfloat16, device, ignore_index=-100), "mean")


def test_the_two_oracles_agree():
    """Where rows are many, torch's float64 stands for NumPy's."""
    inputs = *drawn(6, ignore_index=-100), draw(6, seed=9)
    settings = {**DEFAULTS, "label_smoothing": 0.1, "z_loss": 1e-2, "reduction": "none"}
    for a, b in zip(by_numpy(*inputs, **settings), by_torch(*inputs, **settings), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_large_on_the_gpu(gpu_only, monkeypatch):
    monkeypatch.undo()
    for dtype in DTYPES:
        for classes, width in ((3000, 768), (50_257, 256)):
            inputs = drawn(4100, classes, width, dtype, gpu_only, ignore_index=-100)
            check(*inputs, "mean", by_torch, label_smoothing=0.1)
            check(*inputs, "none", by_torch, z_loss=1e-4)


@pytest.mark.parametrize("shape", [(3, 40), (16, 32), (1, 1)])
@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_product_that_adds_up(device, shape, add, dtype):
    """Alone, with rows of every matrix apart: what stands between them must stay."""
    m, n = shape
    left, right = (draw(20, s + 3, seed=s, dtype=dtype, device=device)[:, 1 : s + 1] for s in shape)
    around = draw(m, n + 5, seed=2, device=device)
    before = around.clone()
    out = around[:, 2 : n + 2]
    expected = float64(left).T @ float64(right) + add * float64(out)
    peer = left.float().T @ right.float() + add * out
    module.add_transposed_product(left, right, out, add)
    assert_as_accurate(out, expected, peer)
    assert torch.equal(around[:, :2], before[:, :2])
    assert torch.equal(around[:, n + 2 :], before[:, n + 2 :])


def test_the_sum_over_chunks_keeps_its_digits(device):
    """The same row in 32 chunks: a sum in bfloat16 stops at 256 x its smallest addend."""
    row = draw(1, 16, scale=1.0, dtype=torch.bfloat16, device=device)
    x, weight = row.repeat(128, 1), draw(8, 16, seed=4, scale=0.3, device=device).bfloat16()
    targets = torch.full((128,), 3, device=device)
    one = torch.ones((), device=device)
    _, _, ours = results(
        lambda a, b: linear_cross_entropy(a, b, targets, reduction="sum"), x, weight, one
    )
    summed = torch.zeros_like(weight)
    for chunk in x.split(module.CHUNK):
        _, _, part = results(
            lambda a, b: F.cross_entropy(F.linear(a, b).float(), targets[:4], reduction="sum"),
            chunk, weight, one,
        )  # fmt: skip
        summed += part
    _, _, exact = reference(float64(x), float64(weight), targets.cpu().numpy(), reduction="sum")
    error, bfloat16_error = (np.abs(float64(g) - exact).max() for g in (ours, summed))
    assert error < bfloat16_error / 3


def test_torchs_own(device):
    peer = getattr(F, "linear_cross_entropy", None)
    if peer is None:
        pytest.skip("torch has linear_cross_entropy from 2.13 on")
    x, weight, targets = drawn(device=device, ignore_index=-100)
    one = torch.ones((), device=device)
    ours = results(lambda a, b: linear_cross_entropy(a, b, targets), x, weight, one)
    theirs = results(lambda a, b: peer(a, b, targets), x, weight, one)
    for our, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, other, rtol=1e-5, atol=1e-6)


def test_float16_does_not_underflow_in_a_mean(device):
    """The divisor is applied after the products: a mean over many rows keeps small gradients."""
    x, weight, targets = drawn(8, 33, 16, torch.float16, device)
    upstream = torch.tensor(2.0**-8, device=device)  # below: gradients near 1e-6
    ours = results(lambda a, b: linear_cross_entropy(a, b, targets), x, weight, upstream)
    exact = reference(
        float64(x), float64(weight), targets.cpu().numpy(), upstream=float64(upstream)
    )
    smallest = 2.0**-24  # of float16
    for our, true in zip(ours[1:], exact[1:], strict=True):
        assert np.abs(float64(our) - true).max() < smallest + 2e-3 * np.abs(true).max()


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_only_one_gradient_or_none(device, reduction):
    x, weight, targets = drawn(device=device)
    upstream = draw(10 if reduction == "none" else 1, seed=9, device=device)
    upstream = upstream if reduction == "none" else upstream[0]

    def loss(a, b):
        return linear_cross_entropy(a, b, targets, reduction=reduction)

    expected, *gradients = results(loss, x, weight, upstream)
    for wanted in (0, 1):
        leaves = [x.clone(), weight.clone()]
        leaves[wanted].requires_grad_()
        value = loss(*leaves)
        (gradient,) = torch.autograd.grad(value, leaves[wanted], upstream)
        assert torch.equal(value, expected)
        assert torch.equal(gradient, gradients[wanted])
    assert torch.equal(loss(x, weight), expected)
    with torch.no_grad():
        silent = loss(x.clone().requires_grad_(), weight.clone().requires_grad_())
    assert not silent.requires_grad
    assert torch.equal(silent, expected)


class LargestTensor(TorchDispatchMode):
    """The most bytes of a tensor that any operation made."""

    bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.bytes = max(self.bytes, tensor.untyped_storage().nbytes())
        return out


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_the_logits_are_never_stored_whole(device, reduction):
    classes, width = 64, 16
    largest = {}
    for rows in (8, 32):
        x, weight, targets = drawn(rows, classes, width, device=device)
        arguments = (x, weight, targets, -100, 0.0, 0.0)
        with LargestTensor() as seen:  # inside the operators, where a mode does not look by itself
            outputs = module._linear_cross_entropy.function(*arguments, reduction, True, True)
            if reduction == "none":
                upstream = torch.ones(rows, device=device)
                module._linear_cross_entropy_backward.function(
                    x, weight, targets, outputs[1], upstream, *arguments[3:], True, True
                )
        largest[rows] = seen.bytes
    assert largest[8] == largest[32] == 4 * classes * width  # the weight's gradient
    assert largest[8] > 4 * module.CHUNK * classes


def test_memory_on_the_gpu(gpu_only, monkeypatch):
    """Twice the rows take the memory of twice the inputs, not of twice the logits."""
    monkeypatch.undo()
    peaks = []
    for rows in (8192, 16_384):
        x, weight, targets = drawn(rows, 32_000, 256, torch.bfloat16, gpu_only)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        results(lambda a, b, t=targets: linear_cross_entropy(a, b, t), x, weight,
                torch.ones((), device=gpu_only))  # fmt: skip
        peaks.append(torch.cuda.max_memory_allocated() - before)
    assert peaks[1] - peaks[0] < 8192 * 256 * 2 * 6


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_all_ignored_and_empty(device, reduction):
    for rows in (0, 6):
        x, weight, _ = drawn(rows, device=device)
        targets = torch.full((rows,), -100, device=device)
        loss, *gradients = results(
            lambda a, b, t=targets: linear_cross_entropy(a, b, t, reduction=reduction),
            x, weight, torch.ones((), device=device),
        )  # fmt: skip
        assert loss.shape == ((rows,) if reduction == "none" else ())
        assert (loss == 0).all()
        assert [g.shape for g in gradients] == [x.shape, weight.shape]
        assert all((g == 0).all() for g in gradients)


def test_any_strides_and_leading_axes(device):
    x, weight, targets = drawn(6, device=device)
    upstream = draw(6, seed=9, device=device)
    expected = results(
        lambda a, b: linear_cross_entropy(a, b, targets, reduction="none"), x, weight, upstream
    )
    for change in (
        lambda t: t.repeat_interleave(2, 0)[::2],
        lambda t: t.repeat_interleave(2, 1)[:, ::2],
        lambda t: t.t().contiguous().t(),
        lambda t: torch.cat([t.new_zeros(1), t.flatten()])[1:].view_as(t),
    ):
        actual = results(
            lambda a, b: linear_cross_entropy(
                a.unflatten(0, (2, 3)), b, targets.view(2, 3).int(), reduction="none"
            ).flatten(),
            change(x), change(weight), upstream,
        )  # fmt: skip
        for ours, other in zip(actual, expected, strict=True):
            torch.testing.assert_close(ours, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_the_same_bits_twice_and_in_any_order_of_programs(device, reduction):
    runs = []
    for reverse in (False, False, True):
        x, weight, targets = drawn(dtype=torch.bfloat16, device=device)
        leaves = (x.requires_grad_(), weight.requires_grad_())
        with sanitizer.sanitize(reverse=reverse):
            loss = linear_cross_entropy(*leaves, targets, reduction=reduction)
            upstream = torch.full_like(loss, 3.0)
            first = torch.autograd.grad(loss, leaves, upstream, retain_graph=True)
            second = torch.autograd.grad(loss, leaves, upstream)
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
        runs.append((loss.detach(), *first))
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(run, runs[0], strict=True))


def test_an_ignore_index_beyond_the_targets_dtype(device):
    """It must not become the target of rows that are not there, and count in the mean."""
    x, weight, targets = drawn(device=device)
    given = {"targets": targets.int(), "ignore_index": 2**40}
    assert torch.equal(
        linear_cross_entropy(x, weight, **given), linear_cross_entropy(x, weight, targets)
    )


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_opcheck(device, reduction):
    x, weight, targets = drawn(5, device=device)
    arguments = (x.requires_grad_(), weight.requires_grad_(), targets, -100, 0.1, 0.01)
    operator = torch.ops.minissl.linear_cross_entropy.default
    torch.library.opcheck(operator, (*arguments, reduction, True, True))


def test_opcheck_of_the_backward(device):
    x, weight, targets = drawn(5, device=device)
    statistics = torch.ones(5, 4, device=device)
    arguments = (x, weight, targets, statistics, torch.ones(5, device=device), -100, 0.1, 0.01)
    operator = torch.ops.minissl.linear_cross_entropy_backward.default
    torch.library.opcheck(operator, (*arguments, True, True))
    scalars = (torch.tensor(3.0, device=device), torch.tensor(2.0, device=device))
    operator = torch.ops.minissl.scaled_gradient.default
    torch.library.opcheck(operator, (weight, *scalars, torch.bfloat16))


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_compile(device, reduction):
    x, weight, targets = drawn(device=device)

    def loss(a, b):
        return linear_cross_entropy(a * 2.0, b, targets, reduction=reduction) * 3.0

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    one = torch.ones((), device=device)
    for ours, other in zip(
        results(compiled, x, weight, one), results(loss, x, weight, one), strict=True
    ):
        assert torch.equal(ours, other)


ERRORS = {
    "two dtypes": ({"weight": torch.zeros(5, 4).half()}, TypeError, "weight torch.float16"),
    "float64": (
        {"input": torch.zeros(3, 4).double(), "weight": torch.zeros(5, 4).double()},
        TypeError, "float32, float16 or bfloat16",
    ),
    "width 0": ({"input": torch.zeros(3, 0)}, ValueError, "width 1 or more"),
    "a number": ({"input": torch.zeros(())}, ValueError, "width 1 or more"),
    "another width": ({"weight": torch.zeros(5, 3)}, ValueError, r"\(classes, width\)"),
    "no classes": ({"weight": torch.zeros(0, 4)}, ValueError, r"\(classes, width\)"),
    "a vector as weight": ({"weight": torch.zeros(4)}, ValueError, r"\(classes, width\)"),
    "probabilities": ({"targets": torch.zeros(3, 5)}, TypeError, "int64 or int32"),
    "targets of another shape": ({"targets": torch.zeros(4).long()}, ValueError, r"\(3,\)"),
    "smoothing": ({"label_smoothing": 1.5}, ValueError, "label_smoothing"),
    "reduction": ({"reduction": "average"}, ValueError, "'average'"),
    "target out of range": ({"targets": torch.tensor([0, 5, 1])}, IndexError, "target 5 is not"),
    "two devices": ({"weight": torch.zeros(5, 4, device="meta")}, RuntimeError, "one device"),
}  # fmt: skip


@pytest.mark.parametrize("error", ERRORS)
def test_errors(error):
    changed, kind, message = ERRORS[error]
    arguments = {
        "input": torch.zeros(3, 4),
        "weight": torch.zeros(5, 4),
        "targets": torch.zeros(3, dtype=torch.int64),
    }
    with pytest.raises(kind, match=message):
        linear_cross_entropy(**(arguments | changed))

"""Cross-entropy against its NumPy reference, and that against torch in float64."""

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from minissl_kernels.cross_entropy import cross_entropy, labels, reference, tiles
from minissl_kernels.cross_entropy import reduction as reducing

from tests.kernels import sanitizer
from tests.kernels.compare import assert_same_sums, float64
from tests.kernels.cross_entropy_cases import (
    by_numpy,
    by_torch,
    check,
    draw,
    draw_probabilities,
    draw_targets,
    far_apart_rows,
    small_tiles,
    torchs,
)

# NumPy warns in the interpreter where the kernel means it: ln 0 with one class, 1e38 · log2(e).
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
WEIGHT = np.random.default_rng(5).uniform(0.2, 2.0, 37).astype(np.float32)
SETTINGS = {
    "plain": {},
    "ignored": {"ignore_index": 7},
    "smoothing": {"label_smoothing": 0.1},
    "all smoothing": {"label_smoothing": 1.0},
    "z-loss": {"z_loss": 0.03},
    "weight": {"weight": True},
    "everything": {"weight": True, "label_smoothing": 0.2, "z_loss": 0.01, "ignore_index": 7},
}


def drawn(setting, soft, device="cpu", rows=5, classes=37):
    settings = dict(SETTINGS[setting])
    if "weight" in settings:
        settings["weight"] = torch.tensor(WEIGHT[:classes], device=device)
    if soft:
        return draw_probabilities(rows, classes, device=device), settings
    return draw_targets(rows, classes, settings.get("ignore_index"), device=device), settings


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("setting", SETTINGS)
def test_the_reference_against_torch_and_finite_differences(setting, soft, reduction):
    targets, settings = drawn(setting, soft)
    logits = draw(5, 37, dtype=torch.float64).requires_grad_()
    upstream = draw(5 if reduction == "none" else 1, seed=3, dtype=torch.float64)
    upstream = upstream if reduction == "none" else upstream[0]
    peer_settings = {"weight": None, "ignore_index": -100, "label_smoothing": 0.0, "z_loss": 0.0}
    loss = torchs(logits, targets, reduction=reduction, **(peer_settings | settings))
    (gradient,) = torch.autograd.grad(loss, logits, upstream)

    def exact(values):
        weight = None if "weight" not in settings else settings["weight"].numpy()
        return reference(
            values,
            targets.numpy(),
            **(settings | {"weight": weight}),
            reduction=reduction,
            upstream=upstream.numpy(),
        )

    ours, our_gradient = exact(float64(logits))
    np.testing.assert_allclose(ours, float64(loss), rtol=1e-12)
    np.testing.assert_allclose(our_gradient, float64(gradient), rtol=1e-9, atol=1e-14)

    direction = float64(draw(5, 37, seed=4, dtype=torch.float64))
    step = 1e-5
    ahead, behind = (exact(float64(logits) + s * direction)[0] for s in (step, -step))
    slope = ((ahead - behind) * upstream.numpy()).sum() / (2 * step)
    np.testing.assert_allclose((our_gradient * direction).sum(), slope, rtol=1e-7)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_in_small_tiles(device, monkeypatch, setting, soft):
    small_tiles(monkeypatch)
    targets, settings = drawn(setting, soft, device)
    check(draw(5, 37, device=device), targets, **settings)
    check(draw(5, 37, device=device), targets, "mean", **settings)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtypes_in_small_tiles(device, monkeypatch, dtype, soft):
    small_tiles(monkeypatch)
    for setting, reduction in (("plain", "sum"), ("everything", "none")):
        targets, settings = drawn(setting, soft, device)
        if soft:
            targets = targets.to(torch.bfloat16)
        check(draw(5, 37, dtype=dtype, device=device), targets, reduction, **settings)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("classes", [1, 2, 15, 16, 17, 33])
@pytest.mark.parametrize("rows", [1, 3])
def test_ragged_sizes(device, monkeypatch, rows, classes, soft):
    small_tiles(monkeypatch)
    targets = (
        draw_probabilities(rows, classes, device=device)
        if soft
        else draw_targets(rows, classes, device=device)
    )
    check(draw(rows, classes, device=device), targets, label_smoothing=0.1)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_shipped_tiles(device, dtype):
    logits, targets = draw(3, 9001, dtype=dtype, device=device), draw_targets(3, 9001, -100)
    check(logits, targets.to(device), label_smoothing=0.1, z_loss=1e-3)
    check(logits, draw_probabilities(3, 9001, dtype, device))


def test_the_largest_vocabulary(device):
    logits = draw(2, 262_144, dtype=torch.bfloat16, device=device)
    check(logits, torch.tensor([262_143, 4096], device=device))


def test_the_two_oracles_agree():
    """Where rows are long, torch's float64 stands for NumPy's."""
    inputs = draw(3, 50), draw_targets(3, 50, -100), draw(3, seed=9)
    settings = {"ignore_index": -100, "label_smoothing": 0.1, "z_loss": 1e-2, "weight": None}
    for a, b in zip(*(f(*inputs, **settings, reduction="none") for f in (by_numpy, by_torch))):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


def test_large_on_the_gpu(gpu_only):
    for classes in (32_000, 50_257, 128_256):
        for dtype in DTYPES:
            logits = draw(64, classes, dtype=dtype, device=gpu_only)
            targets = draw_targets(64, classes, -100, device=gpu_only)
            check(logits, targets, "mean", by_torch)
            check(logits, targets, "none", by_torch, label_smoothing=0.1, z_loss=1e-4)


def test_tiles_read_whole_vectors_and_fit_the_row():
    for itemsize in (2, 4):
        for classes in (1, 10, 1000, 4096, 32_000, 262_144):
            cut = tiles.configuration(classes, itemsize)
            assert cut["VECTOR"] * itemsize == 16
            assert cut["LANES"] == 32 * cut["num_warps"]
            block = cut["REPEAT"] * cut["LANES"] * cut["VECTOR"]
            assert block // 2 < max(classes, 32 * cut["VECTOR"])
            assert tiles.flat_configuration(classes, itemsize)[0] == block


EXTREMES = {
    "all below -104": lambda x: x - 250.0,
    "all far below": lambda x: x - 1e4,
    "large offset": lambda x: x + 1e4,
    "one huge logit": lambda x: x.index_fill(1, torch.tensor([20], device=x.device), 1e4),
    "the largest bfloat16": lambda x: x.index_fill(1, torch.tensor([20], device=x.device), 3.39e38),
    "the lowest bfloat16": lambda x: x.index_fill(1, torch.tensor([21], device=x.device), -3.39e38),
    "all equal": lambda x: torch.zeros_like(x),
    "impossible classes": lambda x: x.index_fill(
        1, torch.tensor([1, 20, 36], device=x.device), float("-inf")
    ),
    "only one class possible": lambda x: torch.full_like(x, float("-inf")).index_fill(
        1, torch.tensor([5], device=x.device), 2.0
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("extreme", EXTREMES)
def test_extreme_logits(device, monkeypatch, extreme, dtype):
    small_tiles(monkeypatch)
    logits = EXTREMES[extreme](draw(3, 37, device=device)).to(dtype)
    check(logits, torch.tensor([5, 5, 5], device=device))
    probabilities = torch.zeros(3, 37, device=device)
    probabilities[:, 5], probabilities[0, 10] = 0.6, 0.2 if extreme[0] != "o" else 0.0
    check(logits, probabilities)
    if extreme not in ("impossible classes", "only one class possible", "one huge logit"):
        check(logits, torch.tensor([20, 30, 5], device=device))
        if "bfloat16" not in extreme:
            check(logits, torch.tensor([20, 30, 5], device=device), label_smoothing=0.1)
            check(logits, probabilities, label_smoothing=0.1, z_loss=0.0)


def test_one_huge_logit_that_is_the_target(device, monkeypatch):
    small_tiles(monkeypatch)
    for huge in (1e4, 3.39e38):
        logits = draw(1, 37, device=device, dtype=torch.bfloat16)
        logits[0, 20] = huge
        loss, gradient = check(logits, torch.tensor([20], device=device))
        assert loss == 0
        assert (gradient == 0).all()


def test_an_impossible_target_has_an_infinite_loss_and_a_finite_gradient(device, monkeypatch):
    small_tiles(monkeypatch)
    logits = draw(2, 37, device=device)
    logits[0, 4] = float("-inf")
    logits.requires_grad_()
    targets = torch.tensor([4, 5], device=device)
    for smoothing in (0.0, 0.1):
        loss = cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)
        assert torch.isposinf(loss).tolist() == [True, False]
        (gradient,) = torch.autograd.grad(loss.sum(), logits)
        assert torch.isfinite(gradient).all()
        assert gradient[0, 4].item() == pytest.approx(-(1 - smoothing + smoothing / 37))


def test_nan_logits_give_a_nan_loss(device):
    logits = draw(2, 37, device=device)
    logits[0, 30] = float("nan")
    loss = cross_entropy(logits, torch.tensor([4, 5], device=device), reduction="none")
    assert torch.isnan(loss).tolist() == [True, False]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_confident_rows_keep_their_digits(device, monkeypatch, dtype):
    """softmax − 1 would be 0 or noise here: the gradient of the target is as small as its loss."""
    small_tiles(monkeypatch)
    logits = draw(5, 37, device=device, scale=0.5).to(dtype)
    logits[:, 20] = torch.tensor([4.0, 8.0, 12.0, 20.0, 40.0], device=device)
    leaf = logits.clone().requires_grad_()
    loss = cross_entropy(leaf, torch.full((5,), 20, device=device), reduction="none")
    upstream = torch.tensor([1.0, -3e2, 7e3, 1e7, 2e9], device=device)  # within float16
    (gradient,) = torch.autograd.grad(loss, leaf, upstream)
    others = float64(logits)
    others[:, 20] = -np.inf
    odds = np.exp(others - float64(logits)[:, 20:21]).sum(1)
    rounding = torch.finfo(torch.float32).eps * 40  # of an exponent of 40
    np.testing.assert_allclose(float64(loss), np.log1p(odds), rtol=rounding)
    expected = -odds / (1 + odds) * float64(upstream)
    tiny = {torch.float16: 6e-8}.get(dtype, 0)
    tolerance = max(torch.finfo(dtype).eps, rounding)
    np.testing.assert_allclose(float64(gradient)[:, 20], expected, rtol=tolerance, atol=tiny)


def test_ignored_rows_are_not_read(device, monkeypatch):
    small_tiles(monkeypatch)
    for ignore_index in (-100, 0, 36, 2**40):
        logits = draw(4, 37, device=device)
        logits[1], logits[3] = float("nan"), float("inf")
        targets = torch.tensor([2, ignore_index, 5, ignore_index], device=device)
        leaf = logits.clone().requires_grad_()
        settings = {"ignore_index": ignore_index, "label_smoothing": 0.1, "z_loss": 0.1}
        loss = cross_entropy(leaf, targets, **settings)
        (gradient,) = torch.autograd.grad(loss, leaf)
        kept = logits[::2].clone().requires_grad_()
        expected = cross_entropy(kept, targets[::2], **settings)
        (expected_gradient,) = torch.autograd.grad(expected, kept)
        # row 2 of the one and row 1 of the other begin elsewhere in a vector
        assert_same_sums(loss, expected)
        assert_same_sums(gradient[::2], expected_gradient)
        assert (gradient[1::2] == 0).all()


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_all_ignored_is_zero_with_zero_gradient(device, reduction):
    logits = draw(3, 37, device=device).requires_grad_()
    targets = torch.full((3,), -100, device=device)
    weight = torch.ones(37, device=device)
    for settings in ({}, {"weight": weight, "label_smoothing": 0.1, "z_loss": 0.1}):
        loss = cross_entropy(logits, targets, reduction=reduction, **settings)
        (gradient,) = torch.autograd.grad(loss, logits, torch.ones_like(loss))
        assert (loss == 0).all()
        assert (gradient == 0).all()


@pytest.mark.parametrize("shape", [(0, 37), (2, 0, 37), (0, 1)])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_empty_batch(device, shape, reduction):
    for soft in (False, True):
        logits = torch.zeros(shape, device=device, requires_grad=True)
        targets = torch.zeros(shape if soft else shape[:-1], device=device)
        targets = targets if soft else targets.long()
        loss = cross_entropy(logits, targets, reduction=reduction)
        assert loss.shape == (shape[:-1] if reduction == "none" else ())
        (gradient,) = torch.autograd.grad(loss, logits, torch.ones_like(loss))
        assert gradient.shape == shape
        assert reduction == "none" or loss == 0


def test_any_leading_axes_and_int32_targets(device, monkeypatch):
    small_tiles(monkeypatch)
    logits, targets = draw(6, 37, device=device), draw_targets(6, 37, -100, device=device)
    flat = cross_entropy(logits, targets, reduction="none")
    cube = cross_entropy(logits.view(2, 3, 37), targets.view(2, 3).int(), reduction="none")
    assert torch.equal(cube, flat.view(2, 3))
    one = cross_entropy(logits[0], targets[0])
    assert one.shape == ()
    assert one == flat[0]
    soft = draw_probabilities(6, 37, device=device)
    flat = cross_entropy(logits, soft, reduction="none")
    assert torch.equal(
        cross_entropy(logits.view(2, 3, 37), soft.view(2, 3, 37), reduction="none"),
        flat.view(2, 3),
    )


STRIDES = {
    "every second row": lambda x: x.repeat_interleave(2, 0)[::2],
    "longer rows": lambda x: torch.cat([x, torch.full_like(x, torch.nan)], 1)[:, : x.shape[1]],
    "columns": lambda x: x.t().contiguous().t(),
    "every second column": lambda x: x.repeat_interleave(2, 1)[:, ::2],
    "misaligned": lambda x: torch.cat([x.new_zeros(1), x.flatten()])[1:].view_as(x),
    "swapped axes": lambda x: x.view(2, 3, -1).transpose(0, 1).contiguous().transpose(0, 1),
}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("strides", STRIDES)
def test_any_strides(device, monkeypatch, strides, overwrite):
    small_tiles(monkeypatch)
    upstream = draw(6, seed=3, device=device)
    for dtype, soft in ((torch.bfloat16, False), (torch.float32, True)):
        logits = draw(6, 37, dtype=dtype, device=device)
        targets = draw_targets(6, 37, -100, device=device)
        targets = draw_probabilities(6, 37, device=device) if soft else targets
        expected = cross_entropy(leaf := logits.clone().requires_grad_(), targets,
                                 reduction="none")  # fmt: skip
        (expected_gradient,) = torch.autograd.grad(expected, leaf, upstream)
        strided = STRIDES[strides](logits)
        if soft:
            strided_targets = STRIDES[strides](targets)
        else:
            strided_targets = targets.repeat_interleave(2)[::2]
        shape = strided.shape[:-1]
        strided_targets = strided_targets.reshape(strided.shape if soft else shape)
        leaf = strided.requires_grad_()
        loss = cross_entropy(leaf.view_as(leaf), strided_targets, reduction="none",
                             overwrite_logits=overwrite)  # fmt: skip
        (gradient,) = torch.autograd.grad(loss, leaf, upstream.view(shape))
        assert_same_sums(loss.flatten(), expected)
        assert_same_sums(gradient.reshape(6, 37), expected_gradient)


def test_rows_that_share_memory(device):
    row = draw(37, device=device)
    targets = torch.arange(4, device=device)
    expanded = row.clone().requires_grad_()
    for overwrite in (False, True):
        loss = cross_entropy(expanded.expand(4, 37), targets, overwrite_logits=overwrite)
        (gradient,) = torch.autograd.grad(loss, expanded)
        repeated = row.clone().requires_grad_()
        expected = cross_entropy(repeated.repeat(4, 1), targets)
        (expected_gradient,) = torch.autograd.grad(expected, repeated)
        assert_same_sums(loss, expected)
        assert_same_sums(gradient, expected_gradient)
        assert torch.equal(expanded, row)


@pytest.mark.parametrize("row_stride", [2**30 + 64, 2**31 + 64])
def test_offsets_beyond_32_bits(device, row_stride):
    """Three rows, of which the last begins beyond what 32 bits can count."""
    logits = far_apart_rows(3, 50, row_stride, device=device)
    values = draw(3, 50, dtype=torch.bfloat16, device=device)
    targets = draw_targets(3, 50, device=device)
    for kind in (targets, draw_probabilities(3, 50, device=device)):
        logits.copy_(values)
        leaf = logits.detach().requires_grad_()
        loss = cross_entropy(leaf.view_as(leaf), kind, overwrite_logits=True)
        loss.backward()
        expected = cross_entropy(values.requires_grad_(), kind)
        (gradient,) = torch.autograd.grad(expected, values)
        values = values.detach()
        assert_same_sums(loss, expected)
        assert_same_sums(logits, gradient)
        assert leaf.grad.stride() == (row_stride, 1) or torch.equal(leaf.grad, logits)


@pytest.mark.parametrize("soft", [False, True])
def test_the_same_bits_twice_and_in_any_order_of_programs(device, monkeypatch, soft):
    small_tiles(monkeypatch)
    targets, settings = drawn("everything", soft, device)
    results = []
    for reverse in (False, False, True):
        logits = draw(5, 37, device=device).requires_grad_()
        with sanitizer.sanitize(reverse=reverse):
            loss = cross_entropy(logits, targets, **settings)
            first = torch.autograd.grad(loss, logits, torch.tensor(3.0).to(device), True)[0]
            second = torch.autograd.grad(loss, logits, torch.tensor(3.0).to(device))[0]
        assert torch.equal(first, second)
        results.append((loss.detach(), first))
    for loss, gradient in results[1:]:
        assert torch.equal(loss, results[0][0])
        assert torch.equal(gradient, results[0][1])


@pytest.mark.parametrize("soft", [False, True])
def test_the_gradient_over_the_logits(device, monkeypatch, soft):
    small_tiles(monkeypatch)
    targets, settings = drawn("everything", soft, device)
    leaf = draw(5, 37, device=device).requires_grad_()
    (expected,) = torch.autograd.grad(cross_entropy(leaf, targets, **settings), leaf)
    logits = leaf * 1.0
    loss = cross_entropy(logits, targets, overwrite_logits=True, **settings)
    assert torch.equal(logits, leaf)  # the forward leaves them alone
    loss.backward(retain_graph=True)
    assert torch.equal(leaf.grad, expected)
    assert torch.equal(logits.detach(), expected)
    with pytest.raises(RuntimeError, match="wrote the gradient over the logits"):
        loss.backward()
    again = cross_entropy(leaf * 1.0, targets, overwrite_logits=True, **settings)
    assert again == loss


def test_an_operation_that_needs_the_lost_logits_says_so(device):
    leaf = draw(5, 37, device=device).requires_grad_()
    capped = torch.tanh(leaf)  # its backward reads its output
    loss = cross_entropy(capped, draw_targets(5, 37, device=device), overwrite_logits=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_no_gradient_no_overwriting(device):
    logits = draw(5, 37, device=device)
    before = logits.clone()
    targets = draw_targets(5, 37, device=device)
    assert not cross_entropy(logits, targets, overwrite_logits=True).requires_grad
    with torch.no_grad():
        cross_entropy(logits.requires_grad_() * 1.0, targets, overwrite_logits=True)
    assert torch.equal(logits.detach(), before)


def test_a_target_out_of_range_reads_nothing_and_is_reported(device):
    """On a GPU nobody has looked before the kernels run: they must not, and say so afterwards."""
    logits, weight = draw(4, 37, device=device), torch.ones(37, device=device)
    losses, row_weights = torch.empty(2, 4, device=device)
    settings = (-100, 0.1, 0.0, losses, row_weights, torch.empty(4, 4, device=device))
    for wrong, right in ((37, 36), (-1, 0), (2**32, -100)):
        for last, expected in ((wrong, False), (right, True)):
            targets = torch.tensor([3, 36, -100, last], device=device)
            labels.forward(logits, targets, weight, *settings)
            loss, divisor = torch.empty(2, device=device)
            valid = torch.empty((), dtype=torch.bool, device=device)
            reducing._reduce_kernel[(1,)](
                losses, None, targets, loss, divisor, valid, 4, 37, -100, MEAN=True, BLOCK=8
            )
            assert valid.item() is expected


@pytest.mark.parametrize("rows", [0, 1, 4096, 4097, 13_000])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_of_a_batch_of_many_blocks(device, rows, weighted):
    """Also of negative weights, as in torch: only a sum of 0 is no divisor."""
    losses, targets = torch.rand(rows, device=device), torch.arange(rows, device=device) % 7
    weights = -torch.rand(rows, device=device) if weighted else None
    for how in ("mean", "sum"):
        loss, divisor = reducing.reduce("test", losses, weights, targets, 7, 3, how)
        right = weights.double().sum() if weighted else (targets != 3).sum().double()
        total = losses.double().sum()
        expected = total if how == "sum" else total / right if rows else torch.zeros(())
        torch.testing.assert_close(divisor.double(), right, rtol=1e-6, atol=0)
        torch.testing.assert_close(loss.double(), expected.double(), rtol=1e-6, atol=0)


def test_which_rows_begin_with_a_vector():
    """An error here would cost time, or on a GPU an illegal access, which is not seen otherwise."""
    numbers = torch.zeros(99)
    even, odd, late = (numbers[at:].as_strided((3, 5), (step, 1)) for at, step in
                       ((0, 8), (0, 9), (1, 8)))  # fmt: skip
    assert [tiles.aligned(rows) for rows in (even, odd, late)] == [True, False, False]
    assert tiles.in_step(odd, odd[:, 4:])
    assert not tiles.in_step(even, odd)
    assert not tiles.in_step(even, late)


@triton.jit
def _before_kernel(numbers, out):
    tl.store(out + tl.program_id(0), tiles.before(numbers + tl.program_id(0)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_vector_before_a_row(device, dtype):
    """On a GPU a vector that is not where the compiler was told is an illegal access."""
    numbers = torch.zeros(20, dtype=dtype, device=device)
    found = torch.zeros(20, dtype=torch.int32, device=device)
    _before_kernel[(20,)](numbers, found)
    expected = [numbers[i:].data_ptr() % 16 // numbers.element_size() for i in range(20)]
    assert found.tolist() == expected


def operator_arguments(device, soft, reduction="mean"):
    targets, settings = drawn("everything", soft, device)
    logits = draw(5, 37, device=device).requires_grad_()
    weight, smoothing, z = (settings[k] for k in ("weight", "label_smoothing", "z_loss"))
    return logits, targets, weight, -100, smoothing, z, reduction, False


@pytest.mark.parametrize(("soft", "reduction"), [(False, "none"), (False, "mean"), (True, "sum")])
def test_opcheck(device, soft, reduction):
    arguments = operator_arguments(device, soft, reduction)
    if not soft:
        arguments[1][1] = 3
    torch.library.opcheck(torch.ops.minissl.cross_entropy.default, arguments)


def test_opcheck_of_the_backward(device):
    logits, targets, weight, *settings, _ = operator_arguments(device, False)
    targets[1] = 3
    loss, statistics, divisor = torch.ops.minissl.cross_entropy(
        logits.detach(), targets, weight, *settings, False
    )
    arguments = (logits.detach(), targets, weight, statistics, divisor, loss * 2, *settings)
    torch.library.opcheck(torch.ops.minissl.cross_entropy_backward.default, arguments)
    torch.library.opcheck(torch.ops.minissl.cross_entropy_backward_.default, arguments)


@pytest.mark.parametrize("overwrite", [False, True])
def test_compile(device, overwrite):
    targets, settings = drawn("everything", False, device)
    leaf = draw(5, 37, device=device).requires_grad_()

    def loss(x):
        return cross_entropy(x * 2.0, targets, overwrite_logits=overwrite, **settings) * 3.0

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")(leaf)
    (compiled_gradient,) = torch.autograd.grad(compiled, leaf)
    expected = loss(leaf)
    (gradient,) = torch.autograd.grad(expected, leaf)
    assert torch.equal(compiled, expected)
    assert torch.equal(compiled_gradient, gradient)


ERRORS = {
    "logits of float64": ({"logits": torch.zeros(3, 5, dtype=torch.float64)}, TypeError, "float16"),
    "logits of integers": ({"logits": torch.zeros(3, 5, dtype=torch.int64)}, TypeError, "float16"),
    "no classes": ({"logits": torch.zeros(3, 0)}, ValueError, "at least one class"),
    "a number as logits": ({"logits": torch.zeros(())}, ValueError, "at least one class"),
    "targets of another shape": ({"targets": torch.zeros(4).long()}, ValueError, r"\(3,\)"),
    "targets of uint8": ({"targets": torch.zeros(3, dtype=torch.uint8)}, TypeError, "int64"),
    "targets of booleans": ({"targets": torch.zeros(3) > 0}, TypeError, "int64"),
    "probabilities of another shape": ({"targets": torch.zeros(3)}, ValueError, r"\(3, 5\)"),
    "probabilities of float64": (
        {"targets": torch.zeros(3, 5, dtype=torch.float64)}, TypeError, "float16",
    ),
    "probabilities with a gradient": (
        {"targets": torch.zeros(3, 5, requires_grad=True)}, ValueError, "detach",
    ),
    "weight of another shape": ({"weight": torch.ones(4)}, ValueError, r"\(5,\)"),
    "weight of float16": ({"weight": torch.ones(5).half()}, TypeError, "float32"),
    "weight with a gradient": ({"weight": torch.ones(5, requires_grad=True)}, ValueError, "detach"),
    "negative smoothing": ({"label_smoothing": -0.1}, ValueError, "label_smoothing"),
    "smoothing beyond 1": ({"label_smoothing": 1.1}, ValueError, "label_smoothing"),
    "smoothing of NaN": ({"label_smoothing": float("nan")}, ValueError, "label_smoothing"),
    "unknown reduction": ({"reduction": "average"}, ValueError, "'average'"),
    "target too large": ({"targets": torch.tensor([0, 5, 1])}, IndexError, "target 5 is not in"),
    "target negative": ({"targets": torch.tensor([0, -1, 1])}, IndexError, "target -1 is not in"),
    "target far too large": ({"targets": torch.tensor([0, 2**32, 1])}, IndexError, "4294967296"),
    "a leaf to overwrite": (
        {"logits": torch.zeros(3, 5, requires_grad=True), "overwrite_logits": True},
        ValueError, "leaf",
    ),
    "two devices": ({"targets": torch.zeros(3, device="meta").long()}, RuntimeError, "one device"),
}  # fmt: skip


@pytest.mark.parametrize("error", ERRORS)
def test_errors(error):
    changed, kind, message = ERRORS[error]
    arguments = {"logits": torch.zeros(3, 5), "targets": torch.zeros(3, dtype=torch.int64)}
    arguments |= changed
    with pytest.raises(kind, match=message):
        cross_entropy(arguments.pop("logits"), arguments.pop("targets"), **arguments)


def test_a_device_without_kernels_is_named():
    with pytest.raises(RuntimeError, match=r"device 'meta'.*TRITON_INTERPRET=1"):
        cross_entropy(
            torch.zeros(3, 5, device="meta"), torch.zeros(3, device="meta", dtype=torch.int64)
        )

"""Tests of the tests: mistakes planted in the kernels themselves must not go unnoticed.

A copy of the package is made under another name, one line of it changed, and a small check run.
Most of these mistakes would pass on a lucky GPU, or with tensors of a lucky size.
"""

import importlib
import itertools

import pytest
import torch
from minissl_kernels.launch import interpreted

from tests.kernels.child import ROOT
from tests.kernels.compare import assert_as_accurate
from tests.kernels.sanitizer import KernelBug

pytestmark = pytest.mark.skipif(not interpreted(), reason="the sanitizer watches the interpreter")

PACKAGE = ROOT / "kernels" / "minissl_kernels"
numbers = itertools.count()


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A function that gives a module of a copy in which ``old`` has become ``new``."""

    def change(file, old, new, module):
        name = f"planted_{next(numbers)}"  # torch.library keeps what it has seen: never the same
        for source in PACKAGE.rglob("*.py"):
            text = source.read_text(encoding="utf-8")
            if source == PACKAGE / file:
                assert text.count(old) == 1, f"{file} no longer has one '{old}': plant another bug"
                text = text.replace(old, new)
            text = text.replace("minissl_kernels", name).replace('"minissl::', f'"{name}::')
            text = text.replace("torch.ops.minissl.", f"torch.ops.{name}.")
            copy = tmp_path / name / source.relative_to(PACKAGE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(text, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        return importlib.import_module(f"{name}.{module}")

    return change


def compare(function, peer, inputs):
    """The result and every gradient, for a random cotangent, in a view with gaps between rows."""
    torch.manual_seed(0)
    results = {}
    for key, f, dtype in (("ours", function, None), ("peer", peer, None), ("right", peer, "64")):
        leaves = [x.detach().to(torch.float64 if dtype else x.dtype) for x in inputs]
        leaves = [x.requires_grad_() for x in leaves]
        room = torch.nn.functional.pad(leaves[0], (0, 3))  # rows with gaps between them
        result = f(room[..., :-3], *leaves[1:])
        generator = torch.Generator().manual_seed(1)
        cotangent = torch.randn(result.shape, generator=generator).to(result.dtype)
        results[key] = [result, *torch.autograd.grad(result, leaves, cotangent)]
    for i, (ours, usual, right) in enumerate(zip(*(results[k] for k in ("ours", "peer", "right")))):
        assert_as_accurate(ours, right.detach().numpy(), usual, factor=4, what=f"result {i}")


def check_layer_norm(module):
    """So many rows that each program of the backward takes several blocks of them."""
    inputs = [torch.randn(530, 37) * 2 + 1, torch.randn(37), torch.randn(37)]
    peer = lambda x, w, b: torch.nn.functional.layer_norm(x, (37,), w, b)  # noqa: E731
    compare(module.layer_norm, peer, inputs)


LAYER_NORM = {
    "dropped mask": ("result.to(y.dtype.element_ty), mask=inside", "result.to(y.dtype.element_ty)"),
    "wrong stride": ("value = tl.load(x + row[:, None] * x_stride + column[None, :], mask=inside, "
                     "other=0.0)\n    value", "value = tl.load(x + row[:, None] * WIDTH "
                     "+ column[None, :], mask=inside, other=0.0)\n    value"),
    "race": ("share = shares + program * WIDTH + column", "share = shares + column"),
    "missing other": ("* WIDTH + column[None, :], mask=inside, other=0.0)",
                      "* WIDTH + column[None, :], mask=inside)"),
    "missing term": (" - normalized * along[:, None]", ""),
    "overwritten sum": ("dw += gradient * normalized", "dw = gradient * normalized"),
    "padding counted": ("centred = tl.where(inside, value - average[:, None], 0.0)",
                        "centred = value - average[:, None]"),
}  # fmt: skip
FOUND_BY = {
    "wrong stride": (KernelBug, "loads from 'x' out of bounds"),
    "dropped mask": (KernelBug, "stores different values to one address of 'y'"),
    "race": (KernelBug, "stores to 'shares', which program"),
    "missing other": (AssertionError, "NaN or infinity"),
}
INACCURATE = (AssertionError, r"result \d: error .*, allowed")


@pytest.mark.parametrize("bug", LAYER_NORM)
def test_layer_norm(planted, bug):
    module = planted("layer_norm.py", *LAYER_NORM[bug], "layer_norm")
    error, message = FOUND_BY.get(bug, INACCURATE)
    with pytest.raises(error, match=message):
        check_layer_norm(module)


def check_cross_entropy(module, classes=9001):
    """Logits that grow along the row, so that the running maximum rises from tile to tile.

    With the three numbers between rows, 9001 classes are aligned in float32, 9002 are not.
    """
    logits = torch.randn(3, classes) + torch.linspace(0, 9, classes)
    logits[0, 0] += 12  # a confident row, whose target is the first of a tile
    targets = torch.tensor([0, classes - 1, 4321])
    function = lambda x: module.cross_entropy(x, targets, reduction="none")  # noqa: E731
    peer = lambda x: torch.nn.functional.cross_entropy(x, targets, reduction="none")  # noqa: E731
    compare(function, peer, [logits])


CROSS_ENTROPY = {
    "missing rescale": ("tiles.py", "total * tl.exp(largest - new) + ", "total + "),
    "dropped mask": ("tiles.py", "values, mask=(at >= 0) & (at < end))", "values)"),
    "wrong stride": ("labels.py", "logits += row * logits_stride\n    gradient",
                     "logits += row * classes\n    gradient"),
    "wrong other": ("tiles.py", "row + at, mask=at < end, other=float(\"-inf\")",
                    "row + at, mask=at < end, other=0.0"),
    "the row before": ("tiles.py", "mask=(at >= 0) & (at < end), other", "mask=at < end, other"),
    "a tile too few": ("labels.py", "classes + vector - 1", "classes"),
    "wrong other, odd rows": ("tiles.py", "(at >= 0) & (at < end), other=float(\"-inf\")",
                              "(at >= 0) & (at < end), other=0.0"),
    "wrong vector": ("tiles.py", "% 16 // size)", "// size % 2)"),
    "race": ("labels.py", "statistics += row * 4\n    tl.store(statistics, top)",
             "tl.store(statistics, top)"),
    "target missed": ("labels.py", "(target >= start) & ", "(target > start) & "),
}  # fmt: skip


@pytest.mark.parametrize("bug", CROSS_ENTROPY)
def test_cross_entropy(planted, bug):
    file, old, new = CROSS_ENTROPY[bug]
    module = planted(f"cross_entropy/{file}", old, new, "cross_entropy")
    found = {
        "dropped mask": (KernelBug, "stores to 'gradient' out of bounds"),
        "race": (KernelBug, "stores to 'statistics', which program"),
        "wrong stride": (KernelBug, "loads from 'logits' out of bounds"),
        "the row before": (KernelBug, "loads from 'logits' out of bounds"),
        "a tile too few": (AssertionError, "ours is not finite|NaN or infinity"),  # never written
        "wrong vector": (KernelBug, "is a multiple of 16"),
    }
    error, message = found.get(bug, INACCURATE)
    odd = {"the row before": 9002, "wrong other, odd rows": 9002, "wrong vector": 9002}
    classes = {**odd, "a tile too few": 5120}.get(bug, 9001)
    with pytest.raises(error, match=message):
        check_cross_entropy(module, classes)


def check_contrastive(module):
    """More keys than a tile, each row's similarities larger towards the end."""
    query, key = torch.randn(2, 300, 20)
    key = key + query.mean(0) * torch.linspace(0, 9, 300)[:, None]
    peer = lambda q, k: torch.nn.functional.cross_entropy(  # noqa: E731
        q @ k.T / 0.7, torch.arange(300), reduction="none"
    )
    settings = {"temperature": 0.7, "normalize": False, "reduction": "none"}
    ours = lambda q, k: module.info_nce(q, k, **settings)  # noqa: E731
    compare(ours, peer, [query, key])


CONTRASTIVE = {
    "missing rescale": ("total = total * shrink + tl.sum", "total = total + tl.sum"),
    "dropped mask": ("gradient.to(out.dtype.element_ty), mask=mask",
                     "gradient.to(out.dtype.element_ty)"),
    "race": ("at = partial + tl.cast(split, tl.int64) * rows + row\n    pitch",
             "at = partial + row\n    pitch"),
}  # fmt: skip


@pytest.mark.parametrize("bug", CONTRASTIVE)
def test_contrastive(planted, bug):
    module = planted("contrastive/tiles.py", *CONTRASTIVE[bug], "contrastive")
    found = {
        "dropped mask": (KernelBug, "different values to one address of 'out'"),
        "race": (KernelBug, "stores to 'partial', which program"),
    }
    error, message = found.get(bug, INACCURATE)
    with pytest.raises(error, match=message):
        check_contrastive(module)


def check_attention(module):
    """Causal, more keys than queries, two query heads to a key head, several tiles of each."""
    query, key, value = torch.randn(1, 4, 150, 16), *torch.randn(2, 1, 2, 200, 16)
    key = key + query.mean((1, 2), keepdim=True) * torch.linspace(0, 9, 200)[:, None]
    seen = torch.ones(150, 200).tril(50) > 0

    def peer(q, k, v):
        k, v = (x.repeat_interleave(2, 1) for x in (k, v))
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)

    compare(lambda q, k, v: module.attention(q, k, v, causal=True), peer, [query, key, value])


ATTENTION = {
    "missing rescale": ("forward.py", "new_maximum, total * rescale + ", "new_maximum, total + "),
    "dropped mask": ("masks.py", "products = tl.where(visible(row, column, limit, terms), products,"
                     ' float("-inf"))', "pass"),
    "wrong alignment": ("masks.py", "column <= row + (terms.shift + terms.right)",
                        "column <= row + terms.right"),
    "wrong stride": ("forward.py", "value += batch * value_strides[0] + head // group",
                     "value += batch * value_strides[0] + head"),
    "race": ("backward.py", "first_column = (tl.program_id(0) % tiles) * BLOCK_KEY",
             "first_column = 0"),
    "missing scale": ("backward.py", "dk * scale", "dk"),
}  # fmt: skip


@pytest.mark.parametrize("bug", ATTENTION)
def test_attention(planted, bug):
    file, old, new = ATTENTION[bug]
    module = planted(f"attention/{file}", old, new, "attention")
    found = {
        "wrong stride": (KernelBug, "loads from 'value' out of bounds"),
        "race": (KernelBug, "stores to 'key_gradient', which program"),
    }
    error, message = found.get(bug, INACCURATE)
    with pytest.raises(error, match=message):
        check_attention(module)


CHECKS = {
    "attention": check_attention,
    "layer_norm": check_layer_norm,
    "cross_entropy": check_cross_entropy,
    "contrastive": check_contrastive,
}


@pytest.mark.parametrize("name", CHECKS)
def test_the_unchanged_copy_passes(planted, name):
    """The checks above fail for the bug, not for the copying."""
    module = planted("philox.py", "ROUNDS = 10", "ROUNDS = 11", name)  # what none of them uses
    CHECKS[name](module)

"""One attention problem, computed three ways: our kernels, NumPy float64, plain torch."""

import dataclasses
import math

import numpy as np
import torch
from minissl_kernels.attention import attention, backward, bias, forward, keep_mask, reference
from minissl_kernels.attention.tiles import Blocks

from tests.kernels.compare import assert_as_accurate, dot_factor, float64

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
NAMES = ("out", "lse", "query", "key", "value", "bias")


def small_blocks(monkeypatch, query=16, key=16):
    """Tiles so small that a few dozen rows have edges and middles."""

    def configuration(*_):
        return Blocks(query, key, warps=4, stages=1)

    monkeypatch.setattr(forward, "configuration", configuration)
    monkeypatch.setattr(backward, "query_configuration", configuration)
    monkeypatch.setattr(backward, "key_value_configuration", configuration)
    monkeypatch.setattr(bias, "configuration", configuration)


@dataclasses.dataclass
class Case:
    """Sizes and settings; ``bias`` is a shape."""

    batch: int = 1
    heads: int = 2
    key_heads: int = 2
    query_time: int = 33
    key_time: int = 33
    width: int = 16
    dtype: torch.dtype = torch.float32
    causal: bool = False
    window: tuple | int | None = None
    key_lengths: list | None = None
    bias: tuple | None = None
    alibi: bool = False
    dropout: float = 0.0
    seed: int = 5
    scale: float | None = None

    def tensors(self, device):
        """query, key, value, bias (or None) and the cotangents of the output and its lse."""
        generator = torch.Generator().manual_seed(self.seed)

        def draw(*shape, dtype=self.dtype):
            return torch.randn(shape, generator=generator).to(device, dtype)

        keys = (self.batch, self.key_heads, self.key_time, self.width)
        query = draw(self.batch, self.heads, self.query_time, self.width)
        key, value, out = draw(*keys), draw(*keys), draw(*query.shape)
        lse = draw(*query.shape[:3], dtype=torch.float32)
        return query, key, value, None if self.bias is None else draw(*self.bias), out, lse

    def slopes(self, device):
        return 0.3 * torch.arange(1, self.heads + 1, device=device) if self.alibi else None

    def limits(self):
        window = self.window if isinstance(self.window, tuple) else (self.window, self.window)
        return window[0], 0 if self.causal else window[1]

    def settings(self, device):
        """The keyword arguments of ``attention``, but for the bias."""
        lengths = self.key_lengths
        return {
            "causal": self.causal,
            "window": self.window,
            "key_lengths": None if lengths is None else torch.tensor(lengths, device=device),
            "alibi_slopes": self.slopes(device),
            "dropout": self.dropout,
            "seed": self.seed,
            "scale": self.scale,
        }

    def exact_terms(self):
        """scale, seen, slopes and mask for the reference."""
        shape = (self.batch, self.heads, self.query_time, self.key_time)
        seen = reference.visible(
            self.batch, self.query_time, self.key_time, *self.limits(), self.key_lengths
        )
        mask = 1.0
        if self.dropout:
            mask = keep_mask(shape, self.dropout, self.seed) / (1 - self.dropout)
        slopes = None if not self.alibi else float64(self.slopes("cpu"))
        return self.scale or 1 / math.sqrt(self.width), seen, slopes, mask


def differentiate(function, query, key, value, bias, out_gradient, lse_gradient):
    """Output, log-sum-exp, and the gradients of all that is not None."""
    leaves = [t.detach().requires_grad_() for t in (query, key, value, bias) if t is not None]
    out, lse = function(*leaves, *[None] * (4 - len(leaves)))
    gradients = torch.autograd.grad((out, lse), leaves, (out_gradient, lse_gradient))
    return [out.detach(), lse.detach(), *gradients]


def ours(case, tensors):
    settings = case.settings(tensors[0].device)

    def function(query, key, value, bias):
        return attention(query, key, value, bias=bias, return_lse=True, **settings)

    return differentiate(function, *tensors)


def exact(case, tensors):
    """The NumPy reference on the float64 values of the tensors."""
    query, key, value, bias, out, lse = (None if t is None else float64(t) for t in tensors)
    scale, seen, slopes, mask = case.exact_terms()
    result = reference.forward(query, key, value, scale, seen, bias, slopes, mask)
    gradients = reference.backward(
        out, lse, query, key, value, scale, seen, bias, slopes, mask
    )  # fmt: skip
    return [*result, *[g for g in gradients if g is not None]]


def composed(case, tensors):
    """Plain torch in the tensors' dtype; the softmax in float32 at least, as everybody has it."""
    scale, seen, slopes, mask = case.exact_terms()
    device, dtype = tensors[0].device, tensors[0].dtype
    wide = torch.promote_types(dtype, torch.float32)
    seen = torch.tensor(seen, device=device)
    mask = torch.as_tensor(mask, device=device).to(dtype)
    group = case.heads // case.key_heads

    def function(query, key, value, bias):
        key, value = (t.repeat_interleave(group, 1) for t in (key, value))
        scores = (query @ key.mT).to(wide) * scale
        if bias is not None:
            scores = scores + bias.to(wide)
        if slopes is not None:
            at = torch.arange(case.query_time)[:, None] + case.key_time - case.query_time
            distance = (at - torch.arange(case.key_time)).abs().to(device)
            scores = scores - torch.tensor(slopes, device=device)[:, None, None].to(wide) * distance
        empty = ~seen.any(-1, keepdim=True)
        scores = scores.masked_fill(~seen & ~empty, -math.inf)
        weights = torch.where(empty, 0, torch.softmax(scores, -1))
        lse = torch.where(empty, 0, torch.logsumexp(scores, -1, keepdim=True))[..., 0]
        return (weights.to(dtype) * mask) @ value, lse

    return differentiate(function, *tensors)


def composed_exactly(case, tensors):
    """The composition in float64, on the tensors' device: NumPy takes a minute for long rows."""
    wide = [t if t is None else t.double() for t in tensors]
    return [float64(t) for t in composed(case, wide)]


def check(case, device, tensors=None, factor=2.0, exact=exact):
    """Ours is as accurate as plain torch (gradients within twice that), −inf without a key."""
    tensors = case.tensors(device) if tensors is None else tensors
    mine, expected, theirs = (f(case, tensors) for f in (ours, exact, composed))
    factor = factor * dot_factor(case.dtype)
    empty = np.isneginf(expected[1])
    assert np.array_equal(np.isneginf(float64(mine[1])), empty), "lse is -inf for empty rows only"
    expected[1] = np.where(empty, 0, expected[1])
    result = list(mine)
    result[1] = torch.where(torch.isneginf(mine[1]), 0, mine[1])
    for name, a, b, c in zip(NAMES, result, expected, theirs):
        slack = 1 if name in ("out", "lse") else 2
        assert_as_accurate(a, b, c, factor * slack, what=name)
    return mine


def drawn(number):
    """The combination of features with this number: every feature meets every other in some."""
    rng = np.random.default_rng(number)

    def sometimes(value, probability=0.4):
        return value if rng.random() < probability else None

    batch, key_heads, group = [(1, 1, 2), (2, 1, 1), (1, 2, 1), (1, 1, 1)][int(rng.integers(0, 4))]
    heads = key_heads * group
    query_time, key_time = int(rng.integers(1, 45)), int(rng.integers(1, 45))
    sides = [int(x) for x in rng.integers(0, 30, 2)]
    window = sometimes(tuple(sometimes(side, 0.7) for side in sides))
    full = (batch, heads, query_time, key_time)
    bias = tuple(size if rng.random() < 0.6 else 1 for size in full)[int(rng.integers(0, 3)) :]
    lengths = [int(x) for x in rng.integers(0, key_time + 1, batch)]
    return Case(
        batch, heads, key_heads, query_time, key_time,
        width=int(rng.choice([16, 24, 32])),
        dtype=DTYPES[number % 3],
        causal=bool(rng.random() < 0.4),
        window=window,
        key_lengths=sometimes(lengths),
        bias=sometimes(bias),
        alibi=bool(rng.random() < 0.3),
        dropout=sometimes(0.3) or 0.0,
        seed=number,
        scale=sometimes(0.5, 0.2),
    )  # fmt: skip

"""Oracles and drawn inputs for the tests of cross-entropy."""

import mmap

import numpy as np
import torch
import torch.nn.functional as F
from minissl_kernels.cross_entropy import cross_entropy, reference, tiles

from tests.kernels.compare import assert_as_accurate, float64


def draw(*shape, seed=0, scale=3.0, dtype=torch.float32, device="cpu"):
    """Normal random numbers, the same for every dtype and device."""
    values = np.random.default_rng(seed).standard_normal(shape) * scale
    return torch.tensor(values, dtype=dtype, device=device)


def draw_targets(rows, classes, ignore_index=None, seed=1, device="cpu"):
    """Labels that include the first and the last class and, where it is given, an ignored one."""
    labels = np.random.default_rng(seed).integers(0, classes, rows)
    if rows > 1:
        labels[0], labels[-1] = 0, classes - 1
    if ignore_index is not None and rows > 2:
        labels[1] = ignore_index
    return torch.tensor(labels, device=device)


def draw_probabilities(rows, classes, dtype=torch.float32, device="cpu"):
    """Rows that sum to anything but 1, with a zero in each."""
    rows_of_p = torch.rand(rows, classes, generator=torch.Generator().manual_seed(2)) / classes * 3
    rows_of_p[:, 0] = 0
    return rows_of_p.to(dtype).to(device)


def torchs(logits, targets, weight, ignore_index, label_smoothing, z_loss, reduction):
    """The loss as torch composes it, in the dtype of the logits; its mean is over what is kept."""
    classes = logits.shape[-1]
    weight = torch.ones_like(logits[0]) if weight is None else weight.to(logits.dtype)
    if targets.is_floating_point():
        kept = torch.ones_like(logits[:, 0])
        amounts = (1 - label_smoothing) * targets.to(logits.dtype) + label_smoothing / classes
        log_p = torch.log_softmax(logits, -1)  # F.cross_entropy gives NaN for 0 x -inf
        losses = -torch.where(amounts > 0, weight * amounts * log_p, 0).sum(-1)
    else:
        targets = targets.long()
        kept = (targets != ignore_index).to(logits.dtype)
        losses = F.cross_entropy(
            logits,
            targets,
            weight,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            reduction="none",
        )
    if z_loss:
        losses = losses + kept * z_loss * torch.logsumexp(logits, -1) ** 2
    if reduction == "none":
        return losses
    if reduction == "mean" and not targets.is_floating_point():
        kept = kept * weight[torch.where(kept > 0, targets, 0)]
    return losses.sum() / (kept.sum() if reduction == "mean" else 1)


def loss_and_gradient(function, logits, upstream):
    leaf = logits.detach().requires_grad_()
    loss = function(leaf)
    (gradient,) = torch.autograd.grad(loss, leaf, upstream.to(loss.dtype).expand(loss.shape))
    return loss.detach(), gradient


def by_numpy(logits, targets, upstream, weight, **settings):
    """Loss and gradient by the reference, in float64."""
    weight = None if weight is None else float64(weight)
    labels = float64(targets) if targets.is_floating_point() else targets.cpu().numpy()
    rest = {"upstream": float64(upstream), "weight": weight, **settings}
    return reference(float64(logits), labels, **rest)


def by_torch(logits, targets, upstream, **settings):
    """The same by the composition, on the tensors' device: faster where the classes are many."""
    found = loss_and_gradient(lambda x: torchs(x, targets, **settings), logits.double(), upstream)
    return [float64(t) for t in found]


def check(logits, targets, reduction="none", exact=by_numpy, **settings):
    """Loss and gradient are as accurate as torch's in float32, the gradient rounded once."""
    settings = {
        "weight": None,
        "ignore_index": -100,
        "label_smoothing": 0.0,
        "z_loss": 0.0,
        "reduction": reduction,
        **settings,
    }
    upstream = draw(len(logits) if reduction == "none" else 1, seed=9, device=logits.device)
    upstream = upstream if reduction == "none" else upstream[0]
    loss, gradient = loss_and_gradient(
        lambda x: cross_entropy(x, targets, **settings), logits, upstream
    )
    peer_loss, peer_gradient = loss_and_gradient(
        lambda x: torchs(x.float(), targets, **settings), logits, upstream
    )
    exact_loss, exact_gradient = exact(logits, targets, upstream, **settings)
    assert_as_accurate(loss, np.asarray(exact_loss), peer_loss, what="loss")
    assert_as_accurate(gradient, exact_gradient, peer_gradient, what="gradient")
    return loss, gradient


def small_tiles(monkeypatch, repeat=2, lanes=4, vector=2):
    """Rows in pieces of 16, so that short rows have several tiles and a ragged end."""
    cut = {"REPEAT": repeat, "LANES": lanes, "VECTOR": vector, "num_warps": 1, "num_stages": 1}
    monkeypatch.setattr(tiles, "configuration", lambda classes, itemsize, aligned=True: cut)


def far_apart_rows(rows, classes, row_stride, dtype=torch.bfloat16, device="cpu"):
    """A tensor whose rows lie gigabytes apart; the CPU's memory exists where it is touched."""
    elements = (rows - 1) * row_stride + classes
    if torch.device(device).type == "cuda":
        memory = torch.empty(elements, dtype=dtype, device=device)
        return memory.as_strided((rows, classes), (row_stride, 1))
    size = elements * dtype.itemsize
    no_reserve = 0x4000  # MAP_NORESERVE of Linux; named in Python 3.13
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve
    memory = torch.frombuffer(mmap.mmap(-1, size, flags=flags), dtype=dtype)
    return memory.as_strided((rows, classes), (row_stride, 1))

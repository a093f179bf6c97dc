"""Every public function of the package once, small: what the sweeps over all of them call.

A case knows its function's tensors, how to call it, the same by torch's operations in any dtype,
and what of its tensors is masked. A function that is public and has no case fails a test.
"""

import contextlib
import importlib
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from unittest import mock

import minissl_kernels
import torch
import torch.nn.functional as F
from minissl_kernels import contrastive
from minissl_kernels.attention import attention
from minissl_kernels.cross_entropy import cross_entropy
from minissl_kernels.dropout import dropout, keep_mask
from minissl_kernels.gelu import gelu
from minissl_kernels.layer_norm import layer_norm
from minissl_kernels.linear_cross_entropy import linear_cross_entropy

TARGETS = torch.tensor([2, -100, 0, 4, 1])  # the second row is ignored
LABELS = torch.tensor([0, 1, 0, 1, 0])
KEPT = torch.tensor(keep_mask(35, 0.5, 3)).reshape(5, 7)


def public_functions():
    """The names that the package's docstring imports."""
    lines = re.findall(r"^    from minissl_kernels\S* import (.+)$", minissl_kernels.__doc__, re.M)
    return {name for line in lines for name in line.split(", ")}


@dataclass(frozen=True)
class Case:
    """``call(**tensors)`` is the function, ``composed(**tensors)`` the same by torch."""

    function: str
    shapes: dict[str, tuple[int, ...]]
    call: Callable
    composed: Callable
    hides: dict[str, tuple] = field(default_factory=dict)  # label: the part that is not looked at
    minus_infinity: frozenset[str] = frozenset()  # of these it is a number: "impossible", "hidden"
    positive: frozenset[str] = frozenset()  # of these nothing else is accepted
    second: bool = True  # whether there is a second derivative
    within: Callable = contextlib.nullcontext  # forward and backward

    def tensors(self, device, dtype=torch.float32):
        """Random, the same in every call; temperatures of 0.7."""
        generator = torch.Generator().manual_seed(0)
        return {
            label: torch.tensor(0.7, device=device, dtype=dtype)
            if label in self.positive
            else torch.randn(shape, generator=generator).to(device, dtype)
            for label, shape in self.shapes.items()
        }


def in_pieces():
    """Rows of any width are too wide for the registers."""
    module = importlib.import_module("minissl_kernels.layer_norm")
    return mock.patch.object(module, "WIDEST_IN_REGISTERS", 0)


def plain(loss):
    """The contrastive loss of the embeddings as they are."""
    given = "normalize" in inspect.signature(loss).parameters
    return (lambda *a, **b: loss(*a, normalize=False, **b)) if given else loss


def picked(logits, targets, reduction="mean"):
    return F.cross_entropy(logits, targets.to(logits.device), reduction=reduction)


def composed_info_nce(query, key, temperature, reduction="mean"):
    return picked(query @ key.T / temperature, torch.arange(len(query)), reduction)


def composed_nt_xent(first, second, temperature, reduction="mean"):
    views = torch.cat([first, second])
    own = torch.eye(len(views), dtype=torch.bool, device=views.device)
    logits = (views @ views.T / temperature).masked_fill(own, float("-inf"))
    return picked(logits, torch.arange(len(views)).roll(len(first)), reduction)


def composed_supcon(features, temperature, reduction="mean"):
    labels = LABELS.to(features.device)
    own = torch.eye(len(features), dtype=torch.bool, device=features.device)
    alike = (labels[:, None] == labels) & ~own
    logits = features @ features.T / temperature
    log_p = logits - logits.masked_fill(own, float("-inf")).logsumexp(1, keepdim=True)
    losses = -torch.where(alike, log_p, 0.0).sum(1) / alike.sum(1)
    return {"none": losses, "sum": losses.sum(), "mean": losses.mean()}[reduction]


def composed_attention(query, key, value, bias):
    scores = query @ key.swapaxes(-1, -2) / query.shape[-1] ** 0.5 + bias
    seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril(2)
    seen = seen & (torch.arange(7, device=query.device) < 6)
    return torch.where(seen, scores, float("-inf")).softmax(-1)[..., :6] @ value[..., :6, :]


def composed_cross_entropy(logits, weight=None, z_loss=0.0, reduction="mean", **settings):
    targets = TARGETS.to(logits.device)
    options = {"weight": weight, "reduction": "none", **settings}
    losses = F.cross_entropy(logits, targets, **options)
    losses = losses + z_loss * (targets >= 0) * logits.logsumexp(-1) ** 2
    counts = (targets >= 0) * (1 if weight is None else weight[targets.clamp(min=0)])
    return {"none": losses, "sum": losses.sum(), "mean": losses.sum() / counts.sum()}[reduction]


def cases():
    """All of them by name."""
    found = {}
    for reduction in ("none", "sum", "mean"):
        found |= {f"{name} {reduction}": case for name, case in losses(reduction).items()}
    rows = {"query": (5, 8), "key": (5, 8), "temperature": ()}
    clip = plain(contrastive.clip_loss)
    found["clip_loss"] = Case(
        "clip_loss",
        rows,
        lambda query, key, temperature: clip(query, key, temperature=temperature),
        lambda query, key, temperature: (
            (
                composed_info_nce(query, key, temperature)
                + composed_info_nce(key, query, temperature)
            )
            / 2
        ),
        positive=frozenset({"temperature"}),
    )
    heads = {"query": (1, 1, 5, 8), "key": (1, 1, 7, 8), "value": (1, 1, 7, 8), "bias": (5, 7)}
    found["attention"] = Case(
        "attention",
        heads,
        lambda bias, **qkv: attention(
            **qkv,
            bias=bias,
            causal=True,
            key_lengths=torch.tensor([6], device=bias.device),
        ),
        composed_attention,
        hides={"key": (..., slice(6, 7), slice(None)), "value": (..., slice(6, 7), slice(None))},
        minus_infinity=frozenset({"bias"}),
        second=False,
    )
    found["attention, no bias"] = Case(
        "attention",
        {label: shape for label, shape in heads.items() if label != "bias"},
        lambda **qkv: attention(
            **qkv, causal=True, key_lengths=torch.tensor([6], device=qkv["key"].device)
        ),
        lambda **qkv: composed_attention(**qkv, bias=0.0),
        hides=found["attention"].hides,
        second=False,
    )
    for rows, within in (("whole", contextlib.nullcontext), ("in pieces", in_pieces)):
        found[f"layer_norm {rows}"] = Case(
            "layer_norm",
            {"x": (2, 7), "weight": (7,), "bias": (7,)},
            layer_norm,
            lambda x, weight, bias: F.layer_norm(x, weight.shape, weight, bias),
            within=within,
        )
    for approximate in ("tanh", "none"):
        found[f"gelu {approximate}"] = Case(
            "gelu",
            {"x": (5, 7)},
            lambda x, a=approximate: gelu(x, a),
            lambda x, a=approximate: F.gelu(x, approximate=a),
        )
    found["dropout"] = Case(
        "dropout",
        {"x": (5, 7)},
        lambda x: dropout(x, 0.5, 3),
        lambda x: x * KEPT.to(x.device) * 2,
    )
    return found


def losses(reduction):
    """What has the reductions "none", "sum" and "mean"."""
    info, nt, sup = (
        plain(loss) for loss in (contrastive.info_nce, contrastive.nt_xent, contrastive.supcon_loss)
    )
    scale = {"positive": frozenset({"temperature"})}
    ignored = {"logits": (slice(1, 2),)}
    smooth = {"label_smoothing": 0.1, "z_loss": 0.01}

    def contrasting(name, loss, composed, **shapes):
        return Case(
            name,
            {**shapes, "temperature": ()},
            lambda temperature, **rows: loss(
                *rows.values(), temperature=temperature, reduction=reduction
            ),
            lambda **tensors: composed(**tensors, reduction=reduction),
            **scale,
        )

    return {
        "info_nce": contrasting("info_nce", info, composed_info_nce, query=(5, 8), key=(7, 8)),
        "nt_xent": contrasting("nt_xent", nt, composed_nt_xent, first=(3, 8), second=(3, 8)),
        "supcon_loss": contrasting(
            "supcon_loss",
            lambda features, **settings: sup(features, LABELS.to(features.device), **settings),
            composed_supcon,
            features=(5, 8),
        ),
        "cross_entropy": Case(
            "cross_entropy",
            {"logits": (5, 6)},
            lambda logits: cross_entropy(logits, TARGETS.to(logits.device), reduction=reduction),
            lambda logits: composed_cross_entropy(logits, reduction=reduction),
            hides=ignored,
            minus_infinity=frozenset({"logits"}),
        ),
        "cross_entropy, smooth": Case(
            "cross_entropy",
            {"logits": (5, 6)},
            lambda logits: cross_entropy(
                logits, TARGETS.to(logits.device), reduction=reduction, **smooth
            ),
            lambda logits: composed_cross_entropy(logits, reduction=reduction, **smooth),
            hides=ignored,
        ),
        "linear_cross_entropy": Case(
            "linear_cross_entropy",
            {"input": (5, 8), "weight": (6, 8)},
            lambda input, weight: linear_cross_entropy(
                input, weight, TARGETS.to(input.device), reduction=reduction
            ),
            lambda input, weight: composed_cross_entropy(input @ weight.T, reduction=reduction),
            hides={"input": (slice(1, 2),)},
        ),
    }


CASES = cases()
NOT_DIFFERENTIATED = {"adamw", "gradient_norm"}  # they have tests of their own

"""Wrong answers to homework 4 that let somebody else do the work."""

import importlib

import numpy as np

from minissl.autograd import composed, fused
from minissl.autograd import operations as ops
from minissl.losses import contrastive, supervised
from minissl.training import diagnostics
from tests.homework.planted import Collection

PLANTED = Collection()
add = PLANTED.add
OWN = "hands the work to the library's own"
NOT_ALLOWED = "which this task does not allow"


@add("4.1", "the fused operation", shows=NOT_ALLOWED)
def fused_unit_vectors(x):
    return fused.unit_vectors(x)


@add("4.1", "the library's, found by its name as text", shows=OWN)
def by_name(x):
    return getattr(importlib.import_module("minissl.losses.contrastive"), "norm" + "alize")(x)


@add("4.2", "the operation behind it", shows=NOT_ALLOWED)
def board_by_fused(first, second, *, gather=False, reduction="sum"):
    return fused.contrastive_cross_entropy(first, second, reduction=reduction)


@add("4.2", "its composed twin", shows=NOT_ALLOWED)
def board_by_composed(first, second, *, gather=False, reduction="sum"):
    if len(first.shape) != 2 or first.shape != second.shape:
        raise ValueError("two views of one shape")
    return composed.contrastive_cross_entropy(
        first, second, np.arange(len(first)), temperature=1.0, exclude_self=False,
        reduction=reduction,
    )  # fmt: skip


@add("4.2", "another loss with its switches off", shows=NOT_ALLOWED)
def board_by_info_nce(first, second, *, gather=False, reduction="sum"):
    return contrastive.info_nce(
        first, second, temperature=1.0, normalize=False, reduction=reduction
    )


@add("4.2", "a cross-entropy that is written already", shows=NOT_ALLOWED)
def board_by_cross_entropy(first, second, *, gather=False, reduction="sum"):
    contrastive._check(first, second, reduction, "simclr_cs229")
    logits = first @ ops.matrix_transpose(second)
    return fused.cross_entropy(logits, np.arange(len(first)), reduction=reduction)


@add("4.3", "the library's, in a wrapper", shows=OWN)
def wrapped(first, second, temperature, *, gather=False, reduction="mean"):
    return contrastive.nt_xent(first, second, temperature, reduction=reduction)


@add("4.3", "the supervised loss, each image a class", shows=NOT_ALLOWED)
def by_labels(first, second, temperature, *, gather=False, reduction="mean"):
    contrastive._check(first, second, reduction, "nt_xent")
    labels = np.tile(np.arange(len(first)), 2)
    views = ops.concatenate([first, second])
    return supervised.supcon_loss(views, labels, temperature=temperature, reduction=reduction)


@add("4.4", "the library's", shows=OWN)
def spread(features):
    return diagnostics.z_std(features)


@add("4.4", "half of it from the library", shows=NOT_ALLOWED)
def rows_of_the_library(features):
    unit = diagnostics._unit_rows(np.asarray(features, np.float64))
    return float(unit.std(axis=0).mean() * np.sqrt(unit.shape[1]))

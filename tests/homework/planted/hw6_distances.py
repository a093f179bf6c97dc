"""Wrong answers to homework 6, contrast: distances and pairs."""

import math

import numpy as np

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.losses.metric import reduced
from tests.homework.planted import Collection
from tests.homework.planted.hw6_triplets import summed

PLANTED = Collection()


# ---- 6.1 pairwise_distances ----------------------------------------------------------------------


def single(x):
    """Half precision as float32."""
    x = x if isinstance(x, Tensor) else Tensor(x)
    return ops.astype(x, dtype=np.float32) if x.dtype == np.float16 else x


def refuse_rows(first, second):
    """ValueError unless both are (rows, width)."""
    if len(first.shape) != 2 or len(second.shape) != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"no rows of one width: {first.shape} and {second.shape}")


def measurer(
    length=lambda difference: ops.norm(difference, axis=2),
    square=lambda d: d * d,
    check=refuse_rows,
    finish=lambda d: d,
):
    """pairwise_distances from all differences, with something to get wrong in it."""

    def pairwise_distances(first, second=None, *, squared=False):
        first = single(first)
        second = first if second is None else single(second)
        check(first, second)
        d = length(ops.expand_dims(first, axis=1) - ops.expand_dims(second, axis=0))
        return finish(square(d) if squared else d)

    return pairwise_distances


def by_products(
    products=lambda a, b: ops.matmul(a, ops.matrix_transpose(b)),
    root=ops.sqrt,
    clamp=lambda squares: squares,
    middle=lambda a: 0.0,
):
    """‖a‖² − 2 a·b + ‖b‖² as it is written everywhere."""

    def pairwise_distances(first, second=None, *, squared=False):
        second = first if second is None else second
        refuse_rows(first, second)
        shift = middle(first)
        a, b = first - shift, second - shift
        lengths = ops.expand_dims(ops.sum(a * a, axis=1), axis=1) + ops.sum(b * b, axis=1)
        squares = clamp(lengths - 2 * products(a, b))
        return squares if squared else root(squares)

    return pairwise_distances


def by_float64_products(first, second=None, *, squared=False):
    """The same in float64 from the middle, rounding set to 0, with a safe root."""
    second = first if second is None else second
    refuse_rows(first, second)
    kept = np.float32 if single(first).dtype == np.float32 else np.float64
    first, second = (ops.astype(x, dtype=np.float64) for x in (first, second))
    shift = first.numpy().mean(axis=0)
    a, b = first - shift, second - shift
    lengths = ops.expand_dims(ops.sum(a * a, axis=1), axis=1) + ops.sum(b * b, axis=1)
    squares = lengths - 2 * ops.matmul(a, ops.matrix_transpose(b))
    squares = ops.where(squares.array < 1e-14 * lengths.array, 0.0, squares)
    return ops.astype(squares if squared else safe_root(squares), dtype=kept)


def row_by_row(first, second=None, *, squared=False):
    """The differences to one row at a time, with a root that leaves out what is 0."""
    first = single(first)
    second = first if second is None else single(second)
    refuse_rows(first, second)
    columns = []
    for j in range(second.shape[0]):
        squares = ops.sum((first - second[j]) ** 2, axis=1)
        apart = squares.array > 0
        root = ops.where(apart, ops.sqrt(ops.where(apart, squares, 1.0)), 0.0)
        columns.append(squares if squared else root)
    return ops.stack(columns, axis=1)


def safe_root(squares, least=0.0):
    """√ with the slope 0 at 0."""
    apart = squares.array > least
    return ops.where(apart, ops.sqrt(ops.where(apart, squares, 1.0)), 0.0)


for _mistake, _shows, _measurer in [
    ("no root", "the root is missing", measurer(lambda x: ops.sum(x * x, axis=2), lambda d: d)),
    (
        "a root of NaN",
        "infinite slope|there are NaNs",
        measurer(lambda x: ops.sqrt(ops.sum(x * x, axis=2))),
    ),
    (
        "a small number in the root",
        "small number in the root",
        measurer(lambda x: ops.sqrt(ops.sum(x * x, axis=2) + 1e-12)),
    ),
    ("city blocks", "absolute differences", measurer(lambda x: ops.sum(ops.abs(x), axis=2))),
    (
        "the mean over the width",
        "mean over the width",
        measurer(lambda x: ops.norm(x, axis=2) / math.sqrt(x.shape[2])),
    ),
    ("squared ignored", "without a root", measurer(square=lambda d: d)),
    (
        "turned",
        "exchanged|the shape is",
        measurer(finish=lambda d: ops.matrix_transpose(d)),
    ),
    ("detached", "there is no gradient|no gradient reaches", measurer(finish=lambda d: d.detach())),
    ("nothing refused", "should raise|it raised", measurer(check=lambda a, b: None)),
    ("products of float32", "digits of near rows|NaN|below 0|equal rows", by_products()),
    (
        "clamped at 0",
        "digits of near rows|NaN|equal rows",
        by_products(clamp=ops.relu, root=lambda s: ops.sqrt(s + 1e-30)),
    ),
    (
        "a safe root of lost digits",
        "digits of near rows|equal rows",
        by_products(clamp=ops.relu, root=safe_root),
    ),
    (
        "a NumPy array",
        "expected a Tensor|no attribute",
        measurer(finish=lambda d: d.numpy()),
    ),
]:
    PLANTED.add("6.1", _mistake, shows=_shows)(_measurer)


# ---- 6.2 pair_loss -------------------------------------------------------------------------------


def refuse_pairs(first, second, same, margin, definition):
    """ValueError for what has to be refused."""
    if len(first.shape) != 2 or first.shape != second.shape:
        raise ValueError(f"no pairs: {first.shape} and {second.shape}")
    if definition not in ("hadsell", "song") or not 0 < margin < math.inf:
        raise ValueError(f"no such loss: {definition} {margin}")
    if np.shape(same) != (first.shape[0],) or not np.isin(same, (0, 1)).all():
        raise ValueError("same has True or False for each pair")


def pairer(
    half=0.5,
    length=lambda x: ops.norm(x, axis=1),
    near=lambda d: d * d,
    hadsell=lambda d, m: ops.relu(m - d) ** 2,
    song=lambda d, m: ops.relu(m - d * d),
    labels=lambda same: np.asarray(same, bool),
    check=refuse_pairs,
    finish=reduced,
    which=lambda definition: definition,
):
    """pair_loss from its two terms, with something to get wrong in it."""

    def pair_loss(first, second, same, *, margin, definition="hadsell", reduction="mean"):
        check(first, second, same, margin, definition)
        d = length(first - second)
        y = labels(same).astype(d.dtype)
        apart = {"hadsell": hadsell, "song": song}[which(definition)](d, margin)
        return finish(half * (y * near(d) + (1 - y) * apart), reduction)

    return pair_loss


def pairs_one_by_one(first, second, same, *, margin, definition="hadsell", reduction="mean"):
    """A list of costs, each from its own distance."""
    refuse_pairs(first, second, same, margin, definition)
    costs = []
    for i, y in enumerate(np.asarray(same).tolist()):
        d = ops.norm(first[i] - second[i])
        if y:
            costs.append(d**2 / 2)
        elif definition == "hadsell":
            costs.append(ops.maximum(margin - d, 0.0) ** 2 / 2)
        else:
            costs.append(ops.maximum(margin - d**2, 0.0) / 2)
    costs = ops.stack(costs)
    return {"none": costs, "sum": ops.sum(costs), "mean": ops.mean(costs)}[reduction]


for _mistake, _shows, _pairer in [
    ("no half", "half is missing", pairer(half=1.0)),
    ("Song's for Hadsell's", "other definition", pairer(which=lambda _: "song")),
    ("Hadsell's for Song's", "other definition", pairer(which=lambda _: "hadsell")),
    ("turned labels", "exchanged", pairer(labels=lambda same: ~np.asarray(same, bool))),
    ("no square", "distance of the same is squared", pairer(near=lambda d: d)),
    ("no end", "beyond the margin", pairer(hadsell=lambda d, m: (m - d) ** 2)),
    ("a margin of 1", "need not be 1", pairer(hadsell=lambda d, m: ops.relu(1 - d) ** 2)),
    ("summed", "the sum over the pairs", pairer(finish=summed)),
    ("always the mean", "the shape is", pairer(finish=lambda losses, _: ops.mean(losses))),
    ("all together", "pulled together", pairer(hadsell=lambda d, m: d * d)),
    ("a root of NaN", "slope of a distance of 0|NaN", pairer(
        length=lambda x: ops.sqrt(ops.sum(x * x, axis=1)))),
    ("detached", "there is no gradient", pairer(
        finish=lambda losses, how: reduced(losses.detach(), how))),
    ("nothing refused", "should raise|it raised", pairer(check=lambda *_: None)),
    (
        "float64",
        "the dtype is",
        pairer(finish=lambda losses, how: reduced(ops.astype(losses, dtype=np.float64), how)),
    ),
]:  # fmt: skip
    PLANTED.add("6.2", _mistake, shows=_shows)(_pairer)

"""More wrong answers to the losses of homework 4: what only some inputs show."""

import math

import numpy as np

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.losses.contrastive import _check
from tests.homework.planted import Collection

PLANTED = Collection()
add = PLANTED.add


# ---- 4.1 normalize -------------------------------------------------------------------------------


def _divided(x, length):
    return x / ops.where(length.array == 0, 1.0, length)


@add("4.1", "axis 1, whatever the shape", shows="last axis|axis 1|AxisError|IndexError")
def axis_one(x):
    return _divided(x, ops.norm(x, axis=1, keepdims=True))


@add("4.1", "0/0 in the gradient of a row of zeros", shows="gradient of a row of zeros")
def square_root(x):
    return _divided(x, ops.sqrt(ops.sum(x * x, axis=-1, keepdims=True)))


@add("4.1", "a small number beside the length", shows="short rows")
def with_epsilon(x):
    return x / (ops.norm(x, axis=-1, keepdims=True) + 1e-12)


@add("4.1", "zeros are divided by a tiny number", shows="gradient of a row of zeros")
def clipped_length(x):
    return x / ops.clip(ops.norm(x, axis=-1, keepdims=True), 1e-12, None)


@add("4.1", "one row of zeros, and all are left alone", shows="row of zeros")
def all_or_nothing(x):
    length = ops.norm(x, axis=-1, keepdims=True)
    return x if (length.array == 0).any() else x / length


@add("4.1", "float64 inside, and outside", shows="dtype")
def widened(x):
    x = ops.astype(x, dtype=np.float64)
    return _divided(x, ops.norm(x, axis=-1, keepdims=True))


@add("4.1", "it scales the caller's array", shows="changed its input")
def scales_in_place(x):
    length = np.linalg.norm(x.array, axis=-1, keepdims=True)
    x.array[...] /= np.where(length == 0, 1, length)
    return x


def _remembered():
    kept = {}

    def normalize(x):
        if x.shape not in kept:
            kept[x.shape] = np.linalg.norm(x.array, axis=-1, keepdims=True)
        return x / np.where(kept[x.shape] == 0, 1, kept[x.shape])

    return normalize


add("4.1", "lengths kept from call to call", shows="from an earlier call")(_remembered())


@add("4.1", "rows of a matrix only", shows="raised|shape is")
def of_a_matrix(x):
    length = ops.sqrt(ops.sum(x * x, axis=1))
    return x / ops.where(length.array == 0, 1.0, length)[:, None]


@add("4.1", "a small number under the root", shows="short rows")
def under_the_root(x):
    return x / ops.sqrt(ops.sum(x * x, axis=-1, keepdims=True) + 1e-12)


@add("4.1", "centred first", shows="mean was subtracted")
def centred(x):
    x = x - ops.mean(x, axis=-1, keepdims=True)
    return _divided(x, ops.norm(x, axis=-1, keepdims=True))


# ---- 4.2 the board -------------------------------------------------------------------------------


def _reduced(rows, reduction):
    if reduction == "none":
        return rows
    return ops.sum(rows) if reduction == "sum" else ops.mean(rows)


def _board(
    logits=lambda s: s,
    lse=lambda s: ops.logsumexp(s, axis=1),
    own=lambda s: s[np.arange(len(s)), np.arange(len(s))],
    check=True,
    of=lambda rows, reduction: _reduced(rows, reduction),
    views=lambda a, b: (a, b),
    loss=None,
):
    """The board's loss, with something to get wrong in it."""

    def simclr_cs229(first, second, *, gather=False, reduction="sum"):
        if check:
            _check(first, second, reduction, "simclr_cs229")
        first, second = views(first, second)
        s = logits(first @ ops.matrix_transpose(second))
        return of(loss(s) if loss else lse(s) - own(s), reduction)

    return simclr_cs229


def _others(s):
    """ln of the sum over j ≠ i."""
    return ops.logsumexp(ops.where(np.eye(len(s), dtype=bool), -np.inf, s), axis=1)


def _by_largest_of_all(s):
    largest = s.array.max()
    return ops.log(ops.sum(ops.exp(s - largest), axis=1)) + largest


def _with_epsilon(s):
    return -ops.log(ops.softmax(s, axis=1)[np.arange(len(s)), np.arange(len(s))] + 1e-8)


def _both(s):
    own = s[np.arange(len(s)), np.arange(len(s))]
    there, back = (ops.logsumexp(s, axis=axis) - own for axis in (1, 0))
    return (there + back) / 2


def _hinge(s):
    own = ops.expand_dims(s[np.arange(len(s)), np.arange(len(s))], axis=1)
    return ops.sum(ops.relu(s - own), axis=1)


def _ln2(s):
    return (ops.logsumexp(s, axis=1) - s[np.arange(len(s)), np.arange(len(s))]) / math.log(2)


def _sigmoids(s):
    signs = 2 * np.eye(len(s)) - 1
    return -ops.sum(ops.log_sigmoid(s * signs), axis=1)


for _mistake, _shows, _how in [
    ("A / B instead of A / (A + B)", "missing below the line", {"lse": _others}),
    ("the mean of both directions", "both directions were averaged", {"loss": _both}),
    ("divided by √width, as in attention", "√width",
     {"views": lambda a, b: (a / math.sqrt(a.shape[1]), b)}),
    ("a hinge", "hinge", {"loss": _hinge}),
    ("sigmoids", "sigmoids", {"loss": _sigmoids}),
    ("logarithms of base 2", "base 2", {"loss": _ln2}),
    ("one maximum for the whole matrix", "largest of its own row|NaN", {"lse": _by_largest_of_all}),
    ("a small number under the logarithm", "under the logarithm", {"loss": _with_epsilon}),
    ("clipped", "clipped", {"logits": lambda s: ops.clip(s, -50.0, 50.0)}),
    ("no shape is looked at", "should raise a ValueError|it raised IndexError", {"check": False}),
    ("the second views stand still", "no gradient reaches second",
     {"views": lambda a, b: (a, b.detach())}),
    ("float64 targets", "dtype",
     {"own": lambda s: ops.sum(s * np.eye(len(s)), axis=1), "lse": lambda s: ops.logsumexp(s, 1)}),
    ("a column", "shape is", {"of": lambda rows, r: ops.expand_dims(rows, axis=1) if r == "none"
                              else _reduced(rows, r)}),
    ("a batch of one is no batch", "shape is", {"of": lambda rows, r: ops.squeeze(rows, axis=0)
                                               if r == "none" and len(rows) == 1
                                               else _reduced(rows, r)}),
    ("the mean over the pairs of rows", "divided by B twice",
     {"of": lambda rows, r: ops.mean(rows) / len(rows) if r == "mean" else _reduced(rows, r)}),
]:  # fmt: skip
    add("4.2", _mistake, shows=_shows)(_board(**_how))


# ---- 4.3 the paper -------------------------------------------------------------------------------


def _unit(x, axis=-1):
    length = ops.norm(x, axis=axis, keepdims=True)
    return x / ops.where(length.array == 0, 1.0, length)


def _paper(
    mask=-np.inf,
    tau=lambda t: t,
    unit=_unit,
    views=lambda a, b: (a, b),
    left_out=lambda count: np.eye(count, dtype=bool),
    scores=lambda z, t: z @ ops.matrix_transpose(z) / t,
    of=lambda rows, reduction: _reduced(rows, reduction),
    lse=lambda s: ops.logsumexp(s, axis=1),
    check_temperature=True,
    check=True,
):
    """NT-Xent, with something to get wrong in it."""

    def nt_xent(first, second, temperature, *, gather=False, reduction="mean"):
        if check:
            _check(first, second, reduction, "nt_xent")
        if check_temperature and not 0 < float(Tensor(temperature).item()) < math.inf:
            raise ValueError("the temperature must be positive and finite")
        z = unit(ops.concatenate([*views(first, second)]))
        count = len(z)
        partners = np.roll(np.arange(count), count // 2)
        logits = ops.where(left_out(count), mask, scores(z, tau(temperature)))
        return of(lse(logits) - logits[np.arange(count), partners], reduction)

    return nt_xent


def _number(temperature):
    return temperature.item() if isinstance(temperature, Tensor) else temperature


def _own_side_and_partner(count):
    side = np.arange(count) // (count // 2)
    keep = side[:, None] == side
    keep[np.arange(count), np.roll(np.arange(count), count // 2)] = True
    return ~keep | np.eye(count, dtype=bool)


def _pairs_in_turn(rows, reduction):
    if reduction != "none":
        return _reduced(rows, reduction)
    half = len(rows) // 2
    return rows[np.arange(len(rows)).reshape(2, half).T.ravel()]


def _pairs_together(rows, reduction):
    if reduction != "none":
        return _reduced(rows, reduction)
    half = len(rows) // 2
    return (rows[:half] + rows[half:]) / 2


def _own_subtracted(first, second, temperature, *, gather=False, reduction="mean"):
    _check(first, second, reduction, "nt_xent")
    if not 0 < float(Tensor(temperature).item()) < math.inf:
        raise ValueError("the temperature must be positive and finite")
    z = _unit(ops.concatenate([first, second]))
    s = z @ ops.matrix_transpose(z) / temperature
    s = s - s.array.max(axis=1, keepdims=True)
    number = np.arange(len(z))
    sums = ops.sum(ops.exp(s), axis=1) - ops.exp(s[number, number])
    return _reduced(ops.log(sums) - s[number, np.roll(number, len(z) // 2)], reduction)


def _scaled(factor):
    """All rows times something that depends on the temperature."""

    def nt_xent(first, second, temperature, *, gather=False, reduction="mean"):
        return _paper()(first, second, temperature, reduction=reduction) * factor(temperature)

    return nt_xent


def _negatives_only(s):
    count = len(s)
    partner = np.roll(np.eye(count, dtype=bool), count // 2, axis=1)
    return ops.logsumexp(ops.where(partner, -np.inf, s), axis=1)


add("4.3", "its own term subtracted from the sum", shows="subtracted|NaN")(_own_subtracted)
for _mistake, _shows, _how in [
    ("a mask of −100", "mask must be −∞", {"mask": -100.0}),
    ("float(temperature)", "no gradient reaches temperature",
     {"tau": _number}),
    ("any temperature", "should raise a ValueError", {"check_temperature": False}),
    ("any shapes", "should raise a ValueError|it raised", {"check": False}),
    ("τ divides each view, so τ² the cosines", "τ²",
     {"scores": lambda z, t: (z / t) @ ops.matrix_transpose(z / t)}),
    ("the root of τ", "√τ", {"scores": lambda z, t: z @ ops.matrix_transpose(z) / t ** 0.5}),
    ("columns of length 1", "columns were scaled", {"unit": lambda z: _unit(z, axis=0)}),
    ("one length for the batch", "one length", {"unit": lambda z: z / ops.norm(z)}),
    ("negatives of the own side only", "other side are negatives",
     {"left_out": _own_side_and_partner}),
    ("A / B", "missing below the line", {"lse": _negatives_only}),
    ("rows in pairs", "first views on top", {"of": _pairs_in_turn}),
    ("a row for each pair", "shape is", {"of": _pairs_together}),
    ("the first views stand still", "no gradient reaches first",
     {"views": lambda a, b: (a.detach(), b)}),
    ("squared distances", "distances",
     {"scores": lambda z, t: -ops.sum((ops.expand_dims(z, axis=1) - z) ** 2, axis=2) / t}),
    ("the mean where the sum is asked for", "sum",
     {"of": lambda rows, r: rows if r == "none" else ops.mean(rows)}),
]:  # fmt: skip
    add("4.3", _mistake, shows=_shows)(_paper(**_how))


@add("4.3", "the nearest view is the partner", shows=r"the partner of view i is i \+ B")
def nearest_as_partner(first, second, temperature, *, gather=False, reduction="mean"):
    _check(first, second, reduction, "nt_xent")
    z = _unit(ops.concatenate([first, second]))
    s = ops.where(np.eye(len(z), dtype=bool), -np.inf, z @ ops.matrix_transpose(z) / temperature)
    rows = ops.logsumexp(s, axis=1) - s[np.arange(len(z)), s.array.argmax(axis=1)]
    return _reduced(rows, reduction)


add("4.3", "2τ beside it, as in MoCo v3", shows="2τ")(_scaled(lambda t: 2 * t))
add("4.3", "τ / 0.07 beside it, as in SupCon's code", shows="0.07")(_scaled(lambda t: t / 0.07))


# ---- 4.4 the spread ------------------------------------------------------------------------------


def _spread(
    prepare=lambda x: x,
    deviation=lambda u: u.std(axis=0).mean(),
    factor=lambda u: math.sqrt(u.shape[1]),
    whole=None,
):
    """z_std, with something to get wrong in it."""

    def z_std(features):
        x = prepare(np.asarray(features, np.float64))
        length = np.linalg.norm(x, axis=1, keepdims=True)
        u = x / np.where(length == 0, 1, length)
        return whole(u) if whole else float(deviation(u) * factor(u))

    return z_std


def _only_arrays(features):
    return _spread()(features) if features.shape[1] else 0.0


def _one_minus_cosine(u):
    cosines = u @ u.T
    return float(1 - cosines[~np.eye(len(u), dtype=bool)].mean())


for _mistake, _shows, _how in [
    ("centred before it is scaled", "mean was subtracted", {"prepare": lambda x: x - x.mean(0)}),
    ("variances", "variances", {"deviation": lambda u: u.var(axis=0).mean()}),
    ("the root of the mean variance", "root of the mean variance",
     {"deviation": lambda u: math.sqrt(u.var(axis=0).mean())}),
    ("the median column", "median", {"deviation": lambda u: np.median(u.std(axis=0))}),
    ("√examples", "√examples", {"factor": lambda u: math.sqrt(len(u))}),
    ("times the width", "by the width", {"factor": lambda u: u.shape[1]}),
    ("rows of zeros left out", "zeros were left out",
     {"prepare": lambda x: x[np.any(x != 0, axis=1)]}),
    ("1 − the mean cosine", "mean cosine", {"whole": _one_minus_cosine}),
    ("mean absolute deviations", "absolute deviations",
     {"deviation": lambda u: np.abs(u - u.mean(axis=0)).mean()}),
    ("single precision", "values are wrong", {"prepare": lambda x: x.astype(np.float16)}),
    ("an array", "expected float|shape is",
     {"whole": lambda u: u.std(axis=0) * math.sqrt(u.shape[1])}),
]:  # fmt: skip
    add("4.4", _mistake, shows=_shows)(_spread(**_how))
add("4.4", "it wants an array", shows="raised AttributeError")(_only_arrays)


# ---- 4.5 the gradient ----------------------------------------------------------------------------


def _backward(
    weigh=lambda w, d: w[:, None] * d,
    dq=lambda g, q, k, t: g @ k / t,
    dk=lambda g, q, k, t: g.T @ q / t,
    dt=lambda g, q, k, t: -float(np.sum(g * (q @ k.T))) / t**2,
    order=lambda dq, dk, dt: (dq, dk, dt),
):
    """The three gradients, with something to get wrong in them."""

    def backward(upstream, difference, query, key, temperature):
        g = weigh(np.asarray(upstream), difference)
        inputs = g, np.asarray(query), np.asarray(key), temperature
        return order(dq(*inputs), dk(*inputs), dt(*inputs))

    return backward


def _in_place(w, d):
    d *= w[:, None]
    return d


for _mistake, _shows, _how in [
    ("w along the columns", "belongs to row|raised ValueError", {"weigh": lambda w, d: w * d}),
    ("P − T is scaled in place", "changed its input", {"weigh": _in_place}),
    ("query and key exchanged", "exchanged|shape is",
     {"order": lambda dq, dk, dt: (dk, dq, dt)}),
    ("a 1/τ too many", "one factor 1/temperature too many",
     {"dt": lambda g, q, k, t: -float(np.sum(g * (q @ k.T))) / t**3}),
    ("the temperature's of each row", "a number|shape is",
     {"dt": lambda g, q, k, t: -np.sum(g * (q @ k.T), axis=1) / t**2}),
    ("with the logits' own gradient forgotten", "key's rows|values are wrong",
     {"dq": lambda g, q, k, t: np.broadcast_to(g.sum(axis=1, keepdims=True), q.shape) / t}),
    ("float32 all along", "computes in float32|dtype",
     {"weigh": lambda w, d: (w[:, None] * d).astype(np.float32)}),
    ("two of the three", "three gradients", {"order": lambda dq, dk, dt: (dq, dk)}),
    ("the absolute temperature's", "sign is wrong",
     {"dt": lambda g, q, k, t: abs(float(np.sum(g * (q @ k.T)))) / t**2}),
    ("times τ", "multiplied by the temperature", {"dq": lambda g, q, k, t: g @ k * t,
                                                   "dk": lambda g, q, k, t: g.T @ q * t}),
    ("the key's with P − T alone where w is 1", "upstream gradient was forgotten|dtype",
     {"dk": lambda g, q, k, t: np.sign(g).T @ q / t}),
]:  # fmt: skip
    add("4.5", _mistake, shows=_shows)(_backward(**_how))

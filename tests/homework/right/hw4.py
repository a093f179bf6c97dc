"""Homework 4, written in other styles."""

import importlib.util
import math

import numpy as np

from minissl.autograd import operations as ops
from minissl.autograd.tensor import differentiable
from minissl.training import diagnostics
from tests.homework.planted.hw4_experiment import aligned, handed, near, viewed
from tests.homework.planted.hw4_losses import _backward, _board, _paper

RIGHT = {}
if importlib.util.find_spec("triton"):
    from tests.homework.right.hw4_kernels import RIGHT as KERNELS

    RIGHT |= KERNELS


def right(name):
    """Decorator: the function is a right answer."""

    def keep(function):
        RIGHT[name] = function
        return function

    return keep


# ---- 4.1 -----------------------------------------------------------------------------------------


@right("4.1 a length, or 1")
def by_norm(x):
    length = ops.norm(x, axis=-1, keepdims=True)
    return x / ops.where(length.array == 0, 1.0, length)


@right("4.1 a node of its own")
@differentiable
def by_rule(x, /):
    length = np.sqrt(np.einsum("...i,...i->...", x, x))[..., None]
    y = x / np.where(length > 0, length, 1)

    def rule(g):
        return (g - y * np.sum(g * y, axis=-1, keepdims=True)) / np.where(length > 0, length, 1)

    return y, (rule,)


@right("4.1 a root of squares to which 1 is added where they are 0")
def by_squares(x):
    squares = (x * x).sum(axis=-1, keepdims=True)
    return x * (squares + (squares.numpy() == 0).astype(squares.numpy().dtype)) ** -0.5


# ---- 4.2 -----------------------------------------------------------------------------------------


def _refuse(a, b):
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(f"two views of one shape are needed, not {a.shape} and {b.shape}")


@right("4.2 log_softmax")
def by_log_softmax(first, second, *, gather=False, reduction="sum"):
    _refuse(first, second)
    logs = ops.log_softmax(ops.matmul(first, ops.permute_dims(second, (1, 0))), axis=1)
    numbers = np.arange(first.shape[0])
    rows = -logs[numbers, numbers]
    return {"none": rows, "sum": ops.sum(rows), "mean": ops.mean(rows)}[reduction]


@right("4.2 row by row")
def row_by_row(first, second, *, gather=False, reduction="sum"):
    _refuse(first, second)
    rows = []
    for i in range(first.shape[0]):
        s = ops.sum(second * first[i], axis=1)
        largest = float(s.numpy().max())
        rows.append(ops.log(ops.sum(ops.exp(s - largest))) + largest - s[i])
    rows = ops.stack(rows)
    if reduction == "none":
        return rows
    return ops.sum(rows) / (len(rows) if reduction == "mean" else 1)


@differentiable
def _rows(a, b, /):
    s = a @ b.T
    s = s - s.max(axis=1, keepdims=True)
    p = np.exp(s) / np.exp(s).sum(axis=1, keepdims=True)
    rows = np.log(np.exp(s).sum(axis=1)) - np.diagonal(s)

    def ds(g):
        return g[:, None] * (p - np.eye(len(p), dtype=p.dtype))

    return rows, (lambda g: ds(g) @ b, lambda g: ds(g).T @ a)


@right("4.2 a node of its own")
def board_by_rule(first, second, *, gather=False, reduction="sum"):
    _refuse(first, second)
    rows = _rows(first, second)
    return rows if reduction == "none" else getattr(ops, reduction)(rows)


RIGHT["4.2 the switches at their defaults"] = _board()

# ---- 4.3 -----------------------------------------------------------------------------------------

RIGHT["4.3 the switches at their defaults"] = _paper()
RIGHT["4.3 a mask of −10⁹"] = _paper(mask=-1e9)


def _checked(first, second, temperature):
    _refuse(first, second)
    if not float(temperature) > 0 or math.isinf(float(temperature)):
        raise ValueError(f"the temperature must be positive and finite, got {temperature}")


@right("4.3 without the diagonal")
def own_column_left_out(first, second, temperature, *, gather=False, reduction="mean"):
    """A matrix (2B, 2B − 1): the own column is never taken."""
    _checked(first, second, temperature)
    batch = first.shape[0]
    z = by_norm(ops.concatenate([first, second], axis=0))
    columns = np.array([[j for j in range(2 * batch) if j != i] for i in range(2 * batch)])
    s = ops.take_along_axis(z @ ops.matrix_transpose(z), columns, axis=1) / temperature
    places = [int(np.flatnonzero(c == (i + batch) % (2 * batch))[0]) for i, c in enumerate(columns)]
    rows = -ops.log_softmax(s, axis=1)[np.arange(2 * batch), np.array(places)]
    return rows if reduction == "none" else getattr(rows, reduction)()


@right("4.3 in four blocks")
def four_blocks(first, second, temperature, *, gather=False, reduction="mean"):
    _checked(first, second, temperature)
    a, b = by_rule(first), by_rule(second)
    own = np.where(np.eye(first.shape[0], dtype=bool), -np.inf, 0).astype(a.dtype)
    ab = ops.matmul(a, ops.matrix_transpose(b)) / temperature
    aa = ops.matmul(a, ops.matrix_transpose(a)) / temperature + own
    bb = ops.matmul(b, ops.matrix_transpose(b)) / temperature + own
    pulled = ops.sum(a * b, axis=1) / temperature
    of_first = ops.logsumexp(ops.concatenate([aa, ab], axis=1), axis=1) - pulled
    of_second = ops.logsumexp(ops.concatenate([ops.matrix_transpose(ab), bb], axis=1), axis=1)
    rows = ops.concatenate([of_first, of_second - pulled])
    if reduction == "none":
        return rows
    return ops.sum(rows) if reduction == "sum" else ops.sum(rows) / (2.0 * first.shape[0])


# ---- 4.4 -----------------------------------------------------------------------------------------


@right("4.4 in plain Python")
def spread_in_loops(features):
    rows = [[float(v) for v in row] for row in features]
    lengths = [math.hypot(*row) or 1.0 for row in rows]
    total = 0.0
    for column in zip(*[[v / n for v in row] for row, n in zip(rows, lengths)]):
        mean = math.fsum(column) / len(column)
        total += math.sqrt(math.fsum((v - mean) ** 2 for v in column) / len(column))
    return total / math.sqrt(len(rows[0]))


@right("4.4 squares of means")
def spread_by_squares(features):
    x = np.array(features, dtype=float)
    squares = np.einsum("ij,ij->i", x, x)
    x[squares > 0] /= np.sqrt(squares[squares > 0])[:, None]
    variance = np.maximum((x * x).mean(0) - x.mean(0) ** 2, 0)
    return np.sum(np.sqrt(variance)) / np.sqrt(x.shape[1])


# ---- 4.5 -----------------------------------------------------------------------------------------

RIGHT["4.5 the switches at their defaults"] = _backward(
    weigh=lambda w, d: w[:, None] * d.astype(np.float64)
)


@right("4.5 pair by pair")
def pair_by_pair(upstream, difference, query, key, temperature):
    dq, dk, dt = np.zeros(query.shape), np.zeros(key.shape), 0.0
    for i, q in enumerate(np.asarray(query, float)):
        for j, k in enumerate(np.asarray(key, float)):
            g = float(upstream[i]) * float(difference[i][j])
            dq[i] += g * k / temperature
            dk[j] += g * q / temperature
            dt -= g * float(q @ k) / temperature**2
    return dq, dk, dt


@right("4.5 einsum, in a list")
def by_einsum(upstream, difference, query, key, temperature):
    q, k = np.asarray(query, np.float64), np.asarray(key, np.float64)
    g = np.einsum("i,ij->ij", upstream, difference, dtype=np.float64) / temperature
    dk = np.einsum("ij,id->jd", g, q)
    return [np.einsum("ij,jd->id", g, k), dk, -np.einsum("jd,jd->", dk, k) / temperature]


# ---- 4.8 -----------------------------------------------------------------------------------------

RIGHT["4.8 in loops, and with fit"] = handed(
    alignment=aligned(), neighbors=near(), measure=viewed()
)


def neighbors_by_distance(first, second, labels):
    """Of vectors of length 1 the nearest has the largest cosine."""
    first, second = (x / np.sqrt((x * x).sum(1))[:, None] for x in (first, second))
    distances = ((first[:, None] - second[None]) ** 2).sum(axis=2)
    distances[np.diag_indices(len(distances))] = np.inf
    return (labels[np.argmin(distances, 1)] == labels).mean()


RIGHT["4.8 by distances, and by the library"] = handed(
    alignment=diagnostics.alignment, neighbors=neighbors_by_distance
)

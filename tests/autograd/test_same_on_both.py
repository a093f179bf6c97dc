"""The same call on NumPy and on torch arrays: the same shape, the same values, the same error."""

import math

import numpy as np
import pytest
import torch

from minissl.autograd import Tensor, fused
from minissl.autograd import operations as ops
from minissl.losses import contrastive, words
from tests.autograd.compare import to_float64

X = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)


def outcome(call, library):
    """Shape, values and gradient; or the kind of error."""
    x = Tensor(library(X), requires_grad=True)
    try:
        y = call(x, library)
    except (IndexError, ValueError, TypeError, ZeroDivisionError) as error:
        known = (IndexError, ValueError, TypeError, ZeroDivisionError)
        return next(kind for kind in known if isinstance(error, kind)), str(error)
    if not y.requires_grad:
        return y.shape, to_float64(y.array), None
    y.backward(library(np.full(y.shape, 0.5, np.float32)))
    return y.shape, to_float64(y.array), to_float64(x.grad)


def agree(call):
    here, there = outcome(call, np.asarray), outcome(call, torch.tensor)
    assert here[0] == there[0], (here, there)
    if isinstance(here[0], tuple):
        np.testing.assert_allclose(here[1], there[1], rtol=1e-5, atol=1e-6)
        if here[2] is not None:
            np.testing.assert_allclose(here[2], there[2], rtol=1e-5, atol=1e-6)
    return here[0]


ix = np.array([1, 0, 1])
INDICES = [
    np.s_[0, :, ix],
    np.s_[:, 0, ix],
    np.s_[ix, :, 0],
    np.s_[ix, None, 0],
    np.s_[..., ix, ix],
    np.s_[ix, :, ix],
    np.s_[ix, ..., ix],
    np.s_[None, ix, 1:, ix],
    np.s_[0, ix],
    np.s_[np.array(1), :, ix],
    np.s_[np.int64(1), np.int32(2)],
    np.s_[ix.astype(np.int32)],
    np.s_[ix.astype(np.uint8)],
    np.s_[:, ix.astype(np.int16), ::2],
    np.s_[[1, 0], [2, 2]],
    np.s_[[]],
    np.s_[:, []],
    np.s_[np.zeros((0, 2), int)],
    np.s_[::-1],
    np.s_[:, ::-2, 3:0:-1],
    np.s_[ix, ::-1],
    np.s_[5:],
    np.s_[:, 2:1],
    np.s_[X > 0],
    np.s_[X > 9],
    np.s_[np.array([True, False])],
    np.s_[np.array([True, False]), 0],
    np.s_[:, np.array([True, False, True])],
    np.s_[np.array([True, True]), :, np.array([True, False, True, False])],
    np.s_[True],
    np.s_[False, 0],
    np.s_[None, 0, None],
    np.s_[-1, -1, -1],
    np.s_[-ix],
    np.s_[7],  # from here on: errors
    np.s_[ix + 5],
    np.s_[0, 0, 0, 0],
    np.s_[np.array([0.5])],
    np.s_[1.0],
    np.s_[ix, np.array([0, 1])],
    np.s_[np.array([True, False, True])],
]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_indices(index):
    try:
        expected = X[index].shape  # NumPy says what is meant
    except IndexError:
        expected = IndexError
    assert agree(lambda x, _: x[index]) == expected
    whole = isinstance(index, tuple)
    in_library = lambda i, lib: lib(np.array(i)) if isinstance(i, np.ndarray) else i  # noqa: E731
    for wrap in (in_library, lambda i, lib: Tensor(in_library(i, lib)) if i is ix else i):
        assert expected == agree(
            lambda x, lib, wrap=wrap: x[
                tuple(wrap(i, lib) for i in index) if whole else wrap(index, lib)
            ]
        )


def integer(*values, dtype=np.int32):
    return lambda library: library(np.array(values, dtype))


CALLS = {
    "take int32": lambda x, lib: ops.take(x, integer(1, 0, 1)(lib)),
    "take uint8": lambda x, lib: ops.take(x, integer(1, 0, dtype=np.uint8)(lib), axis=2),
    "take nothing": lambda x, lib: ops.take(x, [], axis=1),
    "take sparse": lambda x, lib: ops.take(x, integer(1, 0, 1, dtype=np.uint8)(lib), sparse=True),
    "take sparse, nothing": lambda x, lib: ops.take(x, [], sparse=True),
    "take sparse, axis 1": lambda x, lib: ops.take(x, [0], axis=1, sparse=True),
    "take sparse, too far": lambda x, lib: ops.take(x, [2], sparse=True),
    "negative sampling": lambda x, lib: words.negative_sampling(
        x[0], x[1], ops.permute_dims(x, (1, 0, 2))
    ),
    "logistic loss of lists": lambda x, lib: fused.logistic_loss(x[0, 0], [1, 0, 2, 0], [0] * 4),
    "logistic loss, other shape": lambda x, lib: fused.logistic_loss(x[0], [1, 0], [0, 1]),
    "take negative": lambda x, lib: ops.take(x, [-1]),
    "take too far": lambda x, lib: ops.take(x, [2]),
    "take floats": lambda x, lib: ops.take(x, [0.0]),
    "take masks": lambda x, lib: ops.take(x, lib(np.array([True]))),
    "along int32": lambda x, lib: ops.take_along_axis(x, lib(np.ones((2, 3, 1), np.int32))),
    "along negative": lambda x, lib: ops.take_along_axis(x, lib(-np.ones((2, 3, 1), int))),
    "along too far": lambda x, lib: ops.take_along_axis(x, lib(np.full((2, 3, 1), 4))),
    "along, fewer axes": lambda x, lib: ops.take_along_axis(x, lib(np.ones(1, int))),
    "along, other sizes": lambda x, lib: ops.take_along_axis(x, lib(np.ones((3, 3, 1), int))),
    "targets int32": lambda x, lib: fused.cross_entropy(x, lib(np.ones((2, 3), np.int32))),
    "targets uint8": lambda x, lib: fused.cross_entropy(x, lib(np.ones((2, 3), np.uint8))),
    "targets int16 list": lambda x, lib: fused.cross_entropy(x[0], np.ones(3, np.int16)),
    "targets of floats": lambda x, lib: fused.cross_entropy(x, lib(np.ones((2, 3)))),
    "nce targets int32": lambda x, lib: fused.contrastive_cross_entropy(
        x[0], x[0], integer(1, 2, 0)(lib)
    ),
    "nce targets of floats": lambda x, lib: fused.contrastive_cross_entropy(
        x[0], x[0], lib(np.ones(3, "f4"))
    ),
    "nce too few targets": lambda x, lib: fused.contrastive_cross_entropy(
        x[0], x[0], integer(1, 2)(lib)
    ),
    "nce targets of masks": lambda x, lib: fused.contrastive_cross_entropy(
        x[0], x[0], lib(np.ones(3, bool))
    ),
    "nce own targets": lambda x, lib: fused.contrastive_cross_entropy(
        x[0], x[0], integer(0, 2, 1)(lib), exclude_self=True
    ),
    "nce temperature": lambda x, lib: fused.contrastive_cross_entropy(
        x[0], x[0], temperature=np.array([0.5])
    ),
    "no rows, no classes": lambda x, lib: fused.cross_entropy(x[0, :0, :0], integer()(lib)),
    "lengths int32": lambda x, lib: fused.attention(
        *[x[None]] * 3, causal=True, key_lengths=integer(2)(lib)
    ),
    "clip by floats": lambda x, lib: ops.clip(Tensor(lib(np.arange(4))), 0.5, 2.5),
    "clip by whole floats": lambda x, lib: ops.clip(Tensor(lib(np.arange(4))), 1.0, 2.0),
    "clip uint8 by more": lambda x, lib: ops.clip(Tensor(lib(np.arange(4, dtype="u1"))), -5, 300),
    "clip by NaN": lambda x, lib: ops.clip(x, math.nan),
    "clip the wrong way": lambda x, lib: ops.clip(x, 2, 1),
    "min uint8": lambda x, lib: ops.min(Tensor(lib(np.array([3, 0, 2], np.uint8)))),
    "min bool": lambda x, lib: ops.min(Tensor(lib(np.array([True, False])))),
    "min int64": lambda x, lib: ops.min(Tensor(lib(np.array([-(2**63), 5]))) > 0),
    "max uint8": lambda x, lib: ops.max(Tensor(lib(np.array([[3, 0]], np.uint8))), axis=1),
    "max bool": lambda x, lib: ops.max(Tensor(lib(np.array([True, False])))),
    "sum uint8": lambda x, lib: ops.sum(Tensor(lib(np.full(300, 255, np.uint8)))),
    "mean int32": lambda x, lib: ops.mean(Tensor(lib(np.array([1, 2], np.int32)))),
    "negative uint8": lambda x, lib: -Tensor(lib(np.array([1], np.uint8))),
    "negative bool": lambda x, lib: -Tensor(lib(np.array([True]))),
    "where a number": lambda x, lib: ops.where(lib(np.array([0, 2, -1, 0])), x, 7.0),
    "where NaN": lambda x, lib: ops.where(lib(np.array([0, math.nan], "f4")), 1.0, 7.0),
    "power 0": lambda x, lib: x**0,
    "astype by name": lambda x, lib: x.astype("float64").astype("float32"),
    "pad": lambda x, lib: ops.pad(x, ((0, 1), (2, 0), (0, 0)), value=-1),
    "split": lambda x, lib: ops.split(x, 2, axis=-1)[1],
    "pool of nothing": lambda x, lib: fused.max_pool2d(x[None, :0], 2),
}
for _name in ("max", "min", "softmax", "log_softmax", "logsumexp", "sum", "mean", "norm"):
    for _axis in (0, 1, -4, 3, (0, 0), None, (0, -1)):
        if _name.endswith("softmax") and not isinstance(_axis, int):
            continue
        for _rows in (slice(None), slice(0), 0):
            CALLS[f"{_name} {_axis} of {_rows}"] = lambda x, lib, n=_name, a=_axis, r=_rows: (
                getattr(ops, n)(x[:, r], axis=a)
            )
for _type in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"):
    for _target in (0, 2, 156, 199, 200, 255, -1, -100):  # 156 is −100 in uint8
        if np.iinfo(_type).min <= _target <= np.iinfo(_type).max:
            _targets = integer(_target, dtype=_type)
            CALLS[f"target {_target} of 200 in {_type}"] = lambda x, lib, t=_targets: (
                fused.cross_entropy(x[0, :1, :1] * lib(np.linspace(0, 1, 200, dtype="f4")), t(lib))
            )
            CALLS[f"contrastive target {_target} of 3 in {_type}"] = lambda x, lib, t=_targets: (
                fused.contrastive_cross_entropy(x[0, :1], x[1], t(lib))
            )
for _name in ("nt_xent", "info_nce", "simclr_cs229"):
    for _reduction in ("none", "sum", "mean"):
        CALLS[f"{_name} of no rows, {_reduction}"] = lambda x, lib, n=_name, r=_reduction: getattr(
            contrastive, n
        )(x[0, :0], x[0, :0], reduction=r, **({} if n == "simclr_cs229" else {"temperature": 0.5}))
for _axis in (0, 2, -4, 5):
    CALLS[f"cumsum {_axis}"] = lambda x, lib, a=_axis: ops.cumsum(x, axis=a)
    CALLS[f"expand {_axis}"] = lambda x, lib, a=_axis: ops.expand_dims(x, axis=a)
    CALLS[f"squeeze {_axis}"] = lambda x, lib, a=_axis: ops.squeeze(x[:1], axis=a)
    CALLS[f"concatenate {_axis}"] = lambda x, lib, a=_axis: ops.concatenate([x, x[:0]], axis=a)
    CALLS[f"stack {_axis}"] = lambda x, lib, a=_axis: ops.stack([x, x], axis=a)
    CALLS[f"permute {_axis}"] = lambda x, lib, a=_axis: x.permute_dims(a, 1, 0)
for _shape in ((2, 3, 4), (5, 2, 3, 4), (4,), (2, 5, 4), (-1,), (3, -1), (5, -1), (0,), ()):
    CALLS[f"broadcast {_shape}"] = lambda x, lib, s=_shape: ops.broadcast_to(x, s)
    CALLS[f"reshape {_shape}"] = lambda x, lib, s=_shape: x.reshape(s)
    CALLS[f"add {_shape}"] = lambda x, lib, s=_shape: (
        x + lib(np.ones([abs(n) for n in s], np.float32))
    )
    CALLS[f"multiply empty {_shape}"] = lambda x, lib, s=_shape: (
        x[:0] * lib(np.ones([abs(n) for n in s], np.float32))
    )
    CALLS[f"matmul {_shape}"] = lambda x, lib, s=_shape: (
        x @ lib(np.ones([abs(n) for n in s], np.float32))
    )


@pytest.mark.parametrize("name", CALLS)
def test_calls(name):
    agree(CALLS[name])

"""Homework 3, the model: masks and attention. Tasks 3.3 and 3.4."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.composed import dropout_mask
from minissl.autograd.tensor import Tensor
from minissl.homework.assignments import hw3_oracle as oracle
from minissl.homework.assignments.again import asked_again
from minissl.homework.guard import ENGINE
from minissl.homework.task import Draw, Task, Wrong, call, expect, expect_error

COMPOSED = "minissl.autograd.composed"


def gradients(
    function: Callable[..., Any],
    arrays: list[NDArray],
    cotangent: NDArray,
    given: Mapping[str, Any],
    **options: Any,
) -> list[NDArray]:
    """The gradient of each array, by ``backward(cotangent)``; Wrong when none arrives."""
    tensors = [Tensor(array.copy(), requires_grad=True) for array in arrays]
    output = call(function, *tensors, **options)
    if not isinstance(output, Tensor) or not output.requires_grad:
        sentence = "the answer does not depend on its inputs through the graph: stay with Tensors"
        raise Wrong(sentence, given, type(output).__name__, "a Tensor that requires_grad")
    call(output.backward, cotangent)
    return [np.zeros_like(t.array) if t.grad is None else t.grad for t in tensors]


# ---- 3.3 allowed_keys ----------------------------------------------------------------------------

allowed_keys = Task("3.3", f"{COMPOSED}:allowed_keys", "who may see what", "lecture 06, section 3")


def _check_allowed(subject: Any, shape: tuple[int, ...], causal: bool, lengths: Any) -> None:
    given = {"shape": shape, "causal": causal, "key_lengths": lengths}
    got = call(subject, shape, causal, None if lengths is None else np.array(lengths))
    if not isinstance(got, np.ndarray | None):
        raise Wrong("expected an array of booleans or None", given, got, "an array or None")
    mask = np.array(True if got is None else got)
    try:
        whole = np.broadcast_to(mask, shape)
    except ValueError:
        sentence = f"shape {mask.shape} cannot be broadcast to (batch, heads, query, key) = {shape}"
        raise Wrong(sentence, given, got, "an array that can be broadcast") from None

    def by(**how: Any) -> NDArray:
        return oracle.allowed(shape, causal, lengths, **how)

    shift = shape[3] - shape[2]
    symptoms = {
        "the first query and key are aligned: the last ones must be": by(shift=0),
        "the shift has the wrong sign: it is key_time − query_time": by(shift=-shift),
        "a token may not see itself: key j is seen for j ≤ i, not j < i": by(shift=shift - 1),
        "a token sees the one after it: the mask is off by one": by(shift=shift + 1),
        "queries see the future and not the past": by(later=True),
        "True and False are exchanged: True is what may be seen": ~by(),
        "nothing is masked": np.ones(shape, bool),
        "an example with 0 keys sees one: it sees nothing": by(least=1),
        "one key of the padding is seen": by(longer=1),
        "the last key that is not padding is not seen": by(longer=-1),
        "the padding hides queries: it must hide keys": by(lengths_of="queries"),
        "causal or not padding: both must hold": by(either=True),
        "key_lengths is not used here: it holds for every query, causal or not": oracle.allowed(
            shape, causal, None
        ),
        "causal is not used here": oracle.allowed(shape, True, lengths),
    }
    expect(np.array(whole), by(), given=given, symptoms=symptoms)


@allowed_keys.check(2)
def no_look_ahead(subject: Any, draw: Draw) -> None:
    """Causal: a token sees itself and those before it."""
    for n in draw.cases(2, 3, 1, more=lambda g: int(g.integers(2, 6))):
        _check_allowed(subject, (1, 1, n, n), True, None)
        _check_allowed(subject, (1, 1, n, n), False, None)


@allowed_keys.check(2)
def aligned_at_the_end(subject: Any, draw: Draw) -> None:
    """The last query sees the last key, also when there are more keys than queries, or fewer."""
    fixed = [(1, 3), (2, 4), (2, 5), (4, 2)]
    for queries, keys in draw.cases(*fixed, more=lambda g: tuple(g.integers(1, 6, size=2))):
        _check_allowed(subject, (1, 1, int(queries), int(keys)), True, None)


@allowed_keys.check(2)
def padding(subject: Any, draw: Draw) -> None:
    """Only the first key_lengths keys of each example may be seen, causal or not."""
    fixed: list[tuple[tuple[int, ...], list[int]]] = [
        ((1, 1, 3, 4), [2]),
        ((2, 1, 3, 3), [3, 1]),
        ((2, 2, 2, 3), [1, 0]),
        ((2, 1, 4, 4), [2, 3]),
    ]

    def more(generator: np.random.Generator) -> tuple[tuple[int, ...], list[int]]:
        batch, heads, queries, keys = (int(n) for n in generator.integers(1, 5, size=4))
        return (batch, heads, queries, keys), generator.integers(0, keys + 1, size=batch).tolist()

    sees_one, sees_two = np.array([1]), np.array([2])
    asked_again(subject, ((1, 1, 2, 3), False, sees_one), ((1, 1, 2, 3), False, sees_two))
    for shape, lengths in draw.cases(*fixed, more=more):
        _check_allowed(subject, shape, False, lengths)
        _check_allowed(subject, shape, True, lengths)
    for refused in (np.array([3]), np.array([1.0, 2.0]), np.array(2)):
        expect_error(ValueError, subject, (2, 1, 3, 3), False, refused)


# ---- 3.4 attention -------------------------------------------------------------------------------

attention = Task(
    "3.4",
    f"{COMPOSED}:attention",
    "attention",
    "lecture 06, section 2",
    hides=("namespace",),
    allows=(*ENGINE, "check_key_lengths"),
)
Sizes = tuple[int, int, int, int, int, int]  # batch, heads, query, key, head_dim, value_dim


def _sizes(generator: np.random.Generator) -> Sizes:
    b, h, q, k, d, v = (int(n) for n in generator.integers(1, 5, size=6))
    return b, h, q, k, d + 1, v + 1


def _inputs(draw: Draw, sizes: Sizes) -> list[NDArray]:
    b, h, q, k, d, v = sizes
    return [2 * draw.normal(b, h, q, d), 2 * draw.normal(b, h, k, d), draw.normal(b, h, k, v)]


def _other_roots(query: NDArray, key: NDArray, value: NDArray) -> dict[str, float]:
    """Sentence -> the scale of who takes another size for head_dim."""
    sizes = {"value_dim": value.shape[3], "key_time": key.shape[2], "query_time": query.shape[2]}
    return {
        f"the scores are divided by √{name}, not by √head_dim": 1 / math.sqrt(size)
        for name, size in sizes.items()
        if size not in (1, query.shape[3], query.shape[3] ** 2)
    }


def _check_attention(subject: Any, inputs: list[NDArray], seen: Any, **options: Any) -> None:
    given = dict(zip(("query", "key", "value"), inputs)) | options
    scale, head_dim = options.get("scale"), inputs[0].shape[-1]
    query, key, value = inputs

    def by(**how: Any) -> Any:
        settings: dict[str, Any] = {"scale": scale} | how
        return oracle.attention(query, key, value, seen, **settings)

    causal, lengths = options.get("causal", False), options.get("key_lengths")
    shape = (*query.shape[:3], key.shape[2])
    symptoms = {
        "the scores are not divided by √head_dim": by(scale=1.0),
        "the scores are divided by head_dim, not by its root": by(scale=1 / head_dim),
        "the scores are multiplied with √head_dim": by(scale=math.sqrt(head_dim)),
        "scale is not used": by(scale=None),
        "softmax runs over the queries: each query's weights must add up to 1": by(axis=-2),
        "the score of what may not be seen is not small enough: use −∞ or the smallest number": (
            by(mask="small")
        ),
        "the mask comes after the softmax: the weights do not add up to 1 any more": by(
            mask="after"
        ),
        "a query that may see nothing must give zeros, not the mean of all values": by(mask="mean"),
        "what may not be seen gets the score 0, which is no small score: use −∞": by(mask="zero"),
        "nothing is masked": oracle.attention(query, key, value, scale=scale),
        "key_lengths is not used when causal, too: both hold": oracle.attention(
            query, key, value, oracle.allowed(shape, causal, None), scale=scale
        ),
        "causal is not used when there are key_lengths, too: both hold": oracle.attention(
            query, key, value, oracle.allowed(shape, False, lengths), scale=scale
        ),
        "the first query and key are aligned: the last ones must be": oracle.attention(
            query, key, value, oracle.allowed(shape, causal, lengths, shift=0), scale=scale
        ),
    }
    symptoms |= {s: by(scale=scale) for s, scale in _other_roots(query, key, value).items()}
    got = call(subject, *map(Tensor, inputs), **options)
    expect(got, by(), given=given, symptoms=symptoms)


@attention.check(2)
def weighted_means(subject: Any, draw: Draw) -> None:
    """softmax(Q Kᵀ / √head_dim) V, for any shapes."""
    fixed: list[Sizes] = [(1, 1, 1, 2, 4, 3), (1, 1, 2, 3, 2, 2), (1, 1, 2, 5, 3, 2)]
    for sizes in draw.cases(*fixed, (2, 3, 4, 4, 3, 5), more=_sizes):
        _check_attention(subject, _inputs(draw, sizes), True)


@attention.check(1)
def given_scale(subject: Any, draw: Draw) -> None:
    """A scale that is given takes the place of 1/√head_dim."""
    for sizes in draw.cases((1, 1, 1, 2, 4, 1), (1, 2, 2, 3, 2, 2), more=_sizes):
        for scale in (0.3, 0.0):
            _check_attention(subject, _inputs(draw, sizes), True, scale=scale)


@attention.check(3)
def masked(subject: Any, draw: Draw) -> None:
    """Keys that may not be seen have weight 0, and a query that sees none gives zeros."""
    fixed: list[Sizes] = [(1, 1, 2, 2, 2, 2), (1, 1, 2, 4, 2, 1), (2, 2, 3, 3, 4, 2)]
    for sizes in draw.cases(*fixed, (1, 1, 3, 2, 2, 2), more=_sizes):
        inputs, shape, keys = _inputs(draw, sizes), sizes[:4], sizes[3]
        lengths = draw.generator.integers(1, keys + 1, size=sizes[0])
        masks: list[tuple[bool, Any]] = [(True, None), (False, lengths), (True, lengths)]
        for causal, some in (*masks, (True, 0 * lengths)):
            seen = oracle.allowed(shape, causal, some)
            _check_attention(subject, inputs, seen, causal=causal, key_lengths=some)
        far = [300 * inputs[0], *inputs[1:]]  # scores of hundreds, so that −100 is large
        seen = oracle.allowed(shape, True, lengths.tolist())
        _check_attention(subject, far, seen, causal=True, key_lengths=lengths)


@attention.check(1)
def large_scores(subject: Any, draw: Draw) -> None:
    """Scores of a thousand do not overflow, and float32 stays float32."""
    for sizes in draw.cases((1, 1, 2, 2, 2, 1), (1, 2, 3, 3, 4, 2), more=_sizes):
        query, key, value = (x.astype(np.float32) for x in _inputs(draw, sizes))
        query *= 1000
        expected = oracle.attention(*(x.astype(np.float64) for x in (query, key, value)))
        with np.errstate(all="ignore"):
            got = call(subject, *map(Tensor, (query, key, value)))
        given = {"query": query, "key": key, "value": value}
        expect(got, expected.astype(np.float32), given=given, tolerance=1e-3)
        query /= 1000
        seen = oracle.allowed(sizes[:4], True, None)
        kept = dropout_mask(sizes[:4], 0.3, 7) / 0.7
        q, k, v = (x.astype(np.float64) for x in (query, key, value))
        expected = oracle.attention(q, k, v, seen, kept=kept)
        options: dict[str, Any] = {"causal": True, "dropout": 0.3, "seed": 7}
        got = call(subject, *map(Tensor, (query, key, value)), **options)
        expect(got, expected.astype(np.float32), given={**given, **options})


@attention.check(1)
def gradients_of_attention(subject: Any, draw: Draw) -> None:
    """The gradients of query, key and value, masked or not, are those of finite differences."""
    for sizes in draw.cases((1, 1, 2, 2, 2, 1), (1, 2, 3, 4, 2, 3), more=_sizes):
        inputs = _inputs(draw, sizes)
        lengths = draw.generator.integers(0, sizes[3] + 1, size=sizes[0])
        cotangent, along = (
            draw.normal(*sizes[:3], sizes[5]),
            [draw.normal(*x.shape) for x in inputs],
        )
        masks: list[tuple[bool, Any]] = [(False, None), (True, lengths)]
        for causal, some in masks:
            seen = oracle.allowed(sizes[:4], causal, some)
            given: dict[str, Any] = dict(zip(("query", "key", "value"), inputs))
            given |= {"causal": causal, "key_lengths": some}
            got = gradients(subject, inputs, cotangent, given, causal=causal, key_lengths=some)
            for number, name in enumerate(("query", "key", "value")):
                slope = oracle.attention_slope(inputs, number, along[number], cotangent, seen)
                said = float((got[number] * along[number]).sum())
                size = 1 + float(np.linalg.norm(got[number]))
                if not abs(said - slope) < 1e-6 * size:  # a NaN is wrong too
                    sentence = f"the gradient of {name} is wrong, along a random direction"
                    raise Wrong(sentence, given, said, slope)


@attention.check(1)
def dropped_weights(subject: Any, draw: Draw) -> None:
    """Dropout takes weights after the softmax, and the others grow."""
    for sizes in draw.cases((1, 1, 2, 3, 2, 2), more=_sizes):
        inputs, p = _inputs(draw, sizes), 0.4
        query, key, value = inputs
        kept = dropout_mask(sizes[:4], p, 5)
        symptoms = {
            "the weights that are kept must grow by 1 / (1 − dropout)": oracle.attention(
                query, key, value, kept=kept
            ),
            "nothing is dropped": oracle.attention(query, key, value),
            "dropout comes before the softmax": oracle.attention(query, key, value, kept),
            "the weights that are kept must grow by 1 / (1 − dropout), not by 1 − dropout": (
                oracle.attention(query, key, value, kept=kept * (1 - p))
            ),
            "True in dropout_mask is a weight that is kept, not one that is dropped": (
                oracle.attention(query, key, value, kept=~kept / (1 - p))
            ),
        }
        got = call(subject, *map(Tensor, inputs), dropout=p, seed=5)
        given = dict(zip(("query", "key", "value"), inputs)) | {"dropout": p, "seed": 5}
        expected = oracle.attention(query, key, value, kept=kept / (1 - p))
        otherwise = "the dropped weights are not those of dropout_mask(shape, dropout, seed)"
        expect(got, expected, given=given, symptoms=symptoms, otherwise=otherwise)

"""Homework 3, the model: masks, attention, heads and a block. Tasks 3.3 to 3.6."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.composed import dropout_mask
from minissl.autograd.tensor import Tensor
from minissl.homework.assignments import hw3_oracle as oracle
from minissl.homework.task import Draw, Task, Wrong, call, expect, expect_error
from minissl.nn import KeyValueCache
from minissl.nn.transformer import TransformerConfig

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

allowed_keys = Task("3.3", f"{COMPOSED}:allowed_keys", "who may see what", "lectures/06, section 3")


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
        "one key of the padding is seen": by(longer=1),
        "the last key that is not padding is not seen": by(longer=-1),
        "the padding hides queries: it must hide keys": by(lengths_of="queries"),
        "causal or not padding: both must hold": by(either=True),
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

    for shape, lengths in draw.cases(*fixed, more=more):
        _check_allowed(subject, shape, False, lengths)
        _check_allowed(subject, shape, True, lengths)
    expect_error(ValueError, subject, (2, 1, 3, 3), False, np.array([3]))


# ---- 3.4 attention -------------------------------------------------------------------------------

attention = Task("3.4", f"{COMPOSED}:attention", "attention", "lectures/06, section 2")
Sizes = tuple[int, int, int, int, int, int]  # batch, heads, query, key, head_dim, value_dim


def _sizes(generator: np.random.Generator) -> Sizes:
    b, h, q, k, d, v = (int(n) for n in generator.integers(1, 5, size=6))
    return b, h, q, k, d + 1, v + 1


def _inputs(draw: Draw, sizes: Sizes) -> list[NDArray]:
    b, h, q, k, d, v = sizes
    return [2 * draw.normal(b, h, q, d), 2 * draw.normal(b, h, k, d), draw.normal(b, h, k, v)]


def _check_attention(subject: Any, inputs: list[NDArray], seen: Any, **options: Any) -> None:
    given = dict(zip(("query", "key", "value"), inputs)) | options
    scale = options.get("scale")

    query, key, value = inputs

    def by(**how: Any) -> Any:
        settings: dict[str, Any] = {"scale": scale} | how
        return oracle.attention(query, key, value, seen, **settings)

    head_dim = inputs[0].shape[-1]
    symptoms = {
        "the scores are not divided by √head_dim": by(scale=1.0),
        "the scores are divided by head_dim, not by its root": by(scale=1 / head_dim),
        "the scores are multiplied with √head_dim": by(scale=math.sqrt(head_dim)),
        "scale is not used": by(scale=None),
        "softmax runs over the queries: each query's weights must add up to 1": by(axis=-2),
        "the mask comes after the softmax: the weights do not add up to 1 any more": by(
            mask="after"
        ),
        "a query that may see nothing must give zeros, not the mean of all values": by(mask="mean"),
        "what may not be seen gets the score 0, which is no small score: use −∞": by(mask="zero"),
        "nothing is masked": oracle.attention(query, key, value, scale=scale),
    }
    got = call(subject, *map(Tensor, inputs), **options)
    expect(got, by(), given=given, symptoms=symptoms)


@attention.check(2)
def weighted_means(subject: Any, draw: Draw) -> None:
    """softmax(Q Kᵀ / √head_dim) V, for any shapes."""
    fixed: list[Sizes] = [(1, 1, 1, 2, 4, 1), (1, 1, 2, 3, 2, 2), (2, 3, 4, 4, 3, 5)]
    for sizes in draw.cases(*fixed, more=_sizes):
        _check_attention(subject, _inputs(draw, sizes), True)


@attention.check(1)
def given_scale(subject: Any, draw: Draw) -> None:
    """A scale that is given takes the place of 1/√head_dim."""
    for sizes in draw.cases((1, 1, 1, 2, 4, 1), (1, 2, 2, 3, 2, 2), more=_sizes):
        _check_attention(subject, _inputs(draw, sizes), True, scale=0.3)


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
        }
        got = call(subject, *map(Tensor, inputs), dropout=p, seed=5)
        given = dict(zip(("query", "key", "value"), inputs)) | {"dropout": p, "seed": 5}
        expected = oracle.attention(query, key, value, kept=kept / (1 - p))
        expect(got, expected, given=given, symptoms=symptoms)


# ---- 3.5 split_heads -----------------------------------------------------------------------------

split_heads = Task(
    "3.5",
    "minissl.nn.attention:split_heads",
    "split the heads",
    "lectures/06, section 5",
    hides=("_split", "_join"),
)


def _head_shapes(generator: np.random.Generator) -> tuple[int, int, int, int]:
    batch, time, heads, dim = (int(n) for n in generator.integers(1, 5, size=4))
    return batch, time, heads, dim


HEADS = [(1, 1, 1, 2), (1, 1, 2, 2), (1, 2, 2, 1), (1, 3, 2, 2), (2, 3, 2, 4)]


def _mistaken_heads(x: NDArray, heads: int) -> dict[str, NDArray]:
    batch, time, width = x.shape
    dim = width // heads
    return {
        "reshaped alone: time and heads must be exchanged": x.reshape(batch, heads, time, dim),
        "time and heads are not exchanged: the shape is (batch, time, heads, head_dim)": (
            x.reshape(batch, time, heads, dim)
        ),
        "a head must be a slice of the width, not every num_heads-th number": (
            x.reshape(batch, time, dim, heads).transpose(0, 3, 1, 2)
        ),
        "the last two axes are exchanged": oracle.heads(x, heads).swapaxes(2, 3),
        "batch and heads are exchanged": oracle.heads(x, heads).swapaxes(0, 1),
    }


@split_heads.check(3)
def slices(subject: Any, draw: Draw) -> None:
    """Head h of token t is a slice of the width of token t."""
    for batch, time, heads, dim in draw.cases(*HEADS, more=_head_shapes):
        x = np.arange(batch * time * heads * dim, dtype=np.float64).reshape(batch, time, -1)
        got = call(subject, Tensor(x), num_heads=heads)
        given = {"x": x, "num_heads": heads}
        expect(got, oracle.heads(x, heads), given=given, symptoms=_mistaken_heads(x, heads))


@split_heads.check(2)
def the_way_back(subject: Any, draw: Draw) -> None:
    """The gradient of each number arrives where the number came from."""
    for batch, time, heads, dim in draw.cases(*HEADS, more=_head_shapes):
        x = draw.normal(batch, time, heads * dim)
        # The gradient of element n is n: where it must arrive is what splitting would undo.
        right = np.arange(x.size, dtype=np.float64).reshape(x.shape)
        cotangent = oracle.heads(right, heads)
        given = {"x": x, "num_heads": heads, "gradient of the answer": cotangent}
        (got,) = gradients(subject, [x], cotangent, given, num_heads=heads)
        symptoms = {
            "the gradient is only reshaped: exchange time and heads first": cotangent.reshape(
                x.shape
            ),
            "the gradient is joined as if a head were not a slice of the width": (
                cotangent.transpose(0, 2, 3, 1).reshape(x.shape)
            ),
            "no gradient comes back": np.zeros_like(x),
        }
        expect(got, right, given=given, symptoms=symptoms)


# ---- 3.6 Block.forward ---------------------------------------------------------------------------

block = Task("3.6", "minissl.nn.transformer:Block.forward", "a block", "lectures/06, section 7")


def _block(subject: Any, draw: Draw, **choices: Any) -> tuple[Any, dict[str, NDArray]]:
    """A block of width 8 with 2 heads in float64, all its parameters random; and those."""
    config = TransformerConfig(num_layers=1, width=8, num_heads=2, hidden_width=12, **choices)
    made = call(subject, config, generator=draw.generator).astype(np.float64)
    for parameter in made.parameters():
        parameter.array = 0.5 * draw.normal(*parameter.shape)
    return made, {name: parameter.array for name, parameter in made.named_parameters()}


def _check_block(
    subject: Any, draw: Draw, shape: tuple[int, int], memory: Any = None, **options: Any
) -> None:
    norm_first = options.pop("norm_first", True)
    choices = {"norm_first": norm_first, "cross_attention": memory is not None}
    made, parameters = _block(subject, draw, **choices)
    x = draw.normal(*shape, 8)

    def by(**how: Any) -> NDArray:
        settings = {"memory": memory, "norm_first": norm_first, **options, **how}
        return oracle.block(x, parameters, 2, **settings)

    symptoms = {sentence: by(how=how) for sentence, how in oracle.BLOCK_MISTAKES.items()}
    for name in ("causal", "key_lengths", "memory_lengths"):
        if name in options:
            symptoms[f"{name} is not handed on"] = by(**{name: None})
    inputs = (Tensor(x),) if memory is None else (Tensor(x), Tensor(memory))
    given = {"x": x, "memory": memory, **options, **choices, "parameters": "random"}
    got = call(made, *inputs, **options)
    expect(got, by(), given=given, symptoms=symptoms)


@block.check(3)
def two_branches(subject: Any, draw: Draw) -> None:
    """x + attention(norm(x)), then x + mlp(norm(x))."""
    for shape in draw.cases((1, 1), (1, 2), (2, 3), more=lambda g: tuple(g.integers(1, 5, size=2))):
        _check_block(subject, draw, shape)


@block.check(2)
def what_attention_needs(subject: Any, draw: Draw) -> None:
    """The mask, the lengths and the cache reach the attention."""
    for time in draw.cases(2, 3, more=lambda g: int(g.integers(2, 6))):
        _check_block(subject, draw, (1, time), causal=True)
        _check_block(subject, draw, (2, time), key_lengths=np.array([1, time]))
        made, parameters = _block(subject, draw)
        x, cache = draw.normal(1, time, 8), KeyValueCache(8)
        expected = oracle.block(x, parameters, 2, causal=True)
        made = made.eval().freeze()
        got = [call(made, Tensor(x[:, i : i + 1]), causal=True, cache=cache) for i in range(time)]
        alone = [oracle.block(x[:, i : i + 1], parameters, 2) for i in range(time)]
        symptoms = {"the cache is not handed on": np.concatenate(alone, axis=1)}
        given = {"x": x, "the tokens come": "one by one, with a KeyValueCache"}
        expect(np.concatenate(got, axis=1), expected, given=given, symptoms=symptoms)


@block.check(2)
def other_blocks(subject: Any, draw: Draw) -> None:
    """norm(x + f(x)) where norm_first is False; cross-attention where there is a memory."""
    for shape in draw.cases((1, 2), (2, 3), more=lambda g: tuple(g.integers(1, 5, size=2))):
        memory, lengths = draw.normal(shape[0], 4, 8), np.array([1, 3, 2, 4])[: shape[0]]
        _check_block(subject, draw, shape, norm_first=False)
        _check_block(subject, draw, shape, memory=memory)
        _check_block(subject, draw, shape, memory=memory, memory_lengths=lengths, causal=True)


@block.check(1)
def dropped_branches(subject: Any, draw: Draw) -> None:
    """In training, dropout falls on each branch before it is added, never on x."""
    for time in draw.cases(3, more=lambda g: int(g.integers(3, 6))):
        for silent in ("mlp.output", "attention.output"):
            made, parameters = _block(subject, draw, dropout=0.5)
            for part in ("weight", "bias"):
                parameters[f"{silent}.{part}"][...] = 0  # the other branch adds nothing
            x = draw.normal(1, time, 8)
            branch = oracle.block(x, parameters, 2) - x
            given = {"x": x, "dropout": 0.5, "the branch that adds 0": silent.split(".")[0]}
            got = call(made, Tensor(x), generator=np.random.default_rng(time))
            if not isinstance(got, Tensor) or got.shape != x.shape:
                raise Wrong("expected a Tensor of the shape of x", given, got, x.shape)
            share = (got.numpy() - x) / branch
            dropped, doubled = np.isclose(share, 0), np.isclose(share, 2)
            expected = "each number 0 or 2: what of the branch was added to x"
            if np.isclose(share, 1).all():
                raise Wrong("nothing is dropped", given, share, expected)
            if not (dropped | doubled).all() or dropped.all() or doubled.all():
                sentence = "dropout must fall on the branch, before it is added to x"
                raise Wrong(sentence, given, share, expected)

"""Homework 3, the model: heads and a block. Tasks 3.5 and 3.6."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.tensor import Tensor
from minissl.homework.assignments import hw3_oracle as oracle
from minissl.homework.assignments.hw3_model import gradients
from minissl.homework.guard import ENGINE
from minissl.homework.task import Draw, Task, Wrong, call, expect
from minissl.nn import KeyValueCache
from minissl.nn.transformer import TransformerConfig

# ---- 3.5 split_heads -----------------------------------------------------------------------------

split_heads = Task(
    "3.5",
    "minissl.nn.attention:split_heads",
    "split the heads",
    "lecture 06, section 5",
    hides=("_split", "_join"),
)


def _head_shapes(generator: np.random.Generator) -> tuple[int, int, int, int]:
    batch, time, heads, dim = (int(n) for n in generator.integers(1, 5, size=4))
    return batch, time, heads, dim


HEADS = [(1, 1, 1, 2), (1, 1, 2, 2), (1, 2, 2, 1), (1, 3, 2, 2), (1, 3, 3, 2), (2, 3, 2, 4)]


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
    x = draw.normal(2, 3, 4, dtype=np.float32)
    got = call(subject, Tensor(x), num_heads=2)
    expect(got, oracle.heads(x, 2), given={"x": x, "num_heads": 2})


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
            "the gradient is shared by all heads: each head has its own": np.tile(
                cotangent.mean(axis=1), heads
            ),
            "the gradient comes back times num_heads": heads * right,
        }
        expect(got, right, given=given, symptoms=symptoms)
    x, cotangent = draw.normal(2, 3, 4, dtype=np.float32), draw.normal(2, 2, 3, 2, dtype=np.float32)
    given = {"x": x, "num_heads": 2, "gradient of the answer": cotangent}
    (got,) = gradients(subject, [x], cotangent, given, num_heads=2)
    right = np.concatenate([cotangent[:, 0], cotangent[:, 1]], axis=-1)
    expect(got, right, given=given)


# ---- 3.6 Block.forward ---------------------------------------------------------------------------

block = Task(
    "3.6",
    "minissl.nn.transformer:Block.forward",
    "a block",
    "lecture 06, section 7",
    allows=(
        *ENGINE,
        *("MultiHeadAttention.forward", "MLP.forward", "LayerNorm.forward", "Dropout.forward"),
    ),
)


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

    mistakes = oracle.BLOCK_MISTAKES | (oracle.MEMORY_MISTAKES if memory is not None else {})
    symptoms = {sentence: by(how=how) for sentence, how in mistakes.items()}
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
        _check_dropout_around(subject, draw, time)


def _check_dropout_around(subject: Any, draw: Draw, time: int) -> None:
    """None in evaluation mode, and the generator for the attentions' own dropout, too."""
    made, parameters = _block(subject, draw, dropout=0.5, attention_dropout=0.5)
    x = draw.normal(1, time, 8)
    given = {"x": x, "dropout": 0.5, "attention_dropout": 0.5, "the block is in": "evaluation mode"}
    sentence = "in evaluation mode nothing is dropped: self.dropout knows the mode"
    got = call(made.eval(), Tensor(x))
    expect(got, oracle.block(x, parameters, 2), given=given, otherwise=sentence)
    made, _ = _block(subject, draw, attention_dropout=0.5)
    given = {"x": x, "attention_dropout": 0.5, "the block is in": "training mode"}
    seeds = [int(seed) for seed in draw.generator.permutation(1000)[:3]]
    several = [call(made, Tensor(x), generator=np.random.default_rng(s)).numpy() for s in seeds]
    if all(np.allclose(several[0], other) for other in several[1:]):
        sentence = "the attentions' dropout must come from `generator`, too: hand it on to them"
        raise Wrong(sentence, given, "the same for three generators", "other numbers for each")

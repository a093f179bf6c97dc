"""Homework 8, thin matrices: tasks 8.1 to 8.3."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.homework.assignments import hw8_oracle as oracle
from minissl.homework.assignments.differences import check_gradients, differences
from minissl.homework.guard import ENGINE
from minissl.homework.task import Draw, Task, Wrong, call, expect
from minissl.nn.convolution import Conv2d
from minissl.nn.layers import Linear
from minissl.nn.module import Parameter

BY_HAND = "minissl.homework.assignments.hw8_by_hand"
PARTS, FORMS = "lecture 11, section 7", "lecture 11, section 8"

# ---- 8.1 LoRA.forward ----------------------------------------------------------------------------

lora = Task(
    "8.1",
    "minissl.adapt.efficient.lora:LoRA.forward",
    "thin matrices beside a layer",
    PARTS,
    allows=(*ENGINE, "LoRA.update"),
)


def _layers(subject: Any, draw: Draw) -> Any:
    """A module with random thin matrices around a Linear, an input, and the numbers by name."""

    def more(generator: np.random.Generator) -> tuple[tuple[int, ...], int, int, str]:
        rank, out, *shape = generator.integers(1, 5, 5).tolist()
        return tuple(shape), out, min(rank, max(out, shape[-1])), "float64"

    for shape, out, rank, dtype in draw.cases(
        ((1, 2), 2, 1, "float64"), ((3, 2), 4, 3, "float64"), ((2, 2, 3), 2, 2, "float32"),
        ((5,), 3, 2, "float64"), ((2, 4), 3, 2, "float16"), more=more,
    ):  # fmt: skip
        alpha = float(draw.generator.integers(3, 9)) + 0.5
        inner = Linear(shape[-1], out, bias=rank != 3, generator=draw.generator)
        module = subject(inner.astype(dtype), rank, alpha=alpha, generator=draw.generator)
        arrays = {"down": draw.normal(rank, shape[-1], dtype=dtype),
                  "up": draw.normal(out, rank, dtype=dtype)}  # fmt: skip
        for name, array in arrays.items():
            getattr(module, name).array = array
        arrays["weight"] = draw.normal(out, shape[-1], dtype=dtype)
        inner.weight.array = arrays["weight"]
        if inner.bias is not None:
            arrays["bias"] = inner.bias.array = draw.normal(out, dtype=dtype)
        yield module, draw.normal(*shape, dtype=dtype), arrays, alpha


def _both(x: NDArray, arrays: dict[str, NDArray], scale: float) -> tuple[NDArray, NDArray]:
    """What the layer gives, and what is added to it, in float64."""
    rows = x.reshape(-1, x.shape[-1])
    inner = oracle.product(rows, arrays["weight"].T)
    if "bias" in arrays:
        inner = inner + arrays["bias"]
    added = scale * oracle.product(oracle.product(rows, arrays["down"].T), arrays["up"].T)
    shape = (*x.shape[:-1], -1)
    return inner.reshape(shape), added.reshape(shape)


@lora.check(3)
def beside_the_layer(subject: Any, draw: Draw) -> None:
    """inner(x) + (alpha / rank) · up · (down · x), in the dtype of the layer."""
    for module, x, arrays, alpha in _layers(subject, draw):
        rank = len(arrays["down"])
        inner, added = _both(x, arrays, alpha / rank)
        symptoms = {
            "the factor alpha / rank is missing: it is in self.scale": inner + added * rank / alpha,
            "the factor is alpha / rank, not alpha": inner + added * rank,
            "self.scale is alpha / rank already: it was divided by the rank twice": (
                inner + added / rank
            ),
            "the factor is alpha / rank: its root was taken": (
                inner + added * np.sqrt(rank / alpha)
            ),
            "the frozen layer is missing: add what inner gives": added,
            "the update is missing: this is the frozen layer alone": inner,
            "the update is added, not taken off": inner - added,
            "the factor is of the update alone, not of the layer": (inner + added * rank / alpha)
            * alpha / rank,
        }  # fmt: skip
        if "bias" in arrays:
            symptoms["the bias was added twice"] = inner + added + arrays["bias"]
            symptoms["the bias of the layer is missing"] = inner + added - arrays["bias"]
        dtype = x.dtype
        expect(
            call(module, x), (inner + added).astype(dtype),
            given={"x": x, **arrays, "alpha": alpha},
            symptoms={s: v.astype(dtype) for s, v in symptoms.items()},
            tolerance={"float64": 1e-9, "float32": 1e-5, "float16": 6e-3}[str(dtype)],
        )  # fmt: skip


@lora.check(1)
def the_same_at_first(subject: Any, draw: Draw) -> None:
    """A new one, whose ``up`` is 0, gives exactly what the layer gives."""
    for rank in draw.cases(1, 2, more=lambda g: int(g.integers(1, 5))):
        inner = Linear(4, 3, generator=draw.generator)
        module = subject(inner, rank, generator=draw.generator)
        x = draw.normal(2, 4, dtype=np.float32)
        given = {"x": x, "weight": inner.weight.numpy(), "rank": rank}
        expect(call(module, x), inner(x).numpy(), given=given,
               otherwise="nothing has been learned yet, and the answer is another")  # fmt: skip


@lora.check(2)
def gradients_of_the_thin_ones(subject: Any, draw: Draw) -> None:
    """x, down and up get their gradients; the frozen weight and bias get none."""
    for module, x, arrays, alpha in _layers(subject, draw):
        if x.dtype != np.float64:
            continue
        given = {"x": x, "down": arrays["down"], "up": arrays["up"]}

        def function(x: Any, down: Any, up: Any, module: Any = module) -> Any:
            module.down, module.up = down, up
            return module(x)

        def right(x: NDArray, down: NDArray, up: NDArray) -> NDArray:
            inner, added = _both(x, {**arrays, "down": down, "up": up}, alpha / len(down))  # noqa: B023
            return inner + added

        check_gradients(function, right, given)
        for name, tensor in module.inner.named_tensors():
            if tensor.grad is not None or tensor.requires_grad:
                raise Wrong(f"the frozen {name} got a gradient", given, tensor.grad, None)


@lora.check(1)
def thin_first(subject: Any, draw: Draw) -> None:
    """Two thin products: up · down, a matrix as large as the weight, is never made."""
    for size in draw.cases(1e25, more=lambda g: float(10 ** g.uniform(21, 30))):
        inner = Linear(3, 2, bias=False, generator=draw.generator)
        module = subject(inner, 2, alpha=2.0, generator=draw.generator)
        module.down.array = (size * draw.normal(2, 3)).astype(np.float32)
        module.up.array = (size * draw.normal(2, 2)).astype(np.float32)
        x = draw.normal(4, 3, dtype=np.float32) / np.float32(size)
        arrays = {"weight": inner.weight.numpy(), "down": module.down.numpy(),
                  "up": module.up.numpy()}  # fmt: skip
        right = np.add(*_both(x, arrays, 1.0)).astype(np.float32)
        got, given = np.asarray(call(module, x).numpy()), {"x": x, **arrays, "alpha": 2.0}
        sentence = (
            "up · down overflows here, down · x does not: multiply x by down first, and that by up"
        )
        if not np.isfinite(got).all():
            raise Wrong(sentence, given, got, right)
        expect(got, right, given=given, otherwise=sentence)


@lora.check(1)
def around_a_convolution(subject: Any, draw: Draw) -> None:
    """Around a Conv2d: its convolution, with its stride and padding, with weight + update()."""
    for kernel, stride, padding in draw.cases(
        (1, 1, 0), (2, 2, 0), (3, 1, 1), more=lambda g: (3, int(g.integers(1, 3)), 1)
    ):
        inner = Conv2d(
            2, 3, kernel, stride=stride, padding=padding, generator=draw.generator
        )  # fmt: skip
        inner.astype("float64")
        module = subject(inner, 2, alpha=3.0, generator=draw.generator)
        module.up.array, x = draw.normal(3, 2), draw.normal(1, 4, 4, 2)
        bias = draw.normal(3)
        inner.bias = Parameter(bias)
        weight, down, up = inner.weight.numpy(), module.down.numpy(), module.up.numpy()
        whole = weight + oracle.update(down, up, 3.0).reshape(weight.shape)
        given = {"x": x, "weight": weight, "down": down, "up": up, "alpha": 3.0,
                 "stride": stride, "padding": padding}  # fmt: skip

        def seen(weight: NDArray, bias: NDArray = bias) -> NDArray:
            return oracle.convolution(x, weight, bias, stride, padding)  # noqa: B023

        symptoms = {
            "the update is missing: this is the frozen convolution alone": seen(weight),
            "the bias of the convolution is missing": seen(whole, 0 * bias),
        }
        expect(call(module, x), seen(whole), given=given, symptoms=symptoms)


# ---- 8.2 merge -----------------------------------------------------------------------------------

merge = Task("8.2", f"{BY_HAND}:merge", "into the weight", PARTS)


def _thin(draw: Draw) -> Any:
    """weight, down, up, alpha."""

    def more(generator: np.random.Generator) -> tuple[int, int, int]:
        out, columns, rank = generator.integers(1, 6, 3).tolist()
        return out, columns, min(rank, out, columns)

    for out, columns, rank in draw.cases((1, 2, 1), (3, 2, 1), (2, 4, 2), (5, 3, 3), more=more):
        alpha = float(draw.generator.integers(2, 9)) + 0.5
        yield draw.normal(out, columns), draw.normal(rank, columns), draw.normal(out, rank), alpha


def _pair(answer: Any, given: dict[str, Any]) -> tuple[Any, Any]:
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise Wrong("expected a weight and a rank", given, answer, "(merged, rank)")
    return answer


def _named(case: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(("weight", "down", "up", "alpha"), case))


@merge.check(2)
def merged_weight(subject: Any, draw: Draw) -> None:
    """weight + (alpha / rank) · up · down, in a new array."""
    for case in _thin(draw):
        weight, down, up, alpha = case
        rank, change = len(down), oracle.update(down, up, alpha)
        symptoms = {
            "the factor alpha / rank is missing": weight + change * rank / alpha,
            "the factor is alpha / rank, not alpha": weight + change * rank,
            "this is the update: add it to the weight": change,
            "the update is added, not taken off": weight - change,
            "the update is missing": weight,
        }
        got, _ = _pair(call(subject, *case), _named(case))
        expect(got, weight + change, given=_named(case), symptoms=symptoms)
        still = (weight, down, 0 * up, alpha)
        got, _ = _pair(call(subject, *still), _named(still))
        expect(got, weight, given=_named(still), otherwise="an update of 0 changes nothing")
        if np.shares_memory(got, weight):
            sentence = "the merged weight is the one that was given: make a new array"
            raise Wrong(sentence, _named(still), "the argument itself", "a new array")


def _sentence(got: Any, rank: int, shape: tuple[int, ...], right: int) -> str:
    """Which mistake has this rank."""
    if got == rank:
        return "this is the number of rows of down: the rank of the update may be less"
    if got == min(shape):
        return "this is the rank of the weight, or of the merged one: that of the update is asked"
    if got > right:
        return "what is 0 but for rounding is no rank: count what is above 1e-9 of the largest"
    return "the rank of the update is another"


@merge.check(2)
def full_ranks(subject: Any, draw: Draw) -> None:
    """The rank of the update, where it is that of ``down``: far below that of the weight."""
    for out, columns, rank in draw.cases(
        (4, 5, 1), (6, 4, 2), (7, 7, 3), more=lambda g: (8, 9, int(g.integers(1, 5)))
    ):
        weight, down, up = (
            draw.normal(out, columns),
            draw.normal(rank, columns),
            draw.normal(out, rank),
        )
        for size in (1.0, 1e-14, 1e6):
            case = (weight, down, size * up, 2.0)
            _, got = _pair(call(subject, *case), _named(case))
            sentence = _sentence(got, -1, weight.shape, rank)
            if isinstance(got, int) and got < rank:
                sentence = "compare with the largest singular value: updates may be small"
            expect(got, rank, given=_named(case), otherwise=sentence)


@merge.check(2)
def lower_ranks(subject: Any, draw: Draw) -> None:
    """Rows that depend on each other, or no update at all: the rank is less."""
    for rank, own in draw.cases((2, 1), (3, 0), (4, 2), more=lambda g: (6, int(g.integers(1, 6)))):
        weight, up = draw.normal(7, 8), draw.normal(7, rank)
        down = draw.normal(rank, own) @ draw.normal(own, 8)
        if draw.generator.integers(2) and own:
            down, up = draw.normal(rank, 8), up[:, :own] @ draw.normal(own, rank)
        case = (weight, down, up, 2.0)
        _, got = _pair(call(subject, *case), _named(case))
        expect(got, own, given=_named(case), otherwise=_sentence(got, rank, weight.shape, own))


# ---- 8.3 lora_gradients --------------------------------------------------------------------------

gradients = Task("8.3", f"{BY_HAND}:lora_gradients", "its gradients by hand", PARTS)
NAMES = ("x", "down", "up")


def _check_gradients(subject: Any, draw: Draw, names: tuple[str, ...]) -> None:
    for weight, down, up, alpha in _thin(draw):
        count = int(draw.generator.integers(1, 4))
        x, by_y = draw.normal(count, weight.shape[1]), draw.normal(count, len(weight))
        case = (weight, down, up, alpha, x, by_y)
        given = dict(zip(("weight", "down", "up", "alpha", "x", "by_y"), case))
        got = call(subject, *case)
        if not isinstance(got, tuple) or len(got) != 3:
            raise Wrong("expected three gradients", given, got, "(by_x, by_down, by_up)")
        scale, at = alpha / len(down), {"x": x, "down": down, "up": up}
        loss = oracle.weighted(x, by_y, weight, scale)
        for name, own in zip(NAMES, got):
            if name not in names:
                continue
            right = differences(lambda a, n=name: loss(**{**at, n: a}), at[name])  # type: ignore[misc] # noqa: B023
            symptoms = _slips(name, right, *case)
            expect(np.asarray(own), right, given=given, symptoms=symptoms, tolerance=1e-6,
                   otherwise=f"the gradient by {name} is wrong")  # fmt: skip


def _slips(
    name: str, right: NDArray, weight: NDArray, down: NDArray, up: NDArray, alpha: float,
    x: NDArray, by_y: NDArray,
) -> dict[str, NDArray]:  # fmt: skip
    """What well-known mistakes give."""
    rank = len(down)
    found = {
        f"by {name}: the factor alpha / rank is missing": right * rank / alpha,
        f"by {name}: the factor is alpha / rank, not alpha": right * rank,
        f"by {name}: the factor alpha / rank was taken twice": right * alpha / rank,
        f"by {name}: the sign is wrong": -right,
        f"by {name}: it is turned": right.T,
        f"by {name}: the sum over the examples, not their mean": right / len(x),
    }
    if name == "x":
        frozen, thin = by_y @ weight, by_y @ up @ down
        del found["by x: the factor alpha / rank is missing"]
        found["by x: the way through the weight is missing"] = right - frozen
        found["by x: the way through the thin matrices is missing"] = frozen
        found["by x: the factor alpha / rank is missing, on the way through the thin matrices"] = (
            frozen + thin
        )
    return found


@gradients.check(4)
def by_the_thin_matrices(subject: Any, draw: Draw) -> None:
    """The gradients by down and by up."""
    _check_gradients(subject, draw, ("down", "up"))


@gradients.check(2)
def by_the_input(subject: Any, draw: Draw) -> None:
    """The gradient by x: through the frozen weight, and through the thin matrices."""
    _check_gradients(subject, draw, ("x",))


@gradients.check(2)
def nothing_large(subject: Any, draw: Draw) -> None:
    """No array as large as the weight is made: half its bytes suffice for everything."""
    out, columns = (int(n) for n in draw.generator.integers(400, 500, 2))
    weight, by_y = draw.normal(out, columns), draw.normal(3, out)
    case = (
        weight,
        draw.normal(2, columns),
        draw.normal(out, 2),
        4.0,
        draw.normal(3, columns),
        by_y,
    )
    tracemalloc.start()
    try:
        subject(*case)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    if most > weight.nbytes / 2:
        given = {"weight": weight, "examples": 3, "rank": 2}
        sentence = (
            "it makes an array as large as the weight: multiply from the side where three examples "
            "stand, and never up by down"
        )
        raise Wrong(sentence, given, f"{most:,} bytes", f"below {weight.nbytes // 2:,} bytes")
    got, (_, down, up, alpha, x, _) = subject(*case), case
    right = (by_y @ weight + alpha / 2 * (by_y @ up @ down),
             alpha / 2 * (by_y @ up).T @ x, alpha / 2 * by_y.T @ (x @ down.T))  # fmt: skip
    for name, own, expected in zip(NAMES, got, right):
        expect(own, expected, given={"rank": 2}, otherwise=f"the gradient by {name} is wrong")


@gradients.check(1)
def the_first_step(subject: Any, draw: Draw) -> None:
    """Where ``up`` is 0, as before the first step, only up moves: by down it is all 0."""
    for weight, down, up, alpha in _thin(draw):
        x, by_y = draw.normal(2, weight.shape[1]), draw.normal(2, len(weight))
        case = (weight, down, 0 * up, alpha, x, by_y)
        given = dict(zip(("weight", "down", "up", "alpha", "x", "by_y"), case))
        _, by_down, by_up = call(subject, *case)
        sentence = "down moved, though up is 0: whatever it gives is multiplied by 0"
        expect(by_down, 0 * down, given=given, otherwise=sentence)
        right = alpha / len(down) * oracle.product(by_y.T, oracle.product(x, down.T))
        expect(by_up, right, given=given, otherwise="the gradient by up is wrong")

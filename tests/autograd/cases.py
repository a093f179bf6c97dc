"""The table of all primitive operations: ours, torch's, and inputs that stay away from kinks.

Everything that must hold for every operation is tested over this table (``test_operations``). A new
operation gets a row here and with it all of those tests.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from minissl.autograd import Tensor
from minissl.autograd import operations as ops


@dataclass(frozen=True)
class Case:
    """One operation: on our Tensors, on torch's tensors, and how each input is drawn."""

    name: str
    ours: Callable[..., Tensor]
    theirs: Callable[..., torch.Tensor]
    draws: tuple[Callable[[np.random.Generator], np.ndarray], ...]
    bits: int = 5  # how many bits of a dtype's precision may be lost (see ``close``)

    def inputs(self, seed: int = 0) -> list[np.ndarray]:
        generator = np.random.default_rng(seed)
        return [draw(generator) for draw in self.draws]


def normal(*shape: int) -> Callable:
    return lambda generator: generator.standard_normal(shape)


def positive(*shape: int) -> Callable:
    return lambda generator: generator.uniform(0.5, 2.0, shape)


def away(*shape: int) -> Callable:
    """Both signs, nothing nearer to 0 than 0.2."""
    return lambda generator: generator.uniform(0.2, 2.0, shape) * generator.choice([-1, 1], shape)


def apart(*shape: int, offset: float = 0.0) -> Callable:
    """No two elements nearer to each other than 0.1 (exact in bfloat16 up to 32 elements)."""
    count = int(np.prod(shape))

    def draw(generator):
        return (generator.permutation(count) - count // 2).reshape(shape) * 0.125 + offset

    return draw


def integers(high: int, *shape: int) -> Callable:
    return lambda generator: generator.integers(0, high, shape)


def mask(*shape: int) -> Callable:
    return lambda generator: generator.random(shape) < 0.5


def torch_pad(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(x, (0, 3, 2, 1), value=1.5)


def elementwise() -> list[Case]:
    one = [  # name, ours, torch's, inputs
        ("negative", ops.negative, torch.neg, normal(3, 4)),
        ("exp", ops.exp, torch.exp, normal(3, 4)),
        ("log", ops.log, torch.log, positive(3, 4)),
        ("sqrt", ops.sqrt, torch.sqrt, positive(3, 4)),
        ("tanh", ops.tanh, torch.tanh, normal(3, 4)),
        ("sigmoid", ops.sigmoid, torch.sigmoid, normal(3, 4)),
        ("log_sigmoid", ops.log_sigmoid, torch.nn.functional.logsigmoid, normal(3, 4)),
        ("erf", ops.erf, torch.erf, normal(3, 4)),
        ("relu", ops.relu, torch.relu, away(3, 4)),
        ("abs", ops.abs, torch.abs, away(3, 4)),
        ("power 2", lambda a: ops.power(a, 2), lambda a: a**2, normal(3, 4)),
        ("power 3", lambda a: ops.power(a, 3), lambda a: a**3, away(3, 4)),
        ("power 1", lambda a: ops.power(a, 1), lambda a: a**1, normal(3, 4)),
        ("power -1.5", lambda a: ops.power(a, -1.5), lambda a: a**-1.5, positive(3, 4)),
        ("clip", lambda a: ops.clip(a, -0.7, 0.9), lambda a: a.clip(-0.7, 0.9), apart(5, 6)),
        ("clip min", lambda a: ops.clip(a, min=0.3), lambda a: a.clip(min=0.3), apart(5, 6)),
        ("clip max", lambda a: ops.clip(a, max=0.3), lambda a: a.clip(max=0.3), apart(5, 6)),
    ]
    two = [
        ("add", ops.add, torch.add, normal(3, 4), normal(3, 4)),
        ("add broadcast", ops.add, torch.add, normal(3, 1, 4), normal(2, 1)),
        ("subtract", ops.subtract, torch.sub, normal(4), normal(3, 4)),
        ("multiply", ops.multiply, torch.mul, normal(2, 3, 4), normal(3, 1)),
        ("divide", ops.divide, torch.div, normal(3, 4), away(2, 1, 4)),
        ("power", ops.power, torch.pow, positive(3, 4), normal(4)),
        ("power of number", lambda b: ops.power(1.7, b), lambda b: 1.7**b, normal(3, 4)),
        ("maximum", ops.maximum, torch.maximum, apart(3, 4), apart(3, 1, offset=0.0625)),
        ("minimum", ops.minimum, torch.minimum, apart(3, 1), apart(3, 4, offset=0.0625)),
        ("where", ops.where, torch.where, mask(3, 4), normal(2, 3, 4), normal(4)),
        (
            "where with a number",
            lambda c, a: ops.where(c, a, 2.0),
            lambda c, a: torch.where(c, a, 2.0),
            mask(3, 4),
            normal(3, 4),
        ),
    ]
    return [Case(name, ours, theirs, tuple(draws)) for name, ours, theirs, *draws in one + two]


def reductions() -> list[Case]:
    cases = []
    for label, settings in (
        ("", {}),
        (" axis 1", {"axis": 1}),
        (" axis -3 keepdims", {"axis": -3, "keepdims": True}),
        (" axes (0, -1)", {"axis": (0, -1)}),
        (" axes (2, 0) keepdims", {"axis": (2, 0), "keepdims": True}),
    ):
        theirs = {
            "dim": settings.get("axis", (0, 1, 2)),
            "keepdim": settings.get("keepdims", False),
        }
        for name, ours, torchs, draw in (
            ("sum", ops.sum, torch.sum, normal),
            ("mean", ops.mean, torch.mean, normal),
            ("max", ops.max, torch.amax, apart),
            ("min", ops.min, torch.amin, apart),
            ("norm", ops.norm, torch.linalg.vector_norm, normal),
            ("logsumexp", ops.logsumexp, torch.logsumexp, normal),
        ):
            arguments = settings or {"axis": None}  # logsumexp's default is the last axis
            cases.append(
                Case(
                    name + label,
                    lambda a, f=ours, s=arguments: f(a, **s),
                    lambda a, f=torchs, s=theirs: f(a, **s),
                    (draw(2, 3, 4),),
                )
            )
    for axis in (0, 1, -1):
        for name, ours, torchs in (
            ("softmax", ops.softmax, torch.softmax),
            ("log_softmax", ops.log_softmax, torch.log_softmax),
            ("cumsum", ops.cumsum, torch.cumsum),
        ):
            cases.append(
                Case(
                    f"{name} axis {axis}",
                    lambda a, f=ours, axis=axis: f(a, axis=axis),
                    lambda a, f=torchs, axis=axis: f(a, dim=axis),
                    (normal(2, 3, 4),),
                )
            )
    return cases


def shapes() -> list[Case]:
    index = np.array([[2, 0], [2, 2]])
    rows = [
        ("reshape", lambda a: a.reshape(4, -1), lambda a: a.reshape(4, -1), normal(2, 3, 4)),
        (
            "permute_dims",  # a cycle of three: unlike an exchange it is not its own inverse
            lambda a: a.permute_dims(1, 2, 0),
            lambda a: a.permute(1, 2, 0),
            normal(2, 3, 4),
        ),
        (
            "permute_dims negative",
            lambda a: a.permute_dims(-1, 0, 1),
            lambda a: a.permute(2, 0, 1),
            normal(2, 3, 4),
        ),
        ("matrix_transpose", lambda a: a.mT, lambda a: a.mT, normal(2, 3, 4)),
        (
            "expand_dims",
            lambda a: ops.expand_dims(a, axis=-2),
            lambda a: a.unsqueeze(-2),
            normal(3, 4),
        ),
        (
            "squeeze",
            lambda a: ops.squeeze(a, axis=1),
            lambda a: a.squeeze(1),
            normal(3, 1, 4, 1),
        ),
        (
            "broadcast_to",
            lambda a: ops.broadcast_to(a, (2, 3, 4)),
            lambda a: a.expand(2, 3, 4),
            normal(3, 1),
        ),
        (
            "concatenate",
            lambda a, b, c: ops.concatenate([a, b, c], axis=1),
            lambda a, b, c: torch.cat([a, b, c], dim=1),
            normal(2, 3),
            normal(2, 1),
            normal(2, 4),
        ),
        (
            "stack",
            lambda a, b: ops.stack([a, b], axis=-1),
            lambda a, b: torch.stack([a, b], dim=-1),
            normal(2, 3),
            normal(2, 3),
        ),
        (
            "split",
            lambda a: ops.split(a, [1, 3, 2], axis=-1)[1] * ops.split(a, 2, axis=-1)[1],
            lambda a: a.split([1, 3, 2], dim=-1)[1] * a.chunk(2, dim=-1)[1],
            normal(2, 6),
        ),
        ("pad", lambda a: ops.pad(a, ((2, 1), (0, 3)), value=1.5), torch_pad, normal(3, 4)),
        ("getitem slices", lambda a: a[1:, ::2], lambda a: a[1:, ::2], normal(3, 5)),
        ("getitem int, None", lambda a: a[..., None, 1], lambda a: a[..., None, 1], normal(3, 5)),
        ("getitem array", lambda a: a[:, index], lambda a: a[:, index], normal(3, 5)),
        ("take", lambda a, i: ops.take(a, i), lambda a, i: a[i], normal(4, 3), integers(4, 2, 5)),
        (
            "take sparse",
            lambda a, i: ops.take(a, i, sparse=True),
            lambda a, i: a[i],
            normal(4, 3),
            integers(4, 2, 5),
        ),
        (
            "take axis 1",
            lambda a, i: ops.take(a, i, axis=1),
            lambda a, i: a[:, i],
            normal(2, 4, 3),
            integers(4, 6),
        ),
        (
            "take axis -1",
            lambda a, i: ops.take(a, i, axis=-1),
            lambda a, i: a[:, i],
            normal(2, 4),
            integers(4, 3, 2),
        ),
        (
            "take_along_axis",
            lambda a, i: ops.take_along_axis(a, i, axis=1),
            lambda a, i: torch.take_along_dim(a, i, dim=1),
            normal(3, 4),
            integers(4, 3, 6),
        ),
        (
            "take_along_axis broadcast",
            lambda a, i: ops.take_along_axis(a, i, axis=0),
            lambda a, i: torch.take_along_dim(a, i, dim=0),
            normal(4, 5),
            integers(4, 3, 1),
        ),
    ]
    return [Case(name, ours, theirs, tuple(draws)) for name, ours, theirs, *draws in rows]


def matrices() -> list[Case]:
    pairs = [
        ("matrices", (3, 4), (4, 5)),
        ("batches", (2, 3, 4), (2, 4, 5)),
        ("batches broadcast", (6, 1, 3, 4), (2, 4, 5)),
        ("batch by matrix", (2, 3, 4), (4, 5)),
        ("matrix by batch", (3, 4), (2, 4, 5)),
        ("vectors", (4,), (4,)),
        ("vector by matrix", (4,), (4, 5)),
        ("matrix by vector", (3, 4), (4,)),
        ("vector by batch", (4,), (2, 4, 5)),
        ("batch by vector", (2, 3, 4), (4,)),
        ("rows of one", (1, 1), (1, 5)),
    ]
    cases = [
        Case(f"matmul {name}", ops.matmul, torch.matmul, (normal(*a), normal(*b)))
        for name, a, b in pairs
    ]
    linear = torch.nn.functional.linear
    for name, shape in (("", (3, 4)), (" batches", (2, 3, 4)), (" vector", (4,))):
        draws: Any = (normal(*shape), normal(5, 4))
        cases.append(Case(f"linear{name}", ops.linear, linear, draws))
        cases.append(Case(f"linear bias{name}", ops.linear, linear, (*draws, normal(5))))
    return cases


CASES = elementwise() + reductions() + shapes() + matrices()

"""An LSTM's step and truncated windows in float64 NumPy: oracles of homework 3, with mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def sigmoid(x: NDArray) -> NDArray:
    """σ(x) = (1 + tanh(x / 2)) / 2, which does not overflow."""
    return 0.5 * (1 + np.tanh(x / 2))


def cell(
    gates: NDArray,
    c: NDArray,
    *,
    order: str = "ifgo",
    interleaved: bool = False,
    gate: Any = sigmoid,
    value: Any = np.tanh,
    squash: Any = np.tanh,
    forget: Any = lambda f, i: f,
    shown: str = "new",
) -> tuple[NDArray, NDArray]:
    """h and c after a step. What is not at its default is a mistake."""
    batch, hidden = c.shape
    gates, c = gates.astype(np.float64), c.astype(np.float64)
    quarters = np.split(gates, 4, axis=1)
    if interleaved:
        quarters = list(np.moveaxis(gates.reshape(batch, hidden, 4), 2, 0))
    parts = dict(zip(order, quarters))
    i, f, o = (gate(parts[name]) for name in "ifo")
    new = forget(f, i) * c + i * value(parts["g"])
    return o * squash(new if shown == "new" else c), new


# What a student reads, and the switches of ``cell`` that make it.
CELL_MISTAKES: dict[str, dict[str, Any]] = {
    "i and f are exchanged: the order is i, f, g, o": {"order": "figo"},
    "g and o are exchanged: the order is i, f, g, o": {"order": "ifog"},
    "the gates lie one after the other in the width, not every fourth number": (
        {"interleaved": True}
    ),
    "g is σ of its gate: it is tanh": {"value": sigmoid},
    "g is its gate as it is: tanh is missing": {"value": lambda a: a},
    "i, f and o are the gates as they are: σ is missing": {"gate": lambda a: a},
    "i, f and o are tanh of their gates: they are σ": {"gate": np.tanh},
    "h is o c: tanh is missing": {"squash": lambda a: a},
    "h is made of the c before the step: it is o tanh of the new c": {"shown": "old"},
    "the c before is multiplied with 1 − i: that is what f is for": {"forget": lambda f, i: 1 - i},
    "the c before is multiplied with 1 − f: f is how much stays": {"forget": lambda f, i: 1 - f},
    "the c before is added whole: f is missing": {"forget": lambda f, i: 1.0},
}


def cell_back(
    gates: NDArray, c: NDArray, dh: NDArray, dc: NDArray, how: str = "right"
) -> tuple[NDArray, NDArray]:
    """The gradients of the gates and of the cell before; ``how`` names a mistake."""
    a_i, a_f, a_g, a_o = np.split(gates, 4, axis=1)
    i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
    new = f * c + i * g
    through = dh * o * (1 - np.tanh(c if how == "slope at the old c" else new) ** 2)
    if how == "no slope of tanh":
        through = dh * o
    if how == "without o":
        through = dh * (1 - np.tanh(new) ** 2)
    all_dc = {"h alone": through, "c alone": dc}.get(how, dc + through)
    slopes = [i * (1 - i), f * (1 - f), 1 - g * g, o * (1 - o)]
    if how == "no slopes":
        slopes = [np.ones_like(i)] * 4
    if how == "slopes of values":
        slopes = [sigmoid(i) * (1 - sigmoid(i)), sigmoid(f) * (1 - sigmoid(f)),
                  1 - np.tanh(g) ** 2, sigmoid(o) * (1 - sigmoid(o))]  # fmt: skip
    if how == "sigmoid for g":
        slopes[2] = sigmoid(a_g) * (1 - sigmoid(a_g))
    factors = [all_dc * g, all_dc * (new if how == "new c" else c), all_dc * i, dh * np.tanh(new)]
    if how == "i and g exchanged":
        factors[0], factors[2] = all_dc * i, all_dc * g
    if how == "o from c":
        factors[3] = all_dc * np.tanh(new)
    if how == "o without tanh":
        factors[3] = dh * new
    back = all_dc if how == "all of it stays" else all_dc * f
    parts = [factor * slope for factor, slope in zip(factors, slopes)]
    if how == "another order":
        parts = [parts[1], parts[0], *parts[2:]]
    dgates = np.concatenate(parts, axis=1)
    if how == "interleaved":
        dgates = np.stack(parts, axis=2).reshape(gates.shape)
    share = len(c) if how == "divided" else 1
    return dgates / share, back / share


# What a student reads, and the ``how`` of ``cell_back`` that makes it.
BACK_MISTAKES = {
    "what has arrived at h does not reach c: the new c is inside of h, too": "c alone",
    "what has arrived at c is lost: add it to what comes through h": "h alone",
    "tanh′ of the new c is missing on the way from h to c": "no slope of tanh",
    "o is missing on the way from h to c": "without o",
    "tanh′ is taken at the c before the step: h is made of the new one": "slope at the old c",
    "the slopes σ′ and tanh′ are missing: the gradient is that of the gates before them": (
        "no slopes"
    ),
    "the slopes are taken at i, f, g and o: take them at the gates, σ′(a) = σ(a) (1 − σ(a))": (
        "slopes of values"
    ),
    "g has the slope of tanh, not of σ": "sigmoid for g",
    "f multiplies the c before the step, not the new one": "new c",
    "of i g the gradient by i has the factor g, and by g the factor i": "i and g exchanged",
    "o does not act through c: its gradient is made of dh alone": "o from c",
    "o multiplies tanh(c), not c": "o without tanh",
    "the cell before gets f times what has arrived: f is missing": "all of it stays",
    "the gradients stand in another order: the order is i, f, g, o": "another order",
    "the gradients of the four gates must lie one after the other, not in turn": "interleaved",
    "a gradient is not divided by the batch: what has arrived is that already": "divided",
}


# ---- windows -------------------------------------------------------------------------------------


def windows(stream: NDArray, lanes: int, length: int, number: int, **how: Any) -> NDArray:
    """Token by token. What is not at its default is a mistake."""
    size = len(stream)
    step = how.get("step", length)
    rows = []
    for lane in range(lanes):
        begin = how.get("begin", lambda lane: lane * size // lanes)(lane)
        places = [begin + number * step + k for k in range(how.get("tokens", length + 1))]
        wrapped = how.get("wrap", lambda place, begin: place % size)
        rows.append([stream[wrapped(place, begin)] for place in places])
    return np.array(rows, stream.dtype)


Windows = Callable[[NDArray, int, int, int], NDArray]

# What a student reads, and what it gives.
WINDOW_MISTAKES: dict[str, Windows] = {
    "a window needs length + 1 tokens: the last one is only predicted": (
        lambda s, n, length, k: windows(s, n, length, k, tokens=length)
    ),
    "a window begins with the last token of the one before: go on by length, not by length + 1": (
        lambda s, n, length, k: windows(s, n, length, k, step=length + 1)
    ),
    "lanes begin at i · len // lanes: multiply first, or the last ones begin too early": (
        lambda s, n, length, k: windows(s, n, length, k, begin=lambda i: i * (len(s) // n))
    ),
    "lanes begin one beside the other: spread them over the stream": (
        lambda s, n, length, k: windows(s, n, length, k, begin=lambda i: i)
    ),
    "lanes begin one window after the other: spread them over the stream": (
        lambda s, n, length, k: windows(s, n, length, k, begin=lambda i: i * length)
    ),
    "every window is the first: number is not used": (
        lambda s, n, length, k: windows(s, n, length, 0)
    ),
    "a window goes on by one token: it goes on by length": (
        lambda s, n, length, k: windows(s, n, length, k, step=1)
    ),
    "the axes are exchanged: (lanes, length + 1)": (
        lambda s, n, length, k: windows(s, n, length, k).T
    ),
    "behind the end the last token is repeated: the stream is a circle": (
        lambda s, n, length, k: windows(s, n, length, k, wrap=lambda p, _: min(p, len(s) - 1))
    ),
    "a lane goes round in its own part: it goes on where the next one began": (
        lambda s, n, length, k: windows(
            s, n, length, k, wrap=lambda p, begin: begin + (p - begin) % (len(s) // n)
        )
    ),
    "a lane begins at the nearest place: // rounds down": (
        lambda s, n, length, k: windows(s, n, length, k, begin=lambda i: round(i * len(s) / n))
    ),
    "the last lane begins at the end, where the first one does: divide by lanes": (
        lambda s, n, length, k: windows(
            s, n, length, k, begin=lambda i: i * len(s) // max(n - 1, 1)
        )
    ),
    "places do not fit into the dtype of the tokens: count them in int64": (
        lambda s, n, length, k: windows(
            s, n, length, k, wrap=lambda p, _: p % (int(np.iinfo(s.dtype).max) + 1) % len(s)
        )
    ),
}

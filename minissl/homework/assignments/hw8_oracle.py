"""Adaptation by other means than the answer key: the oracles of homework 8.

Sums in loops over Python's own floats, spans by trying all of them. Each flag that is changed is a
well-known mistake.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# ---- thin matrices -------------------------------------------------------------------------------


def product(first: Any, second: Any) -> NDArray:
    """A matrix product, element by element."""
    columns = np.asarray(second, np.float64).T
    rows = np.asarray(first, np.float64)
    return np.array([[math.fsum(r * c) for c in columns] for r in rows]).reshape(
        len(rows), len(columns)
    )


def update(down: NDArray, up: NDArray, alpha: float) -> NDArray:
    """What LoRA adds to a weight."""
    return alpha / len(down) * product(up, down)


def weighted(x: NDArray, by_y: NDArray, weight: NDArray, scale: float) -> Callable[..., float]:
    """A loss with the gradient ``by_y``, as a function of x, down and up."""

    def loss(x: NDArray = x, down: NDArray = x[:0], up: NDArray = x[:0]) -> float:
        y = x @ weight.T + scale * (x @ down.T @ up.T)
        return math.fsum((y * by_y).ravel())

    return loss


def convolution(x: NDArray, weight: NDArray, bias: NDArray, stride: int, padding: int) -> NDArray:
    """Window by window: x (batch, height, width, in), weight (out, kernel, kernel, in)."""
    kernel = weight.shape[1]
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    sizes = [(n - kernel) // stride + 1 for n in x.shape[1:3]]
    found = np.zeros((len(x), *sizes, len(weight)))
    for b, i, j, o in np.ndindex(*found.shape):
        window = x[b, i * stride : i * stride + kernel, j * stride : j * stride + kernel]
        found[b, i, j, o] = math.fsum((window * weight[o]).ravel()) + bias[o]
    return found


# ---- attention behind a prefix -------------------------------------------------------------------


def softmax(scores: Sequence[float]) -> NDArray:
    """e^score, divided by the sum."""
    largest = max(scores)
    powers = np.array([math.exp(s - largest) for s in scores])
    return powers / math.fsum(powers)


def attend(texts: Sequence[NDArray], prefix: Any, lengths: Any, causal: bool, **how: Any) -> Any:
    """Query by query, over what it sees: first places of the prefix, then tokens of the text."""
    query, key, value = texts
    outputs = np.zeros(value.shape)
    root = how.get("root", math.sqrt(query.shape[2]))
    for i, t in np.ndindex(*query.shape[:2]):
        if t >= lengths[i]:
            continue
        end = min(how.get("end", lambda t, length: length)(t, lengths[i]), key.shape[1])
        stop = min(t + 1 + how.get("ahead", 0), end) if causal else end
        places = len(prefix[0])
        if how.get("prefix_causal"):
            places = min(places, t + 1)
        keys, values = (
            [*own[:places], *text[i, how.get("begin", 0) : stop]]
            for own, text in zip(how.get("before", prefix), (key, value))
        )
        scores = [math.fsum(query[i, t] * k) / root for k in keys]
        parts = [scores[:places], scores[places:]] if how.get("apart") else [scores]
        weights = [w for part in parts if part for w in softmax(part)]
        outputs[i, t] = sum(w * v for w, v in zip(weights, values))
    return outputs


def gelu(z: float) -> float:
    """Half of z, and more of it the larger it is."""
    return 0.5 * z * (1 + math.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))


def adapt(h: NDArray, weights: Sequence[NDArray], **how: Any) -> NDArray:
    """Vector by vector."""
    down, down_bias, up, up_bias = (np.asarray(w, np.float64) for w in weights)
    bend, stays = how.get("bend", gelu), how.get("stays", 1.0)
    outputs = np.zeros(h.shape)
    for at in np.ndindex(h.shape[:-1]):
        x = np.asarray(h[at], np.float64)
        middle = [
            bend(math.fsum(row * x) + how.get("bias", 1.0) * b) for row, b in zip(down, down_bias)
        ]
        added = [
            math.fsum(row * middle) + how.get("up_bias", 1.0) * b for row, b in zip(up, up_bias)
        ]
        outputs[at] = stays * x + np.array(added)
    return outputs


# ---- answers and tags ----------------------------------------------------------------------------


def best_span(
    start: NDArray, end: NDArray, context: NDArray, longest: int, threshold: float, **how: Any
) -> tuple[int, int] | None:
    """All spans are tried; of equal ones the first stays."""
    best, found = -math.inf, None
    for i in range(len(start)):
        for j in range(how.get("first_end", lambda i: i)(i), len(end)):
            inside = context[min(i, j) : max(i, j) + 1]
            if how.get("ends_alone"):
                inside = context[[i, j]]
            whole = inside.all() or how.get("everywhere", False)
            if not whole or j - i + how.get("one", 1) > longest:
                continue
            score = start[i] + end[j]
            if how.get("product"):
                score = start[i] * end[j]
            better = score >= best if how.get("last") else score > best
            if found is None or better:
                best, found = score, (i, j)
    nothing = how.get("nothing", start[0] + end[0])
    if how.get("always"):
        return found
    return None if found is None or nothing > best + how.get("sign", 1) * threshold else found


def tagged_row(words: Any, tags: Any, cls: int, sep: int, room: int, **how: Any) -> Any:
    """Tokens with the word and the place in it that each has, then the targets."""
    own = [(w, p, token) for w, word in enumerate(words) for p, token in enumerate(word)]
    if how.get("whole_words"):
        while len(own) > room - 2:
            own = [entry for entry in own if entry[0] != own[-1][0]]
    own = own[: room - how.get("special", 2)]
    asked = how.get("asked", lambda place, size: place == 0)
    nothing = how.get("nothing", -1)
    targets = [tags[w] if asked(p, len(words[w])) else nothing for w, p, _ in own]
    tokens = [cls, *(token for *_, token in own), sep]
    targets = [nothing, *targets, nothing]
    return np.array(tokens, np.int64), np.array(targets, np.int64)


def names(sentences: Any, **how: Any) -> list[tuple[Any, ...]]:
    """Sentence, first and last word and type of every name, by looking at each pair of words."""
    found = []
    lines = [[tag for tags in sentences for tag in tags]] if how.get("one_line") else sentences
    for number, tags in enumerate(lines):

        def begins(at: int, tags: Any = tags) -> bool:
            before = tags[at - 1] if at else "O"
            if how.get("only_b"):
                return bool(tags[at][0] == "B")
            if how.get("any_type"):
                return bool(tags[at][0] == "B" or (tags[at] != "O" and before == "O"))
            if how.get("no_b"):
                return bool(tags[at] != "O" and before[1:] != tags[at][1:])
            return bool(tags[at][0] == "B" or (tags[at][0] == "I" and before[1:] != tags[at][1:]))

        for first in range(len(tags)):
            if not begins(first):
                continue
            last = first
            while last + 1 < len(tags) and tags[last + 1] != "O" and not begins(last + 1):
                last += 1
            found.append((number, first, last, tags[first][2:]))
    return found


def span_f1(right: Any, found: Any, view: Any = lambda name: name, **how: Any) -> float:
    """Names that both have, counted one by one."""
    ours, theirs = ([view(n) for n in names(s, **how)] for s in (right, found))
    common = sum(name in ours for name in theirs)
    if not common:
        return 0.0
    precision, recall = common / len(theirs), common / len(ours)
    return 2 / (1 / precision + 1 / recall)


# ---- experts and bytes ---------------------------------------------------------------------------


def gate(logits: NDArray, top: int, **how: Any) -> tuple[NDArray, float]:
    """Token by token: the weights, and the balance."""
    tokens, experts = logits.shape
    p = np.array([softmax(row) for row in logits.tolist()])
    weights, choices = np.zeros(p.shape), np.zeros(experts)
    for t, row in enumerate(p.tolist()):
        order = sorted(range(experts), key=lambda e: (-row[e], how.get("turn", 1) * e))
        kept = order[:top] if not how.get("smallest") else order[::-1][:top]
        total = math.fsum(row[e] for e in kept)
        for e in kept:
            weights[t, e] = how.get("share", lambda own, total: own / total)(row[e], total)
            choices[e] += 1
    shares = how.get("choices", choices) / how.get("count", tokens * top)
    means = how.get("means", lambda p, weights: p)(p, weights).mean(axis=0)
    factor: Any = how.get("factor") or experts
    return weights, factor * math.fsum(shares * means)


def counted(shapes: Mapping[str, Any], trained: Any, rank: int, number: int, **how: Any) -> Any:
    """Number by number. ``trained``: whether a path is."""
    total = chosen = added = 0
    for path, shape in shapes.items():
        size = 1
        for n in shape:
            size *= n
        total += size
        if not trained(path):
            continue
        if not rank:
            chosen += size
        elif len(shape) == 2 or how.get("vectors_too"):
            added += how.get("pair", lambda rank, shape: rank * sum(shape))(rank, shape)
    mine = chosen + added
    return {
        "weights": number * (total + how.get("with_added", 1) * added),
        "gradients": number * how.get("of_all", mine),
        "optimizer": how.get("moments", 2) * how.get("moment", 4) * mine,
        "saved": number * mine,
    }

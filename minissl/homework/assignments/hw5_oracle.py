"""Word vectors by other means than the library's: the oracles of homework 5.

Loops over Python numbers, and finite differences for gradients. Each flag that is changed is a
well-known mistake.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.text.cooccurrence import Cooccurrences

# ---- words and pieces ----------------------------------------------------------------------------


def unknown_words(counts: Mapping[str, int], known: Collection[str]) -> list[str]:
    """Every running word that is not known, as often as it occurs."""
    running = [word for word, count in counts.items() for _ in range(count)]
    return [word for word in running if word not in known]


def cut(word: str, tokens: Collection[str], longest: bool = True) -> list[str] | None:
    """A word by WordPiece: of the tokens that fit the longest, or the shortest."""
    pieces: list[str] = []
    left = word
    while left:
        prefix = "##" if pieces else ""
        fit = [t for t in tokens if t.startswith(prefix) and left.startswith(t[len(prefix) :])]
        fit = [token for token in fit if len(token) > len(prefix)]
        if not fit:
            return None
        pieces.append((max if longest else min)(fit, key=len))
        left = left[len(pieces[-1]) - len(prefix) :]
    return pieces


def cut_somehow(word: str, tokens: Collection[str], prefix: str = "") -> list[str] | None:
    """Pieces that reach the end of the word, the longest that allows it first."""
    if not word:
        return []
    for size in range(len(word), 0, -1):
        if prefix + word[:size] in tokens:
            rest = cut_somehow(word[size:], tokens, "##")
            if rest is not None:
                return [prefix + word[:size], *rest]
    return None


def fewest_pieces(word: str, tokens: Collection[str]) -> list[str] | None:
    """Of all ways to the end of the word one with the fewest pieces."""
    best: list[list[str] | None] = [[]]
    for end in range(1, len(word) + 1):
        ways = [
            [*way, piece]
            for start, way in enumerate(best)
            if way is not None and (piece := ("##" if start else "") + word[start:end]) in tokens
        ]
        best.append(min(ways, key=len) if ways else None)
    return best[-1]


def cut_from_the_right(word: str, tokens: Collection[str]) -> list[str] | None:
    """From the end of the word always the longest piece that fits."""
    pieces: list[str] = []
    end = len(word)
    while end:
        fit = [start for start in range(end) if ("##" if start else "") + word[start:end] in tokens]
        if not fit:
            return None
        pieces.insert(0, ("##" if fit[0] else "") + word[fit[0] : end])
        end = fit[0]
    return pieces


# ---- counting ------------------------------------------------------------------------------------

Counts = dict[tuple[int, int], float]


def near(
    words: Sequence[int],
    documents: Sequence[int],
    window: int,
    share: Callable[[int], float],
    *,
    cross: bool = False,
    both: bool = True,
    itself_twice: bool = True,
) -> Counts:
    """The counts of all pairs; ``share(d)`` is what a pair at the distance d counts."""
    found: Counts = {}
    for i, first in enumerate(words):
        for j in range(i + 1, min(i + window, len(words) - 1) + 1):
            if documents[i] != documents[j] and not cross:
                continue
            second = words[j]
            pairs = [(first, second), (second, first)][: 2 if both else 1]
            pairs = pairs if first != second or itself_twice else pairs[:1]
            for pair in pairs:
                found[pair] = found.get(pair, 0.0) + share(j - i)
    return found


def as_arrays(found: Counts) -> tuple[NDArray, ...]:
    """Rows, columns and counts, in the order of rows and columns."""
    keys = sorted(found)
    rows, columns = (np.array([key[i] for key in keys], np.int32) for i in (0, 1))
    return rows, columns, np.array([found[key] for key in keys], np.float64)


def mutual(
    pairs: Cooccurrences,
    *,
    log: Callable[[float], float] = math.log,
    column: Callable[[tuple[int, int]], int] = lambda pair: pair[1],
    weighted: bool = True,
) -> NDArray:
    """PMI of each pair, by sums over all pairs."""
    keys = list(zip(pairs.rows.tolist(), pairs.columns.tolist()))
    counts = pairs.counts.tolist()
    margin = counts if weighted else [1.0] * len(counts)
    found = []
    for key, count in zip(keys, counts):
        of_word = sum(n for other, n in zip(keys, margin) if other[0] == key[0]) / sum(margin)
        side = 1 if column(key) == key[1] else 0
        of_context = sum(n for o, n in zip(keys, margin) if o[side] == column(key)) / sum(margin)
        found.append(log(count / sum(counts) / (of_word * of_context)))
    return np.array(found)


# ---- losses --------------------------------------------------------------------------------------


def softplus(x: float) -> float:
    """−log σ(−x), without overflow."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def sampling_losses(center: NDArray, context: NDArray, negatives: NDArray) -> NDArray:
    """(batch, 1 + k): the loss of each real pair and of its noise pairs."""
    rows = []
    for w, c, noise in zip(center, context, negatives):
        scores = [-math.fsum(w * c), *(math.fsum(w * n) for n in noise)]
        rows.append([softplus(score) for score in scores])
    return np.array(rows, np.float64)


def adagrad(
    start: NDArray,
    gradients: Sequence[NDArray],
    lr: float,
    initial_sum: float,
    eps: float,
    *,
    add: bool = True,
    late: bool = False,
    step: Callable[[float, float, float], float] = lambda g, s, eps: g / (math.sqrt(s) + eps),
) -> NDArray:
    """The parameter after these gradients, number by number."""
    values = np.array(start, np.float64)
    for at in np.ndindex(values.shape):
        total = initial_sum
        for g in (float(gradient[at]) for gradient in gradients):
            before = total
            total = total + g * g if add else initial_sum + g * g
            values[at] -= lr * (step(g, before if late else total, eps) if g else 0.0)
    return values


def multiplied(
    plus: Sequence[NDArray],
    minus: Sequence[NDArray],
    *,
    epsilon: float = 1e-3,
    above: float = 0.0,
    shift: Callable[[float], float] = lambda cosine: (1 + cosine) / 2,
) -> NDArray:
    """3CosMul, candidate by candidate."""
    found: list[Any] = []
    for at in np.ndindex(plus[0].shape):
        top = math.prod(shift(float(cosines[at])) + above for cosines in plus)
        below = math.prod(shift(float(cosines[at])) + epsilon for cosines in minus)
        found.append(top / below if below else math.inf)
    return np.array(found).reshape(plus[0].shape)

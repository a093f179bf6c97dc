"""Masking, pairs and heads by other means than the answer key: the oracles of homework 7.

Of what is random all outcomes are listed with their probabilities; what is computed is computed in
loops over Python's own floats. Each flag that is changed is a well-known mistake.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.homework.task import Wrong

Outcomes = Mapping[Any, float]  # what may come out -> its probability
Row = tuple[bool, ...]

# ---- draws against probabilities -----------------------------------------------------------------


def _fits(counts: Mapping[Any, int], right: Outcomes, draws: int) -> Any:
    """None if the counts are those of these probabilities, else (an outcome that is not,).

    A right answer fails once in some ten million times.
    """
    for outcome in (*counts, *right):
        p, found = right.get(outcome, 0.0), counts.get(outcome, 0)
        spread = 5.5 * math.sqrt(draws * p * max(1 - p, 0.0))
        if (p == 0 and found) or abs(found - draws * p) > spread + 3 * (0 < p < 1):
            return (outcome,)
    return None


def expect_outcomes(
    sample: Callable[[], Hashable],
    rule: Callable[..., Outcomes],
    *,
    given: Mapping[str, Any],
    symptoms: Mapping[str, Mapping[str, Any]] | None = None,
    otherwise: str,
    draws: int = 300,
) -> None:
    """Raise Wrong unless the outcomes come as often as ``rule()`` has it.

    ``symptoms``: sentence -> what the rule is told, to be that of a well-known mistake.
    """
    counts, right = Counter(sample() for _ in range(draws)), rule()
    strange = _fits(counts, right, draws)
    if strange is None:
        return
    if len(counts) == 1:
        otherwise = f"{otherwise}: {draws} draws were all alike"
    likeliest = -math.inf
    for sentence, mistake in (symptoms or {}).items():
        wrong = rule(**mistake)
        if _fits(counts, wrong, draws) is None:
            likelihood = math.fsum(n * math.log(wrong[x]) for x, n in counts.items())
            if likelihood > likeliest:
                otherwise, likeliest = sentence, likelihood
    (outcome,) = strange
    shown = "".join(map(str, map(int, outcome))) if _is_row(outcome) else outcome
    got = f"{shown}: {counts.get(outcome, 0)} times in {draws} draws"
    raise Wrong(otherwise, given, got, f"about {draws * right.get(outcome, 0.0):.0f} times")


def seen_as(view: Callable[[Any], Any], outcomes: Outcomes) -> Outcomes:
    """The probabilities of what a view shows of the outcomes."""
    found: dict[Any, float] = defaultdict(float)
    for outcome, probability in outcomes.items():
        found[view(outcome)] += probability
    return found


def _is_row(outcome: Any) -> bool:
    return isinstance(outcome, tuple) and all(isinstance(x, bool | np.bool_) for x in outcome)


def _row(taken: Any, size: int) -> Row:
    return tuple(i in taken for i in range(size))


def subsets(allowed: Sequence[bool], count: int) -> Outcomes:
    """All sets of so many places that are allowed, alike."""
    places = [i for i, may in enumerate(allowed) if may]
    found = [_row(taken, len(allowed)) for taken in combinations(places, count)]
    return dict.fromkeys(found, 1 / len(found))


# ---- words and spans -----------------------------------------------------------------------------


def words(
    sizes: Sequence[int],
    budget: int,
    orders: Sequence[Sequence[int]],
    *,
    passed_over: bool = True,
    over: bool = False,
    one: bool = True,
    by_size: bool = False,
) -> Outcomes:
    """What is hidden by each of these orders, which are alike; or larger words come earlier."""
    outcomes: dict[Row, float] = defaultdict(float)
    for order in orders:
        behind = [sum(sizes[w] for w in order[i:]) for i in range(len(order))]
        chance = math.prod(sizes[w] / left for w, left in zip(order, behind))
        taken, left = set(), budget
        for word in order:
            if sizes[word] <= left or (over and left > 0):
                taken.add(word)
                left -= sizes[word]
            elif not passed_over:
                break
        if one and not taken:
            taken.add(order[0])
        outcomes[_row(taken, len(sizes))] += chance if by_size else 1 / len(orders)
    return dict(outcomes)


def lengths(
    p: float,
    longest: int,
    *,
    shift: int = 0,
    clipped: bool = False,
    whole: bool = True,
    factor: bool = True,
) -> list[float]:
    """A geometric distribution, cut at its longest."""
    found = [(1 - p) ** (n + shift) * (p if factor else 1) for n in range(longest)]
    if clipped:
        found[-1] = (1 - p) ** (longest - 1)
    total = math.fsum(found) if whole else 1.0
    return [x / total for x in found]


def spans(
    sizes: Sequence[int],
    budget: int,
    p: float,
    longest: int,
    *,
    tries: int = 60,
    apart: bool = True,
    cut: bool = True,
    over: bool = False,
    one: bool = True,
    moved: bool = False,
    round_the_end: bool = False,
    in_tokens: bool = False,
    free: bool = False,
    of: Sequence[float] = (),  # other probabilities of lengths
) -> Outcomes:
    """All that may be hidden after so many tries: a Markov chain over what is hidden."""
    drawn = list(of) or lengths(p, longest)
    now: dict[frozenset[int], float] = {frozenset(): 1.0}
    steps: dict[frozenset[int], dict[frozenset[int], float]] = {}

    def step(taken: frozenset[int]) -> dict[frozenset[int], float]:
        left = budget - sum(sizes[w] for w in taken)
        after: dict[frozenset[int], float] = defaultdict(float)
        if left <= 0:
            return {taken: 1.0}
        words = range(len(sizes))
        firsts = [w for w in words if not (free and {w - 1, w, w + 1} & taken)]
        for first in firsts:
            for length, probability in enumerate(drawn, 1):
                span: list[int] = []
                room = left
                start = max(min(first, len(sizes) - length), 0) if moved else first
                around = [w % len(sizes) for w in range(start, start + length)]
                for word in around if round_the_end else words[start : start + length]:
                    if in_tokens and sum(sizes[w] for w in span) >= length:
                        break
                    large = one and not taken and not span
                    if sizes[word] <= room or large or (over and room > 0):
                        span.append(word)
                        room -= sizes[word]
                    else:
                        span = span if cut else []
                        break
                near = {w + d for w in span for d in ((-1, 0, 1) if apart else (0,))}
                hidden = taken if not span or near & taken else taken | {*span}
                after[hidden] += probability / len(firsts)
        return dict(after) or {taken: 1.0}

    for _ in range(tries):
        then: dict[frozenset[int], float] = defaultdict(float)
        for taken, chance in now.items():
            steps[taken] = steps.get(taken) or step(taken)
            for hidden, probability in steps[taken].items():
                then[hidden] += chance * probability
        if then == now:
            break
        now = dict(then)
    return {_row(taken, len(sizes)): chance for taken, chance in now.items()}


def runs(hidden: Sequence[bool]) -> list[tuple[int, int]]:
    """Where each run of hidden tokens starts and where it stops."""
    found, start = [], None
    for place, is_hidden in enumerate([*hidden, False]):
        if is_hidden and start is None:
            start = place
        elif not is_hidden and start is not None:
            found.append((start, place))
            start = None
    return found


# ---- pairs ---------------------------------------------------------------------------------------


def pairs(
    documents: Sequence[Sequence[str]],
    *,
    follows: int = 0,
    half: float = 0.5,
    by_document: bool = False,
    all_sentences: bool = False,
    last_too: bool = False,
    not_last: bool = False,
    behind: bool = False,
) -> Outcomes:
    """Every pair with its label."""
    outcomes: dict[tuple[str, str, int], float] = defaultdict(float)
    able = [d for d in documents if len(d) > (0 if last_too else 1)]
    starts = [(d, s) for d in able for s in range(len(d) - (0 if last_too else 1))]
    for d, s in starts:
        chance = 1 / len(starts)
        if by_document:
            chance = 1 / len(able) / sum(e is d for e, _ in starts)
        if s + 1 < len(d):
            outcomes[d[s], d[s + 1], follows] += chance * half
            chance *= 1 - half
        others = [e for e in documents if e is not d]
        if behind:
            at = [e is d for e in documents].index(True)
            others = [documents[(at + 1) % len(documents)]]
        others = [e[:-1] or e for e in others] if not_last else others
        every = [(b, 1 / len(others) / len(e)) for e in others for b in e]
        if all_sentences:
            every = [(b, 1 / len(every)) for b, _ in every]
        for b, probability in every:
            outcomes[d[s], b, 1 - follows] += chance * probability
    return dict(outcomes)


def cut(first: Sequence[int], second: Sequence[int], room: int, **how: Any) -> tuple[list, list]:
    """Both without the tokens for which there is no room."""
    a, b, special = list(first), list(second), how.get("special", 3)
    while len(a) + len(b) + special > room:
        second_loses = how.get("which", lambda a, b: len(b) >= len(a))(a, b)
        shorter = b if second_loses else a
        shorter.pop(how.get("end", -1))
    return a, b


# ---- the network ---------------------------------------------------------------------------------


def log_softmax(logits: Sequence[float]) -> list[float]:
    """ln p of the classes."""
    largest = max(logits)
    below = largest + math.log(math.fsum(math.exp(x - largest) for x in logits))
    return [x - below for x in logits]


def cross_entropy(logits: Any, targets: Any) -> list[float]:
    """What each row costs."""
    return [-log_softmax(list(row))[t] for row, t in zip(logits, targets)]


def attend(arrays: Sequence[NDArray], lengths: Any, **how: Any) -> NDArray:
    """Query by query, over the keys that it sees."""
    query, key, value = arrays
    batch, time, width = query.shape
    outputs = np.zeros(value.shape)
    root = how.get("root", math.sqrt(width))
    if how.get("over_queries"):  # of full rows
        table = np.exp(query @ key.transpose(0, 2, 1) / root)
        return np.asarray(table / table.sum(axis=1, keepdims=True) @ value)
    for i in range(batch):
        for t in range(time if how.get("padding_too") else lengths[i]):
            seen = how.get("seen", lambda t, length, time: range(length))(t, lengths[i], time)
            scores = [math.fsum(query[i, t] * key[i, j]) / root for j in seen]
            weights = np.exp(log_softmax(scores))
            outputs[i, t] = sum(w * value[i, j] for w, j in zip(weights, seen))
    return outputs


def tied(vectors: NDArray, weight: NDArray, tokens: Any, targets: Any, output: Any = None) -> float:
    """The loss of the tied model; ``output``: other vectors at its end."""
    output = vectors if output is None else output
    logits = [[math.fsum(vectors[t] @ weight * e) for e in output] for t in tokens]
    return math.fsum(cross_entropy(logits, targets)) / len(tokens)


def classified(arrays: Iterable[NDArray], labels: Any, **how: Any) -> float:
    """The loss of the classifier of states, weight, bias, output."""
    states, weight, bias, output = arrays
    place, squash = how.get("place", 0), how.get("squash", np.tanh)
    pooled = [squash(weight @ row[place] + bias) for row in states]
    return float(np.mean(cross_entropy([output @ x for x in pooled], labels)))

"""Wrong answers to homework 7, encoders: whole words and spans."""

import numpy as np

from minissl.homework.assignments.hw7_by_hand import length_probabilities
from tests.homework.planted import Collection

PLANTED = Collection()


# ---- 7.9 choose_words ----------------------------------------------------------------------------


def worder(
    order=lambda sizes, generator: generator.permutation(len(sizes)),
    fits=lambda size, left: size <= left,
    passed_over=True,
    alone=lambda order, sizes: order[0],
    cost=lambda size: size,
    finish=lambda taken, sizes: taken,
    own=lambda generator: generator,
):
    """choose_words with something to get wrong in it."""

    def choose_words(sizes, budget, generator):
        generator = own(generator)
        taken, left, places = np.zeros(len(sizes), bool), budget, order(sizes, generator)
        for word in places:
            if fits(sizes[word], left):
                taken[word] = True
                left -= cost(sizes[word])
            elif not passed_over:
                break
        if not taken.any() and alone is not None:
            taken[alone(places, sizes)] = True
        return finish(taken, sizes)

    return choose_words


def words_by_keys(sizes, budget, generator):
    """The words sorted by random keys, and what is left as a list that gets shorter."""
    waiting = [
        word for _, word in sorted((k, i) for i, k in enumerate(generator.random(len(sizes))))
    ]
    hidden, first = set(), waiting[0]
    while waiting:
        word, used = waiting.pop(0), sum(int(sizes[w]) for w in hidden)
        if used + sizes[word] <= budget:
            hidden.add(word)
    return np.isin(np.arange(len(sizes)), sorted(hidden or {first}))


for _mistake, _shows, _worder in [
    ("from the left", "from the left", worder(order=lambda sizes, _: np.arange(len(sizes)))),
    ("the short ones first", "sorted by their size", worder(
        order=lambda sizes, g: np.lexsort((g.random(len(sizes)), sizes)))),
    ("the long ones first", "too often", worder(
        order=lambda sizes, g: np.lexsort((g.random(len(sizes)), -sizes)))),
    ("ended", "would still fit|ends it", worder(passed_over=False)),
    ("over the budget", "the budget is", worder(fits=lambda size, left: left > 0)),
    ("less than the budget", "would still fit", worder(fits=lambda size, left: size < left)),
    ("words are counted", "the budget is", worder(cost=lambda size: 1)),
    ("one word", "would still fit", worder(
        fits=lambda size, left: False)),
    ("nothing when none fits", "nothing is hidden", worder(alone=None)),
    ("the first of the row", "first word of the row", worder(alone=lambda order, sizes: 0)),
    ("one of the shortest", "one of the shortest", worder(
        alone=lambda order, sizes: min(order, key=lambda w: sizes[w]))),
    ("the tokens", "expected an array of booleans", worder(
        finish=lambda taken, sizes: np.repeat(taken, sizes + 1))),
    ("the visible ones", "the budget is|would still fit", worder(
        finish=lambda taken, sizes: ~taken)),
    ("no seed", "draw from the one that is given", worder(own=lambda _: np.random.default_rng())),
    ("a seed of its own", "too often|from the left|make no other", worder(
        own=lambda _: np.random.default_rng(0))),
]:  # fmt: skip
    PLANTED.add("7.9", _mistake, shows=_shows)(_worder)


# ---- 7.10 length_probabilities -------------------------------------------------------------------


def lengther(
    weights=lambda p, longest: p * (1 - p) ** np.arange(longest),
    finish=lambda weights: weights / weights.sum(),
    default=(0.2, 10),
):
    """length_probabilities with something to get wrong in it."""

    def probabilities(p=default[0], longest=default[1]):
        return finish(weights(p, longest))

    return probabilities


def lengths_by_loop(p=0.2, longest=10):
    """One length after the other."""
    found = [1.0]
    while len(found) < longest:
        found.append(found[-1] * (1 - p))
    return np.array([x / sum(found) for x in found])


def lengths_by_the_formula(p=0.2, longest=10):
    """The sum in closed form: 1 − (1 − p)^longest."""
    lengths = np.arange(1, longest + 1)
    return p * (1 - p) ** (lengths - 1) / (1 - (1 - p) ** longest)


def _clipped(p, longest):
    found = p * (1 - p) ** np.arange(longest)
    found[-1] += (1 - p) ** longest
    return found


for _mistake, _shows, _lengther in [
    ("cut to the longest", "above the longest was given to it", lengther(_clipped)),
    ("no sum", "the sum is not 1: divide", lengther(finish=lambda weights: weights)),
    ("bare powers", "the sum is not 1, and p", lengther(
        lambda p, longest: (1 - p) ** np.arange(longest), lambda weights: weights)),
    ("an exponent too many", "exponent 0", lengther(
        lambda p, longest: p * (1 - p) ** np.arange(1, longest + 1), lambda weights: weights)),
    ("from 0", "no span of 0 words", lengther(
        lambda p, longest: p * (1 - p) ** np.arange(longest + 1))),
    ("exchanged", "are exchanged", lengther(lambda p, longest: (1 - p) * p ** np.arange(longest))),
    ("all alike", "all lengths are alike", lengther(lambda p, longest: np.ones(longest))),
    ("backwards", "the longest is the most likely", lengther(finish=lambda w: w[::-1] / w.sum())),
    ("other defaults", "shape is", lengther(default=(0.2, 8))),
    ("always the paper's", "the shape is|values are wrong", lengther(
        lambda p, longest: 0.2 * 0.8 ** np.arange(10))),
]:  # fmt: skip
    PLANTED.add("7.10", _mistake, shows=_shows)(_lengther)


# ---- 7.11 choose_spans ---------------------------------------------------------------------------


def drawn_length(p, longest, generator):
    """1 to the longest."""
    return 1 + int(generator.choice(longest, p=length_probabilities(p, longest)))


def spanner(
    first=lambda count, generator: int(generator.integers(count)),
    length=drawn_length,
    near=1,
    cut=True,
    over=False,
    large=True,
    most=None,
    own=lambda generator: generator,
    spent=lambda left: left <= 0,
    cost=lambda size: size,
):  # fmt: skip
    """choose_spans word by word, with something to get wrong in it."""

    def choose_spans(sizes, budget, generator, *, p=0.2, longest=10, tries=60):
        generator, hidden, left = own(generator), [], budget
        for _ in range(tries if most is None else most):
            if spent(left):
                break
            start, room, span = first(len(sizes), generator), left, []
            for word in range(start, min(start + length(p, longest, generator), len(sizes))):
                size = cost(int(sizes[word]))
                if size <= room or (over and room > 0) or (large and not hidden and not span):
                    span, room = [*span, word], room - size
                else:
                    span = span if cut else []
                    break
            around = range(span[0] - near, span[-1] + near + 1) if span else ()
            if not set(around) & set(hidden):
                hidden, left = hidden + span, room if span else left
        return np.isin(np.arange(len(sizes)), hidden)

    return choose_spans


def spans_by_prefix_sums(sizes, budget, generator, *, p=0.2, longest=10, tries=60):
    """Where a span ends is looked up in running sums; hidden words with a margin on both sides."""
    ends, padded, used = np.cumsum(sizes), np.zeros(len(sizes) + 2, bool), 0
    weights = np.cumsum(length_probabilities(p, longest))
    for _ in range(tries):
        if used >= budget:
            break
        start = min(int(generator.random() * len(sizes)), len(sizes) - 1)
        length = int(np.searchsorted(weights, generator.random() * weights[-1], "right")) + 1
        before = ends[start] - sizes[start]
        stop = int(np.searchsorted(ends, before + budget - used, "right"))
        stop = min(stop, start + length)
        if not padded.any():
            stop = max(stop, start + 1)
        if stop > start and not padded[start : stop + 2].any():
            padded[start + 1 : stop + 1] = True
            used += int(ends[stop - 1] - before)
    return padded[1:-1]


for _mistake, _shows, _spanner in [
    ("spans touch", "two of them touch", spanner(near=0)),
    ("too long", "one is too long", spanner(
        length=lambda p, longest, g: 1 + drawn_length(p, longest, g))),
    ("over the budget", "cut the span", spanner(over=True)),
    ("nothing in a short row", "nothing is hidden", spanner(large=False)),
    ("one span", "only one span", spanner(most=1)),
    ("dropped whole", "dropped whole", spanner(cut=False)),
    ("all lengths alike", "all lengths are alike", spanner(
        length=lambda p, longest, g: 1 + int(g.integers(longest)))),
    ("single words", "spans have one word", spanner(length=lambda *_: 1)),
    ("1 − p", "p is that of ending", spanner(
        length=lambda p, longest, g: drawn_length(1 - p, longest, g))),
    ("the paper's p", "p is not handed on", spanner(
        length=lambda p, longest, g: drawn_length(0.2, longest, g))),
    ("cut to the longest", "lengths above the longest", spanner(
        length=lambda p, longest, g: min(int(g.geometric(p)), longest))),
    ("from the left", "another rule", spanner(first=lambda count, g: 0)),
    ("never the last word", "another rule|is hidden", spanner(
        first=lambda count, g: int(g.integers(max(count - 1, 1))))),
    ("words are counted", "cut the span", spanner(cost=lambda size: 1)),
    ("always nine tries", "with one try|another rule", spanner(most=9)),
    ("no seed", "draw from the one", spanner(own=lambda _: np.random.default_rng())),
    ("not a boolean", "expected an array of booleans", lambda *given, **how: np.flatnonzero(
        spanner()(*given, **how))),
]:  # fmt: skip
    PLANTED.add("7.11", _mistake, shows=_shows)(_spanner)


# ---- 7.12 boundaries -----------------------------------------------------------------------------


def bounder(
    left=lambda start, place: start - 1,
    right=lambda stop, place: stop,
    place=lambda start, stop, place, count, number: place - start,
    each=lambda start, stop: range(start, stop),
    finish=None,
):
    """boundaries span by span, with something to get wrong in it."""

    def runs(hidden):
        edges = np.flatnonzero(np.diff(np.pad(hidden.astype(int), 1)))
        return edges.reshape(-1, 2).tolist()

    def boundaries(hidden):
        found = []
        for number, (start, stop) in enumerate(runs(hidden)):
            for at in each(start, stop):
                own = place(start, stop, at, len(found), number)
                found.append((left(start, at), right(stop, at), own))
        return (finish or in_arrays)(found, len(hidden))

    return boundaries


def in_arrays(found, time):
    """Three arrays, −1 for what is behind the row."""
    left, right, place = np.array(found, np.int64).reshape(-1, 3).T
    return left, np.where(right == time, -1, right), place


def boundaries_step_by_step(hidden):
    """From each token to both sides, until one is visible."""
    left, right, place = [], [], []
    for at in range(len(hidden)):
        if not hidden[at]:
            continue
        before, behind = at, at
        while before >= 0 and hidden[before]:
            before -= 1
        while behind < len(hidden) and hidden[behind]:
            behind += 1
        left.append(before)
        right.append(behind if behind < len(hidden) else -1)
        place.append(at - before - 1)
    return np.array(left, np.int64), np.array(right, np.int64), np.array(place, np.int64)


def _clipped_ends(found, time):
    left, right, place = np.array(found, np.int64).reshape(-1, 3).T
    return left, np.minimum(right, time - 1), place


for _mistake, _shows, _bounder in [
    ("the token before", "left: this is the token before", bounder(left=lambda s, at: at - 1)),
    ("the first", "left: this is the first of the span", bounder(left=lambda s, at: s)),
    ("the token behind", "right: this is the token behind", bounder(right=lambda s, at: at + 1)),
    ("the last", "right: this is the last of the span", bounder(right=lambda s, at: s - 1)),
    ("one for each span", "there is one for each span", bounder(each=lambda a, b: [a])),
    ("from 1", "has place 0", bounder(place=lambda start, stop, at, *_: at - start + 1)),
    ("from the end", "from the end of the span", bounder(
        place=lambda start, stop, at, *_: stop - 1 - at)),
    ("the place in the row", "place in the row", bounder(place=lambda start, stop, at, *_: at)),
    ("counted on", "counted on", bounder(place=lambda start, stop, at, count, _: count)),
    ("the number of the span", "number of the span", bounder(
        place=lambda start, stop, at, count, number: number)),
    ("inside the row", "ends the row is −1", bounder(finish=_clipped_ends)),
    ("0 in front", "begins the row has −1", bounder(left=lambda start, at: max(start - 1, 0))),
    ("the length behind", "ends the row has −1", bounder(
        finish=lambda found, time: tuple(np.array(found, np.int64).reshape(-1, 3).T))),
    ("a crash without spans", "it raised|dtype is|the shape is|expected three", bounder(
        finish=lambda found, time: tuple(np.array(found).T))),
    ("lists", "got list|expected numbers", bounder(
        finish=lambda found, time: tuple([*x] for x in zip(*found)))),
]:  # fmt: skip
    PLANTED.add("7.12", _mistake, shows=_shows)(_bounder)

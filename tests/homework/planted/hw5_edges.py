"""Wrong answers to homework 5, words: right for most inputs, or at a price that the caller pays.

They keep something between calls, write into what they were given, or know one kind of input only.
"""

import numpy as np

from minissl.autograd import operations as ops
from minissl.autograd.rows import Rows
from minissl.autograd.tensor import Tensor
from minissl.losses import words as losses
from minissl.optim import adagrad
from tests.homework.planted import Collection
from tests.homework.planted.hw5_counting import (
    checked,
    cutter,
    drawer,
    keep_in_a_loop,
    keeper,
    mutual,
    mutual_by_table,
    near,
    rate,
)
from tests.homework.planted.hw5_learning import fitter, sampler, scorer, stepper, weigher

PLANTED = Collection()


# ---- 5.1 unknown_rate ----------------------------------------------------------------------------


@PLANTED.add("5.1", "makes a set of what is known", shows="only answers `in`")
def _(counts, known):
    return rate()(counts, set(known))


@PLANTED.add("5.1", "lower-cases the words", shows="as they stand there")
def _(counts, known):
    return rate(lost=lambda word, known: word.lower() not in known)(counts, known)


@PLANTED.add("5.1", "asks for an empty dictionary, not for no word", shows="ZeroDivisionError")
def _(counts, known):
    if not counts:
        raise ValueError("there is no word")
    return sum(n for word, n in counts.items() if word not in known) / sum(counts.values())


@PLANTED.add("5.1", "uses the counts up", shows="changed its input")
def _(counts, known):
    total = lost = 0
    while counts:
        word, count = counts.popitem()
        total += count
        lost += count * (word not in known)
    if not total:
        raise ValueError("there is no word")
    return lost / total


RUNNING = []


@PLANTED.add("5.1", "a list that is never emptied", shows="between calls")
def _(counts, known):
    RUNNING.extend(word for word, count in counts.items() for _ in range(count))
    if not RUNNING:
        raise ValueError("there is no word")
    return sum(word not in known for word in RUNNING) / len(RUNNING)


# ---- 5.2 longest_pieces --------------------------------------------------------------------------


@PLANTED.add("5.2", "goes through the tokens", shows="only answers `in`")
def _(word, tokens):
    return cutter()(word, sorted(tokens, key=len))


@PLANTED.add("5.2", "pieces of at most four letters", shows="as long as the word")
def _(word, tokens):
    def ends(start, size):
        return range(min(size, start + 5), start, -1)

    return cutter(ends=ends)(word, tokens)


@PLANTED.add("5.2", "begins at the end of the word", shows="from left to right")
def _(word, tokens):
    pieces, end = [], len(word)
    while end:
        for start in range(end):
            piece = ("##" if start else "") + word[start:end]
            if piece in tokens:
                break
        else:
            return None
        pieces.append(piece)
        end = start
    return pieces[::-1]


@PLANTED.add("5.2", "the fewest pieces", shows="fewest pieces")
def _(word, tokens):
    best = [[]]
    for end in range(1, len(word) + 1):
        found = [
            [*best[start], piece]
            for start in range(end)
            if best[start] is not None
            and (piece := ("##" if start else "") + word[start:end]) in tokens
        ]
        best.append(min(found, key=len) if found else None)
    return best[-1]


@PLANTED.add("5.2", "lower-cases the word", shows="as it stands there|lower-cased")
def _(word, tokens):
    return cutter()(word.lower(), tokens)


@PLANTED.add("5.2", "## alone is a piece", shows="no letter is no piece")
def _(word, tokens):
    pieces, start = [], 0
    while start < len(word) and len(pieces) < 50:
        prefix = "##" if start else ""
        ends = range(len(word), start - 1, -1)
        end = next((end for end in ends if prefix + word[start:end] in tokens), None)
        if end is None:
            return None
        pieces.append(prefix + word[start:end])
        start = max(end, start)
    return pieces


# ---- 5.3 cooccurrences ---------------------------------------------------------------------------

MET = {}


@PLANTED.add("5.3", "a table that lives on", shows="between calls")
def _(words, documents, vocab_size, window, *, by_distance=True):
    fresh = near()(words, documents, vocab_size, window, by_distance=by_distance)
    for row, column, count in zip(*(part.tolist() for part in fresh)):
        MET[row, column] = MET.get((row, column), 0.0) + count
    keys = sorted(MET)
    rows, columns = (np.array([key[k] for key in keys], np.int32) for k in (0, 1))
    return type(fresh)(rows, columns, np.array([MET[key] for key in keys], np.float64))


@PLANTED.add("5.3", "a word is never near itself", shows="stand near itself")
def _(words, documents, vocab_size, window, *, by_distance=True):
    found = near()(words, documents, vocab_size, window, by_distance=by_distance)
    kept = found.rows != found.columns
    return type(found)(*(part[kept] for part in found))


@PLANTED.add("5.3", "a plain tuple", shows="expected Cooccurrences")
def _(words, documents, vocab_size, window, *, by_distance=True):
    return tuple(near()(words, documents, vocab_size, window, by_distance=by_distance))


@PLANTED.add("5.3", "negative ids", shows="should raise a ValueError")
def _(words, documents, vocab_size, window, *, by_distance=True):
    if window < 1 or words.shape != documents.shape or (words >= vocab_size).any():
        raise ValueError("this cannot be")
    return near(check=False)(words, documents, vocab_size, window, by_distance=by_distance)


@PLANTED.add("5.3", "the distance counts what is between", shows="stand side by side")
def _(words, documents, vocab_size, window, *, by_distance=True):
    def share(distance, by_distance):
        return 1 / max(distance - 1, 1) if by_distance else 1.0

    return near(share=share)(words, documents, vocab_size, window, by_distance=by_distance)


@PLANTED.add("5.3", "GloVe's harmonic weight as window − d", shows="not by the window")
def _(words, documents, vocab_size, window, *, by_distance=True):
    def share(distance, by_distance):
        return (window - distance + 1) / window if by_distance else 1.0

    return near(share=share)(words, documents, vocab_size, window, by_distance=by_distance)


# ---- 5.4 pointwise_mutual_information ------------------------------------------------------------


@PLANTED.add("5.4", "divides the caller's counts in place", shows="changed its input")
def _(pairs, vocab_size):
    counts = pairs.counts
    counts /= counts.sum()
    return mutual_by_table(pairs, vocab_size)


@PLANTED.add("5.4", "takes the order for granted", shows="in any order")
def _(pairs, vocab_size):
    starts = np.flatnonzero(np.r_[True, np.diff(pairs.rows) != 0])
    sums = np.repeat(np.add.reduceat(pairs.counts, starts), np.diff(np.r_[starts, len(pairs.rows)]))
    columns = np.bincount(pairs.columns, pairs.counts)[pairs.columns]
    return np.log(pairs.counts * pairs.counts.sum() / (sums * columns))


@PLANTED.add("5.4", "nothing refused", shows="should raise a ValueError")
def _(pairs, vocab_size):
    return mutual(check=lambda *_: None)(pairs, vocab_size)


@PLANTED.add("5.4", "normalized by −log p", shows="normalized PMI")
def _(pairs, vocab_size):
    return mutual()(pairs, vocab_size) / -np.log(pairs.counts / pairs.counts.sum())


# ---- 5.5 keep_probabilities, 5.6 noise_distribution ----------------------------------------------


@PLANTED.add("5.5", "counts of floats are changed", shows="changed its input")
def _(counts, threshold=1e-3):
    counts = np.asarray(counts, float)
    kept = keep_in_a_loop(counts, threshold)
    counts[counts == 0] = 1
    return kept


@PLANTED.add("5.5", "arrays only", shows="a list")
def _(counts, threshold=1e-3):
    counts.sum()
    return keeper()(counts, threshold)


@PLANTED.add("5.5", "of no word NaN", shows="whose count is 0 stays")
def _(counts, threshold=1e-3):
    def share(counts):
        return counts / counts.sum()

    kept = keeper(share=share)(counts, threshold)
    return kept if np.sum(counts) else kept * np.nan


@PLANTED.add("5.5", "draws", shows="nothing is drawn here")
def _(counts, threshold=1e-3):
    kept = keeper()(counts, threshold)
    return (np.random.default_rng().random(len(kept)) < kept).astype(float)


@PLANTED.add("5.5", "an infinite threshold", shows="should raise a ValueError")
def _(counts, threshold=1e-3):
    counts = np.asarray(counts, float)
    if not (counts >= 0).all() or threshold < 0:
        raise ValueError("negative")
    return keeper(check=lambda counts, *_: counts)(counts, threshold)


@PLANTED.add("5.6", "powers in place", shows="changed its input")
def _(counts, power=0.75):
    counts = checked(counts, power)
    if not counts.any():
        raise ValueError("there is no word to draw")
    never = counts == 0
    counts **= power
    counts[never] = 0
    return counts / counts.sum()


@PLANTED.add("5.6", "0⁰ alone was thought of", shows="never drawn|NaN")
def _(counts, power=0.75):
    def raised(shares, counts, power):
        return (counts > 0) * 1.0 if power == 0 else shares**power

    return drawer(raised)(counts, power)


@PLANTED.add("5.6", "arrays only", shows="a list")
def _(counts, power=0.75):
    counts.sum()
    return drawer()(counts, power)


@PLANTED.add("5.6", "a power that is NaN", shows="should raise a ValueError")
def _(counts, power=0.75):
    return drawer(check=lambda counts, power: checked(counts))(counts, power)


@PLANTED.add("5.6", "float32", shows="the dtype is float32")
def _(counts, power=0.75):
    return drawer()(counts, power).astype(np.float32)


# ---- 5.7 negative_sampling_gradients -------------------------------------------------------------


@PLANTED.add("5.7", "differences in place of derivatives", shows="by differences")
def _(center, context, negatives):
    given = [np.array(x, np.float64) for x in (center, context, negatives)]
    gradients = []
    for array, like in zip(given, (center, context, negatives)):
        slopes = np.zeros_like(array)
        for at in np.ndindex(array.shape):
            kept, step = array[at], 1e-5
            ends = []
            for change in (step, -step):
                array[at] = kept + change
                ends.append(sampler()(*given)[0])
            array[at] = kept
            slopes[at] = (ends[0] - ends[1]) / (2 * step)
        gradients.append(slopes.astype(like.dtype))
    return sampler()(*given)[0], *gradients


def clipped(x):
    """word2vec's table of σ ends at 6."""
    return np.clip(x, -6, 6)


@PLANTED.add("5.7", "scores end at 6", shows="clipped")
def _(center, context, negatives):
    return sampler(
        softplus=lambda x: np.logaddexp(0, clipped(x)),
        sigmoid=lambda x: 1 / (1 + np.exp(-clipped(x))),
    )(center, context, negatives)


@PLANTED.add("5.7", "float32 in its own way", shows="float32")
def _(center, context, negatives):
    loss, *gradients = sampler()(center, context, negatives)
    if center.dtype == np.float32:
        gradients = [g.round(2) for g in gradients]
    return loss, *gradients


@PLANTED.add("5.7", "writes into its arguments", shows="changed its input")
def _(center, context, negatives):
    found = sampler()(center, context, negatives)
    negatives *= center[:, None]
    return found


@PLANTED.add(
    "5.7",
    "all noise words of the batch for each center",
    shows="noise words of its own|it raised|shape",
)
def _(center, context, negatives):
    everyone = np.broadcast_to(negatives[:1], negatives.shape)
    return sampler()(center, context, everyone)


# ---- 5.8 glove_weights, 5.9 glove ----------------------------------------------------------------


@PLANTED.add("5.8", "integers stay integers", shows="integers give floats")
def _(counts, largest=100.0, power=0.75):
    found = weigher(lambda x, most, p: np.minimum(1, x / most) ** p)(counts, largest, power)
    return found.astype(counts.dtype)


@PLANTED.add("5.8", "NaN slips through", shows="should raise a ValueError")
def _(counts, largest=100.0, power=0.75):
    return weigher(
        lambda x, most, p: np.minimum(1, x / most) ** p,
        lambda counts, largest, power: (
            losses.glove_weights(np.abs(np.nan_to_num(counts)), largest, power)
            if (np.nan_to_num(counts) >= 0).all()
            else checked(counts)
        ),
    )(counts, largest, power)


@PLANTED.add("5.8", "in place", shows="changed its input")
def _(counts, largest=100.0, power=0.75):
    found = weigher(lambda x, most, p: np.minimum(1, x / most) ** p)(counts, largest, power)
    counts[counts > largest] = largest
    return found


@PLANTED.add("5.8", "1 gives its input back", shows="gives back its input")
def _(counts, largest=100.0, power=0.75):
    if largest == 1 and power == 1 and (np.asarray(counts) <= 1).all() and (counts >= 0).all():
        return counts
    return weigher(lambda x, most, p: np.minimum(1, x / most) ** p)(counts, largest, power)


@PLANTED.add("5.9", "other defaults", shows="without being told")
def _(predicted, counts, largest=10.0, power=0.5):
    return fitter()(predicted, counts, largest, power)


@PLANTED.add("5.9", "sets the gradient itself", shows="set the gradient")
def _(predicted, counts, largest=100.0, power=0.75):
    loss = fitter()(predicted, counts, largest, power)
    f = losses.glove_weights(np.asarray(counts), largest, power)
    predicted.grad = f * (predicted.numpy() - np.log(counts)) / len(f)
    return loss


@PLANTED.add(
    "5.9", "the logarithm of the prediction, too", shows="NaN|prediction is a logarithm already"
)
def _(predicted, counts, largest=100.0, power=0.75):
    return fitter()(ops.log(ops.abs(predicted)), counts, largest, power)


@PLANTED.add("5.9", "a constant", shows="no gradient|gradient is wrong")
def _(predicted, counts, largest=100.0, power=0.75):
    return Tensor(fitter()(predicted, counts, largest, power).numpy())


# ---- 5.10 AdaGrad.update -------------------------------------------------------------------------


@PLANTED.add("5.10", "sums of its own", shows="sum_of_squares")
class _(adagrad.AdaGrad):
    def update(self, name, parameter, lr):
        sums = vars(self).setdefault("sums", {})
        g = np.asarray(parameter.grad)
        sums[name] = sums.get(name, self.initial_sum) + g**2
        root = np.sqrt(sums[name]) + self.eps
        parameter.array -= lr * np.where(g == 0, 0, g / np.where(root == 0, 1, root))


@PLANTED.add("5.10", "one sum for all parameters", shows="each parameter has its own")
class _(adagrad.AdaGrad):
    def update(self, name, parameter, lr):
        first = next(iter(self.state["sum_of_squares"]))
        stepper().update(self, first, parameter, lr)


@PLANTED.add("5.10", "the gradient is squared in place", shows="gradient was changed")
class _(adagrad.AdaGrad):
    def update(self, name, parameter, lr):
        stepper().update(self, name, parameter, lr)
        if not isinstance(parameter.grad, Rows):
            parameter.grad *= parameter.grad


@PLANTED.add("5.10", "another array in its place", shows="in place")
class _(adagrad.AdaGrad):
    def update(self, name, parameter, lr):
        parameter.array = parameter.array.copy()
        stepper().update(self, name, parameter, lr)


@PLANTED.add("5.10", "its own learning rate", shows="lr that it is given")
class _(adagrad.AdaGrad):
    def update(self, name, parameter, lr):
        stepper().update(self, name, parameter, self.lr)


@PLANTED.add("5.10", "initial_sum in the state", shows="sum_of_squares")
class _(adagrad.AdaGrad):
    def update(self, name, parameter, lr):
        if self.steps[name] == 1:
            self.state["sum_of_squares"][name] += self.initial_sum
        stepper(initial=False).update(self, name, parameter, lr)


@PLANTED.add("5.10", "matrices only", shows="IndexError|raised")
class _(adagrad.AdaGrad):
    def update(self, name, parameter, lr):
        parameter.array[0, 0] += 0
        stepper().update(self, name, parameter, lr)


# ---- 5.11 analogy_scores -------------------------------------------------------------------------


@PLANTED.add("5.11", "adds into the first array", shows="changed its input")
def _(plus, minus, rule="add"):
    if rule != "add":
        return scorer()(plus, minus, rule)
    scores = plus[0]
    for cosines in plus[1:]:
        scores += cosines
    for cosines in minus:
        scores -= cosines
    return scores


@PLANTED.add("5.11", "one word is given back itself", shows="gives back its input")
def _(plus, minus, rule="add"):
    if rule == "add" and len(plus) == 1 and not minus:
        return plus[0]
    return scorer()(plus, minus, rule)


@PLANTED.add("5.11", "something has to be taken away", shows="IndexError")
def _(plus, minus, rule="add"):
    if rule == "multiply":
        below = (1 + minus[0]) / 2 + 1e-3
        for cosines in minus[1:]:
            below = below * ((1 + cosines) / 2 + 1e-3)
        return np.prod([(1 + c) / 2 for c in plus], axis=0) / below
    return scorer()(plus, minus, rule)


@PLANTED.add("5.11", "negative cosines are 0", shows="also below 0")
def _(plus, minus, rule="add"):
    plus, minus = ([np.maximum(c, 0) for c in given] for given in (plus, minus))
    return scorer()(plus, minus, rule)


@PLANTED.add("5.11", "two words plus, one minus", shows="however many")
def _(plus, minus, rule="add"):
    return scorer()(plus[:2], minus[:1], rule)

"""How an encoder is pretrained, for one row at a time in plain NumPy: the answer key of homework 7.

The library does the same for many rows at once (``text/masking.py``, ``models/encoder.py``,
``pretrain/masked``); ``tests/homework/test_by_hand.py`` compares both. Lecture 08.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# ---- what is hidden, and what the loss is --------------------------------------------------------


def choose_pieces(
    allowed: NDArray[np.bool_], generator: np.random.Generator, share: float = 0.15
) -> NDArray[np.bool_]:
    """Which tokens of a row are hidden: exactly the share of those that may be, all equally likely.

    allowed (time,): False for [CLS], [SEP] and padding, which are never hidden. Hidden are
    round(share · allowed tokens) of them (Python's ``round``), but one at least; none where none is
    allowed. Gives a new array (time,) of booleans, True where a token is hidden. All randomness is
    that of the generator. Devlin et al. (2019); lecture 08, section 2.
    """
    places = np.flatnonzero(allowed)
    count = min(max(round(share * len(places)), 1), len(places))
    hidden = np.zeros(len(allowed), bool)
    hidden[generator.permutation(places)[:count]] = True
    return hidden


def masked_loss(
    states: NDArray,
    vectors: NDArray,
    bias: NDArray,
    originals: NDArray[np.int64],
    hidden: NDArray[np.bool_],
) -> float:
    """The mean of −ln p(original token) over the hidden places, in nats.

    states (time, width) float64: the encoder's of a row; vectors (vocab, width), bias (vocab,): the
    logits of a place are its inner products with the vectors, plus the bias; originals (time,): the
    tokens before anything was hidden; hidden (time,) booleans. Logits are computed of hidden places
    only: whatever stands at visible ones, also NaN, changes nothing. Logits of 1000 are no
    overflow.

    Raises ValueError when nothing is hidden. Lecture 08, section 2.
    """
    if not hidden.any():
        raise ValueError("nothing is hidden, so there is no mean")
    logits = states[hidden] @ vectors.T + bias
    logits = logits - logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return float(-np.mean(log_p[np.arange(len(log_p)), originals[hidden]]))


def replace(
    tokens: NDArray[np.int64],
    hidden: NDArray[np.bool_],
    generator: np.random.Generator,
    *,
    mask: int,
    vocab_size: int,
) -> NDArray[np.int64]:
    """What the model reads of a row: hidden tokens become [MASK], a random one, or stay.

    tokens (time,) int64, hidden (time,) booleans, mask: the id of [MASK]. Each hidden token by
    itself is with probability 0.8 replaced by [MASK], with 0.1 by a random token and with 0.1 left
    as it is; visible tokens stay. Random tokens are drawn from 0 to vocab_size − 1, all equally
    likely, the token itself too. Gives a new array (time,) int64. Lecture 08, section 3.
    """
    draws = generator.random(len(tokens))
    others = generator.integers(vocab_size, size=len(tokens))
    shown = np.where(hidden & (draws < 0.8), mask, tokens)
    return np.where(hidden & (draws >= 0.8) & (draws < 0.9), others, shown)


# ---- pairs of texts ------------------------------------------------------------------------------


def pack(
    first: Sequence[int], second: Sequence[int], *, cls: int, sep: int, room: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A row of two texts: [CLS] first [SEP] second [SEP], and the segment of each token.

    first, second: lists of token ids, one or more each, which stay as they are. A row has at most
    ``room`` tokens, the three special ones too: while it has more, the longer text loses its last
    token (the second if they are equally long). Texts may have thousands of tokens. cls, sep: the
    ids of [CLS] and [SEP]. Gives tokens (time,) and segments (time,), both int64: segment 0 is
    [CLS], the first text and the [SEP] behind it, segment 1 the rest.

    Raises ValueError when ``room`` is below 5. Devlin et al. (2019); lecture 08, section 4.
    """
    if room < 5:
        raise ValueError(f"two texts and three special tokens need room for 5, got {room}")
    a, b = list(first), list(second)
    while len(a) + len(b) + 3 > room:
        (a if len(a) > len(b) else b).pop()
    tokens = np.array([cls, *a, sep, *b, sep], np.int64)
    segments = np.repeat(np.arange(2), [len(a) + 2, len(b) + 1])
    return tokens, segments


def next_sentence(
    documents: Sequence[Sequence[str]], generator: np.random.Generator
) -> tuple[str, str, int]:
    """A sentence, another one, and whether it follows: label 0 if it does, 1 if it does not.

    documents: two or more lists of sentences, each in order; two documents may have the same
    sentences, and are two all the same. The first is any sentence that is not the last of its
    document, all such sentences of all documents equally likely. With
    probability ½ the second is the sentence behind it (label 0); else it is a random sentence of a
    random other document (label 1), all other documents equally likely, and all sentences in it.

    Raises ValueError when no sentence has one behind it. Devlin et al. (2019); lecture 08, section
    4.
    """
    starts = [(d, s) for d, document in enumerate(documents) for s in range(len(document) - 1)]
    if not starts:
        raise ValueError("no document has two sentences, so none follows another")
    own, place = starts[generator.integers(len(starts))]
    first = documents[own][place]
    if generator.random() < 0.5:
        return first, documents[own][place + 1], 0
    other = documents[(own + int(generator.integers(1, len(documents)))) % len(documents)]
    return first, other[int(generator.integers(len(other)))], 1


# ---- the network ---------------------------------------------------------------------------------


def attend(query: NDArray, key: NDArray, value: NDArray, lengths: NDArray[np.int64]) -> NDArray:
    """Attention of rows of different lengths: Σ_j softmax_j(q · k_j / √width) v_j of real keys.

    query, key, value (batch, time, width) float64; lengths (batch,): of row i the first
    ``lengths[i]`` tokens are real, one at least, and what is behind is padding. Real tokens attend
    to all real tokens of their row, in both directions. Padding changes nothing, whatever it is
    (also NaN), and its own outputs are 0. Scores of ±100,000 are no overflow. Gives (batch,
    time, width) float64. Lecture 08, section 5.
    """
    outputs = np.zeros(value.shape)
    for i, length in enumerate(lengths):
        q, k, v = (x[i, :length] for x in (query, key, value))
        scores = q @ k.T / np.sqrt(q.shape[1])
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        outputs[i, :length] = weights / weights.sum(axis=1, keepdims=True) @ v
    return outputs


def tied_loss(
    vectors: NDArray, weight: NDArray, tokens: NDArray[np.int64], targets: NDArray[np.int64]
) -> tuple[float, NDArray]:
    """A model whose token vectors are input and output, its loss, and their gradient by hand.

    vectors (vocab, width) float64; weight (width, width); tokens, targets (places,). The "encoder"
    is one matrix: the state of a place is h = vectors[token] · weight, its logits are h · vectorsᵀ,
    and the loss is the mean of −ln softmax at the targets. A token may be in ``tokens`` several
    times. Logits of 1000 are no overflow. Gives the loss and its gradient by ``vectors`` (vocab,
    width), which is the sum of what comes from both uses. Lecture 08, section 5.
    """
    states = vectors[tokens] @ weight
    logits = states @ vectors.T
    logits = logits - logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    rows = np.arange(len(tokens))
    loss, p = float(-np.mean(log_p[rows, targets])), np.exp(log_p)
    p[rows, targets] -= 1
    p = p / len(tokens)
    gradient = p.T @ states
    np.add.at(gradient, tokens, p @ vectors @ weight.T)
    return loss, gradient


def classify(
    states: NDArray, weight: NDArray, bias: NDArray, output: NDArray, labels: NDArray[np.int64]
) -> tuple[float, tuple[NDArray, NDArray, NDArray, NDArray]]:
    """The loss of a classifier on [CLS], and its gradients by hand.

    states (batch, time, width) float64: an encoder's, [CLS] being the first token; weight (width,
    width) and bias (width,): of the pooler, pooled = tanh(state of [CLS] · weightᵀ + bias); output
    (classes, width): logits = pooled · outputᵀ; labels (batch,). The loss is the mean of −ln
    softmax at the labels. Gives it, and its gradients by states, weight, bias and output, each of
    the shape of its argument. Devlin et al. (2019); lecture 08, section 5.
    """
    first, batch = states[:, 0], np.arange(len(labels))
    pooled = np.tanh(first @ weight.T + bias)
    logits = pooled @ output.T
    logits = logits - logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    loss, p = float(-np.mean(log_p[batch, labels])), np.exp(log_p)
    p[batch, labels] -= 1
    p = p / len(labels)
    back = (p @ output) * (1 - pooled**2)
    by_states = np.zeros(states.shape)
    by_states[:, 0] = back @ weight
    return loss, (by_states, back.T @ first, back.sum(axis=0), p.T @ pooled)


# ---- whole words and spans -----------------------------------------------------------------------


def choose_words(
    sizes: NDArray[np.int64], budget: int, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Which words of a row are hidden, each as a whole: in random order, as many as fit.

    sizes (words,): how many tokens each word has, one at least; budget: how many tokens may be
    hidden, one at least. The words are gone through in a random order, all orders equally likely. A
    word that fits into what is left of the budget is hidden; one that does not is passed over, and
    the next is tried. If no word fits, the first of the order is hidden. Gives (words,) booleans;
    ``np.repeat`` of it by the sizes says it of the tokens. Lecture 08, section 7.
    """
    order = generator.permutation(len(sizes))
    taken = np.zeros(len(sizes), bool)
    left = budget
    for word in order:
        if sizes[word] <= left:
            taken[word] = True
            left -= sizes[word]
    if not taken.any():
        taken[order[0]] = True
    return taken


def length_probabilities(p: float = 0.2, longest: int = 10) -> NDArray:
    """How likely a span of 1, 2, ... ``longest`` words is: (longest,) numbers with the sum 1.

    Those of a geometric distribution, (1 − p)^(length − 1) · p, where a length above ``longest`` is
    drawn again: they keep their ratios. 0 < p < 1, and ``longest`` may be thousands. Gives a new
    array float64. Joshi et al. (2020); lecture 08, section 7.
    """
    weights = p * (1 - p) ** np.arange(longest)
    return weights / weights.sum()


def choose_spans(
    sizes: NDArray[np.int64],
    budget: int,
    generator: np.random.Generator,
    *,
    p: float = 0.2,
    longest: int = 10,
    tries: int = 60,
) -> NDArray[np.bool_]:
    """Which words of a row are hidden: spans of neighbours, no two of which touch.

    sizes (words,): how many tokens each word has, one at least; budget: how many tokens may be
    hidden, one at least. While some of the budget is left, and not more than ``tries`` times:

    1. draw the first word of a span, all words equally likely, and its length in words by
       ``length_probabilities(p, longest)``;
    2. cut it at the end of the row, and before the word with which its tokens would exceed what is
       left of the budget; while nothing is hidden yet, its first word stays, however large;
    3. hide it, unless nothing is left of it, or one of its words or of the two words beside it is
       hidden already: then this try was in vain.

    Gives (words,) booleans. Joshi et al. (2020), whose spans may touch; lecture 08, section 7.
    """
    probabilities = length_probabilities(p, longest)
    taken = np.zeros(len(sizes), bool)
    left = budget
    for _ in range(tries):
        if left <= 0:
            break
        first = generator.integers(len(sizes))
        length = 1 + generator.choice(longest, p=probabilities)
        fits = int((np.cumsum(sizes[first : first + length]) <= left).sum())
        stop = first + (fits if taken.any() else max(fits, 1))
        if stop > first and not taken[max(first - 1, 0) : stop + 1].any():
            taken[first:stop] = True
            left -= sizes[first:stop].sum()
    return taken


def boundaries(
    hidden: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Of each hidden token: the visible place before its span, that behind it, its place in there.

    hidden (time,) booleans; a span is a run of hidden tokens. Gives (left, right, place), each
    (hidden tokens,) int64 in the order of the row: place is 0 for the first token of a span. A span
    that begins the row has left = −1, one that ends it has right = −1. Nothing hidden gives three
    empty arrays. Joshi et al. (2020); lecture 08, section 7.
    """
    places = np.flatnonzero(hidden)
    visible = np.flatnonzero(~np.pad(hidden, 1)) - 1  # from -1 to time
    behind = np.searchsorted(visible, places)
    left, right = visible[behind - 1], visible[behind]
    return left, np.where(right < len(hidden), right, -1), places - left - 1

"""Adaptation in plain NumPy: the answer key of homework 8, but for LoRA's forward pass.

The library does the same with its engine, for many layers at once (``adapt/efficient``, ``forms``);
``tests/homework/test_adaptation_by_hand.py`` compares both. Lecture 11.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

# ---- thin matrices -------------------------------------------------------------------------------


def merge(weight: NDArray, down: NDArray, up: NDArray, alpha: float) -> tuple[NDArray, int]:
    """A weight with the update of LoRA in it, and the rank of that update.

    weight (out, in), down (rank, in), up (out, rank), float64. The update is (alpha / rank) · up ·
    down; the first that is given is weight + update, a new array (out, in). Its rank is the number
    of singular values of the update above 1e-9 times the largest, 0 for an update of zeros; it may
    be less than the number of rows of ``down``. Hu et al. (2021); lecture 11, section 7.
    """
    update = alpha / len(down) * (up @ down)
    values = np.linalg.svd(update, compute_uv=False)
    return weight + update, int((values > 1e-9 * values.max()).sum())


def lora_gradients(
    weight: NDArray, down: NDArray, up: NDArray, alpha: float, x: NDArray, by_y: NDArray
) -> tuple[NDArray, NDArray, NDArray]:
    """The gradients of a loss by x, down and up, from that by y = x Wᵀ + s · x downᵀ upᵀ.

    weight W (out, in), down (rank, in), up (out, rank), s = alpha / rank; x (examples, in), by_y
    (examples, out), the gradient of the loss by y; all float64. Gives three arrays of the shapes of
    x, down and up. The weight is frozen, and its gradient, the only one as large as itself, is not
    computed: no array of its shape is made. Hu et al. (2021); lecture 11, section 7.
    """
    scale = alpha / len(down)
    by_middle = scale * (by_y @ up)
    by_x = by_y @ weight + by_middle @ down
    return by_x, by_middle.T @ x, scale * (by_y.T @ (x @ down.T))


# ---- before every text, and behind every layer ---------------------------------------------------


def attend_with_prefix(
    query: NDArray,
    key: NDArray,
    value: NDArray,
    prefix: tuple[NDArray, NDArray],
    lengths: NDArray[np.int64],
    *,
    causal: bool,
) -> NDArray:
    """Attention of texts, before whose keys and values those of a prefix stand.

    query, key, value (batch, time, width) float64; prefix: its keys and its values, (places, width)
    each, the same for every text; lengths (batch,): of row i the first ``lengths[i]`` tokens are
    real, one at least. A real token attends to the whole prefix and to real tokens of its row: if
    ``causal`` to itself and those before it, else to all. Its weights are the softmax over both
    together of q · k / √width. Padding changes nothing, whatever it is (also NaN), and its own
    outputs are 0. Scores of ±100,000 are no overflow. A prefix of no places is allowed. Gives
    (batch, time, width) float64. Li and Liang (2021); lecture 11, section 7.
    """
    outputs = np.zeros(value.shape)
    for i, length in enumerate(lengths):
        keys, values = (
            np.concatenate([own, text[i, :length]]) for own, text in zip(prefix, (key, value))
        )
        scores = query[i, :length] @ keys.T / math.sqrt(query.shape[2])
        if causal:
            seen = np.tri(length, len(keys), len(keys) - length, dtype=bool)
            scores = np.where(seen, scores, -np.inf)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        outputs[i, :length] = weights / weights.sum(axis=1, keepdims=True) @ values
    return outputs


def adapt(h: NDArray, weights: tuple[NDArray, NDArray, NDArray, NDArray]) -> NDArray:
    """An adapter: h + up · gelu(down · h + down_bias) + up_bias, for each vector of ``h``.

    h (..., width); weights: down (middle, width), down_bias (middle,), up (width, middle), up_bias
    (width,), all float32 or all float64, as the result is. gelu(z) = z/2 · (1 + tanh(√(2/π) · (z +
    0.044715 z³))), and z may be ±1000. Gives a new array of the shape of h. Houlsby et al. (2019);
    lecture 11, section 7.
    """
    down, down_bias, up, up_bias = weights
    z = h @ down.T + down_bias
    slope = math.sqrt(2 / math.pi)
    middle = z / 2 * (1 + np.tanh(slope * (z + 0.044715 * z**3)))
    return h + middle @ up.T + up_bias


def new_adapter(
    width: int, middle: int, generator: np.random.Generator
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """The weights of an adapter before its first step: it changes next to nothing, and can learn.

    Both matrices are drawn anew from a normal distribution with deviation 0.01: first ``down``
    (middle, width), then ``up`` (width, middle). Both biases are 0. All are float32, in the order
    (down, down_bias, up, up_bias). All randomness is that of the generator. Houlsby et al. (2019);
    lecture 11, section 7.
    """
    down, up = (
        generator.normal(0, 0.01, shape).astype(np.float32)
        for shape in ((middle, width), (width, middle))
    )
    return down, np.zeros(middle, np.float32), up, np.zeros(width, np.float32)


# ---- what is asked of a text ---------------------------------------------------------------------


def best_span(
    start: NDArray, end: NDArray, context: NDArray[np.bool_], *, longest: int, threshold: float = 0
) -> tuple[int, int] | None:
    """Where the answer begins and ends, both inclusive, or None: the text does not say.

    start, end (time,): how much speaks for each place as the first and as the last of the answer;
    they may be thousands, or −∞. context (time,) booleans: True where the text stands that is read,
    False at [CLS], the question, [SEP] and padding. Of all i <= j with at most ``longest`` places
    from i to j, all of them of the context, the span with the largest start[i] + end[j] is taken;
    of equal ones that with the smaller i, then with the smaller j. None is given when start[0] +
    end[0], of [CLS], is more than ``threshold`` above that sum, and when there is no span at all.
    The scores at other places are not looked at. Devlin et al. (2019), Rajpurkar et al. (2018);
    lecture 11, section 8.
    """
    best, found = -np.inf, None
    for i in np.flatnonzero(context):
        length = 0
        while length < longest and i + length < len(context) and context[i + length]:
            length += 1
        j = i + int(np.argmax(end[i : i + length]))
        if found is None or start[i] + end[j] > best:
            best, found = start[i] + end[j], (int(i), int(j))
    if found is None or start[0] + end[0] > best + threshold:
        return None
    return found


def tagged_row(
    words: Sequence[Sequence[int]], tags: Sequence[int], *, cls: int, sep: int, room: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A row of a sentence whose words have tags: its tokens, and the tag that each is asked for.

    words: the token ids of each word, in order; tags: the number of each word's tag, from 0. The
    row is [CLS], all tokens of all words, [SEP]. If that is more than ``room`` tokens (3 at least),
    the last tokens of the words are left out, be it in the middle of a word; [SEP] stays. A word is
    asked for its tag at its first token, if that is there: there its tag stands in the targets, and
    −1 everywhere else. A word may have no token at all, and is not asked. Gives tokens and targets,
    both (time,) int64. Devlin et al. (2019); lecture 11, section 8.
    """
    tokens, targets = [cls], [-1]
    for word, tag in zip(words, tags):
        tokens += word
        targets += [tag, *[-1] * (len(word) - 1)] if word else []
    return (
        np.array([*tokens[: room - 1], sep], np.int64),
        np.array([*targets[: room - 1], -1], np.int64),
    )


def span_f1(right: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> float:
    """F1 of the names in sentences, 0 to 1, from the tags of their words.

    right, found: for each sentence a list of tags, as many in both: "O", or "B-" or "I-" and a
    type, as in "B-person". A name begins at a "B-", and at an "I-" whose word before has not the
    same type, or begins the sentence; it goes on over every "I-" of its type. A name that was found
    is right if sentence, first word, last word and type are those of a right one. With precision p
    and recall r of all sentences together it is 2 p r / (p + r); 0 when no name is right, also
    where there are none. Tjong Kim Sang and De Meulder (2003); lecture 11, section 8.
    """
    sets = []
    for sentences in (right, found):
        names: list[list[int | str]] = []
        for number, tags in enumerate(sentences):
            before = "O"
            for place, tag in enumerate(tags):
                if tag[:2] == "B-" or (tag[:2] == "I-" and before[2:] != tag[2:]):
                    names.append([number, place, place, tag[2:]])
                elif tag != "O":
                    names[-1][2] = place
                before = tag
        sets.append({tuple(name) for name in names})
    common = len(sets[0] & sets[1])
    return 2 * common / (len(sets[0]) + len(sets[1])) if common else 0.0


# ---- experts, and bytes --------------------------------------------------------------------------


def gate(logits: NDArray, top: int) -> tuple[NDArray, float]:
    """How much of each expert a token gets, and how evenly the experts are used.

    logits (tokens, experts) float64, which may be ±1000; 1 <= top <= experts. P is their softmax,
    by token. Of each token's P the ``top`` largest are kept (of equal ones the first) and divided
    by their sum, the others become 0: these are the weights (tokens, experts), float64. The balance
    is experts · Σ_e f_e · mean P_e: f_e is the part of all choices that fell on expert e (they add
    up to 1), the mean of P_e is over the tokens, of P before anything is left out. Gives both.
    Shazeer et al. (2017), Fedus, Zoph and Shazeer (2022); lecture 11, section 7.
    """
    tokens, experts = logits.shape
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = p / p.sum(axis=1, keepdims=True)
    chosen = np.zeros(p.shape, bool)
    order = np.argsort(-p, axis=1, kind="stable")[:, :top]
    np.put_along_axis(chosen, order, True, axis=1)
    weights = np.where(chosen, p, 0)
    balance = experts * float(chosen.sum(axis=0) / (tokens * top) @ p.mean(axis=0))
    return weights / weights.sum(axis=1, keepdims=True), balance


def training_bytes(
    shapes: Mapping[str, tuple[int, ...]], where: str, *, rank: int = 0, number: int = 4
) -> dict[str, int]:
    """What it takes to train a part of a network, in bytes, counted from the shapes of its weights.

    shapes: by path, as {"blocks.0.query.weight": (64, 64), "blocks.0.query.bias": (64,)}. where: a
    regular expression, searched in the paths (``re.search``). With rank 0 the weights whose path
    matches are trained. With another rank all stay as they are, and for every matrix (a shape of
    two numbers) whose path matches, ``down`` (rank, in) and ``up`` (out, rank) are added, and
    trained. number: the bytes of a weight and of a gradient, 4 for float32, 2 for float16.

    - "weights": of all weights, those that are added too;
    - "gradients": of those that are trained, one each;
    - "optimizer": AdamW's two moments of those that are trained, always float32;
    - "saved": what has to be kept of a task, beside the network as it was: what is trained.

    Raises ValueError when nothing is trained: then the expression is misspelt. Lecture 11, section
    7.
    """
    matching = [shape for path, shape in shapes.items() if re.search(where, path)]
    if rank:
        trained = sum(rank * sum(shape) for shape in matching if len(shape) == 2)
    else:
        trained = sum(math.prod(shape) for shape in matching)
    if not trained:
        raise ValueError(f"{where!r} matches nothing that could be trained")
    frozen = sum(math.prod(shape) for shape in shapes.values())
    return {
        "weights": number * (frozen + (trained if rank else 0)),
        "gradients": number * trained,
        "optimizer": 2 * 4 * trained,
        "saved": number * trained,
    }

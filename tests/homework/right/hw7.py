"""Homework 7, written in other styles."""

import math
from fractions import Fraction

import numpy as np

from tests.homework.planted import hw7, hw7_experiment, hw7_network, hw7_pairs, hw7_spans


def pieces_one_after_the_other(allowed, generator, share=0.15):
    """Each with the chance that is left: so many of so many."""
    left, places = int(np.sum(allowed)), np.flatnonzero(allowed)
    wanted = min(left, max(1, round(share * left)))
    hidden = np.zeros(len(allowed), dtype=bool)
    for place in places:
        hidden[place] = generator.integers(left) < wanted
        wanted, left = wanted - int(hidden[place]), left - 1
    return hidden


def loss_by_scatter(states, vectors, bias, originals, hidden):
    """The mean of ln Σ e^(z − z at the original)."""
    if hidden.sum() == 0:
        raise ValueError("no loss without a hidden token")
    table = (vectors @ states[hidden].T).T + bias[None, :]
    right = (np.eye(len(vectors))[originals[hidden]] * table).sum(1)
    return float(np.logaddexp.reduce(table - right[:, None], axis=1).mean())


def replaced_by_choice(tokens, hidden, generator, *, mask, vocab_size):
    """What becomes of each, by name."""
    fate = generator.choice(["mask", "random", "stay"], len(tokens), p=[0.8, 0.1, 0.1])
    drawn = (generator.random(len(tokens)) * vocab_size).astype(np.int64)
    cases = [hidden & (fate == "mask"), hidden & (fate == "random")]
    return np.select(cases, [np.full_like(tokens, mask), drawn], default=tokens)


def pack_by_counting(first, second, *, cls, sep, room):
    """Sizes that shrink, then slices."""
    if room <= 4:
        raise ValueError(f"room for {room}")
    m, n = len(first), len(second)
    while m + n > room - 3:
        m, n = (m - 1, n) if m > n else (m, n - 1)
    a, b = (np.asarray(text, dtype=np.int64)[:size] for text, size in ((first, m), (second, n)))
    tokens = np.concatenate([[cls], a, [sep], b, [sep]]).astype(np.int64)
    segments = np.zeros(len(tokens), np.int64)
    segments[m + 2 :] = 1
    return tokens, segments


def pair_from_a_list(documents, generator):
    """A flat list of all that may be first."""
    firsts = [(i, j) for i, texts in enumerate(documents) for j, _ in enumerate(texts[1:])]
    if len(firsts) == 0:
        raise ValueError("nothing follows anything")
    i, j = firsts[int(generator.random() * len(firsts))]
    if generator.integers(0, 2):
        k = generator.choice([k for k in range(len(documents)) if k != i])
        return documents[i][j], documents[k][generator.integers(0, len(documents[k]))], 1
    return documents[i][j], documents[i][j + 1], 0


def attend_by_padding_out(query, key, value, lengths):
    """The softmax as 1 / Σ e^(differences)."""
    result = np.zeros(value.shape)
    for b in range(len(lengths)):
        n = int(lengths[b])
        scores = np.einsum("iw,jw->ij", query[b, :n], key[b, :n]) * query.shape[-1] ** -0.5
        apart = np.clip(scores[:, None, :] - scores[:, :, None], None, 700.0)  # [i, j, k]: k − j
        result[b, :n] = np.einsum("ij,jw->iw", 1 / np.exp(apart).sum(axis=2), value[b, :n])
    return result


def tied_place_by_place(vectors, weight, tokens, targets):
    """In loops, with sums that do not round."""
    gradient, costs = np.zeros(vectors.shape), []
    for token, target in zip(tokens, targets):
        state = vectors[token] @ weight
        logits = [math.fsum(state * e) for e in vectors]
        p = np.exp(np.array(logits) - max(logits))
        p /= p.sum()
        below = max(logits) + math.log(math.fsum(math.exp(z - max(logits)) for z in logits))
        costs.append(below - logits[target])
        p[target] -= 1
        for v, slope in enumerate(p / len(tokens)):
            gradient[v] += slope * state
            gradient[token] += slope * (weight @ vectors[v])
    return math.fsum(costs) / len(costs), gradient


def classify_by_einsum(states, weight, bias, output, labels):
    """All examples at once, by the names of the axes."""
    pooled = np.tanh(np.einsum("bi,oi->bo", states[:, 0], weight) + bias)
    logits = np.einsum("bo,co->bc", pooled, output)
    p = np.exp(logits - np.logaddexp.reduce(logits, axis=1)[:, None])
    rows = np.arange(len(labels))
    slopes = np.copy(p)
    slopes[rows, labels] -= 1
    slopes /= len(labels)
    inside = np.einsum("bc,co->bo", slopes, output) / np.cosh(np.arctanh(pooled)) ** 2
    by_states = np.einsum("bo,oi,t->bti", inside, weight, np.arange(states.shape[1]) == 0)
    by_weight = np.einsum("bo,bi->oi", inside, states[:, 0])
    by_output = np.einsum("bc,bo->co", slopes, pooled)
    return -np.log(p[rows, labels]).mean(), (by_states, by_weight, inside.sum(0), by_output)


def words_from_a_bag(sizes, budget, generator):
    """Out of a bag, until it is empty."""
    bag, taken, first = list(range(len(sizes))), [], None
    while bag:
        word = bag.pop(generator.integers(len(bag)))
        first = word if first is None else first
        if sum(int(sizes[w]) for w in taken) + int(sizes[word]) <= budget:
            taken.append(word)
    hidden = np.zeros(len(sizes), dtype=bool)
    hidden[taken or [first]] = True
    return hidden


def lengths_in_fractions(p=0.2, longest=10):
    """Without rounding, but for the end."""
    ratio = 1 - Fraction(p)
    if longest > 100:  # whole numbers of thousands of digits
        return np.exp(np.log1p(-p) * np.arange(longest)) * (p / -np.expm1(longest * np.log1p(-p)))
    return np.array([float(ratio**n / sum(ratio**m for m in range(longest)))
                     for n in range(longest)])  # fmt: skip


def spans_token_by_token(sizes, budget, generator, *, p=0.2, longest=10, tries=60):
    """Words that are hidden as a set of numbers; the length by a coin for each word."""
    hidden, used = set(), 0
    while tries > 0 and used < budget:
        tries -= 1
        word, length = generator.integers(0, len(sizes)), longest + 1
        while length > longest:
            length = generator.geometric(p)
        span, tokens = [], 0
        while length and word < len(sizes):
            tokens += sizes[word]
            if used + tokens > budget and (span or hidden):
                tokens -= sizes[word]
                break
            span.append(word)
            word, length = word + 1, length - 1
        if span and hidden.isdisjoint(range(span[0] - 1, span[-1] + 2)):
            hidden.update(span)
            used += tokens
    return np.array([word in hidden for word in range(len(sizes))])


def boundaries_by_running_maxima(hidden):
    """The last visible place before, and the next one, by accumulation."""
    at = np.arange(len(hidden))
    before = np.maximum.accumulate(np.where(hidden, -1, at)) if len(hidden) else at
    behind = np.minimum.accumulate(np.where(hidden, len(hidden), at)[::-1])[::-1]
    left, right = before[hidden], behind[hidden]
    right = np.where(right == len(hidden), -1, right)
    return left.astype(np.int64), right.astype(np.int64), (at[hidden] - left - 1).astype(np.int64)


RIGHT = {
    "7.1 one after the other": pieces_one_after_the_other,
    "7.2 by scatter": loss_by_scatter,
    "7.3 by choice": replaced_by_choice,
    "7.4 by counting": pack_by_counting,
    "7.5 from a list": pair_from_a_list,
    "7.6 by differences": attend_by_padding_out,
    "7.7 place by place": tied_place_by_place,
    "7.8 by einsum": classify_by_einsum,
    "7.9 from a bag": words_from_a_bag,
    "7.10 in fractions": lengths_in_fractions,
    "7.11 token by token": spans_token_by_token,
    "7.12 by running maxima": boundaries_by_running_maxima,
    "7.1": hw7.piecer(),
    "7.1 by keys": hw7.pieces_by_keys,
    "7.2": hw7.loser(),
    "7.2 place by place": hw7.loss_place_by_place,
    "7.3": hw7.replacer(),
    "7.3 token by token": hw7.replace_one_by_one,
    "7.4": hw7_pairs.packer(),
    "7.4 by arithmetic": hw7_pairs.pack_by_arithmetic,
    "7.5": hw7_pairs.pairer(),
    "7.5 by weights": hw7_pairs.pair_by_weights,
    "7.6": hw7_network.attender(),
    "7.6 query by query": hw7_network.attend_by_words,
    "7.7": hw7_network.tier(),
    "7.7 by one-hot rows": hw7_network.tied_by_one_hot,
    "7.8": hw7_network.classifier(),
    "7.8 row by row": hw7_network.classify_row_by_row,
    "7.9": hw7_spans.worder(),
    "7.9 by keys": hw7_spans.words_by_keys,
    "7.10": hw7_spans.lengths_by_loop,
    "7.10 by the formula": hw7_spans.lengths_by_the_formula,
    "7.11": hw7_spans.spanner(),
    "7.11 by running sums": hw7_spans.spans_by_prefix_sums,
    "7.12": hw7_spans.bounder(),
    "7.12 step by step": hw7_spans.boundaries_step_by_step,
    "7.13": hw7_experiment.handed(
        three_views=hw7_experiment.views(),
        mean_nats=hw7_experiment.nats(),
        measure=hw7_experiment.measured(),
    ),
    "7.13 place by place, by fit": hw7_experiment.handed(
        three_views=hw7_experiment.views_one_by_one,
        mean_nats=hw7_experiment.nats_one_by_one,
        measure=hw7_experiment.recipe(),
    ),
}

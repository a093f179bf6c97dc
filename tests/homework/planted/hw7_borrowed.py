"""Wrong answers to homework 7, encoders: somebody else's rule in place of one's own."""

import functools
import importlib

import numpy as np

from minissl.autograd import composed, fused
from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.homework.assignments import hw7_by_hand as by_hand
from minissl.losses import language_modeling
from minissl.text import masking
from tests.homework.planted import Collection

PLANTED = Collection()
GUARD = "does not allow|library's own|nothing that you wrote"

NAMES = {
    "7.1": "choose_pieces", "7.2": "masked_loss", "7.3": "replace", "7.4": "pack",
    "7.5": "next_sentence", "7.6": "attend", "7.7": "tied_loss", "7.8": "classify",
    "7.9": "choose_words", "7.10": "length_probabilities", "7.11": "choose_spans",
    "7.12": "boundaries",
}  # fmt: skip


def wrapper(name):
    """A function that finds the answer key by its name, once it is called."""

    def answer(*given, **how):
        module = importlib.import_module("minissl.homework.assignments." + "hw7_by_hand")
        return getattr(module, name)(*given, **how)

    return answer


for _task, _name in NAMES.items():
    PLANTED.add(_task, "the answer key, by its name", shows=GUARD)(wrapper(_name))
for _task, _name in (("7.4", "pack"), ("7.10", "length_probabilities")):
    _key = getattr(by_hand, _name)
    PLANTED.add(_task, "a partial of the answer key", shows=GUARD)(functools.partial(_key))


@PLANTED.add("7.1", "the library's, for one row", shows=GUARD)
def pieces_by_the_library(allowed, generator, share=0.15):
    """A row of rows."""
    return masking.choose_pieces(allowed[None], generator, share)[0]


@PLANTED.add("7.2", "the library's loss", shows=GUARD)
def loss_by_the_library(states, vectors, bias, originals, hidden):
    """Only what is hidden."""
    if not hidden.any():
        raise ValueError("nothing is hidden")
    logits = Tensor(states[hidden] @ vectors.T + bias)
    return language_modeling.next_token_loss(logits, originals[hidden]).item()


@PLANTED.add("7.2", "the operation log_softmax", shows=GUARD)
def loss_by_an_operation(states, vectors, bias, originals, hidden):
    """The softmax of the engine."""
    if not hidden.any():
        raise ValueError("nothing is hidden")
    table = ops.log_softmax(Tensor(states[hidden] @ vectors.T + bias), axis=1).numpy()
    return float(-np.mean([row[t] for row, t in zip(table, originals[hidden])]))


@PLANTED.add("7.3", "the library's, for one row", shows=GUARD)
def replaced_by_the_library(tokens, hidden, generator, *, mask, vocab_size):
    """A row of rows."""
    how = {"mask": mask, "vocab_size": vocab_size}
    return masking.replace(tokens[None], hidden[None], generator, **how)[0]


def attended_by(attention):
    """attend by an operation of the library, with padding cleaned before and after."""

    def attend(query, key, value, lengths):
        real = (np.arange(query.shape[1]) < lengths[:, None])[..., None]
        arrays = (Tensor(np.where(real, x, 0.0)[:, None]) for x in (query, key, value))
        return np.where(real, attention(*arrays, key_lengths=lengths).numpy()[:, 0], 0.0)

    return attend


PLANTED.add("7.6", "the fused operation", shows=GUARD)(attended_by(fused.attention))
PLANTED.add("7.6", "the composed operation", shows=GUARD)(attended_by(composed.attention))


@PLANTED.add("7.7", "the engine's gradient", shows=GUARD)
def tied_by_the_engine(vectors, weight, tokens, targets):
    """Not by hand."""
    e = Tensor(vectors, requires_grad=True)
    logits = ops.matmul(ops.matmul(ops.take(e, tokens, axis=0), weight), ops.matrix_transpose(e))
    picked = ops.log_softmax(logits, axis=1)[np.arange(len(tokens)), targets]
    loss = -ops.mean(picked)
    loss.backward()
    return loss.item(), e.grad


@PLANTED.add("7.8", "the engine's gradients", shows=GUARD)
def classify_by_the_engine(states, weight, bias, output, labels):
    """Not by hand."""
    given = [Tensor(x, requires_grad=True) for x in (states, weight, bias, output)]
    x, w, b, u = given
    pooled = ops.tanh(ops.matmul(x[:, 0], ops.matrix_transpose(w)) + b)
    table = ops.log_softmax(ops.matmul(pooled, ops.matrix_transpose(u)), axis=1)
    loss = -ops.mean(table[np.arange(len(labels)), labels])
    loss.backward()
    return loss.item(), tuple(g.grad for g in given)


@PLANTED.add("7.9", "the library's, for one row", shows=GUARD)
def words_by_the_library(sizes, budget, generator):
    """Its budget is a share."""
    begins = np.zeros(sizes.sum(), bool)
    begins[np.cumsum(sizes) - sizes] = True
    allowed = np.ones((1, len(begins)), bool)
    share = min(budget / len(begins), 1.0)
    hidden = masking.choose_words(allowed, begins[None], generator, share)
    return hidden[0][begins]


@PLANTED.add("7.11", "the library's, for one row", shows=f"{GUARD}|another rule|is hidden")
def spans_by_the_library(sizes, budget, generator, *, p=0.2, longest=10, tries=60):
    """Its budget is a share, and its spans begin with words that fit."""
    begins = np.zeros(sizes.sum(), bool)
    begins[np.cumsum(sizes) - sizes] = True
    share = min(budget / len(begins), 1.0)
    how = {"p": p, "longest": longest, "tries": tries}
    return masking.hide_spans_of_row(
        np.ones(len(begins), bool), begins, generator, share, **how
    )[begins]  # fmt: skip


@PLANTED.add("7.12", "the library's, for one row", shows=GUARD)
def boundaries_by_the_library(hidden):
    """A row of rows."""
    return masking.boundaries(hidden[None])

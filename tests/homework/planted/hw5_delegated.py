"""Wrong answers to homework 5, words: the work is left to somebody else."""

import functools
import importlib
import sys

import numpy as np

from minissl import Tensor
from minissl.data import vectors
from minissl.losses import words as losses
from minissl.optim import adagrad
from minissl.text import cooccurrence, wordpiece, words
from tests.homework.planted import Collection
from tests.homework.planted.hw5_learning import refuse

PLANTED = Collection()
CALLS = "hands the work to|which this task does not allow|nothing that you wrote"


# ---- the library's own, in disguise --------------------------------------------------------------

for _task, _module, _name in [
    ("5.1", words, "unknown_rate"),
    ("5.2", wordpiece, "longest_pieces"),
    ("5.3", cooccurrence, "cooccurrences"),
    ("5.4", cooccurrence, "pointwise_mutual_information"),
    ("5.5", cooccurrence, "keep_probabilities"),
    ("5.6", cooccurrence, "noise_distribution"),
    ("5.7", losses, "negative_sampling_gradients"),
    ("5.8", losses, "glove_weights"),
    ("5.9", losses, "glove"),
    ("5.11", vectors, "analogy_scores"),
]:

    def _wrapper(*arguments, _module=_module, _name=_name, **options):
        return getattr(_module, _name)(*arguments, **options)

    PLANTED.add(_task, "a wrapper", shows=CALLS)(_wrapper)


@PLANTED.add("5.1", "imports in its body", shows=CALLS)
def _(counts, known):
    from minissl.text.words import unknown_rate

    return unknown_rate(counts, known)


@PLANTED.add("5.1", "the method of a vocabulary", shows=CALLS)
def _(counts, known):
    names = {word: f"w{i}" for i, word in enumerate(counts)}
    running = [names[word] for word, count in counts.items() for _ in range(count)]
    vocabulary = words.WordVocabulary({"a": 1})
    vocabulary.ids = {name: 1 for word, name in names.items() if word in known}
    return vocabulary.unknown_rate(" ".join(running))


@PLANTED.add("5.2", "the tokenizer", shows=CALLS)
def _(word, tokens):
    ends = range(len(word) + 1)
    pieces = {p for i in ends for j in ends[i + 1 :] for p in (word[i:j], f"##{word[i:j]}")}
    kept = sorted(piece for piece in pieces if piece in tokens)
    tokenizer = wordpiece.WordPiece(["[UNK]", *kept], lowercase=False)
    ids = tokenizer.encode(word)
    return None if 0 in ids else [tokenizer.tokens[i] for i in ids]


@PLANTED.add("5.3", "through sys.modules", shows=CALLS)
def _(words, documents, vocab_size, window, *, by_distance=True):
    module = sys.modules["minissl.text." + "cooccurrence"]
    return vars(module)["co" + "occurrences"](
        words, documents, vocab_size, window, by_distance=by_distance
    )


PLANTED.add("5.4", "a partial", shows=CALLS)(
    functools.partial(cooccurrence.pointwise_mutual_information)
)


@PLANTED.add("5.5", "importlib", shows=CALLS)
def _(counts, threshold=1e-3):
    return importlib.import_module("minissl.text.cooccurrence").keep_probabilities(
        counts, threshold
    )


@PLANTED.add("5.6", "asks the noise of skip-gram", shows=CALLS)
def _(counts, power=0.75):
    found = list(map(cooccurrence.noise_distribution, [counts], [power]))
    return found[0]


@PLANTED.add("5.7", "the engine does it", shows=CALLS)
def _(center, context, negatives):
    tensors = [Tensor(x, requires_grad=True) for x in (center, context, negatives)]
    loss = losses.negative_sampling(*tensors)
    loss.backward()
    return loss.item(), *(
        x.grad.astype(a.dtype) for x, a in zip(tensors, (center, context, negatives))
    )


@PLANTED.add("5.7", "torch does it", shows=CALLS)
def _(center, context, negatives):
    import torch

    tensors = [torch.tensor(x, requires_grad=True) for x in (center, context, negatives)]
    w, c, n = tensors
    seen = torch.nn.functional.logsigmoid((w * c).sum(1)).sum()
    noise = torch.nn.functional.logsigmoid(-(n * w[:, None]).sum(2)).sum()
    loss = -(seen + noise) / len(w)
    loss.backward()
    return loss.item(), *(x.grad.numpy() for x in tensors)


@PLANTED.add("5.8", "by the gradient of glove", shows=CALLS)
def _(counts, largest=100.0, power=0.75):
    refuse(counts, largest, power)
    counts = np.asarray(counts)
    seen = np.where(counts > 0, counts, 1).astype(np.float64)
    predicted = Tensor(np.log(seen) + 1, requires_grad=True)
    losses.glove(predicted, seen, largest, power).backward()
    found = np.where(counts > 0, predicted.grad * len(counts), 0)
    return found.astype(counts.dtype if counts.dtype.kind == "f" else np.float64)


@PLANTED.add("5.9", "eval", shows=CALLS)
def _(predicted, counts, largest=100.0, power=0.75):
    return eval("losses.glove(predicted, counts, largest, power)")


@PLANTED.add("5.10", "super", shows=CALLS)
class _(adagrad.AdaGrad):
    def update(self, name, parameter, lr):
        return super().update(name, parameter, lr)


@PLANTED.add("5.10", "an optimizer inside", shows=CALLS)
class _(adagrad.AdaGrad):
    def update(self, name, parameter, lr):
        inner = adagrad.AdaGrad([(name, parameter)], lr, self.initial_sum, self.eps)
        inner.state, inner.steps = self.state, {}
        inner.step()


@PLANTED.add("5.10", "only inherits", shows=CALLS)
class _(adagrad.AdaGrad):
    update = adagrad.AdaGrad.update


@PLANTED.add("5.11", "a word list's analogies", shows=CALLS)
class _Scores:
    def __new__(cls, plus, minus, rule="add"):
        return vectors.analogy_scores(plus, minus, rule)

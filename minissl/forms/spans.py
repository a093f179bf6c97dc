"""A span of a text for each question: two vectors say where it begins and ends. Lecture 11.

Devlin et al. (2019, BERT), sections 4.2 and 4.3: with states T of the words, the answer from word i
to word j has the score S · T_i + E · T_j, and "no answer" that of [CLS], S · T_0 + E · T_0. A text
that is longer than what the network reads is read in windows (``data.in_context``). In training all
windows of a question are in the batch, and those without its answer point at [CLS]; so what counts
in prediction is how far a span is above the [CLS] of its window, and the best window answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minissl.adapt.metrics import softmax
from minissl.autograd import fused
from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.data.in_context import InContext
from minissl.data.labels import Labelled
from minissl.data.questions import Answer
from minissl.forms.answers import exact_match, f1_of_words
from minissl.forms.form import Form
from minissl.losses.language_modeling import IGNORE
from minissl.nn.layers import Linear
from minissl.nn.module import Module
from minissl.pretrain.layered import Layered

MOST_WORDS = 30  # of an answer that is given
NO_PLACE = -1e9  # the score of what is padding


class SpanHead(Module):
    """S and E as a Linear without bias: states (..., width) -> scores (..., 2).

    ``may_be_none``: 1 where some of the questions that were learned from have no answer, else 0,
    and an answer is then always given. It is a buffer.
    """

    def __init__(self, width: int, may_be_none: bool, generator: np.random.Generator):
        self.linear = Linear(width, 2, bias=False, generator=generator)
        self.may_be_none = Tensor(np.array(may_be_none, np.float32))

    def forward(self, x: Any) -> Tensor:
        return self.linear(x)


@dataclass(frozen=True)
class Places:
    """Where in a batch of windows an answer may begin and end, all (windows, 1 + most words).

    The first column is "no answer". begins, ends: places in a window. real: what is no padding.
    examples, firsts: (windows,) whose window it is, and the number of its first word.
    """

    begins: NDArray[np.int64]
    ends: NDArray[np.int64]
    real: NDArray[np.bool_]
    examples: NDArray[np.int64]
    firsts: NDArray[np.int64]


Scores = tuple[NDArray[np.int64], Places, NDArray]  # which examples, and those of their windows


class Given(NamedTuple):
    """An answer: its text, "" for none, its score above that of none, and its probability.

    ``none``: the probability of none in the same window.
    """

    text: str
    score: float
    probability: float
    none: float


class Spans(Form):
    """Labels are tuples of ``Answer``, one for each example, () where there is none."""

    kind = "span"
    needs = Layered

    def head(self, width: int, generator: np.random.Generator, train: Labelled | None) -> SpanHead:
        """Two random vectors."""
        may_be_none = train is not None and not all(train.labels)
        return SpanHead(width, may_be_none, generator)

    def collate(self, base: Any, inputs: Sequence[InContext]) -> tuple[Places, Any]:
        """The windows of all examples as one batch, and where their words are."""
        windows = [(i, w) for i, one in enumerate(inputs) for w in one.windows(base.longest)]
        most = 1 + max(len(window.begins) for _, window in windows)
        begins = np.zeros((len(windows), most), np.int64)
        ends, real = begins.copy(), np.zeros(begins.shape, bool)
        for row, (_, window) in enumerate(windows):
            size = 1 + len(window.begins)
            begins[row, :size] = [window.none, *window.begins]
            ends[row, :size] = [window.none, *window.ends]
            real[row, :size] = True
        examples = np.array([i for i, _ in windows])
        firsts = np.array([window.first for _, window in windows])
        tokens = base.collate([window.tokens for _, window in windows])
        return Places(begins, ends, real, examples, firsts), tokens

    def batch(
        self, base: Any, inputs: Sequence[InContext], labels: Sequence[Sequence[Answer]]
    ) -> tuple[Any, NDArray[np.int64]]:
        """Windows, and of each the columns where the first answer begins and ends: (windows, 2)."""
        collated = self.collate(base, inputs)
        return collated, targets(collated[0], inputs, labels)

    def outputs(
        self, base: Any, head: Module, collated: Any, generator: np.random.Generator | None = None
    ) -> Tensor:
        """Scores of beginning and ending at each place: (windows, 2, 1 + most words)."""
        places, batch = collated
        scores = head(base.each(batch, generator))
        inside = Tensor(batch[-1] > 0).numpy()  # a base may put something before the text
        offsets = np.argmax(inside, axis=1)[:, None]
        rows = np.arange(len(offsets))[:, None]
        sides = [
            scores[:, :, side][rows, offsets + where]
            for side, where in enumerate((places.begins, places.ends))
        ]
        return ops.where(places.real[:, None], ops.stack(sides, axis=1), NO_PLACE)

    def loss(self, outputs: Tensor, labels: Any) -> Tensor:
        """The mean of the cross-entropies of beginnings and ends, in nats."""
        return fused.cross_entropy(outputs, labels, ignore_index=IGNORE)

    def answers(self, base: Any, head: Any, inputs: Sequence[InContext]) -> list[Given]:
        """The best span of each example; none where [CLS] is as good, if there may be none."""
        return self._best(head, inputs, self._scores(base, head, inputs))

    def predict(self, base: Any, head: Module, inputs: Any) -> list[str]:
        """The answer to each question, "" for none.

        Raises ValueError, with its number, for an example whose scores are not finite.
        """
        return [given.text for given in self.answers(base, head, inputs)]

    def evaluate(self, base: Any, head: Module, held_out: Labelled) -> dict[str, float]:
        """Loss in nats, exact match and F1, 0 to 1.

        With questions without an answer also the share of those for which none was given, and the
        F1 of the others.
        """
        scores = [*self._scores(base, head, held_out.inputs)]
        loss, given = _nats(scores, held_out), self._best(head, held_out.inputs, scores)
        right = [[answer.text for answer in label] for label in held_out.labels]
        pairs = list(zip([one.text for one in given], right))
        f1 = np.array([f1_of_words(*pair) for pair in pairs])
        found = {
            "loss": loss,
            "exact_match": float(np.mean([exact_match(*pair) for pair in pairs])),
            "f1": float(f1.mean()),
        }
        if not (has := np.array([bool(answers) for answers in right])).all():
            found["no_answer_accuracy"] = float(f1[~has].mean())
            found |= {"has_answer_f1": float(f1[has].mean())} if has.any() else {}
        return found

    def table(self, base: Any, head: Module, inputs: Any) -> tuple[list[str], list[list[str]]]:
        """The answer to each question and its probability among all of its window."""
        answers = self.answers(base, head, inputs)
        return ["answer", "probability"], [[a.text, f"{a.probability:.4f}"] for a in answers]

    def _scores(self, base: Any, head: Module, inputs: Sequence[InContext]) -> Iterator[Scores]:
        """Of the windows of some examples at a time; ValueError where one is not finite."""
        for chosen, (places, _), outputs in self.in_batches(base, head, inputs):
            bad = (places.real & ~np.isfinite(outputs).all(axis=1)).any(axis=1)
            if bad.any():
                raise ValueError(
                    f"the scores of example {chosen[places.examples[bad][0]]} are not finite: look "
                    "at its input, and whether the training diverged"
                )
            yield chosen, places, outputs

    def _best(
        self, head: Any, inputs: Sequence[InContext], scores: Iterable[Scores]
    ) -> list[Given]:
        """The answer to each example, of all its windows."""
        found: list[Given | None] = [None] * len(inputs)
        for chosen, places, outputs in scores:
            for row, example in enumerate(chosen[places.examples]):
                own = outputs[row][:, places.real[row]]
                given = best_of_window(inputs[example], int(places.firsts[row]), own)
                before = found[example]
                if before is None or given.score > before.score:
                    found[example] = given
        none = float(head.may_be_none.numpy()) > 0
        return [
            one._replace(text="", probability=one.none) if none and one.score <= 0 else one
            for one in found
            if one is not None
        ]


def _nats(scores: Iterable[Scores], labelled: Labelled) -> float:
    """The loss of all windows."""
    total, count = 0.0, 0
    for chosen, places, outputs in scores:
        labels = [labelled.labels[i] for i in chosen]
        wanted = targets(places, [labelled.inputs[i] for i in chosen], labels)
        known = wanted != IGNORE
        logits = outputs[known].astype(np.float64)
        p = softmax(logits)[np.arange(len(logits)), wanted[known]]
        total -= float(np.log(np.maximum(p, np.finfo(p.dtype).tiny)).sum())
        count += int(known.sum())
    return total / max(count, 1)


def targets(
    places: Places, inputs: Sequence[InContext], labels: Sequence[Sequence[Answer]]
) -> NDArray[np.int64]:
    """Of each window the columns where the first answer begins and ends: (windows, 2).

    0 and 0 where it is not whole in the window, or there is none; ``IGNORE`` where it has no word
    that the tokenizer knows.
    """
    found = np.zeros((len(places.examples), 2), np.int64)
    words = places.real.sum(axis=1) - 1
    for row, (example, first) in enumerate(zip(places.examples, places.firsts)):
        if not labels[example]:
            continue
        text, begin = labels[example][0]
        span = inputs[example].words_of(begin, begin + len(text))
        if span is None:
            found[row] = IGNORE
        elif first <= span[0] and span[1] < first + words[row]:
            found[row] = [1 + span[0] - first, 1 + span[1] - first]
    return found


def best_of_window(example: InContext, first: int, scores: NDArray) -> Given:
    """The best span in scores (2, 1 + words) of a window whose first word has this number."""
    begins, ends = scores.astype(np.float64)
    if len(begins) < 2:
        return Given("", -np.inf, 0.0, 1.0)
    i, j = best_span(begins[1:], ends[1:])
    text = example.answer(first + i, first + j)
    p = softmax(np.stack([begins, ends]))
    score = begins[1 + i] + ends[1 + j] - begins[0] - ends[0]
    return Given(text, float(score), float(p[0, 1 + i] * p[1, 1 + j]), float(p[0, 0] * p[1, 0]))


def best_span(begins: NDArray, ends: NDArray, most: int = MOST_WORDS) -> tuple[int, int]:
    """i and j, i ≤ j < i + most, with the largest begins[i] + ends[j]; of equal ones the first.

    begins, ends: (words,). Not every pair is added: of the ends that go with an i only the best.
    """
    padded = np.concatenate([ends, np.full(most - 1, -np.inf)])
    window = np.lib.stride_tricks.sliding_window_view(padded, most)  # ends[i : i + most]
    i = int(np.argmax(begins + window.max(axis=1)))
    return i, i + int(np.argmax(window[i]))


FORM = Spans

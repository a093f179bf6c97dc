"""One tag for each word: a Linear on the state of its first piece, and cross-entropy. Lecture 11.

Devlin et al. (2019, BERT), section 5.3: parts of speech, names. Each word is answered by itself, as
there; not here: a layer that sees the tags of the neighbours (a conditional random field).

Of a sentence that is longer than a network reads the last words are cut off. They have no part in
the loss; the answer for them is "O" where there is such a tag, otherwise the most frequent one of
what was learned from, and counts in the score as any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import fused
from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.data.classes import as_in_the_run
from minissl.data.labels import Labelled, share_right
from minissl.forms.form import Form
from minissl.nn.layers import Linear
from minissl.nn.module import Module
from minissl.pretrain.layered import Layered

OUTSIDE = "O"
BIO = re.compile("[BI](-.*)?")


class TagBatch(NamedTuple):
    """Collated sentences, and which of their states belong to words.

    texts: what ``each`` takes. places (words,): of the first pieces, in the states as (batch ·
    time, width). counts (batch,): how many words of each sentence are read.
    """

    texts: Any
    places: NDArray[np.int64]
    counts: NDArray[np.int64]


class TagHead(Module):
    """w · x + b of the state of each word: (words, width) -> logits (words, tags).

    ``usual``: the number of the tag for words that are not read, a buffer.
    """

    def __init__(self, width: int, tags: int, usual: int, generator: np.random.Generator):
        self.linear = Linear(width, tags, generator=generator)
        self.usual = Tensor(np.array(usual, np.float32))

    def forward(self, x: Any) -> Tensor:
        return self.linear(x)


class Tags(Form):
    """Labels are a list: of each sentence the numbers of its words' tags, (words,) int64.

    Examples are ``data.tagged.Tagged``.
    """

    kind = "tags"
    needs: ClassVar[type] = Layered

    def head(self, width: int, generator: np.random.Generator, train: Labelled | None) -> TagHead:
        """(words, width) -> logits (words, tags). Raises ValueError for fewer than two tags."""
        usual = 0
        if train is not None:
            if len(self.class_names) < 2:
                raise ValueError(
                    f"the words have {len(self.class_names)} tag(s), "
                    f"{', '.join(self.class_names) or 'none'}: there is nothing to tell apart, "
                    "give two or more"
                )
            usual = int(np.bincount(np.concatenate(train.labels)).argmax())
            if OUTSIDE in self.class_names:
                usual = self.class_names.index(OUTSIDE)
        return TagHead(width, len(self.class_names), usual, generator)

    @classmethod
    def labels_of(cls, labelled: Labelled, class_names: Sequence[str]) -> list[NDArray[np.int64]]:
        """See ``Form``."""
        own = labelled.class_names
        numbers = as_in_the_run(np.arange(len(own)), own, class_names)
        return [numbers[labels] for labels in labelled.labels]

    def collate(self, base: Any, inputs: Any) -> TagBatch:
        """Sentences as a run collates them, and where their words begin.

        The network may put tokens before a text (prompts), so a sentence begins at the first place
        that has a weight. Raises ValueError where no word is read.
        """
        texts = base.collate(inputs)
        inside = np.asarray(texts[-1]) > 0
        begins = np.argmax(inside, axis=1) + inside.shape[1] * np.arange(len(inside))
        firsts = [one.firsts[: words_read(base, one)] for one in inputs]
        counts = np.array([len(places) for places in firsts], np.int64)
        if not counts.any():
            raise ValueError(
                f"no word of {len(inputs)} sentence(s) is within the {base.longest} token(s) that "
                "are read of a text: take a run with a longer context"
            )
        return TagBatch(texts, np.concatenate(firsts) + np.repeat(begins, counts), counts)

    def batch(self, base: Any, inputs: Any, labels: Any) -> tuple[TagBatch, NDArray[np.int64]]:
        """A batch, and the tags of the words that are read: (words,)."""
        collated = self.collate(base, inputs)
        read = [tags[:count] for tags, count in zip(labels, collated.counts)]
        return collated, np.concatenate(read)

    def outputs(
        self, base: Any, head: Module, collated: TagBatch,
        generator: np.random.Generator | None = None,
    ) -> Tensor:  # fmt: skip
        """Of all words of a batch, sentence by sentence: logits (words, tags)."""
        states = base.each(collated.texts, generator)
        flat = ops.reshape(states, (-1, states.shape[-1]))
        return head(ops.take(flat, collated.places, axis=0))

    def loss(self, outputs: Tensor, labels: Any) -> Tensor:
        """Mean cross-entropy over the words, in nats."""
        return fused.cross_entropy(outputs, labels)

    def logits(self, base: Any, head: Module, inputs: Any) -> list[NDArray]:
        """Of each sentence those of the words that are read: (words, tags).

        Raises ValueError, naming the first, for a word whose logits are not finite.
        """
        found: dict[int, NDArray] = {}
        for chosen, collated, outputs in self.in_batches(base, head, inputs):
            for i, rows in zip(chosen, np.split(outputs, np.cumsum(collated.counts)[:-1])):
                found[int(i)] = rows
                if len(bad := np.flatnonzero(~np.isfinite(rows).all(axis=1))):
                    raise ValueError(
                        f"the scores of {inputs[i].words[bad[0]]!r:.40}, word {bad[0]} of example "
                        f"{i}, are not finite: look at its input, and whether the training diverged"
                    )
        return [found[i] for i in range(len(inputs))]

    def predict(self, base: Any, head: Any, inputs: Any) -> list[NDArray[np.int64]]:
        """Of each sentence the number of the likeliest tag of each word: (words,) int64."""
        return self._likeliest(head, self.logits(base, head, inputs), inputs)

    def _likeliest(
        self, head: Any, logits: Sequence[NDArray], inputs: Any
    ) -> list[NDArray[np.int64]]:
        """Of the words that are read the likeliest, of the others the usual one."""
        usual = int(head.usual.item())
        answers = [np.full(len(one.words), usual, np.int64) for one in inputs]
        for answer, rows in zip(answers, logits):
            answer[: len(rows)] = rows.argmax(axis=1)
        return answers

    def evaluate(self, base: Any, head: Any, held_out: Labelled) -> dict[str, float]:
        """Loss in nats over the words that are read, accuracy over all words, 0 to 1.

        Where the tags are of spans ("O", "B-name", "I-name") also ``span_scores``.
        """
        inputs, labels = held_out.inputs, held_out.labels
        logits = self.logits(base, head, inputs)
        answers = self._likeliest(head, logits, inputs)
        loss = _mean_loss(logits, labels)
        accuracy = share_right(np.concatenate(answers), np.concatenate(labels))
        found = {"loss": loss, "accuracy": accuracy}
        if are_of_spans(self.class_names):
            found |= span_scores(self._named(answers), self._named(labels))
        return found

    def _named(self, answers: Sequence[NDArray]) -> list[list[str]]:
        return [[self.class_names[number] for number in one] for one in answers]

    def table(self, base: Any, head: Any, inputs: Any) -> tuple[list[str], list[list[str]]]:
        """A row for each sentence, its words with their tags: "my/B-animal dog/I-animal"."""
        tags = self._named(self.predict(base, head, inputs))
        rows = [
            [" ".join(f"{word}/{tag}" for word, tag in zip(one.words, its))]
            for one, its in zip(inputs, tags)
        ]
        return ["tagged"], rows


def words_read(base: Layered, example: Any) -> int:
    """How many words of a sentence have their first piece in what is read of it.

    All that is read is its beginning, and perhaps a last token that was moved there ([SEP]).
    """
    read = base.cut(example)
    if len(read) == len(example):
        return len(example.firsts)
    same = np.array([one == other for one, other in zip(read, example)], bool)
    end = len(same) if same.all() else int(same.argmin())
    return int(np.searchsorted(example.firsts, end))


def _mean_loss(logits: Sequence[NDArray], labels: Sequence[NDArray]) -> float:
    """The mean of −ln softmax(logits)[tag] over the words that are read, in float64."""
    rows = np.concatenate(logits).astype(np.float64)
    tags = np.concatenate([tags[: len(of)] for tags, of in zip(labels, logits)])
    rows = rows - rows.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(rows).sum(axis=1)) - rows[np.arange(len(rows)), tags]))


# ---- spans ---------------------------------------------------------------------------------------


def are_of_spans(class_names: Iterable[str]) -> bool:
    """Whether all tags but "O" are "B" or "I", with a type behind a hyphen or without."""
    inside = [name for name in class_names if name != OUTSIDE]
    return bool(inside) and all(BIO.fullmatch(name) for name in inside)


def spans_of(tags: Iterable[str]) -> set[tuple[int, int, str]]:
    """The spans of a sentence: first word, the word behind the last, type.

    B begins one; so does I behind "O", behind another type, and at the beginning of a sentence.
    Example: B-a I-a I-b O I-a gives (0, 2, "a"), (2, 3, "b") and (4, 5, "a").
    """
    found: set[tuple[int, int, str]] = set()
    begin, inside = 0, None  # ``inside``: the type of the span that goes on
    for place, tag in enumerate([*tags, OUTSIDE]):
        mark, _, kind = tag.partition("-")
        now = None if tag == OUTSIDE else kind
        if inside is not None and (mark == "B" or now != inside):
            found.add((begin, place, inside))
        if now is not None and (mark == "B" or now != inside):
            begin = place
        inside = now
    return found


def span_scores(
    predicted: Sequence[Sequence[str]], right: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Precision, recall and F1 of the spans of all sentences together, 0 to 1.

    A span is found when both ends and the type are right. These are the numbers of the CoNLL-2003
    task's script (Tjong Kim Sang and De Meulder): the precision is the share of the predicted spans
    that are right, the recall that of the right ones that were predicted; each is 0 where it would
    be of none.
    """
    pairs = [(spans_of(one), spans_of(other)) for one, other in zip(predicted, right, strict=True)]
    both = sum(len(one & other) for one, other in pairs)
    said, are = (sum(len(pair[side]) for pair in pairs) for side in (0, 1))
    return {
        "precision": both / said if said else 0.0,
        "recall": both / are if are else 0.0,
        "f1": 2 * both / (said + are) if said + are else 0.0,
    }


FORM = Tags

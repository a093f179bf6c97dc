"""Predict hidden tokens of a text, and whether a second text follows the first: BERT.

Devlin, Chang, Lee and Toutanova (2019), BERT: Pre-training of Deep Bidirectional Transformers.
Lecture 08. A row is [CLS] A [SEP] B [SEP] of whole sentences; in half of the rows B is what follows
A (label 0, as in the paper's program: 0 is "is next"), in the others it comes from elsewhere (1).
One row in ten is short. The loss is the sum of both means. Not here: the paper's two lengths (128,
then 512) and its data files with ten masks of each text (``fixed_batches`` comes near); hidden
tokens are drawn anew each time, as in RoBERTa. In several processes the mean of the pairs is
weighted by hidden tokens.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import fused
from minissl.autograd.tensor import Tensor
from minissl.data.passages import PieceStream
from minissl.models.encoder import EncoderConfig, MaskedEncoder
from minissl.options import option
from minissl.pretrain.masked_language_model import (
    MaskedBatch,
    MaskedLanguageModel,
    MaskedSettings,
    NoRow,
    Row,
)

SHORT = 0.1  # of the rows have a random length
FOLLOWS, ELSEWHERE = 0, 1


@dataclass(frozen=True, kw_only=True)
class BERTSettings(MaskedSettings):
    """An encoder with two tasks: about two minutes on two cores."""

    objective: str = option(
        "both", "the sum of the two losses, that of masked tokens alone, or of next sentences",
        choices=("both", "masked", "next"),
    )  # fmt: skip
    partners: str = option(
        "other", "where a second text that does not follow comes from: another document, the same",
        choices=("other", "same"),
    )  # fmt: skip


class BERT(MaskedLanguageModel):
    """Pretrain an encoder on pairs of texts with hidden tokens."""

    Settings = BERTSettings

    @classmethod
    def new_model(
        cls, config: EncoderConfig, settings: BERTSettings, generator: np.random.Generator
    ) -> MaskedEncoder:
        """With the heads for masked tokens and for the next sentence."""
        return MaskedEncoder(config, next_sentence=True, generator=generator)

    def rows(self, stream: PieceStream, count: int, generator: np.random.Generator) -> list[Row]:
        """Pairs: A begins with a random sentence that another one follows in its document."""
        starts = np.flatnonzero(self._may_begin(stream))
        alone = self.settings.partners == "other" and len(stream.documents) < 3
        if alone or not len(starts):
            raise self._no_pair()
        return [self._pair(stream, start, generator) for start in generator.choice(starts, count)]

    def _may_begin(self, stream: PieceStream) -> NDArray[np.bool_]:
        """Sentences behind which there is another, and one besides to be the wrong one."""
        sizes = np.diff(stream.documents)
        may = np.repeat(sizes >= (3 if self.settings.partners == "same" else 2), sizes)
        may[stream.documents[1:] - 1] = False
        return may

    def _pair(self, stream: PieceStream, start: int, generator: np.random.Generator) -> Row:
        """A and B of the sentences from ``start`` on, or B from elsewhere."""
        ends, room = stream.sentences, self.room - 1
        short = generator.random() < SHORT
        target = int(generator.integers(2, room + 1)) if short else room
        document = int(stream.document_of(start))
        first, last = stream.documents[document : document + 2]
        stop = int(np.searchsorted(ends, ends[start] + target))  # the first that reaches the target
        most = last if self.settings.partners == "other" else min(last, start + last - first - 1)
        stop = min(max(stop, start + 2), most)
        middle = int(generator.integers(start + 1, stop))
        label = int(generator.integers(2))
        begin = middle if label == FOLLOWS else self._elsewhere(stream, start, middle, generator)
        if label == ELSEWHERE:
            last = stream.documents[stream.document_of(begin) + 1]
            last = min(last, start) if begin < start else last  # else B repeats A
            left = max(1, target - (ends[middle] - ends[start]))
            stop = min(int(np.searchsorted(ends, ends[begin] + left)), last)
        a, b = stream.pieces[ends[start] : ends[middle]], stream.pieces[ends[begin] : ends[stop]]
        return Row(*shortened(a, b, room, generator), label)

    def _elsewhere(
        self, stream: PieceStream, start: int, middle: int, generator: np.random.Generator
    ) -> int:
        """A sentence of a random other document; or of this one, outside of A and what follows."""
        own = int(stream.document_of(start))
        first, last = stream.documents[own : own + 2]
        if self.settings.partners == "same":
            place = int(generator.integers(last - first - (middle + 1 - start)))
            return int(
                first + place if first + place < start else place + first + middle + 1 - start
            )
        other = int(generator.integers(len(stream.documents) - 2))
        other += other >= own
        return int(generator.integers(*stream.documents[other : other + 2]))

    def _no_pair(self) -> NoRow:
        need = "two documents, one of them with two sentences"
        if self.settings.partners == "same":
            need = "a document with three sentences"
        return NoRow(
            f"the text has not what pairs are made of, {need}: give more text (a sentence "
            "ends at . ! ? and at a blank line), or take another method, such as roberta, which "
            "needs no pairs"
        )

    def loss(self, batch: MaskedBatch, generator: np.random.Generator) -> Tensor:
        """The mean nats per hidden token plus those per pair; or one of the two."""
        states = self.states_of(batch, generator)
        if self.settings.objective == "masked":
            return self.masked_loss(batch, states)
        follows = fused.cross_entropy(self.model.follows_logits(states), batch.labels)
        if self.settings.objective == "next":
            return follows
        return self.masked_loss(batch, states) + follows

    def count(self, batch: MaskedBatch) -> float:
        """How many are predicted: hidden tokens, or pairs where these alone are learned from."""
        if self.settings.objective == "next":
            return float(len(batch.labels))
        return super().count(batch)

    def measured(self, batch: MaskedBatch, states: Tensor) -> dict[str, tuple[float, float]]:
        """Also how many pairs are told right, and their nats."""
        logits = self.model.follows_logits(states)
        right = float((logits.numpy().argmax(axis=1) == batch.labels).sum())
        nats = fused.cross_entropy(logits, batch.labels, reduction="sum").item()
        count = len(batch.labels)
        found: dict[str, tuple[float, float]] = {}
        if self.settings.objective != "next":
            found |= super().measured(batch, states)
        if self.settings.objective != "masked":
            found |= {"next_loss": (nats, count), "next_accuracy": (right, count)}
        return found


def shortened(
    a: NDArray, b: NDArray, room: int, generator: np.random.Generator
) -> tuple[NDArray, NDArray]:
    """Both cut to ``room`` pieces together: always the longer one, at a random end of it."""
    half = room // 2
    sizes = len(a), len(b)
    if sum(sizes) > room:
        sizes = (
            (len(a), room - len(a)) if len(a) <= half
            else (room - len(b), len(b)) if len(b) <= half
            else (room - half, half)
        )  # fmt: skip
    parts: list[Any] = []
    for text, size in zip((a, b), sizes):
        front = int(generator.binomial(len(text) - size, 0.5))
        parts.append(text[front : front + size])
    return parts[0], parts[1]


METHOD = BERT

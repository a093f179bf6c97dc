"""Predict hidden spans of words, also from the two tokens at their ends alone: SpanBERT.

Joshi, Chen, Liu, Weld, Zettlemoyer and Levy (2020), SpanBERT: Improving Pre-training by
Representing and Predicting Spans. Lecture 08. Spans of one to ten whole words (3.8 on average) are
hidden, each replaced as a whole; a hidden token is predicted from its own state, and once more from
the visible states before and behind its span with a vector of its place in there (the span boundary
objective). A row is one piece of one document: no pairs. Not here: the paper's program lets spans
touch and cuts the last one inside a word; ours do neither.
"""

from dataclasses import dataclass

import numpy as np

from minissl.autograd.tensor import Tensor
from minissl.data.passages import PieceStream
from minissl.losses.language_modeling import next_token_loss
from minissl.models.encoder import EncoderConfig, MaskedEncoder
from minissl.options import option
from minissl.pretrain.masked_language_model import (
    MaskedBatch,
    MaskedLanguageModel,
    MaskedSettings,
    Row,
)
from minissl.text.masking import boundaries


@dataclass(frozen=True, kw_only=True)
class SpanBERTSettings(MaskedSettings):
    """An encoder on hidden spans: about two minutes on two cores."""

    masking: str = option(
        "spans", "what is hidden: spans of words, whole words, or pieces of words",
        choices=("spans", "words", "pieces"),
    )  # fmt: skip
    boundary_weight: float = option(
        1.0, "of the span boundary objective; 0: without it", least=0, most=1000
    )
    boundary_places: int = option(
        16, "tokens of a span, from its first, that its boundaries predict", least=1, most=1 << 16
    )
    boundary_width: int = option(
        32, "numbers of the vector of a place in a span; the paper's 200", least=1, most=1 << 16
    )


class SpanBERT(MaskedLanguageModel):
    """Pretrain an encoder on single segments with hidden spans."""

    Settings = SpanBERTSettings
    segments = 0

    @classmethod
    def new_model(
        cls, config: EncoderConfig, settings: SpanBERTSettings, generator: np.random.Generator
    ) -> MaskedEncoder:
        """With the heads for masked tokens and for the boundaries of spans."""
        boundary = (settings.boundary_places, settings.boundary_width)
        used = boundary if settings.boundary_weight else None
        return MaskedEncoder(config, boundary=used, generator=generator)

    def rows(self, stream: PieceStream, count: int, generator: np.random.Generator) -> list[Row]:
        """From random sentences on, as much as there is room for, of one document each.

        Near the end of a document a row begins earlier, so that it is as long as it can be.
        """
        starts = generator.integers(len(stream.sentences) - 1, size=count)
        own = stream.document_of(starts)
        begin, end = (stream.sentences[stream.documents[own + side]] for side in (0, 1))
        begin = np.maximum(begin, np.minimum(stream.sentences[starts], end - self.room))
        end = np.minimum(end, begin + self.room)
        return [Row(stream.pieces[i:j]) for i, j in zip(begin, end)]

    def loss(self, batch: MaskedBatch, generator: np.random.Generator) -> Tensor:
        """The mean nats per hidden token, and again from the boundaries of its span."""
        states = self.states_of(batch, generator)
        loss = self.masked_loss(batch, states)
        if not self.settings.boundary_weight:
            return loss
        return loss + self.boundary_loss(batch, states) * self.settings.boundary_weight

    def boundary_loss(self, batch: MaskedBatch, states: Tensor, reduction: str = "mean") -> Tensor:
        """-ln p(original | the visible states around its span, its place in there)."""
        left, right, place = boundaries(batch.hidden)
        near = place < self.settings.boundary_places
        logits = self.model.boundary_logits(states, left[near], right[near], place[near])
        originals = batch.originals[batch.hidden][near]
        return next_token_loss(logits, originals, reduction=reduction, overwrite_logits=True)

    def measured(self, batch: MaskedBatch, states: Tensor) -> dict[str, tuple[float, float]]:
        """Also the nats of what the boundaries predict."""
        found = super().measured(batch, states)
        if self.settings.boundary_weight:
            near = boundaries(batch.hidden)[2] < self.settings.boundary_places
            nats = self.boundary_loss(batch, states, reduction="sum").item()
            found["boundary_loss"] = nats, float(near.sum())
        return found


METHOD = SpanBERT

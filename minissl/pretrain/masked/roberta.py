"""Predict hidden tokens of a text, hidden anew each time, without pairs: RoBERTa.

Liu, Ott, Goyal, Du, Joshi, Chen, Levy, Lewis, Zettlemoyer and Stoyanov (2019), RoBERTa: A Robustly
Optimized BERT Pretraining Approach. Lecture 08. A row is full of whole sentences in their order; it
may go over the end of a document, where a [SEP] stands (the paper's FULL-SENTENCES). Words are cut
by byte-level BPE. Not here: its batches of 8,000 rows and ten times the text, and the names of its
special tokens (<s>, </s>, <mask> there).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minissl.data.passages import PieceStream
from minissl.nn.module import Module
from minissl.optim import AdamW
from minissl.optim.optimizer import Optimizer
from minissl.options import option
from minissl.pretrain.masked_language_model import MaskedLanguageModel, MaskedSettings, Row


@dataclass(frozen=True, kw_only=True)
class RoBERTaSettings(MaskedSettings):
    """An encoder on full rows: about two minutes on two cores."""

    pieces: str = option(
        "bpe", "how words are cut: byte-level BPE as in RoBERTa, or BERT's WordPiece",
        choices=("wordpiece", "bpe"), learned=True,
    )  # fmt: skip

    def optimizer(self, model: Module) -> Optimizer:
        """AdamW with the paper's shorter memory of squares."""
        return AdamW(model.named_parameters(), betas=(0.9, 0.98), weight_decay=self.weight_decay)


class RoBERTa(MaskedLanguageModel):
    """Pretrain an encoder on rows full of sentences with hidden tokens."""

    Settings = RoBERTaSettings
    segments = 0

    def rows(self, stream: PieceStream, count: int, generator: np.random.Generator) -> list[Row]:
        """From random sentences on, as many whole ones as there is room for."""
        starts = generator.integers(len(stream.sentences) - 1, size=count)
        return [Row(full_sentences(stream, int(s), self.room, self.sep)) for s in starts]


def full_sentences(stream: PieceStream, start: int, room: int, separator: int) -> NDArray:
    """Whole sentences from ``start`` on, at most ``room`` tokens, a separator between documents.

    A first sentence that is longer is cut at its end.
    """
    ends, left = stream.sentences, room
    parts: list[NDArray] = []
    while start < len(ends) - 1 and left > 0:
        if parts:
            parts.append(np.array([separator]))
            left -= 1
        stop = int(np.searchsorted(ends, ends[start] + left, side="right")) - 1
        stop = min(stop, int(stream.documents[stream.document_of(start) + 1]))
        if stop == start:
            break
        parts.append(stream.pieces[ends[start] : ends[stop]])
        left -= len(parts[-1])
        if stop not in stream.documents:
            break  # the next sentence of the document has no room
        start = stop
    if not parts:
        return stream.pieces[ends[start] : ends[start] + room]
    if len(parts) % 2 == 0:
        parts.pop()  # a separator with nothing behind it
    return np.concatenate(parts)


METHOD = RoBERTa

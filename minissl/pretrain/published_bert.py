"""Published weights of BERT's kin as a method: what they represent, and the words they fill in.

Devlin et al. (2019); sentence encoders: Reimers and Gurevych (2019, Sentence-BERT). Lectures 08 and
11. The network is whatever its ``config.json`` says, so all sizes are settings, and a run or an
adaptation can be opened again without the folder. Rows are those of RoBERTa, where there is a head
for hidden words to train. Not here: the normalised vectors of sentence encoders (theirs have length
1, ours the length of the mean), and heads of fine-tuned models.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from minissl.data import Kept
from minissl.data.passages import VOCABULARY, Passages, PieceStream
from minissl.models.encoder import EncoderConfig, MaskedEncoder
from minissl.models.foreign_config import ACTIVATIONS
from minissl.models.published_bert import HEADS, load_bert
from minissl.options import option
from minissl.pretrain.layered import VECTORS
from minissl.pretrain.masked.roberta import full_sentences
from minissl.pretrain.masked_language_model import MaskedLanguageModel, MaskedSettings, Row
from minissl.pretrain.sentence_encoders import read_pooling
from minissl.reading import reading
from minissl.text.published_wordpiece import read_published_wordpiece

FEWEST = 0.9  # tokens for each vector, at least: some files round their number up


@dataclass(frozen=True, kw_only=True)
class PublishedBERTSettings(MaskedSettings):
    """The sizes of published weights; how they were trained, no file says."""

    vocab_size: int = option(30522, "rows of the token vectors", least=8, most=1_000_000)
    hidden_width: int = option(3072, "numbers inside each MLP", least=1, most=1 << 18)
    activation: str = option(
        "gelu_exact", "inside each MLP", choices=tuple(sorted({*ACTIVATIONS.values()}))
    )
    norm_eps: float = option(1e-12, "added to the variance in every norm", least=0, most=1e9)
    segments: int = option(2, "texts that the network tells apart", least=1, most=1 << 16)
    init_std: float = option(0.02, "of the weights of the same network untrained", above=0, most=10)
    heads: str = option("words pooler follows", "what the file has on top of the encoder")
    most_tokens: int = option(512, "of a text that are read", least=3, most=1 << 20)
    vector: str = option("mean", "what represents a text", choices=VECTORS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if odd := {*self.heads.split()} - {*HEADS}:
            raise ValueError(f"heads must be of {', '.join(HEADS)}, got {min(odd)!r:.40}")
        if self.most_tokens > self.context_length:
            raise ValueError(
                f"most_tokens is {self.most_tokens}, the context {self.context_length}"
            )

    def config(self, vocab_size: int = 0, segments: int = 0) -> EncoderConfig:
        """The network of the files, whatever its tokenizer needs of it."""
        return replace(
            super().config(self.vocab_size, self.segments),
            hidden_width=self.hidden_width,
            activation=self.activation,
            norm_eps=self.norm_eps,
        )


class PublishedBERT(MaskedLanguageModel):
    """An encoder from a folder of somebody else's."""

    Settings = PublishedBERTSettings

    def __init__(self, model: MaskedEncoder, data: Passages, settings: Any):
        super().__init__(model, data, settings)
        self.vector = settings.vector

    @classmethod
    def new_model(
        cls, config: EncoderConfig, settings: Any, generator: np.random.Generator
    ) -> MaskedEncoder:
        """With the heads that the files had."""
        heads = settings.heads.split()
        model = MaskedEncoder(config, next_sentence="pooler" in heads, generator=generator)
        for head in HEADS.keys() - {*heads}:
            setattr(model, head, None)
        return model

    @property
    def longest(self) -> int:
        """How many tokens of a text are represented, [CLS] and [SEP] included."""
        return int(self.settings.most_tokens)

    def rows(self, stream: PieceStream, count: int, generator: np.random.Generator) -> list[Row]:
        """From random sentences on, as many whole ones as there is room for."""
        if self.model.words is None:
            raise ValueError(
                "these weights have no output for masked words, only an encoder: it cannot be "
                "measured or trained on text without labels"
            )
        starts = generator.integers(len(stream.sentences) - 1, size=count)
        return [Row(full_sentences(stream, int(s), self.room, self.sep)) for s in starts]

    @classmethod
    def read_folder(cls, folder: Path) -> tuple[PublishedBERT, PublishedBERTSettings, Passages]:
        """The method of a folder with its settings and its tokenizer, without any text.

        Raises what ``load_bert``, ``read_published_wordpiece`` and ``read_pooling`` raise, and
        ValueError, with the file's name, for a tokenizer that is not of these weights.
        """
        pooling = read_pooling(folder)
        model = load_bert(folder)
        config, place = model.config, folder / "config.json"
        with reading(place, "the configuration of a model"):
            settings = PublishedBERTSettings(
                vocab_size=config.vocab_size,
                context_length=config.context_length,
                num_layers=config.num_layers,
                width=config.width,
                num_heads=config.num_heads,
                hidden_width=config.mlp_width,
                segments=config.segments,
                activation=config.activation,
                norm_eps=config.norm_eps,
                heads=" ".join(head for head in HEADS if getattr(model, head) is not None),
                most_tokens=min(
                    pooling.most_tokens or config.context_length, config.context_length
                ),
                vector=pooling.vector,
            )
        words = read_published_wordpiece(folder)
        if not FEWEST * config.vocab_size <= words.vocab_size <= config.vocab_size:
            raise ValueError(
                f"the tokenizer in {folder} has {words.vocab_size} tokens, the weights have "
                f"vectors of {config.vocab_size}: the two do not belong together, or the tokenizer "
                "was cut off (a vocab.txt does not say where it ends): get it again"
            )
        settings = replace(settings, lowercase=words.lowercase)
        kept = Kept({VOCABULARY: words.to_bytes()}, folder)
        data = Passages.reopen(kept, settings)
        return cls(model, data, settings), settings, data

"""Texts as BERT reads them: pieces of words, in sentences, in documents. Lecture 08.

The words are cut by WordPiece, or by byte-level BPE as in RoBERTa; both have [CLS], [SEP], [PAD]
and [MASK].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from minissl.data import Kept
from minissl.data.streams import TOKENIZER, Tokenized
from minissl.data.texts import LabelledTexts, Texts
from minissl.options import Options, option
from minissl.text import Tokenizer
from minissl.text.documents import Document, held_out_share, split_documents
from minissl.text.formats import tokenizer_from_bytes, tokenizer_to_bytes
from minissl.text.sentences import sentences
from minissl.text.wordpiece import INSIDE, WordPiece

VOCABULARY = "vocab.txt"
SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True, kw_only=True)
class PassageOptions(Options):
    """How texts become pieces of words."""

    pieces: str = option(
        "wordpiece", "how words are cut: BERT's WordPiece, or byte-level BPE as in RoBERTa",
        choices=("wordpiece", "bpe"), learned=True,
    )  # fmt: skip
    vocab_size: int = option(
        4096, "tokens of the tokenizer, the special ones included", least=8, most=1_000_000,
        learned=True,
    )  # fmt: skip
    lowercase: bool = option(
        True, "WordPiece without case and accents, as BERT's uncased models", learned=True
    )
    vocab: str = option(
        "", "a published vocab.txt in place of a WordPiece of its own; copied into the run",
        free=True,
    )  # fmt: skip

    def settled(self, data: Any) -> Self:
        """With the size of the published vocabulary, if there is one."""
        if not self.vocab:
            return self
        return replace(self, vocab_size=read_vocabulary(self).vocab_size)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vocab and self.pieces != "wordpiece":
            raise ValueError(
                f"vocab must be empty with pieces={self.pieces}: {self.vocab!r:.60} is a WordPiece"
            )


@dataclass(frozen=True)
class PieceStream:
    """Documents as pieces one after the other, without special tokens.

    pieces: (time,) int32; sentences: (sentences + 1,) where in ``pieces`` each begins, and the end;
    documents: (documents + 1,) which sentence each begins with, and the number of sentences.
    """

    pieces: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    sentences: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    documents: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))

    def __len__(self) -> int:
        return len(self.pieces)

    def document_of(self, sentence: Any) -> Any:
        """The number of the document that each sentence is of."""
        return np.searchsorted(self.documents, sentence, side="right") - 1


@dataclass(frozen=True)
class Passages(Tokenized):
    """Texts made ready: two streams of pieces; empty in a reopened run."""

    tokenizer: WordPiece | Tokenizer  # type: ignore[assignment]
    stream: PieceStream
    held_out: PieceStream
    about: str = "no texts"

    @classmethod
    def reopen(cls, kept: Kept, settings: PassageOptions) -> Passages:
        """The tokenizer alone. Raises ValueError when it is missing or not of this size."""
        return cls(kept, kept_pieces(kept, settings), PieceStream(), PieceStream())

    def special(self, name: str) -> int:
        """The id of [CLS], [SEP], [PAD] or [MASK]."""
        return self.tokenizer.special_tokens[name]

    def tokens(self, text: str) -> list[int]:
        """[CLS], the pieces of a text, [SEP]."""
        pieces = self.tokenizer.encode(text, allow_special="none")
        return [self.special("[CLS]"), *pieces, self.special("[SEP]")]

    def pair_tokens(self, first: str, second: str) -> list[int]:
        """[CLS], the first text, [SEP], the second, [SEP]."""
        return [*self.tokens(first), *self.tokens(second)[1:]]

    def text_of(self, tokens: Sequence[int]) -> str:
        """The text of such tokens, as far as the tokenizer keeps it."""
        inside = [token for token in tokens if token not in self.tokenizer.special_tokens.values()]
        if isinstance(self.tokenizer, WordPiece):
            return self.tokenizer.decode(inside)
        return self.tokenizer.decode(inside, errors="ignore")

    def is_blank(self, example: Sequence[int]) -> bool:
        """Whether a text is empty: nothing stands between [CLS] and [SEP]."""
        return len(example) < 3

    def begins(self) -> NDArray[np.bool_]:
        """Which tokens are the first piece of a word: (vocab_size,)."""
        return word_beginnings(self.tokenizer)

    def unseen(self, raw: Texts) -> Passages:
        """The same tokenizer, and all of these texts held out."""
        held_out = to_stream(raw.documents, self.tokenizer)
        about = f"{len(raw.documents):,} documents, all unseen"
        return replace(self, stream=PieceStream(), held_out=held_out, about=about)

    def describe(self) -> str:
        """How many documents, sentences and pieces, and how much is held out."""
        return (
            f"{self.about}; {len(self.stream):,} pieces in {len(self.stream.sentences) - 1:,} "
            "sentences to train on"
        )


class PassageTexts(Texts):
    """Documents of which the pieces, sentences and neighbours are learned from."""

    prepared: ClassVar[type[Passages]] = Passages
    with_labels: ClassVar = LabelledTexts

    @classmethod
    def toy(cls, settings: Any = None, *, seed: int = 0) -> PassageTexts:
        """Those of ``Texts``."""
        return cls(Texts.toy(settings, seed=seed).documents)

    def prepare(  # type: ignore[override]
        self, kept: Kept, settings: PassageOptions, *, progress: bool = False
    ) -> Passages:
        """Split the documents, learn how words are cut from the training part, and encode both.

        A tokenizer that was kept is used as it is, a published vocabulary is copied. Raises
        ValueError for too little text, and for a published vocabulary that is not the kept one.
        """
        train, held_out = split_documents(self.documents)
        kept = keep_pieces([document.text for document in train], kept, settings, progress)
        tokenizer = kept_pieces(kept, settings)
        about = (
            f"{len(self.documents):,} documents, "
            f"{100 * held_out_share(train, held_out):.1f} % of them held out"
        )
        stream, unseen = (to_stream(part, tokenizer) for part in (train, held_out))
        return Passages(kept, tokenizer, stream, unseen, about)


def to_stream(documents: Sequence[Document], tokenizer: WordPiece | Tokenizer) -> PieceStream:
    """The pieces of all documents, sentence by sentence; what has none is left out."""
    rows, starts = [], [0]
    for document in documents:
        encoded = [tokenizer.encode(s, allow_special="none") for s in sentences(document.text)]
        if found := [np.array(pieces, np.int32) for pieces in encoded if pieces]:
            rows += found
            starts.append(len(rows))
    if not rows:
        return PieceStream()
    ends = np.cumsum([0, *map(len, rows)])
    return PieceStream(np.concatenate(rows), ends.astype(np.int64), np.array(starts, np.int64))


def word_beginnings(tokenizer: WordPiece | Tokenizer) -> NDArray[np.bool_]:
    """Which tokens are the first piece of a word: (vocab_size,).

    Of WordPiece those without ##; of bytes those that begin with a space or with no letter or
    digit, so that "dogs" is one word in " dogs." and the full stop another.
    """
    if isinstance(tokenizer, WordPiece):
        return np.array([not token.startswith(INSIDE) for token in tokenizer.tokens])
    firsts = (tokenizer.token_bytes(token)[:1] for token in range(tokenizer.vocab_size))
    return np.array([not (first.isalnum() or first >= b"\x80") for first in firsts])


def read_vocabulary(settings: PassageOptions) -> WordPiece:
    """The published vocabulary that the settings name. ValueError for one without [MASK]."""
    return _with_special(
        WordPiece.read(settings.vocab, lowercase=settings.lowercase), settings.vocab
    )


def keep_pieces(
    texts: Sequence[str], kept: Kept, settings: PassageOptions, progress: bool = False
) -> Kept:
    """The kept files with a tokenizer, learned or copied where there is none yet."""
    if settings.vocab:
        published = read_vocabulary(settings).to_bytes()
        if kept.get(VOCABULARY, published) != published:
            raise ValueError(
                f"{settings.vocab} is not the vocabulary that {kept.place(VOCABULARY)} was made "
                "from: leave --vocab out, or begin a new run"
            )
        return Kept({**kept, VOCABULARY: published}, kept.folder)
    if settings.pieces == "bpe":
        if TOKENIZER in kept:
            return kept
        tokenizer = Tokenizer.train(
            texts, settings.vocab_size, special_tokens=SPECIAL, progress=progress
        )
        return Kept({**kept, TOKENIZER: tokenizer_to_bytes(tokenizer)}, kept.folder)
    if VOCABULARY in kept:
        return kept
    words = WordPiece.train(texts, settings.vocab_size, lowercase=settings.lowercase)
    return Kept({**kept, VOCABULARY: words.to_bytes()}, kept.folder)


def kept_pieces(kept: Kept, settings: PassageOptions) -> WordPiece | Tokenizer:
    """The kept tokenizer. Raises ValueError when it is missing, or larger than was asked for."""
    name = TOKENIZER if settings.pieces == "bpe" else VOCABULARY
    place = kept.place(name)
    if name not in kept:
        raise ValueError(f"{place} is missing: without it the model's tokens mean nothing")
    tokenizer: WordPiece | Tokenizer
    if settings.pieces == "bpe":
        tokenizer = tokenizer_from_bytes(kept[name], place)
    else:
        tokenizer = WordPiece.from_bytes(kept[name], place, lowercase=settings.lowercase)
    if tokenizer.vocab_size > settings.vocab_size:
        raise ValueError(
            f"{place} has {tokenizer.vocab_size} tokens, more than vocab_size "
            f"{settings.vocab_size}: give the vocab_size that it was made with"
        )
    return _with_special(tokenizer, place)


def _with_special(tokenizer: Any, place: str | Path) -> Any:
    """The tokenizer; ValueError, with its place, when a special token is missing."""
    if missing := [name for name in SPECIAL if name not in tokenizer.special_tokens]:
        raise ValueError(f"{place} has no {', '.join(missing)}, which BERT's kin cannot do without")
    return tokenizer

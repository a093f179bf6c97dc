"""Texts made ready: two streams of tokens, or labelled texts as tokens. Lectures 03, 05, 11."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from minissl.data import Examples, Kept
from minissl.data.classes import as_in_the_run, kept_classes, no_labels
from minissl.data.labels import Labelled, split_labelled
from minissl.options import Options, option
from minissl.text import Tokenizer
from minissl.text.bag_of_words import count_vectors, inverse_document_frequency, tf_idf
from minissl.text.documents import SEPARATOR, Document
from minissl.text.formats import tokenizer_from_bytes, tokenizer_to_bytes

if TYPE_CHECKING:
    from minissl.data.texts import LabelledTexts, Texts

TOKENIZER = "tokenizer.json"


@dataclass(frozen=True, kw_only=True)
class TextOptions(Options):
    """How texts become tokens."""

    vocab_size: int = option(
        2048, "tokens of the tokenizer: 256 bytes, the separator, and what it learns",
        least=257, most=1_000_000, learned=True,
    )  # fmt: skip


@dataclass(frozen=True)
class Tokenized:
    """What all that is made of texts has: the kept tokenizer, and how it reads new ones."""

    kept: Kept
    tokenizer: Tokenizer

    @property
    def separator(self) -> int:
        """The token between documents."""
        return self.tokenizer.special_tokens[SEPARATOR]

    def tokens(self, text: str) -> list[int]:
        """A text after a separator, as the model met documents."""
        return [self.separator, *self.tokenizer.encode(text, allow_special="none")]

    def pair_tokens(self, first: str, second: str) -> list[int]:
        """Two texts as one, with a line break between them: GPT's "delimiter"."""
        return self.tokens(f"{first}\n{second}")

    def text_of(self, tokens: Sequence[int]) -> str:
        """The text of such tokens; of a character that was cut nothing stays."""
        return self.tokenizer.decode(tokens[1:], errors="ignore")

    def examples(self, raw: Texts) -> Examples:
        """Each document as its tokens."""
        return Examples(
            [self.tokens(document.text) for document in raw.documents],
            [document.name for document in raw.documents],
        )

    def is_blank(self, example: Sequence[int]) -> bool:
        """Whether a text is empty: nothing stands behind its separator."""
        return len(example) < 2

    def pieces(self, raw: Texts) -> list[list[str]]:
        """What each number of ``examples`` stands for: the separator, and pieces of text.

        A piece that is no whole character is shown with U+FFFD.
        """
        show = self.tokenizer.token_bytes
        return [
            [show(token).decode("utf-8", "replace") for token in tokens]
            for tokens in self.examples(raw).inputs
        ]

    def labelled(self, raw: LabelledTexts) -> Labelled:
        """Each text as its tokens; raw: tf-idf of the tokens, which is hard to beat."""
        inputs, names = self.examples(raw)
        return Labelled(
            inputs, tuple(names), raw.labels, raw.class_names, self.tf_idf(inputs, raw.held_out),
            "tf-idf of tokens", raw.held_out,
        )  # fmt: skip

    def tf_idf(
        self, inputs: Sequence[Sequence[int]], held_out: NDArray[np.int64] | None
    ) -> NDArray[np.float32]:
        """Of tokens and not of words: it is as good on English, and for texts without spaces."""
        return tf_idf_rows(inputs, self.tokenizer.vocab_size, held_out)


@dataclass(frozen=True)
class Streams(Tokenized):
    """Texts made ready: two streams of tokens, and the texts themselves for other baselines.

    stream, held_out_stream: (time,) int64, documents between separators; empty in a reopened run.
    """

    stream: np.ndarray
    held_out_stream: np.ndarray
    text: bytes
    held_out_text: bytes
    about: str = "no texts"

    @classmethod
    def reopen(cls, kept: Kept, settings: TextOptions) -> Streams:
        """The tokenizer alone. Raises ValueError when it is missing or not of this size."""
        return make_streams([], [], kept_tokenizer(kept, settings), kept)

    def unseen(self, raw: Texts) -> Streams:
        """The same tokenizer, and all of these texts held out."""
        streams = make_streams([], raw.documents, self.tokenizer, self.kept)
        return replace(streams, about=f"{len(raw.documents):,} documents, all unseen")

    def describe(self) -> str:
        """How many documents and tokens, and how much is held out."""
        return f"{self.about}; {len(self.stream):,} tokens to train on"


@dataclass(frozen=True)
class LabelledStreams(Tokenized):
    """Texts with labels made ready: each as its tokens, whole; none in a reopened run.

    labels, held_out_labels: (texts,) int64 numbers of the ``class_names``, or float64 without.
    """

    inputs: list[list[int]]
    labels: NDArray
    class_names: tuple[str, ...]
    held_out: list[list[int]] | None = None
    held_out_labels: NDArray | None = None

    @classmethod
    def reopen(cls, kept: Kept, settings: TextOptions) -> LabelledStreams:
        """The tokenizer and the names of the classes. ValueError when one is missing."""
        names = kept_classes(kept)
        return cls(kept, kept_tokenizer(kept, settings), [], no_labels(names), names)

    def unseen(self, raw: LabelledTexts) -> LabelledStreams:
        """All of these texts held out. Raises ValueError for a class that the run has not."""
        labels = as_in_the_run(raw.labels, raw.class_names, self.class_names)
        return replace(self, held_out=self.examples(raw).inputs, held_out_labels=labels)

    def describe(self) -> str:
        """How many texts and classes; what a person should know before believing a number."""
        held_out = self.held_out or []
        what = f"of {len(self.class_names)} classes" if self.class_names else "with numbers"
        words = [
            f"{len(self.inputs) + len(held_out):,} texts {what}, {len(held_out):,} of them held out"
        ]
        trained = {tuple(tokens) for tokens in self.inputs}
        if self.inputs and (copies := sum(tuple(tokens) in trained for tokens in held_out)):
            words.append(f"{copies:,} of those are also trained on, letter for letter")
        if self.inputs and self.class_names:
            counts = np.bincount(self.labels, minlength=len(self.class_names))
            if len(empty := np.flatnonzero(counts == 0)):
                words.append(f"class {self.class_names[empty[0]]!r} has no text to train on")
        return "; ".join(words)


def tf_idf_rows(
    inputs: Sequence[Sequence[int]],
    vocab_size: int,
    held_out: NDArray[np.int64] | None,
    *,
    unknown: int | None = None,
) -> NDArray[np.float32]:
    """(texts, vocabulary): see ``text.bag_of_words``; those to learn from say what is rare."""
    counts = count_vectors(inputs, vocab_size, unknown=unknown)
    train = np.arange(len(inputs))
    if len(train) > 1:  # a single one is only read
        train, _ = split_labelled(len(inputs), held_out)
    return tf_idf(counts, inverse_document_frequency(counts[train]), sublinear=True)


def encode_documents(
    train: Sequence[Document], held_out: Sequence[Document], tokenizer: Tokenizer
) -> Streams:
    """Both parts as streams of tokens; the tokenizer must have the special token SEPARATOR."""
    kept = Kept({TOKENIZER: tokenizer_to_bytes(tokenizer)})
    return make_streams(train, held_out, tokenizer, kept)


def pack(documents: Iterable[Sequence[int]], separator: int) -> np.ndarray:
    """All documents in one stream of tokens, a separator before, between and after them.

    Example: [[5, 6], [7]] with separator 0 -> [0, 5, 6, 0, 7, 0]. So every token of every document,
    and its end, is predicted once. Int64 (time,). Raises ValueError for a separator in a document.
    """
    pieces = [np.array([separator])]
    for number, document in enumerate(documents):
        tokens = np.asarray(document, dtype=np.int64)
        if (tokens == separator).any():
            raise ValueError(f"document {number} holds the separator {separator} itself")
        pieces += [tokens, pieces[0]]
    return np.concatenate(pieces)


def consecutive_windows(stream: np.ndarray, lanes: int, length: int, number: int) -> np.ndarray:
    """Window ``number`` of each lane, and the token behind it: (lanes, length + 1), as the stream.

    Lane i begins at i · time // lanes, and each window where the one before has stopped, which is
    what truncated back-propagation asks for: window 0 of a lane ends with the token that window 1
    begins with. The stream (time,) is a circle: behind the last token comes the first, so that a
    lane goes on into what the next lane has read before.

    Example: [0, 1, 2, 3, 4, 5] in 2 lanes of length 2: window 0 is [[0, 1, 2], [3, 4, 5]], window 1
    is [[2, 3, 4], [5, 0, 1]]. Raises ValueError for lanes or a length below 1, a negative number,
    and a stream that is shorter than a window or has less than one token for each lane.
    """
    least = max(length + 1, lanes)
    if lanes < 1 or length < 1 or number < 0 or np.ndim(stream) != 1 or len(stream) < least:
        raise ValueError(
            f"window {number} of length {length} in {lanes} lanes of a stream of shape "
            f"{np.shape(stream)}: expected numbers ≥ 0, 1 and 1, and (time,) with {least} tokens "
            "or more"
        )
    starts = np.arange(lanes) * len(stream) // lanes + number * length
    return stream[(starts[:, None] + np.arange(length + 1)) % len(stream)]


def make_streams(
    train: Sequence[Document], held_out: Sequence[Document], tokenizer: Tokenizer, kept: Kept
) -> Streams:
    """Both parts as streams, with what is kept; see ``encode_documents``."""
    separator = tokenizer.special_tokens[SEPARATOR]

    def stream(part: Sequence[Document]) -> np.ndarray:
        if not part:
            return np.zeros(0, np.int64)
        tokens = (tokenizer.encode(document.text, allow_special="none") for document in part)
        return pack(tokens, separator)

    def joined(part: Sequence[Document]) -> bytes:
        return "\n".join(document.text for document in part).encode()

    streams = stream(train), stream(held_out)
    return Streams(kept, tokenizer, *streams, joined(train), joined(held_out))


def keep_tokenizer(
    texts: Sequence[str], kept: Kept, settings: TextOptions, *, progress: bool = False
) -> Kept:
    """The kept files with a tokenizer; it is trained on the texts where there is none yet."""
    if TOKENIZER in kept:
        return kept
    tokenizer = Tokenizer.train(
        texts, settings.vocab_size, special_tokens=[SEPARATOR], progress=progress
    )
    return Kept({**kept, TOKENIZER: tokenizer_to_bytes(tokenizer)}, kept.folder)


def kept_tokenizer(kept: Kept, settings: TextOptions) -> Tokenizer:
    """The kept tokenizer. Raises ValueError when it is missing, or larger than it was asked for."""
    place = kept.place(TOKENIZER)
    if TOKENIZER not in kept:
        raise ValueError(f"{place} is missing: without it the model's tokens mean nothing")
    tokenizer = tokenizer_from_bytes(kept[TOKENIZER], place)
    if SEPARATOR not in tokenizer.special_tokens:
        raise ValueError(f"{place} has no special token {SEPARATOR}, which ends a document")
    if tokenizer.vocab_size > settings.vocab_size:
        raise ValueError(
            f"{place} has {tokenizer.vocab_size} tokens, more than vocab_size "
            f"{settings.vocab_size}: give the vocab_size that it was trained with"
        )
    return tokenizer

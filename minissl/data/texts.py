"""Texts without labels: documents become one stream of tokens. Lectures 03 and 05."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from minissl.data import FIELDS, Examples, Fields, Kept
from minissl.data.labels import Labelled, as_classes, check_labels
from minissl.options import Options, option
from minissl.text import Tokenizer
from minissl.text.corpora import make_manifest, python_english
from minissl.text.documents import (
    SEPARATOR,
    Document,
    held_out_share,
    read_text_documents,
    split_documents,
)
from minissl.text.formats import tokenizer_from_bytes, tokenizer_to_bytes

TOKENIZER = "tokenizer.json"


@dataclass(frozen=True, kw_only=True)
class TextOptions(Options):
    """How texts become tokens."""

    vocab_size: int = option(
        2048, "tokens of the tokenizer: 256 bytes, the separator, and what it learns",
        least=257, most=1_000_000,
    )  # fmt: skip


@dataclass(frozen=True)
class Streams:
    """Texts made ready: two streams of tokens, and the texts themselves for other baselines.

    stream, held_out_stream: (time,) int64, documents between separators; empty in a reopened run.
    """

    kept: Kept
    tokenizer: Tokenizer
    stream: np.ndarray
    held_out_stream: np.ndarray
    text: bytes
    held_out_text: bytes
    about: str = "no texts"

    @property
    def separator(self) -> int:
        """The token between documents."""
        return self.tokenizer.special_tokens[SEPARATOR]

    @classmethod
    def reopen(cls, kept: Kept, settings: TextOptions) -> Streams:
        """The tokenizer alone. Raises ValueError when it is missing or not of this size."""
        return _encode([], [], _tokenizer(kept, settings), kept)

    def unseen(self, raw: Texts) -> Streams:
        """The same tokenizer, and all of these texts held out."""
        streams = _encode([], raw.documents, self.tokenizer, self.kept)
        return replace(streams, about=f"{len(raw.documents):,} documents, all unseen")

    def examples(self, raw: Texts) -> Examples:
        """Each document as its tokens, after a separator, as the model met documents."""
        return Examples(
            [self._tokens(document.text) for document in raw.documents],
            [document.name for document in raw.documents],
        )

    def _tokens(self, text: str) -> list[int]:
        return [self.separator, *self.tokenizer.encode(text, allow_special="none")]

    def labelled(self, raw: LabelledTexts) -> Labelled:
        """Each text as its tokens; raw: how often each token comes in it."""
        inputs, names = self.examples(raw)
        size = self.tokenizer.vocab_size
        counts = np.stack([np.bincount(tokens, minlength=size) for tokens in inputs])
        shares = (counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)
        return Labelled(
            inputs, tuple(names), raw.labels, raw.class_names, shares, "token counts", raw.held_out
        )

    def describe(self) -> str:
        """How many documents and tokens, and how much is held out."""
        return f"{self.about}; {len(self.stream):,} tokens to train on"


class Texts:
    """Documents as they were read."""

    default: ClassVar[str] = "Python's own English"
    prepared: ClassVar[Any] = Streams
    with_labels: ClassVar[Any]
    fields: ClassVar[tuple[str, ...]] = ("text_field",)

    def __init__(self, documents: Sequence[Document]):
        self.documents = tuple(documents)

    @classmethod
    def read(cls, path: Path | None, settings: Any = None, fields: Fields = FIELDS) -> Texts:
        """A text file, a folder of text files, or (None) the English that ships with Python."""
        return cls(_python_english() if path is None else read_text_documents(path))

    @classmethod
    def toy(cls, settings: Any = None, *, seed: int = 0) -> Texts:
        """Forty generated documents in which a name decides the sentence that follows it."""
        generator = np.random.default_rng(seed)
        names = {
            "the cat": "sat on the mat.",
            "a dog": "ran to the log!",
            "my bird": "sang a song?",
        }
        documents = []
        for number in range(40):
            chosen = generator.choice(list(names), size=12)
            text = " ".join(f"{name} {names[name]}" for name in chosen)
            documents.append(Document(f"toy {number}", "toy", f"{text} {seed}.{number}"))
        return cls(documents)

    def fingerprint(self) -> dict[str, Any]:
        """The manifest of the documents: counts, bytes and hashes, also of each source."""
        return make_manifest(self.documents)

    def prepare(self, kept: Kept, settings: TextOptions, *, progress: bool = False) -> Streams:
        """Split the documents, train a tokenizer on the training part, and encode both parts.

        A tokenizer that was kept is used as it is. Raises ValueError for too little text.
        """
        train, held_out = split_documents(self.documents)
        if TOKENIZER not in kept:
            tokenizer = Tokenizer.train(
                [document.text for document in train],
                settings.vocab_size,
                special_tokens=[SEPARATOR],
                progress=progress,
            )
            kept = Kept({**kept, TOKENIZER: tokenizer_to_bytes(tokenizer)}, kept.folder)
        streams = _encode(train, held_out, _tokenizer(kept, settings), kept)
        characters = sum(len(document.text) for document in self.documents)
        about = (
            f"{len(self.documents):,} documents, {characters:,} characters, "
            f"{100 * held_out_share(train, held_out):.1f} % of them held out"
        )
        return replace(streams, about=about)


class LabelledTexts(Texts):
    """Whole texts with labels (texts,): numbers of the ``class_names``, or float64 without classes.

    ``held_out``: indices of a test set that everybody uses, None where there is none.
    """

    default = "the docstrings of Python's library, each with its package"
    fields = ("text_field", "label_field")

    def __init__(
        self,
        documents: Sequence[Document],
        labels: NDArray,
        class_names: Sequence[str],
        held_out: NDArray[np.int64] | None = None,
    ):
        super().__init__(documents)
        self.labels = check_labels(labels, len(self.documents), class_names)
        self.class_names, self.held_out = tuple(class_names), held_out

    @classmethod
    def read(
        cls, path: Path | None, settings: Any = None, fields: Fields = FIELDS,
        *, labels: str = "class",
    ) -> LabelledTexts:  # fmt: skip
        """One text file per example in one folder per class."""
        advice = "give a folder in which each class has a folder of its own, with a file per text"
        if path is None:
            raise ValueError(f"there are no labelled texts on every machine: {advice}")
        documents = read_text_documents(path, piece_characters=1 << 62)
        if loose := [document.name for document in documents if "/" not in document.name]:
            raise ValueError(f"{path}: {loose[0]} is in no class folder: {advice}")
        return cls(documents, *as_classes([document.source for document in documents]))

    @classmethod
    def toy(cls, settings: Any = None, *, seed: int = 0, labels: str = "class") -> LabelledTexts:
        """Forty generated documents: about animals that sit, or that run; or how many words."""
        documents = Texts.toy(settings, seed=seed).documents
        texts = [d.text.replace("the cat", "a dog") if i % 2 else d.text.replace("a dog", "the cat")
                 for i, d in enumerate(documents)]  # fmt: skip
        documents = tuple(d._replace(text=text) for d, text in zip(documents, texts))
        if labels == "number":
            counts = np.array([float(text.count("a dog")) for text in texts])
            return cls(documents, counts, ())
        return cls(documents, np.arange(40) % 2, ("sitting", "running"))

    def fingerprint(self) -> dict[str, Any]:
        """That of the texts, with the labels."""
        fingerprint = super().fingerprint()
        about = f"{fingerprint['sha256']} {self.class_names} {self.labels.tolist()}"
        return {**fingerprint, "sha256": hashlib.sha256(about.encode()).hexdigest()}


Texts.with_labels = LabelledTexts


def encode_documents(
    train: Sequence[Document], held_out: Sequence[Document], tokenizer: Tokenizer
) -> Streams:
    """Both parts as streams of tokens; the tokenizer must have the special token SEPARATOR."""
    return _encode(train, held_out, tokenizer, Kept({TOKENIZER: tokenizer_to_bytes(tokenizer)}))


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


def _encode(
    train: Sequence[Document], held_out: Sequence[Document], tokenizer: Tokenizer, kept: Kept
) -> Streams:
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


def _tokenizer(kept: Kept, settings: TextOptions) -> Tokenizer:
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


@functools.cache
def _python_english() -> tuple[Document, ...]:
    return tuple(python_english())

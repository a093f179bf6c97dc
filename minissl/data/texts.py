"""Texts, without labels and with: what a file, a folder or a table of texts becomes.

What is made of them stands in ``streams``. Lectures 03 and 05; with labels, Lecture 11.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from minissl.data import FIELDS, Fields, Kept, check_kind, located
from minissl.data.classes import keep_classes, require_two
from minissl.data.labels import (
    as_classes,
    check_labels,
    pick,
    some_numbers,
    some_of_split,
    split_labelled,
)
from minissl.data.streams import (
    TOKENIZER,
    LabelledStreams,
    Streams,
    TextOptions,
    encode_documents,
    keep_tokenizer,
    kept_tokenizer,
    make_streams,
    pack,
)
from minissl.data.tables import Table, is_table, read_table
from minissl.text.corpora import make_manifest
from minissl.text.documents import (
    Document,
    cut,
    digest,
    held_out_share,
    read_text_documents,
    split_documents,
)
from minissl.text.files import shown

__all__ = [
    "TOKENIZER",
    "LabelledStreams",
    "LabelledTexts",
    "Streams",
    "TextOptions",
    "Texts",
    "encode_documents",
    "pack",
]

WHOLE = 1 << 62  # characters: no text is cut
PIECE_CHARACTERS = 10_000  # of a long text without labels, so that a part of it can be held out


class Texts:
    """Documents as they were read."""

    default: ClassVar[str] = "python-english"
    prepared: ClassVar[Any] = Streams
    with_labels: ClassVar[Any]
    fields: ClassVar[tuple[str, ...]] = ("text_field", "layout")

    def __init__(self, documents: Sequence[Document]):
        self.documents = tuple(documents)

    @classmethod
    def read(cls, path: Path | None, settings: Any = None, fields: Fields = FIELDS) -> Self:
        """A text file, a folder of them, a table, or (None) the English that ships with Python.

        A row of a table without any text is passed over, as an empty file is.
        """
        found = located(path, cls.default, "texts")
        if not is_table(found, fields):
            whole = read_text_documents(found) if isinstance(found, Path) else found.load()
            return cls(whole)
        documents = _of_rows(read_table(found, fields, Texts.fields))
        pieces = [piece for whole in documents for piece in cut(whole, PIECE_CHARACTERS)]
        if not pieces:
            raise ValueError(f"{shown(found)} holds no text: its {len(documents)} row(s) are empty")
        return cls(pieces)

    @classmethod
    def read_examples(
        cls, path: Path | None, settings: Any = None, fields: Fields = FIELDS
    ) -> Texts:
        """Without labels and whole: each file or row is one, also where it has no text at all."""
        found = located(path, cls.default, "texts")
        if is_table(found, fields):
            return Texts(_of_rows(read_table(found, fields, Texts.fields)))
        if not isinstance(found, Path):
            return Texts(found.load())
        return Texts(read_text_documents(found, piece_characters=WHOLE, keep_empty=True))

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
        """The manifest of the documents: counts, bytes and hashes, also of each source.

        Of their names and texts, so a file that was renamed is other data and a folder that was
        moved is not; neither is the order in which they were read.
        """
        return make_manifest(self.documents)

    def some(self, most: int) -> Texts:
        """At most so many of the documents, always the same ones."""
        return Texts(pick(self.documents, some_numbers(len(self.documents), most)))

    def prepare(self, kept: Kept, settings: TextOptions, *, progress: bool = False) -> Streams:
        """Split the documents, train a tokenizer on the training part, and encode both parts.

        A tokenizer that was kept is used as it is. Raises ValueError for too little text.
        """
        train, held_out = split_documents(self.documents)
        texts = [document.text for document in train]
        kept = keep_tokenizer(texts, kept, settings, progress=progress)
        streams = make_streams(train, held_out, kept_tokenizer(kept, settings), kept)
        characters = sum(len(document.text) for document in self.documents)
        about = (
            f"{len(self.documents):,} documents, {characters:,} characters, "
            f"{100 * held_out_share(train, held_out):.1f} % of them held out"
        )
        return replace(streams, about=about)


class LabelledTexts(Texts):
    """Whole texts with labels (texts,): numbers of the ``class_names``, or float64 without classes.

    ``held_out``: indices of a test set that everybody uses, None where there is none. Two equal
    texts are two examples; ``LabelledStreams.describe`` says when that makes a test too easy.
    ``metrics``: what a published task is judged by, () where it is not known.
    """

    default = "python-docstrings"
    prepared = LabelledStreams
    fields = ("text_field", "label_field", "layout")

    def __init__(
        self,
        documents: Sequence[Document],
        labels: NDArray,
        class_names: Sequence[str],
        held_out: NDArray[np.int64] | None = None,
        metrics: tuple[str, ...] = (),
    ):
        super().__init__(documents)
        self.metrics = metrics
        self.labels = check_labels(labels, len(self.documents), class_names)
        self.class_names, self.held_out = tuple(class_names), held_out

    @classmethod
    def read(
        cls, path: Path | None, settings: Any = None, fields: Fields = FIELDS,
        *, labels: str = "class",
    ) -> LabelledTexts:  # fmt: skip
        """One text file per example in one folder per class, or a table.

        Raises ValueError for an example that has no text: its label would be learned from nothing.
        """
        check_kind(labels)
        advice = (
            "give a folder in which each class has a folder of its own, with a file per text, or a "
            "table with --text-field and --label-field"
        )
        found = located(path, cls.default, "labelled texts")
        if is_table(found, fields):
            return cls._of_table(read_table(found, fields, cls.fields), labels)
        if labels == "number":
            raise ValueError(
                f"{shown(path or cls.default)} gives classes, no numbers: those are read from a "
                "table (.csv, .tsv, .jsonl), from the column of --label-field"
            )
        if isinstance(found, Path):
            documents = _whole_files(found, advice)
        else:
            documents = found.load()
        return cls(documents, *as_classes([document.source for document in documents]))

    @classmethod
    def _of_table(cls, table: Table, kind: str) -> LabelledTexts:
        texts = table.texts("text_field")
        labels, class_names = table.labels(kind)
        sources = [shown(table.path.name)] * len(texts)
        if class_names:
            sources = [class_names[number] for number in labels]
        documents = [Document(*row) for row in zip(table.names, sources, texts)]
        return cls(documents, labels, class_names, metrics=table.metrics)

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
        """That of the texts, with the label of each in their order, which decides the held-out."""
        fingerprint = super().fingerprint()
        texts = [digest(document).hex() for document in self.documents]
        about = json.dumps([fingerprint["sha256"], self.class_names, self.labels.tolist(), texts])
        return {**fingerprint, "sha256": hashlib.sha256(about.encode()).hexdigest()}

    def some(self, most: int) -> LabelledTexts:
        """At most so many texts with their labels: see ``some_of_split``."""
        chosen, tested = some_of_split(len(self.documents), most, self.held_out)
        documents = pick(self.documents, chosen)
        labels = self.labels[chosen]
        return LabelledTexts(documents, labels, self.class_names, tested, self.metrics)

    def prepare(  # type: ignore[override]
        self, kept: Kept, settings: TextOptions, *, progress: bool = False
    ) -> LabelledStreams:
        """Hold out a third of the texts, train a tokenizer on the others, and encode all.

        See ``split_labelled``. Raises ValueError for fewer than two classes, where there are any.
        """
        if self.class_names:
            require_two(self.class_names, len(self.documents), "texts")
        train, test = split_labelled(len(self.documents), self.held_out)
        kept = keep_classes(kept, self.class_names)
        texts = [self.documents[i].text for i in train]
        kept = keep_tokenizer(texts, kept, settings, progress=progress)
        none = self.labels[:0]
        reader = LabelledStreams(kept, kept_tokenizer(kept, settings), [], none, self.class_names)
        return replace(
            reader,
            inputs=[reader.tokens(text) for text in texts],
            labels=self.labels[train],
            held_out=[reader.tokens(self.documents[i].text) for i in test],
            held_out_labels=self.labels[test],
        )


Texts.with_labels = LabelledTexts


def _of_rows(table: Table) -> list[Document]:
    """A document for each row, by the column ``text_field``; its text may be empty."""
    texts = table.texts("text_field", empty=True)
    sources = [shown(table.path.name)] * len(texts)
    return [Document(*row) for row in zip(table.names, sources, texts)]


def _whole_files(folder: Path, advice: str) -> list[Document]:
    """A document for each file, each in a class folder. ``advice``: what else to give."""
    documents = read_text_documents(folder, piece_characters=WHOLE, keep_empty=True)
    for document in documents:
        if "/" not in document.name:
            raise ValueError(f"{shown(folder)}: {document.name} is in no class folder: {advice}")
        if not document.text:
            raise ValueError(
                f"{shown(folder)}: {document.name} is empty: remove it, or give it a text"
            )
    return documents

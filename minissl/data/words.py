"""Texts as words: what word vectors are learned from. Lectures 03 and 04.

The words of all documents stand in one stream, without those that the vocabulary does not have; a
second stream says which document a word is from, so that no window reaches into another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from minissl.data import Examples, Kept
from minissl.data.labels import Labelled
from minissl.data.streams import tf_idf_rows
from minissl.data.texts import LabelledTexts, Texts
from minissl.options import Options, option
from minissl.text.documents import Document, held_out_share, split_documents
from minissl.text.words import WordVocabulary, words_of

VOCABULARY = "words.txt"


@dataclass(frozen=True, kw_only=True)
class WordOptions(Options):
    """Which words have a vector."""

    min_count: int = option(
        5, "times that a word must come to get a vector", least=1, most=10**9, learned=True
    )
    most_words: int = option(
        100_000, "words with a vector, the most frequent", least=1, most=10_000_000, learned=True
    )


@dataclass(frozen=True)
class WordStream:
    """Words in the order of the text, (time,) int32 ids, and the document of each.

    The known ones, from 1; in ``WordSequences`` the unknown ones too, as 0.
    """

    words: NDArray[np.int32]
    documents: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.words)


@dataclass(frozen=True)
class Words:
    """Texts made ready: a vocabulary, a stream to train on and one that is held out.

    The streams are empty in a reopened run.
    """

    kept: Kept
    vocabulary: WordVocabulary
    stream: WordStream
    held_out: WordStream
    about: str = "no texts"
    known_only: ClassVar[bool] = True  # whether unknown words are left out of the streams

    @classmethod
    def reopen(cls, kept: Kept, settings: WordOptions) -> Self:
        """The vocabulary alone. Raises ValueError as ``kept_vocabulary`` does."""
        nothing = to_stream([])
        return cls(kept, kept_vocabulary(kept, settings), nothing, nothing)

    def unseen(self, raw: Texts) -> Self:
        """The same vocabulary, and all of these texts held out."""
        ids = [self.vocabulary.encode(document.text) for document in raw.documents]
        about = f"{len(ids):,} documents, all unseen"
        held_out = to_stream(ids, known_only=self.known_only)
        return replace(self, stream=to_stream([]), held_out=held_out, about=about)

    def examples(self, raw: Texts) -> Examples:
        """Each document as the ids of its words, 0 for those that have no vector."""
        return Examples(
            [self.vocabulary.encode(document.text) for document in raw.documents],
            [document.name for document in raw.documents],
        )

    def is_blank(self, example: Sequence[int]) -> bool:
        """Whether a text has no known word."""
        return not any(example)

    def pieces(self, raw: Texts) -> list[list[str]]:
        """What each number of ``examples`` stands for: the words of each document."""
        return [words_of(document.text) for document in raw.documents]

    def labelled(self, raw: LabelledTexts) -> Labelled:
        """Each text as the ids of its words; raw: tf-idf of the words."""
        inputs, names = self.examples(raw)
        rows = tf_idf_rows(inputs, self.vocabulary.vocab_size, raw.held_out, unknown=0)
        return Labelled(
            inputs, tuple(names), raw.labels, raw.class_names, rows, "tf-idf of words", raw.held_out
        )

    def describe(self) -> str:
        """How many documents and words, and how much is held out."""
        words = "known words" if self.known_only else "words"
        return (
            f"{self.about}; {len(self.stream):,} {words} to train on, "
            f"{self.vocabulary.vocab_size - 1:,} different ones"
        )


class WordSequences(Words):
    """Words of which the order matters: the streams have the unknown ones too, as 0."""

    known_only = False


class WordTexts(Texts):
    """Documents of which the words are learned from, one by one."""

    prepared: ClassVar[type[Words]] = Words
    with_labels: ClassVar = LabelledTexts

    @classmethod
    def toy(cls, settings: WordOptions | None = None, *, seed: int = 0) -> WordTexts:
        """Those of ``Texts``."""
        return cls(Texts.toy(settings, seed=seed).documents)

    def prepare(self, kept: Kept, settings: WordOptions, *, progress: bool = False) -> Words:  # type: ignore[override]
        """Split the documents, count the words of the training part, and encode both parts.

        A vocabulary that was kept is used as it is, with its counts. Raises ValueError for too
        little text, and for a kept vocabulary with more or rarer words than the settings allow.
        """
        train, held_out = split_documents(self.documents)
        texts = (document.text for document in train)
        if VOCABULARY not in kept:
            found = WordVocabulary.train(texts, settings.min_count, settings.most_words)
            kept = Kept({**kept, VOCABULARY: found.to_bytes()}, kept.folder)
        vocabulary = kept_vocabulary(kept, settings)

        def stream(part: Sequence[Document]) -> WordStream:
            ids = (vocabulary.encode(document.text) for document in part)
            return to_stream(ids, known_only=self.prepared.known_only)

        about = (
            f"{len(self.documents):,} documents, "
            f"{100 * held_out_share(train, held_out):.1f} % of them held out"
        )
        words = stream(train)
        if not (words.documents[1:] == words.documents[:-1]).any():
            raise ValueError(
                f"no two known words stand near each other, of {len(words):,} to train on: give "
                "more text"
            )
        return self.prepared(kept, vocabulary, words, stream(held_out), about)


class WordSequenceTexts(WordTexts):
    """Documents as sequences of words, the unknown ones included."""

    prepared = WordSequences


def to_stream(documents: Iterable[Sequence[int]], *, known_only: bool = True) -> WordStream:
    """The words of encoded documents, one after the other; of them the known ones (ids above 0)."""
    arrays = [np.asarray(document, np.int32) for document in documents]
    if known_only:
        arrays = [array[array > 0] for array in arrays]
    numbers = np.repeat(np.arange(len(arrays), dtype=np.int32), [len(a) for a in arrays])
    words = np.concatenate(arrays) if arrays else np.zeros(0, np.int32)
    return WordStream(words, numbers)


def kept_vocabulary(kept: Kept, settings: WordOptions) -> WordVocabulary:
    """The kept vocabulary. ValueError when it is missing, damaged, or more than was asked for."""
    place = kept.place(VOCABULARY)
    if VOCABULARY not in kept:
        raise ValueError(f"{place} is missing: without it nobody knows which row is which word")
    vocabulary = WordVocabulary.from_bytes(kept[VOCABULARY], place)
    words, rarest = vocabulary.vocab_size - 1, int(vocabulary.counts[-1])
    if words > settings.most_words or rarest < settings.min_count:
        raise ValueError(
            f"{place} has {words:,} words that come {rarest:,} times or more, expected at most "
            f"most_words={settings.most_words:,} with min_count={settings.min_count:,}: give the "
            "numbers that it was trained with"
        )
    return vocabulary

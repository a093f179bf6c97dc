"""Pairs of texts, without labels and with: two sayings of one thing, a claim and what follows.

Lecture 11 (labels: entailment, or how alike two sentences are), Lecture 13 (pairs that belong
together).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minissl.data import FIELDS, Examples, Fields, Kept, check_kind, fingerprint, located
from minissl.data.asked import require_tokens
from minissl.data.classes import (
    CLASSES,
    as_in_the_run,
    keep_classes,
    kept_classes,
    no_labels,
    require_two,
)
from minissl.data.labels import (
    Labelled,
    check_labels,
    pick,
    some_numbers,
    some_of_split,
    split_by_hash,
    split_labelled,
)
from minissl.data.streams import TextOptions, Tokenized, keep_tokenizer, kept_tokenizer
from minissl.data.tables import Table, is_table, read_table
from minissl.text.files import TABLES, shown


class Pair(NamedTuple):
    """Two texts that belong together, and the name of the pair."""

    name: str
    first: str
    second: str


PairTokens = tuple[list[int], list[int]]


@dataclass(frozen=True)
class TokenPairs(Tokenized):
    """Pairs made ready: the tokens of both texts, each after a separator; none in a reopened run.

    labels, held_out_labels: (pairs,) int64 numbers of the ``class_names``, float64 without classes,
    or None: nobody has said anything of the pairs.
    """

    inputs: list[PairTokens]
    held_out: list[PairTokens] | None = None
    labels: NDArray | None = None
    held_out_labels: NDArray | None = None
    class_names: tuple[str, ...] = ()

    @classmethod
    def reopen(cls, kept: Kept, settings: TextOptions) -> TokenPairs:
        """The tokenizer, and the names of the classes where there were labels."""
        tokenizer = kept_tokenizer(kept, settings)
        if CLASSES not in kept:
            return cls(kept, tokenizer, [])
        names = kept_classes(kept)
        return cls(kept, tokenizer, [], labels=no_labels(names), class_names=names)

    def unseen(self, raw: TextPairs) -> TokenPairs:
        """All of these pairs held out. Raises ValueError for a class that the run has not."""
        labels = None
        if isinstance(raw, LabelledTextPairs) and self.labels is not None:
            labels = as_in_the_run(raw.labels, raw.class_names, self.class_names)
        return replace(self, held_out=self.examples(raw).inputs, held_out_labels=labels)

    def examples(self, raw: TextPairs) -> Examples:  # type: ignore[override]
        """Both texts of each pair as tokens."""
        inputs = [(self.tokens(pair.first), self.tokens(pair.second)) for pair in raw.pairs]
        return Examples(inputs, [pair.name for pair in raw.pairs])

    def labelled(self, raw: LabelledTextPairs) -> Labelled:  # type: ignore[override]
        """Pairs with their labels; raw: tf-idf of the tokens of the first, then of the second."""
        inputs, names = self.examples(raw)
        both = [self.tf_idf([pair[side] for pair in inputs], raw.held_out) for side in (0, 1)]
        return Labelled(
            inputs, tuple(names), raw.labels, raw.class_names, np.concatenate(both, axis=1),
            "tf-idf of both", raw.held_out,
        )  # fmt: skip

    def describe(self) -> str:
        """How many pairs, and how many are held out."""
        held_out = len(self.held_out or [])
        return f"{len(self.inputs) + held_out:,} pairs of texts, {held_out:,} of them held out"


class TextPairs:
    """Pairs of texts as they were read.

    ``fitted``: what of a published file was left out, for a person; "" for nothing.
    """

    default: ClassVar[str] = ""
    prepared: ClassVar[Any] = TokenPairs
    with_labels: ClassVar[Any]
    fields: ClassVar[tuple[str, ...]] = ("text_field", "second_field", "layout")
    reads: ClassVar[str] = "pairs"

    def __init__(self, pairs: Sequence[Pair], fitted: str = ""):
        self.pairs, self.fitted = tuple(pairs), fitted
        if not self.pairs:
            raise ValueError("there are no pairs of texts: give one or more")

    @classmethod
    def read(cls, path: Path | None, settings: Any = None, fields: Fields = FIELDS) -> TextPairs:
        """The columns ``text_field`` and ``second_field`` of a table, none of them empty."""
        table = table_at(path, fields, "pairs of texts", TextPairs.fields)
        return cls(_pairs_of(table), fitted=table.told)

    @classmethod
    def read_examples(
        cls, path: Path | None, settings: Any = None, fields: Fields = FIELDS
    ) -> TextPairs:
        """Without labels."""
        return TextPairs.read(path, settings, fields)

    @classmethod
    def toy(cls, settings: Any = None, *, seed: int = 0) -> TextPairs:
        """Twenty generated pairs that say the same in another order."""
        return cls([pair for pair, same in _toys(seed) if same])

    def fingerprint(self) -> dict[str, Any]:
        """Of names and texts, in their order, and how many there are."""
        digest = hashlib.sha256(json.dumps(self.pairs).encode())
        return {"pairs": len(self.pairs), "sha256": digest.hexdigest()}

    def examples_by(self, prepared: Any) -> Examples:
        """Both texts of a pair in one list of tokens, as the run joins two texts."""
        if isinstance(prepared, TokenPairs):
            return prepared.examples(self)
        read = require_tokens(prepared, "pairs of texts").pair_tokens
        names = [pair.name for pair in self.pairs]
        return Examples([read(pair.first, pair.second) for pair in self.pairs], names)

    def some(self, most: int) -> TextPairs:
        """At most so many of the pairs, always the same ones."""
        return TextPairs(pick(self.pairs, some_numbers(len(self.pairs), most)), self.fitted)

    def prepare(self, kept: Kept, settings: TextOptions, *, progress: bool = False) -> TokenPairs:
        """Hold out a twentieth of the pairs, train a tokenizer on the others, and encode all.

        Hashes of the texts decide: equal pairs are on one side. Raises ValueError for one pair.
        """
        contents = [json.dumps(pair[1:]).encode() for pair in self.pairs]
        return self._prepared(*split_by_hash(contents), kept, settings, progress)

    def _prepared(
        self, train: NDArray, test: NDArray, kept: Kept, settings: TextOptions, progress: bool
    ) -> TokenPairs:
        texts = [text for i in train for text in self.pairs[i][1:]]
        kept = keep_tokenizer(texts, kept, settings, progress=progress)
        reader = TokenPairs(kept, kept_tokenizer(kept, settings), [])
        pairs = reader.examples(self).inputs
        return replace(reader, inputs=[pairs[i] for i in train], held_out=[pairs[i] for i in test])


class LabelledTextPairs(TextPairs):
    """Pairs with labels (pairs,): numbers of the ``class_names``, or float64 without classes.

    ``metrics``: what a published task is judged by, () where it is not known.
    """

    fields = ("text_field", "second_field", "label_field", "layout")

    def __init__(
        self,
        pairs: Sequence[Pair],
        labels: NDArray,
        class_names: Sequence[str],
        held_out: NDArray[np.int64] | None = None,
        fitted: str = "",
        metrics: tuple[str, ...] = (),
    ):
        super().__init__(pairs, fitted)
        self.metrics = metrics
        self.labels = check_labels(labels, len(self.pairs), class_names)
        self.class_names, self.held_out = tuple(class_names), held_out

    @classmethod
    def read(
        cls, path: Path | None, settings: Any = None, fields: Fields = FIELDS,
        *, labels: str = "class",
    ) -> LabelledTextPairs:  # fmt: skip
        """Two columns of texts and the column ``label_field`` of a table."""
        check_kind(labels)
        table = table_at(path, fields, "pairs of texts", cls.fields)
        return cls(
            _pairs_of(table), *table.labels(labels), fitted=table.told, metrics=table.metrics
        )

    @classmethod
    def toy(
        cls, settings: Any = None, *, seed: int = 0, labels: str = "class"
    ) -> LabelledTextPairs:
        """Forty generated pairs: every other says the same; or how many words they share."""
        pairs, same = zip(*_toys(seed))
        if labels == "number":
            shared = [len({*p.first.split()} & {*p.second.split()}) for p in pairs]
            return cls(pairs, np.array(shared, np.float64), ())
        return cls(pairs, np.array(same, np.int64), ("other", "same"))

    def labelled_by(self, prepared: Any) -> Labelled:
        """Pairs in one list of tokens each; raw: tf-idf of the tokens of the first, the second."""
        if isinstance(prepared, TokenPairs):
            return prepared.labelled(self)
        inputs, names = self.examples_by(prepared)
        sides = zip(*((pair.first, pair.second) for pair in self.pairs))
        tokens = ([prepared.tokens(text) for text in side] for side in sides)
        both = [prepared.tf_idf(side, self.held_out) for side in tokens]
        return Labelled(
            inputs, tuple(names), self.labels, self.class_names, np.concatenate(both, axis=1),
            "tf-idf of both", self.held_out,
        )  # fmt: skip

    def fingerprint(self) -> dict[str, Any]:
        """That of the pairs, with every label."""
        names = json.dumps(self.class_names).encode()
        return fingerprint.combined(super().fingerprint(), names, self.labels.tobytes())

    def some(self, most: int) -> LabelledTextPairs:
        """At most so many pairs with their labels: see ``some_of_split``."""
        chosen, tested = some_of_split(len(self.pairs), most, self.held_out)
        pairs, labels = pick(self.pairs, chosen), self.labels[chosen]
        return LabelledTextPairs(pairs, labels, self.class_names, tested, self.fitted, self.metrics)

    def prepare(self, kept: Kept, settings: TextOptions, *, progress: bool = False) -> TokenPairs:
        """Hold out a third, see ``split_labelled``; names of the classes are kept.

        Raises ValueError for fewer than two classes, where there are any.
        """
        if self.class_names:
            require_two(self.class_names, len(self.pairs), "pairs")
        train, test = split_labelled(len(self.pairs), self.held_out)
        kept = keep_classes(kept, self.class_names)
        return replace(
            self._prepared(train, test, kept, settings, progress),
            labels=self.labels[train],
            held_out_labels=self.labels[test],
            class_names=self.class_names,
        )


TextPairs.with_labels = LabelledTextPairs


def table_at(path: Path | None, fields: Fields, what: str, asked: Sequence[str]) -> Table:
    """The table at a path. ``what``: its rows, for the ValueError where there is none.

    ``asked``: as in ``read_table``.
    """
    found = None if path is None else located(path, "", what)
    if found is None or not is_table(found, fields):
        given = f", {shown(path)} is none" if path else ": give one"
        columns = ""
        if "second_field" in asked:
            columns = f" with the columns {fields.text_field!r:.40} and {fields.second_field!r:.40}"
        raise ValueError(f"{what} are read from a table ({', '.join(TABLES)}){columns}{given}")
    return read_table(found, fields, asked)


def _pairs_of(table: Table) -> list[Pair]:
    columns = table.texts("text_field"), table.texts("second_field")
    return [Pair(*row) for row in zip(table.names, *columns)]


def _toys(seed: int) -> list[tuple[Pair, bool]]:
    """Forty pairs, of which every other says the same; a number makes each sentence its own."""
    generator = np.random.default_rng(seed)
    who, does = ["the cat", "a dog", "my bird"], ["sat still", "ran away", "sang a song"]
    pairs = []
    for number in range(40):
        one, other = generator.choice(3, size=2, replace=False)
        place = f"at house {seed}.{number}"
        same = number % 2 == 1
        first = f"{who[one]} {does[other]} {place}."
        second = f"{place} {who[one if same else other]} {does[other if same else one]}."
        pairs.append((Pair(f"toy {number}", first, second), same))
    return pairs

"""Sentences whose words have a tag each: parts of speech, names. Lecture 11.

Two kinds of files are read. CoNLL-U (.conllu; Nivre et al., 2016, Universal Dependencies) has ten
columns, of which the tag is UPOS unless another is asked for. CoNLL (.conll, .iob, .bio; Tjong Kim
Sang and De Meulder, 2003) has the word first and the tag last. In both a line is a word and a blank
line ends a sentence.

The files say what a word is, so the run's tokenizer cuts each by itself; a tag stands at the first
piece of its word (Devlin et al., 2019, section 5.3). Not here: where the text had no space between
two words ("SpaceAfter=No"), and several files as training, development and test set.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minissl.data import FIELDS, Examples, Fields, located
from minissl.data.asked import require_tokens
from minissl.data.labels import Labelled, check_names
from minissl.reading import shown
from minissl.text.files import TABLES, read_text
from minissl.text.wordpiece import WordPiece

CONLLU = ".conllu"
KINDS = (CONLLU, ".conll", ".iob", ".bio")
COLUMNS = (
    "id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc",
)  # fmt: skip
NO_WORD = re.compile(r"[0-9]+[-.][0-9]+")  # the number of several words in one, or of an empty node
Lines = list[tuple[int, str]]


class Sentence(NamedTuple):
    """Words, with a tag each or, where nobody has said any, none; and the sentence's name."""

    name: str
    words: tuple[str, ...]
    tags: tuple[str, ...] = ()


class Tagged(list[int]):
    """The tokens of a sentence. ``words``: its words; ``firsts``: where each begins, (words,)."""

    def __init__(self, tokens: Iterable[int], words: tuple[str, ...], firsts: NDArray[np.int64]):
        super().__init__(tokens)
        self.words, self.firsts = words, firsts


class TaggedTexts:
    """Sentences as they were read; all have tags or none has.

    class_names: the tags in sorted order; () without tags. labels: of each sentence their numbers,
    (words,) int64. Raises ValueError for no sentence, one without a word, and one with another
    number of tags than words.
    """

    reads: ClassVar[str] = "tagged"
    fields: ClassVar[tuple[str, ...]] = ("label_field",)
    metrics: ClassVar[tuple[str, ...]] = ()

    def __init__(self, sentences: Sequence[Sentence]):
        self.sentences = tuple(sentences)
        if not self.sentences:
            raise ValueError("there are no sentences: give one or more")
        tagged = bool(self.sentences[0].tags)
        for name, words, tags in self.sentences:
            if not words or not all(words):
                raise ValueError(f"{name}: a sentence needs a word, and a word a character")
            if len(tags) != (len(words) if tagged else 0):
                raise ValueError(
                    f"{name}: {len(words)} word(s) with {len(tags)} tag(s), expected "
                    f"{'one for each word' if tagged else 'none, as in the first sentence'}"
                )
        self.class_names = tuple(sorted({tag for one in self.sentences for tag in one.tags}))
        check_names(self.class_names)
        numbers = {tag: number for number, tag in enumerate(self.class_names)}
        self.labels = [
            np.array([numbers[tag] for tag in one.tags], np.int64) for one in self.sentences
        ]

    @classmethod
    def read(
        cls, path: Path | None, settings: Any = None, fields: Fields = FIELDS,
        *, labels: str = "tags",
    ) -> TaggedTexts:  # fmt: skip
        """A .conllu, .conll, .iob or .bio file with a tag for each word.

        ``fields.label_field``: of CoNLL-U the name of another column than "upos" (such as "xpos"),
        of the others the number of another than the last. Raises ValueError with file and line for
        what is damaged, OSError for what cannot be read.
        """
        if labels != "tags":
            raise ValueError(f"tagged words have labels 'tags', asked for is {labels!r:.40}")
        file = _file_at(path, fields)
        if file.suffix.lower() not in KINDS:
            raise ValueError(
                f"{shown(file)}: words with tags are read from a file whose name ends in "
                f"{', '.join(KINDS)}: rename it"
            )
        sentences = _sentences(file, fields.label_field)
        try:
            return cls(sentences)
        except ValueError as error:
            raise ValueError(f"{shown(file)}: {error}") from None

    @classmethod
    def read_examples(
        cls, path: Path | None, settings: Any = None, fields: Fields = FIELDS
    ) -> TaggedTexts:
        """Without tags: such a file, of which no tag is looked at, or a text.

        Each line of a text is a sentence, and its words stand between spaces, punctuation too.
        """
        file = _file_at(path, fields)
        if file.suffix.lower() in KINDS:
            return cls(_sentences(file, None))
        if file.suffix.lower() in TABLES:
            raise ValueError(
                f"{shown(file)} is a table: words to tag are read from a {', '.join(KINDS)} file, "
                "or from a text with a sentence on each line (.txt)"
            )
        lines = enumerate(read_text(file).split("\n"), 1)
        cut = ((number, tuple(line.split())) for number, line in lines)
        found = [Sentence(_name(file, number), words) for number, words in cut if words]
        if not found:
            raise ValueError(f"{shown(file)} holds no word: expected a sentence on each line")
        return cls(found)

    @classmethod
    def toy(cls, settings: Any = None, *, seed: int = 0, labels: str = "tags") -> TaggedTexts:
        """Forty generated sentences of one to seven words with the names of animals as spans.

        Whether "dog" is one only the word before it tells: "my dog" is, "on dog" is not.
        """
        if labels != "tags":
            raise ValueError(f"tagged words have labels 'tags', asked for is {labels!r:.40}")
        generator = np.random.default_rng(seed)
        sentences = []
        for number in range(40):
            pairs = [("sang", "O")] * int(number % 4 < 2)
            for _ in range(number % 4):
                animal = str(generator.choice(["cat", "dog", "bird"]))
                if generator.random() < 0.5:
                    pairs += [("my", "B-animal"), (animal, "I-animal")]
                else:
                    pairs += [("on", "O"), (animal, "O")]
            words, tags = zip(*pairs)
            sentences.append(Sentence(f"toy {seed}.{number}", words, tags))
        return cls(sentences)

    def fingerprint(self) -> dict[str, Any]:
        """Of names, words and tags, in their order, and how many there are."""
        digest = hashlib.sha256(json.dumps(self.sentences).encode())
        words = sum(len(one.words) for one in self.sentences)
        return {"sentences": len(self.sentences), "words": words, "sha256": digest.hexdigest()}

    def examples_by(self, prepared: Any) -> Examples:
        """Each sentence as ``Tagged`` tokens, between those that the run puts around a text."""
        prepared = require_tokens(prepared, "tagged words")
        before, *behind = prepared.tokens("")
        known: dict[str, list[int]] = {}
        inputs = []
        for _, words, _ in self.sentences:
            tokens, firsts = [before], []
            for word in words:
                if word not in known:
                    known[word] = pieces_of(word, prepared.tokenizer)
                firsts.append(len(tokens))
                tokens += known[word]
            inputs.append(Tagged([*tokens, *behind], words, np.array(firsts, np.int64)))
        return Examples(inputs, [one.name for one in self.sentences])

    def labelled_by(self, prepared: Any) -> Labelled:
        """The same with the numbers of the tags. Raises ValueError where there are none."""
        if not self.class_names:
            raise ValueError("these sentences have no tags: read them with tags to learn from")
        inputs, names = self.examples_by(prepared)
        nothing = np.zeros((len(inputs), 0), np.float32)
        return Labelled(
            inputs, tuple(names), self.labels, self.class_names, nothing, "no raw features",
            form="tags",
        )  # fmt: skip


def pieces_of(word: str, tokenizer: Any) -> list[int]:
    """The tokens of one word, at least one.

    Bytes are cut with a space before the word, as inside a text: " dog" is the token that a model
    knows. A word of which WordPiece leaves nothing, such as a control character, is [UNK].
    """
    if isinstance(tokenizer, WordPiece):
        return tokenizer.encode(word, allow_special="none") or [tokenizer.special_tokens["[UNK]"]]
    return list(tokenizer.encode(f" {word}", allow_special="none"))


# ---- files ---------------------------------------------------------------------------------------


def _file_at(path: Path | None, fields: Fields) -> Path:
    """The file at a path. Raises ValueError for anything else, and for a layout of a table."""
    if fields.layout:
        raise ValueError(
            f"the layout {fields.layout} is that of a table, and tagged words are in none: leave "
            "the layout out"
        )
    found = None if path is None else located(path, "", "tagged words")
    if not isinstance(found, Path) or found.is_dir():
        given = f", {shown(path)} is none" if path else ": give one"
        raise ValueError(f"words with tags are read from a file ({', '.join(KINDS)}){given}")
    return found


def _name(file: Path, line: int) -> str:
    return f"{shown(file.name)}, line {line}"


def _sentences(file: Path, column: str | None) -> list[Sentence]:
    """Those of a file. ``column``: with the tags, "label" for the usual one; None for no tags."""
    read = _of_conllu if file.suffix.lower() == CONLLU else _of_columns
    rows = read(list(_blocks(read_text(file))), shown(file), column)
    found = []
    for block in rows:
        words = tuple(word for _, word, _ in block)
        tags = () if column is None else tuple(tag for _, _, tag in block)
        found.append(Sentence(_name(file, block[0][0]), words, tags))
    if not found:
        raise ValueError(f"{shown(file)} holds no sentence: expected a word on each line")
    return found


def _blocks(text: str) -> Iterator[Lines]:
    """The lines between blank ones, each with its number."""
    block: Lines = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if line.strip(" \t"):
            block.append((number, line))
        elif block:
            yield block
            block = []
    if block:
        yield block


def _of_conllu(
    blocks: Iterable[Lines], where: str, column: str | None
) -> Iterator[list[tuple[int, str, str]]]:
    """Line, word and tag of all that has a whole number, sentence by sentence."""
    name = "upos" if column in ("label", None) else str(column).lower()
    if name not in COLUMNS[2:]:
        raise ValueError(
            f"{where}: CoNLL-U has no column {column!r:.40} for tags: give one of "
            f"{', '.join(COLUMNS[2:])}"
        )
    place = COLUMNS.index(name)
    for block in blocks:
        found: list[tuple[int, str, str]] = []
        for number, line in block:
            cells = line.split("\t")
            if line.startswith("#") or (len(cells) == len(COLUMNS) and NO_WORD.fullmatch(cells[0])):
                continue
            if len(cells) != len(COLUMNS):
                raise ValueError(
                    f"{where}, line {number} has {len(cells)} column(s), CoNLL-U has "
                    f"{len(COLUMNS)}, a tab between two: repair it, or name a file of fewer .conll"
                )
            if cells[0] != str(len(found) + 1):
                raise ValueError(
                    f"{where}, line {number}: the word has the number {cells[0]!r:.20}, expected "
                    f"{len(found) + 1}: a word, or the blank line between two sentences, is missing"
                )
            tag = _tag(cells[place], column, where, number, absent="_")
            found.append((number, _word(cells[1], where, number), tag))
        if found:
            yield found


def _of_columns(
    blocks: Iterable[Lines], where: str, column: str | None
) -> Iterator[list[tuple[int, str, str]]]:
    """Line, word (the first column) and tag of every line, sentence by sentence."""
    width = 0
    for block in blocks:
        found: list[tuple[int, str, str]] = []
        for number, line in block:
            if line.startswith("-DOCSTART-"):
                if found:
                    yield found
                found = []
                continue
            cells = _cells(line)
            if not width:
                width, place = len(cells), _place(column, len(cells), where, number)
            if len(cells) != width:
                raise ValueError(
                    f"{where}, line {number} has {len(cells)} column(s), those before it {width}: "
                    "repair it, perhaps there is a space in a word (then part columns by tabs)"
                )
            tag = _tag(cells[place], column, where, number)
            found.append((number, _word(cells[0], where, number), tag))
        if found:
            yield found


def _cells(line: str) -> list[str]:
    """The columns of a line: between tabs where there is one, otherwise between spaces."""
    if "\t" in line:
        return [cell.strip(" ") for cell in line.split("\t")]
    return [cell for cell in line.split(" ") if cell]


def _place(column: str | None, width: int, where: str, line: int) -> int:
    """Which column has the tags, from 0; any where nobody asks."""
    if column is None:
        return 0
    if width < 2:
        raise ValueError(
            f"{where}, line {line} has one column, expected a word and, behind a tab or a space, "
            "its tag"
        )
    if column == "label":
        return width - 1
    if not re.fullmatch("[0-9]{1,4}", column) or not 2 <= int(column) <= width:
        raise ValueError(
            f"{where}: the column of the tags is {column!r:.40}, expected a number from 2 to "
            f"{width}: the label field, which is the last one if it is left out"
        )
    return int(column) - 1


def _word(cell: str, where: str, line: int) -> str:
    if not cell:
        raise ValueError(f"{where}, line {line}: there is no word in its column: give it one")
    return cell


def _tag(cell: str, column: str | None, where: str, line: int, absent: str = "") -> str:
    """``absent``: what stands in the file where there is no tag."""
    if column is None:
        return ""
    if cell.strip() in ("", absent):
        raise ValueError(
            f"{where}, line {line}: the word has no tag in its column ({cell!r:.20}): give it one, "
            "leave the sentence out, or take another column as the label field"
        )
    return cell

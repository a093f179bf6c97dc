"""Questions with a text that holds the answer, in SQuAD's form: .json. Lecture 11.

Rajpurkar et al. (2016), SQuAD 1.1; with questions that the text does not answer, Rajpurkar, Jia and
Liang (2018), SQuAD 2.0; XQuAD's files are of the same form. Not here: reading several paragraphs
for one question, and answers that stand in no text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minissl.data import FIELDS, Examples, Fields, located
from minissl.data.in_context import context_reader
from minissl.data.labels import HELD_OUT, Labelled
from minissl.reading import WORDS, in_words, is_kind, parse_json, shown
from minissl.text.files import read_text


class Answer(NamedTuple):
    """What somebody marked: the text, and where it begins, in characters."""

    text: str
    begin: int


class Question(NamedTuple):
    """A question to a text. ``answers``: what people marked; none where the text has no answer."""

    name: str
    question: str
    context: str
    answers: tuple[Answer, ...] = ()


class Questions:
    """Questions as they were read.

    ``held_out``: which of them everybody tests on; None: a third of the texts, so that no text is
    on both sides. ``fitted``: what of a file was repaired, for a person; "" for nothing. Raises
    ValueError for no question, and with its name for an answer that its text does not have.
    """

    default: ClassVar[str] = ""
    fields: ClassVar[tuple[str, ...]] = ()
    reads: ClassVar[str] = "questions"

    def __init__(
        self, questions: Sequence[Question], held_out: NDArray[np.int64] | None = None,
        fitted: str = "",
    ):  # fmt: skip
        self.questions, self.held_out, self.fitted = tuple(questions), held_out, fitted
        if not self.questions:
            raise ValueError("there are no questions: give one or more")
        for one in self.questions:
            for text, begin in one.answers:
                if not text.strip() or begin < 0 or not one.context.startswith(text, begin):
                    raise ValueError(
                        f"question {one.name!r:.60}: its text does not have the answer {text!r:.60}"
                        f" at {begin}"
                    )

    def __len__(self) -> int:
        return len(self.questions)

    @classmethod
    def read(
        cls, path: Path | None, settings: Any = None, fields: Fields = FIELDS,
        *, labels: str = "span",
    ) -> Questions:  # fmt: skip
        """A .json of SQuAD's form, 1.1 or 2.0.

        An answer that is not at its ``answer_start`` is looked for in its text: it is taken where
        it stands once. Raises ValueError with the file and the question's id for any other, for a
        question without an answer that is not said to be impossible, and for what is damaged.
        """
        if labels != "span":
            raise ValueError(f"questions are answered by a span each, asked for is {labels!r:.40}")
        found, moved = [], 0
        for place, name, question, context, entry in _entries(path):
            answers = _answers(entry, place)
            if entry.get("is_impossible", False) is True:
                if answers:
                    raise ValueError(f"{place}: it is_impossible, and has an answer: which is it?")
            elif not answers:
                raise ValueError(
                    f"{place}: it has no answers: give one, or say that the text has none "
                    '("is_impossible": true)'
                )
            right = tuple(_found(answer, context, place) for answer in answers)
            moved += sum(one != other for one, other in zip(answers, right))
            found.append(Question(name, question, context, right))
        told = (
            f"{moved:,} answers stood elsewhere than their answer_start says, and were found where "
            "their text has them, once each"
        )
        return cls(found, fitted=told if moved else "")

    @classmethod
    def read_examples(
        cls, path: Path | None, settings: Any = None, fields: Fields = FIELDS
    ) -> Questions:
        """The same; answers are not looked at."""
        return cls([Question(*entry[1:4]) for entry in _entries(path)])

    @classmethod
    def toy(cls, settings: Any = None, *, seed: int = 0, labels: str = "span") -> Questions:
        """Forty generated questions: which word follows the one that is asked for?"""
        generator = np.random.default_rng(seed)
        asked, told = ["cat", "dog", "bird"], ["mat", "log", "song", "sat", "ran", "sang"]
        found = []
        for number in range(40):
            order, words = generator.permutation(asked), generator.choice(told, 3, replace=False)
            text = " ".join(f"{one} {word}" for one, word in zip(order, words))
            word = str(words[number % 3])
            answer = Answer(word, text.index(word))
            question = Question(f"toy {seed}.{number}", str(order[number % 3]), text, (answer,))
            found.append(question)
        return cls(found)

    def fingerprint(self) -> dict[str, Any]:
        """Of everything in its order, and how many questions there are."""
        digest = hashlib.sha256(json.dumps(self.questions).encode())
        if self.held_out is not None:
            digest.update(json.dumps(np.asarray(self.held_out).tolist()).encode())
        return {"questions": len(self), "sha256": digest.hexdigest()}

    def examples_by(self, prepared: Any) -> Examples:
        """Each question with its text, as an ``InContext``."""
        read = context_reader(prepared)
        inputs = [read(one.question, one.context) for one in self.questions]
        return Examples(inputs, [one.name for one in self.questions])

    def labelled_by(self, prepared: Any) -> Labelled:
        """With the answers of each, a tuple of ``Answer``; no raw features to compare with."""
        inputs, names = self.examples_by(prepared)
        held_out = self._third_of_texts() if self.held_out is None else self.held_out
        return Labelled(
            inputs, tuple(names), [one.answers for one in self.questions], (),
            np.zeros((len(self), 0), np.float32), "nothing", held_out, "span",
        )  # fmt: skip

    def _third_of_texts(self) -> NDArray[np.int64]:
        """The questions to a third of the texts: the same ones for every seed."""
        texts = list(dict.fromkeys(one.context for one in self.questions))
        order = np.random.default_rng(0).permutation(len(texts))
        chosen = {texts[i] for i in order[: max(1, round(HELD_OUT * len(texts)))]}
        held_out = [i for i, one in enumerate(self.questions) if one.context in chosen]
        return np.array(held_out, np.int64)


# ---- the file ------------------------------------------------------------------------------------


def _entries(path: Path | None) -> Iterator[tuple[str, str, str, str, dict[str, Any]]]:
    """Place, id, question, text, and the whole entry, of every question of a file."""
    found = None if path is None else located(path, "", "questions")
    if not isinstance(found, Path):
        raise ValueError("questions are read from a .json file in SQuAD's form: give one")
    what, where = "questions in SQuAD's form", shown(found)
    whole = parse_json(read_text(found, any_kind=True), found, what, {"data": list})
    seen = set()
    for a, article in enumerate(whole["data"]):
        for p, paragraph in enumerate(_member(article, "paragraphs", list, f"{where}, data {a}")):
            place = f"{where}, data {a}, paragraph {p}"
            context = _text(paragraph, "context", place)
            for q, entry in enumerate(_member(paragraph, "qas", list, place)):
                name = _text(entry, "id", f"{place}, question {q}")
                if name in seen:
                    raise ValueError(f"{where}: the id {name!r:.60} comes twice: give each its own")
                seen.add(name)
                own = f"{where}, question {name!r:.60}"
                yield own, name, _text(entry, "question", own), context, entry
    if not seen:
        raise ValueError(f"{where} has no questions: give one or more")


def _member(value: Any, key: str, kind: type, place: str) -> Any:
    """What an object has under a key. ValueError with the place for anything else."""
    if not isinstance(value, dict):
        raise ValueError(f"{place} is {in_words(value)}, expected an object of SQuAD's form")
    if key not in value:
        raise ValueError(f"{place}: it has no {key!r}, expected {WORDS[kind]}")
    if not is_kind(value[key], kind):
        raise ValueError(f"{place}: its {key!r} is {in_words(value[key])}, expected {WORDS[kind]}")
    return value[key]


def _text(value: Any, key: str, place: str) -> str:
    """A text that is not empty."""
    text: str = _member(value, key, str, place)
    if not text.strip():
        raise ValueError(f"{place}: its {key!r} is empty: leave it out, or give it one")
    return text


def _answers(entry: dict[str, Any], place: str) -> list[Answer]:
    """As they are written: of none at all, none."""
    given = _member(entry, "answers", list, place) if "answers" in entry else []
    if not isinstance(entry.get("is_impossible", False), bool):
        told = in_words(entry["is_impossible"])
        raise ValueError(f"{place}: its 'is_impossible' is {told}, expected true or false")
    return [
        Answer(_text(one, "text", place), _member(one, "answer_start", int, place)) for one in given
    ]


def _found(answer: Answer, context: str, place: str) -> Answer:
    """The answer where its text has it. ValueError where it has not, or in several places."""
    text, begin = answer
    if begin >= 0 and context.startswith(text, begin):
        return answer
    only = context.find(text)
    if only < 0 or context.find(text, only + 1) >= 0:
        times = "nowhere else" if only < 0 else "in several other places"
        raise ValueError(
            f"{place}: its answer {text!r:.60} is not at {begin} of its text (answer_start), and "
            f"stands {times} in it: repair it, or leave it out"
        )
    return Answer(text, only)

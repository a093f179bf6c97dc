"""A task as a blank in a text: templates, the words of classes, answers that are read. Lecture 10.

What adaptations that only ask have in common (``adapt/prompting``). Schick and Schütze (2021),
Exploiting cloze questions for few-shot text classification, call the two halves pattern and
verbalizer.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

TEXT, CLASS = "{text}", "{class}"
NO_ANSWER = -1  # in place of the number of a class


@dataclass(frozen=True)
class Template:
    """What stands around an example: ``before`` and ``after`` it, and around the words of a class.

    The prompt ends before the white space ``gap``, which belongs to the answer: a token of English
    begins with its space (lecture 03).
    """

    before: str
    after: str
    gap: str
    end: str

    @classmethod
    def read(cls, template: str) -> Self:
        """Of a text such as "{text} The film was {class}."; without {class} it is the last word.

        Raises ValueError for anything else in braces, for a text that is not there once, and for
        one that comes after the class.
        """
        found = re.findall(r"\{\w+\}", template)
        if found not in ([TEXT], [TEXT, CLASS]):
            raise ValueError(
                f"has {' '.join(found) or 'no braces'}, in {template!r:.80}: expected {TEXT}, and "
                f"behind it perhaps {CLASS}, each once"
            )
        before, _, rest = template.partition(TEXT)
        if CLASS not in rest:
            rest += CLASS if rest != rest.rstrip() else f" {CLASS}"
        after, _, end = rest.partition(CLASS)
        shown = after.rstrip()
        return cls(before, shown, after[len(shown) :], end)

    def prompt(self, text: str) -> str:
        """Everything before the blank."""
        return self.before + text + self.after

    def answer(self, words: str) -> str:
        """What fills the blank, and what comes after it."""
        return self.gap + words + self.end


def class_words(given: str, class_names: Sequence[str]) -> list[str]:
    """What is written for each class: its name, or as ``given`` says: "neg=bad, pos=good".

    Raises ValueError when classes are missing or named twice, and for words that are none.
    """
    words = {name: name.strip() for name in class_names}
    if given.strip():
        pairs = _pairs(given, class_names)
        words = dict(pairs)
        if len(words) < len(pairs) or words.keys() != set(class_names):
            raise ValueError(
                f"words has {', '.join(name for name, _ in pairs) or 'no class'}, expected each "
                f"class once: {','.join(f'{name}=...' for name in class_names)}"
            )
    for name, one in words.items():
        if not one or (given.strip() and "=" in one):
            raise ValueError(
                f"words has {one!r} for class {name!r}, expected what is written for it, such as "
                f"{name}={name}"
            )
    return [words[name] for name in class_names]


def _pairs(given: str, class_names: Sequence[str]) -> list[tuple[str, str]]:
    """Names with words: a name counts where the text or a comma is before it, "=" behind it."""
    names = "|".join(map(re.escape, sorted(class_names, key=len, reverse=True)))
    heads = [*re.finditer(rf"(?:^|,)\s*({names})\s*=", given)]
    if heads and heads[0].start():  # something stands before the first name
        return []
    ends = [head.start() for head in heads[1:]] + [len(given)]
    return [(head[1], given[head.end() : end].strip()) for head, end in zip(heads, ends)]


def find_answer(written: str, words: Sequence[str]) -> int:
    """The number of the words that come first in a text, NO_ANSWER where none of them is there.

    Whole words, in upper or lower case: "bad" is not in "badminton". Of words that begin at one
    place the longest is meant. Example: "It is not bad, good!" with ["good", "bad"] gives 1, and
    that it says "not" is not understood.
    """
    text = _plain(written)
    found = [
        (match.start(), -len(one), number)
        for number, one in enumerate(map(_plain, words))
        if (match := re.search(_whole(one), text))
    ]
    return min(found)[2] if found else NO_ANSWER


def check_told_apart(words: Sequence[str], *, by_eye: bool = False) -> None:
    """Raise ValueError for two classes with the same words. by_eye: as ``find_answer`` reads."""
    seen: dict[str, str] = {}
    for one in words:
        key = _plain(one) if by_eye else one
        if key in seen:
            raise ValueError(f"two classes have the words {seen[key]!r} and {one!r}: give others")
        seen[key] = one


def _plain(text: str) -> str:
    """Without what does not count: upper case, and how an accent is put on a letter."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _whole(words: str) -> str:
    """An expression for the words with no letter beside them."""
    left, right = (r"\b" if _has_borders(letter) else "" for letter in (words[0], words[-1]))
    return left + re.escape(words) + right


def _has_borders(letter: str) -> bool:
    """Whether it is of a script with spaces: Chinese and Japanese words follow each other."""
    return letter.isalnum() and unicodedata.east_asian_width(letter) not in "FW"

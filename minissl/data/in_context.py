"""A question and the text that holds its answer, as a network reads them. Lecture 11.

The text is cut into words, each with its place, so that an answer from one word to another is a
slice of the text as it was written, whatever a tokenizer loses. A text that is longer than what a
network reads is read in windows that overlap by half: Devlin et al. (2019, BERT) moved windows of
384 tokens by 128. Not here: words in writing without spaces other than Chinese and Japanese, of
which Thai, say, is one word up to the next space.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minissl.data.asked import require_tokens
from minissl.data.passages import Passages
from minissl.text.wordpiece import WordPiece

_ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # each a word
_WORD = re.compile(rf"[{_ALONE}]|[^\W_{_ALONE}]+|[^\w\s]|_")
_JOINER = "\u200d"  # makes one picture of two
_TONES = "\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"  # of skin
LEAST = 4  # tokens of a window: one word of the text, and what stands around it


def word_places(text: str) -> NDArray[np.int64]:
    """Where each word and each punctuation mark of a text begins and ends: (words, 2).

    In characters, as Python counts them. A mark that combines with the character before it belongs
    to that; an emoji of several is one. Example: "It's 5 m." gives It ' s 5 m .
    """
    places: list[list[int]] = []
    for found in _WORD.finditer(text):
        begin, end = found.span()
        if places and places[-1][1] == begin and _belong(text[begin - 1], text[begin]):
            places[-1][1] = end
        else:
            places.append([begin, end])
    return np.array(places, np.int64).reshape(-1, 2)


def _belong(before: str, after: str) -> bool:
    """Whether two neighbors that the pattern parts are of one word."""
    kinds = unicodedata.category(before), unicodedata.category(after)
    if kinds[1] in ("Mn", "Mc", "Me", "Cf") or after in _TONES or before == _JOINER:
        return True
    return kinds[0] in ("Mn", "Mc", "Me", "Cf") and after.isalnum()


class Window(NamedTuple):
    """What is read at once. ``first``: number of its first word in the text.

    begins, ends: (words,) where in ``tokens`` the first and the last piece of each word stands.
    none: the place that says that the answer is not here.
    """

    tokens: list[int]
    first: int
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]
    none: int


class InContext(list[int]):
    """All tokens of a question and its text; ``windows`` gives what is read of them at once.

    ``text``: as it was written. ``places``: (words, 2) of those that have tokens. ``none_first``:
    whether the first token of all ([CLS]) says that there is no answer; otherwise the last does,
    since a decoder has read nothing when it reads the first.
    """

    in_windows = True  # nothing is lost where it is longer than what is read

    def __init__(
        self, question: Sequence[int], words: Sequence[Sequence[int]], text: str,
        places: NDArray[np.int64], around: tuple[int, list[int], int], *, none_first: bool,
    ):  # fmt: skip
        self.question, self.words = list(question), [list(word) for word in words]
        self.text, self.places, self.around, self.none_first = text, places, around, none_first
        super().__init__(self._joined(self.question, [t for word in self.words for t in word]))

    def _joined(self, question: list[int], pieces: list[int]) -> list[int]:
        first, between, last = self.around
        return [first, *question, *between, *pieces, last]

    def answer(self, first: int, last: int) -> str:
        """The text from one word to another, both included, by their numbers."""
        return self.text[self.places[first, 0] : self.places[last, 1]]

    def words_of(self, begin: int, end: int) -> tuple[int, int] | None:
        """The numbers of the first and the last word of a piece of the text; None: it has none."""
        inside = np.flatnonzero((self.places[:, 1] > begin) & (self.places[:, 0] < end))
        return (int(inside[0]), int(inside[-1])) if len(inside) else None

    def windows(self, longest: int) -> list[Window]:
        """The text in windows of at most ``longest`` tokens, the question before each.

        A window begins about half a window after the one before, so an answer of up to half a
        window is whole in one of them. Of a question that leaves too little room the end is cut:
        the whole text is read at once, or it has half of each window.

        Raises ValueError for a network that reads too little.
        """
        between = len(self.around[1])
        if longest < LEAST:
            raise ValueError(
                f"a run that reads {longest} tokens has no room for a question and a text: it "
                f"takes {LEAST} or more"
            )
        sizes = np.array([len(word) for word in self.words], np.int64)
        around = between + 2
        most = max(longest // 2 + 1 - around, longest - around - int(sizes.sum()), 0)
        question = self.question[:most]
        before = 1 + len(question) + between
        room = longest - before - 1
        ends = np.cumsum(sizes)
        starts = ends - sizes
        windows, at = [], 0
        while True:
            stop = int(np.searchsorted(ends, starts[at] + room, side="right")) if len(ends) else 0
            stop = max(stop, min(at + 1, len(ends)))  # one word at least, or what fits of it
            pieces = [token for word in self.words[at:stop] for token in word][:room]
            offset = before - (int(starts[at]) if len(ends) else 0)
            tokens = self._joined(question, pieces)
            last = np.minimum(ends[at:stop] - 1 + offset, len(tokens) - 2)
            none = 0 if self.none_first else len(tokens) - 1
            windows.append(Window(tokens, at, starts[at:stop] + offset, last, none))
            if stop == len(ends):
                return windows
            further = int(np.searchsorted(starts, starts[at] + max(1, room // 2)))
            at = max(at + 1, min(further, stop))


def context_reader(prepared: Any) -> Callable[[str, str], InContext]:
    """What reads a question and a text as the run of this prepared data joins two texts.

    [CLS] question [SEP] text [SEP], or, for a decoder, question, line break, text and the token
    that ends a document. Raises ValueError for data without tokens.
    """
    encode = partial(require_tokens(prepared, "questions").tokenizer.encode, allow_special="none")
    if isinstance(prepared, Passages):
        first, last = prepared.special("[CLS]"), prepared.special("[SEP]")
        around = (first, [last], last)
    else:
        around = (prepared.separator, list(encode("\n")), prepared.separator)
    spaces = not isinstance(prepared.tokenizer, WordPiece)  # a byte-level word has its space
    none_first = isinstance(prepared, Passages)

    def read(question: str, text: str) -> InContext:
        places = word_places(text)
        before = [" " if spaces and b > 0 and text[b - 1].isspace() else "" for b, _ in places]
        words = [encode(space + text[b:e]) for space, (b, e) in zip(before, places)]
        known = [number for number, word in enumerate(words) if word]
        return InContext(
            encode(question), [words[n] for n in known], text, places[known], around,
            none_first=none_first,
        )  # fmt: skip

    return read

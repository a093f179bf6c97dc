"""What an answer in words is worth: exact match and F1, as SQuAD has them. Lecture 11.

Rajpurkar et al. (2016); for questions without an answer, Rajpurkar, Jia and Liang (2018). Both
compare what is left of two answers without case, punctuation and articles.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

from minissl.options import several

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def normalized(answer: str) -> str:
    """Lower case without ASCII punctuation, "a", "an", "the", and with single spaces.

    Example: "The  Cat's mat." gives "cats mat".
    """
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, right: Sequence[str]) -> float:
    """1 where it is one of the right answers, else 0. None of them is right: "" is."""
    return max(float(normalized(answer) == one) for one in _all(right))


def f1_of_words(answer: str, right: Sequence[str]) -> float:
    """The largest F1, 0 to 1, of the words of an answer and those of a right one.

    The harmonic mean of the share of the answer's words that are right and of the right one's that
    are found; a word counts as often as both have it. Where one of both has no word, 1 if neither
    has. Example: "the old cat" for "cat" has precision 1/2 and recall 1: F1 is 2/3.
    """
    return max(_f1(normalized(answer).split(), one.split()) for one in _all(right))


def _all(right: Sequence[str]) -> list[str]:
    """The right answers that say anything; of none the empty one."""
    return [one for one in map(normalized, several(right, "right")) if one] or [""]


def _f1(words: list[str], right: list[str]) -> float:
    if not words or not right:
        return float(words == right)
    both = (Counter(words) & Counter(right)).total()
    return 2 * both / (len(words) + len(right))

"""Text that a student's code made, as a terminal, a table and a JSON file can show it.

An error's message or a value's repr may be 10 MB long, hold half of a character or a code that
clears the screen, raise when it is asked for, or be no text at all.
"""

from __future__ import annotations

import re
from typing import Any

MESSAGE = 600  # characters of an error's message
_UNPRINTABLE = re.compile(
    r"[^\n\t\x20-\x7e\xa0-\ud7ff\ue000-\U0010ffff]|[\u2028\u2029\u202a-\u202e]"
)


def plain(text: Any, most: int = MESSAGE) -> str:
    """At most so many characters of a text, without what cannot be encoded or steers a terminal.

    Never raises. A text may be of a class of the student's own: only the methods of str are called.
    """
    if not issubclass(type(text), str):
        return f"no text: {kind_of(text)}"
    start = str.__getitem__(text, slice(0, most))
    shown = _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], start)
    return shown if str.__len__(text) <= most else f"{shown} ..."


def kind_of(value: Any) -> str:
    """The name of a value's class, whatever that class says of itself."""
    return plain(type.__dict__["__name__"].__get__(type(value)), 100)


def told(error: BaseException) -> str:
    """An error as Python prints it, "ValueError: ...". Never raises."""
    kind = kind_of(error)
    try:
        return f"{kind}: {plain(str(error))}"
    except BaseException as another:  # an own __str__, which may raise all there is
        return f"{kind} (its message cannot be printed: {kind_of(another)})"

"""Where sentences end, by their punctuation. Lecture 08.

A rule and no model: "Mr." ends a sentence too, and a heading without a full stop is part of the
next one unless a blank line stands between them.
"""

import re

_BLANK_LINE = r"(?<=\S)(?=[^\S\n]*\n[^\S\n]*\n)"
_END = re.compile(r"""[.!?…؟۔।॥]["'”’)\]]*(?=\s)|[。！？][」』”’）]*|""" + _BLANK_LINE)


def sentences(text: str) -> list[str]:
    """The sentences of a text, which put together are the text; spaces belong to the next one.

    A sentence ends behind . ! ? … (or ؟ ۔ । ॥) and the quotes and brackets that close there, before
    white space; behind 。！？ and what closes; and at a blank line. Example: 'A "b." C' gives
    'A "b."' and ' C'.
    """
    ends = [match.end() for match in _END.finditer(text)]
    parts = [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)])]
    while len(parts) > 1 and not parts[-1].strip():  # white space at the end is no sentence
        parts[-2:] = [parts[-2] + parts[-1]]
    return [part for part in parts if part]

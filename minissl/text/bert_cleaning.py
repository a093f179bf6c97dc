"""BERT's cleaning, character by character: what vanishes, what stands alone, what loses its accent.

Devlin et al. (2019). As the package ``tokenizers`` does it, whatever Unicode this Python knows.
Two differences are left: capital letters newer than this Python stay capitals, and of several
marks that stay after one letter the order stays (Unicode would sort them). Lecture 03.
"""

import re
import string
import unicodedata

NO_SPACE = "\x0b\x0c\x1c\x1d\x1e\x1f\x85"  # Python splits at these, BERT drops them

_CHINESE = re.compile(  # as tokenizers has it, which leaves U+2B820 to U+2B91F out
    "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002b81f"
    "\U0002b920-\U0002ceaf\U0002f800-\U0002fa1f]"
)

# The tables of tokenizers end with Unicode 8. What came later is a plain letter to it: these are
# marks, punctuation and format characters that newer tables know, with the letters between them.
_LATER = """
5c8-5c9 61d 7fd 890-8e2 9fd-9fe a76 afa-aff b53-b55 c04-c3c c77 c84 d00 d3b-d3c d81 eba ece 180f
1885-1886 1abf-1af0 1b4e-1b4f 1b7d-1b7f 1df6-1dfb 2e43-2e63 a82c a8c5 a8ff a9bd 105c9-105e4
10d24-10d6e 10eab-10f89 11070-11074 110c2-110cd 111cf 1123e-11241 1133b 11383-1145e 11660-1166c
116b9 1182f-1183b 11938-11946 119d4-11b66 11be1-11cb6 11d31-11df0 11ef3-11f5a 11fff 12ff1-12ff2
13430-13455 1611e-1612f 16d68-16d6f 16e97-16e9a 16f4f 16fe2-16fe4 1cf00-1cf46 1d127-1d128
1d25b-1d25c 1e000-1e02a 1e08f 1e130-1e136 1e2ae-1e2ef 1e4ec-1e4ef 1e5ee-1e5ff 1e6e3-1e6f5
1e944-1e95f
"""
_RANGES = [[int(end, 16) for end in ends.split("-")] for ends in _LATER.split()]
_CATEGORIES = {chr(c): "Lo" for ends in _RANGES for c in range(ends[0], ends[-1] + 1)}
# And these have changed since.
_CATEGORIES |= {"\u166d": "Po", "\U000111c9": "Po", "\u1734": "Mn", "\U0001171e": "Mn"}


def clean(character: str, *, lowercase: bool = True) -> str:
    """What one character becomes: nothing, a space, itself, or itself as a word of its own.

    Control and format characters vanish. Punctuation and Chinese characters get spaces around, so
    that ``str.split`` makes words of them. With ``lowercase`` accents fall off too: a character is
    decomposed (NFD) and its marks (category Mn) are dropped.
    """
    category = _category(character)
    if character in "\t\n\r" or category[0] == "Z":
        return " "
    if category in ("Cc", "Cf", "Co", "Cs") or character == "\ufffd":
        return ""
    parts = character
    if lowercase:
        later = character in _CATEGORIES
        decomposed = character if later else unicodedata.normalize("NFD", character)
        parts = "".join(c.lower() for c in decomposed if _category(c) != "Mn")
    if _CHINESE.match(character):
        return f" {parts} "
    return "".join(f" {c} " if _is_punctuation(c) else c for c in parts)


def _is_punctuation(character: str) -> bool:
    """As BERT has it: $, +, <, ^ and ~ too, which Unicode calls symbols."""
    return character in string.punctuation or _category(character)[0] == "P"


def _category(character: str) -> str:
    return _CATEGORIES.get(character) or unicodedata.category(character)


class Cleaning(dict[int, str]):
    """What every character becomes, for ``str.translate``; computed when it first comes."""

    def __init__(self, lowercase: bool) -> None:
        super().__init__()
        self.lowercase = lowercase

    def __missing__(self, code: int) -> str:
        self[code] = clean(chr(code), lowercase=self.lowercase)
        return self[code]

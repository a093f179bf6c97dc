r"""How raw text is cut into pieces before any merge: a published rule, or your own.

BPE merges never cross the border of a *piece*, so that "dog", "dog!" and "dog?" share the token
"dog" (Radford et al. 2019, section 2.2). A piece is a word with the space before it, a number, a
run of symbols, or white space. Lecture 03.

A *chunk* is a whole number of pieces that always split the same way, whatever text stands around
them: "The dog's bone" has the chunks "The", " dog's", " bone" and the pieces "The", " dog", "'s",
" bone". Finding chunks takes less than half the time of finding pieces, and the same chunks come
again and again: they are what the tokenizer remembers, and where a stream may safely be cut.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import regex

from minissl.options import several

# Unicode's White_Space, written out: Python's own \s also matches U+001C to U+001F.
_HORIZONTAL = "\t\v\f \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_SPACE = _HORIZONTAL + "\r\n"

_BLOCK = 1 << 14  # characters


@dataclass(frozen=True)
class Pattern:
    r"""A rule that cuts text into pieces.

    ``expression`` is a regular expression of the package ``regex`` (with ``\p{L}`` for letters);
    its matches, one after the other, are the pieces. ``chunk_expression``, of the standard
    library's ``re``, finds chunks; without one (None) the whole text is one chunk, which costs
    speed and makes a stream wait for its end, but never changes a result. ``ascii_expression``,
    also of ``re``, finds the same pieces in a text of ASCII, in a third of the time.

    Raises ``ValueError`` when an expression cannot be compiled or has capturing groups.

    Example: ``Pattern(r"\S+|\s+").split("to be") == ["to", " ", "be"]``.
    """

    expression: str
    chunk_expression: str | None = None
    ascii_expression: str | None = None

    def __post_init__(self) -> None:
        given = [(regex.compile, self.expression), (re.compile, self._chunk)]
        if self.ascii_expression is not None:
            given.append((re.compile, self.ascii_expression))
        for compile_, expression in given:
            try:
                groups = compile_(expression).groups
            except (regex.error, re.error) as error:
                raise ValueError(f"not a regular expression: {expression!r} ({error})") from error
            if groups:
                raise ValueError(
                    f"the pattern {expression!r} has {groups} capturing group(s): "
                    "write (?:...) instead of (...)"
                )

    @property
    def needs_unicode(self) -> bool:
        """Whether it asks which characters are letters, numbers or the like."""
        return re.search(r"\\[pPwWdDbB]", self.expression) is not None

    @property
    def _chunk(self) -> str:
        return self.chunk_expression if self.chunk_expression is not None else r"(?s:.+)"

    @cached_property
    def _find_chunks(self) -> Callable[..., list[str]]:
        return re.compile(self._chunk).findall

    def chunks(self, text: str) -> Iterator[str]:
        """The chunks, in order; all but the last stay as they are when text is appended."""
        return chain.from_iterable(self._blocks(text))

    def _blocks(self, text: str) -> Iterator[list[str]]:
        # A few thousand chunks at a time: their strings stay in the processor's cache.
        start, size = 0, _BLOCK if self.chunk_expression is not None else len(text)
        while start < len(text):
            end = start + size
            chunks = self._find_chunks(text, start, end)
            if end < len(text):
                end -= len(chunks.pop())  # which may go on after the block
                if end == start:
                    size *= 2
            yield chunks
            start = end

    @cached_property
    def _pieces(self) -> Callable[[str], list[str]]:
        return regex.compile(self.expression).findall

    @cached_property
    def _ascii_pieces(self) -> Callable[[str], list[str]]:
        if self.ascii_expression is None:
            return self._pieces
        return re.compile(self.ascii_expression, re.ASCII).findall

    def split(self, text: str) -> list[str]:
        """The pieces of a text, in order: together they are the text again.

        Raises ``ValueError`` when the expression leaves characters of the text out.
        """
        pieces = self._ascii_pieces(text) if text.isascii() else self._pieces(text)
        if "".join(pieces) != text:
            raise ValueError(
                f"the pattern {self.expression!r} does not match every character of "
                f"{text[:40]!r}: add alternatives for the rest, for example |\\s+|."
            )
        return pieces


GPT2 = Pattern(
    # contraction | word | number | symbols | white space but for one before a word | white space
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    # No piece goes on from a visible character into white space.
    rf"[{_SPACE}]*[^{_SPACE}]+|[{_SPACE}]+",
    r"'(?:[sdmt]|ll|ve|re)| ?[a-zA-Z]+| ?[0-9]+| ?[^\sa-zA-Z0-9]+|\s+(?!\S)|\s+",
)

# White space after a visible character: its part up to the last line end stays with that
# character, the rest goes to the next one; at the end of the text all of it stays.
_STAYS = rf"(?:[{_SPACE}]+\Z|[{_SPACE}]*[\r\n])"
_CHUNKS = rf"[{_HORIZONTAL}]*[^{_SPACE}]+{_STAYS}?|{_STAYS}"

CL100K = Pattern(
    # As above, but: any one symbol may lead a word, numbers have at most three digits, line ends
    # belong to the symbols or the space before them. (?![\s\S]) is the end in every dialect.
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s+(?![\s\S])|\s*[\r\n]|\s+(?!\S)|\s+",
    _CHUNKS,
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\na-zA-Z0-9]?[a-zA-Z]+|[0-9]{1,3}| ?[^\sa-zA-Z0-9]+[\r\n]*"
    r"|\s+(?![\s\S])|\s*[\r\n]|\s+(?!\S)|\s+",
)

LLAMA3 = Pattern(
    # cl100k's, but for white space at the end of the text, which is cut as anywhere else.
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    _CHUNKS,
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\na-zA-Z0-9]?[a-zA-Z]+|[0-9]{1,3}"
    r"| ?[^\sa-zA-Z0-9]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)

O200K = Pattern(
    # Words are cut before a capital, marks belong to letters, a contraction stays with its word,
    # and slashes follow symbols as line ends do.
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    # As _CHUNKS, but symbols may go on behind a line end with a slash.
    rf"[{_HORIZONTAL}]*[^{_SPACE}]+(?:[{_SPACE}]*[\r\n]/[^{_SPACE}]*)*{_STAYS}?|{_STAYS}",
    r"[^\r\na-zA-Z0-9]?[A-Z]*[a-z]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\na-zA-Z0-9]?[A-Z]+[a-z]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[0-9]{1,3}| ?[^\sa-zA-Z0-9]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)

PATTERNS = {"gpt2": GPT2, "cl100k": CL100K, "llama3": LLAMA3, "o200k": O200K}


# A letter that came with a version of Unicode, the newest first.
_CAME_WITH = {
    "18.0": "\U0003d000",
    "17.0": "\U00010940",
    "16.0": "\U000105c0",
    "15.1": "\U0002ebf0",
    "15.0": "\U00031350",
}


def unicode_version() -> str:
    """The version of Unicode by which the package ``regex`` knows letters and numbers."""
    known = (version for version, letter in _CAME_WITH.items() if regex.match(r"\p{L}", letter))
    return next(known, "older than 15.0")


def get_pattern(pattern: "str | Pattern") -> Pattern:
    """The pattern of that name (see ``PATTERNS``), a new one from an expression, or itself."""
    if isinstance(pattern, Pattern):
        return pattern
    return PATTERNS.get(pattern) or Pattern(pattern)


def count_pieces(
    texts: str | Iterable[str], pattern: Pattern = GPT2, special_tokens: Collection[str] = ()
) -> Counter[bytes]:
    """How often each piece occurs in the texts, as UTF-8 bytes: what BPE learns from.

    ``texts`` is one text or several; no piece crosses from one to the next. Special tokens are not
    counted, and no piece crosses them either; where two begin at one place, the longer is meant.

    Raises ``ValueError`` for one string as ``special_tokens``.

    Example: ``count_pieces("to be, to be<|e|>to", special_tokens=["<|e|>"])`` gives
    ``{b"to": 2, b" be": 2, b",": 1, b" to": 1}``.
    """
    special_tokens = several(special_tokens, "special_tokens")
    special = re.compile("|".join(map(re.escape, sorted(special_tokens, key=len, reverse=True))))
    coarse: Counter[str] = Counter()
    pieces: Counter[bytes] = Counter()
    for text in [texts] if isinstance(texts, str) else texts:
        text = without_surrogates(text)
        for part in special.split(text) if special_tokens else [text]:
            if pattern.chunk_expression is not None:
                coarse.update(pattern.chunks(part))
            else:
                pieces.update(piece.encode() for piece in pattern.split(part))
    for chunk, count in coarse.items():
        for piece in pattern.split(chunk):
            pieces[piece.encode()] += count
    return pieces


def without_surrogates(text: str) -> str:
    """The text with surrogate pairs joined and lone surrogates replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def join_surrogates(texts: Iterable[str]) -> Iterator[str]:
    """The same stream, but no high surrogate ends a text while its partner may begin the next."""
    held = ""
    for text in texts:
        text = held + text
        held = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        yield text[: len(text) - len(held)]
    yield held

r"""How raw text is cut into pieces before any merge: a published rule, or your own.

BPE merges never cross the border of a *piece*, so that "dog", "dog!" and "dog?" share the token
"dog" (Radford et al. 2019, section 2.2). A piece is a word with the space before it, a number, a
run of symbols, or white space. Lecture 03.

A *chunk* is a whole number of pieces that always split the same way, whatever text stands around
them: "The dog's bone" has the chunks "The", " dog's", " bone" and the pieces "The", " dog", "'s",
" bone". Finding chunks takes less than half the time of finding pieces, and the same chunks come
again and again: they are what the tokenizer remembers, and where a stream may safely be cut.

A *word*, here, is what stands between two spaces, or a space and a line end (``split_words``).
Every published rule begins a piece there if the characters on both sides are visible, so a word is
a whole number of pieces, and ``str.split`` finds words in a third of the time of chunks. Where
white space is doubled, as in programs, a text has chunks only.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain, product

import regex

from minissl.options import several

# Unicode's White_Space, written out: Python's own \s also matches U+001C to U+001F.
_HORIZONTAL = "\t\v\f \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_SPACE = _HORIZONTAL + "\r\n"

_SINGLE_SPACE = re.compile(rf" (?<=[^{_SPACE}] )(?=[^{_SPACE}])")  # between visible characters
_KINDS = "aB1.'\u0301你"  # of visible characters: letters, a number, symbols, a mark
_GAPS = (" ", "\n", "\r\n", "\n\n")  # between words

_BLOCK = 1 << 14  # characters
_STRETCH = 1 << 13  # characters: the words of one stay in the processor's cache


@dataclass(frozen=True)
class Pattern:
    r"""A rule that cuts text into pieces.

    ``expression`` is a regular expression of the package ``regex`` (with ``\p{L}`` for letters);
    its matches, one after the other, are the pieces. ``chunk_expression``, of the standard
    library's ``re``, finds chunks; without one (None) the whole text is one chunk, which costs
    speed and makes a stream wait for its end, but never changes a result. ``ascii_expression``,
    also of ``re``, finds the same pieces in a text of ASCII, in a third of the time.
    ``cuts_at_spaces`` promises that a piece begins at each space between two visible characters,
    and behind the line ends between two (a slash behind them excepted), and that what stands on one
    side of such a place changes no piece on the other: so a text can be encoded word by word.

    Raises ``ValueError`` when an expression cannot be compiled or has capturing groups, or when
    one that ``cuts_at_spaces`` is seen not to.

    Example: ``Pattern(r"\S+|\s+").split("to be") == ["to", " ", "be"]``.
    """

    expression: str
    chunk_expression: str | None = None
    ascii_expression: str | None = None
    cuts_at_spaces: bool = False

    def __post_init__(self) -> None:
        given = [(regex.compile, self.expression), (re.compile, self._chunk)]
        if self.ascii_expression is not None:
            given.append((partial(re.compile, flags=re.ASCII), self.ascii_expression))
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
        if self.cuts_at_spaces:
            self._try_spaces()

    def _try_spaces(self) -> None:
        words = ["".join(pair) for pair in product(_KINDS, _KINDS)]  # each kind beside each
        for gap in _GAPS:
            text = f"a {gap.join([*words, words[0]])} a"
            before, inside, after = split_words(text)
            by_words = [before, *chain.from_iterable(map(self.split_word, inside)), after]
            for piece, alone in zip(self._pieces(text), by_words):
                if piece != alone:
                    raise ValueError(
                        f"cuts_at_spaces=True, but {piece!r} is one piece of the pattern "
                        f"{self.expression!r}, and word by word it would be {alone!r}: leave "
                        "cuts_at_spaces out, or let a space or line end stand only at a piece's "
                        "beginning or end, and no piece depend on what is before or behind it"
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

    def stretches(self, text: str) -> Iterator[str]:
        """The text in parts of some thousand characters, cut at single spaces.

        The pieces of the text are those of the parts. A part is longer where no single space
        comes, and all of the text for a pattern that does not cut at spaces.
        """
        start = 0
        while start < len(text):
            space = _SINGLE_SPACE.search(text, start + _STRETCH) if self.cuts_at_spaces else None
            end = space.start() if space else len(text)
            yield text[start:end]
            start = end

    def last_cut(self, text: str) -> int:
        """Where the last word begins: what is before stays as it is when text is appended.

        0 where the last space is not a single one, or the pattern does not cut at spaces.
        """
        space = text.rfind(" ", 0, -1) if self.cuts_at_spaces else -1
        return space if space > 0 and _SINGLE_SPACE.match(text, space) else 0

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

    def split_word(self, word: str) -> list[str]:
        """The pieces of one of ``split_words``, for a pattern that cuts at spaces.

        Raises ``NotAWord`` where white space stands beside white space.
        """
        if word and word == word.strip():
            return self.split(" " + word)
        before, line = ("", word[1:]) if word[:1] == "\n" else (" ", word)
        visible = line.rstrip("\r\n") if line[-1:] == "\n" else line
        if not visible or visible != visible.strip() or (not before and visible[0] == "/"):
            raise NotAWord
        if visible == line:
            return self.split(line)
        return self.split(f"{before}{line}a")[:-1]  # line ends are cut by what follows them


class NotAWord(Exception):
    """White space stands beside a space: the text around must be cut into chunks."""


def split_words(text: str) -> tuple[str, list[str], str]:
    """What is before the first space, the words, and what is from the last space on.

    A word is written without the space before it, and has a line end instead where it begins a
    line: ``"on the mat\nsat the cat"`` gives ``"on", ["the", "mat\n", "\nsat", "the"], " cat"``.
    Raises ``NotAWord`` where the first or last space has other white space beside it; what is wrong
    with a word, ``Pattern.split_word`` finds, which is asked only once for each.
    """
    first, last = text.find(" "), text.rfind(" ")
    before, after = text[:first], text[last:]
    if first == last or before != before.rstrip() or not after[1:2].strip():
        raise NotAWord
    lines = text[first + 1 : last].replace("\n", "\n \n")
    return before, lines.replace("\n \n\n \n", "\n\n \n").split(" "), after  # blank lines are one


GPT2 = Pattern(
    # contraction | word | number | symbols | white space but for one before a word | white space
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    # No piece goes on from a visible character into white space.
    rf"[{_SPACE}]*[^{_SPACE}]+|[{_SPACE}]+",
    r"'(?:[sdmt]|ll|ve|re)| ?[a-zA-Z]+| ?[0-9]+| ?[^\sa-zA-Z0-9]+|\s+(?!\S)|\s+",
    cuts_at_spaces=True,
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
    cuts_at_spaces=True,
)

LLAMA3 = Pattern(
    # cl100k's, but for white space at the end of the text, which is cut as anywhere else.
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    _CHUNKS,
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\na-zA-Z0-9]?[a-zA-Z]+|[0-9]{1,3}"
    r"| ?[^\sa-zA-Z0-9]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    cuts_at_spaces=True,
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
    cuts_at_spaces=True,
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

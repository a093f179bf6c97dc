"""WordPiece, BERT's tokenizer: words into the longest pieces of a vocabulary, or [UNK].

Wu et al. (2016), section 4.1; Devlin et al. (2019). Lecture 03. A text is cleaned (spaces, control
characters, case, accents), cut into words at spaces and around punctuation and Chinese characters,
and each word from left to right into the longest pieces that the vocabulary has. A piece that goes
on inside a word is written with "##". Unlike byte-level BPE this loses: case, accents, how many
spaces there were, and every word that cannot be cut is [UNK].

The ids are those of ``tokenizers.BertWordPieceTokenizer``, except for characters that came into
Unicode after the version (13 or so) its tables are of. Not here: the 768 or so [unused] rows mean
nothing and are ordinary tokens; pairs of texts and [CLS], which a method puts around what it reads.
"""

import math
import os
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from itertools import accumulate, chain
from pathlib import Path
from typing import Self

from minissl.durable import replace_durably
from minissl.options import several
from minissl.reading import read_bytes, reading
from minissl.text.memory import Memory

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
INSIDE = "##"  # before a piece that goes on inside a word

_CHINESE = re.compile(
    "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002b81f"
    "\U0002b820-\U0002ceaf\U0002f800-\U0002fa1f]"
)


# ---- cleaning ------------------------------------------------------------------------------------


def clean(character: str, *, lowercase: bool = True) -> str:
    """What one character becomes: nothing, a space, itself, or itself as a word of its own.

    Control and format characters vanish. Punctuation and Chinese characters get spaces around, so
    that ``str.split`` makes words of them. With ``lowercase`` accents fall off too: a character is
    decomposed (NFD) and its marks (category Mn) are dropped.
    """
    category = unicodedata.category(character)
    if character in "\t\n\r" or category[0] == "Z":
        return " "
    if category in ("Cc", "Cf", "Co", "Cs") or character == "\ufffd":
        return ""
    parts = character
    if lowercase:
        decomposed = unicodedata.normalize("NFD", character)
        parts = "".join(c.lower() for c in decomposed if unicodedata.category(c) != "Mn")
    if _CHINESE.match(character):
        return f" {parts} "
    return "".join(f" {c} " if _is_punctuation(c) else c for c in parts)


def _is_punctuation(character: str) -> bool:
    """As BERT has it: $, +, <, ^ and ~ too, which Unicode calls symbols."""
    return character in string.punctuation or unicodedata.category(character)[0] == "P"


class _Cleaning(dict[int, str]):
    """What every character becomes, for ``str.translate``; computed when it first comes."""

    def __init__(self, lowercase: bool) -> None:
        super().__init__()
        self.lowercase = lowercase

    def __missing__(self, code: int) -> str:
        self[code] = clean(chr(code), lowercase=self.lowercase)
        return self[code]


# ---- longest match first -------------------------------------------------------------------------


def longest_pieces(word: str, tokens: Container[str]) -> list[str] | None:
    """From left to right always the longest token that fits, inside a word with ##.

    None when somewhere nothing fits: then the whole word is unknown, whatever fitted before.
    Example: "unaffable" gives una ##ffa ##ble with the vocabulary of BERT (uncased).
    """
    pieces: list[str] = []
    start = 0
    while start < len(word):
        prefix = INSIDE if start else ""
        ends = range(len(word), start, -1)
        end = next((end for end in ends if prefix + word[start:end] in tokens), None)
        if end is None:
            return None
        pieces.append(prefix + word[start:end])
        start = end
    return pieces


# ---- the tokenizer -------------------------------------------------------------------------------


class WordPiece:
    """A vocabulary of pieces: ``tokens[i]`` is the token with id i, "##x" goes on inside a word.

    ``lowercase``: as in BERT's uncased models, accents go too. ``longest``: a word with more
    characters is [UNK] without a look. ``remember`` bounds how many words are kept with their ids.
    [PAD], [UNK], [CLS], [SEP] and [MASK] are special where the vocabulary has them: a text that
    spells one has the characters "[", "mask", "]".

    Raises ValueError when a token stands twice or [UNK] is missing.
    """

    def __init__(
        self,
        tokens: Iterable[str],
        *,
        lowercase: bool = True,
        longest: int = 100,
        remember: int = 1 << 18,
    ) -> None:
        self.tokens = several(tokens, "tokens")
        self.ids = {token: number for number, token in enumerate(self.tokens)}
        if len(self.ids) < len(self.tokens):
            twice = next(token for token, n in Counter(self.tokens).items() if n > 1)
            raise ValueError(f"the token {twice!r} stands twice: one id for one token")
        if "[UNK]" not in self.ids:
            raise ValueError("the vocabulary has no [UNK], for words that it cannot make")
        self.lowercase, self.longest = lowercase, longest
        self.special_tokens = {name: self.ids[name] for name in SPECIAL_TOKENS if name in self.ids}
        self._cleaning = _Cleaning(lowercase)
        self._known = Memory(self._encode_chunk, remember)

    @property
    def vocab_size(self) -> int:
        """How many ids there are: the rows of an embedding."""
        return len(self.tokens)

    def words(self, text: str) -> list[str]:
        """The text cleaned and cut at spaces, punctuation and Chinese characters.

        Example: "Café, 2!" gives cafe , 2 !
        """
        return text.translate(self._cleaning).split()

    def pieces(self, word: str) -> list[str]:
        """The word as tokens, from left to right always the longest that fits; or [UNK]."""
        if len(word) > self.longest:
            return ["[UNK]"]
        pieces = longest_pieces(word, self.ids)
        return ["[UNK]"] if pieces is None else pieces

    def encode(self, text: str) -> list[int]:
        """The ids of a text; without [CLS] and [SEP], which belong to what a model reads."""
        if not isinstance(text, str):
            raise TypeError(f"encode takes a text, got {type(text).__name__}: {text!r:.40}")
        # Python splits at these, BERT drops them.
        chunks = _NO_SPACE.sub("", text).split()
        return list(chain.from_iterable(map(self._known.__getitem__, chunks)))

    def _encode_chunk(self, chunk: str) -> tuple[int, ...]:
        """The ids of what stands between two spaces: a word, or several with punctuation."""
        return tuple(self.ids[piece] for word in self.words(chunk) for piece in self.pieces(word))

    def decode(self, ids: Iterable[int]) -> str:
        """The words of the ids, a space between them; what was lost does not come back.

        Raises ValueError for an id that is not in the vocabulary.
        """
        ids = [int(number) for number in ids]
        if wrong := [number for number in ids if not 0 <= number < len(self.tokens)]:
            raise ValueError(f"{wrong[0]} is no id: the vocabulary has 0 to {len(self.tokens) - 1}")
        text = " ".join(self.tokens[number] for number in ids)
        return text.replace(" " + INSIDE, "")

    # ---- where a vocabulary comes from -----------------------------------------------------------

    @classmethod
    def train(cls, texts: str | Iterable[str], vocab_size: int, *, lowercase: bool = True) -> Self:
        """Learn a vocabulary: the special tokens, then characters and pieces (``learn_pieces``).

        ``texts``: one text or several. It stays smaller where there is nothing more to learn.
        Raises ValueError when ``vocab_size`` has no room for the characters.
        """
        bare = cls(SPECIAL_TOKENS, lowercase=lowercase)
        counts: Counter[str] = Counter()
        for text in [texts] if isinstance(texts, str) else texts:
            if not isinstance(text, str):
                raise TypeError(f"train takes texts, got {type(text).__name__}: {text!r:.40}")
            counts.update(bare.words(text))
        room = vocab_size - len(SPECIAL_TOKENS)
        return cls([*SPECIAL_TOKENS, *learn_pieces(counts, room)], lowercase=lowercase)

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, lowercase: bool = True) -> Self:
        """From a ``vocab.txt``: a token a line, its id the number of the line from 0.

        The file does not say whether it is an uncased vocabulary. Raises ValueError, with the
        file's name, when a token stands twice, is empty, or [UNK] is missing.
        """
        with reading(path, "a vocabulary of one token a line"):
            lines = read_bytes(Path(path)).decode("utf-8").split("\n")
            tokens = [line.removesuffix("\r") for line in lines]
            if not tokens[-1]:
                tokens.pop()
            if "" in tokens:
                raise ValueError(f"line {tokens.index('') + 1} is empty")
            return cls(tokens, lowercase=lowercase)

    def write(self, path: str | os.PathLike[str]) -> None:
        """As a ``vocab.txt``, which BERT's programs read."""
        replace_durably(Path(path), "".join(f"{token}\n" for token in self.tokens).encode())


_NO_SPACE = re.compile("[\x0b\x0c\x1c-\x1f\x85]")


# ---- training ------------------------------------------------------------------------------------


def learn_pieces(counts: Mapping[str, int], size: int, *, rounds: int = 4) -> list[str]:
    """At most ``size`` pieces for counted words: their characters, then the most frequent pieces.

    From the top down, as TensorFlow Text makes vocabularies for BERT ("Subword tokenizers", its
    guide): count every substring; go from the longest to the shortest and keep those that occur at
    least ``threshold`` times; what is kept takes its count from its own beginnings, which are used
    only where it does not fit. Then cut the words by what was kept, count only what begins at a
    cut, and so on. The threshold is about the largest that gives enough pieces.

    Raises ValueError when the characters alone are more than ``size``.
    """
    characters = Counter(
        piece for word in counts for piece in (word[:1], *(INSIDE + c for c in word[1:]))
    )
    alphabet = sorted(characters)
    if len(alphabet) > size:
        raise ValueError(
            f"the texts have {len(alphabet)} characters (each counts twice, as ##x inside a word): "
            f"there is room for {size}, ask for a larger vocabulary"
        )
    everywhere = _count_substrings(counts, None)

    def at(threshold: int) -> Counter[str]:
        kept = _keep(everywhere, threshold)
        for _ in range(rounds - 1):
            tokens = kept.keys() | characters.keys()
            kept = _keep(_count_substrings(counts, tokens), threshold)
        return Counter({piece: n for piece, n in kept.items() if piece not in characters})

    room = size - len(alphabet)
    low, high = 1, max(everywhere.values(), default=1)  # at(low) has enough, or is all there is
    while high > low + 1 and high > 1.05 * low:
        middle = max(low + 1, math.isqrt(low * high))
        low, high = (middle, high) if len(at(middle)) >= room else (low, middle)
    ranked = sorted(at(low).items(), key=lambda item: (-item[1], item[0]))
    return alphabet + [piece for piece, _ in ranked[:room]]


def _count_substrings(counts: Mapping[str, int], tokens: Container[str] | None) -> Counter[str]:
    """How often each piece is seen that begins where a token does; None: that begins anywhere."""
    found: Counter[str] = Counter()
    for word, count in counts.items():
        cut = word if tokens is None else longest_pieces(word, tokens) or ()
        lengths = [
            len(piece.removeprefix(INSIDE)) if i else len(piece) for i, piece in enumerate(cut)
        ]
        for start in accumulate(lengths[:-1], initial=0):
            prefix = INSIDE if start else ""
            for end in range(start + 1, len(word) + 1):
                found[prefix + word[start:end]] += count
    return found


def _keep(found: Counter[str], threshold: int) -> Counter[str]:
    """The pieces that are frequent enough when longer ones that are kept are taken first."""
    left = {piece: count for piece, count in found.items() if count >= threshold}
    kept: Counter[str] = Counter()
    for piece in sorted(left, key=lambda piece: len(piece.removeprefix(INSIDE)), reverse=True):
        count = left[piece]
        if count < threshold:
            continue
        kept[piece] = count
        first = len(INSIDE) + 1 if piece.startswith(INSIDE) else 1
        for end in range(first, len(piece)):
            left[piece[:end]] -= count  # a beginning is at least as frequent, so it is there
    return kept

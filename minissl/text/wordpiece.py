"""WordPiece, BERT's tokenizer: words into the longest pieces of a vocabulary, or [UNK].

Wu et al. (2016), section 4.1; Devlin et al. (2019). Lecture 03. A text is cleaned (spaces, control
characters, case, accents), cut into words at spaces and around punctuation and Chinese characters,
and each word from left to right into the longest pieces that the vocabulary has. A piece that goes
on inside a word is written with "##". Unlike byte-level BPE this loses: case, accents, how many
spaces there were, and every word that cannot be cut is [UNK].

The ids are those of ``tokenizers.BertWordPieceTokenizer`` (see ``bert_cleaning``). Not here: the
[unused] rows of its vocabulary mean nothing and are ordinary tokens; pairs of texts and [CLS],
which a method puts around what it reads.
"""

import codecs
import math
import operator
import os
import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from functools import partial
from itertools import accumulate, chain
from pathlib import Path
from typing import BinaryIO, Self

from minissl.durable import replace_durably
from minissl.options import several
from minissl.reading import read_bytes, reading
from minissl.text.bert_cleaning import NO_SPACE, Cleaning
from minissl.text.memory import Memory

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
INSIDE = "##"  # before a piece that goes on inside a word


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


def _lookups(ids: Mapping[str, int]) -> tuple[Callable[[str], int | None], Callable[..., int]]:
    """How pieces become ids, and of a character how long the longest piece is that it begins."""
    longest: dict[str, int] = {}
    for piece in filter(None, ids):
        longest[piece[0]] = max(longest.get(piece[0], 0), len(piece))
    return ids.get, longest.get


# ---- the tokenizer -------------------------------------------------------------------------------


class WordPiece:
    """A vocabulary of pieces: ``tokens[i]`` is the token with id i, "##x" goes on inside a word.

    ``lowercase``: as in BERT's uncased models, accents go too. ``longest``: a word with more
    characters is [UNK] without a look. ``remember`` bounds how many words are kept with their ids.
    [PAD], [UNK], [CLS], [SEP] and [MASK] are special where the vocabulary has them.

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
        self._cleaning = Cleaning(lowercase)
        self._first = _lookups(self.ids)
        inside = {piece: number for piece, number in self.ids.items() if piece.startswith(INSIDE)}
        self._inside = _lookups({piece[len(INSIDE) :]: n for piece, n in inside.items()})
        self._special = re.compile(f"({'|'.join(map(re.escape, self.special_tokens))})")
        self._unknown = (self.ids["[UNK]"],)
        self._word_ids = Memory(self._encode_word, remember)
        self._chunk_ids = Memory(self._encode_chunk, remember)

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

    def encode(self, text: str, *, allow_special: str = "none") -> list[int]:
        """The ids of a text; without [CLS] and [SEP], which belong to what a model reads.

        ``allow_special``: what "[MASK]" inside the text means. Ordinary text with ``"none"``, the
        characters "[", "mask", "]": a text from outside must not mask unasked. The special token
        with ``"all"``, as in ``tokenizers``. Raises ValueError for anything else.
        """
        if not isinstance(text, str):
            raise TypeError(f"encode takes a text, got {type(text).__name__}: {text!r:.40}")
        if allow_special not in ("none", "all"):
            raise ValueError(f'allow_special={allow_special!r}: expected "none" or "all"')
        if allow_special == "none" or not self.special_tokens:
            return self._encode_ordinary(text)
        ids = self._encode_ordinary
        parts = self._special.split(text)  # every other one is a special token
        rest = ([self.ids[name], *ids(after)] for name, after in zip(parts[1::2], parts[2::2]))
        return ids(parts[0]) + list(chain.from_iterable(rest))

    def encode_binary(self, file: BinaryIO, *, allow_special: str = "none") -> Iterator[int]:
        """Yield the ids of a file's text, reading in blocks; what is held is the last word.

        ``file`` is open for reading bytes, such as ``sys.stdin.buffer``. Raises ValueError, with
        the place, for bytes that are not UTF-8: pieces are of characters, so none stands for them.
        """
        waiting = ""
        enough = 0
        for text in _decoded(file):
            waiting += text
            if len(waiting) < enough:
                continue
            cut = max(map(waiting.rfind, " \n")) + 1
            yield from self.encode(waiting[:cut], allow_special=allow_special)
            waiting = waiting[cut:]
            enough = 2 * len(waiting)  # so that text without spaces is not copied at every block
        yield from self.encode(waiting, allow_special=allow_special)

    def _encode_ordinary(self, text: str) -> list[int]:
        for character in NO_SPACE:
            if character in text:
                text = text.replace(character, "")
        return list(chain.from_iterable(map(self._chunk_ids.__getitem__, text.split())))

    def _encode_chunk(self, chunk: str) -> tuple[int, ...]:
        """The ids of what stands between two spaces: a word, or several with punctuation."""
        words = chunk.translate(self._cleaning).split()
        if len(words) == 1:
            return self._word_ids[words[0]]
        return tuple(chain.from_iterable(map(self._word_ids.__getitem__, words)))

    def _encode_word(self, word: str) -> tuple[int, ...]:
        """The ids of ``pieces(word)``, sooner: most words are one, and no try is in vain.

        None is longer than the longest piece that begins with its character, and what goes on
        inside is looked up without its ##, so that none has to be put before it.
        """
        size = len(word)
        if size > self.longest:
            return self._unknown
        get, longest = self._first
        if (whole := get(word)) is not None:
            return (whole,)
        ids: list[int] = []
        number: int | None = None
        start = 0
        while start < size:
            end = start + longest(word[start], 0)
            if end > size:
                end = size
            while end > start and (number := get(word[start:end])) is None:
                end -= 1
            if number is None or end == start:
                return self._unknown
            ids.append(number)
            start = end
            get, longest = self._inside
        return tuple(ids)

    def decode(self, ids: Iterable[int]) -> str:
        """The words of the ids, a space between them; what was lost does not come back.

        Raises ValueError for an id that is not in the vocabulary, TypeError for a fraction.
        """
        ids = [operator.index(number) for number in ids]
        if wrong := [number for number in ids if not 0 <= number < len(self.tokens)]:
            raise ValueError(f"{wrong[0]} is no id: the vocabulary has 0 to {len(self.tokens) - 1}")
        text = " ".join(self.tokens[number] for number in ids)
        return text.replace(" " + INSIDE, "")

    def token_bytes(self, token_id: int) -> bytes:
        """The token with its ##, in UTF-8. Raises ValueError when there is none of this id."""
        return self.decode([token_id]).encode()

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
            counts.update(word for word in bare.words(text) if len(word) <= bare.longest)
        room = vocab_size - len(SPECIAL_TOKENS)
        return cls([*SPECIAL_TOKENS, *learn_pieces(counts, room)], lowercase=lowercase)

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, lowercase: bool = True) -> Self:
        """From a ``vocab.txt``: a token a line, its id the number of the line from 0.

        The file does not say whether it is an uncased vocabulary. Raises ValueError, with the
        file's name, when a token stands twice, is empty, or [UNK] is missing.
        """
        return cls.from_bytes(read_bytes(Path(path)), str(path), lowercase=lowercase)

    @classmethod
    def from_bytes(cls, data: bytes, place: str, *, lowercase: bool = True) -> Self:
        """From the bytes of a ``vocab.txt``; ``place``: what an error calls them."""
        with reading(place, "a vocabulary of one token a line"):
            lines = data.decode("utf-8").split("\n")
            tokens = [line.removesuffix("\r") for line in lines]
            if not tokens[-1]:
                tokens.pop()
            if "" in tokens:
                raise ValueError(f"line {tokens.index('') + 1} is empty")
            return cls(tokens, lowercase=lowercase)

    def to_bytes(self) -> bytes:
        """As a ``vocab.txt``, which BERT's programs read."""
        return "".join(f"{token}\n" for token in self.tokens).encode()

    def write(self, path: str | os.PathLike[str]) -> None:
        """See ``to_bytes``; a file is replaced at once."""
        replace_durably(Path(path), self.to_bytes())


_BLOCK = 1 << 20  # bytes read from a file at once


def _decoded(file: BinaryIO) -> Iterator[str]:
    """A file's text in blocks; ValueError with the place for what is not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    place = 0  # of the first byte that has not become text
    for block in chain(iter(partial(file.read, _BLOCK), b""), [b""]):
        waiting = len(decoder.getstate()[0])
        try:
            yield decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            place += error.start
            raise ValueError(
                f"byte 0x{error.object[error.start]:02x} at offset {place:,} is not UTF-8 "
                f"({error.reason}), and WordPiece reads characters: convert the text first, for "
                "example with `iconv -f cp1252 -t utf-8`"
            ) from None
        place += waiting + len(block) - len(decoder.getstate()[0])


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

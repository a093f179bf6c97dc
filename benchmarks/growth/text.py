"""What grows in the tokenizer: training and encoding, also of texts that are one long word."""

from collections import deque
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from itertools import repeat

import numpy as np

from benchmarks.growth.law import CONSTANT, LINEAR, SORTED, Growth, Law, doublings
from minissl.text import Tokenizer, WordPiece

Run = Callable[[], object]
SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprst" for vowel in "aeiou"]
BLOCK = 1 << 14  # characters of a stream that come at once


@lru_cache(maxsize=1)  # so that the pass which counts memory does not make it again
def words(size: int) -> str:
    """``size`` characters of words of a made-up language, as frequent as those of real ones.

    Any size, the same everywhere. The chance of a word falls with its rank as Zipf and Mandelbrot
    found it, so that n words have about n^0.65 different ones (Heaps); frequent words are short.
    """
    chance = np.random.default_rng(0).random(size // 3 + 1)
    ranks, places = np.unique(20 * (chance ** (-1 / 0.65) - 1) // 1, return_inverse=True)
    spelled = [_spell(int(rank)) for rank in ranks]
    return " ".join([spelled[place] for place in places])[:size]


def _spell(rank: int) -> str:
    word = SYLLABLES[rank % 60]
    while rank := rank // 60:
        word += SYLLABLES[rank % 60]
    return word


def different_words(size: int) -> str:
    """So many characters of words that all occur once: there is always one more pair to merge."""
    ranks = np.random.default_rng(0).permutation(60**3)[: size // 5]
    return " ".join([_spell(int(rank)) for rank in ranks])[:size]


def one_word(size: int) -> str:
    """So many letters without a space."""
    return words(2 * size).replace(" ", "")[:size]


@cache
def trained() -> Tokenizer:
    """2048 tokens of that language."""
    return Tokenizer.train(words(1 << 18), 2048)


def train(text: str, merges: int = 1024) -> Run:
    """Learn so many tokens beside the bytes."""
    return lambda: Tokenizer.train(text, 256 + merges)


def fresh() -> Tokenizer:
    """One that has seen no text."""
    return Tokenizer(trained().ranks)


def encode_warm(text: str) -> Run:
    """By a tokenizer that has seen the text."""
    tokenizer = fresh()
    tokenizer.encode(text)
    return lambda: tokenizer.encode(text)


def encode_cold(text: str) -> Run:
    """By one that has just been made."""
    trained()
    return lambda: fresh().encode(text)


def encode_stream(blocks: Callable[[], Iterable[str]]) -> Run:
    """Ids that nobody keeps, of blocks that come one by one."""
    trained()
    return lambda: deque(fresh().encode_stream(blocks()), maxlen=0)


def same_block(size: int) -> Run:
    """A stream in which one block comes again and again."""
    block = words(BLOCK - 1) + "\n"
    return encode_stream(lambda: repeat(block, size // BLOCK))


def long_word(size: int) -> Run:
    """A stream in small blocks that is a single word."""
    text = one_word(size)
    return encode_stream(lambda: (text[i : i + 64] for i in range(0, size, 64)))


def decode(size: int) -> Run:
    """The text of the ids of so many characters."""
    ids = trained().encode(words(size))
    return lambda: trained().decode(ids)


def word_pieces(text: str) -> Run:
    """WordPiece, by a vocabulary that has not seen the text."""
    vocabulary = WordPiece.train(words(1 << 14), 512)
    return lambda: WordPiece(vocabulary.tokens).encode(text)


GROWTHS = [
    Growth("Train a tokenizer", "corpus", doublings(1 << 15), lambda n: train(words(n))),
    Growth("Train a tokenizer", "merges", doublings(128),
           lambda n: train(different_words(1 << 16), n)),
    Growth("Train a tokenizer, one word", "length", doublings(1 << 11),
           lambda n: train(one_word(n), 256)),
    Growth("Train a tokenizer, one word", "merges", doublings(64, 5),
           lambda n: train(one_word(1 << 16), n), Law("T n", lambda n: n)),
    Growth("Train WordPiece", "corpus", doublings(1 << 11),
           lambda n: lambda: WordPiece.train(words(n), 512)),
    Growth("Encode, cold", "text", doublings(1 << 15), lambda n: encode_cold(words(n))),
    Growth("Encode, warm", "text", doublings(1 << 15), lambda n: encode_warm(words(n))),
    Growth("Encode, one word", "length", doublings(1 << 11),
           lambda n: encode_cold(one_word(n)), SORTED),
    Growth("Encode, one letter", "length", doublings(1 << 11),
           lambda n: encode_cold("a" * n), SORTED),
    Growth("Encode a stream", "text", doublings(1 << 16), same_block, LINEAR, CONSTANT),
    Growth("Encode a stream, one word", "length", doublings(1 << 11), long_word, SORTED),
    Growth("Encode by WordPiece", "text", doublings(1 << 15), lambda n: word_pieces(words(n))),
    Growth("Encode by WordPiece, one word", "length", doublings(1 << 12),
           lambda n: word_pieces(one_word(n))),
    Growth("Decode", "text", doublings(1 << 16), decode, why={"time":
           "from a million on the ids, objects of their own, are not in the cache: twice the time "
           "for each, and then no more"}),
]  # fmt: skip

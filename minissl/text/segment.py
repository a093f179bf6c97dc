"""Other ways to cut a word into tokens of a given vocabulary than replaying the merges.

A vocabulary rarely leaves one way only: "unable" may be "un" + "able" or "una" + "ble". BPE replays
its merges in the order they were learned (``bpe.segment``). Here are three more: the longest token
first (WordPiece), as few tokens as possible, and merges with some left out at random. Lecture 03.

Words and tokens are byte strings. Every single byte must be a token, as in our BPE, or else a word
may have no segmentation: then ``ValueError`` is raised.
"""

from collections.abc import Container, Mapping

import numpy as np

__all__ = ["fewest_pieces", "longest_match", "merges_with_dropout"]


def longest_match(word: bytes, tokens: Container[bytes]) -> list[bytes]:
    """From left to right, always the longest token that fits, as in BERT (Devlin et al., 2019).

    Example: with the tokens ab, abc, cd and the letters, ``b"abcd"`` becomes abc + d.
    """
    pieces, start = [], 0
    while start < len(word):
        end = next((e for e in range(len(word), start, -1) if word[start:e] in tokens), None)
        if end is None:
            raise _not_a_token(word, start)
        pieces.append(word[start:end])
        start = end
    return pieces


def fewest_pieces(word: bytes, tokens: Container[bytes]) -> list[bytes]:
    """As few tokens as any segmentation has: dynamic programming from the end of the word.

        fewest(start) = 1 + the least of fewest(end) over all tokens word[start:end]

    Where several are as short, the first token is the longest possible, then the second, and so
    on. Time grows with the square of the word. Example: with the tokens ab, abc, cd and the
    letters, ``b"abcd"`` becomes abc + d, and ``b"ababcd"`` ab + abc + d.
    """
    length = len(word)
    fewest = [0.0] * (length + 1)  # pieces needed from here to the end
    end_of_first = [length] * (length + 1)
    for start in range(length - 1, -1, -1):
        ends = [end for end in range(length, start, -1) if word[start:end] in tokens]
        best = min(ends, key=lambda end: fewest[end], default=length)  # of equals, the longest
        end_of_first[start] = best
        fewest[start] = 1 + fewest[best] if ends else float("inf")
    if fewest[0] == float("inf"):
        raise _not_a_token(word, max(i for i in range(length) if fewest[i] == float("inf")))
    pieces, start = [], 0
    while start < length:
        pieces.append(word[start : end_of_first[start]])
        start = end_of_first[start]
    return pieces


def merges_with_dropout(
    word: bytes, ranks: Mapping[bytes, int], probability: float, generator: np.random.Generator
) -> list[bytes]:
    """BPE, but at each step every possible merge is passed over with ``probability``.

    So a model sees the same word in several spellings, as a kind of augmentation (Provilkov,
    Emelianenko and Voita, 2020). Probability 0 is ``bpe.segment``, 1 leaves single bytes.
    ``ranks`` maps every token to its rank, as there. Raises ValueError for a probability that
    is none.
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"probability must be in [0, 1], got {probability}")
    pieces = [bytes([byte]) for byte in word]
    while True:
        kept = generator.random(len(pieces)) >= probability
        merges = [
            (ranks[pieces[i] + pieces[i + 1]], i)
            for i in range(len(pieces) - 1)
            if kept[i] and pieces[i] + pieces[i + 1] in ranks
        ]
        if not merges:
            return pieces
        _, i = min(merges)
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]


def _not_a_token(word: bytes, start: int) -> ValueError:
    return ValueError(
        f"{word!r} cannot be cut into tokens: nothing in the vocabulary begins at byte {start} "
        f"({word[start : start + 1]!r}) that leaves a rest that can be cut. Add all single bytes"
    )

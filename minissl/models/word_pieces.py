"""One vector for a word that is several tokens: the mean of its pieces, or the last.

The last has seen all of the word in a model that reads from left to right; in one that reads both
ways (an encoder) any piece has, and BERT's authors took the first for tagging (Devlin et al.,
2019). Lecture 03. Which tokens a word has is found by bytes (``byte_spans``, ``pieces_of_words``)
or by the ## of WordPiece (``pieces_by_marks``); the rest is the same for both.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minissl.autograd.tensor import Tensor
from minissl.models.gpt import GPT
from minissl.nn.evaluating import evaluating
from minissl.text import Tokenizer, WordPiece
from minissl.text.wordpiece import INSIDE

WAYS = ("mean", "first", "last")


def byte_spans(tokenizer: Tokenizer, ids: Sequence[int]) -> NDArray[np.int64]:
    """Where each token begins and ends in the bytes of its text: (tokens, 2)."""
    ends = np.cumsum([0, *(len(tokenizer.token_bytes(number)) for number in ids)])
    return np.stack([ends[:-1], ends[1:]], axis=1)


def words_between_spaces(text: str) -> tuple[list[str], NDArray[np.int64]]:
    """The words of a text, and where each begins and ends in its bytes: (words, 2)."""
    found = list(re.finditer(r"\S+", text))
    bytes_before = np.cumsum([0, *(len(c.encode("utf-8", "surrogatepass")) for c in text)])
    spans = np.array([match.span() for match in found], np.int64).reshape(-1, 2)
    return [match.group() for match in found], bytes_before[spans]


def pieces_of_words(tokens: ArrayLike, words: ArrayLike) -> list[NDArray[np.int64]]:
    """The numbers of the tokens that have a part of each word: ``tokens`` and ``words`` are spans.

    (tokens, 2) and (words, 2) of one text, each begin and end. A token with parts of two words
    belongs to both. Raises ValueError for a word that no token has a part of.
    Example: tokens [[0, 2], [2, 5], [5, 6]], words [[0, 4], [5, 6]] -> [0, 1] and [2].
    """
    tokens, words = np.asarray(tokens), np.asarray(words)
    pieces = [np.flatnonzero((tokens[:, 0] < end) & (tokens[:, 1] > begin)) for begin, end in words]
    for number, piece in enumerate(pieces):
        if not len(piece):
            raise ValueError(
                f"word {number}, from {words[number, 0]} to {words[number, 1]}, has no token: are "
                f"both spans of the same text? The {len(tokens)} tokens end at {tokens[-1:, 1]}"
            )
    return pieces


def pieces_by_marks(tokenizer: WordPiece, ids: Sequence[int]) -> list[NDArray[np.int64]]:
    """The numbers of the tokens of each word of WordPiece: one begins where there is no ##."""
    goes_on = [tokenizer.tokens[number].startswith(INSIDE) for number in ids]
    begins = [place for place, on in enumerate(goes_on) if not on or place == 0]
    return [np.arange(*span) for span in zip(begins, [*begins[1:], len(ids)])]


def word_vectors(hidden: Tensor, pieces: Sequence[ArrayLike], how: str = "mean") -> Tensor:
    """A vector for each word from the hidden states of its pieces: (words, width).

    ``hidden``: (tokens, width). ``pieces``: for each word the numbers of its tokens, in order.
    ``how``: "mean", "first" or "last". It has its gradient. Raises ValueError for a word without
    pieces, a number that is none of a token, or another ``how``.
    """
    if how not in WAYS:
        raise ValueError(f"how={how!r}: expected one of {', '.join(WAYS)}")
    chosen: list[NDArray[np.int64]] = []
    for word, piece in enumerate(map(np.asarray, pieces)):
        whole = piece.ndim == 1 and piece.size and piece.dtype.kind in "iu"
        if not whole or piece.min() < 0 or piece.max() >= hidden.shape[0]:
            raise ValueError(
                f"word {word} has the pieces {piece.tolist()}: expected whole numbers, some of 0 "
                f"to {hidden.shape[0] - 1}"
            )
        chosen.append({"mean": piece, "first": piece[:1], "last": piece[-1:]}[how])
    most = max(map(len, chosen), default=1)
    index = np.zeros((len(chosen), most), np.int64)
    weights = np.zeros((len(chosen), most, 1), hidden[:0].numpy().dtype)
    for row, weight, piece in zip(index, weights, chosen):
        row[:] = piece[0]  # what fills a row is of the same word: no other can spoil it
        row[: len(piece)], weight[: len(piece)] = piece, 1 / len(piece)
    return (hidden[index] * weights).sum(axis=1)


def represent_words(
    model: GPT, tokenizer: Tokenizer, text: str, *, start: int, how: str = "last"
) -> tuple[list[str], NDArray]:
    """The words between the spaces of a text, and what a GPT makes of each: (words, width).

    The text is read after ``start``, the separator of documents, in evaluation mode. Raises
    ValueError for a text that the context has no room for.
    """
    ids = tokenizer.encode(text, allow_special="none")
    if len(ids) + 1 > (room := model.config.context_length):
        raise ValueError(
            f"the text has {len(ids)} tokens, and the context of the model has room for {room - 1} "
            "after the separator: give one sentence at a time"
        )
    words, spans = words_between_spaces(text)
    pieces = pieces_of_words(byte_spans(tokenizer, ids), spans)
    with evaluating(model):
        hidden = model.hidden(np.array([[start, *ids]]))[0, 1:]
        return words, word_vectors(hidden, pieces, how).numpy()

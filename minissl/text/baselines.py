"""What a language model must beat: counts of tokens and pairs, and general-purpose compressors.

The losses are in nats per token, in the tokens of the language model itself, so that they stand
beside its held-out loss; divided by bytes they also stand beside gzip and xz. Never compare losses
per token across tokenizers: compare bits per byte. Lecture 05 (language models).
"""

import gzip
import lzma
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "bigram_loss",
    "bigram_probabilities",
    "bits_per_byte",
    "compressed_bits_per_byte",
    "unigram_loss",
    "unigram_probabilities",
]


def unigram_probabilities(
    train_tokens: ArrayLike, vocab_size: int, pseudo_count: float = 1.0
) -> NDArray[np.float64]:
    """Frequencies of the tokens with ``pseudo_count`` added to each count (Laplace for 1).

        p(w) = (count(w) + pseudo_count) / (number of tokens + pseudo_count · vocab_size)

    Tokens are integers of any shape; returns ``(vocab_size,)`` in float64. Raises ``ValueError``
    for tokens outside the vocabulary, or when ``pseudo_count`` is not positive (a token that was
    never seen would cost infinitely many nats).
    """
    train = _check_tokens(train_tokens, vocab_size, "train_tokens")
    if not pseudo_count > 0:
        raise ValueError(f"pseudo_count is {pseudo_count}, expected a positive number")
    counts = np.bincount(train, minlength=vocab_size) + pseudo_count
    return counts / counts.sum()


def bigram_probabilities(
    train_tokens: ArrayLike, previous: ArrayLike, following: ArrayLike, vocab_size: int
) -> NDArray[np.float64]:
    """p(following | previous) by interpolated Kneser-Ney counts of the training tokens.

        p(w | v) = max(c(v, w) - D, 0) / c(v)  +  D · T(v) / c(v) · q(w)
        q(w) = (number of different tokens seen before w, plus 1) / (their total + vocab_size)
        D = n1 / (n1 + 2 · n2), but at least 0.1 and at most 0.9

    with c(v, w) the times w followed v, c(v) the times v was followed, T(v) the number of different
    tokens that followed v, and n1, n2 the number of pairs seen once and twice (the bounds of D
    matter only to tiny texts). After a token that never was followed, p is q. "Francisco" is
    frequent but follows one word: q knows that, plain frequency does not. (Kneser and Ney 1995;
    interpolated as in Chen and Goodman 1999; the 1 added in q is Laplace's.)

    ``previous`` and ``following`` are integers of one shape ``(pairs,)``; returns ``(pairs,)`` in
    float64. Raises ``ValueError`` for tokens outside the vocabulary. Lecture 05.
    """
    train = _check_tokens(train_tokens, vocab_size, "train_tokens")
    previous = _check_tokens(previous, vocab_size, "previous")
    following = _check_tokens(following, vocab_size, "following")
    # One integer per pair, so that a sorted array with a binary search serves as the dictionary.
    pairs, pair_counts = np.unique(train[:-1] * vocab_size + train[1:], return_counts=True)
    num_followed = np.bincount(train[:-1], minlength=vocab_size)  # c(v)
    num_different = np.bincount(pairs // vocab_size, minlength=vocab_size)  # T(v)
    num_contexts = np.bincount(pairs % vocab_size, minlength=vocab_size)
    lower_order = (num_contexts + 1) / (num_contexts.sum() + vocab_size)  # q

    once, twice = np.sum(pair_counts == 1), np.sum(pair_counts == 2)
    discount = float(np.clip(once / max(once + 2 * twice, 1), 0.1, 0.9))
    if not len(pairs):
        return lower_order[following]
    wanted = previous * vocab_size + following
    place = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
    count = np.where(pairs[place] == wanted, pair_counts[place], 0)
    total = np.maximum(num_followed[previous], 1)
    seen_before = num_followed[previous] > 0
    saved = np.where(seen_before, discount * num_different[previous] / total, 1.0)
    return np.maximum(count - discount, 0) / total + saved * lower_order[following]


def unigram_loss(
    train_tokens: ArrayLike,
    held_out_tokens: ArrayLike,
    vocab_size: int,
    pseudo_count: float = 1.0,
) -> float:
    """The mean -ln p of the held-out tokens under their smoothed frequencies, in nats per token.

    Tokens are integer arrays ``(time,)``. The first held-out token is not predicted, just as an
    autoregressive model has nothing to predict it from: the mean is over ``held_out_tokens[1:]``.
    Raises ``ValueError`` for fewer than two held-out tokens. Lecture 05.
    """
    held_out = _check_held_out(held_out_tokens, vocab_size)
    probabilities = unigram_probabilities(train_tokens, vocab_size, pseudo_count)
    return float(-np.log(probabilities[held_out[1:]]).mean())


def bigram_loss(train_tokens: ArrayLike, held_out_tokens: ArrayLike, vocab_size: int) -> float:
    """The mean -ln p of each held-out token after the one before it, in nats per token.

    The probabilities are interpolated Kneser-Ney (``bigram_probabilities``). Tokens are integer
    arrays ``(time,)``; the mean is over ``held_out_tokens[1:]``, the targets of a language model.
    Raises ``ValueError`` for fewer than two held-out tokens. Lecture 05.
    """
    held_out = _check_held_out(held_out_tokens, vocab_size)
    probabilities = bigram_probabilities(train_tokens, held_out[:-1], held_out[1:], vocab_size)
    return float(-np.log(probabilities).mean())


def _check_held_out(tokens: ArrayLike, vocab_size: int) -> NDArray[np.int64]:
    held_out = _check_tokens(tokens, vocab_size, "held_out_tokens")
    if len(held_out) < 2:
        raise ValueError(f"{len(held_out)} held-out token(s), expected at least 2: one to predict")
    return held_out


def _check_tokens(tokens: ArrayLike, vocab_size: int, name: str) -> NDArray[np.int64]:
    array = np.asarray(tokens).reshape(-1)
    if array.size == 0:
        return np.zeros(0, np.int64)
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} has dtype {array.dtype}, expected integers")
    if array.min() < 0 or array.max() >= vocab_size:
        raise ValueError(
            f"{name} holds tokens from {array.min()} to {array.max()}, expected 0 to "
            f"{vocab_size - 1}: is vocab_size that of the tokenizer?"
        )
    return array.astype(np.int64)


def bits_per_byte(nats_per_token: float, num_tokens: int, num_bytes: int) -> float:
    """Convert a loss to bits per byte of text, which any two tokenizers can be compared in.

    nats per token · tokens / bytes / ln 2, where ``num_tokens`` tokens are the UTF-8 text of
    ``num_bytes`` bytes. Example: ln 256 nats for every byte are 8 bits per byte. Raises
    ``ValueError`` when ``num_bytes`` is not positive.
    """
    if num_bytes <= 0:
        raise ValueError(f"num_bytes is {num_bytes}, expected a positive number")
    return nats_per_token * num_tokens / num_bytes / math.log(2)


def compressed_bits_per_byte(held_out: bytes, train: bytes = b"", method: str = "xz") -> float:
    """How many bits a general-purpose compressor spends on each byte of the held-out text.

    With ``train`` text as context: (size(train + held_out) - size(train)) · 8 / len(held_out). Both
    compressors run at their strongest setting. ``xz`` looks back over the whole training text, as
    its dictionary is made large enough; ``gzip`` cannot see further back than 32 KB by design.
    ``method`` is ``"xz"`` or ``"gzip"``. Raises ``ValueError`` for another method or for empty
    held-out text. Lecture 05.
    """
    sizes = {"gzip": _gzip_size, "xz": _xz_size}
    if method not in sizes:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(map(repr, sizes))}")
    if not held_out:
        raise ValueError("held_out is empty, expected at least one byte of text")
    size = sizes[method]
    added = size(train + held_out) - (size(train) if train else 0)
    return 8 * added / len(held_out)


def _gzip_size(data: bytes) -> int:
    return len(gzip.compress(data, compresslevel=9, mtime=0))


def _xz_size(data: bytes) -> int:
    # xz allows dictionaries from 4 KiB to 1.5 GiB.
    dictionary = min(max(len(data), 4096), 3 << 29)
    filters = [
        {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": dictionary}
    ]
    return len(lzma.compress(data, format=lzma.FORMAT_XZ, filters=filters))

"""Philox-4x32-10, the counter-based random generator of Triton, once more in NumPy.

A counter-based generator has no state: the number at a position is a function of the seed and the
position, so the backward pass draws the dropout mask again instead of storing it (Salmon, Moraes,
Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011).
"""

import numpy as np
from numpy.typing import ArrayLike

ROUNDS = 10
MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)


def philox(seed: int, c0: ArrayLike, c1: ArrayLike, c2: ArrayLike, c3: ArrayLike) -> np.ndarray:
    """Random uint32 at the counters (c0, c1, c2, c3), which broadcast: shape (4, ...).

    The same bits as ``tl.philox(seed, c0, c1, c2, c3)`` for a seed of 64 bits.
    """
    counters = np.broadcast_arrays(*(np.asarray(c, np.uint32) for c in (c0, c1, c2, c3)))
    c = [counter.astype(np.uint64) for counter in counters]
    key = [seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF]
    low = np.uint64(0xFFFFFFFF)
    for _ in range(ROUNDS):
        first, second = MULTIPLIERS[0] * c[0], MULTIPLIERS[1] * c[2]  # 32 x 32 -> 64 bits
        c = [
            (second >> np.uint64(32)) ^ c[1] ^ np.uint64(key[0]),
            second & low,
            (first >> np.uint64(32)) ^ c[3] ^ np.uint64(key[1]),
            first & low,
        ]
        key = [(k + step) & 0xFFFFFFFF for k, step in zip(key, KEY_STEPS)]
    return np.stack(c).astype(np.uint32)


def dropout_threshold(probability: float) -> int:
    """A value is kept where its random uint32 is at least this, which is a uint32 too."""
    if not 0 <= probability < 1:
        raise ValueError(f"dropout must be in [0, 1), got {probability}")
    return min(round(probability * 2**32), 2**32 - 1)

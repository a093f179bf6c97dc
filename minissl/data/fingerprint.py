"""Fingerprints of data: equal ones mean that a run may be continued with it.

What counts as other data: another name below the folder, another byte, another label, another
order where the order decides what is held out. What does not: the folder's own place and name, and
the times of files. So text and image folders agree: a renamed file is other data, a moved folder is
the same.

Up to 64 MB everything is read. Of more, a part of each example is, and the fingerprint says
``"sampled": true``: an edit inside one image can then go unseen, another image does not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

WHOLE = 64 << 20  # bytes in all that are read whole
BLOCK = 4096  # bytes at the beginning, in the middle and at the end of each file of more
ROWS = 1024  # examples that are copied at once


def of_files(files: Sequence[Path], names: Sequence[str]) -> dict[str, Any]:
    """Of files in this order, with their names below the folder: bytes in all and a SHA-256.

    Raises OSError with the name of a file that cannot be read.
    """
    sizes = [file.stat().st_size for file in files]
    sampled = sum(sizes) > WHOLE
    digest = hashlib.sha256()
    for file, name, size in zip(files, names, sizes):
        about = name.encode()
        digest.update(b"%d %d " % (len(about), size) + about)
        with open(file, "rb") as opened:
            if not sampled or size <= 3 * BLOCK:
                digest.update(opened.read())
                continue
            for place in (0, (size - BLOCK) // 2, size - BLOCK):
                opened.seek(place)
                digest.update(opened.read(BLOCK))
    about_all = {"files": len(files), "bytes": sum(sizes), "sha256": digest.hexdigest()}
    return about_all | ({"sampled": True} if sampled else {})


def of_array(array: NDArray) -> dict[str, Any]:
    """Of examples along the first axis: their shape and the SHA-256 of the numbers.

    Of more than 64 MB, of every so many numbers in each example.
    """
    rows = array.reshape(len(array), -1)
    step = max(1, -(-array.nbytes // WHOLE))
    digest = hashlib.sha256()
    for start in range(0, len(rows), ROWS):
        digest.update(np.ascontiguousarray(rows[start : start + ROWS, ::step]).data)
    about = {"shape": list(array.shape[1:]), "sha256": digest.hexdigest()}
    return about | ({"sampled": True} if step > 1 else {})


def combined(fingerprint: dict[str, Any], *parts: bytes, **about: Any) -> dict[str, Any]:
    """The fingerprint of the same examples with something more to each, such as labels, in full."""
    digest = hashlib.sha256(fingerprint["sha256"].encode())
    for part in parts:
        digest.update(b"%d " % len(part) + part)
    return {**fingerprint, **about, "sha256": digest.hexdigest()}

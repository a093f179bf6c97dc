"""How images of any size become squares of one size, and how that is said. Lecture 12.

A network sees squares of one size. An image that is not square is cut to its central square
("crop") or seen whole between black borders ("pad"); then it is resized. Nothing of this is silent:
``Fit.told`` says in one line how many images were changed, and from which sizes.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WAYS = ("crop", "pad")
SMALLEST, LARGEST = 4, 96  # pixels that nobody has to ask for; 96 is the size of STL-10

Stored = Mapping[tuple[int, int, int], int]  # (height, width, 1 or 3 channels): so many images


class Fit(NamedTuple):
    """What every image becomes: ``(size, size, channels)``, by one of the ``WAYS``.

    ``size`` and ``channels`` may be 0, as the data: see ``settled``.
    """

    size: int = 0
    channels: int = 0
    way: str = "crop"

    def check(self) -> None:
        """Raise ValueError unless it can be done."""
        if self.size < 0 or self.channels not in (0, 1, 3) or self.way not in WAYS:
            raise ValueError(
                f"got size {self.size}, {self.channels} channels and {self.way!r}, expected a "
                f"positive size, 1 or 3 channels (0: as the data), and {' or '.join(WAYS)}"
            )

    def side(self, height: int, width: int) -> int:
        """Of the square that an image becomes before it is resized."""
        return min(height, width) if self.way == "crop" else max(height, width)

    def settled(self, stored: Stored) -> Fit:
        """With the size and the channels of these images, where they are 0.

        The size is the most common side of their squares (of equally common ones the largest), at
        least 4 and at most 96; the channels are 3 where one of them is in colour.
        """
        sides: Counter[int] = Counter()
        for (height, width, _), count in stored.items():
            sides[self.side(height, width)] += count
        common = max(sides, key=lambda side: (sides[side], side), default=SMALLEST)
        size = self.size or min(max(common, SMALLEST), LARGEST)
        colours = max((channels for _, _, channels in stored), default=1)
        return self._replace(size=size, channels=self.channels or colours)

    def room_for(self, count: int, where: str) -> NDArray[np.float32]:
        """An array for so many images: (count, size, size, channels).

        Raises ValueError that begins with ``where`` for more than the computer's memory.
        """
        shape = (count, self.size, self.size, self.channels)
        needed, there = 4 * math.prod(shape), memory_of_this_computer()
        if needed > there:
            raise ValueError(
                f"{where}: {count:,} images of {self.size} x {self.size} x {self.channels} take "
                f"{needed / 1e9:.1f} GB of memory, this computer has {there / 1e9:.1f}: ask for "
                "smaller ones (--image-size) or for grey (--channels 1)"
            )
        return np.empty(shape, np.float32)

    def told(self, stored: Stored) -> str:
        """What was changed, for a person: "60,000 images of 28 x 28 are resized to 8 x 8".

        Sizes are width x height. "": every image was as it is asked for.
        """
        parts = []
        if oblong := {s: n for s, n in stored.items() if s[0] != s[1]}:
            how = "cut to their central squares" if self.way == "crop" else "padded with black"
            parts.append(f"{_named(oblong, stored)} are not square: they are {how}")
        if resized := {s: n for s, n in stored.items() if self.side(*s[:2]) != self.size}:
            parts.append(f"{_named(resized, stored)} are resized to {self.size} x {self.size}")
        if other := {s: n for s, n in stored.items() if s[2] != self.channels}:
            how = "in colour and become grey" if self.channels == 1 else "grey and become RGB"
            parts.append(f"{_counted(other, stored)} are {how}")
        return "; ".join(parts)


def memory_of_this_computer() -> float:
    """Bytes; infinite where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return math.inf


def _counted(some: Stored, stored: Stored) -> str:
    """How many images these are, and of how many."""
    count, total = sum(some.values()), sum(stored.values())
    return f"{count:,} images" if count == total else f"{count:,} of {total:,} images"


def _named(some: Stored, stored: Stored) -> str:
    """The same, with their sizes."""
    sizes = sorted(
        {(width, height) for height, width, _ in some}, key=lambda size: (size[0] * size[1], size)
    )
    words = [f"{width:,} x {height:,}" for width, height in sizes]
    if len(words) > 2:
        return f"{_counted(some, stored)} of {len(words):,} sizes, {words[0]} to {words[-1]},"
    return f"{_counted(some, stored)} of {' and '.join(words)}"

"""What the numbers in an image file mean: every image becomes grey or red, green, blue in [0, 1].

The range is what the format says: 0 to 255, to 65,535, to 4,095 where a file is of 12 bits; floats
are from 0 to 1. Nothing is guessed: where a format does not say it, or the numbers are no likely
use of it (12 bits in a file of 16 would be nearly black), the image is refused with what to do.
What is transparent is seen on white, as on paper.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_PIXELS = 1 << 26  # 67 megapixels: a photo of 50 passes, what would take gigabytes does not
SAMPLE_FORMAT, PHOTOMETRIC, BITS, PLANES = 339, 262, 258, 284  # tags of TIFF
SCALE = "scale them to all of their bits, or save them as floats from 0 to 1 in a .npy file"


def square_pixels(opened: Any, size: int, channels: int) -> NDArray[np.float32]:
    """One Pillow image as ``(size, size, channels)``: upright, central square, resized.

    Raises ValueError, a sentence without the file, for what is too large or has no known range.
    """
    from PIL import Image

    if opened.width * opened.height > MOST_PIXELS:
        raise ValueError(
            f"it has {opened.width:,} x {opened.height:,} pixels, expected at most "
            f"{MOST_PIXELS:,} in all: make it smaller first"
        )
    image = _plain(opened, channels)
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    # Pillow's bilinear filter widens when it shrinks an image, so nothing aliases.
    resized = image.resize((size, size), Image.Resampling.BILINEAR, box=box)
    pixels = np.asarray(resized, dtype=np.float32).reshape(size, size, -1)
    if image.mode != "F":
        pixels = pixels / np.float32(255)
    return np.broadcast_to(pixels, (size, size, channels))


def square_image(pixels: NDArray[np.uint8], size: int, channels: int) -> NDArray[np.float32]:
    """One image ``(height, width)`` or ``(height, width, 3 or 4)`` as if read from a file."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("resizing images needs Pillow: pip install pillow") from error
    return square_pixels(Image.fromarray(pixels), size, channels)


def _plain(opened: Any, channels: int) -> Any:
    """The image upright, as RGB or L of bytes, or as F: grey from 0 to 1."""
    from PIL import Image, ImageOps

    stored = _stored_as(opened)  # asked now: it is forgotten when the pixels are read
    tags = getattr(opened, "tag_v2", {})
    if tags.get(SAMPLE_FORMAT, (1,))[0] == 2:
        raise ValueError(f"it holds whole numbers with a sign, which no grey has: {SCALE}")
    if tags.get(PLANES) == 2 and max(tags.get(BITS, (1,))) > 8 and len(tags[BITS]) > 1:
        raise ValueError(
            "its colours have more than 8 bits and lie one after the other, which Pillow misreads: "
            "save it as PNG"
        )
    if (scale := opened.info.get("scale", 1)) != 1:  # of a .pfm
        raise ValueError(f"it wants its floats to be multiplied by {scale:g}: save it with scale 1")
    image = ImageOps.exif_transpose(opened)  # cameras store the pixels lying and a note to turn
    if image.mode == "F" or image.mode.startswith("I"):
        grey = _grey(image, stored)
        if tags.get(PHOTOMETRIC) == 0:  # 0 is white; of bytes Pillow turns it itself
            grey = 1 - grey
        image = Image.fromarray(grey)
    elif image.mode == "La":
        image = image.convert("LA")  # from which alone there is a way on
    if image.mode[-1] in "Aa" or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    if image.mode != "F":
        image = image.convert("RGB" if channels == 3 else "L")
    _check_bits(image, stored)
    return image


def _stored_as(opened: Any) -> str:
    """Pillow's word for how the numbers lie in the file, such as "I;16B"; "" for none."""
    tiles = getattr(opened, "tile", None) or [("", None, 0, "")]
    about = tiles[0][3]
    words = list(about) if isinstance(about, tuple | list) else [about]
    if words[1:] == [65535]:  # a .ppm says its largest number
        return f"{words[0]};16"
    return str(words[0]) if words else ""


def _grey(image: Any, stored: str) -> NDArray[np.float32]:
    """Grey of more than 8 bits as floats from 0 to 1. ValueError where no range is known."""
    values = np.asarray(image)
    if image.mode == "F":
        if not ((values >= 0) & (values <= 1)).all():  # NaN is neither
            raise ValueError(
                f"it holds floats from {values.min():.9g} to {values.max():.9g}, expected 0 to 1: "
                "divide them by the largest number that they can be"
            )
        return values.astype(np.float32)
    if image.mode == "I" and not stored.startswith(("L", "I;16")):  # those of .pgm have a range
        raise ValueError(f"it holds whole numbers of 32 bits, of which no range is known: {SCALE}")
    grey = (values / (4095 if stored == "I;12" else 65535)).astype(np.float32)
    transparent = image.info.get("transparency")  # one number that is
    return grey if transparent is None else np.where(values == transparent, np.float32(1), grey)


def _check_bits(image: Any, stored: str) -> None:
    """Raise ValueError where numbers of 16 bits use less than a quarter of their range."""
    if ";16" not in stored:
        return
    brightest = float(np.max(image.getextrema())) / (1 if image.mode == "F" else 255)
    if 0 < brightest < 0.25:
        raise ValueError(
            f"its numbers have 16 bits, the largest is {100 * brightest:.2g} % of what they can "
            f"be: if they were measured with fewer bits, {SCALE}; if it is that dark, save it "
            "with 8 bits"
        )

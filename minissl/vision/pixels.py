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
GREY = np.array([[0.299], [0.587], [0.114]], np.float32)  # as Pillow makes grey of colours
SCALE = "scale them to all of their bits, or save them as floats from 0 to 1 in a .npy file"


def square_pixels(opened: Any, size: int, channels: int, way: str = "crop") -> NDArray[np.float32]:
    """One Pillow image as ``(size, size, channels)``: upright, square, resized.

    ``way``: "crop", the central square, or "pad", all of it between black borders; its sides are
    then rounded to whole pixels.

    Raises ValueError, a sentence without the file, for what is too large or has no known range.
    """
    if opened.width * opened.height > MOST_PIXELS:
        raise ValueError(
            f"it has {opened.width:,} x {opened.height:,} pixels, expected at most "
            f"{MOST_PIXELS:,} in all: make it smaller first"
        )
    image = _plain(opened, channels)
    pixels = np.asarray(_square(image, size, way), dtype=np.float32).reshape(size, size, -1)
    if image.mode != "F":
        pixels = pixels / np.float32(255)
    return np.broadcast_to(pixels, (size, size, channels))


def _square(image: Any, size: int, way: str) -> Any:
    """A Pillow image of size x size."""
    from PIL import Image

    # Pillow's bilinear filter widens when it shrinks an image, so nothing aliases.
    width, height = image.size
    if way == "crop" or width == height:
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        return image.resize((size, size), Image.Resampling.BILINEAR, box=box)
    longest = max(width, height)
    inner = tuple(max(1, round(size * side / longest)) for side in (width, height))
    padded = Image.new(image.mode, (size, size))
    place = tuple((size - side) // 2 for side in inner)
    padded.paste(image.resize(inner, Image.Resampling.BILINEAR), place)
    return padded


def stored_shape(opened: Any) -> tuple[int, int, int]:
    """Height, width and channels, 1 (grey) or 3, of a Pillow image before anything is read."""
    grey = opened.mode in ("1", "L", "LA", "La", "F") or opened.mode.startswith("I")
    return opened.height, opened.width, 1 if grey else 3


def square_image(
    pixels: NDArray, size: int, channels: int, way: str = "crop"
) -> NDArray[np.float32]:
    """One image ``(height, width, 1, 3 or 4)`` as if read from a file.

    uint8, or floats in [0, 1], which are not rounded to the 256 steps of a file.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("resizing images needs Pillow: pip install pillow") from error
    if pixels.dtype == np.uint8:
        grey = pixels.shape[-1] == 1
        return square_pixels(
            Image.fromarray(pixels[..., 0] if grey else pixels), size, channels, way
        )
    floats = pixels.astype(np.float32)
    if floats.shape[-1] == 4:  # what is transparent is seen on white
        floats = 1 - floats[..., 3:] * (1 - floats[..., :3])
    if floats.shape[-1] == 3 and channels == 1:
        floats = floats @ GREY
    planes = [_square(Image.fromarray(plane), size, way) for plane in np.moveaxis(floats, -1, 0)]
    square = np.stack([np.asarray(plane) for plane in planes], axis=-1).clip(0, 1)
    return np.broadcast_to(square, (size, size, channels))


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

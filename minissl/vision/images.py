"""Images as arrays: channels last, ``(batch, height, width, channels)``, float32 in [0, 1].

Lecture 12 (contrastive learning) pretrains on them.
"""

import io
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from minissl.reading import read_bytes, reading, shown
from minissl.text.files import files_below
from minissl.vision.fitting import Fit
from minissl.vision.pixels import square_pixels, stored_shape

__all__ = [
    "ImageFolder",
    "LabelledSplit",
    "check_images",
    "load_digits",
    "load_image_files",
    "load_image_folder",
]

IMAGE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # no program is started for these
MOST_BYTES = 1 << 29  # of one file
LOOKED_AT = 200  # files, spread evenly, whose sizes decide where none was asked for


class LabelledSplit(NamedTuple):
    """Images ``(batch, height, width, channels)`` with their labels ``(batch,)``, in two parts."""

    train_images: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.float32]
    test_labels: NDArray[np.int64]


class ImageFolder(NamedTuple):
    """The images of a folder; without class folders ``labels`` is None and ``class_names`` empty.

    ``paths`` are relative to the folder, in the order of the images, and can be printed; ``files``
    are where they lie, none for images that were in no file of their own. ``fitted`` says what was
    done to those of another size, "" for nothing.
    """

    images: NDArray[np.float32]
    labels: NDArray | None
    class_names: tuple[str, ...]
    paths: tuple[str, ...]
    files: tuple[Path, ...] = ()
    fitted: str = ""


def check_images(images: NDArray) -> None:
    """Raise ``ValueError`` unless ``images`` is a floating array with four axes, channels last."""
    if images.ndim != 4:
        raise ValueError(
            f"images have shape {images.shape}, expected (batch, height, width, channels): "
            "add the missing axes, for example images[..., None] for grey images"
        )
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(
            f"images have dtype {images.dtype}, expected floats in [0, 1]: "
            "for bytes use images.astype(np.float32) / 255"
        )


def load_digits(num_train: int = 1200, seed: int = 0) -> LabelledSplit:
    """The 1,797 handwritten digits that ship with scikit-learn, shuffled and split in two.

    Images ``(1200, 8, 8, 1)`` and ``(597, 8, 8, 1)``, float32 in [0, 1]; labels 0 to 9, int64. The
    same ``seed`` gives the same split. The data are the test set of the UCI digits (Alpaydin and
    Kaynak 1998). Raises ``ImportError`` without scikit-learn and ``ValueError`` when ``num_train``
    leaves a part empty. Lecture 12.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            "load_digits needs scikit-learn, which holds the images: pip install scikit-learn"
        ) from error
    pixels, labels = datasets.load_digits(return_X_y=True)  # integers 0 to 16
    if not 0 < num_train < len(pixels):
        raise ValueError(f"num_train is {num_train}, expected 1 to {len(pixels) - 1}")
    images = (pixels / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    order = np.random.default_rng(seed).permutation(len(images))
    train, test = order[:num_train], order[num_train:]
    labels = labels.astype(np.int64)
    return LabelledSplit(images[train], labels[train], images[test], labels[test])


def load_image_folder(
    path: str | os.PathLike[str], size: int = 0, channels: int = 3, way: str = "crop"
) -> ImageFolder:
    """Every image below a folder as a square of one size: see ``vision.fitting``.

    Images ``(batch, size, size, channels)`` with 3 channels (RGB) or 1 (grey), in the order of
    their paths; 0: the size, the channels that most of them have. ``way``: "crop" or "pad". When
    every image lies in a subfolder, the names of the first-level subfolders are the classes and
    labels count them in sorted order; otherwise there are no labels. Files are recognised by their
    suffix (png, jpg, gif, ...), other and hidden files are passed over.
    What the numbers mean: see ``pixels``; what is transparent is seen on white. Of a file with
    several images the first is read. All are held in memory: batch · size · size · channels · 4
    bytes.

    Raises ``FileNotFoundError`` for a missing folder or one without images, ``ValueError`` naming
    the file that cannot be read as an image, ``ImportError`` without Pillow.
    """
    folder = Path(path)
    files = _image_files(folder)
    images, fitted = fit_image_files(files, Fit(size, channels, way))
    paths = [file.relative_to(folder) for file in files]
    names = tuple(shown(path.as_posix()) for path in paths)
    if any(len(relative.parts) == 1 for relative in paths):
        return ImageFolder(images, None, (), names, tuple(files), fitted)
    class_names, labels = np.unique([shown(p.parts[0]) for p in paths], return_inverse=True)
    return ImageFolder(
        images, labels.astype(np.int64), tuple(class_names.tolist()), names, tuple(files), fitted
    )


def load_image_files(
    files: Sequence[Path], size: int = 0, channels: int = 3, way: str = "crop"
) -> NDArray[np.float32]:
    """The images of these files, ``(files, size, size, channels)``: see ``load_image_folder``."""
    return fit_image_files(files, Fit(size, channels, way))[0]


def fit_image_files(files: Sequence[Path], fit: Fit) -> tuple[NDArray[np.float32], str]:
    """The images of these files as the fit asks for, and in words what was done to them."""
    fit.check()
    if not (fit.size and fit.channels):
        some = files[:: max(1, len(files) // LOOKED_AT)]
        fit = fit.settled(Counter(_look(file, stored_shape) for file in some))
    stored: Counter[tuple[int, int, int]] = Counter()
    images = fit.room_for(len(files), f"{shown(files[0])} and the others")
    for image, file in zip(images, files):
        shape, image[:] = _look(file, lambda x: (stored_shape(x), square_pixels(x, *fit)))
        stored[shape] += 1
    return images, fit.told(stored)


T = TypeVar("T")


def _look(file: Path, function: Callable[[Any], T]) -> T:
    """What the function makes of a file as a Pillow image; its errors name the file."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ImportError("reading image files needs Pillow: pip install pillow") from error
    with reading(file, "an image", "Repair it or leave it out"), _warnings_of(file):
        try:
            opened = Image.open(io.BytesIO(read_bytes(file, MOST_BYTES)), formats=FORMATS)
        except UnidentifiedImageError:
            raise ValueError(
                f"it is none of {', '.join(FORMATS)}, or of a rare kind of one: save it as PNG"
            ) from None
        with opened:
            return function(opened)


@contextmanager
def _warnings_of(file: Path) -> Iterator[None]:
    """What Pillow warns of, such as a tag that it does not know, is said with the file's name."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for text in dict.fromkeys(
        str(w.message) for w in caught if issubclass(w.category, UserWarning)
    ):
        warnings.warn(f"{shown(file)}: {text}", stacklevel=4)


def _image_files(folder: Path) -> list[Path]:
    if folder.is_file():
        raise NotADirectoryError(
            f"{shown(folder)!r} is a file: images are a folder, a table that names them or an .npz"
        )
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {shown(folder)!r}: give a folder of images")
    files = [file for file in files_below(folder) if file.suffix.lower() in IMAGE_SUFFIXES]
    if not files:
        raise FileNotFoundError(
            f"no images below {shown(folder)!r}: expected files that end with "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return files

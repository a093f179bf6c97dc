"""Images, without labels and with: all that was read becomes one array. Lecture 12."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from minissl.data import FIELDS, Examples, Fields, Kept, fingerprint
from minissl.data.arrays import ROWS
from minissl.data.classes import as_in_the_run, keep_classes, kept_classes, no_labels, require_two
from minissl.data.image_sources import find_images, read_images
from minissl.data.labels import (
    Labelled,
    check_labels,
    pick,
    some_numbers,
    some_of_split,
    split_labelled,
)
from minissl.options import Options, option
from minissl.vision.fitting import SMALLEST, WAYS, Fit
from minissl.vision.images import check_images


@dataclass(frozen=True, kw_only=True)
class ImageOptions(Options):
    """What every image is turned into when it is read."""

    image_size: int = option(
        0, "height and width of every image; 0: as most of the data, at most 96", least=0, most=512
    )
    channels: int = option(0, "1 for grey, 3 for colour; 0: as the data", least=0, most=3)
    fit: str = option(
        "crop",
        "of an image that is not square: crop, its central square; pad, all of it on black",
        choices=WAYS,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 < self.image_size < SMALLEST:
            raise ValueError(f"image_size must be 0 or at least {SMALLEST}, got {self.image_size}")
        if self.channels == 2:
            raise ValueError("channels must be 1 (grey) or 3 (colour), got 2")

    def fitting(self) -> Fit:
        """Size, channels and way, to read images with."""
        return Fit(self.image_size, self.channels, self.fit)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of every image. What was left to the data is, without any data, that of the digits."""
        return self.image_size or 8, self.image_size or 8, self.channels or 1

    def settled(self, data: Any) -> Self:
        """With the size and the channels of the data's images, where they were left to it.

        Raises ValueError where they were not, and are others.
        """
        size, width, channels = data.images.shape[1:]
        if size != width:
            raise ValueError(
                f"the images are {_times(data.images.shape[1:])}, expected squares: cut or pad them"
            )
        asked = replace(
            self, image_size=self.image_size or size, channels=self.channels or channels
        )
        if asked.shape != data.images.shape[1:]:
            raise ValueError(
                f"the images are {_times(data.images.shape[1:])}, the settings ask for "
                f"{_times(asked.shape)}: read them with these settings, or leave image_size and "
                "channels out"
            )
        return asked


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


@dataclass(frozen=True)
class Pixels:
    """Images made ready: (count, size, size, channels) float32 in [0, 1]; none in a reopened run.

    ``held_out``: images to measure on; None where the method chooses some of its own.
    """

    kept: Kept
    settings: ImageOptions
    images: NDArray[np.float32]
    held_out: NDArray[np.float32] | None = None

    @classmethod
    def reopen(cls, kept: Kept, settings: ImageOptions) -> Pixels:
        """Without any image."""
        return cls(kept, settings, np.zeros((0, *settings.shape), np.float32))

    def unseen(self, raw: Images) -> Pixels:
        """All of these images held out."""
        return replace(self, held_out=raw.images)

    def examples(self, raw: Images) -> Examples:
        """The images and their paths."""
        return Examples(raw.images, list(raw.names))

    def labelled(self, raw: LabelledImages) -> Labelled:
        """The images with their labels; raw: their pixels."""
        pixels = raw.images.reshape(len(raw.images), -1)
        return Labelled(
            raw.images, raw.names, raw.labels, raw.class_names, pixels, "raw pixels", raw.held_out
        )

    def describe(self) -> str:
        """How many there are."""
        count, height, width, channels = self.images.shape
        return f"{count:,} images of {height} x {width} pixels, {channels} channel" + (
            "s" * (channels > 1)
        )


class Images:
    """Images as they were read: (count, size, size, channels) with a name for each.

    ``files``: where each was read from, none for images that are in no file of their own.
    ``fitted``: what was done to those of another size or shape, for a person; "" for nothing.
    """

    default: ClassVar[str] = "digits"
    prepared: ClassVar[Any] = Pixels
    with_labels: ClassVar[Any]
    fields: ClassVar[tuple[str, ...]] = ("image_field",)

    def __init__(
        self,
        images: NDArray[np.float32],
        names: Sequence[str] = (),
        files: Sequence[Path] = (),
        fitted: str = "",
    ):
        check_images(images)
        for start in range(0, len(images), ROWS):  # a mask of all would take a quarter more memory
            finite = np.isfinite(images[start : start + ROWS]).all(axis=(1, 2, 3))
            if not finite.all():
                raise ValueError(
                    f"image {start + finite.argmin()} of {len(images)} has pixels that are NaN or "
                    "infinite"
                )
        self.images = images
        self.files = tuple(files)
        self.fitted = fitted
        self.names = tuple(names) or tuple(f"image {number}" for number in range(len(images)))

    @classmethod
    def read(cls, path: Path | None, settings: ImageOptions, fields: Fields = FIELDS) -> Images:
        """All images below a folder, or that a table names, or in a .npy or .npz.

        None: scikit-learn's 1,797 digits. See ``image_sources``.
        """
        found = read_images(find_images(path, settings, cls.default, "images"), settings, fields)
        return cls(found.images, found.paths, found.files, found.fitted)

    @classmethod
    def read_examples(
        cls, path: Path | None, settings: ImageOptions, fields: Fields = FIELDS
    ) -> Images:
        """Without labels or captions, whatever a kind has of these."""
        return Images.read(path, settings, fields)

    @classmethod
    def toy(cls, settings: ImageOptions, *, seed: int = 0) -> Images:
        """Forty generated images: a bright bar somewhere, with noise."""
        images, _ = _bars(settings, seed)
        return cls(images)

    def fingerprint(self) -> dict[str, Any]:
        """Of the files they were read from, by their names; of pixels without files."""
        if self.files:
            return {"images": len(self.images), **fingerprint.of_files(self.files, self.names)}
        return {"images": len(self.images), **fingerprint.of_array(self.images)}

    def some(self, most: int) -> Images:
        """At most so many of the images, always the same ones, with their names."""
        chosen = some_numbers(len(self.images), most)
        return Images(self.images[chosen], pick(self.names, chosen), self._files_of(chosen))

    def _files_of(self, chosen: NDArray[np.int64]) -> list[Path]:
        return pick(self.files, chosen) if self.files else []

    def prepare(self, kept: Kept, settings: ImageOptions, *, progress: bool = False) -> Pixels:
        """Nothing has to be learned from images."""
        return Pixels(kept, settings, self.images)


def _bars(settings: ImageOptions, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Noise with a bright row (class 0) or column (class 1)."""
    generator = np.random.default_rng(seed)
    images = 0.3 * generator.random((40, *settings.shape), dtype=np.float32)
    labels = np.arange(40) % 2
    for image, label, place in zip(images, labels, generator.integers(images.shape[1], size=40)):
        (image if label == 0 else image.swapaxes(0, 1))[place] += 0.6
    return images, labels


# ---- with labels ---------------------------------------------------------------------------------

MANY_CLASSES = 300  # whose counts would only fill a file


@dataclass(frozen=True)
class LabelledPixels(Pixels):
    """Images with labels (count,), held out with theirs.

    labels: numbers of the ``class_names``, or float64 where there are no classes.
    """

    labels: NDArray = field(default_factory=lambda: np.zeros(0, np.int64))
    held_out_labels: NDArray | None = None
    class_names: tuple[str, ...] = ()

    @classmethod
    def reopen(cls, kept: Kept, settings: ImageOptions) -> LabelledPixels:
        """Without any image; the names of the classes were kept."""
        none = np.zeros((0, *settings.shape), np.float32)
        names = kept_classes(kept)
        return cls(kept, settings, none, labels=no_labels(names), class_names=names)

    def unseen(self, raw: LabelledImages) -> LabelledPixels:  # type: ignore[override]
        """All of these images held out. Raises ValueError for a class that the run has not."""
        labels = as_in_the_run(raw.labels, raw.class_names, self.class_names)
        return replace(self, held_out=raw.images, held_out_labels=labels)


class LabelledImages(Images):
    """Images with labels (count,): numbers of the ``class_names``, or float64 without classes."""

    prepared = LabelledPixels
    fields = ("image_field", "label_field")

    def __init__(
        self,
        images: NDArray[np.float32],
        labels: NDArray,
        class_names: Sequence[str],
        names: Sequence[str] = (),
        held_out: NDArray[np.int64] | None = None,
        files: Sequence[Path] = (),
        fitted: str = "",
    ):
        super().__init__(images, names, files, fitted)
        self.labels = check_labels(labels, len(images), class_names)
        self.class_names = tuple(class_names)
        self.held_out = held_out

    @classmethod
    def read(
        cls, path: Path | None, settings: ImageOptions, fields: Fields = FIELDS,
        *, labels: str = "class",
    ) -> LabelledImages:  # fmt: skip
        """A folder with one folder of images per class, a table, a .npz with ``labels``.

        None: scikit-learn's digits.
        """
        place = find_images(path, settings, cls.default, "labelled images")
        found = read_images(place, settings, fields, labels)
        assert found.labels is not None
        train = 0 if isinstance(place, Path) else place.train
        held_out = np.arange(train, len(found.images)) if train else None
        return cls(
            found.images, found.labels, found.class_names, found.paths, held_out, found.files,
            found.fitted,
        )  # fmt: skip

    @classmethod
    def toy(cls, settings: ImageOptions, *, seed: int = 0, labels: str = "class") -> LabelledImages:
        """Forty generated images of two classes: the bright bar lies or stands; or how bright."""
        images, numbers = _bars(settings, seed)
        if labels == "number":
            return cls(images, images.mean(axis=(1, 2, 3)).astype(np.float64), ())
        return cls(images, numbers, ("lying", "standing"))

    def fingerprint(self) -> dict[str, Any]:
        """That of the images, with every label, and how many each class has."""
        examples = super().fingerprint()
        parts = (json.dumps(self.class_names).encode(), self.labels.tobytes())
        if not 0 < len(self.class_names) <= MANY_CLASSES:
            return fingerprint.combined(examples, *parts)
        counts = np.bincount(self.labels, minlength=len(self.class_names)).tolist()
        classes = dict(zip(self.class_names, counts))
        return fingerprint.combined(examples, *parts, classes=classes)

    def some(self, most: int) -> LabelledImages:
        """At most so many images with their labels: see ``some_of_split``."""
        chosen, tested = some_of_split(len(self.images), most, self.held_out)
        return LabelledImages(
            self.images[chosen], self.labels[chosen], self.class_names, pick(self.names, chosen),
            tested, self._files_of(chosen),
        )  # fmt: skip

    def prepare(
        self, kept: Kept, settings: ImageOptions, *, progress: bool = False
    ) -> LabelledPixels:
        """Hold out a third of the images, the same ones in every run: see ``split_labelled``."""
        if self.class_names:
            require_two(self.class_names, len(self.images), "images")
        kept = keep_classes(kept, self.class_names)
        train, test = split_labelled(len(self.images), self.held_out)
        _tell_classes_without(self.labels[train], self.class_names, len(test), len(self.images))
        return LabelledPixels(
            kept, settings, self.images[train], self.images[test],
            labels=self.labels[train], held_out_labels=self.labels[test],
            class_names=self.class_names,
        )  # fmt: skip


def _tell_classes_without(
    labels: NDArray, class_names: Sequence[str], held_out: int, images: int
) -> None:
    """Warn of classes that no image of the training part is of."""
    missing = np.setdiff1d(np.arange(len(class_names)), labels)
    if len(missing):
        warnings.warn(
            f"{len(missing)} of {len(class_names)} classes, {class_names[missing[0]]!r} among "
            f"them, have no image to learn from, after {held_out} of {images} were held out: give "
            "more of them",
            stacklevel=3,
        )


Images.with_labels = LabelledImages

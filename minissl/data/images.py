"""Images without labels: a folder of files becomes one array. Lecture 12."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from minissl.data import FIELDS, Examples, Fields, Kept
from minissl.data.labels import Labelled, check_labels, split_labelled
from minissl.options import Options, option
from minissl.vision.images import ImageFolder, check_images, load_digits, load_image_folder


@dataclass(frozen=True, kw_only=True)
class ImageOptions(Options):
    """What every image is turned into when it is read."""

    image_size: int = option(8, "height and width images are resized to", least=4, most=512)
    channels: int = option(1, "1 for grey, 3 for colour", least=1, most=3)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels == 2:
            raise ValueError("channels must be 1 (grey) or 3 (colour), got 2")


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
        size = settings.image_size
        return cls(kept, settings, np.zeros((0, size, size, settings.channels), np.float32))

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
        return f"{len(self.images):,} images of {self.settings.image_size} x " + (
            f"{self.settings.image_size} pixels, {self.settings.channels} channel"
            + "s" * (self.settings.channels > 1)
        )


class Images:
    """Images as they were read: (count, size, size, channels) with a name for each."""

    default: ClassVar[str] = "scikit-learn's digits"
    prepared: ClassVar[Any] = Pixels
    with_labels: ClassVar[Any]
    fields: ClassVar[tuple[str, ...]] = ("image_field",)

    def __init__(self, images: NDArray[np.float32], names: Sequence[str] = ()):
        check_images(images)
        if len(bad := np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))):
            raise ValueError(f"image {bad[0]} of {len(images)} has pixels that are NaN or infinite")
        self.images = images
        self.names = tuple(names) or tuple(f"image {number}" for number in range(len(images)))

    @classmethod
    def read(cls, path: Path | None, settings: ImageOptions, fields: Fields = FIELDS) -> Images:
        """All images below a folder, or (None) scikit-learn's 1,797 digits."""
        folder = _read(path, settings)
        return cls(folder.images, folder.paths)

    @classmethod
    def toy(cls, settings: ImageOptions, *, seed: int = 0) -> Images:
        """Forty generated images: a bright bar somewhere, with noise."""
        images, _ = _bars(settings, seed)
        return cls(images)

    def fingerprint(self) -> dict[str, Any]:
        """Number, shape and the SHA-256 of all pixels, as they were read."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images).data).hexdigest()
        return {"images": len(self.images), "shape": list(self.images.shape[1:]), "sha256": digest}

    def prepare(self, kept: Kept, settings: ImageOptions, *, progress: bool = False) -> Pixels:
        """Nothing has to be learned from images."""
        return Pixels(kept, settings, self.images)


def _read(path: Path | None, settings: ImageOptions) -> ImageFolder:
    """A folder of images in the size the settings want, or (None) all of scikit-learn's digits."""
    if path is not None:
        return load_image_folder(path, settings.image_size, settings.channels)
    if (settings.image_size, settings.channels) != (8, 1):
        raise ValueError(
            f"the digits have size 8 and 1 channel, got {settings.image_size} and "
            f"{settings.channels}: give a folder of images, or leave the two options out"
        )
    digits = load_digits()
    names = tuple(str(digit) for digit in range(10))
    images = np.concatenate([digits.train_images, digits.test_images])
    labels = np.concatenate([digits.train_labels, digits.test_labels])
    return ImageFolder(images, labels, names, tuple(f"digit {i}" for i in range(len(images))))


def _bars(settings: ImageOptions, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Noise with a bright row (class 0) or column (class 1)."""
    generator = np.random.default_rng(seed)
    size = settings.image_size
    images = 0.3 * generator.random((40, size, size, settings.channels), dtype=np.float32)
    labels = np.arange(40) % 2
    for image, label, place in zip(images, labels, generator.integers(size, size=40)):
        (image if label == 0 else image.swapaxes(0, 1))[place] += 0.6
    return images, labels


# ---- with labels ---------------------------------------------------------------------------------

CLASSES = "classes.json"


@dataclass(frozen=True)
class LabelledPixels(Pixels):
    """Images with labels (count,), numbers of the ``class_names``; held out with theirs."""

    labels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    held_out_labels: NDArray[np.int64] | None = None
    class_names: tuple[str, ...] = ()

    @classmethod
    def reopen(cls, kept: Kept, settings: ImageOptions) -> LabelledPixels:
        """Without any image; the names of the classes were kept."""
        size = settings.image_size
        none = np.zeros((0, size, size, settings.channels), np.float32)
        return cls(kept, settings, none, class_names=_class_names(kept))

    def unseen(self, raw: LabelledImages) -> LabelledPixels:  # type: ignore[override]
        """All of these images held out. Raises ValueError for a class that the run has not."""
        if strange := sorted({*raw.class_names} - {*self.class_names}):
            raise ValueError(
                f"class {strange[0]!r} is not one of this run: {', '.join(self.class_names)}"
            )
        numbers = np.array([self.class_names.index(name) for name in raw.class_names])
        return replace(self, held_out=raw.images, held_out_labels=numbers[raw.labels])


class LabelledImages(Images):
    """Images in one folder per class: labels (count,) are numbers of the ``class_names``."""

    prepared = LabelledPixels
    fields = ("image_field", "label_field")

    def __init__(
        self,
        images: NDArray[np.float32],
        labels: NDArray,
        class_names: Sequence[str],
        names: Sequence[str] = (),
        held_out: NDArray[np.int64] | None = None,
    ):
        super().__init__(images, names)
        self.labels = check_labels(labels, len(images), class_names)
        self.class_names = tuple(class_names)
        self.held_out = held_out

    @classmethod
    def read(
        cls, path: Path | None, settings: ImageOptions, fields: Fields = FIELDS,
        *, labels: str = "class",
    ) -> LabelledImages:  # fmt: skip
        """A folder with one folder of images per class, or (None) scikit-learn's digits."""
        folder = _read(path, settings)
        if folder.labels is None:
            raise ValueError(
                f"{path} has images outside of class folders: put the images of each class "
                "into a folder of their own, named after the class"
            )
        # Without a path: the split of the lectures and of the demo, 1,200 and 597 images.
        held_out = np.arange(1200, len(folder.images)) if path is None else None
        return cls(folder.images, folder.labels, folder.class_names, folder.paths, held_out)

    @classmethod
    def toy(cls, settings: ImageOptions, *, seed: int = 0, labels: str = "class") -> LabelledImages:
        """Forty generated images of two classes: the bright bar lies or stands; or how bright."""
        images, numbers = _bars(settings, seed)
        if labels == "number":
            return cls(images, images.mean(axis=(1, 2, 3)).astype(np.float64), ())
        return cls(images, numbers, ("lying", "standing"))

    def fingerprint(self) -> dict[str, Any]:
        """That of the images, with the names of the classes and how many each has."""
        fingerprint = super().fingerprint()
        counts = [int(np.sum(self.labels == number)) for number in range(len(self.class_names))]
        labels = np.ascontiguousarray(self.labels).tobytes()
        both = f"{fingerprint['sha256']} {self.class_names}".encode() + labels
        classes = dict(zip(self.class_names, counts))
        return {**fingerprint, "classes": classes, "sha256": hashlib.sha256(both).hexdigest()}

    def prepare(
        self, kept: Kept, settings: ImageOptions, *, progress: bool = False
    ) -> LabelledPixels:
        """Hold out a third of the images, the same ones in every run: see ``split_labelled``."""
        names = json.dumps(list(self.class_names)).encode()
        kept = Kept({CLASSES: names, **kept}, kept.folder)
        if _class_names(kept) != self.class_names:
            raise ValueError(
                f"{kept.place(CLASSES)} has the classes {', '.join(_class_names(kept))}, the "
                f"images have {', '.join(self.class_names)}: use the classes of the run"
            )
        if len(self.class_names) < 2:
            raise ValueError(
                f"{len(self.images)} labelled image(s) of {len(self.class_names)} class(es): there "
                "is nothing to tell apart, give two classes or more"
            )
        train, test = split_labelled(len(self.images), self.held_out)
        return LabelledPixels(
            kept, settings, self.images[train], self.images[test],
            labels=self.labels[train], held_out_labels=self.labels[test],
            class_names=self.class_names,
        )  # fmt: skip


def _class_names(kept: Kept) -> tuple[str, ...]:
    """The kept names of the classes. ValueError for anything but a list of texts."""
    names = json.loads(kept.get(CLASSES, b"null"))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{kept.place(CLASSES)} is no list of class names: it is damaged")
    return tuple(names)


Images.with_labels = LabelledImages

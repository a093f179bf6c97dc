"""Images with captions: each says what is to be seen. Lecture 13."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from minissl.data import FIELDS, Examples, Fields, Kept, fingerprint
from minissl.data.image_sources import images_of_table
from minissl.data.images import ImageOptions, Images, LabelledImages
from minissl.data.labels import Labelled, split_by_hash
from minissl.data.pairs import table_at
from minissl.data.streams import TextOptions, Tokenized, keep_tokenizer, kept_tokenizer
from minissl.options import several


@dataclass(frozen=True, kw_only=True)
class CaptionOptions(ImageOptions, TextOptions):
    """How images and their captions are read."""


@dataclass(frozen=True)
class CaptionedPixels(Tokenized):
    """Images (count, size, size, channels) with the tokens of a caption each; none if reopened.

    New examples are images: with labels they are those of ``LabelledImages``.
    """

    settings: CaptionOptions
    images: NDArray[np.float32]
    captions: list[list[int]]
    held_out: NDArray[np.float32] | None = None
    held_out_captions: list[list[int]] | None = None

    @classmethod
    def reopen(cls, kept: Kept, settings: CaptionOptions) -> CaptionedPixels:
        """The tokenizer. Raises ValueError when it is missing."""
        none = np.zeros((0, *settings.shape), np.float32)
        return cls(kept, kept_tokenizer(kept, settings), settings, none, [])

    def unseen(self, raw: Captioned) -> CaptionedPixels:
        """All of these images held out, with their captions."""
        captions = [self.tokens(caption) for caption in raw.captions]
        return replace(self, held_out=raw.images, held_out_captions=captions)

    def examples(self, raw: Images) -> Examples:  # type: ignore[override]
        """The images and their paths."""
        return Examples(raw.images, list(raw.names))

    def labelled(self, raw: LabelledImages) -> Labelled:  # type: ignore[override]
        """The images with their labels; raw: their pixels."""
        pixels = raw.images.reshape(len(raw.images), -1)
        return Labelled(
            raw.images, raw.names, raw.labels, raw.class_names, pixels, "raw pixels", raw.held_out
        )

    def describe(self) -> str:
        """How many images, and how many are held out."""
        held_out = 0 if self.held_out is None else len(self.held_out)
        return f"{len(self.images) + held_out:,} images with captions, {held_out:,} held out"


class Captioned(Images):
    """Images as they were read, with a caption for each."""

    default = ""
    prepared: ClassVar[Any] = CaptionedPixels
    with_labels = LabelledImages
    fields = ("image_field", "text_field")

    def __init__(
        self,
        images: NDArray[np.float32],
        captions: Sequence[str],
        names: Sequence[str] = (),
        files: Sequence[Path] = (),
        fitted: str = "",
    ):
        super().__init__(images, names, files, fitted)
        self.captions = tuple(several(captions, "captions"))
        if len(self.captions) != len(images):
            raise ValueError(f"got {len(self.captions)} captions for {len(images)} images")

    @classmethod
    def read(cls, path: Path | None, settings: ImageOptions, fields: Fields = FIELDS) -> Captioned:
        """The columns ``image_field`` (paths, see ``images_of_table``) and ``text_field``.

        An image with five captions is five rows.
        """
        table = table_at(path, fields, "images with captions", cls.fields)
        captions = table.texts("text_field")
        found = images_of_table(table, settings)
        return cls(found.images, captions, found.paths, found.files, found.fitted)

    @classmethod
    def toy(cls, settings: ImageOptions, *, seed: int = 0) -> Captioned:
        """Forty generated images of a bar, and in words whether it lies or stands."""
        labelled = LabelledImages.toy(settings, seed=seed)
        words = [f"a {labelled.class_names[label]} bar" for label in labelled.labels]
        return cls(labelled.images, words)

    def fingerprint(self) -> dict[str, Any]:
        """That of the images, with every caption."""
        return fingerprint.combined(super().fingerprint(), json.dumps(self.captions).encode())

    def prepare(  # type: ignore[override]
        self, kept: Kept, settings: CaptionOptions, *, progress: bool = False
    ) -> CaptionedPixels:
        """Hold out a twentieth of the images, train a tokenizer on the captions of the others.

        The hash of an image decides, so that all of its captions are on one side. Raises
        ValueError when all images are equal.
        """
        train, test = split_by_hash(image.tobytes() for image in self.images)
        kept = keep_tokenizer([self.captions[i] for i in train], kept, settings, progress=progress)
        reader = CaptionedPixels.reopen(kept, settings)
        tokens = [reader.tokens(caption) for caption in self.captions]
        return replace(
            reader,
            images=self.images[train],
            captions=[tokens[i] for i in train],
            held_out=self.images[test],
            held_out_captions=[tokens[i] for i in test],
        )

"""What all methods of two views share: the batch, the representation, the measurements. Lecture 12.

Two random views of an image should have similar embeddings. A method below ``TwoViews`` says how
the two sides are compared, and what keeps all images from becoming the same.
"""

import warnings
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.tensor import Tensor
from minissl.data.images import ImageOptions, Images, Pixels
from minissl.models.convolutional import ConvEncoder, depth_for
from minissl.nn.evaluating import evaluating
from minissl.nn.module import Module
from minissl.nn.resnet import ResNet
from minissl.options import option
from minissl.pretrain.method import Pretraining, Training
from minissl.training import diagnostics
from minissl.vision.augment import AUGMENTATIONS, IN_COLOUR, Augmentation
from minissl.vision.images import check_images

MEASURED = 2048  # held-out images at most: a loss of N images has memory and time of N squared


@dataclass(frozen=True, kw_only=True)
class EncoderSettings(Training, ImageOptions):
    """A convolutional encoder, and what is done to the images that it sees."""

    encoder: str = option(
        "conv",
        "the network: conv, a few convolutions and a Linear; resnet18, with BatchNorm",
        choices=("conv", "resnet18"),
    )
    features: int = option(
        128,
        "width of the representation; of resnet18 a multiple of 8: 512 is the published network, "
        "128 one a quarter as wide",
        least=1,
        most=1 << 16,
    )
    depth: int = option(
        0, "convolutions of conv; 0: 3, and more until at most 8 x 8 places are left", least=0,
        most=12,
    )  # fmt: skip
    augmentation: str = option(
        "auto",
        "what is changed in an image; auto: digits in grey, small-photos in colour, photos in "
        "colour from 64 x 64 on",
        choices=("auto", *AUGMENTATIONS),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder == "resnet18" and self.features % 8:
            raise ValueError(
                f"features of resnet18 must be a multiple of 8, got {self.features}: its last "
                "stage is 8 times as wide as its first"
            )

    def settled(self, data: Any) -> Self:
        """With the size and channels of the data, the augmentation and the depth for them."""
        sized = super().settled(data)
        depth = sized.layers() if self.encoder == "conv" else self.depth
        return replace(sized, augmentation=sized.augmentation_name(), depth=depth)

    @classmethod
    def older(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Before there was a choice of encoders, size decided neither its depth nor "auto"."""
        if "encoder" in values:
            return values
        chosen = dict(values)
        if chosen.get("augmentation", "auto") == "auto":
            chosen["augmentation"] = "photos" if chosen.get("channels", 1) == 3 else "digits"
        return {"image_size": 8, "channels": 1, "depth": 3, **chosen}

    def augmentation_name(self) -> str:
        """A name in ``AUGMENTATIONS``, chosen by channels and size where it is "auto"."""
        size, _, channels = self.shape
        if self.augmentation != "auto":
            return self.augmentation
        return "digits" if channels == 1 else "small-photos" if size < 64 else "photos"

    def augment(self) -> Augmentation:
        """The augmentation of this name, at this size.

        Raises ValueError for one that changes colours, on grey images.
        """
        name = self.augmentation_name()
        size, _, channels = self.shape
        if channels == 1 and name in IN_COLOUR:
            raise ValueError(
                f"augmentation {name} changes colours, the images are grey: choose digits, or "
                "channels 3"
            )
        return AUGMENTATIONS[name](size)

    def layers(self) -> int:
        """How many convolutions the encoder "conv" has."""
        return self.depth or depth_for(self.shape[0])

    def new_encoder(self, generator: np.random.Generator) -> Any:
        """The encoder with random weights: images -> (batch, features)."""
        size, _, channels = self.shape
        if self.encoder == "resnet18":
            return ResNet(channels, self.features // 8, generator=generator)
        widths = (32, *[64] * (self.layers() - 1))
        return ConvEncoder(
            size, channels, widths=widths, features=self.features, generator=generator
        )


@dataclass(frozen=True, kw_only=True)
class ViewSettings(EncoderSettings):
    """An encoder with a projection head, and how it is trained on pairs of views."""

    embedding: int = option(
        64, "width after the projection head, where the loss is", least=2, most=1 << 16
    )
    batch_size: int = option(256, "images per step; each gives two views", least=2, most=1 << 20)


class ImageMethod(Pretraining):
    """Pretraining of a ``model`` whose part ``encoder`` represents images."""

    @property
    def encoder(self) -> Module:
        """Without what stands on it."""
        return self.model.encoder

    @property
    def width(self) -> int:
        """Of what the encoder makes of an image."""
        return self.model.encoder.features

    def encode(self, batch: NDArray, generator: np.random.Generator | None = None) -> Tensor:
        """What the encoder, without the head, makes of images: (batch, features)."""
        return self.model.encoder(batch)


class TwoViews(ImageMethod):
    """Pretraining by agreement between views.

    images: (count, height, width, channels), unlabelled; none where the method is only used.
    augment: ``(images, generator) -> images``. ``model``: images -> embeddings, with the part
    ``encoder`` that represents. held_out: images for ``evaluate``, by default the first
    ``batch_size`` training images; of more than ``MEASURED`` so many.

    Raises ValueError for fewer images than ``batch_size``.
    """

    Settings = ViewSettings
    Data = Images
    Model: ClassVar[Any]  # made of an encoder, its features, the embedding's width, a generator

    def __init__(
        self,
        model: Any,
        images: NDArray,
        augment: Augmentation,
        *,
        batch_size: int = 256,
        held_out: NDArray | None = None,
    ):
        check_images(images)
        if len(images) == 1:
            raise ValueError("there is one image: views need two or more that differ")
        if batch_size < 1 or (len(images) and batch_size > len(images)):
            raise ValueError(
                f"batch_size is {batch_size}, but there are {len(images)} different images: an "
                "image twice in a batch would be its own negative"
            )
        self.model, self.images, self.augment = model, images, augment
        self.batch_size = batch_size
        held_out = images[:batch_size] if held_out is None else some_of(held_out)
        self._held_out_views = self._views(held_out, np.random.default_rng(0))

    @classmethod
    def new_model(cls, settings: Any, *, seed: int = 0) -> Any:
        """The encoder and all that stands on it, with random weights."""
        generator = np.random.default_rng(seed)
        encoder = settings.new_encoder(generator)
        return cls.Model(
            encoder, features=settings.features, embedding=settings.embedding, generator=generator
        )

    @classmethod
    def build(cls, settings: Any, data: Pixels, *, seed: int = 0) -> Self:
        """The method of the settings on the images of the data.

        With fewer images than ``batch_size`` each batch has all of them, and a warning says so.
        """
        settings = settings.settled(data)
        return cls(
            cls.new_model(settings, seed=seed),
            data.images,
            settings.augment(),
            batch_size=batch_of(settings.batch_size, len(data.images)),
            held_out=data.held_out,
            **cls.choices(settings),
        )

    @classmethod
    def choices(cls, settings: Any) -> dict[str, Any]:
        """The arguments that only this method has."""
        return {}

    def batch(self, generator: np.random.Generator) -> NDArray:
        """Two views of ``batch_size`` different images, first views on top: (2 batch_size, ...)."""
        if not len(self.images):
            raise ValueError("there are no images to train on: this method was opened to be used")
        chosen = generator.choice(len(self.images), self.batch_size, replace=False)
        return self._views(self.images[chosen], generator)

    def _views(self, images: NDArray, generator: np.random.Generator) -> NDArray:
        return np.concatenate([self.augment(images, generator), self.augment(images, generator)])

    def loss(self, batch: NDArray, generator: np.random.Generator | None = None) -> Tensor:
        """The mean loss of a batch of views; nothing in it is random.

        The views of all processes are negatives, so that N of them see a batch N times as large.
        """
        return self.compare(self.model(batch), batch, gather=True)

    @abstractmethod
    def compare(self, embeddings: Tensor, views: NDArray, *, gather: bool) -> Tensor:
        """The loss of the embeddings (2 batch, embedding) of these views, the first ones on top.

        ``gather``: with the embeddings of all processes.
        """

    def evaluate(self) -> dict[str, float]:
        """The loss and the health of the embeddings on held-out views, always the same ones."""
        if not len(self._held_out_views):
            return {}
        with evaluating(self.model):
            views = self.model(self._held_out_views)
            loss = self.compare(views, self._held_out_views, gather=False)
        first, second = np.split(views.numpy(), 2)
        return {
            "held_out_loss": loss.item(),
            "z_std": diagnostics.z_std(first),
            "effective_rank": diagnostics.effective_rank(first),
            "alignment": diagnostics.alignment(first, second),
            "uniformity": diagnostics.uniformity(first),
        }


def some_of(held_out: NDArray) -> NDArray:
    """All, or ``MEASURED`` random ones of more, with a warning: they are compared all with all."""
    if len(held_out) <= MEASURED:
        return held_out
    warnings.warn(
        f"the method measures itself on {MEASURED:,} of the {len(held_out):,} held-out images",
        stacklevel=3,
    )
    return held_out[np.random.default_rng(0).permutation(len(held_out))[:MEASURED]]


def batch_of(size: int, images: int) -> int:
    """The batch size, or the number of images where there are fewer, with a warning."""
    if not 0 < images < size:
        return size
    warnings.warn(
        f"there are only {images} images: each batch has all of them, not batch_size {size}",
        stacklevel=3,
    )
    return images

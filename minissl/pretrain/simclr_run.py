"""From images to a SimCLR encoder in a run folder, and back from the folder. Lecture 12."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minissl.optim import AdamW, warmup_cosine
from minissl.pretrain.opening import open_run
from minissl.pretrain.settings import SimCLRSettings
from minissl.pretrain.simclr import ConvEncoder, SimCLR, SimCLRModel
from minissl.training import History, fit
from minissl.vision.augment import Augmentation, digits_augmentation, simclr_augmentation
from minissl.vision.images import ImageFolder, load_digits, load_image_folder


class OpenedSimCLR(NamedTuple):
    """A pretrained encoder as a method (``represent``), and what its images must look like."""

    method: SimCLR
    settings: SimCLRSettings


def read_images(path: Path | None, settings: SimCLRSettings) -> ImageFolder:
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


def build_simclr(settings: SimCLRSettings, *, seed: int) -> SimCLRModel:
    """The encoder and its head with random weights."""
    generator = np.random.default_rng(seed)
    encoder = ConvEncoder(
        settings.image_size, settings.channels, features=settings.features, generator=generator
    )
    return SimCLRModel(
        encoder, features=settings.features, embedding=settings.embedding, generator=generator
    )


def augmentation(settings: SimCLRSettings) -> Augmentation:
    """Colour images get the paper's augmentations, small grey ones crops, shifts and noise."""
    return simclr_augmentation() if settings.channels == 3 else digits_augmentation()


def pretrain_simclr(
    images: np.ndarray,
    folder: Path | None,
    settings: SimCLRSettings,
    *,
    seed: int = 0,
    device: str = "cpu",
    precision: str = "float32",
    progress: bool | str = True,
) -> tuple[SimCLR, History]:
    """Pretrain in the folder, or continue what was begun there with the same settings."""
    model = build_simclr(settings, seed=seed)
    model.to(device)
    method = SimCLR(
        model,
        images,
        augmentation(settings),
        batch_size=min(settings.batch_size, len(images)),
        loss=settings.loss,
        temperature=settings.temperature,
    )
    history = train_simclr(
        method, folder, settings, seed=seed, precision=precision, progress=progress
    )
    return method, history


def train_simclr(
    method: SimCLR,
    folder: Path | None,
    settings: SimCLRSettings,
    *,
    seed: int = 0,
    precision: str = "float32",
    progress: bool | str = True,
) -> History:
    """Train a method that is already built, as the settings say: steps, learning rate, decay."""
    return fit(
        method,
        AdamW(method.model.named_parameters(), weight_decay=settings.weight_decay),
        steps=settings.steps,
        schedule=lambda step: warmup_cosine(
            step,
            peak=settings.learning_rate,
            warmup_steps=settings.steps // 20,
            total_steps=settings.steps,
        ),
        seed=seed,
        precision=precision,
        evaluate_every=max(1, settings.steps // settings.evaluations),
        run=folder,
        config={"method": "simclr", "images": len(method.images), "settings": asdict(settings)},
        progress=progress,
    )


def open_simclr(folder: str | Path) -> OpenedSimCLR:
    """The method of a run with the weights of its newest good checkpoint; it has no images.

    Raises CheckpointError when there is no checkpoint, ValueError for a run of another method.
    """
    checkpoint = open_run(folder, "simclr")
    settings = SimCLRSettings(**checkpoint.config["settings"])
    model = build_simclr(settings, seed=0)
    model.load_state_dict(checkpoint.weights)
    model.eval()
    blank = np.zeros((1, settings.image_size, settings.image_size, settings.channels), np.float32)
    return OpenedSimCLR(SimCLR(model, blank, augmentation(settings), batch_size=1), settings)

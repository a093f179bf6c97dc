"""What all methods on images are told: sizes as the data has them, encoders, augmentations."""

import json
from dataclasses import replace

import numpy as np
import pytest

from minissl.adapt.heads.neighbors import nearest_neighbor_accuracy
from minissl.adapt.run import open_adaptation
from minissl.data import Kept
from minissl.data.images import Images, LabelledImages
from minissl.models.convolutional import ConvEncoder, depth_for
from minissl.nn import ResNet
from minissl.options import from_json
from minissl.pretrain import load_method, method_names
from minissl.pretrain.images.simclr import SimCLR, SimCLRSettings
from minissl.pretrain.run import open_run, pretrain
from minissl.pretrain.views import EncoderSettings
from minissl.vision.augment import AUGMENTATIONS, compose
from minissl.vision.color import (
    additive_noise,
    random_color_jitter,
    random_grey,
    random_intensity,
)
from minissl.vision.warp import random_affine, random_horizontal_flip, random_resized_crop
from tests.adapt.toy import adapted
from tests.pretrain.toy import toy_data, toy_settings

ON_IMAGES = [n for n in method_names() if issubclass(load_method(n).Settings, EncoderSettings)]
every_method_on_images = pytest.mark.parametrize("name", ON_IMAGES)


def some_images(size, channels, count=12):
    return np.random.default_rng(0).random((count, size, size, channels), dtype=np.float32)


@every_method_on_images
@pytest.mark.parametrize(
    ("size", "channels", "augmentation"),
    [(8, 1, "digits"), (28, 1, "digits"), (10, 3, "small-photos")],
)
def test_sizes_that_nobody_asked_for_are_those_of_the_data(
    name, size, channels, augmentation, tmp_path
):
    kind, images = load_method(name), some_images(size, channels)
    left = toy_settings(
        name, image_size=0, channels=0, augmentation="auto", depth=0, steps=1, labels_per_class=1
    )
    labels = np.arange(12) % 2
    data = (
        LabelledImages(images, labels, [*"ab"]) if kind.Data is LabelledImages else Images(images)
    )
    trained = pretrain(kind, data, left, tmp_path, progress=False)
    opened = open_run(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["config"][
        "settings"
    ]
    for found in (opened.settings, from_json(kind.Settings, stored, "")):
        assert (found.image_size, found.channels, found.depth) == (size, channels, 3)
        assert found.augmentation == augmentation
    np.testing.assert_array_equal(opened.method.represent(images), trained.method.represent(images))
    pretrain(kind, data, left, tmp_path, progress=False)  # the same once more: it goes on
    other = replace(left, image_size=9)
    with pytest.raises(ValueError, match=rf"images are {size} x {size} x .* ask for 9 x 9"):
        pretrain(kind, data, other, tmp_path / "other", progress=False)
    with pytest.raises(ValueError, match="5 x 8 x 1, expected squares"):
        left.settled(Images(images[:, :5, :8, :1]))


def test_settings_of_runs_from_before_these_choices_mean_what_they_meant():
    old = {"image_size": 64, "channels": 3, "augmentation": "auto", "features": 32}
    found = from_json(SimCLRSettings, old, "")
    assert (found.depth, found.augmentation, found.fit, found.encoder) == (
        3,
        "photos",
        "crop",
        "conv",
    )
    assert found.settled(Images(some_images(64, 3))) == found
    encoder = found.new_encoder(np.random.default_rng(0))
    assert encoder.output.weight.shape == (32, 16 * 16 * 64)
    empty = from_json(SimCLRSettings, {}, "")
    assert (empty.image_size, empty.channels, empty.augmentation) == (8, 1, "digits")
    new = SimCLRSettings(image_size=64, channels=3)
    assert from_json(SimCLRSettings, vars(new), "") == new


# ---- encoders -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "depth", "places"),
    [(4, 3, 1), (8, 3, 2), (28, 3, 7), (32, 3, 8), (33, 4, 5), (96, 5, 6)],
)
def test_the_depth_leaves_few_places(size, depth, places):
    assert depth_for(size) == depth
    settings = SimCLRSettings(image_size=size, channels=3, features=5)
    encoder = settings.new_encoder(np.random.default_rng(0))
    assert len(encoder.convolutions) == depth
    assert encoder.output.weight.shape == (5, places * places * 64)
    assert encoder(some_images(size, 3, 2)).shape == (2, 5)


def test_images_of_another_size_are_refused_with_both_shapes():
    encoder = ConvEncoder(8, 1, generator=np.random.default_rng(0))
    for images in (some_images(28, 1), some_images(8, 3)):
        with pytest.raises(
            ValueError, match=r"images of shape \(12, .*made for \(batch, 8, 8, 1\)"
        ):
            encoder(images)


def test_features_of_resnet18_are_eight_times_its_width():
    settings = SimCLRSettings(encoder="resnet18", features=24, image_size=8, channels=3)
    encoder = settings.new_encoder(np.random.default_rng(0))
    assert isinstance(encoder, ResNet)
    assert encoder.start.weight.shape == (3, 3, 3, 3)
    assert encoder.features == 24
    assert len(encoder.blocks) == 8
    with pytest.raises(ValueError, match="features of resnet18 must be a multiple of 8, got 100"):
        SimCLRSettings(encoder="resnet18", features=100)
    published = SimCLRSettings(encoder="resnet18", features=512, channels=3)
    assert published.new_encoder(np.random.default_rng(0)).num_parameters() == 11_168_832


@every_method_on_images
def test_batch_norm_is_in_evaluation_mode_when_the_encoder_is_used(name, tmp_path):
    """An image is represented alike alone, among its fellows, and among much brighter ones."""
    settings = toy_settings(name, encoder="resnet18", features=16, steps=2)
    data = toy_data(name, settings)
    trained = pretrain(load_method(name), data, settings, tmp_path, progress=False)
    images = data.images[:6]
    for method in (trained.method, open_run(tmp_path).method):
        usual = method.represent(images)
        assert usual.shape == (6, 16)
        scale = np.abs(usual).max()
        alone = method.represent(images[:1])
        np.testing.assert_allclose(alone, usual[:1], rtol=1e-4, atol=1e-5 * scale)
        brighter = method.represent(np.concatenate([images[:1], images[1:] + 5]))
        np.testing.assert_allclose(brighter[:1], usual[:1], rtol=1e-4, atol=1e-5 * scale)
        method.model.train()  # where it would matter, and must not
        np.testing.assert_array_equal(method.represent(images), usual)
        training = method.encode(np.concatenate([images[:1], images[1:] + 5])).numpy()
        assert np.abs(training[:1] - usual[:1]).max() > 0.01 * scale  # or nothing would be tested
    kept = LabelledImages.toy(settings).prepare(Kept(), settings)
    rows, held_out = map(trained.method.represent, (kept.images, kept.held_out))
    found = nearest_neighbor_accuracy(rows, kept.labels, held_out, kept.held_out_labels, k=1)
    one = np.concatenate([trained.method.represent(image[None]) for image in kept.held_out])
    assert found == nearest_neighbor_accuracy(rows, kept.labels, one, kept.held_out_labels, k=1)


@pytest.mark.parametrize("name", ["finetune", "lora"])
def test_an_adapted_resnet_is_opened_as_it_was(name, tmp_path):
    """With the statistics of its BatchNorm, which the thin matrices of LoRA do not keep."""
    settings = toy_settings("simclr", encoder="resnet18", features=16, steps=1)
    data = toy_data("simclr", settings)
    pretrain(SimCLR, data, settings, tmp_path / "base", progress=False)
    made = adapted(name, open_run(tmp_path / "base"), tmp_path / "adapted").method
    opened = open_adaptation(tmp_path / "adapted").method
    for images in (data.images, data.images[:1]):
        wanted = made.probabilities(data.images)[: len(images)]
        np.testing.assert_allclose(opened.probabilities(images), wanted, rtol=1e-4, atol=1e-5)


# ---- augmentations ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "channels", "name"),
    [
        (8, 1, "digits"),
        (96, 1, "digits"),
        (32, 3, "small-photos"),
        (63, 3, "small-photos"),
        (64, 3, "photos"),
        (96, 3, "photos"),
    ],
)
def test_the_augmentation_is_chosen_by_channels_and_size(size, channels, name):
    settings = SimCLRSettings(image_size=size, channels=channels)
    images = some_images(size, channels, 4)
    rng = np.random.default_rng
    wanted = AUGMENTATIONS[name](size)(images, rng(3))
    np.testing.assert_array_equal(settings.augment()(images, rng(3)), wanted)
    assert settings.settled(Images(images)).augmentation == name
    asked = replace(settings, augmentation="digits").settled(Images(images))
    assert asked.augmentation == "digits"


def test_colours_of_grey_images_are_not_changed():
    for name in ("photos", "small-photos"):
        settings = SimCLRSettings(image_size=32, channels=1, augmentation=name)
        with pytest.raises(ValueError, match=f"{name} changes colours, the images are grey"):
            settings.augment()


def test_small_photos_are_augmented_as_in_the_papers_appendix_on_cifar():
    """Half of the strength, and no blur (Chen et al. 2020, B.9)."""
    by_hand = compose(
        lambda i, g: random_resized_crop(i, g, (0.08, 1.0), (3 / 4, 4 / 3)),
        lambda i, g: random_horizontal_flip(i, g, 0.5),
        lambda i, g: random_color_jitter(i, g, 0.4, 0.4, 0.4, 0.1, 0.8),
        lambda i, g: random_grey(i, g, 0.2),
    )
    images, rng = some_images(32, 3, 64), np.random.default_rng
    found = AUGMENTATIONS["small-photos"](32)(images, rng(2))
    np.testing.assert_allclose(found, by_hand(images, rng(2)), atol=1e-6)


@pytest.mark.parametrize("size", [8, 28])
def test_digits_are_shifted_with_their_size(size):
    images, rng = some_images(size, 1), np.random.default_rng
    by_hand = compose(
        lambda i, g: random_affine(i, g, 15, (0.8, 1.2), max(1, size / 16)),
        lambda i, g: random_intensity(i, g, 0.3, 0.3),
        lambda i, g: additive_noise(i, g, 0.1),
    )
    found = AUGMENTATIONS["digits"](size)(images, rng(0))
    np.testing.assert_array_equal(found, by_hand(images, rng(0)))


def test_simclr_learns_on_images_of_any_size():
    """By its name alone: no size, no channels, and fewer images than a batch."""
    settings = SimCLRSettings(steps=2, batch_size=4, features=8, embedding=4)
    trained = pretrain(SimCLR, Images(some_images(13, 3)), settings, progress=False)
    assert trained.method.represent(some_images(13, 3)).shape == (12, 8)

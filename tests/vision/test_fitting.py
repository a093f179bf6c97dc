"""Images of any size become squares of one size, in every reader alike, and it is said."""

import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from minissl.data.arrays import fit_images
from minissl.data.images import ImageOptions, Images
from minissl.data.sets import DataSet
from minissl.vision.fitting import Fit
from minissl.vision.images import ImageFolder, load_image_files, load_image_folder

SQUARE, WIDE, TALL = (28, 28, 1), (20, 30, 3), (30, 20, 3)


@pytest.mark.parametrize(
    ("fit", "stored", "size", "channels"),
    [
        (Fit(), {SQUARE: 9}, 28, 1),
        (Fit(), {WIDE: 2, TALL: 2, SQUARE: 3}, 20, 3),
        (Fit(way="pad"), {WIDE: 2, TALL: 2, SQUARE: 3}, 30, 3),
        (Fit(), {(5, 5, 1): 1, (7, 9, 1): 1}, 7, 1),  # equally common: the largest
        (Fit(), {(200, 300, 3): 1}, 96, 3),
        (Fit(), {(2, 3, 1): 1}, 4, 1),
        (Fit(16, 3), {SQUARE: 9}, 16, 3),
        (Fit(0, 1), {WIDE: 1}, 20, 1),
        (Fit(), {}, 4, 1),
    ],
)
def test_what_was_not_asked_for_is_as_in_most_of_the_data(fit, stored, size, channels):
    assert fit.settled(stored) == Fit(size, channels, fit.way)


@pytest.mark.parametrize(
    ("fit", "stored", "said"),
    [
        (Fit(28, 1), {SQUARE: 60_000}, ""),
        (Fit(8, 1), {SQUARE: 60_000}, "60,000 images of 28 x 28 are resized to 8 x 8"),
        (Fit(28, 3), {SQUARE: 2}, "2 images are grey and become RGB"),
        (
            Fit(20, 3),
            {WIDE: 2, SQUARE: 1},
            "2 of 3 images of 30 x 20 are not square: they are cut to their central squares; "
            "1 of 3 images of 28 x 28 are resized to 20 x 20; "
            "1 of 3 images are grey and become RGB",
        ),
        (
            Fit(28, 1, "pad"),
            {WIDE: 2, TALL: 2, (8, 4, 1): 1, SQUARE: 1},
            "5 of 6 images of 3 sizes, 4 x 8 to 30 x 20, are not square: they are padded with "
            "black; 5 of 6 images of 3 sizes, 4 x 8 to 30 x 20, are resized to 28 x 28; "
            "4 of 6 images are in colour and become grey",
        ),
    ],
)
def test_it_is_said_what_was_changed(fit, stored, said):
    assert fit.told(stored) == said


def by_hand(image, way):
    """An image whose longer side is twice its shorter one, of 8 pixels, as a square, in float64."""
    tall, wide, _ = image.shape
    if way == "crop":  # the middle half of the image at twice its size
        return enlarged_twice(image.astype(np.float64))[tall - 4 : tall + 4, wide - 4 : wide + 4]
    square = np.zeros((8, 8, image.shape[-1]))
    square[(8 - tall) // 2 : (8 + tall) // 2, (8 - wide) // 2 : (8 + wide) // 2] = image
    return square


def enlarged_twice(image):
    """Bilinearly: new pixels lie a quarter of an old one beside the old ones."""
    for axis in (0, 1):
        image = np.moveaxis(image, axis, 0)
        before, after = (
            np.concatenate([image[:1], image[:-1]]),
            np.concatenate([image[1:], image[-1:]]),
        )
        pairs = np.stack([0.75 * image + 0.25 * before, 0.75 * image + 0.25 * after], axis=1)
        image = np.moveaxis(pairs.reshape(-1, *image.shape[1:]), 0, axis)
    return image


def as_files(folder, images):
    (folder / "png").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / "png" / f"{number}.png")
    return folder / "png"


def as_table(folder, images):
    as_files(folder, images)
    rows = [json.dumps({"image": f"png/{number}.png"}) for number in range(len(images))]
    (folder / "a.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return folder / "a.jsonl"


def as_bytes(folder, images):
    np.save(folder / "a.npy", images)
    return folder / "a.npy"


def as_floats(folder, images):
    np.savez(folder / "a.npz", images=images / 255)
    return folder / "a.npz"


@pytest.mark.parametrize("write", [as_files, as_table, as_bytes, as_floats])
@pytest.mark.parametrize("way", ["crop", "pad"])
@pytest.mark.parametrize("shape", [(4, 8, 3), (8, 4, 3)])
def test_every_reader_honours_it(tmp_path, write, way, shape):
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    read = Images.read(write(tmp_path, images), ImageOptions(image_size=8, fit=way))
    wanted = np.stack([by_hand(image, way) for image in images]) / 255
    np.testing.assert_allclose(read.images, wanted, atol=1.1 / 255)
    assert f"3 images of {shape[1]} x {shape[0]} are not square" in read.fitted
    assert ("padded with black" in read.fitted) == (way == "pad")
    own = Images.read(write_again(tmp_path, write, images), ImageOptions(fit=way))
    assert own.images.shape == (3, *([4, 4] if way == "crop" else [8, 8]), 3)
    assert "resized" not in own.fitted


def write_again(folder, write, images):
    (folder / "again").mkdir()
    return write(folder / "again", images)


def test_a_set_that_is_loaded_honours_it(monkeypatch):
    images = np.zeros((2, 4, 8, 1), np.float32)
    images[:, :, 0] = 1
    held = ImageFolder(images, None, (), ("a", "b"))
    dataset = DataSet(kinds=("images",), licence="", source="", embedded=lambda: held, name="one")
    monkeypatch.setattr("minissl.data.sets.find", lambda path: dataset)
    padded = Images.read("one", ImageOptions(fit="pad"))
    assert padded.images.shape == (2, 8, 8, 1)
    assert padded.images.sum() == 8
    cropped = Images.read("one", ImageOptions())
    assert cropped.images.shape == (2, 4, 4, 1)
    assert cropped.images.sum() == 0
    assert "2 images of 8 x 4 are not square" in cropped.fitted


def saved(folder, name, mode, **options):
    """A white picture of 6 x 3 in this mode of Pillow."""
    white = {"CMYK": (0, 0, 0, 0), "P": 255, "I;16": 65535, "F": 1.0}.get(mode)
    image = Image.new(mode, (6, 3), "white" if white is None else white)
    if mode == "P":
        image.putpalette([255] * 768)
    image.save(folder / name, **options)
    return folder / name


@pytest.mark.parametrize(
    ("name", "mode", "channels"),
    [
        ("a.png", "RGB", 3),
        ("a.png", "RGBA", 3),
        ("a.png", "P", 3),
        ("a.jpg", "CMYK", 3),
        ("a.png", "L", 1),
        ("a.png", "LA", 1),
        ("a.png", "1", 1),
        ("a.png", "I;16", 1),
        ("a.tif", "F", 1),
    ],
)
def test_every_mode_is_padded_with_black_and_keeps_its_channels(tmp_path, name, mode, channels):
    saved(tmp_path, name, mode)
    wanted = np.zeros((6, 6, channels))
    wanted[1:4] = 1
    read = Images.read(tmp_path, ImageOptions(fit="pad"))
    np.testing.assert_allclose(read.images[0], wanted, atol=2e-3)
    other = Images.read(tmp_path, ImageOptions(fit="pad", channels=4 - channels))
    np.testing.assert_allclose(other.images[0], wanted[..., :1].repeat(4 - channels, -1), atol=2e-3)
    assert ("become grey" if channels == 3 else "become RGB") in other.fitted


@pytest.mark.parametrize("shape", [(1, 500), (500, 1), (1, 1), (3, 7), (333, 332)])
@pytest.mark.parametrize("size", [4, 9])
def test_what_is_narrow_or_odd_is_padded_around_its_middle(tmp_path, shape, size):
    Image.fromarray(np.full(shape, 255, np.uint8)).save(tmp_path / "a.png")
    image = load_image_files([tmp_path / "a.png"], size, 1, "pad")[0, :, :, 0]
    tall, wide = (max(1, round(size * side / max(shape))) for side in shape)
    assert image.sum() == tall * wide
    rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
    for found, side in ((rows, tall), (columns, wide)):
        assert len(found) == side
        assert abs(found[0] - (size - 1 - found[-1])) <= 1  # as much on both sides


def test_a_picture_that_lies_on_its_side_is_turned_before_it_is_padded(tmp_path):
    image, exif = Image.fromarray(np.full((4, 8), 255, np.uint8)), Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    upright = load_image_folder(tmp_path, 8, 1, "pad").images[0, :, :, 0]
    np.testing.assert_array_equal(upright.sum(axis=1), np.full(8, 4))


def test_the_sizes_of_many_files_are_looked_at_in_a_part_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr("minissl.vision.images.LOOKED_AT", 3)
    for number in range(9):
        side = 6 if number % 3 == 0 else 30
        Image.new("L", (side, side)).save(tmp_path / f"{number}.png")
    folder = load_image_folder(tmp_path, channels=0)
    assert folder.images.shape == (9, 6, 6, 1)
    assert folder.fitted == "6 of 9 images of 30 x 30 are resized to 6 x 6"


def test_images_that_take_more_memory_than_there_is_are_refused(monkeypatch):
    images = np.zeros((1000, 50, 50, 3), np.uint8)
    monkeypatch.setattr("minissl.vision.fitting.memory_of_this_computer", lambda: 1e7)
    with pytest.raises(ValueError, match=r"a.npy: 1,000 images of 50 x 50 x 3 take 0.0 GB"):
        fit_images(images, Fit(), "a.npy")
    assert fit_images(images[:10], Fit(), "a.npy")[0].shape == (10, 50, 50, 3)


def test_a_size_of_its_own_is_counted_by_images_not_by_sizes():
    assert Fit().settled(Counter({(9, 9, 1): 2, (8, 8, 1): 1, (7, 7, 1): 1})).size == 9

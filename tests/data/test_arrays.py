"""Images in .npy and .npz: read as they were written, or refused before memory is taken."""

import io
import random
import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image

from minissl.data.images import ImageOptions, Images, LabelledImages
from minissl.vision.images import load_image_folder

GREY = ImageOptions(image_size=8, channels=1)
COLOUR = ImageOptions(image_size=8, channels=3)


@pytest.fixture
def steps():
    return np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)


def save(folder, **arrays):
    np.savez(folder / "a.npz", **arrays)
    return folder / "a.npz"


def test_bytes_and_floats_of_the_right_size_are_not_touched(tmp_path, steps):
    floats = steps.astype(np.float64) / 255
    for array in (steps, floats, floats.astype(np.float32), np.asfortranarray(steps)):
        np.save(tmp_path / "a.npy", array)
        for path in (tmp_path / "a.npy", save(tmp_path, images=array)):
            read = Images.read(path, COLOUR)
            assert read.images.dtype == np.float32
            np.testing.assert_allclose(read.images, floats, rtol=0, atol=1e-7)
            assert read.names[3] == f"{path.name}[3]"
    np.save(tmp_path / "a.npy", steps[..., 0])  # (count, height, width)
    np.testing.assert_allclose(
        Images.read(tmp_path / "a.npy", GREY).images, floats[..., :1], atol=1e-7
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(8, 8, 3), (8, 8), (12, 9, 3), (5, 5, 1)])
def test_what_has_another_size_becomes_what_a_file_becomes(tmp_path, channels, shape):
    array = np.random.default_rng(1).integers(0, 256, (3, *shape), dtype=np.uint8)
    (tmp_path / "png").mkdir()
    for number, image in enumerate(array):
        pixels = image[..., 0] if shape[-1] == 1 else image
        Image.fromarray(pixels).save(tmp_path / "png" / f"{number}.png")
    wanted = load_image_folder(tmp_path / "png", 8, channels).images
    settings = ImageOptions(image_size=8, channels=channels)
    np.testing.assert_array_equal(
        Images.read(save(tmp_path, images=array), settings).images, wanted
    )
    floats = save(tmp_path, images=(array / 255).astype(np.float32))
    # Files are rounded to bytes: when they become grey, after each of two passes of resizing.
    np.testing.assert_allclose(Images.read(floats, settings).images, wanted, atol=1.6 / 255)


def test_floats_that_are_resized_are_not_rounded_to_bytes(tmp_path):
    path = save(tmp_path, images=np.full((1, 5, 5), 0.999))
    np.testing.assert_allclose(Images.read(path, GREY).images, 0.999, rtol=1e-6)
    path = save(tmp_path, images=np.array([0.2, 0.5, 0.9, 0.25]) * np.ones((1, 5, 5, 4)))
    over_white = 1 - 0.25 * (1 - np.array([0.2, 0.5, 0.9]))
    np.testing.assert_allclose(Images.read(path, COLOUR).images[0, 3, 4], over_white, rtol=1e-6)
    grey = over_white @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(Images.read(path, GREY).images, grey, rtol=1e-6)


@pytest.mark.parametrize(
    ("labels", "names", "found", "class_names"),
    [
        ([2, 0, 1, 0, 0, 2], ["a", "b", "c"], [2, 0, 1, 0, 0, 2], ("a", "b", "c")),
        ([10, 9, 9, 9, 9, 10], None, [1, 0, 0, 0, 0, 1], ("9", "10")),
        ([True, False] * 3, None, [1, 0] * 3, ("false", "true")),
        (["b", "a"] * 3, None, [1, 0] * 3, ("a", "b")),
        ([b"b", b"a"] * 3, None, [1, 0] * 3, ("a", "b")),
    ],
)
def test_labels_are_classes(tmp_path, steps, labels, names, found, class_names):
    more = {} if names is None else {"class_names": np.array(names)}
    read = LabelledImages.read(save(tmp_path, images=steps, labels=labels, **more), COLOUR)
    assert read.labels.tolist() == found
    assert read.class_names == class_names


@pytest.mark.parametrize("labels", [[1.5, 2, 3, 4, 5, -6e3], [1, 2, 3, 4, 5, 6], ["1.5"] * 6])
def test_labels_are_numbers_when_they_are_asked_for(tmp_path, steps, labels):
    path = save(tmp_path, images=steps, labels=np.array(labels))
    read = LabelledImages.read(path, COLOUR, labels="number")
    np.testing.assert_array_equal(read.labels, np.array(labels, np.float64))
    assert read.class_names == ()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": 0, "y_train": 0}, "it has x_train, y_train, expected images"),
        ({"labels": 0}, "expected images"),
        (
            {"images": np.array([{}, 1], object)},
            "images holds Python objects, which could run code",
        ),
        ({"labels": np.array(["a"] * 6, object)}, "labels holds Python objects"),
        ({"images": np.zeros((2, 3, 8, 8), np.uint8)}, r"np.moveaxis\(images, 1, -1\)"),
        ({"images": np.zeros((8, 8), np.uint8)}, r"shape \(8, 8\), expected \(count, height"),
        ({"images": np.zeros((8, 9, 3), np.uint8)}, r"one image in colour: save images\[None\]"),
        (
            {"images": np.zeros((0, 8, 8), np.uint8)},
            r"there are no images in it: they have shape \(0, 8, 8\)",
        ),
        ({"images": np.zeros((2, 8, 8), np.int64)}, "images are int64, expected uint8"),
        ({"images": np.zeros((2, 8, 8), np.complex64)}, "dtype complex64, expected numbers"),
        ({"images": np.full((3, 8, 8), 255.0)}, "image 0 has values from 255 to 255"),
        ({"labels": np.zeros((6, 1), int)}, r"labels have shape \(6, 1\), expected \(6,\)"),
        ({"labels": np.zeros(5, int)}, r"labels have shape \(5,\), expected \(6,\)"),
        ({"labels": np.zeros(6)}, "labels are float64, expected whole numbers or texts"),
        ({"labels": np.arange(6), "class_names": np.array(["a"])}, "whole numbers from 0 to 0"),
        (
            {"labels": np.arange(6) % 2, "class_names": np.array(["a", "a"])},
            "two of them are equal",
        ),
        ({"labels": np.arange(6) % 2, "class_names": np.arange(2)}, "class_names are no texts"),
        ({"labels": np.arange(6) % 2, "class_names": np.array(["a", "a "])}, "only by spaces"),
        ({"labels": np.array(["a", ""] * 3)}, "a class has the name ''"),
        ({"labels": np.array(["a", "\ud800"] * 3)}, "with half of a character"),
        (
            {"labels": np.array([0, 1, 3] * 2), "class_names": np.array(["a", "b"])},
            "whole numbers from 0 to 1, number 2 is 3",
        ),
        ({}, "has no labels: write a .npz"),
    ],
)
def test_what_is_no_set_of_images_is_said(tmp_path, steps, arrays, message):
    usual = {} if "expected images" in message else {"images": steps}
    with pytest.raises(ValueError, match=f"a.npz.*{message}"):
        LabelledImages.read(save(tmp_path, **(usual | arrays)), COLOUR)


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1, 1.5])
def test_the_first_image_out_of_range_is_named(tmp_path, value):
    images = np.zeros((2000, 4, 4), np.float32)
    images[[1500, 1900], 2, 1] = value
    with pytest.raises(ValueError, match=r"a.npz: image 1500 has values"):
        Images.read(save(tmp_path, images=images), GREY)


def test_numbers_are_refused_where_there_are_none(tmp_path, steps):
    path = save(tmp_path, images=steps, labels=np.array(["a", "1", "2", "3", "4", "5"]))
    with pytest.raises(ValueError, match=r"a.npz: image 0: the label is 'a', expected a finite"):
        LabelledImages.read(path, COLOUR, labels="number")


# ---- damage --------------------------------------------------------------------------------------


def head(shape, dtype="|u1"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


def test_a_head_that_promises_too_much_takes_no_memory(tmp_path):
    (tmp_path / "a.npy").write_bytes(head((10**9, 1000, 1000)) + b"x")
    with pytest.raises(ValueError, match=r"a.npy cannot .* 1 bytes, its head promises"):
        Images.read(tmp_path / "a.npy", GREY)
    (tmp_path / "a.npy").write_bytes(head((1, 8, 8)) + bytes(1000))  # nor one that promises less
    with pytest.raises(ValueError, match=r"a.npy cannot .* 1,000 bytes, its head promises"):
        Images.read(tmp_path / "a.npy", GREY)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("images.npy", head((100, 100, 100)) + bytes(10**6))
    with pytest.raises(ValueError, match=r"packed in a way that np.savez never does"):
        Images.read(tmp_path / "a.npz", GREY)


def test_a_head_that_is_itself_too_long_takes_no_memory(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\2\0" + b"\xf0" * 4 + b"{}")
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"a.npy cannot .* reading array header"):
        Images.read(tmp_path / "a.npy", GREY)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_small_file_that_would_become_large_takes_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("minissl.data.arrays.LARGE", 1 << 20)
    path = tmp_path / "a.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("images.npy", "w") as file,
    ):
        file.write(head((9, 1 << 20, 1)))
        for _ in range(9):
            file.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 15
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"a.npz .* would become 9,437,312 bytes"):
        Images.read(path, GREY)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_two_arrays_of_one_name_are_refused(tmp_path, steps):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", head((1, 1, 1)) + b"x")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("images.npy", head((1, 1, 1)) + b"x")
    with pytest.raises(ValueError, match="two of its arrays have one name"):
        Images.read(tmp_path / "a.npz", GREY)


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_damaged_files_are_read_or_named(tmp_path, steps, name):
    if name == "a.npz":
        save(tmp_path, images=steps[:2], labels=np.arange(2))
    else:
        np.save(tmp_path / name, steps[:2])
    whole = (tmp_path / name).read_bytes()
    generator, refused = random.Random(0), []
    for _ in range(250):
        place, size = generator.randrange(len(whole)), generator.randrange(1, 9)
        if name == "a.npy":
            place = min(place, 127)  # the head: what follows are pixels, each as good as another
        if name == "a.npz" and generator.random() < 0.5:
            place = generator.randrange(len(whole) - 300, len(whole))  # where the members are named
        change = generator.choice(["byte", "less", "more", "end"])
        data = {
            "byte": whole[:place] + generator.randbytes(1) + whole[place + 1 :],
            "less": whole[:place] + whole[place + size :],
            "more": whole[: place + size] + whole[place:],
            "end": whole[:place],
        }[change]
        (tmp_path / name).write_bytes(data)
        try:
            Images.read(tmp_path / name, COLOUR).fingerprint()
        except ValueError as error:
            refused.append(str(error))
    assert all(name in message for message in refused)
    assert len(refused) > 120


def test_images_that_fit_do_not_go_through_pillow_one_by_one(tmp_path, steps, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("fifty thousand would take a minute")

    monkeypatch.setattr("minissl.data.arrays.square_image", refuse)
    assert len(Images.read(save(tmp_path, images=steps), COLOUR).images) == 6
    with pytest.raises(AssertionError):
        Images.read(save(tmp_path, images=steps), GREY)


@pytest.mark.parametrize("place", [0, 1023, 1024, 2049])
def test_an_image_that_is_not_finite_is_named(place):
    images = np.zeros((2050, 4, 4, 1), np.float32)
    images[[place, 2049], 1, 2] = np.nan
    with pytest.raises(ValueError, match=f"image {place} of 2050 has pixels that are NaN"):
        Images(images)

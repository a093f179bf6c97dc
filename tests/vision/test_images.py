"""Images come out as floats in [0, 1], channels last, in a stated order, or with a clear error."""

import numpy as np
import pytest
from PIL import Image

from minissl.vision.images import check_images, load_digits, load_image_folder


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels)).save(path, **options)


def plain(color, height=8, width=8):
    return np.full((height, width, 3), color, dtype=np.uint8)


def test_digits_are_those_of_scikit_learn():
    from sklearn import datasets

    published = datasets.load_digits()
    split = load_digits()
    assert split.train_images.shape == (1200, 8, 8, 1)
    assert split.test_images.shape == (597, 8, 8, 1)
    assert split.train_images.dtype == split.test_images.dtype == np.float32
    assert split.train_labels.dtype == split.test_labels.dtype == np.int64
    assert (split.train_images.min(), split.train_images.max()) == (0, 1)

    def as_set(images, labels):
        return sorted((image.tobytes(), int(label)) for image, label in zip(images, labels))

    ours = as_set(
        np.concatenate([split.train_images, split.test_images])[..., 0],
        np.concatenate([split.train_labels, split.test_labels]),
    )
    assert ours == as_set((published.images / 16).astype(np.float32), published.target)


def test_the_seed_decides_the_split_of_the_digits():
    first, again, other = load_digits(seed=3), load_digits(seed=3), load_digits(seed=4)
    np.testing.assert_array_equal(first.test_images, again.test_images)
    assert not np.array_equal(first.test_images, other.test_images)
    assert load_digits(num_train=5).test_images.shape == (1792, 8, 8, 1)
    for num_train in (0, 1797):
        with pytest.raises(ValueError, match="expected 1 to 1796"):
            load_digits(num_train=num_train)


def test_a_folder_with_class_folders(tmp_path):
    save(tmp_path / "zebra" / "a.png", plain((0, 0, 255)))
    save(tmp_path / "ant" / "deep" / "b.PNG", plain((255, 0, 0)))
    save(tmp_path / "ant" / "c.png", plain((0, 255, 0)))
    save(tmp_path / ".hidden" / "d.png", plain((9, 9, 9)))
    (tmp_path / "zebra" / "notes.txt").write_text("not an image", encoding="utf-8")
    folder = load_image_folder(tmp_path, size=4)
    assert folder.paths == ("ant/c.png", "ant/deep/b.PNG", "zebra/a.png")
    assert folder.class_names == ("ant", "zebra")
    assert folder.labels.dtype == np.int64
    np.testing.assert_array_equal(folder.labels, [0, 0, 1])
    expected = np.eye(3, dtype=np.float32)[[1, 0, 2]][:, None, None, :]
    assert folder.images.dtype == np.float32
    np.testing.assert_array_equal(folder.images, np.broadcast_to(expected, (3, 4, 4, 3)))


def test_the_order_is_that_of_the_paths(tmp_path):
    values = np.random.default_rng(0).permutation(30)
    for value in values:
        save(tmp_path / "c" / f"{value:02d}.png", plain(value))
    images = load_image_folder(tmp_path, size=8).images
    np.testing.assert_allclose(images[:, 0, 0, 0] * 255, np.arange(30), atol=1e-4)


def test_images_beside_the_class_folders_mean_no_labels(tmp_path):
    save(tmp_path / "ant" / "b.png", plain(0))
    save(tmp_path / "a.png", plain(0))
    folder = load_image_folder(str(tmp_path), size=4)
    assert folder.labels is None
    assert folder.class_names == ()
    assert len(folder.images) == 2


@pytest.mark.parametrize(("height", "width"), [(8, 14), (14, 8), (8, 13)])
def test_the_central_square_is_kept(tmp_path, height, width):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    save(tmp_path / "a.png", pixels)
    top, left = (height - 8) / 2, (width - 8) / 2
    found = load_image_folder(tmp_path, size=8).images[0]
    # Where half a pixel must go on each side, resampling takes the mean of the two neighbours.
    square = (pixels[int(np.floor(top)) :, int(np.floor(left)) :][:8, :8]).astype(np.float64)
    other = (pixels[int(np.ceil(top)) :, int(np.ceil(left)) :][:8, :8]).astype(np.float64)
    np.testing.assert_allclose(found, (square + other) / 2 / 255, atol=1.01 / 255)


def test_shrinking_averages(tmp_path):
    checkers = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    save(tmp_path / "a.png", checkers)
    found = load_image_folder(tmp_path, size=8, channels=1).images
    assert found.shape == (1, 8, 8, 1)
    np.testing.assert_allclose(found[0, 1:-1, 1:-1], 0.5, atol=0.01)


def test_grey_and_colour_can_be_asked_of_any_mode(tmp_path):
    save(tmp_path / "1_grey.png", np.full((4, 4), 200, np.uint8))
    save(tmp_path / "2_deep.png", np.full((4, 4), 200 * 257, np.uint16))
    Image.fromarray(np.full((4, 4), 200, np.uint8)).convert("P").save(tmp_path / "3_palette.gif")
    for channels in (1, 3):
        images = load_image_folder(tmp_path, size=4, channels=channels).images
        assert images.shape == (3, 4, 4, channels)
        np.testing.assert_allclose(images, 200 / 255, atol=1e-6)


def test_photos_are_turned_upright(tmp_path):
    lying = plain(0)
    lying[0] = 255  # the top row, which the note says is the left column of the scene
    exif = Image.Exif()
    exif[0x0112] = 8  # orientation: turn a quarter counterclockwise
    save(tmp_path / "a.png", lying, exif=exif)
    found = load_image_folder(tmp_path, size=8).images[0, :, :, 0]
    np.testing.assert_array_equal(found[:, 0], 1)
    np.testing.assert_array_equal(found[:, 1:], 0)


def test_unusable_folders_and_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        load_image_folder(tmp_path / "nowhere", size=4)
    with pytest.raises(FileNotFoundError, match=r"no images below .*\.png"):
        load_image_folder(tmp_path, size=4)
    (tmp_path / "book.txt").touch()
    with pytest.raises(NotADirectoryError, match=r"book.txt' is a file: images are a folder"):
        load_image_folder(tmp_path / "book.txt", size=4)
    (tmp_path / "book.txt").unlink()
    save(tmp_path / "good.png", plain(0, 32, 32))
    data = (tmp_path / "good.png").read_bytes()
    for broken in (b"", b"text, not an image", data[: len(data) // 2]):
        (tmp_path / "broken.png").write_bytes(broken)
        with pytest.raises(ValueError, match=r"broken.png cannot be read as an image"):
            load_image_folder(tmp_path, size=4)
    for size, channels in ((-1, 3), (4, 2)):
        with pytest.raises(ValueError, match=f"got size {size}, {channels} channels"):
            load_image_folder(tmp_path, size=size, channels=channels)


def test_arrays_that_are_no_images_are_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 8, 8\), expected \(batch"):
        check_images(np.zeros((2, 8, 8)))
    with pytest.raises(ValueError, match="dtype uint8, expected floats"):
        check_images(np.zeros((2, 8, 8, 1), np.uint8))

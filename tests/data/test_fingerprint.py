"""Fingerprints see what changed, cost little for large data, and say when they only looked."""

import hashlib
import json
import os

import numpy as np
import pytest
from PIL import Image

from minissl.data import fingerprint
from minissl.data.images import ImageOptions, Images, LabelledImages
from minissl.data.texts import Texts

SETTINGS = ImageOptions(image_size=8, channels=1)


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)
    for name in ("ant/1.png", "ant/2.png", "bee/1.png", "bee/2.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (9, 9), dtype=np.uint8)).save(path)
    return tmp_path / "images"


def sha(folder, kind=Images):
    return kind.read(folder, SETTINGS).fingerprint()["sha256"]


def test_images_in_files_are_known_by_their_names_and_bytes(folder):
    whole = Images.read(folder, SETTINGS).fingerprint()
    assert whole["images"] == whole["files"] == 4
    assert whole["bytes"] == sum(path.stat().st_size for path in folder.rglob("*.png"))
    assert "sampled" not in whole
    other_size = Images.read(folder, ImageOptions(image_size=4)).fingerprint()
    assert other_size == whole  # what is made of them is a setting
    path = folder / "bee" / "2.png"
    path.write_bytes(path.read_bytes() + b"\0")  # the pixels are the same
    assert sha(folder) != whole["sha256"]


@pytest.mark.parametrize("suffix", [".png", ".txt"])
def test_renamed_files_are_other_data_and_moved_folders_are_not(folder, suffix):
    """Text and image folders agree."""
    kind = Images
    if suffix == ".txt":
        kind = Texts
        for path in [*folder.rglob("*.png")]:
            path.with_suffix(".txt").write_text(f"text of {path.name}", encoding="utf-8")
    before = sha(folder, kind)
    moved = folder.rename(folder.with_name("moved"))
    assert sha(moved, kind) == before
    renamed = moved / "ant" / f"1{suffix}"
    renamed.rename(renamed.with_name(f"0{suffix}"))
    assert sha(moved, kind) != before
    renamed.with_name(f"0{suffix}").rename(renamed)
    assert sha(moved, kind) == before


def test_a_label_that_changed_is_seen_beside_files(folder):
    raw = LabelledImages.read(folder, SETTINGS)
    assert raw.fingerprint()["classes"] == {"ant": 2, "bee": 2}
    other = LabelledImages(raw.images, 1 - raw.labels, raw.class_names, raw.names, files=raw.files)
    assert other.fingerprint()["sha256"] != raw.fingerprint()["sha256"]


def test_pixels_without_files_are_known_by_themselves():
    images = np.random.default_rng(0).random((5, 8, 8, 1), dtype=np.float32)
    found = Images(images).fingerprint()
    assert found["sha256"] == hashlib.sha256(images.tobytes()).hexdigest()
    assert Images(np.asfortranarray(images)).fingerprint() == found


def test_of_large_files_three_places_are_read(tmp_path, monkeypatch):
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_bytes(bytes(100_000))
    names = [path.name for path in paths]
    whole = fingerprint.of_files(paths, names)
    monkeypatch.setattr(fingerprint, "WHOLE", 200_000)
    sampled = fingerprint.of_files(paths, names)
    assert sampled["sampled"] is True
    assert (whole["bytes"], whole["files"]) == (sampled["bytes"], sampled["files"]) == (300_000, 3)
    for place, seen in ((0, True), (49_990, True), (99_999, True), (20_000, False)):
        data = bytearray(100_000)
        data[place] = 1
        paths[1].write_bytes(data)
        assert (fingerprint.of_files(paths, names)["sha256"] != sampled["sha256"]) == seen
    paths[1].write_bytes(bytes(100_001))
    assert fingerprint.of_files(paths, names)["sha256"] != sampled["sha256"]


def test_where_a_name_ends_is_seen(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    files = [tmp_path / "a"] * 2
    names = ["a0 0 b", "c"], ["a", "b0 0 c"]
    for one, two in (names, (["ab", "c"], ["a", "bc"])):
        found = [fingerprint.of_files(files, names)["sha256"] for names in (one, two)]
        assert found[0] != found[1]


def test_of_a_large_array_a_part_of_each_example_is_read(monkeypatch):
    array = np.random.default_rng(0).random((3000, 6, 5, 1)).astype(np.float32)
    monkeypatch.setattr(fingerprint, "WHOLE", array.nbytes // 4)
    before = fingerprint.of_array(array)
    assert before["sampled"] is True
    assert before["shape"] == [6, 5, 1]
    for place in (0, 1023, 1024, 2999):
        changed = array.copy()
        changed[place] /= 2
        assert fingerprint.of_array(changed)["sha256"] != before["sha256"]


def test_thousands_of_classes_do_not_fill_the_file():
    images = np.zeros((1000, 4, 4, 1), np.float32)
    many = LabelledImages(images, np.arange(1000), [str(n) for n in range(1000)])
    assert "classes" not in many.fingerprint()


def test_image_files_whose_names_are_no_utf_8(folder):
    try:
        for number, name in enumerate((b"caf\xe9.png", b"caf\xe8.png"), 1):
            (folder / "ant" / f"{number}.png").rename(folder / "ant" / os.fsdecode(name))
        (folder / "bee").rename(folder / os.fsdecode(b"b\xeb"))
    except OSError:
        pytest.skip("this file system takes only names in UTF-8")
    read = LabelledImages.read(folder, SETTINGS)
    assert read.names[:2] == (r"ant/caf\xe8.png", r"ant/caf\xe9.png")
    assert read.class_names == ("ant", r"b\xeb")
    assert json.dumps(read.fingerprint()).encode("ascii")

"""Images that a table names: where their paths begin, what is said of those that are not there."""

import json

import numpy as np
import pytest
from PIL import Image

from minissl.data.captions import Captioned, CaptionOptions
from minissl.data.images import Images, LabelledImages

SETTINGS = CaptionOptions(image_size=8, channels=1, vocab_size=280)


@pytest.fixture
def table(tmp_path):
    """A table in one folder, images beside that folder, one of them twice."""
    (tmp_path / "tables").mkdir()
    for value in (0, 100, 200):
        Image.fromarray(np.full((9, 9), value, np.uint8)).save(tmp_path / f"{value}.png")
    paths = ["../0.png", str(tmp_path / "100.png"), "../200.png", "../0.png"]
    rows = [{"image": p, "text": f"t{i}", "label": i % 2} for i, p in enumerate(paths)]
    path = tmp_path / "tables" / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_paths_begin_at_the_folder_of_the_table(table, monkeypatch):
    monkeypatch.chdir("/")
    read = Images.read(table, SETTINGS)
    np.testing.assert_allclose(read.images[:, 3, 3, 0] * 255, [0, 100, 200, 0], atol=1e-4)
    assert read.names[0] == "../0.png"
    assert read.names[3] == "../0.png#2"


def test_a_label_or_a_caption_of_the_table_is_part_of_the_fingerprint(table):
    text = table.read_text(encoding="utf-8")
    for kind, old, new in (
        (LabelledImages, '"label": 1}', '"label": 0}'),
        (Captioned, '"t2"', '"t3"'),
        (Images, "../200.png", "../0.png"),
    ):
        table.write_text(text, encoding="utf-8")
        before = kind.read(table, SETTINGS).fingerprint()["sha256"]
        table.write_text(text.replace(old, new, 1), encoding="utf-8")
        assert kind.read(table, SETTINGS).fingerprint()["sha256"] != before


def test_numbers_for_images(table):
    read = LabelledImages.read(table, SETTINGS, labels="number")
    assert read.labels.tolist() == [0.0, 1.0, 0.0, 1.0]
    assert read.class_names == ()
    with pytest.raises(ValueError, match="digits gives classes, no numbers"):
        LabelledImages.read(None, SETTINGS, labels="number")


def test_images_that_cannot_be_read_are_named_with_the_line(table):
    text = table.read_text(encoding="utf-8")
    table.write_text(text.replace("../200.png", "../nowhere.png"), encoding="utf-8")
    with pytest.raises(
        FileNotFoundError, match=r"a.jsonl, line 3: there is no file '.*nowhere.png'"
    ):
        Images.read(table, SETTINGS)
    table.write_text(text.replace("../200.png", "a.jsonl"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"a.jsonl cannot be read as an image"):
        Images.read(table, SETTINGS)


def test_only_what_is_an_image_is_opened_as_one(table):
    """Not what Pillow could read besides: for some of it, it would start a program."""
    image = Image.fromarray(np.zeros((9, 9), np.uint8))
    image.save(table.parent.parent / "200.png", format="PCX")
    with pytest.raises(ValueError, match=r"200.png cannot be read as an image"):
        Images.read(table, SETTINGS)


def test_captions_stay_with_their_images_and_copies_on_one_side(table):
    from minissl.data import Kept

    prepared = Captioned.read(table, SETTINGS).prepare(Kept(), SETTINGS)
    pairs = [*zip(prepared.images, prepared.captions)]
    held_out = [*zip(prepared.held_out, prepared.held_out_captions)]
    assert len(pairs) + len(held_out) == 4
    values = {"t0": 0, "t1": 100, "t2": 200, "t3": 0}
    for image, tokens in pairs + held_out:
        text = prepared.tokenizer.decode(tokens[1:])
        assert round(image[0, 0, 0] * 255) == values[text]
    assert not {image.tobytes() for image, _ in pairs} & {image.tobytes() for image, _ in held_out}
    with pytest.raises(ValueError, match="got 1 captions for 2 images"):
        Captioned(np.zeros((2, 8, 8, 1), np.float32), ["one"])
    with pytest.raises(ValueError, match=r"2 example\(s\), all equal"):
        Captioned(np.zeros((2, 8, 8, 1), np.float32), ["a", "b"]).prepare(Kept(), SETTINGS)

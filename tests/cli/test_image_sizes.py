"""Images of other sizes on the command line: what is done to them is said, and kept in the run."""

import json

import numpy as np
import pytest
from PIL import Image

from minissl.cli import main
from minissl.data.images import Images
from minissl.data.sets import find
from minissl.pretrain.run import open_run

TINY = "--steps 1 --batch-size 8 --features 16 --embedding 8 --quiet".split()


def call(*arguments):
    return main([str(a) for a in arguments])


@pytest.fixture
def folder(tmp_path):
    """Two classes of images in colour: 9 of 20 x 12 pixels, 3 of 16 x 16."""
    generator = np.random.default_rng(0)
    for number in range(12):
        place = tmp_path / "data" / ("ab"[number % 2])
        place.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (12, 20, 3) if number < 9 else (16, 16, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number}.png")
    return tmp_path / "data"


def test_a_folder_is_padded_at_its_own_size_and_every_command_says_so(folder, tmp_path, capsys):
    said = (
        "9 of 12 images of 20 x 12 are not square: they are padded with black; "
        "3 of 12 images of 16 x 16 are resized to 20 x 20\n"
    )
    run, probe = tmp_path / "run", tmp_path / "probe"
    assert call("pretrain", "simclr", folder, "--fit", "pad", "--run", run, *TINY) == 0
    assert said in capsys.readouterr().out
    assert json.loads((run / "data.json").read_text(encoding="utf-8"))["fitted"] + "\n" == said
    opened = open_run(run)
    assert opened.settings.shape == (20, 20, 3)
    assert opened.settings.fit == "pad"
    before = opened.method.represent(opened.read(folder).images)
    for command in (
        ["embed", run, folder, "--out", tmp_path / "a.npz"],
        ["probe", run, folder, "--labels", 1, "--draws", 1],
        ["adapt", "probe", run, folder, "--run", probe, "--quiet"],
        ["evaluate", run],
        ["evaluate", run, folder],
        ["predict", probe, folder, "--out", tmp_path / "a.csv"],
    ):
        assert call(*command) == 0
        assert capsys.readouterr().out.count(said) == 1, command
    assert call("predict", probe, folder) == 0
    told = capsys.readouterr()
    assert said == told.err
    assert told.out.startswith("name,prediction")
    with np.load(tmp_path / "a.npz") as file:
        np.testing.assert_array_equal(file["features"], before)
    assert call("pretrain", "simclr", folder, "--fit", "pad", "--run", run, *TINY) == 0  # loaded
    assert call("pretrain", "simclr", folder, "--run", run, *TINY) == 1
    assert "fit: 'pad', now 'crop'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "shape", "augmentation", "depth"),
    [
        ("mnist", (28, 28, 1), "digits", 3),
        ("fashion-mnist", (28, 28, 1), "digits", 3),
        ("cifar10", (32, 32, 3), "small-photos", 3),
        ("stl10", (96, 96, 3), "photos", 5),
    ],
)
def test_a_set_by_name_is_seen_at_its_own_size(
    name, shape, augmentation, depth, tmp_path, monkeypatch, capsys
):
    """The set is a few images here; its parts with labels are probed, by their names too."""
    monkeypatch.setenv("MINISSL_DATA", str(tmp_path))
    generator = np.random.default_rng(0)
    (tmp_path / name).mkdir()
    parts = ("unlabeled", "train", "test") if name == "stl10" else ("train", "test")
    for part in parts:
        images = generator.integers(0, 256, (12, *shape), dtype=np.uint8)
        if part == "unlabeled":
            np.save(tmp_path / name / "unlabeled.npy", images)
            continue
        labels = {"labels": np.arange(12) % 2, "class_names": np.array(["a", "b"])}
        np.savez(tmp_path / name / f"{part}.npz", images=images, **labels)
    run = tmp_path / "run"
    assert call("pretrain", "simclr", name, "--run", run, *TINY) == 0
    width, _, channels = shape
    assert capsys.readouterr().out.startswith(
        f"{run}: 12 images of {width} x {width} pixels, {channels}"
    )
    settings = open_run(run).settings
    assert settings.shape == shape
    assert (settings.augmentation, settings.depth) == (augmentation, depth)
    assert "fitted" not in json.loads((run / "data.json").read_text(encoding="utf-8"))
    for part in ("train", "test"):
        assert call("probe", run, f"{name}/{part}", "--labels", 1, "--draws", 1) == 0
        assert "8 training and 4 test examples, 2 classes" in capsys.readouterr().out
    if name == "stl10":
        assert call("probe", run, name) == 1
        assert "unlabeled.npy has no labels" in capsys.readouterr().err
        raw = Images.read(find(tmp_path / name / "unlabeled.npy"), settings)
        assert raw.images.shape == (12, *shape)


def test_resnet_on_the_command_line(folder, tmp_path, capsys):
    run = tmp_path / "run"
    options = ["--encoder", "resnet18", "--image-size", 8, "--run", run, *TINY]
    assert call("pretrain", "simclr", folder, *options) == 0
    assert open_run(run).method.width == 16
    with pytest.raises(SystemExit):
        call("pretrain", "simclr", folder, *options[:-3], "--encoder", "resnet50")
    wrong = [*options[:4], "--run", tmp_path / "b", "--features", 100]
    assert call("pretrain", "simclr", folder, *wrong) == 1
    assert "features of resnet18 must be a multiple of 8, got 100" in capsys.readouterr().err

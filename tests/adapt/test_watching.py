"""Labelled examples that are looked at while a method is pretrained: nothing else changes."""

import json

import numpy as np
import pytest

from minissl.adapt import watching
from minissl.adapt.heads.neighbors import nearest_neighbor_accuracy
from minissl.adapt.heads.probe import linear_probe
from minissl.adapt.watching import NAMES, Watch, WatchRank, may_have_labels, usual_watch
from minissl.cli import main
from minissl.data.labels import split_labelled
from minissl.pretrain import load_method
from minissl.pretrain.run import open_run, pretrain
from minissl.training import History
from minissl.training.diagnostics import effective_rank
from tests.pretrain.toy import stopped_after, toy_data, toy_settings

METHODS = ("byol", "gpt", "skipgram")


def run(name, folder, watch=None):
    settings = toy_settings(name, steps=4, evaluations=2)
    kind = load_method(name)
    if watch is True:
        watch = Watch(kind.Data.with_labels.toy(settings))
    return pretrain(kind, toy_data(name, settings), settings, folder, progress=False, watch=watch)


def weights(folder):
    return (open_run(folder).checkpoint.path / "model.safetensors").read_bytes()


def records(folder):
    """The log without what the clock says."""
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


@pytest.mark.parametrize("name", METHODS)
def test_the_weights_and_the_rest_of_the_log_are_those_of_a_run_that_nobody_watched(name, tmp_path):
    alone, watched = tmp_path / "alone", tmp_path / "watched"
    run(name, alone)
    run(name, watched, watch=True)
    assert weights(alone) == weights(watched)
    log = records(watched)
    looks = [{name: one.pop(name) for name in NAMES if name in one} for one in log]
    assert log == records(alone)
    assert [bool(look) for look in looks] == [True, False, True, False, True]


def test_the_numbers_are_those_of_the_functions_on_the_last_weights(tmp_path):
    method, prepared, history = run("byol", tmp_path / "run", watch=True)
    data = prepared.labelled(load_method("byol").Data.with_labels.toy(toy_settings("byol")))
    train, test = data.split()
    sides = (
        method.represent(train.inputs),
        train.labels,
        method.represent(test.inputs),
        test.labels,
    )
    expected = (
        nearest_neighbor_accuracy(*sides, k=len(train) // 10),
        linear_probe(*sides[:2]).accuracy(*sides[2:]),
        effective_rank(sides[2]),
    )
    # On some processors a product of other shapes is rounded otherwise.
    assert [history.latest(name) for name in NAMES] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_a_watched_run_that_was_stopped_goes_on_bit_for_bit_watched_or_not(name, tmp_path):
    run(name, whole := tmp_path / "whole", watch=True)
    for again, folder in ((True, tmp_path / "again"), (None, tmp_path / "unwatched")):
        with stopped_after(load_method(name), 2):
            run(name, folder, watch=True)
        run(name, folder, watch=again)
        assert weights(folder) == weights(whole)
        assert (records(folder) == records(whole)) == (again is True)


def test_some_of_many_examples_are_looked_at_the_same_ones_each_time(tmp_path):
    method, prepared, _ = run("byol", None)
    raw = load_method("byol").Data.with_labels.toy(toy_settings("byol"))
    seen = []
    method.represent = lambda inputs: seen.append(inputs) or np.eye(len(inputs), 3)
    for _ in range(2):
        assert Watch(raw, most_train=9, most_test=5)(method, prepared)().keys() == {*NAMES}
    assert [len(inputs) for inputs in seen] == [9, 5, 9, 5]
    np.testing.assert_array_equal(seen[0], seen[2])


def test_features_that_are_not_finite_do_not_end_a_training(tmp_path, monkeypatch):
    kind = load_method("byol")
    usual = kind.represent
    monkeypatch.setattr(kind, "represent", lambda self, x, **o: np.inf * usual(self, x, **o))
    history = run("byol", tmp_path / "run", watch=True).history
    assert len(history) == 5
    assert all(history[-1][name] is None for name in NAMES)


def test_examples_that_cannot_be_watched_are_refused_before_anything_is_written(tmp_path):
    settings = toy_settings("byol")
    kind = load_method("byol").Data.with_labels
    numbers = Watch(kind.toy(settings, labels="number"))
    with pytest.raises(
        ValueError, match="the examples to watch cannot be watched: the labels are numbers"
    ):
        run("byol", tmp_path / "run", watch=numbers)
    images = kind.toy(settings).images
    with pytest.raises(ValueError, match="cannot be watched: the examples are of 1 class"):
        run("byol", tmp_path / "run", watch=Watch(kind(images, np.zeros(40, int), ("a",))))
    labels = (np.arange(40) == split_labelled(40)[0][0]).astype(int)
    rare = Watch(kind(images, labels, ("a", "b")), place="a.npz")
    with pytest.raises(ValueError, match=r"a\.npz cannot be watched: of 40 .* left to test on"):
        run("byol", tmp_path / "run", watch=rare)
    assert not (tmp_path / "run").exists()


def test_on_the_command_line_and_as_a_picture(tmp_path, capsys):
    images = load_method("simclr").Data.with_labels.toy(toy_settings("simclr"))
    np.savez(tmp_path / "a.npz", images=images.images, labels=images.labels)
    folder, data = str(tmp_path / "run"), str(tmp_path / "a.npz")
    tiny = "--steps 2 --batch-size 4 --features 8 --evaluations 1 --quiet".split()
    assert main(["pretrain", "simclr", data, "--run", folder, "--watch", data, *tiny]) == 0
    assert "watched probe accuracy" in capsys.readouterr().out
    assert History.read(folder).column(NAMES[0])[0].tolist() == [0, 2]
    assert main(["evaluate", folder, "--curves"]) == 0
    assert "curves.svg: 3 records up to step 2" in capsys.readouterr().out
    assert b"<svg" in (tmp_path / "run" / "evaluation" / "curves.svg").read_bytes()
    (tmp_path / "run" / "log.jsonl").write_text("", encoding="utf-8")
    assert main(["evaluate", folder, "--curves", "--out", str(tmp_path / "out")]) == 1
    assert "log.jsonl has no number to draw" in capsys.readouterr().err


# ---- what is looked at when nobody asked ---------------------------------------------------------


def usual(name, path=None, data=None, **changes):
    """What ``usual_watch`` gives for the method on toy data, at these settings."""
    settings = toy_settings(name, batch_size=60, steps=20, evaluations=1, **changes)  # 120 a look
    return usual_watch(load_method(name), settings, data or toy_data(name, settings), path)


def test_data_with_labels_is_looked_at_with_them_else_the_rank_alone(tmp_path):
    images = load_method("simclr").Data.with_labels.toy(toy_settings("simclr"))
    np.savez(tmp_path / "with.npz", images=images.images, labels=images.labels)
    np.savez(tmp_path / "without.npz", images=images.images)
    found = usual("simclr", tmp_path / "with.npz")
    assert isinstance(found, Watch)
    assert not found.probe
    assert len(found.raw.labels) == 40
    assert isinstance(usual("simclr", tmp_path / "without.npz"), WatchRank)
    (tmp_path / "book.txt").write_text("a book " * 100, encoding="utf-8")
    assert isinstance(usual("gpt", tmp_path / "book.txt"), WatchRank)
    assert isinstance(usual("supcon", data=images), Watch)  # which has them already
    one_class = load_method("supcon").Data(images.images, np.zeros(40, int), ("a",))
    assert isinstance(usual("supcon", data=one_class), WatchRank)


def test_a_column_of_numbers_or_names_is_no_class(tmp_path):
    """Of labels that hardly come twice a neighbor cannot have the same."""
    for label, kind in (("{0}.5", WatchRank), ("name {0}", WatchRank), ("{1}", Watch)):
        rows = [f"text {i} of many," + label.format(i, i % 4) for i in range(90)]
        for name in ("t.csv", "T.CSV"):
            path = tmp_path / name
            path.write_text("\n".join(["text,label", *rows]), encoding="utf-8")
            data = load_method("gpt").Data.read(path)
            assert type(usual("gpt", path, data)) is kind
    lines = [json.dumps({"text": f"text {i}", "label": str(i % 4)}) for i in range(90)]
    (tmp_path / "t.ndjson").write_text("\n".join(lines), encoding="utf-8")
    data = load_method("gpt").Data.read(tmp_path / "t.ndjson")
    assert type(usual("gpt", tmp_path / "t.ndjson", data)) is Watch


@pytest.mark.parametrize("name", ["gpt", "simclr"])
def test_large_data_is_not_read_twice(name, tmp_path, monkeypatch):
    kind = load_method(name).Data
    monkeypatch.setattr(kind.with_labels, "read", lambda *a, **o: pytest.fail("read twice"))
    monkeypatch.setattr(watching, "LARGE", 1000)
    assert isinstance(usual(name, tmp_path / "data.csv"), WatchRank)


def test_labels_that_cannot_be_read_or_have_gone_are_no_error(tmp_path):
    path = tmp_path / "kinds"
    (path / "a").mkdir(parents=True)
    (path / "a" / "1.txt").write_text("a text " * 60, encoding="utf-8")
    (path / "beside.txt").write_text("in no class " * 60, encoding="utf-8")
    assert isinstance(usual("gpt", path), WatchRank)
    (path / "beside.txt").unlink()
    assert isinstance(usual("gpt", path), WatchRank)  # of one class
    assert isinstance(usual("gpt", tmp_path / "no-such-set"), WatchRank)


def test_a_look_at_texts_makes_no_features_of_a_whole_vocabulary(tmp_path, monkeypatch):
    method, prepared, _ = run("gpt", None)
    monkeypatch.setattr(type(prepared), "labelled", lambda *a: pytest.fail("tf-idf of all"))
    raw = load_method("gpt").Data.with_labels.toy(None)
    assert Watch(raw, probe=False)(method, prepared)().keys() == {NAMES[0], NAMES[2]}


def test_the_examples_of_a_look_are_a_tenth_of_those_between_two(tmp_path):
    kind, raw = load_method("gpt"), load_method("gpt").Data.toy(None)
    for batch, steps, evaluations, most in ((60, 20, 1, 40), (12, 20, 1, 24), (9, 20, 1, 0)):
        settings = toy_settings(
            "gpt", batch_size=batch, steps=steps, evaluations=evaluations, vocab_size=300
        )
        found = usual_watch(kind, settings, raw, tmp_path / "nothing.txt")
        assert (len(found.raw.documents) if found else 0) == most


def test_a_look_nobody_asked_for_changes_no_weight_and_finds_the_rank(tmp_path):
    settings = toy_settings("gpt", steps=4, evaluations=2)
    kind, data = load_method("gpt"), toy_data("gpt", settings)
    runs = {name: tmp_path / name for name in ("alone", "watched")}
    pretrain(kind, data, settings, runs["alone"], progress=False)
    watched = pretrain(
        kind, data, settings, runs["watched"], progress=False, watch=WatchRank(data.some(9))
    )
    assert weights(runs["alone"]) == weights(runs["watched"])
    method, prepared, history = watched
    expected = effective_rank(method.represent(prepared.examples(data.some(9)).inputs))
    assert history.latest("watched_effective_rank") == pytest.approx(expected, rel=1e-6)
    assert "watched_knn_accuracy" not in history[-1]


def test_labels_that_are_looked_at_are_held_out_of_those_that_are_trained_on():
    images = load_method("supcon").Data.toy(toy_settings("supcon"))
    found = usual("supcon", data=images)
    _, test = split_labelled(40)
    tested = {image.tobytes() for image in images.images[test]}
    looked = [image.tobytes() in tested for image in found.raw.images]
    assert np.flatnonzero(looked).tolist() == found.raw.held_out.tolist()


def test_a_test_set_that_everybody_uses_is_the_one_that_is_looked_at():
    method, prepared, _ = run("byol", None)
    raw = load_method("byol").Data.with_labels.toy(toy_settings("byol"))
    raw.held_out = np.arange(30, 40)
    seen = []
    method.represent = lambda inputs: seen.append(inputs) or np.eye(len(inputs), 3)
    Watch(raw)(method, prepared)()
    np.testing.assert_array_equal(seen[0], raw.images[:30])
    np.testing.assert_array_equal(seen[1], raw.images[30:])


def test_a_rank_of_what_is_not_finite_is_no_number():
    method, prepared, _ = run("byol", None)
    method.represent = lambda inputs: np.full((len(inputs), 3), np.inf)
    raw = load_method("byol").Data.toy(toy_settings("byol"))
    assert np.isnan([*WatchRank(raw)(method, prepared)().values()]).all()


def test_which_paths_are_read_once_more_for_their_labels(tmp_path):
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "a.txt").write_text("a", encoding="utf-8")
    assert not may_have_labels(tmp_path)
    assert not may_have_labels(tmp_path / "a.txt")
    (tmp_path / "class").mkdir()
    assert may_have_labels(tmp_path)
    assert may_have_labels(tmp_path / "name of a set")
    assert may_have_labels(None)


def test_it_can_be_turned_off_and_both_at_once_is_refused(tmp_path, capsys):
    images = load_method("simclr").Data.with_labels.toy(toy_settings("simclr"))
    np.savez(tmp_path / "a.npz", images=images.images, labels=images.labels)
    data = str(tmp_path / "a.npz")
    tiny = "--steps 20 --batch-size 30 --features 8 --evaluations 1 --quiet".split()
    for name, options, there in (("on", [], True), ("off", ["--no-watch"], False)):
        run_folder = str(tmp_path / name)
        assert main(["pretrain", "simclr", data, "--run", run_folder, *tiny, *options]) == 0
        history = History.read(run_folder)
        assert ("watched_knn_accuracy" in history[-1]) == there
    capsys.readouterr()
    call = ["pretrain", "simclr", data, "--run", str(tmp_path / "no"), "--watch", data]
    assert main([*call, "--no-watch"]) == 1
    assert "exclude one another" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()

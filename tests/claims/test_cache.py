"""Shared pretraining: every number as without it, and never the run of something else."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest

from minissl.claims import cache, load_claim
from minissl.claims import simclr_on_digits as digits
from minissl.claims.cache import Cache, run_key, shared
from minissl.claims.claim import Setup
from minissl.claims.experiments.images import few_labels
from minissl.claims.run import run_claim
from minissl.cli import main
from minissl.figures import new_figure
from minissl.pretrain import load_method
from minissl.training.folder import RunFolder
from tests.claims.toy import TOY, measure
from tests.pretrain.toy import toy_data, toy_settings

SIMCLR = load_method("simclr")
SETTINGS = toy_settings("simclr", steps=6)
DATA = toy_data("simclr", SETTINGS)


def weights(found):
    return {name: array.copy() for name, array in found.method.model.state_dict().items()}


def get(folder, settings=SETTINGS, seed=0, kind=SIMCLR, data=DATA, row="a row"):
    """The method, and how it came about (None without a folder)."""
    used = Cache(folder) if folder else None
    found = shared(Setup(seed, {}, cache=used), kind, data, settings, row=row)
    return found, used and used.used[row]["how"]


def same(first, second):
    assert [r["loss"] for r in first.history if "loss" in r] == [
        r["loss"] for r in second.history if "loss" in r
    ]
    first, second = weights(first), weights(second)
    assert first.keys() == second.keys()
    return all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("name", ["simclr", "gpt"])
def test_from_the_cache_comes_what_pretraining_gives(tmp_path, name):
    kind, settings = load_method(name), toy_settings(name)
    data = toy_data(name, settings)
    alone, how = get(None, settings, kind=kind, data=data)
    assert how is None
    trained, how = get(tmp_path, settings, kind=kind, data=data)
    loaded, then = get(tmp_path, settings, kind=kind, data=data)
    assert (how, then) == ("trained", "loaded")
    assert same(alone, trained)
    assert same(alone, loaded)
    assert len([*tmp_path.iterdir()]) == 1


def test_claims_measure_the_same_with_the_cache_and_without(tmp_path, monkeypatch):
    """Alone, with an empty cache and with a full one: all features to the last bit."""

    def features(setup, data, represent, labels=(1,)):
        found = represent(data.test_images).astype(np.float64)
        numbers = np.arange(found.size).reshape(found.shape)
        return {digits.column(n): float((found * (numbers + n)).sum()) for n in labels}

    monkeypatch.setattr(digits, "probe", features)
    monkeypatch.setattr(few_labels, "from_scratch", lambda *_: 0.0)  # which is never shared
    keys = {}
    for name in ("projection-head", "few-labels"):
        claim = replace(load_claim(name), figure=lambda *_: new_figure()[0])
        cached = tmp_path / name
        without, first, second = (
            run_claim(claim, tmp_path / place, scale="quick", progress=False, cache=runs)
            for place, runs in (("0", None), ("1", cached), ("2", cached))
        )
        assert first["table"] == second["table"] == without["table"]
        assert without["shared"] == [{}, {}, {}]
        for result, expected in ((first, "trained"), (second, "loaded")):
            assert {run["how"] for rows in result["shared"] for run in rows.values()} == {expected}
        keys[name] = [{row: run["key"] for row, run in rows.items()} for rows in first["shared"]]
    lengths, few = keys.values()
    assert len({key for rows in lengths for key in rows.values()}) == 9
    # Three steps with the same settings: what one claim has trained the other one may load.
    for there, here in zip(lengths, few):
        assert there["medium training"] == here["SimCLR, no labels"]


def test_whatever_decides_the_weights_is_in_the_key(monkeypatch):
    def key(kind=SIMCLR, data=DATA, settings=SETTINGS, seed=0, device="cpu"):
        return run_key(kind, data, settings, seed=seed, device=device)

    other = load_method("byol")
    keys = {
        "the same": key(),
        "method": key(other),  # with the same settings
        "a setting": key(settings=replace(SETTINGS, temperature=0.6)),
        "data": key(data=toy_data("simclr", SETTINGS, seed=1)),
        "seed": key(seed=1),
        "device": key(device="torch"),
    }
    found = cache.conditions("cpu")
    monkeypatch.setattr(cache, "conditions", lambda device: found)  # there is no cuda:1
    monkeypatch.setattr(cache, "library_digest", lambda device: "other sources")
    keys["sources"] = key()
    keys["device, of the same sources"] = key(device="cuda:1")
    monkeypatch.undo()
    for name in ("python", "processor", "packages"):
        monkeypatch.setattr(cache, "conditions", lambda device, name=name: {**found, name: "other"})
        keys[name] = key()
    monkeypatch.setattr(cache, "conditions", lambda device: {**found, "date": "", "load_before": 9})
    assert key() == keys["the same"]
    assert len({*keys.values()}) == len(keys)


def test_a_run_that_was_stopped_goes_on(tmp_path, monkeypatch):
    alone, _ = get(None)
    taken = []

    def stopping(self, batch, generator):
        taken.append(1)
        if len(taken) == 5:
            raise KeyboardInterrupt
        return SIMCLR.__mro__[1].loss(self, batch, generator)

    monkeypatch.setattr(SIMCLR, "loss", stopping)
    with pytest.raises(KeyboardInterrupt):
        get(tmp_path)
    monkeypatch.undo()
    found, how = get(tmp_path)
    assert how == "continued from step 4"
    assert same(alone, found)


@pytest.mark.parametrize("file", ["config.json", "log.jsonl", "checkpoints", "data.json"])
def test_a_damaged_run_is_named_and_made_again(tmp_path, file):
    alone, _ = get(None)
    get(tmp_path)
    (folder,) = tmp_path.iterdir()
    if file == "checkpoints":
        for path in folder.glob("checkpoints/*/model.safetensors"):
            path.write_bytes(path.read_bytes()[:-7])
    elif file == "log.jsonl":
        lines = (folder / file).read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / file).write_text("".join(lines[:2] + lines[3:]), encoding="utf-8")
    elif file == "config.json":
        config = json.loads((folder / file).read_text(encoding="utf-8"))
        config["config"]["settings"]["temperature"] = 9.0
        (folder / file).write_text(json.dumps(config), encoding="utf-8")
    else:  # only in words which data it was
        (folder / file).write_text("{", encoding="utf-8")
        assert same(alone, get(tmp_path)[0])
        return
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        found, how = get(tmp_path)
    assert f"{folder} is damaged, and is made again: " in str(warned[-1].message)
    assert how == "trained"
    assert same(alone, found)
    assert get(tmp_path)[1] == "loaded"


def test_two_claims_at_once_do_not_wait_for_one_another(tmp_path):
    trained, _ = get(tmp_path)
    (folder,) = tmp_path.iterdir()
    with RunFolder(folder):
        found, how = get(tmp_path)
    assert how == "trained apart: another process was training it"
    assert same(trained, found)
    assert get(tmp_path)[1] == "loaded"


def test_what_is_not_the_librarys_is_not_shared(tmp_path):
    kind = type("Own", (SIMCLR,), {"__module__": SIMCLR.__module__})
    with pytest.raises(ValueError, match="Own is no method of the library: train it"):
        get(tmp_path, kind=kind)
    one = type(DATA)(DATA.images[:1])  # no damage, but an error that every new try would have
    with pytest.raises(ValueError, match="there is one image"), pytest.warns(match="only 1 images"):
        get(tmp_path, data=one)
    assert not list(tmp_path.iterdir())


def test_the_command_shares_below_out_unless_told_to_begin_anew(tmp_path, monkeypatch):
    def pretraining(setup):
        places.append(setup.cache and setup.cache.folder)
        return measure(setup)

    places = []
    monkeypatch.setattr("minissl.claims.load_claim", lambda name: replace(TOY, measure=pretraining))
    call = ["claim", "toy", "--out", str(tmp_path), "--quiet", "--seeds", "4"]
    assert main(call) == main([*call, "--fresh"]) == 0
    assert places == [tmp_path / "shared", None]

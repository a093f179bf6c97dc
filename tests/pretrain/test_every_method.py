"""What must hold for every method: found by its file, it passes these or it is not one."""

import re
import sys
from contextlib import contextmanager
from dataclasses import fields

import numpy as np
import pytest

from minissl.autograd import Tensor, no_grad
from minissl.autograd import tensor as tensor_module
from minissl.cli import parser_of
from minissl.pretrain import METHODS as REGISTRY
from minissl.pretrain import load_method, method_names
from minissl.pretrain.method import Pretraining, Training
from minissl.pretrain.run import open_run, pretrain
from minissl.registry import file_name_of
from minissl.training import History
from minissl.training.method import Evaluated
from tests.pretrain.in_processes import start
from tests.pretrain.toy import stopped_after, toy_data, toy_method, toy_settings

METHODS = method_names()
every_method = pytest.mark.parametrize("name", METHODS)


def run(name, folder=None, seed=0, data_seed=0, **options):
    settings = toy_settings(name)
    data = toy_data(name, settings, seed=data_seed)
    options = {"progress": False, "seed": seed, **options}
    return pretrain(load_method(name), data, settings, folder, **options)


def weights(method):
    state = method.model.state_dict()
    return {name: array.tobytes() for name, array in state.items() if name not in method.of_the_run}


def logged(history):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in history]


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@every_method
def test_it_says_what_it_is(name):
    kind = load_method(name)
    assert issubclass(kind, Pretraining)
    assert issubclass(kind.Settings, Training)
    assert file_name_of(kind) == name
    text = sys.modules[kind.__module__].__doc__
    assert REGISTRY.about(name) == text.splitlines()[0]
    assert re.search(r"[Ll]ectures? \d\d", text)
    assert re.search(r"\((\w+, )?(19|20)\d\d", text), "the paper's year"
    assert "Not here:" in text, "what it does not do"
    help_text = " ".join(parser_of("pretrain", [name]).format_help().split())
    for one in fields(kind.Settings):
        assert f"--{one.name.replace('_', '-')}" in help_text
        assert one.metadata["help"].split()[0] in help_text


@every_method
def test_it_trains_is_killed_and_goes_on_bit_for_bit(name, tmp_path):
    undisturbed = run(name)
    with stopped_after(load_method(name), 2):
        run(name, tmp_path)
    continued = run(name, tmp_path)
    assert weights(continued.method) == weights(undisturbed.method)
    assert logged(continued.history) == logged(undisturbed.history)
    assert logged(History.read(tmp_path)) == logged(undisturbed.history)
    before = snapshot(tmp_path)
    assert weights(run(name, tmp_path).method) == weights(undisturbed.method)  # finished: loaded
    assert snapshot(tmp_path) == before


@every_method
def test_what_is_refused_changes_nothing(name, tmp_path):
    run(name, tmp_path)
    before = snapshot(tmp_path)
    with pytest.raises(ValueError, match="begun with other data"):
        run(name, tmp_path, data_seed=1)
    with pytest.raises(ValueError, match="other settings: seed: 0, now 1"):
        run(name, tmp_path, seed=1)
    for other in METHODS:
        if other != name:
            with pytest.raises(ValueError, match=f"holds a run of '{name}', not of '{other}'"):
                run(other, tmp_path)
    assert snapshot(tmp_path) == before


@every_method
def test_it_is_opened_as_it_was(name, tmp_path):
    trained = run(name, tmp_path)
    opened = open_run(tmp_path)
    assert opened.name == name
    assert opened.settings == toy_settings(name)
    assert weights(opened.method) == weights(trained.method)
    raw = toy_data(name, opened.settings, seed=3)
    examples = opened.data.examples(raw)
    assert len(examples.names) == len(examples.inputs)
    features = opened.method.represent(examples.inputs)
    expected = trained.method.represent(trained.data.examples(raw).inputs)
    np.testing.assert_array_equal(features, expected)
    assert features.ndim == 2
    assert np.isfinite(features).all()
    if isinstance(trained.method, Evaluated):
        again = opened.on(trained.data).evaluate()
        expected = {key: trained.history.latest(key) for key in again}
        assert again == pytest.approx(expected, rel=1e-5)  # other batches, rounded otherwise
        elsewhere = opened.on(opened.data.unseen(raw)).evaluate()
        assert again.keys() == elsewhere.keys()
    with pytest.raises(ValueError, match="opened to be used"):
        opened.method.batch(np.random.default_rng(0))


@every_method
def test_it_goes_on_from_given_weights(name, tmp_path):
    first = run(name, tmp_path / "first")
    settings = toy_settings(name, steps=2, learning_rate=1e-4)
    start_from = open_run(tmp_path / "first")
    assert weights(start_from.method) == weights(first.method)
    kind, data = load_method(name), toy_data(name, settings, seed=1)
    options = {"start": start_from, "progress": False}
    more = pretrain(kind, data, settings, tmp_path / "more", **options)
    assert weights(more.method) != weights(first.method)
    assert more.data.kept == first.data.kept  # what it learned from its own data, not from this
    assert open_run(tmp_path / "more").checkpoint.config["from"]["step"] == 3
    again = pretrain(kind, data, settings, tmp_path / "more", progress=False)  # without it
    assert weights(again.method) == weights(more.method)
    run(name, tmp_path / "other", seed=5)
    with pytest.raises(ValueError, match=r"other settings: from\.weights"):
        pretrain(
            kind, data, settings, tmp_path / "more", progress=False,
            start=open_run(tmp_path / "other"),
        )  # fmt: skip
    for other in METHODS:
        if other != name:
            with pytest.raises(ValueError, match=f"only a run of '{other}' can go on from its"):
                run(other, start=start_from)


def another(one, value):
    """A value of an option that is not this one."""
    if isinstance(value, bool):
        return not value
    if one.metadata["choices"]:
        return next(choice for choice in one.metadata["choices"] if choice != value)
    return value + 1


@every_method
def test_what_was_learned_from_other_data_is_not_asked_for_in_vain(name, tmp_path):
    """A tokenizer goes with the weights: another size of it is refused, with nothing written."""
    settings = toy_settings(name)
    learned = [one for one in fields(settings) if one.metadata.get("learned")]
    if not learned:
        return
    run(name, tmp_path / "first")
    opened = open_run(tmp_path / "first")
    for one in learned:
        other = toy_settings(name, **{one.name: another(one, getattr(settings, one.name))})
        with pytest.raises(ValueError, match=rf"{one.name} is \w+, and .*first, whose weights"):
            pretrain(
                load_method(name), toy_data(name, other), other, tmp_path / "more",
                progress=False, start=opened,
            )  # fmt: skip
        assert not (tmp_path / "more").exists()


@every_method
def test_the_seed_decides_the_first_weights(name):
    """A step that is too small to be seen is as good as none."""
    settings = toy_settings(name, steps=1, learning_rate=1e-12, weight_decay=0.0)
    kind, data = load_method(name), toy_data(name, settings)
    trained = pretrain(kind, data, settings, seed=4, progress=False)
    built = [kind.build(settings, trained.data, seed=seed) for seed in (4, 0)]
    ours, theirs, others = (
        np.concatenate([p.array.ravel() for _, p in method.model.named_parameters()])
        for method in (trained.method, *built)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9)
    assert not np.allclose(ours, others, rtol=1e-2)


@every_method
def test_it_measures_the_same_in_any_mode_and_changes_nothing(name):
    method = toy_method(name)
    method.model.eval()
    expected, before = method.evaluate(), weights(method)
    method.model.train()
    assert method.evaluate() == expected
    assert weights(method) == before
    assert method.model.training


@every_method
def test_a_representation_does_not_depend_on_the_rest_of_the_batch(name):
    method = toy_method(name)
    settings = toy_settings(name)
    raw = toy_data(name, settings, seed=2)
    from minissl.data import Kept

    prepared = toy_data(name, settings).prepare(Kept(), settings)
    inputs = prepared.examples(raw).inputs[:7]
    together = method.represent(inputs)
    alone = np.concatenate([method.represent(inputs[i : i + 1]) for i in range(len(inputs))])
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6 * np.abs(alone).max())
    method.model.train()
    np.testing.assert_array_equal(method.represent(inputs), together)  # in any mode


@every_method
def test_it_computes_the_same_on_another_device(name, tmp_path, monkeypatch):
    monkeypatch.setattr("minissl.autograd.fused.gpu._interpreted", lambda: False)
    here = run(name, tmp_path)
    there = run(name, device="torch")
    # Adam's first steps turn rounding into signs: only the first loss can be compared closely.
    ours, theirs = here.history.losses(), there.history.losses()
    assert theirs[0] == pytest.approx(ours[0], rel=1e-5)
    assert theirs[1:] == pytest.approx(ours[1:], rel=0.2)
    opened = open_run(tmp_path)
    inputs = opened.data.examples(toy_data(name, opened.settings)).inputs[:5]
    expected = opened.method.represent(inputs)
    rough = run(name, device="torch", precision="bfloat16").history.losses()
    assert rough[0] == pytest.approx(ours[0], rel=0.03)
    assert np.isfinite(rough).all()
    opened.method.model.to("torch")
    scale = np.abs(expected).max()
    np.testing.assert_allclose(opened.method.represent(inputs), expected, atol=1e-4 * scale)


# ---- the gradient --------------------------------------------------------------------------------


@contextmanager
def held_still(monkeypatch, remembered):
    """What ``detach`` gives the first time it gives always: a stop-gradient is a constant."""
    recording = not remembered
    places = iter(remembered[:])

    def detach(self, usual=tensor_module.Tensor.detach):
        if recording:
            remembered.append(usual(self))
            return remembered[-1]
        return next(places)

    with monkeypatch.context() as patch:
        patch.setattr(tensor_module.Tensor, "detach", detach)
        yield


def in_float64(batch):
    if isinstance(batch, np.ndarray):
        return batch.astype(np.float64) if batch.dtype == np.float32 else batch
    if isinstance(batch, tuple | list):
        parts = [in_float64(part) for part in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    if isinstance(batch, dict):
        return {key: in_float64(part) for key, part in batch.items()}
    return batch


@every_method
def test_the_gradient_is_that_of_the_loss(name, monkeypatch):
    """In a random direction, against differences of the loss that agree on both sides (no kink)."""
    method = toy_method(name)
    method.model.astype(np.float64)
    method.model.train()
    batch = in_float64(method.batch(np.random.default_rng(1)))
    parameters = method.model.parameters()
    still = []

    def loss():
        with held_still(monkeypatch, still):
            return method.loss(batch, np.random.default_rng(2))

    loss().backward()
    gradients = [None if p.grad is None else np.asarray(p.grad) for p in parameters]
    assert any(np.abs(g).max() > 0 for g in gradients if g is not None)

    def at(direction, size):
        for p, part in zip(parameters, direction):
            p.array = p.array + size * part
        with no_grad():
            value = loss().item()
        for p, part in zip(parameters, direction):
            p.array = p.array - size * part
        return value

    size, checked, middle = 1e-7, 0, loss().item()
    for draw in range(20):
        generator = np.random.default_rng([7, draw])
        direction = [generator.standard_normal(p.shape) for p in parameters]
        up, down = (at(direction, size) - middle) / size, (middle - at(direction, -size)) / size
        if abs(up - down) > 3e-5 * (abs(up) + abs(down)):
            continue  # a kink lies between
        slope = sum(np.sum(g * d) for g, d in zip(gradients, direction) if g is not None)
        assert (up + down) / 2 == pytest.approx(slope, rel=1e-4)
        checked += 1
    assert checked >= 3


def test_a_wrong_gradient_would_be_seen(monkeypatch):
    """The check above fails for a loss that is right and whose gradient is a hundredth off."""
    kind = load_method("simclr")

    def compare(self, embeddings, views, usual=kind.compare, **options):
        mixed = embeddings * 0.99 + Tensor(embeddings.array) * 0.01
        return usual(self, mixed, views, **options)

    monkeypatch.setattr(kind, "compare", compare)
    with pytest.raises(AssertionError):
        test_the_gradient_is_that_of_the_loss("simclr", monkeypatch)


# ---- several processes ---------------------------------------------------------------------------


def test_two_processes_on_a_slow_disk(tmp_path):
    """Every method begins, is refused other data, goes on and is opened, by both processes alike.

    Or is refused, by both, before anything is written: word vectors. With an ``fsync`` of 0.01 s
    and more, writers in two processes would meet; one alone writes.
    """
    start(tmp_path, METHODS)
    for name in METHODS:
        told = [(tmp_path / f"{name}-{rank}.txt").read_text(encoding="utf-8") for rank in (0, 1)]
        assert told[0] == told[1]
        if not load_method(name).in_processes:
            assert "trained by one process, here are 2: start it without torchrun" in told[0]
            assert not (tmp_path / name).exists()
            continue
        lines = told[0].splitlines()
        assert lines[0] == "begun, continued and finished"
        assert "refused" in lines[1]
        steps = [record["step"] for record in History.read(tmp_path / name)]
        assert steps[-3:] == [1, 2, 3]
        names = {path.name for path in (tmp_path / name).iterdir()}
        assert not [n for n in names if n.startswith(".")]
        assert open_run(tmp_path / name).checkpoint.step == 3

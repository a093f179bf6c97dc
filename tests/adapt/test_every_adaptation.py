"""What must hold for every adaptation, of runs of images and of texts: found by its file."""

import re
import sys
from dataclasses import fields, replace

import numpy as np
import pytest

from minissl.adapt import ADAPTATIONS, adaptation_names, load_adaptation
from minissl.adapt.method import TASK, Adaptation, Confident, FewLabels, Solved, Task
from minissl.adapt.run import adapt, open_adaptation, open_any
from minissl.autograd import no_grad
from minissl.cli import parser_of
from minissl.data import Kept
from minissl.pretrain.run import open_run
from minissl.registry import file_name_of
from minissl.training import History
from tests.adapt.in_processes import __name__ as IN_PROCESSES
from tests.adapt.toy import PAIRS, adapted, adapting, bases_of, toy_base, toy_labelled
from tests.pretrain.in_processes import start
from tests.pretrain.test_every_method import in_float64, logged, snapshot
from tests.pretrain.toy import stopped_after

NAMES = adaptation_names()
TRAINED = [name for name in NAMES if not hasattr(load_adaptation(name), "solve")]
OF_CLASSES = [name for name in NAMES if load_adaptation(name).labels == "class"]
FROM_LABELS = [n for n in OF_CLASSES if issubclass(load_adaptation(n).Settings, FewLabels)]
FROM_NONE = sorted({*OF_CLASSES} - {*FROM_LABELS})  # no label is seen by what is kept
every_adaptation = pytest.mark.parametrize("name", NAMES)
of_every_run = pytest.mark.parametrize(("name", "base"), PAIRS)
of_every_run_trained = pytest.mark.parametrize(
    ("name", "base"), [(name, base) for name, base in PAIRS if name in TRAINED]
)


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """A run of images, one of texts and one of words."""
    folder = tmp_path_factory.mktemp("bases")
    return {name: toy_base(name, folder / name) for name in sorted({base for _, base in PAIRS})}


def weights(method):
    return {name: array.tobytes() for name, array in method.saved().state_dict().items()}


def of_base(opened):
    return {name: array.tobytes() for name, array in opened.method.model.state_dict().items()}


def of_encoder(made):
    """What represents an example, adapted or not."""
    return {n: array.tobytes() for n, array in made.method.base.encoder.state_dict().items()}


@every_adaptation
def test_it_says_what_it_is(name):
    kind = load_adaptation(name)
    assert issubclass(kind, Adaptation)
    assert file_name_of(kind) == name
    text = sys.modules[kind.__module__].__doc__
    assert ADAPTATIONS.about(name) == text.splitlines()[0]
    assert re.search(r"[Ll]ectures?\s\d\d", text)
    assert re.search(r"\((\w+, )?(19|20)\d\d", text), "the paper's year"
    assert "Not\nhere:" in text or "Not here:" in text, "what it does not do"
    help_text = " ".join(parser_of("adapt", [name]).format_help().split())
    for one in fields(kind.Settings):
        assert f"--{one.name.replace('_', '-')}" in help_text
        assert one.metadata["help"].split()[0] in help_text


@of_every_run
def test_it_is_kept_and_opened_as_it_was(name, base, bases, tmp_path):
    opened, before = bases[base], of_base(bases[base])
    made = adapted(name, opened, tmp_path)
    assert of_base(opened) == before, "the run itself must not change"
    again = open_adaptation(tmp_path)
    assert again.name == name
    assert again.settings == adapting(name)
    assert weights(again.method) == weights(made.method)
    assert type(open_any(tmp_path).method) is type(made.method)
    assert of_encoder(again) == of_encoder(made)
    held_out = made.data.held_out
    expected = made.method.predict(held_out.inputs)
    np.testing.assert_array_equal(again.method.predict(held_out.inputs), expected)
    alone = [made.method.predict(held_out.take([i]).inputs)[0] for i in range(len(held_out))]
    np.testing.assert_allclose(alone, expected, rtol=1e-4, atol=1e-5)
    width = made.method.base.width
    assert again.method.represent(held_out.inputs).shape == (len(held_out), width)
    raw = toy_labelled(name, opened, seed=3)
    examples = again.data.examples(raw)
    assert len(again.method.predict(examples.inputs)) == len(examples.names) == 40
    elsewhere = again.on(again.data.unseen(raw)).evaluate()
    assert elsewhere.keys() == made.method.evaluate().keys() - {*made.method.of_training}
    if isinstance(made.method, Confident):
        probabilities = again.method.probabilities(examples.inputs)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_array_equal(
            probabilities.argmax(axis=1), again.method.predict(examples.inputs)
        )
    before = snapshot(tmp_path)
    assert weights(adapted(name, opened, tmp_path).method) == weights(made.method)  # it is loaded
    too_many = {"labels_per_class": 10**9, "examples": 10**9}
    for wrong, error, words in (
        ({"fields": {}}, TypeError, "fields must be of type Fields"),
        ({"device": None}, ValueError, "device must be 'auto', .* got None"),
        *[({"changes": too_many}, ValueError, "asked for 10000")] * (name not in FROM_NONE),
    ):
        with pytest.raises(error, match=words):
            adapted(name, opened, tmp_path / "new", **wrong)
    assert snapshot(tmp_path) == before


@every_adaptation
def test_the_metrics_are_those_of_its_predictions(name, bases):
    made = adapted(name, bases[bases_of(name)[-1]])
    predicted = made.method.predict(made.data.held_out.inputs)
    found, labels = made.method.evaluate(), made.data.held_out.labels
    if load_adaptation(name).labels == "class":
        assert found["held_out_accuracy"] == pytest.approx(np.mean(predicted == labels))
    else:
        from scipy.stats import spearmanr
        from sklearn.metrics import r2_score

        assert found["held_out_r2"] == pytest.approx(r2_score(labels, predicted))
        assert found["held_out_spearman"] == pytest.approx(spearmanr(labels, predicted).statistic)
    assert made.history.latest(next(iter(found))) == pytest.approx(next(iter(found.values())))


@of_every_run_trained
def test_it_is_killed_and_goes_on_bit_for_bit(name, base, bases, tmp_path):
    undisturbed = adapted(name, bases[base])
    with stopped_after(load_adaptation(name), 2):
        adapted(name, bases[base], tmp_path)
    continued = adapted(name, bases[base], tmp_path)
    assert weights(continued.method) == weights(undisturbed.method)
    assert logged(History.read(tmp_path)) == logged(undisturbed.history)


@every_adaptation
def test_what_is_refused_changes_nothing(name, bases, tmp_path):
    base = bases_of(name)[0]
    opened = bases[base]
    adapted(name, opened, tmp_path / "run")
    other_run = toy_base(base, tmp_path / "other", seed=5)
    before = snapshot(tmp_path)
    with pytest.raises(ValueError, match="begun with other data"):
        adapted(name, opened, tmp_path / "run", data_seed=1)
    with pytest.raises(ValueError, match="other settings: seed: 0, now 1"):
        adapted(name, opened, tmp_path / "run", seed=1)
    with pytest.raises(ValueError, match=r"other settings: base\.weights"):
        adapted(name, other_run, tmp_path / "run")
    for other in NAMES:
        if other != name and isinstance(opened.method, load_adaptation(other).needs):
            with pytest.raises(ValueError, match=f"by '{name}', not of '{other}'"):
                adapted(other, opened, tmp_path / "run")
    with pytest.raises(ValueError, match="holds an adaptation by"):
        open_run(tmp_path / "run")
    with pytest.raises(ValueError, match="which was not adapted"):
        open_adaptation(tmp_path / "other")
    opened_again = open_adaptation(tmp_path / "run")
    with pytest.raises(ValueError, match="is an adaptation itself"):
        adapt(load_adaptation(name), opened_again, toy_labelled(name, opened), adapting(name))
    with pytest.raises(ValueError, match="opened to be used"):
        (getattr(opened_again.method, "solve", None) or opened_again.method.batch)(
            *([] if isinstance(opened_again.method, Solved) else [np.random.default_rng(0)])
        )
    assert snapshot(tmp_path) == before


@every_adaptation
def test_a_run_without_what_it_needs_is_refused(name, bases, tmp_path):
    """With the methods that have it, before anything is written."""
    needs = load_adaptation(name).needs
    for opened in bases.values():
        if not isinstance(opened.method, needs):
            with pytest.raises(ValueError, match=rf"{name} needs a run of .*{bases_of(name)[0]}"):
                adapted(name, opened, tmp_path / "run")
    assert not [*tmp_path.iterdir()]


@every_adaptation
def test_the_run_may_move_with_it_or_be_gone(name, tmp_path):
    base = bases_of(name)[0]
    opened = toy_base(base, tmp_path / "runs" / "base")
    made = adapted(name, opened, tmp_path / "runs" / "made")
    inputs = made.data.held_out.inputs
    (tmp_path / "runs").rename(tmp_path / "moved")
    expected = made.method.predict(inputs)
    moved = open_adaptation(tmp_path / "moved" / "made")
    np.testing.assert_array_equal(moved.method.predict(inputs), expected)
    (tmp_path / "moved" / "base").rename(tmp_path / "elsewhere")
    if not load_adaptation(name).from_base:
        alone = open_adaptation(tmp_path / "moved" / "made")
        np.testing.assert_array_equal(alone.method.predict(inputs), expected)
        return
    with pytest.raises(FileNotFoundError, match="which is not there: put it back"):
        open_adaptation(tmp_path / "moved" / "made")
    given = open_adaptation(tmp_path / "moved" / "made", base=tmp_path / "elsewhere")
    np.testing.assert_array_equal(given.method.predict(inputs), expected)
    toy_base(base, tmp_path / "moved" / "base", seed=5)
    with pytest.raises(ValueError, match="other weights"):
        open_adaptation(tmp_path / "moved" / "made")


@pytest.mark.parametrize("name", FROM_NONE)
def test_what_learns_from_no_label_is_the_same_whatever_they_are(name, bases, monkeypatch):
    opened = bases[bases_of(name)[0]]
    made = adapted(name, opened)
    train, held_out = made.data.train, made.data.held_out
    lying = replace(made.data, train=replace(train, labels=1 - train.labels))
    monkeypatch.setattr(Task, "prepare", lambda *_: lying)
    again = adapted(name, opened)
    assert weights(again.method) == weights(made.method)
    predicted = made.method.predict(held_out.inputs)
    np.testing.assert_array_equal(again.method.predict(held_out.inputs), predicted)


@pytest.mark.parametrize("name", FROM_LABELS)
def test_few_labels_are_the_same_ones_for_every_adaptation(name, bases, monkeypatch):
    opened = bases[bases_of(name)[0]]
    made = adapted(name, opened, changes={"labels_per_class": 2})
    train = made.data.train
    settings = adapting(name, labels_per_class=2)
    chosen = settings.choose(train.labels, 0)
    assert np.bincount(train.labels[chosen]).tolist() == [2, 2]
    np.testing.assert_array_equal(settings.choose(train.labels, 0), chosen)
    assert {*settings.choose(train.labels, 0, draw=1)} != {*chosen}
    hidden = train.labels.copy()  # all other labels are wrong: nothing changes
    others = np.setdiff1d(np.arange(len(hidden)), chosen)
    hidden[others] = 1 - hidden[others]
    lying = Task(made.data.kept, made.data.base, made.data.class_names, made.data.size)
    lying = replace(lying, train=replace(train, labels=hidden), held_out=made.data.held_out)
    monkeypatch.setattr(type(settings), "choose", lambda *_, **__: chosen)
    monkeypatch.setattr(Task, "prepare", lambda *_: lying)
    again = adapted(name, opened, changes={"labels_per_class": 2})
    assert weights(again.method) == weights(made.method)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="asked for 99 labels per class"):
        adapted(name, opened, changes={"labels_per_class": 99})


def test_rows_beside_a_probe_are_those_of_raw_inputs_and_of_the_untrained_network(bases):
    """The mean over three draws by hand, with scikit-learn's own classifier."""
    from sklearn.linear_model import LogisticRegression

    from minissl.adapt.frozen import compare
    from minissl.adapt.heads.probe import Probe
    from minissl.data.labels import draw_few_labels

    opened = bases["simclr"]
    settings = adapting("probe", labels_per_class=3)
    task = Task.prepare(opened.data, toy_labelled("probe", opened), "class")
    rows = {row.name: row.scores for row in compare(Probe, settings, opened, task, draws=3)}
    untrained = type(opened.method).build(opened.settings, opened.data, seed=0)
    by_hand = {
        "raw pixels": lambda part: part.raw,
        "random network": lambda part: untrained.represent(part.inputs),
        "simclr": lambda part: opened.method.represent(part.inputs),
    }
    assert rows.keys() == by_hand.keys()
    for row, represent in by_hand.items():
        pool = represent(task.train).astype(np.float64)
        mean = pool.mean(axis=0)
        scale = np.sqrt(np.mean((pool - mean) ** 2))
        for draw in range(3):
            chosen = draw_few_labels(task.train.labels, 3, np.random.default_rng([0, 3, draw]))
            classifier = LogisticRegression(C=1 / (1e-2 * len(chosen)), tol=1e-8, max_iter=5000)
            classifier.fit((pool[chosen] - mean) / scale, task.train.labels[chosen])
            test = (represent(task.held_out) - mean) / scale
            expected = classifier.score(test, task.held_out.labels)
            assert rows[row]["accuracy"][draw] == pytest.approx(expected)


def test_what_is_kept_is_the_first_row_of_the_table(bases):
    """Also with few labels, where mean and scale are those of all features."""
    from minissl.adapt.frozen import compare

    made = adapted("probe", bases["simclr"], changes={"labels_per_class": 2})
    settings = adapting("probe", labels_per_class=2)
    rows = compare(load_adaptation("probe"), settings, bases["simclr"], made.data)
    features = bases["simclr"].method.represent(made.data.train.inputs).astype(np.float64)
    np.testing.assert_allclose(made.method.model.mean.numpy(), features.mean(axis=0))
    assert made.method.evaluate()["held_out_accuracy"] == rows[-1].scores["accuracy"][0]


@pytest.mark.parametrize("name", TRAINED)
def test_the_seed_decides_the_first_weights(name, bases):
    opened = bases[bases_of(name)[-1]]
    first, again, other = (adapted(name, opened, seed=seed).method for seed in (0, 0, 1))
    assert weights(first) == weights(again)
    task, kind = first.task, load_adaptation(name)
    heads = [kind.build(adapting(name), opened, task, seed=s).model.head for s in (0, 1)]
    assert np.abs(heads[0].weight.numpy() - heads[1].weight.numpy()).max() > 0.01
    assert weights(first) != weights(other)


@pytest.mark.parametrize("damage", [b"null", b"[]", b"{}", b'{"class_names": [3], "size": 2}'])
def test_a_damaged_task_is_named(damage, bases):
    from pathlib import Path

    kept = Kept({TASK: damage}, Path("runs/reviews"))
    with pytest.raises(ValueError, match=r"runs/reviews/task.json (cannot|has 2)"):
        Task.reopen(kept, bases["gpt"].data)


def test_labels_that_tell_nothing_apart_are_refused(bases):
    opened = bases["simclr"]
    raw = toy_labelled("probe", opened)
    one = type(raw)(raw.images, np.zeros(40, np.int64), ("a",))
    with pytest.raises(ValueError, match=r"40 labelled examples of 1 class\(es\)"):
        Task.prepare(opened.data, one, "class")
    labels = np.zeros(40, np.int64)
    split = Task.prepare(opened.data, raw, "class")
    held_out = int(split.held_out.names[0].split()[-1])
    labels[held_out] = 1
    alone = type(raw)(raw.images, labels, ("a", "b"))
    with pytest.raises(ValueError, match="class 'b' has no example left to learn from"):
        Task.prepare(opened.data, alone, "class")
    with pytest.raises(ValueError, match="must be a class each, these are a number each"):
        Task.prepare(opened.data, type(raw).toy(opened.settings, labels="number"), "class")
    made = adapted("probe", opened)
    strange = type(raw)(raw.images, raw.labels, ("lying", "flying"))
    with pytest.raises(ValueError, match="class 'flying' is not one of this run: lying"):
        made.data.unseen(strange)
    turned = type(raw)(raw.images, 1 - raw.labels, ("standing", "lying"))
    np.testing.assert_array_equal(made.data.unseen(turned).held_out.labels, raw.labels)


# ---- the gradient, devices, processes ------------------------------------------------------------


@of_every_run_trained
def test_the_gradient_is_that_of_the_loss(name, base, bases):
    """In random directions of what is trained, against differences of the loss (no kink)."""
    kind, opened = load_adaptation(name), bases[base]
    task = Task.prepare(opened.data, toy_labelled(name, opened), kind.labels)
    method = kind.build(adapting(name), opened, task, seed=0)
    method.base.model.astype(np.float64)
    method.model.astype(np.float64)
    generator = np.random.default_rng(3)
    parameters = [p for p in method.model.parameters() if p.requires_grad]
    for p in parameters:  # away from where LoRA begins: there half of the gradient is zero
        p.array = p.array + 0.1 * generator.standard_normal(p.shape)
    method.model.train()
    batch = in_float64(method.batch(generator))
    loss = method.loss(batch, np.random.default_rng(2))
    middle = loss.item()
    loss.backward()
    frozen = [p for p in method.base.model.parameters() if not p.requires_grad]
    assert all(p.grad is None for p in frozen)
    size, checked = 1e-7, 0
    for draw in range(20):
        generator = np.random.default_rng([7, draw])
        direction = [generator.standard_normal(p.shape) for p in parameters]
        values = []
        for sign in (1, -1):
            for p, part in zip(parameters, direction):
                p.array = p.array + sign * size * part
            with no_grad():
                values.append(method.loss(batch, np.random.default_rng(2)).item())
            for p, part in zip(parameters, direction):
                p.array = p.array - sign * size * part
        up, down = (values[0] - middle) / size, (middle - values[1]) / size
        if abs(up - down) > 1e-5 * (abs(up) + abs(down)):
            continue
        slope = sum(np.sum(p.grad * d) for p, d in zip(parameters, direction) if p.grad is not None)
        assert (up + down) / 2 == pytest.approx(slope, rel=1e-4)
        checked += 1
    assert checked >= 3


@of_every_run
def test_it_computes_the_same_on_another_device(name, base, bases, monkeypatch):
    monkeypatch.setattr("minissl.autograd.fused.gpu._interpreted", lambda: False)
    here = adapted(name, bases[base])
    try:
        there = adapted(name, bases[base], device="torch")
        for key, value in there.method.evaluate().items():
            assert value == pytest.approx(here.method.evaluate()[key], rel=0.05, abs=0.05)
        if name in TRAINED:
            rough = adapted(name, bases[base], device="torch", precision="bfloat16")
            assert rough.history.losses()[0] == pytest.approx(here.history.losses()[0], rel=0.05)
    finally:
        bases[base].method.model.to("cpu")


def test_two_processes_on_a_slow_disk(tmp_path):
    """Every adaptation is made, loaded and refused by both processes alike; one alone writes."""
    for base in sorted({base for _, base in PAIRS}):
        toy_base(base, tmp_path / base)
    start(tmp_path, NAMES, IN_PROCESSES)
    for name, base in PAIRS:
        told = [
            (tmp_path / f"{base}-{name}-{rank}.txt").read_text(encoding="utf-8") for rank in (0, 1)
        ]
        assert told[0] == told[1]
        assert told[0].splitlines()[0] == "refused"
        steps = [record["step"] for record in History.read(tmp_path / f"{base}-{name}")]
        assert steps == sorted({*steps}), "each step once"
        assert open_adaptation(tmp_path / f"{base}-{name}").name == name

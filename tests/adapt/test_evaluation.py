"""Representations side by side: each number against the function that it names, on one data set."""

from dataclasses import replace

import numpy as np
import pytest

from minissl.adapt import evaluation as ev
from minissl.adapt import representations as rep
from minissl.adapt.heads.neighbors import nearest_neighbor_accuracy
from minissl.adapt.heads.probe import linear_probe
from minissl.data.labels import Labelled
from minissl.nn import BatchNorm
from minissl.pretrain.method import Represents
from minissl.training import diagnostics
from minissl.training.verification import verification
from tests.adapt.toy import adapted, toy_base

FEW = ev.Measures(labels_per_class=(1, 3, 100), draws=2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """BYOL, which has BatchNorm and an average of itself, supervised learning, and two of texts."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        name: toy_base(name, folder / name) for name in ("byol", "supervised", "gpt", "skipgram")
    }


def toy(opened, labels="class", **changes):
    kind = type(opened.method).Data.with_labels
    return opened.data.labelled(kind.toy(opened.settings, labels=labels))


def blobs(classes=4, each=12, width=5, seed=0, **changes):
    """Labelled vectors around a centre for each class, for what needs no network."""
    generator = np.random.default_rng(seed)
    labels = np.tile(np.arange(classes), each)
    rows = 3 * np.eye(classes, width)[labels] + generator.normal(size=(len(labels), width))
    names = tuple(f"class {c}" for c in range(classes))
    of_all = (rows, tuple(map(str, range(len(rows)))), labels, names, rows, "raw numbers")
    return Labelled(*of_all, **changes)


@pytest.mark.parametrize("name", ["byol", "gpt", "skipgram"])
def test_every_number_is_that_of_its_own_function(runs, name):
    opened = runs[name]
    data = toy(opened)
    found = ev.compare(opened, data, FEW)
    assert [row.name for row in found.rows] == [data.raw_name, rep.UNTRAINED, rep.PRETRAINED]
    assert (found.counts, len(found.notes)) == ([1, 3], 1)
    assert "no column for 100: class" in found.notes[0]
    train, test = found.split.train, found.split.test
    assert sorted([*train, *test]) == [*range(len(data))]
    row, features = found.rows[-1], opened.method.represent(data.inputs)
    parts = features[train], data.labels[train], features[test], data.labels[test]
    pairs = verification(*parts[2:])
    expected = {
        "knn": nearest_neighbor_accuracy(*parts, k=max(1, len(train) // 10)),
        "probe": linear_probe(*parts[:2]).accuracy(*parts[2:]),
        "effective_rank": diagnostics.effective_rank(parts[2]),
        "uniformity": diagnostics.uniformity(parts[2]),
        **pairs.scores(),
    }
    if name == "byol":
        images, generator = data.inputs[test], np.random.default_rng(0)
        views = [opened.method.represent(opened.method.augment(images, generator)) for _ in "ab"]
        expected["alignment"] = diagnostics.alignment(*views)
    assert row.scores == expected
    assert {count: len(accuracies) for count, accuracies in row.few.items()} == {1: 2, 3: 2}
    untrained = type(opened.method).build(opened.settings, opened.data, seed=0)
    np.testing.assert_array_equal(
        found.representations[1].features, untrained.represent(data.inputs)
    )


class Normed(Represents):
    """An encoder that ends in BatchNorm and makes views; its mean is far from any batch's."""

    width = 5

    def __init__(self):
        self.model = BatchNorm(5)
        self.model.running_mean.array[:] = [10, 20, 30, 40, 50]
        self.model.train()

    def encode(self, batch, generator=None):
        return self.model(batch)

    def augment(self, examples, generator):
        return examples + generator.normal(size=examples.shape).astype(np.float32)


def test_batchnorm_is_in_evaluation_mode_and_stays_as_it_is():
    """With statistics of the batch the features would have mean 0, and the buffers would move."""
    data = blobs()
    data = replace(data, inputs=data.inputs.astype(np.float32))
    split, method = rep.split_with_classes(data), Normed()
    before = {name: array.copy() for name, array in method.model.state_dict().items()}
    found = rep.represent("it", method, data, split)
    np.testing.assert_allclose(found.features, data.inputs - [10, 20, 30, 40, 50], rtol=1e-4)
    for view in found.views:
        assert (view.mean(axis=0) < -5).all()
        assert len(view) == len(split.looked_at)
    for name, array in method.model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert method.model.training


def test_an_adapted_network_is_a_row_and_a_frozen_one_is_none(runs):
    opened = runs["gpt"]
    for kind, names in (("probe", ()), ("lora", (rep.PRETRAINED, rep.ADAPTED))):
        from minissl.adapt.run import OpenedAdaptation

        made = adapted(kind, opened)
        as_opened = OpenedAdaptation(
            opened.folder, kind, made.method, made.method.settings, made.data, opened.checkpoint,
            opened,
        )  # fmt: skip
        networks = rep.networks_of(as_opened)
        assert [*networks] == [rep.UNTRAINED, *(names or (rep.PRETRAINED,))]
        assert networks[rep.PRETRAINED] is opened.method
        if names:
            assert networks[rep.ADAPTED] is made.method.base


def test_finetuning_is_measured_by_its_own_classifier(runs):
    opened = runs["byol"]
    data = toy(opened)
    weights = {name: array.copy() for name, array in opened.method.model.state_dict().items()}
    row = ev.compare(opened, data, FEW, finetune_steps=2).rows[-1]
    assert row.name == ev.FINETUNED
    assert row.few.keys() == {1, 3}
    assert all(0 <= accuracies[0] <= 1 for accuracies in row.few.values())
    assert {"knn", "probe", "equal_error_rate"} <= row.scores.keys()
    for name, array in opened.method.model.state_dict().items():
        np.testing.assert_array_equal(array, weights[name])


# ---- classes -------------------------------------------------------------------------------------


def test_classes_held_out_are_met_by_the_pairs_alone():
    data = blobs(classes=6)
    split = rep.split_with_classes(data, hold_out=2, seed=3)
    of_readouts = {*data.labels[split.train], *data.labels[split.test]}
    of_pairs = {*data.labels[split.pairs]}
    assert (len(of_readouts), len(of_pairs), split.classes) == (4, 2, 4)
    assert not of_readouts & of_pairs
    assert len(split.pairs) == 2 * 12  # all of their examples: no label of them was used
    assert split.pair_classes == tuple(data.class_names[c] for c in sorted(of_pairs))
    assert {*split.looked_at} == {*split.test, *split.pairs}
    others = rep.split_with_classes(data, hold_out=2, seed=4)
    assert {*data.labels[others.pairs]} != of_pairs
    for wrong in (1, 5, 6, 7):
        with pytest.raises(ValueError, match=f"{wrong} of 6 classes cannot be held out"):
            rep.split_with_classes(data, hold_out=wrong)


def test_pairs_are_not_of_classes_whose_labels_the_run_has_learned_from(runs):
    data = blobs(classes=4)
    split = rep.split_with_classes(data, learned=["class 0", "class 2", "another"])
    assert split.pair_classes == ("class 1", "class 3")
    assert not split.notes
    split = rep.split_with_classes(data, learned=["class 0", "class 1", "class 2"])
    assert len(split.pair_classes) == 4
    assert "has learned from labels of 3 of these classes" in split.notes[0]
    opened = runs["supervised"]
    assert "has learned from labels of 2" in ev.compare(opened, toy(opened), FEW).notes[0]


@pytest.mark.parametrize(
    ("labels", "why"),
    [([0] * 9, "of 1 class"), ([0, 1], "too few"), (None, "numbers, no classes")],
)
def test_without_classes_there_is_what_needs_no_label(runs, labels, why):
    opened = runs["byol"]
    data = toy(opened)
    if labels is None:
        data = toy(opened, "number")
    else:
        data = data.take(
            np.array([np.flatnonzero(data.labels == c)[i % 9] for i, c in enumerate(labels)])
        )
    assert why in rep.why_no_classes(data)
    found = ev.compare(opened, data, FEW)
    for row in found.rows:
        assert row.scores.keys() == {"effective_rank", "uniformity", "alignment"}
        assert not row.few
        assert not row.notes
    with pytest.raises(ValueError, match="no classes can be held out"):
        ev.compare(opened, data, FEW, hold_out=2)


# ---- what cannot be measured ---------------------------------------------------------------------


def measured(features, labels, counts=(1,), **changes):
    data = blobs(**changes)
    split = rep.split_with_classes(data)
    return ev.measure(rep.Representation("it", features(data)), split, counts, FEW)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_give_no_number(value):
    def features(data):
        rows = data.raw.copy()
        rows[5, 2] = value
        return rows

    row = measured(features, None)
    assert not row.scores
    assert not row.few
    assert "features of 1 of 48 examples are not finite" in row.notes[0]


def test_a_collapsed_representation_is_chance_and_has_one_direction():
    row = measured(lambda data: np.ones((len(data), 3)), None)
    assert row.scores["effective_rank"] == pytest.approx(1)
    assert row.scores["uniformity"] == 0
    assert (row.scores["equal_error_rate"], row.scores["roc_area"]) == (0.5, 0.5)


def test_what_fails_is_a_note_and_the_rest_is_measured():
    """A single test example: no pairs, no uniformity; and a warning is told once."""
    data = blobs(classes=2, each=2, width=40)
    split = rep.split_with_classes(data)
    assert len(split.test) == 1
    row = ev.measure(rep.Representation("it", data.raw), split, [], FEW)
    assert {"knn", "effective_rank"} <= row.scores.keys()
    assert not row.scores.keys() & {"equal_error_rate", "uniformity"}
    assert any("verification needs both" in note for note in row.notes)
    wide = np.zeros((48, 64))
    wide[:, 0] = blobs().raw[:, 0]
    notes = measured(lambda data: wide, None).notes
    assert sum("99 % of their variance" in note for note in notes) == 1


def test_copies_between_the_two_parts_are_counted():
    data = blobs()
    split = rep.split_with_classes(data)
    assert rep.copies(data, split) == 0
    data.inputs[split.test[:3]] = data.inputs[split.train[:3]]
    assert rep.copies(data, split) == 3


def test_few_labels_go_as_far_as_the_smallest_class():
    data = blobs(classes=3, each=6).take(np.array([0, 1, 2, 3, 4, 6, 7, 9, 10, 12]))
    split = rep.split_with_classes(data)
    counts = np.bincount(data.labels[split.train], minlength=3)
    fit, why = rep.few_label_counts(data, split, [50, 1, 2, 2])
    assert fit == [n for n in (1, 2) if n <= counts.min()]
    assert f"class 'class {counts.argmin()}' has {counts.min()} training examples" in why


def test_the_nearest_others_by_brute_force():
    features = np.random.default_rng(0).normal(size=(20, 4))
    features[7] = 2 * features[3]  # a copy in direction is another example
    numbers, cosines = rep.nearest_others(features, [3, 11], 5)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for query, row, near in zip((3, 11), numbers, cosines):
        expected = sorted(
            (i for i in range(20) if i != query), key=lambda i: -unit[i] @ unit[query]
        )
        assert row.tolist() == [query, *expected[:5]]
        np.testing.assert_allclose(near, [unit[i] @ unit[query] for i in row])
    assert numbers[0, 1] == 7
    assert rep.nearest_others(features[:3], [0], 9)[0].shape == (1, 3)


def test_a_copy_of_the_query_is_another_example():
    numbers, _ = rep.nearest_others(np.array([[1.0, 0], [1, 0], [0, 1]]), [1], 1)
    assert numbers.tolist() == [[1, 0]]


def test_the_seed_is_that_of_the_untrained_network_and_copies_are_told(runs):
    opened = runs["byol"]
    networks = rep.networks_of(opened, seed=5)
    expected = type(opened.method).build(opened.settings, opened.data, seed=5)
    for (name, ours), (_, theirs) in zip(
        networks[rep.UNTRAINED].model.named_parameters(), expected.model.named_parameters()
    ):
        np.testing.assert_array_equal(ours.array, theirs.array, err_msg=name)
    kind = type(opened.method).Data.with_labels
    images = np.repeat(kind.toy(opened.settings).images[:1], 9, axis=0)
    data = opened.data.labelled(kind(images, np.arange(9) % 2, ("a", "b")))
    notes = ev.compare(opened, data, ev.Measures(labels_per_class=(1,), draws=1)).notes
    assert "3 of the test examples are also trained on, byte for byte" in notes

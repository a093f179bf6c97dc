"""What tasks are judged by, against scikit-learn and SciPy, with ties and where it is undefined."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from minissl.adapt.metrics import METRICS, f1_of_second, matthews, pearson, score
from minissl.data.tasks import TASKS
from tests.adapt.toy import adapted, toy_base

# A single class is no confusion of any: scikit-learn says so, and that is known here.
pytestmark = pytest.mark.filterwarnings("ignore:A single label was found")


def sides(seed, classes, count=40):
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=count)
    keep = generator.random(count) < 0.6
    return np.where(keep, labels, generator.integers(classes, size=count)), labels


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("classes", [1, 2, 3, 5])
def test_classes_are_scored_as_scikit_learn_does(seed, classes):
    predicted, labels = sides(seed, classes)
    predicted[:seed] = -1  # who named no class
    assert matthews(predicted, labels) == pytest.approx(sk.matthews_corrcoef(labels, predicted))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        of_each = sk.f1_score(labels, predicted, labels=[1], average=None)
    assert f1_of_second(predicted, labels) == pytest.approx(of_each[0], abs=1e-12)


@pytest.mark.parametrize(
    ("predicted", "labels"),
    [
        ([0, 0, 0, 0], [0, 1, 0, 1]),
        ([0, 1, 0, 1], [1, 1, 1, 1]),
        ([1, 1], [1, 1]),
        ([0, 0], [0, 0]),
        ([0, 1, 0, 1], [0, 0, 1, 1]),
    ],
)
def test_where_it_is_undefined_or_by_chance_the_correlation_is_0(predicted, labels):
    assert matthews(predicted, labels) == sk.matthews_corrcoef(labels, predicted) == 0


def test_four_counts_by_hand():
    """TP 3, FP 1, FN 2, TN 4: (12 − 2) / √(4 · 5 · 5 · 6) and 6 / 9."""
    predicted = np.repeat([1, 1, 0, 0], [3, 1, 2, 4])
    labels = np.repeat([1, 0, 1, 0], [3, 1, 2, 4])
    assert matthews(predicted, labels) == pytest.approx(10 / np.sqrt(600))
    assert matthews(1 - predicted, labels) == pytest.approx(-10 / np.sqrt(600))
    assert f1_of_second(predicted, labels) == pytest.approx(6 / 9)
    assert f1_of_second(1 - predicted, 1 - labels) == pytest.approx(8 / 11)  # not symmetric
    assert f1_of_second([0, 0], [0, 0]) == 0


@pytest.mark.parametrize("scale", [1, 1e-300, 1e200, 1e307, -3])
@pytest.mark.parametrize("digits", [0, 1, 8])
def test_numbers_are_scored_as_scipy_does(scale, digits):
    """Rounded to whole numbers nearly all of them are tied."""
    generator = np.random.default_rng(digits)
    labels = np.round(generator.uniform(0, 5, size=60), digits)
    predicted = np.round(labels + generator.normal(size=60), digits)
    # SciPy's own sums of squares would overflow at 1e200: a factor changes neither.
    expected = np.sign(scale) * stats.pearsonr(predicted, labels).statistic
    assert pearson(scale * predicted, labels) == pytest.approx(expected, abs=1e-12)
    found = score(predicted, labels, "number", ("pearson", "spearman"))
    assert [*found] == ["r2", "spearman", "pearson"]
    assert found["spearman"] == pytest.approx(stats.spearmanr(predicted, labels).statistic)
    assert found["pearson"] == pytest.approx(stats.pearsonr(predicted, labels).statistic)


def test_numbers_far_from_0_and_constant_ones():
    labels = np.arange(9.0)
    assert pearson(1e9 + labels**2, labels) == pytest.approx(np.corrcoef(labels**2, labels)[0, 1])
    assert pearson(3 * labels - 1, labels) == pytest.approx(1)
    assert pearson(np.full(9, 0.1), labels) == pearson(labels, np.full(9, -7)) == 0


@pytest.mark.parametrize("name", METRICS)
def test_no_number_comes_of_what_cannot_be_compared(name):
    labels = np.arange(6) % 2
    for predicted in (labels[:, None], labels[:3], labels[:0]):
        with pytest.raises(ValueError, match="expected"):
            METRICS[name](predicted, labels)
    if name in ("pearson", "spearman"):
        for bad in (np.nan, np.inf):
            with pytest.raises(ValueError, match="not finite"):
                METRICS[name](np.where(labels, bad, 1.0), labels)


def test_a_task_adds_its_metrics_and_takes_none_away():
    predicted, labels = sides(0, 2)
    plain = score(predicted, labels, "class")
    assert [*plain] == ["accuracy"]
    cola = score(predicted, labels, "class", TASKS["cola"].metrics)
    assert [*cola] == ["accuracy", "matthews"]
    assert cola["matthews"] == pytest.approx(sk.matthews_corrcoef(labels, predicted))
    mrpc = score(predicted, labels, "class", TASKS["mrpc"].metrics)
    assert [*mrpc] == ["accuracy", "f1"]
    assert mrpc["f1"] == pytest.approx(sk.f1_score(labels, predicted))


@pytest.mark.parametrize("name", ["probe", "finetune", "zero-shot"])
def test_an_adaptation_measures_what_the_task_is_judged_by(name, tmp_path):
    """Frozen, trained and asked: what each predicts, scored by scikit-learn."""
    made = adapted(name, toy_base("gpt", tmp_path / "base"), tmp_path / "run")
    task = replace(made.data, metrics=("matthews", "f1"))
    made.method.task = task
    found = made.method.evaluate()
    predicted = made.method.predict(task.held_out.inputs)
    labels = task.held_out.labels
    assert found["held_out_accuracy"] == pytest.approx(np.mean(predicted == labels))
    assert found["held_out_matthews"] == pytest.approx(sk.matthews_corrcoef(labels, predicted))
    assert found["held_out_f1"] == pytest.approx(sk.f1_score(labels, predicted))

"""Pair loss, lifted structure and the masks: by hand, by loops, and by pytorch-metric-learning."""

import math
import warnings

import numpy as np
import pytest
import torch

from minissl.autograd import gradcheck
from minissl.losses.metric import lifted_structured_loss, pair_loss, same_and_different
from tests.losses.compare import assert_same, batch, of_ours

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.losses import ContrastiveLoss, LiftedStructureLoss
    from pytorch_metric_learning.reducers import MeanReducer

EUCLID = LpDistance(normalize_embeddings=False)


def pairs(seed=0, count=8, width=3):
    generator = np.random.default_rng(seed)
    first = generator.standard_normal((count, width))
    second = first + generator.standard_normal((count, width)) * np.linspace(0.2, 2, count)[:, None]
    return first, second, np.arange(count) % 2 == 0


def test_pairs_by_hand():
    """Distances 3 and 1, margin 2: same, far apart, too near."""
    first = np.array([[3.0, 0.0], [3.0, 0.0], [0.0, 1.0]])
    second, same = np.zeros((3, 2)), np.array([True, False, False])
    losses = pair_loss(first, second, same, margin=2.0, reduction="none").numpy()
    np.testing.assert_allclose(losses, [4.5, 0, 0.5])
    losses = pair_loss(first, second, same, margin=2.0, definition="song", reduction="none").numpy()
    np.testing.assert_allclose(losses, [4.5, 0, 0.5])
    two = pair_loss([[1.5]] * np.ones((1, 1)), np.zeros((1, 1)), [False], margin=3.0)
    assert two.item() == pytest.approx(0.5 * 1.5**2)
    song = pair_loss(np.ones((1, 1)) * 1.5, np.zeros((1, 1)), [0], margin=3.0, definition="song")
    assert song.item() == pytest.approx(0.5 * (3 - 1.5**2))


@pytest.mark.parametrize("definition", ["hadsell", "song"])
def test_pairs_equal_torch(definition):
    first, second, same = pairs()
    y = torch.from_numpy(same.astype(float))

    def theirs(a, b):
        d = torch.nn.functional.pairwise_distance(a, b, eps=0)
        apart = torch.relu(1.5 - d) ** 2 if definition == "hadsell" else torch.relu(1.5 - d**2)
        return (0.5 * (y * d**2 + (1 - y) * apart)).mean()

    def ours(a, b):
        return pair_loss(a, b, same, margin=1.5, definition=definition)

    assert_same(ours, theirs, first, second)
    gradcheck(
        lambda a, b: pair_loss(a, b, same, margin=1.5, definition=definition, reduction="none"),
        [first, second],
    )


def test_pairs_of_pytorch_metric_learning_are_another_loss():
    """Not squared, and two means of those above 0: ours from theirs, pair by pair."""
    first, second, same = pairs()
    rows = torch.from_numpy(np.concatenate([first, second]))
    i = np.arange(len(first))
    positives, negatives = (torch.from_numpy(i[mask]) for mask in (same, ~same))
    tuple_of = (positives, positives + len(i), negatives, negatives + len(i))
    theirs = ContrastiveLoss(pos_margin=0, neg_margin=1.5, distance=EUCLID)
    value = float(theirs(rows, torch.zeros(len(rows), dtype=torch.long), tuple_of))
    d = np.linalg.norm(first - second, axis=1)
    hinge = np.maximum(0, 1.5 - d[~same])
    assert value == pytest.approx(d[same].mean() + hinge[hinge > 0].mean(), rel=1e-5)
    losses = pair_loss(first, second, same, margin=1.5, reduction="none").numpy()
    np.testing.assert_allclose(losses[same], d[same] ** 2 / 2)
    np.testing.assert_allclose(losses[~same], hinge**2 / 2)


def lifted_by_loops(x, labels, margin):
    """Equation 4 of Song et al., with its hinge."""
    d = np.linalg.norm(x[:, None] - x, axis=2)
    losses = []
    for i in range(len(x)):
        for j in range(i + 1, len(x)):
            if labels[i] == labels[j]:
                far = [math.exp(margin - d[i, k]) for k in range(len(x)) if labels[k] != labels[i]]
                far += [math.exp(margin - d[j, k]) for k in range(len(x)) if labels[k] != labels[j]]
                losses.append(0.5 * max(0.0, math.log(sum(far)) + d[i, j]) ** 2)
    return losses


@pytest.mark.parametrize("margin", [1.0, 0.3])
def test_lifted_structure(margin):
    x, labels = batch()
    losses = lifted_structured_loss(x, labels, margin=margin, reduction="none").numpy()
    np.testing.assert_allclose(sorted(losses), sorted(lifted_by_loops(x, labels, margin)))
    published = LiftedStructureLoss(neg_margin=margin, distance=EUCLID, reducer=MeanReducer())
    assert_same(
        lambda a: lifted_structured_loss(a, labels, margin=margin),
        lambda a: published(a, torch.from_numpy(labels)),
        x,
        tolerance=1e-6,
    )
    gradcheck(lambda a: lifted_structured_loss(a, labels, margin=margin, reduction="none"), [x])


def test_lifted_structure_by_hand():
    """One pair at a distance 1, and a negative 2 from both."""
    x = np.array([[0.0, 0.5], [0.0, -0.5], [math.sqrt(3.75), 0.0]])
    value = lifted_structured_loss(x, [4, 4, 9], margin=1.0).item()
    assert value == pytest.approx(0.5 * (math.log(2 * math.exp(-1)) + 1) ** 2)
    point = np.ones((6, 2))  # collapsed: ln(2 · 4 e^m) = ln 8 + m
    value, (gradient,) = of_ours(lambda a: lifted_structured_loss(a, np.arange(6) // 2), point)
    assert value == pytest.approx(0.5 * (math.log(8) + 1) ** 2)
    assert not gradient.any()


def test_masks():
    same, different = same_and_different([5, 2, 5])
    np.testing.assert_array_equal(same, np.array([[0, 0, 1], [0, 0, 0], [1, 0, 0]], bool))
    np.testing.assert_array_equal(different, np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool))
    for labels in ([3], [1, 1, 1], [1, 2, 3]):
        same, different = same_and_different(labels)
        assert not np.diag(same).any()
        np.testing.assert_array_equal(same | different, ~np.eye(len(labels), dtype=bool))


LABELS = np.array([200, 7, 200, 7, 3])
KINDS = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64, np.uint64]


@pytest.mark.parametrize("of", [torch.from_numpy, np.array])
@pytest.mark.parametrize("dtype", KINDS)
def test_labels_of_any_integers_and_either_library(dtype, of):
    x = np.random.default_rng(0).standard_normal((5, 3))
    right = lifted_structured_loss(x, LABELS).item()
    labels = LABELS.astype(dtype)  # 200 is −56 in int8, which is as good a name
    for rows in (x, torch.from_numpy(x)):
        assert lifted_structured_loss(rows, of(labels)).item() == pytest.approx(right)
    masks = same_and_different(LABELS > 100, x)
    np.testing.assert_array_equal(masks[0], same_and_different([1, 0, 1, 0, 0])[0])


def test_refusals():
    x = np.ones((3, 2))
    for labels, error, message in (
        ([1.0, 2.0, 3.0], ValueError, "labels must be integers"),
        (["cat", "dog", "cat"], TypeError, "return_inverse=True"),
        ([1, 2], ValueError, "2 labels for 3 embeddings"),
        ([[1], [2], [3]], ValueError, r"\(3, 1\)"),
    ):
        with pytest.raises(error, match=message):
            lifted_structured_loss(x, labels)
    for margin in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match="margin must be positive and finite"):
            pair_loss(x, x, [True] * 3, margin=margin)
        with pytest.raises(ValueError, match="margin must be positive and finite"):
            lifted_structured_loss(x, [1, 1, 2], margin=margin)
    with pytest.raises(ValueError, match="definition must be one of"):
        pair_loss(x, x, [True] * 3, margin=1, definition="lecun")
    with pytest.raises(ValueError, match="True or False for each of 3 pairs"):
        pair_loss(x, x, [1, 0, 2], margin=1)
    with pytest.raises(ValueError, match="True or False for each of 3 pairs"):
        pair_loss(x, x, [True], margin=1)
    with pytest.raises(ValueError, match=r"expected \(pairs, width\) twice"):
        pair_loss(x, x[:1], [True] * 3, margin=1)

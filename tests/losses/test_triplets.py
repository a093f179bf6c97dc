"""Triplets: every mining by loops over all, the losses by torch and pytorch-metric-learning."""

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from scipy import stats

from minissl.autograd import gradcheck
from minissl.losses.distances import pairwise_distances
from minissl.losses.triplets import (
    MINING,
    Triplets,
    active_share,
    mine_triplets,
    mined_triplet_loss,
    triplet_loss,
)
from tests.losses.compare import assert_same, batch, of_ours

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.losses import TripletMarginLoss
    from pytorch_metric_learning.miners import BatchHardMiner, TripletMarginMiner
    from pytorch_metric_learning.reducers import MeanReducer


def all_triplets(labels):
    rows = range(len(labels))
    return {
        (a, p, n)
        for a, p, n in itertools.product(rows, repeat=3)
        if a != p and labels[a] == labels[p] != labels[n]
    }


def semi_hard(d, labels, margin):
    """FaceNet's: of each anchor and positive the nearest negative behind it, within the margin."""
    found = set()
    for a, p in {(a, p) for a, p, _ in all_triplets(labels)}:
        behind = [n for n in range(len(d)) if labels[n] != labels[a] and d[a, n] > d[a, p]]
        nearest = min(behind, key=lambda n: d[a, n], default=None)
        if nearest is not None and d[a, nearest] - d[a, p] < margin:
            found.add((a, p, nearest))
    return found


def hardest(d, labels):
    found = set()
    for a in {a for a, _, _ in all_triplets(labels)}:
        mine = [(p, n) for b, p, n in all_triplets(labels) if a == b]
        p = max({p for p, _ in mine}, key=lambda p: d[a, p])
        found.add((a, p, min({n for _, n in mine}, key=lambda n: d[a, n])))
    return found


def as_set(triplets):
    rows = set(zip(*(x.tolist() for x in triplets)))
    assert len(rows) == len(triplets.anchor)  # none twice
    return rows


@pytest.mark.parametrize("classes", [2, 4, 12, 1])
@pytest.mark.parametrize("seed", range(3))
def test_mining_by_loops(classes, seed):
    x, labels = batch(rows=13, classes=classes, seed=seed)
    d = pairwise_distances(x).numpy()
    assert as_set(mine_triplets(d, labels, "all")) == all_triplets(labels)
    assert as_set(mine_triplets(d, labels, "hard")) == hardest(d, labels)
    for margin in (0.3, 2.0, None):
        found = as_set(mine_triplets(d, labels, "semi-hard", margin=margin))
        assert found == semi_hard(d, labels, math.inf if margin is None else margin)
        float32 = mine_triplets(torch.from_numpy(d).float(), labels, "semi-hard", margin=margin)
        assert as_set(float32) == found


def test_what_is_just_as_far_is_not_farther():
    d = np.array([[0.0, 1, 1, 2], [1, 0, 2, 1], [1, 2, 0, 1], [2, 1, 1, 0]])
    for order in itertools.permutations(range(4)):
        order = list(order)
        labels = np.array([0, 0, 1, 2])[order]
        there = np.argsort(order)
        found = as_set(mine_triplets(d[order][:, order], labels, "semi-hard", margin=1.5))
        assert found == {(there[0], there[1], there[3]), (there[1], there[0], there[2])}


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("margin", [0.2, 1.0])
def test_all_triplets_that_are_never_listed(margin, normalize, squared):
    """The counted slopes against the hinges one by one, and pytorch-metric-learning's."""
    for seed, classes in itertools.product(range(2), (2, 5)):
        x, labels = batch(rows=14, classes=classes, seed=seed)
        settings = {"margin": margin, "normalize": normalize, "squared": squared}

        def ours(a, reduction="mean", labels=labels, settings=settings):
            return mined_triplet_loss(a, labels, mining="all", reduction=reduction, **settings)

        distance = LpDistance(normalize_embeddings=normalize, power=1 + squared)
        theirs = TripletMarginLoss(margin=margin, distance=distance, reducer=MeanReducer())
        assert_same(ours, lambda a: theirs(a, torch.from_numpy(labels)), x, tolerance=1e-6)  # noqa: B023
        listed = of_ours(lambda a: ours(a, "none"), x, cotangent=np.ones(len(ours(x, "none"))))
        value, gradients = of_ours(lambda a: ours(a, "sum"), x)
        assert value == pytest.approx(listed[0].sum())
        np.testing.assert_allclose(gradients[0], listed[1][0], atol=1e-10)


def test_a_tie_has_the_slope_of_relu():
    """d(a, p) + margin = d(a, n) to the last bit: no loss, no pull, in whatever order."""
    for order in itertools.permutations(range(3)):
        x = np.array([[0.0], [1.0], [-3.0]])[list(order)]
        labels = np.array([0, 0, 1])[list(order)]
        value, (gradient,) = of_ours(
            lambda a: mined_triplet_loss(
                a, labels, margin=2.0, mining="all", normalize=False, squared=False  # noqa: B023
            ),
            x,
        )  # fmt: skip
        assert value == 0
        assert not gradient.any()


@pytest.mark.parametrize("mining", ["hard", "semi-hard"])
def test_mined_losses_of_pytorch_metric_learning(mining):
    """Their miner's semi-hard ones are all in the band: the nearest of each pair is among them."""
    x, labels = batch(rows=14, classes=4)
    distance, theirs_labels = LpDistance(power=2), torch.from_numpy(labels)
    theirs = TripletMarginLoss(margin=0.2, distance=distance, reducer=MeanReducer())
    rows = torch.from_numpy(x)
    if mining == "hard":
        mined = BatchHardMiner(distance=distance)(rows, theirs_labels)
    else:
        miner = TripletMarginMiner(0.2, type_of_triplets="semihard", distance=distance)
        every = np.array([t.numpy() for t in miner(rows, theirs_labels)]).T
        d = pairwise_distances(x / np.linalg.norm(x, axis=1, keepdims=True), squared=True).numpy()
        nearest = {}
        for a, p, n in every.tolist():
            nearest[a, p] = min(n, nearest.get((a, p), n), key=lambda n: d[a, n])
        chosen = [(a, p, n) for (a, p), n in nearest.items()]
        assert len(chosen) < len(every)
        mined = tuple(torch.tensor(column) for column in zip(*chosen))
    assert_same(
        lambda a: mined_triplet_loss(a, labels, margin=0.2, mining=mining),
        lambda a: theirs(a, theirs_labels, mined),
        x,
        tolerance=1e-6,
    )


@pytest.mark.parametrize("squared", [False, True])
def test_given_triplets_equal_torch(squared):
    x = np.random.default_rng(0).standard_normal((3, 9, 4))

    def torch_distance(a, b):
        d = torch.nn.functional.pairwise_distance(a, b, eps=0)
        return d**2 if squared else d

    theirs = torch.nn.TripletMarginWithDistanceLoss(distance_function=torch_distance, margin=0.7)
    assert_same(lambda *t: triplet_loss(*t, margin=0.7, squared=squared), theirs, *x)

    def soft(a, p, n):
        return torch.nn.functional.softplus(torch_distance(a, p) - torch_distance(a, n)).mean()

    assert_same(lambda *t: triplet_loss(*t, margin=None, squared=squared), soft, *x)
    for margin in (0.7, None):
        gradcheck(
            lambda *t: triplet_loss(*t, margin=margin, squared=squared, reduction="none"),  # noqa: B023
            list(x),
        )


def test_torchs_own_adds_a_millionth_to_every_coordinate():
    x = np.random.default_rng(0).standard_normal((3, 9, 4))
    theirs = torch.nn.TripletMarginLoss(margin=0.7)
    value = theirs(*map(torch.from_numpy, x)).item()
    ours = triplet_loss(*x, margin=0.7).item()
    assert 1e-9 < abs(value - ours) < 1e-5
    same = torch.ones(1, 4, dtype=torch.float64)
    assert torch.nn.functional.pairwise_distance(same, same).item() == pytest.approx(2e-6)
    assert pairwise_distances(same.numpy()).item() == 0


@pytest.mark.parametrize("width", [4, 16])
def test_distance_weighted_negatives_come_as_often_as_their_weight(width):
    """χ² of 39,800 draws by 1 / q(d); too far ones never; near ones as 0.5."""
    chosen = [0.3, 0.45, 0.5, 0.7, 0.9, 1.2, 1.39, 1.4, 1.7]
    d, labels = np.full((209, 209), 1.9), np.append(np.zeros(200, int), np.arange(1, 10))
    d[:200, 200:] = chosen
    drawn = mine_triplets(
        d, labels, "distance-weighted", width=width, generator=np.random.default_rng(0)
    )
    assert len(drawn.anchor) == 200 * 199
    assert (labels[drawn.negative] > 0).all()
    counts = np.bincount(drawn.negative - 200, minlength=9)
    clipped = np.maximum(chosen, 0.5)
    q = clipped ** (width - 2) * (1 - clipped**2 / 4) ** ((width - 3) / 2)
    weights = np.where(np.array(chosen) < 1.4, 1 / q, 0)
    expected = 200 * 199 * weights / weights.sum()
    assert counts[weights == 0].sum() == 0
    often = expected > 5
    assert counts[~often].sum() < 40
    right = expected[often] * counts[often].sum() / expected[often].sum()
    assert stats.chisquare(counts[often], right).pvalue > 1e-3


def test_the_density_is_that_of_random_directions():
    """q(d) of the paper against distances of random unit vectors (Kolmogorov and Smirnov)."""
    width = 16
    x = np.random.default_rng(0).standard_normal((2, 3000, width))
    x /= np.linalg.norm(x, axis=2, keepdims=True)
    grid = np.linspace(1e-9, 2 - 1e-9, 4001)
    q = grid ** (width - 2) * (1 - grid**2 / 4) ** ((width - 3) / 2)
    below = np.cumsum(q) / q.sum()
    distances = np.linalg.norm(x[0] - x[1], axis=1)
    assert stats.kstest(distances, lambda d: np.interp(d, grid, below)).pvalue > 1e-3


class Least:
    """A generator whose every number is 0, which random() may be."""

    def random(self, shape):
        return np.zeros(shape)


def test_a_draw_of_zero_takes_none_without_weight():
    d = np.array([[0, 1, 1.9, 0.8], [1, 0, 1.9, 1.9], [1.9, 1.9, 0, 1], [0.8, 1.9, 1, 0]])
    drawn = mine_triplets(d, [0, 0, 1, 1], "distance-weighted", width=8, generator=Least())
    assert as_set(drawn) == {(0, 1, 3), (3, 2, 0)}


def test_the_active_share():
    d = np.array([[0.0, 1, 1.5, 4], [1, 0, 1, 1], [1.5, 1, 0, 1], [4, 1, 1, 0]])
    triplets = Triplets(*(np.array(x) for x in ([0, 0], [1, 1], [2, 3])))
    assert active_share(d, triplets, 1.0) == 0.5
    assert active_share(d, triplets, 0.2) == 0
    assert active_share(d, triplets, 0.5) == 0  # where the hinge ends there is no loss
    assert active_share(d, triplets, None) == 0
    none = Triplets(*(np.zeros(0, int) for _ in range(3)))
    assert math.isnan(active_share(d, none, 1.0))
    assert math.isnan(active_share(d * np.nan, triplets, 1.0))


def test_refusals():
    d = np.ones((3, 3))
    with pytest.raises(ValueError, match="mining must be one of"):
        mine_triplets(d, [1, 1, 2], "easy")
    with pytest.raises(ValueError, match="mining must be one of"):
        mined_triplet_loss(d * np.nan, [1, 1, 2], margin=1, mining="easy")
    with pytest.raises(ValueError, match="needs the width and a generator"):
        mine_triplets(d, [1, 1, 2], "distance-weighted")
    for value, mining in itertools.product((np.nan, np.inf), MINING[1:]):
        with pytest.raises(ValueError, match="none is the nearest"):
            mine_triplets(np.where(np.eye(3), 0, value), [1, 1, 2], mining)
    for margin in (0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="margin must be positive and finite"):
            mined_triplet_loss(d, [1, 1, 2], margin=margin)
        with pytest.raises(ValueError, match="margin must be positive and finite"):
            triplet_loss(d, d, d, margin=margin)
    with pytest.raises(ValueError, match="three times"):
        triplet_loss(d, d[:1], d, margin=1)
    with pytest.raises(ValueError, match="reduction must be"):
        mined_triplet_loss(d, [1, 1, 2], margin=1, mining="all", reduction="average")

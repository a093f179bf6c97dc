"""The numbers of lecture 12, sections 12 to 17, computed once more: with the library, by hand.

``says`` wants a number to stand in the text as written and to be right to its last digit.
"""

import math
from functools import partial

import numpy as np
import pytest

from minissl.losses.consistency import consistency_loss
from minissl.losses.contrastive import information_bound
from minissl.losses.distances import pairwise_distances
from minissl.losses.metric import lifted_structured_loss, pair_loss
from minissl.losses.regularizers import sigreg
from minissl.losses.supervised import soft_nearest_neighbor_loss, supcon_loss
from minissl.losses.triplets import active_share, mine_triplets, mined_triplet_loss, triplet_loss
from minissl.training.verification import roc
from tests.lectures import reading

says = partial(reading.says, "12")


def points(*places):
    """Places on a line, (count, 1)."""
    return np.array(places)[:, None]


def test_pairs_by_hand():
    pair = partial(pair_loss, points(0.0), margin=0.5)
    says("0.125", pair(points(0.5), [1]).item())
    says("0.02", pair(points(0.3), [0]).item())
    says("0.205", pair(points(0.3), [0], definition="song").item())


def test_triplets_by_hand():
    three = points(0.0), points(0.5), points(0.3)
    says("0.4", triplet_loss(*three, margin=0.2).item())
    says("0.36", triplet_loss(*three, margin=0.2, squared=True).item())
    says("0.798", triplet_loss(*three, margin=None).item())
    says("1{,}806{,}336".replace("{,}", ","), 512 * 7 * 504)


def test_mining_by_hand():
    line, labels = points(0.0, 0.5, 0.3, 0.6, 0.9), np.array([0, 0, 1, 2, 3])
    distances = pairwise_distances(line).array
    losses = {}
    for mining in ("all", "hard", "semi-hard"):
        found = mine_triplets(distances, labels, mining, margin=0.2)
        of_anchor = found.anchor == 0
        a, p, n = (part[of_anchor] for part in found)
        losses[mining] = np.maximum(0, distances[a, p] - distances[a, n] + 0.2)
    says("0.167", losses["all"].mean())
    says("0.4", losses["hard"].item())
    says("0.1", losses["semi-hard"].item())
    assert (losses["all"] > 0).sum() == 2
    chosen = mine_triplets(distances, np.array([0, 0, 1, 1, 1]), "all")
    assert 0 < active_share(distances, chosen, 0.2) < 1


@pytest.mark.parametrize("mining", ["all", "hard"])
def test_the_level_of_a_collapsed_triplet_is_the_margin(mining):
    rows, labels = np.ones((6, 3)), np.arange(6) % 2
    loss = mined_triplet_loss(rows, labels, margin=0.2, mining=mining)
    assert loss.item() == pytest.approx(0.2)


def test_lifted_by_hand():
    line, labels = points(0.0, 0.5, 0.3, 0.6), np.array([0, 0, 1, 2])
    loss = lifted_structured_loss(line, labels).item()
    says("2.603", math.sqrt(2 * loss))
    says("3.388", loss)


def test_supervised_by_hand():
    four = np.array([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]])  # a1, b1, b2, a2
    labels = np.array([0, 0, 0, 1])
    for logarithm, shown in (("outside", "0.827"), ("inside", "0.807")):
        losses = supcon_loss(
            four, labels, temperature=0.5, logarithm=logarithm, reduction="none"
        ).numpy()
        says(shown, losses[0])
        assert losses[3] == 0
    says("0.446", (0.5341262 + 0.3580355) / 2)


def test_soft_nearest_neighbours_by_hand():
    line, labels = points(0.0, 0.5, 0.3), np.array([0, 0, 1])
    for temperature, shown in ((1.0, "0.776"), (0.1, "1.784")):
        losses = soft_nearest_neighbor_loss(
            line, labels, temperature=temperature, reduction="none"
        ).numpy()
        says(shown, losses[0])
        near, far = math.exp(-0.25 / temperature), math.exp(-0.09 / temperature)
        says({1.0: "0.779", 0.1: "0.082"}[temperature], near)
        says({1.0: "1.693", 0.1: "0.489"}[temperature], near + far)


def test_consistency_by_hand():
    said, changed = np.array([[2.0, 0.0]]), np.array([[0.0, 0.0]])
    says("0.328", consistency_loss(said, changed).item())
    says("0.653", consistency_loss(said, changed, sharpen=0.4).item())
    for logit, shown in ((2, ("0.881", "0.119")), (5, ("0.993", "0.007"))):
        p = 1 / (1 + math.exp(-logit))
        says(shown[0], p)
        says(shown[1], 1 - p)
    says("0.365", -(0.8807971 * math.log(0.8807971) + 0.1192029 * math.log(0.1192029)))


def test_the_most_that_candidates_say():
    for candidates, shown in ((8, "2.08"), (64, "4.16"), (512, "6.24")):
        says(shown, information_bound(0.0, candidates))
    says("8.30", -10 / 2 * math.log(1 - 0.9**2))


def test_the_level_of_collapsed_sigreg():
    right = math.sqrt(2 * math.pi) * (1 - math.sqrt(2) + 1 / math.sqrt(3))
    says("0.409", right)
    for batch in (4, 256):
        found = sigreg(np.zeros((batch, 2)), np.eye(2)).item()
        assert found == pytest.approx(right * batch, rel=1e-4)


def test_verification_by_hand():
    curve = roc([0.9, 0.8, 0.4], [0.7, 0.3, 0.2])
    says("0.333", curve.equal_error_rate)
    says("0.889", curve.area)

"""The factors of docs/loss_conventions.md that no other test of this folder compares."""

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from minissl.losses.consistency import consistency_loss
from minissl.losses.contrastive import nt_xent
from minissl.losses.distances import pairwise_distances
from minissl.losses.metric import lifted_structured_loss
from minissl.losses.supervised import soft_nearest_neighbor_loss, supcon_loss
from minissl.losses.triplets import active_share, mine_triplets, mined_triplet_loss
from tests.losses.compare import assert_same, batch, of_torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pytorch_metric_learning import losses, miners
    from pytorch_metric_learning.distances import LpDistance

X, LABELS = batch()
THERE = torch.from_numpy(LABELS)
UNIT = X / np.linalg.norm(X, axis=1, keepdims=True)


def theirs(loss, *arguments):
    return float(of_torch(lambda a: loss(a, THERE, *arguments), X)[0])


def test_every_loss_of_the_page_is_ours():
    page = (
        Path(__file__)
        .parents[2]
        .joinpath("docs", "loss_conventions.md")
        .read_text(encoding="utf-8")
    )
    for loss in ("simclr_cs229", "nt_xent", "info_nce", "bilinear_info_nce", "pair_loss",
                 "triplet_loss", "mined_triplet_loss", "lifted_structured_loss", "supcon_loss",
                 "soft_nearest_neighbor_loss", "consistency_loss", "annealed_cross_entropy",
                 "sigreg", "annealing_threshold", "chance_level"):  # fmt: skip
        assert f"`{loss}" in page


def test_the_mean_over_active_triplets():
    published = losses.TripletMarginLoss()
    d = pairwise_distances(UNIT)
    triplets = mine_triplets(d, LABELS, "all")
    share = active_share(d, triplets, 0.05)
    assert 0.05 < share < 0.95
    settings = {"margin": 0.05, "mining": "all", "squared": False}
    assert_same(
        lambda a: mined_triplet_loss(a, LABELS, **settings),
        lambda a: published(a, THERE),
        X,
        factor=share,
        tolerance=1e-6,
    )


def test_miners_of_the_same_name():
    d = pairwise_distances(UNIT).numpy()
    a, p, n = mine_triplets(d, LABELS, "all")
    rows = torch.from_numpy(UNIT)
    for kind, keep in (
        ("hard", lambda gap: gap <= 0),
        ("semihard", lambda gap: (gap > 0) & (gap <= 0.2)),
    ):
        published = {
            tuple(map(int, t))
            for t in zip(*miners.TripletMarginMiner(0.2, kind)(rows, THERE))
        }  # fmt: skip
        kept = keep(d[a, n] - d[a, p])
        assert published == set(zip(a[kept].tolist(), p[kept].tolist(), n[kept].tolist()))
    edge = torch.tensor([[0.0], [1.0], [-3.0]], dtype=torch.float64)
    raw = LpDistance(normalize_embeddings=False)
    mined = miners.TripletMarginMiner(2.0, "semihard", distance=raw)(edge, torch.tensor([0, 0, 1]))
    assert [int(x[0]) for x in mined] == [0, 1, 2]  # d(a, n) − d(a, p) = m is taken
    ours = mine_triplets(np.abs(edge.numpy() - edge.numpy().T), [0, 0, 1], "semi-hard", margin=2.0)
    assert not len(ours.anchor)


def test_defaults():
    assert losses.NTXentLoss().temperature == 0.07
    assert losses.TripletMarginLoss().margin == 0.05
    assert losses.SupConLoss().temperature == 0.1
    unit = {
        lifted_structured_loss: losses.LiftedStructureLoss(),
        soft_nearest_neighbor_loss: losses.NCALoss(),
    }
    assert theirs(unit[lifted_structured_loss]) == pytest.approx(
        lifted_structured_loss(UNIT, LABELS).item(), rel=1e-6
    )
    assert theirs(unit[soft_nearest_neighbor_loss]) == pytest.approx(
        soft_nearest_neighbor_loss(UNIT, LABELS, temperature=1.0).item(), rel=1e-6
    )


def test_other_positives_in_the_denominator():
    """Three views of each thing: NTXentLoss leaves the others out, SupConLoss does not."""
    labels = np.arange(12) % 4
    s = UNIT @ UNIT.T / 0.5
    pairs = []
    for i in range(12):
        negatives = [j for j in range(12) if labels[j] != labels[i]]
        pairs += [
            -s[i, p] + math.log(sum(math.exp(s[i, k]) for k in [p, *negatives]))
            for p in range(12)
            if p != i and labels[p] == labels[i]
        ]
    published = losses.NTXentLoss(0.5)
    value = float(of_torch(lambda a: published(a, torch.from_numpy(labels)), X)[0])
    assert value == pytest.approx(np.mean(pairs), rel=1e-6)
    assert supcon_loss(X, labels, temperature=0.5).item() > value + 0.05
    two = supcon_loss(X, np.arange(12) % 6, temperature=0.5).item()
    assert two == pytest.approx(nt_xent(X[:6], X[6:], 0.5).item())


def test_a_batch_of_one_label():
    one = torch.zeros(12, dtype=torch.long)
    published = losses.SupConLoss(0.5)
    assert float(of_torch(lambda a: published(a, one), X)[0]) == 0
    assert supcon_loss(X, np.zeros(12, int), temperature=0.5).item() > math.log(11)


def test_torchs_divergences():
    said, now = np.random.default_rng(0).standard_normal((2, 8, 5))
    p = torch.softmax(torch.from_numpy(said), 1)

    def divergence(x, reduction):
        return torch.nn.functional.kl_div(torch.log_softmax(x, 1), p, reduction=reduction)

    for reduction, factor in (("batchmean", 1), ("mean", 5)):
        assert_same(
            lambda x: consistency_loss(said, x),
            lambda x: divergence(x, reduction),  # noqa: B023
            now,
            factor=factor,
        )


def test_cleverhans_adds_a_little_twice():
    d2 = np.sum((X[:, None] - X) ** 2, axis=2)
    e = np.exp(-d2) * (1 - np.eye(12))
    picked = e / (1e-5 + e.sum(axis=1, keepdims=True))
    theirs = -np.log(1e-5 + (picked * (LABELS[:, None] == LABELS)).sum(axis=1)).mean()
    ours = soft_nearest_neighbor_loss(X, LABELS, temperature=1.0).item()
    assert 1e-7 < abs(ours - theirs) < 1e-2

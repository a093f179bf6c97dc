"""What holds of all contrastive and metric losses, in one sweep: no oracle is needed.

Every loss as a function of two views of the same things, (things, width) each: for those with
labels, thing i has the label i, so that each row has one positive.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch

from minissl.autograd import operations as ops
from minissl.losses.contrastive import (
    alignment_loss,
    bilinear_info_nce,
    info_nce,
    nt_xent,
    simclr_cs229,
)
from minissl.losses.metric import lifted_structured_loss, pair_loss, same_and_different
from minissl.losses.supervised import soft_nearest_neighbor_loss, supcon_loss
from minissl.losses.triplets import MINING, mined_triplet_loss, triplet_loss
from tests.losses.compare import of_ours

B, D, MARGIN, T = 6, 5, 0.7, 0.5
WEIGHT = np.random.default_rng(9).standard_normal((D, D))


class Case(NamedTuple):
    loss: Callable
    collapsed: Callable  # what all rows in one point have, of so many things
    cosine: bool = False  # whether lengths do not matter
    symmetric: bool = True  # whether the views may be exchanged
    temperature: bool = False  # infinite, it gives the collapsed value
    alone: float | None = 0.0  # its value for one thing


def with_labels(loss, **settings):
    def of_views(first, second, reduction="mean", **more):
        labels = np.tile(np.arange(len(first)), 2)
        return loss(
            ops.concatenate([first, second]), labels, reduction=reduction, **settings | more
        )

    return of_views


def all_pairs(first, second, reduction="mean"):
    rows = ops.concatenate([first, second])
    i, j = np.triu_indices(len(rows), 1)
    same = same_and_different(np.tile(np.arange(len(first)), 2))[0][i, j]
    return pair_loss(rows[i], rows[j], same, margin=MARGIN, reduction=reduction)


def next_as_negative(first, second, reduction="mean"):
    return triplet_loss(
        first, second, ops.concatenate([second[1:], second[:1]]), margin=MARGIN, reduction=reduction
    )


def mined(mining, margin=MARGIN, **settings):
    def of_rows(rows, labels, **more):
        return mined_triplet_loss(
            rows, labels, margin=margin, mining=mining,
            generator=np.random.default_rng(0), **settings | more,
        )  # fmt: skip

    return with_labels(of_rows)


def with_negatives(first, second, reduction="mean", temperature=T):
    return info_nce(
        first, second, negatives=first, temperature=temperature, reduction=reduction
    )  # the query itself is the hardest of them


def bilinear(first, second, reduction="mean"):
    return bilinear_info_nce(first, second, WEIGHT[: second.shape[1], : first.shape[1]],
                             reduction=reduction)  # fmt: skip


def log_others(things):
    return math.log(2 * things - 1)


def tempered(loss):
    return functools.partial(loss, temperature=T)


CASES = {
    "simclr_cs229": Case(
        functools.partial(simclr_cs229, reduction="mean"), math.log, symmetric=False
    ),
    "info_nce": Case(tempered(info_nce), math.log, True, False, True),
    "info_nce, negatives": Case(
        with_negatives, lambda n: math.log(2 * n), True, False, True, alone=None
    ),
    "bilinear": Case(bilinear, math.log, symmetric=False),
    "nt_xent": Case(tempered(nt_xent), log_others, True, temperature=True),
    "alignment": Case(alignment_loss, lambda n: 0.0, True, alone=None),
    "supcon": Case(with_labels(supcon_loss, temperature=T), log_others, True, temperature=True),
    "supcon, inside": Case(
        with_labels(supcon_loss, temperature=T, logarithm="inside"), log_others, True,
        temperature=True,
    ),
    "soft neighbours": Case(
        with_labels(soft_nearest_neighbor_loss, temperature=T), log_others, temperature=True
    ),
    "pairs": Case(
        all_pairs, lambda n: 0.5 * MARGIN**2 * (1 - 1 / (2 * n - 1)), alone=None
    ),
    "lifted": Case(
        with_labels(lifted_structured_loss, margin=MARGIN),
        lambda n: 0.5 * (math.log(4 * (n - 1)) + MARGIN) ** 2,
    ),
    "triplets, given": Case(next_as_negative, lambda n: MARGIN, symmetric=False, alone=None),
    "triplets, soft": Case(
        mined("all", margin=None, normalize=False), lambda n: math.log(2)
    ),
    **{
        f"triplets, {mining}": Case(
            mined(mining), lambda n, mining=mining: 0.0 if mining == "semi-hard" else MARGIN, True
        )
        for mining in MINING
    },
}  # fmt: skip
RANDOM, BAND = "triplets, distance-weighted", "triplets, semi-hard"
every_loss = pytest.mark.parametrize("name", CASES)


def views(seed=0, things=B):
    generator = np.random.default_rng(seed)
    first = generator.standard_normal((things, D))
    return first, first + 0.7 * generator.standard_normal((things, D))


@every_loss
def test_order_rotation_and_views(name):
    case, (first, second) = CASES[name], views()
    value, gradients = of_ours(case.loss, first, second)
    assert np.abs(gradients[0]).max() > 1e-3
    order = np.random.default_rng(1).permutation(B)
    if name == RANDOM:
        return
    shuffled, others = of_ours(case.loss, first[order], second[order])
    if name != "triplets, given":  # whose negatives are the next in order
        assert shuffled == pytest.approx(float(value))
        for gradient, other in zip(gradients, others):
            np.testing.assert_allclose(gradient[order], other, atol=1e-12)
    rotation, _ = np.linalg.qr(np.random.default_rng(2).standard_normal((D, D)))
    rotated = case.loss(first @ rotation, second @ rotation).item()
    assert (rotated == pytest.approx(float(value))) == (name != "bilinear")
    exchanged = case.loss(second, first).item()
    assert (exchanged == pytest.approx(float(value))) == case.symmetric


@every_loss
def test_lengths_matter_or_do_not(name):
    case, (first, second) = CASES[name], views()
    value, gradients = of_ours(case.loss, first, second)
    radial = [np.sum(z * g, axis=1) for z, g in zip((first, second), gradients)]
    lengths = np.random.default_rng(3).uniform(0.1, 10, (B, 1))
    stretched = case.loss(first * lengths, second * 3).item()
    if case.cosine:
        assert stretched == pytest.approx(float(value))
        np.testing.assert_allclose(radial, 0, atol=1e-12)
    else:
        assert abs(stretched - value) > 1e-4
        assert np.abs(radial).max() > 1e-2


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if case.cosine])
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_lengths_beyond_the_squares_of_float32(name, scale):
    rows = [z.astype(np.float32) for z in views()]
    value = CASES[name].loss(*rows).item()
    scaled, gradients = of_ours(CASES[name].loss, *(np.float32(scale) * z for z in rows))
    assert scaled == pytest.approx(value, rel=1e-5)
    assert all(np.isfinite(g).all() for g in gradients)


@every_loss
def test_bfloat16(name):
    """Computed in float32 of what bfloat16 rounded: the loss has its digits."""
    if "bilinear" in name:
        return
    rows = [torch.from_numpy(z).bfloat16() for z in views()]
    exact = CASES[name].loss(*(z.double().numpy() for z in rows)).item()
    assert CASES[name].loss(*rows).item() == pytest.approx(exact, rel=2e-2)


@every_loss
@pytest.mark.parametrize("things", [2, 7])
def test_collapsed_in_one_point(name, things):
    point = np.tile(np.random.default_rng(4).standard_normal(D), (things, 1))
    value, gradients = of_ours(CASES[name].loss, point, point)
    assert value == pytest.approx(CASES[name].collapsed(things))
    for gradient in gradients:  # it stays there: nothing pulls apart
        np.testing.assert_allclose(gradient.sum(axis=0), 0, atol=1e-12)
        if name not in ("bilinear", "info_nce, negatives"):
            np.testing.assert_allclose(gradient, 0, atol=1e-12)


@every_loss
def test_one_thing_alone(name):
    case, (first, second) = CASES[name], views(things=1)
    value, gradients = of_ours(case.loss, first, second)
    assert all(np.isfinite(g).all() for g in gradients)
    if case.alone is not None:
        assert value == pytest.approx(case.alone, abs=1e-12)
        np.testing.assert_allclose(gradients, 0, atol=1e-12)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # inf − inf
@every_loss
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("things", [1, B])
def test_what_is_not_finite_is_seen_though_there_is_nothing_to_compare(name, value, things):
    first, second = views(things=things)
    first[0, 0] = value
    for reduction in ("mean", "sum"):
        loss = functools.partial(CASES[name].loss, reduction=reduction)
        value_of, gradients = of_ours(loss, first, second)
        assert not np.isfinite(value_of)
        assert not np.isfinite(gradients[0]).all()


@every_loss
def test_nothing_at_all(name):
    nothing = np.zeros((0, D))
    value, gradients = of_ours(CASES[name].loss, nothing, nothing)
    assert value == 0
    assert gradients[0].shape == (0, D)


@every_loss
def test_duplicates_in_a_batch_have_finite_gradients(name):
    first, second = views()
    second[0] = first[0]  # its own positive
    first[1] = first[2]  # and a negative
    value, gradients = of_ours(CASES[name].loss, first, second)
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in gradients)
    assert any(np.abs(g).max() > 1e-3 for g in gradients)


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if case.temperature])
def test_hot_and_cold(name):
    case, first, second = CASES[name], views()[0], views(1)[0]  # strangers: none finds its own
    hot = case.loss(first, second, temperature=1e9).item()
    assert hot == pytest.approx(case.collapsed(B))
    cold = [t * case.loss(first, second, temperature=t).item() for t in (1e-3, 1e-4)]
    assert cold[0] == pytest.approx(cold[1], rel=1e-2)  # the largest gap, in units of 1 / t
    assert cold[1] > 0


def four_directions(positive, negative):
    """Two things in four dimensions: the first's views so far apart, the second's views turned
    so far towards both of them, everything else as it was."""
    half, own = positive / 2, 0.3
    a, p = ([math.cos(half), sign * math.sin(half), 0, 0] for sign in (1, -1))
    n, other = ([0, 0, 1, 0], [0, 0, math.cos(own), math.sin(own)])
    c, s = math.cos(negative), math.sin(negative)
    turn = np.array([[c, 0, s, 0], [0, 1, 0, 0], [-s, 0, c, 0], [0, 0, 0, 1]])
    return np.array([a, turn @ n]), np.array([p, turn @ other])


@every_loss
def test_a_nearer_positive_never_raises_it_and_a_nearer_negative_never_lowers_it(name):
    """Semi-hard mining is left out: it looks away while the positive is farther than negatives."""
    if name in (BAND, "bilinear"):
        return
    loss = CASES[name].loss
    nearer = [loss(*four_directions(a, 0.1)).item() for a in (2.5, 2.0, 1.2, 0.6, 0.1)]
    assert np.all(np.diff(nearer) <= 1e-12)
    assert nearer[0] - nearer[-1] > 1e-3
    nearer = [loss(*four_directions(1.0, a)).item() for a in (-0.2, 0.1, 0.4, 0.8, 1.2)]
    assert np.all(np.diff(nearer) >= -1e-12)
    assert nearer[-1] - nearer[0] > 1e-3 or name == "alignment"


@every_loss
def test_one_more_thing_far_away_never_lowers_the_sum(name):
    first, second = views()
    before = CASES[name].loss(first, second, reduction="sum").item()
    far = -5 * first.mean(axis=0, keepdims=True)
    after = CASES[name].loss(
        np.concatenate([first, far]), np.concatenate([second, far]), reduction="sum"
    )
    if name not in ("triplets, given", RANDOM):  # other triplets
        assert after.item() >= before - 1e-12


@every_loss
def test_reductions(name):
    first, second = views()
    losses = CASES[name].loss(first, second, reduction="none").numpy()
    assert losses.ndim == 1
    assert (losses >= 0).all()
    total = CASES[name].loss(first, second, reduction="sum").item()
    assert total == pytest.approx(losses.sum())
    mean = CASES[name].loss(first, second, reduction="mean").item()
    assert mean == pytest.approx(losses.mean())
    with pytest.raises(ValueError, match="reduction must be"):
        CASES[name].loss(first, second, reduction="average")

"""Supervised contrastive and soft nearest neighbour: by loops, by torch, by published libraries."""

import math
import warnings

import numpy as np
import pytest
import torch

from minissl.autograd import Tensor, gradcheck
from minissl.losses.contrastive import nt_xent
from minissl.losses.supervised import soft_nearest_neighbor_loss, supcon_loss
from tests.losses.compare import assert_same, batch, of_ours

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.losses import NCALoss, SupConLoss


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def supcon_by_loops(x, labels, temperature, inside):
    """Equations 2 and 3 of Khosla et al.: one loss for each row, NaN for one that is alone."""
    s = np.exp(unit(x) @ unit(x).T / temperature)
    losses = []
    for i in range(len(x)):
        others = [j for j in range(len(x)) if j != i]
        p = [s[i, j] / s[i, others].sum() for j in others if labels[j] == labels[i]]
        if not p:
            losses.append(math.nan)
        else:
            losses.append(-math.log(np.mean(p)) if inside else -np.mean(np.log(p)))
    return np.array(losses)


def snn_by_loops(x, labels, temperature):
    losses = []
    for i in range(len(x)):
        e = [math.exp(-np.sum((x[i] - y) ** 2) / temperature) for y in x]
        own = sum(e[j] for j in range(len(x)) if j != i and labels[j] == labels[i])
        every = sum(e[j] for j in range(len(x)) if j != i)
        losses.append(-math.log(own / every) if own else math.nan)
    return np.array(losses)


LOOPS = {
    "outside": (supcon_loss, lambda x, y, t: supcon_by_loops(x, y, t, False), {}),
    "inside": (
        supcon_loss,
        lambda x, y, t: supcon_by_loops(x, y, t, True),
        {"logarithm": "inside"},
    ),
    "snn": (soft_nearest_neighbor_loss, snn_by_loops, {}),
}


@pytest.mark.parametrize("temperature", [0.3, 2.0])
@pytest.mark.parametrize("name", LOOPS)
def test_by_loops(name, temperature):
    """Also with several views of a label, and one that is alone, which does not count."""
    loss, loops, settings = LOOPS[name]
    x, labels = batch(rows=11)
    labels[4] = 9
    settings = {"temperature": temperature, **settings}
    losses = loss(x, labels, reduction="none", **settings).numpy()
    expected = loops(x, labels, temperature)
    np.testing.assert_allclose(losses, np.nan_to_num(expected), rtol=1e-10)
    assert losses[4] == 0
    mean, total = (loss(x, labels, reduction=r, **settings).item() for r in ("mean", "sum"))
    assert mean == pytest.approx(np.nanmean(expected))
    assert total == pytest.approx(np.nansum(expected))
    gradcheck(lambda a: loss(a, labels, reduction="none", **settings), [x])
    gradcheck(
        lambda a, t: loss(a, labels, reduction="none", **settings | {"temperature": t}),
        [x, np.array(temperature)],
    )


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_pytorch_metric_learning(temperature):
    x, labels = batch(rows=11)
    labels[4] = 9
    there = torch.from_numpy(labels)
    supcon = SupConLoss(temperature=temperature)
    assert_same(
        lambda a: supcon_loss(a, labels, temperature=temperature),
        lambda a: supcon(a, there),
        x,
        tolerance=1e-6,
    )
    distance = LpDistance(normalize_embeddings=False, power=2)
    nca = NCALoss(softmax_scale=1 / temperature, distance=distance)
    assert_same(
        lambda a: soft_nearest_neighbor_loss(a, labels, temperature=temperature),
        lambda a: nca(a, there),
        x,
        tolerance=1e-6,
    )


@pytest.mark.parametrize("logarithm", ["outside", "inside"])
def test_torch(logarithm):
    """The paper's formulas on torch's own autograd, with the gradient of the temperature."""
    x, labels = batch()
    same = torch.from_numpy(labels[:, None] == labels) & ~torch.eye(len(x), dtype=torch.bool)

    def theirs(a, t):
        z = torch.nn.functional.normalize(a)
        logits = (z @ z.T / t).masked_fill(torch.eye(len(z), dtype=torch.bool), -torch.inf)
        log_p = torch.log_softmax(logits, dim=1)
        if logarithm == "inside":
            p = torch.where(same, log_p.exp(), 0).sum(1) / same.sum(1)
            return -torch.log(p).mean()
        return -(torch.where(same, log_p, 0).sum(1) / same.sum(1)).mean()

    def ours(a, t):
        return supcon_loss(a, labels, temperature=t, logarithm=logarithm)

    assert_same(ours, theirs, x, np.array(0.3))

    def snn(a, t):
        d2 = ((a[:, None] - a) ** 2).sum(2)
        e = torch.exp(-d2 / t).masked_fill(torch.eye(len(a), dtype=torch.bool), 0)
        return -torch.log(torch.where(same, e, 0).sum(1) / e.sum(1)).mean()

    assert_same(
        lambda a, t: soft_nearest_neighbor_loss(a, labels, temperature=t), snn, x, np.array(1.3)
    )


def test_outside_is_never_below_inside():
    """Jensen: the mean of logarithms is at most the logarithm of the mean; one positive: equal."""
    for seed in range(5):
        x, labels = batch(seed=seed)
        settings = {"temperature": 0.2, "reduction": "none"}
        outside = supcon_loss(x, labels, **settings).numpy()
        inside = supcon_loss(x, labels, logarithm="inside", **settings).numpy()
        assert (outside > inside).all()
        two = np.arange(12) // 2
        outside = supcon_loss(x, two, **settings).numpy()
        np.testing.assert_allclose(
            outside, supcon_loss(x, two, logarithm="inside", **settings).numpy()
        )
        pairs = nt_xent(x[::2], x[1::2], 0.2, reduction="none").numpy()
        np.testing.assert_allclose(outside, pairs.reshape(2, 6).T.reshape(-1))


def test_by_hand():
    """Three rows: two of a label 1 apart, a stranger 2 from both. And a row with a twin."""
    x = np.array([[0.0, 0.5], [0.0, -0.5], [math.sqrt(3.75), 0.0]])
    value = soft_nearest_neighbor_loss(x, [4, 4, 9], temperature=0.5).item()
    assert value == pytest.approx(math.log1p(math.exp(-8) / math.exp(-2)))
    x = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    for logarithm in ("outside", "inside"):
        value = supcon_loss(x, [0, 0, 1, 1], temperature=0.5, logarithm=logarithm).item()
        assert value == pytest.approx(math.log1p(2 * math.exp(-2)))


def test_far_positives_are_not_lost_in_rounding():
    """Their exponentials beside the nearest stranger's are 0 in float32; the loss is 200 and 18."""
    x = np.array([[1, 0], [-1, 1e-3], [1, 1e-3]], np.float32)
    for logarithm in ("outside", "inside"):
        settings = {"temperature": 0.01, "logarithm": logarithm}
        losses = supcon_loss(x, [0, 0, 1], reduction="none", **settings).numpy()
        assert losses[0] == pytest.approx(200, rel=1e-5)
    x = np.array([[0.0], [6.0], [0.0]], np.float32)
    value = soft_nearest_neighbor_loss(x, [0, 0, 1], temperature=0.1, reduction="none").numpy()
    assert value[0] == pytest.approx(360, rel=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("labels", [[0], [0, 1, 2], [3, 3, 3]])
@pytest.mark.parametrize("name", LOOPS)
def test_nothing_to_find_or_nothing_to_tell_apart(name, labels, reduction):
    x = np.random.default_rng(0).standard_normal((len(labels), 3))
    loss, _, settings = LOOPS[name]
    value, (gradient,) = of_ours(
        lambda a: loss(a, labels, temperature=0.5, reduction=reduction, **settings),
        x,
        cotangent=np.ones(len(x)) if reduction == "none" else None,
    )
    assert np.isfinite(gradient).all()
    if len(set(labels)) == len(labels) or name == "snn":
        np.testing.assert_allclose(value, 0, atol=1e-12)
        np.testing.assert_allclose(gradient, 0, atol=1e-12)
    elif name == "inside":  # −ln of the mean of two that add up to 1
        np.testing.assert_allclose(value, math.log(2) * (3 if reduction == "sum" else 1))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint16, np.int32, np.uint64, bool])
def test_labels_of_any_integers(dtype):
    """Also where a kernel computes it, that knows 32 and 64 bits only."""
    x, labels = batch(rows=5, classes=2)
    right = supcon_loss(x, labels, temperature=0.5).item()
    for rows in (x, torch.from_numpy(x), torch.from_numpy(x).float()):
        for given in (labels.astype(dtype), torch.from_numpy(labels.astype(dtype))):
            value = supcon_loss(rows, given, temperature=0.5).item()
            assert value == pytest.approx(right, rel=1e-5)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # inf − inf
@pytest.mark.parametrize("logarithm", ["outside", "inside"])
def test_a_stranger_of_minus_infinity_is_no_bad_match(logarithm):
    x = np.ones((3, 2))
    x[2, 0] = -np.inf
    settings = {"temperature": 1.0, "normalize": False, "logarithm": logarithm}
    losses = supcon_loss(x, [0, 0, 1], reduction="none", **settings).numpy()
    assert np.isnan(losses).all()


def test_a_learned_temperature_of_the_neighbours_goes_where_they_are():
    """Near of one label and far of others: a smaller temperature sees only the near."""
    x = np.array([[0.0], [0.1], [2.0], [2.1]])
    tau = Tensor(np.array(5.0), requires_grad=True)
    soft_nearest_neighbor_loss(x, [0, 0, 1, 1], temperature=tau).backward()
    assert tau.grad > 0
    soft_nearest_neighbor_loss(x, [0, 1, 0, 1], temperature=tau).backward()
    assert tau.grad < 0


def test_refusals():
    x = np.ones((3, 2))
    with pytest.raises(ValueError, match="logarithm must be one of"):
        supcon_loss(x, [1, 1, 2], temperature=1.0, logarithm="both")
    for loss in (supcon_loss, soft_nearest_neighbor_loss):
        with pytest.raises(ValueError, match=r"expected \(batch, width\), got \(3,\)"):
            loss(x[:, 0], [1, 1, 2], temperature=1.0)
        with pytest.raises(ValueError, match="2 labels for 3"):
            loss(x, [1, 1], temperature=1.0)
        with pytest.raises(ValueError, match="labels must be integers"):
            loss(torch.ones(3, 2), [1.0, 1.0, 2.0], temperature=1.0)
        with pytest.raises(TypeError, match="expected floating"):
            loss(np.ones((3, 2), int), [1, 1, 2], temperature=1.0)
        with pytest.raises(ValueError, match="reduction must be"):
            loss(x, [1, 1, 2], temperature=1.0, reduction="average")

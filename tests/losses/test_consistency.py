"""Consistency and annealing: by loops, torch, and hand; what is masked and what is not."""

import math

import numpy as np
import pytest
import torch

from minissl.autograd import Tensor, gradcheck
from minissl.losses.consistency import (
    annealed_cross_entropy,
    annealing_threshold,
    consistency_loss,
)
from tests.losses.compare import assert_same, of_ours


def logits(seed=0, rows=9, classes=4):
    return 2 * np.random.default_rng(seed).standard_normal((2, rows, classes))


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("sharpen", [1.0, 0.4])
@pytest.mark.parametrize("confidence", [0.0, 0.6])
def test_the_formula(sharpen, confidence):
    said, now = logits()
    p, q = softmax(said / sharpen), softmax(now)
    sure = softmax(said).max(axis=1) > confidence
    assert sure.any()
    kl = np.where(sure, np.sum(p * np.log(p / q), axis=1), 0)
    settings = {"sharpen": sharpen, "confidence": confidence}
    losses = consistency_loss(said, now, reduction="none", **settings).numpy()
    np.testing.assert_allclose(losses, kl)
    assert consistency_loss(said, now, **settings).item() == pytest.approx(kl.sum() / 9)  # all nine
    assert consistency_loss(said, now, reduction="sum", **settings).item() == pytest.approx(
        kl.sum()
    )
    mask, target = torch.from_numpy(sure), torch.from_numpy(p)

    def theirs(x):  # with the layout of UDA's code: a KL of each image, masked, mean over all
        each = torch.nn.functional.kl_div(torch.log_softmax(x, 1), target, reduction="none").sum(1)
        return (each * mask).mean()

    assert_same(lambda x: consistency_loss(said, x, **settings), theirs, now)
    gradcheck(lambda x: consistency_loss(said, x, reduction="none", **settings), [now])


def test_what_is_said_of_the_image_is_held_still():
    said, now = (Tensor(x, requires_grad=True) for x in logits())
    consistency_loss(said, now).backward()
    assert said.grad is None
    np.testing.assert_allclose(now.grad, (softmax(now.array) - softmax(said.array)) / 9)


def test_by_hand():
    even, sure = np.zeros((1, 2)), np.array([[math.log(9), 0.0]])  # (.5, .5) and (.9, .1)
    right = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    assert consistency_loss(sure, even).item() == pytest.approx(right)
    assert consistency_loss(sure, sure).item() == pytest.approx(0, abs=1e-15)
    assert consistency_loss(sure, even, confidence=0.91).item() == 0
    sharp = 81 / 82  # odds of 9, squared
    right = sharp * math.log(2 * sharp) + (1 - sharp) * math.log(2 * (1 - sharp))
    assert consistency_loss(sure, even, sharpen=0.5, confidence=0.89).item() == pytest.approx(right)


def test_a_class_that_cannot_be():
    said, now = logits()
    both = said.copy(), now.copy()
    for x in both:
        x[:, 0] = -np.inf
    without = consistency_loss(said[:, 1:], now[:, 1:])
    value, (gradient,) = of_ours(lambda x: consistency_loss(both[0], x), both[1])
    assert value == pytest.approx(without.item())
    assert np.isfinite(gradient).all()
    assert consistency_loss(said, both[1]).item() == np.inf  # it is, said of the image itself
    kept = consistency_loss(both[0], now).item()  # the class that is not said costs its ln q
    assert kept == pytest.approx(
        np.mean(np.sum(softmax(said[:, 1:]) * np.log(softmax(said[:, 1:])
                / softmax(now)[:, 1:]), axis=1))
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # inf − inf
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_seen_though_nobody_is_sure(value):
    for broken in range(2):
        arrays = logits()
        arrays[broken][2, 1] = value
        said, now = arrays
        loss, (gradient,) = of_ours(
            lambda x, said=said: consistency_loss(said, x, confidence=0.999), now
        )
        assert not np.isfinite(loss)
        assert not np.isfinite(gradient).all()


def test_dtypes_and_places():
    said, now = logits()
    right = consistency_loss(said, now).item()
    for a, b in (
        (said, torch.from_numpy(now)),
        (said.astype("f4"), now),
        (said, now.astype("f4")),
        (torch.from_numpy(said).bfloat16().float(), torch.from_numpy(now).float()),
    ):
        assert consistency_loss(a, b).item() == pytest.approx(right, rel=2e-2)
    assert consistency_loss(said[:0], now[:0]).item() == 0


def test_annealed_cross_entropy():
    x, targets = logits()[0], np.arange(9) % 4
    p = softmax(x)[np.arange(9), targets]
    for threshold in (0.3, 0.7, 1.0):
        unsure = p < threshold
        assert 0 < unsure.sum() < 9 or threshold == 1
        losses = np.where(unsure, -np.log(p), 0)
        got = annealed_cross_entropy(x, targets, threshold, reduction="none").numpy()
        np.testing.assert_allclose(got, losses)
        mean = annealed_cross_entropy(x, targets, threshold)
        assert mean.item() == pytest.approx(losses.sum() / unsure.sum())
        kept, there = torch.from_numpy(unsure), torch.from_numpy(targets)
        assert_same(
            lambda a: annealed_cross_entropy(a, targets, threshold),  # noqa: B023
            lambda a: torch.nn.functional.cross_entropy(a[kept], there[kept]),  # noqa: B023
            x,
        )
    value, (gradient,) = of_ours(lambda a: annealed_cross_entropy(a, targets, 1e-9), x)
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize("device", [np.array, torch.from_numpy])
def test_a_label_that_is_none_is_refused(device):
    """Also −1, which as an index would be the last class."""
    for wrong in (-1, 4):
        targets = np.array([0, wrong, 1])
        with pytest.raises(IndexError, match=f"index {wrong} is out of range, expected 0 to 3"):
            annealed_cross_entropy(device(logits()[0][:3]), device(targets), 0.5)


def test_schedules():
    """Of ten classes: from a tenth to 1; the exponential one is late, the logarithmic early."""
    for schedule in ("linear", "log", "exp"):
        way = [annealing_threshold(t, 10, schedule) for t in np.linspace(0, 1, 11)]
        assert (np.diff(way) > 0).all()
        assert way[0] == pytest.approx(0.1 + (0.9 * math.exp(-5) if schedule == "exp" else 0))
        assert way[-1] == pytest.approx(1 - (0.9 * math.exp(-5) if schedule == "log" else 0))
    at_half = {s: annealing_threshold(0.5, 10, s) for s in ("exp", "linear", "log")}
    assert at_half == pytest.approx(
        {"exp": 0.1 + 0.9 * math.exp(-2.5), "linear": 0.55, "log": 1 - 0.9 * math.exp(-2.5)}
    )


def test_refusals():
    x = logits()[0]
    for settings in ({"sharpen": 0}, {"sharpen": 1.1}, {"confidence": 1}, {"confidence": -0.1}):
        with pytest.raises(ValueError, match="expected 0 < sharpen ≤ 1 and 0 ≤ confidence < 1"):
            consistency_loss(x, x, **settings)
    for a, b in ((x, x[:1]), (x[0], x[0])):
        with pytest.raises(ValueError, match=r"expected \(batch, classes\) twice"):
            consistency_loss(a, b)
    for threshold in (0, 1.1, math.nan):
        with pytest.raises(ValueError, match="threshold must be above 0"):
            annealed_cross_entropy(x, np.zeros(9, int), threshold)
    with pytest.raises(ValueError, match="schedule must be one of"):
        annealing_threshold(0.5, 10, "cosine")
    for progress, classes in ((-0.1, 10), (1.1, 10), (math.nan, 10), (0.5, 1)):
        with pytest.raises(ValueError, match="2 or more classes"):
            annealing_threshold(progress, classes)


def test_a_label_that_is_just_as_sure_as_the_threshold_has_no_loss():
    assert annealed_cross_entropy(np.zeros((3, 2)), [0, 1, 0], 0.5).item() == 0
    assert annealed_cross_entropy(np.zeros((3, 2)), [0, 1, 0], 0.5 + 1e-9).item() > 0.69

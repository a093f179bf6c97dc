"""Schedules against closed forms and the values that torch's LambdaLR sets."""

import math
from functools import partial

import pytest
import torch

from minissl.optim import constant, warmup_cosine, warmup_linear


@pytest.mark.parametrize("schedule", [warmup_cosine, warmup_linear])
@pytest.mark.parametrize("warmup", [0, 1, 7])
@pytest.mark.parametrize("final", [0.0, 0.02])
def test_a_run_rises_to_the_peak_and_falls_to_the_end_without_a_wasted_step(
    schedule, warmup, final
):
    rates = [
        schedule(s, peak=0.2, warmup_steps=warmup, total_steps=30, final=final) for s in range(30)
    ]
    assert rates[:warmup] == pytest.approx([0.2 * (s + 1) / (warmup + 1) for s in range(warmup)])
    assert rates[warmup] == 0.2 == max(rates)
    assert all(a > b for a, b in zip(rates[warmup:], rates[warmup + 1 :]))
    assert min(rates) > 0
    assert rates[-1] > final
    for after in (30, 31, 1000):
        rate = schedule(after, peak=0.2, warmup_steps=warmup, total_steps=30, final=final)
        assert rate == pytest.approx(final, abs=1e-17)


def test_closed_forms():
    cosine = partial(warmup_cosine, peak=3.0, warmup_steps=10, total_steps=50, final=1.0)
    linear = partial(warmup_linear, peak=3.0, warmup_steps=10, total_steps=50, final=1.0)
    assert cosine(30) == pytest.approx(2.0)  # half way: the mean of peak and final
    assert cosine(20) == pytest.approx(2 + math.cos(math.pi / 4))
    assert linear(30) == pytest.approx(2.0)
    assert linear(20) == pytest.approx(2.5)
    assert linear(40) == pytest.approx(1.5)


def test_cosine_equals_torch_annealing():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.3)
    annealing = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40, eta_min=0.01)
    for step in range(40):
        ours = warmup_cosine(step, peak=0.3, warmup_steps=0, total_steps=40, final=0.01)
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        annealing.step()


def test_linear_equals_torch_lambda():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.3)
    shape = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: (s + 1) / 6 if s < 5 else (40 - s) / 35
    )
    for step in range(40):
        ours = warmup_linear(step, peak=0.3, warmup_steps=5, total_steps=40)
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        optimizer.step()
        shape.step()


def test_constant():
    assert [constant(s, peak=2.0) for s in (0, 1, 999)] == [2.0, 2.0, 2.0]
    assert [constant(s, peak=2.0, warmup_steps=3) for s in range(5)] == [0.5, 1.0, 1.5, 2.0, 2.0]


@pytest.mark.parametrize("schedule", [warmup_cosine, warmup_linear])
@pytest.mark.parametrize(("warmup", "total"), [(10, 10), (11, 10), (-1, 10), (0, 0)])
def test_impossible_lengths_are_refused(schedule, warmup, total):
    with pytest.raises(ValueError, match="0 ≤ warmup_steps < total_steps"):
        schedule(0, peak=1.0, warmup_steps=warmup, total_steps=total)

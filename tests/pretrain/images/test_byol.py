"""BYOL: its loss is torch's, nothing flows into the slow copy, which follows as the paper says."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from minissl.data import Kept
from minissl.data.images import Images
from minissl.optim import SGD
from minissl.pretrain.images.byol import BYOL, BYOLSettings, follow, slow_copy
from minissl.pretrain.run import pretrain, train
from minissl.training import train_step
from minissl.vision.images import load_digits
from tests.pretrain.images.test_simsiam import mlp

SETTINGS = BYOLSettings(features=16, embedding=8, batch_size=12, steps=5, decay=0.9)


def new_method(**changes):
    settings = replace(SETTINGS, **changes)
    images = Images(load_digits().train_images[:64])
    return BYOL.build(settings, images.prepare(Kept(), settings), seed=0)


@pytest.fixture
def method():
    return new_method()


def moved_apart(method):
    """Another slow copy than the network, as after some training."""
    generator = np.random.default_rng(5)
    for name, array in method.model.state_dict().items():
        if name.startswith("slow_head") and "running" not in name:
            part, parameter = name.removeprefix("slow_head.").split(".")
            noise = generator.standard_normal(array.shape).astype(np.float32)
            getattr(getattr(method.model.slow_head, part), parameter).array = array + 0.3 * noise


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"target": "still"}, {"target": "free"}, {"predictor": False},
        {"target": "free", "predictor": False},
    ],
)  # fmt: skip
def test_the_loss_and_the_gradient_are_torchs(changes):
    method = new_method(**changes)
    moved_apart(method)
    batch = method.batch(np.random.default_rng(1))
    state = {name: torch.tensor(np.float64(a)) for name, a in method.model.state_dict().items()}
    names = [name for name, _ in method.model.named_parameters()]
    assert not [name for name in names if name.startswith("slow")]
    weights = {n: t.requires_grad_(n in names) for n, t in state.items() if "running" not in n}
    features = torch.tensor(np.float64(method.represent(batch)))
    loss = method.loss(batch)
    loss.backward()

    embedded = mlp(features, weights, "head")
    predicted = embedded
    if changes.get("predictor", True):
        predicted = mlp(embedded, weights, "predictor")
    target = {
        "slow": mlp(features, weights, "slow_head"),  # the slow encoder is still the encoder
        "still": embedded.detach(),
        "free": embedded,
    }[changes.get("target", "slow")]
    cosine = torch.nn.functional.cosine_similarity
    towards = cosine(predicted[:12], target[12:]), cosine(predicted[12:], target[:12])
    expected = sum((2 - 2 * cosines).mean() / 2 for cosines in towards)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    expected.backward()
    for name, parameter in method.model.named_parameters():
        if name.startswith("predictor") and not method.predictor:
            assert parameter.grad is weights[name].grad is None
        elif not name.startswith("encoder"):
            gradient = weights[name].grad.numpy()
            np.testing.assert_allclose(parameter.grad, gradient, rtol=1e-3, atol=5e-5)
    assert method.model.encoder.output.weight.grad is not None


def test_only_three_things_can_be_predicted(method):
    with pytest.raises(ValueError, match="target must be one of slow, still, free, got 'fast'"):
        BYOL(method.model, method.images, method.augment, batch_size=12, target="fast")


def test_the_copy_follows_by_the_papers_schedule(method):
    """Written out in float64: τ = 1 − (1 − 0.9) (cos(π k / 5) + 1) / 2 for k = 0 ... 4."""
    optimizer = SGD(method.model.named_parameters(), lr=0.1)
    model = method.model
    parts = [(model.head, model.slow_head), (model.encoder, model.slow_encoder)]
    slow = [np.float64(copy.output.weight.array) for _, copy in parts]
    for k in range(5):
        train_step(method, optimizer, k)
        tau = 1 - 0.1 * (math.cos(math.pi * k / 5) + 1) / 2
        for i, (part, copy) in enumerate(parts):
            slow[i] = tau * slow[i] + (1 - tau) * np.float64(part.output.weight.array)
            np.testing.assert_allclose(copy.output.weight.array, slow[i], rtol=1e-5, atol=1e-7)
    assert method.decay == 0.9
    assert 1 - 0.1 * (math.cos(0) + 1) / 2 == pytest.approx(0.9)  # the first τ


def test_a_slow_copy_is_saved_and_not_trained(method):
    model = method.model
    copy = slow_copy(model.head)
    assert copy.num_parameters() == 0
    assert copy.state_dict().keys() == model.head.state_dict().keys()
    before = model.head.state_dict()
    copy.output.weight.array += 1
    for name, array in model.head.state_dict().items():
        np.testing.assert_array_equal(array, before[name])  # no memory is shared
    follow(copy, model.head, 0.0)
    np.testing.assert_array_equal(copy.output.weight.array, model.head.output.weight.array)
    counts = sum(p.size for n, p in model.named_parameters())
    assert model.num_parameters() == counts
    assert [name for name in model.state_dict() if name.startswith("slow_encoder")]


def test_it_learns_without_negatives_and_does_not_collapse():
    """Seeds 0 to 2 end at a spread of 0.77 and more; SimCLR's loss on positives alone ends at 0."""
    settings = BYOLSettings(steps=60, batch_size=128, features=64, evaluations=1)
    images = Images(load_digits().train_images)
    trained = pretrain(BYOL, images, settings, progress=False)
    first, last = trained.history.records[0], trained.history.records[-1]
    assert last["held_out_loss"] < 0.7 * first["held_out_loss"]
    assert last["z_std"] > 0.5
    assert last["effective_rank"] > 5


def test_the_copy_moves_only_when_the_network_does(method):
    before = method.model.slow_head.state_dict()
    train(method, BYOLSettings(steps=1, batch_size=12, learning_rate=1e-9), progress=False)
    after = method.model.slow_head.state_dict()
    for name in before:
        if "running" not in name:
            np.testing.assert_allclose(after[name], before[name], rtol=1e-5, atol=1e-7)

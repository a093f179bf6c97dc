"""SimSiam: its loss is torch's, and its gradient knows where to stop."""

import numpy as np
import pytest
import torch

from minissl.models.convolutional import ConvEncoder
from minissl.pretrain.images.simsiam import SimSiam, SimSiamModel
from minissl.vision.augment import digits_augmentation
from minissl.vision.images import load_digits
from tests.pretrain.toy import toy_method


def new_method(stop_gradient):
    generator = np.random.default_rng(0)
    encoder = ConvEncoder(widths=(4,), features=16, generator=generator)
    model = SimSiamModel(encoder, features=16, embedding=8, generator=generator)
    images = load_digits().train_images[:64]
    return SimSiam(model, images, digits_augmentation(), batch_size=12, stop_gradient=stop_gradient)


def mlp(x, weights, name):
    """In training mode: torch's batch_norm takes the batch's mean and variance."""

    def layer(x, part):
        return x @ weights[f"{name}.{part}.weight"].T + weights[f"{name}.{part}.bias"]

    def norm(x, part):
        scale, shift = weights[f"{name}.{part}.weight"], weights[f"{name}.{part}.bias"]
        return torch.nn.functional.batch_norm(x, None, None, scale, shift, training=True)

    y = layer(norm(layer(x, "hidden"), "hidden_norm").relu(), "output")
    return norm(y, "output_norm") if f"{name}.output_norm.weight" in weights else y


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_the_loss_and_the_gradient_are_torchs(stop_gradient):
    """The paper's formula and its places of BatchNorm, with torch's cosine and torch's detach."""
    method = new_method(stop_gradient)
    batch = method.batch(np.random.default_rng(1))
    loss = method.loss(batch)
    loss.backward()

    features = torch.tensor(method.represent(batch))
    weights = {
        name: torch.tensor(parameter.numpy(), requires_grad=True)
        for name, parameter in method.model.named_parameters()
    }
    z = mlp(features, weights, "head")
    p = mlp(z, weights, "predictor")
    assert tuple(weights["predictor.hidden.weight"].shape) == (4, 8)
    assert "head.output_norm.weight" in weights
    assert "predictor.output_norm.weight" not in weights
    target = z.detach() if stop_gradient else z
    cosine = torch.nn.functional.cosine_similarity
    towards = cosine(p[:12], target[12:]), cosine(p[12:], target[:12])
    expected = sum((2 - 2 * cosines).mean() / 2 for cosines in towards)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    expected.backward()
    gradients = dict(method.model.named_parameters())
    for name in weights:
        if not name.startswith("encoder"):
            np.testing.assert_allclose(
                gradients[name].grad, weights[name].grad.numpy(), rtol=1e-3, atol=1e-5
            )


def test_the_predictor_is_for_training_only():
    method = new_method(True)
    images = load_digits().test_images[:3]
    np.testing.assert_allclose(
        method.represent(images), method.model.encoder(images).numpy(), atol=1e-6
    )
    health = method.evaluate()
    method.model.eval()
    embeddings = method.model(method._held_out_views)
    loss = method.compare(embeddings, method._held_out_views, gather=False).item()
    assert health["held_out_loss"] == pytest.approx(loss)


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_the_settings_decide_whether_the_gradient_stops(stop_gradient):
    assert toy_method("simsiam", stop_gradient=stop_gradient).stop_gradient is stop_gradient

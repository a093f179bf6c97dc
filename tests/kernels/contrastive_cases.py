"""Four contrastive losses three times: our kernels, plain torch in any dtype, the NumPy reference.

A problem is a dictionary: ``loss`` names the function, ``embeddings`` are what gets gradients, the
rest are its keyword arguments.
"""

import numpy as np
import torch
from minissl_kernels import contrastive
from minissl_kernels.contrastive import reference
from minissl_kernels.contrastive.tiles import Configuration

from tests.kernels.compare import assert_as_accurate, dot_factor, float64

SMALL = Configuration(rows=16, columns=16, chunk=32, slice=32, num_warps=1, num_stages=2)
CHUNKED = Configuration(rows=16, columns=32, chunk=16, slice=32, num_warps=1, num_stages=2)


def draw(*shape, seed=0, dtype=torch.float32, device="cpu", scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(shape, generator=generator)).to(device, dtype)


def whole(generator_seed, high, count, device="cpu"):
    generator = torch.Generator().manual_seed(generator_seed)
    return torch.randint(0, high, (count,), generator=generator).to(device)


def problems(rows=21, columns=37, width=12, dtype=torch.float32, device="cpu", scale=0.7):
    """One of each kind, ragged, by name."""

    def new(count, seed):
        return draw(count, width, seed=seed, dtype=dtype, device=device, scale=scale)

    def numbers(high, seed):
        return whole(seed, high, rows, device)

    away = (torch.arange(rows, device=device) + 1 + numbers(max(rows - 1, 1), 3)) % max(rows, 2)
    q = new(rows, 0)
    return {
        "info_nce": {
            "loss": "info_nce",
            "embeddings": [q, new(columns, 1)],
            "targets": numbers(columns, 2),
        },
        "info_nce, negatives": {
            "loss": "info_nce",
            "embeddings": [q, new(rows, 1), new(9, 4)],
        },
        "info_nce, exclude_self": {
            "loss": "info_nce",
            "embeddings": [q, new(max(rows, 2), 1)],
            "targets": away,
            "exclude_self": True,
        },
        "nt_xent": {"loss": "nt_xent", "embeddings": [q, new(rows, 1)]},
        "clip_loss": {"loss": "clip_loss", "embeddings": [q, new(rows, 1)]},
        "supcon_loss": {
            "loss": "supcon_loss",
            "embeddings": [q],
            "labels": numbers(7, 5).index_fill(0, torch.tensor([rows // 2], device=device), 100),
        },
    }


def ours(loss, embeddings, temperature, normalize=False, **options):
    """Losses per row; for clip_loss the mean. Of the embeddings as they are."""
    function = getattr(contrastive, loss)
    options["normalize"] = normalize
    if loss == "clip_loss":
        return function(*embeddings, temperature=temperature, **options)
    if loss == "info_nce":
        query, key, *negatives = embeddings
        options["negatives"] = negatives[0] if negatives else None
        embeddings = [query, key]
    elif loss == "supcon_loss":
        embeddings = [*embeddings, options.pop("labels")]
    return function(*embeddings, temperature=temperature, reduction="none", **options)


def views(loss, embeddings, targets=None, exclude_self=False, labels=None):
    """[(query, key, positives, candidates)] of each direction; masks are NumPy booleans."""
    count = embeddings[0].shape[0]
    numbers = np.arange(count)
    if loss == "supcon_loss":
        return [(embeddings[0], embeddings[0], *reference.label_masks(labels.cpu().numpy()))]
    if loss == "nt_xent":
        both = torch.cat(embeddings)
        masks = reference.target_masks(np.roll(np.arange(2 * count), count), 2 * count, True)
        return [(both, both, *masks)]
    first, second = embeddings[0], torch.cat(embeddings[1:])
    if loss == "clip_loss":
        masks = reference.target_masks(numbers, count)
        return [(first, second, *masks), (second, first, *masks)]
    numbers = numbers if targets is None else targets.cpu().numpy()
    return [(first, second, *reference.target_masks(numbers, len(second), exclude_self))]


def plain(loss, embeddings, temperature, **options):
    """The composition that stores the matrix, in the dtype of the arguments."""
    losses = []
    for query, key, positives, candidates in views(loss, embeddings, **options):
        device = query.device
        positives = torch.from_numpy(positives).to(device)
        logits = query @ key.T / temperature
        if candidates is not True:
            candidates = torch.from_numpy(np.broadcast_to(candidates, logits.shape).copy())
            logits = logits.masked_fill(~candidates.to(device), -torch.inf)
        targets = positives / positives.sum(1, keepdim=True).clamp(min=1)
        log_probabilities = logits.log_softmax(1)
        losses.append(-torch.where(positives, targets * log_probabilities, 0.0).sum(1))
    return torch.cat(losses).mean() if loss == "clip_loss" else losses[0]


def exact(cotangent, loss, embeddings, temperature, **options):
    """Losses, gradients and [temperature gradient, its terms' sizes] by ``reference``, float64."""
    sides = views(loss, embeddings, **options)
    losses, gradients, slope = [], [], np.zeros(2)
    for query, key, positives, candidates in sides:
        q, k = float64(query), float64(key)
        values, difference = reference.forward(q, k, positives, temperature, candidates)
        upstream = np.broadcast_to(cotangent, values.shape)
        if loss == "clip_loss":
            upstream = upstream / (2 * len(values))
        *both, temperature_gradient = reference.backward(upstream, difference, q, k, temperature)
        losses.append(values)
        gradients.append(both)
        terms = np.abs(np.sum(q * both[0], axis=1)).sum() / temperature
        slope += [temperature_gradient, terms]
    if loss == "clip_loss":
        (image, text), (text_too, image_too) = gradients
        return np.mean(losses), [image + image_too, text + text_too], slope
    dq, dk = gradients[0]
    if sides[0][0] is sides[0][1]:
        dq, dk = dq + dk, dk[:0]
    lengths = [len(e) for e in embeddings]
    return losses[0], np.split(np.concatenate([dq, dk]), np.cumsum(lengths)[:-1]), slope


def run(function, problem, temperature, cotangent=None):
    """(losses, gradients of the embeddings, gradient of the temperature, cotangent)."""
    problem = dict(problem)
    embeddings = [e.detach().requires_grad_() for e in problem.pop("embeddings")]
    loss = problem.pop("loss")
    tau = torch.tensor(
        temperature, dtype=torch.float32, device=embeddings[0].device, requires_grad=True
    )
    if function is plain:  # in float32 at least: half precision would be no rival
        values = plain(loss, [e.float() for e in embeddings], tau, **problem)
    else:
        values = function(loss, embeddings, tau, **problem)
    if cotangent is None:
        cotangent = draw(*values.shape, seed=99, device=values.device)
    *gradients, slope = torch.autograd.grad(values, [*embeddings, tau], cotangent)
    return values.detach(), gradients, slope, cotangent


def check(problem, temperature=0.5, cotangent=None, factor=2.0):
    """Losses and all gradients are as accurate as plain torch's in float32; returns the losses."""
    factor = factor * dot_factor(problem["embeddings"][0].dtype)
    values, gradients, slope, cotangent = run(ours, problem, temperature, cotangent)
    rival, rival_gradients, rival_slope, _ = run(plain, problem, temperature, cotangent)
    tau = float(np.float32(temperature))
    expected, expected_gradients, expected_slope = exact(
        float64(cotangent), temperature=tau, **problem
    )
    assert_as_accurate(values, np.asarray(expected), rival, factor, "losses")
    for number, (a, b, c) in enumerate(zip(gradients, expected_gradients, rival_gradients)):
        assert_as_accurate(a, b, c, factor, f"gradient {number}")
    expected_slope, terms = expected_slope
    rounding = 2 * torch.finfo(slope.dtype).eps * terms  # of a sum whose terms may cancel
    allowed = factor * max(abs(rival_slope.item() - expected_slope), rounding)
    assert abs(slope.item() - expected_slope) <= allowed, "temperature"
    return values

"""Contrastive losses against float64 NumPy, torch, pytorch-metric-learning and info-nce-pytorch.

And the properties that need no oracle: what must not matter, does not; what must, does.
"""

import math
import tracemalloc
import warnings

import numpy as np
import pytest
import torch

from minissl.autograd import Tensor
from minissl.losses import contrastive
from minissl.losses.contrastive import (
    alignment_loss,
    chance_level,
    info_nce,
    normalize,
    nt_xent,
    simclr_cs229,
)

with warnings.catch_warnings():  # importing it must not fail on a deprecation of its own
    warnings.simplefilter("ignore")
    from info_nce import InfoNCE
    from pytorch_metric_learning.distances import DotProductSimilarity
    from pytorch_metric_learning.losses import (
        NPairsLoss,
        NTXentLoss,
        SelfSupervisedLoss,
        SupConLoss,
    )

B, D = 6, 5


def views(seed=0, batch=B, width=D):
    generator = np.random.default_rng(seed)
    first = generator.normal(size=(batch, width))
    return first, first + 0.7 * generator.normal(size=(batch, width))


def value_and_gradients(loss, first, second, **settings):
    tensors = [Tensor(np.asarray(a), requires_grad=True) for a in (first, second)]
    result = loss(*tensors, **settings)
    result.backward()
    return result.item(), [t.grad for t in tensors]


def torch_value_and_gradients(loss, first, second):
    tensors = [torch.from_numpy(a.copy()).requires_grad_() for a in (first, second)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = loss(*tensors)
    result.backward()
    return result.item(), [t.grad.numpy() for t in tensors]


def assert_same(ours, theirs, tolerance=1e-9, factor=1.0):
    (value, gradients), (expected, expected_gradients) = ours, theirs
    assert value == pytest.approx(factor * expected, rel=tolerance)
    for gradient, reference in zip(gradients, expected_gradients):
        np.testing.assert_allclose(gradient, factor * reference, rtol=tolerance, atol=tolerance)


# ---- the formulas, in float64 -------------------------------------------------------------------


def unit(z):
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def cs229_by_the_board(first, second):
    """Row by row: −log A / (A + B)."""
    total = 0.0
    for i in range(len(first)):
        a = math.exp(first[i] @ second[i])
        b = sum(math.exp(first[i] @ second[j]) for j in range(len(first)) if j != i)
        total -= math.log(a / (a + b))
    return total


def nt_xent_by_the_paper(first, second, temperature):
    """Equation 1 and algorithm 1 of Chen et al. (2020), with views 2k and 2k + 1 as partners."""
    z = unit(np.stack([first, second], axis=1).reshape(-1, first.shape[1]))
    similarity = np.exp(z @ z.T / temperature)
    losses = [
        -math.log(similarity[i, i ^ 1] / (similarity[i].sum() - similarity[i, i]))
        for i in range(len(z))
    ]
    return float(np.mean(losses))


@pytest.mark.parametrize("seed", range(3))
def test_values_follow_the_formulas(seed):
    first, second = views(seed)
    assert simclr_cs229(first, second).item() == pytest.approx(cs229_by_the_board(first, second))
    for temperature in (0.1, 0.5, 2.0):
        assert nt_xent(first, second, temperature).item() == pytest.approx(
            nt_xent_by_the_paper(first, second, temperature)
        )
    cosines = unit(first) @ unit(second).T / 0.2
    rows = np.log(np.exp(cosines).sum(axis=1)) - np.diag(cosines)
    losses = info_nce(first, second, temperature=0.2, reduction="none").numpy()
    np.testing.assert_allclose(losses, rows)
    distances = np.sum((unit(first) - unit(second)) ** 2, axis=1)
    losses = alignment_loss(first, second, reduction="none").numpy()
    np.testing.assert_allclose(losses, distances)
    np.testing.assert_allclose(losses, 2 - 2 * np.sum(unit(first) * unit(second), axis=1))


@pytest.mark.parametrize(
    "loss",
    [
        lambda a, b, reduction: simclr_cs229(a, b, reduction=reduction),
        lambda a, b, reduction: nt_xent(a, b, 0.5, reduction=reduction),
        lambda a, b, reduction: info_nce(a, b, temperature=0.5, reduction=reduction),
        lambda a, b, reduction: alignment_loss(a, b, reduction=reduction),
    ],
)
def test_reductions(loss):
    first, second = views()
    losses = loss(first, second, "none").numpy()
    assert losses.shape[0] in (B, 2 * B)
    assert loss(first, second, "mean").item() == pytest.approx(losses.mean())
    assert loss(first, second, "sum").item() == pytest.approx(losses.sum())
    with pytest.raises(ValueError, match="reduction must be"):
        loss(first, second, "average")


def test_default_reductions():
    first, second = views()
    per_row = simclr_cs229(first, second, reduction="none").numpy()
    assert simclr_cs229(first, second).item() == pytest.approx(per_row.sum())  # as on the board
    per_row = nt_xent(first, second, 0.5, reduction="none").numpy()
    assert nt_xent(first, second, 0.5).item() == pytest.approx(per_row.mean())


# ---- torch, and two published libraries ---------------------------------------------------------


def torch_nt_xent(first, second, temperature):
    z = torch.nn.functional.normalize(torch.cat([first, second]))
    logits = z @ z.T / temperature
    logits = logits.masked_fill(torch.eye(len(z), dtype=torch.bool), -torch.inf)
    partners = torch.arange(len(z)).roll(len(first))
    return torch.nn.functional.cross_entropy(logits, partners)


def google_objective(first, second, temperature):
    """The layout of Google's objective: two cross-entropies of [across, own side], added."""
    a, b = (torch.nn.functional.normalize(t) for t in (first, second))
    own = torch.eye(len(a), dtype=torch.bool)
    hide = lambda logits: logits.masked_fill(own, -1e9)  # noqa: E731
    labels = torch.arange(len(a))
    sides = [
        torch.cat([x @ y.T / temperature, hide(x @ x.T / temperature)], dim=1)
        for x, y in ((a, b), (b, a))
    ]
    return sum(torch.nn.functional.cross_entropy(side, labels) for side in sides)


def both_labels(batch):
    return torch.arange(batch).repeat(2)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("temperature", [0.07, 0.5, 1.0])
def test_nt_xent_equals_torch_and_pytorch_metric_learning(seed, temperature):
    first, second = views(seed)
    ours = value_and_gradients(nt_xent, first, second, temperature=temperature)
    assert_same(
        ours,
        torch_value_and_gradients(lambda a, b: torch_nt_xent(a, b, temperature), first, second),
    )
    pml = NTXentLoss(temperature=temperature)
    by_labels = torch_value_and_gradients(
        lambda a, b: pml(torch.cat([a, b]), both_labels(B)), first, second
    )
    self_supervised = torch_value_and_gradients(SelfSupervisedLoss(pml), first, second)
    assert_same(ours, by_labels, tolerance=1e-6)
    assert_same(ours, self_supervised, tolerance=1e-6)
    google = torch_value_and_gradients(
        lambda a, b: google_objective(a, b, temperature), first, second
    )
    assert_same(ours, google, factor=0.5)  # Google's code adds the two sides


@pytest.mark.parametrize("seed", range(3))
def test_nt_xent_equals_supcon_up_to_its_factor(seed):
    first, second = views(seed)
    temperature, base = 0.5, 0.07
    plain = torch_value_and_gradients(
        lambda a, b: SupConLoss(temperature=temperature)(torch.cat([a, b]), both_labels(B)),
        first,
        second,
    )
    ours = value_and_gradients(nt_xent, first, second, temperature=temperature)
    assert_same(ours, plain, tolerance=1e-6)

    def original(a, b):  # the form of the SupContrast repository: log-probabilities times T / base
        z = torch.nn.functional.normalize(torch.cat([a, b]))
        logits = z @ z.T / temperature
        others = 1 - torch.eye(len(z), dtype=z.dtype)
        log_p = logits - torch.log((torch.exp(logits) * others).sum(1, keepdim=True))
        positive = torch.eye(B, dtype=z.dtype).repeat(2, 2) * others
        return -(temperature / base) * ((positive * log_p).sum(1) / positive.sum(1)).mean()

    scaled = torch_value_and_gradients(original, first, second)
    assert_same(ours, scaled, factor=base / temperature)


@pytest.mark.parametrize("seed", range(3))
def test_simclr_cs229_equals_torch_and_pytorch_metric_learning(seed):
    first, second = views(seed)
    ours = value_and_gradients(simclr_cs229, first, second)
    cross_entropy = torch_value_and_gradients(
        lambda a, b: torch.nn.functional.cross_entropy(a @ b.T, torch.arange(B), reduction="sum"),
        first,
        second,
    )
    assert_same(ours, cross_entropy)
    raw = DotProductSimilarity(normalize_embeddings=False)
    n_pairs = torch_value_and_gradients(
        lambda a, b: NPairsLoss(distance=raw)(torch.cat([a, b]), both_labels(B)), first, second
    )
    one_way = SelfSupervisedLoss(NTXentLoss(temperature=1.0, distance=raw), symmetric=False)
    assert_same(ours, n_pairs, tolerance=1e-6, factor=B)  # libraries average over the batch
    assert_same(ours, torch_value_and_gradients(one_way, first, second), tolerance=1e-6, factor=B)


@pytest.mark.parametrize("seed", range(3))
def test_info_nce_equals_its_published_namesake(seed):
    first, second = views(seed)
    ours = value_and_gradients(info_nce, first, second, temperature=0.1)
    assert_same(ours, torch_value_and_gradients(InfoNCE(temperature=0.1), first, second))
    negatives = np.random.default_rng(seed + 10).normal(size=(4, D))

    def with_negatives(a, b):  # sentence-transformers' form: candidates are positives, then more
        scores = (
            torch.nn.functional.normalize(a)
            @ torch.nn.functional.normalize(torch.cat([b, torch.from_numpy(negatives)])).T
        )
        return torch.nn.functional.cross_entropy(scores * 20, torch.arange(B))

    ours = value_and_gradients(info_nce, first, second, temperature=0.05, negatives=negatives)
    assert_same(ours, torch_value_and_gradients(with_negatives, first, second))
    raw = value_and_gradients(info_nce, first, second, temperature=0.7, normalize=False)
    reference = torch_value_and_gradients(
        lambda a, b: torch.nn.functional.cross_entropy(a @ b.T / 0.7, torch.arange(B)),
        first,
        second,
    )
    assert_same(raw, reference)


def test_alignment_loss_equals_torch():
    first, second = views()
    reference = torch_value_and_gradients(
        lambda a, b: 2 - 2 * torch.nn.functional.cosine_similarity(a, b).mean(), first, second
    )
    assert_same(value_and_gradients(alignment_loss, first, second), reference)


def test_a_temperature_can_be_learned():
    first, second = views()
    temperature = Tensor(np.array(0.5), requires_grad=True)
    nt_xent(first, second, temperature).backward()
    t = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    torch_nt_xent(torch.from_numpy(first), torch.from_numpy(second), t).backward()
    assert temperature.grad == pytest.approx(t.grad.item())


@pytest.mark.parametrize("name", ["nt_xent", "simclr_cs229", "info_nce", "alignment_loss"])
def test_losses_run_on_torch_arrays_and_in_float32(name):
    settings = {"temperature": 0.5} if name in ("nt_xent", "info_nce") else {}
    first, second = views()
    loss = getattr(contrastive, name)
    value, gradients = value_and_gradients(loss, first, second, **settings)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
        tensors = [
            Tensor(torch.from_numpy(a).to(dtype), requires_grad=True) for a in (first, second)
        ]
        result = loss(*tensors, **settings)
        result.backward()
        assert result.item() == pytest.approx(value, rel=tolerance)
        for tensor, gradient in zip(tensors, gradients):
            np.testing.assert_allclose(tensor.grad.numpy(), gradient, atol=tolerance * 10)
        in_numpy = [a.astype(np.float32) for a in (first, second)]
        single, (g, _) = value_and_gradients(loss, *in_numpy, **settings)
        assert single == pytest.approx(value, rel=1e-5)
        assert g.dtype == np.float32


# ---- properties ---------------------------------------------------------------------------------

LOSSES = {
    "simclr_cs229": lambda a, b, reduction="mean": simclr_cs229(a, b, reduction=reduction),
    "info_nce": lambda a, b, reduction="mean": info_nce(a, b, temperature=0.5, reduction=reduction),
    "nt_xent": lambda a, b, reduction="mean": nt_xent(a, b, 0.5, reduction=reduction),
    "alignment": lambda a, b, reduction="mean": alignment_loss(a, b, reduction=reduction),
}
COSINE = ["info_nce", "nt_xent", "alignment"]
SHARP = {
    "info_nce": lambda a, b: info_nce(a, b, temperature=0.01),
    "nt_xent": lambda a, b: nt_xent(a, b, 0.01),
    "alignment": alignment_loss,
}
every_loss = pytest.mark.parametrize("name", list(LOSSES))


@pytest.mark.parametrize("name", SHARP)
def test_cosines_of_float16_are_not_rounded_to_it(name):
    """Divided by .01, what float16 rounds off a cosine would be seen in the loss."""
    first, second = (views(seed)[0].astype(np.float16) for seed in (0, 1))  # strangers
    exact = SHARP[name](first.astype(np.float64), second.astype(np.float64)).item()
    assert SHARP[name](first, second).item() == pytest.approx(exact, rel=2e-5)


@every_loss
def test_the_order_of_the_batch_does_not_matter(name):
    first, second = views()
    order = np.random.default_rng(1).permutation(B)
    original = value_and_gradients(LOSSES[name], first, second)
    shuffled = value_and_gradients(LOSSES[name], first[order], second[order])
    assert shuffled[0] == pytest.approx(original[0])
    for g, h in zip(original[1], shuffled[1]):
        np.testing.assert_allclose(g[order], h, atol=1e-12)
    # but which view belongs to which image is all the information there is
    assert LOSSES[name](first, second[order]).item() != pytest.approx(original[0])


@every_loss
def test_a_rotation_of_the_space_does_not_matter(name):
    first, second = views()
    rotation, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(D, D)))
    rotated = LOSSES[name](first @ rotation, second @ rotation).item()
    assert rotated == pytest.approx(LOSSES[name](first, second).item())


@every_loss
def test_only_raw_inner_products_feel_the_length_of_vectors(name):
    first, second = views()
    lengths = np.random.default_rng(3).uniform(0.1, 10, (B, 1))
    value, gradients = value_and_gradients(LOSSES[name], first, second)
    stretched = LOSSES[name](first * lengths, second * 3).item()
    radial = [np.sum(z * g, axis=1) for z, g in zip((first, second), gradients)]
    if name in COSINE:
        assert stretched == pytest.approx(value)
        np.testing.assert_allclose(radial, 0, atol=1e-12)
    else:
        assert abs(LOSSES[name](first * 0.1, second).item() - value) > 0.1
        assert np.abs(radial).max() > 0.01


@every_loss
def test_nearer_positives_lower_the_loss_and_nearer_negatives_raise_it(name):
    for seed in range(10):
        first, second = (unit(z) for z in views(seed))
        value, (_, gradient) = value_and_gradients(LOSSES[name], first, second)
        row = np.zeros((B, 1))
        row[seed % B] = 1e-4
        loss_at = lambda z, first=first: LOSSES[name](first, z, "none").numpy()  # noqa: E731
        toward_positive = unit(second + row * first)
        i, j = seed % B, (seed + 1) % B
        assert loss_at(toward_positive)[i] < loss_at(second)[i]
        step = unit(second - 1e-3 * gradient)  # a small step down the gradient must go down
        assert LOSSES[name](first, step).item() < value
        if name != "alignment":  # row j's loss: second view i is a negative of first view j
            toward_negative = second + row * first[j]
            if name in COSINE:
                toward_negative = unit(toward_negative)
            assert loss_at(toward_negative)[j] > loss_at(second)[j]


@pytest.mark.parametrize("name", ["simclr_cs229", "info_nce", "nt_xent"])
@pytest.mark.parametrize("batch", [2, 7, 64])
def test_collapsed_views_have_the_chance_level(name, batch):
    point = np.random.default_rng(4).normal(size=(1, D)).repeat(batch, axis=0)
    value, (gradient, _) = value_and_gradients(LOSSES[name], point, point)
    expected = {"nt_xent": math.log(2 * batch - 1)}.get(name, math.log(batch))
    assert value == pytest.approx(expected)
    assert chance_level(name, batch) == pytest.approx(expected)
    np.testing.assert_allclose(gradient, 0, atol=1e-12)  # it stays there: nothing pulls apart
    assert simclr_cs229(point, point).item() == pytest.approx(batch * math.log(batch))
    assert alignment_loss(point, point).item() == pytest.approx(0, abs=1e-12)


def test_alignment_loss_of_unrelated_directions_is_two():
    generator = np.random.default_rng(5)
    losses = alignment_loss(*generator.normal(size=(2, 4000, 64)))
    assert losses.item() == pytest.approx(2, abs=0.02)


def test_an_infinite_temperature_knows_nothing():
    first, second = views()
    assert nt_xent(first, second, 1e9).item() == pytest.approx(math.log(2 * B - 1))
    assert info_nce(first, second, temperature=1e9).item() == pytest.approx(math.log(B))


def test_a_small_temperature_looks_at_the_nearest_candidate_only():
    first, second = views()
    cosines = unit(np.concatenate([first, second]))
    cosines = cosines @ cosines.T - 2 * np.eye(2 * B)
    partners = (np.arange(2 * B) + B) % (2 * B)
    gap = cosines.max(axis=1) - cosines[np.arange(2 * B), partners]
    assert nt_xent(first, second, 1e-3).item() * 1e-3 == pytest.approx(gap.mean(), abs=1e-3)


@every_loss
def test_exchanging_the_views(name):
    first, second = views()
    value, exchanged = LOSSES[name](first, second).item(), LOSSES[name](second, first).item()
    if name in ("nt_xent", "alignment"):
        assert exchanged == pytest.approx(value)
    else:
        assert abs(exchanged - value) > 1e-3


@pytest.mark.parametrize("name", ["simclr_cs229", "info_nce", "nt_xent"])
def test_one_image_alone_has_no_one_to_differ_from(name):
    value, (gradient, _) = value_and_gradients(LOSSES[name], *views(batch=1))
    assert value == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(gradient, 0, atol=1e-12)


@pytest.mark.parametrize("normalize", [True, False])
def test_more_negatives_never_lower_the_loss(normalize):
    first, second = views()
    settings = {"temperature": 0.5, "normalize": normalize, "reduction": "none"}
    before = info_nce(first, second, **settings).numpy()
    far = -50 * first.mean(axis=0, keepdims=True)
    for negatives in (far, np.random.default_rng(6).normal(size=(3, D))):
        after = info_nce(first, second, negatives=negatives, **settings).numpy()
        assert (after >= before).all()
        assert after.max() > before.max() or normalize is False
    before = nt_xent(first, second, 0.5, reduction="none").numpy()
    larger = [np.concatenate([z, far]) for z in (first, second)]
    after = nt_xent(*larger, 0.5, reduction="none").numpy()
    assert (after[:B] > before[:B]).all()


def test_the_lectures_loss_is_info_nce_of_inner_products():
    first, second = views()
    bridge = info_nce(first, second, temperature=1.0, normalize=False, reduction="sum")
    assert simclr_cs229(first, second).item() == pytest.approx(bridge.item())
    scaled = simclr_cs229(unit(first) / 0.5, unit(second))  # normalize, and fold the temperature in
    one_way = info_nce(first, second, temperature=0.5, reduction="sum")
    assert scaled.item() == pytest.approx(one_way.item())


def test_large_inner_products_do_not_overflow():
    first, second = (np.float32(1e4) * z.astype(np.float32) for z in views())
    assert np.isfinite(simclr_cs229(first, second).item())
    assert np.isfinite(nt_xent(first, second, 1e-4).item())


def test_normalize_keeps_zero_vectors_and_finite_gradients():
    x = Tensor(np.array([[3.0, 4.0], [0.0, 0.0]]), requires_grad=True)
    y = normalize(x)
    np.testing.assert_allclose(y.numpy(), [[0.6, 0.8], [0, 0]])
    y.backward(np.array([[1.0, 2.0], [5.0, 6.0]]))
    np.testing.assert_allclose(x.grad, [[-0.064, 0.048], [5, 6]])  # (g − y (y·g)) / ‖x‖
    nt_xent(np.zeros((2, 3)), np.zeros((2, 3)), 0.5)


@every_loss
def test_views_that_do_not_fit(name):
    first, second = views()
    with pytest.raises(ValueError, match="row i of both must show the same thing"):
        LOSSES[name](first, second[:-1])
    with pytest.raises(ValueError, match="row i of both must show the same thing"):
        LOSSES[name](first, second[:, :1])  # which would broadcast
    with pytest.raises(ValueError, match="expected \\(batch, width\\) twice"):
        LOSSES[name](first[0], second[0])


def test_other_errors():
    first, second = views()
    with pytest.raises(ValueError, match="temperature must be positive"):
        nt_xent(first, second, 0.0)
    with pytest.raises(ValueError, match="negatives have shape \\(3, 4\\)"):
        info_nce(first, second, temperature=1.0, negatives=np.ones((3, 4)))
    with pytest.raises(ValueError, match="no chance level for 'mse'"):
        chance_level("mse", 8)
    with pytest.raises(ValueError, match="at least one pair"):
        chance_level("nt_xent", 0)


def test_one_matrix_of_similarities_is_kept():
    """It becomes its exponentials and then its gradient: a second one would double the memory."""
    views = [Tensor(np.ones((512, 8), np.float32), requires_grad=True) for _ in range(2)]
    tracemalloc.start()
    nt_xent(*views, 0.5).backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * 1024**2 * 4

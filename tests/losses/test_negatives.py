"""InfoNCE with negatives of its own, the bilinear critic, and the bound on information."""

import itertools
import math
import warnings

import numpy as np
import pytest
import torch

from minissl.autograd import gradcheck
from minissl.autograd import operations as ops
from minissl.losses import contrastive
from minissl.losses.contrastive import bilinear_info_nce, info_nce, information_bound
from tests.losses.compare import assert_same, of_ours

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from info_nce import info_nce as published

B, D, N = 6, 5, 4


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def by_loops(query, key, negatives, temperature, in_batch):
    query, key, negatives = unit(query), unit(key), unit(negatives)
    losses = []
    for i in range(len(query)):
        own = negatives[i] if negatives.ndim == 3 else negatives
        candidates = [key[i], *(key[j] for j in range(len(key)) if in_batch and j != i), *own]
        scores = np.exp([query[i] @ c / temperature for c in candidates])
        losses.append(-math.log(scores[0] / scores.sum()))
    return np.array(losses)


@pytest.mark.parametrize("in_batch", [True, False])
@pytest.mark.parametrize("shape", [(N, D), (B, N, D)])
def test_by_loops(shape, in_batch):
    query, key, negatives = draw(B, D), draw(B, D, seed=1), draw(*shape, seed=2)
    settings = {"temperature": 0.4, "in_batch": in_batch, "reduction": "none"}
    losses = info_nce(query, key, negatives=negatives, **settings).numpy()
    np.testing.assert_allclose(losses, by_loops(query, key, negatives, 0.4, in_batch))
    raw = info_nce(unit(query), unit(key), negatives=unit(negatives), normalize=False, **settings)
    np.testing.assert_allclose(losses, raw.numpy())

    def ours(q, k, n, t):
        return info_nce(q, k, negatives=n, **settings | {"temperature": t})

    gradcheck(ours, [query, key, negatives, np.array(0.4)])


@pytest.mark.parametrize("mode", ["unpaired", "paired"])
def test_info_nce_pytorch(mode):
    """Its negatives replace those of the batch: ``in_batch=False`` here."""
    query, key = draw(B, D), draw(B, D, seed=1)
    negatives = draw(*((N, D) if mode == "unpaired" else (B, N, D)), seed=2)
    assert_same(
        lambda q, k, n: info_nce(q, k, temperature=0.1, negatives=n, in_batch=False),
        lambda q, k, n: published(q, k, n, temperature=0.1, negative_mode=mode),
        query, key, negatives,
    )  # fmt: skip


@pytest.mark.parametrize("paired", [False, True])
def test_torch(paired):
    """Those of the batch and hard ones: one softmax over both (SimCSE's supervised loss)."""
    query, key = draw(B, D), draw(B, D, seed=1)
    negatives = draw(*((B, N, D) if paired else (N, D)), seed=2)

    def theirs(q, k, n):
        q, k, n = (torch.nn.functional.normalize(x, dim=-1) for x in (q, k, n))
        hard = torch.einsum("bd,bnd->bn", q, n) if paired else q @ n.T
        logits = torch.cat([q @ k.T, hard], dim=1) / 0.3
        return torch.nn.functional.cross_entropy(logits, torch.arange(B))

    assert_same(
        lambda q, k, n: info_nce(q, k, temperature=0.3, negatives=n), theirs, query, key, negatives
    )


def test_shared_is_paired_with_the_same_for_all():
    query, key, negatives = draw(B, D), draw(B, D, seed=1), draw(N, D, seed=2)
    for in_batch in (True, False):
        shared, paired = (
            info_nce(query, key, temperature=0.2, negatives=n, in_batch=in_batch).item()
            for n in (negatives, np.broadcast_to(negatives, (B, N, D)).copy())
        )
        assert shared == pytest.approx(paired)


@pytest.mark.parametrize(("dtype", "digits"), [("float32", 1e-5), ("float16", 3e-3)])
def test_places_and_dtypes(dtype, digits):
    query, key = draw(B, D), draw(B, D, seed=1)
    for shape, in_batch, normalize in itertools.product(
        ((N, D), (B, N, D)), (True, False), (True, False)
    ):
        negatives = draw(*shape, seed=2)
        settings = {"temperature": 0.5, "in_batch": in_batch, "normalize": normalize}
        right = info_nce(query, key, negatives=negatives, **settings).item()
        q, k, n = (x.astype(dtype) for x in (query, key, negatives))
        assert info_nce(q, k, negatives=n, **settings).item() == pytest.approx(right, rel=digits)
        if dtype == "float16" or not normalize or (in_batch and len(shape) == 2):
            continue  # interpreted kernels take long, and have tests of their own
        q, k = torch.from_numpy(q), torch.from_numpy(k)
        for there in (torch.from_numpy(n), n):  # those of a queue may still lie in NumPy
            got = info_nce(q, k, negatives=there, **settings).item()
            assert got == pytest.approx(right, rel=digits)


@pytest.mark.parametrize(("shape", "in_batch"), [((N, D), False), ((B, N, D), True)])
def test_candidates_of_other_processes(shape, in_batch, monkeypatch):
    """As if another process had the same rows, turned: shared negatives and keys come twice."""
    query, key, negatives = draw(B, D), draw(B, D, seed=1), draw(*shape, seed=2)

    def gather(x):
        return ops.concatenate([x, x[:, ::-1]])

    monkeypatch.setattr(contrastive, "gather_rows", gather)
    settings = {"temperature": 0.4, "in_batch": in_batch, "reduction": "none"}
    losses = info_nce(query, key, negatives=negatives, gather=True, **settings).numpy()
    more = np.concatenate([negatives, negatives[..., ::-1]]) if not in_batch else negatives
    if in_batch:  # the other's keys are more negatives of every query
        others = np.broadcast_to(key[:, ::-1], (B, B, D))
        more = np.concatenate([negatives, others], axis=1)
    np.testing.assert_allclose(losses, by_loops(query, key, more, 0.4, in_batch))


def test_no_negatives_of_its_own():
    query, key = draw(B, D), draw(B, D, seed=1)
    for empty in (np.zeros((0, D)), np.zeros((B, 0, D))):
        plain = info_nce(query, key, temperature=0.5).item()
        assert info_nce(query, key, temperature=0.5, negatives=empty).item() == pytest.approx(plain)
        alone = info_nce(query, key, temperature=0.5, negatives=empty, in_batch=False)
        assert alone.item() == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="there must be negatives"):
        info_nce(query, key, temperature=0.5, in_batch=False)
    for shape in ((N, D + 1), (B + 1, N, D), (D,)):
        with pytest.raises(ValueError, match="negatives have shape"):
            info_nce(query, key, temperature=0.5, negatives=np.ones(shape))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # inf − inf
@pytest.mark.parametrize("in_batch", [True, False])
def test_a_negative_of_minus_infinity_is_no_bad_match(in_batch):
    negatives = np.ones((B, N, D))
    negatives[2, 1, 0] = -np.inf
    losses = info_nce(
        np.ones((B, D)), np.ones((B, D)), negatives=negatives, temperature=1.0,
        normalize=False, in_batch=in_batch, reduction="none",
    ).numpy()  # fmt: skip
    assert np.isnan(losses).tolist() == [False, False, True, False, False, False]


def test_the_bilinear_critic():
    context, key, weight = draw(B, 3), draw(B, D, seed=1), draw(D, 3, seed=2)
    scores = np.array([[key[j] @ weight @ context[i] for j in range(B)] for i in range(B)])
    losses = np.log(np.exp(scores).sum(axis=1)) - np.diag(scores)
    got = bilinear_info_nce(context, key, weight, reduction="none").numpy()
    np.testing.assert_allclose(got, losses)
    assert_same(
        bilinear_info_nce,
        lambda c, z, w: torch.nn.functional.cross_entropy(c @ w.T @ z.T, torch.arange(B)),
        context, key, weight,
    )  # fmt: skip
    gradcheck(lambda *a: bilinear_info_nce(*a, reduction="none"), [context, key, weight])
    other, square = draw(B, D, seed=3), draw(D, D, seed=4)  # W is not its transpose
    scores = other @ square.T @ key.T
    expected = np.mean(np.log(np.exp(scores).sum(axis=1)) - np.diag(scores))
    assert bilinear_info_nce(other, key, square).item() == pytest.approx(expected)
    same = bilinear_info_nce(draw(B, D), key, np.eye(D) / 0.3).item()  # W = 1/τ: inner products
    assert same == pytest.approx(info_nce(draw(B, D), key, temperature=0.3, normalize=False).item())
    with pytest.raises(ValueError, match=r"weight has shape \(3, 5\), expected .* \(5, 3\)"):
        bilinear_info_nce(context, key, weight.T)


def test_the_bound_is_below_the_information_and_below_the_logarithm():
    """Pairs of a known joint distribution, with the best critic: ln p(y | x) / p(y)."""
    generator, rho, width = np.random.default_rng(0), 0.9, 2
    information = -0.5 * width * math.log(1 - rho**2)
    bounds = []
    for candidates in (4, 64, 512):
        x = generator.standard_normal((20, candidates, width))
        y = rho * x + math.sqrt(1 - rho**2) * generator.standard_normal(x.shape)
        found = []
        for a, b in zip(x, y):
            gaps = np.sum((b[None] - rho * a[:, None]) ** 2, axis=2) / (1 - rho**2)
            scores = -0.5 * gaps + 0.5 * np.sum(b**2, axis=1)
            losses = np.log(np.exp(scores).sum(axis=1)) - np.diag(scores)
            found.append(information_bound(losses.mean(), candidates))
        bounds.append(np.mean(found))
        assert bounds[-1] < min(information + 0.05, math.log(candidates))
    assert np.all(np.diff(bounds) > 0)
    assert bounds[-1] == pytest.approx(information, abs=0.1)
    assert information_bound(0.0, 8) == math.log(8)
    assert math.isnan(information_bound(math.nan, 8))
    with pytest.raises(ValueError, match="candidates is 0"):
        information_bound(1.0, 0)


def test_a_hard_negative_pulls_its_own_query_only():
    query, key, negatives = draw(B, D), draw(B, D, seed=1), draw(B, N, D, seed=2)
    cotangent = np.eye(B)[2]
    _, (q, k, n) = of_ours(
        lambda *a: info_nce(*a[:2], temperature=0.5, negatives=a[2], reduction="none"),
        query, key, negatives, cotangent=cotangent,
    )  # fmt: skip
    assert n[2].any()
    assert not n[[0, 1, 3, 4, 5]].any()
    assert q[2].any()
    assert not q[[0, 1, 3, 4, 5]].any()
    assert k.any(axis=1).all()

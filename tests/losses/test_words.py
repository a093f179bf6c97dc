"""The losses of word vectors: by hand, against torch, and what they are least at."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from minissl.autograd import Tensor, gradcheck
from minissl.losses.words import glove, glove_weights, negative_sampling, noise_contrastive
from minissl.text.cooccurrence import Cooccurrences, pointwise_mutual_information
from tests.autograd.compare import ours, to_float64

libraries = pytest.mark.parametrize("library", [np.array, torch.tensor], ids=["numpy", "torch"])


def vectors(batch=5, k=3, width=4, seed=0, dtype=np.float64):
    generator = np.random.default_rng(seed)
    shapes = ((batch, width), (batch, width), (batch, k, width))
    return [generator.standard_normal(shape).astype(dtype) for shape in shapes]


def log_noise(batch=5, k=3, seed=1):
    generator = np.random.default_rng(seed)
    return np.log(generator.random(batch)), np.log(generator.random((batch, k)))


def softplus(x):
    return math.log1p(math.exp(x))


# ---- negative sampling and noise-contrastive estimation -----------------------------------------


def test_two_pairs_by_hand():
    center, context = [[1.0, 2.0], [0.0, -1.0]], [[3.0, -1.0], [1.0, 1.0]]  # w·c = 1 and −1
    negatives = [[[0.0, 0.0], [1.0, 1.0]], [[0.0, 2.0], [5.0, 0.0]]]  # 0, 3 and −2, 0
    first = softplus(-1) + softplus(0) + softplus(3)
    second = softplus(1) + softplus(-2) + softplus(0)
    loss = negative_sampling(center, context, negatives)
    assert loss.shape == ()
    assert loss.item() == pytest.approx((first + second) / 2, rel=1e-6)
    # q = 1/4 and 1/8 of the contexts, 1/2 of all negatives, k = 2: s − log(k q)
    first = softplus(-1 + math.log(1 / 2)) + softplus(0) + softplus(3)
    second = softplus(1 + math.log(1 / 4)) + softplus(-2) + softplus(0)
    noise = np.log([1 / 4, 1 / 8]), np.log(np.full((2, 2), 1 / 2))
    loss = noise_contrastive(center, context, negatives, *noise)
    assert loss.item() == pytest.approx((first + second) / 2, rel=1e-6)


@libraries
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-12), (np.float32, 2e-6)])
@pytest.mark.parametrize("estimate", [negative_sampling, noise_contrastive])
def test_both_equal_torch(estimate, dtype, rtol, library):
    given_ = vectors(dtype=dtype)
    noise = log_noise() if estimate is noise_contrastive else ()
    w, c, n = theirs = [torch.tensor(a.astype(np.float64), requires_grad=True) for a in given_]
    scores = torch.cat([(w * c).sum(1, keepdim=True), torch.einsum("bw,bkw->bk", w, n)], 1)
    if noise:
        q = torch.cat([torch.tensor(noise[0])[:, None], torch.tensor(noise[1])], 1)
        scores = scores - q - math.log(3)
    expected = (F.softplus(-scores[:, 0]) + F.softplus(scores[:, 1:]).sum(1)).mean()
    expected.backward()
    loss, gradients = ours(lambda *v: estimate(*v, *noise), [library(a) for a in given_])
    assert str(loss.dtype).endswith(np.dtype(dtype).name)
    assert float(loss) == pytest.approx(expected.item(), rel=rtol)
    for mine, other in zip(gradients, theirs, strict=True):
        assert str(mine.dtype).endswith(np.dtype(dtype).name)
        np.testing.assert_allclose(to_float64(mine), other.grad.numpy(), rtol=rtol, atol=rtol)


def test_both_have_the_gradients_of_finite_differences():
    gradcheck(negative_sampling, vectors())
    gradcheck(lambda *v: noise_contrastive(*v, *log_noise()), vectors())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), step=st.floats(0.01, 1))
def test_nearer_positives_and_farther_negatives_lower_both(seed, step):
    center, context, negatives = vectors(seed=seed)
    noise = log_noise(seed=seed)
    for estimate, extra in ((negative_sampling, ()), (noise_contrastive, noise)):
        before = estimate(center, context, negatives, *extra).item()
        assert estimate(center, context + step * center, negatives, *extra).item() < before
        farther = negatives - step * center[:, None]
        assert estimate(center, context, farther, *extra).item() < before


SEEN = np.array([[4, 1], [1, 2]])  # how often each pair of a world of two words was seen


def scores_after_training(estimate, k, noise=None):
    """The scores S[w, c] of least loss, over all pairs and all noise in their exact shares."""
    pairs = [(w, c) for w in range(2) for c in range(2) for _ in range(SEEN[w, c])]
    drawn = np.repeat([0, 1], noise)
    grids = [np.array(g).reshape(-1) for g in np.meshgrid(range(len(pairs)), *[drawn] * k)]
    w, c = np.array(pairs)[grids[0]].T
    n = np.stack(grids[1:], axis=1)
    log_q = np.log(np.asarray(noise) / np.sum(noise))
    extra = (log_q[c], log_q[n]) if estimate is noise_contrastive else ()
    table, words = np.zeros((2, 2)), np.eye(2)
    for _ in range(400):
        s = Tensor(table, requires_grad=True)
        estimate(s[w], words[c], words[n], *extra).backward()
        table = table - 6 / k * s.grad
    assert abs(s.grad).max() < 1e-9
    return table, log_q


@pytest.mark.parametrize("k", [1, 2])
def test_negative_sampling_is_least_at_the_mutual_information_less_log_k(k):
    rows, columns = np.divmod(np.arange(4), 2)
    pairs = Cooccurrences(rows, columns, SEEN.reshape(-1).astype(float))
    information = pointwise_mutual_information(pairs, 2).reshape(2, 2)
    scores, _ = scores_after_training(negative_sampling, k, noise=SEEN.sum(axis=0))
    np.testing.assert_allclose(scores, information - math.log(k), atol=1e-6)
    scores, log_q = scores_after_training(negative_sampling, k, noise=[1, 1])  # other noise
    likely = np.log(SEEN / SEEN.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(scores, likely - log_q - math.log(k), atol=1e-6)


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("noise", [[1, 1], [1, 3]])
def test_noise_contrastive_estimation_is_least_at_the_log_probability(k, noise):
    scores, _ = scores_after_training(noise_contrastive, k, noise)
    np.testing.assert_allclose(scores, np.log(SEEN / SEEN.sum(axis=1, keepdims=True)), atol=1e-6)


def test_the_nce_gradient_becomes_that_of_the_likelihood():
    """∂/∂s of −Σ p log softmax(s) is softmax(s) − p; the distance falls as 1/k."""
    seen, noise = np.array([1, 2, 3, 4]), np.array([4, 3, 2, 1]) / 10
    model = np.array([0.1, 0.4, 0.3, 0.2])  # Σ eˢ is 1
    contexts, words = np.repeat(np.arange(4), seen), np.eye(4)
    far = {}
    for estimate in (noise_contrastive, negative_sampling):
        for k in (10, 100, 1000):
            drawn = np.tile(np.repeat(np.arange(4), (noise * k).round().astype(int)), (10, 1))
            log_q = np.log(noise)
            extra = (log_q[contexts], log_q[drawn]) if estimate is noise_contrastive else ()
            s = Tensor(np.log(model)[None], requires_grad=True)
            scores = s + np.zeros((10, 4))
            estimate(scores, words[contexts], words[drawn], *extra).backward()
            far[estimate, k] = abs(s.grad[0] - (model - seen / 10)).max()
    for k in (10, 100):
        ratio = far[noise_contrastive, k] / far[noise_contrastive, 10 * k]
        assert ratio == pytest.approx(10, rel=0.2)
    assert far[noise_contrastive, 1000] < 1e-3
    assert far[negative_sampling, 1000] > 1  # its noise weighs k times, whatever it is


@libraries
def test_many_pairs_in_half_precision(library):
    """Their sum is beyond 65504, and so is each dot product."""
    one = np.full((50_000, 2), 200, np.float16)
    loss, (gradient, *_) = ours(negative_sampling, [library(a) for a in (one, one, one[:, None])])
    assert float(loss) == 80_000
    assert str(loss.dtype).endswith("float32")
    assert str(gradient.dtype).endswith("float16")
    np.testing.assert_allclose(to_float64(gradient), 200 / 50_000, rtol=2e-3)


W, C, N = vectors()
Q, QN = log_noise()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: negative_sampling(W, C[:4], N), ValueError, r"got \(5, 4\), \(4, 4\) and \(5, 3"),
        (lambda: negative_sampling(W, C, N[:, 0]), ValueError, r"negatives \(batch, k, width\)"),
        (lambda: negative_sampling(W, C, N[:, :0]), ValueError, r"and \(5, 0, 4\)"),
        (lambda: negative_sampling(W[:0], C[:0], N[:0]), ValueError, r"got \(0, 4\)"),
        (lambda: negative_sampling(W[0], C[0], N[0]), ValueError, r"expected center and context"),
        (lambda: negative_sampling(W, C, N.astype("f4")), TypeError, "never promoted silently"),
        (lambda: negative_sampling(W.astype(int), C.astype(int), N.astype(int)), TypeError,
         "expected floating arrays, got int64"),
        (lambda: noise_contrastive(W, C, N, Q[:4], QN), ValueError,
         r"context_noise has shape \(4,\), expected \(5,\): the log of the probability"),
        (lambda: noise_contrastive(W, C, N, Q[:, None], QN), ValueError, r"context_noise .*\(5, 1"),
        (lambda: noise_contrastive(W, C, N, Q, QN[:, :2]), ValueError,
         r"negative_noise has shape \(5, 2\), expected \(5, 3\)"),
        (lambda: noise_contrastive(W, C, N, np.exp(Q), QN), ValueError,
         r"context_noise .* above 0, and no probability has that log: pass np.log"),
        (lambda: noise_contrastive(W, C, N, Q, QN - np.inf), ValueError, "negative_noise"),
        (lambda: noise_contrastive(W, C, N, Q, QN * np.nan), ValueError, "not finite"),
        (lambda: noise_contrastive(W, C, N, Tensor(Q, requires_grad=True), QN), TypeError,
         "context_noise is not learned"),
        (lambda: glove(np.zeros(3), [1, 2]), ValueError, r"got \(2,\) for \(3,\)"),
        (lambda: glove(np.zeros((3, 1)), [[1], [2], [3]]), ValueError, r"got \(3, 1\) for \(3, 1"),
        (lambda: glove(np.zeros(0), []), ValueError, r"got \(0,\)"),
        (lambda: glove([1, 2], [1, 2]), TypeError, "glove: expected floating arrays, got int64"),
        (lambda: glove(np.zeros(2), [3, 0]), ValueError,
         "glove: got the count 0.0, expected numbers > 0: a pair that was never seen"),
        (lambda: glove(np.zeros(2), [-3, 1]), ValueError, "got the count -3.0"),
        (lambda: glove(np.zeros(2), [np.nan, 1]), ValueError, "got the count nan"),
        (lambda: glove(np.zeros(2), [1, 2], largest=0), ValueError, "largest and power must be"),
        (lambda: glove(np.zeros(2), Tensor([1.0, 2.0], requires_grad=True)), TypeError,
         "counts is not learned"),
        (lambda: glove_weights([1.0, -2.0]), ValueError,
         "glove_weights: got the count -2.0, expected numbers ≥ 0"),
        (lambda: glove_weights([np.nan]), ValueError, "got the count nan"),
        (lambda: glove_weights([1], power=np.inf), ValueError, "finite, got 100.0, inf"),
        (lambda: glove_weights([1], power=-1), ValueError, "positive and finite"),
        (lambda: glove_weights(["many"]), TypeError, "expected numbers"),
    ],
)  # fmt: skip
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---- GloVe --------------------------------------------------------------------------------------


@libraries
def test_glove_weights(library):
    for dtype in (np.float64, np.float32, np.float16):
        counts = np.array([0, 1, 10, 99.5, 100, 1e4], dtype)
        weights = glove_weights(library(counts))
        assert str(weights.dtype).endswith(np.dtype(dtype).name)
        expected = [0, 0.1**1.5, 0.1**0.75, 0.995**0.75, 1, 1]
        np.testing.assert_allclose(to_float64(weights), expected, rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_allclose(glove_weights(library(np.array([2, 4])), 4, 2), [0.25, 1])
    np.testing.assert_allclose(glove_weights([50], 100, 1), 0.5)


@libraries
@pytest.mark.parametrize("counted", [np.int64, np.float32, np.float64])
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_glove_by_its_formula(dtype, rtol, counted, library):
    counts = np.array([1, 3, 50, 100, 2000], counted)
    predicted = np.random.default_rng(0).standard_normal(5).astype(dtype)
    exact = counts.astype(np.float64)
    log, f = np.log(exact), np.minimum(1, exact / 100) ** 0.75
    error = predicted.astype(np.float64) - log
    loss, (gradient,) = ours(lambda p: glove(p, library(counts)), [library(predicted)])
    assert str(loss.dtype).endswith(np.dtype(dtype).name)
    assert float(loss) == pytest.approx(np.sum(f * error**2) / 10, rel=rtol)
    np.testing.assert_allclose(to_float64(gradient), f * error / 5, rtol=rtol)
    assert glove(log.astype(dtype), counts).item() == pytest.approx(0, abs=1e-12)


def test_glove_has_the_gradient_of_finite_differences():
    gradcheck(lambda p: glove(p, [1, 7, 300], largest=50, power=0.6), [np.array([0.3, 1.0, -2.0])])


def test_glove_of_half_precision_is_float32():
    predicted = np.linspace(0, 5, 300, dtype=np.float16)
    right = glove(predicted.astype(np.float64), np.full(300, 7)).item()
    for given_ in (predicted, torch.tensor(predicted), torch.tensor(predicted).bfloat16().half()):
        loss = glove(given_, np.full(300, 7))
        assert str(loss.dtype).endswith("float32")
        assert loss.item() == pytest.approx(right, rel=1e-2)
    assert glove(predicted, np.full(300, 7)).item() == pytest.approx(right, rel=1e-6)

"""What is not finite, and not masked, makes the result not finite: all operations, both ways.

A NaN that a function turns into a number is a wrong result without a word.
"""

import math

import numpy as np
import pytest
import torch

from minissl.autograd import Tensor, fused
from minissl.autograd import operations as ops
from minissl.nn.attention import MultiHeadAttention
from tests.autograd.cases import CASES
from tests.autograd.compare import ours, random_like, to_float64, torchs
from tests.autograd.fused_cases import FUSED_CASES

nan, inf = math.nan, math.inf
libraries = pytest.mark.parametrize("library", [np.asarray, torch.tensor], ids=["numpy", "torch"])

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy says "invalid value"

PICKS = ("where", "split", "getitem", "take")  # what is not picked is masked
EVERYTHING = [*CASES, *FUSED_CASES]


def test_every_fused_operation_has_a_row():
    assert {case.name.split()[0] for case in FUSED_CASES} == set(fused.__all__)


def floating(arrays):
    return [i for i, array in enumerate(arrays) if array.dtype.kind == "f"]


def run(case, arrays, library):
    """Output and gradients in float64."""
    function = getattr(case, "ours", None) or case.run
    arrays = [library(a) for a in arrays]
    cotangent = library(random_like(function(*map(Tensor, arrays))))
    output, gradients = ours(function, arrays, cotangent)
    return to_float64(output), [to_float64(g) for g in gradients]


def places(array, seed):
    """Some places in an array, the first and the last among them."""
    drawn = np.random.default_rng(seed).integers(0, array.size, 2)
    return {0, array.size - 1, *drawn.tolist()} if array.size else set()


@libraries
@pytest.mark.parametrize("case", EVERYTHING, ids=lambda case: case.name)
def test_nan_in_one_element(case, library):
    arrays = case.inputs(seed=3)
    output, gradients = run(case, arrays, library)
    for i in floating(arrays):
        others = [case.inputs(seed=4)[i] if i == k else a for k, a in enumerate(arrays)]
        linear = all(map(np.array_equal, gradients, run(case, others, library)[1]))
        for place in places(arrays[i], seed=i):
            changed = [a.copy() for a in arrays]
            changed[i].reshape(-1)[place] += 0.25
            unseen = np.array_equal(run(case, changed, library)[0], output)
            if case.name.startswith(PICKS) and unseen:
                continue
            changed[i].reshape(-1)[place] = nan
            with_nan, with_nan_back = run(case, changed, library)
            assert not np.isfinite(with_nan).all(), f"input {i}, element {place}: hidden forwards"
            if not linear:
                hidden = all(np.isfinite(g).all() for g in with_nan_back)
                assert not hidden, f"input {i}, element {place}: hidden in the gradients"


@libraries
@pytest.mark.parametrize("value", [nan, inf, -inf])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_where_torch_is_not_finite(case, value, library):
    """Elementwise: a limit is one (tanh ∞ = 1), and nothing beside what is not finite suffers."""
    arrays = case.inputs(seed=5)
    for i in floating(arrays):
        for place in places(arrays[i], seed=i):
            changed = [a.copy() for a in arrays]
            changed[i].reshape(-1)[place] = value
            cotangent = random_like(case.theirs(*map(torch.tensor, changed)))
            expected, expected_back = torchs(case.theirs, changed, cotangent)
            actual, back = run(case, changed, library)
            np.testing.assert_array_equal(np.isfinite(actual), np.isfinite(to_float64(expected)))
            for mine, theirs in zip(back, expected_back):  # NaN where torch has a number is fine
                assert (np.isfinite(mine) <= np.isfinite(to_float64(theirs))).all()


def test_powers_of_nan():
    """C says that NaN⁰ is 1, and 1 to the power of NaN."""
    for function in (
        lambda a: a**0,
        lambda a: a**2,
        lambda a: a ** Tensor([0.0]),
        lambda a: 1.0**a,
    ):
        x = Tensor([nan], requires_grad=True)
        y = function(x)
        assert math.isnan(y.item())
        y.backward()
        assert math.isnan(x.grad[0])


def test_a_condition_that_is_nan_chooses_neither():
    assert np.isnan(ops.where(np.array([nan, 0, 2]), 1.0, 3.0).array).tolist() == [
        True,
        False,
        False,
    ]


# ---- what is masked -----------------------------------------------------------------------------


def attend(arrays, library, **options):
    cotangent = np.random.default_rng(9).standard_normal(arrays[0].shape)
    cotangent[:, :, options.pop("first", 99) :] = 0  # only the first queries count
    output, gradients = ours(
        lambda *t: fused.attention(*t, **options), [library(a) for a in arrays], library(cotangent)
    )
    return to_float64(output), [to_float64(g) for g in gradients]


@libraries
@pytest.mark.parametrize("which", [1, 2], ids=["key", "value"])
@pytest.mark.parametrize("value", [nan, inf])
@pytest.mark.parametrize("causal", [False, True])
def test_padding_reaches_nobody(which, value, causal, library):
    arrays = [np.random.default_rng(i).standard_normal((2, 2, 4, 3)) for i in range(3)]
    options = {"key_lengths": [2, 4], "causal": causal}
    expected, expected_back = attend(arrays, library, **options)
    arrays[which][0, :, 2:] = value
    output, gradients = attend(arrays, library, **options)
    np.testing.assert_allclose(output, expected, rtol=1e-12)
    for gradient, other in zip(gradients, expected_back, strict=True):
        np.testing.assert_allclose(gradient, other, rtol=1e-12, atol=1e-15)


@libraries
@pytest.mark.parametrize("which", [1, 2], ids=["key", "value"])
@pytest.mark.parametrize("times", [(4, 4), (2, 4), (6, 4)])
@pytest.mark.parametrize("lengths", [None, [4, 3]])
def test_the_future_reaches_nobody(which, times, lengths, library):
    """Row 2 of the keys is NaN: queries that stand before it neither see nor feel it."""
    queries, keys = times
    before = 2 - (keys - queries)  # so many queries do not see key 2
    shapes = [(2, 2, queries, 3), (2, 2, keys, 3), (2, 2, keys, 3)]
    arrays = [np.random.default_rng(i).standard_normal(s) for i, s in enumerate(shapes)]
    options = {"key_lengths": lengths, "causal": True, "first": max(before, 0)}
    expected, expected_back = attend(arrays, library, **options)
    arrays[which][:, :, 2] = nan
    output, gradients = attend(arrays, library, **options)
    seen = max(before, 0)
    np.testing.assert_allclose(output[:, :, :seen], expected[:, :, :seen], rtol=1e-12)
    assert np.isnan(output[:, :, seen:]).all()
    # A gradient of 0 is rounding in one of the two: a query that sees one key has p (g - g) there.
    np.testing.assert_allclose(
        gradients[0][:, :, :seen], expected_back[0][:, :, :seen], rtol=1e-12, atol=1e-14
    )


def test_scores_beyond_the_dtype_are_not_an_empty_mask():
    big = np.full((1, 1, 2, 2), 1e30, np.float32)
    for options in ({}, {"causal": True}, {"key_lengths": [2]}):
        assert not np.isfinite(fused.attention(-big, big, big, **options).array).all()
    layer = MultiHeadAttention(2, 1, generator=np.random.default_rng(0))
    assert np.isnan(layer.weights(Tensor(big[0] * 1e8))).any()


@libraries
def test_an_ignored_target_reaches_nobody(library):
    logits = np.random.default_rng(0).standard_normal((3, 4))
    logits[1] = nan
    targets = np.array([1, -100, 2])
    loss, (gradient,) = ours(lambda x: fused.cross_entropy(x, targets), [library(logits)])
    kept, (expected,) = ours(lambda x: fused.cross_entropy(x, targets[::2]), [library(logits[::2])])
    assert float(loss) == pytest.approx(float(kept), rel=1e-12)
    np.testing.assert_allclose(to_float64(gradient)[::2], to_float64(expected), rtol=1e-12)
    assert not to_float64(gradient)[1].any()


def test_a_nan_cannot_be_dropped():
    for seed in range(8):
        x = fused.dropout(Tensor([nan, 1.0]), 0.5, np.random.default_rng(seed))
        assert np.isnan(x.array[0])
        assert np.isfinite(x.array[1])

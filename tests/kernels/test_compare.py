"""The tolerance rule itself."""

import numpy as np
import pytest
import torch

from tests.kernels import compare
from tests.kernels.compare import assert_as_accurate, assert_same_sums, dot_factor, float64


def example(dtype=torch.float32):
    """A sum of float32 products, its float64 value, and nothing in common with chance."""
    x = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)).to(dtype)
    return x @ x, (x.double() @ x.double()).numpy()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_the_peer_itself_passes(dtype):
    peer, reference = example(dtype)
    assert_as_accurate(peer, reference, peer)


def test_a_little_worse_passes_and_three_times_worse_fails():
    peer, reference = example(torch.bfloat16)
    error = float64(peer) - reference
    for factor, ok in ((1.5, True), (3.0, False)):
        ours = torch.from_numpy(reference + factor * error)
        if ok:
            check = (ours, reference, torch.from_numpy(reference + error))
            assert_as_accurate(*check)
        else:
            with pytest.raises(AssertionError, match=r"product: error .* allowed"):
                assert_as_accurate(
                    ours, reference, torch.from_numpy(reference + error), what="product"
                )


def test_a_larger_factor_allows_more():
    peer, reference = example()
    error = 3 * (float64(peer) - reference)
    ours = torch.from_numpy((reference + error).astype(np.float32))
    with pytest.raises(AssertionError):
        assert_as_accurate(ours, reference, peer)
    assert_as_accurate(ours, reference, peer, factor=4)


def test_an_exact_peer_allows_two_roundings():
    """Torch may be exact by luck; then the dtype's own resolution decides."""
    peer = torch.full((4,), 2.0)
    reference = np.full(4, 2.0)
    eps = torch.finfo(torch.float32).eps
    assert_as_accurate(peer + 4 * eps, reference, peer, factor=1)
    with pytest.raises(AssertionError):
        assert_as_accurate(peer + 6 * eps, reference, peer, factor=1)


def test_one_wrong_element_fails():
    peer, reference = example()
    ours = peer.clone()
    ours[3, 5] += 1e-3
    with pytest.raises(AssertionError):
        assert_as_accurate(ours, reference, peer)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_not_finite(bad):
    peer, reference = example()
    ours = peer.clone()
    ours[0, 0] = bad
    with pytest.raises(AssertionError, match="NaN or infinity"):
        assert_as_accurate(ours, reference, peer)
    with pytest.raises(AssertionError, match="the reference is not finite"):
        assert_as_accurate(peer, float64(ours), peer)
    with pytest.raises(AssertionError, match="the peer is not finite"):
        assert_as_accurate(peer, reference, ours)


def test_shapes_and_dtypes():
    peer, reference = example()
    with pytest.raises(AssertionError, match=r"torch.Size\(\[64, 1\]\), expected"):
        assert_as_accurate(peer[:, :1], reference, peer)
    with pytest.raises(AssertionError, match=r"torch.float64, expected torch.float32"):
        assert_as_accurate(peer.double(), reference, peer)


def test_nothing_to_compare():
    assert_as_accurate(torch.zeros(0, 3), np.zeros((0, 3)), torch.zeros(0, 3))


def in_three_products(a, b):
    """a · b as tl.dot's "tf32x3" has it, but for the rounding of the sum."""

    def eleven_bits(x, add):
        return ((x.view(np.int32) + add) & ~0x1FFF).view(np.float32)

    parts = []
    for x in (a, b):
        high = eleven_bits(x, 0x1000)  # cvt.rna.tf32 rounds; the tensor core cuts off
        parts += [high.astype(np.float64), eleven_bits(x - high, 0).astype(np.float64)]
    a_high, a_low, b_high, b_low = parts
    return a_high * b_high + a_high * b_low + a_low * b_high


def test_three_tf32_products_err_by_what_their_factor_says():
    """At most 8 units of 2^-24, and most of that does happen."""
    numbers = np.float32([1, 1 + 2**-11 - 2**-23, 1 + 2**-12 + 2**-23, 1.5, 1.999])
    drawn = np.random.default_rng(0).uniform(1, 2, 2000).astype(np.float32)
    a, b = np.meshgrid(*[np.concatenate([numbers, drawn])] * 2)
    exact = a.astype(np.float64) * b.astype(np.float64)
    error = np.abs(in_three_products(a, b) - exact) / exact
    assert 6 * 2**-24 < error.max() <= 8 * 2**-24


def test_where_the_factor_of_tf32x3_holds(monkeypatch):
    monkeypatch.setattr(torch.version, "hip", None)
    for interpreted, there in ((True, 1.0), (False, compare.TF32X3)):
        monkeypatch.setattr(compare, "interpreted", lambda answer=interpreted: answer)
        assert dot_factor(torch.float32) == there
        assert dot_factor(torch.bfloat16) == dot_factor(torch.float16) == 1.0
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert dot_factor(torch.float32) == 1.0


def test_the_same_sum_in_another_order():
    ours = torch.tensor([1.0, -3.0])
    for ulps, ok in ((0, True), (4, True), (8, False)):
        other = ours + ulps * torch.tensor([2**-23, 0])
        if ok:
            assert_same_sums(ours, other)
        else:
            with pytest.raises(AssertionError):
                assert_same_sums(ours, other)

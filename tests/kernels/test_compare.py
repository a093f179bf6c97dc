"""The tolerance rule itself."""

import numpy as np
import pytest
import torch

from tests.kernels.compare import assert_as_accurate, float64


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

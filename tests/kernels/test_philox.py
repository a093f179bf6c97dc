"""The NumPy generator against Triton's and NumPy's own Philox constants."""

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from minissl_kernels.philox import dropout_threshold, philox


@triton.jit
def draw(out, seed, c1, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    zero = tl.zeros((BLOCK,), tl.uint32)
    r0, r1, r2, r3 = tl.philox(seed, at.to(tl.uint32), zero + c1, zero + 3, zero)
    tl.store(out + at, r0.to(tl.int64), mask=at < n)
    tl.store(out + n + at, r1.to(tl.int64), mask=at < n)
    tl.store(out + 2 * n + at, r2.to(tl.int64), mask=at < n)
    tl.store(out + 3 * n + at, r3.to(tl.int64), mask=at < n)


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**40 + 17, 2**63 - 1])
@pytest.mark.parametrize("row", [0, 1, 2**31 - 1])
def test_the_same_bits_as_triton(device, seed, row):
    n = 37
    out = torch.empty(4 * n, dtype=torch.int64, device=device)
    draw[(2,)](out, seed, row, n, BLOCK=32)
    expected = philox(seed, np.arange(n), row, 3, 0)
    assert np.array_equal(out.cpu().numpy().reshape(4, n), expected.astype(np.int64))


def test_known_answers():
    """Random123's published vectors: counter and key all zeros, and all ones."""
    zeros = philox(0, 0, 0, 0, 0)
    ones = philox(2**64 - 1, *[2**32 - 1] * 4)
    assert [f"{x:08x}" for x in zeros] == ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]
    assert [f"{x:08x}" for x in ones] == ["408f276d", "41c83b0e", "a20bc7c6", "6d5451fd"]


def test_threshold_keeps_the_fraction():
    assert dropout_threshold(0.0) == 0
    bits = philox(5, np.arange(100_000), 0, 0, 0)[0]
    assert abs((bits >= dropout_threshold(0.3)).mean() - 0.7) < 0.005
    with pytest.raises(ValueError, match="must be in"):
        dropout_threshold(1.0)

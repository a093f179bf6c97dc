"""The claim about the memory of attention: its tiles are right, and the peak is the peak."""

import numpy as np
import pytest

from minissl.autograd import Tensor, composed, fused
from minissl.claims.claim import Setup
from minissl.claims.experiments.kernels import attention_memory
from tests.claims.reading import cells, require_whole

NAMES = ("attention-memory",)
SEEDS = [0, 1]


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_runs_from_end_to_end(runs, name):
    result, folder = runs(name)
    require_whole(name, result, folder)


@pytest.mark.parametrize("causal_mask", [True, False])
@pytest.mark.parametrize("length", [5, attention_memory.TILE, 2 * attention_memory.TILE + 17])
def test_tiled_attention_and_its_gradients(causal_mask, length):
    generator = np.random.default_rng(length)
    arrays = 3 * generator.standard_normal((4, 2, 3, length, 8))
    results = []
    for attention in (attention_memory.tiled_attention, composed.attention, fused.attention):
        tensors = [Tensor(array, requires_grad=True) for array in arrays[:3]]
        output = attention(*tensors, causal=causal_mask)
        output.backward(arrays[3])
        results.append([output.array, *(tensor.grad for tensor in tensors)])
    for tiled, naive, library in zip(*results):
        np.testing.assert_allclose(tiled, naive, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(tiled, library, rtol=1e-9, atol=1e-10)


def test_tiles_never_hold_the_matrix():
    length = 1024
    inputs = attention_memory.random_inputs(Setup(0, {"heads": 1, "head_dim": 8}), length, "cpu")
    matrix = length * length * 4 / 1e6  # MB
    ways = attention_memory.ways("cpu")
    peaks = {
        name: attention_memory.peak_megabytes(way, inputs, "cpu") for name, way in ways.items()
    }
    assert peaks[attention_memory.TILED] < 0.3 * matrix
    assert peaks[attention_memory.ONE] > matrix
    assert peaks[attention_memory.NAIVE] > 3 * matrix


def test_the_peak_is_what_was_allocated_beyond_the_inputs():
    compiled = []

    def wasteful(query, key, value, causal):
        if not compiled:
            compiled.append(np.ones(10**7))  # 80 MB, once, as a compiler might
        first = np.ones(10**6)  # 8 MB
        second = 2 * first  # and 8 more, before both are freed
        return query + key + value + 0 * float(second[0])

    inputs = attention_memory.random_inputs(Setup(0, {"heads": 1, "head_dim": 8}), 16, "cpu")
    assert attention_memory.peak_megabytes(wasteful, inputs, "cpu") == pytest.approx(16, abs=0.1)


def test_growth_is_that_of_the_last_doublings(runs):
    result = runs("attention-memory")[0]
    growth = cells(result, "memory per doubling (×)")
    for row, curve in (
        (attention_memory.NAIVE, result["curves"][0][f"MB, {attention_memory.NAIVE}"]),
        (attention_memory.TILED, result["curves"][0][f"MB, {attention_memory.TILED}"]),
    ):
        _, memory = curve
        assert growth[row][0] == pytest.approx((memory[-1] / memory[-3]) ** 0.5)
    assert growth[attention_memory.NAIVE][0] > 3
    assert growth[attention_memory.TILED][0] < 2.5

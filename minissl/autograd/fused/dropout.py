"""Dropout (Srivastava et al., 2014). Lecture 06."""

import numpy as np

from minissl.autograd.arrays import namespace
from minissl.autograd.fused import gpu
from minissl.autograd.tensor import Tensor


def dropout(x: Tensor, p: float, generator: np.random.Generator) -> Tensor:
    """Each value becomes 0 with probability p; the others grow by 1/(1 − p).

    The mask is drawn from ``generator``: on the CPU by itself, on a GPU by a kernel whose seed it
    draws, so that the two devices drop different values. A NaN stays NaN, dropped or not: chance
    must not hide it. Raises ValueError for p outside [0, 1).
    """
    if not 0 <= p < 1:
        raise ValueError(f"dropout: the probability must be in [0, 1), got {p}")
    array = x.array
    if gpu.runs_kernels(array):
        return gpu.dropout(x, p=p, seed=int(generator.integers(2**63)))
    kept = generator.random(x.shape, dtype=np.float32) >= p
    scale = kept.astype(np.float32) * np.float32(1 / (1 - p))
    return x * namespace(array).asarray(scale, dtype=array.dtype, device=array.device)

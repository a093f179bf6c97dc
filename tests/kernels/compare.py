"""The tolerance rule: as accurate as torch in the same dtype, measured against float64."""

import numpy as np
import torch
from minissl_kernels.launch import interpreted

TF32X3 = 3.0
"""How much more than the rule allows a float32 product by ``tl.dot`` may err on a GPU.

Tensor cores multiply numbers of 11 bits (TF32). A float32 is cut into hi, the nearest of them, and
lo = x − hi, at most 2^-11 of x, whose last bit is lost (2^-23); a·b becomes hi·hi + hi·lo + lo·hi.
lo·lo (2^-22) and the two lost bits (2^-23 each) are left out: 2^-21 of |a·b| together, 8 units of
2^-24. And what tensor cores add up is cut off, not rounded, which errs twice as much. The rule has
4 units: with 8 for the products and 4 more for the sum, three times that.
"""


def dot_factor(dtype):
    """What the factor of the rule is multiplied by for a kernel that takes products by tl.dot."""
    on_tensor_cores = not interpreted() and not torch.version.hip
    return TF32X3 if dtype == torch.float32 and on_tensor_cores else 1.0


def float64(tensor):
    """A float64 NumPy copy of a torch tensor of any dtype and device."""
    return tensor.detach().to("cpu", torch.float64).numpy()


def assert_as_accurate(ours, reference, peer, factor=2.0, what="result"):
    """Each |ours − reference| is at most ``factor`` × the largest |peer − reference|.

    ``reference`` is float64 from NumPy, ``peer`` the same computation by torch in the dtype of
    ``ours``. Where the peer happens to be exact, two roundings of the largest value are allowed.
    A shape, dtype or NaN that differs fails.
    """
    assert ours.shape == tuple(reference.shape), f"{what}: {ours.shape}, expected {reference.shape}"
    assert ours.dtype == peer.dtype, f"{what}: {ours.dtype}, expected {peer.dtype}"
    if not ours.numel():
        return
    ours64, peer64 = float64(ours), float64(peer)
    assert np.isfinite(reference).all(), f"{what}: the reference is not finite"
    assert np.isfinite(peer64).all(), f"{what}: the peer is not finite, so it allows any error"
    assert np.isfinite(ours64).all(), f"{what}: NaN or infinity"
    rounding = 2 * torch.finfo(ours.dtype).eps * np.abs(reference).max()
    allowed = factor * max(np.abs(peer64 - reference).max(), rounding)
    error = np.abs(ours64 - reference).max()
    assert error <= allowed, (
        f"{what}: error {error:.2e}, allowed {allowed:.2e} "
        f"({factor} x torch's in {ours.dtype}, or two roundings)"
    )


def assert_same_sums(ours, other, what="result"):
    """Within two roundings of the largest value.

    Rows that begin elsewhere in a vector of 16 bytes are cut elsewhere, and a GPU compiles launches
    apart whose pointers or strides differ in what divides them (by 16, or not): the same numbers
    are then added in another order.
    """
    ours64, other64 = float64(ours), float64(other)
    allowed = 2 * torch.finfo(ours.dtype).eps * np.abs(other64).max(initial=0)
    error = np.abs(ours64 - other64).max(initial=0)
    assert error <= allowed, f"{what}: {error:.2e} apart, allowed {allowed:.2e}"

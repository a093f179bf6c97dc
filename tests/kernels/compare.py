"""The tolerance rule: as accurate as torch in the same dtype, measured against float64."""

import numpy as np
import torch


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

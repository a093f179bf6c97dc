"""Every fused operation at one choice of settings, with small inputs: for what must hold of all."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minissl.autograd import Tensor, fused
from minissl.autograd import operations as ops
from tests.autograd.fused_checks import draw


@dataclass(frozen=True)
class FusedCase:
    """``name``: of the function in ``fused``, and what is special about the settings."""

    name: str
    run: Callable[..., Tensor]
    shapes: tuple[tuple[int, ...], ...]

    def inputs(self, seed: int = 0) -> list[np.ndarray]:
        return [draw(*shape, seed=seed + i) for i, shape in enumerate(self.shapes)]


_QKV = ((2, 2, 3, 4),) * 3
_IMAGES = ((2, 5, 4, 3), (2, 3, 3, 3), (2,))
_ROWS = np.array([2, 0, 1])
_SEEN, _NOISE = draw(3, 4, seed=90) ** 2, draw(3, 4, seed=91) ** 2
_LSTM = ((2, 3, 2), (12, 2), (12, 3), (12,), (12,), (2, 3), (2, 3))
_GRU = ((2, 3, 2), (9, 2), (9, 3), (9,), (9,), (2, 3))


def all_of_lstm(*inputs):
    """Both of its outputs as one: (batch, time + 1, hidden)."""
    outputs, c = fused.lstm(*inputs)
    return ops.concatenate([outputs, ops.expand_dims(c, axis=1)], axis=1)


FUSED_CASES = [
    FusedCase("gelu", fused.gelu, ((3, 4),)),
    FusedCase("gelu exact", lambda x: fused.gelu(x, "none"), ((3, 4),)),
    FusedCase("layer_norm", fused.layer_norm, ((3, 4), (4,), (4,))),
    FusedCase("unit_vectors", fused.unit_vectors, ((3, 4),)),
    FusedCase("attention", fused.attention, _QKV),
    FusedCase("attention causal", lambda *t: fused.attention(*t, causal=True), _QKV),
    FusedCase("attention lengths", lambda *t: fused.attention(*t, key_lengths=[3, 3]), _QKV),
    FusedCase("attention dropout", lambda *t: fused.attention(*t, dropout=0.5, seed=0), _QKV),
    FusedCase("self_attention", lambda x: fused.self_attention(x, 2, causal=True), ((2, 3, 12),)),
    FusedCase("cross_entropy", lambda x: fused.cross_entropy(x, _ROWS), ((3, 4),)),
    FusedCase(
        "cross_entropy none",
        lambda x: fused.cross_entropy(x, _ROWS, reduction="none", label_smoothing=0.1),
        ((3, 4),),
    ),
    FusedCase(
        "contrastive_cross_entropy",
        lambda q, k: fused.contrastive_cross_entropy(q, k, temperature=0.5),
        ((3, 4), (3, 4)),
    ),
    FusedCase("conv2d", lambda *t: fused.conv2d(*t, padding=1), _IMAGES),
    FusedCase("conv2d relu", lambda *t: fused.conv2d(*t, relu=True), _IMAGES),
    FusedCase("max_pool2d", lambda x: fused.max_pool2d(x, 2, padding=1), ((2, 4, 4, 3),)),
    FusedCase("avg_pool2d", lambda x: fused.avg_pool2d(x, 2), ((2, 4, 4, 3),)),
    FusedCase("lstm", all_of_lstm, _LSTM),
    FusedCase("gru", fused.gru, _GRU),
    FusedCase("logistic_loss", lambda x: fused.logistic_loss(x, _SEEN, _NOISE), ((3, 4),)),
    FusedCase("dropout", lambda x: fused.dropout(x, 0.5, np.random.default_rng(0)), ((3, 4),)),
]

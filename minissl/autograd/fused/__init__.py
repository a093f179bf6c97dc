"""Fused operations: several primitives in one step, with a gradient derived by hand.

Each computes what the function of the same name in ``minissl.autograd.composed`` says, faster and
with fewer temporaries. On NumPy arrays it runs the tuned code here, elsewhere the composition.
"""

from minissl.autograd.fused.activations import gelu
from minissl.autograd.fused.attention import attention, self_attention
from minissl.autograd.fused.contrastive import contrastive_cross_entropy
from minissl.autograd.fused.convolution import avg_pool2d, conv2d, max_pool2d
from minissl.autograd.fused.cross_entropy import cross_entropy
from minissl.autograd.fused.dropout import dropout
from minissl.autograd.fused.logistic import logistic_loss
from minissl.autograd.fused.normalization import layer_norm, unit_vectors
from minissl.autograd.fused.recurrent import gru, lstm

__all__ = [
    "attention",
    "avg_pool2d",
    "contrastive_cross_entropy",
    "conv2d",
    "cross_entropy",
    "dropout",
    "gelu",
    "gru",
    "layer_norm",
    "logistic_loss",
    "lstm",
    "max_pool2d",
    "self_attention",
    "unit_vectors",
]

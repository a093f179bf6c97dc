"""Optimizers: how parameters follow their gradients. Lectures 01 and 06."""

from minissl.optim.adagrad import AdaGrad
from minissl.optim.adamw import AdamW
from minissl.optim.clip import clip_grad_norm, grad_norm
from minissl.optim.optimizer import Optimizer
from minissl.optim.schedule import constant, warmup_cosine, warmup_linear
from minissl.optim.sgd import SGD

__all__ = [
    "SGD",
    "AdaGrad",
    "AdamW",
    "Optimizer",
    "clip_grad_norm",
    "constant",
    "grad_norm",
    "warmup_cosine",
    "warmup_linear",
]

"""Reverse-mode automatic differentiation on NumPy (and torch) arrays. Lecture 02.

Read in this order: ``tensor`` (what a gradient is), ``elementwise`` (rules as formulas), the other
operations, ``gradcheck`` (how to know that a rule is right), ``composed`` and ``fused``.
"""

from minissl.autograd.checked import checked
from minissl.autograd.gradcheck import gradcheck
from minissl.autograd.recording import no_grad
from minissl.autograd.tensor import Tensor

__all__ = ["Tensor", "checked", "gradcheck", "no_grad"]

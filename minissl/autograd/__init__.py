"""Reverse-mode automatic differentiation on NumPy (and torch) arrays. Lecture 02.

Read in this order: ``tensor`` (what a gradient is), ``elementwise`` (rules as formulas), the other
operations, ``gradcheck`` (how to know that a rule is right), ``composed`` and ``fused``.
"""

from minissl.autograd.gradcheck import gradcheck
from minissl.autograd.tensor import Tensor, no_grad

__all__ = ["Tensor", "gradcheck", "no_grad"]

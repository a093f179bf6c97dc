"""Softmax cross-entropy on given logits: one pass over them forward, two backward. Lectures 05, 12.

A vocabulary has up to 262,144 words, so the logits are the largest array of a language model and
the loss costs what it takes to move them. The forward reads each logit once, with the softmax's
maximum and sum kept up to date on the way (Milakov and Gimelshein, "Online normalizer calculation
for softmax", 2018), and keeps four numbers per row. The backward reads each logit once more and
writes the gradient, over the logits themselves where that is allowed.

``reference.py`` is the formula in NumPy, ``tiles.py`` the walk over a row, ``labels.py`` and
``probabilities.py`` the kernels of the two kinds of target, ``reduction.py`` the loss of the batch,
``operator.py`` what PyTorch sees.
"""

from minissl_kernels.cross_entropy.operator import OPERATORS, cross_entropy
from minissl_kernels.cross_entropy.reference import reference

__all__ = ["OPERATORS", "cross_entropy", "reference"]

"""Attention by the FlashAttention algorithm: exact, in memory that grows with the time only.

Attention stores nothing of size query_time x key_time. The forward pass walks along the keys with
a running softmax; the backward pass recomputes the weights from one number per row, the
log-sum-exp (Dao, Fu, Ermon, Rudra and Ré, 2022; Dao, 2023). In the order to read them:

1. ``reference``: what is computed, in NumPy float64.
2. ``forward``: the kernel of lecture 07; ``masks`` says which keys a query sees, ``tiles`` loads.
3. ``row_sums`` and ``backward``: the kernels of the gradients; ``bias``: the gradient of a bias.
4. ``operator``: the public function, its checks and its autograd.
"""

from minissl_kernels.attention.operator import OPERATORS, attention
from minissl_kernels.attention.reference import keep_mask

__all__ = ["OPERATORS", "attention", "keep_mask"]

"""Triton kernels for PyTorch tensors: functions with their gradients, and AdamW's update.

    from minissl_kernels.attention import attention
    from minissl_kernels.cross_entropy import cross_entropy
    from minissl_kernels.linear_cross_entropy import linear_cross_entropy
    from minissl_kernels.layer_norm import layer_norm
    from minissl_kernels.contrastive import clip_loss, info_nce, nt_xent, supcon_loss
    from minissl_kernels.gelu import gelu
    from minissl_kernels.dropout import dropout
    from minissl_kernels.adamw import adamw, gradient_norm

Each module reads from top to bottom: a NumPy float64 reference, the Triton kernels, the launcher
that checks what it is given, and the ``torch.library`` operator that a PyTorch user calls; larger
ones are folders in that order. The package knows nothing of ``minissl``; it needs torch and triton:
``pip install minissl[kernels]``. Lecture 07.

What is not finite and not masked makes a result not finite. Masked is: what lies beyond a key
length, a row with ``ignore_index``, a key behind a bias of −∞, a class whose logit is −∞.

A gradient with a graph of its own (``create_graph=True``) comes from torch's operations, which
store what the kernels do not (logits, similarities); attention has none. What torch could not know
is refused: forward mode, ``torch.func.grad`` and batches of gradients.

Without a GPU the kernels run slowly in Triton's interpreter: set ``TRITON_INTERPRET=1`` in the
environment before Python starts. It has no bfloat16 in products, and triton before 3.7 needs NumPy
before 2.4 there; both are refused.
"""

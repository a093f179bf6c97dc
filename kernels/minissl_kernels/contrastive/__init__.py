"""Contrastive losses whose similarity matrix is never stored.

A batch of a million pairs has 10¹² similarities, four terabytes in float32. But each is needed only
twice: once for its row's log-sum-exp, once for the gradient. So they are computed in tiles, used
while they are in registers, and computed again in the backward pass, as in FlashAttention (Dao et
al. 2022; for contrastive losses: Cheng et al. 2024, Inf-CL). Memory grows with rows + columns.

InfoNCE, NT-Xent, CLIP's loss and the supervised contrastive loss differ only in which entries are
positive and which are left out; both are decided from indices inside a tile. In reading order:
``reference`` (NumPy), ``tiles`` (Triton), ``operator`` (launches, torch), ``losses`` (what you
call). Lecture 12.
"""

from minissl_kernels.contrastive.losses import clip_loss, info_nce, nt_xent, supcon_loss

__all__ = ["clip_loss", "info_nce", "nt_xent", "supcon_loss"]

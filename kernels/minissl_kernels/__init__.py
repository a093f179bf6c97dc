"""Triton kernels for PyTorch tensors: attention, cross-entropy, layer norm, contrastive losses.

Each module reads from top to bottom: a NumPy float64 reference, the Triton kernels, the launcher
that checks what it is given, and the ``torch.library`` operator that a PyTorch user calls. The
package knows nothing of ``minissl``; it needs torch and triton: ``pip install minissl[kernels]``.

Without a GPU the kernels run slowly in Triton's interpreter: set ``TRITON_INTERPRET=1`` in the
environment before Python starts.
"""

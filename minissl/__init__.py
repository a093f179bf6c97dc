"""minissl: self-supervised learning from scratch."""

from minissl.autograd import Tensor, no_grad

__version__ = "0.1.0"
__all__ = ["Tensor", "__version__", "no_grad"]

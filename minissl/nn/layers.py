"""The layers that every network here is made of. Lectures 02 and 06."""

from collections.abc import Callable
from typing import Any

import numpy as np

from minissl.autograd import fused
from minissl.autograd import operations as ops
from minissl.autograd.arrays import is_floating
from minissl.autograd.tensor import Tensor, as_array
from minissl.nn import init
from minissl.nn.module import Module, Parameter


class Linear(Module):
    """y = x Wᵀ + b.

    Shapes: x (..., in_features) -> (..., out_features); ``weight`` (out_features, in_features) as
    in torch, ``bias`` (out_features,) or None. ``init_std``: None draws weight and bias uniformly
    in ±1/√in_features, as torch does; a number draws the weight from a normal distribution with
    that standard deviation and starts the bias at 0, as GPT-2 does.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        init_std: float | None = None,
        generator: np.random.Generator,
    ):
        def start(shape: tuple[int, ...]) -> Parameter:
            if init_std is None:
                return Parameter(init.uniform_fan_in(shape, in_features, generator))
            if len(shape) == 1:
                return Parameter(np.zeros(shape, np.float32))
            return Parameter(init.normal(shape, init_std, generator))

        self.weight = start((out_features, in_features))
        self.bias = start((out_features,)) if bias else None

    def forward(self, x: Any) -> Tensor:
        return ops.linear(x, self.weight, self.bias)


class Embedding(Module):
    """A table with one row per token: the token's vector is looked up, not computed.

    Shapes: indices (...) integers in [0, num_embeddings) -> (..., width); ``weight``
    (num_embeddings, width). ``sparse``: the gradient has the rows that were looked up and no others
    (``autograd.rows``), which AdaGrad and plain SGD take; for large tables of which a step reads
    little, trained by one process.
    Raises TypeError for floats, IndexError for an index out of range.
    """

    def __init__(
        self,
        num_embeddings: int,
        width: int,
        *,
        init_std: float = 1.0,
        sparse: bool = False,
        generator: np.random.Generator,
    ):
        self.sparse = sparse
        self.weight = Parameter(init.normal((num_embeddings, width), init_std, generator))

    def forward(self, indices: Any) -> Tensor:
        indices = as_array(indices)
        if is_floating(indices):
            raise TypeError(f"Embedding: expected integer indices, got {indices.dtype}")
        return ops.take(self.weight, indices, sparse=self.sparse)


class LayerNorm(Module):
    """Each vector shifted to mean 0 and scaled to variance 1, then times ``weight`` plus ``bias``.

    Shapes: (..., width) -> (..., width). Ba, Kiros and Hinton (2016).
    """

    def __init__(self, width: int, eps: float = 1e-5):
        self.eps = eps
        self.weight = Parameter(np.ones(width, np.float32))
        self.bias = Parameter(np.zeros(width, np.float32))

    def forward(self, x: Any) -> Tensor:
        return fused.layer_norm(x, self.weight, self.bias, self.eps)


class Dropout(Module):
    """In training each value becomes 0 with probability p; the others grow by 1/(1 − p).

    So the expected value stays, and in evaluation mode nothing happens. The randomness is passed:
    ``dropout(x, generator)``. Raises ValueError for p outside [0, 1), and in training mode with
    p > 0 when no generator came. Srivastava et al. (2014).
    """

    def __init__(self, p: float):
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: the probability must be in [0, 1), got {p}")
        self.p = p

    def active(self, generator: np.random.Generator | None) -> bool:
        """True when something is to be dropped now; the check that a generator is there."""
        if not (self.training and self.p):
            return False
        if generator is None:
            raise ValueError(
                f"Dropout(p={self.p}) in training mode needs randomness: pass generator="
                "np.random.default_rng(seed) to the call, or switch dropout off with model.eval()"
            )
        return True

    def forward(self, x: Tensor, generator: np.random.Generator | None = None) -> Tensor:
        if not self.active(generator):
            return x
        assert generator is not None
        return fused.dropout(x, self.p, generator)


ACTIVATIONS: dict[str, Callable[[Any], Tensor]] = {
    "gelu": fused.gelu,  # GPT-2's tanh formula
    "gelu_exact": lambda x: fused.gelu(x, approximate="none"),  # BERT's and torch's default
    "relu": ops.relu,  # the original Transformer's
    "silu": lambda x: x * ops.sigmoid(x),  # or swish (Ramachandran et al., 2017)
    "quick_gelu": lambda x: x * ops.sigmoid(1.702 * x),  # CLIP's
    "tanh": ops.tanh,
}


def activation_function(name: str) -> Callable[[Any], Tensor]:
    """The function of this name; ValueError with the list of names for any other."""
    if name not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {sorted(ACTIVATIONS)}, got {name!r}")
    return ACTIVATIONS[name]


class MLP(Module):
    """Two Linears with an activation between: ``output(activation(hidden(x)))``.

    Shapes: (..., in_features) -> (..., hidden_features) -> (..., out_features). Inside a
    Transformer it is applied to every token by itself. ``init_std`` and ``output_init_std``: see
    Linear.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        out_features: int,
        *,
        activation: str = "gelu",
        bias: bool = True,
        init_std: float | None = None,
        output_init_std: float | None = None,
        generator: np.random.Generator,
    ):
        self.activation = activation_function(activation)
        self.hidden = Linear(
            in_features, hidden_features, bias=bias, init_std=init_std, generator=generator
        )
        self.output = Linear(
            hidden_features, out_features, bias=bias, init_std=output_init_std, generator=generator
        )

    def forward(self, x: Any) -> Tensor:
        return self.output(self.activation(self.hidden(x)))

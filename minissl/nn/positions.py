"""Where a token stands: attention alone sees a set of tokens, not a sequence. Lecture 06."""

import numpy as np

from minissl.autograd.tensor import Tensor
from minissl.nn import init
from minissl.nn.module import Module, Parameter


class Positions(Module):
    """A table of position vectors; ``forward`` gives the rows for the next ``length`` tokens.

    Shapes: ``weight`` (max_length, width); forward -> (length, width), for the positions
    ``start``, ..., ``start + length − 1``. Raises ValueError when those go beyond max_length.
    """

    weight: Tensor

    def forward(self, length: int, start: int = 0) -> Tensor:
        max_length = self.weight.shape[0]
        if start + length > max_length:
            raise ValueError(
                f"positions {start} to {start + length - 1} were asked for, there are only "
                f"{max_length}: shorten the input or build the model with a longer context"
            )
        return self.weight[start : start + length]


class LearnedPositions(Positions):
    """A trained vector for every position, as in GPT and BERT."""

    def __init__(
        self,
        max_length: int,
        width: int,
        *,
        init_std: float = 0.02,
        generator: np.random.Generator,
    ):
        self.weight: Parameter = Parameter(init.normal((max_length, width), init_std, generator))


class SinusoidalPositions(Positions):
    """Fixed waves, as in Vaswani et al. (2017), section 3.5; see ``sinusoids``. Not trained."""

    def __init__(self, max_length: int, width: int):
        self.weight = Tensor(sinusoids(max_length, width).astype(np.float32))


def sinusoids(max_length: int, width: int) -> np.ndarray:
    """Position t, pair i: (sin, cos) of t / 10000^(2i/width), in columns 2i and 2i + 1.

    Each pair is the hand of a clock, the first turning once in 2π positions, the last in
    10000 · 2π. Moving by k positions turns every hand by an angle that does not depend on t, so a
    linear map can do it. Shape (max_length, width), float64. Raises ValueError for an odd width.
    """
    if width % 2:
        raise ValueError(f"sinusoids come in pairs (sin, cos): width must be even, got {width}")
    frequencies = 10000.0 ** (-np.arange(0, width, 2) / width)
    angles = np.arange(max_length)[:, None] * frequencies  # (max_length, width / 2)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(max_length, width)

"""Two recurrent language models of one vocabulary, one reads forwards, one backwards: ELMo's form.

Peters, Neumann, Iyyer, Gardner, Clark, Lee and Zettlemoyer (2018). Lecture 05.
"""

from typing import Any

import numpy as np

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.models.recurrent import RecurrentConfig, RecurrentLM
from minissl.nn.module import Module


class BidirectionalLM(Module):
    """``ahead`` predicts the next word, ``behind`` the one before; they share words and output.

    Neither sees the other: each is a language model. Only what is read off them is put together.
    """

    def __init__(self, config: RecurrentConfig, *, generator: np.random.Generator):
        self.config = config
        self.ahead = RecurrentLM(config, generator=generator)
        self.behind = RecurrentLM(config, generator=generator)
        self.behind.tokens, self.behind.output = self.ahead.tokens, self.ahead.output

    def states(
        self, tokens: Any, turned: Any, back: Any, *, generator: np.random.Generator | None = None
    ) -> list[Tensor]:
        """Both directions side by side: num_layers + 1 times (batch, time, 2 width).

        tokens (batch, time); ``turned``: each row from its end to its beginning, padding behind
        that; ``back`` (batch, time): where in the turned rows, all in one, each token stands.
        """
        ahead = self.ahead.states(tokens, generator=generator)
        behind = self.behind.states(turned, generator=generator)
        flat = (ops.reshape(state, (-1, self.config.width)) for state in behind)
        return [
            ops.concatenate([a, ops.take(b, back, axis=0)], axis=2) for a, b in zip(ahead, flat)
        ]


def turn(tokens: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``turned`` and ``back`` of ``states``: tokens (batch, time), lengths (batch,) of the rows.

    Example: [[5, 6, 7, 0]] of length 3 -> [[7, 6, 5, 0]] and [[2, 1, 0, 3]].
    """
    places = np.arange(tokens.shape[1])
    mirrored = np.where(places < lengths[:, None], lengths[:, None] - 1 - places, places)
    turned = np.take_along_axis(tokens, mirrored, axis=1)
    return turned, mirrored + np.arange(len(tokens))[:, None] * tokens.shape[1]

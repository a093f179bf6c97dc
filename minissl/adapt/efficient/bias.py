"""The biases alone are trained: a thousandth of the weights, and nothing is put in.

Ben Zaken, Ravfogel and Goldberg (2021), BitFit. Lecture 11. Of normalizations the bias too, which
stands beside a scale that stays. Not here: a choice among the biases (the paper: queries' and those
of the middle of each MLP do nearly as well as all).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from minissl.adapt.trained import SmallPart, TrainedSettings
from minissl.options import option


@dataclass(frozen=True, kw_only=True)
class BiasSettings(TrainedSettings):
    """All biases of the network, and a new layer on top."""

    learning_rate: float = option(
        1e-2, "at its highest, after a warm-up of a twentieth", above=0, most=100
    )


class BiasOnly(SmallPart):
    """A form's layer on an encoder whose biases move."""

    Settings = BiasSettings

    @classmethod
    def open_up(cls, base: Any, settings: BiasSettings, generator: np.random.Generator) -> Any:
        """Freeze everything but the biases. Raises ValueError where there is none."""
        base.model.freeze()
        biases = [
            p for name, p in base.encoder.named_parameters() if "bias" in name.rpartition(".")[2]
        ]
        if not biases:
            raise ValueError("this network has no biases: take layers-on-top or finetune")
        for parameter in biases:
            parameter.requires_grad = True
        return base


ADAPTATION = BiasOnly

"""The last layers alone are trained, those below stay as they were pretrained.

Yosinski, Clune, Bengio and Lipson (2014), How transferable are features in deep neural networks?
Lecture 11. What is below is computed without a graph, so a step costs less the fewer layers learn.
Not here: thawing one layer after the other in the course of the training (Howard and Ruder, 2018).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from minissl.adapt.trained import SmallPart, TrainedSettings
from minissl.nn.module import Module
from minissl.options import option


@dataclass(frozen=True, kw_only=True)
class LastLayersSettings(TrainedSettings):
    """The last layers of the network, and a new layer on top."""

    layers: int = option(1, "that are trained, from the end", least=1, most=10**6)
    learning_rate: float = option(
        1e-3, "at its highest, after a warm-up of a twentieth", above=0, most=100
    )


def layers_of(encoder: Module) -> list[tuple[str, Module]]:
    """The layers of a network, from the input to the output, with their paths.

    They are the members of its longest list of modules: blocks of a Transformer or of a ResNet,
    layers of an LSTM. Raises ValueError for a network without such a list.
    """
    longest: list[tuple[str, Module]] = []
    for path, module in encoder.named_modules():
        for name, value in vars(module).items():
            if not isinstance(value, list | tuple) or not value:
                continue
            if len(value) > len(longest) and all(isinstance(one, Module) for one in value):
                begin = f"{path}.{name}" if path else name
                longest = [(f"{begin}.{number}", one) for number, one in enumerate(value)]
    if not longest:
        raise ValueError("this network has no list of layers, of which the last could be trained")
    return longest


class LastLayers(SmallPart):
    """A form's layer on an encoder whose last layers move."""

    Settings = LastLayersSettings

    @classmethod
    def open_up(
        cls, base: Any, settings: LastLayersSettings, generator: np.random.Generator
    ) -> Any:
        """Freeze the first layers and what comes before them. What comes behind them is trained."""
        layers = layers_of(base.encoder)
        if settings.layers > len(layers):
            raise ValueError(
                f"layers is {settings.layers}, this network has {len(layers)}: give fewer, or "
                "train all of it (finetune)"
            )
        names = [name for name, _ in base.encoder.named_parameters()]
        first = f"{layers[-settings.layers][0]}."
        begins = next(i for i, name in enumerate(names) if name.startswith(first))
        base.model.freeze()
        for i, (_, parameter) in enumerate(base.encoder.named_parameters()):
            parameter.requires_grad = i >= begins
        return base


ADAPTATION = LastLayers

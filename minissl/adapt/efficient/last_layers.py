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


def layers_of(encoder: Module) -> list[set[int]]:
    """The layers of a network, from the input to the output: the ids of each one's parameters.

    They are the members of its longest list of modules: blocks of a Transformer or of a ResNet,
    layers of an LSTM. Of a network in two directions, with a list for each, layer i is that of
    both. Raises ValueError for a network without such a list.
    """
    lists = [
        value
        for _, module in encoder.named_modules()
        for value in vars(module).values()
        if isinstance(value, list | tuple) and value and all(isinstance(v, Module) for v in value)
    ]
    if not lists:
        raise ValueError(
            "this network has no list of layers, of which the last could be trained: take "
            "layers-on-top or finetune"
        )
    longest = max(map(len, lists))
    alike = [one for one in lists if len(one) == longest]
    return [{id(p) for module in layer for p in module.parameters()} for layer in zip(*alike)]


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
        base.model.freeze()
        of_layers, trained = set().union(*layers), set().union(*layers[-settings.layers :])
        behind = True
        for parameter in reversed(base.encoder.parameters()):
            behind = behind and id(parameter) not in of_layers
            parameter.requires_grad = behind or id(parameter) in trained
        return base


ADAPTATION = LastLayers

"""Full fine-tuning: all weights go on learning, from labels, below a new linear layer.

Girshick, Donahue, Darrell and Malik (2014) for images, Radford et al. (2018, GPT) for texts.
Lecture 11. Not here: other learning rates for other layers, and the auxiliary language model loss
of GPT.
"""

from dataclasses import dataclass

import numpy as np

from minissl.adapt.trained import TrainedClassifier, TrainedSettings
from minissl.nn.module import Module
from minissl.options import option


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings(TrainedSettings):
    """All weights are trained, with a learning rate below that of the pretraining."""

    learning_rate: float = option(
        1e-3, "at its highest, after a warm-up of a twentieth", above=0, most=100
    )


class Finetune(TrainedClassifier):
    """Classification by a Linear on the encoder, all of it trained."""

    Settings = FinetuneSettings
    from_base = False  # everything that represents an example is saved

    @classmethod
    def open_up(
        cls, encoder: Module, settings: FinetuneSettings, generator: np.random.Generator
    ) -> None:
        """Nothing is frozen, nothing is put in."""


ADAPTATION = Finetune

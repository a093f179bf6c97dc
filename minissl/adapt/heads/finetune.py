"""Full fine-tuning: all weights go on learning, from labels, below a new layer.

Girshick, Donahue, Darrell and Malik (2014) for images, Radford et al. (2018, GPT) for texts: there
with the loss of the pretraining on the same texts beside it (``lm_weight``). Lecture 11. ``start``
"random" is the same network without its pretraining. Not here: other learning rates for other
layers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.adapt.trained import Trained, TrainedSettings
from minissl.autograd.tensor import Tensor
from minissl.forms import in_words
from minissl.nn.module import Module
from minissl.optim import SGD, AdaGrad
from minissl.optim.optimizer import Optimizer
from minissl.options import option
from minissl.pretrain.language_model import LanguageModel


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings(TrainedSettings):
    """All weights are trained, with a learning rate below that of the pretraining."""

    learning_rate: float = option(
        1e-3, "at its highest, after a warm-up of a twentieth", above=0, most=100
    )
    start: str = option(
        "pretrained", "the weights to begin with; random ones are a baseline: only labels teach",
        choices=("pretrained", "random"),
    )  # fmt: skip
    optimizer_name: str = option(
        "adamw", "how a step follows from a gradient; the other two want other learning rates",
        choices=("adamw", "sgd", "adagrad"),
    )  # fmt: skip
    lm_weight: float = option(
        0.0, "of the loss of the texts' next tokens, beside that of the labels; GPT's 0.5",
        least=0, most=1000,
    )  # fmt: skip

    def optimizer(self, model: Module) -> Optimizer:
        """AdamW; or SGD with momentum 0.9, or AdaGrad, both without weight decay."""
        named = model.named_parameters()
        if self.optimizer_name == "sgd":
            return SGD(named, lr=self.learning_rate, momentum=0.9)
        if self.optimizer_name == "adagrad":
            return AdaGrad(named, lr=self.learning_rate)
        return super().optimizer(model)


class Finetune(Trained):
    """A form's layer on the encoder, all of it trained."""

    Settings = FinetuneSettings
    of_training = ("distance",)
    from_base = False  # everything that represents an example is saved

    @classmethod
    def begin(cls, settings: FinetuneSettings, opened: Any, seed: int) -> Any:
        """The run's weights, or random ones in the same network."""
        if settings.lm_weight and not isinstance(opened.method, LanguageModel):
            raise ValueError(
                f"lm_weight is {settings.lm_weight:g}, but a run of {opened.name} predicts no next "
                "token: leave it out, or give a run of a language model (gpt, lstm)"
            )
        if settings.start == "random":
            return type(opened.method).build(opened.settings, opened.data, seed=seed)
        return super().begin(settings, opened, seed)

    @classmethod
    def open_up(cls, base: Any, settings: FinetuneSettings, generator: np.random.Generator) -> Any:
        """Nothing is frozen of what represents an example, nothing is put in."""
        own = {id(parameter) for parameter in base.encoder.parameters()}
        for parameter in base.model.parameters():  # others, an output for words say, stay
            parameter.requires_grad = id(parameter) in own
        return base

    def __init__(self, *inputs: Any, **options: Any):
        super().__init__(*inputs, **options)
        if self.settings.lm_weight and self.form.kind not in ("class", "number"):
            raise ValueError(
                "lm_weight is for labels of a whole text, these are "
                f"{in_words([self.form.kind])}: leave it out"
            )
        self.began = parameters_of(self.base.encoder)

    def loss(self, batch: tuple[Any, Any], generator: np.random.Generator) -> Tensor:
        """That of the labels, plus ``lm_weight`` times that of the texts' next tokens."""
        if not self.settings.lm_weight:
            return super().loss(batch, generator)
        collated, labels = batch
        states = self.base.each(collated, generator)
        outputs = self.model.head(self.base.read(states, collated[-1]))
        beside = self.base.text_loss(states, collated) * self.settings.lm_weight
        return self.form.loss(outputs, labels) + beside

    def evaluate(self) -> dict[str, float]:
        """Also how far all weights have gone, in lengths of where they began; see ``distance``."""
        found = super().evaluate()
        if not found or self.restored:
            return found
        return found | {"distance": distance(self.began, parameters_of(self.base.encoder))}


def parameters_of(model: Module) -> dict[str, NDArray]:
    """A copy of all that is trained, by path: no running means."""
    return {name: parameter.numpy().copy() for name, parameter in model.named_parameters()}


def distance(began: Mapping[str, NDArray], now: Mapping[str, NDArray]) -> float:
    """‖θ − θ₀‖ / ‖θ₀‖ of all arrays of ``began`` together: 0 where nothing has moved."""
    moved = sum(float(np.sum((now[n] - w).astype(np.float64) ** 2)) for n, w in began.items())
    return math.sqrt(moved / sum(float(np.sum(w.astype(np.float64) ** 2)) for w in began.values()))


ADAPTATION = Finetune

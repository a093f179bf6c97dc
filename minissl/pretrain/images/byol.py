"""One view of an image predicts what a slow copy of the network makes of the other.

BYOL: Grill et al. (2020), Bootstrap Your Own Latent. Lecture 12. There are no negatives; what is
predicted moves slowly behind the network that predicts, which in practice keeps it from collapsing.
Not here: the paper's ResNet-50, its LARS optimizer and its two different augmentations.
"""

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import no_grad
from minissl.autograd import operations as ops
from minissl.autograd.devices import beside
from minissl.autograd.tensor import Tensor
from minissl.losses.contrastive import alignment_loss
from minissl.models.convolutional import NormalizedMLP
from minissl.nn.module import Module, Parameter
from minissl.options import option
from minissl.pretrain.views import TwoViews, ViewSettings
from minissl.vision.augment import Augmentation

# Which embedding of the other view is predicted: the slow copy's; the network's own, held still;
# or that with its gradient.
TARGETS = ("slow", "still", "free")


@dataclass(frozen=True, kw_only=True)
class BYOLSettings(ViewSettings):
    """An encoder with head and predictor, and how slowly its copy follows."""

    decay: float = option(
        0.99, "part of the slow copy that stays in the first step; rises to 1", least=0, most=1
    )
    target: str = option(
        "slow",
        "what is predicted: the slow copy's embedding, the network's own held still, or that with "
        "its gradient (free)",
        choices=TARGETS,
    )
    predictor: bool = option(True, "predict; without, the embedding itself must be the target")


class BYOLModel(Module):
    """Encoder, ``head`` and ``predictor``, and slow copies of the first two, which are buffers.

    Images -> embeddings (batch, embedding).
    """

    def __init__(
        self,
        encoder: Module,
        *,
        features: int = 128,
        embedding: int = 64,
        generator: np.random.Generator,
    ):
        self.encoder = encoder
        self.head = NormalizedMLP(
            features, features, embedding, normalize_output=False, generator=generator
        )
        self.predictor = NormalizedMLP(
            embedding, features, embedding, normalize_output=False, generator=generator
        )
        self.slow_encoder = slow_copy(self.encoder)
        self.slow_head: Any = slow_copy(self.head)

    def forward(self, images: Any) -> Tensor:
        return self.head(self.encoder(images))

    def slow(self, images: Any) -> Tensor:
        """What the slow copy makes of images, without a gradient: (batch, embedding)."""
        like = self.slow_head.output.weight.array  # float32, also where others are bfloat16
        with no_grad():
            here = ops.astype(Tensor(beside(images, like)), dtype=like.dtype)
            return self.slow_head(self.slow_encoder(here))


class BYOL(TwoViews):
    """From the embedding of one view, ``predictor`` should find the slow copy's of the other.

    The loss is the mean over both directions of 2 − 2 cos(predictor(aᵢ), slow bᵢ). After step k of
    K the copy is τ copy + (1 − τ) network, where τ = 1 − (1 − decay) (cos(π k / K) + 1) / 2.
    ``steps``: K. ``target``: one of ``TARGETS``, ``"slow"`` in the paper; ``predictor``: without it
    aᵢ itself is compared. The other arguments are those of ``TwoViews``. Raises ValueError for
    another target, and as ``TwoViews``.
    """

    Settings = BYOLSettings
    Model = BYOLModel
    model: BYOLModel

    def __init__(
        self,
        model: BYOLModel,
        images: NDArray,
        augment: Augmentation,
        *,
        batch_size: int = 256,
        decay: float = 0.99,
        steps: int = 800,
        target: str = "slow",
        predictor: bool = True,
        held_out: NDArray | None = None,
    ):
        if target not in TARGETS:
            raise ValueError(f"target must be one of {', '.join(TARGETS)}, got {target!r}")
        super().__init__(model, images, augment, batch_size=batch_size, held_out=held_out)
        self.decay, self.steps, self.target, self.predictor = decay, steps, target, predictor

    @classmethod
    def choices(cls, settings: BYOLSettings) -> dict[str, Any]:
        """How slowly the copy follows, and for how long; what is predicted."""
        names = ("decay", "steps", "target", "predictor")
        return {name: getattr(settings, name) for name in names}

    def compare(self, embeddings: Tensor, views: NDArray, *, gather: bool) -> Tensor:
        """Each side's prediction against the slow copy's embedding of the other side."""
        if self.target == "slow":
            targets = ops.astype(self.model.slow(views), dtype=embeddings.dtype)
        else:
            targets = embeddings.detach() if self.target == "still" else embeddings
        predicted = self.model.predictor(embeddings) if self.predictor else embeddings
        first, second = ops.split(predicted, 2)
        other_first, other_second = ops.split(targets, 2)
        return (alignment_loss(first, other_second) + alignment_loss(second, other_first)) / 2

    def after_step(self, done: int) -> None:
        """The copy follows, ever more slowly."""
        progress = min(done - 1, self.steps) / self.steps
        decay = 1 - (1 - self.decay) * (math.cos(math.pi * progress) + 1) / 2
        follow(self.model.slow_encoder, self.model.encoder, decay)
        follow(self.model.slow_head, self.model.head, decay)


def slow_copy(module: Module) -> Module:
    """A copy whose parameters are buffers: saved, but not trained."""
    copied = copy.deepcopy(module)
    for _, part in copied.named_modules():
        for name, value in vars(part).items():
            if isinstance(value, Parameter):
                setattr(part, name, Tensor(value.array))
    return copied


def follow(slow: Module, module: Module, decay: float) -> None:
    """slow = decay · slow + (1 − decay) · module, for what is trained; its running means stay."""
    for (_, copied), (_, part) in zip(slow.named_modules(), module.named_modules()):
        for name, value in vars(part).items():
            if isinstance(value, Parameter):
                own = getattr(copied, name)
                own.array = decay * own.array + (1 - decay) * value.array


METHOD = BYOL

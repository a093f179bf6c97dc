"""Adaptations that are trained by ``fit``: a form's layer on the encoder, and what changes below.

Lecture 11. A subclass says with ``open_up`` what of the pretrained encoder is trained; the batch,
the loss and the prediction are the form's (``minissl.forms``), the same for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from minissl.adapt.method import Adaptation, FewLabels, Task
from minissl.autograd.tensor import Tensor
from minissl.data.labels import pick
from minissl.forms import FORMS, in_words, load_form
from minissl.forms.form import Form
from minissl.nn.module import Module
from minissl.nn.part import Part
from minissl.options import option
from minissl.pretrain.layered import VECTORS, Layered
from minissl.pretrain.method import Augments, Training


@dataclass(frozen=True, kw_only=True)
class TrainedSettings(FewLabels, Training):
    """How a layer on a pretrained encoder, and what of it may move, is trained."""

    batch_size: int = option(32, "labelled examples per step", least=1, most=1 << 20)
    steps: int = option(300, "updates", least=1, most=10**9)
    evaluations: int = option(5, "how often it is measured on the way", least=1, free=True)
    clip: float = option(1.0, "largest norm of the gradient; 0: no limit", least=0)
    augment: bool = option(
        True, "change the examples at random, if the pretraining did and keeps their class"
    )
    vector: str = option(
        "", "what a text is: the mean of its tokens' states, that of the first ([CLS]), of the "
        "last; empty: as the run has it", choices=("", *VECTORS),
    )  # fmt: skip


class OnTop(Module):
    """A pretrained encoder and a form's layer on what it makes of an example."""

    def __init__(self, encoder: Module, head: Module):
        self.encoder, self.head = encoder, head


class Trained(Adaptation):
    """A form's layer on an encoder, of which a part or all is trained too.

    ``base``: a pretrained method of its own, since its network is changed. Batches are drawn with
    replacement, so that few labelled examples make a batch as well.
    """

    Settings: ClassVar[type[TrainedSettings]]
    forms = tuple(FORMS)
    model: OnTop

    def __init__(self, base: Any, task: Task, model: OnTop, settings: Any, *, seed: int = 0):
        self.base, self.task, self.model, self.settings = base, task, model, settings
        self.train = task.train
        if task.train is not None:
            if settings.labels_per_class and task.form == "choice":
                raise ValueError(
                    f"labels_per_class is {settings.labels_per_class}, and the number of an ending "
                    "is no class: leave it out"
                )
            chosen = settings.choose(task.train.labels, seed)
            self.train = task.train.take(chosen)

    @property
    def form(self) -> Form:
        """What is asked, and how it is answered."""
        return load_form(self.task.form)(self.task.class_names, self.task.metrics)

    @classmethod
    def build(cls, settings: Any, opened: Any, task: Task, *, seed: int = 0) -> Self:
        """On the run's weights; those of the layer on top are random.

        Raises ValueError for a ``vector`` where an example is no sequence, and for a form that
        needs more of the run than it has.
        """
        base = cls.begin(settings, opened, seed)
        if settings.vector:
            if not isinstance(base, Layered):
                raise ValueError(
                    f"vector is {settings.vector!r}, but a run of {opened.name} has one vector for "
                    "each example: leave it out"
                )
            base.vector = settings.vector
        generator = np.random.default_rng([seed, 1])
        head = new_head(task, base, generator)
        base = cls.open_up(base, settings, generator)
        return cls(base, task, OnTop(base.encoder, head), settings, seed=seed)

    @classmethod
    def begin(cls, settings: Any, opened: Any, seed: int) -> Any:
        """The pretrained method with weights of its own, to be changed."""
        return opened.on(opened.data)

    @classmethod
    def open_up(cls, base: Any, settings: Any, generator: np.random.Generator) -> Any:
        """Change the encoder in place: what is frozen, what is put in. Returns what represents."""
        raise NotImplementedError

    def batch(self, generator: np.random.Generator) -> tuple[Any, Any]:
        """Collated examples, augmented where the pretraining did that, and their labels."""
        train = self.train or self.task.to_learn_from()
        chosen = generator.integers(len(train), size=self.settings.batch_size)
        examples = pick(train.inputs, chosen)
        if self.settings.augment and isinstance(self.base, Augments):
            examples = self.base.augment(examples, generator)
        labels = self.form.standardized(self.model.head, pick(train.labels, chosen))
        return self.form.batch(self.base, examples, labels)

    def loss(self, batch: tuple[Any, Any], generator: np.random.Generator) -> Tensor:
        """The form's: of classes the mean cross-entropy in nats. ``generator``: for dropout."""
        examples, labels = batch
        return self.form.loss(self.outputs(examples, generator), labels)

    def outputs(self, collated: Any, generator: np.random.Generator | None = None) -> Tensor:
        """Of collated examples, of classes (batch, classes), in the mode that the model is in."""
        return self.form.outputs(self.base, self.model.head, collated, generator)

    def probabilities(self, inputs: Any) -> NDArray:
        """Of each class: (examples, classes). Raises ValueError where there are no classes."""
        return self.form.probabilities(self.base, self.model.head, inputs)

    def predict(self, inputs: Any) -> Any:
        """The form's answer for each: of classes the number of the likeliest, (examples,)."""
        return self.form.predict(self.base, self.model.head, inputs)

    def table(self, inputs: Any) -> tuple[list[str], list[list[str]]]:
        """The answers for a person: names of columns, and a row for each example."""
        return self.form.table(self.base, self.model.head, inputs)

    def evaluate(self) -> dict[str, float]:
        """Loss and scores of the form on the held-out examples."""
        held_out = self.task.held_out
        if held_out is None:
            return {}
        found = self.form.evaluate(self.base, self.model.head, held_out)
        return {f"held_out_{name}": value for name, value in found.items()}


class SmallPart(Trained):
    """A network that stays as it is, and a small part of new or chosen weights that is trained.

    The part alone is saved. The network is used as it is evaluated, in training too: no dropout, no
    statistics of a batch, so that it is the same function for whoever shares it.
    """

    def loss(self, batch: tuple[Any, Any], generator: np.random.Generator) -> Tensor:
        """See ``Trained``."""
        self.model.encoder.eval()
        self.base.model.eval()
        return super().loss(batch, generator)

    def saved(self) -> Module:
        """What is trained, and all of the layer on top."""
        tensors = dict(self.model.named_tensors())
        return Part({n: t for n, t in tensors.items() if t.requires_grad or n.startswith("head.")})


def new_head(task: Task, base: Any, generator: np.random.Generator) -> Module:
    """The random layer of a task's form. ValueError for a base that is not what the form needs."""
    form = load_form(task.form)
    if not isinstance(base, form.needs):
        raise ValueError(
            f"labels that are {in_words([task.form])} need a run that gives a state to each token "
            f"(gpt, bert, ...), not one of {type(base).__name__}"
        )
    return form(task.class_names, task.metrics).head(base.width, generator, task.train)

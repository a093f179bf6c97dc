"""What claims about the packages of docstrings share: a network in memory, and its fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minissl.adapt.heads.finetune import Finetune, FinetuneSettings
from minissl.adapt.method import Task
from minissl.claims.claim import Setup
from minissl.pretrain.method import Pretraining
from minissl.pretrain.run import Opened, fit_as_told
from minissl.registry import file_name_of
from minissl.training import Checkpoint

BATCH = 16  # labelled texts per step


def in_memory(method: Pretraining, settings: Any, data: Any) -> Opened:
    """A method as a run that was opened: adaptations begin with a copy of its weights."""
    nowhere = Path("in memory")
    checkpoint = Checkpoint(nowhere, method.model.state_dict(), {}, {})
    return Opened(nowhere, file_name_of(type(method)), method, settings, data, checkpoint)


def fine_tuned(setup: Setup, opened: Opened, task: Task, labels_per_class: int) -> float:
    """Held-out accuracy in percent when all weights are trained from so many labels (0: all).

    The seed of the setup chooses the labelled texts and the batches, ``tune_steps`` of its settings
    says how many. The weights of the opened run stay as they are.
    """
    settings = FinetuneSettings(
        labels_per_class=labels_per_class, steps=setup.settings["tune_steps"], batch_size=BATCH,
        evaluations=1,
    )  # fmt: skip
    method = Finetune.build(settings, opened, task, seed=setup.seed)
    method.to(setup.device)
    history = fit_as_told(method, settings, seed=setup.seed, progress=False)
    return 100 * history[-1]["held_out_accuracy"]

"""What an adaptation has forgotten: the loss of the pretraining on the old data, before and after.

McCloskey and Cohen (1989), Catastrophic interference in connectionist networks; Kirkpatrick et al.
(2017) for deep networks. Lecture 11. The adapted network is put into a method of the old data and
measured by that method's own ``evaluate``. Heads that the adaptation has not kept are those of the
run that was adapted. Not here: ways to forget less, other than to train less.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from minissl.adapt.heads.finetune import Finetune
from minissl.adapt.replacing import replace_modules
from minissl.adapt.run import OpenedAdaptation, open_adapted_run, restored
from minissl.adapt.trained import SmallPart, Trained
from minissl.nn.module import Module
from minissl.pretrain.method import Pretraining
from minissl.training.method import Evaluated

BEFORE, AFTER, TAKEN_OFF = "before", "after", "taken off"


def forgetting(
    opened: OpenedAdaptation, raw: Any, *, base: str | Path | None = None, device: str = "cpu"
) -> dict[str, dict[str, float]]:
    """What the pretraining method measures of itself with the old weights and the adapted ones.

    raw: the old data, or other data of its kind. Of the very data of the pretraining the part that
    it held out is measured on, of other data all. base: where the adapted run lies, if it has
    moved; full fine-tuning needs it too, for the heads.

    Returns "before", "after" and, for an adaptation that put something in between frozen weights
    (LoRA, adapters, prefixes, ...), "taken off": the same network without it, which has forgotten
    nothing. New layers on top, and prompts, which stand before the texts of the task alone, are not
    in the way of the old loss: there "after" says so itself.

    Raises ValueError where there is nothing to forget or to measure.
    """
    run = open_adapted_run(opened.checkpoint, base)
    if why := why_nothing_forgotten(opened, run):
        raise ValueError(why)
    prepared = _held_out(run, raw)
    found = {BEFORE: _measured(run.on(prepared), device, run)}
    if not isinstance(opened.method, Trained):
        return found | {AFTER: _measured(run.on(prepared), device, run)}  # no weight was touched
    on_old = replace(run, data=prepared)
    kind, settings = type(opened.method), opened.settings
    adapted = restored(kind, settings, on_old, opened.data, opened.checkpoint).base
    found[AFTER] = _measured(adapted, device, run)
    if isinstance(opened.method, SmallPart) and take_off(adapted.model):
        found[TAKEN_OFF] = _measured(adapted, device, run)
    return found


def take_off(model: Module) -> list[str]:
    """Put back in place what an adaptation has built around; returns the paths, [] for none.

    LoRA, adapters, experts, prefixes and prompts are modules around an ``inner`` one.
    """

    def inner(path: str, module: Module) -> Module | None:
        found = getattr(module, "inner", None)
        return found if isinstance(found, Module) else None

    return replace_modules(model, inner)


def why_nothing_forgotten(opened: Any, run: Any) -> str:
    """Why no old loss belongs to the adapted network; "" where one does."""
    if not isinstance(run.method, Evaluated):
        return f"{run.folder} holds a run of {run.name!r}, which measures nothing"
    method = opened.method
    if isinstance(method, Finetune) and method.settings.start == "random":
        return f"{opened.folder} began with random weights: it had nothing to forget"
    if isinstance(method, Trained) and not isinstance(method.base, Pretraining):
        return (
            f"{opened.folder} is by {opened.name}, which trains a network of its own: of "
            f"{run.name} nothing is changed"
        )
    return ""


def _held_out(run: Any, raw: Any) -> Any:
    """Prepared data: the split of the run for its own data, all of any other."""
    if raw.fingerprint()["sha256"] == run.checkpoint.config["data"]["sha256"]:
        return run.prepare(raw)
    return run.data.unseen(raw)


def _measured(method: Any, device: str, run: Any) -> dict[str, float]:
    """By the method itself, in evaluation mode. ValueError for data too small to measure on."""
    method.model.to(device)
    method.model.eval()
    found: dict[str, float] = method.evaluate()
    if not found:
        raise ValueError(
            f"this data has nothing held out that {run.folder} could be measured on: give more of "
            "it, or other data of its kind"
        )
    return found

"""Pretrained methods from which several claims, or several tries at one, begin: trained once.

What is shared is what ``pretrain(kind, data, settings, seed=, device=)`` gives with nothing else.
An arm that needs more (another augmentation, a network of its own, examples that the claim holds
out) is trained by the claim. Each run has a folder, found by a key that has all that decides its
weights; the folders may be removed whenever no claim runs.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minissl.claims.origin import conditions, lasting, library_digest
from minissl.data import Data
from minissl.pretrain import load_method
from minissl.pretrain.method import Pretraining, Training
from minissl.pretrain.run import Pretrained, pretrain
from minissl.registry import file_name_of
from minissl.training.checkpoint import CheckpointError, list_checkpoints
from minissl.training.folder import BusyError

if TYPE_CHECKING:
    from minissl.claims.claim import Setup


@dataclass
class Cache:
    """The folder of the runs, and which of them were used: row -> key, and how it came about."""

    folder: Path
    used: dict[str, dict[str, str]] = field(default_factory=dict)


def shared(
    setup: Setup, kind: type[Pretraining], data: Data, settings: Training, *, row: str
) -> Pretrained:
    """``pretrain`` with the seed and on the device of the setup, or the same from its cache.

    ``row``: where it stands in the claim's table. A run that was stopped goes on; one that is
    damaged is named in a warning and made again; one that another process is training is trained
    here once more. Raises ValueError for a method that ``load_method`` does not know, and what
    ``pretrain`` raises.
    """
    how: dict[str, Any] = {"seed": setup.seed, "device": setup.device, "progress": False}
    if load_method(file_name_of(kind)) is not kind:
        raise ValueError(f"{kind.__name__} is no method of the library: train it, do not share it")
    if setup.cache is None:
        return pretrain(kind, data, settings, **how)
    key = run_key(kind, data, settings, seed=setup.seed, device=setup.device)
    folder = setup.cache.folder / f"{file_name_of(kind)}-{key[:16]}"
    begun, there = folder.exists(), list_checkpoints(folder / "checkpoints")
    step = int(there[0].name.removeprefix("step-")) if there else 0
    came = {0: "trained", settings.steps: "loaded"}.get(step, f"continued from step {step}")
    try:
        found = pretrain(kind, data, settings, folder, **how)
        _require_every_step(found, settings.steps)
    except BusyError:
        came = "trained apart: another process was training it"
        found = pretrain(kind, data, settings, **how)
    except (ValueError, CheckpointError) as error:
        if not begun:
            raise
        warnings.warn(f"{folder} is damaged, and is made again: {error}", stacklevel=2)
        shutil.rmtree(folder)
        came = "trained"
        found = pretrain(kind, data, settings, folder, **how)
    setup.cache.used[row] = {"key": key, "how": came}
    return found


def run_key(
    kind: type[Pretraining], data: Data, settings: Training, *, seed: int, device: str
) -> str:
    """The SHA-256 of all that decides the weights: also of sources, versions and machine."""
    decides = {
        "method": file_name_of(kind),
        "settings": asdict(settings),
        "data": [type(data).__name__, data.fingerprint()["sha256"]],
        "seed": seed,
        "device": device,
        "precision": "float32",
        "sources": library_digest(device),
        **lasting(conditions(device)),
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def _require_every_step(found: Pretrained, steps: int) -> None:
    """Raise ValueError unless the log has each step: a claim may show it."""
    if missing := {*range(1, steps + 1)} - {record["step"] for record in found.history}:
        raise ValueError(f"its log lacks {len(missing)} of {steps} steps")

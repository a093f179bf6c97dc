"""The folder of a run: what was asked for, what happened, and where to go on.

``config.json``: the settings, written once. ``log.jsonl``: one record per line. ``checkpoints/``:
the newest two. Another command can open it: ``find_checkpoint(run)``, ``History.read(run)``.
"""

from __future__ import annotations

import json
import shutil
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minissl.autograd.arrays import Array
from minissl.autograd.processes import world
from minissl.autograd.tensor import Tensor
from minissl.nn.module import Module
from minissl.optim.optimizer import Optimizer
from minissl.training.checkpoint import (
    CheckpointError,
    find_checkpoint,
    list_checkpoints,
    prune_checkpoints,
    save_checkpoint,
)
from minissl.training.distributed import share_start
from minissl.training.durable import replace_durably
from minissl.training.log import History, Log, Record, plain


class DivergedError(RuntimeError):
    """The loss, a gradient or a weight is no longer a finite number. ``step``: where."""

    def __init__(self, message: str, step: int):
        super().__init__(message)
        self.step = step


class Run:
    """One training run, in a folder, or (``folder=None``) only in memory.

    Raises ValueError when the folder holds a run with other settings, OSError when it cannot be
    written or has no room for the checkpoints: both before the first step.
    """

    def __init__(
        self,
        folder: str | Path | None,
        settings: Mapping[str, Any],
        model: Module,
        optimizer: Optimizer,
        keep: int = 2,
    ):
        self.folder = None if folder is None or world().rank else Path(folder)  # one writer
        self.settings = settings
        self.model, self.optimizer, self.keep = model, optimizer, keep
        self.step = 0  # where training begins
        self.resumed = False
        self.newest: Path | None = None  # the newest good checkpoint
        self.history = History()
        self._log: Log | None = None
        self._earlier_seconds = 0.0
        # The memory order that a loaded checkpoint has: sums over another order round differently.
        model.load_state_dict(model.state_dict())
        if self.folder is not None:
            self._open(self.folder)
        share_start(self)
        self._started = time.perf_counter()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._log is not None:
            self._log.close()

    def _open(self, folder: Path) -> None:
        """Write or compare config.json, load the newest good checkpoint, cut the log back to it."""
        _same_or_new(folder, self.settings)
        _require_room(folder, self.model, self.keep)
        expected = 0
        if list_checkpoints(folder / "checkpoints"):
            expected = self._resume(folder)
        self._log = Log(folder / "log.jsonl", self.step if self.resumed else -1)
        self.history = self._log.history
        if len(self.history) != expected:
            warnings.warn(
                f"{folder / 'log.jsonl'} has {len(self.history)} records up to step {self.step}, "
                f"there were {expected}: training goes on, the log has a gap",
                stacklevel=4,
            )

    def _resume(self, folder: Path) -> int:
        """Load the newest good checkpoint; returns how many records the log had then."""
        checkpoint = find_checkpoint(folder)
        found = {name: checkpoint.state.get(name) for name in self.settings}
        if changes := differences(found, self.settings):
            raise CheckpointError(
                f"{checkpoint.path} is not of this run; in it against here: "
                f"{'; '.join(changes)}. Remove it, or use a new run folder"
            )
        self.model.load_state_dict(checkpoint.weights)
        self.optimizer.load_state_dict(checkpoint.moments)
        self.step, self.resumed, self.newest = checkpoint.step, True, checkpoint.path
        self._earlier_seconds = checkpoint.state["seconds"]
        prune_checkpoints(checkpoint.path, self.keep)  # which a kill may have kept from ending
        return checkpoint.state["records"]

    def seconds(self) -> float:
        """Time spent in training, without the time between two starts."""
        return self._earlier_seconds + time.perf_counter() - self._started

    def log(self, record: Record) -> None:
        """Add a record to the history and, if there is one, to the file."""
        if self._log is None:
            self.history.records.append(plain(record))
        else:
            self._log.append(record)

    def save(self, step: int) -> None:
        """Write a checkpoint; raises DivergedError, and writes none, when it would be a bad one."""
        if self.folder is None or self._log is None:
            return
        arrays = {f"weight {n}": p.array for n, p in self.model.named_parameters()}
        for slot, moments in self.optimizer.state.items():
            arrays |= {f"{slot} of {name}": array for name, array in moments.items()}
        if bad := not_finite(arrays):
            raise DivergedError(
                f"after step {step} (learning rate {self.optimizer.lr:.3g}) these are no longer "
                f"finite: {bad}. {self.way_back()}",
                step,
            )
        self._log.sync()
        progress = {"step": step, "records": len(self.history), "seconds": self.seconds()}
        self.newest = save_checkpoint(
            self.folder / "checkpoints",
            self.model,
            self.optimizer,
            {**progress, **self.settings},
            keep=self.keep,
        )

    def how_to_continue(self, steps: int) -> str:
        """What to say when Ctrl-C stopped the run."""
        if self.newest is None:
            return "stopped between two steps; without a run folder, nothing was saved"
        return (
            f"stopped, and saved in {self.newest}. The same call again continues up to step {steps}"
        )

    def way_back(self) -> str:
        """What to try after a divergence, and where the last good weights are."""
        good = "There is no checkpoint"
        if self.newest is not None:
            good = f"The last good checkpoint is {self.newest}"
        return (
            f"{good}. The same settings would diverge at the same step again: start a new run "
            "folder with a lower learning rate, a longer warm-up or clip=1.0, and look for NaN, "
            "infinity or very large numbers in the inputs"
        )


def not_finite(arrays: Mapping[str, Array], limit: int = 5) -> str:
    """The names of the arrays with a NaN or an infinity in them, as words; "" if there is none."""
    bad = [name for name, a in arrays.items() if not np.isfinite(Tensor(a).numpy()).all()]
    return ", ".join(bad[:limit]) + (f" and {len(bad) - limit} more" if len(bad) > limit else "")


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """How two dicts of JSON types differ, one ``path: old, now new`` for each place."""
    found = []
    for name in dict.fromkeys([*old, *new]):
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{prefix}{name}.")
        elif before != after:
            found.append(f"{prefix}{name}: {before!r}, now {after!r}")
    return found


def _same_or_new(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write config.json in a new run folder; in an old one, require the same settings."""
    path = folder / "config.json"
    if not path.exists():
        if list_checkpoints(folder / "checkpoints"):
            raise ValueError(f"{folder} has checkpoints but no config.json: use a new run folder")
        folder.mkdir(parents=True, exist_ok=True)
        replace_durably(path, json.dumps(settings, indent=1).encode())
        return
    try:
        old = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}): use a new run folder") from error
    if changes := differences(old, settings):
        raise ValueError(
            f"{folder} holds a run with other settings: {'; '.join(changes)}. Use the settings of "
            "that run to continue it, or a new run folder"
        )


def _require_room(folder: Path, model: Module, keep: int) -> None:
    """Raise OSError before the first step when the disk cannot take the checkpoints."""
    weights = sum(p.size * p.array.itemsize for p in model.parameters())
    there = len(list_checkpoints(folder / "checkpoints"))
    # A checkpoint is the weights and two moments; while one is written there are keep + 1.
    needed = 3 * weights * max(1, keep + 1 - there)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"{folder}: the checkpoints of this run need {needed / 1e6:.0f} MB, the disk has "
            f"{free / 1e6:.0f} MB free: make room, or use another run folder or a smaller keep"
        )

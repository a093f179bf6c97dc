"""A training run as it goes: where it begins, what it logs, what it saves.

In a folder (see ``folder``) there are ``log.jsonl``, one record per line, and ``checkpoints/``, the
newest few. Other commands open it: ``find_checkpoint(run)``, ``History.read(run)``.
"""

from __future__ import annotations

import json
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minissl.autograd.arrays import Array
from minissl.autograd.processes import from_first, world
from minissl.nn.module import Module
from minissl.optim.optimizer import Optimizer
from minissl.options import is_whole
from minissl.reading import reading
from minissl.training.checkpoint import (
    OTHER_MODEL,
    CheckpointError,
    find_checkpoint,
    list_checkpoints,
    not_finite,
    prune_checkpoints,
    save_checkpoint,
)
from minissl.training.distributed import share_start
from minissl.training.folder import RunFolder, differences
from minissl.training.log import History, Log, Record, plain
from minissl.training.starts import add_start

MOST = 10  # checkpoints that a run makes, unless it is told to make more


class DivergedError(RuntimeError):
    """The loss, a gradient or a weight is no longer a finite number. ``step``: where."""

    def __init__(self, message: str, step: int):
        super().__init__(message)
        self.step = step


class Run:
    """One training run, in a folder that somebody holds, or (None) only in memory.

    ``files`` are written beside the config when the run is new. ``keep``: how many checkpoints
    stay, None for all.

    Raises ValueError when the folder holds a run with other settings, OSError when it cannot be
    written or has no room for the checkpoints: both before the first step.
    """

    def __init__(
        self,
        folder: RunFolder | None,
        settings: Mapping[str, Any],
        model: Module,
        optimizer: Optimizer,
        keep: int | None = 2,
        files: Mapping[str, bytes] | None = None,
    ):
        if folder is not None and folder.closed:
            raise ValueError(f"{folder.path} was closed: open it again with RunFolder")
        self.folder, self.settings = folder, settings
        self.model, self.optimizer, self.keep = model, optimizer, keep
        self.step = 0  # where training begins
        self.resumed = False
        self.newest: Path | None = None  # the newest good checkpoint
        self.history = History()
        self._log: Log | None = None
        self._earlier_seconds = 0.0
        # The memory order that a loaded checkpoint has: sums over another order round differently.
        model.load_state_dict(model.state_dict())
        start = json.loads(from_first(lambda: self._open(files or {})))
        self.step, self.resumed = start["step"], start["resumed"]
        self.history.records[:] = start["records"]
        share_start(model, optimizer)
        self._started = time.perf_counter()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._log is not None:
            self._log.close()

    def _open(self, files: Mapping[str, bytes]) -> bytes:
        """Where to begin, as JSON; see ``_open_folder``."""
        if self.folder is not None:
            self._open_folder(self.folder, files)
        start = {"step": self.step, "resumed": self.resumed, "records": self.history.records}
        return json.dumps(start).encode()

    def _open_folder(self, folder: RunFolder, files: Mapping[str, bytes]) -> None:
        """Compare the settings, load the newest good checkpoint, cut the log back to it."""
        folder.require(self.settings)
        checkpoints = folder.path / "checkpoints"
        there = list_checkpoints(checkpoints)
        if there and folder.config is None:
            raise ValueError(
                f"{folder.path} has checkpoints but no config.json: use a new run folder"
            )
        expected = self._resume(folder) if there else 0
        finished = self.resumed and self.step == self.settings["steps"]
        if not finished:
            if folder.read_only is not None:
                raise folder.read_only
            _require_room(folder.path, self.model, self.keep)
            folder.begin(self.settings, files)
            try:
                add_start(folder.path, self.step, self.model.device, world().size)
            except OSError:
                folder.withdraw()  # of a new run nothing is left
                raise
        log = folder.path / "log.jsonl"
        if folder.read_only is None:
            if self.newest is not None:
                prune_checkpoints(self.newest, self.keep)  # a kill may have kept it from ending
            self._log = Log(log, self.step if self.resumed else -1)
            self.history = self._log.history
        elif log.exists():
            self.history = History.read(log)
        if len(self.history) != expected:
            warnings.warn(
                f"{log} has {len(self.history)} records up to step {self.step}, "
                f"there were {expected}: the log has a gap, the run has none",
                stacklevel=4,
            )

    def _resume(self, folder: RunFolder) -> int:
        """Load the newest good checkpoint; returns how many records the log had then."""
        checkpoint = find_checkpoint(folder.path)
        found = {name: checkpoint.state.get(name) for name in self.settings}
        if changes := differences(found, self.settings):
            raise CheckpointError(
                f"{checkpoint.path} is not of this run; in it against here: "
                f"{'; '.join(changes)}. Remove it, or use a new run folder"
            )
        seconds: Any = checkpoint.state.get("seconds")
        records: Any = checkpoint.state.get("records")
        timed = isinstance(seconds, int | float) and 0 <= seconds < 1e12
        if not timed or not is_whole(records) or records < 0:
            raise CheckpointError(
                f"{checkpoint.path} says {seconds!r:.40} seconds and {records!r:.40} records: it "
                "is damaged. Remove it, or use a new run folder"
            )
        with reading(checkpoint.path, "a checkpoint of this run", OTHER_MODEL, CheckpointError):
            self.model.load_state_dict(checkpoint.weights)
            self.optimizer.load_state_dict(checkpoint.moments)
        self.step, self.resumed, self.newest = checkpoint.step, True, checkpoint.path
        self._earlier_seconds = float(seconds)
        return int(records)

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
        """Write a checkpoint; raises DivergedError, and writes none, when it would be a bad one.

        Raises OSError when the folder is no longer there.
        """
        if self.folder is None or self._log is None:
            return
        self.folder.require_present()
        arrays: dict[str, Array] = {f"weight {n}": a for n, a in self.model.state_dict().items()}
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
            self.folder.path / "checkpoints",
            self.model,
            self.optimizer,
            {**progress, **self.settings},
            keep=self.keep,
        )

    @contextmanager
    def or_as_it_was(self, step: int) -> Iterator[None]:
        """A step that fails when it is the first one of a new run leaves the folder as it was.

        Not so an interrupted one: that is continued.
        """
        try:
            yield
        except Exception:
            if step == 0:
                self.withdraw()
            raise

    def withdraw(self) -> None:
        """Leave a new folder as it was: nothing has been trained, and nothing will be."""
        if self.folder is None or self._log is None or self.resumed:
            return
        self._log.close()
        if self.newest is not None:
            shutil.rmtree(self.newest)  # of step 0
        self.folder.withdraw()

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
            "folder with a lower learning rate, a longer warm-up or gradients clipped to a norm of "
            "1 (clip), and look for NaN, infinity or very large numbers in the inputs"
        )


def _require_room(folder: Path, model: Module, keep: int | None) -> None:
    """Raise OSError before the first step when the disk cannot take the checkpoints."""
    weights = sum(p.size * p.array.itemsize for p in model.parameters())
    there = len(list_checkpoints(folder / "checkpoints"))
    # A checkpoint is the weights and two moments; while one is written there are keep + 1.
    needed = 3 * weights * max(1, min(keep or MOST, MOST) + 1 - there)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"{folder}: the checkpoints of this run need {needed / 1e6:.0f} MB, the disk has "
            f"{free / 1e6:.0f} MB free: make room, keep fewer checkpoints, or use another run "
            "folder or a smaller model"
        )

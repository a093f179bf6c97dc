"""Trackers that others wrote, told of a run while it trains: trackio, wandb, TensorBoard.

``with tracker("wandb", "runs/book", settings) as tell: pretrain(..., "runs/book", tell=tell)``. The
project and the name come from the run folder: ``runs/book`` is the run ``book`` of ``runs``.

A run that was killed comes by some steps again, and a tracker may have lost what it had not written
yet. So at the first record after every start it says how far it has come, and what it lacks of
``log.jsonl`` is sent: its curve is that of the log, whole and once.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from minissl.training.folder import CONFIG
from minissl.training.log import History, Record


def tracker(name: str, folder: str | Path, settings: Mapping[str, Any]) -> Tracker:
    """A function for ``tell`` of ``fit``, ``pretrain`` and ``adapt``, to be used with ``with``.

    folder: the run's. settings: plain values by name, shown beside the curves.
    Raises ValueError for a name that is not in TRACKERS, ImportError without its package.
    """
    if name not in TRACKERS:
        raise ValueError(f"a tracker is one of {', '.join(TRACKERS)}, got {name!r}")
    kind, package, entry = TRACKERS[name]
    try:
        module = import_module(package)
        getattr(module, entry)  # a folder of that name, as wandb makes one, can be imported
    except Exception as error:  # a package may fail in any way
        raise ImportError(
            f"{name} cannot be imported here ({error}): pip install {name}, or train without it"
        ) from error
    folder = Path(os.path.abspath(folder))
    return Tracker(name, folder, lambda: kind(module, folder, dict(settings)))


class Tracker:
    """Begins with the first record; for a run that was finished before, when ``with`` ends."""

    def __init__(self, name: str, folder: Path, begin: Callable[[], Any] | None):
        self.name, self.log, self.begin = name, folder / "log.jsonl", begin
        self._run: Any = None

    def __call__(self, *records: Record) -> None:
        """Send the numbers of these records; before the first ones what it lacks of the log."""
        if self.begin is not None:
            begin, self.begin = self.begin, None  # what cannot begin is not tried again
            self._run = begin()
            self._next = self._run.next
            records = (*(History.read(self.log) if self.log.exists() else ()), *records)
        for record in records:
            if record["step"] >= self._next:
                self._run.send(record["step"], numbers_of(record))
                self._next = record["step"] + 1

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Let the tracker send what it still holds; its errors do not hide how the run ended."""
        try:
            if kind is None and self.log.exists():
                self()
            if self._run is not None:
                self._run.finish(failed=kind is not None)
        except Exception as mine:
            warnings.warn(f"{self.name} could not be finished: {mine}", stacklevel=2)


def numbers_of(record: Record) -> dict[str, float]:
    """What makes a curve: no step, no text (the device) and nothing that was not finite (None)."""
    return {n: v for n, v in record.items() if n != "step" and isinstance(v, int | float)}


def names_of(folder: Path) -> tuple[str, str, str]:
    """Project, name and id of a run; the id of a new run in the place of an old one is another."""
    project, name = (re.sub(r"[/\\#?%:]", "-", part)[:90] for part in folder.parts[-2:])
    config = folder / CONFIG
    begun = config.stat().st_mtime_ns if config.exists() else time.time_ns()
    return project, name, f"{name}-{hashlib.sha256(str(begun).encode()).hexdigest()[:8]}"


class _WandB:
    def __init__(self, wandb: Any, folder: Path, settings: dict[str, Any]):
        project, name, mark = names_of(folder)
        self.run = wandb.init(project=project, name=name, id=mark, config=settings, resume="allow")
        self.next = self.run.step  # a record of an earlier step would be dropped with a warning

    def send(self, step: int, numbers: dict[str, float]) -> None:
        self.run.log(numbers, step=step, commit=True)

    def finish(self, failed: bool) -> None:
        self.run.finish(exit_code=int(failed))


class _Trackio:
    def __init__(self, trackio: Any, folder: Path, settings: dict[str, Any]):
        project, _, mark = names_of(folder)  # it finds a run by its name
        self.run = trackio.init(project=project, name=mark, config=settings, resume="allow")
        # It has no public name, and what is sent twice is shown twice.
        self.trackio, self.next = trackio, self.run._next_step

    def send(self, step: int, numbers: dict[str, float]) -> None:
        self.run.log(numbers, step=step)

    def finish(self, failed: bool) -> None:
        self.trackio.finish()


class _TensorBoard:
    """A new file at every start, with the whole log; its START hides what the older ones say."""

    def __init__(self, module: Any, folder: Path, settings: dict[str, Any]):
        self.events = import_module("tensorboard.compat.proto.event_pb2")
        self.writer, self.next = module.EventFileWriter(str(folder / "tensorboard")), 0
        self._add(0, session_log={"status": self.events.SessionLog.START})
        lines = "\n".join(f"    {name}: {value}" for name, value in settings.items())  # Markdown
        text = {"dtype": "DT_STRING", "string_val": [lines.encode()]}
        shown = {"plugin_data": {"plugin_name": "text"}}
        self._add(0, summary={"value": [{"tag": "settings", "metadata": shown, "tensor": text}]})

    def _add(self, step: int, **what: Any) -> None:
        self.writer.add_event(self.events.Event(wall_time=time.time(), step=step, **what))

    def send(self, step: int, numbers: dict[str, float]) -> None:
        pairs = [{"tag": name, "simple_value": value} for name, value in numbers.items()]
        self._add(step, summary={"value": pairs})
        self.writer.flush()

    def finish(self, failed: bool) -> None:
        self.writer.close()


EVENT_FILES = "tensorboard.summary.writer.event_file_writer"
TRACKERS: dict[str, tuple[Any, str, str]] = {  # what begins, by which name of which module
    "trackio": (_Trackio, "trackio", "init"),
    "wandb": (_WandB, "wandb", "init"),
    "tensorboard": (_TensorBoard, EVENT_FILES, "EventFileWriter"),
}

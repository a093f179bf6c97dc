"""A run folder between what is asked for and what it already holds: for every kind of run.

The folder is opened first, by one process, and compared with what is asked for; only then is
anything learned from the data, and only when all of it fits is anything written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from minissl.autograd.processes import from_first, world
from minissl.data import Data, Fields, Kept
from minissl.options import Options, binding, from_json
from minissl.reading import FileError
from minissl.training.checkpoint import Checkpoint, list_checkpoints
from minissl.training.folder import (
    CONFIG,
    DATA,
    RunFolder,
    differences,
    other_settings,
    read_kept,
    sums,
)

ROLES = {"method": "a run of", "adaptation": "an adaptation by"}  # what a config can be of
PARTS = {"settings": dict, "data": dict, "kept": dict}


@dataclass
class Opening:
    """What is asked for: a method or an adaptation by name, its settings, its raw data.

    ``origin``: which weights it begins with, by the name of what it is to the run ("from",
    "base"); ``{"from": None}``: its own. ``stack``: closes the folder at its end.

    ``look`` holds the folder and compares; then ``kept`` has the bytes that the run kept, in all
    processes, and ``config`` what to record.
    """

    role: str
    name: str
    settings: Options
    data: Data
    origin: dict[str, Any]
    stack: ExitStack
    folder: RunFolder | None = None
    kept: dict[str, bytes] = field(default_factory=dict)
    _config: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.fingerprint = self.data.fingerprint()

    def look(self, path: str | Path | None) -> None:
        """Hold the folder and compare. Raises ValueError, BusyError or OSError, as it may be."""
        told = json.loads(from_first(lambda: self._look(path)))
        if told["fingerprint"]["sha256"] != self.fingerprint["sha256"]:
            raise ValueError(
                f"process {world().rank} has read other data than process 0: give all processes "
                "the same files"
            )
        self.kept, self._config = from_text(told["kept"]), told["config"]

    def _look(self, path: str | Path | None) -> bytes:
        """What all processes need to know of the folder, as JSON."""
        told: dict[str, Any] = {"fingerprint": self.fingerprint, "kept": {}, "config": None}
        if path is not None:
            self.folder = self.stack.enter_context(RunFolder(path))
            if self.folder.config is not None:
                old = read_config(self.folder.config.get("config"), self.folder.path)
                self._compare(self.folder, old)
                told["kept"] = as_text(read_kept(self.folder.path, old["kept"]))
                told["config"] = old
        return json.dumps(told).encode()

    def _compare(self, folder: RunFolder, old: dict[str, Any]) -> None:
        held = {role: old[role] for role in ROLES if role in old}
        if held != {self.role: self.name}:
            role, name = next(iter(held.items()))
            raise ValueError(
                f"{folder.path} holds {ROLES[role]} {name!r}, not of {self.name!r}: "
                "use a new run folder"
            )
        folder.require_data(old["data"], self.fingerprint)
        kind = type(self.settings)
        before = from_json(kind, old["settings"], str(folder.path / CONFIG))
        if changes := differences(binding(before), binding(self.settings)):
            raise other_settings(folder.path, changes)
        self._compare_origin(folder, old)

    def _compare_origin(self, folder: RunFolder, old: dict[str, Any]) -> None:
        for name, ours in self.origin.items():
            theirs = old.get(name)
            if ours is None:  # without a start, a run that was begun with one goes on
                if theirs and not list_checkpoints(folder.path / "checkpoints"):
                    raise ValueError(
                        f"{folder.path} was begun from the weights of another run and has no "
                        f"checkpoint yet: give the same start (--{name}) again"
                    )
            elif changes := differences({name: theirs}, {name: ours}):
                raise other_settings(folder.path, changes)

    @property
    def recorded(self) -> dict[str, Any] | None:
        """What the folder says of the run that it holds; None in a new one."""
        return self._config

    def config(self, kept: Kept, **more: Any) -> dict[str, Any]:
        """What the run records of itself, in JSON types; what it recorded when it began."""
        return self._config or {
            self.role: self.name,
            "settings": asdict(self.settings),
            "data": {"kind": type(self.data).__name__, "sha256": self.fingerprint["sha256"]},
            "kept": sums(kept),
            **self.origin,
            **more,
        }

    def files(self, kept: Kept, read_from: str | Path | None, fields: Fields) -> dict[str, bytes]:
        """The files of a new run: what its data needs, and on which data it is, read how."""
        about = {
            "kind": type(self.data).__name__,
            "read_from": read_from and str(read_from),
            "fields": asdict(fields),
            self.role: self.name,
            "fingerprint": self.fingerprint,
        }
        if fitted := getattr(self.data, "fitted", ""):  # images of other sizes, rows left out
            about["fitted"] = fitted
        return {**kept, DATA: json.dumps(about, indent=1).encode()}


def weights_of(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    """Which weights these are, in JSON types: of what, after how many steps, their SHA-256."""
    return {"method": name, "step": checkpoint.step} | checkpoint.sums()


def learned_by_first(learn: Callable[[], Any], kept: Kept, again: Callable[[Kept], Any]) -> Any:
    """What ``learn`` gives in process 0; the others receive what it kept, and do it ``again``."""
    made: list[Any] = []

    def first() -> bytes:
        made.append(learn())
        return json.dumps(as_text(made[0].kept)).encode()

    learned = Kept(from_text(json.loads(from_first(first))), kept.folder)
    return made[0] if made else again(learned)


def as_text(files: Mapping[str, bytes]) -> dict[str, str]:
    """Files for JSON, which has no bytes: each becomes the character of the same number."""
    return {name: data.decode("latin-1") for name, data in files.items()}


def from_text(files: Mapping[str, str]) -> dict[str, bytes]:
    """The files again."""
    return {name: text.encode("latin-1") for name, text in files.items()}


def read_config(config: Any, folder: Path) -> dict[str, Any]:
    """What a run records of itself. FileError, a sentence, for a run that has something else."""
    if not isinstance(config, dict) or not config.keys() & ROLES.keys():
        raise FileError(
            f"{folder} does not say which method it is a run of: it was made by fit() in Python, "
            "or is damaged. Its weights can be read with minissl.training.load_model"
        )
    name = next(config[role] for role in ROLES if role in config)
    if not isinstance(name, str):
        raise FileError(f"{folder} says that it is a run of {name!r:.40}: it is damaged")
    if any(not isinstance(config.get(part), kind) for part, kind in PARTS.items()):
        raise FileError(
            f"{folder} holds a run of {name!r} from before methods recorded their settings "
            "(minissl 0.1): pretrain again, or open it with the version that made it"
        )
    return config

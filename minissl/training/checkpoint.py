"""Checkpoints: a model and its optimizer at one step, in files that are whole or not there.

A checkpoint is a folder ``step-00001000`` with ``model.safetensors`` (weights and buffers),
``optimizer.safetensors`` (moments), ``checkpoint.json`` (step, seed, configuration, versions) and
``SHA256SUMS`` (``sha256sum -c`` checks it). It is written under another name, forced to the disk
and then renamed, which the file system does in one piece: a process may be killed at any moment.
None of the files can run code when it is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from minissl.durable import sync_folder, write_durably
from minissl.nn.module import Module
from minissl.optim.optimizer import Optimizer

FORMAT_VERSION = 1
FILES = ("model.safetensors", "optimizer.safetensors", "checkpoint.json")
SUMS = "SHA256SUMS"


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written, or cannot be trusted."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds. ``state``: the caller's dict; ``config``: the ``"config"`` in it."""

    path: Path
    weights: dict[str, np.ndarray]
    moments: dict[str, np.ndarray]
    state: dict[str, Any]

    @property
    def step(self) -> int:
        """How many updates the weights have had."""
        return self.state["step"]

    @property
    def config(self) -> dict[str, Any]:
        """What the caller of ``fit`` gave as ``config``: enough to build the model again."""
        return self.state.get("config", {})


def save_checkpoint(
    folder: str | Path,
    model: Module,
    optimizer: Optimizer,
    state: Mapping[str, Any],
    keep: int | None = 2,
) -> Path:
    """Write ``folder/step-<state["step"]>``, then remove all but the last ``keep`` up to it.

    ``state``: JSON types, with ``"step"``. ``keep``: None removes none. Returns the checkpoint's
    path. When writing fails (disk full, no permission) raises CheckpointError, and the older
    checkpoints are untouched.
    """
    if keep is not None and keep < 1:
        raise ValueError(f"keep must be 1 or more, got {keep}")
    folder = Path(folder)
    final = folder / f"step-{state['step']:08d}"
    unfinished = folder / f".{final.name}.unfinished"
    contents = _contents(model, optimizer, state)
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for name, data in contents.items():
            write_durably(unfinished / name, data)
        sync_folder(unfinished)
        if final.exists():  # a broken one, which the resumed run has now written again
            _discard(final)
        os.rename(unfinished, final)
        sync_folder(folder)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        older = [path.name for path in list_checkpoints(folder)]
        raise CheckpointError(
            f"the checkpoint of step {state['step']} could not be written in {folder}: {error}. "
            f"Older checkpoints there: {', '.join(older) or 'none'}. Make room or choose another "
            "folder, and start the run again: it continues from the newest checkpoint"
        ) from error
    prune_checkpoints(final, keep)
    return final


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read one checkpoint and check every byte of it.

    Raises CheckpointError when a file is missing, cut off or damaged, or of a newer format.
    """
    path = Path(path)
    sums = _read(path, SUMS)
    contents = {name: _read(path, name) for name in FILES}
    for name, data in contents.items():
        if _sum_line(name, data) not in sums.split(b"\n"):
            raise CheckpointError(
                f"{path / name} ({len(data)} bytes) is not what was saved: it or {SUMS} "
                "is cut off or damaged. Use another checkpoint"
            )
    try:
        state = json.loads(contents["checkpoint.json"])
        if state["format_version"] > FORMAT_VERSION:
            raise CheckpointError(
                f"{path} has format version {state['format_version']}, this version of minissl "
                f"reads up to {FORMAT_VERSION}: update minissl"
            )
        if not isinstance(state["step"], int):
            raise ValueError(f"its step is {state['step']!r:.40}")
        weights, moments = (safetensors.load(contents[name]) for name in FILES[:2])
    except (ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise CheckpointError(f"{path} is not a checkpoint of minissl: {error}") from error
    return Checkpoint(path, weights, moments, state)


def find_checkpoint(folder: str | Path) -> Checkpoint:
    """The newest checkpoint that is whole, in a run folder or in a folder of checkpoints.

    A path of one checkpoint gives that one. Each broken checkpoint that was passed over is
    reported by a warning. Raises CheckpointError when there is none.
    """
    folder = Path(folder)
    if (folder / FILES[-1]).exists():
        return load_checkpoint(folder)
    paths = list_checkpoints(folder / "checkpoints") or list_checkpoints(folder)
    reasons = []
    for path in paths:
        try:
            checkpoint = load_checkpoint(path)
        except CheckpointError as error:
            reasons.append(str(error))
            continue
        for reason in reasons:
            warnings.warn(f"{reason}. Falling back to {path}", stacklevel=2)
        return checkpoint
    none = "there is none" if folder.exists() else "there is no such folder"
    raise CheckpointError(f"no usable checkpoint in {folder}: {'; '.join(reasons) or none}")


def load_model(folder: str | Path, model: Module) -> dict[str, Any]:
    """Load only the weights, from what ``find_checkpoint`` finds; returns the checkpoint's state.

    Raises CheckpointError when there is none, KeyError or ValueError when it is of another model.
    """
    checkpoint = find_checkpoint(folder)
    model.load_state_dict(checkpoint.weights)
    return checkpoint.state


def list_checkpoints(folder: str | Path) -> list[Path]:
    """The checkpoints in a folder, the newest first, without a look inside."""
    paths = [p for p in Path(folder).glob("step-*") if re.fullmatch("[0-9]+", _number(p))]
    return sorted(paths, key=lambda path: int(_number(path)), reverse=True)


def _number(path: Path) -> str:
    return path.name.removeprefix("step-")


def prune_checkpoints(newest: Path, keep: int | None) -> None:
    """Keep ``newest`` and the ``keep - 1`` before it (None: all); remove what kills left behind."""
    for leftover in newest.parent.glob(".step-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    paths = list_checkpoints(newest.parent) if keep is not None else [newest]
    for path in paths[
        paths.index(newest) + (keep or 1) :
    ]:  # what is newer than the newest is broken
        _discard(path)


def _contents(model: Module, optimizer: Optimizer, state: Mapping[str, Any]) -> dict[str, bytes]:
    """The files of a checkpoint, by name."""
    from minissl import __version__

    described = {"format_version": FORMAT_VERSION, "minissl": __version__, **state}
    contents = {
        "model.safetensors": safetensors.save(model.state_dict()),
        "optimizer.safetensors": safetensors.save(optimizer.state_dict()),
        "checkpoint.json": json.dumps(described, indent=1, allow_nan=False).encode(),
    }
    sums = [_sum_line(name, data) + b"\n" for name, data in contents.items()]
    return {**contents, SUMS: b"".join(sums)}


def _sum_line(name: str, data: bytes) -> bytes:
    """A line of SHA256SUMS."""
    return f"{hashlib.sha256(data).hexdigest()}  {name}".encode()


def _read(path: Path, name: str) -> bytes:
    try:
        return (path / name).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path / name} cannot be read: {error.strerror}") from error


def _discard(path: Path) -> None:
    """Remove a folder so that it is never seen half empty under its own name."""
    hidden = path.with_name(f".{path.name}.discarded")
    shutil.rmtree(hidden, ignore_errors=True)
    os.rename(path, hidden)
    shutil.rmtree(hidden, ignore_errors=True)

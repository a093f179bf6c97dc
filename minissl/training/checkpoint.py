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
import re
import shutil
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from minissl.autograd.arrays import Array
from minissl.autograd.tensor import Tensor
from minissl.durable import put_in_place, sync_folder, write_durably
from minissl.nn.module import Module
from minissl.optim.optimizer import Optimizer
from minissl.reading import MOST_JSON, FileError, parse_json, read_bytes, reading
from minissl.tensors import parse_tensors

FORMAT_VERSION = 1
FILES = ("model.safetensors", "optimizer.safetensors", "checkpoint.json")
SUMS = "SHA256SUMS"
ANOTHER = "It is damaged: use another checkpoint"
OTHER_MODEL = "Give the settings that it was trained with, or another checkpoint"


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
    def numbers(self) -> int:
        """How many numbers the weights are."""
        return sum(array.size for array in self.weights.values())

    def sums(self) -> dict[str, str]:
        """The SHA-256 of the file with the weights, as "weights"."""
        data = read_bytes(self.path / FILES[0])
        return {"weights": hashlib.sha256(data).hexdigest()}

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
        put_in_place(unfinished, final)
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

    Raises CheckpointError when a file is missing, cut off or damaged, or of a newer format, and for
    weights or moments that are not finite: nothing can come of them.
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
    with reading(path, "a checkpoint of minissl", ANOTHER, CheckpointError):
        state = _state(contents["checkpoint.json"], path / "checkpoint.json")
        weights, moments = (parse_tensors(contents[name], path / name) for name in FILES[:2])
        for name, arrays in zip(FILES, (weights, moments)):
            if bad := not_finite(arrays):
                raise FileError(f"{path / name} has numbers that are not finite: {bad}")
    return Checkpoint(path, weights, moments, state)


def _state(data: bytes, place: Path) -> dict[str, Any]:
    """What ``checkpoint.json`` says; of a newer format nothing but its version is believed."""
    read = partial(parse_json, data, place, "a checkpoint of minissl", advice=ANOTHER)
    version = read({"format_version": int})["format_version"]
    if not 1 <= version <= FORMAT_VERSION:
        raise FileError(
            f"{place} has format version {version}, this version of minissl reads up to "
            f"{FORMAT_VERSION}: update minissl"
        )
    state = read({"step": int})
    if not 0 <= state["step"] < 1 << 63:
        raise FileError(f"{place} says that {state['step']} steps were made")
    return state


def not_finite(arrays: Mapping[str, Array], limit: int = 5) -> str:
    """The names of the arrays with a NaN or an infinity in them, as words; "" if there is none."""
    bad = [name for name, a in arrays.items() if not np.isfinite(Tensor(a).numpy()).all()]
    return ", ".join(bad[:limit]) + (f" and {len(bad) - limit} more" if len(bad) > limit else "")


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
    none = "there is none" if folder.is_dir() else "there is no such folder"
    if inside := sorted(path.parent.name for path in folder.glob("*/checkpoints")):
        none = f"it is no run, and holds some: {', '.join(map(repr, inside[:8]))}"
    if folder.is_file():
        none = "it is a file, expected the folder of a run"
    raise CheckpointError(f"no usable checkpoint in {folder}: {'; '.join(reasons) or none}")


def load_model(folder: str | Path, model: Module) -> dict[str, Any]:
    """Load only the weights, from what ``find_checkpoint`` finds; returns the checkpoint's state.

    Raises CheckpointError when there is none, ValueError when it is of another model.
    """
    checkpoint = find_checkpoint(folder)
    load_weights(model, checkpoint)
    return checkpoint.state


def load_weights(model: Module, checkpoint: Checkpoint, without: Collection[str] = ()) -> None:
    """Put the weights of a checkpoint in a model. FileError, with its path, if they do not fit.

    ``without``: buffers that stay as they are.
    """
    own = model.state_dict() if without else {}
    with reading(checkpoint.path, f"weights of this {type(model).__name__}", OTHER_MODEL):
        model.load_state_dict(checkpoint.weights | {name: own[name] for name in without})


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
        "model.safetensors": save(model.state_dict()),
        "optimizer.safetensors": save(optimizer.state_dict()),
        "checkpoint.json": json.dumps(described, indent=1, allow_nan=False).encode(),
    }
    sums = [_sum_line(name, data) + b"\n" for name, data in contents.items()]
    return {**contents, SUMS: b"".join(sums)}


def _sum_line(name: str, data: bytes) -> bytes:
    """A line of SHA256SUMS."""
    return f"{hashlib.sha256(data).hexdigest()}  {name}".encode()


def _read(path: Path, name: str) -> bytes:
    try:
        return read_bytes(path / name, None if name.endswith(".safetensors") else MOST_JSON)
    except (OSError, FileError) as error:
        raise CheckpointError(getattr(error, "strerror", None) or str(error)) from error


def _discard(path: Path) -> None:
    """Remove a folder so that it is never seen half empty under its own name."""
    hidden = path.with_name(f".{path.name}.discarded")
    shutil.rmtree(hidden, ignore_errors=True)
    put_in_place(path, hidden)
    shutil.rmtree(hidden, ignore_errors=True)

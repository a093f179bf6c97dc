"""From data to a run in a folder, and from the folder back to a method: for every method alike.

The folder is opened first, by one process, and compared with what is asked for; only then is
anything learned from the data, and only when all of it fits is anything written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from minissl.autograd.processes import from_first, world
from minissl.data import FIELDS, Data, Fields, Kept, Prepared
from minissl.options import binding, from_json, is_whole
from minissl.pretrain import load_method
from minissl.pretrain.method import Pretraining, Training, method_name
from minissl.training import Checkpoint, History, find_checkpoint, fit
from minissl.training.checkpoint import list_checkpoints
from minissl.training.folder import (
    CONFIG,
    DATA,
    RunFolder,
    differences,
    other_settings,
    read_json,
    read_kept,
    sums,
)
from minissl.training.method import Evaluated


class Pretrained(NamedTuple):
    """A method after its training, the data it was trained on, and what happened on the way."""

    method: Any
    data: Any
    history: History


@dataclass(frozen=True)
class Opened:
    """A run that was opened: its method with the weights of its newest good checkpoint.

    ``data``: prepared data without what the run was trained on, which reads new examples.
    """

    folder: Path
    name: str
    method: Any
    settings: Any
    data: Any
    checkpoint: Checkpoint

    def on(self, data: Prepared) -> Any:
        """The same weights, in a method that is built on other data."""
        _require(data, type(self.method).Data.prepared, "data")
        method = type(self.method).build(self.settings, data, seed=0)
        method.model.load_state_dict(self.checkpoint.weights)
        method.model.eval()
        return method

    def read_from(self) -> Path | None:
        """Where the data of the run lay, None for data that is on every machine.

        Raises ValueError when the run does not say.
        """
        about = read_json(self.folder / DATA) or {}
        if not isinstance(about.get("read_from", 0), str | None):
            raise ValueError(f"{self.folder} does not say where its data lies: give the data")
        return None if about["read_from"] is None else Path(about["read_from"])

    def read_fields(self) -> Fields:
        """Which columns of a table the run was told to read; the usual ones of older runs."""
        about = read_json(self.folder / DATA) or {}
        return from_json(Fields, about.get("fields", {}), str(self.folder / DATA))


def pretrain(
    kind: type[Pretraining],
    data: Data,
    settings: Training,
    folder: str | Path | None = None,
    *,
    start: Opened | None = None,
    seed: int = 0,
    device: str = "cpu",
    precision: str = "float32",
    progress: bool | str = True,
    read_from: str | Path | None = None,
    fields: Fields = FIELDS,
) -> Pretrained:
    """Pretrain on raw data in the folder, or continue what was begun there with the same settings.

    start: an opened run whose weights (and tokenizer) a new run begins with, with a schedule and
    settings of its own. read_from: where the data lies, so that ``evaluate`` finds it again, and
    fields: which columns of a table it is.

    Raises ValueError when the folder holds another run or one on other data, BusyError when another
    process trains there, and what ``build`` and ``fit`` raise. After an error before the first step
    the folder is as it was.
    """
    _check_kinds(kind, settings, data, start, seed)
    if start is not None and start.name != method_name(kind):
        raise ValueError(
            f"{start.folder} holds a run of {start.name!r}: only a run of {method_name(kind)!r} "
            "can go on from its weights"
        )
    with ExitStack() as stack:
        ours: dict[str, Any] = {"method": method_name(kind), "fingerprint": data.fingerprint()}
        opening = _Opening(ours, settings, start, stack)
        told = json.loads(from_first(lambda: opening.look(folder, kind)))
        _require_same_data(ours["fingerprint"], told["fingerprint"])
        kept = Kept(start.data.kept if start else {}, start.folder if start else None)
        kept.update(_from_text(told["kept"]))
        prepared = _prepare(data, kept, settings, progress=bool(progress))
        method = kind.build(settings, prepared, seed=seed)
        if start is not None:
            _begin_with(method, start)
        method.model.to(device)
        config = told["config"] or opening.config(data, prepared.kept)
        place = {"read_from": read_from and str(read_from), "fields": asdict(fields)}
        about = {"kind": type(data).__name__, **place, **ours}
        history = _fit(
            method, settings, seed=seed, precision=precision, progress=progress,
            run=opening.folder, config=config,
            files={**prepared.kept, DATA: json.dumps(about, indent=1).encode()},
        )  # fmt: skip
    return Pretrained(method, prepared, history)


def train(
    method: Pretraining,
    settings: Training,
    *,
    seed: int = 0,
    precision: str = "float32",
    progress: bool | str = True,
) -> History:
    """Train a method that is already built, as the settings say, and keep nothing but the weights.

    There is no folder here: it would not know on which data.
    """
    _require(settings, Training, "settings")
    return _fit(method, settings, seed=seed, precision=precision, progress=progress)


def _check_kinds(kind: Any, settings: Any, data: Any, start: Any, seed: Any) -> None:
    """Raise TypeError or ValueError for what would fail later, and far from here."""
    if not (isinstance(kind, type) and issubclass(kind, Pretraining)):
        raise TypeError(f"kind must be the class of a method, got {kind!r:.60}: see load_method")
    _require(settings, kind.Settings, "settings")
    _require(data, kind.Data, "data")
    if start is not None:
        _require(start, Opened, "start")
    if not is_whole(seed) or seed < 0:
        raise ValueError(f"seed must be a whole number ≥ 0, got {seed!r}")


def _require(value: Any, kind: type, name: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(
            f"{name} must be of type {kind.__name__}, got a {type(value).__name__}: {value!r:.60}"
        )


def _fit(method: Any, settings: Training, **options: Any) -> History:
    measured = isinstance(method, Evaluated)
    return fit(
        method,
        settings.optimizer(method.model),
        steps=settings.steps,
        schedule=settings.schedule,
        clip=settings.clip or None,
        evaluate_every=max(1, settings.steps // settings.evaluations) if measured else None,
        keep=settings.keep or None,
        **options,
    )


class _Opening:
    """The folder of a run, compared with what is asked for before anything is learned."""

    def __init__(
        self, ours: dict[str, Any], settings: Training, start: Opened | None, stack: ExitStack
    ):
        self.ours, self.settings, self.start, self.stack = ours, settings, start, stack
        self.folder: RunFolder | None = None

    def look(self, path: str | Path | None, kind: type[Pretraining]) -> bytes:
        """Hold the folder and compare; returns, as JSON, what all processes need to know of it."""
        told: dict[str, Any] = {"fingerprint": self.ours["fingerprint"], "kept": {}, "config": None}
        if path is not None:
            self.folder = self.stack.enter_context(RunFolder(path))
            if self.folder.config is not None:
                old = read_config(self.folder.config.get("config"), self.folder.path)
                self._compare(self.folder, old, kind)
                told["kept"] = _as_text(read_kept(self.folder.path, old["kept"]))
                told["config"] = old
        return json.dumps(told).encode()

    def _compare(self, folder: RunFolder, old: dict[str, Any], kind: type[Pretraining]) -> None:
        if old["method"] != self.ours["method"]:
            raise ValueError(
                f"{folder.path} holds a run of {old['method']!r}, not of {self.ours['method']!r}: "
                "use a new run folder"
            )
        folder.require_data(old["data"], self.ours["fingerprint"])
        before = from_json(kind.Settings, old["settings"], str(folder.path / CONFIG))
        if changes := differences(binding(before), binding(self.settings)):
            raise other_settings(folder.path, changes)
        if old["from"] and not self.start and not list_checkpoints(folder.path / "checkpoints"):
            raise ValueError(
                f"{folder.path} was begun from the weights of another run and has no checkpoint "
                "yet: give the same start (--from) again"
            )
        # Without a start, a run that was begun with one goes on.
        if self.start and (changes := differences({"from": old["from"]}, {"from": self._origin()})):
            raise other_settings(folder.path, changes)

    def _origin(self) -> dict[str, Any] | None:
        """Which weights the run begins with, where they are those of another run."""
        if self.start is None:
            return None
        weights = (self.start.checkpoint.path / "model.safetensors").read_bytes()
        return {"method": self.start.name, "step": self.start.checkpoint.step} | sums(
            {"weights": weights}
        )

    def config(self, data: Data, kept: Kept) -> dict[str, Any]:
        """What a new run records of itself, in JSON types."""
        return {
            "method": self.ours["method"],
            "settings": asdict(self.settings),
            "data": {"kind": type(data).__name__, "sha256": self.ours["fingerprint"]["sha256"]},
            "kept": sums(kept),
            "from": self._origin(),
        }


def _require_same_data(ours: Mapping[str, Any], first: Mapping[str, Any]) -> None:
    """Raise ValueError when process 0 has read other data than this one."""
    if ours["sha256"] != first["sha256"]:
        raise ValueError(
            f"process {world().rank} has read other data than process 0: give all processes "
            "the same files"
        )


def _prepare(data: Data, kept: Kept, settings: Training, *, progress: bool) -> Prepared:
    """Process 0 learns what is missing; the others receive it and encode the data themselves."""
    made: list[Prepared] = []

    def learn() -> bytes:
        made.append(data.prepare(kept, settings, progress=progress))
        return json.dumps(_as_text(made[0].kept)).encode()

    learned = Kept(_from_text(json.loads(from_first(learn))), kept.folder)
    return made[0] if made else data.prepare(learned, settings)


def _as_text(files: Mapping[str, bytes]) -> dict[str, str]:
    """Files for JSON, which has no bytes: each becomes the character of the same number."""
    return {name: data.decode("latin-1") for name, data in files.items()}


def _from_text(files: Mapping[str, str]) -> dict[str, bytes]:
    return {name: text.encode("latin-1") for name, text in files.items()}


def _begin_with(method: Any, start: Opened) -> None:
    """Load the weights of another run. ValueError when they are of another size."""
    try:
        method.model.load_state_dict(start.checkpoint.weights)
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"the weights of {start.folder} do not fit these settings ({error.args[0]}): "
            "use the sizes of that run"
        ) from None


# ---- opening -------------------------------------------------------------------------------------


def open_run(folder: str | Path, kind: type[Pretraining] | None = None) -> Opened:
    """The method of a run with the weights of its newest good checkpoint, ready to be used.

    ``folder``: a run folder, its ``checkpoints``, or one of them. ``kind``: the method's class,
    found by the recorded name unless given. Raises CheckpointError when there is no checkpoint,
    ValueError for a run of another method or one that is damaged; the error names the file.
    """
    folder = Path(folder)
    checkpoint = find_checkpoint(folder)
    folder = checkpoint.path.parent
    folder = folder.parent if folder.name == "checkpoints" else folder
    config = read_config(checkpoint.config, folder)
    kind = kind or load_method(config["method"])
    if config["method"] != method_name(kind):
        raise ValueError(
            f"{folder} holds a run of {config['method']!r}, not of {method_name(kind)!r}"
        )
    settings = from_json(kind.Settings, config["settings"], str(checkpoint.path))
    kept = Kept(read_kept(folder, config["kept"]), folder)
    data = kind.Data.prepared.reopen(kept, settings)
    method = kind.build(settings, data, seed=0)
    try:
        method.model.load_state_dict(checkpoint.weights)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{checkpoint.path} does not fit its own settings: {error}") from None
    method.model.eval()
    return Opened(folder, config["method"], method, settings, data, checkpoint)


def read_config(config: Any, folder: Path) -> dict[str, Any]:
    """What a run records of itself. ValueError, a sentence, for a run that has something else."""
    if not isinstance(config, dict) or "method" not in config:
        raise ValueError(
            f"{folder} does not say which method it is a run of: it was made by fit() in Python, "
            "or is damaged. Its weights can be read with minissl.training.load_model"
        )
    parts = {"settings": dict, "data": dict, "kept": dict}
    if any(not isinstance(config.get(name), kind) for name, kind in parts.items()):
        raise ValueError(
            f"{folder} holds a run of {config['method']!r} from before methods recorded their "
            "settings (minissl 0.1): pretrain again, or open it with the version that made it"
        )
    return {"from": None, **config}

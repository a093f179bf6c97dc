"""From data to a run in a folder, and from the folder back to a method: for every method alike.

The folder is opened first, by one process, and compared with what is asked for; only then is
anything learned from the data, and only when all of it fits is anything written.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from minissl.data import FIELDS, Data, Fields, Kept, Prepared
from minissl.nn.init import at_most
from minissl.options import from_json, is_whole
from minissl.pretrain import load_method
from minissl.pretrain.method import Pretraining, Training
from minissl.pretrain.published import is_published, read_published
from minissl.reading import reading
from minissl.registry import file_name_of
from minissl.training import Checkpoint, History, find_checkpoint, fit
from minissl.training.checkpoint import load_weights
from minissl.training.folder import DATA, read_if_there, read_kept
from minissl.training.log import Record
from minissl.training.method import Evaluated
from minissl.training.opening import Opening, learned_by_first, read_config, weights_of


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
        require(data, type(self.method).Data.prepared, "data")
        method = type(self.method).build(self.settings, data, seed=0)
        load_weights(method.model, self.checkpoint, method.of_the_run)
        method.model.eval()
        return method

    def read(self, path: Path | None, fields: Fields = FIELDS) -> Any:
        """Raw data of the kind that it was trained on."""
        return type(self.method).Data.read(path, self.settings, fields)

    def prepare(self, raw: Any) -> Any:
        """Raw data of the run made ready once more, and split as it was."""
        return raw.prepare(self.data.kept, self.settings)

    def read_examples(self, path: Path | None, fields: Fields = FIELDS) -> Any:
        """Raw data to be represented: without labels, each example whole."""
        return type(self.method).Data.read_examples(path, self.settings, fields)

    def read_from(self) -> Path | None:
        """Where the data of the run lay, None for data that is on every machine.

        Raises ValueError when the run does not say.
        """
        place = self._about().get("read_from", 0)
        if not isinstance(place, str | None) or "\0" in (place or ""):
            raise ValueError(f"{self.folder} does not say where its data lies: give the data")
        return None if place is None else Path(place)

    def read_fields(self) -> Fields:
        """Which columns of a table the run was told to read; the usual ones of older runs."""
        return from_json(Fields, self._about().get("fields", {}), str(self.folder / DATA))

    def _about(self) -> dict[str, Any]:
        """What the run says of its data."""
        return read_if_there(self.folder / DATA, "what the data of a run is") or {}


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
    watch: Callable[[Any, Any], Callable[[], dict[str, float]]] | None = None,
    tell: Callable[[Record], None] | None = None,
) -> Pretrained:
    """Pretrain on raw data in the folder, or continue what was begun there with the same settings.

    start: an opened run whose weights (and tokenizer) a new run begins with, with a schedule and
    settings of its own. read_from: where the data lies, so that ``evaluate`` finds it again, and
    fields: which columns of a table it is. watch: gives for method and prepared data what else is
    measured at every evaluation, and changes nothing (``adapt.watching.Watch``). tell: called with
    every record of the log, as in ``fit`` (``training.trackers``).

    Raises ValueError when the folder holds another run or one on other data, BusyError when another
    process trains there, and what ``build`` and ``fit`` raise. After an error before the first step
    the folder is as it was.
    """
    _check_kinds(kind, settings, data, start, seed)
    require(fields, Fields, "fields")
    if start is not None and start.name != file_name_of(kind):
        raise ValueError(
            f"{start.folder} holds a run of {start.name!r}: only a run of {file_name_of(kind)!r} "
            "can go on from its weights"
        )
    settings = settings.settled(data)
    if start is not None:
        _require_same_learned(start, settings)
    with ExitStack() as stack:
        origin = {"from": start and weights_of(start.checkpoint, start.name)}
        opening = Opening("method", file_name_of(kind), settings, data, origin, stack)
        opening.look(folder)
        kept = Kept(start.data.kept if start else {}, start.folder if start else None)
        kept.update(opening.kept)
        prepared = learned_by_first(
            lambda: data.prepare(kept, settings, progress=bool(progress)),
            kept,
            lambda learned: data.prepare(learned, settings),
        )
        method = kind.build(settings, prepared, seed=seed)
        if start is not None:
            _begin_with(method, start)
        method.model.to(device)
        history = fit_as_told(
            method, settings, seed=seed, precision=precision, progress=progress,
            run=opening.folder, config=opening.config(prepared.kept),
            files=opening.files(prepared.kept, read_from, fields),
            watch=watch and watch(method, prepared), tell=tell,
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
    require(settings, Training, "settings")
    return fit_as_told(method, settings, seed=seed, precision=precision, progress=progress)


def _check_kinds(kind: Any, settings: Any, data: Any, start: Any, seed: Any) -> None:
    """Raise TypeError or ValueError for what would fail later, and far from here."""
    if not (isinstance(kind, type) and issubclass(kind, Pretraining)):
        raise TypeError(f"kind must be the class of a method, got {kind!r:.60}: see load_method")
    require(settings, kind.Settings, "settings")
    require(data, kind.Data, "data")
    if start is not None:
        require(start, Opened, "start")
    if not is_whole(seed) or seed < 0:
        raise ValueError(f"seed must be a whole number ≥ 0, got {seed!r}")


def require(value: Any, kind: type, name: str) -> None:
    """Raise TypeError unless the value is of the kind. ``name``: the argument's."""
    if not isinstance(value, kind):
        raise TypeError(
            f"{name} must be of type {kind.__name__}, got a {type(value).__name__}: {value!r:.60}"
        )


def fit_as_told(method: Any, settings: Training, **options: Any) -> History:
    """``fit`` with the optimizer, the schedule and the numbers of the settings."""
    measured = isinstance(method, Evaluated) or options.get("watch")
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


def _require_same_learned(start: Opened, settings: Training) -> None:
    """Raise ValueError for a setting of what the other run has learned from its data and keeps."""
    for one in fields(settings):
        theirs, ours = (getattr(each, one.name, None) for each in (start.settings, settings))
        if one.metadata.get("learned") and theirs != ours:
            raise ValueError(
                f"{one.name} is {ours}, and {start.folder}, whose weights are to begin with, was "
                f"made with {theirs}, which goes with its weights: leave {one.name} as it is there"
            )


def _begin_with(method: Any, start: Opened) -> None:
    """Load the weights of another run. ValueError when they are of another size."""
    own = method.model.state_dict()
    weights = start.checkpoint.weights | {name: own[name] for name in method.of_the_run}
    with reading(start.folder, "weights for these settings", "Use the sizes of that run"):
        method.model.load_state_dict(weights)


# ---- opening -------------------------------------------------------------------------------------


def open_run(folder: str | Path, kind: type[Pretraining] | None = None) -> Opened:
    """The method of a run with the weights of its newest good checkpoint, ready to be used.

    ``folder``: a run folder, its ``checkpoints``, or one of them; or a folder of published weights
    (``pretrain.published``). ``kind``: the method's class, found by the recorded name unless given.
    Raises CheckpointError when there is no checkpoint, ValueError for a run of another method or
    one that is damaged; the error names the file.
    """
    folder = Path(folder)
    if is_published(folder):
        return open_published(folder, kind)
    checkpoint = find_checkpoint(folder)
    folder = checkpoint.path.parent
    folder = folder.parent if folder.name == "checkpoints" else folder
    config = read_config(checkpoint.config, folder)
    if "method" not in config:
        raise ValueError(
            f"{folder} holds an adaptation by {config['adaptation']!r}, not a pretrained model: "
            "predict, evaluate, embed, forget and (by lora, bias, last-layers) merge open it"
        )
    place = str(checkpoint.path / "checkpoint.json")
    with reading(folder, "a run of minissl"):  # what names a file in it stays as it is
        kind = kind or load_method(config["method"])
        _require_kind(folder, config["method"], kind)
        settings = from_json(kind.Settings, config["settings"], place)
        kept = Kept(read_kept(folder, config["kept"]), folder)
        data = kind.Data.prepared.reopen(kept, settings)
        with at_most(checkpoint.numbers, place):
            method = kind.build(settings, data, seed=0)
        load_weights(method.model, checkpoint, kind.of_the_run)
    method.model.eval()
    return Opened(folder, config["method"], method, settings, data, checkpoint)


def open_published(folder: str | Path, kind: type[Pretraining] | None = None) -> Opened:
    """Published weights as a run that was opened, see ``pretrain.published``. Errors: as there."""
    folder = Path(folder)
    name, *parts = read_published(folder)
    _require_kind(folder, name, kind or load_method(name))
    return Opened(folder, name, *parts)


def _require_kind(folder: Path, name: str, kind: type[Pretraining]) -> None:
    """Raise ValueError when the run is of another method."""
    if name != file_name_of(kind):
        raise ValueError(f"{folder} holds a run of {name!r}, not of {file_name_of(kind)!r}")

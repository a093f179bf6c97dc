"""From a pretrained run and labelled data to an adaptation in a folder, and back: for all alike.

As in ``pretrain.run`` the folder is opened first and compared; nothing is written before all fits.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from minissl.adapt import load_adaptation
from minissl.adapt.method import Adaptation, Solved, Task
from minissl.data import FIELDS, Data, Fields, Kept
from minissl.data.asked import Asked, load_reads, refuse_unread
from minissl.forms import in_words
from minissl.nn.init import at_most
from minissl.optim.optimizer import Optimizer
from minissl.options import binding, from_json, is_whole
from minissl.pretrain import load_method, method_names
from minissl.pretrain.published import is_published
from minissl.pretrain.run import Opened, fit_as_told, open_run, require
from minissl.reading import FileError, reading
from minissl.registry import file_name_of
from minissl.training import Checkpoint, History, find_checkpoint
from minissl.training.checkpoint import load_weights
from minissl.training.folder import RunFolder, differences, read_kept
from minissl.training.log import Record
from minissl.training.opening import Opening, read_config, weights_of
from minissl.training.run import Run


class Adapted(NamedTuple):
    """An adaptation after its training, what it learned from, and what happened on the way."""

    method: Any
    data: Task
    history: History


@dataclass(frozen=True)
class OpenedAdaptation(Opened):
    """An adaptation that was opened: ``method`` predicts; ``data``: a task without examples."""

    base: Opened

    def on(self, data: Any) -> Any:
        """The same weights, with other data held out."""
        require(data, Task, "data")
        return restored(type(self.method), self.settings, self.base, data, self.checkpoint)

    def read(self, path: Path | None, fields: Fields = FIELDS) -> Any:
        """Raw data with labels, of the kind that it was adapted to."""
        task = self.data
        return read_labelled(
            type(self.method), self.base, path, fields, reads=task.reads, form=task.form
        )

    def prepare(self, raw: Any) -> Task:
        """Split as it was."""
        return Task.prepare(self.base.data, raw, self.data.form)

    def read_examples(self, path: Path | None, fields: Fields = FIELDS) -> Any:
        """Raw data without labels."""
        reads = self.data.reads
        refuse_unread(load_reads(reads) if reads else type(self.base.method).Data, fields)
        if reads:
            return load_reads(reads).read_examples(path, self.base.settings, fields)
        return self.base.read_examples(path, fields)


def read_labelled(
    kind: type[Adaptation], opened: Opened, path: Path | None, fields: Fields = FIELDS,
    *, reads: str = "", form: str = "",
) -> Any:  # fmt: skip
    """Raw labelled data for an adaptation of this run: texts for a GPT, images for SimCLR.

    reads, form: its shape and its labels, see ``data.asked.shape_of``; "" for the usual ones.
    Raises ValueError for a form that the adaptation does not take.
    """
    form = form or kind.labels
    if form not in forms_of(kind):
        raise ValueError(
            f"{file_name_of(kind)} takes labels that are {in_words(forms_of(kind))}, asked for is "
            f"{in_words([form])}: take another adaptation, such as finetune"
        )
    raw: Any = load_reads(reads) if reads else type(opened.method).Data.with_labels
    refuse_unread(raw, fields)
    return raw.read(path, opened.settings, fields, labels=form)


def forms_of(kind: type[Adaptation]) -> tuple[str, ...]:
    """The kinds of labels that an adaptation takes, the usual one first."""
    return tuple(dict.fromkeys((kind.labels, *kind.forms)))


def adapt(
    kind: type[Adaptation],
    opened: Opened,
    data: Data,
    settings: Any,
    folder: str | Path | None = None,
    *,
    seed: int = 0,
    device: str = "cpu",
    precision: str = "float32",
    progress: bool | str = True,
    read_from: str | Path | None = None,
    fields: Fields = FIELDS,
    tell: Callable[[Record], None] | None = None,
) -> Adapted:
    """Adapt an opened run to raw labelled data, or continue in the folder what was begun there.

    The run is not changed. read_from, fields: where the data lies and which columns of a table it
    is, so that ``evaluate`` finds it again. tell: of a trained adaptation, called with every record
    of the log, as in ``fit``; what is solved at once has a single one and refuses it.

    Raises ValueError when the folder holds another adaptation, one of another run or on other data,
    BusyError when another process trains there, and what ``build``, ``solve`` and ``fit`` raise.
    After an error before the first step the folder is as it was.
    """
    _check_kinds(kind, opened, data, settings, seed)
    require(fields, Fields, "fields")
    if tell is not None and issubclass(kind, Solved):
        raise ValueError(f"{file_name_of(kind)} is solved at once and has no curve: leave tell out")
    with ExitStack() as stack:
        origin = {"base": weights_of(opened.checkpoint, opened.name)}
        opening = Opening("adaptation", file_name_of(kind), settings, data, origin, stack)
        opening.look(folder)
        _require_same_network(opened, opening.recorded, str(folder))
        task = Task.prepare(opened.data, data, forms_of(kind))
        method = kind.build(settings, opened, task, seed=seed)
        method.to(device)
        config = opening.config(task.kept, **base_of(opened, folder))
        files = opening.files(task.kept, read_from, fields)
        told: dict[str, Any] = {"seed": seed, "config": config, "files": files}
        if isinstance(method, Solved):
            history = _solve(method, opening.folder, "features" if progress else "", **told)
        else:
            told |= {"run": opening.folder, "precision": precision, "progress": progress}
            history = fit_as_told(method, settings, tell=tell, **told)
    return Adapted(method, task, history)


def _check_kinds(kind: Any, opened: Any, data: Any, settings: Any, seed: Any) -> None:
    """Raise TypeError or ValueError for what would fail later, and far from here."""
    if not (isinstance(kind, type) and issubclass(kind, Adaptation)):
        raise TypeError(f"kind must be the class of an adaptation, got {kind!r:.60}")
    require(opened, Opened, "opened")
    if isinstance(opened, OpenedAdaptation):
        raise ValueError(f"{opened.folder} is an adaptation itself: give a pretrained run")
    _require_needs(kind, opened)
    require(settings, kind.Settings, "settings")
    if not isinstance(data, Asked):
        require(data, type(opened.method).Data.with_labels, "data")
    if not is_whole(seed) or seed < 0:
        raise ValueError(f"seed must be a whole number ≥ 0, got {seed!r}")


def _require_needs(kind: type[Adaptation], opened: Opened) -> None:
    """Raise ValueError, with the methods that have it, for a run without what the kind needs."""
    if isinstance(opened.method, kind.needs):
        return
    have = [name for name in method_names() if issubclass(load_method(name), kind.needs)]
    raise ValueError(
        f"{opened.folder} is a run of {opened.name}: {file_name_of(kind)} needs a run of "
        f"{', '.join(have)} (what it uses is {kind.needs.__name__})"
    )


def base_of(opened: Opened, folder: str | Path | None) -> dict[str, Any]:
    """What is recorded of the run that is adapted: how to build it, and where its weights lie."""
    place = relative = os.path.abspath(opened.folder)
    with suppress(ValueError):  # on Windows nothing leads from one drive to another
        relative = os.path.relpath(place, os.path.abspath(folder or place))
    return {"base_settings": asdict(opened.settings), "base_folder": [relative, place]}


class NothingToRemember(Optimizer):
    """Stands for the optimizer of what is computed at once."""

    def __init__(self) -> None:
        self.parameters, self.lr, self.state, self.steps = {}, 0.0, {}, {}


def _solve(
    method: Any, folder: RunFolder | None, progress: str, *,
    seed: int, config: dict[str, Any], files: dict[str, bytes],
) -> History:  # fmt: skip
    """Compute it and write its only checkpoint, or load the one that is there."""
    settings = {"method": type(method).__name__, "steps": 0, "seed": int(seed), "config": config}
    with Run(folder, settings, method.saved(), NothingToRemember(), 1, files) as run:
        if not run.resumed:
            try:
                method.solve(progress)
                run.log({"step": 0, **method.evaluate()})
                run.save(0)
            except BaseException:
                run.withdraw()
                raise
    return run.history


# ---- opening -------------------------------------------------------------------------------------


def open_any(folder: str | Path, base: str | Path | None = None) -> Opened:
    """A pretrained run or an adaptation, whichever the folder holds; errors as of both.

    ``base``: as in ``open_adaptation``. Raises ValueError when it is given for a pretrained run.
    """
    checkpoint = None if is_published(folder) else find_checkpoint(folder)
    if checkpoint and isinstance(checkpoint.config, dict) and "adaptation" in checkpoint.config:
        return open_adaptation(folder, base)
    if base is not None:
        raise ValueError(f"{folder} is no adaptation and has no base: leave --base out")
    return open_run(folder)


def open_adaptation(folder: str | Path, base: str | Path | None = None) -> OpenedAdaptation:
    """An adaptation with what it learned, ready to predict.

    ``base``: the run that was adapted, where it is no longer in its place; what was fine-tuned as a
    whole does not need it. Raises CheckpointError when there is no checkpoint, ValueError for a
    folder of something else, for damage, and for a base with other weights.
    """
    if is_published(folder):
        raise ValueError(f"{folder} holds published weights, not adapted yet: see minissl adapt")
    checkpoint = find_checkpoint(folder)
    folder = checkpoint.path.parent
    folder = folder.parent if folder.name == "checkpoints" else folder
    config = read_config(checkpoint.config, folder)
    if "adaptation" not in config:
        raise ValueError(
            f"{folder} holds a run of {config['method']!r}, which was not adapted: "
            "see minissl adapt"
        )
    with reading(checkpoint.path, "an adaptation"):
        kind = load_adaptation(config["adaptation"])
        settings = from_json(kind.Settings, config["settings"], str(checkpoint.path))
    kept = Kept(read_kept(folder, config["kept"]), folder)
    opened = _open_base(kind, config, kept, checkpoint, base)
    with reading(folder, "an adaptation"):  # what names a file in it stays as it is
        task = Task.reopen(kept, opened.data)
        with at_most(checkpoint.numbers + opened.checkpoint.numbers, str(checkpoint.path)):
            method = restored(kind, settings, opened, task, checkpoint)
    return OpenedAdaptation(
        folder, config["adaptation"], method, settings, task, checkpoint, opened
    )


def _open_base(
    kind: type[Adaptation], config: dict[str, Any], kept: Kept, checkpoint: Checkpoint,
    given: str | Path | None,
) -> Opened:  # fmt: skip
    """The run that was adapted; without its weights where the adaptation has them all."""
    where = str(checkpoint.path)
    base: Any = config.get("base")
    places: Any = config.get("base_folder")
    named = isinstance(base, dict) and isinstance(base.get("method"), str)
    texts = isinstance(places, list) and [type(place) for place in places] == [str, str]
    if not named or not texts or "\0" in "".join(places):
        raise FileError(f"{where} does not say which run was adapted: it is damaged")
    if kind.from_base or given is not None:  # what is given is looked at, needed or not
        return open_adapted_run(checkpoint, given)
    with reading(where, "an adaptation"):
        method_kind: Any = load_method(base["method"])
        settings = from_json(method_kind.Settings, config.get("base_settings"), where)
        data = method_kind.Data.prepared.reopen(kept, settings)
        with at_most(checkpoint.numbers, where):
            method = method_kind.build(settings, data, seed=0)
    weights = Checkpoint(checkpoint.path, method.model.state_dict(), {}, checkpoint.state)
    return Opened(Path(places[1]), base["method"], method, settings, data, weights)


def open_adapted_run(checkpoint: Checkpoint, given: str | Path | None = None) -> Opened:
    """The run whose weights an adaptation began with, also where it could do without it.

    given: where it lies, if it has moved. Raises FileNotFoundError when it is not there, FileError
    when it has other weights, or is read by other settings.
    """
    base, places = checkpoint.config["base"], checkpoint.config["base_folder"]
    opened = open_run(_of_step(_find(places, checkpoint, given), base.get("step")))
    if weights_of(opened.checkpoint, opened.name) != base:
        raise FileError(
            f"{opened.folder} has other weights (a run of {opened.name!r}, step "
            f"{opened.checkpoint.step}) than those that were adapted ({base['method']!r}, step "
            f"{base.get('step')}): give that run, or adapt again"
        )
    _require_same_network(opened, checkpoint.config, str(checkpoint.path))
    return opened


def _require_same_network(opened: Opened, config: dict[str, Any] | None, where: str) -> None:
    """Raise FileError where the same weights are read by other settings than those recorded."""
    if config is None:
        return
    settings = from_json(type(opened.settings), config.get("base_settings"), where)
    if changes := differences(binding(settings), binding(opened.settings)):
        raise FileError(
            f"{opened.folder} is read in another way than what was adapted ({'; '.join(changes)}): "
            "put its files back, or adapt again"
        )


def _find(places: list[str], checkpoint: Checkpoint, given: str | Path | None) -> Path:
    """Where the adapted run lies: as given, from the adaptation's folder, or where it was."""
    if given is not None:
        return Path(given)
    own = checkpoint.path.parent.parent
    tried = [own / places[0], Path(places[-1])]
    for place in tried:
        if place.is_dir():
            return Path(os.path.normpath(place))
    raise FileNotFoundError(
        f"{own} was adapted from the run {places[-1]}, which is not there: put it back, or say "
        "where it is (--base)"
    )


def _of_step(place: Path, step: Any) -> Path:
    """The checkpoint of this step, where the run still has it: it may have been trained further."""
    checkpoint = place / "checkpoints" / f"step-{step:08d}" if is_whole(step) else place
    return checkpoint if checkpoint.is_dir() else place


def restored(
    kind: type[Adaptation], settings: Any, opened: Opened, task: Task, checkpoint: Checkpoint
) -> Any:
    """The adaptation with the weights of its checkpoint."""
    method = kind.build(settings, opened, task, seed=0)
    load_weights(method.saved(), checkpoint)
    method.restored = True
    method.base.model.eval()
    method.model.eval()
    return method

"""Put what a small part has learned into the network's own weights, and need no base any more.

Hu et al. (2021), LoRA: W + (alpha / rank) · up · down is a matrix like any other, so a merged
network is as fast as the one that was pretrained. Lecture 11. What can be merged is LoRA, whose
update is one of a weight, and an adaptation that trained weights of the network in their places
(bias, last-layers). Adapters, prompts, prefixes, experts and new layers act on the input by
themselves: no weight of the network could stand for them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from minissl.adapt.heads.finetune import Finetune, FinetuneSettings
from minissl.adapt.run import NothingToRemember, OpenedAdaptation, base_of
from minissl.adapt.trained import SmallPart, TrainedSettings
from minissl.durable import whole_folder, write_durably
from minissl.registry import file_name_of
from minissl.training.checkpoint import save_checkpoint
from minissl.training.folder import CONFIG, DATA, read_if_there
from minissl.training.log import History


def merge(opened: OpenedAdaptation) -> Finetune:
    """The same predictor as a network with all weights in their places, as after fine-tuning.

    In float32 its answers differ by rounding, since W x + U (D x) was computed and now (W + U D) x:
    the last states of six layers of width 256 by 5e-7 of the largest one. The adaptation that was
    opened stays as it was. Raises ValueError, with the reason, for one that has no place in the
    weights.
    """
    name, method = opened.name, opened.method
    if not type(method).from_base:
        raise ValueError(
            f"{opened.folder} is by {name} and has all of its weights: use it as it is"
        )
    if not isinstance(method, SmallPart):
        raise ValueError(
            f"{opened.folder} is by {name}, which has not changed the network: there is nothing to "
            "be merged into it"
        )
    merged: Any = Finetune.build(_settings(opened.settings), opened.base, opened.data)
    mine = opened.on(opened.data)  # weights of its own
    if hasattr(mine, "merge"):
        mine.merge()
    state, places = mine.model.state_dict(), merged.model.state_dict()
    same_kind = type(mine.base) is type(merged.base)
    if not same_kind or state.keys() != places.keys():
        put_in = sorted(mine.saved().state_dict().keys() - places.keys())
        few = ", ".join(put_in[:2]) + (", ..." if len(put_in) > 2 else "")
        raise ValueError(
            f"{opened.folder} is by {name} and cannot be merged: what it learned ({few}) acts on "
            "the input by itself, and is no change of a weight that the network has. By lora, bias "
            "and last-layers it could be; predict and the others use it as it is"
        )
    merged.model.load_state_dict(state)
    merged.base.model.eval()
    merged.model.eval()
    return merged


def _settings(settings: TrainedSettings) -> FinetuneSettings:
    """Those that fine-tuning shares with what it was made by."""
    known = {one.name for one in fields(TrainedSettings)}
    return FinetuneSettings(**{name: getattr(settings, name) for name in known})


def save_merged(opened: OpenedAdaptation, folder: str | Path) -> Finetune:
    """Write what ``merge`` gives as the folder of a fine-tuned run, whole or not at all.

    Predict, evaluate and embed open it and need no other run. Training does not go on in it: there
    is no state of an optimizer, so ``adapt`` refuses the folder. Raises FileExistsError for a
    folder with something in it, and what ``merge`` raises.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already: name a new folder, or remove it")
    merged = merge(opened)
    state = _state(opened, merged, folder)
    settings = {n: v for n, v in state.items() if n not in ("step", "records", "seconds")}
    about = read_if_there(opened.folder / DATA, "what the data of a run is") or {}
    files = {
        **opened.data.kept,
        DATA: _json(about | {"adaptation": file_name_of(Finetune)}),
        "log.jsonl": _lines(opened.folder),
        CONFIG: _json(settings),
    }
    with whole_folder(folder) as new:
        save_checkpoint(new / "checkpoints", merged.saved(), NothingToRemember(), state)
        for name, data in files.items():
            write_durably(new / name, data)
    return merged


def _state(opened: OpenedAdaptation, merged: Finetune, folder: Path) -> dict[str, Any]:
    """What its checkpoint says: that of the adaptation, and by what it was made."""
    old = opened.checkpoint.state
    config = {
        **old["config"],
        "adaptation": file_name_of(Finetune),
        "settings": asdict(merged.settings),
        **base_of(opened.base, folder),
    }
    named = {"name": "none: merged weights are not trained further"}
    made = {
        "method": type(merged).__name__,
        "merged": {"adaptation": opened.name, "settings": old["config"]["settings"]},
        "optimizer": named,
        "config": config,
    }
    return {**{n: v for n, v in old.items() if n not in ("format_version", "minissl")}, **made}


def _lines(folder: Path) -> bytes:
    """The log of the training, if there is one."""
    log = folder / "log.jsonl"
    records = History.read(folder).records if log.exists() else []
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def _json(what: Mapping[str, Any]) -> bytes:
    return json.dumps(what, indent=1, allow_nan=False).encode()

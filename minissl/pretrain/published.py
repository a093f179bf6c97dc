"""A folder of published weights opened as a run is: to adapt, embed, evaluate, fill, sample.

``config.json``, ``model.safetensors`` (or shards) and a tokenizer, of BERT's kin or of GPT-2's.
What is recorded of such a base is the SHA-256 of its weights and of its tokenizer. Nothing is
downloaded, and nothing is unpickled. Lecture 11.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minissl.models.weights import INDEX, ONE_FILE, PICKLES
from minissl.pretrain import load_method
from minissl.reading import FileError, read_json
from minissl.training.checkpoint import Checkpoint, not_finite
from minissl.training.folder import CONFIG, sums

KINDS = {"bert": "published-bert", "gpt2": "published-gpt2"}  # their model_type -> our name
ONLY = {"n_embd": "gpt2", "type_vocab_size": "bert"}  # what older files tell them apart by
BLOCK = 1 << 24


@dataclass(frozen=True)
class PublishedWeights(Checkpoint):
    """Weights of a file, as a checkpoint of no steps. ``path``: the folder."""

    kept: dict[str, bytes]

    def sums(self) -> dict[str, str]:
        """The SHA-256 of the files with the weights, one after the other, and of the tokenizer."""
        found = hashlib.sha256()
        for place in _weights(self.path):
            with place.open("rb") as file:
                while block := file.read(BLOCK):
                    found.update(block)
        return {"weights": found.hexdigest(), **sums(self.kept)}


def is_published(folder: str | Path) -> bool:
    """Whether a folder has a configuration beside weights, as no run of ours has."""
    folder = Path(folder)
    if not (folder / CONFIG).is_file() or (folder / "checkpoints").exists():
        return False
    wanted = (ONE_FILE, INDEX, *PICKLES)
    return any(next(folder.glob(name), None) for name in wanted)


def read_published(folder: Path) -> tuple[str, Any, Any, Any, PublishedWeights]:
    """Of such a folder what an ``Opened`` has: name, method, settings, data, checkpoint.

    Raises ValueError, with the file's name, for models of another kind, and what reading each of
    the files raises.
    """
    place = folder / CONFIG
    told = read_json(place, "the configuration of a model")
    kind = told.get("model_type") or next((ONLY[name] for name in ONLY if name in told), None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise FileError(
            f"{place} is of a model {kind!r:.40}: weights of {' or '.join(KINDS)} can be opened"
        )
    reader: Any = load_method(KINDS[kind])
    method, settings, data = reader.read_folder(folder)
    arrays = method.model.state_dict()
    if bad := not_finite(arrays):
        raise FileError(f"{folder} has weights that are not finite ({bad}): get them again")
    state = {"step": 0, "config": {"data": {"sha256": ""}}}  # trained on what, nobody says
    weights = PublishedWeights(folder, arrays, {}, state, dict(data.kept))
    return KINDS[kind], method, settings, data, weights


def _weights(folder: Path) -> list[Path]:
    """The files that ``models.weights`` reads: one, or an index and its shards."""
    if (folder / ONE_FILE).is_file():
        return [folder / ONE_FILE]
    if not (folder / INDEX).is_file():
        return []
    names = read_json(folder / INDEX, "an index of shards", {"weight_map": dict})["weight_map"]
    return [folder / INDEX, *(folder / name for name in sorted({*names.values()}))]

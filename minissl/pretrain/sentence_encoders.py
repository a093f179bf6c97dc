"""What a folder of ``sentence-transformers`` says beside its weights: which vector a text has.

Reimers and Gurevych (2019), Sentence-BERT. Lecture 11. ``modules.json`` lists what follows the
Transformer; a pooling has a folder with a ``config.json``. Without these files a text is the mean
of its tokens' states.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from minissl.options import is_whole
from minissl.reading import FileError, read_json

MODULES, TOKENS = "modules.json", "sentence_bert_config.json"
HONOURED = {"Transformer", "Pooling", "Normalize"}  # the last changes a vector's length alone
# Their flag, or their value of "pooling_mode" -> our vector.
MODES = {
    "pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "first",
    "pooling_mode_lasttoken": "last", "mean": "mean", "cls": "first", "lasttoken": "last",
}  # fmt: skip
ADVICE = f"to use the weights all the same, with the mean or --vector, remove {MODULES}"


class Pooling(NamedTuple):
    """``vector``: as in ``pretrain.layered``. ``most_tokens``: that are read; None: all."""

    vector: str = "mean"
    most_tokens: int | None = None


def read_pooling(folder: Path) -> Pooling:
    """What represents a text, and how much of it is read.

    Raises ValueError, with the file's name, for a layer or a pooling that is not honoured here.
    """
    most, place = None, folder / TOKENS
    if place.exists():
        most = read_json(place, "the settings of a sentence encoder").get("max_seq_length")
        if most is not None and (not is_whole(most) or most < 3):
            raise FileError(f"{place}: max_seq_length is {most!r:.40}, expected 3 or more")
    place, vector = folder / MODULES, "mean"
    if not place.exists():
        return Pooling(vector, most)
    for module in read_json(place, "a list of layers", kind=list):
        told = module if isinstance(module, dict) else {}
        kind, path = told.get("type"), told.get("path")
        name = kind.rpartition(".")[2] if isinstance(kind, str) else ""
        if name not in HONOURED:
            raise FileError(
                f"{place} asks for a layer {kind!r:.60}, which is not read here: {ADVICE}"
            )
        if name == "Pooling":
            vector = _vector(_inside(folder, path, place) / "config.json")
        elif name == "Transformer" and path:
            raise FileError(f"{place}: the weights are in {path!r:.60}: give that folder")
    return Pooling(vector, most)


def _inside(folder: Path, path: Any, place: Path) -> Path:
    """A folder in the folder; FileError for any other."""
    if not isinstance(path, str) or path in ("", ".", "..") or {"/", "\\", "\0"} & {*path}:
        raise FileError(f"{place}: {path!r:.60} is no name of a folder beside it")
    return folder / path


def _vector(place: Path) -> str:
    """Which of our vectors a pooling is."""
    told = read_json(place, "the settings of a pooling")
    chosen = [
        name for name, value in told.items() if name.startswith("pooling_mode_") and value is True
    ]
    if "pooling_mode" in told:
        chosen = [told["pooling_mode"]]
    if len(chosen) != 1 or not isinstance(chosen[0], str) or chosen[0] not in MODES:
        raise FileError(
            f"{place} asks for {', '.join(map(str, chosen)) or 'no pooling'}, here a text is the "
            f"mean of its tokens' states, the first or the last of them: {ADVICE}"
        )
    return MODES[chosen[0]]

"""Published weights: GPT-2 as it is distributed, and back. Lecture 10.

A folder with ``config.json`` and ``model.safetensors``, or its shards. Names are
``h.0.attn.c_attn.weight``, with or without ``transformer.`` before them; matrices are (in, out), a
Linear's transposed; query, key and value are one matrix. Nothing is downloaded here, and nothing is
unpickled.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from minissl.durable import replace_durably
from minissl.models.foreign_layout import is_copy, require_layers, require_layout
from minissl.models.gpt import GPT, GPTConfig
from minissl.models.gpt2_config import gpt2_settings, read_gpt2_config
from minissl.models.weights import ONE_FILE, read_float32, stored_arrays
from minissl.tensors import Stored

# In a block: their name -> ours. Norms are the same in both; matrices are transposed.
_NORMS = {"ln_1": "attention_norm", "ln_2": "mlp_norm"}
_MATRICES = {
    "attn.c_proj": "attention.output",
    "mlp.c_fc": "mlp.hidden",
    "mlp.c_proj": "mlp.output",
}
_QUERY_KEY_VALUE = ["attention.query", "attention.key", "attention.value"]
_PREFIX = "transformer."
_HEAD = "lm_head.weight"  # of an output that is not tied; of a tied one sometimes a second copy
_MASK = re.compile(r"h\.\d+\.attn\.(masked_)?bias")  # constants that old versions saved too


def load_gpt2(path: str | os.PathLike[str], *, dropout: float = 0.0) -> GPT:
    """A GPT with published GPT-2 weights, float32 whatever they were, in evaluation mode.

    ``path``: the folder, or its safetensors file. ``dropout``: for fine-tuning (theirs was 0.1).
    How attention is scaled goes into the weights of the queries, so ``save_gpt2`` writes another
    file for the same function where the configuration had asked for another scale.

    Nothing is allocated before the shapes in the file are those of its ``config.json``. Raises
    FileNotFoundError for a missing file, and ValueError, with the file's name, for a configuration
    that this GPT does not have, for weights that are damaged, that can run code, that are missing,
    left over, or of another shape.
    """
    path = Path(path)
    place = (path if path.is_dir() else path.parent) / "config.json"
    published = read_gpt2_config(place, dropout)
    config = published.config
    found = _without_prefix(stored_arrays(path))
    require_layers(found, "n_layer", config.num_layers, path, place)
    shapes, sizes = gpt2_shapes(config), _sizes(config)
    copies = {_HEAD: shapes["wte.weight"]} if config.tied_output else {}
    require_layout(found, shapes, copies, path, place, sizes)
    if config.tied_output and _HEAD in found:
        _require_copy(found.pop(_HEAD), found["wte.weight"], place)
    arrays = {name: read_float32(found[name]) for name in shapes}
    state = from_gpt2_layout(arrays, config.num_layers, tied_output=config.tied_output)
    for i in range(config.num_layers):
        for kind in ("weight", "bias"):
            state[f"transformer.blocks.{i}.attention.query.{kind}"] *= published.query_scale(i)
    model = GPT(config, generator=np.random.default_rng(0))
    model.load_state_dict(state)
    model.eval()
    return model


def save_gpt2(model: GPT, folder: str | os.PathLike[str], *, separator: int | None = None) -> None:
    """Write ``config.json`` and ``model.safetensors`` in GPT-2's layout, as ``load_gpt2`` reads.

    ``separator``: the token that begins and ends a document, for the configuration's bos and eos.
    Raises ValueError for a model that GPT-2's layout cannot hold (post-norm, or without biases).
    """
    from safetensors.numpy import save

    settings = gpt2_settings(model.config, separator)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = to_gpt2_layout(model.state_dict(), model.config.num_layers)
    if _HEAD in state:  # transformers before 5 takes names without a prefix for a model without it
        state = {name if name == _HEAD else _PREFIX + name: state[name] for name in state}
    replace_durably(folder / ONE_FILE, save(state, metadata={"format": "pt"}))
    replace_durably(folder / "config.json", (json.dumps(settings, indent=2) + "\n").encode())


def gpt2_shapes(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    """The names and shapes of GPT-2's layout."""
    width, hidden, blocks = config.width, config.mlp_width, range(config.num_layers)
    norms = ["ln_f", *(f"h.{i}.{name}" for i in blocks for name in _NORMS)]
    matrices = {
        "attn.c_attn": (width, 3 * width),
        "attn.c_proj": (width, width),
        "mlp.c_fc": (width, hidden),
        "mlp.c_proj": (hidden, width),
    }
    shapes: dict[str, tuple[int, ...]] = {"wpe.weight": (config.context_length, width)}
    for name in ["wte.weight"] if config.tied_output else ["wte.weight", _HEAD]:
        shapes[name] = (config.vocab_size, width)
    for norm in norms:
        shapes |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    for i in blocks:
        for name, shape in matrices.items():
            shapes |= {f"h.{i}.{name}.weight": shape, f"h.{i}.{name}.bias": shape[1:]}
    return shapes


def _sizes(config: GPTConfig) -> dict[str, int]:
    """Those that the shapes depend on, as ``config.json`` calls them."""
    return {
        "n_layer": config.num_layers,
        "vocab_size": config.vocab_size,
        "n_positions": config.context_length,
        "n_embd": config.width,
        "n_inner": config.mlp_width,
    }


def from_gpt2_layout(
    published: Mapping[str, np.ndarray], num_layers: int, *, tied_output: bool = True
) -> dict[str, np.ndarray]:
    """Arrays under GPT-2's names -> the same under ours, for ``GPT.load_state_dict``.

    Leaves out stored causal masks, and with ``tied_output`` the output's second copy of the token
    vectors. Raises KeyError for a missing name.
    """
    arrays = {name.removeprefix(_PREFIX): array for name, array in published.items()}
    state = {"tokens.weight": arrays["wte.weight"], "positions.weight": arrays["wpe.weight"]}
    if not tied_output:
        state["output.weight"] = arrays[_HEAD]
    for kind in ("weight", "bias"):
        state[f"transformer.final_norm.{kind}"] = arrays[f"ln_f.{kind}"]
        for i in range(num_layers):
            theirs, ours = f"h.{i}", f"transformer.blocks.{i}"
            for name, own in _NORMS.items():
                state[f"{ours}.{own}.{kind}"] = arrays[f"{theirs}.{name}.{kind}"]
            for name, own in _MATRICES.items():
                state[f"{ours}.{own}.{kind}"] = arrays[f"{theirs}.{name}.{kind}"].T
            parts = np.split(arrays[f"{theirs}.attn.c_attn.{kind}"], 3, axis=-1)
            for own, part in zip(_QUERY_KEY_VALUE, parts):
                state[f"{ours}.{own}.{kind}"] = part.T
    return state


def to_gpt2_layout(state: Mapping[str, np.ndarray], num_layers: int) -> dict[str, np.ndarray]:
    """``GPT.state_dict()`` -> the same arrays under GPT-2's names; undoes ``from_gpt2_layout``."""
    arrays = {"wte.weight": state["tokens.weight"], "wpe.weight": state["positions.weight"]}
    if "output.weight" in state:
        arrays[_HEAD] = state["output.weight"]
    for kind in ("weight", "bias"):
        arrays[f"ln_f.{kind}"] = state[f"transformer.final_norm.{kind}"]
        for i in range(num_layers):
            theirs, ours = f"h.{i}", f"transformer.blocks.{i}"
            for name, own in _NORMS.items():
                arrays[f"{theirs}.{name}.{kind}"] = state[f"{ours}.{own}.{kind}"]
            for name, own in _MATRICES.items():
                arrays[f"{theirs}.{name}.{kind}"] = state[f"{ours}.{own}.{kind}"].T
            parts = [state[f"{ours}.{own}.{kind}"].T for own in _QUERY_KEY_VALUE]
            arrays[f"{theirs}.attn.c_attn.{kind}"] = np.concatenate(parts, axis=-1)
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _without_prefix(arrays: Mapping[str, Stored]) -> dict[str, Stored]:
    """By the names without ``transformer.``. ValueError for an array that is there twice."""
    found: dict[str, Stored] = {}
    for name, array in arrays.items():
        bare = name.removeprefix(_PREFIX)
        if bare in found:
            raise ValueError(f"{array.file} has both {found[bare].name!r} and {name!r}")
        if not _MASK.fullmatch(bare):
            found[bare] = array
    return found


def _require_copy(head: Stored, tokens: Stored, place: Path) -> None:
    """Raise ValueError when an output that should be tied is another matrix."""
    if not is_copy(head, tokens):
        raise ValueError(
            f"{head.file}: {_HEAD} is not {tokens.name}, but by {place} the two are tied: if the "
            'output is meant to be its own, write "tie_word_embeddings": false there'
        )

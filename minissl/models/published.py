"""Published weights: GPT-2 as it is distributed, and back. Lecture 10.

A folder with ``config.json`` and ``model.safetensors``. Names are ``h.0.attn.c_attn.weight``, with
or without ``transformer.`` before them; matrices are (in, out), a Linear's transposed; query,
key and value are one matrix. Nothing is downloaded here, and nothing is unpickled.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minissl.durable import replace_durably
from minissl.models.gpt import GPT, GPTConfig

# Their name of each activation: GPT-2's "gelu_new" is the tanh formula.
_ACTIVATIONS = {
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "gelu": "gelu_exact",
    "relu": "relu",
}

# In a block: their name -> ours. Norms are the same in both; matrices are transposed.
_NORMS = {"ln_1": "attention_norm", "ln_2": "mlp_norm"}
_MATRICES = {
    "attn.c_proj": "attention.output",
    "mlp.c_fc": "mlp.hidden",
    "mlp.c_proj": "mlp.output",
}
_QUERY_KEY_VALUE = ["attention.query", "attention.key", "attention.value"]


def load_gpt2(path: str | os.PathLike[str], *, dropout: float = 0.0) -> GPT:
    """A GPT with published GPT-2 weights, float32, in evaluation mode.

    ``path``: the folder, or its safetensors file. ``dropout``: for fine-tuning (theirs was 0.1).
    Raises FileNotFoundError for a missing file, ValueError for a configuration that this GPT does
    not have or a tensor of the wrong shape, KeyError for a tensor that is missing.
    """
    from safetensors.numpy import load_file

    path = Path(path)
    weights = path / "model.safetensors" if path.is_dir() else path
    settings = json.loads((weights.parent / "config.json").read_text(encoding="utf-8"))
    model = GPT(_config(settings, dropout), generator=np.random.default_rng(0))
    model.load_state_dict(from_gpt2_layout(load_file(weights), model.config.num_layers))
    model.eval()
    return model


def save_gpt2(model: GPT, folder: str | os.PathLike[str]) -> None:
    """Write ``config.json`` and ``model.safetensors`` in GPT-2's layout, as ``load_gpt2`` reads.

    Raises ValueError for a model that GPT-2's layout cannot hold (post-norm, or without biases).
    """
    from safetensors.numpy import save

    config = model.config
    if not config.norm_first or not config.bias:
        raise ValueError("GPT-2's layout needs norm_first=True and bias=True in the config")
    settings = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.context_length,
        "n_embd": config.width,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "n_inner": config.hidden_width,
        "activation_function": {v: k for k, v in reversed(_ACTIVATIONS.items())}[config.activation],
        "layer_norm_epsilon": config.norm_eps,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.attention_dropout,
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = to_gpt2_layout(model.state_dict(), config.num_layers)
    replace_durably(folder / "model.safetensors", save(state, metadata={"format": "pt"}))
    replace_durably(folder / "config.json", (json.dumps(settings, indent=2) + "\n").encode())


def from_gpt2_layout(published: Mapping[str, np.ndarray], num_layers: int) -> dict[str, np.ndarray]:
    """Arrays under GPT-2's names -> the same under ours, for ``GPT.load_state_dict``.

    Leaves out what holds no knowledge: stored causal masks, and the tied output's second copy.
    Raises KeyError for a missing name.
    """
    arrays = {name.removeprefix("transformer."): array for name, array in published.items()}
    state = {"tokens.weight": arrays["wte.weight"], "positions.weight": arrays["wpe.weight"]}
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


def _config(settings: Mapping[str, Any], dropout: float) -> GPTConfig:
    """Their config.json in our words."""
    activation = settings.get("activation_function", "gelu_new")
    if activation not in _ACTIVATIONS:
        raise ValueError(
            f"activation_function must be one of {sorted(_ACTIVATIONS)}, got {activation!r}"
        )
    for name in (
        "scale_attn_by_inverse_layer_idx",
        "reorder_and_upcast_attn",
        "add_cross_attention",
    ):
        if settings.get(name):
            raise ValueError(f"config.json asks for {name}, which this GPT does not have")
    return GPTConfig(
        vocab_size=settings["vocab_size"],
        context_length=settings.get("n_positions", settings.get("n_ctx")),
        num_layers=settings["n_layer"],
        width=settings["n_embd"],
        num_heads=settings["n_head"],
        hidden_width=settings.get("n_inner"),
        activation=_ACTIVATIONS[activation],
        norm_eps=settings.get("layer_norm_epsilon", 1e-5),
        dropout=dropout,
        attention_dropout=dropout,
    )

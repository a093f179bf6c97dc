"""GPT-2's ``config.json``: every flag is honoured, refused, or changes no logit. Lecture 10.

The names are those of ``transformers.GPT2Config``. A flag that is not here is refused: what it asks
for would be left out without a word.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minissl.models.foreign_config import (
    FIXED,
    WITHOUT_EFFECT,
    activation,
    epsilon,
    require_known,
    their_activation,
    whole,
)
from minissl.models.gpt import GPTConfig
from minissl.reading import read_json

_SIZES = ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")
_OTHER_NAMES = {
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "n_ctx": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}
_FLAGS = {
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "tie_word_embeddings": True,
}
_HONOURED = {*_SIZES, *_FLAGS, "n_inner", "activation_function", "layer_norm_epsilon"}
_FIXED = FIXED | {"model_type": "gpt2"}
# Other heads than the next token, and dropout, which is an argument of load_gpt2.
_OTHER_HEADS = set(
    """
    resid_pdrop embd_pdrop attn_pdrop reorder_and_upcast_attn
    summary_type summary_use_proj summary_activation summary_proj_to_labels summary_first_dropout
    """.split()
)


@dataclass(frozen=True)
class Published:
    """A configuration in our words, and how the scores of attention are scaled."""

    config: GPTConfig
    scale_by_width: bool
    scale_by_layer: bool

    def query_scale(self, layer: int) -> float:
        """What the queries of a layer are multiplied by, beside our 1/√head_dim."""
        scale = 1.0 if self.scale_by_width else math.sqrt(self.config.width / self.config.num_heads)
        return scale / (layer + 1) if self.scale_by_layer else scale


def read_gpt2_config(path: Path, dropout: float) -> Published:
    """The configuration in a file. Raises ValueError, naming file and flag, for any other."""
    settings = _named_once(read_json(path, "the configuration of a model"), path)
    known = _HONOURED | _OTHER_HEADS | WITHOUT_EFFECT
    require_known(settings, path, fixed=_FIXED, known=known, network="this GPT", reader="load_gpt2")
    try:
        return _published(settings, dropout)
    except (ValueError, KeyError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else error
        raise ValueError(f"{path}: {reason}") from None


def gpt2_settings(config: GPTConfig, separator: int | None) -> dict[str, Any]:
    """What ``config.json`` says of a GPT. Raises ValueError for one that GPT-2's layout lacks.

    separator: the token that begins and ends a document; None: none does (left out, transformers
    would take 50256).
    """
    if not config.norm_first or not config.bias or config.cross_attention:
        raise ValueError(
            "GPT-2's layout needs norm_first=True, bias=True and no cross_attention in the config"
        )
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "dtype": "float32",
        "vocab_size": config.vocab_size,
        "n_positions": config.context_length,
        "n_embd": config.width,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "n_inner": config.hidden_width,
        "activation_function": their_activation(config.activation),
        "layer_norm_epsilon": config.norm_eps,
        "tie_word_embeddings": config.tied_output,
        "initializer_range": config.init_std,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.attention_dropout,
        "bos_token_id": separator,
        "eos_token_id": separator,
    }


def _named_once(settings: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The settings under GPT-2's own names. ValueError where two names say two things."""
    found = {name: value for name, value in settings.items() if name not in _OTHER_NAMES}
    for other, name in _OTHER_NAMES.items():
        value = settings.get(other)
        if value is None:
            continue
        if found.setdefault(name, value) != value:
            raise ValueError(
                f"{path} says {name} = {found[name]!r:.40}, but {other} = {value!r:.40}"
            )
    return found


def _published(settings: Mapping[str, Any], dropout: float) -> Published:
    sizes = {name: whole(name, settings[name]) for name in _SIZES}
    flags = {name: settings.get(name, default) for name, default in _FLAGS.items()}
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be true or false, got {value!r:.60}")
    inner, named = settings.get("n_inner"), settings.get("activation_function", "gelu_new")
    config = GPTConfig(
        vocab_size=sizes["vocab_size"],
        context_length=sizes["n_positions"],
        num_layers=sizes["n_layer"],
        width=sizes["n_embd"],
        num_heads=sizes["n_head"],
        hidden_width=None if inner is None else whole("n_inner", inner),
        activation=activation("activation_function", named),
        norm_eps=epsilon("layer_norm_epsilon", settings.get("layer_norm_epsilon", 1e-5)),
        dropout=dropout,
        attention_dropout=dropout,
        tied_output=flags["tie_word_embeddings"],
    )
    return Published(config, flags["scale_attn_weights"], flags["scale_attn_by_inverse_layer_idx"])

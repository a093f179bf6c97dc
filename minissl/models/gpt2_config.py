"""GPT-2's ``config.json``: every flag is honoured, refused, or changes no logit. Lecture 10.

The names are those of ``transformers.GPT2Config``. A flag that is not here is refused: what it asks
for would be left out without a word.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minissl.models.gpt import GPTConfig
from minissl.options import is_whole
from minissl.reading import read_json

# Their name of each activation: GPT-2's "gelu_new" is the tanh formula, as are its other spellings.
ACTIVATIONS = {
    "gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "gelu_fast": "gelu", "gelu_accurate": "gelu",
    "gelu_python_tanh": "gelu", "gelu": "gelu_exact", "gelu_python": "gelu_exact", "relu": "relu",
    "silu": "silu", "swish": "silu", "tanh": "tanh", "quick_gelu": "quick_gelu",
}  # fmt: skip

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
# Read only with this value: with any other it would be another network.
_FIXED: dict[str, Any] = {
    "model_type": "gpt2",
    "add_cross_attention": False,
    "is_encoder_decoder": False,
    "is_decoder": False,
    "tie_encoder_decoder": False,
    "torchscript": False,  # unties the output
    "pruned_heads": {},
}
# No logit depends on these: training (dropout is an argument of load_gpt2), other heads than the
# next token, what a call returns, the generation's settings, and notes.
_WITHOUT_EFFECT = set(
    """
    resid_pdrop embd_pdrop attn_pdrop initializer_range gradient_checkpointing problem_type
    reorder_and_upcast_attn chunk_size_feed_forward tf_legacy_loss use_bfloat16
    summary_type summary_use_proj summary_activation summary_proj_to_labels summary_first_dropout
    id2label label2id num_labels _num_labels finetuning_task task_specific_params
    use_cache output_past output_attentions output_hidden_states output_scores return_dict
    return_dict_in_generate _attn_implementation_autoset dtype torch_dtype
    bos_token_id eos_token_id pad_token_id sep_token_id decoder_start_token_id
    forced_bos_token_id forced_eos_token_id suppress_tokens begin_suppress_tokens bad_words_ids
    max_length min_length do_sample early_stopping num_beams num_beam_groups diversity_penalty
    temperature top_k top_p typical_p repetition_penalty length_penalty no_repeat_ngram_size
    encoder_no_repeat_ngram_size num_return_sequences remove_invalid_values
    exponential_decay_length_penalty prefix
    architectures transformers_version tokenizer_class _name_or_path _commit_hash
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
    for name, value in sorted(settings.items(), key=lambda one: one[0] != "model_type"):
        if name in _FIXED and value not in (_FIXED[name], None):
            raise ValueError(
                f"{path} asks for {name} = {value!r:.60}, which this GPT does not have "
                f"(only {_FIXED[name]!r})"
            )
        if name not in {*_HONOURED, *_FIXED, *_WITHOUT_EFFECT} and value is not None:
            raise ValueError(
                f"{path} has {name!r:.60} = {value!r:.60}, which load_gpt2 does not know: if it "
                "does not change what the network computes, remove it from the file"
            )
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
    names = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
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
        "activation_function": names[config.activation],
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
    sizes = {name: _whole(name, settings[name]) for name in _SIZES}
    flags = {name: settings.get(name, default) for name, default in _FLAGS.items()}
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be true or false, got {value!r:.60}")
    activation = settings.get("activation_function", "gelu_new")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise ValueError(
            f"activation_function must be one of {', '.join(ACTIVATIONS)}, got {activation!r:.60}"
        )
    epsilon = settings.get("layer_norm_epsilon", 1e-5)
    if isinstance(epsilon, bool) or not isinstance(epsilon, int | float) or not 0 <= epsilon < 1e9:
        raise ValueError(f"layer_norm_epsilon must be a number ≥ 0, got {epsilon!r:.60}")
    inner = settings.get("n_inner")
    config = GPTConfig(
        vocab_size=sizes["vocab_size"],
        context_length=sizes["n_positions"],
        num_layers=sizes["n_layer"],
        width=sizes["n_embd"],
        num_heads=sizes["n_head"],
        hidden_width=None if inner is None else _whole("n_inner", inner),
        activation=ACTIVATIONS[activation],
        norm_eps=float(epsilon),
        dropout=dropout,
        attention_dropout=dropout,
        tied_output=flags["tie_word_embeddings"],
    )
    return Published(config, flags["scale_attn_weights"], flags["scale_attn_by_inverse_layer_idx"])


def _whole(name: str, value: Any) -> int:
    if not is_whole(value) or value < 1:
        raise ValueError(f"{name} must be a whole number ≥ 1, got {value!r:.60}")
    return int(value)

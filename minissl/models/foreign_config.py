"""A ``config.json`` of transformers: each flag is honoured, refused, or changes no output.

What the readers of GPT-2's and BERT's have in common. A flag that a reader does not name is
refused: what it asks for would be left out without a word.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from minissl.options import is_whole

# Their name of each activation: GPT-2's "gelu_new" is the tanh formula, as are its other spellings.
ACTIVATIONS = {
    "gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "gelu_fast": "gelu", "gelu_accurate": "gelu",
    "gelu_python_tanh": "gelu", "gelu": "gelu_exact", "gelu_python": "gelu_exact", "relu": "relu",
    "silu": "silu", "swish": "silu", "tanh": "tanh", "quick_gelu": "quick_gelu",
}  # fmt: skip
# Read only with this value: with any other it would be another network.
FIXED: dict[str, Any] = {
    "add_cross_attention": False,
    "is_encoder_decoder": False,
    "is_decoder": False,
    "tie_encoder_decoder": False,
    "torchscript": False,  # unties the output
    "pruned_heads": {},
}
# No output depends on these: training (dropout is an argument of ours), labels of other heads,
# what a call returns, the generation's settings, and notes.
WITHOUT_EFFECT = set(
    """
    initializer_range gradient_checkpointing problem_type chunk_size_feed_forward tf_legacy_loss
    use_bfloat16 id2label label2id num_labels _num_labels finetuning_task task_specific_params
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


def require_known(
    settings: Mapping[str, Any],
    path: Path,
    *,
    fixed: Mapping[str, Any],
    known: Collection[str],
    network: str,
    reader: str,
) -> None:
    """Raise ValueError, with file and flag, for a value or a flag that would be left out.

    fixed: flags with the one value that each may have (or null); known: further flags. network and
    reader: what the errors call the two.
    """
    for name, value in sorted(settings.items(), key=lambda one: one[0] != "model_type"):
        if name in fixed and value not in (fixed[name], None):
            raise ValueError(
                f"{path} asks for {name} = {value!r:.60}, which {network} does not have "
                f"(only {fixed[name]!r})"
            )
        if name not in fixed and name not in known and value is not None:
            raise ValueError(
                f"{path} has {name!r:.60} = {value!r:.60}, which {reader} does not know: if it "
                "does not change what the network computes, remove it from the file"
            )


def whole(name: str, value: Any) -> int:
    """A size; ValueError for anything but a whole number ≥ 1."""
    if not is_whole(value) or value < 1:
        raise ValueError(f"{name} must be a whole number ≥ 1, got {value!r:.60}")
    return int(value)


def epsilon(name: str, value: Any) -> float:
    """What a norm adds to the variance; ValueError for what is no number ≥ 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise ValueError(f"{name} must be a number ≥ 0, got {value!r:.60}")
    return float(value)


def activation(name: str, value: Any) -> str:
    """Our name of an activation; ValueError, with the list of theirs, for another."""
    if not isinstance(value, str) or value not in ACTIVATIONS:
        raise ValueError(f"{name} must be one of {', '.join(ACTIVATIONS)}, got {value!r:.60}")
    return ACTIVATIONS[value]


def their_activation(ours: str) -> str:
    """The first of their names for an activation of ours; ValueError where they have none."""
    for theirs, own in ACTIVATIONS.items():
        if own == ours:
            return theirs
    raise ValueError(f"transformers has no activation {ours!r}, so its configuration cannot say it")

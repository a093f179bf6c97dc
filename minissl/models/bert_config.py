"""BERT's ``config.json``: every flag is honoured, refused, or changes no output. Lecture 08.

The names are those of ``transformers.BertConfig``. A flag that is not here is refused: what it asks
for would be left out without a word.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minissl.models.encoder import EncoderConfig
from minissl.models.foreign_config import (
    FIXED,
    WITHOUT_EFFECT,
    activation,
    epsilon,
    require_known,
    their_activation,
    whole,
)
from minissl.reading import read_json

# Their name of each size -> ours.
SIZES = {
    "num_hidden_layers": "num_layers",
    "vocab_size": "vocab_size",
    "max_position_embeddings": "context_length",
    "type_vocab_size": "segments",
    "hidden_size": "width",
    "intermediate_size": "hidden_width",
    "num_attention_heads": "num_heads",
}
_FIXED = FIXED | {
    "model_type": "bert",
    "position_embedding_type": "absolute",  # others were added to the scores of attention
    "tie_word_embeddings": True,
}
# Dropout, which is an argument of load_bert, and notes of the first files on their pooler.
_OTHER = set(
    """
    hidden_dropout_prob attention_probs_dropout_prob classifier_dropout directionality
    pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head pooler_type
    """.split()
)


def read_bert_config(path: Path, dropout: float) -> EncoderConfig:
    """The configuration in a file. Raises ValueError, naming file and flag, for any other."""
    settings = read_json(path, "the configuration of a model")
    known = {*SIZES, "hidden_act", "layer_norm_eps"} | _OTHER | WITHOUT_EFFECT
    require_known(
        settings, path, fixed=_FIXED, known=known, network="this encoder", reader="load_bert"
    )
    if settings.get("tie_word_embeddings", True) is None:  # to transformers this says no
        raise ValueError(f"{path}: tie_word_embeddings must be true, got null")
    try:
        sizes: dict[str, Any] = {SIZES[name]: whole(name, settings[name]) for name in SIZES}
        return EncoderConfig(
            **sizes,
            activation=activation("hidden_act", settings.get("hidden_act", "gelu")),
            norm_eps=epsilon("layer_norm_eps", settings.get("layer_norm_eps", 1e-12)),
            dropout=dropout,
            attention_dropout=dropout,
        )
    except (ValueError, KeyError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else error
        raise ValueError(f"{path}: {reason}") from None


def bert_settings(
    config: EncoderConfig, architecture: str, padding: int | None = None
) -> Mapping[str, Any]:
    """What ``config.json`` says of an encoder; ``padding``: the id of its tokenizer's [PAD].

    Raises ValueError for an encoder that BERT's layout lacks.
    """
    if config.norm_first or not config.bias or config.cross_attention:
        raise ValueError(
            "BERT's layout needs norm_first=False, bias=True and no cross_attention in the config"
        )
    return {
        "architectures": [architecture],
        "model_type": "bert",
        "dtype": "float32",
        **bert_sizes(config),
        "hidden_act": their_activation(config.activation),
        "layer_norm_eps": config.norm_eps,
        "initializer_range": config.init_std,
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.attention_dropout,
        "position_embedding_type": "absolute",
        "pad_token_id": padding,
        "tie_word_embeddings": True,
    }


def bert_sizes(config: EncoderConfig) -> dict[str, int]:
    """The sizes by their names, the layers first. An encoder without segments has one of zeros."""
    ours = {**vars(config), "hidden_width": config.mlp_width, "segments": max(config.segments, 1)}
    return {theirs: ours[name] for theirs, name in SIZES.items()}

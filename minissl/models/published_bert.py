"""Published weights: BERT as it is distributed, and back. Lecture 08.

A folder with ``config.json`` and ``model.safetensors``, or its shards. Matrices are (out, in), as
ours are, so that reading is renaming: ``NAMES``. A file may lack heads, which are then None in the
model. Nothing is downloaded here, and nothing is unpickled.

Not here: RoBERTa's files (their positions begin at 2, their head has other names), DistilBERT's,
ALBERT's, and the heads of fine-tuned models (``classifier``, ``qa_outputs``).
"""

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from minissl.durable import replace_durably
from minissl.models.bert_config import bert_settings, bert_sizes, read_bert_config
from minissl.models.encoder import EncoderConfig, MaskedEncoder
from minissl.models.foreign_layout import is_copy, require_layers, require_layout
from minissl.models.weights import ONE_FILE, read_float32, stored_arrays
from minissl.tensors import Stored

# Their name -> ours; {} is the number of the layer. Behind each comes .weight, .bias, or both.
NAMES = {
    "embeddings.word_embeddings": "encoder.tokens",
    "embeddings.position_embeddings": "encoder.positions",
    "embeddings.token_type_embeddings": "encoder.segments",
    "embeddings.LayerNorm": "encoder.norm",
    "encoder.layer.{}.attention.self.query": "encoder.transformer.blocks.{}.attention.query",
    "encoder.layer.{}.attention.self.key": "encoder.transformer.blocks.{}.attention.key",
    "encoder.layer.{}.attention.self.value": "encoder.transformer.blocks.{}.attention.value",
    "encoder.layer.{}.attention.output.dense": "encoder.transformer.blocks.{}.attention.output",
    "encoder.layer.{}.attention.output.LayerNorm": "encoder.transformer.blocks.{}.attention_norm",
    "encoder.layer.{}.intermediate.dense": "encoder.transformer.blocks.{}.mlp.hidden",
    "encoder.layer.{}.output.dense": "encoder.transformer.blocks.{}.mlp.output",
    "encoder.layer.{}.output.LayerNorm": "encoder.transformer.blocks.{}.mlp_norm",
    "cls.predictions.transform.dense": "words.transform",
    "cls.predictions.transform.LayerNorm": "words.norm",
    "cls.predictions": "words",  # its bias
    "pooler.dense": "pooler",
    "cls.seq_relationship": "follows",
}
# What a file may have: how their names begin, and what transformers calls it.
HEADS = {"words": "cls.predictions.", "pooler": "pooler.", "follows": "cls.seq_relationship."}
_ARCHITECTURES = {
    ("words", "follows"): "BertForPreTraining",
    ("words",): "BertForMaskedLM",
    ("follows",): "BertForNextSentencePrediction",
    (): "BertModel",
}
_PREFIX = "bert."  # of everything but the heads, in a file with heads
_OLD = {".LayerNorm.gamma": ".LayerNorm.weight", ".LayerNorm.beta": ".LayerNorm.bias"}
_CONSTANT = "embeddings.position_ids"  # 0, 1, 2, ..., which old versions saved too
# Stored twice where the output is tied: the copy, and what it is a copy of.
_COPIES = {
    "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}


def load_bert(path: str | os.PathLike[str], *, dropout: float = 0.0) -> MaskedEncoder:
    """A MaskedEncoder with published BERT weights, float32 whatever they were, evaluating.

    ``path``: the folder, or its safetensors file. ``dropout``: for fine-tuning (theirs was 0.1).
    ``words``, ``pooler`` and ``follows`` are None where the file lacks them.

    Nothing is allocated before the shapes in the file are those of its ``config.json``. Raises
    FileNotFoundError for a missing file, and ValueError, with the file's name, for a configuration
    that this encoder does not have, for weights that are damaged, that can run code, that are
    missing, left over, or of another shape.
    """
    path = Path(path)
    place = (path if path.is_dir() else path.parent) / "config.json"
    config = read_bert_config(place, dropout)
    found = _bare(stored_arrays(path))
    heads = [head for head, begin in HEADS.items() if any(n.startswith(begin) for n in found)]
    if "follows" in heads and "pooler" not in heads:  # its input: asked for below
        heads.append("pooler")
    require_layers(found, "num_hidden_layers", config.num_layers, path, place)
    layout = bert_layout(config, heads)
    shapes = {theirs: shape for theirs, (_, shape) in layout.items()}
    copies = {copy: shapes[of] for copy, of in _COPIES.items() if of in shapes}
    require_layout(found, shapes, copies, path, place, bert_sizes(config))
    for copy in sorted(copies.keys() & found.keys()):
        _require_copy(found[copy], found[_COPIES[copy]])
    state = {ours: read_float32(found[theirs]) for theirs, (ours, _) in layout.items()}
    model = MaskedEncoder(
        config, next_sentence="pooler" in heads, generator=np.random.default_rng(0)
    )
    for head in HEADS.keys() - set(heads):
        setattr(model, head, None)
    model.load_state_dict(state)
    model.eval()
    return model


def save_bert(
    model: MaskedEncoder,
    folder: str | os.PathLike[str],
    *,
    heads: Collection[str] | None = None,
    padding: int | None = None,
) -> None:
    """Write ``config.json`` and ``model.safetensors`` in BERT's layout, as ``load_bert`` reads.

    ``heads``: of ``HEADS``, those to be written; None: all that the model has. An encoder without
    segments gets one of zeros, which is the same function. ``padding``: the id of the tokenizer's
    [PAD], for the configuration. Raises ValueError for a model that BERT's layout cannot hold
    (pre-norm, without biases, with SpanBERT's head for boundaries unless ``heads`` leaves it out),
    and for heads that it has not.
    """
    from safetensors.numpy import save

    heads = _heads(model, heads)
    outputs = tuple(head for head in heads if head != "pooler")
    settings = bert_settings(model.config, _ARCHITECTURES[outputs], padding)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = to_bert_layout(model.state_dict(), model.config, heads)
    if outputs:
        state = {n if n.startswith("cls.") else _PREFIX + n: array for n, array in state.items()}
    replace_durably(folder / ONE_FILE, save(state, metadata={"format": "pt"}))
    replace_durably(folder / "config.json", (json.dumps(settings, indent=2) + "\n").encode())


def bert_layout(
    config: EncoderConfig, heads: Collection[str] = ()
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Each array of BERT's layout: its name -> our name and the shape. heads: of ``HEADS``."""
    shapes, found = _shapes(config), {}
    for theirs, ours in NAMES.items():
        head = ours.split(".")[0]
        if head in HEADS and head not in heads:
            continue
        weight = shapes.get(ours, (config.width, config.width))
        if "norm" in ours:
            weight = (config.width,)
        kinds = {"weight": weight, "bias": weight[:1]}
        if theirs.endswith("_embeddings"):
            del kinds["bias"]
        if ours == "words":
            del kinds["weight"]
        for i in range(config.num_layers if "{}" in theirs else 1):
            for kind, shape in kinds.items():
                found[f"{theirs.format(i)}.{kind}"] = f"{ours.format(i)}.{kind}", shape
    return found


def to_bert_layout(
    state: Mapping[str, np.ndarray], config: EncoderConfig, heads: Collection[str]
) -> dict[str, np.ndarray]:
    """``MaskedEncoder.state_dict()`` -> the same arrays under BERT's names, these heads alone."""
    if not config.segments:
        config = replace(config, segments=1)
        state = {**state, "encoder.segments.weight": np.zeros((1, config.width), np.float32)}
    return {theirs: state[ours] for theirs, (ours, _) in bert_layout(config, heads).items()}


def _shapes(config: EncoderConfig) -> dict[str, tuple[int, ...]]:
    """By our names, of all weights that are neither a norm's nor (width, width)."""
    width, hidden = config.width, config.mlp_width
    return {
        "encoder.tokens": (config.vocab_size, width),
        "encoder.positions": (config.context_length, width),
        "encoder.segments": (config.segments, width),
        "encoder.transformer.blocks.{}.mlp.hidden": (hidden, width),
        "encoder.transformer.blocks.{}.mlp.output": (width, hidden),
        "words": (config.vocab_size,),
        "follows": (2, width),
    }


def _bare(arrays: Mapping[str, Stored]) -> dict[str, Stored]:
    """By the newer names, without ``bert.``. ValueError for an array that is there twice."""
    found: dict[str, Stored] = {}
    for name, array in arrays.items():
        bare = name.removeprefix(_PREFIX)
        for old, new in _OLD.items():
            if bare.endswith(old):
                bare = bare.removesuffix(old) + new
        if bare in found:
            raise ValueError(f"{array.file} has both {found[bare].name!r} and {name!r}")
        if bare != _CONSTANT:
            found[bare] = array
    return found


def _heads(model: MaskedEncoder, asked: Collection[str] | None) -> list[str]:
    """Those to be written, in the order of ``HEADS``; ValueError for what has no place."""
    there = [head for head in HEADS if getattr(model, head) is not None]
    if asked is None and model.boundary is not None:
        raise ValueError(
            "BERT's layout has no place for the head of the boundaries of spans: leave it out with "
            f"heads={tuple(there)}"
        )
    heads = [head for head in there if asked is None or head in asked]
    if odd := sorted(set(asked or ()) - set(heads)):
        raise ValueError(f"heads: this model has {', '.join(there) or 'none'}, not {odd[0]!r}")
    if "follows" in heads and "pooler" not in heads:
        raise ValueError("heads: follows needs pooler, whose output it reads")
    return heads


def _require_copy(copy: Stored, of: Stored) -> None:
    """Raise ValueError when an output that should be tied is another array."""
    if not is_copy(copy, of):
        raise ValueError(
            f"{copy.file}: {copy.name} is not {of.name}, but a MaskedEncoder ties the two: only "
            "an output that is the token vectors can be read"
        )

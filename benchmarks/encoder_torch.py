"""BERT's and SpanBERT's network in torch's own layers, as a torch user would write it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from minissl.models.encoder import MaskedEncoder
from minissl.pretrain.masked_language_model import MaskedBatch
from minissl.text.masking import boundaries

HEADS = {  # ours -> theirs, of the heads
    "words.transform": "transform", "words.norm": "transform_norm", "pooler": "pooler",
    "follows": "follows", "boundary.first": "first", "boundary.first_norm": "first_norm",
    "boundary.second": "second", "boundary.second_norm": "second_norm",
}  # fmt: skip


class Twin(nn.Module):
    """Embeddings, ``nn.TransformerEncoder`` with post-norm, and the heads."""

    def __init__(self, model: MaskedEncoder):
        super().__init__()
        c, width = model.config, model.config.width
        self.tokens = nn.Embedding(c.vocab_size, width)
        self.positions = nn.Embedding(c.context_length, width)
        self.segments = nn.Embedding(c.segments, width)
        self.norm = nn.LayerNorm(width, c.norm_eps)
        layer = nn.TransformerEncoderLayer(
            width, c.num_heads, c.mlp_width, dropout=0.0, activation="gelu",
            layer_norm_eps=c.norm_eps, batch_first=True,
        )  # fmt: skip
        self.layers = nn.TransformerEncoder(layer, c.num_layers, enable_nested_tensor=False)
        self.transform = nn.Linear(width, width)
        self.transform_norm = nn.LayerNorm(width, c.norm_eps)
        self.bias = nn.Parameter(torch.zeros(c.vocab_size))
        self.pairs = model.follows is not None
        if self.pairs:
            self.pooler, self.follows = nn.Linear(width, width), nn.Linear(width, 2)
        if model.boundary is not None:
            longest, places = model.boundary.places.weight.shape
            self.longest = longest
            self.places = nn.Embedding(longest, places)
            self.first = nn.Linear(2 * width + places, width)
            self.first_norm = nn.LayerNorm(width, c.norm_eps)
            self.second = nn.Linear(width, width)
            self.second_norm = nn.LayerNorm(width, c.norm_eps)
            self.boundary_bias = nn.Parameter(torch.zeros(c.vocab_size))

    @classmethod
    def of(cls, model: MaskedEncoder) -> Twin:
        """With the same weights."""
        twin = cls(model)
        arrays = {name: p.numpy() for name, p in model.named_parameters()}
        with torch.no_grad():
            for name, array in renamed(arrays).items():
                dict(twin.named_parameters())[name].copy_(torch.from_numpy(array.copy()))
        return twin

    def require_same_gradients(self, model: MaskedEncoder) -> None:
        """SystemExit where one differs by more than 1e-4 of its largest."""
        gradients = {name: np.asarray(p.grad) for name, p in model.named_parameters()}
        theirs = dict(self.named_parameters())
        for name, ours in renamed(gradients).items():
            reference = theirs[name].grad.numpy()
            if name.endswith("in_proj_bias"):  # of the keys it is rounding: all scores move alike
                third = len(ours) // 3
                ours[third : 2 * third] = reference[third : 2 * third]
            error = np.abs(ours - reference).max() / np.abs(reference).max()
            if error > 1e-4:
                raise SystemExit(f"the gradients of {name} differ by {error:.1e}")

    def prepared(self, rows: MaskedBatch) -> dict[str, Any]:
        """The batch as tensors, with what does not change from step to step."""
        left, right, place = boundaries(rows.hidden)
        arrays = {
            **rows._asdict(), "left": left, "right": right, "place": place,
            "padding": np.arange(rows.tokens.shape[1]) >= rows.lengths[:, None],
            "at": np.flatnonzero(rows.hidden), "targets": rows.originals[rows.hidden],
            "everywhere": np.where(rows.hidden, rows.originals, -100),
        }  # fmt: skip
        return {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}

    def loss(self, x: dict[str, Any], everywhere: bool) -> torch.Tensor:
        """The sum of the two losses of BERT, or of SpanBERT."""
        time = torch.arange(x["tokens"].shape[1])
        embedded = self.tokens(x["tokens"]) + self.positions(time) + self.segments(x["segments"])
        states = self.layers(self.norm(embedded), src_key_padding_mask=x["padding"])
        flat = states.flatten(0, 1)
        if everywhere:
            logits = self.output(flat)
            loss = F.cross_entropy(logits, x["everywhere"].flatten(), ignore_index=-100)
        else:
            loss = F.cross_entropy(self.output(flat[x["at"]]), x["targets"])
        if self.pairs:
            pooled = torch.tanh(self.pooler(states[:, 0]))
            return loss + F.cross_entropy(self.follows(pooled), x["labels"])
        near = x["place"] < self.longest
        ends = torch.cat(
            [flat[x["left"][near]], flat[x["right"][near]], self.places(x["place"][near])], -1
        )
        h = self.first_norm(F.gelu(self.first(ends)))
        h = self.second_norm(F.gelu(self.second(h)))
        logits = F.linear(h, self.tokens.weight, self.boundary_bias)
        return loss + F.cross_entropy(logits, x["targets"][near])

    def output(self, states: torch.Tensor) -> torch.Tensor:
        h = self.transform_norm(F.gelu(self.transform(states)))
        return F.linear(h, self.tokens.weight, self.bias)


def renamed(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays under our names -> the same under the twin's."""
    found: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        part, _, kind = name.rpartition(".")
        if part in HEADS:
            found[f"{HEADS[part]}.{kind}"] = array
        elif part in ("encoder.tokens", "encoder.positions", "encoder.segments", "encoder.norm"):
            found[name.removeprefix("encoder.")] = array
        elif name == "words.bias":
            found["bias"] = array
        elif name == "boundary.bias":
            found["boundary_bias"] = array
        elif name == "boundary.places.weight":
            found["places.weight"] = array
        else:
            _, _, _, number, *rest = name.split(".")
            found |= _in_layer(f"layers.layers.{number}", ".".join(rest), array, arrays, name)
    return found


def _in_layer(
    layer: str, name: str, array: np.ndarray, arrays: dict[str, np.ndarray], whole: str
) -> dict[str, np.ndarray]:
    part, _, kind = name.rpartition(".")
    if part == "attention.query":
        three = [arrays[whole.replace("query", other)] for other in ("query", "key", "value")]
        return {f"{layer}.self_attn.in_proj_{kind}": np.concatenate(three)}
    names = {
        "attention.output": "self_attn.out_proj", "attention_norm": "norm1", "mlp_norm": "norm2",
        "mlp.hidden": "linear1", "mlp.output": "linear2",
    }  # fmt: skip
    return {f"{layer}.{names[part]}.{kind}": array} if part in names else {}

"""An encoder and all that adapts it, written by hand in torch: functions of a dict of tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

Tensors = dict[str, torch.Tensor]


class Twin:
    """The same adaptation on the same weights. ``tensors``: under our names, frozen ones too.

    Queries, keys and values are one product, as in ``nn.MultiheadAttention``: where all or none of
    their weights are trained they are one tensor, "...attention.in_proj.weight".
    """

    def __init__(self, method: Any, form: str):
        self.form, self.settings = form, method.settings
        self.below, self.layers = "", method.base.model.config.num_layers
        if form == "layers-on-top":
            self.below = "below."
        self.heads = method.base.model.config.num_heads
        self.tensors: Tensors = {}
        self.asked = method.task.form
        for name, tensor in method.model.named_tensors():
            array = torch.from_numpy(tensor.numpy().copy())
            self.tensors[name] = array.requires_grad_(tensor.requires_grad)
        for layer in self.all_layers():
            self._join(layer)

    def all_layers(self) -> list[str]:
        """The paths of all blocks; of the new ones above too."""
        own = f"encoder.{self.below}transformer.blocks"
        found = [f"{own}.{i}" for i in range(self.layers)]
        return found + ["encoder.above.blocks.0"] * (self.form == "layers-on-top")

    def parameters(self) -> list[torch.Tensor]:
        return [t for t in self.tensors.values() if t.requires_grad]

    def _join(self, layer: str) -> None:
        """One tensor for the three products of attention."""
        for kind in ("weight", "bias"):
            names = [self._named(f"{layer}.attention.{part}.{kind}") for part in PARTS]
            parts = [self.tensors.pop(name) for name in names]
            whole = torch.cat([part.detach() for part in parts])
            self.tensors[f"{layer}.attention.in_proj.{kind}"] = whole.requires_grad_(
                parts[0].requires_grad
            )

    def _named(self, name: str) -> str:
        """Where a weight of attention is among ours: inside of what was put around it."""
        if name in self.tensors:
            return name
        before, part, kind = name.rsplit(".", 2)
        for other in (
            f"{before}.{part}.inner.{kind}",
            f"{before.replace('.attention', '.attention.inner')}.{part}.{kind}",
        ):
            if other in self.tensors:
                return other
        raise KeyError(name)

    # ---- the network ----------------------------------------------------------------------------

    def linear(self, x: torch.Tensor, path: str) -> torch.Tensor:
        weight, bias = f"{path}.weight", f"{path}.bias"
        if weight not in self.tensors:
            weight, bias = f"{path}.inner.weight", f"{path}.inner.bias"
        return F.linear(x, self.tensors[weight], self.tensors[bias])

    def norm(self, x: torch.Tensor, path: str, eps: float) -> torch.Tensor:
        weight, bias = (self.tensors[f"{path}.{kind}"] for kind in ("weight", "bias"))
        return F.layer_norm(x, x.shape[-1:], weight, bias, eps)

    def embed(self, x: dict[str, torch.Tensor]) -> torch.Tensor:
        t, at = self.tensors, f"encoder.{self.below}"
        if self.form == "prompts":
            prompts = t["encoder.tokens.prompts"]
            words = F.embedding(x["tokens"][:, len(prompts) :], t["encoder.tokens.inner.weight"])
            read = torch.cat([prompts.expand(len(words), -1, -1), words], 1)
        else:
            read = F.embedding(x["tokens"], t[f"{at}tokens.weight"])
        time = read.shape[1]
        read = read + t[f"{at}positions.weight"][:time]
        read = read + F.embedding(x["segments"], t[f"{at}segments.weight"])
        return self.norm(read, f"{at}norm", 1e-12)

    def attention(self, x: torch.Tensor, path: str, mask: torch.Tensor, heads: int) -> Any:
        batch, time, width = x.shape
        t = self.tensors
        joined = F.linear(x, t[f"{path}.in_proj.weight"], t[f"{path}.in_proj.bias"])
        query, key, value = joined.chunk(3, -1)
        if f"{path}.query.down" in t:
            query = query + self.update(x, f"{path}.query")
            value = value + self.update(x, f"{path}.value")
        query, key, value = (
            part.view(batch, time, heads, -1).transpose(1, 2) for part in (query, key, value)
        )
        if f"{path}.key" in t:
            before = [
                t[f"{path}.{part}"].view(1, -1, heads, width // heads).transpose(1, 2)
                for part in ("key", "value")
            ]
            key, value = (
                torch.cat([one.expand(batch, -1, -1, -1), other], 2)
                for one, other in zip(before, (key, value))
            )
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        path = f"{path}.inner" if f"{path}.inner.output.weight" in t else path
        return self.behind(found.transpose(1, 2).reshape(batch, time, width), f"{path}.output")

    def update(self, x: torch.Tensor, path: str) -> torch.Tensor:
        """Of LoRA, or of its experts, whose load balance is remembered."""
        t, s = self.tensors, self.settings
        down = F.linear(x, t[f"{path}.down"])
        if self.form == "experts":
            probabilities = F.linear(x, t[f"{path}.gate.weight"]).softmax(-1)
            weights, places = probabilities.topk(s.top, -1)
            chosen = torch.zeros_like(probabilities).scatter(-1, places, 1.0)
            share = chosen.flatten(0, -2).mean(0) / s.top
            mean = probabilities.flatten(0, -2).mean(0)
            self.balances.append((share * mean).sum() * s.experts)
            weights = probabilities * chosen
            weights = weights / weights.sum(-1, keepdim=True)
            down = (down.unflatten(-1, (s.experts, s.rank)) * weights.unsqueeze(-1)).flatten(-2)
        return F.linear(down, t[f"{path}.up"]) * (s.alpha / s.rank)

    def behind(self, x: torch.Tensor, path: str) -> torch.Tensor:
        """A Linear, and an adapter behind it where there is one."""
        h, t = self.linear(x, path), self.tensors
        if f"{path}.down_bias" not in t:
            return h
        middle = F.linear(h, t[f"{path}.down"], t[f"{path}.down_bias"])
        middle = F.gelu(middle, approximate="tanh")
        return h + F.linear(middle, t[f"{path}.up"], t[f"{path}.up_bias"])

    def block(self, x: torch.Tensor, path: str, mask: torch.Tensor) -> torch.Tensor:
        """Post-norm, as BERT's."""
        x = self.norm(
            x + self.attention(x, f"{path}.attention", mask, self.heads),
            f"{path}.attention_norm", 1e-12,
        )  # fmt: skip
        hidden = F.gelu(self.linear(x, f"{path}.mlp.hidden"))
        return self.norm(x + self.behind(hidden, f"{path}.mlp.output"), f"{path}.mlp_norm", 1e-12)

    def above(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The new block, pre-norm, and its last norm."""
        path = "encoder.above.blocks.0"
        seen = self.norm(x, f"{path}.attention_norm", 1e-5)
        x = x + self.attention(seen, f"{path}.attention", mask, self.settings.heads)
        seen = self.norm(x, f"{path}.mlp_norm", 1e-5)
        hidden = F.gelu(self.linear(seen, f"{path}.mlp.hidden"), approximate="tanh")
        x = x + self.linear(hidden, f"{path}.mlp.output")
        return self.norm(x, "encoder.above.final_norm", 1e-5)

    def loss(self, x: dict[str, torch.Tensor]) -> torch.Tensor:
        self.balances: list[torch.Tensor] = []
        states = self.embed(x)
        for path in self.all_layers()[: self.layers]:
            states = self.block(states, path, x["mask"])
        if self.form == "layers-on-top":
            states = self.above(states, x["mask"])
        loss = self.answered(states, x)
        if self.balances:
            loss = loss + self.settings.balance * torch.stack(self.balances).mean()
        return loss

    def answered(self, states: torch.Tensor, x: dict[str, torch.Tensor]) -> torch.Tensor:
        """The loss of the form."""
        t = self.tensors
        if self.asked == "tags":
            return F.cross_entropy(
                self.linear(states.flatten(0, 1)[x["places"]], "head.linear"), x["labels"]
            )
        if self.asked == "span":
            scores = F.linear(states, t["head.linear.weight"]).transpose(1, 2)
            scores = scores.masked_fill(~x["real"], -1e9)
            return F.cross_entropy(scores.flatten(0, 1), x["labels"].flatten())
        vector = torch.bmm(x["weights"].unsqueeze(1), states).squeeze(1)
        if self.asked == "number":
            return F.mse_loss(self.linear(vector, "head.linear").squeeze(1), x["labels"])
        return F.cross_entropy(self.linear(vector, "head"), x["labels"])

    def prepared(self, batch: Any) -> dict[str, torch.Tensor]:
        """Our collated batch and its labels, with what does not change from step to step."""
        collated, labels = batch
        more = {}
        if self.asked == "tags":
            collated, more["places"], _ = collated
        elif self.asked == "span":
            places, collated = collated
            more["real"] = places.real[:, None]
        tokens, lengths, weights = collated
        time = tokens.shape[1]
        allowed = np.arange(time) < lengths[:, None]
        if self.form == "prefixes":
            allowed = np.concatenate(
                [np.ones((len(tokens), self.settings.prefix), bool), allowed], 1
            )
        labels = np.asarray(labels, np.float32 if self.asked == "number" else np.int64)
        arrays = {
            "tokens": tokens, "weights": weights, "labels": labels, "mask": allowed[:, None, None],
            "segments": np.zeros_like(tokens), **more,
        }  # fmt: skip
        return {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}

    def require_same_gradients(self, method: Any) -> None:
        """SystemExit where one differs by more than 1e-3 of its largest.

        Some are 0 but for rounding: of the keys' biases, since all scores of a query move alike,
        and of what moves all places of a text alike, where a span is asked for.
        """
        ours = {n: p.grad for n, p in method.model.named_parameters() if p.grad is not None}
        for layer in self.all_layers():
            for kind in ("weight", "bias"):
                names = [f"{layer}.attention.{part}.{kind}" for part in PARTS]
                if any(name in ours for name in names):
                    parts = [ours.pop(name) for name in names]
                    ours[f"{layer}.attention.in_proj.{kind}"] = np.concatenate(parts)
        theirs = {n: t.grad for n, t in self.tensors.items() if t.grad is not None}
        if ours.keys() != theirs.keys():
            raise SystemExit(f"{self.form}: gradients of {sorted(ours.keys() ^ theirs.keys())}")
        least = 1e-3 * max(float(gradient.abs().max()) for gradient in theirs.values())
        for name, gradient in ours.items():
            reference = theirs[name].numpy()
            if name.endswith("in_proj.bias"):
                third = len(gradient) // 3
                gradient[third : 2 * third] = reference[third : 2 * third]
            error = np.abs(gradient - reference).max() / max(least, np.abs(reference).max())
            if error > 1e-3:
                raise SystemExit(f"{self.form}: the gradients of {name} differ by {error:.1e}")


PARTS = ("query", "key", "value")

"""GPT-2's forward pass in torch functions, from arrays in its published layout: an oracle."""

import torch
from torch.nn import functional as F


def forward(weights: dict[str, torch.Tensor], tokens: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Logits (batch, time, vocab_size) of tokens (batch, time)."""
    batch, time = tokens.shape
    x = weights["wte.weight"][tokens] + weights["wpe.weight"][:time]
    width = x.shape[-1]

    def norm(x, name):
        return F.layer_norm(x, (width,), weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-5)

    def conv1d(x, name):  # GPT-2's name for x W + b
        return torch.addmm(weights[f"{name}.bias"], x.flatten(0, 1), weights[f"{name}.weight"])

    layers = sum(name.endswith("attn.c_attn.weight") for name in weights)
    for i in range(layers):
        qkv = conv1d(norm(x, f"h.{i}.ln_1"), f"h.{i}.attn.c_attn").view(
            batch, time, 3, num_heads, -1
        )
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        mixed = mixed.permute(0, 2, 1, 3).flatten(2)
        x = x + conv1d(mixed, f"h.{i}.attn.c_proj").view(x.shape)
        hidden = F.gelu(conv1d(norm(x, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc"), approximate="tanh")
        hidden = hidden.view(batch, time, -1)
        x = x + conv1d(hidden, f"h.{i}.mlp.c_proj").view(x.shape)
    return norm(x, "ln_f") @ weights["wte.weight"].T

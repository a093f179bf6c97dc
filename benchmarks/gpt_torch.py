"""The same GPT in torch, written as its users write it: what ours is timed against.

One matrix for query, key and value, ``F.scaled_dot_product_attention``, the tanh GELU, a tied
output; a KV cache of fixed size for sampling.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.gpt_names import twin_names
from minissl.models.gpt import GPT


class TorchBlock(nn.Module):
    def __init__(self, width: int, num_heads: int, bias: bool = True):
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width, bias=bias)
        self.output = nn.Linear(width, width, bias=bias)
        self.mlp_norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, 4 * width, bias=bias)
        self.contract = nn.Linear(4 * width, width, bias=bias)

    def forward(self, x, cache=None, start=0):
        batch, time, width = x.shape
        qkv = self.query_key_value(self.attention_norm(x))
        heads = (batch, time, self.num_heads, width // self.num_heads)
        query, key, value = (part.view(heads).transpose(1, 2) for part in qkv.split(width, dim=2))
        if cache is not None:
            cache[0][:, :, start : start + time] = key
            cache[1][:, :, start : start + time] = value
            key, value = (stored[:, :, : start + time] for stored in cache)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=time > 1)
        x = x + self.output(mixed.transpose(1, 2).reshape(batch, time, width))
        return x + self.contract(F.gelu(self.hidden(self.mlp_norm(x)), approximate="tanh"))


class TorchGPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.width)
        self.positions = nn.Embedding(config.context_length, config.width)
        self.blocks = nn.ModuleList(
            [
                TorchBlock(config.width, config.num_heads, config.bias)
                for _ in range(config.num_layers)
            ]
        )
        self.norm = nn.LayerNorm(config.width)

    def forward(self, tokens, caches=None, start=0):
        x = self.tokens(tokens) + self.positions.weight[start : start + tokens.shape[1]]
        for i, block in enumerate(self.blocks):
            x = block(x, None if caches is None else caches[i], start)
        if caches is not None:
            x = x[:, -1:]  # sampling needs only the last token's logits
        return F.linear(self.norm(x), self.tokens.weight)

    @torch.inference_mode()
    def generate(self, prompt, max_new_tokens, generator, temperature=1.0):
        c = self.config
        shape = (1, c.num_heads, c.context_length, c.width // c.num_heads)
        caches = [(torch.empty(shape), torch.empty(shape)) for _ in self.blocks]
        tokens, start = torch.tensor([prompt]), 0
        generated = []
        for _ in range(max_new_tokens):
            logits = self(tokens, caches, start)[0, -1]
            start += tokens.shape[1]
            if temperature == 0:
                chosen = logits.argmax()
            else:
                chosen = torch.multinomial(
                    F.softmax(logits / temperature, dim=-1), 1, generator=generator
                )
            generated.append(int(chosen))
            tokens = chosen.view(1, 1)
        return generated


def in_torch(model: GPT) -> TorchGPT:
    """A TorchGPT with the weights of ours."""
    state = model.state_dict()
    twin = TorchGPT(model.config)
    twin.load_state_dict(
        {
            theirs: torch.cat([torch.from_numpy(state[name]) for name in ours])
            for theirs, ours in twin_names(model.config).items()
        }
    )
    return twin

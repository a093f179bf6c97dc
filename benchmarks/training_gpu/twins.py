"""The same networks in torch, written as its users write them: what ours are timed against.

The GPT without dropout is in ``benchmarks.gpt_torch``.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.gpt_torch import TorchBlock, TorchGPT
from minissl.nn.module import Module
from minissl.nn.resnet import ResNet
from minissl.pretrain.images.simclr import SimCLRModel


class DropoutBlock(TorchBlock):
    """With dropout of the attention weights and of both branches."""

    def __init__(self, width: int, num_heads: int, dropout: float):
        super().__init__(width, num_heads)
        self.p = dropout

    def forward(self, x):
        p, (batch, time, width) = self.p if self.training else 0.0, x.shape
        qkv = self.query_key_value(self.attention_norm(x))
        heads = (batch, time, self.num_heads, width // self.num_heads)
        query, key, value = (part.view(heads).transpose(1, 2) for part in qkv.split(width, dim=2))
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=p, is_causal=True)
        x = x + F.dropout(self.output(mixed.transpose(1, 2).reshape(x.shape)), p, self.training)
        hidden = F.gelu(self.hidden(self.mlp_norm(x)), approximate="tanh")
        return x + F.dropout(self.contract(hidden), p, self.training)


class DropoutGPT(TorchGPT):
    """TorchGPT for training with dropout; ``config.bias`` False leaves the Linears without one."""

    def __init__(self, config):
        super().__init__(config)
        self.blocks = nn.ModuleList(
            DropoutBlock(config.width, config.num_heads, config.dropout)
            for _ in range(config.num_layers)
        )
        if not config.bias:
            for module in self.modules():
                if isinstance(module, nn.Linear):
                    module.bias = None

    def forward(self, tokens):
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        x = F.dropout(x, self.config.dropout, self.training)
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.tokens.weight)


class TorchBasicBlock(nn.Module):
    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        self.first = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(channels)
        self.shortcut = None
        if stride > 1 or in_channels != channels:
            self.shortcut = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
            self.shortcut_norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        y = F.relu(self.first_norm(self.first(x)), inplace=True)
        y = self.second_norm(self.second(y))
        if self.shortcut is not None:
            x = self.shortcut_norm(self.shortcut(x))
        return F.relu(x + y, inplace=True)


class TorchResNet(nn.Module):
    """(batch, channels, height, width) -> (batch, features)."""

    def __init__(self, channels: int = 3, width: int = 64, blocks: Sequence[int] = (2, 2, 2, 2)):
        super().__init__()
        self.start = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.start_norm = nn.BatchNorm2d(width)
        self.blocks = nn.ModuleList()
        channels = width
        for stage, count in enumerate(blocks):
            for number in range(count):
                stride = 2 if stage > 0 and number == 0 else 1
                self.blocks.append(TorchBasicBlock(channels, width * 2**stage, stride))
                channels = width * 2**stage

    def forward(self, images):
        x = F.relu(self.start_norm(self.start(images)), inplace=True)
        for block in self.blocks:
            x = block(x)
        return x.mean(dim=(2, 3))


class TorchSimCLR(nn.Module):
    """ResNet and projection head; the loss is ``nt_xent`` below."""

    def __init__(self, features: int, embedding: int, **encoder):
        super().__init__()
        self.encoder = TorchResNet(**encoder)
        self.head = nn.ModuleDict(
            {"hidden": nn.Linear(features, features), "output": nn.Linear(features, embedding)}
        )

    def forward(self, images):
        return self.head["output"](F.relu(self.head["hidden"](self.encoder(images))))


def nt_xent(embeddings: torch.Tensor, temperature: float) -> torch.Tensor:
    z = F.normalize(embeddings)
    logits = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    partners = torch.arange(len(z), device=z.device).roll(len(z) // 2)
    return F.cross_entropy(logits, partners)


# ---- the same weights ---------------------------------------------------------------------------


def named_twins(model: Module, twin: nn.Module) -> Iterator[tuple[str, str]]:
    """(our name, torch's) of every parameter and running statistic; ValueError when one is left."""
    theirs = {n for n in twin.state_dict() if not n.endswith("num_batches_tracked")}
    for name in model.state_dict():
        other = name.replace("running_variance", "running_var")
        if other not in theirs:
            raise ValueError(f"the twin has no {other}")
        theirs.remove(other)
        yield name, other
    if theirs:
        raise ValueError(f"only the twin has {sorted(theirs)}")


def copy_weights(model: ResNet | SimCLRModel, twin: nn.Module) -> nn.Module:
    """Our weights in the twin, filters as (out, in, height, width). Returns the twin."""
    ours, theirs = model.state_dict(), twin.state_dict()
    with torch.no_grad():
        for name, other in named_twins(model, twin):
            values = torch.from_numpy(ours[name])
            theirs[other].copy_(values.permute(0, 3, 1, 2) if values.ndim == 4 else values)
    return twin

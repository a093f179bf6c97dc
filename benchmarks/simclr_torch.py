"""The same SimCLR in torch, written as its users write it: what ours is timed against."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class TorchSimCLR(nn.Module):
    """The same network as its users write it: (batch, channels, height, width)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(64, 64, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(256, 128),
        )  # fmt: skip
        self.head = nn.Sequential(nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 64))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(images))


def nt_xent(embeddings: torch.Tensor, temperature: float) -> torch.Tensor:
    z = F.normalize(embeddings)
    logits = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    partners = torch.arange(len(z)).roll(len(z) // 2)
    return F.cross_entropy(logits, partners)


def in_torch(arrays: Sequence[np.ndarray]) -> TorchSimCLR:
    """A twin with a copy of these weights, in its own order and layout."""
    twin = TorchSimCLR()
    with torch.no_grad():
        for parameter, array in zip(twin.parameters(), arrays, strict=True):
            parameter.copy_(torch.from_numpy(array.copy()))
    return twin

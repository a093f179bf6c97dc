"""The same methods of images in torch, as its users write them: what ours are timed against."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class TorchEncoder(nn.Module):
    """Three convolutions and a Linear on 32 x 32 photos, with a head or without."""

    def __init__(self, head: bool) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(64, 64, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(64 * 64, 128),
        )  # fmt: skip
        layers = [nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 64)] if head else []
        self.head = nn.Sequential(*layers)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.head(self.encoder(images)))


def twin(arrays: dict[str, np.ndarray]) -> TorchEncoder:
    """With a copy of our weights, in torch's order and layout."""
    names = [f"encoder.convolutions.{i}" for i in range(3)] + ["encoder.output"]
    names += ["head.hidden", "head.output"] if "head.output.bias" in arrays else []
    model = TorchEncoder(head=len(names) > 4)
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            name = f"{names[number // 2]}.{('weight', 'bias')[number % 2]}"
            parameter.copy_(torch.from_numpy(as_torchs(name, arrays[name]).copy()))
    return model


def as_torchs(name: str, array: np.ndarray) -> np.ndarray:
    """A weight of ours, or its gradient: channels come before height and width there."""
    if array.ndim == 4:
        return array.transpose(0, 3, 1, 2)
    if name == "encoder.output.weight":
        return array.reshape(128, 8, 8, 64).transpose(0, 3, 1, 2).reshape(128, -1)
    return array


def supcon(z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """All views of a class are positives; temperature 0.1."""
    logits = (z @ z.T / 0.1).fill_diagonal_(-torch.inf)
    log_p = F.log_softmax(logits, dim=1)
    same = (labels[:, None] == labels).fill_diagonal_(False)
    return -(torch.where(same, log_p, 0).sum(dim=1) / same.sum(dim=1)).mean()


def triplet(z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """FaceNet: of each pair the nearest negative that is farther, within 0.2; squared distances."""
    d = (2 - 2 * z @ z.T).clamp(min=0)
    same = labels[:, None] == labels
    anchor, positive = (same & ~torch.eye(len(z), dtype=torch.bool)).nonzero(as_tuple=True)
    near, far = d[anchor, positive], d[anchor]
    with torch.no_grad():
        farther = far.masked_fill(same[anchor] | (far <= near[:, None]), torch.inf)
        distance, negative = farther.min(dim=1)
        kept = distance < near + 0.2
    return (near[kept] - far[kept, negative[kept]] + 0.2).mean()


LOSSES = {"supcon": supcon, "triplet": triplet}

"""The same methods of images in torch, as its users write them: what ours are timed against."""

import copy
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.images_steps import CONFIDENCE


def head(*widths: int, norm: bool = False, norm_after: bool = False) -> nn.Sequential:
    """Linear, relu, Linear, and BatchNorm in between and behind where the paper has it."""
    inside = [nn.BatchNorm1d(widths[1])] if norm else []
    after = [nn.BatchNorm1d(widths[2])] if norm_after else []
    first, second = nn.Linear(*widths[:2]), nn.Linear(*widths[1:])
    return nn.Sequential(first, *inside, nn.ReLU(), second, *after)


PARTS: dict[str, Any] = {  # what stands on the encoder
    "supcon": lambda: {"head": head(128, 128, 64)},
    "triplet": dict,
    "simclr": lambda: {"head": head(128, 128, 64)},
    "byol": lambda: {
        "head": head(128, 128, 64, norm=True), "predictor": head(64, 128, 64, norm=True)
    },
    "simsiam": lambda: {
        "head": head(128, 128, 64, norm=True, norm_after=True),
        "predictor": head(64, 32, 64, norm=True),
    },
    "sigreg": lambda: {"head": head(128, 128, 64, norm=True)},
    "consistency": lambda: {"head": nn.Linear(128, 10)},
}  # fmt: skip


class TorchModel(nn.Module):
    """Three convolutions and a Linear on 32 x 32 photos, and what a method puts on them."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(64, 64, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(64 * 64, 128),
        )  # fmt: skip
        self.parts = nn.ModuleDict(PARTS[name]())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.encoder(images)
        return self.parts["head"](features) if "head" in self.parts else features

    def trained(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def start_slow(self) -> None:
        """BYOL: a copy of encoder and head, which the optimizer leaves alone."""
        self.slow = copy.deepcopy(nn.Sequential(self.encoder, self.parts["head"]))
        self.slow.requires_grad_(False)

    @torch.no_grad()
    def follow(self) -> None:
        """A hundredth nearer to what was trained."""
        followed = [*self.encoder.parameters(), *self.parts["head"].parameters()]
        torch._foreach_lerp_(list(self.slow.parameters()), followed, 0.01)


def twin(name: str, parameters: Iterable[tuple[str, Any]]) -> TorchModel:
    """With a copy of our named parameters, in torch's layout."""
    model = TorchModel(name)
    with torch.no_grad():
        for parameter, (own, value) in zip(model.parameters(), parameters, strict=True):
            array = as_torchs(own, np.asarray(value.array))
            parameter.copy_(torch.from_numpy(array.copy()))
    if name == "byol":
        model.start_slow()
    return model


def as_torchs(name: str, array: np.ndarray) -> np.ndarray:
    """A weight of ours, or its gradient: channels come before height and width there."""
    if array.ndim == 4:
        return array.transpose(0, 3, 1, 2)
    if name == "encoder.output.weight":
        return array.reshape(128, 8, 8, 64).transpose(0, 3, 1, 2).reshape(128, -1)
    return array


def in_torch(array: np.ndarray) -> torch.Tensor:
    """Of a batch: images stay as they lie, which is channels_last."""
    tensor = torch.from_numpy(array)
    return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor


def supcon(model: TorchModel, views: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """All views of a class are positives; temperature 0.1."""
    z = F.normalize(model(views))
    logits = (z @ z.T / 0.1).fill_diagonal_(-torch.inf)
    log_p = F.log_softmax(logits, dim=1)
    same = (labels[:, None] == labels).fill_diagonal_(False)
    return -(torch.where(same, log_p, 0).sum(dim=1) / same.sum(dim=1)).mean()


def triplet(model: TorchModel, views: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """FaceNet: of each pair the nearest negative that is farther, within 0.2; squared distances."""
    z = F.normalize(model(views))
    d = (2 - 2 * z @ z.T).clamp(min=0)
    same = labels[:, None] == labels
    anchor, positive = (same & ~torch.eye(len(z), dtype=torch.bool)).nonzero(as_tuple=True)
    near, far = d[anchor, positive], d[anchor]
    with torch.no_grad():
        farther = far.masked_fill(same[anchor] | (far <= near[:, None]), torch.inf)
        distance, negative = farther.min(dim=1)
        kept = distance < near + 0.2
    return (near[kept] - far[kept, negative[kept]] + 0.2).mean()


def simclr(model: TorchModel, views: torch.Tensor) -> torch.Tensor:
    """Each view finds its partner among all others; temperature 0.5."""
    z = F.normalize(model(views))
    logits = (z @ z.T / 0.5).fill_diagonal_(-torch.inf)
    return F.cross_entropy(logits, torch.arange(len(z)).roll(len(z) // 2))


def _predicted(model: TorchModel, z: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    swapped = targets.roll(len(targets) // 2, dims=0)
    return (2 - 2 * F.cosine_similarity(model.parts["predictor"](z), swapped)).mean()


def byol(model: TorchModel, views: torch.Tensor) -> torch.Tensor:
    """From each view what the slow copy makes of the other."""
    with torch.no_grad():
        targets = model.slow(views)
    return _predicted(model, model(views), targets)


def simsiam(model: TorchModel, views: torch.Tensor) -> torch.Tensor:
    """From each view the other, held still."""
    z = model(views)
    return _predicted(model, z, z.detach())


def sigreg(model: TorchModel, views: torch.Tensor) -> torch.Tensor:
    """LeJEPA: 0.995 agreement, 0.005 Gaussian along 256 directions; seed 2, as ours is given."""
    drawn = np.random.default_rng(2).standard_normal((256, 64))
    directions = F.normalize(torch.from_numpy(drawn)).float()
    t = torch.linspace(0, 5, 17)
    gaussian = torch.exp(-t * t / 2)
    sides = model(views).view(2, -1, 64)
    angles = (sides @ directions.T)[..., None] * t  # (views, batch, directions, knots)
    real, imaginary = angles.cos().mean(dim=1) - gaussian, angles.sin().mean(dim=1)
    squares = (real**2 + imaginary**2) * gaussian
    cloud = 2 * sides.shape[1] * torch.trapezoid(squares, t).mean()
    agreement = (sides - sides.mean(dim=0)).square().mean()
    return 0.995 * agreement + 0.005 * cloud


def consistency(
    model: TorchModel, changed: torch.Tensor, labels: torch.Tensor, images: torch.Tensor
) -> torch.Tensor:
    """UDA: cross-entropy of the labelled, and KL to what is said of images as they are."""
    logits = model(changed)
    with torch.no_grad():
        said = model(images)
        sure = said.softmax(dim=1).amax(dim=1) > CONFIDENCE
    log_q = F.log_softmax(logits[len(labels) :], dim=1)
    divergence = F.kl_div(log_q, (said / 0.4).softmax(dim=1), reduction="none").sum(dim=1)
    return F.cross_entropy(logits[: len(labels)], labels) + (divergence * sure).mean()


LOSSES: dict[str, Any] = {
    "supcon": supcon, "triplet": triplet, "simclr": simclr, "byol": byol, "simsiam": simsiam,
    "sigreg": sigreg, "consistency": consistency,
}  # fmt: skip

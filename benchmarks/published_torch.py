"""An encoder of transformers with the mean of its states and a layer, as a torch user writes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F
from transformers import AutoTokenizer, BertModel


class Theirs:
    """``BertModel``, the mean of what is no padding, a Linear: as a torch user writes it."""

    def __init__(
        self, weights: str, longest: int, head: Any = None,
        numbers: tuple[float, float] = (0.0, 1.0),
    ):  # fmt: skip
        self.tokenizer: Any = AutoTokenizer.from_pretrained(weights)
        self.network: Any = BertModel.from_pretrained(
            weights, add_pooling_layer=False, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        self.longest = longest
        self.numbers = numbers  # mean and deviation of the labels that are learned from
        self.head: Any = None
        if head is not None:
            state = {n: torch.from_numpy(array.copy()) for n, array in head.state_dict().items()}
            matrix, bias = (
                next(state[n] for n in state if n.endswith(k)) for k in ("weight", "bias")
            )
            self.head = torch.nn.Linear(matrix.shape[1], matrix.shape[0])
            self.head.load_state_dict({"weight": matrix, "bias": bias})

    def batch(self, texts: Sequence[tuple[str, ...]]) -> Any:
        sides = [list(side) for side in zip(*texts)]
        return self.tokenizer(
            *sides, padding=True, truncation=True, max_length=self.longest, return_tensors="pt"
        )

    def vectors(self, batch: Any) -> Any:
        states = self.network(**batch).last_hidden_state
        inside = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
        return (states * inside).sum(dim=1) / inside.sum(dim=1)

    def loss(self, batch: Any, labels: NDArray) -> Any:
        outputs = self.head(self.vectors(batch))
        if labels.dtype.kind == "i":
            return F.cross_entropy(outputs, torch.from_numpy(labels))
        middle, deviation = self.numbers
        right = torch.from_numpy(((labels - middle) / deviation).astype(np.float32))
        return F.mse_loss(outputs[:, 0], right)

    def optimizer(self, rate: float, decay: float) -> Any:
        """Weight decay of matrices and embeddings alone, as ours."""
        parameters = [*self.network.parameters(), *self.head.parameters()]
        groups = [
            {"params": [p for p in parameters if (p.ndim >= 2) == matrix], "weight_decay": shrink}
            for matrix, shrink in ((True, decay), (False, 0.0))
        ]
        return torch.optim.AdamW(groups, lr=rate, fused=True)

    def step(self, optimizer: Any, batch: Any, labels: NDArray, clip: float) -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = self.loss(batch, labels)
        loss.backward()
        moved = [p for group in optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(moved, clip)
        optimizer.step()
        return float(loss.item())

    def outputs(self, texts: Sequence[tuple[str, ...]], call: Callable[[Any], Any]) -> NDArray:
        """In batches of like lengths, in evaluation mode."""
        order = np.argsort([sum(map(len, one)) for one in texts], kind="stable")
        self.network.eval()
        found = []
        with torch.no_grad():
            for start in range(0, len(order), 32):
                some = [texts[i] for i in order[start : start + 32]]
                found.append(call(self.batch(some)).numpy())
        return np.concatenate(found)[np.argsort(order)]

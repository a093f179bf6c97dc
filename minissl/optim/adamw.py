"""AdamW: steps of one size for every parameter, whatever the size of its gradients."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from minissl.autograd.arrays import Array
from minissl.autograd.fused import gpu
from minissl.autograd.fused.adamw import adamw_update
from minissl.nn.module import Parameter
from minissl.optim.optimizer import Optimizer, require_number


def is_matrix(name: str, parameter: Parameter) -> bool:
    """The usual choice of what decays: weights and embeddings, not biases and scales."""
    return parameter.ndim >= 2


class AdamW(Optimizer):
    """Adam with decoupled weight decay; the formula is in ``adamw_update``.

    ``betas``: how slowly the averages of the gradient and of its square forget. ``eps`` keeps the
    division finite. ``decay(name, parameter)`` says which parameters ``weight_decay`` shrinks; by
    default those with two axes or more. Raises ValueError for numbers out of range.

    Loshchilov and Hutter (2019), Decoupled Weight Decay Regularization. Lecture 10.
    """

    slots = ("first_moment", "second_moment")

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, Parameter]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        decay: Callable[[str, Parameter], bool] = is_matrix,
    ):
        super().__init__(named_parameters, lr)
        beta1, beta2 = betas
        self.betas = (
            require_number("betas[0]", beta1, high=1, below=True),
            require_number("betas[1]", beta2, high=1, below=True),
        )
        self.eps = require_number("eps", eps)
        self.weight_decay = require_number("weight_decay", weight_decay)
        self.decayed = {n for n, parameter in self.parameters.items() if decay(n, parameter)}

    def update(self, name: str, parameter: Parameter, lr: float) -> None:
        """One step for one parameter, in place."""
        adamw_update(
            parameter.array,
            parameter.grad,
            self.state["first_moment"][name],
            self.state["second_moment"][name],
            step=self.steps[name],
            lr=lr,
            betas=self.betas,
            eps=self.eps,
            weight_decay=self.weight_decay if name in self.decayed else 0.0,
        )

    def step_if_finite(self, loss: Array | float, max_norm: float = math.inf) -> Array | float:
        """As in Optimizer; on a GPU one kernel updates all parameters, and nobody waits for it.

        So nobody knows either whether it was made: an update that was not counts as a step there.
        """
        if not all(gpu.runs_kernels(p.array) for p in self.parameters.values()):
            return super().step_if_finite(loss, max_norm)
        moving = self._about_to_step()
        if not moving:
            return 0.0
        return gpu.adamw(
            [(p.array, p.grad, *(self.state[slot][n] for slot in self.slots))
             for n, p in moving.items()],
            loss=loss,
            max_norm=max_norm,
            lr=require_number("lr", self.lr),
            betas=self.betas,
            eps=self.eps,
            steps=[self.steps[name] for name in moving],
            weight_decays=[self.weight_decay * (name in self.decayed) for name in moving],
        )  # fmt: skip

    def settings(self) -> dict[str, Any]:
        """What this optimizer was told, in JSON types."""
        return {
            **super().settings(),
            "betas": list(self.betas),
            "eps": self.eps,
            "weight_decay": self.weight_decay,
            "not_decayed": sorted(self.parameters.keys() - self.decayed),
        }

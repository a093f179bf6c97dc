"""A method small enough for hundreds of runs, with everything that a resumed run could forget."""

from functools import partial

import numpy as np

from minissl.autograd import Tensor
from minissl.autograd import operations as ops
from minissl.autograd.arrays import dtype_name
from minissl.nn.module import Module, Parameter
from minissl.optim import AdamW, warmup_cosine
from minissl.training import fit


class TinyModel(Module):
    """Two layers with dropout between them, a parameter that is rarely used, and a buffer."""

    def __init__(self, generator, dtype=np.float32):
        self.first = Parameter(generator.standard_normal((6, 4)).astype(dtype).T)  # not C order
        self.second = Parameter(generator.standard_normal((3, 4)).astype(dtype))
        self.bias = Parameter(np.zeros(3, dtype))
        self.rare = Parameter(np.ones((), dtype))
        self.seen = Tensor(np.zeros(2, dtype))  # a running sum, like that of a BatchNorm

    def forward(self, x, generator):
        hidden = ops.tanh(ops.linear(x, self.first))
        if self.training:
            hidden = hidden * (generator.random(hidden.shape) < 0.8).astype(dtype_name(hidden))
            self.seen = Tensor(self.seen.array * 0.5 + x[:, :2].mean(axis=0))
        y = ops.linear(hidden, self.second, self.bias)
        return y * self.rare if generator is not None and generator.random() < 0.3 else y


class TinyMethod:
    """Predict three of the numbers from the others; batches and dropout come from the generator."""

    def __init__(self, seed=0, dtype=np.float32):
        self.model = TinyModel(np.random.default_rng(seed), dtype)
        self.data = np.random.default_rng(7).standard_normal((64, 9)).astype(dtype)

    def batch(self, generator):
        return self.data[generator.integers(0, 64, size=8)]

    def loss(self, batch, generator):
        difference = self.model(batch[:, :6], generator) - batch[:, 6:]
        first = self.model.first  # its sum depends on the order of its elements in memory
        return (difference * difference).mean() + (first * first).sum() * 0.01

    def represent(self, examples):
        return examples

    def evaluate(self):
        assert not self.model.training
        return {"held_out_loss": self.loss(self.data, None).item()}


def run_tiny(folder, *, steps=7, checkpoint_every=3, method=None, **settings):
    """One run that uses every part of the loop; returns (method, history)."""
    method = method or TinyMethod()
    optimizer = AdamW(method.model.named_parameters(), lr=0.1)
    settings = {
        "schedule": partial(warmup_cosine, peak=0.05, warmup_steps=2, total_steps=steps),
        "accumulate": 2,
        "clip": 0.5,
        "evaluate_every": 4,
        "log_every": 2,
        "seed": 3,
        "progress": False,
        **settings,
    }
    history = fit(
        method, optimizer, steps=steps, checkpoint_every=checkpoint_every, run=folder, **settings
    )
    return method, history


def outcome(method, history):
    """All that must be equal in two runs: the bytes of the weights, the records but for time."""
    weights = {name: array.tobytes() for name, array in method.model.state_dict().items()}
    records = [{k: v for k, v in record.items() if k != "seconds"} for record in history]
    return weights, records

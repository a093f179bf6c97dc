"""What one of several processes does in the tests: ``torchrun ... -m tests.training.in_processes``.

Usage: in_processes TASK FOLDER DEVICE; process 0 writes FOLDER/result.npz.
"""

import os
import signal
import sys
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np

from minissl.autograd import Tensor
from minissl.autograd import operations as ops
from minissl.autograd.devices import move
from minissl.autograd.processes import (
    FailedElsewhere,
    agree,
    broadcast_bytes,
    from_first,
    gather_rows,
    joined,
    mean_of_all,
    sum_of_all,
    world,
)
from minissl.losses.contrastive import info_nce, nt_xent, simclr_cs229
from minissl.models.gpt import GPT, GPTConfig
from minissl.optim import SGD, AdamW
from minissl.pretrain.language.gpt import GPTPretraining
from minissl.training import DivergedError, distributed, fit
from minissl.training import step as step_module
from tests.training.tiny import TinyMethod


def own_negatives(query, key, **options):
    """Each query's own two beside the keys of the batch."""
    return info_nce(
        query, key, negatives=ops.stack([key * query, -query], axis=1), temperature=0.3, **options
    )


def only_negatives(query, key, **options):
    """Its key against the negatives of all, without the other keys."""
    return info_nce(query, key, negatives=key * query, in_batch=False, temperature=0.3, **options)


LOSSES = {
    "own_negatives": own_negatives,
    "only_negatives": only_negatives,
    "nt_xent": partial(nt_xent, temperature=0.3),
    "info_nce": partial(info_nce, temperature=0.2),
    "simclr_cs229": partial(simclr_cs229, reduction="mean"),
}


def rows_of_everybody(name, size):
    """Both views of the whole batch, for ``size`` processes with four rows each."""
    generator = np.random.default_rng(len(name))
    return generator.standard_normal((2, 4 * size, 6)).astype(np.float32)


def losses(folder, device):
    """Value and gradients of each loss, this process's rows against those of all."""
    rank, size = world()
    result = {}
    for name, loss_function in LOSSES.items():
        own = rows_of_everybody(name, size)[:, 4 * rank : 4 * rank + 4]
        first, second = (Tensor(move(a, device), requires_grad=True) for a in own)
        loss = loss_function(first, second, gather=True)
        loss.backward()
        result[name] = mean_of_all(loss.item())
        for label, tensor in (("first", first), ("second", second)):
            # What the mean over the processes would give: a share of 1 / size each.
            gradients = gather_rows(Tensor(tensor.grad)).numpy() / size
            result[f"{name} {label}"] = gradients
    return result


class Method(TinyMethod):
    """Process ``KILLED`` dies in the step ``KILL_STEP``, unless it has been restarted."""

    calls = 0

    def loss(self, batch, generator):
        self.calls += 1
        doomed = os.environ.get("KILLED") == str(world().rank)
        first_try = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
        if doomed and first_try and self.calls == int(os.environ["KILL_STEP"]):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().loss(batch, generator)


def training(folder, device):
    """A run with everything; the loss at every step and the weights at its end."""
    method = Method()
    method.model.to(device)
    assert method.model.device == device
    history = fit(
        method,
        AdamW(method.model.named_parameters(), lr=0.1),
        steps=6,
        accumulate=int(os.environ.get("ACCUMULATE", "1")),
        clip=0.5,
        checkpoint_every=2,
        run=folder / "run",
        progress=False,
    )
    weights = {f"weight {n}": a for n, a in method.model.state_dict().items()}
    return {"losses": history.losses(), "steps": [r["step"] for r in history], **weights}


def counting(folder, device):
    """The bytes that one step of SimCLR hands to the network, by operation."""
    from minissl.autograd import processes
    from minissl.models.convolutional import ConvEncoder
    from minissl.pretrain.images.simclr import SimCLR, SimCLRModel

    counted = {}

    def together(action, *arguments, **settings):
        sent = arguments[1] if action.__name__ == "all_gather" else arguments[:1] and arguments[0]
        if hasattr(sent, "nbytes"):
            counted[action.__name__] = counted.get(action.__name__, 0) + sent.nbytes
        return action(*arguments, **settings)

    generator = np.random.default_rng(0)
    images = generator.random((16, 8, 8, 1), dtype=np.float32)
    encoder = ConvEncoder(widths=(4,), features=8, generator=generator)
    model = SimCLRModel(encoder, features=8, embedding=6, generator=generator)
    method = SimCLR(model, images, lambda x, g: x, batch_size=8)
    run = partial(fit, method, AdamW(model.named_parameters()), progress=False)
    run(steps=1)
    processes.together = distributed.together = together
    run(steps=1)
    return {**counted, "parameters": model.num_parameters(), "arrays": len(model.parameters())}


# ---- corners: each is a run of ``BATCHES`` batches per step, in one process or in several --------

BATCHES = 4


def run_of(method, optimizer, **settings):
    """Loss at each step, and the weights at the end."""
    history = fit(
        method, optimizer, accumulate=BATCHES // world().size, progress=False,
        **{"steps": 3, **settings},
    )  # fmt: skip
    weights = {n: np.float64(a) for n, a in method.model.state_dict().items() if n != "seen"}
    return {"losses": history.losses(), **weights}, history


@contextmanager
def buckets_of(size):
    usual, distributed.BUCKET_BYTES = distributed.BUCKET_BYTES, size
    yield
    distributed.BUCKET_BYTES = usual


def in_small_buckets(folder, device):
    """SGD, several batches per process, evaluation, and a bucket for every parameter or two."""
    method = TinyMethod(seed=world().rank)  # all begin with the weights of process 0
    optimizer = SGD(method.model.named_parameters(), lr=0.1, momentum=0.9)
    with buckets_of(8):
        found, history = run_of(method, optimizer, evaluate_every=2)
    return {**found, "held out": history.column("held_out_loss")[1]}


def of_some_parameters(folder, device):
    """One parameter is frozen, another is not the optimizer's."""
    method = TinyMethod()
    method.model.bias.requires_grad = False
    named = [(n, p) for n, p in method.model.named_parameters() if n != "second"]
    return run_of(method, AdamW(named, lr=0.1))[0]


def in_two_dtypes(folder, device):
    """A parameter in float64 between others in float32."""
    method = TinyMethod()
    method.model.second.array = method.model.second.array.astype(np.float64)
    # The model is in one dtype, up to its loss: the parameter joins by a term of its own.
    model, data = method.model, method.data

    def loss(batch, generator):
        hidden = ops.linear(batch[:, :6], model.first)
        weight = float(batch[:, 0].mean())
        wide = ops.astype((model.second * model.second).sum() * weight, dtype=np.float32)
        return (hidden * hidden).mean() + wide + (model.bias * weight).sum()

    method.loss = loss
    assert data.dtype == np.float32
    found = run_of(method, SGD(model.named_parameters(), lr=0.1), clip=1e3)[0]
    assert model.second.array.dtype == np.float64
    return found


def in_bfloat16(folder, device):
    """A GPT whose blocks are computed twice, in torch memory."""
    method, optimizer = language_modeling("torch", dropout=0.1, recompute=True)
    with buckets_of(8):  # the last one is outside of the blocks: it could leave too early
        return run_of(method, optimizer, precision="bfloat16", clip=0.1)[0]


def language_modeling(device, **choices):
    """A small GPT's method and optimizer; the weights of process 0 are to win."""
    config = GPTConfig(
        vocab_size=17, context_length=8, num_layers=2, width=8, num_heads=2, **choices
    )
    model = GPT(config, generator=np.random.default_rng(world().rank)).to(device)
    stream = np.random.default_rng(0).integers(17, size=200)
    method = GPTPretraining(model, stream, batch_size=2)
    return method, AdamW(model.named_parameters(), lr=0.01)


def during_the_backward_pass(folder, device):
    """All buckets have left when the backward pass ends."""
    left = []

    class Watched(distributed.GradientMean):
        def finish(self, total):
            left.append(len(self.buckets) - len(self.sent))
            super().finish(total)

    step_module.GradientMean = Watched
    with buckets_of(8):
        found = run_of(*language_modeling("cpu", dropout=0.1))[0]
    step_module.GradientMean = distributed.GradientMean
    assert left == [0, 0, 0][: 3 * (world().size > 1)]
    return found


def continued(folder, device):
    """What one process began in FOLDER/begun, these continue."""
    method = TinyMethod()
    optimizer = AdamW(method.model.named_parameters(), lr=0.1)
    found, history = run_of(method, optimizer, run=folder / "begun", steps=5, checkpoint_every=2)
    assert [record["step"] for record in history] == [1, 2, 3, 4, 5]  # in every process
    return found


def begin(folder):
    """The first steps of ``continued``, up to an interruption."""
    method = TinyMethod()

    def batch(generator, usual=method.batch):
        method.calls = getattr(method, "calls", 0) + 1
        if method.calls > 3 * BATCHES:
            raise InterruptedError
        return usual(generator)

    method.batch = batch
    optimizer = AdamW(method.model.named_parameters(), lr=0.1)
    with suppress(InterruptedError):
        run_of(method, optimizer, run=folder / "begun", steps=5, checkpoint_every=2)


def that_diverge(folder, device):
    """A loss that is NaN in one process is noticed by all, in the same step."""
    method = TinyMethod()

    def loss(batch, generator, usual=method.loss):
        method.calls = getattr(method, "calls", 0) + 1
        bad = method.calls > 2 * BATCHES // world().size and world().rank == world().size - 1
        return usual(batch, generator) * (np.nan if bad else 1.0)

    method.loss = loss
    try:
        run_of(method, SGD(method.model.named_parameters(), lr=0.1))
    except DivergedError as error:
        return {"step": error.step}


def means(folder, device):
    """The mean is a new number; the bytes are those of process 0."""
    rank, size = world()
    own = move(np.array(rank, np.float32), "torch")
    mean = mean_of_all(own)
    assert (float(own), float(mean)) == (rank, (size - 1) / 2)
    assert mean_of_all(float(rank)) == (size - 1) / 2
    assert broadcast_bytes(b"from %d" % rank + b"!" * rank) == b"from 0"
    assert broadcast_bytes(b"") == b""
    assert sum_of_all(rank + 0.5) == size * (size - 1) / 2 + size / 2
    assert agree(rank == size - 1)
    assert not agree(False)
    return {}


def gathered(folder, device):
    """Rows that are not in C order, and what each process's gradient for them adds up to."""
    rank, size = world()
    x = Tensor(np.arange(6, dtype=np.float32).reshape(3, 2).T + 10 * rank, requires_grad=True)
    y = gather_rows(x)
    blocks = y.numpy().reshape(size, 2, 3)
    for place, block in enumerate(blocks):
        assert np.array_equal(block, x.numpy() + 10 * ((rank + place) % size - rank))
    weights = np.repeat(np.roll(10.0 ** np.arange(size), -rank), 2).astype(np.float32) * (1 + rank)
    (y * weights[:, None]).backward(np.ones_like(y.numpy()))
    assert np.array_equal(x.grad, np.full((2, 3), 10.0**rank * size * (size + 1) / 2))
    if size > 1:
        for uneven in (np.zeros((2 + rank, 3)), np.zeros((2, 3 + rank))):
            with raising(ValueError, "expected equally many numbers in each"):
                gather_rows(Tensor(uneven))
    return {}


@contextmanager
def raising(kind, words):
    try:
        yield
        raise AssertionError(f"no {kind.__name__}")
    except kind as error:
        if words not in str(error):
            raise


def stopping(folder, device):
    """One process is interrupted: all stop after the same step."""
    steps = 0
    while steps < 10 and not agree(world().rank == 1 and steps == 3):
        steps += 1
    assert steps == (3 if world().size > 1 else 10)
    return {}


def by_the_first(folder, device):
    """Process 0 acts, the others receive; what it cannot do is an error of all of them."""
    rank = world().rank
    called = []

    def act():
        called.append(rank)
        return b"content"

    def fail():
        raise OSError("no room")

    assert from_first(act) == b"content"
    assert called == ([0] if rank == 0 else [])
    with raising(FailedElsewhere if rank else OSError, "no room"):
        from_first(fail)
    return {}


def counted(folder, device):
    """Windows with different numbers of targets: their sum over batches and processes divides."""
    generator = np.random.default_rng(0)
    config = GPTConfig(vocab_size=9, context_length=8, num_layers=1, width=8, num_heads=2)
    model = GPT(config, generator=generator)
    stream = np.where(generator.random(300) < 0.4, 0, generator.integers(9, size=300))
    method = GPTPretraining(model, stream, batch_size=1, separator=0)
    return run_of(method, SGD(model.named_parameters(), lr=0.5))[0]


CORNERS = (
    in_small_buckets, during_the_backward_pass, of_some_parameters, in_two_dtypes, in_bfloat16,
    continued, that_diverge, means, gathered, by_the_first, counted,
    stopping,
)  # fmt: skip


def corners(folder, device):
    return {
        f"{corner.__name__}: {name}": np.asarray(value)
        for corner in CORNERS
        for name, value in corner(folder, device).items()
    }


def failing(folder, device):
    """Process 1 cannot read its data."""
    method = TinyMethod()

    def batch(generator, usual=method.batch):
        method.calls = getattr(method, "calls", 0) + 1
        if world().rank == 1 and method.calls == 3:
            raise OSError("no such image")
        return usual(generator)

    method.batch = batch
    run_of(method, SGD(method.model.named_parameters(), lr=0.1), steps=50)


def losses_and_counting(folder, device):
    """Two tasks for one start of the processes, which takes longer than both."""
    return {**losses(folder, device), **counting(folder, device)}


def main():
    task, folder, device = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    started = time.time()
    if device == "torch":  # interpreted
        from tests.kernels import quick_interpreter

        quick_interpreter.install()
    with joined(device) as device:
        try:
            result = globals()[task](folder, device)
        except RuntimeError as error:
            (folder / f"error-{world().rank}.txt").write_text(
                f"{time.time() - started}\n{error}", encoding="utf-8"
            )
            raise
        if world().rank == 0:
            np.savez(folder / "result.npz", **result)


if __name__ == "__main__":
    main()

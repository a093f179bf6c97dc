"""What one of several processes does in the tests: ``torchrun ... -m tests.training.in_processes``.

Usage: in_processes TASK FOLDER DEVICE; process 0 writes FOLDER/result.npz.
"""

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

from minissl.autograd import Tensor
from minissl.autograd.devices import move
from minissl.autograd.processes import agree, gather_rows, joined, mean_of_all, world
from minissl.losses.contrastive import info_nce, nt_xent, simclr_cs229
from minissl.optim import AdamW
from minissl.training import fit
from tests.training.tiny import TinyMethod

LOSSES = {
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
    from minissl.pretrain.simclr import ConvEncoder, SimCLR, SimCLRModel
    from minissl.training import distributed

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


def stopping(folder, device):
    """One process is interrupted: all stop after the same step."""
    steps = 0
    while not agree(world().rank == 1 and steps == 3):
        steps += 1
    return {"steps": steps}


def main():
    task, folder, device = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    started = time.time()
    with joined(device) as device:
        try:
            result = globals()[task](folder, device)
        except RuntimeError as error:
            (folder / f"error-{world().rank}.txt").write_text(f"{time.time() - started}\n{error}")
            raise
        if world().rank == 0:
            np.savez(folder / "result.npz", **result)


if __name__ == "__main__":
    main()

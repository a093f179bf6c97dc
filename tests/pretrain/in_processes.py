"""What one of two processes does in the tests: pretrain with every method, on a slow disk.

Usage: torchrun ... -m tests.pretrain.in_processes FOLDER METHOD ...
"""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minissl.autograd.processes import FailedElsewhere, joined, world
from minissl.pretrain import load_method
from minissl.pretrain.run import pretrain
from minissl.pretrain.word_vectors import WordMethod
from minissl.text import Tokenizer
from tests.pretrain.toy import stopped_after, toy_data, toy_settings

ROOT = Path(__file__).parents[2]


def start(folder, names, module=__name__):
    """Run this file in two processes. Raises what they say when one of them fails."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    ended = subprocess.run(
        [*command, "-m", module, str(folder), *names],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=200,
    )
    if ended.returncode:
        raise subprocess.SubprocessError(ended.stderr[-5000:])


def slow_disk():
    """Every ``fsync`` takes its time, process 1 a little less: renames then fall between."""
    usual, pause = os.fsync, 0.003 if world().rank else 0.01

    def fsync(descriptor):
        time.sleep(pause)
        usual(descriptor)

    os.fsync = fsync


def no_second_tokenizer(*arguments, **options):
    raise AssertionError("process 0 trains it, the others receive it")


def one(name, folder):
    """Begin, be interrupted, go on, be refused; returns what happened, with the weights' hash."""
    kind, settings = load_method(name), toy_settings(name)
    if issubclass(kind, WordMethod):
        with pytest.raises(ValueError, match="by one process") as refused:
            pretrain(kind, toy_data(name, settings), settings, folder / name, progress=False)
        return str(refused.value)
    with stopped_after(kind, 2):
        pretrain(kind, toy_data(name, settings), settings, folder / name, progress=False)
    trained = pretrain(kind, toy_data(name, settings), settings, folder / name, progress=False)
    lines = ["begun, continued and finished"]
    try:
        pretrain(kind, toy_data(name, settings, seed=1), settings, folder / name, progress=False)
    except (ValueError, FailedElsewhere) as error:
        lines.append("refused" if "begun with other data" in str(error) else str(error))
    state = sorted(trained.method.model.state_dict().items())
    buffers = {n for n, _ in state} - {n for n, _ in trained.method.model.named_parameters()}
    for key, array in state:
        if key not in buffers:  # running statistics are those of each process's own batches
            lines.append(f"{key} {hashlib.sha256(array.tobytes()).hexdigest()}")
    return "\n".join(lines)


def main():
    folder, *methods = sys.argv[1:]
    with joined("cpu"):
        slow_disk()
        if world().rank:
            Tokenizer.train = no_second_tokenizer
        for name in methods:
            text = one(name, Path(folder))
            (Path(folder) / f"{name}-{world().rank}.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

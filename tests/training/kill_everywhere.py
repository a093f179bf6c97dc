"""A program: kill a training run at every step of its dealings with the disk, and resume it.

    python -m tests.training.kill_everywhere FOLDER

First an undisturbed run counts its calls of the functions below. Then, for every call, a process
of its own runs up to that call and kills itself there with SIGKILL; with ``torn`` it first cuts the
file that was being written in half, as a power failure would. Another process resumes. Prints JSON:
how many runs were killed, and what went wrong. (A program and not a test, so that it can fork:
pytest has torch's threads in it.)
"""

import json
import os
import random
import shutil
import signal
import sys
import traceback
import warnings
from pathlib import Path

from minissl.training import History, find_checkpoint
from tests.training.tiny import outcome, run_tiny

KEPT = {"kept.txt": b"what the data needs"}
CALLS = ("fsync", "rename", "replace", "mkdir", "rmdir", "unlink", "truncate")


def count_or_kill(kill_at, torn=False):
    """Make every function in CALLS count, and kill this process at call number ``kill_at``."""
    count = [0]

    def wrap(original):
        def wrapped(*arguments, **options):
            count[0] += 1
            if count[0] == kill_at:
                if torn and original.__name__ == "fsync":
                    tear(arguments[0])
                os.kill(os.getpid(), signal.SIGKILL)
            if original.__name__ == "fsync":  # makes no difference to a kill, and takes long
                return None
            return original(*arguments, **options)

        return wrapped

    for name in CALLS:
        setattr(os, name, wrap(getattr(os, name)))
    return count


def tear(descriptor):
    """Cut the open file in half, unless it is the log, whose beginning is on the disk already."""
    path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
    if path.is_file() and path.name != "log.jsonl":
        with open(path, "r+b") as file:
            file.truncate(path.stat().st_size // 2)


def in_a_process(function):
    """Run it in a forked process; True when that was killed, False when it returned."""
    child = os.fork()
    if child == 0:
        try:
            function()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    if status != 0:
        raise RuntimeError(f"a process ended with status {status}")
    return False


def check(folder, expected):
    """Finish the run in a fresh process, and compare everything with the undisturbed run."""
    weights_file = folder.with_suffix(".outcome")

    def finish():
        count_or_kill(kill_at=-1)
        method, history = run_tiny(folder, files=KEPT)
        weights, records = outcome(method, history)
        weights_file.write_text(
            json.dumps([{n: b.hex() for n, b in weights.items()}, records]), encoding="utf-8"
        )

    in_a_process(finish)
    weights, records = json.loads(weights_file.read_text(encoding="utf-8"))
    problems = []
    if {n: bytes.fromhex(h) for n, h in weights.items()} != expected[0]:
        problems.append("final weights differ")
    logged = [{k: v for k, v in r.items() if k != "seconds"} for r in History.read(folder)]
    if records != expected[1] or logged != expected[1]:
        problems.append("the log differs")
    saved = {n: a.tobytes() for n, a in find_checkpoint(folder).weights.items()}
    if saved != expected[0]:
        problems.append("the last checkpoint differs")
    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    if names != ["step-00000006", "step-00000007"]:
        problems.append(f"left in checkpoints: {names}")
    names = sorted(path.name for path in folder.iterdir())
    if names != ["checkpoints", "config.json", "kept.txt", "log.jsonl", "starts.jsonl"]:
        problems.append(f"left in the folder: {names}")
    if (folder / "kept.txt").read_bytes() != KEPT["kept.txt"]:
        problems.append("what was kept differs")
    shutil.rmtree(folder)
    return problems


def main(base):
    warnings.simplefilter("error")
    expected = outcome(*run_tiny(base / "undisturbed"))
    counting = base / "counting"

    def count_calls():
        count = count_or_kill(kill_at=-1)
        run_tiny(counting, files=KEPT)
        counting.with_suffix(".count").write_text(str(count[0]), encoding="utf-8")

    in_a_process(count_calls)
    calls = int(counting.with_suffix(".count").read_text(encoding="utf-8"))
    killed, problems = 0, []

    def kill(folder, at, torn=False):
        def run():
            count_or_kill(at, torn)
            run_tiny(folder, files=KEPT)

        return in_a_process(run)

    for torn in (False, True):
        for at in range(1, calls + 1):
            folder = base / f"killed-{at}-{torn}"
            killed += kill(folder, at, torn)
            problems += [f"call {at}, torn {torn}: {p}" for p in check(folder, expected)]

    draw = random.Random(0)
    for number in range(10):  # killed again and again, until it gets through
        folder = base / f"again-{number}"
        while kill(folder, draw.randrange(1, calls // 2), torn=draw.random() < 0.5):
            killed += 1
        problems += [f"repeated {number}: {p}" for p in check(folder, expected)]
    print(json.dumps({"calls": calls, "killed": killed, "problems": problems}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

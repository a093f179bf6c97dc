"""All that a short visit to a machine with a GPU should bring, in one command.

Smoke: each kernel forward and backward against its float64 reference. Tests: `pytest -m gpu`, what
matters most first. Rows: the headline rows of benchmarks.kernels and benchmarks.training_gpu, each
with a limit of time. Summary: all in one short table, the failures last.
"""

import argparse
import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from benchmarks.gpu_day import facts, pool, rows, smoke, summary, wheels
from benchmarks.gpu_day.folder import Folder, good

ROOT = facts.ROOT
# The share of what is left that each stage may take; what it leaves goes to those after it.
PHASES = {
    "main": {"smoke": 1.5, "tests": 2.0, "warm": 0.9, "rows": 3.5},
    "tune": {"warm": 1.0, "rows": 3.0},
}
TESTS = (
    "kernels/test_attention.py", "kernels/test_cross_entropy.py", "training/test_devices.py",
    "autograd/test_fused_on_gpu.py", "kernels/test_contrastive.py",
    "kernels/test_linear_cross_entropy.py", "kernels/test_layer_norm.py", "kernels/test_gelu.py",
    "kernels/test_adamw.py", "kernels/test_dropout.py", "kernels/test_launch.py",
    "nn/test_resnet.py",
)  # fmt: skip
DRY_TESTS = ("kernels/test_dropout.py", "-k", "wrong or next_to_1")
GRACE = 15.0  # seconds in which tests that have begun may end

EPILOG = """\
On a rented GPU, from a fresh checkout (Python 3.11 or newer, Linux):

    pip install -e ".[test]" liger-kernel cut-cross-entropy    # a torch built for the GPU's CUDA
    python -m benchmarks.gpu_day --results results --minutes 10

It ends within that time and a few seconds. liger-kernel and cut-cross-entropy are peers that may be
absent. Without a package index, on a machine that has torch and triton, nothing is installed: fetch
the wheels elsewhere, copy them,

    pip download --no-deps -d wheels array-api-compat liger-kernel cut-cross-entropy
    python -m benchmarks.gpu_day --results results --minutes 10 --wheels wheels

and they are unpacked into a folder that is removed again (a folder `wheels` in the checkout is
found without being named). The same command again goes on where it was stopped or killed, with the
minutes that it is given then: what is done is not repeated, --fresh begins anew. Then

    python -m benchmarks.gpu_day --results results --only attention     # these rows alone
    python -m benchmarks.gpu_day --results tuning --phase tune          # which blocks are fastest
    python -m benchmarks.kernels --help                                 # whole tables, all rows

The folder has a log, every traceback, the journal, the summary, and the tables as .md and .json;
it is complete and readable at every moment. Exit status: 0 all is well, 1 something failed (see the
end of the summary), 2 nothing could run. Without a GPU, --dry-run walks through all, tiny.
"""


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_day",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--results", type=Path, default=Path("runs/gpu_day"), metavar="FOLDER",
        help="where all goes (default runs/gpu_day)")  # fmt: skip
    add("--minutes", type=positive, default=10, help="for all of it (default 10)")
    add("--wheels", type=Path, metavar="FOLDER", help="wheels of packages that are not installed")
    add("--phase", choices=PHASES, default="main", help="tune: the block sizes of the kernels")
    add("--stages", metavar="A,B", help=f"of {', '.join(PHASES['main'])}")
    names = list(dict.fromkeys(
        word
        for group in (*rows.MAIN, rows.SHAKESPEARE, *rows.TUNE)
        for word in (group.table, group.name)
    ))  # fmt: skip
    add("--only", nargs="+", metavar="NAME", help=f"rows: of {', '.join(names)}")
    add("--shakespeare", type=Path, metavar="PATH",
        help="train on it for minutes, see benchmarks.training_gpu --help")  # fmt: skip
    add("--fresh", action="store_true", help="forget what an earlier visit has left in the folder")
    add("--dry-run", action="store_true", help="tiny, on the CPU")
    given = parser.parse_args(words)
    if unknown := sorted({*(given.only or ())} - {*names}):
        parser.error(f"--only: no rows named {', '.join(unknown)}; there are {', '.join(names)}")
    stages = PHASES[given.phase]
    chosen = given.stages.split(",") if given.stages else [*stages]
    if given.only and not given.stages:
        chosen = ["warm", "rows"]
    if unknown := [name for name in chosen if name not in stages]:
        parser.error(f"--stages: {given.phase} has no {', '.join(unknown)}: {', '.join(stages)}")
    given.stages = [name for name in stages if name in chosen]
    for option in ("wheels", "shakespeare"):
        path = getattr(given, option)
        if path is not None and not path.exists():
            parser.error(f"--{option}: there is no {path}")
    if given.wheels is not None and not given.wheels.is_dir():
        parser.error(f"--wheels: expected the folder of the wheels, got the file {given.wheels}")
    if given.wheels is None and (ROOT / "wheels").is_dir():
        given.wheels = ROOT / "wheels"
    return given


def positive(word: str) -> float:
    """A number of minutes; ValueError and what argparse raises of it name the word."""
    if not 0 < float(word) < math.inf:
        raise ValueError(word)
    return float(word)


class Unusable(Exception):
    """Nothing can run here; says why."""


class Visit:
    def __init__(self, given: argparse.Namespace, folder: Folder) -> None:
        self.given, self.folder, self.dry = given, folder, given.dry_run
        self.end = time.time() + 60 * given.minutes
        earlier = next((entry["run"] for entry in folder.entries("visit") if "run" in entry), None)
        self.run = earlier or datetime.now(UTC).isoformat(timespec="seconds")
        folder.note(stage="visit", run=self.run, minutes=given.minutes)
        cores = min(len(os.sched_getaffinity(0)), 32)
        self.processes, self.testers = max(2, cores * 3 // 4), max(2, cores - 2)

    def all_stages(self) -> None:
        self.facts()
        shares = [PHASES[self.given.phase][name] for name in self.given.stages]
        for position, name in enumerate(self.given.stages):
            left = self.end - time.time()
            if left < 10:
                self.folder.say(f"== {name}: not begun, the time is over")
                continue
            seconds = left * shares[position] / sum(shares[position:])
            self.folder.say(f"== {name}: at most {seconds:.0f} s; {left:.0f} s are left")
            start = time.time()
            try:
                with nullcontext() if name == "rows" else one_thread():
                    getattr(self, name)(start + seconds)
            except Exception as error:  # the stages after it are worth as much
                self.folder.failed_with(f"the stage {name}", error)
                said = f"FAILED: {type(error).__name__}: {pool.brief(error)}"
                self.folder.note(stage="stages", part=name, said=said)
            self.folder.say(f"== {name}: took {time.time() - start:.0f} s")
            self.folder.save_summary(summary.text(self.folder))

    def told(self, stage: str, part: str, said: str, seconds: float) -> None:
        self.folder.say(f"{stage:5s} {seconds:5.1f} s  {part}: {said}")
        self.folder.note(stage=stage, part=part, said=said, seconds=round(seconds, 2))

    def do(
        self, stage: str, function, jobs: list[dict], until: float, workers: int, limit: float
    ) -> list[str]:
        """Returns the names of the jobs for which the time was too short."""
        left = pool.do(
            function, jobs, self.folder, partial(self.told, stage),
            workers=workers, until=until, limit=limit,
        )  # fmt: skip
        if left:
            self.folder.say(f"== {stage}: no time was left for {', '.join(left)}")
        return left

    # ---- the stages; each ends at the moment ``until`` -------------------------------------------

    def facts(self) -> None:
        """Raises Unusable where nothing can be measured, or where the folder has another GPU's."""
        if said := facts.from_nvidia():
            self.folder.say(said)
        answers: list[str] = []
        job = {"name": "facts", "dry": self.dry}
        pool.do(
            facts.work, [job], self.folder, lambda part, said, seconds: answers.append(said),
            workers=1, until=time.time() + 120, limit=120,
        )  # fmt: skip
        answer = answers[0] if answers else "torch did not answer in 120 seconds"
        found = json.loads(answer.removeprefix("ok ")) if answer.startswith("ok ") else answer
        if isinstance(found, str):
            raise Unusable(found)
        earlier = next(self.folder.entries("facts"), {"facts": found})["facts"]
        if facts.identity(earlier) != facts.identity(found):
            raise Unusable(
                f"{self.folder.path} has results of {facts.identity(earlier)}; here is "
                f"{facts.identity(found)}: choose another --results folder, or --fresh"
            )
        if earlier["sources"] != found["sources"]:
            self.folder.say(
                f"!! the folder was begun with other sources ({earlier['sources']}, now "
                f"{found['sources']}): what is done is not repeated; --fresh begins anew"
            )
        self.folder.note(stage="facts", facts=found)
        self.folder.say(summary.facts(self.folder))

    def smoke(self, until: float) -> None:
        done = self.folder.done("smoke")
        names = [n for n in (smoke.DRY if self.dry else smoke.CASES) if n not in done]
        jobs = [{"name": name, "dry": self.dry} for name in names]
        self.do("smoke", smoke.work, jobs, until, self.processes, limit=60)

    def tests(self, until: float) -> None:
        if good(self.folder.done("stages").get("tests", {"said": ""})["said"]):
            self.folder.say("== tests: all were done before")
            return
        if importlib.util.find_spec("pytest") is None:
            self.folder.say("== tests: left out, pytest is not installed")
            return
        command = [sys.executable, "-m", "pytest", "-p", "benchmarks.gpu_day.report", "-q"]
        # of the project's settings none that needs a plugin; here a warning is no failure
        command += "-o addopts= -W default --disable-warnings --tb=short --no-header".split()
        command += ["-p", "no:cacheprovider"]
        if importlib.util.find_spec("pytest_timeout"):
            command += ["--timeout", "60"]
        if importlib.util.find_spec("xdist") and not self.dry:
            command += ["-n", str(self.testers), "--dist", "load", "--maxschedchunk", "1"]
        first, *options = DRY_TESTS if self.dry else TESTS
        command += [] if self.dry else ["-m", "gpu"]
        command += [word if word[0] == "-" or " " in word else f"tests/{word}"
                    for word in (first, *options)]  # fmt: skip
        journal = self.folder.journal.stat().st_size
        added = {
            "GPU_DAY_RESULTS": str(self.folder.path), "GPU_DAY_JOURNAL": str(journal),
            "GPU_DAY_UNTIL": str(until - min(GRACE, (until - time.time()) / 4)),
        }  # fmt: skip
        with self.folder.log.open("ab") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **added}, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        try:
            while process.poll() is None and time.time() < until:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(min(10.0, max(0.1, until - time.time())))
                self.folder.say(f"tests: {summary.count(self.folder, 'tests')}")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        if process.wait() not in (0, 1, 5):  # all well, some failed, none was left to do
            said = f"FAILED: pytest ended with {pool.how(process.returncode)}, see log.txt"
            self.folder.note(stage="stages", part="tests", said=said)

    def groups(self) -> list[rows.Group]:
        groups = [*(rows.TUNE if self.given.phase == "tune" else rows.MAIN)]
        if self.dry:
            groups = [group for group in groups if group.says_more]
        if self.given.shakespeare is not None:
            groups.append(rows.SHAKESPEARE)
        only = self.given.only
        return [g for g in groups if not only or g.name in only or g.table in only]

    def warm(self, until: float) -> None:
        parts = 1 if self.dry else self.processes
        groups = self.groups()[:1] if self.dry else self.groups()
        shared = {"groups": groups, "dry": self.dry, "parts": parts}
        jobs = [{"name": f"warm {part}", "part": part, **shared} for part in range(parts)]
        self.do("warm", rows.warm, jobs, until, self.processes, limit=90)

    def rows(self, until: float) -> None:
        shared = {
            "path": self.folder.path, "records": self.folder.path, "dry": self.dry,
            "run": self.run, "until": until, "shakespeare": self.given.shakespeare,
        }  # fmt: skip
        ended, done = self.folder.done("groups"), self.folder.done("rows")
        jobs = [
            {"name": group.label, "group": group, "limit": group.limit, "done": [*done],
             "command": rows.command(group), **shared}
            for group in self.groups() if group.label not in ended
        ]  # fmt: skip
        left = self.do("rows", rows.work, jobs, until, workers=1, limit=60)
        for job in jobs:
            if job["name"] not in left:  # a later visit need not look
                self.folder.note(stage="groups", part=job["name"], said="ok")


@contextmanager
def one_thread() -> Iterator[None]:
    """In processes side by side each has one thread; what is timed has the user's setting."""
    names = [f"{library}_NUM_THREADS" for library in ("OPENBLAS", "OMP", "MKL")]
    added = [name for name in names if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def stop(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    given = arguments()
    signal.signal(signal.SIGTERM, stop)
    os.environ["TRITON_INTERPRET"] = "1" if given.dry_run else "0"  # read when triton is imported
    os.environ["PYTHONUNBUFFERED"] = "1"
    os.environ["PYTHONWARNINGS"] = "ignore:resource_tracker"  # of processes that were ended
    try:
        folder = Folder(given.results, given.fresh)
    except OSError as error:
        reason = f"cannot be used as a folder ({error.strerror})"
        print(f"--results: {given.results} {reason}: name another", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="gpu_day_") as site:
        for line in wheels.unpack(given.wheels, Path(site)):
            folder.say(line)
        wheels.reach(ROOT, Path(site))
        try:
            Visit(given, folder).all_stages()
        except KeyboardInterrupt:
            folder.say("stopped; the same command goes on")
            return 130
        except Unusable as reason:
            folder.say(f"nothing can be measured here: {reason}")
            return 2
        finally:
            text = summary.text(folder)
            folder.save_summary(text)
            with folder.log.open("a", encoding="utf-8") as log:
                for out in (sys.stdout, log):
                    print("\n" + text, end="", file=out, flush=True)
    stages = ("smoke", "tests", "rows", "stages")
    return int(not all(good(e["said"]) for name in stages for e in folder.done(name).values()))


if __name__ == "__main__":
    sys.exit(main())

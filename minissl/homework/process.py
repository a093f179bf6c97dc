"""The checker's side of a child process: start it, read all that it says, end it in time."""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import minissl
from minissl.durable import POSIX
from minissl.homework import keeper
from minissl.homework.report import Received, new_key

STARTING = 120.0  # seconds to import the library, torch and triton; not the student's time
PRINTED = 6000  # bytes of what the student's code printed that are kept
_CHILD = [sys.executable, "-P", "-B", "-X", "utf8", "-m", "minissl.homework.child"]
_NOT_HANDED_ON = {  # of the environment: what changes how Python runs the student's file
    "PYTHONINSPECT", "PYTHONIOENCODING", "PYTHONMALLOC", "PYTHONOPTIMIZE", "PYTHONPLATLIBDIR",
    "PYTHONSTARTUP", "PYTHONTRACEMALLOC", "PYTHONWARNINGS",
}  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """A process that is over. ``lines``: of its report. ``code``: negative for a signal."""

    lines: list[dict[str, Any]]
    printed: bytes
    code: int
    in_time: bool


def run_child(request: Mapping[str, Any], folder: Path, seconds: float) -> Ended:
    """Run a child in that folder, for so many seconds from its first line on."""
    key = new_key()
    received, printed = Received(key), _End()
    keeping = [sys.executable, "-I", "-S", str(keeper.__file__)] if POSIX else []
    process = subprocess.Popen(
        [*keeping, *_CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=_environment(folder),
        start_new_session=POSIX,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    pipes = [_Pipe(process.stdout, received.take), _Pipe(process.stderr, printed.take)]
    try:
        with contextlib.suppress(OSError):  # it has gone already
            process.stdin.write(f"{json.dumps({'key': key, **request})}\n".encode())
            process.stdin.flush()
        in_time = _wait(process, received, seconds)
    finally:
        _end(process)
        _sweep(folder)
    for pipe in pipes:
        pipe.finish()
    return Ended(received.lines, printed.kept, process.returncode, in_time)


def _wait(process: subprocess.Popen[bytes], received: Received, seconds: float) -> bool:
    """False if it took too long. Its time begins when it has imported the library."""
    deadline, started = time.monotonic() + STARTING, False
    while time.monotonic() < deadline:
        try:
            process.wait(timeout=0.02)
            return True
        except subprocess.TimeoutExpired:
            if not started and received.lines:
                deadline, started = time.monotonic() + seconds, True
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it and what it started: by its keeper, which notices, and by force where it does not."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    if POSIX:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=2 * keeper.PATIENCE)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def _sweep(folder: Path) -> None:
    """End what got away when its keeper was stopped or killed: what has our folder in its
    environment (on Linux, where /proc shows it).
    """
    if not POSIX:
        return
    mark = b"\0TMPDIR=" + os.fsencode(folder) + b"\0"
    for _ in range(50):
        found = False
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in b"\0" + environment.read_bytes():
                    os.kill(int(environment.parent.name), signal.SIGKILL)
                    found = True
        if not found:
            break
        time.sleep(0.01)


class _End:
    """The end of what was printed."""

    def __init__(self) -> None:
        self.kept = b""

    def take(self, chunk: bytes) -> None:
        self.kept = (self.kept + chunk)[-PRINTED:]


class _Pipe(threading.Thread):
    """Hands on what comes through a pipe. Some process may keep it open longer than we wait."""

    def __init__(self, stream: IO[bytes], take: Callable[[bytes], None]):
        super().__init__(daemon=True)
        self.stream, self.take, self.until = stream, take, math.inf
        self.start()

    def run(self) -> None:
        poll = select.poll() if POSIX else None  # Windows can wait for sockets alone
        if poll:
            poll.register(self.stream, select.POLLIN)
        while time.monotonic() < self.until:
            if poll and not poll.poll(50):  # milliseconds
                continue
            if not (chunk := os.read(self.stream.fileno(), 1 << 16)):
                break
            self.take(chunk)
        self.stream.close()

    def finish(self) -> None:
        """The process has ended: wait for the rest of it, but not for long."""
        self.until = time.monotonic() + 0.5
        self.join(timeout=2)


def _environment(folder: Path) -> dict[str, str]:
    """The child finds the library where we have it, keeps its temporary files in its own folder,
    computes on one thread, and runs kernels in Triton's interpreter (set TRITON_INTERPRET=0 to have
    them compiled). Paths are whole: "." would be the student's folder.
    """
    root = str(Path(minissl.__file__).parent.parent)
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = [os.path.abspath(path) for path in given if path]
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    kept = {name: value for name, value in os.environ.items() if name not in _NOT_HANDED_ON}
    temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))
    own = {"PYTHONPATH": os.pathsep.join([*paths, root]), **temporary}
    return {"TRITON_INTERPRET": "1", **one, **kept, **own}


def not_held_back() -> str:
    """What this system lets a student's code do, in a sentence; "" on Linux, where it may not."""
    if not POSIX:
        return (
            "this system has no process groups and no limits for a process: what a submission "
            "starts may outlive its check, and its memory and files are not limited"
        )
    if sys.platform != "linux":
        return (
            "this system lets a process leave its group, and its limits do not hold for all "
            "memory: what a submission starts may outlive its check"
        )
    return ""

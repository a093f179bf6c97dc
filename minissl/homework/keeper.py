"""Keeps the process in which a task is checked: ``python -I -S keeper.py COMMAND ...``.

It stands between the checker and the student's code, and ends all that this code has started when
the command ends, or when the checker closes our standard input: because the time is over, or
because the checker itself was killed, in whatever way. For the student's code it is the parent
process, so that ``os.kill(os.getppid(), 9)`` hits no more than the task.

On Linux it adopts the orphans of the command, so that also a process in a session of its own ends.
It imports nothing of the library, and takes a hundredth of a second to start.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36  # of Linux's prctl
PATIENCE = 1.0  # seconds for the killed to go


def main() -> None:
    """Hand on the first line of our standard input, and end as the command ends."""
    _control(_SET_CHILD_SUBREAPER, 1)
    with open(0, "rb", buffering=0, closefd=False) as requests:
        request = requests.readline()
    if not request:
        return  # the checker has gone before it asked
    child = subprocess.Popen(
        sys.argv[1:],
        stdin=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: _control(_SET_PDEATHSIG, signal.SIGKILL),  # if we should be killed
    )
    threading.Thread(target=_watch, args=(child,), daemon=True).start()
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(request)
        child.stdin.close()
    code = child.wait()
    _end_all(child.pid)
    if code < 0:
        _end_by(-code)
    os._exit(code)


def _watch(child: subprocess.Popen[bytes]) -> None:
    """Wait until the checker lets go of us."""
    while os.read(0, 4096):
        pass
    _end_all(child.pid)
    os._exit(1)


def _end_all(group: int) -> None:
    """End the command's process group, and every process that has come to us."""
    until = time.monotonic() + PATIENCE
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    while (numbers := [*_children()]) and time.monotonic() < until:
        for number in numbers:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(number, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.002)


def _children() -> Iterator[int]:
    """The processes whose parent we are (where the system shows them in /proc)."""
    us = str(os.getpid())
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            after_the_name = status.read_bytes().rpartition(b")")[2].split()
            if after_the_name[1].decode() == us:
                yield int(status.parent.name)


def _end_by(number: int) -> None:
    """End by the signal that ended the command, without a core file."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    time.sleep(PATIENCE)


def _control(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main()

"""Processes that do jobs side by side; one that dies or takes too long is replaced.

A job is a dictionary with a ``name``. Its function tells the parent which part of it begins, where
it is, and how the part ended. When the process dies, or a part is over its limit, that part is
marked as done, and the job begins again in a new process, which is told what is ``done``.
"""

import contextlib
import faulthandler
import os
import resource
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from benchmarks.gpu_day.folder import Folder

START_SECONDS = 120.0  # for imports, and whatever a job does before its first part
Told = Callable[[str, str, float], None]  # (part, how it ended, seconds)


class Teller:
    """What a job's function is given, to tell the parent how far it is."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._part = ""

    def begin(self, part: str) -> None:
        self._part = part
        self._connection.send(("begin", part))

    def at(self, where: str) -> None:
        """Within the part, for the case that it ends here."""
        self._connection.send(("at", where))

    def done(self, said: str = "ok", error: BaseException | None = None) -> None:
        text = "".join(traceback.format_exception(error)) if error else ""
        self._connection.send(("done", self._part, said, text))


class Here(Teller):
    """For a job in this process."""

    def __init__(self, told: Told) -> None:
        self._told = told

    def begin(self, part: str) -> None:
        self._part, self._since = part, time.time()

    def at(self, where: str) -> None:
        pass

    def done(self, said: str = "ok", error: BaseException | None = None) -> None:
        self._told(self._part, said, time.time() - self._since)


@dataclass
class Worker:
    process: Any
    connection: Connection
    job: dict | None = None
    part: str = ""
    where: str = ""
    since: float = field(default_factory=time.time)
    began: bool = False  # a part of this job has begun in this process


def do(
    function: Callable[[dict, Teller], None],
    jobs: Sequence[dict],
    folder: Folder,
    told: Told,
    *,
    workers: int,
    until: float,
    limit: float,
) -> list[str]:
    """``function(job, teller)`` for each job; returns the names of those that were not finished.

    ``limit``: the seconds of a part, unless its job has a ``limit``. ``until``: the moment at which
    whatever still runs is stopped; its parts are not told, so they are done again next time.
    """
    waiting = deque({"done": [], **job} for job in jobs)
    idle: list[Worker] = []
    busy: list[Worker] = []

    def end(worker: Worker, said: str, text: str) -> None:
        """A part is over: told, and not to be done again."""
        assert worker.job is not None
        if text or not said.startswith("ok"):
            folder.failed(f"{worker.part}: {said}", text)
        worker.job["done"].append(worker.part)
        told(worker.part, said, time.time() - worker.since)
        worker.part = worker.where = ""
        worker.since = time.time()

    def lost(worker: Worker, said: str) -> None:
        """Its process is of no use any more; the rest of its job goes to another."""
        busy.remove(worker)
        job, where = worker.job, f", in {worker.where}" if worker.where else ""
        assert job is not None
        if worker.part:
            end(worker, said + where, "")
        elif not worker.began:  # it would only do so again
            worker.part = job["name"]
            end(worker, f"{said}, before it began", "")
        if job["name"] not in job["done"]:
            waiting.appendleft(job)
        stop(worker)

    try:
        while busy or (waiting and time.time() < until):
            while waiting and len(busy) < workers and time.time() < until:
                worker = idle.pop() if idle else start(function, folder)
                worker.job, worker.since, worker.began = waiting[0], time.time(), False
                try:
                    worker.connection.send(worker.job)
                except OSError:  # it has died since its last job
                    stop(worker)
                    continue
                waiting.popleft()
                busy.append(worker)
            ends = {id(w): w.since + overdue(w, limit) for w in busy}
            patience = min(until, *ends.values()) - time.time()
            ready = wait([worker.connection for worker in busy], timeout=max(0.0, patience))
            for worker in [worker for worker in busy if worker.connection in ready]:
                try:
                    message = worker.connection.recv()
                except (EOFError, OSError):
                    worker.process.join(5)
                    lost(worker, f"DIED ({how(worker.process.exitcode)})")
                    continue
                if message[0] == "begin":
                    worker.part, worker.since, worker.began = message[1], time.time(), True
                elif message[0] == "at":
                    worker.where = message[1]
                elif message[0] == "done":
                    end(worker, *message[2:])
                else:
                    busy.remove(worker)
                    idle.append(worker)
            now = time.time()
            if now >= until:
                break
            for worker in [w for w in busy if now >= w.since + overdue(w, limit)]:
                said = f"CUT OFF after {overdue(worker, limit):.0f} s"
                folder.failed(f"{worker.part or 'the start'} of {worker.job}: where it was", "")
                stop(worker, ask=True)
                lost(worker, said)
        left = [worker.job for worker in busy] + [*waiting]
        return [job["name"] for job in left if job is not None]
    finally:
        for worker in idle:  # it then ends by itself
            worker.connection.close()
        for worker in idle:
            worker.process.join(3)
        for worker in idle + busy:
            stop(worker)


def overdue(worker: Worker, limit: float) -> float:
    """The seconds after which the worker is taken for stuck."""
    assert worker.job is not None
    return worker.job.get("limit", limit) if worker.part else START_SECONDS


def how(code: int | None) -> str:
    if code is None:
        return "it closed its end"
    return signal.Signals(-code).name if code < 0 else f"exit status {code}"


def start(function, folder: Folder) -> Worker:
    context = get_context("spawn")  # CUDA does not survive a fork
    ours, theirs = context.Pipe()
    process = context.Process(
        target=serve, args=(function, theirs, str(folder.log), str(folder.failures))
    )
    process.start()
    theirs.close()
    return Worker(process, ours)


def stop(worker: Worker, ask: bool = False) -> None:
    """End a process and what it started; ``ask``: it first writes where it is into failures.txt."""
    worker.connection.close()
    group = worker.process.pid
    if ask and worker.process.is_alive():
        with contextlib.suppress(ProcessLookupError):
            os.kill(group, signal.SIGABRT)
        worker.process.join(2)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    worker.process.kill()
    worker.process.join(10)


def serve(function, connection: Connection, log: str, failures: str) -> None:
    """In the new process: what is printed goes to the log, a crash's traceback to the failures."""
    os.setsid()  # a group of its own, with the compilers that it starts
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    printed = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    with open(failures, "a", encoding="utf-8") as file:
        faulthandler.enable(file)
        with contextlib.suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
            while True:
                job = connection.recv()
                teller = Teller(connection)
                try:
                    function(job, teller)
                except Exception as error:
                    teller.begin(job["name"])
                    teller.done(f"FAILED: {brief(error)}", error)
                connection.send(("end",))


def brief(error: BaseException, length: int = 150) -> str:
    """Its first line."""
    lines = str(error).strip().splitlines()
    text = lines[0] if lines and lines[0] else type(error).__name__
    return text[:length]

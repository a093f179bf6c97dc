"""The rows of the project's tables, those that matter most first, in one process.

Each group of rows comes twice: at first ours beside the peers that start at once, and behind all
of these with the peers whose compilation takes ten to twenty seconds a row. The second measurement
is a whole one, in turn, and replaces the first when it is finished.
"""

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.gpu_day.folder import Folder
from benchmarks.gpu_day.pool import Teller

if TYPE_CHECKING:
    from benchmarks.kernels.measure import Case, Machine

SLOW = (
    "torch.compile", "Liger", "CCE, exact", "CCE, filtered", "flex_attention", "Triton tutorial",
)  # fmt: skip
WARMED = ("minissl", "torch.compile", "Liger", "CCE, exact")  # what is compiled beforehand
TABLES = ("attention", "cross_entropy", "linear_cross_entropy", "layer_norm", "contrastive")
TRAINING = ("gpt2", "overhead", "simclr", "shakespeare")


@dataclass(frozen=True)
class Group:
    """Rows of a table: those whose case has one of ``words`` in its name, in this order."""

    name: str
    words: tuple[str, ...] = ("",)
    limit: float = 45.0  # the seconds of a row
    peers: bool = False  # beside all peers, also those that compile long
    tune: bool = False  # ours alone, with each of its kernels' CANDIDATES
    large: bool = False  # nothing new to compile, and much memory: not warmed up

    @property
    def table(self) -> str:
        return self.name.split("-")[0]

    @property
    def says_more(self) -> bool:
        """Whether a dry run, whose sizes are all the same, needs it too."""
        again = self.peers and self.table not in ("gpt2", "cross_entropy")
        return not again and self.name in (*TABLES, *TRAINING, "contrastive-65k")

    @property
    def label(self) -> str:
        kind = "block sizes" if self.tune else "all peers" if self.peers else ""
        return f"{self.name} ({kind})" if kind else self.name


def peers(group: str, *words: str, **settings) -> Group:
    return Group(group, words or ("",), peers=True, **settings)


def tuned(group: str, *words: str) -> Group:
    return Group(group, words or ("",), limit=60, tune=True)


HEADS = ("width 128, causal, 4096", "width 64, causal, 4096")
MORE = ("full, 4096", "causal, 1024", "causal, 16384", "full, 1024", "full, 16384")
WIDTHS = ("x 1024 bfloat16", "x 4096 bfloat16", "x 256 bfloat16")
MAIN = (
    Group("attention", HEADS),
    Group("gpt2", limit=75),
    Group("cross_entropy"),
    Group("linear_cross_entropy"),
    Group("layer_norm", WIDTHS),
    Group("contrastive-65k", ("65536 x",)),
    Group("contrastive-262k", ("262144 x",), large=True),
    Group("contrastive-1m", ("1048576 x",), limit=90, large=True),
    Group("simclr", limit=60),
    Group("overhead", limit=60),
    peers("gpt2", limit=120),
    peers("cross_entropy"),
    peers("linear_cross_entropy", limit=60),
    peers("layer_norm", *WIDTHS),
    Group("attention-more", MORE),
    peers("contrastive-65k", "65536 x"),
    peers("attention", *HEADS, limit=60),
    peers("attention-more", *MORE, limit=60),
)
TUNE = (
    tuned("attention", *HEADS),
    tuned("attention-full", "full, 4096"),
    tuned("cross_entropy"),
    tuned("layer_norm", *WIDTHS),
    tuned("linear_cross_entropy"),
    tuned("contrastive-65k"),
)
SHAKESPEARE = Group("shakespeare", limit=600)


class Bench:
    """What the rows of all tables share: the machine with its yardsticks, and the records."""

    def __init__(self, folder: Folder, records: Path, dry: bool, run: str) -> None:
        import torch
        import torch._functorch.config

        from benchmarks.kernels.measure import Machine
        from benchmarks.kernels.record import Record
        from benchmarks.training_gpu.record import TrainingRecord

        torch.manual_seed(0)
        torch._functorch.config.donated_buffer = False  # a compiled backward may run repeatedly
        self.machine = Machine(dry)
        self.machine.measure_yardsticks()
        self.machine.free()
        self.machine.failed = lambda name, error: folder.failed_with(f"contender {name}", error)
        self.kernels = Record("", run, records)
        self.training = TrainingRecord("", run, records)
        self.yardsticks = {
            "copy GB/s": self.machine.bandwidth,
            "product TFLOP/s": self.machine.matmul_rate,
        }


@cache
def bench(path: Path, records: Path, dry: bool, run: str) -> Bench:
    if dry:
        repair_interpreter()
    return Bench(Folder(path), records, dry, run)


def repair_interpreter() -> None:
    """Triton 3.6 and NumPy 2.4 do not fit together there; and it is slow."""
    from tests.kernels import bfloat16, quick_interpreter

    bfloat16.install()
    quick_interpreter.install()


def work(job: dict, teller: Teller) -> None:
    """A group. ``job``: name, group, done, command; path (of the log), records, dry, run, until.

    Also tutorial or shakespeare, where the group's table can use it.
    """
    from benchmarks.kernels.measure import GPUFailed

    shared = bench(job["path"], job["records"], job["dry"], job["run"])
    group: Group = job["group"]
    try:
        if group.table in TRAINING:
            if group.label not in job["done"]:
                training(shared, group, job, teller)
        else:
            kernels(shared, group, job, teller)
    except GPUFailed as error:
        if isinstance(error.args[0], dict):
            shared.kernels.add(table(group), error.args[0])
        teller.done("FAILED: nothing runs on the GPU in this process any more")
        raise SystemExit(1) from None  # another process goes on behind this row


def table(group: Group) -> str:
    return group.table + ("_tuning" if group.tune else "")


def chosen(machine: "Machine", group: Group, tutorial: Path | None = None) -> Iterator["Case"]:
    """The cases of the group, each once."""
    module = import_module(f"benchmarks.kernels.{group.table}")
    make = module.tuning if group.tune else module.cases
    if tutorial is not None and group.table == "attention" and not group.tune:
        make = partial(make, tutorial=tutorial)
    seen = set()
    for word in ("",) if machine.dry else group.words:
        for case in make(machine):
            if word in case.name and case.name not in seen:
                seen.add(case.name)
                yield case


def kernels(shared: Bench, group: Group, job: dict, teller: Teller) -> None:
    from benchmarks.kernels.measure import measure

    module, name = import_module(f"benchmarks.kernels.{group.table}"), table(group)
    shared.kernels.command = job["command"]
    title = module.TITLE + (", block sizes" if group.tune else "")
    shared.kernels.start(name, title, module.NOTES, shared.yardsticks)
    for case in chosen(shared.machine, group, job.get("tutorial")):
        part = f"{group.label}: {case.name}"
        if part in job["done"]:
            continue
        teller.begin(part)
        all_of_them = group.peers or group.tune
        names = [n for n in case.contenders if all_of_them or n not in SLOW]
        keep = partial(shared.kernels.add, name)
        row = measure(shared.machine, case, names, teller.at, keep)
        keep(row)
        teller.done(in_short(row))


def in_short(row: dict) -> str:
    """That it is ok, with the times; or why ours has none."""
    times = dict(row["milliseconds"])
    ours = times.pop("minissl")
    if isinstance(ours, str):
        return f"FAILED: {ours}"
    others = [f"{name} {time:.3g}" for name, time in times.items() if isinstance(time, float)]
    rate = f"{row['rates']['minissl']:.0f} {row['unit']}"
    return f"ok: {ours:.3g} ms, {rate}; {', '.join(others)}".rstrip("; ")


def training(shared: Bench, group: Group, job: dict, teller: Teller) -> None:
    from minissl.autograd.threads import engine_threads

    module = import_module(f"benchmarks.training_gpu.{group.table}")
    settings = {}
    if group.table == "gpt2" and not group.peers:
        settings["names"] = ("minissl", "torch eager")
    if group.table == "shakespeare":
        settings["path"] = job["shakespeare"]
    shared.training.command = job["command"]
    teller.begin(group.label)
    begun, rows = time.time(), []
    before = os.environ.get("TRITON_INTERPRET")
    if job["dry"]:
        os.environ["TRITON_INTERPRET"] = "0"  # compositions, which are fast
    try:
        with engine_threads():  # as in fit
            limit = min(job["until"], begun + group.limit)
            for notes, rows in module.measure(shared.machine, limit, **settings):
                shared.training.put(group.table, module.TITLE, (*module.NOTES, *notes), rows)
                teller.at(f"what follows {rows[-1]['case']}")
    finally:
        if job["dry"] and before is not None:
            os.environ["TRITON_INTERPRET"] = before
    ours = rows[0]["cells"]
    cells = ", ".join(f"{head} {short(value)}" for head, value in ours.items() if head != "step")
    good = not isinstance(rows[0].get("milliseconds", 0.0), str)
    teller.done(f"{'ok' if good else 'FAILED'}: {cells}")


def short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def command(group: Group) -> str:
    """What measures this table, as it would be typed."""
    tune = " --phase tune" if group.tune else ""
    text = " --shakespeare input.txt" if group == SHAKESPEARE else ""
    return f"python -m benchmarks.gpu_day{tune} --only {group.table}{text}"


# ---- compiled beforehand ------------------------------------------------------------------------


def warm(job: dict, teller: Teller) -> None:
    """Every n-th contender once, so that later processes find it compiled (on the disk).

    The sizes are those of the rows: what is compiled depends on them. ``job``: name, groups, done,
    path, dry, part, parts.
    """
    import torch._functorch.config

    from benchmarks.kernels.measure import GPUFailed, Machine, attempt

    torch._functorch.config.donated_buffer = False
    if job["dry"]:
        repair_interpreter()
    machine = Machine(job["dry"])
    machine._flushed = None  # many processes share the memory, and nothing is timed
    machine.free()
    for number, (name, prepare) in enumerate(warmed(machine, job["groups"])):
        if number % job["parts"] != job["part"] or name in job["done"]:
            continue
        teller.begin(name)
        failures: dict[str, str] = {}
        try:
            attempt(machine, lambda prepare=prepare: prepare()(), failures, name)
        except GPUFailed:
            teller.done(f"FAILED: {failures[name]}")
            raise SystemExit(1) from None
        teller.done(f"ok, but {failures[name]}" if failures else "ok")
        machine.free()


def warmed(machine: "Machine", groups: list[Group]) -> Iterator[tuple]:
    """(name, what prepares a run) of each contender that is worth it, none twice."""
    seen = set()
    for group in groups:
        if group.large or (group.table in TRAINING and group.table != "gpt2"):
            continue
        if group.table == "gpt2":
            from benchmarks.training_gpu import gpt2

            some = {
                f"gpt2: {name}": lambda build=build: partial(build(), 1, lambda: None)
                for name, build in gpt2.contenders(machine).items()
                if name in WARMED
            }
            yield from ((name, some[name]) for name in some if name not in seen)
            seen |= {*some}
            continue
        for case in chosen(machine, group):
            for contender, prepare in case.contenders.items():
                name = f"{group.table}, {case.name}: {contender}"
                same = re.sub(r", \d+, ", ", ", name)  # for every length of attention
                if same not in seen and (group.tune or contender in WARMED):
                    seen.add(same)
                    yield name, prepare
            machine.free()  # what other processes need

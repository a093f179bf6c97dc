"""pretrain, mostly without labels, into a run folder that other commands open"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minissl.cli._shared import (
    DATA_HELP,
    add_device,
    add_fields,
    add_log_to,
    add_options,
    add_seed,
    fields_from,
    path,
    place_of,
    settings_from,
    tell_what_was_fitted,
    told,
)
from minissl.pretrain import METHODS, load_method, method_names

CONTINUING = """\
A run that was stopped (Ctrl-C, a crash) is continued by the same command, bit for bit. A finished
one is trained further in a new folder, with a schedule of its own:

  minissl pretrain {name} DATA --run runs/more --from runs/first --steps 500"""
ONE_WAY = 0.05  # a spread (``z_std``) that random weights have, and collapsed ones
IN_PROCESSES = """

On two GPUs (or two processors), where each process takes batches of its own:

  torchrun --nproc-per-node 2 -m -- minissl pretrain {name} DATA --run runs/two --device cuda"""


def add_arguments_for(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Those of the method that is named first; without one, the list of methods."""
    if argv and argv[0] in method_names():
        _add_method(parser, argv[0], argv)
        return
    if argv and argv[0].startswith("--") and (named := [a for a in argv if a in method_names()]):
        parser.error(f"the method comes first: minissl pretrain {named[0]} ...")
    lines = [f"  {n:14} {METHODS.about(n)} ({METHODS.family(n)})" for n in method_names()]
    parser.epilog = "\n".join(
        ["methods:", *lines, "", "`minissl pretrain METHOD --help` has the settings of each.", ""]
    ) + (CONTINUING + IN_PROCESSES).format(name="METHOD")
    parser.usage = "minissl pretrain METHOD [DATA] --run FOLDER [settings]"
    parser.add_argument("method", choices=method_names(), metavar="METHOD", help="one of the list")


def _add_method(parser: argparse.ArgumentParser, name: str, argv: Sequence[str]) -> None:
    kind = load_method(name)
    parser.prog = f"minissl pretrain {name}"
    parser.description = f"{METHODS.about(name)} ({(kind.Settings.__doc__ or '').strip()})"
    epilog = CONTINUING + IN_PROCESSES if kind.in_processes else CONTINUING
    parser.epilog = epilog.format(name=name)
    parser.add_argument("method", choices=[name], metavar=name, help=argparse.SUPPRESS)
    parser.usage = f"{parser.prog} [DATA] --run FOLDER [settings]"
    parser.add_argument(
        "data", nargs="?", type=path, metavar="DATA",
        help=f"{DATA_HELP} (default: {kind.Data.default or 'none'})",
    )  # fmt: skip
    parser.add_argument("--run", type=path, required=True, metavar="FOLDER", help="the run folder")
    parser.add_argument(
        "--from", type=path, dest="start", metavar="RUN",
        help="begin with the weights of another run, whose settings become the defaults",
    )  # fmt: skip
    add_seed(parser, "of weights, batches and dropout")
    add_device(parser, precision=True)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument(
        "--watch", type=path, metavar="DATA",
        help="labelled examples to look at with every evaluation: accuracies of neighbors and of "
        "a probe, and the rank, into the log (`minissl report RUN`); training is the same without "
        "(default: some of DATA, neighbors and rank if it has labels, else the rank)",
    )  # fmt: skip
    parser.add_argument("--no-watch", action="store_true", help="look at no examples on the way")
    add_log_to(parser)
    add_fields(parser, (*kind.Data.fields, *kind.Data.with_labels.fields))
    add_options(parser, kind.Settings, _defaults(kind, argv))


def _defaults(kind: Any, argv: Sequence[str]) -> dict[str, Any]:
    """The settings of the run that this one begins with."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--from", type=path, dest="start")
    start = first.parse_known_args(list(argv))[0].start
    if start is None or "--help" in argv or "-h" in argv:
        return {}
    from dataclasses import asdict

    from minissl.pretrain.run import open_run

    return asdict(open_run(start, kind).settings)


def run(arguments: argparse.Namespace) -> None:
    """Read the data, pretrain, say what came out."""
    from minissl.autograd.devices import resolve_device
    from minissl.autograd.processes import joined, world
    from minissl.pretrain.run import open_run, pretrain

    kind: Any = load_method(arguments.method)
    settings = settings_from(kind.Settings, arguments)
    fields = fields_from(arguments)
    start = None if arguments.start is None else open_run(arguments.start, kind)
    with (
        joined(resolve_device(arguments.device)) as device,
        told(arguments, settings, method=arguments.method, device=device) as tell,
    ):
        first = world().rank == 0
        before = log_of(arguments.run)
        data = kind.Data.read(arguments.data, settings, fields)
        watch = _watch(kind, settings, data, arguments, fields)
        if first:
            tell_what_was_fitted(data)
        pretrained = pretrain(
            kind,
            data,
            settings,
            arguments.run,
            start=start,
            seed=arguments.seed,
            device=device,
            precision=arguments.precision,
            progress=not arguments.quiet and first,
            read_from=place_of(arguments.data),
            fields=fields,
            watch=watch,
            tell=tell,
        )
    if first:
        print(f"{arguments.run}: {pretrained.data.describe()}")
        if before and log_of(arguments.run) == before:
            print(
                "the run was finished before: nothing was trained (--from goes on, in a new folder)"
            )
        print(summary(pretrained.history, pretrained.method, arguments.run))


def log_of(folder: Path) -> tuple[int, int] | None:
    """Size and time of the log of a run, which any training changes; None where there is none."""
    try:
        about = (folder / "log.jsonl").stat()
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns


def _watch(kind: Any, settings: Any, data: Any, arguments: argparse.Namespace, fields: Any) -> Any:
    """The examples that are looked at: those that were named, or some of the data."""
    from minissl.adapt.watching import Watch, usual_watch
    from minissl.reading import shown

    if arguments.no_watch:
        if arguments.watch:
            raise ValueError("--watch and --no-watch exclude one another: give one of the two")
        return None
    if arguments.watch is None:
        return usual_watch(kind, settings, data, arguments.data, fields)
    labelled = kind.Data.with_labels.read(arguments.watch, settings.settled(data), fields)
    return Watch(labelled, place=shown(arguments.watch))


def summary(history: Any, method: Any, folder: Path) -> str:
    """The last value of everything that was measured, and what to do now."""
    from minissl.pretrain.method import Fills, Generates

    names = dict.fromkeys(name for record in history for name in record)
    ours = ("step", "lr", "grad_norm", "seconds", "device", "precision")
    values = {name: history.latest(name) for name in names if name not in ours}
    shown = [
        f"{n.replace('_', ' ')} {v:.4g}" for n, v in values.items() if isinstance(v, int | float)
    ]
    steps = history.latest("step")
    now = f"minissl sample {folder}" if isinstance(method, Generates) else ""
    if isinstance(method, Fills):
        now = f'minissl fill {folder} --text "the [MASK] of"'
    now = now or f"minissl probe {folder} LABELLED_FOLDER"
    after = f"after {steps} steps: " if steps is not None else ""
    line = f"{after}{', '.join(shown) or 'no log is left'}; now: {now}"
    line += f"\na page of it: minissl report {folder}"
    spread = values.get("z_std")
    if spread is not None and spread < ONE_WAY:
        line += (
            f"\nz std {spread:.2g} is near 0: all embeddings point nearly one way, as those of "
            "random weights do, and of a network that has collapsed (lecture 12, sections 2 and 5)"
        )
    return line

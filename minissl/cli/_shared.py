"""What commands have in common: the options of a group of settings, devices, places to write."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import Field, asdict, fields, replace
from pathlib import Path
from typing import Any, NoReturn

from minissl.options import Options, describe_values, option, reader


class Parser(argparse.ArgumentParser):
    """One whose errors say where more is said: what is missing is often a name of a list."""

    def error(self, message: str) -> NoReturn:
        """Print usage and message, and end with status 2."""
        super().error(f"{message} ({self.prog} --help says more)")


def argument(default: Any, **bounds: Any) -> Callable[[str], Any]:
    """An argparse ``type`` with bounds: ``type=argument(0, least=0)`` is a whole number ≥ 0."""
    return _typed(option(default, "", **bounds))


def path(text: str) -> Path:
    """An argparse ``type`` for files and folders; "", as an unset variable gives it, is none."""
    if not text:
        raise argparse.ArgumentTypeError("is empty: give a file or folder")
    return Path(text)


def _typed(one: Field) -> Callable[[str], Any]:
    read = reader(one)

    def convert(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def add_options(
    parser: argparse.ArgumentParser, kind: type[Options], defaults: Mapping[str, Any] | None = None
) -> None:
    """One option for each setting; ``defaults`` replace those of the class."""
    group = parser.add_argument_group("settings")
    for one in fields(kind):
        default = (defaults or {}).get(one.name, one.default)
        name, meaning = f"--{one.name.replace('_', '-')}", one.metadata["help"]
        if isinstance(one.default, bool):
            action = argparse.BooleanOptionalAction
            group.add_argument(name, action=action, default=default, help=meaning)
            continue
        group.add_argument(
            name,
            type=_typed(one),
            default=default,
            metavar={int: "N", float: "X", str: "NAME"}[type(one.default)],
            help=f"{meaning.replace('%', '%%')} [{describe_values(one)}] (default: %(default)s)",
        )


def settings_from(kind: type[Options], arguments: argparse.Namespace) -> Any:
    """The settings that were chosen on the command line."""
    return kind(**{one.name: getattr(arguments, one.name) for one in fields(kind)})


def add_fields(
    parser: argparse.ArgumentParser, names: Sequence[str] = (), *, of_run: bool = False,
    optional: Sequence[str] = (),
) -> None:  # fmt: skip
    """Add the options that say which column of a table is what.

    names: those that the data has a use for (``Data.fields``), all of them when it is not known
    yet. of_run: without them, what the run was told is taken. optional: those whose default is
    None, so that one sees whether they were given.
    """
    from minissl.data import Fields

    group = parser.add_argument_group("columns of a table (.csv, .tsv, .jsonl)")
    for one in fields(Fields):
        if names and one.name not in names:
            continue
        shown = one.default and one.name not in optional
        group.add_argument(
            f"--{one.name.replace('_', '-')}",
            type=_typed(one),
            default=None if of_run or one.name in optional else one.default,
            metavar="NAME",
            help=one.metadata["help"]
            + (" (default: the run's)" if of_run else " (%(default)s)" if shown else ""),
        )


def fields_from(arguments: argparse.Namespace, of_run: Any = None) -> Any:
    """The ``Fields`` that were chosen on the command line; the others are those of the run.

    A layout takes the place of the run's columns, and a column that of the run's layout.
    """
    from minissl.data import FIELDS, Fields

    given = {one.name: getattr(arguments, one.name, None) for one in fields(Fields)}
    chosen = {name: value for name, value in given.items() if value is not None}
    usual = of_run or FIELDS
    if chosen.get("layout"):
        usual = FIELDS
    elif chosen:
        usual = replace(usual, layout="")
    return replace(usual, **chosen)


DATA_HELP = "a file, a folder or the name of a data set"


def add_run_and_data(parser: argparse.ArgumentParser, data: str) -> None:
    """Add the run that is opened and the data it is asked about; ``data``: its help."""
    parser.add_argument(
        "folder", type=path, metavar="RUN",
        help="a run folder, or one of published weights: of BERT's kin, or in GPT-2's layout",
    )  # fmt: skip
    parser.add_argument("data", nargs="?", type=path, metavar="DATA", help=data)


def add_base(parser: argparse.ArgumentParser) -> None:
    """Add ``--base``, for commands that open an adaptation."""
    parser.add_argument(
        "--base", type=path, metavar="RUN",
        help="of an adaptation: the pretrained run that was adapted, if it is no longer where it "
        "was",
    )  # fmt: skip


def other_than(out: Path, data: Path | None) -> None:
    """Raise ValueError when what is written would replace the data that is read."""
    if data is not None and out.exists() and data.exists() and out.samefile(data):
        raise ValueError(f"--out {out} is the data itself: give another name")


def place_of(data: Path | None) -> Path | None:
    """Where the data lies, whatever the folder; the name of a data set stays a name."""
    return data.resolve() if data and data.exists() else data


def add_device(parser: argparse.ArgumentParser, *, precision: bool = False) -> None:
    """Add ``--device`` and, for training, ``--precision``."""
    parser.add_argument(
        "--device",
        default="cpu",
        metavar="cpu|cuda|auto",
        help="where to compute: NumPy on the processor, a GPU (cuda, cuda:1), or a GPU if there is "
        "one (default: %(default)s)",
    )
    if precision:
        parser.add_argument(
            "--precision",
            default="float32",
            choices=("float32", "bfloat16"),
            help="bfloat16: faster on a GPU, the weights stay float32 (default: %(default)s)",
        )


def add_seed(parser: argparse.ArgumentParser, of: str = "of everything random") -> None:
    """Add ``--seed``."""
    parser.add_argument(
        "--seed",
        type=argument(0, least=0),
        default=0,
        metavar="N",
        help=f"{of} (%(default)s)",
    )  # fmt: skip


def add_log_to(parser: argparse.ArgumentParser) -> None:
    """Add ``--log-to``, for what is trained."""
    parser.add_argument(
        "--log-to", choices=("trackio", "wandb", "tensorboard"),
        help="show the curves in one of these as well, which you have installed and, for wandb, "
        "logged in to: it gets the numbers of every line of the log and the settings, no data and "
        "no weights. runs/book is the run book of the project runs; tensorboard writes into the "
        "run's folder, for `tensorboard --logdir runs`",
    )  # fmt: skip


@contextmanager
def told(arguments: argparse.Namespace, settings: Any, **about: Any) -> Iterator[Any]:
    """What ``tell`` is for ``--log-to``: in the first process, None in the others and without it.

    settings, about: what it shows beside the curves. Raises ImportError without its package, here.
    """
    name, folder = getattr(arguments, "log_to", None), arguments.run
    if name is None:
        yield None
        return
    if folder is None:
        raise ValueError(f"--log-to {name} takes its names from the run's folder: give --run too")
    from minissl.autograd.processes import from_first
    from minissl.training.trackers import Tracker, tracker

    first: list[Tracker] = []
    shown = {**about, "seed": arguments.seed, **asdict(settings)}

    def make() -> bytes:
        first.append(tracker(name, folder, shown))
        return b""

    from_first(make)
    with first[0] if first else nullcontext() as tell:
        yield tell


def reader_of(method: Any) -> Any:
    """What represents an example: a method, or that below an adaptation."""
    return getattr(method, "base", method)


def tell_what_is_not_read(
    method: Any, data: Any, inputs: Any, names: Any, file: Any = None
) -> None:
    """Print how many texts are longer than what is read of them, or hold nothing known.

    ``file``: where to, None is stdout.
    """
    longest = getattr(method, "longest", getattr(reader_of(method), "longest", None))
    whole = [one for one in inputs if not getattr(one, "in_windows", False)]
    if longest is not None and (cut := sum(len(example) > longest for example in whole)):
        first = any(getattr(one, "loses_beginning", False) for one in whole)
        print(
            f"{cut:,} of {len(inputs):,} texts are longer than the {longest:,} tokens or words "
            f"that are read: their {'beginnings' if first else 'ends'} are cut",
            file=file,
        )
    is_blank = getattr(data, "is_blank", lambda example: False)  # an image never is
    if blank := [i for i, example in enumerate(inputs) if is_blank(example)]:
        print(
            f"{len(blank):,} of {len(inputs):,} examples, {names[blank[0]]} for example, hold "
            "nothing that the run knows",
            file=file,
        )


def tell_what_was_fitted(raw: Any, file: Any = None) -> None:
    """Print what was done to images of another size or shape than the network takes.

    Or how many rows of a published file were left out.
    """
    if fitted := getattr(raw, "fitted", ""):
        print(fitted, file=file)


def methods_with(ability: str) -> list[str]:
    """The pretraining methods that have this function, to be told of a run that has not."""
    from minissl.pretrain import load_method, method_names

    return [name for name in method_names() if hasattr(load_method(name), ability)]


def out_of_memory_advice(error: BaseException) -> str:
    """What to try when a GPU's memory was too small; "" for any other error."""
    if type(error).__name__ != "OutOfMemoryError":
        return ""
    return (
        "\nThe GPU's memory is too small for this: use a smaller --batch-size, "
        "--precision bfloat16, a smaller model, or --device cpu"
    )

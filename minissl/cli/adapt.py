"""from a pretrained run to a predictor: probe, fine-tune, LoRA, zero-shot"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from minissl.adapt import ADAPTATIONS, adaptation_names, load_adaptation
from minissl.cli._shared import (
    add_device,
    add_fields,
    add_log_to,
    add_options,
    add_run_and_data,
    add_seed,
    argument,
    fields_from,
    path,
    place_of,
    settings_from,
    tell_what_is_not_read,
    tell_what_was_fitted,
    told,
)

EXAMPLES = """\
examples:
  minissl adapt probe runs/photos labelled/ --labels-per-class 5 --draws 10
  minissl adapt finetune runs/book reviews.csv --label-field stars --run runs/reviews
  minissl predict runs/reviews more.csv --out predicted.csv
  minissl adapt lora runs/encoder wnut17.conll --run runs/names
  minissl adapt finetune runs/encoder pairs.tsv --layout snli --run runs/follows
  minissl adapt lora all-MiniLM-L6-v2 reviews.csv --run runs/reviews
  minissl adapt zero-shot runs/book reviews.csv --template "{text} The film was {class}"

RUN may be a folder of published weights, of BERT's kin or in GPT-2's layout: config.json,
model.safetensors and its tokenizer (vocab.txt or tokenizer.json).
The labelled data: a folder with a folder for each class, a table (.csv, .tsv, .jsonl), an .npz file
or the name of a data set. Two texts each: --second-field, or --layout (`minissl data tasks`); a
number for a label: --form number. A tag for each word: a .conllu, .conll, .iob or .bio file; a span
of a text: a .json as SQuAD's; one of several endings: --form choice, a table with the columns
ending0, ending1, ... A third of it is held out and measured on, or its own test set.
With --run the result is kept, and a command that was stopped goes on when it is called again."""


def add_arguments_for(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Those of the adaptation that is named first; without one, the list."""
    names = adaptation_names()
    parser.epilog = EXAMPLES
    if argv and argv[0] in names:
        _add_adaptation(parser, argv[0])
        return
    if argv and argv[0].startswith("--") and (named := [a for a in argv if a in names]):
        parser.error(f"the adaptation comes first: minissl adapt {named[0]} ...")
    lines = [f"  {n:13} {ADAPTATIONS.about(n)} ({ADAPTATIONS.family(n)})" for n in names]
    advice = "`minissl adapt NAME --help` has the settings of each."
    parser.epilog = "\n".join(["adaptations:", *lines, "", advice, "", EXAMPLES])
    parser.usage = "minissl adapt NAME RUN [DATA] [--run FOLDER] [settings]"
    parser.add_argument("adaptation", choices=names, metavar="NAME", help="one of the list")


def _add_adaptation(parser: argparse.ArgumentParser, name: str) -> None:
    from minissl.adapt.frozen import Frozen
    from minissl.adapt.method import Solved
    from minissl.adapt.run import forms_of

    kind = load_adaptation(name)
    parser.prog = f"minissl adapt {name}"
    parser.description = f"{ADAPTATIONS.about(name)} ({(kind.Settings.__doc__ or '').strip()})"
    parser.usage = f"{parser.prog} RUN [DATA] [--run FOLDER] [settings]"
    parser.add_argument("adaptation", choices=[name], metavar=name, help=argparse.SUPPRESS)
    add_run_and_data(parser, "labelled examples: see below (default: what every machine has)")
    parser.add_argument("--run", type=path, metavar="FOLDER", help="where the result is kept")
    if issubclass(kind, Frozen):
        parser.add_argument(
            "--draws", type=argument(1, least=1), default=1, metavar="N",
            help="how often some of the labelled examples are drawn, for the means of the "
            "table (default: %(default)s)",
        )  # fmt: skip
    add_seed(parser, "of what is drawn, and of new weights")
    add_device(parser, precision=not issubclass(kind, Solved))
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    if not issubclass(kind, Solved):
        add_log_to(parser)
    columns = ("text_field", "second_field", "label_field", "image_field", "layout")
    add_fields(parser, columns, optional=("second_field",))
    parser.add_argument(
        "--form", choices=forms_of(kind), default="",
        help="what a label is (default: by the file or its layout, else "
        f"{kind.labels}); with --second-field an example is two texts",
    )  # fmt: skip
    add_options(parser, kind.Settings)


def run(arguments: argparse.Namespace) -> None:
    """Read the labelled data, adapt, say what came out."""
    from minissl.adapt.run import adapt, read_labelled
    from minissl.autograd.devices import resolve_device
    from minissl.autograd.processes import joined, world
    from minissl.data.asked import shape_of
    from minissl.pretrain.run import open_run

    kind: Any = load_adaptation(arguments.adaptation)
    settings = settings_from(kind.Settings, arguments)
    opened = open_run(arguments.folder)
    fields = fields_from(arguments)
    about = {"adaptation": arguments.adaptation, "base": arguments.folder.name}
    with (
        joined(resolve_device(arguments.device)) as device,
        told(arguments, settings, **about, device=device) as tell,
    ):
        first = world().rank == 0
        pair = arguments.second_field is not None
        reads, form = shape_of(arguments.data, fields, pair=pair, form=arguments.form)
        data = read_labelled(kind, opened, arguments.data, fields, reads=reads, form=form)
        if first:
            if arguments.data is None:
                print(f"no DATA was given: taken is {type(data).default}, see `minissl data list`")
            tell_what_was_fitted(data)
            sys.stdout.flush()  # before long work
        adapted = adapt(
            kind,
            opened,
            data,
            settings,
            arguments.run,
            seed=arguments.seed,
            device=device,
            precision=getattr(arguments, "precision", "float32"),
            progress=not arguments.quiet and first,
            read_from=place_of(arguments.data),
            fields=fields,
            tell=tell,
        )
        if first:
            _tell(kind, settings, opened, adapted, arguments, device)


def _tell(
    kind: Any, settings: Any, opened: Any, adapted: Any, arguments: argparse.Namespace, device: str
) -> None:
    """What was learned from, what of it is not read, what came out, and what to do with it."""
    from minissl.adapt.frozen import Frozen

    print(f"{arguments.folder}, {opened.name}: {adapted.data.describe()}")
    parts = [part for part in (adapted.data.train, adapted.data.held_out) if part]
    inputs = [example for part in parts for example in part.inputs]
    names = [name for part in parts for name in part.names]
    tell_what_is_not_read(adapted.method, adapted.data, inputs, names)
    if issubclass(kind, Frozen):
        _print_table(kind, settings, opened, adapted.data, arguments, device)
        _print_more(adapted)
    else:
        _print_numbers(adapted, opened)
    if arguments.run is None:
        print("nothing was kept: --run FOLDER keeps the result, for minissl predict")
    else:
        print(f"now: minissl predict {arguments.run} DATA")


def _print_table(
    kind: Any, settings: Any, opened: Any, task: Any, arguments: argparse.Namespace, device: str
) -> None:
    """Held-out scores, a row for each representation: the mean over the draws, and their spread."""
    from minissl.adapt.frozen import compare

    rows = compare(
        kind,
        settings,
        opened,
        task,
        seed=arguments.seed,
        draws=arguments.draws,
        device=device,
        progress=not arguments.quiet,
    )
    names = list(rows[0].scores)
    print(f"{'held out':24}" + "".join(f"{name:>16}" for name in names))
    for row in rows:
        cells = [_cell(name, values) for name, values in row.scores.items()]
        print(f"{row.name:24}" + "".join(f"{cell:>16}" for cell in cells))


def _print_more(adapted: Any) -> None:
    """What else the adaptation says of itself: how much each layer counts, say."""
    for name, value in adapted.method.evaluate().items():
        if not name.startswith("held_out_"):
            print(f"{name.replace('_', ' '):28} {value:.6g}")


def _cell(name: str, values: Any) -> str:
    """Accuracies in percent, with the standard deviation over the draws where there are some."""
    factor, digits, unit = (100, 1, " %") if name == "accuracy" else (1, 3, "")
    mean, spread = factor * values.mean(), factor * values.std()
    more = f" ± {spread:.{digits}f}" if len(values) > 1 else ""
    return f"{mean:.{digits}f}{more}{unit}"


def _print_numbers(adapted: Any, opened: Any) -> None:
    """The last value of what was measured; how much was trained, if anything was, in bytes too."""
    from minissl.adapt.method import Solved
    from minissl.adapt.trained import Trained

    method = adapted.method
    trained = sum(p.size for p in method.model.parameters() if p.requires_grad)
    if not isinstance(method, Solved):
        print(f"{trained:,} of {method.model.num_parameters():,} weights trained")
    if isinstance(method, Trained):
        print("\n".join(_bytes_of(method, opened)))
    for name, value in method.evaluate().items():
        print(f"{name.replace('_', ' '):28} {value:.6g}")


def _bytes_of(method: Any, opened: Any) -> list[str]:
    """What its training needs; beside full fine-tuning where only a part of the run is trained."""
    from minissl.adapt.costs import costs, full_costs, in_words
    from minissl.adapt.trained import SmallPart

    full = full_costs(opened, method) if isinstance(method, SmallPart) else None
    return in_words(costs(method), full)

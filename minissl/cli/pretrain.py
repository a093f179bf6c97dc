"""``minissl pretrain``: pretraining runs on any text or any folder of images."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from minissl.cli.where import add_device
from minissl.pretrain.settings import GPTSettings, SimCLRSettings


def add(commands: Any) -> None:
    """Describe the command and its methods."""
    parser = commands.add_parser(
        "pretrain",
        help="pretrain without labels, into a run folder that other commands open",
        epilog="""examples:
  minissl pretrain gpt book.txt --run runs/book --steps 2000
  minissl pretrain gpt texts/ --run runs/texts --num-layers 6 --width 256 --num-heads 8
  minissl pretrain simclr --run runs/digits             scikit-learn's digits
  minissl pretrain simclr photos/ --run runs/photos --image-size 32

A run that was stopped (Ctrl-C, a crash) is continued by the same command. On two GPUs (or two
processors), where each process takes batches of its own:

  torchrun --nproc-per-node 2 -m -- minissl pretrain gpt book.txt --run runs/book --device cuda""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    methods = parser.add_subparsers(title="methods", metavar="METHOD", required=True)
    gpt = methods.add_parser(
        "gpt",
        help="predict the next token",
        description="Trains a tokenizer, then a GPT, on a text file or a folder of text files.",
    )
    gpt.add_argument(
        "data", nargs="?", type=Path, help="file or folder (default: Python's own English)"
    )
    simclr = methods.add_parser(
        "simclr",
        help="two views of an image should be similar, views of different images not",
        description="Trains a convolutional encoder on a folder of images; labels are not read.",
    )
    simclr.add_argument(
        "data", nargs="?", type=Path, help="folder of images (default: scikit-learn's digits)"
    )
    for method, run, settings in (
        (gpt, run_gpt, GPTSettings),
        (simclr, run_simclr, SimCLRSettings),
    ):
        method.add_argument("--run", type=Path, required=True, help="the run folder")
        method.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
        add_device(method, precision=True)
        method.add_argument("--quiet", action="store_true", help="no progress bar")
        for field in fields(settings):
            method.add_argument(
                f"--{field.name.replace('_', '-')}",
                type=type(field.default),
                default=field.default,
                help=f"{field.metadata['help']} (default: %(default)s)",
            )
        method.set_defaults(function=run)


def run_gpt(arguments: argparse.Namespace) -> None:
    """Tokenizer, then GPT."""
    from minissl.autograd.devices import resolve_device
    from minissl.autograd.processes import joined, world
    from minissl.cli.tokenizer import documents
    from minissl.pretrain.gpt_run import prepare_gpt, pretrain_gpt

    settings = _settings(GPTSettings, arguments)
    with joined(resolve_device(arguments.device)) as device:
        rank = world().rank  # every process makes the same tokenizer; one of them talks
        progress = not arguments.quiet and rank == 0
        data = prepare_gpt(documents(arguments.data), arguments.run, settings, progress=progress)
        _, history = pretrain_gpt(
            data,
            arguments.run,
            settings,
            seed=arguments.seed,
            device=device,
            precision=arguments.precision,
            progress=progress,
        )
    last = history[-1]
    if rank == 0:
        print(
            f"{arguments.run}: after {last['step']} steps {last['held_out_loss']:.3f} nats per "
            f"token, {last['held_out_bits_per_byte']:.3f} bits per byte of held-out text; "
            f"now: minissl sample {arguments.run}"
        )


def run_simclr(arguments: argparse.Namespace) -> None:
    """SimCLR on a folder, or on the digits."""
    from minissl.autograd.devices import resolve_device
    from minissl.autograd.processes import joined, world
    from minissl.pretrain.simclr_run import pretrain_simclr, read_images

    settings = _settings(SimCLRSettings, arguments)
    images = read_images(arguments.data, settings).images
    with joined(resolve_device(arguments.device)) as device:
        rank = world().rank
        _, history = pretrain_simclr(
            images,
            arguments.run,
            settings,
            seed=arguments.seed,
            device=device,
            precision=arguments.precision,
            progress=not arguments.quiet,
        )
    last = history[-1]
    if rank == 0:
        print(
            f"{arguments.run}: {len(images)} images, loss {last['loss']:.3f} after "
            f"{last['step']} steps; now: minissl probe {arguments.run} LABELLED_FOLDER"
        )


def _settings(kind: Any, arguments: argparse.Namespace) -> Any:
    return kind(**{field.name: getattr(arguments, field.name) for field in fields(kind)})

"""``run_demo``: both halves, one table on the screen, ``results.json`` and ``report.html``."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from minissl.conditions import processor, require_packages
from minissl.demo.images import image_demo
from minissl.demo.language import language_demo
from minissl.durable import POSIX, replace_durably
from minissl.page import Page
from minissl.pretrain.images.simclr import SimCLRSettings
from minissl.pretrain.language.gpt import GPTSettings
from minissl.reading import read_json

TITLE = "What self-supervised learning buys"
QUICK = (
    "It was quick: a tenth of the training, to see that it works. Without --quick both networks "
    "learn more, and the numbers are others."
)


PARTS = ("text", "images")
HALF = {"results": dict, "html": str}
SUPERVISED_STEPS = 300
TO_SAVE = 10.0  # seconds for a half that was stopped
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def run_demo(
    folder: Path, *, seed: int = 0, device: str = "cpu", progress: bool = True, quick: bool = False
) -> dict[str, Any]:
    """Run the demo in a folder; returns what ``results.json`` holds.

    Both halves run at once, each in a process with one thread: that uses two cores better than one
    network on two threads, and does not suffer when something else needs a core as well. A demo
    that was interrupted continues; one that is finished begins anew, and the files of the old one
    are replaced when the new ones are ready. ``quick``: a tenth of the training.

    Raises ImportError for a package that is missing, before anything; RuntimeError when a half
    fails; it has said why.
    """
    require_packages("the demo", "matplotlib", "sklearn")
    work = folder / "work"
    work.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    options = ["--out", str(folder), "--seed", str(seed), "--device", device]
    options += ["--quick"] * quick + ["--quiet"] * (not progress)
    _run_together([[*options, "--part", part] for part in PARTS])
    text, images = (read_json(work / f"{part}.json", "a half of the demo", HALF) for part in PARTS)
    results = {
        "seed": seed,
        "quick": quick,
        "machine": machine(device),
        "device": device,
        "seconds": round(time.perf_counter() - started, 1),
        "language": text["results"],
        "images": images["results"],
    }
    page = Page(TITLE)
    page.text(
        "Labels are expensive and data is not. Self-supervised learning makes its own task from "
        "unlabelled data, filling in what was hidden, and what it learns on the way is useful for "
        "tasks that have few labels or none. This page was computed on "
        f"{machine(device)}, from data that was already there."
    )
    if quick:
        page.text(QUICK)
    for part in (_tables(results), text["html"], images["html"]):
        page.raw(part)
    _how_it_was_made(page, results)
    _finish(folder, work, page, results)
    print(table_text(results))
    if quick:
        print(f"\n{QUICK}")
    print(f"\n{folder / 'report.html'}: the whole story, in {results['seconds']:.0f} s")
    return results


def run_part(
    part: str, folder: Path, *, seed: int, device: str, progress: bool, quick: bool
) -> None:
    """One half: train, and leave its numbers and its piece of the page for ``run_demo``."""
    page, work = Page(""), folder / "work"
    share = 10 if quick else 1
    if part == "text":
        gpt = GPTSettings()
        gpt = replace(gpt, steps=gpt.steps // share)
        results = language_demo(
            page, work / "gpt", gpt, seed=seed, device=device, progress=progress
        )
    else:
        simclr = SimCLRSettings()
        simclr = replace(simclr, steps=simclr.steps // share)
        results = image_demo(
            page,
            work,
            simclr,
            seed=seed,
            device=device,
            progress=progress,
            supervised_steps=SUPERVISED_STEPS // share,
        )
    content = {"results": results, "html": "".join(page.parts[1:])}
    replace_durably(work / f"{part}.json", json.dumps(content).encode())


def _run_together(calls: list[list[str]]) -> None:
    """Run ``minissl demo`` once for each list of options, at the same time."""
    command = [sys.executable, "-m", "minissl", "demo"]
    running = []
    for number, options in enumerate(calls):
        environment = {**os.environ, **ONE_THREAD, "TQDM_POSITION": str(number)}
        running.append(subprocess.Popen([*command, *options], env=environment))
    try:
        while any(process.poll() is None for process in running):
            time.sleep(0.1)
            if any(process.poll() for process in running):
                raise RuntimeError("the demo failed; the message above says why")
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command continues") from None
    finally:
        for process in running:
            if process.poll() is None:
                _stop(process)
    if any(process.returncode for process in running):
        raise RuntimeError("the demo failed; the message above says why")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ctrl-C for one process, which saves a checkpoint.

    Windows has no signal for others: there Ctrl-C has reached it as it has reached us.
    """
    if POSIX:
        process.send_signal(signal.SIGINT)
    else:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=TO_SAVE)
        process.terminate()
    process.wait()


def image_rows(results: dict[str, Any]) -> list[list[str]]:
    """Accuracy in percent, a row per way of using labels."""
    accuracy = results["images"]["accuracy"]
    order = ["raw pixels", "random network", "supervised from scratch"]
    order += ["SimCLR without negatives", "SimCLR, no labels"]
    return [[name, *(f"{100 * value:.1f}" for value in accuracy[name])] for name in order]


def language_rows(results: dict[str, Any]) -> list[list[str]]:
    """Nats per token and bits per byte, a row per model, the worst first."""
    nats, bits = (results["language"][key] for key in ("nats_per_token", "bits_per_byte"))
    names = sorted(bits, key=lambda name: -bits[name])
    return [[n, f"{nats[n]:.2f}" if n in nats else "", f"{bits[n]:.2f}"] for n in names]


def headers(results: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The first rows of the two tables."""
    labels = [str(count) for count in results["images"]["labels_per_class"]]
    return (
        ["held-out text", "nats per token", "bits per byte"],
        ["accuracy (%) with labels per class", *labels],
    )


def _tables(results: dict[str, Any]) -> str:
    """Both tables as HTML."""
    part = Page("")
    text_header, image_header = headers(results)
    images, language = image_rows(results), language_rows(results)
    few = [float(row[1]) for row in images]
    part.table(image_header, images, best=few.index(max(few)))
    part.table(text_header, language, best=len(language) - 1)  # they end with the best
    return "".join(part.parts[1:])


def table_text(results: dict[str, Any]) -> str:
    """Both tables for a terminal, also valid Markdown."""
    text_header, image_header = headers(results)
    tables = [(image_header, image_rows(results)), (text_header, language_rows(results))]
    return "\n\n".join(_markdown(header, rows) for header, rows in tables)


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells: list[str]) -> str:
        first = cells[0].ljust(widths[0])
        return (
            "| " + " | ".join([first, *(c.rjust(w) for c, w in zip(cells[1:], widths[1:]))]) + " |"
        )

    rule = "| " + " | ".join(["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]) + " |"
    return "\n".join([line(header), rule, *map(line, rows)])


def _how_it_was_made(page: Page, results: dict[str, Any]) -> None:
    page.heading("How this page was made")
    page.text(
        f"minissl demo --seed {results['seed']}{' --quick' if results['quick'] else ''}: "
        f"{results['seconds']:.0f} seconds; text took {results['language']['seconds']:.0f}, images "
        f"{results['images']['seconds']:.0f}, at the same time, on one core each. "
        "One seed of pretraining; another seed, or another version of Python, whose texts differ, "
        "changes the last digits. All numbers are in results.json beside this page, the texts that "
        "were used are pinned in gpt/data.json. Digits: the test set of the UCI handwritten "
        "digits (Alpaydin and Kaynak, 1998), as scikit-learn ships it.",
        soft=True,
    )


def machine(device: str) -> str:
    """Hardware and versions, for the page."""
    import numpy

    gpu = "no GPU"
    if device.startswith("cuda"):
        import torch

        gpu = f"torch {torch.__version__}, {torch.cuda.get_device_name(device)}"
    return (
        f"{os.cpu_count()} cores of {processor()}, Python {platform.python_version()}, "
        f"NumPy {numpy.__version__}, {gpu}"
    )


def _finish(folder: Path, work: Path, page: Page, results: dict[str, Any]) -> None:
    """Put the finished files in place: a reader sees the old ones or the new ones, never half."""
    replace_durably(folder / "results.json", json.dumps(results, indent=1).encode())
    replace_durably(folder / "report.html", page.html().encode())
    for part in PARTS:
        (work / f"{part}.json").unlink()
    for run in work.iterdir():
        shutil.rmtree(folder / run.name, ignore_errors=True)
        run.rename(folder / run.name)
    work.rmdir()

"""Lecture 12: what images without labels are worth to a classifier with few."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minissl.claims import simclr_on_digits as digits
from minissl.claims.claim import Claim, Measured, Setup, ahead, chosen
from minissl.claims.drawing import line
from minissl.data import Kept
from minissl.data.images import LabelledPixels
from minissl.figures import label_ends, new_figure
from minissl.palette import BLUE, GREEN, GREY, INK, OCHRE, PURPLE, RED
from minissl.pretrain.images.consistency import Consistency, ConsistencySettings
from minissl.pretrain.images.simclr import SimCLRSettings
from minissl.pretrain.run import train
from minissl.vision.images import LabelledSplit

LABELS = (1, 5, 20)
ALONE, WITH = "labels alone", "and consistency"
ARMS: dict[str, dict[str, Any]] = {
    ALONE: {"weight": 0.0},
    WITH: {},
    "no stop-gradient": {"stop_gradient": False},
    "no sharpening": {"sharpen": 1.0},
    "no confidence": {"confidence": 0.0},
    "no guard at all": {"stop_gradient": False, "sharpen": 1.0, "confidence": 0.0},
    "with annealing": {"annealing": "linear"},
}
SIMCLR = "SimCLR, then a probe"
COLORS = dict(zip(ARMS, (GREY, BLUE, RED, OCHRE, PURPLE, INK, GREEN)))


def measure(setup: Setup) -> Measured:
    """Labels alone and with consistency at every number of labels, the other arms at one."""
    data = digits.load(setup)
    run = Measured(digits.baselines(setup, data, LABELS))
    for row, changes in ARMS.items():
        run.table[row] = {}
        for count in LABELS if row in (ALONE, WITH) else LABELS[1:2]:
            setup.note(f"{row}, {digits.column(count)}")
            accuracy, curve = trained(setup, data, count, changes)
            run.table[row][digits.column(count)] = accuracy
            if count == LABELS[1]:
                run.curves[row] = curve
    setup.note(SIMCLR)
    method = digits.shared_simclr(setup, data, SIMCLR, steps=setup.settings["steps"])
    run.table[SIMCLR] = digits.probe(setup, data, method.represent, LABELS)
    return run


def trained(
    setup: Setup, data: LabelledSplit, count: int, changes: Mapping[str, Any]
) -> tuple[float, tuple[list[int], list[float]]]:
    """The accuracy of one arm in percent, and how it came about."""
    settings = chosen(
        ConsistencySettings, setup, labels_per_class=count,
        batch_size=setup.settings["labelled_batch"], **changes,
    )  # fmt: skip
    names = tuple(map(str, range(10)))
    pixels = LabelledPixels(
        Kept(), settings, data.train_images, data.test_images,
        labels=data.train_labels, held_out_labels=data.test_labels, class_names=names,
    )  # fmt: skip
    method = Consistency.build(settings, pixels, seed=setup.seed)
    method.to(setup.device)
    history = train(method, settings, seed=setup.seed, progress=False)
    steps, accuracies = history.column("held_out_accuracy")
    percent = [100 * float(one) for one in accuracies]
    return percent[-1], (list(map(int, steps)), percent)


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """Accuracy on test images against the step, with five labels per class."""
    drawn, (axis,) = new_figure(width=digits.WIDTH, height=3.6)
    for row, color in COLORS.items():
        marks = {"marker": "x", "markersize": 4} if color == INK else {}  # six have a line each
        line(axis, measured, row, color=color, **marks)
    axis.set(xlabel="step", ylabel=f"accuracy in %, {digits.column(LABELS[1])}", ylim=(60, None))
    label_ends(axis)
    return drawn


CLAIM = Claim(
    name="consistency-labels",
    title="Consistency with few labels",
    statement="With few labels a classifier gets better when it must also say of every unlabelled "
    "image what it says of the image changed; without its guards it learns less.",
    lecture="12, section 15",
    measure=measure,
    expectations=(
        ahead(WITH, ALONE, "5 labels", 1),
        ahead(WITH, ALONE, "1 label", 2, "the fewer labels, the more"),
        ahead(WITH, "no guard at all", "5 labels", 1),
        ahead(WITH, "no stop-gradient", "5 labels", 0.5),
        ahead(WITH, digits.RAW, "5 labels", 4),
    ),
    figure=figure,
    scales=digits.scales(
        quick={"labelled_batch": 16, "steps": 2},
        small={"labelled_batch": 32, "steps": 200, "evaluations": 10},
        full={"labelled_batch": 64, "steps": 3000, "evaluations": 30},
    ),
    settings=[ConsistencySettings, SimCLRSettings],
    own=(*digits.OWN, "labelled_batch"),
    packages=digits.PACKAGES,
    formats=dict.fromkeys(map(digits.column, LABELS), ".1f"),
    rows="accuracy in %, labels per class",
    about=digits.DATA
    + " All arms see the same labelled images and the same augmentations; the probes are the mean "
    "of ten draws. SimCLR is trained for as many steps. Seen: consistency helps, but without its "
    "guards; with them it is no better than the labels alone.",
)

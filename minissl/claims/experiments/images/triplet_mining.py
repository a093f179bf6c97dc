"""Lecture 12: which triplets a network should learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.claims import simclr_on_digits as digits
from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, ahead, chosen
from minissl.claims.drawing import line, panels
from minissl.figures import label_ends
from minissl.palette import BLUE, GREY, OCHRE, PURPLE, RED
from minissl.pretrain.images.triplet import Triplet, TripletSettings
from minissl.pretrain.run import train
from minissl.training.verification import verification
from minissl.vision.images import LabelledSplit

SEEN = 7  # the digits 0 to 6 are learned from; 7, 8 and 9 are met when they are verified
COLORS = {"all": GREY, "hard": RED, "semi-hard": BLUE, "distance-weighted": OCHRE}
HARD_LOW = "hard, a low learning rate"
ERROR, UNSEEN, ACTIVE, SPREAD = "error, seen", "error, unseen", "active triplets", "z std"


def measure(setup: Setup) -> Measured:
    """One network for each mining, on the digits 0 to 6, and the two baselines."""
    data = digits.load(setup)
    known = data.train_labels < SEEN
    run = Measured({})
    of_network = build(setup, data, known, chosen(TripletSettings, setup)).represent
    for row, represent in ((digits.RAW, digits.raw_pixels), (digits.RANDOM, of_network)):
        run.table[row] = judged(represent, data)
    low = setup.settings["low_rate"]
    for row, changes in (
        *((mining, {"mining": mining}) for mining in COLORS),
        (HARD_LOW, {"mining": "hard", "learning_rate": low}),
    ):
        setup.note(row)
        settings = chosen(TripletSettings, setup, **changes)
        method = build(setup, data, known, settings)
        history = train(method, settings, seed=setup.seed, progress=False)
        run.table[row] = judged(method.represent, data)
        for column, metric in ((ACTIVE, "active_share"), (SPREAD, "z_std")):
            steps, numbers = history.column(metric)
            run.table[row][column] = float(numbers[-1])
            run.curves[f"{row}, {column}"] = (list(map(int, steps)), list(map(float, numbers)))
    return run


def build(setup: Setup, data: LabelledSplit, known: NDArray, settings: TripletSettings) -> Triplet:
    """The method on the training images of the known classes, measured on held-out ones."""
    model = Triplet.new_model(settings, SEEN, seed=setup.seed)
    model.to(setup.device)
    tested = data.test_labels < SEEN
    return Triplet(
        model, data.train_images[known], data.train_labels[known], settings.augment(),
        classes_per_batch=SEEN, images_per_class=settings.batch_size // SEEN,
        mining=settings.mining, margin=settings.margin,
        held_out=data.test_images[tested], held_out_labels=data.test_labels[tested],
    )  # fmt: skip


def judged(represent: digits.Represent, data: LabelledSplit) -> dict[str, float]:
    """The equal error of held-out images of the known classes, and of classes never met."""
    images = np.concatenate([data.train_images, data.test_images])
    labels = np.concatenate([data.train_labels, data.test_labels])
    unseen, known = labels >= SEEN, data.test_labels < SEEN
    errors = {}
    for column, some, of_some in (
        (ERROR, data.test_images[known], data.test_labels[known]),
        (UNSEEN, images[unseen], labels[unseen]),
    ):
        errors[column] = 100 * verification(represent(some), of_some).roc.equal_error_rate
    return errors


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """Spread of the embeddings and share of active triplets against the step, for each mining."""
    drawn, (above, below) = panels(2.6, 2.2)
    for row, color in COLORS.items():
        line(above, measured, f"{row}, {SPREAD}", color=color, label=row)
        line(below, measured, f"{row}, {ACTIVE}", color=color, label=row)
    line(above, measured, f"{HARD_LOW}, {SPREAD}", color=PURPLE, label=HARD_LOW)
    line(below, measured, f"{HARD_LOW}, {ACTIVE}", color=PURPLE, label=HARD_LOW)
    above.set(ylabel="spread of the embeddings\n(z std)")
    below.set(xlabel="step", ylabel="share of all triplets\nthat is active", ylim=(0, None))
    for axis in (above, below):
        label_ends(axis)
    return drawn


CLAIM = Claim(
    name="triplet-mining",
    title="Which triplets",
    statement="From random weights the hardest triplets pull everything to one point; semi-hard "
    "ones are stable, and learn more than the mean over all, of which most ask for nothing.",
    lecture="12, section 13",
    measure=measure,
    expectations=(
        ahead("hard", "semi-hard", ERROR, 5, "the hardest collapse"),
        Expectation(Cell("semi-hard", SPREAD), Cell("hard", SPREAD), 0.3, "the hardest collapse"),
        ahead("all", "semi-hard", ERROR, 0.2),
        ahead(digits.RAW, "semi-hard", UNSEEN, 5, "also of digits that it has not met"),
        Expectation(0.2, Cell("semi-hard", ACTIVE), 0, "most triplets are content at the end"),
    ),
    figure=figure,
    scales=digits.scales(
        quick={"batch_size": 28, "low_rate": 1e-4},
        small={"batch_size": 126, "steps": 300, "evaluations": 15, "low_rate": 1e-4},
        full={"batch_size": 252, "steps": 3000, "evaluations": 30, "low_rate": 1e-4},
    ),
    settings=[TripletSettings],
    own=(*digits.OWN, "low_rate"),
    packages=digits.PACKAGES,
    formats={ERROR: ".1f", UNSEEN: ".1f", ACTIVE: ".3f", SPREAD: ".2f"},
    rows="mining",
    about="Data: scikit-learn's 1,797 handwritten digits; the networks learn from the training "
    "images of 0 to 6. Error: the equal error rate in %, where as many pairs of different digits "
    "are taken for the same as pairs of one digit for different; smaller is better. Seen: held-out "
    "images of 0 to 6; unseen: of 7, 8 and 9, which no network has met. Active: the "
    "share of all triplets of a held-out batch that has a loss, at the end. Seen: the hardest "
    "collapse also with a thirtieth of the learning rate; of digits that no network has met all of "
    "them know less than raw pixels.",
)

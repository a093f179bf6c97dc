"""The demo's second half: SimCLR on digits without labels, and what a few labels do afterwards."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from minissl import figures
from minissl.adapt.heads.probe import few_label_curve
from minissl.adapt.watching import KNN, RANK, Watch
from minissl.data.images import Images, LabelledImages
from minissl.data.labels import draw_few_labels
from minissl.demo import sentences
from minissl.page import Page
from minissl.pretrain.images.simclr import SimCLR, SimCLRSettings
from minissl.pretrain.images.supervised import Classifier, Supervised, SupervisedSettings
from minissl.pretrain.run import pretrain, train
from minissl.report.readings import course
from minissl.training import History
from minissl.training.progress import Items
from minissl.vision.images import LabelledSplit, load_digits

LABELS = (1, 2, 5, 10, 20, 50)
DRAWS = 10  # of labelled examples, for probes
SUPERVISED_DRAWS = 3  # of these, for networks trained from scratch, which take longer


def image_demo(
    page: Page,
    folder: Path,
    settings: SimCLRSettings,
    *,
    seed: int,
    device: str,
    progress: bool,
    supervised_steps: int,
) -> dict[str, Any]:
    """Pretrain, probe, collapse, and write this half of the page. Returns the report's numbers."""
    started = time.perf_counter()
    digits = load_digits()
    images = digits.train_images
    watch = _watch(digits)
    method, _, history = pretrain(
        SimCLR,
        Images(images),
        settings,
        folder / "simclr",
        seed=seed,
        device=device,
        progress=progress and "SimCLR",
        watch=watch,
    )
    alone = replace(settings, loss="positives_only", steps=max(1, settings.steps // 4))
    without = "SimCLR without negatives"
    collapsed, _, collapse_history = pretrain(
        SimCLR,
        Images(images),
        alone,
        folder / "positives_only",
        seed=seed,
        device=device,
        progress=progress and without,
        watch=watch,
    )
    untrained = SimCLR(SimCLR.new_model(settings, seed=seed), images, settings.augment())
    features = {
        "raw pixels": lambda x: x.reshape(len(x), -1),
        "random network": untrained.represent,
        "SimCLR, no labels": method.represent,
        without: collapsed.represent,
    }
    untrained.model.to(device)
    curves = {name: _probe(digits, represent, seed) for name, represent in features.items()}
    curves["supervised from scratch"] = from_scratch(
        digits, settings, supervised_steps, seed, device, progress
    )
    results = {
        "images": len(images),
        "test_images": len(digits.test_images),
        "parameters": method.model.num_parameters(),
        "settings": asdict(settings),
        "labels_per_class": list(LABELS),
        "accuracy": {name: curve.mean(axis=0).round(4).tolist() for name, curve in curves.items()},
        "spread": {name: curve.std(axis=0).round(4).tolist() for name, curve in curves.items()},
        "draws": {name: len(curve) for name, curve in curves.items()},
        "z_std": {
            "with negatives": history[-1]["z_std"],
            "without negatives": collapse_history[-1]["z_std"],
        },
        "seconds": round(time.perf_counter() - started, 1),
    }
    embeddings = {name: features[name](digits.test_images) for name in list(features)[:3]}
    _write(page, results, digits, curves, embeddings, settings, (history, collapse_history))
    return results


def _watch(digits: LabelledSplit) -> Watch:
    """The neighbors of test digits and the rank, on the way: the training meets no label."""
    train, test = len(digits.train_images), len(digits.test_images)
    images = np.concatenate([digits.train_images, digits.test_images])
    labels = np.concatenate([digits.train_labels, digits.test_labels])
    held_out = np.arange(train, train + test)
    names = [str(digit) for digit in range(10)]
    return Watch(LabelledImages(images, labels, names, held_out=held_out), probe=False)


def _probe(digits: LabelledSplit, represent: Any, seed: int) -> np.ndarray:
    """Accuracy of linear probes: (draws, numbers of labels)."""
    train, test = represent(digits.train_images), represent(digits.test_images)
    curve = few_label_curve(
        train,
        digits.train_labels,
        test,
        digits.test_labels,
        labels_per_class=LABELS,
        draws=DRAWS,
        seed=seed,
    )
    return np.stack([point.accuracies for point in curve], axis=1)


def from_scratch(
    digits: LabelledSplit,
    settings: SimCLRSettings,
    steps: int,
    seed: int,
    device: str,
    progress: bool,
) -> np.ndarray:
    """The same encoder trained on the labelled examples alone, with the same augmentations."""
    accuracy = np.empty((SUPERVISED_DRAWS, len(LABELS)))
    for draw, column in _counted(accuracy, progress):
        count = LABELS[column]
        generator = np.random.default_rng([seed, count, draw])  # the draws of the probes
        chosen = draw_few_labels(digits.train_labels, count, generator)
        encoder = SimCLR.new_model(settings, seed=seed + draw).encoder
        model = Classifier(encoder, 10, features=settings.features, generator=generator)
        model.to(device)
        method = Supervised(
            model, digits.train_images[chosen], digits.train_labels[chosen], settings.augment()
        )
        alone = SupervisedSettings(steps=steps, weight_decay=settings.weight_decay)
        train(method, alone, seed=seed + draw, progress=False)
        accuracy[draw, column] = method.accuracy(digits.test_images, digits.test_labels)
    return accuracy


def _counted(table: np.ndarray, progress: bool) -> Any:
    """Every place of a table, with its progress."""
    return Items(list(np.ndindex(table.shape)), "supervised from scratch", progress)


def _write(
    page: Page,
    results: dict[str, Any],
    digits: LabelledSplit,
    curves: dict[str, np.ndarray],
    embeddings: dict[str, np.ndarray],
    settings: SimCLRSettings,
    histories: tuple[History, History],
) -> None:
    accuracy = results["accuracy"]
    page.heading("2 · Images: two views of the same thing")
    page.text(
        f"{results['images']:,} small images of handwritten digits, their labels put away. Each "
        "image is changed twice at random (zoomed, shifted, turned, with noise), and the network "
        "learns that the two views belong together, and that views of other images do not. That is "
        "all SimCLR does (Chen et al., 2020)."
    )
    augment, generator = settings.augment(), np.random.default_rng(0)
    originals = digits.train_images[:12]
    page.figure(
        figures.views(originals, augment(originals, generator), augment(originals, generator)),
        "Twelve images in the first row, below each of them its two views. A column is what the "
        "network is told belongs together; it never hears which digit it is.",
        "Rows of small digits: the images, their first and their second views",
    )
    page.text(
        "Then the labels come back, but only a few: a linear classifier on the frozen network gets "
        "1, 2, 5, ... labelled examples of each digit. The same classifier on the raw pixels, on "
        "the untrained network, and the same network trained on just those labels, say what "
        f"pretraining was worth. With one label per class: {100 * accuracy['raw pixels'][0]:.0f} % "
        f"from pixels, {100 * accuracy['supervised from scratch'][0]:.0f} % from scratch, "
        f"{100 * accuracy['SimCLR, no labels'][0]:.0f} % after SimCLR."
    )
    shown = {name: curves[name] for name in figures.COLORS}
    own = {name: accuracy[name] for name in shown}
    page.figure(
        figures.accuracy_against_labels(
            LABELS, shown, title=sentences.first_message(LABELS, accuracy)
        ),
        "To the right there are more labels, higher is better. "
        f"{sentences.accuracy_seen(LABELS, own)} Accuracy on {results['test_images']} test images; "
        f"bands are one standard deviation over {DRAWS} draws of the labelled examples "
        f"({SUPERVISED_DRAWS} from scratch).",
        "Accuracy against labels per class for four ways of using them",
    )
    page.text(sentences.where_the_help_ends(LABELS, accuracy))
    page.figure(
        figures.embeddings(embeddings, digits.test_labels),
        "Test images as points, along the two directions of largest variance. Color, marker and "
        "the figure in the middle are the true digit, which the network on the right has never "
        "been told. Look for digits that lie apart. "
        f"{sentences.points_seen(accuracy, [*embeddings])}",
        "Three scatter plots: pixels, random network, SimCLR",
    )
    page.heading("3 · Why the negatives are there")
    spread = results["z_std"]
    one_label = (accuracy[name][0] for name in ("SimCLR, no labels", "SimCLR without negatives"))
    page.text(
        "Take from the loss the part that pushes different images apart, and the easiest answer is "
        "to map every image to the same point. The spread of the embeddings (1 when they fill the "
        "sphere evenly, 0 when all are equal) "
        f"{sentences.what_collapse_costs(spread, *one_label)}"
    )
    names = ("with negatives", sentences.without_negatives(spread))
    spreads = {name: history.column("z_std") for name, history in zip(names, histories)}
    page.figure(
        figures.collapse(spreads),
        "At 1 the embeddings of different images lie spread out, at 0 all are on one point, "
        f"measured on fixed views. {sentences.collapse_description(spread)}.",
        sentences.collapse_description(spread),
    )
    looks = {
        f"{name}, {what}": history.column(key)
        for what, key in (("k-NN accuracy", KNN), ("rank", RANK))
        for name, history in zip(("with negatives", "without"), histories)
    }
    page.figure(
        figures.curves(looks),
        "The same two trainings seen from their use, on the way: accuracy of the nearest neighbors "
        "on test digits, and how many directions the representation has (the effective rank). "
        "Nothing was trained on these labels. "
        + " ".join(course(name, *curve) for name, curve in looks.items()),
        "Curves against the step: accuracy of neighbors, effective rank, with and without",
    )

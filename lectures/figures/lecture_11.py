"""Figures of lecture 11: boundaries, draws of labels, regularisation, a discarded head, peeking."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from minissl.adapt.heads.probe import few_label_curve, linear_probe
from minissl.data.labels import draw_few_labels
from minissl.figures import label_ends, new_figure, principal_components
from minissl.palette import (
    BLUE,
    BLUE_TINT,
    GREY,
    GREY_TINT,
    INK,
    MARKERS,
    OCHRE,
    RED,
    RED_TINT,
    SOFT_INK,
    TINTS,
    look,
)
from minissl.pretrain.images.simclr import SimCLR, SimCLRSettings
from minissl.pretrain.images.supervised import Classifier, Supervised, SupervisedSettings
from minissl.pretrain.run import train
from minissl.vision.augment import digits_augmentation
from minissl.vision.images import LabelledSplit, load_digits

WIDTH = 5.0  # inches: in a column of 390 pixels the letters stay readable
SEEDS = (0, 1, 2)


def flat(images: NDArray) -> NDArray:
    """Raw pixels as features: (count, 64)."""
    return images.reshape(len(images), -1)


def boundaries() -> Any:
    """The regions of probes on two features, with five labels per class, for three l2."""
    digits = load_digits()
    chosen = np.isin(digits.train_labels, (0, 1, 6))
    points = principal_components(flat(digits.train_images[chosen]))
    labels = digits.train_labels[chosen]
    few = draw_few_labels(labels, 5, np.random.default_rng(0))
    low, high = points.min(axis=0) - 0.3, points.max(axis=0) + 0.3
    grid = np.stack(np.meshgrid(*(np.linspace(a, b, 160) for a, b in zip(low, high))), axis=-1)

    figure, axes = new_figure(columns=3, width=6.4, height=2.5)
    shades = np.array([to_rgb(TINTS[color]) for color in (BLUE, RED, OCHRE)])
    for axis, l2 in zip(axes, (1e-6, 1e-2, 1.0)):
        probe = linear_probe(points[few], labels[few], l2=l2, unlabelled=points)
        logits = probe.logits(grid.reshape(-1, 2)).reshape(160, 160, 3)
        p = np.exp(logits - logits.max(axis=-1, keepdims=True))
        p /= p.sum(axis=-1, keepdims=True)
        axis.imshow(
            1 - p @ (1 - shades),
            extent=(low[0], high[0], low[1], high[1]),
            origin="lower",
            aspect="auto",
        )
        for label, color, form in zip((0, 1, 6), (BLUE, RED, OCHRE), MARKERS):
            axis.scatter(*points[labels == label].T, s=4, color=color, alpha=0.5, linewidths=0)
            axis.scatter(*points[few][labels[few] == label].T, s=40, color=color, marker=form,
                         edgecolor=INK, label=f"digit {label}")  # fmt: skip
        accuracy = probe.accuracy(points, labels)
        axis.set_title(f"l2 = {l2:g}\n{100 * accuracy:.1f} %", fontsize=10)
        axis.set(xticks=[], yticks=[])
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3,
                  frameon=False)  # fmt: skip
    return figure


@functools.cache
def pixel_draws(draws: int = 50) -> NDArray:
    """Accuracies of probes on raw pixels: (draws, numbers of labels)."""
    digits = load_digits()
    curve = few_label_curve(
        flat(digits.train_images),
        digits.train_labels,
        flat(digits.test_images),
        digits.test_labels,
        labels_per_class=(1, 2, 5, 10, 20),
        draws=draws,
    )
    return np.stack([point.accuracies for point in curve], axis=1)


def draws() -> Any:
    """Fifty draws of the labelled examples: every probe a point."""
    accuracy = 100 * pixel_draws()
    figure, (axis,) = new_figure(width=WIDTH, height=3.2)
    scatter = np.random.default_rng(0).uniform(-0.18, 0.18, accuracy.shape[0])
    for column, name in enumerate((1, 2, 5, 10, 20)):
        axis.plot(column + scatter, accuracy[:, column], ".", color=BLUE, alpha=0.6)
        mean, low, high = (f(accuracy[:, column]) for f in (np.mean, np.min, np.max))
        axis.plot([column - 0.3, column + 0.3], [mean, mean], color=RED, linewidth=2)
        axis.annotate(
            f"{low:.0f} to {high:.0f}",
            (column, high + 1.5),
            ha="center",
            va="bottom",
            color=SOFT_INK,
        )
        axis.annotate(f"{name}", (column, 40), ha="center")
    axis.set(xticks=[], xlabel="labels per class", ylabel="test accuracy (%)", ylim=(38, 103))
    return figure


@functools.cache
def pixel_regularisation() -> dict[int, NDArray]:
    """Mean accuracy of probes on raw pixels over ten draws: {labels: (len(L2),)}."""
    digits = load_digits()
    table = {}
    for count in (1, 10, 50):
        table[count] = np.array(
            [
                few_label_curve(
                    flat(digits.train_images),
                    digits.train_labels,
                    flat(digits.test_images),
                    digits.test_labels,
                    labels_per_class=(count,),
                    l2=l2,
                )[0].mean
                for l2 in L2
            ]
        )
    return table


L2 = tuple(10.0**k for k in range(-5, 3))


def regularisation() -> Any:
    """Accuracy against l2 for few and many labels."""
    figure, (axis,) = new_figure(width=WIDTH, height=3.2)
    for (count, accuracy), color in zip(pixel_regularisation().items(), (OCHRE, BLUE, RED)):
        axis.plot(L2, 100 * accuracy, **look(color, marker=True), label=f"{count} per class")
    axis.axvline(1e-2, color=GREY, linewidth=0.8)
    axis.annotate("default", (1.2e-2, 75), color=SOFT_INK)
    axis.set(xscale="log", xlabel="l2", ylabel="test accuracy (%)")
    label_ends(axis)
    return figure


def some_classes(images: NDArray, labels: NDArray, first: int) -> tuple[NDArray, NDArray]:
    """The examples of the five digits from ``first`` on."""
    chosen = (labels >= first) & (labels < first + 5)
    return images[chosen], labels[chosen]


@functools.cache
def discarded_head_accuracy(labels_per_class: int = 2) -> dict[str, NDArray]:
    """Pretrain on the digits 0 to 4, probe on 5 to 9: accuracies (seeds,) by representation."""
    digits = load_digits()
    images, labels = some_classes(digits.train_images, digits.train_labels, 0)
    rows: dict[str, list[float]] = {}
    for seed in SEEDS:
        ways = {
            "raw pixels": flat,
            "random network": _simclr(images, seed, 0),
            "supervised on 0–4,\nhead discarded": _supervised(images, labels, seed),
            "SimCLR on 0–4": _simclr(images, seed),
            "SimCLR on 0–9": _simclr(digits.train_images, seed),
        }
        for name, represent in ways.items():
            accuracy = _probe_other_digits(digits, represent, labels_per_class, seed)
            rows.setdefault(name, []).append(accuracy)
    return {name: np.array(values) for name, values in rows.items()}


def _simclr(images: NDArray, seed: int, steps: int = 200) -> Any:
    settings = SimCLRSettings(batch_size=128, steps=max(steps, 1), evaluations=1)
    model = SimCLR.new_model(settings, seed=seed)
    method = SimCLR(model, images, digits_augmentation(), batch_size=128)
    if steps:
        train(method, settings, seed=seed, progress=False)
    return method.represent


def _supervised(images: NDArray, labels: NDArray, seed: int) -> Any:
    encoder = SimCLR.new_model(SimCLRSettings(), seed=seed).encoder
    classifier = Classifier(encoder, 5, generator=np.random.default_rng(seed))
    method = Supervised(classifier, images, labels, digits_augmentation())
    train(method, SupervisedSettings(steps=200), seed=seed, progress=False)
    return method.represent


def _probe_other_digits(
    digits: LabelledSplit, represent: Any, labels_per_class: int, seed: int
) -> float:
    train, train_labels = some_classes(digits.train_images, digits.train_labels, 5)
    test, test_labels = some_classes(digits.test_images, digits.test_labels, 5)
    curve = few_label_curve(
        represent(train),
        train_labels,
        represent(test),
        test_labels,
        labels_per_class=(labels_per_class,),
        seed=seed,
    )
    return curve[0].mean


def discarded_head() -> Any:
    """Representations learned on five digits, probed on the five others."""
    rows = discarded_head_accuracy()
    figure, (axis,) = new_figure(width=WIDTH, height=2.9)
    names = list(rows)[::-1]
    means = [100 * rows[name].mean() for name in names]
    spreads = [100 * rows[name].std() for name in names]
    bars = axis.barh(names, means, xerr=spreads, color=[BLUE, BLUE, RED, OCHRE, GREY], ecolor=INK)
    axis.bar_label(bars, fmt="%.1f", padding=14)
    axis.set(xlabel="accuracy on digits 5–9, two labels per class (%)", xlim=(0, 108))
    return figure


@functools.cache
def peeked(candidates: int = 40, chosen_on: int = 60) -> tuple[NDArray, NDArray]:
    """Accuracies of equally good settings on a small test set and on the other test images."""
    digits = load_digits()
    few = draw_few_labels(digits.train_labels, 5, np.random.default_rng(0))
    accuracy = np.empty((2, candidates))
    for seed in range(candidates):
        network = SimCLR(
            SimCLR.new_model(SimCLRSettings(), seed=seed),
            digits.train_images,
            digits_augmentation(),
        )
        train, test = network.represent(digits.train_images), network.represent(digits.test_images)
        probe = linear_probe(train[few], digits.train_labels[few], unlabelled=train)
        right = probe.predict(test) == digits.test_labels
        accuracy[:, seed] = right[:chosen_on].mean(), right[chosen_on:].mean()
    return accuracy[0], accuracy[1]


def peeking() -> Any:
    """Forty random networks: the best on sixty test images is not the best."""
    small, rest = (100 * x for x in peeked())
    best = int(small.argmax())
    figure, (axis,) = new_figure(width=WIDTH, height=3.4)
    axis.plot(small, rest, ".", color=GREY, markersize=9)
    axis.plot(small[best], rest[best], ".", color=RED, markersize=14)
    axis.annotate(
        f"chosen: {small[best]:.1f} there, {rest[best]:.1f} on new images",
        (small[best], rest[best]),
        (0.98, 0.05),
        textcoords="axes fraction",
        ha="right",
        color=RED,
        arrowprops={"arrowstyle": "-", "color": RED},
    )
    axis.axline((80, 80), slope=1, color=GREY, linewidth=1, linestyle="--")
    axis.set(
        xlabel="accuracy on the 60 images used to choose (%)",
        ylabel="accuracy on 537 others (%)",
        xlim=(small.min() - 2, small.max() + 2),
        ylim=(rest.min() - 4, rest.max() + 3),
    )
    return figure


NEW, OLD, LEAD = RED_TINT, GREY_TINT, SOFT_INK  # what is trained, what is frozen, what leads on


def box(axis: Any, place: tuple[float, float, float, float], text: str, color: str) -> None:
    """A box of x, y, width and height with a text in it."""
    x, y, width, height = place
    axis.add_patch(rectangle(x, y, width, height, color))
    axis.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=9)


def rectangle(x: float, y: float, width: float, height: float, color: str) -> Any:
    """A rectangle with a thin border."""
    from matplotlib.patches import Rectangle

    edge = RED if color == NEW else LEAD
    return Rectangle((x, y), width, height, facecolor=color, edgecolor=edge, linewidth=1)


def leads(axis: Any, x: float, low: float, high: float) -> None:
    """An arrow upwards."""
    axis.annotate(
        "", (x, high), (x, low), arrowprops={"arrowstyle": "-|>", "color": LEAD, "linewidth": 1}
    )


def small_parts() -> Any:
    """One block of a Transformer, and where each small part has its place."""
    figure, (axis,) = new_figure(width=WIDTH, height=5.2)
    axis.set(xlim=(0, 10), ylim=(0, 11.2))
    axis.axis("off")
    for i in range(2):
        box(axis, (0.2 + 1.05 * i, 0.2, 0.95, 0.7), "p", NEW)
    for i, word in enumerate(("a", "good", "film")):
        box(axis, (2.5 + 1.45 * i, 0.2, 1.35, 0.7), word, OLD)
    axis.text(7.1, 0.55, "prompts: words\nthat do not exist", va="center", fontsize=9, color=RED)
    leads(axis, 4.6, 0.95, 1.6)
    for x, name in ((2.5, "Q"), (4.0, "K"), (5.5, "V")):
        box(axis, (x, 1.7, 1.2, 0.8), name, OLD)
    for x in (3.72, 6.72):
        box(axis, (x, 1.7, 0.16, 0.8), "", NEW)
    axis.text(7.1, 2.1, "LoRA: thin matrices\nbeside Q and V", va="center", fontsize=9, color=RED)
    box(axis, (0.2, 2.75, 2.0, 0.7), "prefix", NEW)
    box(axis, (2.5, 2.75, 4.2, 0.7), "attention", OLD)
    axis.text(7.1, 3.1, "prefix: keys and\nvalues of no token", va="center", fontsize=9, color=RED)
    box(axis, (2.5, 3.75, 4.2, 0.6), "output, + b", OLD)
    axis.text(7.1, 4.05, "biases: every b", va="center", fontsize=9, color=RED)
    box(axis, (3.6, 4.65, 2.0, 0.6), "adapter", NEW)
    axis.text(
        7.1, 4.95, "adapter: narrow,\nnearly the identity", va="center", fontsize=9, color=RED
    )
    box(axis, (2.5, 5.65, 4.2, 0.8), "MLP, + b", OLD)
    box(axis, (3.6, 6.75, 2.0, 0.6), "adapter", NEW)
    axis.text(7.1, 7.05, "and again behind\nthe MLP", va="center", fontsize=9, color=RED)
    for low, high in ((2.5, 2.75), (3.45, 3.75), (4.35, 4.65), (5.25, 5.65), (6.45, 6.75)):
        leads(axis, 4.6, low, high)
    axis.add_patch(rectangle(0.05, 1.35, 6.95, 6.2, "none"))
    axis.text(0.2, 7.2, "a block\n(frozen)", fontsize=9, color=LEAD, va="top")
    leads(axis, 4.6, 7.4, 8.0)
    box(axis, (2.5, 8.05, 4.2, 0.9), "a new block", NEW)
    axis.text(7.1, 8.5, "new layers\non top", va="center", fontsize=9, color=RED)
    leads(axis, 4.6, 8.95, 9.5)
    box(axis, (3.6, 9.55, 2.0, 0.7), "head", NEW)
    axis.text(7.1, 9.9, "in every case:\nthe form's layer", va="center", fontsize=9, color=RED)
    return figure


def forms() -> Any:
    """Five layouts of the input, and where the layer of each form reads."""
    rows = (
        ("a class", "[CLS] a good film [SEP]", [0], "positive"),
        ("two texts", "[CLS] she runs [SEP] she moves [SEP]", [0], "entailment"),
        ("tags", "[CLS] Ada in Os ##lo [SEP]", [1, 2, 3], "B-PER  O  B-LOC"),
        ("a span", "[CLS] who ? [SEP] Ada did [SEP]", [4, 5], "start, end: Ada"),
        ("a choice", "[CLS] it rains [SEP] we stay [SEP]", [0], "2.1, the largest of four"),
    )
    figure, (axis,) = new_figure(width=WIDTH, height=5.0)
    axis.set(xlim=(0, 10), ylim=(0, 2 * len(rows)))
    axis.axis("off")
    for number, (name, tokens, read, answer) in enumerate(rows):
        y = 2 * (len(rows) - 1 - number)
        axis.text(0, y + 1.4, name, fontsize=9, weight="bold", va="center")
        width = 10 / 7
        second = False
        for i, token in enumerate(tokens.split()):
            color = BLUE_TINT if second else OLD
            second = second or token == "[SEP]"
            box(axis, (width * i + 0.04, y + 0.1, width - 0.08, 0.6), token, color)
            if i in read:
                leads(axis, width * (i + 0.5), y + 0.72, y + 1.2)
        middle = width * (sum(read) / len(read) + 0.5)
        axis.text(
            max(middle, 3.0), y + 1.4, answer, fontsize=9, color=RED, va="center", ha="center"
        )
    return figure


FIGURES: dict[str, Callable[[], Any]] = {
    "11_boundaries": boundaries,
    "11_draws": draws,
    "11_regularisation": regularisation,
    "11_discarded_head": discarded_head,
    "11_peeking": peeking,
    "11_small_parts": small_parts,
    "11_forms": forms,
}

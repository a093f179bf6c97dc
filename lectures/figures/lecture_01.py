"""Figures of lecture 01: four kinds of blanks, the two stages, and features that get better."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.adapt.heads.probe import few_label_curve
from minissl.figures import legend, new_figure
from minissl.optim import AdamW, warmup_cosine
from minissl.page import with_dark
from minissl.palette import (
    BLUE,
    BLUE_TINT,
    GREY,
    GREY_TINT,
    INK,
    PAPER,
    RED,
    RED_TINT,
    SOFT_INK,
    WELL,
    look,
)
from minissl.pretrain.images.simclr import SimCLR, SimCLRSettings
from minissl.training import fit
from minissl.vision.images import LabelledSplit, load_digits

_WIDTH = 390

# ---- four kinds of blanks ------------------------------------------------------------------------


def _svg(height: float, parts: list[str]) -> str:
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" '
        f'width="{_WIDTH}" height="{height:.0f}" font-family="sans-serif">'
        f'<rect width="100%" height="100%" fill="{PAPER}"/>{"".join(parts)}</svg>\n'
    )
    return with_dark(svg.encode()).decode()


def _text(x: float, y: float, text: str, color: str = INK, size: int = 13, **more: str) -> str:
    extra = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in more.items())
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{color}" font-size="{size}"{extra}>{text}</text>'


def _box(x: float, y: float, width: float, height: float, fill: str, line: str = "none") -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="4" '
        f'fill="{fill}" stroke="{line}"/>'
    )


def _words(y: float, words: list[str]) -> list[str]:
    """A row of words; "?" is what must be predicted, "-" what may not be seen."""
    drawn, x = [], 8.0
    for word in words:
        width = 44.0 if word in "?-" else 10 + 7.6 * len(word)
        fill = {"?": BLUE, "-": GREY_TINT}.get(word, BLUE_TINT)
        drawn.append(_box(x, y, width, 26, fill))
        shown, color = ("?", PAPER) if word == "?" else ("" if word == "-" else word, INK)
        drawn.append(_text(x + width / 2, y + 18, shown, color, 13, text_anchor="middle"))
        x += width + 5
    return drawn


def _image(x: float, y: float, pixels: NDArray, hidden: Any = None) -> list[str]:
    """An 8 x 8 image, ink dark; hidden patches of 2 x 2 pixels in blue."""
    side, drawn = 8.0, [_box(x - 1, y - 1, 66, 66, "none", GREY), '<g class="pixels">']
    for row, column in np.ndindex(8, 8):
        if hidden is not None and hidden[row // 2, column // 2]:
            fill = BLUE
        else:
            level = round(255 * (1 - float(np.clip(pixels[row, column], 0, 1))))
            fill = f"#{level:02x}{level:02x}{level:02x}"
        place = f'x="{x + side * column:.0f}" y="{y + side * row:.0f}"'
        drawn.append(f'<rect {place} width="8" height="8" fill="{fill}"/>')
    return [*drawn, "</g>"]


def blanks() -> str:
    """The future, the masked, the hidden patches, the other view."""
    image = load_digits().train_images[:1]
    generator = np.random.default_rng(4)
    hidden = generator.permutation(16).reshape(4, 4) < 8
    first, second = (SimCLRSettings().augment()(image, generator)[0, :, :, 0] for _ in "ab")
    parts = [_text(8, 20, "the future from the past: lectures 05, 10")]
    parts += _words(28, ["she", "put", "the", "fork", "?", "-", "-"])
    parts += [_text(8, 82, "the masked from the visible: lecture 08")]
    parts += _words(90, ["she", "put", "the", "?", "on", "the", "table"])
    parts += [_text(8, 144, "hidden patches from visible ones: lecture 14")]
    parts += _image(8, 154, image[0, :, :, 0])
    parts += [_text(84, 192, "→", INK, 20), *_image(112, 154, image[0, :, :, 0], hidden)]
    parts += [_text(8, 248, "one view from another view: lecture 12")]
    parts += [*_image(8, 258, image[0, :, :, 0]), _text(84, 296, "→", INK, 20)]
    parts += [*_image(112, 258, first), _text(189, 296, "≈", BLUE, 20), *_image(214, 258, second)]
    parts += [_text(288, 296, "not", RED, 13)]
    other = SimCLRSettings().augment()(load_digits().train_images[3:4], generator)
    parts += _image(316, 258, other[0, :, :, 0])
    return _svg(336, parts)


# ---- the two stages ------------------------------------------------------------------------------


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    return (
        f'<path d="M{x1:.0f} {y1:.0f}L{x2:.0f} {y2:.0f}" stroke="{SOFT_INK}" fill="none" '
        'marker-end="url(#tip)"/>'
    )


def stages() -> str:
    """Pretrain on much unlabelled data, adapt with few labels: the same encoder in both."""
    tip = (
        '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="6" refY="3" orient="auto">'
        f'<path d="M0 0L6 3L0 6" fill="none" stroke="{SOFT_INK}"/></marker></defs>'
    )

    def box(x: float, y: float, width: float, lines: tuple[str, str], fill: str) -> str:
        upper = _text(x + width / 2, y + 20, lines[0], size=13, text_anchor="middle")
        lower = _text(x + width / 2, y + 37, lines[1], INK, 12, text_anchor="middle")
        return _box(x, y, width, 46, fill, GREY) + upper + lower

    parts = [
        tip,
        _text(8, 20, "1. Pretrain: n examples, no labels", BLUE, 14, font_weight="bold"),
        box(8, 32, 100, ("x", "images, texts"), WELL),
        box(140, 32, 110, ("encoder φ_θ", "θ is learned"), BLUE_TINT),
        box(282, 32, 100, ("head", "then a loss"), WELL),
        _arrow(108, 55, 138, 55),
        _arrow(250, 55, 280, 55),
        _arrow(195, 80, 195, 128),
        _text(205, 100, "θ̂ is kept,", SOFT_INK, 12),
        _text(205, 116, "the head is discarded", SOFT_INK, 12),
        box(8, 132, 100, ("x, y", "few labels"), WELL),
        box(140, 132, 110, ("encoder φ_θ̂", "frozen, or tuned"), BLUE_TINT),
        box(282, 132, 100, ("linear: w", "always new"), RED_TINT),
        _arrow(108, 155, 138, 155),
        _arrow(250, 155, 280, 155),
        _text(8, 204, "2. Adapt: n_task labelled examples", RED, 14, font_weight="bold"),
    ]
    return _svg(216, parts)


# ---- features that get better --------------------------------------------------------------------

STEPS, EVERY, SEEDS = 300, 30, 3
LABELS = (1, 5)


class Watched(SimCLR):
    """SimCLR that also reports what a probe with few labels makes of its features."""

    def __init__(self, digits: LabelledSplit, *arguments: Any, **settings: Any):
        super().__init__(*arguments, **settings)
        self.digits = digits

    def evaluate(self) -> dict[str, float]:
        """The usual metrics, and accuracies: labels are only used here, never to train."""
        train, test = map(self.represent, (self.digits.train_images, self.digits.test_images))
        curve = few_label_curve(
            train,
            self.digits.train_labels,
            test,
            self.digits.test_labels,
            labels_per_class=LABELS,
        )
        accuracy = {f"accuracy_{point.labels_per_class}": point.mean for point in curve}
        return super().evaluate() | accuracy


@cache
def watched_runs() -> list[dict[str, NDArray]]:
    """Pretraining with a probe every few steps: step, held-out loss and accuracies, per seed."""
    digits = load_digits()
    runs = []
    for seed in range(SEEDS):
        settings = SimCLRSettings(steps=STEPS, batch_size=128)
        model = SimCLR.new_model(settings, seed=seed)
        method = Watched(digits, model, digits.train_images, settings.augment(), batch_size=128)
        history = fit(
            method,
            AdamW(model.named_parameters(), weight_decay=settings.weight_decay),
            steps=STEPS,
            schedule=lambda step: warmup_cosine(
                step, peak=3e-3, warmup_steps=STEPS // 20, total_steps=STEPS
            ),
            seed=seed,
            evaluate_every=EVERY,
            progress=False,
        )
        names = ("held_out_loss", *(f"accuracy_{count}" for count in LABELS))
        columns = {name: history.column(name) for name in names}
        runs.append({"step": columns[names[0]][0]} | {name: columns[name][1] for name in names})
    return runs


def raw_pixels() -> dict[int, float]:
    """The same probes on the pixels."""
    digits = load_digits()
    flat = [images.reshape(len(images), -1) for images in (digits.train_images, digits.test_images)]
    curve = few_label_curve(
        flat[0], digits.train_labels, flat[1], digits.test_labels, labels_per_class=LABELS
    )
    return {point.labels_per_class: point.mean for point in curve}


def learning() -> Any:
    """The pretraining loss, and probes on the way: no label took part in what rises."""
    figure, (left, right) = new_figure(columns=2, width=5.8, height=3.5)
    runs, pixels = watched_runs(), raw_pixels()
    for run in runs:
        left.plot(run["step"], run["held_out_loss"], color=BLUE, linewidth=1.2)
    left.set(xlabel="step", ylabel="held-out loss (nats)", title="pretraining, no labels")
    for count, color in zip(LABELS, (RED, BLUE)):
        for number, run in enumerate(runs):
            label = f"{count} label{'s' * (count > 1)} per class" if number == 0 else None
            accuracy = 100 * run[f"accuracy_{count}"]
            right.plot(run["step"], accuracy, **look(color), linewidth=1.2, label=label)
        right.axhline(100 * pixels[count], color=color, linewidth=0.8)
        right.annotate("raw pixels", (STEPS, 100 * pixels[count]), (0, 1),
                       textcoords="offset points", ha="right", va="bottom", fontsize=8)  # fmt: skip
    right.set(xlabel="step", ylabel="test accuracy (%)", title="probes on the way", ylim=(0, 100))
    legend(right, loc="lower right")
    return figure


FIGURES = {"01_blanks": blanks, "01_stages": stages, "01_learning": learning}

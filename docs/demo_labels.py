"""``python docs/demo_labels.py``: draw ``demo_labels.svg``, the first picture of the README, again.

``demo_labels.json`` has the accuracies that ``make demo`` printed, and where; they are those of the
table "The demo's numbers".
"""

import json
from pathlib import Path

import numpy as np

from minissl.demo.sentences import first_message
from minissl.durable import replace_durably
from minissl.figures import COLORS, accuracy_against_labels
from minissl.page import svg_bytes

HERE = Path(__file__).parent


def picture() -> bytes:
    """The SVG, with the message of its numbers as its title."""
    kept = json.loads((HERE / "demo_labels.json").read_text(encoding="utf-8"))
    accuracy = {name: np.array(kept["accuracy (%)"][name]) / 100 for name in COLORS}
    labels = kept["labels per class"]
    curves = {name: values[None] for name, values in accuracy.items()}
    return svg_bytes(accuracy_against_labels(labels, curves, title=first_message(labels, accuracy)))


if __name__ == "__main__":
    replace_durably(HERE / "demo_labels.svg", picture())

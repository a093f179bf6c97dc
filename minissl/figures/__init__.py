"""Figures of the demo, the runs, the claims, the lectures: plain numbers in, a figure out."""

from minissl.figures.demo import (
    COLORS,
    accuracy_against_labels,
    attention_map,
    bits_per_byte,
    collapse,
    embeddings,
    language_loss,
    telling_head,
    views,
)
from minissl.figures.drawing import label_ends, legend, new_figure, plain_text
from minissl.figures.evaluation import MOST_POINTS, evaluation
from minissl.figures.projections import principal_components, tsne
from minissl.figures.runs import contact_sheet, curves, gallery

__all__ = [
    "COLORS",
    "MOST_POINTS",
    "accuracy_against_labels",
    "attention_map",
    "bits_per_byte",
    "collapse",
    "contact_sheet",
    "curves",
    "embeddings",
    "evaluation",
    "gallery",
    "label_ends",
    "language_loss",
    "legend",
    "new_figure",
    "plain_text",
    "principal_components",
    "telling_head",
    "tsne",
    "views",
]

"""Adaptations, one file each: ``adapt/FAMILY/NAME.py``, whose class is ``ADAPTATION``. Lecture 11.

An adaptation takes a pretrained run and labelled examples and gives a predictor: a probe on frozen
features, a fine-tuned network, one with a few new weights. As with pretraining methods, a new file
in a family is a new adaptation, and its first line is its help.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minissl.registry import Families

if TYPE_CHECKING:
    from minissl.adapt.method import Adaptation

ADAPTATIONS = Families(__name__, __file__, "ADAPTATION", "adaptation")


def adaptation_names() -> list[str]:
    """The names of all adaptations, family by family. Nothing is imported."""
    return ADAPTATIONS.names()


def load_adaptation(name: str) -> type[Adaptation]:
    """The class of an adaptation. Raises ValueError with the names that there are."""
    kind: type[Adaptation] = ADAPTATIONS.load(name)
    return kind

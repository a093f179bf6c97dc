"""Pretraining methods, one file each: ``pretrain/FAMILY/NAME.py``, whose class is ``METHOD``.

A method says how a batch is made, what its loss is and what an example's representation is; which
settings it has; and which kind of data it takes. A new file in a family is a new method: there is
no table of names. The first line of the file is the method's help.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from minissl.registry import Families

if TYPE_CHECKING:
    from minissl.pretrain.method import Pretraining

METHODS = Families(__name__, __file__, "METHOD", "method")
# What a folder of published weights is opened as (``published``): nothing is pretrained by these.
PUBLISHED = {"published-bert": "PublishedBERT", "published-gpt2": "PublishedGPT2"}


def method_names() -> list[str]:
    """The names of all methods, family by family. Nothing is imported."""
    return METHODS.names()


def load_method(name: str) -> type[Pretraining]:
    """The class of a method, or of what opens published weights.

    Raises ValueError with the names of the methods that there are.
    """
    if name in PUBLISHED:
        module = import_module(f"{__name__}.{name.replace('-', '_')}")
        published: type[Pretraining] = getattr(module, PUBLISHED[name])
        return published
    kind: type[Pretraining] = METHODS.load(name)
    return kind

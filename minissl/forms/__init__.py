"""What a task asks of a network: a class, a number, a tag for each word, a span, one of several.

Devlin et al. (2019, BERT), section 4, put one layer on one encoder for each. Lecture 11. A *form*
is that layer, its loss, its answer and its score; what of the network below is trained is another
question (``minissl.adapt``), so that each form goes with each way of adapting.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

FORMS = {
    "class": "classes", "number": "numbers", "tags": "tags", "span": "spans", "choice": "choices",
}  # fmt: skip

EACH = {
    "class": "a class each", "number": "a number each", "tags": "a tag for each word",
    "span": "a span each", "choice": "the number of an ending each",
}  # fmt: skip


def in_words(kinds: Iterable[str]) -> str:
    """What labels of these kinds are: "a class each or a tag for each word"."""
    return " or ".join(EACH[kind] for kind in kinds)


def load_form(kind: str) -> Any:
    """The form for labels of this kind. Raises ValueError with those that there are."""
    if kind not in FORMS:
        raise ValueError(f"there is no form {kind!r:.40}; choose one of: {', '.join(FORMS)}")
    return import_module(f"{__name__}.{FORMS[kind]}").FORM

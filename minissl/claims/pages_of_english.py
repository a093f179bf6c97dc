"""What the claims about masked models share: pages of English that the seed splits.

No downloads: the text is the English inside Python (``minissl.text.corpora``). A page is a chapter
of its reference, or all docstrings of a module: long enough to fill a row, and about one thing. The
seed decides which pages are held out, the initial weights and the batches.
"""

from __future__ import annotations

import functools
import re
from itertools import groupby
from typing import Any

import numpy as np

from minissl.claims.claim import Setup
from minissl.data import Kept
from minissl.data.passages import PassageOptions, Passages, keep_pieces, kept_pieces, to_stream
from minissl.pretrain.masked_language_model import MaskedLanguageModel, MaskedSettings
from minissl.pretrain.run import train
from minissl.text.corpora import python_english
from minissl.text.documents import Document
from minissl.training import History

HELD_OUT = 0.15  # of the pages
SHORTEST = 1500  # characters of a page
OWN = ("pages",)  # what these functions read in a scale, beside the settings of a method


@functools.cache
def all_pages() -> tuple[Document, ...]:
    """The pages of at least ``SHORTEST`` characters, by name; parts in the order of their names."""

    def page(document: Document) -> str:
        return re.split(r"[:\[]", document.name)[0]

    def order(document: Document) -> tuple[str, list[Any]]:
        parts = re.split(r"(\d+)", document.name)
        return page(document), [int(p) if p.isdigit() else p for p in parts]

    grouped = groupby(sorted(python_english(), key=order), key=page)
    pages = []
    for name, group in grouped:
        parts = [*group]
        text = "\n\n".join(part.text for part in parts)
        if len(text) >= SHORTEST:
            pages.append(Document(name, parts[0].source, text))
    return tuple(pages)


def passages(setup: Setup, options: PassageOptions) -> Passages:
    """Training and held-out pages in pieces that are learned from the training pages.

    The setting ``pages``, where there is one, is how many are taken in all.
    """
    pages = all_pages()
    order = np.random.default_rng(setup.seed).permutation(len(pages))
    order = order[: setup.settings.get("pages", len(order))]
    held_out = max(3, round(HELD_OUT * len(order)))
    parts = [[pages[i] for i in part] for part in (order[held_out:], order[:held_out])]
    kept = keep_pieces([page.text for page in parts[0]], Kept(), options)
    tokenizer = kept_pieces(kept, options)
    about = f"{len(order):,} pages, {held_out:,} of them held out"
    stream, unseen = (to_stream(part, tokenizer) for part in parts)
    return Passages(kept, tokenizer, stream, unseen, about)


def trained(
    setup: Setup, kind: type[MaskedLanguageModel], settings: MaskedSettings, data: Passages
) -> tuple[Any, History]:
    """A method of the kind, trained on the device of the setup with its seed."""
    method = kind.build(settings, data, seed=setup.seed)
    method.model.to(setup.device)
    return method, train(method, settings, seed=setup.seed, progress=False)

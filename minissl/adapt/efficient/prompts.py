"""Prompt tuning: vectors of words that do not exist, learned, before every text.

Lester, Al-Rfou and Constant (2021), The power of scale for parameter-efficient prompt tuning.
Lecture 11. The vocabulary grows by some pseudo words, whose vectors are all that is trained; a text
is read behind them, so that everything in it can look at them. Not here: prompts behind a text
(which a decoder could not see), prompts for several tasks at once, and their transfer to others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.adapt.mixing import put_before
from minissl.adapt.replacing import replace_modules
from minissl.adapt.token_table import as_tokens, random_tokens, token_table
from minissl.adapt.trained import SmallPart, TrainedSettings
from minissl.autograd import operations as ops
from minissl.autograd.arrays import namespace
from minissl.autograd.tensor import Tensor, as_array
from minissl.nn.layers import Embedding
from minissl.nn.module import Module, Parameter
from minissl.options import option
from minissl.pretrain.layered import Layered

ROOM = 8  # tokens of a text that are read at least


class PseudoWords(Module):
    """A table of token vectors, frozen, and behind its last row those of the pseudo words.

    Shapes: indices (...) integers below num_embeddings + prompts -> (..., width); ``prompts``
    (prompts, width) is trained. ``weight`` is the table alone: what an output that is tied to it
    can say are the old words.
    """

    def __init__(self, inner: Embedding, prompts: NDArray):
        self.inner = inner
        self.prompts = Parameter(prompts.astype(inner.weight.numpy().dtype))

    @property
    def weight(self) -> Tensor:
        """The vectors of the words that exist: (num_embeddings, width)."""
        return self.inner.weight

    def forward(self, indices: Any) -> Tensor:
        indices = as_array(indices)
        size, where = self.weight.shape[0], namespace(indices).where
        pseudo = indices >= size
        if not bool(pseudo.any()):
            return self.inner(indices)
        words = self.inner(where(pseudo, 0 * indices, indices))
        prompts = ops.take(self.prompts, where(pseudo, indices - size, 0 * indices))
        return ops.where(pseudo[..., None], prompts, words)


class Prompted(Layered):
    """Put before the class of a method: every text is read behind the pseudo words.

    These stand before a [CLS] too, and are no part of a mean. ``prompt``: their numbers. Of a
    network in two directions the one that reads from the end comes to them last: what it says of
    the text is the same as without.
    """

    prompt: list[int]

    @property
    def longest(self) -> int:
        """How many tokens of a text are read: the pseudo words take their part of the context."""
        return super().longest - len(self.prompt)  # type: ignore[safe-super]

    def collate(self, examples: Sequence[Sequence[int]]) -> Any:
        """Each text behind the prompt, whose weights are 0."""
        cut = [self.cut(example) for example in examples]
        *_, weights = self.padded(cut)
        *rest, _ = self.padded([[*self.prompt, *example] for example in cut])
        return (*rest, np.pad(weights, ((0, 0), (len(self.prompt), 0))))


@dataclass(frozen=True, kw_only=True)
class PromptSettings(TrainedSettings):
    """Vectors before every text, and a new layer on top."""

    prompts: int = option(20, "pseudo words before each text", least=1, most=1 << 16)
    begin: str = option(
        "words", "their first vectors: those of random words, or of --words; or random numbers",
        choices=("words", "random"),
    )  # fmt: skip
    words: str = option("", "a text whose tokens the prompt begins as, again and again")
    learning_rate: float = option(
        0.03, "at its highest, after a warm-up of a twentieth; far above that of weights", above=0,
        most=100,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.words and self.begin == "random":
            raise ValueError("words are given, and begin=random uses none: leave one of them out")


def first_vectors(
    base: Any, table: Embedding, settings: PromptSettings, generator: np.random.Generator
) -> NDArray:
    """(prompts, width): rows of the table, or random ones of the same deviation."""
    vectors = table.weight.numpy()
    if settings.begin == "random":
        return generator.normal(0, vectors.std(), (settings.prompts, vectors.shape[1]))
    if settings.words:
        return vectors[as_tokens(base, settings.words, settings.prompts)]
    return vectors[random_tokens(base, settings.prompts, generator)]


class Prompts(SmallPart):
    """A form's layer on a frozen network that reads pseudo words before each text."""

    Settings = PromptSettings
    needs = Layered

    @classmethod
    def open_up(cls, base: Any, settings: PromptSettings, generator: np.random.Generator) -> Any:
        """Freeze everything, and put the pseudo words into the table of token vectors.

        Raises ValueError for a network without such a table, and where no room would be left.
        """
        if (most := base.longest - ROOM) < settings.prompts:
            raise ValueError(
                f"prompts is {settings.prompts}, and this network reads {base.longest} tokens at "
                f"once, of which {ROOM} are for a text: give {most} or fewer"
                if most > 0
                else f"this network reads {base.longest} tokens at once: there is no room for "
                "prompts, take prefixes or adapters"
            )
        base.model.freeze()
        table = token_table(base.model)
        first, size = first_vectors(base, table, settings, generator), table.weight.shape[0]
        pseudo = PseudoWords(table, first)
        replace_modules(base.model, lambda path, module: pseudo if module is table else None)
        return put_before(base, Prompted, prompt=list(range(size, size + settings.prompts)))


ADAPTATION = Prompts

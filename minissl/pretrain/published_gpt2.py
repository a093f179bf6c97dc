"""Published weights of GPT-2's layout as a method: texts that go on, and what represents them.

Radford et al. (2019, GPT-2). Lectures 10 and 11. The network is whatever its ``config.json`` says,
so all sizes are settings, and a run or an adaptation can be opened again without the folder. Not
here: two scales of attention that a file may ask for, which ``load_gpt2`` puts into the weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from minissl.data import Kept
from minissl.data.streams import TOKENIZER, Streams
from minissl.models.foreign_config import ACTIVATIONS
from minissl.models.gpt import GPTConfig
from minissl.models.published import load_gpt2
from minissl.options import option
from minissl.pretrain.language.gpt import GPTPretraining, GPTSettings
from minissl.reading import reading
from minissl.text import Tokenizer, load_gpt2_tokenizer, load_huggingface
from minissl.text.documents import SEPARATOR
from minissl.text.formats import tokenizer_to_bytes

MERGES, IDS = "merges.txt", "vocab.json"


@dataclass(frozen=True, kw_only=True)
class PublishedGPT2Settings(GPTSettings):
    """The sizes of published weights; how they were trained, no file says."""

    vocab_size: int = option(50257, "rows of the token vectors", least=257, most=1_000_000)
    hidden_width: int = option(3072, "numbers inside each MLP", least=1, most=1 << 18)
    activation: str = option(
        "gelu", "inside each MLP", choices=tuple(sorted({*ACTIVATIONS.values()}))
    )
    norm_eps: float = option(1e-5, "added to the variance in every norm", least=0, most=1e9)
    tied_output: bool = option(True, "the output multiplies by the token vectors")
    init_std: float = option(0.02, "of the weights of the same network untrained", above=0, most=10)

    def config(self, vocab_size: int = 0) -> GPTConfig:
        """The network of the files, whatever its tokenizer needs of it."""
        return replace(
            super().config(self.vocab_size),
            hidden_width=self.hidden_width,
            activation=self.activation,
            norm_eps=self.norm_eps,
            attention_dropout=self.dropout,
            tied_output=self.tied_output,
        )


class PublishedGPT2(GPTPretraining):
    """A GPT from a folder of somebody else's."""

    Settings = PublishedGPT2Settings

    @classmethod
    def read_folder(cls, folder: Path) -> tuple[PublishedGPT2, PublishedGPT2Settings, Streams]:
        """The method of a folder with its settings and its tokenizer, without any text.

        Raises what ``load_gpt2`` and ``read_gpt2_tokenizer`` raise, and ValueError, with the file's
        name, for a tokenizer that is not of these weights.
        """
        model = load_gpt2(folder)
        config = model.config
        with reading(folder / "config.json", "the configuration of a model"):
            settings = PublishedGPT2Settings(
                vocab_size=config.vocab_size,
                context_length=config.context_length,
                num_layers=config.num_layers,
                width=config.width,
                num_heads=config.num_heads,
                hidden_width=config.mlp_width,
                activation=config.activation,
                norm_eps=config.norm_eps,
                tied_output=config.tied_output,
            )
        tokenizer = read_gpt2_tokenizer(folder)
        if tokenizer.vocab_size > config.vocab_size:
            raise ValueError(
                f"the tokenizer in {folder} has {tokenizer.vocab_size} tokens, the weights have "
                f"vectors of {config.vocab_size}: the two do not belong together"
            )
        data = Streams.reopen(Kept({TOKENIZER: tokenizer_to_bytes(tokenizer)}, folder), settings)
        method = cls(
            model, data.stream, batch_size=settings.batch_size, held_out_bytes=0,
            tokenizer=tokenizer,
        )  # fmt: skip
        return method, settings, data


def read_gpt2_tokenizer(folder: Path) -> Tokenizer:
    """From ``tokenizer.json``, or GPT-2's first two files, ``merges.txt`` and ``vocab.json``.

    Raises FileNotFoundError where there is none, ValueError for one that is not byte-level BPE or
    does not know ``<|endoftext|>``, which begins every text.
    """
    if (folder / TOKENIZER).exists():
        place = folder / TOKENIZER
        tokenizer = load_huggingface(place, add_special_tokens=False)
    elif (folder / MERGES).exists():
        place = folder / IDS
        tokenizer = load_gpt2_tokenizer(folder / MERGES, place)
    else:
        raise FileNotFoundError(
            f"{folder} has neither {TOKENIZER} nor {MERGES} and {IDS}: without its tokenizer the "
            "weights mean nothing, get it from where they are from"
        )
    if SEPARATOR not in tokenizer.special_tokens:
        raise ValueError(f"{place} has no special token {SEPARATOR}, which begins a text")
    return tokenizer

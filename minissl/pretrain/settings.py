"""What the commands can choose, with defaults that take about a minute on two cores."""

from dataclasses import dataclass, field
from typing import Any


def option(default: Any, meaning: str) -> Any:
    """A setting with its meaning, which ``--help`` prints."""
    return field(default=default, metadata={"help": meaning})


@dataclass(frozen=True)
class GPTSettings:
    """A GPT with its tokenizer, and how it is trained."""

    vocab_size: int = option(2048, "tokens of the tokenizer, 257 or more")
    num_layers: int = option(2, "Transformer blocks")
    width: int = option(128, "numbers per token between the blocks")
    num_heads: int = option(4, "attention heads per block; must divide the width")
    context_length: int = option(128, "tokens the model sees at once")
    dropout: float = option(0.0, "of each branch, in training")
    batch_size: int = option(8, "windows of text per step")
    steps: int = option(1600, "updates")
    learning_rate: float = option(3e-3, "at its highest, after a warm-up of a twentieth")
    init_std: float = option(0.05, "of the initial weights; GPT-2's 0.02 is slow at small widths")
    weight_decay: float = option(0.1, "of matrices and embeddings")
    evaluations: int = option(6, "how often the held-out loss is measured")


@dataclass(frozen=True)
class SimCLRSettings:
    """A convolutional encoder with its projection head, and how it is trained."""

    image_size: int = option(8, "height and width images are resized to")
    channels: int = option(1, "1 for grey, 3 for colour")
    features: int = option(128, "width of the representation")
    embedding: int = option(64, "width after the projection head, where the loss is")
    loss: str = option("nt_xent", "nt_xent, simclr_cs229, or positives_only (which collapses)")
    temperature: float = option(0.5, "of nt_xent")
    batch_size: int = option(256, "images per step; each gives two views")
    steps: int = option(800, "updates")
    learning_rate: float = option(3e-3, "at its highest, after a warm-up of a twentieth")
    weight_decay: float = option(1e-4, "of matrices")
    evaluations: int = option(10, "how often the embeddings are examined")

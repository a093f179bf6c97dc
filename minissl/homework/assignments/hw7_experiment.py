"""Homework 7, the experiment: what are the random tokens good for, and those that stay?

Write the bodies of the four functions, then run the file. HW7.md says what the report is to have.

    python experiment.py      # about a minute: results.json and figure.svg
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import no_grad
from minissl.autograd.tensor import Tensor
from minissl.figures import new_figure
from minissl.losses.language_modeling import next_token_loss
from minissl.models.encoder import EncoderConfig, MaskedEncoder
from minissl.optim.adamw import AdamW
from minissl.palette import BLUE, RED
from minissl.text.masking import choose_pieces, replace
from minissl.text.small_world import documents
from minissl.text.words import WordVocabulary
from minissl.training.plain import plain_loop

# One thing is changed; all else is the same for every setting. You may add a setting.
SETTINGS = {  # of the hidden tokens, how many become [MASK], and how many a random token
    "all masked": {"shares": (1.0, 0.0)},
    "none random": {"shares": (0.8, 0.0)},
    "as in BERT": {"shares": (0.8, 0.1)},
}
TRAINING = {"steps": 400, "width": 48, "batch_size": 32, "learning_rate": 3e-3}
SEEDS = (0, 1, 2)
MASK, TIME = 0, 24  # the id of [MASK], which is that of unknown words too; tokens of a row


class Masked:
    """A small encoder that learns to say what was hidden: a method for ``plain_loop``."""

    def __init__(
        self, rows: NDArray[np.int64], vocab_size: int, options: Mapping[str, Any], *, seed: int
    ) -> None:
        self.rows, self.vocab_size, self.options = rows, vocab_size, options
        config = EncoderConfig(
            vocab_size=vocab_size, context_length=rows.shape[1], segments=0, num_layers=2,
            width=options["width"], num_heads=4, norm_first=True, init_std=0.05,
        )  # fmt: skip
        self.model = MaskedEncoder(config, generator=np.random.default_rng(seed))

    def batch(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Some of the rows, drawn anew: (batch, time)."""
        return self.rows[generator.integers(len(self.rows), size=self.options["batch_size"])]

    def loss(self, batch: NDArray[np.int64], generator: np.random.Generator) -> Tensor:
        """The mean of −ln p(original) over the hidden 15 %."""
        hidden = choose_pieces(np.ones(batch.shape, bool), generator)
        shown = replace(
            batch, hidden, generator, mask=MASK, vocab_size=self.vocab_size,
            shares=self.options["shares"],
        )  # fmt: skip
        states = self.model(shown)
        return next_token_loss(self.model.word_logits(states[hidden]), batch[hidden])

    def represent(self, examples: NDArray[np.int64]) -> NDArray:
        """The mean of each row's last states: (rows, width)."""
        with no_grad():
            return self.model(examples).numpy().mean(axis=1)

    def log_probabilities(self, shown: NDArray[np.int64]) -> NDArray:
        """ln p(token) at every place of rows as they are shown: (rows, time, vocab)."""
        with no_grad():
            logits = self.model.word_logits(self.model(shown)).numpy().astype(np.float64)
        logits -= logits.max(axis=-1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def three_views(
    rows: NDArray[np.int64], places: NDArray[np.bool_], others: NDArray[np.int64], mask: int
) -> dict[str, NDArray[np.int64]]:
    """The same rows, shown in three ways, which differ at the places alone.

    rows, others (rows, time), places (rows, time) booleans. At the places "masked" shows ``mask``,
    "kept" the tokens of the rows and "random" those of ``others``; elsewhere all show the rows.
    Gives new arrays.
    """
    return {
        "masked": np.where(places, mask, rows),
        "kept": rows.copy(),
        "random": np.where(places, others, rows),
    }


def mean_nats(log_p: NDArray, rows: NDArray[np.int64], places: NDArray[np.bool_]) -> float:
    """The mean of −ln p(token of the row) over the places, in nats.

    log_p (rows, time, vocab), rows (rows, time), places (rows, time) booleans.
    """
    return float(-np.mean(log_p[places, rows[places]]))


def measure(
    rows: NDArray[np.int64],
    held_out: NDArray[np.int64],
    vocab_size: int,
    options: Mapping[str, Any],
    seed: int,
) -> dict[str, float]:
    """Train on the rows, and say in three numbers what is predicted of rows that were held out.

    ``options``: those of ``TRAINING`` with ``shares``. A ``Masked`` of the rows is trained by
    ``plain_loop`` with ``AdamW`` for ``steps`` updates; the seed is that of the network and of the
    loop. Then ``np.random.default_rng(0)``, the same for every setting and seed, draws with
    ``choose_pieces`` 15 % of all tokens of the held-out rows as places, and after that other
    tokens for all of them: ``integers(1, vocab_size, ...)``. The numbers are the ``mean_nats`` of
    the held-out tokens at these places in each of the ``three_views``: "masked", "kept", "random".

    The same seed gives the same numbers, another seed others.
    """
    method = Masked(rows, vocab_size, options, seed=seed)
    optimizer = AdamW(method.model.named_parameters(), lr=options["learning_rate"])
    plain_loop(method, optimizer, options["steps"], seed=seed)
    method.model.eval()
    generator = np.random.default_rng(0)
    places = choose_pieces(np.ones(held_out.shape, bool), generator)
    others = generator.integers(1, vocab_size, size=held_out.shape)
    return {
        name: mean_nats(method.log_probabilities(shown), held_out, places)
        for name, shown in three_views(held_out, places, others, MASK).items()
    }


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """The plot for the report: the nats of each view and setting, every seed to be seen."""
    figure, axes = new_figure(3)
    names = list(dict.fromkeys(row["setting"] for row in rows))
    views = ("masked", "kept", "random")
    highest = max(row[view] for row in rows for view in views)
    for axis, view in zip(axes, views):
        for at, name in enumerate(names):
            own = [row[view] for row in rows if row["setting"] == name]
            axis.plot([at] * len(own), own, "o", color=BLUE, markersize=6, alpha=0.6)
            axis.plot([at - 0.3, at + 0.3], 2 * [np.mean(own)], color=RED)
        axis.set_xticks(range(len(names)), [name.replace(" ", "\n") for name in names])
        axis.set(title=f"{view} at the place", xlim=(-0.5, len(names) - 0.5))
        axis.set_ylim(0, 1.08 * highest)
    axes[0].set_ylabel("nats of the original (line: mean)")
    figure.savefig(path)


def text_rows(count: int, vocabulary: WordVocabulary | None, seed: int) -> tuple[Any, Any]:
    """Rows of TIME words from texts of a small world, and their vocabulary."""
    texts = [document.text for document in documents(count, seed=seed)]
    vocabulary = vocabulary or WordVocabulary.train(texts, min_count=1)
    words = [number for text in texts for number in vocabulary.encode(text)]
    return np.array(words[: len(words) // TIME * TIME]).reshape(-1, TIME), vocabulary


def main() -> None:
    """Measure every setting with every seed; write the rows, and draw them."""
    train, vocabulary = text_rows(3000, None, seed=0)
    held_out, _ = text_rows(300, vocabulary, seed=1)
    rows = []
    for setting, changed in SETTINGS.items():
        for seed in SEEDS:
            options = {**TRAINING, **changed}
            measured = measure(train, held_out, vocabulary.vocab_size, options, seed)
            rows.append({"setting": setting, "seed": seed, **measured})
            print(rows[-1], flush=True)
    Path("results.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    draw(rows, Path("figure.svg"))


if __name__ == "__main__":
    main()

"""What a masked language model says of a gap, of an answer, and of a text that goes on. Lecture 08.

A masked model gives p(token | all around it), not p(text). An answer is scored from left to right:
each of its pieces with those behind it hidden too (Kauf and Ivanova, 2023, who mend the
pseudo-log-likelihood of Salazar, Liang, Nguyen and Kirchhoff, 2020). To go on with a text, [MASK]
is put behind it and filled, again and again (Wang and Cho, 2019): it was never trained for that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minissl.losses.language_modeling import next_token_loss
from minissl.models.generate import pick
from minissl.nn.evaluating import evaluating
from minissl.text.wordpiece import INSIDE, WordPiece

BATCH = 64


class Filler(NamedTuple):
    """A token that may stand in a gap, as text, and its probability."""

    text: str
    probability: float


class FillsIn:
    """For a method with ``model`` (a ``MaskedEncoder``), ``tokenizer``, and the special ids."""

    model: Any
    tokenizer: Any
    cls: int
    sep: int
    pad: int
    mask: int

    def fill(self, text: str, count: int = 5) -> list[list[Filler]]:
        """The ``count`` likeliest tokens for each [MASK] in a text, all of them hidden at once.

        Special tokens are never among them. With bytes a space before [MASK] is left out, since
        there " cat" is one token and the space belongs to what is missing (as in RoBERTa). Raises
        ValueError for a text without [MASK], or with more tokens than the context has.
        """
        whole = isinstance(self.tokenizer, WordPiece)
        ids = self.tokenizer.encode(
            text if whole else text.replace(" [MASK]", "[MASK]"), allow_special="all"
        )
        if self.mask not in ids:
            raise ValueError(
                f"there is no [MASK] in {text!r:.60}: write it where a word is missing"
            )
        room = self.model.config.context_length - 2
        if len(ids) > room:
            raise ValueError(
                f"the text has {len(ids)} tokens, and the context has room for {room}: give a "
                "shorter one"
            )
        tokens = np.array([[self.cls, *ids, self.sep]])
        with evaluating(self.model):
            states = self.model(tokens)[0, np.flatnonzero(tokens[0] == self.mask)]
            logits = self.model.word_logits(states).numpy().astype(np.float64)
        logits[:, self._never()] = -np.inf
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        order = np.argsort(-p, axis=1, kind="stable")
        order = order[:, : min(count, p.shape[1] - len(self._never()))]
        show = self.tokenizer.token_bytes
        return [
            [
                Filler(show(int(token)).decode("utf-8", "replace"), float(row[token]))
                for token in best
            ]
            for row, best in zip(p, order)
        ]

    def score(self, prompts: Sequence[str], answers: Sequence[str]) -> NDArray[np.float64]:
        """ln p(answer | prompt before it), in nats, of each pair: (pairs,).

        The answer has as many pieces as it has: that is not scored. Prompts lose their first
        pieces where the context has no room. Raises ValueError for numbers of prompts and answers
        that differ, and for an answer that the context has no room for; TypeError for one text
        instead of several.
        """
        rows, of, targets = [], [], []
        for number, (before, after) in enumerate(self._encoded(prompts, answers)):
            for i in range(len(after)):
                hidden = [self.mask] * (len(after) - i)
                rows.append([self.cls, *before, *after[:i], *hidden, self.sep])
                of.append(number)
                targets.append((1 + len(before) + i, after[i]))
        found = np.zeros(len(prompts))
        order = np.argsort([len(row) for row in rows], kind="stable")
        with evaluating(self.model):
            for start in range(0, len(rows), BATCH):
                part = order[start : start + BATCH]
                logits = self._logits_at([rows[i] for i in part], [targets[i][0] for i in part])
                wanted = np.array([targets[i][1] for i in part])
                nats = next_token_loss(logits, wanted, reduction="none").numpy()
                np.subtract.at(found, np.array(of)[part], nats)
        return found

    def answer_lengths(
        self, prompts: Sequence[str], answers: Sequence[str]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Of each pair of ``score`` the tokens of the answer, and whether the prompt is cut."""
        encode, room = self.tokenizer.encode, self.model.config.context_length - 2
        before, after = (
            np.array([len(encode(text, allow_special="none")) for text in texts], np.int64)
            for texts in (prompts, answers)
        )
        return after, before + after > room

    def sample(
        self,
        prompt: bytes,
        count: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        generator: np.random.Generator | None = None,
        write: Callable[[bytes], None],
        allow_special: str = "none",
    ) -> None:
        """Continue a text from left to right: fill the [MASK] behind it, ``count`` times.

        The model sees the last context_length tokens. ``write`` gets each piece as it comes; with
        WordPiece the spaces between words are ours. "[MASK]" in the prompt is ordinary text, unless
        ``allow_special`` is "all". Raises ValueError for sampling without a
        generator.
        """
        if temperature != 0 and generator is None:
            raise ValueError("sampling needs generator=np.random.default_rng(seed)")
        text = prompt.decode("utf-8", "replace")
        ids = list(self.tokenizer.encode(text, allow_special=allow_special))
        room = self.model.config.context_length - 3
        with evaluating(self.model):
            for _ in range(count):
                row = [self.cls, *ids[-room:], self.mask, self.sep]
                logits = self._logits_at([row], [len(row) - 2]).numpy()[0]
                logits[self._never()] = -np.inf
                ids.append(pick(logits, temperature, top_k, top_p, generator))
                write(self._written(ids[-1]))

    def _written(self, token: int) -> bytes:
        """How a token goes on with a text: bytes of BPE; ##x without ##, a word with a space."""
        piece = self.tokenizer.token_bytes(token)
        if not isinstance(self.tokenizer, WordPiece):
            return piece
        inside = INSIDE.encode()
        return piece.removeprefix(inside) if piece.startswith(inside) else b" " + piece

    def _never(self) -> list[int]:
        """What is not written: special tokens, and rows of the table that stand for no token."""
        rows = range(self.tokenizer.vocab_size, self.model.config.vocab_size)
        return [*self.tokenizer.special_tokens.values(), *rows]

    def _logits_at(self, rows: Sequence[Sequence[int]], places: Sequence[int]) -> Any:
        """What may stand at one place of each row: (rows, vocab_size)."""
        lengths = np.array([len(row) for row in rows])
        tokens = np.full((len(rows), lengths.max()), self.pad)
        tokens[np.arange(tokens.shape[1]) < lengths[:, None]] = np.concatenate(rows)
        states = self.model(tokens, lengths=lengths)
        return self.model.word_logits(states[np.arange(len(rows)), np.array(places)])

    def _encoded(self, prompts: Any, answers: Any) -> list[tuple[list[int], list[int]]]:
        for name, texts in (("prompts", prompts), ("answers", answers)):
            if isinstance(texts, str | bytes):
                raise TypeError(f"{name} must be several texts, got one: [{texts!r:.40}]")
        if len(prompts) != len(answers):
            raise ValueError(f"{len(prompts)} prompts have {len(answers)} answers: give pairs")
        room, encode, found = self.model.config.context_length - 2, self.tokenizer.encode, []
        for prompt, answer in zip(prompts, answers):
            before = list(encode(prompt, allow_special="none"))
            after = list(encode(answer, allow_special="none"))
            if len(after) > room:
                raise ValueError(
                    f"the answer {answer!r:.40} has {len(after)} tokens, and the context of the "
                    f"model has room for {room}: give a shorter one"
                )
            found.append((before[max(0, len(before) + len(after) - room) :], after))
        return found

"""A language model is asked: the text, then a blank for the name of its class; nothing is learned.

Radford et al. (2019, GPT-2) and Brown et al. (2020, GPT-3). Lecture 10. The answer is the class
whose words are the likeliest continuation, or what the model writes. Calibration, see ``Scoring``,
is that of Holtzman et al. (2021) and Zhao et al. (2021). Not here: labelled examples in the prompt,
several templates together, and a search for a good one, which would learn from labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from minissl.adapt.method import Adaptation, Task
from minissl.adapt.metrics import score, softmax
from minissl.adapt.prompts import (
    NO_ANSWER,
    Template,
    check_told_apart,
    class_words,
    find_answer,
)
from minissl.autograd.tensor import Tensor
from minissl.data.labels import likeliest
from minissl.nn.module import Module
from minissl.options import Options, option
from minissl.pretrain.language_model import LanguageModel
from minissl.pretrain.method import Generates


@dataclass(frozen=True, kw_only=True)
class ZeroShotSettings(Options):
    """How the question is put, and how its answer is read."""

    template: str = option(
        "{text} This is about {class}",
        "the question: {text} is the text, {class} the blank, without it behind the rest",
    )
    words: str = option(
        "", 'what is written for each class, such as "neg=bad, pos=good"; else their names'
    )
    answers: str = option(
        "score", "the class whose words are likeliest, or the first one that the model writes",
        choices=("score", "generate"),
    )  # fmt: skip
    calibrate: bool = option(
        True, "score: subtract what the words score in a prompt without content"
    )
    content_free: str = option("", "the text of the prompt without content, for calibration")
    per_token: bool = option(False, "score: divide by the number of tokens of the words")
    tokens: int = option(8, "generate: how many are written", least=1, most=1 << 16)

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            Template.read(self.template)
        except ValueError as error:
            raise ValueError(f"template {error}") from None


class Calibration(Module):
    """All that is kept: ln p of each class's words in the prompt without content, (classes,)."""

    def __init__(self, classes: int):
        self.prior = Tensor(np.zeros(classes))


class ZeroShot(Adaptation):
    """Classification by a blank. ``build`` gives one that scores, or one that writes.

    Texts are cut at their end where template and answer would not fit into the context. Labels are
    looked at by ``evaluate`` alone.
    """

    Settings = ZeroShotSettings
    needs = LanguageModel
    model: Calibration

    def __init__(self, base: Any, task: Task, settings: ZeroShotSettings):
        self.base, self.task, self.settings = base, task, settings
        self.model = Calibration(task.outputs)
        self.template = Template.read(settings.template)
        self.words = class_words(settings.words, task.class_names)
        check_told_apart(self.words, by_eye=settings.answers == "generate")
        self.answers = [self.template.answer(words) for words in self.words]
        self.lengths = np.array([self._length(answer) for answer in self.answers]) - self._length(
            ""
        )
        for name, length in zip(task.class_names, self.lengths):
            if not length:
                raise ValueError(
                    f"the words of class {name!r} are no token of this run's tokenizer: give "
                    "others (words)"
                )
        self._check_room()

    @classmethod
    def build(cls, settings: ZeroShotSettings, opened: Any, task: Task, *, seed: int = 0) -> Self:
        """Nothing is drawn. Raises ValueError for a template that does not fit into the context,
        and for words that do not fit the classes."""
        kinds: dict[str, Any] = {"score": Scoring, "generate": Writing}
        if settings.answers == "generate" and not isinstance(opened.method, Generates):
            raise ValueError(f"a run of {opened.name} cannot write: ask with answers='score'")
        return kinds[settings.answers](opened.method, task, settings)

    def to(self, device: str) -> None:
        """The network computes there; what it says of classes is float64 on the processor."""
        self.base.model.to(device)

    def solve(self, progress: str = "") -> None:
        """Calibrate, where that is asked for: no example is looked at."""
        self.task.to_learn_from()

    def evaluate(self) -> dict[str, float]:
        """Accuracy, beside that of two who do not read: always the commonest class, and a guess.

        Of one that writes also the share of texts after which it named no class; these are wrong.
        """
        held_out = self.task.held_out
        if held_out is None:
            return {}
        predictions = self.predict(held_out.inputs)
        scores = score(predictions, held_out.labels, self.labels, self.task.metrics)
        found = {f"held_out_{name}": value for name, value in scores.items()}
        if self.settings.answers == "generate":
            found["held_out_without_answer"] = float(np.mean(predictions == NO_ANSWER))
        commonest = np.bincount(held_out.labels).max() / len(held_out)
        return found | {
            "baseline_most_frequent_class": float(commonest),
            "baseline_chance": 1 / self.task.outputs,
        }

    def prompt(self, tokens: list[int]) -> str:
        """The prompt of a text, whose end is left out if not all of it has room."""
        reader, room = self.task.base, self.room
        tokens = tokens[: int(min(room, len(tokens)))]
        prompt = self.template.prompt(reader.text_of(tokens))
        while (too_many := self._length(prompt) - room) > 0:
            tokens = tokens[: max(1, len(tokens) - int(too_many))]
            prompt = self.template.prompt(reader.text_of(tokens))
        return prompt

    @property
    def room(self) -> float:
        """The tokens of a prompt, with its beginning, that leave room for an answer."""
        writes = self.settings.answers == "generate"
        return self.base.network.context_length - (
            self.settings.tokens if writes else self.lengths.max()
        )

    @property
    def longest(self) -> float:
        """How many tokens of a text, with that at its beginning, are asked about.

        Give or take one, where a token of the text would reach into the template.
        """
        return self.room - self._length(self.template.prompt("")) + self._length("")

    def _length(self, text: str) -> int:
        """In tokens, with the one at the beginning, and of BERT's kin the one at the end."""
        return len(self.task.base.tokens(text))

    def _check_room(self) -> None:
        """Raise ValueError when not even a prompt without any text has room."""
        fewer = "fewer tokens" if self.settings.answers == "generate" else "shorter words"
        for text in ("", self.settings.content_free):
            if (needed := self._length(self.template.prompt(text))) > self.room:
                raise ValueError(
                    f"the template with {text!r:.40} as text is {needed} tokens, and beside an "
                    f"answer the context of {self.base.network.context_length} has room for "
                    f"{max(0, self.room)}: give a shorter template, or {fewer}"
                )


class Scoring(ZeroShot):
    """The class c whose words are the likeliest answer a(c) to the prompt t(x):

        s(c) = ln p(a(c) | t(x)) − ln p(a(c) | t(content-free))

    The second part only with ``calibrate``: some words are likely whatever the text was. It is
    Holtzman et al.'s (2021) PMI with the template for its domain, and the largest s is the class of
    Zhao et al.'s (2021) W = diag(p(content-free))⁻¹, with one content-free text for their three.
    ``per_token``: s(c) divided by the number of tokens of a(c).
    """

    def solve(self, progress: str = "") -> None:
        """One prompt without content."""
        super().solve(progress)
        if self.settings.calibrate:
            prompt = self.template.prompt(self.settings.content_free)
            self.model.load_state_dict({"prior": self._log_probabilities([prompt])[0]})

    def scores(self, inputs: Any) -> NDArray[np.float64]:
        """s of each class, in nats: (examples, classes)."""
        found = self._log_probabilities([self.prompt(tokens) for tokens in inputs])
        found -= self.model.prior.numpy()
        return found / self.lengths if self.settings.per_token else found

    def probabilities(self, inputs: Any) -> NDArray:
        """e^s as shares of their sum: of these words, were there no other words."""
        return softmax(self.scores(inputs))

    def predict(self, inputs: Any) -> NDArray:
        """The number of the class with the largest s: (examples,)."""
        return likeliest(self.scores(inputs))

    def _log_probabilities(self, prompts: list[str]) -> NDArray[np.float64]:
        """ln p of every answer after every prompt: (prompts, classes)."""
        columns = [self.base.score(prompts, [answer] * len(prompts)) for answer in self.answers]
        return np.stack(columns, axis=1)


class Writing(ZeroShot):
    """The class that the model names first when it goes on after the prompt, greedily."""

    def write(self, tokens: list[int]) -> str:
        """What it writes after the prompt of a text."""
        pieces: list[bytes] = []
        self.base.sample(
            self.prompt(tokens).encode("utf-8", "replace"), self.settings.tokens,
            temperature=0, top_k=None, top_p=None,
            generator=np.random.default_rng(0), write=pieces.append, allow_special="none",
        )  # fmt: skip
        return b"".join(pieces).decode("utf-8", "replace")

    def predict(self, inputs: Any) -> NDArray:
        """The number of the class, NO_ANSWER (−1) where none was named: (examples,)."""
        return np.array([find_answer(self.write(one), self.words) for one in inputs], np.int64)


ADAPTATION = ZeroShot

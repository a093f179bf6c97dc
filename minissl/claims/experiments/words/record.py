"""Lecture 04: "record" is one string with two senses: one vector cannot tell them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minissl.adapt.heads.probe import linear_probe
from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, ahead, chosen
from minissl.claims.drawing import BLUE, GREY, OCHRE, RED, bars, panels
from minissl.data import Kept
from minissl.data.words import Words, to_stream
from minissl.models.gpt import GPT
from minissl.nn.evaluating import evaluating
from minissl.pretrain.language.gpt import GPTPretraining, GPTSettings
from minissl.pretrain.run import train
from minissl.pretrain.words.skipgram import SkipGram
from minissl.text.words import WordVocabulary

BY_ORDER = ("record", "present", "object", "permit", "contest", "produce", "project", "conduct")
BY_TOPIC = ("bank", "bat", "pitch", "bark", "spring", "match", "seal", "bass")
MARK = "will"  # before it stands who, after it what they do
EACH = 24  # nouns, verbs and adjectives of each of two topics
CLAUSES = 3  # of a sentence, all about one topic

STATIC, AROUND, UNTRAINED, GPT_ROW = (
    "static vector", "mean of the static vectors around it", "untrained GPT, state at the word",
    "GPT, state at the word",
)  # fmt: skip
ROWS = (STATIC, AROUND, UNTRAINED, GPT_ROW)
SHORT = ("static vector", "mean around it", "untrained GPT", "GPT")
TOPIC, ORDER = "senses of two topics", "noun or verb"


class Use(NamedTuple):
    """A sentence as ids, where the word stands in it, and its sense, 0 or 1."""

    ids: list[int]
    place: int
    sense: int


def measure(setup: Setup) -> Measured:
    """Learn static vectors and a GPT from one text; probe both for the sense of a word."""
    settings, generator = setup.settings, np.random.default_rng(setup.seed)
    language = Language(generator)
    sentences = [language.sentence() for _ in range(settings["sentences"])]
    setup.note("skip-gram")
    vectors = static_vectors(setup, language.vocabulary, sentences)
    setup.note("GPT")
    untrained, trained = gpts(setup, language.vocabulary.vocab_size, sentences)
    table: dict[str, dict[str, float]] = {row: {} for row in ROWS}
    curves: dict[str, Any] = {}
    for column, words, use in (
        (TOPIC, BY_TOPIC, language.by_topic), (ORDER, BY_ORDER, language.by_order),
    ):  # fmt: skip
        setup.note(column)
        found: dict[str, list[float]] = {row: [] for row in ROWS}
        for word in words:
            parts = [
                [use(word, sense, part) for _ in range(settings[name]) for sense in (0, 1)]
                for part, name in enumerate(("learn", "test"))
            ]
            features = {
                STATIC: [vectors[[use.ids[use.place] for use in part]] for part in parts],
                AROUND: [around(vectors, part) for part in parts],
                UNTRAINED: [states(untrained, part) for part in parts],
                GPT_ROW: [states(trained, part) for part in parts],
            }
            senses = [np.array([use.sense for use in part]) for part in parts]
            for row, (learn, test) in features.items():
                probe = linear_probe(learn, senses[0])
                found[row].append(100 * probe.accuracy(test, senses[1]))
            if word == words[0]:
                curves |= scattered(features[GPT_ROW], senses, column)
        for row, accuracies in found.items():
            table[row][column] = float(np.mean(accuracies))
    return Measured(table, curves)


# ---- the language --------------------------------------------------------------------------------


class Language:
    """Sentences such as "old singer will hum . record will present . record will play softly".

    A clause is perhaps an adjective, a noun, ``MARK``, a verb. Each topic has words of its own,
    invented ones; half of those are kept for the contexts that a probe is tested in. The words of
    ``BY_TOPIC`` are nouns of both topics. Those of ``BY_ORDER`` are nouns and verbs, and stand in
    clauses of two of them: what is around one is the same for both of its senses, but for the
    order.
    """

    def __init__(self, generator: np.random.Generator):
        self.generator = generator
        words = [*BY_ORDER, *BY_TOPIC, MARK, *invented(6 * EACH, generator)]
        self.vocabulary = WordVocabulary(dict.fromkeys(words, 1))
        ids = np.array([self.vocabulary.ids[word] for word in words])
        self.order, self.topic = ids[: len(BY_ORDER)], ids[len(BY_ORDER) :][: len(BY_TOPIC)]
        self.mark = int(ids[len(BY_ORDER) + len(BY_TOPIC)])
        self.words = ids[-6 * EACH :].reshape(2, 3, EACH)  # of topic, of kind

    def sentence(self) -> list[int]:
        """Clauses of one topic, one in four of which has words with two senses."""
        topic = int(self.generator.integers(2))
        return self.joined([self.any_clause(topic) for _ in range(CLAUSES)])[0]

    def any_clause(self, topic: int) -> list[int]:
        """A clause of one of the three kinds."""
        kind = self.generator.random()
        if kind < 1 / 8:
            return self.clause(*self.generator.choice(self.order, 2, replace=False))
        noun = self.generator.choice(self.topic) if kind < 1 / 4 else None
        return self.of_topic(topic, noun)

    def by_topic(self, word: str, sense: int, part: int) -> Use:
        """The word as a noun in the last clause, after others of the topic that is its sense."""
        clauses = [self.of_topic(sense, None, part) for _ in range(CLAUSES - 1)]
        clause = self.of_topic(sense, self.vocabulary.ids[word], part)
        ids, start = self.joined([*clauses, clause])
        return Use(ids, start + len(clause) - 3, sense)

    def by_order(self, word: str, sense: int, part: int) -> Use:
        """The word as a noun (0) or verb (1) beside another such word, which is the other."""
        topic = int(self.generator.integers(2))
        clauses = [self.of_topic(topic, None, part) for _ in range(CLAUSES - 1)]
        own = self.vocabulary.ids[word]
        half = len(self.order) // 2
        others = np.setdiff1d(self.order[half:] if part else self.order[:half], [own])
        other = self.generator.choice(others)
        clause = self.clause(own, other) if sense == 0 else self.clause(other, own)
        ids, start = self.joined([*clauses, clause])
        return Use(ids, start + len(clause) - (3 if sense == 0 else 1), sense)

    def of_topic(self, topic: int, noun: int | None, part: int | None = None) -> list[int]:
        """A clause with this noun or any, of all words of the topic or of one half of them."""
        allowed = slice(None) if part is None else slice(part * EACH // 2, (part + 1) * EACH // 2)
        _, nouns, verbs = self.words[topic][:, allowed]
        own = self.generator.choice(nouns) if noun is None else noun
        return self.clause(own, self.generator.choice(verbs), topic, allowed)

    def clause(
        self, noun: int, verb: int, topic: int | None = None, allowed: slice = slice(None)
    ) -> list[int]:
        """The clause, half of the time with an adjective, of any topic unless one is given."""
        topic = int(self.generator.integers(2)) if topic is None else topic
        some = [int(self.generator.choice(self.words[topic, 0, allowed]))]
        before = some if self.generator.random() < 0.5 else []
        return [*before, int(noun), self.mark, int(verb)]

    def joined(self, clauses: Sequence[Sequence[int]]) -> tuple[list[int], int]:
        """One sentence, and where its last clause begins."""
        ids = [i for clause in clauses for i in clause]
        return ids, len(ids) - len(clauses[-1])


def invented(number: int, generator: np.random.Generator) -> list[str]:
    """So many different words of two syllables."""
    syllables = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
    chosen = generator.choice(len(syllables) ** 2, number, replace=False)
    return [syllables[i // len(syllables)] + syllables[i % len(syllables)] for i in chosen]


# ---- what represents a word ----------------------------------------------------------------------


def static_vectors(
    setup: Setup, vocabulary: WordVocabulary, sentences: Sequence[Sequence[int]]
) -> NDArray[np.float32]:
    """The vectors that skip-gram learns, (words, width)."""
    settings = chosen(
        SkipGram.Settings, setup, steps=setup.settings["word_steps"], batch_size=10_240,
        width=setup.settings["width"], learning_rate=0.3, threshold=0.0, evaluations=1,
    )  # fmt: skip
    counts = np.bincount(np.concatenate(sentences), minlength=vocabulary.vocab_size)
    vocabulary.counts[1:] = np.maximum(counts[1:], 1)
    words = Words(Kept(), vocabulary, to_stream(sentences), to_stream([]))
    method = SkipGram.build(settings, words, seed=setup.seed)
    train(method, settings, seed=setup.seed, progress=False)
    return method.model.vectors()


def gpts(setup: Setup, vocab_size: int, sentences: Sequence[Sequence[int]]) -> tuple[GPT, GPT]:
    """The same GPT before and after its training; id 0 ends a sentence."""
    settings = chosen(GPTSettings, setup)
    config = settings.config(vocab_size)
    untrained, model = (GPT(config, generator=np.random.default_rng(setup.seed)) for _ in range(2))
    stream = np.concatenate([[0, *sentence] for sentence in sentences])
    method = GPTPretraining(model, stream, batch_size=settings.batch_size)
    method.to(setup.device)
    train(method, settings, seed=setup.seed, progress=False)
    method.to("cpu")
    return untrained, model


def around(vectors: NDArray, uses: Sequence[Use]) -> NDArray:
    """The mean of the vectors of all other words of the sentence: (uses, width)."""
    others = [np.delete(use.ids, use.place) for use in uses]
    return np.stack([vectors[ids].mean(axis=0) for ids in others])


def states(model: GPT, uses: Sequence[Use]) -> NDArray:
    """The last hidden states at the word, which has read what is before it: (uses, width)."""
    longest = max(len(use.ids) for use in uses)
    tokens = np.array([[0, *use.ids] + [0] * (longest - len(use.ids)) for use in uses])
    with evaluating(model):
        hidden = model.hidden(tokens).numpy()  # causal: nothing sees the padding
    return hidden[np.arange(len(uses)), [use.place + 1 for use in uses]]


def scattered(parts: Sequence[NDArray], senses: Sequence[NDArray], column: str) -> dict[str, Any]:
    """The test's states along the two directions of the largest variance, by sense."""
    centred = parts[1] - parts[1].mean(axis=0)
    first, second = (centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T).T
    return {
        f"{column}, sense {sense + 1}": (
            first[senses[1] == sense].tolist(), second[senses[1] == sense].tolist(),
        )
        for sense in (0, 1)
    }  # fmt: skip


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """The accuracies of both kinds of senses; below, the states of one word as points."""
    drawn, (topic, order, points) = panels(1.9, 1.9, 2.3)
    for axis, column, word in ((topic, TOPIC, BY_TOPIC[0]), (order, ORDER, BY_ORDER[0])):
        bars(axis, measured, ROWS, column, colors=[RED, OCHRE, GREY, BLUE], form="%.0f")
        axis.set_yticks(range(len(ROWS)), SHORT)
        axis.axvline(50, color=GREY, linestyle="--", linewidth=1)
        axis.set(xlim=(0, 120), xlabel=f'{column}: found (%), words such as "{word}"')
    for sense, color, name in ((1, BLUE, "a noun"), (2, OCHRE, "a verb")):
        x, y = measured[0].curves[f"{ORDER}, sense {sense}"]
        points.plot(x, y, ".", color=color, markersize=4, label=name)
    points.set(xlabel=f'"{BY_ORDER[0]}" in the GPT, two directions', xticks=[], yticks=[])
    points.legend(frameon=False)
    return drawn


def expected() -> list[Expectation]:
    """Exactly half of a static vector; what stands around is enough where order says nothing."""
    found = []
    for column in (TOPIC, ORDER):
        found += [
            Expectation(Cell(STATIC, column), 50.0, 0.0, "both senses have the same vector"),
            Expectation(50.0, Cell(STATIC, column), 0.0, "and the test has as many of each"),
            Expectation(Cell(GPT_ROW, column), 0.0, 95.0, "its state depends on what it has read"),
        ]
    return [
        *found,
        Expectation(Cell(AROUND, TOPIC), 0.0, 95.0, "the words of a topic are near each other"),
        Expectation(55.0, Cell(AROUND, ORDER), 0.0, "a mean knows no order"),
        ahead(GPT_ROW, UNTRAINED, TOPIC, 20, "which words are of one topic is learned"),
        ahead(GPT_ROW, UNTRAINED, ORDER, 2, "order alone a random network sees, with noise"),
    ]


CLAIM = Claim(
    name="record",
    title='"record" has one static vector and two senses',
    statement=(
        "A word that is spelled like another has its vector too, so that nothing can be read off "
        "it but a coin's toss. The words around it tell its sense, where their order does not "
        "matter; the state that a language model has at the word tells it in both cases."
    ),
    lecture="04, section 10",
    measure=measure,
    expectations=expected(),
    figure=figure,
    scales={
        "quick": {
            "sentences": 600,
            "learn": 20,
            "test": 40,
            "word_steps": 5,
            "steps": 20,
            "batch_size": 8,
            "num_layers": 1,
            "width": 16,
            "num_heads": 2,
            "context_length": 16,
            "dropout": 0.0,
            "evaluations": 1,
        },
        "small": {
            "sentences": 20_000,
            "learn": 100,
            "test": 200,
            "word_steps": 200,
            "steps": 800,
            "batch_size": 32,
            "num_layers": 2,
            "width": 64,
            "num_heads": 4,
            "context_length": 32,
            "dropout": 0.0,
            "learning_rate": 3e-3,
            "evaluations": 1,
        },
        "full": {
            "sentences": 100_000,
            "learn": 100,
            "test": 1000,
            "word_steps": 1000,
            "steps": 4000,
            "batch_size": 64,
            "num_layers": 4,
            "width": 128,
            "num_heads": 4,
            "context_length": 32,
            "dropout": 0.0,
            "learning_rate": 1e-3,
            "evaluations": 1,
        },
    },
    settings=[GPTSettings],
    own=("sentences", "learn", "test", "word_steps"),
    formats={TOPIC: ".1f", ORDER: ".1f"},
    rows="senses found, in %",
    about=(
        'A generated text: sentences of three clauses such as "old singer will hum", words '
        "invented but for those with two senses. Eight are nouns of both topics; eight are nouns "
        'and verbs, before and after "will", and stand beside each other, so that both senses '
        "have the same words around them. A probe for each word learns from 100 uses of each sense "
        "and is tested on 200 of each, whose contexts have other words. The GPT's state at the "
        "word has read the words before it; the mean has those behind it too. Skip-gram has as "
        "many numbers per word. Sizes and steps were tried once, with seed 100."
    ),
)

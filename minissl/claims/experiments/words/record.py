"""Lecture 04: "record" is one string with two senses: one vector cannot tell them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.adapt.heads.probe import linear_probe
from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, ahead, chosen
from minissl.claims.drawing import bars, panels
from minissl.claims.two_senses import BY_ORDER, BY_TOPIC, Language, Use
from minissl.data import Kept
from minissl.data.passages import Passages, PieceStream
from minissl.data.passages import to_stream as to_pieces
from minissl.data.words import Words, to_stream
from minissl.figures import legend
from minissl.models.bidirectional import BidirectionalLM
from minissl.models.gpt import GPT
from minissl.nn.evaluating import evaluating
from minissl.palette import BLUE, GREY, OCHRE, RED, look
from minissl.pretrain.language.elmo import ELMo, ELMoSettings
from minissl.pretrain.language.gpt import GPTPretraining, GPTSettings
from minissl.pretrain.masked.roberta import RoBERTa, RoBERTaSettings
from minissl.pretrain.run import train
from minissl.pretrain.words.skipgram import SkipGram
from minissl.text.documents import Document
from minissl.text.wordpiece import WordPiece
from minissl.text.words import WordVocabulary

STATIC, AROUND, UNTRAINED, GPT_ROW = (
    "static vector", "mean of the static vectors around it", "untrained GPT, state at the word",
    "GPT, state at the word",
)  # fmt: skip
UNTRAINED_ELMO, FORWARDS, ELMO_ROW = (
    "untrained ELMo, at the word", "ELMo, its forward half", "ELMo, at the word",
)  # fmt: skip
UNTRAINED_MASKED, MASKED_ROW = "untrained RoBERTa, at the word", "RoBERTa, at the word"
ROWS = (
    STATIC, AROUND, UNTRAINED, GPT_ROW, UNTRAINED_ELMO, FORWARDS, ELMO_ROW, UNTRAINED_MASKED,
    MASKED_ROW,
)  # fmt: skip
SHORT = (
    "static vector", "mean around it", "untrained GPT", "GPT", "untrained ELMo", "ELMo, forwards",
    "ELMo, both", "untrained RoBERTa", "RoBERTa",
)  # fmt: skip
COLORS = (RED, OCHRE, GREY, BLUE, GREY, BLUE, BLUE, GREY, BLUE)
TOPIC, ORDER, AFTER = "senses of two topics", "noun or verb", "told by what follows"


def measure(setup: Setup) -> Measured:
    """Learn vectors, a GPT, an ELMo, a RoBERTa from one text; probe them for a word's sense."""
    settings, generator = setup.settings, np.random.default_rng(setup.seed)
    language = Language(generator)
    sentences = [language.sentence() for _ in range(settings["sentences"])]
    models = learned(setup, language, sentences)
    table: dict[str, dict[str, float]] = {row: {} for row in ROWS}
    curves: dict[str, Any] = {}
    for column, words, use in (
        (TOPIC, BY_TOPIC, language.by_topic), (ORDER, BY_ORDER, language.by_order),
        (AFTER, BY_TOPIC, language.by_what_follows),
    ):  # fmt: skip
        setup.note(column)
        found: dict[str, list[float]] = {row: [] for row in ROWS}
        for word in words:
            parts = [
                [use(word, sense, part) for _ in range(settings[name]) for sense in (0, 1)]
                for part, name in enumerate(("learn", "test"))
            ]
            features = [models.represent(part) for part in parts]
            senses = [np.array([use.sense for use in part]) for part in parts]
            for row in ROWS:
                learn, test = (rows[row] for rows in features)
                probe = linear_probe(learn, senses[0])
                found[row].append(100 * probe.accuracy(test, senses[1]))
            if word == words[0]:
                curves |= scattered([rows[GPT_ROW] for rows in features], senses, column)
        for row, accuracies in found.items():
            table[row][column] = float(np.mean(accuracies))
    return Measured(table, curves)


# ---- what represents a word ----------------------------------------------------------------------


@dataclass
class Models:
    """What was learned from the sentences, and the networks as they were before."""

    vectors: NDArray[np.float32]
    untrained: GPT
    gpt: GPT
    untrained_elmo: ELMo
    elmo: ELMo
    untrained_masked: RoBERTa
    masked: RoBERTa
    words: Sequence[str]  # id -> word, of which RoBERTa reads the pieces

    def represent(self, uses: Sequence[Use]) -> dict[str, NDArray]:
        """The word in each of its uses, row by row of the table: (uses, width)."""
        both = at_the_word(self.elmo, uses)
        return {
            STATIC: self.vectors[[use.ids[use.place] for use in uses]],
            AROUND: around(self.vectors, uses),
            UNTRAINED: states(self.untrained, uses),
            GPT_ROW: states(self.gpt, uses),
            UNTRAINED_ELMO: at_the_word(self.untrained_elmo, uses),
            FORWARDS: both[:, : self.elmo.width // 2],
            ELMO_ROW: both,
            UNTRAINED_MASKED: by_its_pieces(self.untrained_masked, self.words, uses),
            MASKED_ROW: by_its_pieces(self.masked, self.words, uses),
        }


def learned(setup: Setup, language: Language, sentences: Sequence[Sequence[int]]) -> Models:
    """All of them, from the same sentences."""
    size = language.vocabulary.vocab_size
    setup.note("skip-gram")
    vectors = static_vectors(setup, language.vocabulary, sentences)
    setup.note("GPT")
    untrained, trained = gpts(setup, size, sentences)
    setup.note("ELMo")
    both = elmos(setup, size, sentences)
    setup.note("RoBERTa")
    words = language.vocabulary.tokens
    masked = masked_models(setup, [" ".join(words[i] for i in ids) for ids in sentences])
    return Models(vectors, untrained, trained, *both, *masked, words)


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


def elmos(setup: Setup, vocab_size: int, sentences: Sequence[Sequence[int]]) -> tuple[ELMo, ELMo]:
    """The same ELMo before and after its training, as wide in each direction as the GPT."""
    settings = chosen(
        ELMoSettings, setup, steps=setup.settings["elmo_steps"],
        learning_rate=ELMoSettings().learning_rate,
    )  # fmt: skip
    stream = np.concatenate([[vocab_size, *sentence] for sentence in sentences])
    untrained, method = (
        ELMo(
            BidirectionalLM(
                settings.config(vocab_size + 1), generator=np.random.default_rng(setup.seed)
            ),
            stream, boundary=vocab_size, length=settings.context_length,
            batch_size=settings.batch_size,
        )
        for _ in range(2)
    )  # fmt: skip
    method.to(setup.device)
    train(method, settings, seed=setup.seed, progress=False)
    method.to("cpu")
    return untrained, method


def masked_models(setup: Setup, texts: Sequence[str]) -> tuple[RoBERTa, RoBERTa]:
    """The same RoBERTa before and after its training, as wide as the GPT, on WordPiece."""
    settings = chosen(
        RoBERTaSettings, setup, steps=setup.settings["masked_steps"], pieces="wordpiece"
    )
    tokenizer = WordPiece.train(texts, settings.vocab_size)
    documents = [Document(str(number), "generated", text) for number, text in enumerate(texts)]
    data = Passages(Kept(), tokenizer, to_pieces(documents, tokenizer), PieceStream())
    untrained, method = (RoBERTa.build(settings, data, seed=setup.seed) for _ in range(2))
    method.to(setup.device)
    train(method, settings, seed=setup.seed, progress=False)
    method.to("cpu")
    return untrained, method


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


def at_the_word(method: ELMo, uses: Sequence[Use]) -> NDArray:
    """What ELMo makes of the word, the mean of its layers, forwards before backwards."""
    found = method.represent_each([use.ids for use in uses])
    return np.stack([states[use.place] for states, use in zip(found, uses)])


def by_its_pieces(method: RoBERTa, words: Sequence[str], uses: Sequence[Use]) -> NDArray:
    """The mean of the last states of the word's pieces, in its sentence alone: (uses, width)."""
    pieces = [method.tokenizer.encode(word) for word in words]
    examples, places = [], []
    for use in uses:
        sentence = [pieces[i] for i in use.ids]
        start = 1 + sum(map(len, sentence[: use.place]))  # behind [CLS]
        places.append(slice(start, start + len(sentence[use.place])))
        examples.append([method.cls, *np.concatenate(sentence), method.sep])
    found = method.represent_each(examples)
    return np.stack([states[place].mean(axis=0) for states, place in zip(found, places)])


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
    """The accuracies of the kinds of senses; below, the states of one word as points."""
    drawn, (topic, order, after, points) = panels(2.7, 2.7, 2.7, 2.2)
    for axis, column, word in (
        (topic, TOPIC, BY_TOPIC[0]), (order, ORDER, BY_ORDER[0]), (after, AFTER, BY_TOPIC[0]),
    ):  # fmt: skip
        bars(axis, measured, ROWS, column, colors=COLORS, form="%.0f")
        axis.set_yticks(range(len(ROWS)), SHORT)
        axis.axvline(50, color=GREY, linestyle="--", linewidth=1)
        axis.set(xlim=(0, 120), xlabel=f'{column}: found (%), words such as "{word}"')
    for sense, color, name in ((1, BLUE, "a noun"), (2, OCHRE, "a verb")):
        x, y = measured[0].curves[f"{ORDER}, sense {sense}"]
        form = look(color, marker=True) | {"linestyle": "", "markersize": 3}
        points.plot(x, y, label=name, **form)
    points.set(xlabel=f'"{BY_ORDER[0]}" in the GPT, two directions', xticks=[], yticks=[])
    legend(points)
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
        *(
            Expectation(Cell(ELMO_ROW, column), 0.0, 95.0, "and so do ELMo's")
            for column in (TOPIC, ORDER)
        ),
        *(
            Expectation(Cell(MASKED_ROW, column), 0.0, 95.0, "and so do those of its pieces")
            for column in (TOPIC, ORDER)
        ),
        Expectation(55.0, Cell(GPT_ROW, AFTER), 0.0, "it has not read on"),
        Expectation(55.0, Cell(FORWARDS, AFTER), 0.0, "nor has this half"),
        Expectation(Cell(ELMO_ROW, AFTER), 0.0, 90.0, "the other half comes from there"),
        ahead(ELMO_ROW, UNTRAINED_ELMO, AFTER, 20, "and has learned which words are of one topic"),
        Expectation(Cell(MASKED_ROW, AFTER), 0.0, 90.0, "each layer sees both sides"),
        ahead(MASKED_ROW, UNTRAINED_MASKED, AFTER, 20, "which words are of one topic is learned"),
        ahead(MASKED_ROW, UNTRAINED_MASKED, TOPIC, 20, "here too"),
        ahead(MASKED_ROW, GPT_ROW, AFTER, 35, "left to right is not enough"),
        Expectation(Cell(AROUND, TOPIC), 0.0, 95.0, "the words of a topic are near each other"),
        Expectation(55.0, Cell(AROUND, ORDER), 0.0, "a mean knows no order"),
        ahead(GPT_ROW, UNTRAINED, TOPIC, 20, "which words are of one topic is learned"),
        ahead(GPT_ROW, UNTRAINED, ORDER, 2, "order alone a random network sees, with noise"),
    ]


ALIKE = {"dropout": 0.0, "evaluations": 1}

CLAIM = Claim(
    name="record",
    title='"record" has one static vector and two senses',
    statement=(
        "A word that is spelled like another has its vector too, so that nothing can be read off "
        "it but a coin's toss. The words around it tell its sense, where their order does not "
        "matter; the state that a language model has at the word tells it in both cases. What only "
        "later words tell, it does not know yet; a network that reads both sides does, be it two "
        "LSTMs or an encoder that has filled gaps."
    ),
    lecture="04, section 10",
    measure=measure,
    expectations=expected(),
    figure=figure,
    scales={
        "quick": {
            **ALIKE,
            "sentences": 600,
            "learn": 20,
            "test": 40,
            "word_steps": 5,
            "elmo_steps": 5,
            "masked_steps": 5,
            "steps": 20,
            "batch_size": 8,
            "num_layers": 1,
            "width": 16,
            "num_heads": 2,
            "context_length": 16,
        },
        "small": {
            **ALIKE,
            "sentences": 20_000,
            "learn": 100,
            "test": 200,
            "word_steps": 200,
            "elmo_steps": 600,
            "masked_steps": 1600,
            "steps": 800,
            "batch_size": 32,
            "num_layers": 2,
            "width": 64,
            "num_heads": 4,
            "context_length": 32,
            "learning_rate": 3e-3,
        },
        "full": {
            **ALIKE,
            "sentences": 100_000,
            "learn": 100,
            "test": 1000,
            "word_steps": 1000,
            "elmo_steps": 2000,
            "masked_steps": 8000,
            "steps": 4000,
            "batch_size": 64,
            "num_layers": 4,
            "width": 128,
            "num_heads": 4,
            "context_length": 32,
            "learning_rate": 1e-3,
        },
    },
    settings=[GPTSettings, ELMoSettings, RoBERTaSettings],
    own=("sentences", "learn", "test", "word_steps", "elmo_steps", "masked_steps"),
    formats={TOPIC: ".1f", ORDER: ".1f", AFTER: ".1f"},
    rows="senses found, in %",
    about=(
        'A generated text: sentences of three clauses such as "old singer will hum", words '
        "invented but for those with two senses. Eight are nouns of both topics; eight are nouns "
        'and verbs, before and after "will", and stand beside each other, so that both senses '
        "have the same words around them. Where what follows tells the sense, the word is the noun "
        "of a topic whose other words come later, after a clause without a topic. A probe for each "
        "word learns from 100 uses of each sense and is tested on 200 of each, whose contexts have "
        "other words. The GPT's state at the word has read the words before it; the mean has those "
        "behind it too, and so has ELMo: two LSTMs that share the words' vectors and the "
        "output, one from each end of the sentence; of a word it gives the mean of its layers. "
        "RoBERTa, an encoder that predicts the 15 % of the tokens that are hidden, gives the mean "
        "of the last states of the word's pieces, of which each word has one here. It is as wide "
        "as the GPT, skip-gram and each half of ELMo. Sizes and steps were tried with seed 100. "
        "ELMo's were set after a first measurement, in which 300 steps at half the learning rate "
        "had taught it no topics (53 % and 45 % in the outer columns); RoBERTa has twice the GPT's "
        "steps, because after 800 it had 74 % and 60 % there with seed 100, after 1,600 100 %."
    ),
)

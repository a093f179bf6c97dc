"""Generated text in which some words have two senses, for the claim ``record``. Lecture 04."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from minissl.text.words import WordVocabulary

BY_ORDER = ("record", "present", "object", "permit", "contest", "produce", "project", "conduct")
BY_TOPIC = ("bank", "bat", "pitch", "bark", "spring", "match", "seal", "bass")
MARK = "will"  # before it stands who, after it what they do
EACH = 24  # nouns, verbs and adjectives of each of two topics
CLAUSES = 3  # of a sentence, all about one topic


class Use(NamedTuple):
    """A sentence as ids, where the word stands in it, and its sense, 0 or 1."""

    ids: list[int]
    place: int
    sense: int


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

    def by_what_follows(self, word: str, sense: int, part: int) -> Use:
        """The word as the noun of a topic's first clause, after one that has no topic."""
        first = self.clause(*self.generator.choice(self.order, 2, replace=False))
        clause = self.of_topic(sense, self.vocabulary.ids[word], part)[-3:]  # no adjective
        last = self.of_topic(sense, None, part)
        return Use([*first, *clause, *last], len(first), sense)

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

"""Answers to homework 2 that hand the work to the library, in one dress or another."""

import io
from collections import Counter
from functools import partial
from importlib import import_module

import numpy as np

from minissl.text import bpe, patterns, segment, tokenizer
from minissl.text.patterns import GPT2
from tests.homework.planted import Collection
from tests.homework.planted.hw2_training import largest, learner

PLANTED = Collection()
OWN = "library's own|does not allow|nothing that you wrote"


# ---- functions -----------------------------------------------------------------------------------


def found_by_name(words):
    """The function is found by its name as text."""
    return getattr(import_module("minissl.text.bpe"), "count_" + "pairs")(words)


def by_training(counts):
    """A tokenizer is trained, and asked for its merges: of a text that has the counts."""
    trained = tokenizer.Tokenizer.train(
        (word.decode("utf-8", "surrogateescape") for word, n in counts.items() for _ in range(n)),
        10_000,
    )
    return iter(trained.merges())


def small_by_hand(counts):
    """Few words by the loop, many by the library."""
    return learner(largest)(counts) if len(counts) < 100 else bpe.learn_merges(counts)


def fast_for_naive(counts):
    """The other way to learn, with the same result."""
    yield from bpe.learn_merges(counts)


def without_dropout(word, ranks):
    """BPE-dropout that drops nothing."""
    return segment.merges_with_dropout(word, ranks, 0.0, np.random.default_rng(0))


def one_word_tokenizer(word, ranks):
    """A tokenizer of these ranks, with a pattern that never cuts."""
    found = tokenizer.Tokenizer(ranks, pattern=r"(?s).+")
    return [found.token_bytes(i) for i in found.encode(word, allow_special="none")]


def long_way(word, ranks):
    """The part that is for long words."""
    return bpe._segment_long(word, ranks)


def by_its_own(texts, pattern=GPT2, special_tokens=()):
    """A wrapper."""
    counts: Counter = Counter()
    for text in [texts] if isinstance(texts, str) else texts:
        counts += patterns.count_pieces(text, pattern, special_tokens)
    return counts


for _task, _mistake, _function in [
    ("2.1", "the library's, found by its name", found_by_name),
    ("2.1", "the library's, with a name of its own", partial(bpe.count_pairs)),
    ("2.1", "the library's, in a lambda", lambda words: bpe.count_pairs(dict(words))),
    ("2.2", "the library's, with another type of word", lambda w, p: bpe.merge(tuple(w), p)),
    ("2.3", "the fast way to learn", fast_for_naive),
    (
        "2.3",
        "the library's, one by one",
        lambda counts: (p for p in bpe.learn_merges_naive(counts)),
    ),
    ("2.4", "dropout of nothing", without_dropout),
    ("2.4", "a tokenizer for one word", one_word_tokenizer),
    ("2.4", "the part for long words", long_way),
    ("2.5", "text by text", by_its_own),
    ("2.8", "a tokenizer is trained", by_training),
    ("2.8", "by hand where few words are", small_by_hand),
    ("2.8", "the library's, in a generator", lambda counts: (p for p in bpe.learn_merges(counts))),
]:
    PLANTED.add(_task, _mistake, shows=OWN)(_function)


# ---- methods -------------------------------------------------------------------------------------


class Inherited(tokenizer.Tokenizer):
    """Both methods by ``super()``."""

    def decode(self, ids, errors="replace"):
        return super().decode(ids, errors)

    def encode(self, text, *, allow_special="raise"):
        return super().encode(text, allow_special=allow_special)


class AnotherOne(tokenizer.Tokenizer):
    """Both methods by a tokenizer of the library with the same vocabulary."""

    def _other(self):
        return tokenizer.Tokenizer(
            self.ranks, pattern=self.pattern, special_tokens=self.special_tokens
        )

    def decode(self, ids, errors="replace"):
        return self._other().decode(ids, errors)

    def encode(self, text, *, allow_special="raise"):
        return self._other().encode(text, allow_special=allow_special)


class Unbound(tokenizer.Tokenizer):
    """Both methods as functions of the class above."""

    decode_it = staticmethod(tokenizer.Tokenizer.decode)

    def decode(self, ids, errors="replace"):
        return self.decode_it(self, ids, errors)

    def encode(self, text, *, allow_special="raise"):
        return vars(tokenizer.Tokenizer)["encode"](self, text, allow_special=allow_special)


class Streamed(tokenizer.Tokenizer):
    """By the stream of one text."""

    def encode(self, text, *, allow_special="raise"):
        if isinstance(text, bytes):
            return list(self.encode_binary(io.BytesIO(text), allow_special=allow_special))
        return list(self.encode_stream([text], allow_special=allow_special))


class DroppedOut(tokenizer.Tokenizer):
    """By BPE-dropout of probability 0."""

    def encode(self, text, *, allow_special="raise"):
        generator = np.random.default_rng(0)
        return self.encode_with_dropout(text, 0.0, generator, allow_special=allow_special)


class ByParts(tokenizer.Tokenizer):
    """By the methods that the library's is made of."""

    def encode(self, text, *, allow_special="raise"):
        text = text if isinstance(text, str) else text.decode("utf-8", "surrogateescape")
        allowed = self._allowed_special(allow_special)
        return self._encode(text, allowed, self._encode_ordinary)


class Remembered(tokenizer.Tokenizer):
    """By what the library's tokenizer remembers of pieces."""

    def encode(self, text, *, allow_special="raise"):
        text = text if isinstance(text, str) else text.decode("utf-8", "surrogateescape")
        allowed = self._allowed_special(allow_special)
        ids, start = [], 0
        for match in self._find_special(text, allowed):
            ids += [i for piece in self.pattern.split(text[start : match.start()])
                    for i in self._encode_piece(piece)]  # fmt: skip
            ids.append(self._special_id(match, allowed))
            start = match.end()
        for piece in self.pattern.split(text[start:]):
            ids += self._encode_piece(piece)
        return ids


for _task, _mistake, _class in [
    ("2.6", "super()", Inherited),
    ("2.6", "another tokenizer with the same vocabulary", AnotherOne),
    ("2.6", "the method of the class above", Unbound),
    ("2.7", "super()", Inherited),
    ("2.7", "another tokenizer with the same vocabulary", AnotherOne),
    ("2.7", "the method of the class above", Unbound),
    ("2.7", "a stream of one text", Streamed),
    ("2.7", "dropout of nothing", DroppedOut),
    ("2.7", "the parts of the library's", ByParts),
    ("2.7", "the library's memory", Remembered),
]:
    PLANTED.add(_task, _mistake, shows=OWN)(_class)

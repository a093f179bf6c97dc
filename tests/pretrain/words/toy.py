"""A small text of ids and a method on it, with random weights, for the tests of word vectors."""

import numpy as np

from minissl.data import Kept
from minissl.data.words import VOCABULARY, Words, to_stream
from minissl.pretrain import load_method
from minissl.text.words import WordVocabulary

NAMES = ("skipgram", "cbow", "noise-contrastive", "glove")


def words_of_two_documents(seed=0, most=9, lengths=(70, 45)):
    """A stream of random words, in which the last word of one and the first of the next meet."""
    generator = np.random.default_rng(seed)
    documents = [generator.integers(1, most, size=n) for n in lengths]
    counts = np.bincount(np.concatenate(documents), minlength=most)
    names = {chr(96 + i): int(counts[i]) for i in range(1, most)}
    vocabulary = WordVocabulary(names, unknown=1000)
    ids = [[vocabulary.ids[chr(96 + i)] for i in document] for document in documents]
    return Words(
        Kept({VOCABULARY: vocabulary.to_bytes()}), vocabulary, to_stream(ids), to_stream(ids[1:])
    )


def make(name="skipgram", seed=0, data=None, **settings):
    kind = load_method(name)
    settings = {"threshold": 0, "batch_size": 64, "width": 6, "steps": 4, **settings}
    known = {key: value for key, value in settings.items() if hasattr(kind.Settings(), key)}
    data = words_of_two_documents() if data is None else data
    method = kind.build(kind.Settings(**known), data, seed=seed)
    generator = np.random.default_rng([seed, 5])
    for _, parameter in method.model.named_parameters():  # zeros would hide what is mixed up
        parameter.array[:] = generator.standard_normal(parameter.shape)
    return method

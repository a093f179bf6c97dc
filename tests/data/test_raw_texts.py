"""What texts are compared with: tf-idf of their tokens, as scikit-learn computes it."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from minissl.data import Kept
from minissl.data.captions import CaptionOptions
from minissl.data.labels import split_labelled
from minissl.data.pairs import LabelledTextPairs
from minissl.data.texts import LabelledTexts

SETTINGS = CaptionOptions(vocab_size=280)


def theirs(inputs, train, size):
    """The tokens as "words" of their own; learned from some of the texts."""
    words = {str(token): token for token in range(size)}
    read = TfidfVectorizer(
        vocabulary=words, analyzer=lambda tokens: map(str, tokens), sublinear_tf=True
    )
    read.fit([inputs[i] for i in train])
    return read.transform(inputs).toarray()


@pytest.mark.parametrize("own_split", [False, True])
def test_it_is_learned_from_the_texts_to_learn_from(own_split):
    raw = LabelledTexts.toy()
    held_out = np.array([0, 3, 17]) if own_split else None
    raw = LabelledTexts(raw.documents, raw.labels, raw.class_names, held_out)
    reader = raw.prepare(Kept(), SETTINGS)
    found = reader.labelled(raw)
    train, _ = split_labelled(40, held_out)
    assert found.raw_name == "tf-idf of tokens"
    assert found.raw.dtype == np.float32
    expected = theirs(found.inputs, train, reader.tokenizer.vocab_size)
    np.testing.assert_allclose(found.raw, expected, rtol=1e-5)
    assert not np.allclose(found.raw, theirs(found.inputs, range(40), len(expected[0])), rtol=1e-3)


def test_pairs_have_that_of_both_side_by_side():
    raw = LabelledTextPairs.toy()
    reader = raw.prepare(Kept(), SETTINGS)
    found = reader.labelled(raw)
    train, _ = split_labelled(len(found))
    size = reader.tokenizer.vocab_size
    sides = [theirs([pair[side] for pair in found.inputs], train, size) for side in (0, 1)]
    np.testing.assert_allclose(found.raw, np.hstack(sides), rtol=1e-5)


def test_a_single_text_is_read_without_others():
    raw = LabelledTexts.toy()
    reader = raw.prepare(Kept(), SETTINGS)
    alone = LabelledTexts(raw.documents[:1], raw.labels[:1], raw.class_names)
    assert np.linalg.norm(reader.labelled(alone).raw) == pytest.approx(1)

"""Two texts in one row: segments, what is cut, and that one text is read as before."""

import numpy as np
import pytest

from minissl.autograd import no_grad
from minissl.data import Kept
from minissl.data.pairs import LabelledTextPairs, Pair, TextPairs
from minissl.pretrain import load_method
from tests.pretrain.toy import toy_data, toy_settings


def method_of(name, **changes):
    settings = toy_settings(name, **changes)
    data = toy_data(name, settings).prepare(Kept(), settings)
    return load_method(name).build(settings, data, seed=0), data


@pytest.fixture(scope="module")
def bert():
    return method_of("bert")


def test_a_second_text_has_segments_of_its_own(bert):
    method, data = bert
    cls, sep = method.cls, method.sep
    first, second = data.tokens("the cat sat"), data.tokens("a dog")
    pair = data.pair_tokens("the cat sat", "a dog")
    assert pair == [*first, *second[1:]]
    assert pair[0] == cls
    assert pair.count(sep) == 2
    tokens, lengths, weights = method.collate([pair, first])
    by_hand = np.zeros_like(tokens)
    by_hand[0, len(first) : len(pair)] = 1
    np.testing.assert_array_equal(method.segments_of(tokens, lengths), by_hand)
    with no_grad():
        expected = method.model.encoder(tokens, lengths=lengths, segments=by_hand).numpy()
        zeros = method.model.encoder(tokens, lengths=lengths).numpy()
    states = method.each((tokens, lengths, weights)).numpy()
    np.testing.assert_array_equal(states, expected)
    assert np.abs(states[0] - zeros[0]).max() > 1e-4, "segments are read"
    np.testing.assert_array_equal(states[1, : len(first)], zeros[1, : len(first)])
    layers = [layer.numpy() for layer in method.states((tokens, lengths, weights))]
    np.testing.assert_allclose(layers[-1], expected, atol=1e-6)


def longest_first(first, second, room):
    """As the paper's program, one token at a time: the first text keeps the tie."""
    first, second = list(first), list(second)
    while len(first) + len(second) > room:
        (first if len(first) > len(second) else second).pop()
    return first, second


@pytest.mark.parametrize(
    ("a", "b"), [(40, 3), (3, 40), (30, 30), (31, 30), (2, 2), (0, 50), (50, 0)]
)
def test_of_two_texts_the_longer_one_loses_its_end(bert, a, b):
    method, _ = bert
    room = method.longest - 3
    ordinary = [
        token for token in range(len(method.begins)) if token not in (method.cls, method.sep)
    ]
    first, second = (ordinary[:1] * a, ordinary[1:2] * b)
    example = [method.cls, *first, method.sep, *second, method.sep]
    kept = longest_first(first, second, room)
    assert method.cut(example) == [method.cls, *kept[0], method.sep, *kept[1], method.sep]


def test_one_text_keeps_its_last_token(bert):
    method, _ = bert
    long = [method.cls, *[7] * 200, method.sep]
    assert method.cut(long) == [method.cls, *[7] * (method.longest - 2), method.sep]
    assert method.cut(long[:5]) == long[:5]


@pytest.mark.parametrize("name", ["roberta", "spanbert"])
def test_without_segments_the_same_tokens_are_read(name):
    method, data = method_of(name)
    batch = method.collate([data.pair_tokens("the cat sat", "a dog")])
    assert method.segments_of(batch[0], batch[1]) is None
    assert np.isfinite(method.each(batch).numpy()).all()


def test_a_gpt_reads_a_line_break_between_the_texts():
    _, data = method_of("gpt")
    assert data.pair_tokens("the cat", "a dog") == data.tokens("the cat\na dog")


@pytest.mark.parametrize("name", ["bert", "gpt"])
def test_pairs_are_labelled_examples_of_a_run(name):
    _, data = method_of(name)
    raw = LabelledTextPairs(
        [Pair("one", "the cat", "a dog"), Pair("two", "my bird", "sang")], np.array([0, 1]),
        ("no", "yes"),
    )  # fmt: skip
    labelled = raw.labelled_by(data)
    assert labelled.inputs == [
        data.pair_tokens("the cat", "a dog"),
        data.pair_tokens("my bird", "sang"),
    ]
    assert labelled.names == ("one", "two")
    assert labelled.kind == "class"
    assert labelled.raw.shape == (2, 2 * data.tokenizer.vocab_size)
    alone = TextPairs(raw.pairs).examples_by(data)
    assert alone.inputs == labelled.inputs


def test_a_run_that_cuts_no_tokens_is_refused():
    _, data = method_of("skipgram")
    with pytest.raises(ValueError, match="pairs of texts are read by a run of texts that cuts"):
        TextPairs.toy().examples_by(data)

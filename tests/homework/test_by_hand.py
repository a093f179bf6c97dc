"""Homework 7 for one row does what the library does for many: the answer key against it."""

import numpy as np
import pytest

from minissl.autograd import fused
from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.homework.assignments import hw7_by_hand as by_hand
from minissl.losses.language_modeling import next_token_loss
from minissl.models.encoder import EncoderConfig, MaskedEncoder
from minissl.pretrain.masked.bert import shortened
from minissl.text import masking

GENERATOR = np.random.default_rng


def model(**heads):
    config = EncoderConfig(vocab_size=11, context_length=6, width=8, num_heads=2, num_layers=1)
    return MaskedEncoder(config, generator=GENERATOR(0), **heads)


@pytest.mark.parametrize("allowed", [1, 3, 10, 30, 50])
def test_the_budget_of_pieces(allowed):
    may = np.arange(allowed + 2) % (allowed + 1) > 0
    number = int(masking.budget(may[None])[0])
    assert by_hand.choose_pieces(may, GENERATOR(1)).sum() == number
    assert masking.choose_pieces(may[None], GENERATOR(1)).sum() == number


def test_boundaries():
    rows = GENERATOR(2).random((20, 12)) < 0.4
    for row in rows:
        for own, other in zip(by_hand.boundaries(row), masking.boundaries(row[None])):
            np.testing.assert_array_equal(own, other)


def test_lengths_of_spans():
    probabilities = by_hand.length_probabilities()
    drawn = np.bincount(masking.span_lengths(20_000, GENERATOR(3)), minlength=11)[1:] / 20_000
    np.testing.assert_allclose(drawn, probabilities, atol=0.015)


def test_words_and_spans_are_hidden_as_often():
    """How often each word is hidden, over many rows at once and over as many one by one."""
    sizes, count = np.array([1, 2, 1, 3, 1, 1]), 3000
    begins = np.zeros(sizes.sum(), bool)
    begins[np.cumsum(sizes) - sizes] = True
    rows = np.broadcast_to(begins, (count, len(begins)))
    for name in ("choose_words", "choose_spans"):
        many = getattr(masking, name)(np.ones_like(rows), rows, GENERATOR(4), 3 / 9)
        generator = GENERATOR(5)
        one = [getattr(by_hand, name)(sizes, 3, generator) for _ in range(count)]
        np.testing.assert_allclose(many[:, begins].mean(0), np.mean(one, axis=0), atol=0.045)


def test_replaced_tokens():
    tokens, hidden = np.full(20_000, 7), GENERATOR(6).random(20_000) < 0.5
    how = {"mask": 3, "vocab_size": 20}
    one = by_hand.replace(tokens, hidden, GENERATOR(7), **how)
    many = masking.replace(tokens[None], hidden[None], GENERATOR(8), **how)[0]
    shares = [np.bincount(row, minlength=20) / hidden.sum() for row in (one, many)]
    np.testing.assert_allclose(*shares, atol=0.02)


def test_sizes_of_two_texts():
    for a, b, room in ((3, 9, 8), (9, 3, 8), (6, 6, 8), (2, 2, 8)):
        tokens, segments = by_hand.pack([5] * a, [6] * b, cls=1, sep=2, room=room + 3)
        parts = shortened(np.full(a, 5), np.full(b, 6), room, GENERATOR(9))
        assert [(tokens == 5).sum(), (tokens == 6).sum()] == [len(part) for part in parts]
        assert segments.sum() == len(parts[1]) + 1


def test_padding():
    arrays = [GENERATOR(i).normal(size=(3, 5, 4)) for i in range(3)]
    lengths = np.array([5, 2, 1])
    real = np.arange(5) < lengths[:, None]
    heads = [Tensor(x[:, None]) for x in arrays]
    other = fused.attention(*heads, key_lengths=lengths).numpy()[:, 0]
    np.testing.assert_allclose(by_hand.attend(*arrays, lengths)[real], other[real], atol=1e-12)


def test_the_masked_loss():
    states = GENERATOR(10).normal(size=(6, 8)).astype(np.float32)
    originals, hidden = np.arange(6), np.array([0, 1, 1, 0, 0, 1], bool)
    encoder = model()
    head, vectors = encoder.words, encoder.encoder.tokens.weight
    transformed = head.norm(head.activation(head.transform(Tensor(states)))).numpy()
    logits = encoder.word_logits(Tensor(states[hidden]))
    right = next_token_loss(logits, originals[hidden]).item()
    own = by_hand.masked_loss(transformed, vectors.numpy(), head.bias.numpy(), originals, hidden)
    assert own == pytest.approx(right, rel=1e-5)


def test_the_classifier():
    encoder, labels = model(next_sentence=True), np.array([0, 1, 1])
    states = GENERATOR(11).normal(size=(3, 6, 8)).astype(np.float32)
    given = Tensor(states, requires_grad=True)
    log_p = ops.log_softmax(encoder.follows_logits(given), axis=1)
    loss = -ops.mean(log_p[np.arange(3), labels])
    loss.backward()
    weights = (encoder.pooler.weight, encoder.pooler.bias, encoder.follows.weight)
    own, gradients = by_hand.classify(states, *(w.numpy() for w in weights), labels)
    assert own == pytest.approx(loss.item(), rel=1e-5)
    for gradient, tensor in zip(gradients, (given, *weights)):
        np.testing.assert_allclose(gradient, tensor.grad, atol=1e-6)

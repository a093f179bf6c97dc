"""BERT's network: against its formulas in float64, a row at a time, and torch's gradients."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from minissl.autograd import no_grad
from minissl.autograd.gradcheck import gradcheck
from minissl.models.encoder import BoundaryHead, Encoder, EncoderConfig, MaskedEncoder

VOCAB, CONTEXT, WIDTH, HEADS, LAYERS, HIDDEN = 13, 7, 8, 2, 2, 12
SIZES = {"vocab_size": VOCAB, "context_length": CONTEXT, "num_layers": LAYERS, "width": WIDTH}
SIZES |= {"num_heads": HEADS, "hidden_width": HIDDEN, "norm_eps": 1e-3}
LENGTHS = [7, 1, 4]
DRAW = np.random.default_rng(0)
TOKENS = DRAW.integers(VOCAB, size=(3, CONTEXT))
SEGMENTS = (np.arange(CONTEXT) > 2) * np.ones((3, 1), int)
ACTIVATIONS = {"gelu_exact": F.gelu, "relu": F.relu}


def build(kind=MaskedEncoder, config=None, **parts):
    """With random weights: neither norms nor biases begin at a value that hides a mistake."""
    module = kind(config or EncoderConfig(**SIZES), generator=np.random.default_rng(0), **parts)
    draw = np.random.default_rng(1)
    for parameter in module.parameters():
        parameter.array = 0.5 * draw.standard_normal(parameter.shape)
    return module


def leaves(module):
    return {n: torch.from_numpy(p.array).requires_grad_() for n, p in module.named_parameters()}


# ---- Devlin et al. (2019) in torch, one row without padding --------------------------------------


def linear(w, name, x):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def norm(w, name, x):
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + SIZES["norm_eps"])
    return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]


def attention(w, name, x):
    """A head at a time; the output, and who looks at whom (heads, time, time)."""
    query, key, value = (linear(w, f"{name}.{part}", x) for part in ("query", "key", "value"))
    heads, patterns, size = [], [], WIDTH // HEADS
    for head in range(HEADS):
        own = slice(head * size, (head + 1) * size)
        scores = query[:, own] @ key[:, own].T / math.sqrt(size)
        patterns.append(torch.softmax(scores, -1))
        heads.append(patterns[-1] @ value[:, own])
    return linear(w, f"{name}.output", torch.cat(heads, -1)), torch.stack(patterns)


def one_row(w, tokens, segments, activation=F.gelu):
    """What is embedded and each layer's states, and each layer's patterns."""
    x = w["encoder.tokens.weight"][tokens] + w["encoder.positions.weight"][: len(tokens)]
    if segments is not None:
        x = x + w["encoder.segments.weight"][segments]
    states, patterns = [norm(w, "encoder.norm", x)], []
    for i in range(LAYERS):
        block, x = f"encoder.transformer.blocks.{i}", states[-1]
        looked, pattern = attention(w, f"{block}.attention", x)
        x = norm(w, f"{block}.attention_norm", x + looked)
        hidden = activation(linear(w, f"{block}.mlp.hidden", x))
        states.append(norm(w, f"{block}.mlp_norm", x + linear(w, f"{block}.mlp.output", hidden)))
        patterns.append(pattern)
    return states, patterns


def word_logits(w, states, vectors, activation=F.gelu):
    x = norm(w, "words.norm", activation(linear(w, "words.transform", states)))
    return x @ vectors.T + w["words.bias"]


def rows(of=TOKENS):
    return [torch.from_numpy(row[:n]) for row, n in zip(of, LENGTHS)]


# ---- the network ---------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("segments", ["given", "0", "none"])
def test_padded_rows_are_rows_alone(activation, segments):
    """Every layer, every token that is none of the padding; whatever the padding is."""
    config = EncoderConfig(**SIZES, activation=activation, segments=0 if segments == "none" else 2)
    model = build(config=config)
    told = SEGMENTS if segments == "given" else None
    w = leaves(model)
    about = {"lengths": LENGTHS, "segments": told}
    got = [state.array for state in model.encoder.states(TOKENS, **about)]
    np.testing.assert_array_equal(got[-1], model(TOKENS, **about).array)
    patterns = model.encoder.attention_weights(TOKENS, **about)
    assert len(got) == LAYERS + 1
    for i, (row, length) in enumerate(zip(rows(), LENGTHS)):
        own = {"given": rows(SEGMENTS)[i], "0": torch.zeros(length, dtype=int), "none": None}
        states, looked = one_row(w, row, own[segments], ACTIVATIONS[activation])
        for layer, state in enumerate(states):
            np.testing.assert_allclose(got[layer][i, :length], state.detach(), rtol=0, atol=1e-11)
        for layer, pattern in enumerate(looked):
            seen = patterns[layer, i, :, :length]
            np.testing.assert_allclose(seen[..., :length], pattern.detach(), rtol=0, atol=1e-12)
            assert not seen[..., length:].any()
    other = np.where(np.arange(CONTEXT) < np.array(LENGTHS)[:, None], TOKENS, 0)
    inside = other == TOKENS
    again = model(other, **about).array
    np.testing.assert_array_equal(again[inside], got[-1][inside])


def test_the_gradients_are_torchs_and_the_token_vectors_gather_from_both_uses():
    """Of masked words, and of the pair: all heads at once, padding out of it."""
    model = build(next_sentence=True)
    states = model(TOKENS, lengths=LENGTHS, segments=SEGMENTS)
    words, follows = model.word_logits(states), model.follows_logits(states)
    inside = np.arange(CONTEXT) < np.array(LENGTHS)[:, None]
    draw = np.random.default_rng(2)
    slopes = draw.standard_normal(words.shape) * inside[..., None]
    pair_slopes = draw.standard_normal(follows.shape)
    ((words * slopes).sum() + (follows * pair_slopes).sum()).backward()

    w = leaves(model)
    read, written = w["encoder.tokens.weight"], w["encoder.tokens.weight"].detach().clone()
    written.requires_grad_()
    total = 0
    for i, (row, segment) in enumerate(zip(rows(), rows(SEGMENTS))):
        last = one_row(w, row, segment)[0][-1]
        logits = word_logits(w, last, written)
        np.testing.assert_allclose(words.array[i, : len(row)], logits.detach(), atol=1e-10)
        pooled = torch.tanh(linear(w, "pooler", last[0]))
        np.testing.assert_allclose(model.pooled(states).array[i], pooled.detach(), atol=1e-12)
        pair = linear(w, "follows", pooled)
        np.testing.assert_allclose(follows.array[i], pair.detach(), atol=1e-11)
        total = total + (logits * torch.from_numpy(slopes[i, : len(row)])).sum()
        total = total + (pair * torch.from_numpy(pair_slopes[i])).sum()
    total.backward()
    assert read.grad.abs().max() > 0.1
    assert written.grad.abs().max() > 0.1
    read.grad += written.grad
    for name, parameter in model.named_parameters():
        expected = w[name].grad.numpy()
        error = np.abs(parameter.grad - expected).max()
        assert error < 1e-10 * max(1, np.abs(expected).max()), name


def test_segments_of_zeros_are_none():
    """So a method without pairs may say so to any encoder."""
    encoder = build(Encoder, EncoderConfig(**SIZES, segments=0))
    got = encoder(TOKENS, segments=np.zeros_like(TOKENS)).array
    np.testing.assert_array_equal(got, encoder(TOKENS).array)


def test_the_token_vectors_are_one_parameter():
    model = build()
    names = [name for name, p in model.named_parameters() if p.shape == (VOCAB, WIDTH)]
    assert names == ["encoder.tokens.weight"]


def test_the_boundary_head_is_its_formula():
    """Joshi et al. (2020), section 3.2, place by place in NumPy; and through all of ``states``."""
    model = build(boundary=(4, 3))
    w = {name: p.array for name, p in model.named_parameters()}
    states = model(TOKENS, lengths=LENGTHS)
    flat = states.array.reshape(-1, WIDTH)
    left, right, place = np.array([0, 0, 14, 14]), np.array([3, 3, 18, 20]), np.array([0, 1, 3, 3])
    got = model.boundary_logits(states, left, right, place).array

    def half(part, x):
        x = w[f"boundary.{part}.weight"] @ x + w[f"boundary.{part}.bias"]
        x = np.array([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x])
        x = (x - x.mean()) / np.sqrt(x.var() + SIZES["norm_eps"])
        return x * w[f"boundary.{part}_norm.weight"] + w[f"boundary.{part}_norm.bias"]

    for i in range(4):
        x = np.concatenate([flat[left[i]], flat[right[i]], w["boundary.places.weight"][place[i]]])
        expected = w["encoder.tokens.weight"] @ half("second", half("first", x))
        np.testing.assert_allclose(got[i], expected + w["boundary.bias"], rtol=0, atol=1e-11)


def test_the_gradients_of_the_boundary_head_are_those_of_differences():
    config = EncoderConfig(**SIZES)
    head = build(BoundaryHead, config, longest=4, width=3)
    draw = np.random.default_rng(3)
    left, right = draw.standard_normal((2, 5, WIDTH))
    vectors = draw.standard_normal((VOCAB, WIDTH))
    place = np.array([0, 1, 3, 3, 2])

    def logits(left, right, vectors, places):
        head.places.weight = places
        return head(left, right, place, vectors)

    gradcheck(logits, [left, right, vectors, head.places.weight.array])


def test_dropout_comes_behind_the_norm_of_what_is_embedded():
    """What is kept is the value without dropout, times 1 / (1 − p)."""
    config = EncoderConfig(**SIZES, dropout=0.5)
    encoder = build(Encoder, config)
    dropped = encoder.embed(TOKENS, generator=np.random.default_rng(4)).array
    with no_grad():
        whole = encoder.eval().embed(TOKENS).array
    kept = dropped != 0
    np.testing.assert_allclose(dropped[kept], whole[kept] * 2, rtol=1e-12)
    assert 0.3 < kept.mean() < 0.7


@pytest.mark.parametrize(
    "changed", [{}, {"segments": 0}, {"hidden_width": None}, {"norm_first": True}]
)
def test_parameters_are_counted_without_building(changed):
    config = EncoderConfig(**SIZES | changed)
    model = Encoder(config, generator=np.random.default_rng(0))
    assert config.num_parameters() == sum(p.array.size for p in model.parameters())


def test_bert_base_has_109_million():
    """As published: 108,891,648 without the pooler (590,592), 109.5 million with it."""
    base = {"vocab_size": 30522, "context_length": 512, "num_layers": 12, "width": 768}
    assert EncoderConfig(**base, num_heads=12).num_parameters() == 109_482_240 - 590_592


def test_what_writes_into_x_begins_smaller():
    config = EncoderConfig(**SIZES | {"width": 64})
    model = MaskedEncoder(config, next_sentence=True, generator=np.random.default_rng(0))
    block = model.encoder.transformer.blocks[1]
    for written in (block.attention.output, block.mlp.output):
        np.testing.assert_allclose(np.std(written.weight.array), 0.02 / 2, rtol=0.06)
    for read in (block.attention.query, block.mlp.hidden, model.words.transform, model.pooler):
        np.testing.assert_allclose(np.std(read.weight.array), 0.02, rtol=0.06)


# ---- what is refused -----------------------------------------------------------------------------


def test_heads_that_are_not_there_are_named():
    model = build()
    model.words = None
    states = model(TOKENS)
    for call, words in [
        (model.word_logits, "no output for masked words"),
        (model.pooled, "no pooler"),
        (model.follows_logits, "whether a text follows"),
        (lambda x: model.boundary_logits(x, [0], [2], [0]), "boundaries of spans"),
    ]:
        with pytest.raises(ValueError, match=words):
            call(states)


@pytest.mark.parametrize(
    ("settings", "about", "error", "words"),
    [
        ({}, {"tokens": TOKENS[0]}, ValueError, r"expected tokens \(batch, time\), got shape \(7,"),
        ({}, {"tokens": np.zeros((1, 8), int)}, ValueError, "there are only 7"),
        ({}, {"tokens": TOKENS + VOCAB}, IndexError, "expected 0 to 12"),
        ({}, {"tokens": TOKENS * 1.0}, TypeError, "integer indices"),
        ({}, {"segments": SEGMENTS + 1}, IndexError, "expected 0 to 1"),
        ({}, {"segments": SEGMENTS[0]}, ValueError, r"shape \(3, 7\), got \(7,\)"),
        ({}, {"segments": SEGMENTS[:1]}, ValueError, r"shape \(3, 7\), got \(1, 7\)"),
        ({"segments": 0}, {"segments": SEGMENTS}, ValueError, "config.segments is 0"),
        ({}, {"lengths": [7, 1]}, ValueError, "must be 3 integers"),
    ],
)
def test_what_does_not_fit_is_refused(settings, about, error, words):
    encoder = build(Encoder, EncoderConfig(**SIZES | settings))
    with pytest.raises(error, match=words):
        encoder(**{"tokens": TOKENS} | about)


def test_a_boundary_outside_of_the_rows_is_refused():
    model = build(boundary=(4, 3))
    states = model(TOKENS)
    for left, right, place in [([-1], [2], [0]), ([19], [21], [0]), ([0], [2], [4])]:
        with pytest.raises(IndexError, match="out of range"):
            model.boundary_logits(states, left, right, place)

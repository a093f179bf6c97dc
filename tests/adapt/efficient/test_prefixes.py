"""Prefixes: attention over concatenated keys, caches, the paper's small network, words."""

import numpy as np
import pytest
import torch

from minissl.adapt.efficient.prefixes import (
    PrefixedAttention,
    Prefixes,
    Words,
    add_prefixes,
    begin_as_words,
)
from minissl.adapt.method import Task
from minissl.autograd import no_grad
from minissl.autograd.gradcheck import gradcheck
from minissl.models import decode
from minissl.models.generate import generate
from minissl.models.gpt import GPT, GPTConfig
from minissl.nn.attention import MultiHeadAttention
from minissl.nn.transformer import TransformerConfig
from tests.adapt.toy import adapting, toy_labelled
from tests.pretrain.toy import toy_method

WIDTH, HEADS, PREFIX = 8, 2, 3
SIZES = GPTConfig(vocab_size=30, context_length=9, num_layers=2, width=WIDTH, num_heads=HEADS)


def attention(seed=0, words=None, prefix=PREFIX):
    generator = np.random.default_rng(seed)
    inner = MultiHeadAttention(WIDTH, HEADS, generator=generator)
    one = PrefixedAttention(inner, prefix, words=words, generator=generator)
    return one.astype(np.float64)


def heads_of(rows):
    """(batch, time, width) -> (batch, heads, time, width / heads)."""
    batch, time, _ = rows.shape
    return rows.reshape(batch, time, HEADS, WIDTH // HEADS).permute(0, 2, 1, 3)


def by_hand(one, x, *, causal=False, lengths=None, key=None, value=None):
    """torch's attention over the keys of the prefix and of the text, with a mask by hand."""
    linear = {
        name: (torch.tensor(p.weight.numpy()), torch.tensor(p.bias.numpy()))
        for name, p in vars(one.inner).items() if name in ("query", "key", "value", "output")
    }  # fmt: skip
    rows = torch.tensor(x)
    query, keys, values = (
        torch.nn.functional.linear(rows, *linear[name]) for name in ("query", "key", "value")
    )
    batch, time, _ = x.shape
    before = [torch.tensor(p.numpy() if hasattr(p, "numpy") else p) for p in (key, value)]
    keys, values = (
        torch.cat([p.expand(batch, -1, -1), part], dim=1) for p, part in zip(before, (keys, values))
    )
    prefix = before[0].shape[0]
    allowed = np.ones((batch, time, prefix + time), bool)
    if causal:
        allowed[:, :, prefix:] &= np.tril(np.ones((time, time), bool))
    if lengths is not None:
        allowed[:, :, prefix:] &= (np.arange(time) < np.array(lengths)[:, None])[:, None]
    mixed = torch.nn.functional.scaled_dot_product_attention(
        *map(heads_of, (query, keys, values)), attn_mask=torch.tensor(allowed[:, None])
    )
    mixed = mixed.permute(0, 2, 1, 3).reshape(batch, time, WIDTH)
    return torch.nn.functional.linear(mixed, *linear["output"]).numpy()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("time", [1, 2, 5])
@pytest.mark.parametrize("lengths", [None, "ragged"])
def test_it_is_attention_over_the_concatenated_keys(causal, time, lengths):
    one = attention()
    x = np.random.default_rng(1).standard_normal((3, time, WIDTH))
    given = None if lengths is None else np.array([time, 1, max(1, time - 1)])
    found = one(x, causal=causal, key_lengths=given).numpy()
    expected = by_hand(one, x, causal=causal, lengths=given, key=one.key, value=one.value)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    if given is not None:  # a list of numbers as well, as attention takes it
        again = one(x, causal=causal, key_lengths=given.tolist()).numpy()
        np.testing.assert_array_equal(again, found)


def test_the_gradient_reaches_the_prefix_alone():
    one = attention()
    x = np.random.default_rng(1).standard_normal((2, 4, WIDTH))

    def output(key, value):
        one.key, one.value = key, value
        return one(x, causal=True, key_lengths=np.array([4, 2]))

    key, value = one.key, one.value
    gradcheck(output, (key.numpy(), value.numpy()))
    one.key, one.value = key, value
    (one(x) ** 2).sum().backward()
    moved = {name for name, p in one.named_parameters() if p.grad is not None}
    assert moved == {"key", "value"}
    assert {name for name, p in one.named_parameters() if p.requires_grad} == {"key", "value"}


@pytest.mark.parametrize("causal", [False, True])
def test_its_weights_are_those_that_it_takes(causal):
    one = attention()
    x = np.random.default_rng(1).standard_normal((2, 4, WIDTH))
    given = np.array([4, 2])
    weights = one.weights(x, causal=causal, key_lengths=given)
    assert weights.shape == (2, HEADS, 4, PREFIX + 4)
    np.testing.assert_allclose(weights.sum(axis=-1), 1)
    assert not weights[1, :, :, PREFIX + 2 :].any()
    assert (weights[:, :, :, :PREFIX] > 0).all(), "padding never hides the prefix"
    values = torch.cat([torch.tensor(one.value.numpy()).expand(2, -1, -1), torch.tensor(
        one.inner.value(x).numpy())], dim=1)  # fmt: skip
    mixed = (torch.tensor(weights) @ heads_of(values)).permute(0, 2, 1, 3).reshape(2, 4, WIDTH)
    expected = one.inner.output(mixed.numpy()).numpy()
    np.testing.assert_allclose(
        one(x, causal=causal, key_lengths=given).numpy(), expected, rtol=1e-10
    )


def prefixed_gpt(**options):
    model = GPT(SIZES, generator=np.random.default_rng(0))
    add_prefixes(model, PREFIX, generator=np.random.default_rng(1), **options)
    return model.astype(np.float64).eval()


@pytest.mark.parametrize("options", [{}, {"middle": 5}])
def test_token_by_token_is_all_at_once(options):
    model = prefixed_gpt(**options)
    tokens = np.random.default_rng(2).integers(30, size=(2, 9))
    with no_grad():
        at_once = model.hidden(tokens).numpy()
        caches = model.new_caches()
        pieces = [
            model.hidden(tokens[:, start:stop], caches=caches).numpy()
            for start, stop in ((0, 4), (4, 5), (5, 6), (6, 9))
        ]
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), at_once, rtol=1e-9, atol=1e-12)
    assert caches[0].length == 9
    assert not decode.applies_to(model)
    written = generate(model, [1, 2], 6, temperature=0)
    assert generate(model, [1, 2], 6, temperature=0, cache=False) == written
    shape = (2, 2, HEADS, 9, PREFIX + 9)
    assert model.attention_weights(tokens).shape == shape  # (layers, batch, ...)


def test_reparametrized_it_is_one_network_of_the_paper():
    """P = (tanh(E W + b)) W' + b' for all layers at once, cut into keys and values of each."""
    model = prefixed_gpt(middle=5)
    added = [m for _, m in model.named_modules() if isinstance(m, PrefixedAttention)]
    assert len({id(one.words) for one in added}) == 1
    words = added[0].words
    hidden = np.tanh(
        words.vectors.numpy() @ words.hidden.weight.numpy().T + words.hidden.bias.numpy()
    )
    big = np.concatenate([one.both.weight.numpy() for one in added])
    bias = np.concatenate([one.both.bias.numpy() for one in added])
    product = (hidden @ big.T + bias).reshape(PREFIX, 2, 2, WIDTH)  # layers, key and value
    x = np.random.default_rng(3).standard_normal((2, 4, WIDTH))
    for number, one in enumerate(added):
        key, value = one.keys_and_values()
        assert key.shape == value.shape == (1, HEADS, PREFIX, WIDTH // HEADS)
        expected = by_hand(one, x, key=product[:, number, 0], value=product[:, number, 1])
        np.testing.assert_allclose(one(x).numpy(), expected, rtol=1e-9)
    names = {n for n, p in model.named_parameters() if p.requires_grad}
    attend = "transformer.blocks.{}.attention."
    assert names == {
        *(attend.format(0) + f"words.{n}" for n in ("vectors", "hidden.weight", "hidden.bias")),
        *(attend.format(i) + f"both.{n}" for i in (0, 1) for n in ("weight", "bias")),
    }
    (model(np.array([[1, 2, 3]])) ** 2).sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())


def test_words_alone():
    words = Words(3, 4, 5, generator=np.random.default_rng(0))
    assert words().shape == (3, 5)
    assert np.abs(words().numpy()).max() < 1


@pytest.mark.parametrize("name", ["gpt", "bert"])
def test_what_begins_as_words_has_their_keys_and_values(name):
    """Block by block through the plain network, as it was before the prefixes."""
    plain, method = (toy_method(name, num_layers=2) for _ in range(2))
    words = [7, 23, 11]
    added = add_prefixes(method.encoder, 3, generator=np.random.default_rng(0))
    begin_as_words(method, added, words)
    network = plain.encoder
    tokens = np.array([words])
    with no_grad():
        x = network.embed(tokens) if name == "bert" else network._embed(tokens)
        for one, block in zip(added, network.transformer.blocks):
            seen = block.attention_norm(x) if name == "gpt" else x
            for part, found in (("key", one.key), ("value", one.value)):
                expected = getattr(block.attention, part)(seen).numpy()[0]
                np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)
            x = block(x, causal=name == "gpt")
    assert not [one for one in added if "forward" in vars(one)], "nothing is remembered any more"
    before = [one.key.numpy().copy() for one in added]
    method.represent([[1, 2, 3, 4]])
    for one, key in zip(added, before):
        np.testing.assert_array_equal(one.key.numpy(), key)


def built(opened, **changes):
    task = Task.prepare(opened.data, toy_labelled("prefixes", opened), "class")
    return Prefixes.build(adapting("prefixes", **changes), opened, task, seed=0)


def test_settings_at_their_bounds(bases):
    opened = bases["gpt"]
    texts = [[5, 6, 7], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]]
    for changes in ({"prefix": 1}, {"prefix": 12}, {"prefix": 40, "begin": "random"}):
        method = built(opened, **changes)
        assert np.isfinite(method.represent(texts)).all()  # the whole context is still the text's
        assert method.base.collate(texts)[0].shape == (2, 12)
    with pytest.raises(ValueError, match=r"prefix is 13, .* reads 12 words at once.*begin=random"):
        built(opened, prefix=13)
    wide = built(opened, prefix=40, reparametrize=True)
    saved = {n for n in wide.saved().state_dict() if n.startswith("encoder.")}
    assert {n.rpartition("attention.")[2] for n in saved} == {
        "words.vectors", "words.hidden.weight", "words.hidden.bias", "both.weight", "both.bias",
    }  # fmt: skip


def test_an_attention_to_a_memory_gets_none():
    from minissl.nn.transformer import Transformer

    config = TransformerConfig(num_layers=1, width=8, num_heads=2, cross_attention=True)
    model = Transformer(config, generator=np.random.default_rng(0))
    assert len(add_prefixes(model, 2, generator=np.random.default_rng(0))) == 1
    assert isinstance(model.blocks[0].attention, PrefixedAttention)
    assert type(model.blocks[0].cross_attention) is MultiHeadAttention
    with pytest.raises(ValueError, match="no attention that a prefix could stand before: take"):
        add_prefixes(toy_method("lstm").encoder, 2, generator=np.random.default_rng(0))

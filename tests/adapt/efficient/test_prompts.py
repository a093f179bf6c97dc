"""Prompts: pseudo words anywhere, texts that are read behind them, what they begin as."""

import numpy as np
import pytest
import torch

from minissl.adapt.efficient.prompts import (
    ROOM,
    Prompted,
    Prompts,
    PromptSettings,
    PseudoWords,
    first_vectors,
)
from minissl.adapt.method import Task
from minissl.adapt.mixing import put_before
from minissl.adapt.token_table import as_tokens, random_tokens, token_table
from minissl.autograd import no_grad
from minissl.autograd.tensor import Tensor
from minissl.models import decode
from minissl.models.generate import generate
from minissl.nn.layers import Embedding
from tests.adapt.toy import adapting, toy_labelled
from tests.pretrain.toy import toy_method

TEXTS = [[25, 26, 27], [21, 22, 23, 24, 25, 26, 27, 28], [23]]
LONG = [*range(20, 40)]
OF_TEXTS = ("gpt", "bert", "roberta", "lstm", "elmo")


def built(opened, **changes):
    task = Task.prepare(opened.data, toy_labelled("prompts", opened), "class")
    return Prompts.build(adapting("prompts", **changes), opened, task, seed=0)


def example(name, tokens):
    """As the run reads a text: BERT between [CLS] and [SEP] (1 and 2 here do for them)."""
    if name == "elmo":
        return [token % 15 + 1 for token in tokens]
    return [1, *tokens, 2] if name in ("bert", "roberta") else tokens


def test_pseudo_words_stand_anywhere():
    """torch's table with both kinds of rows, and the gradient of the second kind alone."""
    generator = np.random.default_rng(0)
    inner = Embedding(7, 4, generator=generator).astype(np.float64).freeze()
    table = PseudoWords(inner, generator.standard_normal((3, 4)))
    both = torch.tensor(np.concatenate([inner.weight.numpy(), table.prompts.numpy()]))
    both.requires_grad_(True)
    for ids in ([[7, 0, 9], [3, 8, 8]], [[0, 6]], [[9, 9]], [[8]], [5, 7]):
        ids = np.array(ids)
        cotangent = generator.standard_normal((*ids.shape, 4))
        found, expected = table(ids), torch.nn.functional.embedding(torch.tensor(ids), both)
        np.testing.assert_array_equal(found.numpy(), expected.detach().numpy())
        if (ids >= 7).any():
            both.grad = table.prompts.grad = None
            found.backward(cotangent)
            expected.backward(torch.tensor(cotangent))
            np.testing.assert_allclose(table.prompts.grad, both.grad[7:])
        else:
            assert not found.requires_grad
        assert inner.weight.grad is None
    assert table.weight is inner.weight
    for wrong in (10, -1):
        with pytest.raises(IndexError):
            table(np.array([[wrong]]))
    with pytest.raises(TypeError, match="integer"):
        table(np.array([[8.0]]))


def test_on_an_array_library_it_stays_there():
    table = PseudoWords(Embedding(7, 4, generator=np.random.default_rng(0)), np.ones((3, 4)))
    ids = np.array([[7, 0, 9]])
    expected = table(ids).numpy()
    table.map_arrays(torch.from_numpy)
    np.testing.assert_array_equal(table(torch.tensor(ids)).array.numpy(), expected)


@pytest.mark.parametrize("name", OF_TEXTS)
def test_a_text_is_read_behind_them_and_is_the_mean_of_its_own(name, bases):
    method, plain = built(bases[name]), bases[name].method
    texts = [example(name, text) for text in TEXTS]
    *rest, weights = method.base.collate(texts)
    *_, alone = plain.collate(texts)
    assert not weights[:, :2].any()
    np.testing.assert_array_equal(weights[:, 2:], alone)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
    begin = int(name == "elmo")  # a boundary stands before everything
    assert (rest[0][:, begin : begin + 2] == method.base.prompt).all()
    with no_grad():
        states = method.base.each(method.base.collate(texts)).numpy()
        found = method.base.encode(method.base.collate(texts)).numpy()
    for row, state, text in zip(found, states, texts):
        own = state[begin + 2 : begin + 2 + len(text)]
        np.testing.assert_allclose(row, own.mean(axis=0), rtol=1e-4, atol=1e-6)
    for row, text in zip(method.represent(texts), texts):
        np.testing.assert_allclose(method.represent([text])[0], row, rtol=1e-4, atol=1e-6)
    each = method.base.represent_each(texts)
    assert [len(rows) for rows in each] == [len(text) for text in texts]


def test_first_and_last_are_those_of_the_text(bases):
    texts = [example("bert", text) for text in TEXTS]
    for vector, place in (("first", 0), ("last", -1)):
        method = built(bases["bert"], vector=vector)
        with no_grad():
            batch = method.base.collate(texts)
            states, found = method.base.each(batch).numpy(), method.base.encode(batch).numpy()
        for row, state, text in zip(found, states, texts):
            np.testing.assert_array_equal(row, state[2 : 2 + len(text)][place])


def test_a_gpt_by_its_parts(bases):
    """Vectors of prompts and tokens, positions from 0, the blocks, the mean of what is text."""
    method = built(bases["gpt"])
    network, plain = method.base.model, bases["gpt"].method.model
    text = TEXTS[0]
    vectors = np.concatenate(
        [network.tokens.prompts.numpy(), plain.tokens.weight.numpy()[text]]
    ) + plain.positions(5).numpy().reshape(5, -1)
    with no_grad():
        states = plain.transformer(Tensor(vectors[None]), causal=True).numpy()[0]
    np.testing.assert_allclose(method.represent([text])[0], states[2:].mean(axis=0), rtol=1e-4)


@pytest.mark.parametrize("name", ["gpt", "bert"])
def test_the_text_is_cut_so_that_both_have_room(name, bases):
    method = built(bases[name], prompts=4)
    assert method.base.longest == 8
    long = example(name, LONG)
    tokens, *_ = method.base.collate([long, example(name, [25])])
    assert tokens.shape == (2, 12)
    assert tokens[0, :4].tolist() == method.base.prompt
    expected = long[:8] if name == "gpt" else [*long[:7], long[-1]]
    assert tokens[0, 4:].tolist() == expected
    with pytest.raises(ValueError, match=rf"prompts is 5, .* 12 tokens .* {ROOM} .*give 4 or"):
        built(bases[name], prompts=5)
    assert type(bases[name].method).longest.fget(bases[name].method) == 12, "the run's is its own"


def test_a_short_context_has_no_room_at_all(tmp_path):
    from minissl.pretrain import load_method
    from minissl.pretrain.run import open_run, pretrain
    from tests.pretrain.toy import toy_data, toy_settings

    settings = toy_settings("gpt", context_length=8)
    pretrain(load_method("gpt"), toy_data("gpt", settings), settings, tmp_path, progress=False)
    with pytest.raises(ValueError, match="no room for prompts, take prefixes or adapters"):
        built(open_run(tmp_path), prompts=1)


def test_an_empty_text_is_what_it_is_without_prompts(bases):
    with pytest.raises(ValueError, match="example 1 of the batch has no tokens"):
        built(bases["gpt"]).base.collate([[1, 2], []])
    elmo = built(bases["elmo"])
    assert not elmo.represent([[]]).any()
    both, alone = elmo.represent([[], [1, 2]]), elmo.represent([[1, 2]])
    np.testing.assert_allclose(both[1], alone[0], rtol=1e-5)


def test_the_output_says_the_old_words(bases):
    method, plain = built(bases["gpt"]), bases["gpt"].method.model
    network = method.base.model.eval()
    hidden = np.random.default_rng(0).standard_normal((2, 3, 16)).astype(np.float32)
    found = network.logits(Tensor(hidden)).numpy()
    np.testing.assert_array_equal(found, plain.logits(Tensor(hidden)).numpy())
    assert not decode.applies_to(network)
    begin = [*method.base.prompt, 5, 6]
    written = generate(network, begin, 5, temperature=0)
    assert generate(network, begin, 5, temperature=0, cache=False) == written
    assert max(written) < 300


@pytest.mark.parametrize("name", OF_TEXTS)
def test_the_gradient_reaches_the_prompts_alone(name, bases):
    method = built(bases[name])
    before = {n: a.tobytes() for n, a in bases[name].method.model.state_dict().items()}
    method.loss(method.batch(np.random.default_rng(0)), np.random.default_rng(1)).backward()
    names = {n for n, p in method.model.named_parameters() if p.grad is not None}
    assert {n.rpartition(".")[2] for n in names if n.startswith("encoder")} == {"prompts"}
    assert {n for n in names if not n.startswith("encoder")} == {"head.weight", "head.bias"}
    others = [n for n, p in method.base.model.named_parameters() if p.grad is not None]
    assert {n.rpartition(".")[2] for n in others} == {"prompts"}, "no head of the run either"
    after = {
        n.replace("tokens.inner", "tokens"): a.tobytes()
        for n, a in method.base.model.state_dict().items() if not n.endswith("prompts")
    }  # fmt: skip
    assert after == before


def test_what_they_begin_as(bases):
    table = bases["gpt"].method.model.tokens.weight.numpy()
    rows = built(bases["gpt"], prompts=4).base.model.tokens.prompts.numpy()
    assert all((table == row).all(axis=1).any() for row in rows)
    assert len({row.tobytes() for row in rows}) > 1
    tokens = bases["gpt"].method.tokenizer.encode("good bad")
    chosen = built(bases["gpt"], prompts=4, words="good bad").base.model.tokens.prompts.numpy()
    np.testing.assert_array_equal(chosen, table[[*tokens, *tokens][:4]])
    settings = PromptSettings(prompts=400, begin="random")
    generator = np.random.default_rng(0)
    drawn = first_vectors(bases["gpt"].method, token_table(bases["gpt"].method.model), settings,
                          generator)  # fmt: skip
    assert drawn.shape == (400, 16)
    assert drawn.std() == pytest.approx(table.std(), rel=0.05)
    bert = bases["bert"].method
    pieces = bert.tokenizer.encode("good bad", allow_special="none")
    chosen = built(bases["bert"], words="good bad").base.model.encoder.tokens.prompts.numpy()
    np.testing.assert_array_equal(chosen, bert.model.encoder.tokens.weight.numpy()[pieces[:2]])


def test_random_words_are_words(bases):
    """No [SEP], behind which BERT would take everything for a second text."""
    method = bases["bert"].method
    drawn = random_tokens(method, 2000, np.random.default_rng(0))
    special = {*method.tokenizer.special_tokens.values()}
    assert special
    assert {*drawn} == {*range(method.tokenizer.vocab_size)} - special
    assert {*random_tokens(bases["elmo"].method, 500, np.random.default_rng(0))} == {*range(17)}


def test_words_that_cannot_be_given(bases):
    with pytest.raises(ValueError, match="words are given, and begin=random uses none"):
        PromptSettings(words="good", begin="random")
    with pytest.raises(ValueError, match="no tokenizer, so no words can be given"):
        built(bases["elmo"], words="good")
    with pytest.raises(ValueError, match="has no token to begin with: give some"):
        as_tokens(bases["gpt"].method, "", 2)
    first = bases["gpt"].method.tokenizer.encode("ab")[:1]
    assert as_tokens(bases["gpt"].method, "ab", 1) == first
    with pytest.raises(ValueError, match="reads no tokens: prompts and prefixes are for"):
        token_table(toy_method("simclr").model)


def test_what_is_put_before_one_object_changes_no_other():
    one, other = toy_method("gpt"), toy_method("gpt")
    new = put_before(one, Prompted, prompt=[300])
    assert isinstance(new, Prompted)
    assert isinstance(new, type(one))
    assert new.model is one.model
    assert (type(one), one.longest, other.longest, new.longest) == (type(other), 12, 12, 11)
    assert type(new).__name__ == type(one).__name__

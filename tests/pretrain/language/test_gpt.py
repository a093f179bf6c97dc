"""GPT: its size and first loss, packing, and the held-out loss, each against a longer way."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minissl.autograd import Tensor
from minissl.data.texts import pack
from minissl.losses.language_modeling import IGNORE
from minissl.models.gpt import GPT, GPTConfig
from minissl.models.held_out import stream_nats
from minissl.pretrain.language.gpt import GPTPretraining

VOCAB, CONTEXT, SEPARATOR = 13, 8, 0


def new_config(**settings):
    sizes = {
        "vocab_size": VOCAB, "context_length": CONTEXT, "num_layers": 2, "width": 8, "num_heads": 2,
    }  # fmt: skip
    return GPTConfig(**{**sizes, **settings})


def new_model(seed=0, **settings):
    """float64, with weights large enough that the predictions differ."""
    model = GPT(new_config(init_std=0.5, **settings), generator=np.random.default_rng(seed))
    return model.astype(np.float64)


def random_stream(length, seed=0):
    return np.random.default_rng(seed).integers(VOCAB, size=length)


def log_probabilities(model, tokens):
    """ln p(next token | tokens), by a forward pass of these tokens alone."""
    logits = model(np.array([tokens])).array[0, -1]
    return logits - np.log(np.exp(logits).sum())


# ---- the model ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "sizes"),
    [  # the GPT family of the syllabus: GPT, GPT-2 small and XL, GPT-3
        (116_534_784, (40_478, 512, 12, 768, 12, False)),
        (124_439_808, (50_257, 1024, 12, 768, 12, True)),
        (1_557_611_200, (50_257, 1024, 48, 1600, 25, True)),
        (174_604_259_328, (50_257, 2048, 96, 12_288, 96, True)),
    ],
)
def test_parameter_counts_of_the_family(parameters, sizes):
    vocab, context, layers, width, heads, norm_first = sizes
    config = GPTConfig(
        vocab_size=vocab,
        context_length=context,
        num_layers=layers,
        width=width,
        num_heads=heads,
        norm_first=norm_first,
    )
    formula = vocab * width + context * width + layers * (12 * width**2 + 13 * width)
    assert config.num_parameters() == formula + 2 * width * norm_first == parameters


@pytest.mark.parametrize("settings", [{}, {"norm_first": False}, {"bias": False}])
def test_num_parameters_is_what_is_built(settings):
    assert new_model(**settings).num_parameters() == new_config(**settings).num_parameters()


@pytest.mark.parametrize("norm_first", [True, False])
def test_states_are_the_vectors_each_layer_and_what_is_predicted_from(norm_first):
    model, tokens = new_model(norm_first=norm_first), random_stream(10).reshape(2, 5)
    states = [state.array for state in model.states(tokens)]
    vectors = model.tokens.weight.array[tokens] + model.positions.weight.array[:5]
    np.testing.assert_allclose(states[0], vectors, atol=1e-12)
    below = model.transformer.blocks[0](Tensor(vectors), causal=True).array
    np.testing.assert_allclose(states[1], below, atol=1e-12)
    np.testing.assert_allclose(states[2], model.hidden(tokens).array, atol=1e-12)
    assert len(states) == 3


def test_the_loss_starts_at_ln_vocab_size():
    config = GPTConfig(vocab_size=1000, context_length=32, num_layers=2, width=64, num_heads=4)
    model = GPT(config, generator=np.random.default_rng(0))
    tokens = np.random.default_rng(1).integers(1000, size=2000)
    method = GPTPretraining(model, tokens, batch_size=16)
    loss = method.loss(method.batch(np.random.default_rng(2)), np.random.default_rng(3))
    assert abs(loss.item() - math.log(1000)) < 0.05
    assert loss.dtype == np.float32


def test_logits_know_the_past_only():
    model, tokens = new_model(), random_stream(CONTEXT)
    before = model(tokens[None]).array
    for cut in range(1, CONTEXT):
        changed = tokens.copy()
        changed[cut:] = (changed[cut:] + 1) % VOCAB
        after = model(changed[None]).array
        np.testing.assert_array_equal(before[:, :cut], after[:, :cut])
        assert (before[:, cut:] != after[:, cut:]).all()


def test_position_matters():
    model = new_model()
    logits = model(np.full((1, 3), 5)).array[0]
    assert (logits[0] != logits[1]).all()


def test_wrong_tokens_are_refused():
    model = new_model()
    with pytest.raises(ValueError, match=r"tokens \(batch, time\), got shape \(3,\)"):
        model(np.array([1, 2, 3]))
    with pytest.raises(ValueError, match="there are only 8"):
        model(np.zeros((1, CONTEXT + 1), int))
    with pytest.raises(IndexError, match="0 to 12"):
        model(np.array([[VOCAB]]))


def test_attention_weights_ignore_dropout_and_keep_the_mode():
    model = new_model(dropout=0.5, attention_dropout=0.5)
    weights = model.attention_weights(random_stream(5)[None])
    assert weights.shape == (2, 1, 2, 5, 5)
    np.testing.assert_allclose(weights.sum(axis=-1), 1)
    assert not weights[..., np.triu(np.ones((5, 5), bool), k=1)].any()  # nobody sees the future
    assert model.training
    assert model.transformer.blocks[0].attention.training


# ---- packing ------------------------------------------------------------------------------------


def test_pack_puts_separators_around_documents():
    np.testing.assert_array_equal(pack([[5, 6], [7]], 0), [0, 5, 6, 0, 7, 0])
    np.testing.assert_array_equal(pack([], 4), [4])
    with pytest.raises(ValueError, match="document 1 holds the separator 7"):
        pack([[5, 6], [7]], 7)


@given(st.lists(st.lists(st.integers(1, VOCAB - 1), max_size=9), max_size=9))
def test_packed_documents_come_apart_again(documents):
    stream = pack(iter(documents), SEPARATOR)
    pieces = np.split(stream, np.flatnonzero(stream == SEPARATOR))
    assert [piece[1:].tolist() for piece in pieces[1:-1]] == documents
    assert stream.dtype == np.int64


@pytest.mark.parametrize("dtype", [np.int64, np.uint16])
def test_targets_are_the_next_tokens_of_the_stream(dtype):
    stream = np.arange(50).astype(dtype)  # every token says where it stands
    method = GPTPretraining(GPT(new_config(vocab_size=50), generator=np.random.default_rng(0)),
                              stream, batch_size=300)  # fmt: skip
    inputs, targets = method.batch(np.random.default_rng(0))
    assert inputs.shape == targets.shape == (300, CONTEXT)
    np.testing.assert_array_equal(targets, inputs + 1)
    np.testing.assert_array_equal(np.diff(inputs, axis=1), 1)
    assert set(inputs[:, 0]) == set(range(50 - CONTEXT))  # every place, the first and the last too
    again, _ = method.batch(np.random.default_rng(0))
    np.testing.assert_array_equal(inputs, again)


def test_no_target_crosses_a_document_when_asked():
    documents = [np.arange(10 * i + 1, 10 * i + 6) for i in range(9)]
    stream = pack(documents, SEPARATOR)
    model = GPT(new_config(vocab_size=100), generator=np.random.default_rng(0))
    method = GPTPretraining(model, stream, batch_size=200, separator=SEPARATOR)
    inputs, targets = method.batch(np.random.default_rng(0))
    crossing = inputs == SEPARATOR
    assert crossing.any()
    assert (targets[crossing] == IGNORE).all()
    assert (targets[~crossing] != IGNORE).all()  # all others are predicted, each document's end too
    ends = (targets == SEPARATOR) & (inputs % 10 == 5)
    np.testing.assert_array_equal(ends, targets == SEPARATOR)
    inside = ~crossing & ~ends
    np.testing.assert_array_equal(inputs[inside] // 10, targets[inside] // 10)
    crossing_allowed = GPTPretraining(model, stream, batch_size=200).batch(np.random.default_rng(0))
    assert (crossing_allowed[1] != IGNORE).all()


def test_unusable_streams_are_refused():
    model = new_model()
    GPTPretraining(model, random_stream(CONTEXT + 1)).batch(np.random.default_rng(0))
    with pytest.raises(ValueError, match="stream: expected 9 or more tokens, got 8: give more"):
        GPTPretraining(model, random_stream(CONTEXT))
    for wrong in (np.zeros(50), np.zeros((50, 2), int)):
        with pytest.raises(ValueError, match="stream: expected integers in one axis, got shape"):
            GPTPretraining(model, wrong)
    with pytest.raises(ValueError, match="held_out: expected 2 or more"):
        GPTPretraining(model, random_stream(50), held_out=np.array([1]))


# ---- the method ---------------------------------------------------------------------------------


def test_the_loss_is_the_mean_over_the_targets_that_count():
    model = new_model()
    method = GPTPretraining(model, random_stream(200), batch_size=3, separator=SEPARATOR)
    batch = method.batch(np.random.default_rng(1))
    nats = [
        -log_probabilities(model, row[: t + 1])[targets[t]]
        for row, targets in zip(*batch)
        for t in range(CONTEXT)
        if targets[t] != IGNORE
    ]
    assert 0 < len(nats) < 3 * CONTEXT
    loss = method.loss(batch, np.random.default_rng(2))
    np.testing.assert_allclose(loss.item(), np.mean(nats), rtol=1e-12)


def test_training_uses_dropout_and_evaluation_does_not():
    model = new_model(dropout=0.3)
    method = GPTPretraining(model, random_stream(99), held_out=random_stream(40, seed=1))
    batch = method.batch(np.random.default_rng(0))
    first, again, other = (method.loss(batch, np.random.default_rng(s)).item() for s in (1, 1, 2))
    assert first == again != other
    assert method.evaluate() == method.evaluate()
    assert model.training


def test_a_few_steps_of_descent_learn_a_cycle():
    model = GPT(new_config(), generator=np.random.default_rng(0))
    method = GPTPretraining(model, np.tile(np.arange(5), 20), batch_size=4)
    losses = []
    for step in range(60):
        generator = np.random.default_rng([0, step])
        loss = method.loss(method.batch(generator), generator)
        model.zero_grad()
        loss.backward()
        for parameter in model.parameters():
            parameter.array = parameter.array - np.float32(0.5) * parameter.grad
        losses.append(loss.item())
    assert abs(losses[0] - math.log(VOCAB)) < 0.05
    assert losses[-1] < 0.3


@pytest.mark.parametrize("length", [2, 5, 9, 10, 12, 13, 17, 30])
@pytest.mark.parametrize("stride", [None, 1, 3, CONTEXT])
def test_stream_nats_counts_every_token_once(length, stride):
    """The same sum, token by token: each from the window that is the first to reach it."""
    model, stream = new_model(), random_stream(length)
    targets = length - 1
    window = min(CONTEXT, targets)
    step = stride or max(window // 2, 1)
    expected, start, done = 0.0, 0, 0
    while done < targets:
        start = min(start, targets - window)
        for i in range(done, start + window):
            expected -= log_probabilities(model, stream[start : i + 1])[stream[i + 1]]
        done, start = start + window, start + step
    for batch_size in (1, 3):
        got = stream_nats(model, stream, stride=stride, batch_size=batch_size)
        np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_stream_nats_refuses_a_stride_that_would_skip_tokens():
    for stride in (0, CONTEXT + 1):
        with pytest.raises(ValueError, match="from 1 to the context length 8"):
            stream_nats(new_model(), random_stream(30), stride=stride)


def test_evaluate_reports_nats_perplexity_and_bits_per_byte():
    model, held_out = new_model(), random_stream(30, seed=1)
    method = GPTPretraining(model, random_stream(99), held_out=held_out, held_out_bytes=50)
    metrics = method.evaluate()
    total = stream_nats(model, held_out)
    assert metrics["held_out_loss"] == pytest.approx(total / 29)
    assert metrics["held_out_perplexity"] == pytest.approx(math.exp(total / 29))
    assert metrics["held_out_bits_per_byte"] == pytest.approx(total / 50 / math.log(2))
    assert GPTPretraining(model, random_stream(99)).evaluate() == {}
    without_bytes = GPTPretraining(model, random_stream(99), held_out=held_out).evaluate()
    assert sorted(without_bytes) == ["held_out_loss", "held_out_perplexity"]


def test_representations_do_not_depend_on_the_batch():
    model = new_model()
    method = GPTPretraining(model, random_stream(99), batch_size=2)
    examples = [[1], [2, 3, 4, 5, 6], list(range(12)), [7, 8], np.array([9, 1, 1])]
    rows = method.represent(examples)
    assert rows.shape == (5, 8)
    for row, example in zip(rows, examples):
        alone = model.hidden(np.array([example[:CONTEXT]])).array[0].mean(axis=0)
        np.testing.assert_allclose(row, alone, rtol=1e-12)
    with pytest.raises(ValueError, match="example 1 has no tokens"):
        method.represent([[1], []])
    assert method.represent([]).shape == (0, 8)

"""What a text costs, against the chain rule: one forward pass of its own for each token."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minissl.models.gpt import GPT, GPTConfig
from minissl.models.held_out import carried_nats, log_probabilities, stream_nats
from minissl.models.recurrent import RecurrentConfig, RecurrentLM

VOCAB, CONTEXT = 13, 6


def recurrent(cell="lstm", **settings):
    sizes = {"vocab_size": VOCAB, "width": 7, "num_layers": 2, "cell": cell} | settings
    model = RecurrentLM(RecurrentConfig(**sizes), generator=np.random.default_rng(0))
    return model.astype(np.float64)


def transformer():
    sizes = {"vocab_size": VOCAB, "context_length": CONTEXT, "num_layers": 2, "width": 8}
    config = GPTConfig(**sizes, num_heads=2, init_std=0.5)
    return GPT(config, generator=np.random.default_rng(0)).astype(np.float64)


def indifferent():
    """Every token is as likely as any other: n of them cost n ln VOCAB."""
    model = recurrent(width=2, num_layers=1)
    for parameter in model.output.parameters():
        parameter.array = 0 * parameter.array
    return model


def random_stream(length, seed=1):
    return np.random.default_rng(seed).integers(VOCAB, size=length)


def ln_p(model, before, token):
    """ln p(token | before), of a forward pass of ``before`` alone."""
    logits = model(np.array([before])).array[0, -1]
    return logits[token] - np.log(np.exp(logits).sum())


def chain_rule(model, before, after):
    tokens, total = list(before), 0.0
    for token in after:
        total += ln_p(model, tokens[-int(min(model.context_length, len(tokens))) :], token)
        tokens.append(token)
    return total


# ---- ln p(after | before) -----------------------------------------------------------------------


@pytest.mark.parametrize("model", [recurrent(), recurrent("gru"), transformer()])
def test_log_probabilities_are_the_chain_rules(model):
    """Of different lengths, in another order, in batches: nothing sees the padding or the rest."""
    lengths = [(1, 5), (4, 0), (3, 2), (1, 1), (2, 4), (5, 1), (1, 0), (1, 6)]
    pairs = [
        (random_stream(first, seed), random_stream(second, 50 + seed).tolist())
        for seed, (first, second) in enumerate(lengths)
    ]
    before, after = [first.tolist() for first, _ in pairs], [second for _, second in pairs]
    expected = [chain_rule(model, *pair) for pair in zip(before, after)]
    for batch_size in (1, 3, 16):
        found = log_probabilities(model, before, after, batch_size=batch_size)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, expected, atol=1e-10)
    assert [found[1], found[6]] == [0, 0]
    assert model.training
    assert log_probabilities(model, [], []).shape == (0,)


def test_all_answers_together_are_certain():
    """Over all next tokens p adds up to 1, and over all pairs of them."""
    for model in (recurrent(), transformer()):
        for length in (1, 2):
            after = [list(one) for one in np.ndindex(*[VOCAB] * length)]
            found = log_probabilities(model, [[3, 1, 4]] * len(after), after, batch_size=64)
            assert np.exp(found).sum() == pytest.approx(1, abs=1e-10)


def test_a_transformer_forgets_the_first_tokens_of_a_long_prompt():
    model, before = transformer(), random_stream(20).tolist()
    for count in (1, 3, CONTEXT):
        after = random_stream(count, seed=2).tolist()
        seen = before[-(CONTEXT + 1 - count) :]  # so that all is one window
        (found,) = log_probabilities(model, [before], [after])
        assert found == pytest.approx(chain_rule(model, seen, after), abs=1e-10)
    memory = recurrent()
    (found,) = log_probabilities(memory, [before], [[5, 6]])
    assert found == pytest.approx(chain_rule(memory, before, [5, 6]), abs=1e-10)


def test_what_cannot_be_predicted_is_refused():
    with pytest.raises(ValueError, match="pair 1 has no token before: begin with the separator"):
        log_probabilities(recurrent(), [[1], []], [[1], [1]])
    with pytest.raises(ValueError, match=r"pair 0 has 7 tokens to predict.*has room for 6"):
        log_probabilities(transformer(), [[1]], [[1] * 7])
    with pytest.raises(ValueError, match="argument 2 is"):
        log_probabilities(recurrent(), [[1]], [])


# ---- a stream, by a state that is carried -------------------------------------------------------


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_one_lane_is_exact(cell):
    model, stream = recurrent(cell, dropout=0.5), random_stream(40)
    model.eval()
    expected = -chain_rule(model, stream[:1].tolist(), stream[1:].tolist())
    model.train()
    for window in (1, 7, 39, 40, 1000):
        found = carried_nats(model, stream, lanes=1, warm_up=3, window=window)
        assert found == pytest.approx(expected, rel=1e-12)
    assert carried_nats(model, stream) == pytest.approx(expected, rel=1e-12)  # too short for two
    assert stream_nats(model, stream) == pytest.approx(expected, rel=1e-12)
    assert model.training


@given(
    st.integers(2, 400), st.integers(1, 20), st.integers(1, 30), st.integers(1, 70), st.booleans()
)  # fmt: skip
def test_each_token_is_counted_once(length, lanes, warm_up, window, ignoring):
    stream = random_stream(length)
    options = {"lanes": lanes, "warm_up": warm_up, "window": window}
    options |= {"ignore": 4} if ignoring else {}
    count = length - 1 - (int((stream[1:] == 4).sum()) if ignoring else 0)
    found = carried_nats(indifferent(), stream, **options)
    assert found == pytest.approx(count * math.log(VOCAB), rel=1e-12)


@given(st.integers(40, 300), st.integers(2, 9), st.integers(1, 9), st.integers(1, 40))
def test_every_lane_has_read_the_warm_up(length, lanes, warm_up, window):
    """The first token that a lane counts has at least so many before it, or the beginning."""
    stream, seen = np.arange(length), {}

    class Reader:  # notes for each target how much was read before it in its lane
        _modes, vocab = (), length

        def new_caches(self):
            return [0]

        def hidden(self, tokens, caches):
            first = caches[0]
            caches[0] += tokens.shape[1]
            return tokens, first

        def logits(self, hidden):
            tokens, first = hidden
            for row in tokens:
                for place, token in enumerate(row):
                    seen.setdefault(int(token) + 1, []).append(first + place + 1)
            return np.zeros((*tokens.shape, 1))

    counted = {}

    def loss(logits, targets, **_):
        for row in np.asarray(targets):
            for target in row[row >= 0]:
                counted[int(target)] = counted.get(int(target), 0) + 1
        return np.zeros(())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minissl.models.held_out.next_token_loss", loss)
        patch.setattr("minissl.models.held_out.evaluating", lambda model: _nothing())
        carried_nats(Reader(), stream, lanes=lanes, warm_up=warm_up, window=window)
    assert counted == dict.fromkeys(range(1, length), 1)
    for target, read in seen.items():
        assert max(read) >= min(target, warm_up + 1)
    real = max(1, min(lanes, (length - 1) // (4 * warm_up)))
    work = sum(len(read) for read in seen.values())
    assert work <= real * (-(-(length - 1) // real) + warm_up)  # and nothing is read in vain


class _nothing:
    def __enter__(self):
        return None

    def __exit__(self, *_):
        return None


def test_many_lanes_are_close_to_one():
    """What a lane does not know at its beginning is forgotten: here after 30 tokens."""
    model, stream = recurrent(), random_stream(600)
    exact = carried_nats(model, stream, lanes=1)
    near = carried_nats(model, stream, lanes=5, warm_up=30, window=16)
    far = carried_nats(model, stream, lanes=100, warm_up=1)
    assert near != exact
    assert near == pytest.approx(exact, rel=1e-5)
    assert abs(far - exact) > 10 * abs(near - exact)


def test_an_ignored_token_is_read():
    model, stream = recurrent(), random_stream(30)
    steps = [-chain_rule(model, stream[:i].tolist(), stream[i : i + 1]) for i in range(1, 30)]
    expected = sum(nats for nats, token in zip(steps, stream[1:]) if token != 4)
    assert carried_nats(model, stream, ignore=4) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_tokens_of_any_integer_type(dtype):
    stream = random_stream(100)
    for nats in (carried_nats, stream_nats):
        assert nats(recurrent(), stream.astype(dtype)) == nats(recurrent(), stream)


def test_wrong_numbers_are_refused():
    for name in ("lanes", "warm_up", "window"):
        with pytest.raises(ValueError, match="lanes, warm_up and window must be 1 or more, got"):
            carried_nats(recurrent(), random_stream(9), **{name: 0})
    with pytest.raises(ValueError, match="stride must be from 1 to the context length 6, got 7"):
        stream_nats(transformer(), random_stream(9), stride=7)

"""Recurrent language models against torch's, with and without a state, all at once or by steps."""

import math

import numpy as np
import pytest
import torch

from minissl.autograd import Tensor
from minissl.losses.language_modeling import next_token_loss
from minissl.models import decode
from minissl.models.bidirectional import BidirectionalLM, turn
from minissl.models.generate import generate, next_token_logits
from minissl.models.recurrent import RecurrentConfig, RecurrentLM, StateCache
from minissl.nn import GRU, LSTM, Linear, evaluating
from tests.models.torch_recurrent import TorchRecurrentLM, torchs_name, torchs_state

VOCAB, WIDTH = 13, 6
every_cell = pytest.mark.parametrize("cell", ["lstm", "gru"])


def rng(seed=0):
    return np.random.default_rng(seed)


def new_config(**settings):
    return RecurrentConfig(**{"vocab_size": VOCAB, "width": WIDTH, "num_layers": 2} | settings)


def new_model(dtype="float64", seed=0, **settings):
    """No bias is 0, and the predictions differ."""
    model = RecurrentLM(new_config(**settings), generator=rng(seed))
    for number, parameter in enumerate(model.parameters()):
        parameter.array = parameter.array + 0.3 * rng([9, number]).standard_normal(parameter.shape)
    return model.astype(dtype)


def random_tokens(*shape, seed=1):
    return rng(seed).integers(VOCAB, size=shape)


def states_of(caches):
    return [cache.state.array for cache in caches]


# ---- against torch ------------------------------------------------------------------------------


@every_cell
@pytest.mark.parametrize("layers", [1, 3])
def test_logits_and_state_are_torchs(cell, layers):
    ours = new_model(cell=cell, num_layers=layers)
    theirs, tokens = TorchRecurrentLM(ours), random_tokens(3, 7)
    expected, state = theirs(tokens)
    np.testing.assert_allclose(ours(tokens).array, expected.detach(), atol=1e-12)
    caches = ours.new_caches()
    hidden = ours.hidden(tokens[:, :4], caches=caches)
    np.testing.assert_allclose(ours.logits(hidden).array, expected[:, :4].detach(), atol=1e-12)
    hidden = ours.hidden(tokens[:, 4:], caches=caches)
    np.testing.assert_allclose(ours.logits(hidden).array, expected[:, 4:].detach(), atol=1e-12)
    assert [cache.length for cache in caches] == [7] * layers
    for mine, their in zip(torchs_state(states_of(caches)), state):  # of h and c, or of each layer
        np.testing.assert_allclose(mine, their.detach(), atol=1e-12)


@every_cell
def test_the_gradient_of_a_window_with_a_carried_state_is_torchs(cell):
    ours = new_model(cell=cell)
    theirs, tokens = TorchRecurrentLM(ours), random_tokens(3, 5)
    shape = 3, ours.config.parts, WIDTH
    states = [0.5 * rng(layer).standard_normal(shape) for layer in range(2)]
    caches = [StateCache(Tensor(state)) for state in states]
    targets = random_tokens(3, 5, seed=2)
    loss = next_token_loss(ours.logits(ours.hidden(tokens, caches=caches)), targets)
    loss.backward()
    logits, _ = theirs(tokens, torchs_state(states))
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), torch.from_numpy(targets).flatten()
    )
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        np.testing.assert_allclose(parameter.grad, gradients[torchs_name(name)], atol=1e-12)


# ---- the model itself ---------------------------------------------------------------------------


@every_cell
def test_num_parameters_is_what_is_built(cell):
    for settings in ({}, {"width": 5, "num_layers": 3}, {"num_layers": 1, "vocab_size": 4}):
        config = new_config(cell=cell, **settings)
        assert RecurrentLM(config, generator=rng()).num_parameters() == config.num_parameters()


def test_the_size_of_a_known_model():
    """Two layers of 256 over 2,048 tokens, counted by hand."""
    config = RecurrentConfig(vocab_size=2048, width=256, num_layers=2)
    one = 4 * 256 * (256 + 256 + 2)
    assert config.num_parameters() == 2048 * 256 + 2 * one + 2048 * 256 + 2048 == 2_103_296


def test_an_untrained_model_knows_nothing_and_remembers():
    config = RecurrentConfig(vocab_size=1000, width=64, num_layers=2)
    model = RecurrentLM(config, generator=rng())
    tokens = rng(1).integers(1000, size=(4, 33))
    loss = next_token_loss(model(tokens[:, :-1]), tokens[:, 1:]).item()
    assert abs(loss - math.log(1000)) < 0.1
    assert model(tokens).dtype == np.float32
    for layer in model.layers:  # the forget gate begins open
        np.testing.assert_array_equal((layer.bias_ih_l0 + layer.bias_hh_l0).array[64:128], 1)


def test_states_are_the_tokens_and_each_layer():
    model, tokens = new_model(num_layers=3), random_tokens(2, 5)
    states = model.states(tokens)
    assert [state.shape for state in states] == [(2, 5, WIDTH)] * 4
    np.testing.assert_array_equal(states[0].array, model.tokens.weight.array[tokens])
    np.testing.assert_array_equal(states[-1].array, model.hidden(tokens).array)
    below = new_model(num_layers=3)
    below.layers = below.layers[:2]
    np.testing.assert_array_equal(states[2].array, below.hidden(tokens).array)


def test_logits_know_all_of_the_past_and_nothing_else():
    model, tokens = new_model(), random_tokens(1, 9)
    before = model(tokens).array
    for cut in range(9):
        changed = tokens.copy()
        changed[:, cut] = (changed[:, cut] + 1) % VOCAB
        after = model(changed).array
        np.testing.assert_array_equal(before[:, :cut], after[:, :cut])
        assert (before[:, cut:] != after[:, cut:]).all()
    assert model.context_length == math.inf


@every_cell
def test_dropout_lies_between_the_layers_in_training_alone(cell):
    plain, tokens = new_model(cell=cell), random_tokens(2, 40)
    dropped = new_model(cell=cell, dropout=0.4)
    states = dropped.states(tokens, generator=rng(3))
    for state in states:  # below the first, between, above the last
        assert 0.3 < np.mean(state.array == 0) < 0.5
    again = dropped.states(tokens, generator=rng(3))
    np.testing.assert_array_equal(states[-1].array, again[-1].array)
    assert (states[-1].array != dropped.states(tokens, generator=rng(4))[-1].array).any()
    caches = dropped.new_caches()
    dropped.hidden(tokens, caches=caches, generator=rng(3))
    assert all((cache.state.array != 0).all() for cache in caches)  # memory is not dropped
    with evaluating(dropped):
        np.testing.assert_array_equal(dropped(tokens).array, plain(tokens).array)


def test_wrong_input_is_refused():
    model = new_model()
    with pytest.raises(ValueError, match=r"expected tokens \(batch, time\), got shape \(3,\)"):
        model(np.array([1, 2, 3]))
    with pytest.raises(IndexError, match="0 to 12"):
        model(np.array([[VOCAB]]))
    with pytest.raises(ValueError, match="at least one time step"):
        model(np.zeros((1, 0), int))
    with pytest.raises(ValueError, match=r"cell must be one of \['gru', 'lstm'\], got 'rnn'"):
        new_config(cell="rnn")
    with pytest.raises(ValueError, match="num_layers must be 1 or more, got 0"):
        new_config(num_layers=0)
    with pytest.raises(ValueError, match="1 caches for 2 layers"):
        model.hidden(random_tokens(1, 3), caches=model.new_caches()[:1])
    caches = model.new_caches()
    model.hidden(random_tokens(2, 3), caches=caches)
    with pytest.raises(ValueError, match=r"initial h has shape \(1, 2, 6\)"):
        model.hidden(random_tokens(3, 3), caches=caches)


# ---- generation: the state is the cache ---------------------------------------------------------


@every_cell
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("quick", [True, False])
def test_cached_logits_equal_those_of_a_full_pass(cell, dtype, tolerance, quick):
    model, tokens = new_model(dtype, cell=cell), random_tokens(12).tolist()
    with evaluating(model):
        caches = model.new_caches()
        for length in [3, *range(5, 13)]:  # 3 at once, 2 at once, one by one
            cached = next_token_logits(model, tokens[:length], caches, quick=quick)
            full = model(np.array([tokens[:length]])).array[0, -1]
            assert cached.shape == (VOCAB,)
            assert cached.dtype == dtype
            np.testing.assert_allclose(cached, full, rtol=0, atol=tolerance * np.abs(full).max())
            assert [cache.length for cache in caches] == [length] * 2
            assert {cache.state.array.dtype for cache in caches} == {np.dtype(dtype)}


@every_cell
def test_the_quick_step_begins_with_nothing_and_goes_on_after_any_state(cell):
    model, tokens = new_model(cell=cell, num_layers=3), random_tokens(6)
    quick, usual = model.new_caches(), model.new_caches()
    with evaluating(model):
        for token in tokens:
            ours = decode.step(model, token, quick)
            expected = model.logits(model.hidden([[token]], caches=usual)).array[0, 0]
            np.testing.assert_allclose(ours, expected, atol=1e-12)
            for one, other in zip(states_of(quick), states_of(usual)):
                assert one.shape == other.shape
                np.testing.assert_allclose(one, other, atol=1e-12)
        quick, usual = usual, quick  # each goes on from the other's
        ours = decode.step(model, 5, quick)
        expected = model.logits(model.hidden([[5]], caches=usual)).array[0, 0]
        np.testing.assert_allclose(ours, expected, atol=1e-12)


@every_cell
def test_the_quick_step_does_not_overflow(cell):
    model = new_model("float32", cell=cell)
    model.tokens.weight.array = 1e6 * model.tokens.weight.array
    with np.errstate(all="raise", under="ignore"):
        logits = decode.step(model, 3, model.new_caches())
    np.testing.assert_allclose(logits, model([[3]]).array[0, 0], atol=1e-5)


@every_cell
@pytest.mark.parametrize("settings", [{"temperature": 0}, {}, {"top_k": 5, "top_p": 0.9}])
@pytest.mark.parametrize("prompt_length", [1, 5])
def test_same_tokens_with_and_without_the_cache(cell, settings, prompt_length):
    model, prompt = new_model(cell=cell, dropout=0.5), random_tokens(prompt_length)
    with_cache, without = (
        generate(model, prompt, 20, generator=rng(2), cache=cache, **settings)
        for cache in (True, False)
    )
    assert with_cache == without
    assert len(with_cache) == 20
    assert len(set(with_cache)) > 1
    assert model.training


@every_cell
def test_the_quick_step_knows_what_it_can_compute(cell):
    assert decode.applies_to(new_model(cell=cell))
    assert not decode.applies_to(new_model("float32").map_arrays(torch.from_numpy))
    kind = {"lstm": LSTM, "gru": GRU}[cell]

    class Doubled(Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    class Turned(kind):
        def forward(self, x, state=None):
            y, state = super().forward(x, state)
            return -y, state

    for name in ("output", "layers"):
        model = new_model(cell=cell)
        if name == "output":
            model.output = Doubled(WIDTH, VOCAB, generator=rng()).astype("float64")
        else:
            model.layers[1] = Turned(WIDTH, WIDTH, generator=rng()).astype("float64")
        assert not decode.applies_to(model)
        a, b = (generate(model, [1], 8, temperature=0, cache=c) for c in (True, False))
        assert a == b


# ---- two directions -----------------------------------------------------------------------------


def test_turn_against_lists():
    lengths = np.array([4, 1, 3, 6])
    tokens = random_tokens(4, 6)
    turned, back = turn(tokens, lengths)
    for row, length in enumerate(lengths):
        whole = tokens[row].tolist()
        assert turned[row].tolist() == whole[:length][::-1] + whole[length:]
        flat = turned.ravel().tolist()
        assert [flat[place] for place in back[row]] == whole
    assert [a.tolist() for a in turn(np.array([[5, 6, 7, 0]]), np.array([3]))] == [
        [[7, 6, 5, 0]], [[2, 1, 0, 3]],
    ]  # fmt: skip


def test_each_direction_is_a_language_model_of_its_own():
    model = BidirectionalLM(new_config(), generator=rng()).astype("float64")
    assert model.ahead.tokens is model.behind.tokens
    assert model.ahead.output is model.behind.output
    one = new_config().num_parameters()
    assert model.num_parameters() == 2 * one - VOCAB * (2 * WIDTH + 1)
    assert (
        model.ahead.layers[0].weight_ih_l0.array != model.behind.layers[0].weight_ih_l0.array
    ).any()
    tokens = random_tokens(3, 5)
    states = model.states(tokens, *turn(tokens, np.array([5, 5, 5])))
    ahead = model.ahead.states(tokens)
    behind = model.behind.states(tokens[:, ::-1])
    for both, forwards, backwards in zip(states, ahead, behind, strict=True):
        np.testing.assert_array_equal(both.array[..., :WIDTH], forwards.array)
        np.testing.assert_array_equal(both.array[..., WIDTH:], backwards.array[:, ::-1])

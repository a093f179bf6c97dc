"""ELMo's form: what each direction sees, what is predicted, and what represents a word."""

import numpy as np
import pytest

from minissl.autograd import operations as ops
from minissl.data import Kept
from minissl.losses.language_modeling import IGNORE
from minissl.models.bidirectional import BidirectionalLM
from minissl.models.recurrent import RecurrentConfig
from minissl.pretrain import load_method
from minissl.pretrain.language.elmo import UNKNOWN, ELMo
from tests.pretrain.toy import toy_data, toy_method, toy_settings

WORDS, BOUNDARY, WIDTH, LENGTH = 9, 9, 5, 6  # the boundary is one more than the words


def rng(seed=0):
    return np.random.default_rng(seed)


def new_method(stream=None, *, dtype="float64", held_out=None, **settings):
    sizes = {"vocab_size": WORDS + 1, "width": WIDTH, "num_layers": 2} | settings
    model = BidirectionalLM(RecurrentConfig(**sizes), generator=rng()).astype(dtype)
    stream = rng(1).integers(WORDS, size=80) if stream is None else stream
    return ELMo(
        model, stream, boundary=BOUNDARY, length=LENGTH, batch_size=4, held_out=held_out
    )  # fmt: skip


def states_of(method, *examples):
    batch = method.collate(examples)
    return [state.array for state in method.states(batch)], batch[-1]


def cross_entropies(network, words):
    """−ln p of each word but the first, by a forward pass of those before it alone."""
    found = []
    for place in range(1, len(words)):
        logits = network([words[:place]]).array[0, -1]
        found.append(np.log(np.exp(logits).sum()) - logits[words[place]])
    return np.array(found)


# ---- what is seen -------------------------------------------------------------------------------


def test_each_direction_sees_its_own_side_alone():
    """Other words behind a word, or before it: its states there are the same bits."""
    method, example = new_method(), [3, 1, 4, 1, 5]
    before, _ = states_of(method, example)
    for place in range(5):
        changed = [*example]
        changed[place] = 7
        after, _ = states_of(method, changed)
        for layer, (one, other) in enumerate(zip(before, after)):
            ahead, behind = (
                one[0, :, :WIDTH] != other[0, :, :WIDTH],
                one[0, :, WIDTH:] != other[0, :, WIDTH:],
            )
            assert not ahead[: place + 1].any()  # rows begin with the boundary
            assert not behind[place + 2 :].any()
            assert ahead[place + 1].any()
            assert behind[place + 1].any()
            if layer:
                assert ahead[place + 2 :].any(axis=1).all()
                assert behind[: place + 1].any(axis=1).all()


def test_states_against_each_network():
    """A row is the words between two boundaries; backwards it is read from its end."""
    method, example = new_method(), [3, 0, 4]
    states, weights = states_of(method, example)
    row = [BOUNDARY, *example, BOUNDARY]
    ahead = method.model.ahead.states([row])
    behind = method.model.behind.states([row[::-1]])
    for found, forwards, backwards in zip(states, ahead, behind, strict=True):
        both = np.concatenate([forwards.array[0], backwards.array[0, ::-1]], axis=1)
        np.testing.assert_allclose(found[0], both, atol=1e-12)
    np.testing.assert_array_equal(weights, [[0, 1 / 3, 1 / 3, 1 / 3, 0]])


def test_padding_and_the_rest_of_a_batch_do_not_matter():
    method, examples = new_method(), [[3], [1, 2, 3, 4, 5], [], [0, 0]]
    together, weights = states_of(method, *examples)
    assert weights.shape == (4, 7)
    for number, example in enumerate(examples):
        alone, own = states_of(method, example)
        for one, other in zip(together, alone):
            length = len(example) + 2
            np.testing.assert_allclose(one[number, :length], other[0], atol=1e-14)
        np.testing.assert_array_equal(weights[number, :length], own[0])
        assert not weights[number, length:].any()
    assert weights.sum(axis=1).tolist() == pytest.approx([1, 1, 0, 1])


def test_what_represents_a_word_and_a_text():
    method, examples = new_method(), [[3, 1, 4], [], [0], [2, 2]]
    each, texts = method.represent_each(examples), method.represent(examples)
    layers = method.represent_layers(examples)
    assert texts.shape == (4, 2 * WIDTH)
    assert layers.shape == (4, 3, 2 * WIDTH)
    for number, example in enumerate(examples):
        states, _ = states_of(method, example)
        inner = np.stack(states)[:, 0, 1:-1]  # (layers, words, width), without boundaries
        assert each[number].shape == (len(example), 2 * WIDTH)
        np.testing.assert_allclose(each[number], inner.mean(axis=0), atol=1e-12)
        if not example:
            assert not texts[number].any()
            assert not layers[number].any()
            continue
        np.testing.assert_allclose(layers[number], inner.mean(axis=1), atol=1e-12)
        np.testing.assert_allclose(texts[number], inner.mean(axis=(0, 1)), atol=1e-12)
    assert (each[3][0] != each[3][1]).any()  # the same word at another place
    assert method.represent_layers([]).shape == (0, 3, 2 * WIDTH)


def test_a_long_text_is_cut_before_it_is_read():
    method = new_method()
    long = rng(4).integers(WORDS, size=50_000).tolist()
    assert method.collate([long])[0].shape == (1, 1026)
    (each,) = method.represent_each([long])
    assert each.shape == (1024, 2 * WIDTH)


def test_few_long_texts_are_read_at_a_time():
    """Every word has its states, in every layer: 512 texts of 1,024 words would need gigabytes."""
    method, sizes = new_method(), []
    usual = method.collate
    method.collate = lambda examples: sizes.append(len(examples)) or usual(examples)
    method.represent([[1, 2]] * 100)
    assert max(sizes) <= 32
    assert sum(sizes) == 100


# ---- what is predicted --------------------------------------------------------------------------


def test_batches_are_windows_of_the_stream_in_both_directions():
    stream = np.concatenate([[BOUNDARY], 1 + np.arange(30) % 8, [BOUNDARY]])
    method, starts = new_method(stream), set()
    for seed in range(60):
        inputs, targets, turned, before = method.batch(rng(seed))
        windows = np.concatenate([inputs, targets[:, -1:]], axis=1)
        backwards = np.concatenate([turned, before[:, -1:]], axis=1)
        np.testing.assert_array_equal(backwards, windows[:, ::-1])
        np.testing.assert_array_equal(inputs[:, 1:], targets[:, :-1])
        assert windows.shape == (4, LENGTH + 1)
        for window in windows.tolist():
            text = stream.tolist()
            (_, *found) = [-1, *(i for i in range(26) if text[i : i + 7] == window)]
            assert found
            starts.update(found)
    assert starts == set(range(26))  # from the first to the last that there is


def test_unknown_words_are_read_and_not_predicted():
    stream = np.array([1, 0, 2, 0, 0, 3, 4, 0, 5])
    method = new_method(stream)
    batch = method.batch(rng())
    inputs, targets, turned, before = batch
    assert (inputs == UNKNOWN).any()
    assert (turned == UNKNOWN).any()
    assert not (targets == UNKNOWN).any()
    assert not (before == UNKNOWN).any()
    total = known = 0.0
    for read, words, network in (
        (inputs, targets, method.model.ahead), (turned, before, method.model.behind),
    ):  # fmt: skip
        for row, wanted in zip(read.tolist(), words.tolist()):
            whole = [*row, wanted[-1] if wanted[-1] != IGNORE else 0]
            nats = cross_entropies(network, whole)
            kept = np.array(wanted) != IGNORE
            total, known = total + nats[kept].sum(), known + kept.sum()
    assert method.count(batch) == known
    assert method.loss(batch, rng()).item() == pytest.approx(total / known, rel=1e-10)


def test_a_window_of_unknown_words_alone_costs_nothing():
    method = new_method(np.zeros(20, int))
    batch = method.batch(rng())
    assert method.count(batch) == 0
    assert method.loss(batch, rng()).item() == 0


def test_dropout_is_in_the_loss_and_in_nothing_else():
    plain, dropped = (new_method(dropout=rate, held_out=np.arange(9)) for rate in (0.0, 0.5))
    batch = dropped.batch(rng())
    losses = [dropped.loss(batch, rng(seed)).item() for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    np.testing.assert_array_equal(dropped.represent([[1, 2]]), plain.represent([[1, 2]]))
    np.testing.assert_array_equal(dropped.represent_each([[1]])[0], plain.represent_each([[1]])[0])
    assert dropped.evaluate() == plain.evaluate()


def test_the_gradient_of_what_both_directions_share_is_the_sum():
    method = new_method()
    batch = method.batch(rng())
    gradients = []
    for used in ((True, True), (True, False), (False, True)):
        method.model.zero_grad()
        total = 0
        for place, network in enumerate((method.model.ahead, method.model.behind)):
            if used[place]:
                total = total + method._nats(network, *batch[2 * place : 2 * place + 2], rng())
        (method.loss(batch, rng()) if all(used) else total / method.count(batch)).backward()
        shared = (method.model.ahead.tokens.weight, method.model.ahead.output.weight)
        gradients.append([parameter.grad.copy() for parameter in shared])
        lone = [
            n.layers[0].weight_hh_l0.grad is not None
            for n in (method.model.ahead, method.model.behind)
        ]
        assert lone == list(used)
    for both, ahead, behind in zip(*gradients):
        np.testing.assert_allclose(both, ahead + behind, atol=1e-14)
        assert np.abs(behind).max() > 0


def test_held_out_numbers_by_a_slow_loop():
    stream = np.array([BOUNDARY, 3, 0, 4, BOUNDARY, 1, 5, 0, 0, 2, BOUNDARY])
    method = new_method(held_out=stream)
    metrics, losses = method.evaluate(), []
    for network, words in ((method.model.ahead, stream), (method.model.behind, stream[::-1])):
        nats = cross_entropies(network, words.tolist())
        losses.append(nats[words[1:] != UNKNOWN].mean())
    assert metrics["held_out_forward_loss"] == pytest.approx(losses[0], rel=1e-10)
    assert metrics["held_out_backward_loss"] == pytest.approx(losses[1], rel=1e-10)
    assert metrics["held_out_loss"] == pytest.approx(np.mean(losses), rel=1e-10)
    assert metrics["held_out_perplexity"] == pytest.approx(np.exp(np.mean(losses)))
    assert new_method().evaluate() == {}
    assert new_method(held_out=np.zeros(0, int)).evaluate() == {}
    unknown = np.array([method.boundary, UNKNOWN, UNKNOWN, method.boundary])
    assert new_method(held_out=unknown).evaluate() == {}  # boundaries alone are no text


# ---- as a method --------------------------------------------------------------------------------


def test_the_boundary_is_a_word_of_its_own():
    settings = toy_settings("elmo")
    data = toy_data("elmo", settings).prepare(Kept(), settings)
    method = load_method("elmo").build(settings, data)
    assert method.boundary == data.vocabulary.vocab_size
    assert method.model.config.vocab_size == data.vocabulary.vocab_size + 1
    assert method.stream[0] == method.stream[-1] == method.boundary
    documents = len(np.unique(data.stream.documents))
    assert (method.stream == method.boundary).sum() == documents + 1
    words = method.stream[method.stream != method.boundary]
    np.testing.assert_array_equal(words, data.stream.words)


def test_too_little_text():
    with pytest.raises(ValueError, match="6 words and boundaries, expected 7 or more: give more"):
        new_method(np.arange(6))
    with pytest.raises(ValueError, match="opened to be used"):
        new_method(np.zeros(0, int)).batch(rng())


def test_it_learns_both_ways():
    """a b c d a b c d ...: after a few steps both directions know the neighbour."""
    from minissl.optim import AdamW
    from minissl.training import fit

    stream = np.array([1 + i % 4 for i in range(60)])
    method = new_method(stream, dtype="float32", held_out=stream, width=8, num_layers=1)
    optimizer = AdamW(method.model.named_parameters(), lr=0.05)
    before = method.evaluate()
    fit(method, optimizer, steps=60, progress=False)
    after = method.evaluate()
    for name in ("held_out_forward_loss", "held_out_backward_loss"):
        assert after[name] < 0.2 < 1 < before[name]


def test_the_mean_over_layers_has_its_gradient():
    method = toy_method("elmo")
    batch = method.collate([[1, 2, 3], [2]])
    ops.sum(method.encode(batch) ** 2).backward()
    for _, parameter in method.model.named_parameters():
        if parameter.shape[0] != method.model.config.vocab_size or parameter.ndim == 2:
            assert parameter.grad is not None or parameter is method.model.ahead.output.weight

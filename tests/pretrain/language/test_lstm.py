"""An LSTM whose state is carried: the whole training beside torch's, and what the state knows."""

import numpy as np
import pytest
import torch

from minissl.autograd import no_grad
from minissl.autograd.processes import World
from minissl.autograd.tensor import Tensor
from minissl.data import Kept
from minissl.data.streams import consecutive_windows
from minissl.data.texts import Texts
from minissl.models.generate import generate
from minissl.models.gpt import GPT, GPTConfig
from minissl.models.held_out import stream_nats
from minissl.models.recurrent import RecurrentConfig, RecurrentLM
from minissl.optim import AdamW
from minissl.pretrain import load_method
from minissl.pretrain.language import lstm as lstm_module
from minissl.pretrain.language.gpt import GPTPretraining
from minissl.pretrain.language.lstm import LSTMPretraining
from minissl.pretrain.run import open_run, pretrain, train
from minissl.text import Tokenizer
from minissl.text.documents import SEPARATOR
from minissl.training import fit
from tests.models.torch_recurrent import TorchRecurrentLM, torchs_name
from tests.pretrain.toy import toy_data, toy_method, toy_settings

VOCAB, LENGTH, LANES = 13, 5, 3
STREAM = np.random.default_rng(1).integers(VOCAB, size=67)
every_cell = pytest.mark.parametrize("cell", ["lstm", "gru"])


def rng(seed=0):
    return np.random.default_rng(seed)


def new_method(
    cell="lstm", dtype="float64", seed=0, stream=STREAM, batch_size=LANES, dropout=0.0, **options
):
    sizes = {"vocab_size": VOCAB, "width": 6, "num_layers": 2}
    config = RecurrentConfig(**sizes, cell=cell, dropout=dropout)
    network = RecurrentLM(config, generator=rng(seed))
    method = LSTMPretraining(network, stream, length=LENGTH, batch_size=batch_size, **options)
    method.model.astype(dtype)
    return method


def fitted(method, steps, learning_rate=0.05, **options):
    optimizer = AdamW(method.model.named_parameters(), lr=learning_rate, weight_decay=0.1)
    return fit(method, optimizer, steps=steps, progress=False, **options)


def as_numbers(method):
    return {name: array.tobytes() for name, array in method.model.state_dict().items()}


# ---- the training is torch's --------------------------------------------------------------------


@every_cell
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_updates_are_torchs(cell, accumulate):
    """Truncated back-propagation, written out: the state goes on, detached; clipping; AdamW."""
    ours = new_method(cell)
    theirs = TorchRecurrentLM(ours.network)
    matrices = [p for p in theirs.parameters() if p.ndim > 1]
    vectors = [p for p in theirs.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer, state, losses = torch.optim.AdamW(groups, lr=0.05), None, []
    for step in range(4):
        optimizer.zero_grad()
        losses.append(0.0)
        for number in range(step * accumulate, (step + 1) * accumulate):
            windows = consecutive_windows(STREAM, LANES, LENGTH, number)
            logits, state = theirs(windows[:, :-1], state)
            targets = torch.from_numpy(windows[:, 1:]).flatten()
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets) / accumulate
            loss.backward()
            losses[-1] += loss.item()
            state = tuple(s.detach() for s in state) if cell == "lstm" else state.detach()
        gradients = [p.grad for p in theirs.parameters()]
        norm = torch.cat([g.flatten() for g in gradients]).norm()
        for gradient in gradients:  # torch's own clipping adds 1e-6 to the norm
            gradient *= min(1, 0.3 / norm)
        optimizer.step()
    history = fitted(ours, 4, accumulate=accumulate, clip=0.3)
    np.testing.assert_allclose(history.losses(), losses, rtol=1e-9)
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.network.named_parameters():
        their = expected[torchs_name(name)].detach()
        np.testing.assert_allclose(parameter.array, their, atol=1e-8, err_msg=name)
    both = state if cell == "lstm" else (state,)  # (layers, lanes, width) each
    expected = torch.stack(both).permute(2, 1, 0, 3)
    np.testing.assert_allclose(ours.model.state.array, expected, atol=1e-8)


def test_the_state_is_known_and_gets_no_gradient():
    """The loss of a window depends on the one before it, and no gradient reaches the tokens there.

    The token 12 is in the first window alone, once as an input and never as a target.
    """
    stream = rng(2).integers(11, size=60)
    stream[0] = 12
    other = stream.copy()
    other[0] = 11
    losses = []
    for one in (stream, other):
        method = new_method(stream=one, batch_size=1)
        for number in (0, 1):
            method.model.zero_grad()
            loss = method.loss(method.batch(rng(), number), rng())
            loss.backward()
            if number == 0:
                assert np.abs(method.network.tokens.weight.grad[one[0]]).max() > 0
            method.after_step(number + 1)
        losses.append(loss.item())
        assert not method.network.tokens.weight.grad[one[0]].any()
    assert losses[0] != losses[1]


# ---- where a run stands -------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("stop", [1, 3])
def test_a_run_goes_on_bit_for_bit(accumulate, stop, tmp_path):
    options = {"accumulate": accumulate, "checkpoint_every": 1, "clip": 1.0}
    undisturbed = new_method(dtype="float32")
    fitted(undisturbed, 4, **options)
    broken = new_method(dtype="float32")
    usual, left = broken.batch, iter(range(stop * accumulate))

    def batch(generator, number):
        if next(left, None) is None:
            raise InterruptedError
        return usual(generator, number)

    broken.batch = batch
    with pytest.raises(InterruptedError):
        fitted(broken, 4, run=tmp_path, **options)
    continued = new_method(dtype="float32", seed=9)
    fitted(continued, 4, run=tmp_path, **options)
    assert as_numbers(continued) == as_numbers(undisturbed)
    assert continued.model.state.array.any()


def test_looking_on_the_way_changes_nothing():
    plain, watched = (new_method(dtype="float32", held_out=STREAM[:30]) for _ in range(2))
    fitted(plain, 4)
    usual = watched.batch

    def batch(generator, number):
        with no_grad():  # somebody looks at the loss of another window, and at this one
            watched.loss(usual(generator, 11), generator)
        watched.represent([[1, 2]])
        return usual(generator, number)

    watched.batch = batch
    fitted(watched, 4, evaluate_every=1)
    assert as_numbers(watched) == as_numbers(plain)


def test_a_second_training_begins_where_the_stream_begins():
    """The state of the end of a run is not that of before the first token."""
    method = new_method(dtype="float32")
    fitted(method, 3)
    again = new_method(dtype="float32")
    again.network.load_state_dict(method.network.state_dict())
    expected = fitted(again, 3).losses()
    assert fitted(method, 3).losses() == expected


def test_another_number_of_lanes_cannot_go_on(tmp_path):
    """As when a run of two processes is continued by one."""
    method = new_method(dtype="float32", batch_size=4)
    usual = method.batch

    def batch(generator, number):
        if number == 2:
            raise InterruptedError
        return usual(generator, number)

    method.batch = batch
    with pytest.raises(InterruptedError):
        fitted(method, 4, run=tmp_path, checkpoint_every=1)
    with pytest.raises(Exception, match=r"'state' has shape \(4, 2, 2, 6\)") as refused:
        fitted(new_method(dtype="float32", batch_size=2), 4, run=tmp_path, checkpoint_every=1)
    assert str(tmp_path) in str(refused.value)


def test_a_run_that_is_opened_or_gone_on_from_has_no_use_for_the_state(tmp_path):
    settings = toy_settings("lstm")
    kind, data = load_method("lstm"), toy_data("lstm", settings)
    trained = pretrain(kind, data, settings, tmp_path / "a", progress=False)
    assert trained.method.model.state.array.any()
    opened = open_run(tmp_path / "a")
    assert not opened.method.model.state.array.any()
    assert opened.on(trained.data).evaluate() == trained.method.evaluate()
    wider = toy_settings("lstm", batch_size=4, steps=1, learning_rate=1e-9)
    more = pretrain(kind, data, wider, tmp_path / "b", start=opened, progress=False)
    assert more.method.model.state.shape[0] == 4
    fresh = kind.build(wider, trained.data)  # the same weights, and a state of zeros
    fresh.network.load_state_dict(opened.method.network.state_dict())
    first = fresh.loss(fresh.batch(rng(), 0), rng()).item()
    assert more.history.losses()[0] == pytest.approx(first, rel=1e-6)


def test_two_processes_read_lanes_of_their_own_and_tell_each_other(monkeypatch):
    """Both played here, one after the other: they have the state that one process has of all."""
    here, rows = [World(0, 1)], []
    monkeypatch.setattr(lstm_module, "world", lambda: here[0])

    def gather_rows(own):  # ours first, as the real one
        if here[0].size == 1:
            return own
        return Tensor(np.concatenate([rows[here[0].rank], rows[1 - here[0].rank]]))

    monkeypatch.setattr(lstm_module, "gather_rows", gather_rows)
    whole = new_method(batch_size=4)
    here[0] = World(0, 2)
    parts = [new_method(batch_size=2) for _ in range(2)]
    assert [part.lanes for part in parts] == [4, 4]
    for step in range(3):
        here[0] = World(0, 1)
        batch = whole.batch(rng(), step)
        expected, found = whole.loss(batch, rng()).item(), 0.0
        whole.after_step(step + 1)
        for rank, part in enumerate(parts):
            here[0] = World(rank, 2)
            own = part.batch(rng(), 2 * step + rank)
            np.testing.assert_array_equal(own[0], batch[0][2 * rank : 2 * rank + 2])
            found += part.loss(own, rng()).item() / 2
        assert found == pytest.approx(expected, rel=1e-12)
        rows[:] = [part._next[1] for part in parts]
        for rank, part in enumerate(parts):
            here[0] = World(rank, 2)
            part.after_step(step + 1)
            np.testing.assert_allclose(part.model.state.array, whole.model.state.array, atol=1e-12)


# ---- what it refuses ----------------------------------------------------------------------------


def test_too_little_text():
    with pytest.raises(ValueError, match="stream: expected 6 or more tokens, got 5: give"):
        new_method(stream=STREAM[:5], batch_size=1)
    with pytest.raises(ValueError, match=r"expected 20 or more.*a smaller .* or batch_size"):
        new_method(stream=STREAM[:19], batch_size=20)
    with pytest.raises(ValueError, match=r"held_out: expected 2 or more"):
        new_method(held_out=STREAM[:1])
    empty = new_method(stream=STREAM[:0])
    with pytest.raises(ValueError, match="opened to be used"):
        empty.batch(rng(), 0)
    assert new_method().batch(rng(7))[2] != new_method().batch(rng(8))[2]  # a random window


# ---- texts --------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["lstm", "gpt"])
def written(request):
    """A method with a tokenizer, whose words are not indifferent to what was before."""
    tokenizer = Tokenizer.train(["a cat, a café, a 猫"], 262, special_tokens=[SEPARATOR])
    sizes = {"vocab_size": tokenizer.vocab_size, "width": 8}
    if request.param == "lstm":
        network = RecurrentLM(RecurrentConfig(**sizes), generator=rng())
        return LSTMPretraining(network.astype("float64"), STREAM[:0], tokenizer=tokenizer)
    config = GPTConfig(**sizes, context_length=12, num_layers=1, num_heads=2, init_std=0.5)
    network = GPT(config, generator=rng()).astype("float64")
    return GPTPretraining(network, STREAM[:0], tokenizer=tokenizer)


def test_scores_are_the_chain_rule_over_tokens(written):
    tokenizer, model = written.tokenizer, written.network
    prompts = ["", "a cat, a", "", "猫 ", f"a {SEPARATOR}", "a cat " * 5]
    answers = ["", " café", "猫", "", SEPARATOR[:4], " a"]

    def plain(text):
        return tokenizer.encode(text, allow_special="none")

    found = written.score(prompts, answers)
    assert found.shape == (6,)
    assert found.dtype == np.float64
    for prompt, answer, value in zip(prompts, answers, found):
        tokens, expected = [tokenizer.special_tokens[SEPARATOR], *plain(prompt)], 0.0
        for token in plain(answer):
            if len(tokens) <= model.context_length:
                logits = model([tokens]).array[0, -1]
                expected += logits[token] - np.log(np.exp(logits).sum())
            tokens.append(token)
        if len(tokens) <= model.context_length + 1:
            assert value == pytest.approx(expected, abs=1e-10)
        assert value <= 0
    assert found[0] == found[3] == 0
    special = tokenizer.special_tokens[SEPARATOR]
    assert special not in plain(prompts[4])  # it is ordinary text there


def test_an_answer_that_has_no_room_is_named(written):
    if written.network.context_length < 1000:
        with pytest.raises(ValueError, match=r"the answer ' bbb.* has \d+ tokens, and the context"):
            written.score(["a", "a"], [" a", " " + "b" * 2000])
    else:
        assert np.isfinite(written.score(["a"], [" " + "b" * 2000])).all()


def test_a_prompt_is_cut_where_its_beginning_does_not_count(written):
    """By exchanging the first character of ever longer prompts: is the score the same?"""
    prompts, answer = ["x" + ("qz" * 9)[:size] for size in range(18)], " w"
    lengths, cut = written.answer_lengths(prompts, [answer] * 18)
    assert set(lengths) == {len(written.tokenizer.encode(answer))}
    others = written.score(["y" + prompt[1:] for prompt in prompts], [answer] * 18)
    same = np.abs(written.score(prompts, [answer] * 18) - others) < 1e-13
    np.testing.assert_array_equal(cut, same)
    assert cut.any() == (written.network.context_length < 100)


def test_scores_are_of_pairs(written):
    with pytest.raises(TypeError, match="prompts must be several texts, got one"):
        written.score("the", [" cat"])
    with pytest.raises(TypeError, match="answers must be several texts"):
        written.score(["the"], " cat")
    with pytest.raises(ValueError, match="2 prompts have 1 answers"):
        written.score(["the", "a"], [" cat"])


def test_scores_need_a_tokenizer():
    with pytest.raises(ValueError, match="built without a tokenizer"):
        new_method().score(["a"], ["b"])


def test_samples_begin_as_a_document_and_end_with_it(written):
    tokenizer, got = written.tokenizer, []
    separator = tokenizer.special_tokens[SEPARATOR]
    written.sample(b"a cat", 7, temperature=0, write=got.append)
    expected = generate(
        written.network, [separator, *tokenizer.encode("a cat")], 7, temperature=0,
        stop=[separator],
    )  # fmt: skip
    assert b"".join(got) == b"".join(map(tokenizer.token_bytes, expected))


def test_a_sample_stops_where_the_document_does(written, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "minissl.pretrain.language_model.generate", lambda *a, **options: asked.append((a, options))
    )
    written.sample(SEPARATOR.encode(), 3, write=asked.append)
    ((_, prompt, count), options) = asked[0]
    separator = written.tokenizer.special_tokens[SEPARATOR]
    assert prompt == [separator] * 2  # in a prompt a special token is one
    assert count == 3
    assert options["stop"] == [separator]
    options["on_token"](separator)
    assert len(asked) == 1
    options["on_token"](97)
    assert asked[1:] == [written.tokenizer.token_bytes(97)]


def test_a_long_text_is_cut_before_it_is_read():
    method = new_method()
    assert method.longest == 1024
    long = rng(4).integers(VOCAB, size=100_000).tolist()
    tokens, weights = method.collate([long, [1, 2]])
    assert tokens.shape == weights.shape == (2, 1024)
    np.testing.assert_array_equal(method.represent([long]), method.represent([long[:1024]]))
    assert method.represent_layers([]).shape == (0, 3, 6)
    assert method.represent_each([]) == []


def test_layers_and_each_against_the_network():
    method, examples = new_method(), [[1, 2, 3], [4], [5, 6]]
    layers, each = method.represent_layers(examples), method.represent_each(examples)
    assert layers.shape == (3, 3, 6)
    for number, example in enumerate(examples):
        states = method.network.states([example])
        for layer, state in enumerate(states):
            np.testing.assert_allclose(layers[number, layer], state.array[0].mean(0), atol=1e-12)
        np.testing.assert_allclose(each[number], states[-1].array[0], atol=1e-12)
    np.testing.assert_allclose(method.represent(examples), layers[:, -1], atol=1e-12)
    with pytest.raises(ValueError, match="example 1 has no tokens to represent"):
        method.represent([[1], []])


def test_held_out_numbers():
    """Of a text that is short enough for one lane, so that all of it is read in one pass."""
    method = toy_method("lstm")
    count = len(method.held_out) - 1
    metrics, nats = method.evaluate(), stream_nats(method.network, method.held_out)
    assert metrics["held_out_loss"] == pytest.approx(nats / count, rel=1e-6)
    assert metrics["held_out_perplexity"] == pytest.approx(np.exp(nats / count), rel=1e-5)
    per_byte = nats / np.log(2) / method.held_out_bytes
    assert metrics["held_out_bits_per_byte"] == pytest.approx(per_byte, rel=1e-6)
    assert new_method().evaluate() == {}


def test_dropout_is_in_the_loss_and_in_nothing_else():
    plain, dropped = (new_method(dropout=rate, held_out=STREAM) for rate in (0.0, 0.5))
    batch = dropped.batch(rng(), 0)
    losses = [dropped.loss(batch, rng(seed)).item() for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    np.testing.assert_array_equal(dropped.represent([[1, 2]]), plain.represent([[1, 2]]))
    np.testing.assert_array_equal(dropped.represent_each([[1]])[0], plain.represent_each([[1]])[0])
    assert dropped.evaluate() == plain.evaluate()


def test_it_learns():
    settings = toy_settings("lstm", steps=60, learning_rate=0.02, evaluations=1)
    data = Texts.toy(settings).prepare(Kept(), settings)
    method = load_method("lstm").build(settings, data)
    before = method.evaluate()["held_out_loss"]
    train(method, settings, progress=False)
    assert method.evaluate()["held_out_loss"] < 0.5 * before

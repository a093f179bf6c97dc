"""The numbers quoted in lectures 05, 06 and 10, computed again and looked up in the text."""

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from minissl import Tensor
from minissl.adapt.heads.mixture import MixedReadout
from minissl.autograd import fused
from minissl.data.streams import consecutive_windows
from minissl.data.texts import pack
from minissl.losses.language_modeling import (
    IGNORE,
    next_token_loss,
    perplexity,
    teacher_forcing,
)
from minissl.models.bidirectional import turn
from minissl.models.generate import next_token_probabilities
from minissl.models.gpt import GPT, GPTConfig
from minissl.models.held_out import stream_nats
from minissl.nn import GRU, LSTM, Embedding, Linear, Transformer, evaluating
from minissl.nn.module import Module
from minissl.nn.positions import sinusoids
from minissl.pretrain.language.gpt import GPTPretraining, GPTSettings
from minissl.pretrain.language.lstm import LSTMSettings
from minissl.text.baselines import bigram_loss, bigram_probabilities, bits_per_byte
from minissl.text.bpe import segment
from tests.lectures.reading import LECTURES, figures, says, text

# ---- 05 ------------------------------------------------------------------------------------------


def test_the_chain_rule_by_hand():
    toy = figures("05")
    p = toy["text_probabilities"](3)
    assert len(p) == 27
    assert sum(p.values()) == pytest.approx(1)
    assert p["ab."] == 1 / 16
    assert "tfrac1{16}" in text("05")
    says("05", "2.773", math.log(16))
    says("05", "0.924", math.log(16) / 3)
    says("05", "2.52", perplexity(math.log(16) / 3))
    says("05", "94", 20 * math.log10(50257))
    says("05", "921.03", -200 * math.log(0.01))
    assert 0.01**200 == 0


def test_units_by_hand():
    says("05", "2.255", bits_per_byte(3.947, 37538, 94796))
    says("05", "7.39", math.e**2)
    says("05", "11.40", (math.e + math.e**3) / 2)
    coin = np.array([0.75, 0.25])
    entropy = float(-(coin * np.log(coin)).sum())
    says("05", "0.562", entropy)
    says("05", "0.693", math.log(2))
    says("05", "0.131", math.log(2) - entropy)
    says("05", "10.825", math.log(50257))
    says("05", "0.31", 768 * 0.02**2)
    says("05", "10.979", math.log(50257) + 768 * 0.02**2 / 2)
    says("05", "4.47", 3.1 / math.log(2))
    says("05", "4.75", math.log2(27))
    says("05", "0.99", 3.1 / 4.5 / math.log(2))
    says("05", "3.3", 16 * 1024 * 50257 * 4 / 1e9)


def test_the_loss_before_training():
    first_loss = figures("05")["first_loss"]
    says("05", "7.75", first_loss(0.05))
    says("05", "12.90", first_loss(0.3))


def test_the_gradient_of_the_loss_by_hand():
    logits = Tensor(np.array([[2.0, 1.0, 0.0]]), requires_grad=True)
    loss = next_token_loss(logits, np.array([0]))
    loss.backward()
    says("05", "0.408", loss.item())
    for shown, value in zip(
        ("0.665", "0.245", "0.090"), np.exp([2, 1, 0]) / np.exp([2, 1, 0]).sum()
    ):
        says("05", shown, value)
    np.testing.assert_allclose(logits.grad[0], [-0.335, 0.245, 0.090], atol=5e-4)
    far = next_token_loss(np.array([[0.0, 200.0]], np.float32), np.array([0]))
    assert far.item() == 200
    with np.errstate(over="ignore"):
        assert np.isinf(np.exp(np.float32(89)))
        assert np.isfinite(np.exp(np.float32(88)))


def test_counting_by_hand():
    words = ["the", "cat", "dog", "sat", "ran", "."]
    train = [words.index(w) for w in "the cat sat . the cat ran . the dog sat .".split()]
    test = [words.index(w) for w in "the dog ran .".split()]
    best = -(2 * math.log(2 / 3) + math.log(1 / 3) + 2 * math.log(1 / 2)) / 11
    says("05", "0.300", best)
    says("05", "1.568", -np.log([2 / 9, 1 / 7, 2 / 7]).mean())
    p = bigram_probabilities(train, test[:-1], test[1:], 6)
    says("05", "0.065", p[1])
    says("05", "0.455", 5 / (5 + 2 * 3))
    says("05", "1.556", bigram_loss(train, test, 6))


def test_means_over_padding():
    losses = np.zeros((2, 6))
    losses[0, :2], losses[1] = 4, 1
    says("05", "1.75", losses.sum() / 8)
    says("05", "1.17", losses.mean())
    says("05", "2.50", (4 + 1) / 2)
    nothing = next_token_loss(np.zeros((1, 2, 3)), np.full((1, 2), IGNORE))
    assert nothing.item() == 0


def test_the_lstm_of_the_text():
    generator = np.random.default_rng(0)
    embed = Embedding(1024, 128, generator=generator)
    lstm = LSTM(128, 128, generator=generator)
    output = Linear(128, 1024, generator=generator)
    inputs, targets = teacher_forcing(generator.integers(1024, size=(16, 65)))
    hidden, _ = lstm(embed(inputs))
    says("05", "6.93", math.log(1024))
    assert next_token_loss(output(hidden), targets).item() == pytest.approx(
        math.log(1024), abs=0.05
    )
    says("05", "132,096", lstm.num_parameters())
    says("05", "99,072", GRU(128, 128, generator=generator).num_parameters())
    says("05", "0.0052", 0.9**50)
    says("05", "0.986", 0.5 ** (1 / 50))


def test_how_far_an_lstm_reaches_back():
    reach = figures("05")["reach"]
    for shown, bias in (("0.00002", 0.0), ("0.008", 1.0), ("0.34", 3.0)):
        says("05", shown, reach(bias)[20])


def test_what_separators_leave_out():
    stream = pack([[5, 6], [7]], 0)
    np.testing.assert_array_equal(stream, [0, 5, 6, 0, 7, 0])
    config = GPTConfig(vocab_size=8, context_length=5, num_layers=1, width=8, num_heads=1)
    model = GPT(config, generator=np.random.default_rng(0))
    method = GPTPretraining(model, stream, batch_size=1, separator=0)
    _, targets = method.batch(np.random.default_rng(0))
    np.testing.assert_array_equal(targets, [[IGNORE, 6, 0, IGNORE, 0]])


def test_truncated_back_propagation_by_hand():
    def last(w, edge=None, carried=True):
        """h₄ and ∂h₄/∂w of h ← w h + 1; behind step ``edge`` the gradient, or all, is forgotten."""
        h = slope = 0.0
        for step in range(4):
            if step == edge:
                h, slope = h * carried, 0.0
            h, slope = w * h + 1, h + w * slope
        return h, slope

    assert last(0.5) == (1.875, 2.75)
    assert last(0.5, 2) == (1.875, 2.5)
    assert last(0.5, 2, carried=False) == (1.5, 1.0)
    says("05", "5.23", last(0.9)[1])
    says("05", "4.42", last(0.9, 2)[1])
    says("05", "3.439", last(0.9)[0])
    tokens = "the cat sat . the cat ran . the dog sat .".split()
    windows = [consecutive_windows(np.arange(12), 2, 3, n) for n in (0, 1)]
    rows = [[" ".join(tokens[i] for i in lane) for lane in window] for window in windows]
    assert rows == [["the cat sat .", "ran . the dog"], [". the cat ran", "dog sat . the"]]
    lanes = [consecutive_windows(np.arange(10), 2, 2, n)[:, :-1].tolist() for n in range(3)]
    assert lanes == [[[0, 1], [5, 6]], [[2, 3], [7, 8]], [[4, 5], [9, 0]]]


def test_memory_of_a_state():
    forget = 1 / (1 + math.exp(-1))
    says("05", "0.731", forget)
    says("05", "0.0019", forget**20)
    says("05", "2,000", (forget / 0.5) ** 20, within=20)
    says("05", "0.0012", 0.9**64)
    says("05", "446", 1.1**64)
    config = LSTMSettings().config(2048)
    state = config.num_layers * config.parts * config.width
    says("05", "1,024", state)
    says("05", "1,048,576", 1024 * state)
    says("05", "18,432", 2 * 12 * 768)


def test_windows_that_slide_by_hand():
    class Counting(Module):
        """A uniform model of 2 tokens that notes how many it has read for each target."""

        context_length = 4

        def forward(self, tokens):
            read.append(np.asarray(tokens).tolist())
            return Tensor(np.zeros((*np.shape(tokens), 2)))

    stream = np.array([0, 1] * 5 + [0])
    for stride, windows in ((2, 4), (4, 3)):
        read: list = []
        nats = stream_nats(Counting(), stream, stride=stride)
        assert nats == pytest.approx(10 * math.log(2))
        assert sum(map(len, read)) == windows


def test_layers_are_mixed_by_hand():
    readout = MixedReadout(3, 2, 2, 1e-2)
    readout.mix.array[:] = 0, math.log(2), 0
    np.testing.assert_allclose(readout.layer_weights(), [1 / 4, 1 / 2, 1 / 4])
    mixed = readout.layer_weights() @ np.array([[4.0, 0], [2, 2], [0, 4]])
    np.testing.assert_allclose(mixed, [2, 2])
    turned, back = turn(np.array([[5, 6, 7, 0]]), np.array([3]))
    assert turned.tolist() == [[7, 6, 5, 0]]
    assert back.tolist() == [[2, 1, 0, 3]]
    says("05", "1.099", math.log(0.06 / 0.02))


# ---- 06 ------------------------------------------------------------------------------------------


def test_attention_by_hand():
    query, key = np.zeros((1, 1, 3, 4)), np.zeros((1, 1, 3, 4))
    query[..., 0], key[0, 0, 1, 0] = 2, math.log(2)
    value = np.array([[[[1.0, 0], [0, 1], [1, 1]]]])
    tensors = [Tensor(array, requires_grad=True) for array in (query, key, value)]
    output = fused.attention(*tensors, causal=True)
    expected = [[1, 0], [1 / 3, 2 / 3], [1 / 2, 3 / 4]]
    np.testing.assert_allclose(output.numpy()[0, 0], expected, rtol=1e-12)
    cotangent = np.zeros((1, 1, 3, 2))
    cotangent[0, 0, 2, 0] = 1
    output.backward(cotangent)
    assert tensors[0].grad[0, 0, 2, 0] == pytest.approx(-math.log(2) / 8)
    says("06", "-0.087", -math.log(2) / 8)
    # key: scale · dSᵀ Q, and Q is 2 in its first place: dS itself
    np.testing.assert_allclose(tensors[1].grad[0, 0, :, 0], [1 / 8, -1 / 4, 1 / 8], rtol=1e-12)


def test_the_leak_test_and_the_scale():
    drawn = figures("06")
    assert int((drawn["leaks"](True) == 0).sum()) == 12 * 11 // 2
    assert int((drawn["leaks"](False) == 0).sum()) == 0
    says("06", "66", 66)
    says("06", "0.80", drawn["largest_weight"](64, False))
    says("06", "0.11", drawn["largest_weight"](64, True))


def test_positions_and_norms_by_hand():
    for shown, value in zip(("0.841", "0.540", "0.010", "1.000"), sinusoids(2, 4)[1]):
        says("06", shown, value)
    waves = sinusoids(90, 64)
    assert waves[40] @ waves[50] == pytest.approx(waves[64] @ waves[74])
    x = np.array([[1.0, 2.0, 3.0, 6.0]])
    normed = fused.layer_norm(x, np.ones(4), np.zeros(4)).numpy()[0]
    for shown, value in zip(("-1.069", "-0.535", "0", "1.604"), normed):
        says("06", shown, value)
    x = np.linspace(-6, 6, 20001)
    difference = fused.gelu(x).numpy() - fused.gelu(x, approximate="none").numpy()
    assert 0.0004 < np.abs(difference).max() < 0.0005


def test_depth():
    says("06", "4.5", figures("06")["spread_by_depth"](False)[-1])
    says("06", "1.2", figures("06")["spread_by_depth"](True)[-1])


def count(vocab_size, context_length, num_layers, width, **more):
    return GPTConfig(
        vocab_size=vocab_size,
        context_length=context_length,
        num_layers=num_layers,
        width=width,
        num_heads=8,
        **more,
    ).num_parameters()


def test_parameter_counts():
    says("06", "116,534,784", count(40478, 512, 12, 768, norm_first=False))
    says("06", "124,439,808", count(50257, 1024, 12, 768))
    says("06", "1,557,611,200", count(50257, 1024, 48, 1600))
    says("06", "174,604,259,328", count(50257, 2048, 96, 12288))
    for shown, layers, d in (("109,482,240", 12, 768), ("335,141,888", 24, 1024)):
        bert = count(30522, 512, layers, d, norm_first=False) + 2 * d + 2 * d + d * d + d
        says("06", shown, bert)
    says("06", "4,472,320", count(5000, 128, 4, 256))
    config = GPTConfig(vocab_size=50, context_length=9, num_layers=2, width=16, num_heads=2)
    assert GPT(config, generator=np.random.default_rng(0)).num_parameters() == count(50, 9, 2, 16)


def test_costs():
    costs = figures("06")["multiply_adds"](figures("06")["GPT2"], 4608)
    assert costs["projections and MLP"] == costs["scores and weighted values"]
    says("06", "4,608", 6 * 768)
    says("06", "85", costs["projections and MLP"] / 1e6)
    says("06", "50", 12 * 1024**2 * 4 / 1e6)
    says("06", "3.2", 12 * 8192**2 * 4 / 1e9)
    says("06", "73,728", 6 * 12288)
    says("06", "2.8", 100 * 2048 / 73728)


def test_without_positions_an_encoder_sees_a_set():
    config = GPTConfig(vocab_size=5, context_length=4, num_layers=2, width=8, num_heads=2)
    model = Transformer(config, generator=np.random.default_rng(0)).astype(np.float64)
    x = np.random.default_rng(1).standard_normal((1, 6, 8))
    order = np.random.default_rng(2).permutation(6)
    with evaluating(model):
        straight, shuffled = model(Tensor(x)).numpy(), model(Tensor(x[:, order])).numpy()
        causal = model(Tensor(x[:, order]), causal=True).numpy()
    np.testing.assert_allclose(shuffled, straight[:, order], atol=1e-12)
    assert np.abs(causal - model(Tensor(x), causal=True).numpy()[:, order]).max() > 1e-3


# ---- 10 ------------------------------------------------------------------------------------------


def test_temperature_and_cuts_by_hand():
    logits = figures("10")["LOGITS"]
    table = {
        0.5: ("0.865", "0.117", "0.016", "0.002", "7.39", "0.455"),
        1.0: ("0.644", "0.237", "0.087", "0.032", "2.72", "0.948"),
        2.0: ("0.455", "0.276", "0.167", "0.102", "1.65", "1.245"),
    }
    for temperature, row in table.items():
        p = next_token_probabilities(logits, temperature=temperature)
        for shown, value in zip(row, (*p, p[0] / p[1], -(p * np.log(p)).sum())):
            says("10", shown, value)
        kept = (next_token_probabilities(logits, temperature=temperature, top_p=0.9) > 0).sum()
        assert kept == {0.5: 2, 1.0: 3, 2.0: 4}[temperature]
    for dials, row in (({"top_k": 2}, ("0.731", "0.269")), ({"top_p": 0.9}, ("0.665", "0.245"))):
        for shown, value in zip(row, next_token_probabilities(logits, **dials)):
            says("10", shown, value)


def test_steps_are_sharpened_and_not_texts():
    first = np.array([0.6, 0.4]) ** 2
    says("10", "0.31", first[1] / first.sum())
    texts = np.array([0.15] * 4 + [0.4]) ** 2
    says("10", "0.64", texts[-1] / texts.sum())
    says("10", "0.511", -math.log(0.6))
    says("10", "0.673", -(0.6 * math.log(0.6) + 0.4 * math.log(0.4)))
    says("10", "6.5", 0.6**100 * 1e23)
    says("10", "13", 100 * 0.98**100)


def test_what_the_cache_saves_and_costs():
    says("10", "32,896", sum(range(1, 257)))
    says("10", "73,728", 2 * 12 * 768 * 4)
    says("10", "75.5", 73728 * 1024 / 1e6)
    says("10", "614,400", 2 * 48 * 1600 * 4)
    says("10", "629", 614400 * 1024 / 1e6)
    says("10", "4,718,592", 2 * 96 * 12288 * 2)
    says("10", "9.7", 4718592 * 2048 / 1e9)
    says("10", "349", 174604259328 * 2 / 1e9)


def test_sizes_and_operations():
    settings = GPTSettings()
    tokens = settings.steps * settings.batch_size * settings.context_length
    parameters = count(2048, 128, 2, 128)
    says("10", "0.7", parameters / 1e6)
    says("10", "1.6", tokens / 1e6)
    says("10", "6.6", 6 * parameters * tokens / 1e12)
    says("10", "3.1", 6 * count(50257, 2048, 96, 12288) * 300e9 / 1e23)
    says("10", "38.6", 50257 * 768 / 1e6)


def test_an_untrained_gpt_says_its_own_token_again():
    config = GPTConfig(vocab_size=2048, context_length=64, num_layers=2, width=128, num_heads=4)
    model = GPT(config, generator=np.random.default_rng(0))
    tokens = np.random.default_rng(1).integers(2048, size=(8, 64))
    with evaluating(model):
        again = (model(tokens).numpy().argmax(axis=-1) == tokens).mean()
    says("10", "88", 100 * again)


def test_the_cache_picture():
    work = figures("10")["cache"]()
    titles = [axis.get_title() for axis in work.axes]
    assert titles == ["no cache: 42 tokens computed", "cache: 9 tokens computed"]


def test_05_points_and_line_before_training():
    for init_std, shown in ((0.05, "7.78"), (0.3, "13.38")):
        says("05", shown, math.log(2048) + 128 * init_std**2 / 2)


def test_05_kneser_ney_formula_by_hand():
    """The formula that stands in the text, on its twelve tokens: 0.065 and 1.556 nats."""
    train = "the cat sat . the cat ran . the dog sat .".split()
    pairs = Counter(pairwise(train))
    once, twice = (sum(count == n for count in pairs.values()) for n in (1, 2))
    discount = once / (once + 2 * twice)
    before = Counter(word for _, word in pairs)
    after = Counter(word for word, _ in pairs)

    def p(word, previous):
        q = (before[word] + 1) / (len(pairs) + 6)
        kept = max(pairs[previous, word] - discount, 0) + discount * after[previous] * q
        return kept / train[:-1].count(previous)

    test = "the dog ran .".split()
    says("05", "0.065", p("ran", "dog"))
    says("05", "1.556", -sum(math.log(p(w, v)) for v, w in pairwise(test)) / 3)


def test_what_the_errata_compute():
    errata = " ".join((LECTURES / "appendix_errata.md").read_text("utf-8").split())
    assert f"$2 \\ln 2 = {-2 * math.log(0.5):.3f}$" in errata  # a sum, not minus a product, −1/4
    assert f"410 + 19 + 12 + 55 + 3 = {410 + 19 + 12 + 55 + 3} billion" in errata
    assert f"as if {410 / 499:.0%}".replace("%", " %") in errata
    merges = [b"nd", b"un", b"do"]
    ranks = {bytes([i]): i for i in range(256)} | {t: 256 + i for i, t in enumerate(merges)}
    assert segment(b"undo", ranks) == [b"u", b"nd", b"o"]

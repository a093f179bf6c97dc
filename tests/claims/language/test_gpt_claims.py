"""The claims about GPT: what they measure is what they say, quickly."""

import math

import numpy as np
import pytest

from minissl.autograd import Tensor
from minissl.autograd.fused import gpu
from minissl.claims import gpt_on_english as english
from minissl.claims import load_claim
from minissl.claims.claim import Setup
from minissl.claims.drawing import smooth
from minissl.claims.experiments.language import (
    causal,
    characters_and_subwords,
    first_token,
    sampling,
)
from minissl.models.gpt import GPT, GPTConfig
from minissl.nn.evaluating import evaluating
from minissl.nn.module import Module
from minissl.pretrain.language.gpt import GPTPretraining, GPTSettings
from minissl.pretrain.run import train
from tests.claims.reading import cells, require_whole

NAMES = ("causal", "characters-and-subwords", "first-token", "sampling")
SEEDS = [0, 1]


class Table(Module):
    """A model that knows one distribution per token, of what follows it: (vocab, vocab)."""

    def __init__(self, probabilities):
        self.logits = Tensor(np.log(probabilities))

    def forward(self, tokens):
        return Tensor(self.logits.array[np.asarray(tokens)])


def new_table(vocab_size, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(vocab_size), size=vocab_size)


def new_gpt(kind=GPT, seed=0, **sizes):
    sizes = {"vocab_size": 13, "context_length": 16, "num_layers": 2, "width": 16, **sizes}
    config = GPTConfig(num_heads=2, init_std=0.3, **sizes)
    return kind(config, generator=np.random.default_rng(seed))


# ---- all of them --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_runs_from_end_to_end(runs, name):
    result, folder = runs(name)
    require_whole(name, result, folder)
    for row in result["table"].values():
        for column, cell in row.items():
            assert "%" not in column or 0 <= cell["low"] <= cell["high"]


@pytest.mark.parametrize(
    ("name", "baselines"),
    [
        ("causal", {"counting pairs", "counting tokens"}),
        ("characters-and-subwords", {"gzip", "xz", "pairs of bytes"}),
        ("first-token", {"uniform", first_token.COUNTED}),
        ("sampling", {sampling.TEXT, "greedy"}),
    ],
)
def test_simple_baselines_stand_beside_the_claim(runs, name, baselines):
    assert baselines <= set(runs(name)[0]["table"])


def test_the_seed_decides_which_documents_are_held_out():
    settings = {"documents": 200}
    splits = [english.english(Setup(seed, settings)) for seed in (0, 0, 1)]
    assert splits[0] == splits[1]
    for training, held_out in splits:
        assert (len(training), len(held_out)) == (192, 8)
        assert not {d.name for d in training} & {d.name for d in held_out}
    assert {d.name for d in splits[0][1]} != {d.name for d in splits[2][1]}


@pytest.mark.parametrize("name", ["causal", "first-token", "sampling"])
def test_models_can_live_on_another_device(name, monkeypatch):
    # The interpreter of the kernels would take minutes: compose everything on torch arrays.
    monkeypatch.setattr(gpu, "_interpreted", lambda: False)
    assert english.new_gpt(Setup(0, {}, "torch"), GPTSettings(width=8), 20).device == "torch"
    claim = load_claim(name)
    settings = {**claim.scales["quick"], "steps": 4, "written": 9, "texts": 4}
    here, there = (claim.measure(Setup(0, settings, device)).table for device in ("cpu", "torch"))
    assert there.keys() == here.keys()
    for row, columns in here.items():
        for column, value in columns.items():
            if column.startswith("nats") or column in ("training loss", "future hidden"):
                assert there[row][column] == pytest.approx(value, rel=1e-3)


def test_log_probabilities_and_smoothing():
    logits = np.array([[1000.0, 1001.0, 999.0]], dtype=np.float32)
    expected = np.array([1, math.e, 1 / math.e]) / (1 + math.e + 1 / math.e)
    np.testing.assert_allclose(np.exp(english.log_probabilities(logits))[0], expected)
    assert smooth([1, 3, 5, 7, 100], 2).tolist() == [2, 6]


# ---- causal -------------------------------------------------------------------------------------


def test_only_the_causal_model_is_blind_to_the_future(runs):
    for column in ("past changes by", "gradient to the future"):
        seen = cells(runs("causal")[0], column)
        assert seen[causal.CAUSAL] == [0, 0]
        assert min(seen[causal.UNMASKED]) > 1e-3


def test_a_leak_from_a_single_place_is_noticed():
    class Leaky(GPT):
        """The vector of the last token is added to that of the second, very faintly."""

        def _embed(self, tokens, start=0):
            x = super()._embed(tokens, start)
            leak = np.zeros_like(x.array)
            if x.shape[1] > 1:
                leak[:, 1] = 1e-4 * x.array[:, -1]
            return x + leak

    windows = np.random.default_rng(0).integers(13, size=(4, 17))
    assert causal.change_of_the_past(new_gpt(), windows, 0) == 0
    assert causal.change_of_the_past(new_gpt(Leaky), windows, 0) > 0


def test_the_likelihood_by_hand(runs):
    table = runs("causal")[0]["table"]["a text by hand"]
    assert table["difference"]["high"] < 1e-3 < 10 < table["sum of −ln p"]["low"]
    model, text = new_gpt(), np.random.default_rng(1).integers(13, size=17)
    logits = model(text[None, :-1]).numpy()[0].astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    product = math.prod(probabilities[np.arange(16), text[1:]])
    found = causal.chain_rule(model, text)
    assert found["−ln of the product"] == pytest.approx(-math.log(product), rel=1e-5)
    assert found["sum of −ln p"] == pytest.approx(-math.log(product), rel=1e-5)


def test_hiding_the_future_changes_nothing_for_a_causal_model_alone():
    windows = np.random.default_rng(2).integers(13, size=(5, 17))
    known = causal.known_lengths(windows)
    assert known.min() == 8
    assert known.max() == 16
    for kind, same in ((GPT, True), (causal.UnmaskedGPT, False)):
        model = new_gpt(kind)
        with evaluating(model):
            all_at_once = english.log_probabilities(model(windows[:, :-1]).numpy())
        seen = [all_at_once[i, k - 1, windows[i, k]] for i in range(5) for k in known]
        close = causal.future_hidden_loss(model, windows) == pytest.approx(-np.mean(seen), rel=1e-5)
        assert close == same


def test_counts_predict_the_same_tokens():
    stream = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1])
    windows = np.array([[0, 1, 2, 0, 1, 2, 0, 1, 2]])
    losses = causal.counted_losses(stream, windows, 3)
    known = causal.known_lengths(windows)
    counts = np.array([4, 4, 3]) + 1
    expected = -np.mean([math.log(counts[windows[0, k]] / counts.sum()) for k in known])
    assert losses["counting tokens"] == pytest.approx(expected)
    assert losses["counting pairs"] < 0.5 * losses["counting tokens"]


def test_without_the_mask_it_learns_to_copy_noise():
    stream = np.random.default_rng(0).integers(8, size=4000)  # nothing to predict: ln 8 nats
    settings = GPTSettings(steps=250, batch_size=16, learning_rate=3e-3)
    last = {}
    for kind in (GPT, causal.UnmaskedGPT):
        model = new_gpt(kind, vocab_size=8, context_length=8, width=32)
        history = train(GPTPretraining(model, stream, batch_size=16), settings, progress=False)
        last[kind] = np.mean(history.losses()[-20:])
    assert last[GPT] > math.log(8) - 0.1
    assert last[causal.UnmaskedGPT] < 0.7  # one position has nothing to copy: ln 8 / 8 = 0.26


# ---- characters and subwords --------------------------------------------------------------------


def test_operations_are_those_of_the_matrices_that_are_there():
    config = GPTConfig(vocab_size=50, context_length=32, num_layers=3, width=16, num_heads=2)
    model = GPT(config, generator=np.random.default_rng(0))
    weights = sum(
        p.size for n, p in model.named_parameters() if p.ndim == 2 and "positions" not in n
    )
    pairs = 3 * 32 * 32 / 2  # (query, key) of one window, half of them in the future
    per_window = 6 * (weights * 32 + 2 * pairs * 16)
    assert characters_and_subwords.flops_per_step(config, 5) == 5 * per_window


def test_all_vocabularies_spend_the_same_operations(runs):
    result = runs("characters-and-subwords")[0]
    spent = cells(result, "TFLOP")
    budget = result["settings"]["teraflop"]
    assert set(spent) == {"bytes", "BPE, 1,024", "BPE, 4,096"}
    for row, values in spent.items():
        steps = cells(result, "steps")[row]
        assert abs(values[0] - budget) <= values[0] / steps[0]
    read = cells(result, "MB of text read")
    tokens = {row: values[0] * 8 * 32 / 1e6 for row, values in cells(result, "steps").items()}
    assert read["bytes"][0] == pytest.approx(tokens["bytes"], rel=0.02)  # separators are no text
    assert read["BPE, 4,096"][0] > 2.5 * tokens["BPE, 4,096"]


def test_bits_and_nats_are_of_the_same_text(runs):
    result = runs("characters-and-subwords")[0]
    nats, bits = cells(result, "nats per token"), cells(result, "bits per byte")
    assert bits["bytes"][0] == pytest.approx(nats["bytes"][0] / math.log(2), rel=0.02)
    assert bits["BPE, 1,024"][0] < 0.7 * nats["BPE, 1,024"][0] / math.log(2)


# ---- the first token ----------------------------------------------------------------------------


def test_the_first_token_costs_what_the_separator_says():
    table, unigram = new_table(6), np.full(6, 1 / 6)
    texts = np.random.default_rng(1).integers(5, size=(7, 8)).tolist()
    first, soon = first_token.nats(Table(table), texts, 5, unigram)
    assert first == pytest.approx(-np.mean([math.log(table[5, t[0]]) for t in texts]))
    later = [math.log(table[t[i], t[i + 1]]) for t in texts for i in range(7)]
    assert soon == pytest.approx(-np.mean(later))
    assert first_token.nats(Table(table), texts, None, unigram) == (
        pytest.approx(math.log(6)),
        pytest.approx(soon),
    )


def test_what_is_left_out_of_the_loss_is_not_learned(runs):
    first = cells(runs("first-token")[0], first_token.FIRST)
    for learned, left_out in zip(first[first_token.WITH], first[first_token.LEFT_OUT]):
        assert learned < left_out - 0.01


def test_capitals_are_counted_where_texts_begin():
    assert first_token.capitals(["Return", "return The", " The", "1", "Ökonomie"]) == 40
    assert first_token.capitals(["", "A"]) == 50


def test_a_model_without_a_separator_begins_with_any_token():
    unigram = np.zeros(13)
    unigram[[3, 4]] = 0.5
    setup = Setup(0, {"written": 40})
    texts = first_token.unprompted(setup, new_gpt(), None, unigram)
    assert {text[0] for text in texts} == {3, 4}
    assert {len(text) for text in texts} == {first_token.WRITTEN}
    texts = first_token.unprompted(setup, new_gpt(), 12, unigram)
    assert len({text[0] for text in texts}) > 2
    assert {len(text) for text in texts} == {first_token.WRITTEN}


# ---- sampling -----------------------------------------------------------------------------------


def test_samples_are_described_by_hand():
    prompt = [0] * sampling.PROMPT
    texts = np.array([[*prompt, 1, 2, 3, 4, 1, 2, 3, 4, 1], [*prompt, 1, 2, 3, 4, 0, 1, 2, 3, 0]])
    table = new_table(5)
    found = sampling.describe(Table(table), texts)
    after = [math.log(table[t[i - 1], t[i]]) for t in texts for i in range(sampling.PROMPT, 17)]
    assert found[sampling.JUDGED] == pytest.approx(-np.mean(after))
    # first: 1234 2341 3412 4123 1234 2341; second: 1234 2340 3401 4012 0123 1230
    assert found[sampling.REPEATED] == pytest.approx(100 * 2 / 12)
    assert found[sampling.DISTINCT] == pytest.approx(100 * 9 / 12)


def test_the_cache_changes_no_token_and_saves_time(runs):
    result = runs("sampling")[0]
    assert cells(result, "same tokens (%)") == {sampling.CACHED: [100, 100]}
    slower = cells(result, "times as long")
    assert slower[sampling.CACHED] == [1, 1]
    assert min(slower[sampling.ANEW]) > 1


def test_continuations_keep_the_prompt_and_follow_the_way():
    model = new_gpt(context_length=32)
    texts = np.random.default_rng(0).integers(13, size=(3, 20))
    greedy = sampling.continuations(model, texts, 0, temperature=0)
    assert (greedy[:, : sampling.PROMPT] == texts[:, : sampling.PROMPT]).all()
    with evaluating(model):
        likeliest = model(texts[:, : sampling.PROMPT]).numpy()[:, -1].argmax(axis=-1)
    assert (greedy[:, sampling.PROMPT] == likeliest).all()
    assert (sampling.continuations(model, texts, 1, top_k=1) == greedy).all()
    hot = sampling.continuations(model, texts, 0, temperature=3.0)
    assert hot.shape == texts.shape
    assert (hot != greedy).any()


def test_writer_and_judge_are_different_models():
    setup = Setup(0, {})
    first, second, again = (
        english.new_gpt(setup, GPTSettings(width=8), 20, number=number) for number in (0, 1, 0)
    )
    same = [
        np.array_equal(a.array, b.array) for a, b in zip(first.parameters(), again.parameters())
    ]
    assert all(same)
    assert not np.array_equal(first.tokens.weight.array, second.tokens.weight.array)

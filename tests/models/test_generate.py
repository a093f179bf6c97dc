"""Generation: the cache changes nothing, the distribution is the stated one, limits are defined."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minissl.models import decode
from minissl.models.generate import generate, next_token_logits, next_token_probabilities
from minissl.models.gpt import GPT, GPTConfig
from minissl.models.recurrent import RecurrentConfig, RecurrentLM
from minissl.nn import Linear, evaluating

VOCAB, CONTEXT = 17, 10


def new_model(dtype="float64", **settings):
    """With a random last norm: the tied output would else always say the last token again."""
    config = GPTConfig(
        vocab_size=VOCAB,
        context_length=CONTEXT,
        num_layers=3,
        width=12,
        num_heads=3,
        init_std=0.4,
        **settings,
    )
    model = GPT(config, generator=rng()).astype(dtype)
    last_norm = model.transformer.final_norm or model.transformer.blocks[-1].mlp_norm
    last_norm.weight.array = rng(5).standard_normal(12).astype(dtype)
    return model


def rng(seed=0):
    return np.random.default_rng(seed)


# ---- with and without the cache -----------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-5)])
@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize(
    "settings",
    [{}, {"norm_first": False}, {"bias": False, "norm_eps": 0.1}, {"tied_output": False}],
)
def test_cached_logits_equal_those_of_a_full_pass(dtype, tolerance, quick, settings):
    model = new_model(dtype, **settings)
    for parameter in model.parameters():  # no bias is zero and no norm is plain
        noise = rng(parameter.size).standard_normal(parameter.shape)
        parameter.array = (parameter.array + 0.2 * noise).astype(dtype)
    tokens = rng(1).integers(VOCAB, size=CONTEXT + 4).tolist()
    with evaluating(model):
        caches = model.new_caches()
        for length in [3, *range(5, CONTEXT + 4)]:  # 3 at once, 2 at once, one by one, beyond
            cached = next_token_logits(model, tokens[:length], caches, quick=quick)
            full = model(np.array([tokens[:length][-CONTEXT:]])).array[0, -1]
            assert cached.shape == (VOCAB,)
            assert cached.dtype == dtype
            scale = np.abs(full).max()
            np.testing.assert_allclose(cached, full, rtol=0, atol=tolerance * scale)
    assert caches[0].length == CONTEXT


def new_recurrent(dtype="float64", **settings):
    config = RecurrentConfig(vocab_size=VOCAB, width=12, num_layers=2, init_std=1.0, **settings)
    model = RecurrentLM(config, generator=rng()).astype(dtype)
    for parameter in model.parameters():  # no bias is zero, and some gates are shut
        noise = rng(parameter.size).standard_normal(parameter.shape)
        parameter.array = (3 * parameter.array + noise).astype(dtype)
    return model


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-4)])
@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("settings", [{}, {"cell": "gru"}])
def test_a_state_is_all_that_a_recurrent_model_needs(dtype, tolerance, quick, settings):
    model = new_recurrent(dtype, **settings)
    assert decode.applies_to(model)
    tokens = rng(1).integers(VOCAB, size=9).tolist()
    with evaluating(model):
        caches = model.new_caches()
        for length in [3, *range(5, 9)]:  # 3 at once, 2 at once, one by one
            held = [cache.state for cache in caches]
            kept = [None if state is None else state.array.copy() for state in held]
            cached = next_token_logits(model, tokens[:length], caches, quick=quick)
            full = model(np.array([tokens[:length]])).array[0, -1]
            assert cached.shape == (VOCAB,)
            assert cached.dtype == dtype
            np.testing.assert_allclose(cached, full, rtol=tolerance, atol=tolerance)
            assert [cache.length for cache in caches] == [length] * 2
            for state, copy in zip(held, kept):  # who holds an earlier state may go on from it
                assert copy is None or np.array_equal(state.array, copy)


@pytest.mark.parametrize("settings", [{"temperature": 0}, {}, {"top_k": 5, "top_p": 0.9}])
@pytest.mark.parametrize("prompt_length", [1, 4, CONTEXT, CONTEXT + 3])
@pytest.mark.parametrize("norm_first", [True, False])
def test_same_tokens_with_and_without_the_cache(settings, prompt_length, norm_first):
    model = new_model(norm_first=norm_first)
    prompt = rng(1).integers(VOCAB, size=prompt_length)
    with_cache, without = (
        generate(model, prompt, 14, generator=rng(2), cache=cache, **settings)
        for cache in (True, False)
    )
    assert with_cache == without
    assert len(with_cache) == 14
    assert len(set(with_cache)) > 1 or settings == {"temperature": 0}


def test_the_quick_step_knows_what_it_can_compute():
    assert decode.applies_to(new_model())
    assert decode.applies_to(new_model(norm_first=False, bias=False, dropout=0.5))
    assert not decode.applies_to(new_model(activation="gelu_exact"))
    assert not decode.applies_to(new_model("float32").map_arrays(torch.from_numpy))

    class Doubled(Linear):  # as an adapter would exchange it
        def forward(self, x):
            return 2 * super().forward(x)

    model = new_model()
    model.transformer.blocks[1].attention.value = Doubled(12, 12, generator=rng()).astype(
        np.float64
    )
    assert not decode.applies_to(model)
    for other in (model, new_model(activation="relu")):
        with_cache, without = (
            generate(other, [1], 8, temperature=0, cache=c) for c in (True, False)
        )
        assert with_cache == without


def test_greedy_takes_the_likeliest_token_and_slides_the_window():
    model, tokens = new_model(), [3, 1]
    for _ in range(CONTEXT + 5):
        logits = model(np.array([tokens[-CONTEXT:]])).array[0, -1]
        tokens.append(int(np.argmax(logits)))
    assert generate(model, [3, 1], CONTEXT + 5, temperature=0) == tokens[2:]


# ---- the distribution ---------------------------------------------------------------------------

LOGITS = arrays(
    np.float32, st.integers(1, 30), elements=st.floats(-30, 30, width=32, allow_subnormal=False)
)


@given(LOGITS, st.floats(0.1, 10))
def test_temperature_divides_the_logits(logits, temperature):
    expected = np.exp(logits.astype(np.float64) / temperature)
    got = next_token_probabilities(logits, temperature=temperature)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, expected / expected.sum(), rtol=1e-9, atol=1e-300)


@given(LOGITS, st.integers(1, 40))
def test_top_k_keeps_the_k_likeliest(logits, k):
    full, kept = next_token_probabilities(logits), next_token_probabilities(logits, top_k=k)
    chosen = sorted(range(len(logits)), key=lambda i: (-full[i], i))[:k]
    expected = np.zeros(len(logits))
    expected[chosen] = full[chosen] / full[chosen].sum()
    np.testing.assert_allclose(kept, expected, rtol=1e-12)


@given(LOGITS, st.floats(0.01, 1), st.one_of(st.none(), st.integers(1, 40)))
def test_top_p_keeps_the_smallest_set_that_reaches_p(logits, p, k):
    before = next_token_probabilities(logits, top_k=k)
    kept = next_token_probabilities(logits, top_k=k, top_p=p)
    inside = kept > 0
    assert before[inside].sum() >= p - 1e-9
    assert before[inside].sum() - before[inside].min() < p + 1e-9  # one less would not reach it
    assert before[inside].min() >= before[~inside].max(initial=0)  # the likeliest ones
    np.testing.assert_allclose(kept[inside], before[inside] / before[inside].sum(), rtol=1e-12)


def test_worked_example():
    logits = np.log([0.5, 0.25, 0.15, 0.1])
    np.testing.assert_allclose(next_token_probabilities(logits, top_k=2), [2 / 3, 1 / 3, 0, 0])
    np.testing.assert_allclose(
        next_token_probabilities(logits, top_p=0.8), np.array([0.5, 0.25, 0.15, 0]) / 0.9
    )
    np.testing.assert_allclose(next_token_probabilities(logits, top_p=0.2), [1, 0, 0, 0])
    squared = np.array([0.5, 0.25, 0.15, 0.1]) ** 2
    np.testing.assert_allclose(
        next_token_probabilities(logits, temperature=0.5), squared / squared.sum()
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize(
    "dials", [{"temperature": 0}, {}, {"top_k": 2}, {"top_p": 0.5}, {"cache": False}]
)
def test_logits_that_are_no_numbers_give_no_token(bad, place, dials):
    logits = np.array([1.0, 3.0, 2.0])
    logits[place] = bad
    if dials.get("temperature") != 0 and "cache" not in dials:
        with pytest.raises(ValueError, match=f"the largest logit, of token {place}, is {bad}"):
            next_token_probabilities(logits, **dials)
    model = new_model()
    model.tokens.weight.array[place, 0] = bad
    nothing = pytest.raises(
        ValueError, match=r"the largest logit, of token .*: it predicts nothing"
    )
    with np.errstate(invalid="ignore"), nothing:
        generate(model, [1, place], 2, generator=rng(0), **dials)


def test_tokens_that_are_ruled_out():
    logits = np.array([-np.inf, 1.0, 1.0])
    np.testing.assert_array_equal(next_token_probabilities(logits), [0, 0.5, 0.5])
    np.testing.assert_array_equal(next_token_probabilities(logits, top_k=1), [0, 1, 0])
    with pytest.raises(ValueError, match="of token 0, is -inf"):
        next_token_probabilities(np.full(3, -np.inf))


def test_draws_follow_the_distribution():
    model = new_model()
    settings = {"temperature": 1.3, "top_p": 0.95}
    expected = next_token_probabilities(model(np.array([[2]])).array[0, -1], **settings)
    generator = rng(0)
    draws = [generate(model, [2], 1, generator=generator, **settings)[0] for _ in range(800)]
    counts = np.bincount(draws, minlength=VOCAB)
    assert not counts[expected == 0].any()
    error = np.sqrt(800 * expected * (1 - expected))
    assert (np.abs(counts - 800 * expected) <= 4 * error + 1e-9).all()


# ---- limits -------------------------------------------------------------------------------------


def test_the_smallest_draw_is_no_token_that_is_ruled_out():
    """A draw of exactly 0 (one in 2⁵³) does not fall before the first that has a probability."""

    class Zero:
        def random(self):
            return 0.0

    model = new_model()
    (greedy,) = generate(model, [3], 1, temperature=0)
    assert greedy > 0
    assert generate(model, [3], 1, top_k=1, generator=Zero()) == [greedy]


def test_tokens_out_of_range_are_refused():
    for prompt in ([VOCAB], [-1], [1, -1]):
        with pytest.raises(IndexError, match="0 to 16"):
            generate(new_model(), prompt, 2, temperature=0)


def test_stop_and_on_token():
    model, seen = new_model(), []
    tokens = generate(model, [1], 30, generator=rng(3), on_token=seen.append)
    assert seen == tokens
    stop = tokens[12]
    cut = tokens.index(stop) + 1
    assert generate(model, [1], 30, generator=rng(3), stop=[stop]) == tokens[:cut]
    assert generate(model, [1], 0, generator=rng(3)) == []


def test_the_same_seed_gives_the_same_text():
    model = new_model()
    first, again, other = (generate(model, [1], 20, generator=rng(s)) for s in (1, 1, 2))
    assert first == again != other


def test_the_model_is_left_as_it_was():
    model = new_model(dropout=0.5)
    model.transformer.blocks[0].eval()
    tokens = generate(model, [1], 5, temperature=0)
    assert tokens == generate(new_model(), [1], 5, temperature=0)  # no dropout meanwhile
    assert model.training
    assert not model.transformer.blocks[0].training
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt": []}, "begin with the separator"),
        ({"generator": None}, "sampling needs generator="),
        ({"temperature": -1.0}, "temperature must be positive"),
        ({"temperature": float("nan")}, "temperature must be positive"),
        ({"top_k": 0}, "top_k must be 1 or more, got 0"),
        ({"top_p": 0.0}, r"top_p must be in \(0, 1\], got 0.0"),
        ({"top_p": 1.5}, r"top_p must be in \(0, 1\]"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, message):
    arguments = {"prompt": [1], "max_new_tokens": 2, "generator": rng(), **settings}
    with pytest.raises(ValueError, match=message):
        generate(new_model(), **arguments)

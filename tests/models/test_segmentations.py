"""One text in several segmentations: every one by hand, closed forms, float64 step by step."""

import math
from itertools import combinations, pairwise

import numpy as np
import pytest

from minissl.models.generate import next_token_logits
from minissl.models.gpt import GPT, GPTConfig
from minissl.models.segmentations import log_probabilities, log_sum, several_segmentations
from minissl.nn.evaluating import evaluating
from minissl.text import Tokenizer

TOKENIZER = Tokenizer.from_merges([(b"a", b"a"), (b"aa", b"a"), (b"a", b"b")], special_tokens=["|"])
START = TOKENIZER.special_tokens["|"]


def new_model(context_length=12, dropout=0.0, seed=0):
    config = GPTConfig(
        vocab_size=TOKENIZER.vocab_size, context_length=context_length, num_layers=1, width=8,
        num_heads=2, init_std=0.6, dropout=dropout,
    )  # fmt: skip
    return GPT(config, generator=np.random.default_rng(seed)).astype(np.float64)


def every_segmentation(text):
    """All ways to cut a text into tokens, by trying every set of borders."""
    for count in range(len(text)):
        for borders in combinations(range(1, len(text)), count):
            pieces = [text[a:b] for a, b in pairwise([0, *borders, len(text)])]
            if all(piece in TOKENIZER.ranks for piece in pieces):
                yield [TOKENIZER.ranks[piece] for piece in pieces]


def step_by_step(model, tokens):
    """ln p(tokens | START), one token after the other."""
    total = 0.0
    with evaluating(model):
        for i, token in enumerate(tokens):
            logits = next_token_logits(model, [START, *tokens[:i]])
            total += logits[token] - np.log(np.exp(logits).sum())
    return total


@pytest.mark.parametrize("batch_size", [1, 3, 16])
@pytest.mark.parametrize("end", [None, START])
def test_each_is_scored_token_by_token(batch_size, end):
    model = new_model(dropout=0.5)  # which must not be drawn
    ways = [*every_segmentation(b"aaab"), []]
    assert len(ways) == 7
    found = log_probabilities(model, ways, start=START, end=end, batch_size=batch_size)
    expected = [step_by_step(model, way + ([] if end is None else [end])) for way in ways]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert found.dtype == np.float64
    assert model.training


def test_first_tokens_and_the_empty_document_share_the_probability_one():
    model = new_model()
    begun = log_probabilities(model, [[token] for token in range(START)], start=START)
    empty = log_probabilities(model, [[]], start=START, end=START)
    assert np.exp(begun).sum() + np.exp(empty).sum() == pytest.approx(1)


def test_a_model_that_knows_nothing():
    """Each token 1 / V: aaa is one token, or two in two ways, or three."""
    model = new_model()
    model.load_state_dict({k: 0 * v for k, v in model.state_dict().items()})
    ways = list(every_segmentation(b"aaa"))
    found = log_probabilities(model, ways, start=START)
    size = TOKENIZER.vocab_size
    np.testing.assert_allclose(found, [-len(way) * math.log(size) for way in ways])
    assert log_sum(ways, found) == pytest.approx(math.log(1 / size + 2 / size**2 + 1 / size**3))


def test_the_sum_is_a_bound_that_rises():
    model = new_model()
    ways = list(every_segmentation(b"aaabaab"))
    log_p = log_probabilities(model, ways, start=START)
    sums = [log_sum(ways[:count], log_p[:count]) for count in range(1, len(ways) + 1)]
    assert sums[0] == pytest.approx(log_p[0])
    assert (np.diff(sums) > 0).all()
    assert sums[-1] == pytest.approx(np.log(np.exp(log_p).sum()))
    assert log_sum(ways * 2, np.tile(log_p, 2)) == pytest.approx(sums[-1])  # each counts once
    assert log_sum(ways[:2], log_p[:2] - 5000) == pytest.approx(sums[1] - 5000)
    assert log_sum(ways[:2], np.array([-np.inf, -1])) == pytest.approx(-1)
    assert log_sum(ways[:1], np.array([-np.inf])) == -np.inf
    assert math.isnan(log_sum(ways[:2], np.array([np.nan, -1])))


def test_drawn_segmentations_are_different_and_spell_the_text():
    text = "aaab aab é|"
    found = several_segmentations(TOKENIZER, text, 60, 0.5, np.random.default_rng(0))
    assert found[0] == TOKENIZER.encode(text, allow_special="none")
    assert all(TOKENIZER.decode(way) == text for way in found)
    assert 10 < len(set(map(tuple, found))) == len(found) <= 61
    assert several_segmentations(TOKENIZER, text, 9, 0.0, np.random.default_rng(0)) == found[:1]


def test_what_is_refused():
    model = new_model(context_length=4)
    log_probabilities(model, [[97] * 4], start=START)
    with pytest.raises(ValueError, match=r"segmentation 1 has 5 tokens to predict, .* room for 4"):
        log_probabilities(model, [[97], [97] * 4], start=START, end=START)
    assert log_probabilities(model, [], start=START).shape == (0,)
    with pytest.raises(ValueError, match="2 segmentations have 1 prob"):
        log_sum([[1], [2]], np.zeros(1))
    with pytest.raises(ValueError, match="give some"):
        log_sum([], np.zeros(0))

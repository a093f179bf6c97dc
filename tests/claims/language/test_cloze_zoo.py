"""The claim about the cloze zoo: each row is what it says, at the scale that takes seconds."""

from itertools import pairwise

import numpy as np
import pytest

from minissl.claims.experiments.language import cloze_zoo
from minissl.claims.experiments.language.cloze_zoo import COUNTED, SIZE, UNTRAINED, WIDTHS, row
from minissl.text import Tokenizer
from minissl.text.baselines import bigram_probabilities
from minissl.text.small_world import KINDS
from tests.claims.reading import cells, require_whole

SEEDS = [3]


def test_the_claim_runs_from_end_to_end(runs):
    result, folder = runs("cloze-zoo")
    require_whole("cloze-zoo", result, folder)
    assert set(result["table"]) == {COUNTED, UNTRAINED, *map(row, WIDTHS)}
    for kind in KINDS:
        assert all(0 <= value <= 100 for [value] in cells(result, kind).values())
    for name, cell in result["table"].items():
        kinds = [cell[kind]["mean"] for kind in KINDS]
        assert cell[cloze_zoo.MEAN]["mean"] == pytest.approx(np.mean(kinds)), name


def test_the_models_differ_in_size_alone(runs):
    """At 12 w² + 13 w numbers per block, with its layer norms, and the embeddings."""
    result, _ = runs("cloze-zoo")
    sizes = [result["table"][row(width)][SIZE]["mean"] for width in WIDTHS]
    rows = [(n - (12 * w * w + 13 * w) - 2 * w) / w for w, n in zip(WIDTHS, sizes)]
    assert rows == [rows[0]] * len(WIDTHS)  # tokens and places: one vector each
    assert rows[0] == 300 + 64


def test_couples_are_half_right_for_counts_wherever_the_last_word_is_the_same(runs):
    result, _ = runs("cloze-zoo")
    for kind in KINDS:
        [value] = cells(result, kind)[COUNTED]
        assert kind == "grammar" or value == 50


def test_counted_pairs_are_the_baselines_token_by_token():
    tokenizer = Tokenizer.train(["the cat sat. the dog sat. a dog ran."] * 3, 270)
    stream = np.array(tokenizer.encode("the cat sat. the dog sat. a dog ran. a cat sat."))
    counted = cloze_zoo.CountedPairs(tokenizer, stream)
    prompts, answers = ["the", "a dog", "the"], [" dog", " ran.", " catalogue"]
    expected = []
    for prompt, answer in zip(prompts, answers):
        tokens = [tokenizer.encode(prompt)[-1], *tokenizer.encode(answer)]
        steps = [
            bigram_probabilities(stream, [a], [b], tokenizer.vocab_size)[0]
            for a, b in pairwise(tokens)
        ]
        expected.append(np.log(steps).sum())
    np.testing.assert_allclose(counted.score(prompts, answers), expected, rtol=1e-12)

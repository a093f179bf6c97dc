"""The claim about samples of a masked model: what is written, and how it is judged."""

from types import SimpleNamespace

import numpy as np
import pytest

from minissl.autograd.tensor import Tensor
from minissl.claims.experiments.masked import masked_sampling
from minissl.nn.module import Module
from minissl.text import Tokenizer
from minissl.text.documents import Document
from tests.claims.reading import cells, require_whole

SEEDS = [3]


def test_the_claim_runs_from_end_to_end(runs):
    result, folder = runs("masked-sampling")
    require_whole("masked-sampling", result, folder)
    assert list(result["table"]) == list(masked_sampling.ROWS)
    assert all(0 <= v <= 100 for [v] in cells(result, masked_sampling.REPEATED).values())
    lengths = cells(result, masked_sampling.LENGTH)
    longest = masked_sampling.CLAIM.scales["quick"]["characters"]
    assert lengths[masked_sampling.TEXT] == [longest]
    assert all(0 < value <= longest for [value] in lengths.values())


def test_a_beginning_and_what_follows_are_the_text():
    texts = ["One two  three\nfour five six.", "One two", " One two three four", "a b c d e f g h"]
    settings = {"begin": 2, "characters": 8, "samples": 2}
    found = masked_sampling.beginnings([Document(t, "x", t) for t in texts], settings)
    assert found == [("One two", "  three\n"), (" One two", " three f")]


def test_gaps_are_filled_from_the_left_and_seen_by_the_next():
    """A model that is sure: of the number of gaps that are left, and never of a special token."""
    tokenizer = Tokenizer.train(["abc"] * 3, 261, special_tokens=["[PAD]", "[MASK]", "[CLS]"])
    pad, mask, cls = tokenizer.special_tokens.values()
    seen = []

    def logits_at(rows, places):
        seen.append([list(row) for row in rows])
        found = np.full((len(rows), tokenizer.vocab_size), -50.0)
        for i, row in enumerate(rows):
            assert row[places[i]] == mask
            found[i, ord("0") + row.count(mask)] = 50.0
        found[:, mask] = 99.0
        return Tensor(found)

    method = SimpleNamespace(
        model=Module(), tokenizer=tokenizer, mask=mask, cls=cls, sep=pad, _logits_at=logits_at
    )
    found = masked_sampling.filled(method, ["a", "xyz"], 3, np.random.default_rng(0))
    assert found == ["321", "321"]
    three = [ord("3")]
    assert seen[0][0] == [cls, *b"a", mask, mask, mask, pad]
    assert seen[1][1] == [cls, *b"xyz", *three, mask, mask, pad]


def test_a_judgement_by_hand():
    tokenizer = Tokenizer({bytes([byte]): byte for byte in range(256)})
    judge = SimpleNamespace(
        tokenizer=tokenizer, score=lambda prompts, texts: np.array([-3.0 * len(t) for t in texts])
    )
    found = masked_sampling.judged(judge, ["", ""], ["abcabc", "xyzw"])
    assert found[masked_sampling.COST] == pytest.approx(3)
    assert found[masked_sampling.LENGTH] == 5
    assert found[masked_sampling.REPEATED] == pytest.approx(100 * 1 / 6)  # abc, of 4 + 2 runs

"""The numbers quoted in lecture 08, computed again and looked up in the text."""

import json
import math
import re

import numpy as np
import pytest

from minissl.models.encoder import EncoderConfig, MaskedEncoder
from minissl.nn import evaluating
from minissl.pretrain.masked.bert import BERTSettings, shortened
from minissl.pretrain.masked.roberta import RoBERTaSettings
from minissl.text.masking import boundaries, budget
from tests.lectures.reading import LECTURES, says, text

V, D, LAYERS, CONTEXT = 30_522, 768, 12, 512  # BERT-base


def blocks() -> int:
    """The parameters of BERT-base's blocks: attention's four Linears, the MLP's two, two norms."""
    attention, mlp, norms = 4 * (D * D + D), 2 * 4 * D * D + 4 * D + D, 2 * 2 * D
    return LAYERS * (attention + mlp + norms)


def test_what_the_mask_of_causal_costs():
    measured = json.loads((LECTURES / "claims" / "causal.json").read_text(encoding="utf-8"))
    losses = {name: measured["table"][name]["training loss"] for name in ("causal mask", "no mask")}
    says("08", "0.08", losses["no mask"]["mean"])
    says("08", "3.71", losses["causal mask"]["mean"])


def test_how_many_are_hidden():
    says("08", "18.75", 0.15 * (128 - 3))
    for tokens, hidden in ((125, 19), (3, 1), (9, 1)):
        assert budget(np.ones((1, tokens), bool)) == [hidden]
    says("08", "19", round(0.15 * 125))
    says("08", "0.45", 0.15 * 3)
    says("08", "1.35", 0.15 * 9)
    assert round(1 / 0.15) == 7
    assert "one in seven" in text("08")


def test_the_loss_by_hand():
    says("08", "1.386", -(math.log(1 / 2) + math.log(1 / 8)) / 2)
    assert -(math.log(1 / 2) + math.log(1 / 8)) / 2 == pytest.approx(4 * math.log(2) / 2)


def test_the_price_of_the_output():
    products, output = 12 * D * D * LAYERS, V * D
    says("08", "23.4", output / 1e6)
    says("08", "85", products / 1e6)
    says("08", "22", 100 * output / (output + products))
    says("08", "4", 100 * 0.15 * output / (0.15 * output + products))


def test_what_stands_where():
    mask, random, kept = (15 * share for share in (0.8, 0.1, 0.1))
    says("08", "12", mask)
    says("08", "1.5", random)
    visible = 100 - mask
    says("08", "88", visible)
    says("08", "1.7", 100 * random / visible)
    says("08", "3.4", 100 * (random + kept) / visible)

    def right(p, size):
        """Bayes: the word was kept, or another one was replaced by it."""
        from_kept, from_random = 0.1 * p, 0.1 / size
        return from_kept / (from_kept + from_random)

    says("08", "0.997", right(0.01, V))
    says("08", "0.03", right(1e-6, V))
    assert right(1 / V, V) == 1 / 2
    says("08", "0.09", right(0.1 / V, V))
    assert right(0.1 / V, V) == pytest.approx(1 / 11)


def test_pairs_are_cut_by_hand():
    def one_by_one(a, b, room):
        """As BERT's program does it: a token off the longer one, off the second if alike."""
        while a + b > room:
            a, b = (a - 1, b) if a > b else (a, b - 1)
        return a, b

    generator = np.random.default_rng(0)
    for sizes, left, words in (
        ((7, 4), (5, 4), "lengths 7 and 4 become 5 and 4"),
        ((7, 6), (5, 4), "Lengths 7 and 6 become 5 and 4"),
        ((3, 9), (3, 6), "Lengths 3 and 9 become 3 and 6"),
    ):
        assert one_by_one(*sizes, 9) == left
        texts = shortened(*(np.arange(size) for size in sizes), 9, generator)
        assert tuple(map(len, texts)) == left
        assert words in text("08")


def test_levels_of_the_figure():
    says("08", "0.69", math.log(2))
    drawn = (LECTURES / "figures" / "08_training.svg").read_text(encoding="utf-8")
    shown = re.findall(r"<!-- [a-z ]+: (\d\.\d\d) -->", drawn)
    assert shown == ["6.18", "0.69"]
    assert all(number in text("08") for number in shown)


def test_parameters_of_bert_base():
    counted = {
        "23,440,896": V * D,
        "393,216": CONTEXT * D,
        "1,536": 2 * D,
        "7,087,872": blocks() // LAYERS,
        "108,891,648": (V + CONTEXT + 2 + 2) * D + blocks(),
        "590,592": D * D + D,
        "109,482,240": (V + CONTEXT + 2 + 2) * D + blocks() + D * D + D,
        "622,650": D * D + D + 2 * D + V,
    }
    for shown, value in counted.items():
        says("08", shown, value)
    assert blocks() // LAYERS == 12 * D * D + 13 * D
    assert "109,482,240" in text("06")
    config = EncoderConfig(num_layers=1, width=8, num_heads=2, vocab_size=11, context_length=5)
    model = MaskedEncoder(config, next_sentence=True, generator=np.random.default_rng(0))
    assert model.encoder.num_parameters() == (11 + 5 + 2 + 2) * 8 + 12 * 64 + 13 * 8
    assert model.words.num_parameters() == 64 + 8 + 2 * 8 + 11
    assert model.pooler.num_parameters() == 64 + 8


def test_ours_as_it_starts():
    settings = BERTSettings()
    sizes = settings.num_layers, settings.width, settings.num_heads
    assert "12 or 24 | {}, {}, {} |".format(*sizes) in text("08")
    assert f"| 512 | 512 | {settings.context_length} |" in text("08")
    assert f"28,996 (cased) | {settings.vocab_size:,}, learned |" in text("08")
    assert f"| 8,000 | 256 | {settings.batch_size} |" in text("08")
    assert f"2,400,000 | {settings.steps:,} |" in text("08")
    assert settings.learning_rate == 2e-3
    assert RoBERTaSettings().optimizer(_small()).betas == (0.9, 0.98)
    says("08", "0.98", 0.98)


def _small():
    config = EncoderConfig(num_layers=1, width=4, num_heads=1, vocab_size=5, context_length=5)
    return MaskedEncoder(config, generator=np.random.default_rng(0))


def test_lengths_of_spans():
    p = np.array([0.2 * 0.8 ** (k - 1) for k in range(1, 11)]) / (1 - 0.8**10)
    assert p.sum() == pytest.approx(1)
    says("08", "22.4", 100 * p[0])
    says("08", "33.9", 100 * p[4:].sum())
    says("08", "3.80", p @ np.arange(1, 11))


def test_boundaries_by_hand():
    hidden = np.isin(np.arange(9), (2, 3, 6))[None]
    found = list(zip(*(part.tolist() for part in boundaries(hidden))))
    assert found == [(1, 4, 0), (1, 4, 1), (5, 7, 0)]
    assert "(1, 4, 0) and (1, 4, 1). Place 6: (5, 7, 0)" in text("08")
    hidden = np.isin(np.arange(9), (3, 4, 5))[None]
    left, right, number = (part[1] for part in boundaries(hidden))
    assert (left, right, number) == (2, 6, 1)


def test_the_table_of_glue_recomputes():
    base = [84.6, 83.4, 71.2, 90.1, 93.5, 52.1, 85.8, 88.9, 66.4]
    assert f"({' + '.join(map(str, base))}) / 9" in text("08")
    says("08", "79.6", np.mean(base))
    rows = {
        "74.0": (80.6, 80.1, 66.1, 82.3, 93.2, 35.0, 81.0, 86.0, 61.7),
        "71.0": (76.4, 76.1, 64.8, 79.9, 90.4, 36.0, 73.3, 84.9, 56.8),
        "75.2": (82.1, 81.4, 70.3, 88.1, 91.3, 45.4, 80.0, 82.3, 56.0),
        "81.9": (86.7, 85.9, 72.1, 91.1, 94.9, 60.5, 86.5, 89.3, 70.1),
    }
    for shown, row in rows.items():
        says("08", shown, np.mean(row))


def test_heads_are_slices_of_the_width():
    sizes = {"num_layers": 1, "width": 12, "vocab_size": 5, "context_length": 5}
    few, many = (EncoderConfig(num_heads=heads, **sizes).num_parameters() for heads in (6, 12))
    assert few == many


def test_the_best_constant_answer():
    shares = np.array([0.5, 0.25, 0.25])
    bias = np.log(shares)

    def loss(b):
        return -(shares * (b - np.log(np.exp(b).sum()))).sum()

    nudges = 0.01 * np.random.default_rng(0).standard_normal((20, 3))
    assert all(loss(bias) < loss(bias + nudge) for nudge in nudges)


def test_padding_changes_nothing_and_the_bottom_gets_rows_of_read_tokens():
    model = _small().astype(np.float64)
    with evaluating(model):
        alone = model(np.array([[1, 2, 3]])).numpy()[0]
        beside = model(np.array([[1, 2, 3, 0], [1, 2, 3, 4]]), lengths=np.array([3, 4])).numpy()[0]
    np.testing.assert_allclose(beside[:3], alone, atol=1e-12)

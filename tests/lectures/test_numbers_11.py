"""The numbers worked by hand in lecture 11, sections 6 to 8, recomputed from the definitions."""

import numpy as np
import pytest

from minissl.adapt.efficient.experts import largest, load_balance
from minissl.adapt.heads.finetune import distance
from minissl.autograd.tensor import Tensor
from minissl.models.gpt import GPTConfig
from tests.lectures.reading import text


def prints(words):
    """The lecture has these words."""
    assert words in text("11"), words


def test_the_distance_of_two_numbers():
    began, now = {"w": np.array([3.0, 4.0])}, {"w": np.array([3.0, 5.0])}
    assert distance(began, now) == pytest.approx(0.2)
    prints(r"\frac{1}{5} = 0.2")


def test_the_gate_keeps_two_of_three():
    p = np.array([0.5, 0.375, 0.125])
    kept = p * largest(p, 2)
    assert (kept / kept.sum()).round(3).tolist() == [0.571, 0.429, 0]
    prints(r"\frac{0.5}{0.875} = 0.571$ and $0.429$")


def test_the_balance_of_two_tokens():
    p = np.array([[0.9, 0.1], [0.6, 0.4]])
    share, mean = np.array([1.0, 0.0]), p.mean(axis=0)
    assert mean.tolist() == [0.75, 0.25]
    assert 2 * share @ mean == pytest.approx(1.5)
    assert load_balance(Tensor(p), largest(p, 1)).item() == pytest.approx(1.5)
    prints(r"2\,(1 \cdot 0.75 + 0 \cdot 0.25) = 1.5")


def test_a_prefix_draws_attention_away():
    weights = np.exp([np.log(3), 0.0])
    assert weights / weights.sum() @ [10, 2] == pytest.approx(8)
    prints(r"\frac{3 \cdot 10 + 1 \cdot 2}{4} = 8")


def test_the_bytes_of_fine_tuning_and_of_lora():
    config = GPTConfig(vocab_size=2048, context_length=128, num_layers=2, width=128, num_heads=4)
    weights = config.num_parameters()
    head, lora = 12 * 128 + 12, 4 * 8 * (128 + 128)
    everywhere = 2 * 2 * (4 * (128 + 128) + 2 * (128 + 512))
    assert (weights, head, lora, everywhere) == (675_328, 1_548, 8_192, 9_216)
    million = 1e6 / 4
    assert round(weights / million, 2) == 2.70
    assert round(4 * weights / million, 1) == 10.8
    assert round(4 * (lora + head) / million, 2) == 0.16
    assert round((weights + 4 * (lora + head)) / million, 2) == 2.86
    for number in ("2.70 MB", "10.8 MB", "0.16 MB", "2.86 MB", "8,192 + 1,548 = 9,740"):
        prints(number)


def test_names_are_counted_whole():
    gold = "B-PER I-PER O B-LOC".split()
    said = "B-PER O O B-LOC".split()
    assert sum(a == b for a, b in zip(gold, said)) == 3
    names = [{(0, 2, "PER"), (3, 4, "LOC")}, {(0, 1, "PER"), (3, 4, "LOC")}]
    both = len(names[0] & names[1])
    assert both / len(names[1]) == both / len(names[0]) == 0.5
    prints("precision 1/2, recall 1/2")


def test_the_best_span_ends_behind_its_start():
    start, end = [0, 3, 0], [4, 0, 2]
    spans = {(i, j): start[i] + end[j] for i in range(3) for j in range(i, 3)}
    assert max(spans, key=spans.__getitem__) == (1, 2)
    assert sorted(spans.values())[-2:] == [4, 5]
    assert (int(np.argmax(start)), int(np.argmax(end))) == (1, 0)
    prints("$3 + 2 = 5$, ahead of the first alone, $0 + 4 = 4$")


def test_the_words_of_an_answer():
    gold, said = {"romans"}, {"romans", "in", "britain"}
    precision, recall = len(gold & said) / len(said), len(gold & said) / len(gold)
    assert 2 * precision * recall / (precision + recall) == pytest.approx(0.5)
    prints("precision 1/3, recall 1, $F_1 = 1/2$")

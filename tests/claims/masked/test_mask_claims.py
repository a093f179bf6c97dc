"""The claims about pairs and about masks: each row is what it says, at a scale of seconds."""

import math

import numpy as np
import pytest

from minissl.claims import pages_of_english
from minissl.claims.claim import Setup
from minissl.claims.experiments.masked import fixed_masks, mask_replacement, next_sentence
from minissl.data import Kept
from minissl.pretrain.masked.bert import BERT
from minissl.pretrain.masked.spanbert import SpanBERT, SpanBERTSettings
from minissl.pretrain.masked_language_model import Row
from tests.claims.reading import require_whole
from tests.pretrain.toy import toy_data, toy_settings

SEEDS = [3]


@pytest.mark.parametrize("name", ["next-sentence", "mask-replacement", "fixed-masks"])
def test_the_claim_runs_from_end_to_end(runs, name):
    require_whole(name, *runs(name))


def toy(kind, name, **changes):
    """A method on the toy texts."""
    settings = toy_settings(name, **changes)
    data = toy_data(name, settings).prepare(Kept(), settings)
    return kind.build(settings, data, seed=0)


# ---- the text -----------------------------------------------------------------------------------


def test_a_page_has_the_parts_of_one_module_or_chapter_in_their_order():
    pages = {page.name: page.text for page in pages_of_english.all_pages()}
    assert min(map(len, pages.values())) >= pages_of_english.SHORTEST
    assert not [name for name in pages if ":" in name or "[" in name]
    parts = {d.name: d.text for d in pages_of_english.python_english()}
    chapter = [name for name in parts if name.startswith("topics/typesmapping")]
    numbered = sorted(chapter, key=lambda name: int(name.split("[")[1][:-1]))
    assert pages["topics/typesmapping"] == "\n\n".join(parts[name] for name in numbered)
    inside = [text for name, text in parts.items() if name.startswith("calendar:")]
    assert len(inside) > 20
    assert all(text in pages["calendar"] for text in inside)


def test_the_seed_decides_what_is_held_out():
    options = SpanBERTSettings(vocab_size=300)
    first, again, other = (
        pages_of_english.passages(Setup(seed, {"pages": 5}), options) for seed in (1, 1, 2)
    )
    assert first.about == "5 pages, 3 of them held out"
    assert len(first.held_out.documents) == 4
    assert np.array_equal(first.held_out.pieces, again.held_out.pieces)
    assert not np.array_equal(first.held_out.pieces, other.held_out.pieces)


# ---- next sentences -----------------------------------------------------------------------------


def drawn_pairs(generator, count, longer=0):
    """Texts of two topics, words 0 to 19 and 20 to 39: a pair of one topic has label 0."""
    pairs = []
    for _ in range(count):
        topic, label = generator.integers(2, size=2)
        sizes = generator.integers(5, 15, size=2) + np.array([0, longer * label])
        first, second = (
            20 * side + generator.integers(20, size=size)
            for side, size in zip((topic, (topic + label) % 2), sizes)
        )
        pairs.append(Row(first, second, int(label)))
    return pairs


def test_counts_tell_topics_and_lengths_only_what_is_in_them():
    generator = np.random.default_rng(0)
    train, test = (drawn_pairs(generator, count) for count in (600, 300))
    lengths, words = next_sentence.counts_of_words(train, test, 40)
    assert 40 < lengths < 60
    assert words > 90
    train, test = (drawn_pairs(generator, count, longer=20) for count in (600, 300))
    assert next_sentence.counts_of_words(train, test, 40)[0] == 100


def test_what_bert_says_is_compared_with_the_labels():
    method = toy(BERT, "bert")
    pairs = method.rows(method.data.stream, 100, np.random.default_rng(0))
    says = method.model.follows
    says.weight.array[:] = 0
    for answer in (0, 1):
        says.bias.array[:] = [1 - answer, answer]
        right = sum(pair.label == answer for pair in pairs)
        assert next_sentence.told(method, pairs) == pytest.approx(right)


def test_each_step_reads_as_many_tokens_in_rows_of_one_length():
    method = toy(next_sentence.ManyLengths, "spanbert", context_length=32, batch_size=4)
    method.lengths = [8, 16, 32]
    generator, seen = np.random.default_rng(0), set()
    for _ in range(20):
        tokens = method.batch(generator).tokens
        assert tokens.size == 4 * 32
        seen.add(tokens.shape[1])
    assert seen == {8, 16, 32}


def test_the_same_tokens_are_hidden_in_all_contexts():
    method = toy(next_sentence.ManyLengths, "spanbert", context_length=64, masking="pieces")
    [whole] = next_sentence.whole_rows(method, 6)
    assert whole.tokens.shape == (6, 64)
    assert set(whole.hidden.sum(axis=1)) == {round(0.15 * next_sentence.MIDDLE)}
    for length in (26, 32, 64):
        own = next_sentence.cut(whole, length)
        assert own.tokens.shape == own.originals.shape == own.segments.shape == (6, length)
        assert set(own.lengths) == {length}
        assert np.array_equal(own.originals[own.hidden], whole.originals[whole.hidden])
        assert np.array_equal(own.tokens[own.hidden], whole.tokens[whole.hidden])
        start = (64 - length) // 2 + 1
        assert np.array_equal(own.tokens[:, 1:-1], whole.tokens[:, start : start + length - 2])
        assert set(own.tokens[:, 0]) == {method.cls}
        assert set(own.tokens[:, -1]) == {method.sep}


# ---- what stands for a hidden token -------------------------------------------------------------


def test_how_far_states_move_in_units_of_how_far_they_are_apart():
    states = np.random.default_rng(0).normal(size=(4000, 8)) * 3 + 5
    assert mask_replacement.distance(states, states) == 0
    shuffled = np.random.default_rng(1).permutation(states)
    assert mask_replacement.distance(states, shuffled) == pytest.approx(1, abs=0.03)
    by_hand = 8 * 4 / (2 * states.var(axis=0).sum())
    assert mask_replacement.distance(states, states + 2) == pytest.approx(by_hand)


def test_a_network_that_prefers_one_token_names_that_one():
    method = toy(SpanBERT, "spanbert", masking="pieces", boundary_weight=0.0)
    vocab_size = len(method.begins)
    method.model.encoder.tokens.weight.array[:] = 0  # which is the output as well
    found = mask_replacement.read(method, 32)
    same = (mask_replacement.HIDDEN, mask_replacement.THERE, mask_replacement.WRONG)
    assert [found[name] for name in same] == pytest.approx([math.log(vocab_size)] * 3, rel=1e-5)
    assert found[mask_replacement.MOVED] == 0
    [batch] = method.held_out_batches(rows=4)
    token = int(batch.originals[batch.hidden][0])
    method.model.words.bias.array[token] = 5
    named = np.mean(
        np.concatenate([b.originals[b.hidden] for b in method.held_out_batches(rows=32)]) == token
    )
    assert mask_replacement.read(method, 32)[mask_replacement.FOUND] == pytest.approx(100 * named)


def test_what_is_read_off_a_state_is_the_token_that_stands_there():
    """Nothing is hidden: token vectors that are far apart are told, equal ones are not."""
    method = toy(SpanBERT, "spanbert", masking="pieces", boundary_weight=0.0)
    vectors = method.model.encoder.tokens.weight.array
    vectors *= 100
    assert mask_replacement.read_off(method, 64) > 95
    vectors[:] = 0
    assert mask_replacement.read_off(method, 64) < 40


# ---- masks that are kept ------------------------------------------------------------------------


@pytest.mark.parametrize("copies", [1, 3, 0])
def test_rows_stay_and_have_so_many_masks(copies):
    method = toy(fixed_masks.SameRows, "spanbert", masking="pieces", batch_size=64)
    method.copies = copies
    generator = np.random.default_rng(0)
    masks = {}
    for _ in range(9 * method.batches):
        batch = method.batch(generator)
        key = batch.originals.tobytes()
        masks.setdefault(key, set()).add((batch.tokens.tobytes(), batch.hidden.tobytes()))
    assert len(masks) == method.batches
    if copies:
        assert max(map(len, masks.values())) == copies
    else:
        assert max(map(len, masks.values())) > 3


def test_an_epoch_has_as_many_tokens_as_the_text():
    method = toy(fixed_masks.SameRows, "spanbert", batch_size=4)
    tokens, size = len(method.data.stream), 4 * method.room
    assert 0 <= method.batches * size - tokens < size

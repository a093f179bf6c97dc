"""The claims about pairs and about masks: each row is what it says, at a scale of seconds."""

import math
from types import SimpleNamespace

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
    chapter = [name for name in parts if name.startswith("topics/types[")]
    assert len(chapter) > 10  # [10] comes after [9], not after [1]
    numbered = sorted(chapter, key=lambda name: int(name.split("[")[1][:-1]))
    assert pages["topics/types"] == "\n\n".join(parts[name] for name in numbered)
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


def test_the_same_tokens_are_hidden_beside_both_texts(monkeypatch):
    method, seen = toy(BERT, "bert", context_length=40), []
    pairs = method.rows(method.data.stream, 60, np.random.default_rng(0))
    hide = next_sentence.hide

    def seeing(*given):
        seen.append(hide(*given))
        return seen[-1]

    monkeypatch.setattr(next_sentence, "hide", seeing)
    method.model.words.bias.array[:] = 0
    method.model.encoder.tokens.weight.array[:] = 0
    found = next_sentence.beside(method, pairs)
    assert [*found.values()] == pytest.approx([math.log(len(method.begins))] * 2, rel=1e-5)
    own, other = seen
    assert len(own.labels) == len(other.labels) == sum(pair.label == 0 for pair in pairs)
    assert set(own.labels) == {0}
    assert set(other.labels) == {1}
    for a, b, same in zip(own.tokens, other.tokens, own.segments):
        first = np.flatnonzero(same == 0)[: int((same == 1).argmax())]
        assert np.array_equal(a[first], b[first])
    assert np.array_equal(np.argwhere(own.hidden), np.argwhere(other.hidden))
    assert not (own.hidden & (own.segments == 1)).any()
    assert own.hidden.any(axis=1).all()
    assert np.abs(own.lengths - other.lengths)[:-1].max() <= 3
    assert not np.array_equal(own.originals, other.originals[:, : own.originals.shape[1]])


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


def test_the_probe_of_packages_learns_from_the_one_part_and_is_tested_on_the_other():
    labels = np.arange(60) % 4
    clean = np.eye(4)[labels]
    train = SimpleNamespace(inputs=clean, labels=labels)
    held_out = SimpleNamespace(inputs=clean[:20], labels=(labels[:20] + (np.arange(20) < 5)) % 4)
    task = SimpleNamespace(to_learn_from=lambda: train, held_out=held_out)
    method = SimpleNamespace(represent=lambda inputs: inputs)
    assert mask_replacement.probe(method, task) == pytest.approx(75)


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

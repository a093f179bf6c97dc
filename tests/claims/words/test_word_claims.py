"""The claims about word vectors: what they count and compute, by hand and by enumeration."""

import json

import numpy as np
import pytest

from minissl.claims import two_senses
from minissl.claims.claim import Setup
from minissl.claims.experiments.words import noise_contrastive as nce
from minissl.claims.experiments.words import pmi, record, static_vectors
from minissl.data import Kept
from minissl.data.passages import SPECIAL, Passages, PieceStream
from minissl.data.words import Words, WordTexts, to_stream
from minissl.losses import words as losses
from minissl.models.word_tables import WordTables
from minissl.pretrain.words.skipgram import SkipGram
from minissl.text.wordpiece import WordPiece
from minissl.text.words import WordVocabulary
from tests.claims.reading import cells, require_whole
from tests.claims.test_claim import KEPT
from tests.pretrain.toy import toy_method

NAMES = ("pmi", "record", "static-vectors", "noise-contrastive")
SEEDS = [0]


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_runs_from_end_to_end(runs, name):
    require_whole(name, *runs(name))


# ---- PMI -----------------------------------------------------------------------------------------


def words_of(*documents, held_out=()):
    vocabulary = WordVocabulary({"a": 5, "b": 4, "c": 3})
    return Words(Kept(), vocabulary, to_stream(documents), to_stream(held_out))


def test_pairs_count_as_often_as_their_window_is_drawn():
    found = pmi.expected_pairs(words_of([1, 2, 3, 1], [2, 2]), window=3)
    table = np.zeros((4, 4))
    table[found.rows, found.columns] = found.counts
    expected = np.zeros((4, 4))
    for one, other, distance in ((1, 2, 1), (2, 3, 1), (3, 1, 1), (1, 3, 2), (2, 1, 2), (1, 1, 3),
                                 (2, 2, 1)):  # fmt: skip
        expected[one, other] += (3 - distance + 1) / 3
        expected[other, one] += (3 - distance + 1) / 3
    np.testing.assert_allclose(table, expected)


def test_pairs_count_as_the_training_draws_them():
    """Many batches of skip-gram, with the places of what they saw."""
    method = toy_method("skipgram", window=3, threshold=0.0, batch_size=4096)
    size, rounds = method.data.vocabulary.vocab_size, 40
    seen = np.zeros((size, size))
    for number in range(rounds):
        words, documents = method.blocks(
            method.data.stream, np.arange(0, len(method.data.stream), 16)
        )
        found = method.windows(words, documents, np.random.default_rng(number))
        blocks, near, place = np.nonzero(found.seen)
        np.add.at(seen, (found.centers[blocks, place], found.around[blocks, near]), 1 / rounds)
    pairs = pmi.expected_pairs(method.data, 3)
    assert seen.sum() == pytest.approx(pairs.counts.sum(), rel=0.01)
    np.testing.assert_allclose(seen[pairs.rows, pairs.columns], pairs.counts, rtol=0.1, atol=3)


def test_agreement_of_products_that_the_theory_gives():
    measure = np.random.default_rng(0).normal(size=50)
    found = pmi.agreement(measure, 0.5 * measure - np.log(5) + 0.1, np.log(5))
    assert found[pmi.CORRELATION] == pytest.approx(1)
    assert found[pmi.SLOPE] == pytest.approx(0.5)
    assert found[pmi.OFFSET] == pytest.approx(0.1 - 0.5 * measure.mean())


def test_products_by_hand():
    tables = WordTables(4, 3, both=True, generator=np.random.default_rng(0))
    pairs = pmi.expected_pairs(words_of([1, 2, 3]), window=2)
    centers, contexts = tables.centers.weight.numpy(), tables.contexts.weight.numpy()
    expected = [centers[i] @ contexts[j] for i, j in zip(pairs.rows, pairs.columns)]
    np.testing.assert_allclose(pmi.scores(tables, pairs), expected, rtol=1e-5)


# ---- senses --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def language():
    return two_senses.Language(np.random.default_rng(0))


def test_both_orders_have_the_same_words_around(language):
    """Of the clause that has the word; the other clauses are drawn in the same way."""
    mark, half = language.mark, len(language.order) // 2
    beside = {}
    for sense in (0, 1):
        for part in (0, 1):
            for _ in range(200):
                use = language.by_order("record", sense, part)
                assert use.sense == sense
                assert language.vocabulary.tokens[use.ids[use.place]] == "record"
                step = 1 if sense == 0 else -1  # "will" stands behind a noun, before a verb
                assert use.ids[use.place + step] == mark
                other = use.ids[use.place + 2 * step]
                beside.setdefault((sense, part), set()).add(other)
    first, second = {*language.order[:half]}, {*language.order[half:]}
    own = language.vocabulary.ids["record"]
    assert beside[0, 0] == beside[1, 0] == first - {own}
    assert beside[0, 1] == beside[1, 1] == second - {own}


def test_a_topic_is_told_by_words_that_the_test_does_not_share(language):
    around = {}
    for sense in (0, 1):
        for part in (0, 1):
            for _ in range(200):
                use = language.by_topic("bank", sense, part)
                assert language.vocabulary.tokens[use.ids[use.place]] == "bank"
                others = {*use.ids} - {use.ids[use.place], language.mark}
                around.setdefault((sense, part), set()).update(others)
    for (sense, part), found in around.items():
        half = two_senses.EACH // 2
        assert found == {*language.words[sense][:, part * half : (part + 1) * half].ravel()}
    assert not set.intersection(*around.values())


def test_what_stands_before_tells_nothing_where_what_follows_does(language):
    before = {0: set(), 1: set()}
    topics = {0: set(), 1: set()}
    for sense in (0, 1):
        for _ in range(2000):
            use = language.by_what_follows("bank", sense, 1)
            assert use.sense == sense
            assert language.vocabulary.tokens[use.ids[use.place]] == "bank"
            before[sense].update(use.ids[: use.place])
            topics[sense].update({*use.ids[use.place + 1 :]} - {language.mark})
    adjectives = {*language.words[:, 0].ravel()}
    assert before[0] == before[1] == {*language.order, language.mark} | adjectives
    for sense in (0, 1):
        own = {*language.words[sense][:, two_senses.EACH // 2 :].ravel()}
        assert topics[sense] == own


def test_elmo_is_read_at_the_word():
    """Both directions, and in the forward half nothing of what follows."""
    setup = Setup(0, {**record.CLAIM.scales["quick"], "elmo_steps": 1})
    untrained, method = record.elmos(setup, 30, [[1, 2, 3, 4, 5, 6, 7, 8]] * 30)
    one, other = record.at_the_word(
        method, [record.Use([3, 4, 5, 6, 7], 2, 0), record.Use([3, 4, 5, 9], 2, 1)]
    )
    half = method.width // 2
    ahead = method.model.ahead.states(np.array([[30, 3, 4, 5]]))
    behind = method.model.behind.states(np.array([[30, 7, 6, 5]]))
    for part, states in ((one[:half], ahead), (one[half:], behind)):
        mean = np.mean([state.numpy()[0, -1] for state in states], axis=0)
        np.testing.assert_allclose(part, mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(one[:half], other[:half], rtol=1e-4, atol=1e-6)
    assert np.abs(one[half:] - other[half:]).max() > 1e-3
    weights = [m.model.state_dict()["ahead.tokens.weight"] for m in (untrained, method)]
    assert not np.array_equal(*weights)


def test_a_word_of_several_pieces_has_the_mean_of_their_states():
    """In its sentence alone, with padding or without; what follows the word is in it."""
    words = ["[UNK]", "ba", "beda", "fo", "xy"]
    letters = "abdefoxy"
    pieces = WordPiece([*SPECIAL, "[UNK]", *letters, *(f"##{c}" for c in letters)])
    settings = record.RoBERTaSettings(width=16, num_layers=1, num_heads=2, context_length=16)
    method = record.RoBERTa.build(settings, Passages(Kept(), pieces, PieceStream(), PieceStream()))
    uses = [record.Use([1, 2, 3], 1, 0), record.Use([1, 2, 4], 1, 0), record.Use([2], 0, 1)]
    found = record.by_its_pieces(method, words, uses)
    for use, vector in zip(uses, found):
        tokens = method.data.tokens(" ".join(words[i] for i in use.ids))
        start = 3 if use.place else 1  # [CLS] b ##a | b ##e ##d ##a
        states = method.model(np.array([tokens])).numpy()[0, start : start + 4]
        np.testing.assert_allclose(vector, states.mean(axis=0), rtol=1e-4, atol=1e-6)
    assert np.abs(found[0] - found[1]).max() > 1e-4


def test_the_masked_model_is_kept_as_it_was_before_its_training():
    setup = Setup(0, {**record.CLAIM.scales["quick"], "masked_steps": 1})
    models = record.masked_models(setup, ["ba beda fo", "beda fo ba"] * 40)
    assert models[0].tokenizer.encode("beda fo") == models[1].tokenizer.encode("beda fo")
    weights = [m.model.state_dict()["encoder.tokens.weight"] for m in models]
    assert not np.array_equal(*weights)


def test_the_state_is_that_at_the_word():
    """Alone, without padding, and whatever follows the word."""
    model, _ = record.gpts(
        Setup(0, record.CLAIM.scales["quick"]), 30, [[1, 2, 3, 4, 5, 6, 7, 8]] * 30
    )
    uses = [record.Use([3, 4, 5, 6, 7], 2, 0), record.Use([3, 4, 5], 2, 1)]
    one, other = record.states(model, uses)
    alone = model.hidden(np.array([[0, 3, 4, 5]])).numpy()[0, -1]
    np.testing.assert_allclose(one, alone, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(other, alone, rtol=1e-4, atol=1e-6)
    vectors = np.arange(24.0).reshape(8, 3)
    np.testing.assert_allclose(record.around(vectors, uses)[1], (vectors[3] + vectors[4]) / 2)


def test_a_static_vector_finds_half_of_the_senses(runs):
    table = runs("record")[0]["table"]
    for column in (record.TOPIC, record.ORDER, record.AFTER):
        assert table[record.STATIC][column]["values"] == [50.0]


# ---- vectors under a network ---------------------------------------------------------------------


def test_counting_is_the_same_row_as_in_the_claim_about_a_gpt(runs):
    """Task, split and labelled texts are the same, and so is the number."""
    kept = json.loads((KEPT / "docstring-packages.json").read_bytes())
    seed = kept["seeds"].index(0)
    for column in ("10 per class", "all labels"):
        [found] = cells(runs("static-vectors")[0], column)[static_vectors.TFIDF]
        expected = kept["table"][static_vectors.TFIDF][column]["values"][seed]
        assert found == pytest.approx(expected, abs=0.7)  # two texts on the border


# ---- noise-contrastive estimation ----------------------------------------------------------------


def slope(loss, scores, size=1e-5):
    """Of a function of scores (words,), by differences."""
    found = np.zeros(len(scores))
    for i in range(len(scores)):
        for sign in (1, -1):
            moved = scores.copy()
            moved[i] += sign * size
            found[i] += sign * loss(moved) / (2 * size)
    return found


def test_gradients_are_those_of_the_losses_in_expectation():
    """Each context with each word of noise, weighted by how likely both are."""
    generator = np.random.default_rng(0)
    data, noise = (generator.dirichlet(np.ones(4)) for _ in range(2))
    scores = generator.normal(size=4)

    def expected(scores, contrastive):
        total = 0.0
        for c in range(4):
            for n in range(4):  # one word of noise; k of them are k times its part
                center, context = np.ones((1, 1)), scores[[[c]]]
                drawn = scores[[[[n]]]]
                if contrastive:
                    logs = np.log(noise)
                    one = losses.noise_contrastive(
                        center, context, drawn, logs[[c]], logs[[n]][None]
                    )
                else:
                    one = losses.negative_sampling(center, context, drawn)
                total += data[c] * noise[n] * one.item()
        return total

    with np.errstate(all="raise"):
        found = nce.gradients(scores[None], data[None], noise, 1)
    probabilities = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(found[0][0], data - probabilities)
    for gradient, contrastive in zip(found[1:], (True, False)):
        by_differences = slope(lambda s, kind=contrastive: expected(s, kind), scores)
        np.testing.assert_allclose(gradient[0], -by_differences, rtol=1e-3, atol=1e-5)


def test_with_much_noise_the_gradient_is_that_of_the_likelihood():
    generator = np.random.default_rng(0)
    data, noise = generator.dirichlet(np.ones(6), 3), generator.dirichlet(np.ones(6))
    scores = np.log(generator.dirichlet(np.ones(6), 3))
    likelihood, contrastive, _ = nce.gradients(scores, data, noise, 1e9)
    np.testing.assert_allclose(contrastive, likelihood, rtol=1e-5, atol=1e-7)


def test_the_likelihood_is_that_of_every_pair():
    settings = SkipGram.Settings(
        window=2, threshold=0.0, width=8, min_count=1, batch_size=64, negatives=5
    )
    words = WordTexts.toy(settings).prepare(Kept(), settings)
    exact = nce.MaximumLikelihood.build(settings, words, seed=0)
    exact.model.contexts.weight.array[1:] = np.random.default_rng(0).normal(
        size=exact.model.contexts.weight.shape
    )[1:]
    batch = exact.batch(np.random.default_rng(0), 0)
    table = nce.scores(exact)
    logs = table - nce.log_sums(table)
    centers, counts = batch
    total = sum(
        counts[b, p] @ logs[centers[b, p] - 1]
        for b, p in np.ndindex(centers.shape) if centers[b, p]
    )  # fmt: skip
    assert exact.loss(batch, None).item() == pytest.approx(-total / counts.sum(), rel=1e-4)
    assert exact.count(batch) == counts.sum()


def test_perplexity_and_normalizer_by_hand():
    words = words_of([1, 2], held_out=[[1, 2, 3]])
    table = np.log(np.array([[1.0, 2.0, 1.0], [3.0, 3.0, 2.0], [1.0, 1.0, 0.5]]))
    found = nce.judged(words, 1, table)
    pairs = [2 / 4, 3 / 8, 2 / 8, 1 / 2.5]  # p(b|a), p(a|b), p(c|b), p(b|c)
    assert found[nce.PERPLEXITY] == pytest.approx(np.exp(-np.mean(np.log(pairs))))
    logs = np.log([4.0, 8.0, 8.0, 2.5])
    assert found[nce.NORMALIZER] == pytest.approx(logs.mean())

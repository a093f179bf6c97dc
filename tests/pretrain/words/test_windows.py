"""Passes, windows, noise and losses of the methods that learn word vectors, against loops."""

import numpy as np
import pytest

from minissl.data.words import WordStream
from minissl.pretrain import windows
from minissl.pretrain.windows import BLOCK, SHARED
from minissl.pretrain.word_vectors import Passes
from minissl.pretrain.words import glove
from minissl.text.cooccurrence import keep_probabilities
from tests.pretrain.words.toy import NAMES, make, words_of_two_documents


def softplus(x):
    return np.logaddexp(0, np.asarray(x, np.float64))


# ---- passes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "count"), [(10, 3), (7, 7), (3, 20), (1, 2), (64, 5)])
def test_a_pass_has_everything_once_whatever_the_batches(size, count):
    passes = Passes(size, seed=3)
    drawn = [list(passes.places(number, count)) for number in range(4 * size)]
    assert all(sum(len(places) for _, places in batch) == count for batch in drawn)
    everything = np.concatenate([places for batch in drawn for _, places in batch])
    indices = np.concatenate([np.full(len(p), index) for batch in drawn for index, p in batch])
    for index in range(len(everything) // size):
        assert sorted(everything[indices == index]) == list(range(size))
    again = Passes(size, seed=3)
    for number in np.random.default_rng(0).permutation(4 * size):  # in any order
        for (index, places), (other, same) in zip(again.places(int(number), count), drawn[number]):
            assert index == other
            np.testing.assert_array_equal(places, same)
    if size > 6:
        orders = [
            next(Passes(size, seed).places(n, size))[1] for seed, n in ((3, 0), (3, 1), (4, 0))
        ]
        assert len({tuple(order) for order in orders}) == 3


def test_a_pass_reads_every_word_as_a_center_once():
    method = make(batch_size=10_000)
    blocks = method.passes.size
    (_, places), *_ = Passes(blocks, 0).places(0, blocks)
    text = method.data.stream
    words, _ = method.blocks(text, places * len(text) // blocks)
    centers = words[:, method.settings.window : -method.settings.window]
    counts = np.bincount(centers.reshape(-1), minlength=9)[1:]
    expected = np.bincount(text.words, minlength=9)[1:]
    assert abs(int(counts.sum()) - len(text)) <= BLOCK
    assert np.abs(counts - expected).sum() <= BLOCK


@pytest.mark.parametrize("threshold", [0, 0.01])
def test_blocks_of_a_pass_lie_side_by_side_in_the_text_that_it_thinned_out(threshold):
    texts, data = [], words_of_two_documents(lengths=(3000, 2003))
    for seed in (0, 1):
        method, read = make(threshold=threshold, seed=seed, data=data), []
        method.blocks = lambda text, starts, usual=method.blocks, read=read: (
            read.append((text, starts)) or usual(text, starts)
        )
        blocks = method.passes.size
        for number in range(blocks // 2 + 2):  # a little more than two passes
            assert len(method.batch(np.random.default_rng(0), number)[0]) == 4
        for text in {id(text): text for text, _ in read}.values():
            starts = np.sort(np.concatenate([s for t, s in read if t is text]))
            if len(starts) == blocks:
                np.testing.assert_array_equal(starts, np.arange(blocks) * len(text) // blocks)
                assert len(text) / blocks == pytest.approx(BLOCK, rel=0.05)
                texts.append(tuple(text.words))
    assert len(texts) == 4
    assert len(set(texts)) == (4 if threshold else 1)


@pytest.mark.parametrize("name", NAMES)
def test_the_number_of_a_batch_and_the_seed_say_what_it_reads(name):
    def read(number, seed):
        method = make(name, seed=seed, data=data)
        return b"".join(a.tobytes() for a in method.batch(np.random.default_rng(0), number))

    data = words_of_two_documents(lengths=(300, 200))
    found = [read(*which) for which in ((0, 0), (1, 0), (0, 1), (0, 0), (1, 0))]
    assert len(set(found)) == 3
    assert found[3:] == found[:2]


def test_a_block_has_its_neighbours_and_nothing_outside_of_the_text():
    method = make(window=3)
    text = method.data.stream
    padded = np.pad(text.words, (3, BLOCK + 3))
    starts = np.array([0, 5, len(text) - 1])
    words, documents = method.blocks(text, starts)
    for row, start in zip(words, starts):
        np.testing.assert_array_equal(row, padded[start : start + BLOCK + 6])
    inside = words > 0
    assert set(documents[inside]) <= {0, 1}


# ---- windows -------------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [(70, 45), (115,)])  # of one: what is outside is in it, too
def test_what_is_seen_is_in_the_window_in_the_document_and_another_place(lengths):
    method = make(window=4, data=words_of_two_documents(lengths=lengths))
    generator = np.random.default_rng(1)
    words, documents = method.blocks(method.data.stream, np.arange(0, 115, 7))
    found = method.windows(words, documents, generator)
    again = np.random.default_rng(1).integers(1, 5, size=(len(words), 1, BLOCK))[:, 0]
    for block in range(len(words)):
        for j in range(BLOCK + 8):
            for i in range(BLOCK):
                center = i + 4
                expected = (
                    0 < abs(j - center) <= again[block, i]
                    and words[block, j] > 0
                    and words[block, center] > 0
                    and documents[block, j] == documents[block, center]
                )
                assert found.seen[block, j, i] == expected
    np.testing.assert_array_equal(found.centers, words[:, 4:-4])


def test_every_reach_is_drawn_alike_and_noise_by_its_distribution():
    method = make(window=5, noise_power=0.5)
    words, documents = method.blocks(method.data.stream, np.full(3000, 20))
    found = method.windows(words, documents, np.random.default_rng(0))
    reached = found.seen.sum(axis=1)[:, 0] / 2  # of the first center, with five words on each side
    shares = np.bincount(reached.astype(int), minlength=6)[1:] / len(reached)
    np.testing.assert_allclose(shares, 0.2, atol=0.03)
    counts = method.data.vocabulary.counts[1:].astype(float) ** 0.5
    drawn = np.bincount(found.noise.reshape(-1), minlength=9)
    assert drawn[0] == 0
    np.testing.assert_allclose(drawn[1:] / drawn.sum(), counts / counts.sum(), atol=0.01)


def test_frequent_words_are_thinned_out_as_the_formula_says():
    method = make(threshold=0.02)
    keep = keep_probabilities([0, *method.data.vocabulary.counts[1:]], 0.02)
    many = WordStream(np.tile(method.data.stream.words, 400), np.zeros(46_000, np.int32))
    thinned = method._thin(many, 0)
    left = np.bincount(thinned.words, minlength=9)[1:]
    before = np.bincount(many.words, minlength=9)[1:]
    np.testing.assert_allclose(left / before, keep[1:], atol=0.02)
    assert keep[1:].min() < 0.5
    other = make(threshold=0.02)._thin(many, 1)
    assert len(other) != len(thinned) or (other.words != thinned.words).any()


# ---- losses --------------------------------------------------------------------------------------


def loops(method, batch_number=0):
    """The windows of a batch again, with the vectors in float64."""
    batch = method.batch(np.random.default_rng(7), batch_number)
    arrays = {n: p.numpy().astype(np.float64) for n, p in method.model.named_parameters()}
    return batch, arrays["centers.weight"], arrays["contexts.weight"], arrays


def test_the_loss_of_skipgram_is_the_sum_over_all_pairs_and_their_noise():
    method = make("skipgram", negatives=3)
    (centers, words, seen, noise), w, c, _ = loops(method)
    total = pairs = 0.0
    for block in range(len(centers)):
        for i, center in enumerate(centers[block]):
            near = [words[block, j] for j in range(words.shape[1]) if seen[block, j, i]]
            drawn = words[block, -SHARED:]
            total += softplus(-c[near] @ w[center]).sum()
            total += 3 / SHARED * len(near) * softplus(c[drawn] @ w[center]).sum()
            pairs += len(near)
    loss = method.loss((centers, words, seen, noise), np.random.default_rng(0)).item()
    assert pairs == method.count((centers, words, seen, noise))
    assert loss == pytest.approx(total / pairs, rel=1e-5)


def test_the_loss_of_cbow_is_that_of_the_means():
    method = make("cbow", negatives=3, data=words_of_two_documents(lengths=(9, 1, 1, 20)))
    starts = np.array([0, 5, 20, 30])  # with words alone in a document, and places after the text
    read = method.windows(*method.blocks(method.data.stream, starts), np.random.default_rng(7))
    batch = method.arrays(read)
    w, c = (t.weight.numpy() for t in (method.model.centers, method.model.contexts))
    total = centers = 0.0
    for block in range(len(starts)):
        for i in range(BLOCK):
            near = read.around[block][read.seen[block, :, i]]
            if not len(near):
                continue
            mean = w[near].mean(axis=0)  # all words of a window alike
            total += softplus(-c[read.centers[block, i]] @ mean)
            total += 3 / SHARED * softplus(c[read.noise[block]] @ mean).sum()
            centers += 1
    assert 0 < centers < (read.centers > 0).sum() < read.centers.size
    assert method.count(batch) == centers
    assert method.loss(batch, np.random.default_rng(0)).item() == pytest.approx(
        total / centers, rel=1e-5
    )


def test_the_loss_of_nce_takes_the_noise_from_the_scores():
    method = make("noise-contrastive", negatives=3, noise_power=0.5)
    batch, w, c, arrays = loops(method)
    centers, words, seen, *_ = batch
    bias = arrays["biases.weight"][:, 0]
    counts = method.data.vocabulary.counts.astype(np.float64)
    counts[0] = 0
    noise = counts**0.5 / (counts**0.5).sum()
    total = pairs = 0.0
    for block in range(len(centers)):
        for i, center in enumerate(centers[block]):
            near = [words[block, j] for j in range(words.shape[1]) if seen[block, j, i]]
            logit = {
                int(x): c[x] @ w[center] + bias[x] - np.log(3 * noise[x])
                for x in words[block] if x
            }  # fmt: skip
            total += sum(softplus(-logit[int(x)]) for x in near)
            total += 3 / SHARED * len(near) * sum(
                softplus(logit[int(x)]) for x in words[block, -SHARED:]
            )  # fmt: skip
            pairs += len(near)
    assert method.loss(batch, np.random.default_rng(0)).item() == pytest.approx(
        total / pairs, rel=1e-5
    )
    scores = w[1:3] @ c[1:].T + bias[1:]
    np.testing.assert_allclose(method.log_probabilities([1, 2]), scores, rtol=1e-5)
    sums = np.log(np.exp(w[1:] @ c[1:].T + bias[1:]).sum(axis=1)).mean()
    assert method.evaluate()["log_normalizer"] == pytest.approx(sums, rel=1e-5)


def test_the_loss_of_glove_and_its_correlation(monkeypatch):
    monkeypatch.setattr(glove, "MEASURED", 7)
    method = make("glove", window=3, batch_size=50, largest=2.0, power=0.5)
    for stream, pairs in (
        (method.data.stream, method.pairs),
        (method.data.held_out, method.held_out),
    ):
        near = dict.fromkeys(zip(pairs.rows.tolist(), pairs.columns.tolist()), 0.0)
        assert len(near) == len(pairs.counts)
        for i, j in np.ndindex(len(stream), len(stream)):
            if 0 < abs(i - j) <= 3 and stream.documents[i] == stream.documents[j]:
                near[int(stream.words[i]), int(stream.words[j])] += 1 / abs(i - j)
        np.testing.assert_allclose(pairs.counts, list(near.values()))
    (rows, columns, counts), w, c, arrays = loops(method)
    predicted = (w[rows] * c[columns]).sum(axis=1)
    predicted += (
        arrays["center_biases.weight"][rows, 0] + arrays["context_biases.weight"][columns, 0]
    )
    weight = np.minimum(1, counts / 2) ** 0.5
    expected = np.mean(weight * (predicted - np.log(counts)) ** 2) / 2
    batch = rows, columns, counts
    assert method.loss(batch, np.random.default_rng(0)).item() == pytest.approx(expected, rel=1e-5)
    rows, columns, counts = method.held_out
    predicted = method.model(rows, columns).numpy().astype(np.float64)
    x, y, share = predicted, np.log(counts), counts / counts.sum()
    x, y = x - share @ x, y - share @ y
    r = share @ (x * y) / np.sqrt((share @ x**2) * (share @ y**2))
    assert method.evaluate()["held_out_correlation"] == pytest.approx(r, rel=1e-5)


def test_the_held_out_loss_is_that_of_the_whole_text_and_the_same_each_time():
    method = make("skipgram")
    first = method.evaluate()
    assert first == method.evaluate()
    method.batch(np.random.default_rng(0), 3)  # what happens between changes nothing
    assert first == method.evaluate()
    w, c = method.model.centers.weight.numpy(), method.model.contexts.weight.numpy()
    words, k = method.data.held_out.words, method.settings.negatives
    noise = method.noise[1:]
    total = pairs = 0.0
    for i, word in enumerate(words):  # in expectation: of reach and noise
        for j in range(max(0, i - 5), min(len(words), i + 6)):
            if j != i:
                inside = (6 - abs(i - j)) / 5
                of_noise = k * (noise * softplus(c[1:] @ w[word])).sum()
                total += inside * (softplus(-c[words[j]] @ w[word]) + of_noise)
                pairs += inside
    assert first["held_out_loss"] == pytest.approx(total / pairs, rel=0.15)


def test_the_held_out_text_is_measured_once_pair_by_pair(monkeypatch):
    monkeypatch.setattr(windows, "MEASURED", 2)
    method, measured = make("skipgram", threshold=0.05), []
    method.windows = lambda *given, usual=method.windows: (
        measured.append(usual(*given)) or measured[-1]
    )
    found = method.evaluate()["held_out_loss"]
    whole = method.data.held_out.words
    kept = np.random.default_rng(0).random(len(whole), np.float32) < method.keep[whole]
    centers = np.concatenate([w.centers.ravel() for w in measured])
    np.testing.assert_array_equal(centers[centers > 0], whole[kept])
    assert len(measured) > 1
    assert not kept.all()
    batches = [method.arrays(w) for w in measured]
    pairs = [method.count(batch) for batch in batches]
    assert len(set(pairs)) > 1
    losses = [method.loss(batch, None).item() for batch in batches]
    assert found == pytest.approx(np.average(losses, weights=pairs), rel=1e-6)

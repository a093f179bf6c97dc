"""Windows, noise and passes of the methods that learn word vectors, against loops over the text."""

import numpy as np
import pytest

from minissl.autograd.threads import engine_threads
from minissl.data import Kept
from minissl.data.words import VOCABULARY, Words, WordStream, WordTexts, to_stream
from minissl.pretrain import load_method, word_vectors
from minissl.pretrain.run import pretrain, train
from minissl.pretrain.windows import BLOCK, SHARED
from minissl.pretrain.word_vectors import Passes
from minissl.text.cooccurrence import keep_probabilities
from minissl.text.documents import Document
from minissl.text.words import WordVocabulary

WINDOWED = ("skipgram", "cbow", "noise-contrastive")
NAMES = (*WINDOWED, "glove")


def words_of_two_documents(seed=0, most=9, lengths=(70, 45)):
    """A stream of random words, in which the last word of one and the first of the next meet."""
    generator = np.random.default_rng(seed)
    documents = [generator.integers(1, most, size=n) for n in lengths]
    counts = np.bincount(np.concatenate(documents), minlength=most)
    names = {chr(96 + i): int(counts[i]) for i in range(1, most)}
    vocabulary = WordVocabulary(names)
    ids = [[vocabulary.ids[chr(96 + i)] for i in document] for document in documents]
    return Words(
        Kept({VOCABULARY: vocabulary.to_bytes()}), vocabulary, to_stream(ids), to_stream(ids[1:])
    )


def make(name="skipgram", seed=0, data=None, **settings):
    kind = load_method(name)
    settings = {"threshold": 0, "batch_size": 64, "width": 6, "steps": 4, **settings}
    known = {key: value for key, value in settings.items() if hasattr(kind.Settings(), key)}
    data = words_of_two_documents() if data is None else data
    method = kind.build(kind.Settings(**known), data, seed=seed)
    for _, parameter in method.model.named_parameters():  # zeros would hide what is mixed up
        generator = np.random.default_rng([seed, 5])
        parameter.array[:] = generator.standard_normal(parameter.shape)
    return method


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


def test_what_is_seen_is_in_the_window_in_the_document_and_another_place():
    method = make(window=4)
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
    method = make(window=5, noise_power=0.75)
    words, documents = method.blocks(method.data.stream, np.full(3000, 20))
    found = method.windows(words, documents, np.random.default_rng(0))
    reached = found.seen.sum(axis=1)[:, 0] / 2  # of the first center, with five words on each side
    shares = np.bincount(reached.astype(int), minlength=6)[1:] / len(reached)
    np.testing.assert_allclose(shares, 0.2, atol=0.03)
    counts = method.data.vocabulary.counts[1:].astype(float) ** 0.75
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
    method = make("cbow", negatives=3)
    batch, w, c, _ = loops(method)
    around, words, near, _, _ = batch
    total = centers = 0.0
    for block in range(len(around)):
        for i in range(BLOCK):
            if not near[block, i].any():
                continue
            weights = near[block, i].astype(np.float64)
            assert weights.sum() == pytest.approx(1, abs=1e-6)
            assert len(set(weights[weights > 0])) == 1  # all words of a window alike
            mean = weights @ w[around[block]]
            total += softplus(-c[words[block, i]] @ mean)
            total += 3 / SHARED * softplus(c[words[block, -SHARED:]] @ mean).sum()
            centers += 1
    assert method.count(batch) == centers
    assert method.loss(batch, np.random.default_rng(0)).item() == pytest.approx(
        total / centers, rel=1e-5
    )


def test_the_loss_of_nce_takes_the_noise_from_the_scores():
    method = make("noise-contrastive", negatives=3)
    batch, w, c, arrays = loops(method)
    centers, words, seen, *_ = batch
    bias = arrays["biases.weight"][:, 0]
    counts = method.data.vocabulary.counts.astype(np.float64)
    counts[0] = 0
    noise = counts**0.75 / (counts**0.75).sum()
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


def test_the_loss_of_glove_and_its_correlation():
    method = make("glove", window=3, batch_size=50)
    (rows, columns, counts), w, c, arrays = loops(method)
    predicted = (w[rows] * c[columns]).sum(axis=1)
    predicted += (
        arrays["center_biases.weight"][rows, 0] + arrays["context_biases.weight"][columns, 0]
    )
    weight = np.minimum(1, counts / 100) ** 0.75
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


# ---- runs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_number_of_threads_changes_no_bit(name):
    data = words_of_two_documents(most=26, lengths=(5000, 2000))
    found = []
    for threads in (1, 2):
        method = make(name, data=data, batch_size=20_000 if name == "glove" else 8192, width=33)
        with engine_threads(threads):
            train(method, method.settings, progress=False)
        found.append({n: p.numpy().tobytes() for n, p in method.model.named_parameters()})
    assert found[0] == found[1]


@pytest.mark.parametrize("name", NAMES)
def test_several_processes_are_refused_before_anything_is_written(name, tmp_path, monkeypatch):
    monkeypatch.setattr(word_vectors, "world", lambda: type("World", (), {"size": 2})())
    kind = load_method(name)
    with pytest.raises(ValueError, match="trained by one process, here are 2: start it without"):
        pretrain(kind, WordTexts.toy(), kind.Settings(), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", NAMES)
def test_words_of_one_subject_become_alike(name):
    """Three subjects of eight words; a document is of one of them, with words of everyone."""
    generator = np.random.default_rng(0)
    subjects = [[f"{letter}{i}" for i in range(8)] for letter in "abc"]
    documents = []
    for number in range(200):
        own = subjects[number % 3]
        text = generator.choice([*own, *own, "the", "of"], size=60)
        documents.append(Document(f"d{number}", "toy", " ".join(text)))
    kind = load_method(name)
    steps = {"glove": 150}.get(name, 60)
    settings = kind.Settings(width=8, steps=steps, batch_size=2000, learning_rate=0.3)
    found = pretrain(kind, WordTexts(documents), settings, progress=False).method.vectors()
    for own in subjects:
        nearest = [[word for word, _ in found.neighbors(word, 5)] for word in own]
        right = np.mean([other[0] == word[0] for word, near in zip(own, nearest) for other in near])
        assert right > 0.9
    assert "[UNK]" not in found


def test_a_text_without_known_words_has_no_direction():
    method = make("skipgram")
    rows = method.represent([[0, 0], [], [1, 0, 2]])
    assert not rows[:2].any()
    w = method.model.vectors()
    np.testing.assert_allclose(rows[2], (w[1] + w[2]) / 2, rtol=1e-6)
    glove = make("glove")
    w, c = glove.model.centers.weight.numpy(), glove.model.contexts.weight.numpy()
    np.testing.assert_allclose(glove.represent([[3]])[0], w[3] + c[3], rtol=1e-6)


def test_what_is_missing_is_said():
    few = WordTexts([Document("a", "b", "one two three"), Document("c", "d", "four five six")])
    with pytest.raises(ValueError, match=r"no word occurs min_count=5 times, .* comes 1 times"):
        few.prepare(Kept(), load_method("skipgram").Settings())
    with pytest.raises(ValueError, match=r"words\.txt is missing: without it nobody knows which"):
        Words.reopen(Kept(), load_method("skipgram").Settings())
    with pytest.raises(ValueError, match=r"weight_decay must be a number ≥ 0 and ≤ 0, got 0\.1"):
        load_method("skipgram").Settings(weight_decay=0.1)

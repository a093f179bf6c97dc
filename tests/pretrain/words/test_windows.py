"""Windows, noise and passes of the methods that learn word vectors, against loops over the text."""

import numpy as np
import pytest

from minissl.autograd.threads import engine_threads
from minissl.data import Kept
from minissl.data.words import VOCABULARY, Words, WordStream, WordTexts, to_stream
from minissl.pretrain import load_method, windows, word_vectors
from minissl.pretrain.run import pretrain, train
from minissl.pretrain.windows import BLOCK, SHARED
from minissl.pretrain.word_vectors import Passes
from minissl.pretrain.words import glove
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
    vocabulary = WordVocabulary(names, unknown=1000)
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
    generator = np.random.default_rng([seed, 5])
    for _, parameter in method.model.named_parameters():  # zeros would hide what is mixed up
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


# ---- weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_it_begins_as_published_and_no_row_is_that_of_unknown_words(name):
    kind, data = load_method(name), words_of_two_documents(most=26, lengths=(700,))
    settings = kind.Settings(width=20, steps=3, batch_size=200)
    method = kind.build(settings, data)
    at = {n: p.numpy().copy() for n, p in method.model.named_parameters()}
    for table in ("centers.weight", "contexts.weight"):
        if table == "contexts.weight" and name != "glove":
            assert not at[table].any()
            continue
        assert np.abs(at[table]).max() == pytest.approx(0.5 / 20, rel=0.02)
        assert abs(at[table].mean()) < 0.1 / 20
    if name == "noise-contrastive":
        shares = data.vocabulary.counts[1:] / data.vocabulary.counts[1:].sum()
        np.testing.assert_allclose(at["biases.weight"][1:, 0], np.log(shares), rtol=1e-6)
    train(method, settings, progress=False)
    for n, parameter in method.model.named_parameters():
        assert not at[n][0].any()
        assert not parameter.numpy()[0].any()
        assert (parameter.numpy() != at[n])[1:].any()


# ---- steps ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_learning_rate_falls_in_a_line_and_that_of_glove_does_not(name):
    settings = load_method(name).Settings(steps=10, learning_rate=0.5)
    rates = [settings.schedule(step) for step in range(10)]
    expected = np.full(10, 0.5) if name == "glove" else 0.05 * np.arange(10, 0, -1)
    np.testing.assert_allclose(rates, expected)


@pytest.mark.parametrize(
    ("name", "batch_size", "pairs"),
    [("skipgram", 64, 64 * 4), ("skipgram", 40, 32 * 4), ("cbow", 1, 16 * 4), ("glove", 40, 40)],
)
def test_the_first_step_is_that_of_a_sum_over_pairs(name, batch_size, pairs):
    """As GloVe's: lr G / √(1 + G²), with G the gradient of the sum and here that of the mean."""
    method = make(name, batch_size=batch_size, window=3)
    optimizer = method.settings.optimizer(method.model)
    optimizer.lr = 0.1
    (_, weight), *others = method.model.named_parameters()
    whole = np.random.default_rng(0).standard_normal(weight.shape)
    before = weight.numpy().copy()
    for _, parameter in others:
        parameter.grad = np.zeros(parameter.shape, np.float32)
    weight.grad = (whole / pairs).astype(np.float32)
    optimizer.step()
    moved = before - weight.numpy()
    np.testing.assert_allclose(moved, 0.1 * whole / np.sqrt(1 + whole**2), rtol=1e-3, atol=1e-6)


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
    method = make("glove")
    w, c = method.model.centers.weight.numpy(), method.model.contexts.weight.numpy()
    np.testing.assert_allclose(method.represent([[3]])[0], w[3] + c[3], rtol=1e-6)
    np.testing.assert_allclose(method.vectors().matrix, (w + c)[1:], rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", ["hippopotamusesofafrica", "hello", "no", "a " * 40])
def test_a_text_without_pairs_is_refused_and_one_word_is_no_reason_to_warn(name, text):
    """Of 300 documents with a word each, of one long word; a word beside itself is a pair."""
    kind = load_method(name)
    data = WordTexts([Document(f"d{n}", "toy", text) for n in range(300 if len(text) < 9 else 2)])
    settings = kind.Settings(min_count=1, steps=2, batch_size=30, width=2)
    if " " in text:
        history = pretrain(kind, data, settings, progress=False).history
        assert all(np.isfinite(value) for record in history for value in record.values())
        return
    with pytest.raises(ValueError, match="no two known words stand near each other: give more"):
        pretrain(kind, data, settings, progress=False)


@pytest.mark.parametrize("settings", [{"most_words": 3}, {"min_count": 6}])
def test_a_kept_vocabulary_is_not_more_than_is_asked_for(settings):
    kind = load_method("skipgram")
    data = WordTexts([Document("a", "b", "one two three four five six " * 5)])
    kept = data.prepare(Kept(), kind.Settings(min_count=1)).kept
    with pytest.raises(
        ValueError, match=r"words\.txt has \d words that come \d times or more, exp"
    ):
        data.prepare(kept, kind.Settings(**{"min_count": 1, **settings}))
    assert data.prepare(kept, kind.Settings(min_count=1)).kept == kept


def test_the_settings_say_which_words_have_a_vector():
    data, kind = WordTexts.toy(), load_method("skipgram")
    counts = data.prepare(Kept(), kind.Settings(min_count=1)).vocabulary.counts[1:]
    for least, most in ((1, 7), (3, 10_000), (9, 10_000)):
        found = data.prepare(Kept(), kind.Settings(min_count=least, most_words=most)).vocabulary
        expected = [count for count in counts if count >= least][:most]
        assert found.counts[1:].tolist() == expected
        assert found.counts.sum() == counts.sum()


def test_what_is_missing_is_said():
    nothing = words_of_two_documents().unseen(WordTexts([Document("a", "b", "q r s")]))
    with pytest.raises(ValueError, match=r"no known word to train on: .* opened to be used, or"):
        make(data=nothing).batch(np.random.default_rng(0))
    with pytest.raises(
        ValueError, match=r"threshold=1e-09 thins 115 words out to 0\.\d+: take a la"
    ):
        make(threshold=1e-9).batch(np.random.default_rng(0))
    few = WordTexts([Document("a", "b", "one two three"), Document("c", "d", "four five six")])
    with pytest.raises(ValueError, match=r"no word occurs min_count=5 times, .* comes 1 times"):
        few.prepare(Kept(), load_method("skipgram").Settings())
    with pytest.raises(ValueError, match=r"words\.txt is missing: without it nobody knows which"):
        Words.reopen(Kept(), load_method("skipgram").Settings())
    with pytest.raises(ValueError, match=r"weight_decay must be a number ≥ 0 and ≤ 0, got 0\.1"):
        load_method("skipgram").Settings(weight_decay=0.1)

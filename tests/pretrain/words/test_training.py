"""How word vectors begin, move and end, and what is refused on the way."""

import numpy as np
import pytest

from minissl.autograd.threads import engine_threads
from minissl.data import Kept
from minissl.data.words import Words, WordTexts
from minissl.pretrain import load_method, word_vectors
from minissl.pretrain.run import open_run, pretrain, train
from minissl.text.documents import Document
from tests.pretrain.words.toy import NAMES, make, words_of_two_documents

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
def test_a_text_without_pairs_is_refused_and_one_word_is_no_reason_to_warn(name, text, tmp_path):
    """Of 300 documents with a word each, of one long word; a word beside itself is a pair."""
    kind = load_method(name)
    data = WordTexts([Document(f"d{n}", "toy", text) for n in range(300 if len(text) < 9 else 2)])
    settings = kind.Settings(min_count=1, steps=2, batch_size=30, width=2)
    if " " in text:
        history = pretrain(kind, data, settings, progress=False).history
        assert all(np.isfinite(value) for record in history for value in record.values())
        return
    with pytest.raises(ValueError, match="no two known words stand near each other, of"):
        pretrain(kind, data, settings, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_text_without_a_word_of_the_run_that_it_goes_on_from_is_refused(tmp_path):
    kind = load_method("skipgram")
    settings = kind.Settings(steps=1, width=2, min_count=1)
    data, other = (WordTexts([Document("a", "b", t * 30)]) for t in ("one two six ", "du hast "))
    pretrain(kind, data, settings, tmp_path / "run", progress=False)
    start = open_run(tmp_path / "run")
    with pytest.raises(ValueError, match="no two known words stand near each other, of 0 to"):
        pretrain(kind, other, settings, tmp_path / "more", start=start, progress=False)
    assert not (tmp_path / "more").exists()


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
    with pytest.raises(ValueError, match=r"threshold=1e-09 thins 115 words out to 0\.\d+: take"):
        make(threshold=1e-9)
    few = WordTexts([Document("a", "b", "one two three"), Document("c", "d", "four five six")])
    with pytest.raises(ValueError, match=r"no word occurs min_count=5 times, .* comes 1 times"):
        few.prepare(Kept(), load_method("skipgram").Settings())
    with pytest.raises(ValueError, match=r"words\.txt is missing: without it nobody knows which"):
        Words.reopen(Kept(), load_method("skipgram").Settings())
    with pytest.raises(ValueError, match=r"weight_decay must be a number ≥ 0 and ≤ 0, got 0\.1"):
        load_method("skipgram").Settings(weight_decay=0.1)

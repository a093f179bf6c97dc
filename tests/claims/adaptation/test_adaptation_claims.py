"""The claims about adapting: each runs, and what is measured is what the table says."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from minissl.adapt.method import Task
from minissl.claims import fine_tuning
from minissl.claims.claim import Setup
from minissl.claims.experiments.adaptation import all_labels, mismatch, stays_near, text_shift
from minissl.data.texts import LabelledTexts, Texts
from minissl.text.small_world import BAD, GOOD
from tests.claims.reading import cells, require_whole

SEEDS = [0]
ROWS = {
    "stays-near": (*stays_near.ROWS, stays_near.PRETRAINING),
    "text-shift": tuple(
        text_shift.row(shift, way) for shift in text_shift.SHIFTS for way in text_shift.WAYS
    ),
    "all-labels": all_labels.ROWS,
    "mismatch": (*mismatch.IMAGE_ROWS, *mismatch.TEXT_ROWS),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_claim_runs_from_end_to_end(runs, name):
    require_whole(name, *runs(name))
    assert tuple(runs(name)[0]["table"]) == ROWS[name]


# ---- what they share -----------------------------------------------------------------------------


def test_the_mean_of_the_classes_is_the_published_one():
    generator = np.random.default_rng(0)
    labels, predicted = generator.integers(3, size=50), generator.integers(3, size=50)
    expected = 100 * balanced_accuracy_score(labels, predicted)
    assert fine_tuning.mean_of_classes(predicted, labels) == pytest.approx(expected)


@pytest.fixture(scope="module")
def toy():
    """A GPT of two steps on toy texts, and their task."""
    setup = Setup(3, {"english": fine_tuning.QUICK_GPT, "tune_steps": 3})
    opened = fine_tuning.gpt(setup, "english", Texts.toy().documents, "toy")
    task = Task.prepare(opened.data, LabelledTexts.toy(), "class")
    return SimpleNamespace(setup=setup, opened=opened, task=task)


def test_twins_begin_alike_and_part(toy):
    how = {"steps": 1, "batch_size": 4}
    still = {**how, "learning_rate": 1e-30}
    first, second = (
        fine_tuning.tuned(toy.setup, toy.opened, toy.task, batches=number, **still)[0]
        for number in range(2)
    )
    here, there, again = (
        fine_tuning.tuned(toy.setup, toy.opened, toy.task, batches=number, **how)[0]
        for number in (0, 1, 0)
    )
    pretrained = toy.opened.method.encoder.state_dict()
    for name, weights in first.model.state_dict().items():
        np.testing.assert_allclose(second.model.state_dict()[name], weights)
    for name, weights in pretrained.items():
        np.testing.assert_allclose(first.model.encoder.state_dict()[name], weights, rtol=1e-6)
    ends = [method.model.encoder.state_dict() for method in (here, there, again)]
    assert any((ends[0][name] != ends[1][name]).any() for name in pretrained)
    assert all((ends[0][name] == ends[2][name]).all() for name in pretrained)


def test_a_part_to_choose_on_is_a_third_of_what_is_learned_from(toy):
    part = fine_tuning.without_some(toy.task)
    names = {*part.train.names}, {*part.held_out.names}
    assert not names[0] & names[1]
    assert names[0] | names[1] == {*toy.task.train.names}
    assert len(names[1]) == round(len(toy.task.train) / 3)


# ---- stays-near ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("losses", "climb", "barrier"),
    [
        ([3, 2, 1], 0, 0),
        ([3, 1, 2, 1], 1, 2 - (3 - 2 * 2 / 3)),
        ([1, 4, 1], 3, 3),
        ([1, 2, 3], 2, 0),
    ],
)
def test_climb_and_barrier_by_hand(losses, climb, barrier):
    assert stays_near.climb(np.array(losses, float)) == pytest.approx(climb)
    assert stays_near.barrier(np.array(losses, float)) == pytest.approx(max(barrier, 0))


def test_a_line_begins_and_ends_with_its_networks(toy):
    first, _ = fine_tuning.tuned(toy.setup, toy.opened, toy.task, steps=1, learning_rate=1e-30)
    last, history = fine_tuning.tuned(toy.setup, toy.opened, toy.task, steps=5, learning_rate=0.03)
    kept = last.model.state_dict()
    back = stays_near.losses(last, kept, first.model.state_dict())
    found = stays_near.losses(last, first.model.state_dict(), kept)
    np.testing.assert_allclose(back[::-1], found, rtol=1e-5)
    for method, loss in ((first, found[0]), (last, found[-1])):
        train = toy.task.train
        right = method.probabilities(train.inputs)[np.arange(len(train)), train.labels]
        assert loss == pytest.approx(-np.log(right).mean(), rel=1e-4)
    assert len(found) == stays_near.POINTS
    stays_near.losses(last, kept, first.model.state_dict())
    assert all((last.model.state_dict()[name] == kept[name]).all() for name in kept)
    way = history[-1]["distance"] * stays_near.length(last.began)
    flat = [np.ravel(last.base.encoder.state_dict()[n] - last.began[n]) for n in last.began]
    assert way == pytest.approx(np.linalg.norm(np.concatenate(flat)), rel=1e-5)


# ---- text-shift ----------------------------------------------------------------------------------


def test_modules_are_on_one_side_and_nothing_is_tested_that_was_learned():
    shift = text_shift.modules(Texts.read(None).documents, 0)
    other, misspelt = shift.after[text_shift.MODULES], shift.after[text_shift.LETTERS]
    known = {text.name.split(":")[0] for text in (*shift.learn, *shift.before)}
    assert not known & {text.name.split(":")[0] for text in other}
    assert not {text.name for text in shift.learn} & {text.name for text in shift.before}
    for part in (shift.learn, shift.before, other):
        assert {text.source for text in part} == {*text_shift.PACKAGES}
    assert [text.name for text in misspelt] == [text.name for text in shift.before]
    assert all(Counter(a.text) == Counter(b.text) for a, b in zip(misspelt, shift.before))
    assert sum(a.text != b.text for a, b in zip(misspelt, shift.before)) > len(misspelt) / 2


def test_swapped_letters_are_neighbours_inside_a_word():
    text = "the four letters abcd, x1y2z3 " + "inside " * 20
    changed = text_shift.swapped(text, np.random.default_rng(0)).split(" ")
    seen = {new for old, new in zip(text.split(" "), changed) if old == "inside"}
    assert seen <= {"inside", "isnide", "inisde", "insdie", "insied"}
    assert len(seen) > 2
    assert changed[0] == "the"
    assert changed[3:5] == ["abcd,", "x1y2z3"]  # no words of letters alone


def test_reviews_before_and_after_share_no_adjective():
    shift = text_shift.adjectives(400, 0)
    after = shift.after[text_shift.WORDS]

    def said(texts):
        words = {word for text in texts for word in text.text.replace(".", "").split()}
        return words & {*GOOD, *BAD}

    assert said(shift.learn) == said(shift.before) == {*GOOD[:3], *BAD[:3]}
    assert said(after) == {*GOOD[3:], *BAD[3:]}
    assert {text.source for text in after} == {"good", "bad"}


def test_what_is_lost_by_hand():
    lost = text_shift.lost(80.0, 60.0, 2)
    assert (lost[text_shift.LOST], lost[text_shift.PART]) == (20.0, pytest.approx(100 * 20 / 30))


# ---- all-labels ----------------------------------------------------------------------------------


def test_no_review_is_there_twice_and_the_lead_is_over_the_better(runs):
    texts = all_labels.different(all_labels.reviews(500))
    assert len({text.text for text in texts}) == len(texts) < 500
    result = runs("all-labels")[0]
    for column in (*all_labels.REVIEWS, *all_labels.DOCSTRINGS):
        row = {name: values[0] for name, values in cells(result, column).items()}
        better = max(row[all_labels.SCRATCH], row[all_labels.LONG])
        assert row[all_labels.LEAD] == pytest.approx(row[all_labels.TUNED] - better)


# ---- mismatch ------------------------------------------------------------------------------------


def test_noise_has_the_ink_and_shapes_are_images():
    images = np.random.default_rng(1).random((7, 8, 8, 1), dtype=np.float32)
    noise = mismatch.noise(images, 0)
    assert noise.shape == images.shape
    assert (np.sort(noise, axis=None) == np.sort(images, axis=None)).all()
    shapes = mismatch.shapes(50, 0)
    assert shapes.dtype == np.float32
    assert shapes.min() == 0
    assert 0.8 < shapes.max() <= 1
    assert (shapes.sum(axis=(1, 2, 3)) > 1).all()


def test_shuffled_texts_keep_their_words_and_a_soup_all_words():
    texts = Texts.toy().documents
    shuffled, soup = mismatch.shuffled(texts, 0), mismatch.soup(texts, 0)
    for old, new, mixed in zip(texts, shuffled, soup):
        assert Counter(old.text.split()) == Counter(new.text.split())
        assert old.text.split() != new.text.split()
        assert len(old.text.split()) == len(mixed.text.split())
    words = [Counter(w for text in every for w in text.text.split()) for every in (texts, soup)]
    assert words[0] == words[1]

"""The claims about small parts and about three stages: what each row is, and who reads what."""

import numpy as np
import pytest

from minissl.adapt.method import Task
from minissl.claims.claim import Setup
from minissl.claims.docstring_labels import in_memory
from minissl.claims.experiments.adaptation import small_parts, three_stages
from minissl.data import Kept
from minissl.data.labels import split_labelled
from minissl.data.passages import PassageTexts
from minissl.data.texts import LabelledTexts, Texts
from minissl.nn.module import Module
from minissl.pretrain.language.gpt import GPTPretraining
from minissl.pretrain.masked.spanbert import SpanBERT
from minissl.text.documents import Document
from tests.claims.reading import cells, require_whole
from tests.pretrain.toy import toy_data, toy_settings

SEEDS = [0]
SMALL = [row for row in small_parts.WAYS if row not in (small_parts.SCRATCH, small_parts.TUNED)]


@pytest.mark.parametrize(
    ("name", "rows"),
    [("small-parts", small_parts.ROWS), ("three-stages", three_stages.ROWS)],
)
def test_a_claim_runs_from_end_to_end(runs, name, rows):
    require_whole(name, *runs(name))
    assert tuple(runs(name)[0]["table"]) == rows


def test_what_the_table_of_small_parts_says_of_costs(runs):
    result, _ = runs("small-parts")
    weights, saved = (cells(result, column) for column in (small_parts.WEIGHTS, small_parts.BYTES))
    head, whole = 9 * 12, weights[small_parts.TUNED][0]
    assert weights[small_parts.SCRATCH] == weights[small_parts.TUNED]
    assert weights[small_parts.PROBE] == [head]
    assert weights[small_parts.PROMPTS] == [8 * 8 + head]
    assert weights[small_parts.PREFIXES] == [2 * 8 * 8 + head]
    for row in SMALL:
        assert weights[row][0] < whole
        assert saved[row] == [weights[row][0] * 4 / 1000]  # float32
        assert cells(result, small_parts.OFF)[row] == [0.0]
    behind = cells(result, small_parts.BEHIND)
    accuracy = cells(result, small_parts.ALL)
    for row in (small_parts.PROBE, *small_parts.WAYS):
        assert behind[row][0] == accuracy[small_parts.TUNED][0] - accuracy[row][0]
    assert len(result["curves"][0][small_parts.LORA][1]) == 2


# ---- small parts ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def toy():
    """An untrained GPT in memory, and a task of its generated texts."""
    settings = toy_settings("gpt", context_length=24)
    data = toy_data("gpt", settings).prepare(Kept(), settings)
    opened = in_memory(GPTPretraining.build(settings, data, seed=0), settings, data)
    return opened, small_parts.shortened(Task.prepare(data, LabelledTexts.toy(), "class"), 12)


def fitted(toy, row, steps=2):
    setup = Setup(0, {"tune_steps": steps})
    return small_parts.fitted(setup, small_parts.WAYS[row], *toy, 0.05)[1]


@pytest.mark.parametrize("row", SMALL)
def test_the_network_is_there_again_when_the_part_is_taken_off(toy, row):
    method, (opened, _) = fitted(toy, row), toy
    plain = small_parts.taken_off(method, opened).model.state_dict()
    for name, array in opened.method.model.state_dict().items():
        np.testing.assert_array_equal(plain[name], array)
    inner = method.model.state_dict().keys() - method.saved().state_dict().keys()
    assert {small_parts.plain_name(name) for name in inner} <= {*opened.method.encoder.state_dict()}


def test_a_frozen_weight_that_has_moved_is_seen(toy):
    method, (opened, _) = fitted(toy, small_parts.ADAPTERS), toy
    name, tensor = next(
        (n, t) for n, t in method.model.named_tensors() if n.endswith("output.inner.weight")
    )
    tensor.array = tensor.array[::-1].copy()
    plain: Module = small_parts.taken_off(method, opened).encoder
    moved = plain.state_dict()[small_parts.plain_name(name)]
    np.testing.assert_array_equal(moved, tensor.array)
    assert small_parts.forgotten(method, opened)[small_parts.OFF] != 0


def test_what_is_in_place_is_asked_about_old_text(toy):
    opened, _ = toy
    found = {row: small_parts.forgotten(fitted(toy, row), opened) for row in small_parts.WAYS}
    for row in (small_parts.TUNED, small_parts.LORA, small_parts.PREFIXES, small_parts.BIASES):
        assert found[row][small_parts.FORGOTTEN] != 0
    for row in (small_parts.PROMPTS, small_parts.ABOVE):
        assert found[row][small_parts.FORGOTTEN] == 0
    assert small_parts.OFF not in found[small_parts.TUNED]


def test_texts_are_cut_and_a_separator_stays_the_last():
    settings = toy_settings("spanbert", vocab_size=300, context_length=16)
    texts = [
        Document(str(i), "ab"[i % 2], f"the cat {i} sat on the mat " * (i % 4))
        for i in range(1, 25)
    ]
    raw = LabelledTexts(texts, np.arange(24) % 2, ("a", "b"))
    data = PassageTexts(texts).prepare(Kept(), settings)
    task = Task.prepare(data, raw, "class")
    method = SpanBERT.build(settings, data, seed=0)
    cut = small_parts.shortened(task, 10, closed=True)
    for before, after in zip(task.train.inputs, cut.train.inputs):
        assert len(after) == min(10, len(before))
        assert list(after[:-1]) == list(before[: len(after) - 1])
        assert after[-1] == method.sep
    plain = small_parts.shortened(task, 10)
    assert max(map(len, plain.held_out.inputs)) == 10
    for before, after in zip(task.held_out.inputs, plain.held_out.inputs):
        assert list(after) == list(before[:10])


def test_a_learning_rate_is_chosen_without_the_test_set(toy):
    _, task = toy
    choosing = small_parts.to_choose(task)
    seen = {*choosing.train.names, *choosing.held_out.names}
    assert seen == {*task.train.names}
    assert not {*choosing.train.names} & {*choosing.held_out.names}
    assert small_parts.best((0.1, 0.01, 0.3), {0.1: 5, 0.01: 5, 0.3: 4}.get) == 0.01


def test_the_grid_is_tried_and_the_best_of_it_taken(toy, monkeypatch):
    tried = []

    opened, task = toy
    setup = Setup(0, {"rates": [1, 3, 9], "tune_steps": 1})
    real = small_parts.WAYS[small_parts.BIASES]
    method = fitted(toy, small_parts.BIASES, 1)

    def pretended(setup, way, opened, task, rate, count=0):
        tried.append((rate, count, task.held_out.names))
        return 50 - abs(rate - 3), method, 1.0

    monkeypatch.setattr(small_parts, "fitted", pretended)
    row = small_parts.learned(setup, real, opened, task)
    assert row[small_parts.RATE] == 3
    choosing = small_parts.to_choose(task).held_out.names
    assert tried[:3] == [(1, 0, choosing), (3, 0, choosing), (9, 0, choosing)]
    assert tried[3:] == [(3, 0, task.held_out.names), (3, 10, task.held_out.names)]


# ---- three stages --------------------------------------------------------------------------------


def test_nobody_reads_what_is_held_out():
    labelled = LabelledTexts.read(None)
    documents = Texts.read(None).documents
    broad, domain = three_stages.parted(documents, labelled, 1)
    train, held_out = split_labelled(len(labelled.documents))
    unseen = {labelled.documents[i].text for i in held_out}
    assert len(unseen) == 320
    assert not unseen & {one.text for one in [*broad, *domain]}
    assert {labelled.documents[i].text for i in train} <= {one.text for one in domain}
    assert {one.source for one in domain} == {*labelled.class_names}
    assert not {one.source for one in broad} & {*labelled.class_names}
    assert len(broad) + len(domain) + 320 == len(documents)


def test_each_row_has_read_what_it_says(monkeypatch):
    """The stages, as they are trained: how many documents, how many steps, from which weights."""
    stages, train = [], three_stages.train

    def watched(method, settings, **how):
        begun = method.model.state_dict()["tokens.weight"].copy()
        train(method, settings, **how)
        ended = method.model.state_dict()["tokens.weight"].copy()
        stages.append((len(method.stream), settings.steps, begun, ended))

    monkeypatch.setattr(three_stages, "train", watched)
    monkeypatch.setattr(three_stages, "fine_tuned", lambda *_: 0.0)
    settings = three_stages.CLAIM.scales["quick"] | {"steps": 5, "domain_steps": 2, "every": 150}
    three_stages.measure(Setup(0, settings))
    assert [steps for _, steps, *_ in stages] == [5, 3, 2, 2, 5, 5]
    broad, first, second, added, mixed, near = stages
    assert broad[0] == first[0]
    assert second[0] == added[0] == near[0] < broad[0] < mixed[0]
    for one in (first, mixed, near):
        np.testing.assert_array_equal(one[2], broad[2])
    np.testing.assert_array_equal(second[2], first[3])
    np.testing.assert_array_equal(added[2], broad[3])
    assert not np.array_equal(added[2], second[2])


def test_the_table_says_how_many_steps_each_row_had(runs):
    steps = cells(runs("three-stages")[0], three_stages.STEPS)
    assert steps[three_stages.SCRATCH] == [0]
    same = (three_stages.TWO, three_stages.THREE, three_stages.MIXED, three_stages.NEAR)
    assert [steps[row] for row in same] == [[2]] * 4
    assert steps[three_stages.MORE] == [3]

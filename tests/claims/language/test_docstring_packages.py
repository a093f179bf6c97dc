"""The claim about docstrings: each row is what it says, at the scale that takes seconds."""

import math
import re
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from minissl.adapt.method import FewLabels, Task
from minissl.autograd.fused import gpu
from minissl.claims.claim import Setup
from minissl.claims.experiments.language import docstring_packages as packages
from minissl.claims.run import run_claim
from minissl.data import Kept
from minissl.data.labels import split_labelled
from minissl.data.texts import LabelledTexts, Texts
from minissl.models.gpt import GPT
from minissl.pretrain.language.gpt import GPTPretraining
from minissl.text.documents import split_documents
from tests.claims.reading import cells, require_whole
from tests.lectures.reading import says
from tests.pretrain.toy import toy_data, toy_settings

EVERYTHING, FEW = packages.LABELS


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """One run: its result and folder, the method that was pretrained, and what was trained how."""
    asked, found = {}, []
    trained, shared = packages.trained, packages.shared

    def asking(setup, kind, settings, opened, task):
        asked[len(asked)] = (kind, settings, opened.checkpoint.weights)
        return trained(setup, kind, settings, opened, task)

    def sharing(*given, **named):
        found.append(shared(*given, **named))
        return found[0]

    folder = tmp_path_factory.mktemp("claims")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packages, "trained", asking)
        patch.setattr(packages, "shared", sharing)
        result = run_claim(packages.CLAIM, folder, scale="quick", seeds=[3], progress=False)
    return SimpleNamespace(result=result, folder=folder, asked=asked, gpt=found[0].method)


def test_the_claim_runs_from_end_to_end(quick):
    require_whole("docstring-packages", quick.result, quick.folder)
    assert tuple(quick.result["table"]) == packages.ROWS
    for column in packages.LABELS:
        assert all(0 <= value <= 100 for [value] in cells(quick.result, column).values())


def test_the_weights_by_hand(quick):
    """A width of 32, one block, a context of 32, 300 tokens, and twelve packages."""
    head = 12 * 32 + 12
    block = 4 * (32 * 32 + 32) + (32 * 128 + 128) + (128 * 32 + 32) + 2 * 2 * 32
    gpt = 300 * 32 + 32 * 32 + block + 2 * 32
    expected = {
        packages.COUNTS: 300 * 12 + 12,
        packages.RANDOM: head,
        packages.PROBE: head,
        packages.NARROW: 2 * 8 * (32 + 32) + head,
        packages.WIDE: 2 * (4 * (32 + 32) + 2 * (32 + 128)) + head,
        packages.TUNED: gpt + head,
        packages.SCRATCH: gpt + head,
    }
    weights = cells(quick.result, packages.WEIGHTS)
    assert weights.keys() == {packages.TFIDF, *expected}
    assert {row: weights[row] for row in expected} == {row: [n] for row, n in expected.items()}


def test_what_each_row_begins_with_and_how_it_is_trained(quick):
    pretrained = quick.gpt.model.state_dict()
    untrained = GPT(quick.gpt.model.config, generator=np.random.default_rng(3)).state_dict()
    asked = list(quick.asked.values())
    assert len(asked) == 8
    for count, of_column in ((0, asked[:4]), (10, asked[4:])):
        narrow, wide, tuned, scratch = of_column
        assert {settings.labels_per_class for _, settings, _ in of_column} == {count}
        assert tuned[:2] == scratch[:2]  # the same adaptation with the same settings
        assert len({(s.steps, s.batch_size) for _, s, _ in of_column}) == 1
        for (_, _, weights), expected in (
            (narrow, pretrained), (wide, pretrained), (tuned, pretrained), (scratch, untrained),
        ):  # fmt: skip
            assert weights.keys() == expected.keys()
            assert all(np.array_equal(weights[name], expected[name]) for name in weights)
    assert not np.array_equal(pretrained["tokens.weight"], untrained["tokens.weight"])


def by_hand(texts, words, rarity):
    """(1 + ln count) · (1 + ln((1 + texts) / (1 + texts with the word))), rows of length 1."""
    rows = np.zeros((len(texts), len(words)))
    for row, text in zip(rows, texts):
        for word, count in Counter(split(text)).items():
            if word in words:
                row[words[word]] = (1 + math.log(count)) * rarity[word]
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def split(text):
    return re.findall(r"\w\w+", text.lower())


def test_tf_idf_by_hand(quick):
    raw = LabelledTexts.read(None)
    order = np.random.default_rng(0).permutation(960)
    held_out = np.sort(order[:320])
    train = np.setdiff1d(np.arange(960), held_out)
    texts = [[raw.documents[i].text for i in part] for part in (train, held_out)]
    seen_in = Counter(word for text in texts[0] for word in set(split(text)))
    rarity = {word: 1 + math.log(641 / (1 + count)) for word, count in seen_in.items()}
    words = {word: place for place, word in enumerate(sorted(seen_in))}
    few = FewLabels(labels_per_class=10).choose(raw.labels[train], 3)
    assert np.bincount(raw.labels[train][few]).tolist() == [10] * 12
    model = LogisticRegression(C=100, max_iter=1000)
    model.fit(by_hand(texts[0], words, rarity)[few], raw.labels[train][few])
    right = model.predict(by_hand(texts[1], words, rarity)) == raw.labels[held_out]
    [found] = cells(quick.result, FEW)[packages.TFIDF]
    assert found == pytest.approx(100 * right.mean(), abs=0.4)  # one text on the border
    assert cells(quick.result, packages.WEIGHTS)[packages.TFIDF] == [12 * len(words) + 12]


def tiny_task(device="cpu"):
    """A random GPT on a device, as an opened run, and the animals of the toy texts."""
    settings = toy_settings("gpt")
    data = toy_data("gpt", settings).prepare(Kept(), settings)
    method = GPTPretraining.build(settings, data, seed=0)
    method.to(device)
    opened = packages.as_opened(method, settings, data)
    return opened, Task.prepare(data, LabelledTexts.toy(), "class")


def test_the_row_of_counts_is_each_tokens_part_of_the_text():
    _, task = tiny_task()
    part = packages.counted(task.train, task.base.tokenizer.vocab_size)
    assert part.raw.shape == task.train.raw.shape
    for row, tokens in zip(part.raw, part.inputs):
        expected = [tokens.count(token) / len(tokens) for token in range(len(row))]
        np.testing.assert_allclose(row, expected, rtol=1e-6)


def test_what_is_adapted_stays_as_it_was():
    opened, task = tiny_task()
    before = {name: np.array(a) for name, a in opened.method.model.state_dict().items()}
    for _, kind, settings in packages.learned(0, 2):
        packages.trained(Setup(0, {}), kind, settings, opened, task)
    for name, array in before.items():
        np.testing.assert_array_equal(opened.method.model.state_dict()[name], array)
        np.testing.assert_array_equal(opened.checkpoint.weights[name], array)


def test_the_path_of_a_gpu(monkeypatch):
    monkeypatch.setattr(gpu, "_interpreted", lambda: False)  # it would take minutes
    found = {}
    for device in ("cpu", "torch"):
        opened, task = tiny_task(device)
        setup = Setup(0, {}, device)
        few = FewLabels(labels_per_class=3)
        numbers = [accuracy for _, accuracy, _ in packages.probes(setup, opened, task, few)]
        for _, kind, settings in packages.learned(3, 2):
            numbers += packages.trained(setup, kind, settings, opened, task)[:2]
        found[device] = numbers
    assert found["torch"] == found["cpu"]


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the lecture counted those of 3.11")
def test_what_the_lecture_says_of_the_texts():
    texts = [document.text for document in LabelledTexts.read(None).documents]
    train, held_out = split_labelled(len(texts))
    says("11", "320", len(held_out))
    says("11", "640", len(train))
    read = {document.text for document in split_documents(Texts.read(None).documents)[0]}
    says("11", "288", sum(texts[i] in read for i in held_out))
    words = [set(split(text)) for text in texts]
    alike = [
        max(len(words[i] & words[j]) / len(words[i] | words[j]) for j in train) for i in held_out
    ]
    says("11", "21", sum(share > 0.7 for share in alike))
    assert not {texts[i] for i in train} & {texts[i] for i in held_out}

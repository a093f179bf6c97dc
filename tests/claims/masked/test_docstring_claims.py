"""The claims about encoders on docstrings: what is asked of a model, and what each row is."""

import json

import numpy as np
import pytest

from minissl.adapt.heads.finetune import Finetune
from minissl.adapt.method import Task
from minissl.claims import docstring_labels
from minissl.claims.claim import Setup
from minissl.claims.experiments.masked import few_labels_text, span_masking
from minissl.data import Kept
from minissl.data.passages import PassageTexts
from minissl.data.texts import LabelledTexts
from minissl.nn.evaluating import evaluating
from minissl.pretrain.masked.spanbert import SpanBERT
from minissl.text.documents import Document
from tests.claims.reading import cells, require_whole
from tests.claims.test_claim import KEPT
from tests.pretrain.toy import toy_data, toy_method, toy_settings

SEEDS = [0]


@pytest.mark.parametrize(
    ("name", "rows"),
    [("span-masking", span_masking.ROWS), ("few-labels-text", few_labels_text.ROWS)],
)
def test_a_claim_runs_from_end_to_end(runs, name, rows):
    require_whole(name, *runs(name))
    assert tuple(runs(name)[0]["table"]) == rows


# ---- what is asked -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def method():
    """On random words of six letters: most have several pieces."""
    letters = np.array([*"abcdefghij"])
    generator = np.random.default_rng(0)
    documents = []
    for number in range(60):
        words = ["".join(word) for word in generator.choice(letters, (2 + number % 9, 6))]
        documents.append(Document(str(number), "toy", " ".join(words)))
    settings = toy_settings("spanbert", vocab_size=261, context_length=24, batch_size=8)
    return SpanBERT.build(settings, PassageTexts(documents).prepare(Kept(), settings), seed=0)


def test_everything_hidden_is_covered_and_nothing_else(method):
    for _, batches in span_masking.questions(method, 24)[:3]:
        assert sum(len(batch.tokens) for batch in batches) == 24
        for batch in batches:
            assert (batch.tokens[batch.hidden] == method.mask).all()
            np.testing.assert_array_equal(
                batch.tokens[~batch.hidden], batch.originals[~batch.hidden]
            )


def test_the_piece_is_inside_of_a_word_that_is_whole():
    """Pieces 10, 11 begin words, 20 and on go on with them; 1, 2, 0 are [CLS], [SEP], [PAD]."""

    class Pieces:
        begins = np.arange(30) < 20

        @staticmethod
        def is_text(tokens):
            return tokens >= 10

    originals = np.array(
        [
            [1, 10, 20, 21, 11, 10, 2],  # one word of several pieces
            [1, 20, 21, 10, 11, 2, 0],  # its beginning is cut off
            [1, 10, 11, 10, 20, 2, 0],
            [1, 10, 11, 10, 10, 11, 2],  # none
        ]
    )
    words = [[1, 2, 3], [], [3, 4], []]
    found = [set() for _ in words]
    for seed in range(20):
        piece, word = span_masking.one_piece(Pieces, originals, np.random.default_rng(seed))
        for row, expected in enumerate(words):
            assert np.flatnonzero(word[row]).tolist() == expected
            found[row].update(np.flatnonzero(piece[row]).tolist())
            assert piece[row].sum() == bool(expected)
    assert found == [{2, 3}, set(), {4}, set()]


def test_both_questions_are_of_the_same_piece(method):
    drawn = [*span_masking.pairs(method, 24)]
    assert sum(int(one.hidden.sum()) for one, _ in drawn) > 10
    for of_piece, of_word in drawn:
        np.testing.assert_array_equal(of_piece.hidden, of_word.hidden)
        np.testing.assert_array_equal(of_piece.tokens == method.mask, of_piece.hidden)
        assert not method.begins[of_piece.originals[of_piece.hidden]].any()
        more = (of_word.tokens == method.mask) & ~of_piece.hidden
        assert (more.sum(axis=1) >= of_piece.hidden.sum(axis=1)).all()
        rest = of_word.tokens != method.mask
        np.testing.assert_array_equal(of_word.tokens[rest], of_word.originals[rest])


def test_nats_and_frequencies_by_hand(method):
    batches = method.held_out_batches("words", 16)
    total, hidden = 0.0, []
    with evaluating(method.model):
        for batch in batches:
            states = method.model.encoder(batch.tokens, lengths=batch.lengths)
            logits = method.model.word_logits(states).numpy().astype(np.float64)
            logs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
            for row, place in zip(*np.nonzero(batch.hidden)):
                hidden.append(batch.originals[row, place])
                total -= logs[row, place, hidden[-1]]
    assert span_masking.nats(method, batches) == pytest.approx(total / len(hidden), rel=1e-5)
    pieces = method.data.stream.pieces.tolist()
    size = method.data.tokenizer.vocab_size
    logs = [np.log((pieces.count(token) + 1) / (len(pieces) + size)) for token in hidden]
    assert span_masking.by_frequency(method.data, batches) == pytest.approx(-np.mean(logs))


# ---- what each row is ----------------------------------------------------------------------------


def test_what_is_fine_tuned_and_how(monkeypatch):
    """The weights that it was given, with the labels that the seed chooses; they stay."""
    asked, build = [], Finetune.build

    def building(settings, opened, task, *, seed):
        asked.append((settings, build(settings, opened, task, seed=seed), seed))
        return asked[-1][1]

    monkeypatch.setattr(Finetune, "build", building)
    settings = toy_settings("spanbert")
    data = toy_data("spanbert", settings).prepare(Kept(), settings)
    method = toy_method("spanbert", seed=5)
    before = {name: np.array(a) for name, a in method.model.state_dict().items()}
    task = Task.prepare(data, LabelledTexts.toy(), "class")
    opened = docstring_labels.in_memory(method, settings, data)
    accuracy = docstring_labels.fine_tuned(Setup(7, {"tune_steps": 2}), opened, task, 3)
    [(tuning, adapted, seed)] = asked
    assert (tuning.labels_per_class, tuning.steps, seed) == (3, 2, 7)
    assert np.bincount(adapted.train.labels).tolist() == [3, 3]
    assert accuracy == 100 * adapted.evaluate()["held_out_accuracy"]
    after = method.model.state_dict()
    changed = adapted.base.model.state_dict()
    assert before.keys() == after.keys() == changed.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert not np.array_equal(changed["encoder.tokens.weight"], before["encoder.tokens.weight"])


def test_the_weights_by_hand(runs):
    """A width of 8, one block, a context of 24, 300 tokens, and twelve packages."""
    table = cells(runs("few-labels-text")[0], few_labels_text.WEIGHTS)
    head = 12 * 8 + 12
    block = 4 * (8 * 8 + 8) + (8 * 32 + 32) + (32 * 8 + 8) + 2 * 2 * 8
    gpt = encoder = 300 * 8 + 24 * 8 + block + 2 * 8  # the norm is behind, or of what is embedded
    assert table == {
        few_labels_text.CAUSAL_SCRATCH: [gpt + head],
        few_labels_text.CAUSAL: [gpt + head],
        few_labels_text.SCRATCH: [encoder + head],
        few_labels_text.DEEP: [encoder + block + head],
        few_labels_text.ENCODER: [encoder + head],
        few_labels_text.SPANS: [encoder + head],
    }


def test_tokens_read_are_those_of_the_rows(method, monkeypatch):
    batches = []
    usual = type(method).batch
    monkeypatch.setattr(
        type(method), "batch", lambda self, generator: batches.append(usual(self, generator))
        or batches[-1],
    )  # fmt: skip
    found = few_labels_text.tokens_read(method, 1000)
    inside = [(batch.tokens != method.pad).sum() for batch in batches]
    assert len(batches) == few_labels_text.COUNTED
    assert found == pytest.approx(np.mean(inside) * 1000 / 1e6, rel=1e-2)


def test_counting_is_the_same_row_as_in_the_claim_about_a_gpt(runs):
    """Task, split and labelled texts are the same, and so is the number."""
    kept = json.loads((KEPT / "docstring-packages.json").read_bytes())
    expected = kept["table"][few_labels_text.TFIDF]["all labels"]["values"][kept["seeds"].index(0)]
    [found] = cells(runs("few-labels-text")[0], "all labels")[few_labels_text.TFIDF]
    assert found == pytest.approx(expected, abs=0.7)  # two texts on the border

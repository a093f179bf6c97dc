"""What rows are made of, and that the loss is of hidden tokens alone, for BERT, RoBERTa, SpanBERT.

Every piece of the text is another one, so that a row says where it is from.
"""

import math
from collections import Counter
from dataclasses import fields
from itertools import pairwise

import numpy as np
import pytest

from minissl.autograd import Tensor
from minissl.data import Kept
from minissl.data.passages import Passages, PieceStream
from minissl.pretrain import load_method
from minissl.pretrain.masked_language_model import NoRow
from minissl.text.wordpiece import SPECIAL_TOKENS, WordPiece
from tests.text.hidden_rows import within

NAMES = ["bert", "roberta", "spanbert"]
FIRST = len(SPECIAL_TOKENS)  # the id of the first piece of the text
PIECES = 700
ROOM = 22  # between [CLS] and [SEP]; for BERT's pairs one less
WORDS = WordPiece(
    [*SPECIAL_TOKENS, *(("##" if n % 3 == 2 else "") + f"w{n}" for n in range(PIECES))]
)


def new_stream(sizes):
    """Pieces that are all different: ``sizes`` of the sentences of each document."""
    flat = [size for document in sizes for size in document]
    ends = np.cumsum([0, *flat])
    documents = np.cumsum([0, *map(len, sizes)])
    pieces = FIRST + np.arange(ends[-1]) % PIECES
    return PieceStream(pieces.astype(np.int32), ends, documents)


def many_documents():
    """Of 1 to 9 sentences of 1 to 9 pieces each, and one sentence that no row has room for."""
    generator, sizes = np.random.default_rng(3), []
    while sum(map(sum, sizes)) < PIECES - 120:
        sizes.append(generator.integers(1, 10, size=generator.integers(1, 10)).tolist())
    return [*sizes, [4, 40, 5]]


STREAM = new_stream(many_documents())
ENDS, DOCUMENTS = STREAM.sentences.tolist(), STREAM.documents.tolist()
SENTENCE = np.repeat(np.arange(len(ENDS) - 1), np.diff(ENDS))  # of each piece
DOCUMENT = STREAM.document_of(SENTENCE)


def new_method(name, stream=STREAM, **changes):
    kind = load_method(name)
    wanted = {
        "num_layers": 1, "width": 8, "num_heads": 2, "context_length": ROOM + 2, "batch_size": 100,
        "vocab_size": WORDS.vocab_size, "pieces": "wordpiece", "boundary_width": 4, **changes,
    }  # fmt: skip
    known = {one.name for one in fields(kind.Settings)}
    settings = kind.Settings(**{key: value for key, value in wanted.items() if key in known})
    return kind.build(settings, Passages(Kept(), WORDS, stream, PieceStream()), seed=0)


def draw(seed=0):
    return np.random.default_rng(seed)


def place_of(text):
    """Where a text of following pieces begins and ends in the stream."""
    start = int(text[0]) - FIRST
    assert (text == FIRST + start + np.arange(len(text))).all()
    return start, start + len(text)


# ---- every method --------------------------------------------------------------------------------


@pytest.mark.parametrize("masking", ["pieces", "words", "spans"])
@pytest.mark.parametrize("name", NAMES)
def test_a_batch_piece_by_piece(name, masking):
    method = new_method(name, masking=masking)
    batch = method.batch(draw())
    cls, sep, pad, mask = (WORDS.ids[n] for n in ("[CLS]", "[SEP]", "[PAD]", "[MASK]"))
    assert batch.originals.shape[1] == batch.lengths.max() <= ROOM + 2
    assert (batch.tokens == batch.originals)[~batch.hidden].all()
    assert not batch.hidden[np.isin(batch.originals, [cls, sep, pad])].any()
    for row, length, segments, hidden, label in zip(
        batch.originals, batch.lengths, batch.segments, batch.hidden, batch.labels, strict=True
    ):
        assert row[0] == cls
        assert row[length - 1] == sep
        assert (row[length:] == pad).all()
        ends = np.flatnonzero(row == sep)
        text = (row >= FIRST).sum()
        assert text == length - 1 - len(ends)
        if name == "bert":
            assert len(ends) == 2
            follows = DOCUMENT[row[1] - FIRST] == DOCUMENT[row[ends[0] + 1] - FIRST]
            assert label == (0 if follows else 1)
            assert segments.tolist() == [
                int(ends[0] < place <= ends[1]) for place in range(len(row))
            ]
        else:
            assert not segments.any()
        limit = min(max(round(0.15 * text), 1), text)
        assert 1 <= hidden.sum() <= max(limit, 3 if masking != "pieces" else 0)
        if masking == "pieces":
            assert hidden.sum() == limit
        else:  # a hidden first piece comes with all of its word, of two pieces or of one
            inside = [WORDS.tokens[token].startswith("##") for token in row]
            for at in range(1, length):
                if inside[at] and row[at - 1] >= FIRST:
                    assert hidden[at] == hidden[at - 1]
    share = (batch.tokens == mask).sum() / batch.hidden.sum()
    assert 0.65 < share < 0.95


@pytest.mark.parametrize("name", NAMES)
def test_fixed_batches_come_again_and_others_do_not(name):
    def seen(**changes):
        method, generator = new_method(name, batch_size=2, **changes), draw()
        batches = [method.batch(generator) for _ in range(40)]
        return Counter(b"".join(array.tobytes() for array in batch) for batch in batches)

    assert len(seen(fixed_batches=3)) == 3
    assert len(seen()) == 40


def test_the_same_row_is_hidden_anew_at_each_visit():
    method = new_method("roberta", new_stream([[20]]))
    batch = method.batch(draw())
    assert (batch.originals == batch.originals[0]).all()
    assert len({row.tobytes() for row in batch.hidden}) > 90  # of 1140 sets of 3
    assert batch.hidden[:, 1:-1].any(axis=0).all()


# ---- BERT ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("partners", ["other", "same"])
def test_pairs_of_bert(partners):
    method = new_method("bert", partners=partners)
    rows = method.rows(STREAM, 1500, draw(1))
    assert within(sum(row.label for row in rows), len(rows), 0.5)
    begun = set()
    for row in rows:
        (a, a_end), (b, b_end) = place_of(row.first), place_of(row.second)
        size = len(row.first) + len(row.second)
        assert 2 <= size <= ROOM - 1
        same = DOCUMENT[a] == DOCUMENT[b]
        assert DOCUMENT[a] == DOCUMENT[a_end - 1]
        assert DOCUMENT[b] == DOCUMENT[b_end - 1]
        assert b >= a_end or b_end <= a  # nothing that is hidden in one is in the other
        if size < ROOM - 1:  # nothing was cut off
            assert {a, a_end, b, b_end} <= set(ENDS)
            assert (b == a_end) == (row.label == 0)
            begun.add(SENTENCE[a])
        if row.label == 0:
            assert same
            assert a_end <= b
        else:
            assert same == (partners == "same")
    need = 2 if partners == "other" else 3
    may = [
        sentence
        for first, last in pairwise(DOCUMENTS)
        for sentence in range(first, last - 1)
        if last - first >= need
    ]
    assert begun <= set(may)
    assert len(begun) > 0.6 * len(may)


def test_one_row_of_bert_in_ten_is_short():
    """Of sentences of one piece the length is the target: uniform from 2 to the room."""
    stream = new_stream([[1] * 340, [1] * 340])
    rows = new_method("bert", stream).rows(stream, 6000, draw())
    far = [all((text[0] - FIRST) % 340 < 310 for text in row[:2]) for row in rows]
    inside = [row for row, enough in zip(rows, far, strict=True) if enough]
    sizes = np.array([len(row.first) + len(row.second) for row in inside])
    room = ROOM - 1
    assert within((sizes < room).sum(), len(sizes), 0.1 * (room - 2) / (room - 1))
    short = sizes[sizes < room]
    assert abs(short.mean() - (room + 1) / 2) < 4 * (room - 2) / math.sqrt(12 * len(short))
    assert set(short) == set(range(2, room))
    for label in (0, 1):  # A and B are parted anywhere
        full = [row for row, size in zip(inside, sizes) if (row.label, size) == (label, room)]
        assert {len(row.first) for row in full} == set(range(1, room))


def test_the_longer_text_is_cut_at_both_ends():
    stream = new_stream([[40, 40], [1]])
    rows = [row for row in new_method("bert", stream).rows(stream, 60, draw()) if row.label == 0]
    sides = [(place_of(row.first), place_of(row.second)) for row in rows]
    assert {tuple(end - start for start, end in both) for both in sides} == {(11, 10)}
    for side, (begin, last) in enumerate([(0, 29), (40, 70)]):
        starts = {both[side][0] for both in sides}
        assert len(starts) > 5
        assert begin < min(starts)
        assert max(starts) < last


@pytest.mark.parametrize(
    ("partners", "sizes", "need"),
    [
        ("other", [[5, 5, 5]], "two documents"),
        ("other", [[5], [5], [5]], "two documents, one of them with two sentences"),
        ("same", [[5, 5], [5, 5]], "a document with three sentences"),
    ],
)
def test_text_without_pairs_is_refused(partners, sizes, need):
    with pytest.raises(NoRow, match=need):
        new_method("bert", new_stream(sizes), partners=partners)


# ---- RoBERTa and SpanBERT ------------------------------------------------------------------------


def full_row(sentence, separator):
    """Sentence by sentence, as long as the next one has room."""
    row = []
    for number in range(sentence, len(ENDS) - 1):
        text = (FIRST + np.arange(ENDS[number], ENDS[number + 1])).tolist()
        crossing = bool(row) and number in DOCUMENTS
        if len(row) + crossing + len(text) > ROOM:
            return row or text[:ROOM]
        row += [separator] * crossing + text
    return row


def test_rows_of_roberta_are_full_sentences_over_the_ends_of_documents():
    method = new_method("roberta")
    separator = WORDS.ids["[SEP]"]
    expected = {tuple(full_row(start, separator)) for start in range(len(ENDS) - 1)}
    rows = [tuple(row.first.tolist()) for row in method.rows(STREAM, 1500, draw())]
    assert set(rows) == expected
    assert any(row.count(separator) > 1 for row in expected)
    assert all(row.second is None for row in method.rows(STREAM, 5, draw()))


def test_rows_of_spanbert_lie_in_one_document_and_are_as_long_as_they_can_be():
    rows = new_method("spanbert").rows(STREAM, 1500, draw())
    seen = set()
    for row in rows:
        start, end = place_of(row.first)
        document = DOCUMENT[start]
        assert DOCUMENT[end - 1] == document
        first, last = (ENDS[DOCUMENTS[document + side]] for side in (0, 1))
        assert end - start == min(ROOM, last - first)
        assert start in ENDS or end == last
        seen.add(document)
    assert seen == set(range(len(DOCUMENTS) - 1))


# ---- the loss ------------------------------------------------------------------------------------


def drawn_states(*shape):
    return draw(5).standard_normal((*shape, 8)).astype(np.float32)


def states_and_gradient(method, batch, loss):
    states = Tensor(drawn_states(*batch.tokens.shape), requires_grad=True)
    value = loss(batch, states)
    value.backward()
    return value.item(), np.asarray(states.grad)


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_of_hidden_tokens_alone(name):
    method = new_method(name, batch_size=5)
    batch = method.batch(draw())
    value, gradient = states_and_gradient(method, batch, method.masked_loss)
    assert not gradient[~batch.hidden].any()
    assert np.abs(gradient[batch.hidden]).max(axis=1).min() > 0
    others = np.where(batch.hidden, batch.originals, FIRST)
    changed = batch._replace(originals=others)
    assert states_and_gradient(method, changed, method.masked_loss)[0] == value
    wrong = batch._replace(originals=np.where(batch.hidden, FIRST, batch.originals))
    assert states_and_gradient(method, wrong, method.masked_loss)[0] != value
    # By hand: the mean over hidden places of -ln softmax, whose gradient there is of that place.
    logits = method.model.word_logits(Tensor(drawn_states(*batch.tokens.shape)))
    nats = logits.numpy().astype(np.float64)
    nats -= np.log(np.exp(nats).sum(axis=-1, keepdims=True))
    rows, time = np.nonzero(batch.hidden)
    expected = -np.mean([nats[i, j, batch.originals[i, j]] for i, j in zip(rows, time)])
    assert value == pytest.approx(expected, rel=1e-5)
    assert method.count(batch) == len(rows)


def test_the_output_is_tied_to_the_input():
    for name in NAMES:
        model = new_method(name).model
        shapes = {key: value.shape for key, value in model.named_parameters()}
        large = [shape for shape in shapes.values() if WORDS.vocab_size in shape]
        assert Counter(large)[(WORDS.vocab_size, 8)] == 1
        assert all(math.prod(shape) <= 8 * WORDS.vocab_size for shape in large)
        states = Tensor(drawn_states(1))
        before = model.word_logits(states).numpy().copy()
        model.encoder.tokens.weight.array[9] *= 3
        after = model.word_logits(states).numpy()
        assert np.flatnonzero(before != after).tolist() == [9]


def test_boundaries_predict_without_what_is_hidden():
    method = new_method("spanbert", batch_size=5)
    batch = method.batch(draw())
    _, gradient = states_and_gradient(method, batch, method.boundary_loss)
    assert not gradient[batch.hidden].any()
    at = np.pad(batch.hidden, ((0, 0), (1, 1)))
    beside = ~batch.hidden & (at[:, 2:] | at[:, :-2])
    assert (np.abs(gradient).max(axis=2) > 0).tolist() == beside.tolist()

"""What is predicted, summed and measured: losses and held-out numbers against float64 NumPy."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from minissl.data import Kept
from minissl.data.passages import Passages, PieceStream
from minissl.nn.evaluating import evaluating
from minissl.pretrain import load_method
from minissl.text.masking import boundaries
from tests.pretrain.masked.test_rows import (
    FIRST,
    NAMES,
    ROOM,
    STREAM,
    WORDS,
    draw,
    new_method,
    new_stream,
)

CLS, SEP, PAD, MASK = (WORDS.ids[name] for name in ("[CLS]", "[SEP]", "[PAD]", "[MASK]"))
UNSEEN = PieceStream(  # the text turned round: its pieces count down
    STREAM.pieces[::-1].copy(),
    STREAM.sentences[-1] - STREAM.sentences[::-1],
    STREAM.documents[-1] - STREAM.documents[::-1],
)


def moved(method):
    """With weights far from the even start, so that nothing is the same by chance."""
    generator = draw(9)
    for parameter in method.model.parameters():
        parameter.array = parameter.array + 0.3 * generator.standard_normal(parameter.shape).astype(
            np.float32
        )
    return method


def made(name, held_out=UNSEEN, **changes):
    method = new_method(name, **changes)
    data = Passages(Kept(), WORDS, STREAM, held_out)
    return moved(type(method).build(method.settings, data, seed=0))


def nats_of(logits, wanted):
    """-ln softmax at what is wanted, of each row, in float64."""
    logits = logits.numpy().astype(np.float64)
    top = logits.max(axis=1)
    norm = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return norm - logits[np.arange(len(wanted)), wanted]


def parts(method, batch):
    """Nats and hits of each hidden token, of each pair and from each boundary, by hand."""
    with evaluating(method.model):
        about = {"lengths": batch.lengths, "segments": batch.segments}
        states = method.model(batch.tokens, **about)
        rows, places = np.nonzero(batch.hidden)
        wanted = np.array([batch.originals[i, j] for i, j in zip(rows, places)])
        logits = method.model.word_logits(states[rows, places])
        found = SimpleNamespace(
            nats=nats_of(logits, wanted), hits=logits.numpy().argmax(axis=1) == wanted
        )
        if method.model.follows is not None:
            told = method.model.follows_logits(states)
            found.pair_nats = nats_of(told, batch.labels)
            found.pair_hits = told.numpy().argmax(axis=1) == batch.labels
        if method.model.boundary is not None:
            left, right, number = boundaries(batch.hidden)
            near = np.flatnonzero(number < method.settings.boundary_places)
            logits = method.model.boundary_logits(states, left[near], right[near], number[near])
            found.boundary_nats = nats_of(logits, wanted[near])
    return found


# ---- the loss ------------------------------------------------------------------------------------


def test_the_objectives_of_bert():
    for objective in ("both", "masked", "next"):
        method = made("bert", objective=objective, batch_size=7)
        batch = method.batch(draw())
        labels = [row.label for row in method.rows(STREAM, 7, draw())]
        assert batch.labels.tolist() == labels
        assert set(labels) == {0, 1}
        found = parts(method, batch)
        masked, pairs = found.nats.mean(), found.pair_nats.mean()
        expected = {"both": masked + pairs, "masked": masked, "next": pairs}[objective]
        assert method.loss(batch, draw()).item() == pytest.approx(expected, rel=1e-5)
        total = method.masked_loss(batch, method.states_of(batch), "sum").item()
        assert total == pytest.approx(found.nats.sum(), rel=1e-5)
        assert method.count(batch) == (7 if objective == "next" else batch.hidden.sum())


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_the_loss_of_spanbert_has_the_boundaries_by_their_weight(weight):
    changes = {"boundary_weight": weight, "boundary_places": 2, "batch_size": 30, "mask_share": 0.4}
    method = made("spanbert", **changes)
    batch = method.batch(draw())
    assert boundaries(batch.hidden)[2].max() >= 3
    found = parts(method, batch)
    expected = found.nats.mean()
    if weight:
        assert len(found.boundary_nats) < len(found.nats)
        assert method.model.boundary.places.weight.shape == (2, 4)
        expected += weight * found.boundary_nats.mean()
    else:
        assert method.model.boundary is None
    assert method.loss(batch, draw()).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_model_reads_neither_padding_nor_what_is_hidden(name):
    method = made(name, batch_size=40, mask_tokens=1.0, random_tokens=0.0)
    batch = method.batch(draw())
    padding = np.arange(batch.tokens.shape[1]) >= batch.lengths[:, None]
    assert padding.any()
    states = method.states_of(batch).numpy()
    other = batch._replace(
        tokens=np.where(padding, FIRST, batch.tokens),
        originals=np.where(batch.hidden, FIRST, batch.originals),
    )
    np.testing.assert_allclose(
        method.states_of(other).numpy()[~padding], states[~padding], rtol=1e-4, atol=1e-5
    )
    if name == "bert":
        turned = method.states_of(batch._replace(segments=1 - batch.segments)).numpy()
        assert np.abs(turned - states).max() > 0.01
    assert (method.model.encoder.segments is None) == (name != "bert")


@pytest.mark.parametrize("name", NAMES)
def test_dropout_is_drawn_from_the_generator_in_training_alone(name):
    method = made(name, dropout=0.5, batch_size=3)
    method.model.train()
    batch = method.batch(draw())
    losses = [method.loss(batch, draw(seed)).item() for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    config = method.model.config
    assert (config.dropout, config.attention_dropout) == (0.5, 0.5)
    examples = method.collate([[CLS, FIRST, FIRST + 1, SEP]])
    read = [method.each(examples, draw(seed)).numpy() for seed in (1, 1, 2)]
    assert (read[0] == read[1]).all()
    assert (read[0] != read[2]).any()


# ---- what is hidden, and what stands there -------------------------------------------------------


def test_shares_of_what_is_hidden():
    method = new_method("bert", mask_share=0.5, mask_tokens=0.3, random_tokens=0.6)
    batch = method.batch(draw())
    texts = (batch.originals >= FIRST).sum(axis=1)
    assert (np.abs(batch.hidden.sum(axis=1) - 0.5 * texts) <= 0.5).all()
    read = batch.tokens[batch.hidden]
    kept = (read == batch.originals[batch.hidden]).mean()
    assert (read == MASK).mean() == pytest.approx(0.3, abs=0.06)
    assert kept == pytest.approx(0.1, abs=0.04)
    random = read[(read != MASK) & (read != batch.originals[batch.hidden])]
    assert random.mean() == pytest.approx(WORDS.vocab_size / 2, rel=0.1)


def test_a_span_is_replaced_as_a_whole_by_whatever_setting_it_came():
    for settings, asked in [("spans", ""), ("pieces", "spans"), ("spans", "words")]:
        method = new_method("spanbert", masking=settings, mask_share=0.4, mask_tokens=0.5)
        batch = method.masked(STREAM, 100, draw(), asked)
        masked, pairs = batch.tokens == MASK, batch.hidden[:, 1:] & batch.hidden[:, :-1]
        mixed = (masked[:, 1:] != masked[:, :-1])[pairs].any()
        assert mixed == (asked == "words")


def test_settings_that_cannot_be_are_refused():
    kind = load_method("bert").Settings
    with pytest.raises(ValueError, match=r"mask_tokens 0\.8 and random_tokens 0\.3 are shares"):
        kind(random_tokens=0.3)
    with pytest.raises(ValueError, match="num_heads must divide width 10, got 4"):
        kind(width=10)
    assert kind(mask_tokens=0.9).random_tokens == 0.1  # whose sum is not quite 1 in floats


def test_what_the_methods_are_unless_told_otherwise():
    defaults = {name: load_method(name).Settings() for name in NAMES}
    chosen = {name: (one.pieces, one.masking) for name, one in defaults.items()}
    assert chosen == {
        "bert": ("wordpiece", "pieces"),
        "roberta": ("bpe", "pieces"),
        "spanbert": ("wordpiece", "spans"),
    }
    optimizer = defaults["roberta"].optimizer(new_method("roberta").model)
    assert (optimizer.betas, optimizer.weight_decay) == ((0.9, 0.98), 0.01)


def test_settings_and_seed_reach_the_weights():
    kind, large = load_method("bert"), new_method("bert", init_std=1.0)
    assert large.model.encoder.tokens.weight.numpy().std() == pytest.approx(1, abs=0.05)
    assert (large.model.config.context_length, large.model.config.num_heads) == (ROOM + 2, 2)
    other = kind.build(large.settings, large.data, seed=1)
    assert (other.model.pooler.weight.numpy() != large.model.pooler.weight.numpy()).all()


def test_a_text_from_elsewhere_begins_with_any_sentence_of_its_document():
    stream = new_stream([[1] * 4, [1] * 4, [1] * 4])
    rows = new_method("bert", stream).rows(stream, 200, draw())
    starts = {(int(row.second[0]) - FIRST) % 4 for row in rows if row.label == 1}
    assert starts == {0, 1, 2, 3}


def test_every_sentence_begins_rows_of_spanbert():
    """The last one of the text too: it is short, so the row begins earlier and ends with it."""
    stream = new_stream([[5], [30, 2]])
    rows = new_method("spanbert", stream).rows(stream, 100, draw())
    assert {int(row.first[-1]) - FIRST for row in rows} == {4, 5 + ROOM - 1, 36}


# ---- held out ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_held_out_numbers_are_means_over_all_rows(name):
    changes = {"boundary_places": 2} if name == "spanbert" else {}
    method = made(name, dropout=0.3, batch_size=100, mask_share=0.3, **changes)
    method.model.train()
    batches = method.held_out_batches()
    assert [len(batch.tokens) for batch in batches] == [100, 100, 56]
    again = method.held_out_batches()
    assert all((a == b).all() for x, y in zip(batches, again) for a, b in zip(x, y))
    for batch in batches:  # of the text that is turned round
        steps = np.diff(batch.originals, axis=1)[(batch.originals >= FIRST)[:, 1:]]
        assert (steps == -1).sum() > 10 * (steps == 1).sum()
    found = [parts(method, batch) for batch in batches]

    def mean(one):
        return np.concatenate([getattr(part, one) for part in found]).mean()

    expected = {"loss": mean("nats"), "accuracy": mean("hits")}
    if name == "bert":
        expected |= {"next_loss": mean("pair_nats"), "next_accuracy": mean("pair_hits")}
    if name == "spanbert":
        expected["boundary_loss"] = mean("boundary_nats")
    expected["perplexity"] = math.exp(expected["loss"])
    measured = method.evaluate()
    assert measured.keys() == {f"held_out_{one}" for one in expected}
    for one, value in expected.items():
        assert measured[f"held_out_{one}"] == pytest.approx(value, rel=1e-4), one
    assert method.model.training


def test_what_is_not_learned_is_not_measured():
    for objective, names in [
        ("next", {"next_loss", "next_accuracy"}),
        ("masked", {"loss", "accuracy", "perplexity"}),
    ]:
        method = made("bert", objective=objective)
        assert method.evaluate().keys() == {f"held_out_{one}" for one in names}


def test_held_out_text_of_which_nothing_can_be_made_is_passed_over():
    assert made("bert", held_out=new_stream([[5]])).evaluate() == {}
    assert made("roberta", held_out=PieceStream()).evaluate() == {}
    method = made("roberta", held_out=new_stream([[3], [2]]), masking="pieces")
    (batch,) = method.held_out_batches("words", rows=50)
    begins = np.flatnonzero(method.begins)
    whole = np.isin(batch.originals[:, 1:], begins) | (batch.originals[:, 1:] < FIRST)
    same = batch.hidden[:, 1:] == batch.hidden[:, :-1]
    assert (whole | same)[batch.originals[:, :-1] >= FIRST].all()


# ---- what represents a text ----------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_long_text_keeps_its_beginning_and_its_sep(name):
    method = made(name)
    text = FIRST + np.arange(ROOM + 9)
    tokens, lengths, weights = method.collate([[CLS, *text, SEP], [CLS, FIRST, SEP]])
    assert tokens[0].tolist() == [CLS, *text[:ROOM], SEP]
    assert tokens[1].tolist() == [CLS, FIRST, SEP, *[PAD] * (ROOM - 1)]
    assert lengths.tolist() == [ROOM + 2, 3]
    np.testing.assert_allclose(weights, (tokens != PAD) / lengths[:, None], rtol=1e-6)
    assert method.collate([[CLS, SEP]])[0].shape == (1, 2)  # no wider than it has to be
    with pytest.raises(ValueError, match="example 1 of the batch has no tokens"):
        method.collate([[CLS, SEP], []])
    alone = method.each(method.collate([[CLS, FIRST, SEP]])).numpy()[0]
    layers = method.states((tokens, lengths, weights))
    for states in (method.each((tokens, lengths, weights)), layers[-1]):
        np.testing.assert_allclose(states.numpy()[1, :3], alone, rtol=1e-4, atol=1e-5)
    assert len(layers) == method.num_states == 2
    assert method.encoder is method.model.encoder  # no heads

"""The claim that asks a masked model the questions of the zoo: rows, and what stands behind."""

import numpy as np
import pytest

from minissl.claims.claim import Setup
from minissl.claims.experiments.masked import masked_cloze
from minissl.data.cloze import ClozePair, small_zoo
from minissl.text.small_world import KINDS, documents
from tests.claims.reading import require_whole

SEEDS = [3]


def test_the_claim_runs_from_end_to_end(runs):
    result, folder = runs("masked-cloze")
    require_whole("masked-cloze", result, folder)
    assert set(result["table"]) == set(masked_cloze.ROWS)
    for name, cell in result["table"].items():
        kinds = [cell[kind]["mean"] for kind in KINDS]
        assert cell[masked_cloze.MEAN]["mean"] == pytest.approx(np.mean(kinds)), name
        assert 0 <= cell[masked_cloze.MASS]["mean"] <= 100


@pytest.fixture(scope="module")
def method():
    setup = Setup(0, {**masked_cloze.CLAIM.scales["quick"], "steps": 1})
    return masked_cloze.masked_models(setup, documents(120))[0]


def test_with_nothing_behind_it_is_the_score_of_the_method(method):
    prompts, answers = ["Ash College is", "We saw"], [" located in Marlow", " owls"]
    closed = masked_cloze.Closed(method, dict.fromkeys(prompts, ""))
    expected = method.score(prompts, answers)
    np.testing.assert_allclose(closed.score(prompts, answers), expected, rtol=1e-4)


def test_an_answer_with_a_text_behind_it_by_hand(method):
    """Each token with those behind it hidden too, and the text behind it in sight."""
    encode = method.tokenizer.encode
    before, after, behind = encode("We saw"), encode(" bees and owls"), encode(" there.")
    expected = 0.0
    for i, token in enumerate(after):
        gaps = [method.mask] * (len(after) - i)
        row = [method.cls, *before, *after[:i], *gaps, *behind, method.sep]
        logits = method.model.word_logits(method.model(np.array([row]))).numpy()[0]
        chosen = logits[1 + len(before) + i].astype(float)
        expected += chosen[token] - np.log(np.exp(chosen).sum())
    assert len(after) > 2
    closed = masked_cloze.Closed(method, {"We saw": " there."})
    assert closed.score(["We saw"], [" bees and owls"])[0] == pytest.approx(expected, rel=1e-4)


def test_texts_go_on_as_those_that_were_read():
    """With the right answer, each pair about facts, things, topics and films is a whole text."""
    pairs = [pair for pair in small_zoo(20) if pair.kind != "sequence"]
    for pair in pairs:
        whole = pair.prompt + pair.right + masked_cloze.goes_on(pair)
        assert whole.endswith(".")
    ends = {one.text.rsplit(" ", 1)[1] for one in documents(400) if one.source == "coreference"}
    known = {"table.", "shoulder.", "hat.", "eyes.", "dog."}
    assert ends == known - {"table."}
    assert {masked_cloze.goes_on(pair).split()[-1] for pair in pairs} == known | {"."}
    assert masked_cloze.goes_on(ClozePair("topic", "We saw the", " owls", " bees")) == "."

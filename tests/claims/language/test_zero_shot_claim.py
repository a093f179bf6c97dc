"""The claim about zero-shot: it is whole and its rows are what they say."""

import numpy as np
import pytest

from minissl.claims.experiments.language import zero_shot
from minissl.claims.run import run_claim
from minissl.text.small_world import documents
from tests.claims.reading import cells, require_whole


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    folder = tmp_path_factory.mktemp("claims")
    return run_claim(zero_shot.CLAIM, folder, scale="quick", seeds=[3], progress=False), folder


def test_it_runs_from_end_to_end(quick):
    result, folder = quick
    require_whole("zero-shot", result, folder)
    assert tuple(result["table"]) == zero_shot.ROWS
    for column in (zero_shot.ASKED, zero_shot.STRANGE, zero_shot.UNNAMED):
        assert all(0 <= value <= 100 for [value] in cells(result, column).values())


def test_the_fitting_question_is_in_the_texts_and_the_strange_one_is_not():
    texts = [document.text for document in documents(2000)]
    words = {zero_shot.QUESTION: 0, zero_shot.STRANGE_QUESTION: 0}
    for question in words:
        blank = question.partition("{text}")[2].partition("{class}")[0].strip()
        words[question] = sum(blank in text for text in texts)
    assert list(words.values()) == [pytest.approx(2000 / 8, abs=2), 0]


def test_a_classifier_that_has_no_labels_is_measured_on_reviews_that_probes_do_not_learn(quick):
    result, _ = quick
    accuracies = [value / 100 * 20 for [value] in cells(result, zero_shot.ASKED).values()]
    np.testing.assert_allclose(accuracies[:4], np.round(accuracies[:4]), atol=1e-9)

"""Sentences are cut by punctuation, and put together they are the text."""

import numpy as np
import pytest

from minissl.text.sentences import sentences


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two! Three?", ["One.", " Two!", " Three?"]),
        ('He said "no." Then (he left.) Ah', ['He said "no."', " Then (he left.)", " Ah"]),
        ("3.14 is no end", ["3.14 is no end"]),
        ("A title\n\nA text. More\nof it", ["A title", "\n\nA text.", " More\nof it"]),
        ("一つ。二つ！「三つ。」四", ["一つ。", "二つ！", "「三つ。」", "四"]),
        ("Wait... what?", ["Wait...", " what?"]),
        ("Well… yes", ["Well…", " yes"]),
        ("أين؟ هنا۔ نعم", ["أين؟", " هنا۔", " نعم"]),
        ("एक। दो॥ तीन", ["एक।", " दो॥", " तीन"]),
        ("A\r\n\r\nB. C\r\nD", ["A", "\r\n\r\nB.", " C\r\nD"]),
        ("end. \n ", ["end. \n "]),
        ("", []),
        ("  ", ["  "]),
        ("a\n \n \nb", ["a", "\n \n \nb"]),
    ],
)
def test_where_they_end(text, parts):
    assert sentences(text) == parts


def test_nothing_is_lost_of_any_text():
    generator = np.random.default_rng(0)
    letters = np.array(list("ab.!?\"')…。」\n \t"))
    for _ in range(300):
        text = "".join(generator.choice(letters, size=generator.integers(40)))
        parts = sentences(text)
        assert "".join(parts) == text
        assert all(parts)
        if len(parts) > 1:
            assert parts[-1].strip()

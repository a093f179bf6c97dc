"""The view of a text's tokens: terminal, plain and notebook."""

import html
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minissl.text import Tokenizer, show_tokens

TEXT = "the cat sat on the mat "


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(TEXT * 3, 270, special_tokens=["<s>"])


def test_plain(tokenizer):
    assert show_tokens(tokenizer, "the cat the").terminal(color=False) == "the|·cat|·the"
    assert show_tokens(tokenizer, "").terminal(color=False) == ""
    assert show_tokens(tokenizer, "a\n\tb").terminal(color=False) == "a|⏎\n|⇥|b"


def test_ids_and_bytes_are_shown_alike(tokenizer):
    ids = tokenizer.encode("the cat")
    assert show_tokens(tokenizer, ids) == show_tokens(tokenizer, "the cat")
    assert show_tokens(tokenizer, b"the cat").ids == tuple(ids)


def test_special_tokens_are_one_token(tokenizer):
    view = show_tokens(tokenizer, "the<s>")
    assert view.ids[-1] == tokenizer.special_tokens["<s>"]
    assert view.terminal(color=False) == "the|<s>"


def test_bytes_that_are_no_character(tokenizer):
    assert show_tokens(tokenizer, "é").terminal(color=False) == r"\xc3|\xa9"
    assert show_tokens(tokenizer, b"\xff").terminal(color=False) == r"\xff"


def test_nothing_in_a_text_can_command_the_terminal(tokenizer):
    view = show_tokens(tokenizer, "\x1b[2J\x07\x9b\u202e")
    assert view.terminal(color=False).isprintable()
    without_colours = re.sub(r"\x1b\[[0-9;]*m", "", view.terminal(color=True))
    assert without_colours.isprintable()


def test_colours_tell_neighbours_apart(tokenizer):
    shown = show_tokens(tokenizer, "a b c d e f g h").terminal(color=True)
    colours = re.findall(r"\x1b\[(30;[0-9;]+)m", shown)
    assert len(colours) == 15
    assert all(first != second for first, second in pairwise(colours))
    assert len(set(colours)) == 6
    assert shown.count("\x1b[0m") == 15
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown) == "a·b·c·d·e·f·g·h"


@pytest.mark.parametrize(
    ("terminal", "no_color", "expected"),
    [(True, None, True), (True, "", True), (True, "1", False), (False, None, False)],
)
def test_when_a_printed_view_has_colours(tokenizer, monkeypatch, terminal, no_color, expected):
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    view = show_tokens(tokenizer, "the cat")
    assert str(view) == view.terminal(color=expected)
    assert ("\x1b" in str(view)) == expected


def test_notebook(tokenizer):
    ids = tokenizer.encode("the <b>")
    shown = show_tokens(tokenizer, "the <b>")._repr_html_()
    assert f'title="id {ids[0]}: 74 68 65"' in shown
    assert "&lt;" in shown
    assert "<b>" not in shown
    assert f"{len(ids)} tokens, 7 bytes" in shown


@settings(deadline=None)
@given(data=st.binary(max_size=30))
def test_notebook_shows_every_token_once(tokenizer, data):
    view = show_tokens(tokenizer, data)
    titles = re.findall(r'<span title="id (\d+): ([0-9a-f ]*)"', view._repr_html_())
    assert [int(token_id) for token_id, _ in titles] == list(view.ids)
    assert b"".join(bytes.fromhex(text) for _, text in titles) == data
    spans = re.findall(r"<span[^>]*>(.*?)</span>", view._repr_html_())
    assert all(html.unescape(span).isprintable() for span in spans)
    assert view.terminal(color=False).replace("\n", "").isprintable()

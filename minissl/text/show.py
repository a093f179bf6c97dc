"""See how a text is split: every token in its own colour, in a terminal or a notebook.

Lecture 03. Colours repeat after six tokens; they only tell neighbours apart.
"""

import html
import io
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from minissl.palette import BLACK, DARK, PAPER, SOFT_INK, TOKENS
from minissl.text.tokenizer import Tokenizer
from minissl.text.wordpiece import WordPiece

_TERMINAL_COLOURS = (153, 223, 194, 218, 189, 229)  # TOKENS in the terminal's palette of 256
_SIGNS = {" ": "·", "\n": "⏎", "\r": "␍", "\t": "⇥"}


@dataclass(frozen=True)
class TokenView:
    """Token ids with the bytes each stands for: print it, or let a notebook display it.

    In a notebook the id and the bytes of a token appear when the pointer rests on it. A printed
    view has colours when it goes to a terminal and the environment variable NO_COLOR is not set
    (or empty), else a bar between tokens; ``terminal(color=...)`` decides otherwise.
    """

    ids: tuple[int, ...]
    tokens: tuple[bytes, ...]

    def __str__(self) -> str:
        return self.terminal(color=sys.stdout.isatty() and not os.environ.get("NO_COLOR"))

    def terminal(self, *, color: bool) -> str:
        """The tokens with ANSI background colours, or with "|" between them."""
        if not color:
            return "|".join(_visible(token).replace("⏎", "⏎\n") for token in self.tokens)
        return "".join(
            f"\x1b[30;48;5;{_TERMINAL_COLOURS[index % 6]}m{_visible(token)}\x1b[0m"
            + "\n" * token.count(b"\n")
            for index, token in enumerate(self.tokens)
        )

    def _repr_html_(self) -> str:
        spans = [
            f'<span title="id {token_id}: {token.hex(" ")}" style="background:'
            f'{TOKENS[index % 6]}">{html.escape(_visible(token))}</span>'
            + "<br>"
            * token.count(b"\n")
            for index, (token_id, token) in enumerate(zip(self.ids, self.tokens))
        ]
        ground, soft = (f"light-dark({light},{DARK[light]})" for light in (PAPER, SOFT_INK))
        return (  # what a browser does not know, light-dark, leaves the light color before it
            f'<div style="font-family:monospace;color:{BLACK};background:{PAPER};'
            f"background:{ground};line-height:1.7;"
            f'white-space:pre-wrap;overflow-wrap:anywhere">{"".join(spans)}'
            f'<div style="color:{SOFT_INK};color:{soft}">{len(self.ids)} tokens, '
            f"{sum(map(len, self.tokens))} bytes</div></div>"
        )


def show_tokens(tokenizer: Tokenizer | WordPiece, text: str | bytes | Iterable[int]) -> TokenView:
    """The view of a text (special tokens taken as such) or of token ids.

    WordPiece shows what it made of the text: words without case, pieces with ##, no spaces.

    Example: ``print(show_tokens(tokenizer, "Hello world"))`` prints ``Hello|·world``.
    """
    ids: Iterable[int]
    if isinstance(text, bytes):
        ids = tokenizer.encode_binary(io.BytesIO(text), allow_special="all")
    elif isinstance(text, str):
        ids = tokenizer.encode(text, allow_special="all")
    else:
        ids = text
    ids = tuple(ids)
    return TokenView(ids, tuple(map(tokenizer.token_bytes, ids)))


def _visible(token: bytes) -> str:
    """Printable text for any bytes: signs for white space, \\x.. for what is not a character."""
    text = token.decode("utf-8", "backslashreplace")
    return "".join(
        character
        if character.isprintable() and character != " "
        else _SIGNS.get(character) or character.encode("unicode_escape").decode()
        for character in text
    )

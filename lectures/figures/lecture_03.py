"""Figures and measured numbers of lecture 03, on the English that ships with Python."""

from functools import cache
from html import escape
from typing import Any

from minissl.figures import label_ends, new_figure
from minissl.page import with_dark
from minissl.palette import BLACK, BLUE, OCHRE, PAPER, RED, SOFT_INK, TOKENS, look
from minissl.text import Tokenizer
from minissl.text.corpora import python_english, split_documents
from minissl.text.show import show_tokens

VOCABULARY = 8192
SIZES = [256, 320, 512, 1024, 2048, 4096, 8192]
SENTENCE = "Transformerify it: the tokenizer has never seen taaaasty, laern or 你好."


@cache
def texts() -> tuple[str, str]:
    """Training text and held-out text: documents of Python's English, a tenth held out."""
    train, held_out = split_documents(python_english(), 0.1)
    return tuple("\n\n".join(d.text for d in part) for part in (train, held_out))


@cache
def tokenizer(size: int = VOCABULARY) -> Tokenizer:
    """A tokenizer of ``size`` tokens; a smaller one is the beginning of the largest."""
    if size == VOCABULARY:
        return Tokenizer.train(texts()[0], VOCABULARY)
    return Tokenizer({t: rank for t, rank in tokenizer().ranks.items() if rank < size})


# ---- the same sentence, three vocabularies -------------------------------------------------------

_WIDTH, _LETTER, _LINE = 390, 8.4, 26


def tokens() -> str:
    """One sentence cut by vocabularies of growing size, tokens in colours."""
    parts: list[str] = []
    y = 22.0
    for size in (256, 512, 1024, 8192):
        view = show_tokens(tokenizer(size), SENTENCE)
        pieces = view.terminal(color=False).split("|")
        parts.append(_text(6, y, f"{size:,} tokens: {len(pieces)} pieces", SOFT_INK, 12))
        y, drawn = _pieces(pieces, y + 10)
        parts += drawn
        y += 20
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y:.0f}" width="{_WIDTH}" '
        f'height="{y:.0f}" font-family="monospace">'
        f'<rect width="100%" height="100%" fill="{PAPER}"/>{"".join(parts)}</svg>\n'
    )
    return with_dark(svg.encode()).decode()


def _pieces(pieces: list[str], top: float) -> tuple[float, list[str]]:
    """Boxes with the pieces, in lines that fit the width; returns where they end."""
    drawn, x = ['<g class="pixels">'], 6.0  # black on light in the dark, too
    for number, piece in enumerate(pieces):
        wide = sum(2 if ord(c) > 0x2E80 else 1 for c in piece) * _LETTER + 2
        if x + wide > _WIDTH - 6:
            x, top = 6.0, top + _LINE
        color = TOKENS[number % len(TOKENS)]
        drawn.append(f'<rect x="{x:.1f}" y="{top:.1f}" width="{wide:.1f}" height="21" rx="3" ')
        drawn.append(f'fill="{color}"/>{_text(x + 1, top + 15, piece, BLACK, 14)}')
        x += wide + 1
    return top + _LINE, [*drawn, "</g>"]


def _text(x: float, y: float, text: str, color: str, size: int) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{color}" font-size="{size}">{escape(text)}</text>'


# ---- how much shorter the text becomes -----------------------------------------------------------


def bytes_per_token(size: int, text: str) -> float:
    """The mean length of a token in bytes."""
    return len(text.encode()) / len(tokenizer(size).encode(text))


# The same four sentences, written for this course.
LANGUAGES = {
    "English": "Every child learns the words of its language from the company they keep. Nobody "
    "gives it a dictionary. It hears the same pieces again and again, in new places, and one day "
    "it puts them together in a way that no one has said before. A machine can do the first half.",
    "German": "Jedes Kind lernt die Wörter seiner Sprache aus der Gesellschaft, in der sie stehen. "
    "Niemand gibt ihm ein Wörterbuch. Es hört dieselben Stücke immer wieder, an neuen Stellen, und "
    "eines Tages setzt es sie so zusammen, wie es noch niemand gesagt hat. Eine Maschine kann die "
    "erste Hälfte.",
    "Chinese": "每个孩子都从词语的上下文中学习自己的语言。没有人给他一本词典。他在新的地方"
    "一次又一次地听到同样的片段，有一天，他会用一种从来没有人说过的方式把它们放在一起。机器能做到前一半。",
}


def compression() -> Any:
    """Bytes per token against vocabulary size, for held-out English and for other languages."""
    figure, (axis,) = new_figure(width=5.4, height=3.7)
    curves = {"held-out English": texts()[1]} | LANGUAGES
    del curves["English"]  # four sentences of it are in the text; a whole held-out part is better
    colors = (BLUE, OCHRE, RED)
    for (label, text), color in zip(curves.items(), colors):
        values = [bytes_per_token(size, text) for size in SIZES]
        axis.plot(SIZES, values, **look(color, marker=True), label=label)
    axis.set(xscale="log", xlabel="vocabulary size", ylabel="bytes per token", ylim=(0, 4.6))
    axis.set_xticks(SIZES, [f"{size:,}" for size in SIZES], rotation=45)
    axis.minorticks_off()
    label_ends(axis)
    return figure


FIGURES = {"03_tokens": tokens, "03_compression": compression}

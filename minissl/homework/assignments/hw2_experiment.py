"""Homework 2, the experiment: what does a vocabulary know of a text that it was not made for?

Write the bodies of the four functions, then run the file. HW2.md says what the report is to have.

    python experiment.py      # half a minute: results.json and figure.svg
"""

import ast
import json
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minissl.figures import new_figure
from minissl.palette import BLUE, RED
from minissl.text.corpora import python_english
from minissl.text.tokenizer import Tokenizer

# One thing is changed, the text that the merges are learned from. You may add a setting.
SETTINGS = {
    "prose": {"prose": 1.0, "code": 0.0},
    "mixed": {"prose": 0.5, "code": 0.5},
    "code": {"prose": 0.0, "code": 1.0},
}
VOCAB_SIZE = 2048
SEEDS = (0, 1, 2)
BYTES = 1_600_000  # of each kind of text; a tenth of it is held out


def bytes_per_token(tokenizer: Tokenizer, texts: Sequence[str]) -> float:
    """How many bytes of UTF-8 a token stands for: all bytes of the texts by all their tokens.

    A special token that a text spells is ordinary text.
    """
    size = sum(len(text.encode()) for text in texts)
    tokens = sum(len(tokenizer.encode(text, allow_special="none")) for text in texts)
    return size / tokens


def unused(tokenizer: Tokenizer, texts: Sequence[str]) -> float:
    """The share of the learned tokens that the texts, encoded, never have, 0 to 1.

    Learned tokens are those of two bytes or more: all of ``tokenizer.ranks`` but single bytes. A
    token that only stands inside a longer one is not used.
    """
    learned = {number for token, number in tokenizer.ranks.items() if len(token) > 1}
    met = {number for text in texts for number in tokenizer.encode(text, allow_special="none")}
    return len(learned - met) / len(learned)


def measure(
    texts: Mapping[str, Sequence[str]], shares: Mapping[str, float], vocab_size: int, seed: int
) -> dict[str, float]:
    """Learn a vocabulary, and say what it knows of texts of each kind that it has not seen.

    ``texts``: the texts of each kind, "prose" and "code". Of each kind a tenth, rounded down but at
    least one, is held out. Of the other n texts of each kind, n times its share in ``shares``, a
    number from 0 to 1, rounded, are learned from, by ``Tokenizer.train``. The seed shuffles the
    texts of each kind before, so that it decides which are which; settings with the same seed are
    to have the same texts held out. The numbers:

    - "prose", "code": ``bytes_per_token`` of the texts of that kind that are held out;
    - "unused": ``unused`` of the prose that is held out.
    """
    learned_from: list[str] = []
    held_out: dict[str, list[str]] = {}
    for kind, own in texts.items():
        shuffled = [own[i] for i in np.random.default_rng(seed).permutation(len(own))]
        tenth = max(len(own) // 10, 1)
        held_out[kind], rest = shuffled[:tenth], shuffled[tenth:]
        learned_from += rest[: round(shares[kind] * len(rest))]
    tokenizer = Tokenizer.train(learned_from, vocab_size)
    return {
        "prose": bytes_per_token(tokenizer, held_out["prose"]),
        "code": bytes_per_token(tokenizer, held_out["code"]),
        "unused": unused(tokenizer, held_out["prose"]),
    }


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """The plot for the report: bytes per token of both kinds and the share unused, every seed."""
    figure, (left, right) = new_figure(2)
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    across = [settings.index(row["setting"]) for row in rows]
    shown = (
        (left, "prose", "o-", BLUE),
        (left, "code", "s--", RED),
        (right, "unused", "^-", BLUE),
    )
    for axis, measured, style, color in shown:
        up = [row[measured] for row in rows]
        axis.plot(across, up, style[0], color=color, markersize=5, alpha=0.6)
        means = [np.mean([u for a, u in zip(across, up) if a == i]) for i in range(len(settings))]
        axis.plot(means, style, color=color, label=f"{measured} (line: mean)")
        axis.set_xticks(range(len(settings)), settings)
        axis.set_xlabel("learned from")
        axis.legend(frameon=False)
    left.set_ylabel("bytes per token, held out")
    right.set_ylabel("share of the tokens that prose never has")
    right.set_ylim(bottom=0)
    figure.savefig(path)


# ---- given ---------------------------------------------------------------------------------------


def python_code() -> Iterator[str]:
    """Functions and classes of Python's library, without comments and docstrings."""
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        tree = ast.parse(path.read_bytes())
        for node in ast.walk(tree):
            match getattr(node, "body", None):
                case [ast.Expr(ast.Constant()), _, *_] as body:
                    del body[0]
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield ast.unparse(node)


def first(texts: Sequence[str], size: int = BYTES) -> list[str]:
    """The texts with which ``size`` bytes are reached."""
    ends = np.cumsum([len(text.encode()) for text in texts])
    return list(texts[: int(np.searchsorted(ends, size)) + 1])


def main() -> None:
    """Measure every setting with every seed; write the rows, and draw them."""
    code = list(python_code())
    np.random.default_rng(0).shuffle(code)
    texts = {"prose": first([d.text for d in python_english()]), "code": first(code)}
    rows = []
    for setting, shares in SETTINGS.items():
        for seed in SEEDS:
            measured = measure(texts, shares, VOCAB_SIZE, seed)
            rows.append({"setting": setting, "seed": seed, **measured})
            print(rows[-1], flush=True)
    Path("results.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    draw(rows, Path("figure.svg"))


if __name__ == "__main__":
    main()

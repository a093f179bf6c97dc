"""WordPiece beside Hugging Face's tokenizers: encoding on one thread, text by text and in a batch.

    python -m benchmarks.wordpiece [--megabytes 3] [--repeats 3]

Both have the same vocabulary and must give the same ids. *Cold* is a tokenizer that has just been
made, *warm* one that has seen the texts before; the peer remembers nothing that would show. Each
contender has a process of its own. With the folder in MINISSL_TEST_DATA: BERT's 30,522 pieces, and
paragraphs of novels, of an encyclopedia (names and numbers: many rare words) and of 71 languages;
else a vocabulary of 8,192 pieces, Python's own English and made-up words in nine scripts.
"""

import json
import lzma
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import new_parser, positive, report, require_peers, stoppable
from benchmarks.tokenizer import english, multilingual, of_size, shared_file
from benchmarks.turns import Contender, race
from minissl.conditions import environment
from minissl.text import WordPiece

VOCAB_SIZE = 8192
REACH, AIM = "3 x", "6 x"
Run = Callable[[], list[list[int]]]


def encyclopedia() -> tuple[str, str] | None:
    """Articles, if they are there, and what they are."""
    packed = shared_file("text/enwiki_sample.txt.xz")
    return packed and (lzma.decompress(packed.read_bytes()).decode(), "English Wikipedia")


def make_vocabulary(text: str) -> tuple[WordPiece, str]:
    """BERT's if it is there, else one that is learned from the text."""
    packed = shared_file("tokenizers/bert-base-uncased-vocab.txt.xz")
    if packed is None:
        return WordPiece.train(text, VOCAB_SIZE), f"{VOCAB_SIZE:,} pieces"
    tokens = lzma.decompress(packed.read_bytes()).decode().splitlines()
    return WordPiece(tokens), "BERT's 30,522 pieces"


# ---- the contenders ------------------------------------------------------------------------------


def ours(stock: Callable[[int], int]) -> Callable[..., Run]:
    """Our runs; ``stock``: how many new tokenizers are made in advance for so many turns."""

    def build(folder: str, text: str, turns: int) -> Run:
        texts = read(folder, text)
        made = [WordPiece.read(Path(folder, "vocab.txt")) for _ in range(stock(turns))]

        def run() -> list[list[int]]:
            tokenizer = made.pop() if len(made) > 1 else made[0]
            return [tokenizer.encode(one) for one in texts]

        return run

    return build


def peer(in_a_batch: bool) -> Callable[..., Run]:
    """The peer's runs."""

    def build(folder: str, text: str, turns: int) -> Run:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        from tokenizers import BertWordPieceTokenizer

        texts = read(folder, text)
        tokenizer = BertWordPieceTokenizer(str(Path(folder, "vocab.txt")), lowercase=True)

        def run() -> list[list[int]]:
            if in_a_batch:
                found = tokenizer.encode_batch(texts, add_special_tokens=False)
                return [one.ids for one in found]
            return [tokenizer.encode(one, add_special_tokens=False).ids for one in texts]

        return run

    return build


def read(folder: str, text: str) -> list[str]:
    return json.loads(Path(folder, text).read_text(encoding="utf-8"))


PEERS = {"encode": Contender(peer(False)), "encode_batch": Contender(peer(True))}
OURS = {"cold": Contender(ours(lambda turns: turns + 1)), "warm": Contender(ours(lambda _: 1))}
CONTENDERS = {**OURS, **PEERS}


# ---- the race ------------------------------------------------------------------------------------


def measure(folder: Path, name: str, repeats: int) -> list[dict[str, Any]]:
    """Rows of one text: cold and warm beside both ways of the peer, which must agree."""
    settings = {"folder": str(folder), "text": name, "turns": repeats + 1}
    found = [contender.build(**settings)() for contender in CONTENDERS.values()]
    if any(ids != found[0] for ids in found):
        raise SystemExit(f"tokenizers and minissl do not give the same ids of the {name} text")
    done = race("benchmarks.wordpiece", CONTENDERS, repeats, threads=1, settings=settings)
    size = sum(len(text.encode()) for text in read(str(folder), name)) / 1e6
    return [
        {
            "task": f"encode, {state}",
            "text": name,
            "MB": round(size, 2),
            "minissl, s": done[state].seconds,
            "peer": f"tokenizers, {way}",
            "peer, s": done[way].seconds,
            "speed": f"{done[way].seconds / done[state].seconds:.2f} x",
            "reach": REACH,
            "aim": AIM,
        }
        for state in OURS
        for way in PEERS
    ]


def main() -> None:
    parser = new_parser("wordpiece", __doc__)
    parser.add_argument("--megabytes", type=float, default=3, help="of each text (default 3)")
    parser.add_argument(
        "--repeats", type=positive, default=3, help="turns that are timed (default 3)"
    )
    arguments = parser.parse_args()
    if arguments.megabytes <= 0:
        parser.error(f"--megabytes {arguments.megabytes}: expected more than 0")
    require_peers("tokenizers")
    machine = environment(["tokenizers"])
    found = {"english": english(None), "encyclopedia": encyclopedia()}
    found["multilingual"] = multilingual()
    texts = {name: made for name, made in found.items() if made is not None}
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        vocabulary, what = make_vocabulary(texts["english"][0][:1_000_000])
        vocabulary.write(folder / "vocab.txt")
        for name, (text, _) in texts.items():
            size = min(arguments.megabytes, len(text.encode()) / 1e6)  # none twice
            paragraphs = [part for part in of_size(text, size).split("\n") if part]
            (folder / name).write_text(json.dumps(paragraphs), encoding="utf-8")
            rows += measure(folder, name, arguments.repeats)
    notes = [
        *(f"{name}: {source}, by paragraphs, none twice" for name, (_, source) in texts.items()),
        f"encoding with {what}, ids compared first",
        "speed: the peer's median time over ours, in the same run, taking turns; 1 is as fast",
        f"median of {arguments.repeats} turns; each in a process of its own, on one thread",
    ]
    report("wordpiece", rows, machine, notes)


if __name__ == "__main__":
    stoppable(main)

"""Our tokenizer beside tiktoken and Hugging Face's tokenizers: training, one-thread encoding.

    python -m benchmarks.tokenizer [--text FILE] [--megabytes 10] [--repeats 5]

All three encode with the same vocabulary and must give the same ids. *Cold* is a tokenizer that
has just been made; *warm* is one that has seen the text before. Each contender has a process of its
own. The texts are British fiction and 71 languages from the folder in MINISSL_TEST_DATA where that
is set, else English out of Python's own library and made-up words in nine scripts.
"""

import json
import lzma
import os
import random
import tempfile
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

from benchmarks.common import new_parser, positive, report, require_peers, stoppable
from benchmarks.turns import Contender, race
from minissl.conditions import environment
from minissl.text import GPT2, Tokenizer, load_gpt2_tokenizer, save_huggingface
from minissl.text.corpora import python_english

VOCAB_SIZE = 8192
FIGURES = {  # to reach, to aim at
    ("train", "tokenizers"): ("0.33 x", "1 x"),
    ("cold", "english", "tiktoken"): ("0.65 x", "0.8 x"),
    ("warm", "english", "tiktoken"): ("0.77 x", "1 x"),
    ("cold", "multilingual", "tiktoken"): ("0.36 x", "0.5 x"),
    ("warm", "multilingual", "tiktoken"): ("1 x", "1.9 x"),
    ("cold", "english", "tokenizers"): ("3 x", "6 x"),
    ("warm", "english", "tokenizers"): ("3 x", "6 x"),
    ("cold", "multilingual", "tokenizers"): ("1 x", "3 x"),
    ("warm", "multilingual", "tokenizers"): ("3 x", "6 x"),
}


# ---- the texts and the vocabulary ---------------------------------------------------------------


def english(path: Path | None) -> tuple[str, str]:
    """The text to train on and to encode, and what it is."""
    if path is not None:
        return path.read_text(encoding="utf-8"), path.name
    fiction = shared_file("text/british_fiction.txt.xz")
    if fiction is not None:
        return lzma.decompress(fiction.read_bytes()).decode(), "British fiction"
    return "\n".join(document.text for document in python_english()), "Python's own English"


def multilingual() -> tuple[str, str]:
    """Text in many scripts, and what it is."""
    published = shared_file("text/multilingual.jsonl.xz")
    if published is not None:
        lines = lzma.decompress(published.read_bytes()).decode().splitlines()
        return "\n".join(json.loads(line)["text"] for line in lines), "71 languages"
    return made_up_words(), "made-up words in nine scripts, the nth 1 / n as often as the first"


def made_up_words() -> str:
    """Lines of words that no language has: 3,000 different ones in each of nine scripts."""
    draw = random.Random(0)
    scripts = [(0x61, 26), (0xE0, 32), (0x3B1, 25), (0x430, 32), (0x5D0, 27), (0x627, 36)]
    scripts += [(0x905, 53), (0x3042, 84), (0x4E00, 2000)]  # Hindi, Japanese, Chinese
    lines = []
    often = list(accumulate(1 / (n + 1) for n in range(3_000)))
    for first, size in scripts:
        letters = [chr(first + n) for n in range(size)]
        words = ["".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in often]
        lines += [" ".join(draw.choices(words, cum_weights=often, k=12)) for _ in range(2_500)]
    draw.shuffle(lines)
    return "\n".join(lines)


def of_size(text: str, megabytes: float) -> str:
    """The beginning of a text; a shorter one is repeated."""
    data, size = text.encode(), int(megabytes * 1e6)
    return (data * -(-size // len(data)))[:size].decode("utf-8", "ignore")


def shared_file(name: str) -> Path | None:
    """A published file in the folder that MINISSL_TEST_DATA names, if it is there."""
    folder = os.environ.get("MINISSL_TEST_DATA")
    path = Path(folder, name) if folder else None
    return path if path is not None and path.exists() else None


def make_tokenizer(text: str) -> tuple[Tokenizer, str]:
    """GPT-2's tokenizer if its files are there, else one trained on the text."""
    packed = [shared_file(f"tokenizers/gpt2_{name}.xz") for name in ("vocab.bpe", "encoder.json")]
    if not all(packed):
        return Tokenizer.train(text, VOCAB_SIZE, special_tokens=["<|endoftext|>"]), "8,192 tokens"
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, path.stem) for path in packed if path is not None]
        for path, source in zip(paths, packed):
            path.write_bytes(lzma.decompress(source.read_bytes()))  # type: ignore[union-attr]
        return load_gpt2_tokenizer(*paths), "GPT-2's 50,257 tokens"


# ---- the contenders: each reads text and vocabulary, and returns what is timed ------------------


def encoding(make: Callable[[Path], Callable[[str], list[int]]]) -> Callable[..., Any]:
    """What runs encoders that ``make`` makes: new ones in stock for each run, or one for all."""

    def build(folder: str, text: str, fresh: int) -> Callable[[], list[int]]:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        content = Path(folder, text).read_bytes().decode()
        stock = [make(Path(folder)) for _ in range(max(1, fresh))]
        return lambda: (stock.pop() if fresh else stock[0])(content)

    return build


def read_vocabulary(folder: Path) -> dict[str, Any]:
    stored = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
    ranks = {token.encode("latin-1"): rank for token, rank in stored["ranks"].items()}
    return {"ranks": ranks, "special_tokens": stored["special_tokens"]}


def ours(folder: Path) -> Callable[[str], list[int]]:
    return Tokenizer(**read_vocabulary(folder), pattern=GPT2).encode


def by_tiktoken(folder: Path) -> Callable[[str], list[int]]:
    import tiktoken

    vocabulary = read_vocabulary(folder)
    return tiktoken.Encoding(
        "benchmark",
        # How tiktoken itself writes GPT-2's pattern: the same pieces, found sooner.
        pat_str=r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
        mergeable_ranks=vocabulary["ranks"],
        special_tokens=vocabulary["special_tokens"],
    ).encode


def by_tokenizers(folder: Path) -> Callable[[str], list[int]]:
    import tokenizers
    from tokenizers import pre_tokenizers

    peer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    # Its own word splitter for GPT-2 is faster than the general one in the file.
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return lambda text: peer.encode(text).ids


def our_training(folder: str) -> Callable[[], Tokenizer]:
    lines = read_lines(folder)
    return lambda: Tokenizer.train(lines, VOCAB_SIZE)


def peer_training(parallel: str) -> Callable[[str], Callable[[], None]]:
    def build(folder: str) -> Callable[[], None]:
        import tokenizers
        from tokenizers import models, pre_tokenizers, trainers

        os.environ["TOKENIZERS_PARALLELISM"] = parallel
        lines = read_lines(folder)

        def train() -> None:
            peer = tokenizers.Tokenizer(models.BPE())
            peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            alphabet = pre_tokenizers.ByteLevel.alphabet()
            trainer = trainers.BpeTrainer(
                vocab_size=VOCAB_SIZE, show_progress=False, initial_alphabet=alphabet
            )
            peer.train_from_iterator(lines, trainer)
            if peer.get_vocab_size() != VOCAB_SIZE:
                raise SystemExit(f"the text is too short for {VOCAB_SIZE} tokens")

        return train

    return build


def read_lines(folder: str) -> list[str]:
    text = Path(folder, "english").read_bytes().decode()
    return text.splitlines(keepends=True)


ENCODERS = {"minissl": ours, "tiktoken": by_tiktoken, "tokenizers": by_tokenizers}
TRAINERS = {
    "minissl, training": Contender(our_training),
    "tokenizers, 1 thread": Contender(peer_training("false")),
    f"tokenizers, {os.cpu_count() or 1} threads": Contender(peer_training("true")),
}
CONTENDERS = {**{name: Contender(encoding(make)) for name, make in ENCODERS.items()}, **TRAINERS}


# ---- agreement, and the race --------------------------------------------------------------------


def check_agreement(folder: Path, name: str) -> None:
    text = (folder / name).read_bytes().decode()
    expected = ours(folder)(text)
    for peer in ("tiktoken", "tokenizers"):
        if ENCODERS[peer](folder)(text) != expected:
            raise SystemExit(f"{peer} and minissl do not give the same ids of the {name} text")


def prepare(folder: Path, texts: dict[str, str]) -> str:
    """Write the texts and a vocabulary into the folder; returns what the vocabulary is."""
    for name, text in texts.items():
        (folder / name).write_bytes(text.encode())
    tokenizer, vocabulary = make_tokenizer(texts["english"])
    save_huggingface(tokenizer, folder / "tokenizer.json")
    ranks = {token.decode("latin-1"): rank for token, rank in tokenizer.ranks.items()}
    stored = {"ranks": ranks, "special_tokens": tokenizer.special_tokens}
    (folder / "vocabulary.json").write_text(json.dumps(stored), encoding="utf-8")
    return vocabulary


def make_rows(
    task: str, text: str, size: float, seconds: dict[str, float], key: tuple[str, ...]
) -> list[dict[str, Any]]:
    peers = list(seconds)[1:]  # ours comes first
    our_seconds = next(iter(seconds.values()))
    return [
        {
            "task": task,
            "text": text,
            "MB": round(size, 2),
            "minissl, s": our_seconds,
            "peer": peer,
            "peer, s": seconds[peer],
            "speed": f"{seconds[peer] / our_seconds:.2f} x",
            "reach": FIGURES[*key, peer.split(",")[0]][0],
            "aim": FIGURES[*key, peer.split(",")[0]][1],
        }
        for peer in peers
    ]


def measure(folder: Path, texts: dict[str, str], repeats: int) -> list[dict[str, Any]]:
    def seconds(names: Any, **settings: Any) -> dict[str, float]:
        settings["folder"] = str(folder)
        found = race("benchmarks.tokenizer", names, repeats, threads=1, settings=settings)
        return {name: result.seconds for name, result in found.items()}

    size = {name: len(text.encode()) / 1e6 for name, text in texts.items()}
    trained = seconds(TRAINERS)
    rows = make_rows(f"train {VOCAB_SIZE} tokens", "english", size["english"], trained, ("train",))
    for text in texts:
        check_agreement(folder, text)
        for state, fresh in (("cold", repeats + 1), ("warm", 0)):  # one for the turn to warm up
            taken = seconds(ENCODERS, text=text, fresh=fresh)
            key = (state, text.split(",")[0])
            rows += make_rows(f"encode, {state}", text, size[text], taken, key)
    return rows


def main() -> None:
    parser = new_parser("tokenizer", __doc__)
    parser.add_argument("--text", type=Path, help="a UTF-8 file to train on and encode")
    parser.add_argument("--megabytes", type=float, default=10, help="how much of it (default 10)")
    parser.add_argument(
        "--repeats", type=positive, default=5, help="turns that are timed (default 5)"
    )
    arguments = parser.parse_args()
    if arguments.megabytes <= 0:
        parser.error(f"--megabytes {arguments.megabytes}: expected more than 0")
    if arguments.text is not None and not arguments.text.is_file():
        parser.error(f"--text {arguments.text}: there is no such file")
    require_peers("tiktoken", "tokenizers")
    machine = environment(["regex", "tiktoken", "tokenizers"])
    found = {"english": english(arguments.text), "multilingual": multilingual()}
    texts = {name: of_size(text, arguments.megabytes) for name, (text, _) in found.items()}
    if arguments.megabytes > 1:
        texts["english, the first MB"] = of_size(texts["english"], 1)
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = prepare(Path(folder), texts)
        rows = measure(Path(folder), texts, arguments.repeats)
    notes = [
        *(f"{name}: {source}, repeated where it is shorter" for name, (_, source) in found.items()),
        f"encoding with {vocabulary}, ids compared first",
        "speed: the peer's median time over ours, in the same run, taking turns; 1 is as fast",
        f"median of {arguments.repeats} turns; each in a process of its own; minissl and all "
        "encoding run on one thread",
        "training of tokenizers gets the text line by line, which is faster for it than whole",
    ]
    report("tokenizer", rows, machine, notes)


if __name__ == "__main__":
    stoppable(main)

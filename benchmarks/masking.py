"""Masking beside transformers: tokens are hidden of a million, in rows of 128, on one thread.

    python -m benchmarks.masking [--ids 1000000] [--batch 256] [--repeats 5]

Choosing which 15 % are hidden, and replacing them (80 % by [MASK], 10 % by another token), batch
after batch. The peer is ``DataCollatorForLanguageModeling``'s own function for arrays, in NumPy and
in torch, without the padding around it. It draws for each token or word by itself, so that a row
has no budget, and replaces whole words by [MASK] only. It has no spans: ours of many rows at once
are beside ours of one row in plain loops. Each contender has a process of its own. With the folder
in MINISSL_TEST_DATA: British fiction in BERT's pieces; else Python's own English in learned ones.
"""

import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import new_parser, positive, report, require_peers, stoppable
from benchmarks.tokenizer import english, of_size
from benchmarks.turns import Contender, race
from benchmarks.wordpiece import make_vocabulary
from minissl.conditions import environment
from minissl.text import WordPiece, masking

TIME = 128
REACH = {"pieces": "0.1 s", "words": "0.5 s", "spans": "0.5 s"}
Pairs = list[tuple[NDArray, NDArray]]  # of each batch: what is read, what is hidden
Run = Callable[[], Pairs]


def write_rows(folder: Path, text: str, ids: int) -> str:
    """Rows [CLS] 126 pieces [SEP] of the text, and its vocabulary; returns what the pieces are."""
    vocabulary, what = make_vocabulary(text[:1_000_000])
    vocabulary.write(folder / "vocab.txt")
    count = -(-ids // TIME)
    stream = np.resize(vocabulary.encode(text), (count, TIME - 2))
    tokens = np.pad(stream, ((0, 0), (1, 1)))
    tokens[:, 0], tokens[:, -1] = (vocabulary.ids[name] for name in ("[CLS]", "[SEP]"))
    starts = np.array([not token.startswith("##") for token in vocabulary.tokens])
    np.savez(folder / "rows.npz", tokens=tokens, begins=starts[tokens])
    return what


def read_rows(folder: str, batch: int) -> list[dict[str, NDArray]]:
    """Batches of tokens, allowed and begins, each (batch, 128)."""
    with np.load(Path(folder, "rows.npz")) as file:
        tokens, begins = file["tokens"], file["begins"]
    allowed = np.ones(tokens.shape, bool)
    allowed[:, [0, -1]] = False
    made = {"tokens": tokens, "allowed": allowed, "begins": begins}
    return [
        {name: array[at : at + batch] for name, array in made.items()}
        for at in range(0, len(tokens), batch)
    ]


# ---- the contenders ------------------------------------------------------------------------------


def ours(kind: str, folder: str, batch: int, by_row: bool = False) -> Run:
    vocabulary = WordPiece.read(Path(folder, "vocab.txt"))
    batches, generator = read_rows(folder, batch), np.random.default_rng(0)
    settings: dict[str, Any] = {"mask": vocabulary.ids["[MASK]"], "together": kind == "spans"}
    settings["vocab_size"] = vocabulary.vocab_size

    def choose(rows: dict[str, NDArray]) -> NDArray[np.bool_]:
        allowed, begins = rows["allowed"], rows["begins"]
        if not by_row:
            return masking.choose(kind, allowed, begins, generator)
        both = zip(allowed, begins, strict=True)
        return np.array([masking.hide_spans_of_row(*row, generator) for row in both])

    def run() -> Pairs:
        pairs = []
        for rows in batches:
            hidden = choose(rows)
            pairs.append((masking.replace(rows["tokens"], hidden, generator, **settings), hidden))
        return pairs

    return run


def theirs(kind: str, folder: str, batch: int, arrays: str) -> Run:
    from tokenizers import BertWordPieceTokenizer
    from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

    made = BertWordPieceTokenizer(str(Path(folder, "vocab.txt")))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made._tokenizer, mask_token="[MASK]")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that whole words are replaced by [MASK] only
        collator = DataCollatorForLanguageModeling(
            tokenizer, whole_word_mask=kind == "words", return_tensors=arrays, seed=0
        )
    collator.create_rng()
    batches = []
    for rows in read_rows(folder, batch):
        given = {"inputs": rows["tokens"], "special_tokens_mask": (~rows["allowed"]).astype(int)}
        if kind == "words":
            given["offset_mapping"] = offsets_of(rows["begins"])
        batches.append(given)
    if arrays == "pt":
        import torch

        batches = [
            {name: torch.from_numpy(array) for name, array in given.items()} for given in batches
        ]
    mask = collator.numpy_mask_tokens if arrays == "np" else collator.torch_mask_tokens

    def run() -> Pairs:
        pairs = []
        for given in batches:
            tokens = given["inputs"]
            copied = tokens.copy() if arrays == "np" else tokens.clone()  # it writes into them
            pairs.append(mask(**{**given, "inputs": copied}))
        return [(read, targets != -100) for read, targets in pairs]

    return run


def offsets_of(begins: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Where pieces would be in a text, (rows, time, 2): a gap before each that begins a word."""
    at = np.cumsum(1 + begins, axis=1)
    return np.stack([at, at + 1], axis=2)


CONTENDERS = {
    **{f"minissl, {kind}": Contender(partial(ours, kind)) for kind in masking.KINDS},
    **{
        f"transformers, {arrays}, {kind}": Contender(partial(theirs, kind, arrays=arrays))
        for kind in ("pieces", "words")
        for arrays in ("np", "pt")
    },
    "minissl, row by row, spans": Contender(partial(ours, "spans", by_row=True)),
}


# ---- what all of them must do, and the race ------------------------------------------------------


def check_agreement(folder: Path, batch: int) -> None:
    """All hide 15 % of what may be hidden, whole words where asked, and replace 80, 10, 10 %."""
    rows = read_rows(str(folder), batch)
    tokens, allowed, begins = (np.concatenate([one[name] for one in rows]) for name in rows[0])
    word = np.cumsum((allowed & begins) | (allowed & ~np.roll(allowed, 1, axis=1)) | ~allowed)
    mask = WordPiece.read(folder / "vocab.txt").ids["[MASK]"]
    for name, contender in CONTENDERS.items():
        pairs = contender.build(folder=str(folder), batch=batch)()
        read, hidden = (np.concatenate([np.asarray(one) for one in part]) for part in zip(*pairs))
        share, masked = hidden[allowed].mean(), (read == mask)[hidden].mean()
        same = (read == tokens)[hidden].mean()
        expected = (1, 0) if "transformers" in name and "words" in name else (0.8, 0.1)
        error = max(abs(share - 0.15), abs(masked - expected[0]) / 3, abs(same - expected[1]) / 3)
        sizes = np.bincount(word - 1)
        parts = np.bincount(word - 1, hidden.ravel())
        cut = "pieces" not in name and ((parts > 0) & (parts < sizes)).any()
        if error > 6 / tokens.size**0.5 or cut or (read != tokens)[~hidden].any():
            raise SystemExit(f"{name}: hidden {share:.4f}, masked {masked:.4f}, same {same:.4f}")
    print(f"agreed: {tokens.size:,} ids, what is hidden and by what it is replaced")


def main() -> None:
    parser = new_parser("masking", __doc__)
    for name, default, what in (
        ("ids", 1_000_000, "in rows of 128"),
        ("batch", 256, "rows that are masked at once"),
        ("repeats", 5, "turns that are timed"),
    ):
        parser.add_argument(
            f"--{name}", type=positive, default=default, help=f"{what} (default {default:,})"
        )
    arguments = parser.parse_args()
    require_peers("transformers", "tokenizers", "torch")
    machine = environment(["transformers", "tokenizers", "torch"])
    text, source = english(None)
    with tempfile.TemporaryDirectory() as place:
        what = write_rows(Path(place), of_size(text, arguments.ids * 5 / 1e6), arguments.ids)
        check_agreement(Path(place), arguments.batch)
        settings = {"folder": place, "batch": arguments.batch}
        found = race(
            "benchmarks.masking", CONTENDERS, arguments.repeats, threads=1, settings=settings
        )
    rows = []
    for name, result in found.items():
        peer, kind = name.rsplit(", ", 1)
        mine = found[f"minissl, {kind}"].seconds
        if peer != "minissl":
            rows.append(
                {
                    "hidden": kind,
                    "minissl, s": mine,
                    "peer": peer,
                    "peer, s": result.seconds,
                    "speed": f"{result.seconds / mine:.2f} x",
                    "reach": REACH[kind],
                }
            )
    notes = [
        f"{arguments.ids:,} ids in rows of [CLS] 126 pieces [SEP], {arguments.batch} rows at once; "
        f"{source} in {what}",
        "shares of hidden and of replaced tokens, and whole words, looked at first; the peer has "
        "no budget for a row, replaces words by [MASK] only, and has no spans: row by row is "
        "minissl's hide_spans_of_row",
        "speed: the peer's median time over ours, in the same run, taking turns; 1 is as fast",
        f"median of {arguments.repeats} turns; each in a process of its own, on one thread",
    ]
    report("masking", rows, machine, notes)


if __name__ == "__main__":
    stoppable(main)

"""phrases and sentences of film reviews, negative or positive: the form of the GLUE benchmark

Socher et al. 2013, "Recursive deep models for semantic compositionality over a sentiment treebank";
Wang et al. 2018, arXiv:1804.07461. GLUE keeps the labels of sst2/test to itself: it is text only,
so measure on sst2/dev. The training part has phrases of the sentences besides the sentences.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from minissl.data.sets import DataSet, Download
from minissl.data.sets._archives import zip_member

ARCHIVE = "SST-2.zip"
PARTS = {"train": "train.jsonl", "dev": "dev.jsonl", "test": "test.jsonl"}
HEADERS = {"train": "sentence\tlabel", "dev": "sentence\tlabel", "test": "index\tsentence"}
CLASSES = {"0": "negative", "1": "positive"}


def unpack(files: Mapping[str, Path], folder: Path) -> None:
    """Three tables with tabs become .jsonl with "text" and "label", in the order of the rows.

    Not .tsv, in which the quotation marks of the sentences mean other things to other readers. The
    spaces that end most of the sentences are left out.
    """
    path = files[ARCHIVE]
    for part, target in PARTS.items():
        data = zip_member(path, f"{part}.tsv", most=50_000_000)
        rows = _rows(data, HEADERS[part], f"{path}: {part}.tsv")
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / target).write_text("".join(lines), encoding="utf-8", newline="\n")


def _rows(data: bytes, header: str, place: str) -> Iterator[dict[str, str]]:
    """The rows of one table. Raises ValueError with the line of the first that is wrong."""
    try:
        first, *lines = data.decode("utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{place} is no UTF-8 text ({error})") from None
    if first.rstrip("\r") != header:
        raise ValueError(f"{place} begins with {first!r:.60}, expected {header!r}")
    for number, line in enumerate(lines, start=2):
        columns = line.rstrip("\r").split("\t")
        row = dict(zip(header.split("\t"), columns))
        if len(columns) != 2 or row.get("label", "0") not in CLASSES:
            raise ValueError(f"{place}, line {number}: {line!r:.80}, expected {header!r}")
        label = {"label": CLASSES[row["label"]]} if "label" in row else {}
        yield {"text": row["sentence"].strip(), **label}


DATASET = DataSet(
    kinds=("texts", "labelled texts"),
    licence="none stated at the origin",
    source="Socher et al. 2013; Wang et al. 2018, arXiv:1804.07461",
    files=(
        Download(
            f"https://dl.fbaipublicfiles.com/glue/data/{ARCHIVE}",
            "md5:9f81648d4199384278b86e315dac217c",
            7_439_277,
        ),
    ),
    unpack=unpack,
    parts=PARTS,
)

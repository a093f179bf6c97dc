"""Wikipedia's good and featured articles, about two million words, in three parts

Merity, Xiong, Bradbury and Socher 2016, arXiv:1609.07843. The raw form: every character as it was,
no word replaced by <unk>; a title stands between equals signs, " = Title = ". So losses on it are
not those that are printed for the form with <unk>.
"""

from collections.abc import Mapping
from pathlib import Path

from minissl.data.sets import DataSet, Download
from minissl.data.sets._archives import zip_member

ARCHIVE = "wikitext-2-raw-v1.zip"
PARTS = {"train": "train.txt", "valid": "valid.txt", "test": "test.txt"}


def unpack(files: Mapping[str, Path], folder: Path) -> None:
    """Three members become three text files, byte for byte."""
    for part, name in PARTS.items():
        text = zip_member(files[ARCHIVE], f"wiki.{part}.raw", most=50_000_000)
        (folder / name).write_bytes(text)


DATASET = DataSet(
    kinds=("texts",),
    licence="CC BY-SA (text of Wikipedia)",
    source="Merity et al. 2016, arXiv:1609.07843",
    files=(
        Download(
            "https://huggingface.co/datasets/ggml-org/ci/resolve/"
            f"927b3642933080f1b0e811e2f916e14c292992f9/{ARCHIVE}",
            "sha256:ef7edb566e3e2b2d31b29c1fdb0c89a4cc683597484c3dc2517919c615435a11",
            4_721_645,
        ),
    ),
    unpack=unpack,
    parts=PARTS,
)

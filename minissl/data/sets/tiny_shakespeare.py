"""forty thousand lines of Shakespeare's plays, one file of a megabyte

Karpathy 2015, "The unreasonable effectiveness of recurrent neural networks".
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from minissl.data.sets import DataSet, Download


def unpack(files: Mapping[str, Path], folder: Path) -> None:
    """The file as it is, under a name that says what it is."""
    shutil.copyfile(files["input.txt"], folder / "tiny-shakespeare.txt")


DATASET = DataSet(
    kinds=("texts",),
    licence="public domain",
    source="Karpathy 2015, from Shakespeare",
    files=(
        Download(
            "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/"
            "input.txt",
            "sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            1_115_394,
        ),
    ),
    unpack=unpack,
    parts={"text": "tiny-shakespeare.txt"},
    room=1_115_394,
)

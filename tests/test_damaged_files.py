"""More than three thousand damaged files of every kind that is read, each read or named.

No error is raw or without a name, nothing hangs, takes much memory, starts a program or writes
elsewhere: see ``damage/sweep.py``. And no module reads what others wrote in a way of its own.
"""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.damage.readers import READERS
from tests.systems import posix

ROOT = Path(__file__).parent.parent
KINDS = list(READERS)


def test_they_are_more_than_three_thousand():
    assert sum(READERS[kind].count for kind in KINDS) > 3000


@posix
@pytest.mark.parametrize("kinds", [KINDS[::2], KINDS[1::2]], ids=["one half", "the other"])
def test_damaged_files_are_read_or_named(kinds):
    command = [sys.executable, "-m", "tests.damage.sweep", *kinds]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    for kind in kinds:
        found = report[kind]
        assert not found["faults"], (kind, found["faults"][:5])
        assert found["read"] + found["refused"] == READERS[kind].count
        assert found["refused"] > READERS[kind].count // 5, kind  # it was damage


# ---- one way -------------------------------------------------------------------------------------

# What believes a file, by its full name (or its beginning).
RAW = (
    "json.load", "json.JSONDecoder", "numpy.load", "numpy.fromfile", "numpy.memmap",
    "numpy.loadtxt", "numpy.genfromtxt", "numpy.lib.format.read_", "PIL.Image.open", "zipfile.",
    "tarfile.",
    "gzip.open", "gzip.decompress", "gzip.GzipFile", "lzma.open", "lzma.decompress", "bz2.",
    "zlib.decompress", "safetensors.safe_open", "safetensors.deserialize",
    "safetensors.numpy.load", "safetensors.torch", "torch.load", "pickle", "marshal", "shelve",
    "csv.reader", "csv.DictReader", "tomllib", "yaml", "xml", "configparser", "ast.literal_eval",
)  # fmt: skip
# Who may, and why it names the file all the same.
MAY = {
    "reading.py": RAW,  # the one way
    "data/arrays.py": ("zipfile.", "numpy.lib.format.read_"),  # within ``reading``
    "data/sets/_archives.py": ("zipfile.", "tarfile.", "gzip.open"),  # within ``reading``
    "data/tables.py": ("csv.reader",),  # with the line
    "vision/images.py": ("PIL.Image.open",),  # within ``reading``, and only the formats it names
    "text/files.py": ("json.load",),  # asks whether it is JSON, and believes nothing
    "text/corpora.py": ("ast.literal_eval",),  # of Python's own library
    "homework/report.py": ("json.load",),  # lines that are signed
    "homework/gradebook.py": ("csv.reader",),  # within ``reading``
    "homework/archive.py": ("zipfile.",),  # with the file's name and limits, or a sentence
    "homework/child.py": ("json.load",),  # what its own parent asks
}
OWN = ("json.dumps", "from_first")  # json.loads of these: our own words, from here or process 0


def full_names(tree):
    """Every name that a module uses, in full, with its node: what was imported as what."""
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for a in node.names:
                first = a.name.split(".")[0]
                known[a.asname or first] = a.name if a.asname else first
        elif isinstance(node, ast.ImportFrom):
            known |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    for node in ast.walk(tree):
        parts, inner = [], node
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name) and inner.id in known:
            yield ".".join([known[inner.id], *reversed(parts)]), node


def raw_readers(text):
    """What a module believes files with, but for its own words."""
    tree = ast.parse(text)
    own = set()
    for node in ast.walk(tree):
        inner = node.args[0] if isinstance(node, ast.Call) and node.args else None
        if isinstance(inner, ast.Call) and ast.unparse(inner.func) in OWN:
            own |= {id(part) for part in ast.walk(node.func)}
    return {
        name for name, node in full_names(tree)
        if id(node) not in own and name.startswith(RAW) and not name.endswith("Error")
        and not name.endswith(("TarInfo", "ZipInfo", "BadZipFile")) and "." in name
    }  # fmt: skip


@pytest.mark.parametrize("package", ["minissl", "kernels/minissl_kernels"])
def test_no_module_has_a_way_of_its_own(package):
    for file in sorted((ROOT / package).rglob("*.py")):
        allowed = MAY.get(file.relative_to(ROOT / package).as_posix(), ())
        found = {
            name
            for name in raw_readers(file.read_text(encoding="utf-8"))
            if not name.startswith(allowed)
        }
        assert not found, f"{file} uses {found}: see minissl.reading and minissl.tensors"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import json\njson.loads(x)", {"json.loads"}),
        ("from json import load as read\nread(x)", {"json.load"}),
        ("import numpy as np\nf = np.load", {"numpy.load"}),
        ("from PIL import Image\nImage.open(x)", {"PIL.Image.open"}),
        ("import json\njson.loads(json.dumps(x))", set()),
        ("import json\njson.dumps(x)", set()),
        ("import pickle\npickle.loads(x)", {"pickle.loads"}),
    ],
)
def test_a_way_of_its_own_is_noticed(text, found):
    assert raw_readers(text) == found

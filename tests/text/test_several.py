"""A string where several are expected: refused, since each of its letters would be one of them."""

import base64
import importlib
import pkgutil
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest

from minissl.data.captions import Captioned
from minissl.data.images import LabelledImages
from minissl.data.labels import check_labels
from minissl.data.pairs import LabelledTextPairs
from minissl.data.texts import LabelledTexts
from minissl.data.vectors import WordVectors
from minissl.text import Tokenizer, load_gpt2_tokenizer, load_tiktoken
from minissl.text.documents import Document, read_text_documents
from minissl.text.numbering import number_special_tokens
from minissl.text.patterns import count_pieces
from minissl.text.wordpiece import WordPiece

ONE = "<|e>"  # as a list of names it would be four
TAKE_SEVERAL = {
    "Tokenizer.__init__ special_tokens": lambda: Tokenizer(BYTES, special_tokens=ONE),
    "Tokenizer.from_merges special_tokens": lambda: Tokenizer.from_merges([], special_tokens=ONE),
    "Tokenizer.train special_tokens": lambda: Tokenizer.train("text", 300, special_tokens=ONE),
    "count_pieces special_tokens": lambda: count_pieces("text", special_tokens=ONE),
    "load_gpt2_tokenizer special_tokens": lambda: load_gpt2_tokenizer("x", "y", special_tokens=ONE),
    "number_special_tokens special_tokens": lambda: number_special_tokens(ONE, 256),
    "read_text_documents suffixes": lambda: read_text_documents(".", suffixes=".txt"),
    "Captioned.__init__ captions": lambda: Captioned(IMAGES, "abc"),
    "LabelledImages.__init__ class_names": lambda: LabelledImages(IMAGES, [0, 1, 0], "ab"),
    "LabelledTexts.__init__ class_names": lambda: LabelledTexts(DOCUMENTS, [0, 1, 0], "ab"),
    "LabelledTextPairs.__init__ class_names": lambda: LabelledTextPairs(
        list(zip(DOCUMENTS, DOCUMENTS)), [0, 1, 0], "ab"
    ),
    "load_tiktoken special_tokens": lambda: load_tiktoken_of_bytes(ONE),
    "WordPiece.__init__ tokens": lambda: WordPiece("[UNK]"),
    "check_labels class_names": lambda: check_labels([0, 1], 2, "ab"),
    "WordVectors.__init__ words": lambda: WordVectors("ab", np.eye(2)),
    "WordVectors.mean words": lambda: VECTORS.mean("ab"),
    "WordVectors.neighbors without": lambda: VECTORS.neighbors("a", without="ab"),
    "WordVectors.combine plus": lambda: VECTORS.combine("ab"),
    "WordVectors.combine minus": lambda: VECTORS.combine(["a"], "ab"),
}


def load_tiktoken_of_bytes(special_tokens):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.tiktoken")
        lines = (b"%s %d\n" % (base64.b64encode(token), n) for token, n in BYTES.items())
        path.write_bytes(b"".join(lines))
        load_tiktoken(path, pattern="gpt2", special_tokens=special_tokens)


BYTES = {bytes([byte]): byte for byte in range(256)}
IMAGES = np.zeros((3, 1, 2, 2), np.float32)
VECTORS = WordVectors(["a", "b"], np.eye(2))
DOCUMENTS = [Document(name, "source", "a text") for name in "abc"]
# A string is a text there, its letters mean the same, or what is given comes from the inside.
EXEMPT = {
    "Images.__init__ names", "LabelledImages.__init__ names", "Captioned.__init__ names",
    "Tokenizer.encode_stream texts", "join_surrogates texts", "keep_tokenizer texts",
    "as_classes labels", "check_names names", "as_numbers labels", "as_numbers places",
    "of_files names",
    "keep_classes class_names", "no_labels class_names", "require_two class_names",
    "as_in_the_run class_names", "as_in_the_run of_run", "check_members names",
    "unpack_idx class_names", "write_part class_names", "walk rooms", "three words",
    "CanScore.score prompts", "CanScore.score answers", "keep_pieces texts",
    "Columns.fit names", "PublishedTask.columns_of names", "check_asked asked", "published asked",
    "read_table asked", "table_at asked", "Alternatives.__init__ endings",
}  # fmt: skip


@pytest.mark.parametrize("call", TAKE_SEVERAL.values(), ids=TAKE_SEVERAL)
def test_one_string_is_not_taken_apart(call):
    with pytest.raises(ValueError, match=r"is one string, '.*': expected several, such as \['"):
        call()


def test_every_parameter_that_takes_several_strings_is_tried():
    """By the annotations of minissl.text and minissl.data."""
    found = {name for module in modules_below("text", "data") for name in takes_several(module)}
    assert found - EXEMPT == TAKE_SEVERAL.keys()


def modules_below(*packages):
    for package in packages:
        folder = importlib.import_module(f"minissl.{package}")
        for one in pkgutil.walk_packages(folder.__path__, f"minissl.{package}."):
            yield importlib.import_module(one.name)


def takes_several(module):
    """The public functions and methods of a module that have such a parameter, and its name."""
    for function in (f for f in vars(module).values() if callable(f)):
        if getattr(function, "__module__", "") != module.__name__:
            continue
        for method in vars(function).values() if isinstance(function, type) else [function]:
            method = getattr(method, "__func__", method)
            if re.match("_[a-z]", getattr(method, "__name__", "_x")):
                continue
            for name, kind in getattr(method, "__annotations__", {}).items():
                several = re.search(r"(Iterable|Sequence|Collection)\[str\]", str(kind))
                if several and not str(kind).startswith("str |"):
                    yield f"{method.__qualname__} {name}"

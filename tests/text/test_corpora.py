"""The corpus is what the sources say, the same on every run, and split without leaks."""

import inspect
import json
import os
import subprocess
import sys
import textwrap
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minissl.text import corpora
from minissl.text.corpora import (
    Document,
    describe_difference,
    make_manifest,
    python_english,
    read_text_documents,
    split_documents,
)
from minissl.text.documents import cut, digest


@pytest.fixture(scope="module")
def english():
    return python_english()


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
    return folder


LONG = "This paragraph has many more than a dozen words, so that a second copy is noticed at once."


@pytest.fixture
def library(tmp_path):
    """A standard library in miniature, with every trap of the real one."""
    return write(
        tmp_path,
        {
            "pydoc_data/topics.py": f"""
                # -*- coding: utf-8 -*-
                topics = {{'short': 'A chapter about five words.\\n\\n{LONG}\\n',
                          'long': 'A longer chapter has this.\\n\\n   {LONG}\\n\\n'
                                  'And it also has that.\\n'}}
                """,
            "shapes/__init__.py": '"""A package of shapes to draw."""\nimport absent\n1 / 0\n',
            "shapes/round.py": '''
                """Round shapes and nothing else here."""
                class Circle:
                    """A circle of some radius.

                        Indented more.
                    Not indented.
                    """
                    def area(self):
                        """The area in square units, always."""
                        def inner():
                            "Nested functions have docstrings as well."
                    @property
                    def size(self):
                        """One two three four five."""
                    @size.setter
                    def size(self, value):
                        """Six seven eight nine ten."""
                if True:
                    async def wait():
                        """Wait until the shape is round."""
                try:
                    pass
                except ImportError:
                    def fallback():
                        """Only here when nothing else works."""
                def short():
                    """Too few words here."""
                def not_a_docstring():
                    x = """This text is data and no documentation."""
                ''',
            "latin.py": '# -*- coding: latin-1 -*-\n"""Caf\xe9 is five words long."""\n'.encode(
                "latin-1"
            ),
            "copies.py": '''
                """Caf\u00e9 is five words long."""
                def one_line():
                    """One line of more than a dozen words stays the first time it is met."""
                ''',
            "surrogate.py": r'"""A lone \ud800 surrogate has no bytes."""',
            "broken.py": "def template({{name}}):\n    '''Five words that never appear.'''\n",
            "null.py": b"'''Five words that never appear.'''\0\n",
            "test/test_shapes.py": '"""Five words that never appear."""\n',
            "shapes/tests/helper.py": '"""Five words that never appear."""\n',
            "site-packages/other.py": '"""Five words that never appear."""\n',
            "config-3.11/setup.py": '"""Five words that never appear."""\n',
        },
    )


def test_everything_documented_is_taken_and_nothing_else(library):
    found = {document.name: document for document in python_english(library=library)}
    assert {name: document.text for name, document in found.items()} == {
        "topics/short": f"A chapter about five words.\n\n{LONG}",
        "topics/long": "A longer chapter has this.\n\nAnd it also has that.",
        "shapes": "A package of shapes to draw.",
        "shapes.round": "Round shapes and nothing else here.",
        "shapes.round:Circle": "A circle of some radius.\n\n    Indented more.\nNot indented.",
        "shapes.round:Circle.area": "The area in square units, always.",
        "shapes.round:Circle.area.inner": "Nested functions have docstrings as well.",
        "shapes.round:Circle.size": "One two three four five.",
        "shapes.round:Circle.size#2": "Six seven eight nine ten.",
        "shapes.round:wait": "Wait until the shape is round.",
        "shapes.round:fallback": "Only here when nothing else works.",
        "copies": "Café is five words long.",
        "copies:one_line": "One line of more than a dozen words stays the first time it is met.",
        "surrogate": "A lone ? surrogate has no bytes.",
    }
    assert found["topics/short"].source == "topics"
    assert found["shapes.round:Circle.area"].source == "shapes"


def test_the_running_python_has_a_corpus_of_the_stated_size(english):
    manifest = make_manifest(english)
    assert manifest["documents"] == len(english) > 4000
    assert manifest["bytes"] == sum(len(d.text.encode()) for d in english) > 1_000_000
    assert len({d.name for d in english}) == len({d.text for d in english}) == len(english)
    assert min(len(d.text.split()) for d in english) >= 5
    for package in ("topics", "asyncio", "email", "json"):
        assert manifest["sources"][package]["documents"] > 5
    assert english == sorted(english, key=digest)
    assert not {"test", "idle_test", "site-packages", "minissl"} & set(manifest["sources"])


def test_docstrings_are_those_that_python_itself_shows(english):
    import asyncio
    import json.decoder
    import statistics

    text = {document.name: document.text for document in english}
    for name, documented in {
        "statistics:NormalDist": statistics.NormalDist,
        "json.decoder:JSONDecoder": json.decoder.JSONDecoder,
        "asyncio.queues:Queue.get": asyncio.Queue.get,
        "statistics": statistics,
    }.items():
        assert text[name] == inspect.getdoc(documented).strip()


def test_no_long_paragraph_is_there_twice(english):
    seen = set()
    for document in english:
        for paragraph in document.text.split("\n\n"):
            key = " ".join(paragraph.split())
            if len(key.split()) >= corpora.LONG_PARAGRAPH_WORDS:
                assert key not in seen, document.name
                seen.add(key)


def test_the_corpus_is_the_same_whatever_the_hash_seed(english):
    code = (
        "from minissl.text.corpora import *; import json\n"
        "documents = python_english()\n"
        "print(json.dumps([make_manifest(documents)['sha256'], [d.name for d in documents][:50]]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    root = Path(__file__).resolve().parents[2]
    printed = subprocess.check_output([sys.executable, "-c", code], cwd=root, env=environment)
    assert json.loads(printed) == [
        make_manifest(english)["sha256"],
        [d.name for d in english][:50],
    ]


@pytest.mark.parametrize(
    ("missing", "message"),
    [("pydoc_data/topics.py", "pydoc_data/topics.py"), ("*.py", "sources of its modules")],
)
def test_a_stripped_python_is_told_what_to_install(library, missing, message):
    for path in list(library.rglob(missing)):
        if missing != "*.py" or path.name != "topics.py":
            path.unlink()
    with pytest.raises(FileNotFoundError, match=message) as error:
        python_english(library=library)
    assert "apt install python3" in str(error.value)


# ------------------------------------------------------------------------------- the manifest


def documents_of(texts):
    return [Document(f"d{i}", f"s{i % 3}", text) for i, text in enumerate(texts)]


def test_a_manifest_survives_json_and_equals_itself_in_any_order():
    documents = documents_of(["one", "zwei é", "three"])
    manifest = make_manifest(documents)
    again = json.loads(json.dumps(make_manifest(documents[::-1])))
    assert describe_difference(manifest, again) == ""
    assert (manifest["documents"], manifest["bytes"]) == (3, 3 + 7 + 5)
    assert manifest["sources"]["s1"] | {"sha256": ""} == {
        "documents": 1,
        "bytes": 7,
        "sha256": "",
    }


def test_the_same_text_on_another_python_is_no_difference():
    manifest = make_manifest(documents_of(["one", "two"]))
    assert describe_difference(manifest | {"python": "3.99.0"}, manifest) == ""


def test_a_difference_names_versions_and_sources():
    before = make_manifest(documents_of(["one", "two", "three", "four"])) | {"python": "3.99.0"}
    after = make_manifest(documents_of(["one", "zwei", "three"]))
    message = describe_difference(before, after)
    assert "3.99.0" in message
    assert after["python"] in message
    assert "s0: 2 documents, here 1; s1: 1 documents, other text." in message
    assert "s2" not in message
    assert "not comparable" in message


def test_a_long_difference_is_cut_short():
    before = make_manifest([Document(str(i), str(i), "text") for i in range(30)])
    assert "and 20 more sources" in describe_difference(before, make_manifest([]))


@pytest.mark.parametrize("field", range(3))
def test_the_hash_sees_every_change(field):
    document = Document("name", "source", "text")
    changed = document._replace(**{document._fields[field]: "other"})
    if document._fields[field] == "source":
        assert make_manifest([document])["sources"] != make_manifest([changed])["sources"]
    else:
        assert describe_difference(make_manifest([document]), make_manifest([changed]))


def test_the_hash_sees_where_a_name_ends():
    assert describe_difference(
        make_manifest([Document("a", "", "b"), Document("c", "", "d")]),
        make_manifest([Document("ab", "", ""), Document("c", "", "d")]),
    )


# --------------------------------------------------------------------- the split: see test_split.py


def test_about_the_fraction_is_held_out(english):
    train, held_out = split_documents(english, 0.05)
    assert abs(len(held_out) / len(english) - 0.05) < 0.02
    assert sorted(train + held_out) == sorted(english)
    assert not {d.text for d in train} & {d.text for d in held_out}


def test_a_documents_name_moves_nothing(english):
    renamed = [document._replace(name=str(i)) for i, document in enumerate(english)]
    for part, renamed_part in zip(split_documents(english), split_documents(renamed), strict=True):
        assert [d.text for d in part] == [d.text for d in renamed_part]


def test_a_larger_fraction_only_adds_to_the_held_out_part(english):
    small, large = (set(split_documents(english, f)[1]) for f in (0.03, 0.1))
    assert small < large


def test_both_parts_are_shuffled(english):
    train, held_out = split_documents(english)
    for part in (train, held_out):
        sources = [document.source for document in part]
        same_as_next = sum(a == b for a, b in pairwise(sources))
        assert same_as_next < 0.1 * len(part)  # in the library's order it would be nearly all


# --------------------------------------------------------------------------------- own texts


def test_a_folder_of_text_files(tmp_path):
    write(
        tmp_path,
        {
            "b.txt": "Second é\r\n",
            "a/deep/x.md": "\ufeffFirst.",
            "empty.txt": "",
            "image.png": b"\xff\xd8",
            ".hidden/h.txt": "no",
            "UPPER.TXT": "Upper",
        },
    )
    assert read_text_documents(tmp_path) == [
        Document("UPPER.TXT", "UPPER.TXT", "Upper"),
        Document("a/deep/x.md", "a", "First."),
        Document("b.txt", "b.txt", "Second é\r\n"),
    ]
    assert read_text_documents(str(tmp_path / "b.txt")) == [
        Document("b.txt", "b.txt", "Second é\r\n")
    ]


@given(st.text(st.sampled_from("ab\n"), max_size=200), st.integers(1, 30))
def test_pieces_joined_are_the_text(text, size):
    pieces = cut(Document("file", "source", text), size)
    assert "".join(piece.text for piece in pieces) == text
    assert all(0 < len(piece.text) <= size for piece in pieces)
    assert len({piece.name for piece in pieces}) == len(pieces)


def test_a_long_file_is_cut_after_blank_lines(tmp_path):
    paragraph = "Some words of text.\n\n"
    (tmp_path / "long.txt").write_bytes(paragraph.encode() * 100)
    pieces = read_text_documents(tmp_path / "long.txt", piece_characters=200)
    assert [piece.name for piece in pieces[:2]] == ["long.txt[0]", "long.txt[1]"]
    assert {len(piece.text) % len(paragraph) for piece in pieces} == {0}
    assert split_documents(pieces, 0.2)[1]


@pytest.mark.parametrize(
    ("files", "path", "error", "message"),
    [
        ({}, "nowhere", FileNotFoundError, "no file or folder .*nowhere"),
        ({}, "", FileNotFoundError, "found no files at all"),
        ({"data.csv": "1"}, "", FileNotFoundError, r"found 1 other file\(s\) such as 'data.csv'"),
        ({"a.txt": "", "b.txt": ""}, "", ValueError, r"its 2 file\(s\) are empty"),
        ({"ok.txt": "ok", "bad.txt": b"caf\xe9 x"}, "", ValueError, r"bad.txt.*0xe9 at offset 3"),
    ],
)
def test_unusable_paths_are_named(tmp_path, files, path, error, message):
    write(tmp_path, files)
    with pytest.raises(error, match=message):
        read_text_documents(tmp_path / path)


def test_a_blank_line_near_the_start_makes_no_short_piece():
    pieces = cut(Document("a", "a", "Title\n\n" + 100 * "x"), 50)
    assert [len(piece.text) for piece in pieces] == [50, 50, 7]


def test_a_byte_order_mark_is_kept_when_asked(tmp_path):
    data = b"\xef\xbb\xbf\xef\xbb\xbfTwo marks.\r\n"
    write(tmp_path, {"marked.txt": data})
    (without,) = read_text_documents(tmp_path)
    (kept,) = read_text_documents(tmp_path, keep_mark=True)
    assert without.text == "\ufeffTwo marks.\r\n"  # the second is a character of the text
    assert kept.text.encode() == data


def test_a_bad_byte_after_a_mark_is_named_with_its_place_in_the_file(tmp_path):
    write(tmp_path, {"marked.txt": b"\xef\xbb\xbfcaf\xe9"})
    with pytest.raises(ValueError, match="0xe9 at offset 6"):
        read_text_documents(tmp_path)


def test_every_file_when_asked(tmp_path):
    write(tmp_path, {"data.csv": "1"})
    assert [d.name for d in read_text_documents(tmp_path, None, any_kind=True)] == ["data.csv"]


def test_pieces_need_a_size():
    with pytest.raises(ValueError, match="piece_characters is 0"):
        cut(Document("a", "a", "text"), 0)

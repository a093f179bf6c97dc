"""Bytes become text, or are refused by what they are; no name of a file stops a folder."""

import gzip
import json
import os
import pickle
import random

import numpy as np
import pytest

from minissl.text.corpora import make_manifest
from minissl.text.documents import Document, cut, read_text_documents
from minissl.text.files import OTHER_KINDS, files_below, read_text, shown
from tests.systems import posix

TEXT = "Der Fluß trägt 10 € über\r\nπάντα ῥεῖ, всё течёт, 万物流转.\n"


def write(folder, name, data):
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16le", "utf-16be", "utf-32le", "utf-32be"]
)
def test_marked_encodings_are_read(tmp_path, encoding):
    mark = "" if encoding.startswith("utf-8") else "\ufeff"
    assert read_text(write(tmp_path, "a.txt", (mark + TEXT).encode(encoding))) == TEXT


@pytest.mark.parametrize("encoding", ["utf-16le", "utf-16be"])
def test_utf_16_without_a_mark_is_refused_with_the_right_command(tmp_path, encoding):
    path = write(tmp_path, "book.txt", TEXT.encode(encoding))
    with pytest.raises(ValueError, match=rf"book.txt' looks like UTF-16.*iconv -f {encoding} -t"):
        read_text(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_what_must_be_utf_8_byte_for_byte_says_so(tmp_path, encoding):
    path = write(tmp_path, "a.txt", TEXT.encode(encoding))
    with pytest.raises(ValueError, match=f"iconv -f {encoding} -t utf-8"):
        read_text(path, keep_mark=True)


def test_damaged_utf_16_is_named(tmp_path):
    for data in (TEXT.encode("utf-16")[:-1], b"\xff\xfe\x00\xd8", "a\0b".encode("utf-16")):
        with pytest.raises(ValueError, match=r"a.txt' is"):
            read_text(write(tmp_path, "a.txt", data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is a PNG image"),
        (gzip.compress(b"hello " * 90, mtime=0), r"packed \(gzip\), not text: unpack it first"),
        (b"PAR1\x15\x04\x15\0", "is a parquet table"),
        (pickle.dumps({"a": [0] * 9}), "is a pickle"),
        (random.Random(0).randbytes(5000), "is binary, not text: it has a NUL at offset"),
        (random.Random(0).randbytes(5000).replace(b"\0", b""), "It is binary or damaged"),
        (b"ab" * 650 + b"\0.", "binary, not text: it has a NUL at offset 1300"),
        (b"hello\0world", r"a NUL at offset 5.*tr -d '\\000'"),
        (b"caf\xe9 au lait", "0xe9 at offset 3 .*iconv -f cp1252 -t utf-8"),
        ("“quoted”".encode("cp1252"), "iconv -f cp1252 -t utf-8"),
        ("Всё течёт, всё меняется".encode("cp1251"), "gb18030, shift_jis"),
        ("日本語の文章".encode("shift_jis"), "gb18030, shift_jis"),
        ("日本語の文章".encode()[:-1], "It ends in the middle of a character"),
    ],
)
def test_what_is_no_text_is_named_with_advice(tmp_path, data, message):
    path = write(tmp_path, "a.txt", data)
    for any_kind in (False, True):
        with pytest.raises(ValueError, match=f"a.txt' .*{message}"):
            read_text(path, any_kind=any_kind)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        *[(f"a{suffix}", "x", f"is {kind}, not") for suffix, (kind, _) in OTHER_KINDS.items()],
        ("a.csv", "text\nx\n", "--text-field NAME"),
        ("a.html", "<p>", "strip its markup first"),
        ("a.txt", "\n <!DOCTYPE HTML>\n", "is HTML"),
        ("a.log", "<html lang=en>", "is HTML"),
        ("a.txt", '<?xml version="1.0"?><a/>', "is XML"),
        ("a.txt", '{"text": "a"}\n\n{"text": "b"}\n', r"JSON lines.*\.jsonl.*--text-field NAME"),
        ("a", '{\n "cells": [1]}', "is JSON, not plain text: write its texts"),
        ("a.txt", '[{"a": {"b": 1}}]', "is JSON"),
        ("a.txt", '{"a": "b"}\n', "is JSON, not plain text"),
    ],
)
def test_other_kinds_are_refused_unless_they_are_asked_for(tmp_path, name, text, message):
    path = write(tmp_path, name, text)
    with pytest.raises(ValueError, match=message):
        read_text_documents(path)
    (document,) = read_text_documents(path, any_kind=True)
    assert document.text == text


@pytest.mark.parametrize(
    "text",
    [
        '{"set"} is written with braces',
        '{"a": 1}, thus began the paper on JSON.\nAnd so it went on.',
        "[1] A list of references\n[2] Another",
        "<html> tags were invented in 1991? No: see <!DOCTYPE>."[1:],
        '"Call me Ishmael."',
        "{" * 100_000,
        '{"a":' * 100_000,
    ],
)
def test_a_book_may_begin_as_it_likes(tmp_path, text):
    assert read_text(write(tmp_path, "a.txt", text)) == text


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst", ".zip"])
def test_packed_files_are_to_be_unpacked(tmp_path, suffix):
    with pytest.raises(ValueError, match="is packed: unpack it first"):
        read_text(write(tmp_path, f"a.txt{suffix}", b"x"), any_kind=True)


# ---- names and files that are odd ----------------------------------------------------------------


def test_names_that_are_no_utf_8_stop_nothing(tmp_path):
    folder = os.fsencode(tmp_path)
    for name in (b"caf\xe9.txt", b"caf\xe8.txt"):
        try:
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(name.decode("latin-1"))
        except OSError:
            pytest.skip("this file system takes only names in UTF-8")
    documents = read_text_documents(tmp_path)
    assert [d.name for d in documents] == [r"caf\xe8.txt", r"caf\xe9.txt"]
    assert [d.text for d in documents] == ["cafè.txt", "café.txt"]
    manifest = json.dumps(make_manifest(documents))
    assert manifest.encode("ascii")
    assert shown(tmp_path) == str(tmp_path)


@posix
def test_what_is_no_file_is_named_and_nothing_waits(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder, "good.txt", "Good.")
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(OSError, match=r"pipe.txt' is no ordinary file: save what it gives"):
        read_text_documents(tmp_path / "pipe.txt")
    (tmp_path / "pipe.txt").rename(folder / "pipe.txt")
    with pytest.raises(OSError, match=r"pipe.txt' is no ordinary file"):
        read_text_documents(folder)
    (folder / "pipe.txt").unlink()
    (folder / "loop.txt").symlink_to("loop.txt")
    with pytest.raises(OSError, match=r"loop.txt' cannot be read"):
        read_text_documents(folder)
    (folder / "loop.txt").unlink()
    (folder / "below").symlink_to(folder)
    assert [d.name for d in read_text_documents(folder)] == ["good.txt"]
    (folder / "gone.txt").symlink_to("nowhere")
    with pytest.raises(FileNotFoundError, match=r"gone.txt' cannot be read"):
        read_text_documents(folder)


def test_what_may_not_be_read_is_named(tmp_path, monkeypatch):
    """As root, who tests in containers, may read all, the system's answers are imitated."""
    path = write(tmp_path, "secret.txt", "x")

    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(path), "read_bytes", refuse)
    with pytest.raises(PermissionError, match=r"secret.txt' cannot be read \(Permission denied\)"):
        read_text_documents(tmp_path)

    def walk(folder, onerror):
        onerror(PermissionError(13, "Permission denied", str(folder / "locked")))
        return iter([])

    monkeypatch.setattr(os, "walk", walk)
    with pytest.raises(OSError, match=r"locked' cannot be listed: Permission denied"):
        files_below(tmp_path)


# ---- line ends -----------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_long_texts_are_cut_after_blank_lines_whatever_ends_a_line(tmp_path, end):
    paragraph = f"Some words of text.{end}And more.{end}{end}"
    book = write(tmp_path, "book.txt", paragraph * 100)
    pieces = read_text_documents(book, piece_characters=200)
    assert "".join(piece.text for piece in pieces) == paragraph * 100
    assert len(pieces) > 10
    assert all(piece.text.endswith(f"more.{end}{end}") for piece in pieces)
    assert all(piece.text.startswith("Some words") for piece in pieces)


def test_two_returns_before_a_line_feed_are_one_line_end_and_not_parted():
    text = "a line\r\r\n" * 30
    pieces = cut(Document("a", "a", text), 50)
    assert "".join(piece.text for piece in pieces) == text
    assert [len(piece.text) for piece in pieces[:-1]] == [50] * (len(pieces) - 1)


# ---- manifests -----------------------------------------------------------------------------------


def test_thousands_of_sources_make_a_short_manifest():
    documents = [Document(f"{i}/a", f"{i:05d}", f"text {i}") for i in range(5000)]
    manifest = make_manifest(documents)
    assert len(json.dumps(manifest)) < 40_000
    assert sum(part["documents"] for part in manifest["sources"].values()) == 5000
    changed = [*documents[:-1], documents[-1]._replace(text="other")]
    assert make_manifest(changed)["sha256"] != manifest["sha256"]
    assert make_manifest(changed)["sources"]["the others"] != manifest["sources"]["the others"]


def test_a_npy_file_is_no_text(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(9))
    with pytest.raises(ValueError, match="is a NumPy array, not text"):
        read_text(tmp_path / "a.npy")

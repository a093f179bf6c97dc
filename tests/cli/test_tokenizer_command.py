"""``minissl tokenizer`` works on bytes, as a stream, and looks before it trains."""

import argparse
import io
import itertools
import os
import stat
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from minissl.cli import main
from minissl.cli import tokenizer as command
from minissl.text import Tokenizer, load_tokenizer, save_tokenizer
from minissl.text.documents import SEPARATOR
from tests.systems import posix
from tests.text.test_binary import Blocks

ROOT = Path(__file__).resolve().parents[2]
TEXT = "The cat sat on the mat.\n\nA naïve cat is no dog, 你好 🙂.\n"
# A byte-order mark, every kind of line end, Latin-1, half a character, the separator, a zero.
HARD = b"\xef\xbb\xbfcaf\xe9\r\na\rb\n\n \xe4\xbd <|endoftext|>\x00 \xef\xbb\xbf\x1a cat\xf0\x9f"
UNWANTED = ("LC_ALL", "PYTHONUTF8", "PYTHONUNBUFFERED")  # not what a user has by default


def call(*arguments):
    return main([str(a) for a in arguments])


@pytest.fixture(scope="module")
def tok(tmp_path_factory):
    """A trained tokenizer's file."""
    path = tmp_path_factory.mktemp("tokenizer") / "tok.json"
    save_tokenizer(Tokenizer.train(TEXT * 3, 300, special_tokens=[SEPARATOR]), path)
    return path


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory):
    """A tokenizer that knows single bytes only: the id of a byte is the byte."""
    path = tmp_path_factory.mktemp("tokenizer") / "bytes.json"
    save_tokenizer(Tokenizer.from_merges([], special_tokens=[SEPARATOR]), path)
    return path


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text(TEXT * 30, encoding="utf-8")
    return path


def stdin(monkeypatch, data):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


def shell(line, **variables):
    """Run a line of the shell in which ``minissl`` is the command."""
    line = f"set -o pipefail; minissl() {{ '{sys.executable}' -m minissl \"$@\"; }}; {line}"
    environment = {k: v for k, v in os.environ.items() if k not in UNWANTED}
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, cwd=ROOT, env=environment | variables
    )


# ---- the same bytes ------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", HARD, TEXT.encode(), bytes(range(256)), b"\n", b"\xef\xbb"])
@pytest.mark.parametrize("source", ["file", "standard input"])
def test_bytes_come_back(source, data, tok, tmp_path, capsysbinary, monkeypatch):
    file = tmp_path / "input"
    file.write_bytes(data)
    if source == "file":
        assert call("tokenizer", "encode", file, "--tokenizer", tok) == 0
    else:
        stdin(monkeypatch, data)
        assert call("tokenizer", "encode", "--tokenizer", tok) == 0
    ids = capsysbinary.readouterr().out
    expected = load_tokenizer(tok).encode(data, allow_special="all")
    assert ids == " ".join(map(str, expected)).encode() + b"\n"
    stdin(monkeypatch, ids)
    assert call("tokenizer", "decode", "--tokenizer", tok) == 0
    assert capsysbinary.readouterr().out == data


def test_latin_1_from_a_pipe(byte_level):
    encode = f"minissl tokenizer encode --tokenizer '{byte_level}'"
    assert shell(f"printf 'caf\\xe9' | {encode}").stdout == b"99 97 102 233\n"


@pytest.mark.parametrize("given", ["FILE", "< FILE", '--text "$(cat FILE)"'])
def test_the_locale_changes_nothing(given, tok, tmp_path):
    """In the POSIX locale Python decodes arguments and standard input as ASCII."""
    data = "naïve 你好 🙂".encode() + b"caf\xe9"
    (tmp_path / "input").write_bytes(data)
    given = given.replace("FILE", f"'{tmp_path / 'input'}'")
    done = shell(
        f"minissl tokenizer encode {given} --tokenizer '{tok}' | "
        f"minissl tokenizer decode --tokenizer '{tok}'",
        LC_ALL="POSIX",
        PYTHONUTF8="0",
    )
    assert (done.stdout, done.stderr, done.returncode) == (data, b"", 0)


def test_what_a_terminal_cannot_show_does_not_stop_it(tok, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    for encoding in ("ascii", "latin-1", "utf-8"):
        screen = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        screen.isatty = lambda: True
        monkeypatch.setattr("sys.stdout", screen)
        assert call("tokenizer", "show", "--text", "The cat 你好", "--tokenizer", tok) == 0
        shown = screen.buffer.getvalue().decode(encoding)
        assert shown.startswith("The")
        assert ("你" in shown) == (encoding == "utf-8")
        assert ("?" in shown) == (encoding != "utf-8")


def test_show_takes_any_bytes(byte_level, capsys, monkeypatch):
    stdin(monkeypatch, b"a\r\n\xe9")
    assert call("tokenizer", "show", "--tokenizer", byte_level) == 0
    assert capsys.readouterr().out == "a|␍|⏎\n|\\xe9\n"


@pytest.mark.parametrize("action", ["encode", "decode", "show"])
def test_any_parser_takes_the_actions(action):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    arguments = parser.parse_args([action, "--text", "1", "--tokenizer", "tok.json"])
    assert arguments.function is getattr(command, f"run_{action}")


def test_text_and_a_file_together_are_a_wrong_call(tok, book, capsys):
    with pytest.raises(SystemExit) as stop:
        call("tokenizer", "encode", book, "--text", "a", "--tokenizer", tok)
    assert stop.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


# ---- streams -------------------------------------------------------------------------------------


class Watched(io.RawIOBase):
    """An input of many equal blocks that notes at every read how much has been written so far."""

    def __init__(self, block, repeat, written):
        self.blocks = itertools.repeat(block, repeat)
        self.written = written
        self.seen = []

    def read(self, size=-1):
        assert 0 < size < 1 << 24, "the whole input at once"
        self.seen.append(self.written())
        return next(self.blocks, b"")


class Sink(io.RawIOBase):
    """Somewhere to write to that only counts."""

    total = 0

    def writable(self):
        return True

    def write(self, data):
        self.total += len(data)
        return len(data)


LONG_WORD = b"internationalization" * 3  # one token: 21 MB are soon encoded


@pytest.mark.parametrize(
    ("action", "block", "repeat"),
    [("encode", LONG_WORD + b" ", 350_000), ("decode", b"116 104 101 ", 150_000)],
    ids=["encode", "decode"],
)
def test_output_comes_while_input_is_read_and_little_is_held(
    action, block, repeat, tmp_path, monkeypatch
):
    merges = [(LONG_WORD[:end], LONG_WORD[end : end + 1]) for end in range(1, len(LONG_WORD))]
    tokenizer = Tokenizer.from_merges([*merges, (b" ", LONG_WORD)])
    save_tokenizer(tokenizer, tmp_path / "word.json")
    sink = Sink()
    source = Watched(block * (repeat // 50), 50, lambda: sink.total)
    monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": source}))
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BufferedWriter(sink), encoding="utf-8"))
    tracemalloc.start()
    try:
        assert call("tokenizer", action, "--tokenizer", tmp_path / "word.json") == 0
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert source.seen[30] > sink.total / 4  # after 30 of 50 blocks
    assert peak < 16e6  # bytes


def test_a_reader_that_has_seen_enough_is_no_error(tok, tmp_path):
    (tmp_path / "big").write_bytes(TEXT.encode() * 10_000)
    for action in ("encode", "show"):
        line = f"minissl tokenizer {action} '{tmp_path / 'big'}' --tokenizer '{tok}' | head -c 9"
        done = shell(line)
        assert (done.stderr, len(done.stdout)) == (b"", 9)


@pytest.mark.parametrize("action", ["encode", "decode", "show"])
def test_a_reader_that_wants_nothing_is_no_error(action, tok):
    """What is short enough for a buffer must not fail when Python closes it at its end."""
    assert shell(f"minissl tokenizer {action} --text 72 --tokenizer '{tok}' | true").stderr == b""


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.sampled_from([b"1", b"23", b"256", b" ", b",", b"\n", b"\r\n", b"\t", b", "])),
    st.integers(1, 9),
)
def test_ids_may_be_split_over_blocks(parts, size):
    data = b"".join(parts)
    expected = data.replace(b",", b" ").split()
    assume(all(len(word) <= 20 for word in expected))  # a longer one is no id: the test below
    words = [word for block in command._words(Blocks(data, size)) for word in block]
    assert words == expected


def test_a_word_too_long_for_an_id_is_not_read_to_its_end():
    assert next(command._words(Blocks(b"1" * 5_000, 100))) == [b"1" * 100]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (b"72 101 abc 5", "word 3: decode expects ids, got 'abc'"),
        (b"72,101\n1.5", "word 3: decode expects ids, got '1.5'"),
        (b"72 101 300", "word 3: 300 is no id of this vocabulary"),
        (b"-5", "word 1: -5 is no id of this vocabulary"),
        (b"72 --5", "word 2: decode expects ids, got '--5'"),
        (b"\xff", "word 1: decode expects ids, got '\\\\xff'"),
        (b"\xc2\xb2", "word 1: decode expects ids, got '\u00b2'"),  # isdigit, but no number
        (b"1" * 5000, "word 1: decode expects ids, got '1111"),
        (b"72 " * 50_000 + b"x", "word 50001: decode expects ids, got 'x'"),
        (b"72 " * 50_000 + b"9999 72", "word 50001: 9999 is no id"),
        (b"x" * 500_000, "word 1: decode expects ids, got 'xxx"),
    ],
)
def test_what_is_no_id_is_named_with_its_place(ids, message, tok, tmp_path, capsysbinary):
    (tmp_path / "words").write_bytes(ids)
    assert call("tokenizer", "decode", tmp_path / "words", "--tokenizer", tok) == 1
    error = capsysbinary.readouterr().err.decode()
    assert error.startswith(f"minissl: {tmp_path / 'words'}, {message}")
    assert error.count("\n") == 1
    assert len(error) < 400


# ---- train ---------------------------------------------------------------------------------------


@pytest.fixture
def never_trains(monkeypatch):
    def train(*arguments, **options):
        raise AssertionError("training has begun")

    monkeypatch.setattr(Tokenizer, "train", train)


def test_train_reads_the_bytes_of_the_file(tmp_path, capsys):
    data = b"\xef\xbb\xbf" + "naïve\r\ncat cat<|endoftext|>cat\r\n".encode() * 2_000
    file, out = tmp_path / "marked.txt", tmp_path / "tok.json"
    file.write_bytes(data)
    assert call("tokenizer", "train", file, "--vocab-size", 290, "--out", out) == 0
    printed = capsys.readouterr().out
    assert f"{len(data):,} bytes" in printed
    assert call("tokenizer", "encode", file, "--tokenizer", out) == 0
    ids = list(map(int, capsys.readouterr().out.split()))
    assert f" {len(ids):,} tokens" in printed
    tokenizer = load_tokenizer(out)
    assert tokenizer.decode_bytes(ids) == data
    assert b"\r\n" in tokenizer.ranks
    expected = Tokenizer.train(data.decode(), 290, special_tokens=[SEPARATOR])
    assert tokenizer.ranks == expected.ranks


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_train_refuses_what_is_no_utf_8(mark, tmp_path, capsys, never_trains):
    (tmp_path / "latin.txt").write_bytes(mark + b"caf\xe9 au lait")
    assert call("tokenizer", "train", tmp_path / "latin.txt", "--out", tmp_path / "t.json") == 1
    error = capsys.readouterr().err
    assert "latin.txt" in error
    assert f"byte 0xe9 at offset {len(mark) + 3}" in error


def test_train_makes_the_folders(book, tmp_path, capsys):
    out, hf = tmp_path / "no" / "such" / "t.json", tmp_path / "other" / "hf.json"
    places = ["--out", out, "--huggingface", hf]
    assert call("tokenizer", "train", book, "--vocab-size", 270, *places) == 0
    assert load_tokenizer(out).vocab_size == 270
    assert [p.name for p in (*out.parent.iterdir(), *hf.parent.iterdir())] == ["t.json", "hf.json"]


@posix
@pytest.mark.parametrize("option", ["--out", "--huggingface"])
@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("folder", "is a folder"),
        ("book.txt/t.json", "cannot be written"),
        ("book.txt/deeper/t.json", "cannot be written"),
        ("book.txt", "is also the text"),
        ("folder/../book.txt", "is also the text"),
        ("pipe", "is no ordinary file"),
    ],
)
def test_a_place_that_cannot_be_written_is_named_before_training(
    option, place, message, book, tmp_path, capsys, never_trains, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert call("tokenizer", "train", "book.txt", option, place) == 1
    error = capsys.readouterr().err
    assert message in error
    assert f"{option} '{place}'" in error
    assert error.count("\n") == 1
    assert book.read_text(encoding="utf-8") == TEXT * 30
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_folder_without_permission_is_named_before_training(
    book, tmp_path, capsys, never_trains, monkeypatch
):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    if os.access(closed, os.W_OK):  # root may write everywhere, but in /proc
        closed = Path("/proc")
        if not (closed / "self").exists():
            pytest.skip("no folder here that this user may not write in")
    assert call("tokenizer", "train", book, "--out", closed / "t.json") == 1
    assert f"--out '{closed}/t.json' cannot be written" in capsys.readouterr().err


def test_two_files_in_one_place_are_refused(book, tmp_path, capsys, never_trains):
    same = tmp_path / "new" / "t.json"
    assert call("tokenizer", "train", book, "--out", same, "--huggingface", same) == 1
    assert f"--huggingface '{same}' is also --out" in capsys.readouterr().err
    assert not same.parent.exists()


def test_a_log_holds_no_progress_bar(book, tmp_path, capsys):
    assert call("tokenizer", "train", book, "--vocab-size", 280, "--out", tmp_path / "t.json") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("size", ["0", "-1", "256", "nan", "1e3", "many", "", "9" * 30, "9" * 5000])
def test_sizes_that_are_none_are_a_wrong_call(size, book, capsys, never_trains):
    with pytest.raises(SystemExit) as stop:
        call("tokenizer", "train", book, "--vocab-size", size)
    assert stop.value.code == 2
    message = f"argument --vocab-size: got {size!r}, expected a whole number from 257"
    assert message in capsys.readouterr().err


def test_the_smallest_vocabulary(book, tmp_path):
    out = tmp_path / "t.json"
    assert call("tokenizer", "train", book, "--vocab-size", 257, "--out", out) == 0
    assert load_tokenizer(out).special_tokens == {SEPARATOR: 256}


# ---- what is not there ---------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["encode", "decode", "show"])
@pytest.mark.parametrize(
    ("file", "tokenizer", "message"),
    [
        ("absent", "TOK", "no file 'absent'"),
        ("folder", "TOK", "'folder' is a folder"),
        ("book.txt", "absent.json", "no tokenizer 'absent.json'"),
        ("book.txt", "absent.tiktoken", "no tokenizer 'absent.tiktoken'"),
        ("book.txt", "folder", "no tokenizer 'folder/tokenizer.json'"),
        ("book.txt", "book.txt", "book.txt cannot be read as a vocabulary of one token a line"),
        ("book.txt", "deep.json", "deep.json cannot be read as a tokenizer: it is nested"),
    ],
)
def test_what_is_not_there_is_named(
    action, file, tokenizer, message, tok, book, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("deep.json").write_text("[" * 100_000, encoding="utf-8")
    tokenizer = tok if tokenizer == "TOK" else tokenizer
    assert call("tokenizer", action, file, "--tokenizer", tokenizer) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_closed_standard_input_is_no_traceback(tok, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    assert call("tokenizer", "encode", "--tokenizer", tok) == 1
    assert "standard input is closed" in capsys.readouterr().err

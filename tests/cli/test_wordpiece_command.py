"""``minissl tokenizer`` with WordPiece: it trains a vocab.txt, ids are those of the library."""

import io

import pytest
from tokenizers import BertWordPieceTokenizer

from minissl.cli import main
from minissl.cli import tokenizer as command
from minissl.text import Tokenizer, WordPiece, save_tokenizer

TEXT = "The cat sat on the mat.\n\nA naïve cat is no dog, 你好 🙂: cats sat, dogs ran.\n"


def call(*arguments):
    return main([str(a) for a in arguments])


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text(TEXT * 30, encoding="utf-8")
    return path


@pytest.fixture
def vocab(tmp_path):
    path = tmp_path / "vocab.txt"
    WordPiece.train(TEXT, 300).write(path)
    return path


def stdin(monkeypatch, data):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


@pytest.mark.parametrize("cased", [False, True])
def test_from_text_to_a_vocabulary_to_ids_to_text(cased, book, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--cased"] if cased else []
    train = ["--kind", "wordpiece", "--vocab-size", 300, *options]
    assert call("tokenizer", "train", book, *train) == 0
    printed = capsys.readouterr().out
    ours = WordPiece.train(TEXT * 30, 300, lowercase=not cased)
    assert WordPiece.read("vocab.txt").tokens == ours.tokens
    assert f"vocab.txt: {ours.vocab_size:,} tokens; {len(TEXT.encode()) * 30:,} bytes" in printed

    encode = ["tokenizer", "encode", book, "--tokenizer", "vocab.txt", *options]
    assert call(*encode) == 0
    ids = capsys.readouterr().out
    theirs = BertWordPieceTokenizer("vocab.txt", lowercase=not cased)
    expected = theirs.encode(TEXT * 30, add_special_tokens=False).ids
    assert [int(word) for word in ids.split()] == expected
    assert f" {len(expected):,} tokens (" in printed

    stdin(monkeypatch, ids.encode())
    assert call("tokenizer", "decode", "--tokenizer", "vocab.txt", *options) == 0
    assert capsys.readouterr().out == ours.decode(expected) + "\n"
    assert ("The cat" if cased else "the cat") in ours.decode(expected)


@pytest.mark.parametrize("size", [1, 4, 1 << 16])
def test_words_go_on_over_blocks(size, vocab, capsysbinary, monkeypatch):
    monkeypatch.setattr(command, "_BYTES", size)
    ours = WordPiece.read(vocab)
    ids = ours.encode("cats, dogs: mats dogcat")
    assert any(ours.tokens[number].startswith("##") for number in ids)
    stdin(monkeypatch, " ".join(map(str, ids)).encode())
    assert call("tokenizer", "decode", "--tokenizer", vocab) == 0
    assert capsysbinary.readouterr().out.decode() == ours.decode(ids) + "\n"


def test_show_has_the_pieces_with_their_marks(tmp_path, capsys):
    path = tmp_path / "vocab.txt"
    WordPiece(["[UNK]", "[MASK]", "una", "##ffa", "##ble", ","]).write(path)
    assert call("tokenizer", "show", "--tokenizer", path, "--text", "Unaffable, [MASK] x") == 0
    assert capsys.readouterr().out == "una|##ffa|##ble|,|[MASK]|[UNK]\n"


@pytest.mark.parametrize("action", ["encode", "show"])
def test_what_is_no_utf_8_is_named_with_its_place(action, vocab, tmp_path, capsys, monkeypatch):
    file = tmp_path / "latin.txt"
    file.write_bytes(b"the caf\xe9 cat")
    assert call("tokenizer", action, file, "--tokenizer", vocab) == 1
    error = capsys.readouterr().err
    assert f"{file}: byte 0xe9 at offset 7 is not UTF-8" in error
    assert error.count("\n") == 1
    stdin(monkeypatch, b"the \xff")
    assert call("tokenizer", action, "--tokenizer", vocab) == 1
    assert "standard input: byte 0xff at offset 4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--kind", "wordpiece", "--pattern", "gpt2"], "--pattern is not of --kind wordpiece"),
        (["--kind", "wordpiece", "--huggingface", "h.json"], "--huggingface is not of --kind"),
        (["--kind", "wordpiece", "--out", "v.json"], "--out 'v.json': a vocabulary of WordPiece"),
        (["--cased"], "--cased is not of --kind bpe"),
        (["--kind", "wordpiece", "--out", "book.txt"], "--out 'book.txt' is also the text"),
    ],
)
def test_options_of_the_other_kind_are_refused_before_training(
    options, message, book, tmp_path, capsys, monkeypatch
):
    def train(*arguments, **options):
        raise AssertionError("training has begun")

    monkeypatch.setattr(Tokenizer, "train", train)
    monkeypatch.setattr(WordPiece, "train", train)
    monkeypatch.chdir(tmp_path)
    assert call("tokenizer", "train", "book.txt", *options) == 1
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["book.txt"]


def test_a_cased_vocabulary_is_not_read_as_an_uncased_one(tmp_path, capsys):
    path, bpe = tmp_path / "vocab.txt", tmp_path / "tok.json"
    WordPiece(["[UNK]", "[MASK]", "The", "cat"], lowercase=False).write(path)
    assert call("tokenizer", "encode", "--text", "The cat", "--tokenizer", path) == 1
    assert "capital letters in 1 of its 4 tokens, such as 'The'" in capsys.readouterr().err
    assert call("tokenizer", "encode", "--text", "The cat", "--tokenizer", path, "--cased") == 0
    assert capsys.readouterr().out == "2 3\n"
    save_tokenizer(Tokenizer.from_merges([]), bpe)
    assert call("tokenizer", "encode", "--text", "a", "--tokenizer", bpe, "--cased") == 1
    assert "--cased is of a vocab.txt" in capsys.readouterr().err


def test_a_tokenizer_of_bytes_may_be_named_txt(tmp_path, capsys):
    path = tmp_path / "tok.txt"
    save_tokenizer(Tokenizer.from_merges([]), path)
    assert call("tokenizer", "encode", "--text", "ab", "--tokenizer", path) == 0
    assert capsys.readouterr().out == "97 98\n"

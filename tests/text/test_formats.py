"""Files: what is written comes back, published files are read, damaged ones are named."""

import base64
import json
import os
import tracemalloc
import warnings
from functools import partial
from importlib.metadata import metadata

import pytest

from minissl.text import (
    Pattern,
    Tokenizer,
    load_gpt2_tokenizer,
    load_huggingface,
    load_tiktoken,
    load_tokenizer,
    save_tokenizer,
)
from minissl.text.formats import (
    from_printable,
    to_printable,
    tokenizer_from_bytes,
    tokenizer_to_bytes,
)
from minissl.text.patterns import unicode_version
from tests.systems import posix

TEXT = "The cat's hat: it isn't 1234567 years old!\r\n\r\n  你好, naïve café 🙂  \n\tend <|end|> \n"


@pytest.fixture(params=["gpt2", "cl100k", r"\S+|\s+"])
def small(request):
    return Tokenizer.train(
        [TEXT] * 2, 290, pattern=request.param, special_tokens=["<|end|>", "<päd>", "<|end|>!"]
    )


def test_printable_alphabet():
    assert to_printable(b" the\n") == "ĠtheĊ"
    every = bytes(range(256))
    printable = to_printable(every)
    assert len(set(printable)) == 256
    assert printable.isprintable()
    assert " " not in printable
    assert from_printable(printable) == every
    with pytest.raises(ValueError, match="stands for no byte"):
        from_printable("a b")


# ---- our own files -------------------------------------------------------------------------------


def test_everything_comes_back(small, tmp_path):
    path = tmp_path / "tokenizer.json"
    save_tokenizer(small, path)
    again = load_tokenizer(path)
    assert again.ranks == small.ranks
    assert again.pattern == small.pattern
    assert again.special_tokens == small.special_tokens
    assert again.vocab_size == small.vocab_size
    for rule in ("all", "none"):
        assert again.encode(TEXT, allow_special=rule) == small.encode(TEXT, allow_special=rule)
    save_tokenizer(again, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_published_vocabularies_come_back(cl100k, tmp_path):
    save_tokenizer(cl100k, tmp_path / "t.json")
    again = load_tokenizer(tmp_path / "t.json")
    assert (again.ranks, again.special_tokens) == (cl100k.ranks, cl100k.special_tokens)


def test_bytes_are_the_content_of_the_file(small, tmp_path):
    path = tmp_path / "tokenizer.json"
    save_tokenizer(small, path)
    data = tokenizer_to_bytes(small)
    assert data == path.read_bytes()
    state = json.loads(data)
    assert data == json.dumps(state, ensure_ascii=False, indent=1).encode()
    fields = "format version unicode pattern special_tokens num_ranks ranks"
    assert " ".join(state) == fields
    again = tokenizer_from_bytes(data, "any name")
    assert (again.ranks, again.special_tokens) == (small.ranks, small.special_tokens)


@pytest.mark.parametrize("data", [b"", b"[]", b'{"format": "minissl-tokenizer"}', b"[" * 100_000])
def test_other_bytes_are_called_by_their_name(data):
    with pytest.raises(ValueError, match=r"^step 7 of run(: | cannot be read as a tokenizer: )"):
        tokenizer_from_bytes(data, "step 7 of run")


def test_a_failed_save_leaves_the_old_file(small, tmp_path, monkeypatch):
    path = tmp_path / "tokenizer.json"
    save_tokenizer(small, path)
    before = path.read_bytes()

    def no_space(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", no_space)
    other = Tokenizer.train("other text", 260)
    with pytest.raises(OSError, match="no space left"):
        save_tokenizer(other, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["tokenizer.json"]


@posix
def test_a_reader_never_sees_half_a_file(small, tmp_path):
    path = tmp_path / "tokenizer.json"
    save_tokenizer(small, path)
    before = path.read_bytes()
    with open(path, "rb") as reader:
        save_tokenizer(Tokenizer.train("other text", 260), path)
        assert reader.read() == before
    assert path.read_bytes() != before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("format"), "no tokenizer of minissl"),
        (lambda state: state.update(version=99), "version 99 .*reads version 1"),
        (lambda state: state.pop("ranks"), "it has no 'ranks'"),
        (lambda state: state["ranks"].popitem(), "ranks, .* announced"),
        (lambda state: state.update(ranks=[1]), "1 ranks, 280 announced"),
        (lambda state: state["ranks"].update({"a": 98}), "stands for both"),
        (lambda state: state["ranks"].update({"a": "x"}), "expected an integer"),
        (lambda state: state["pattern"].update(expression="(a)|b"), "capturing group"),
        (lambda state: state["pattern"].update(unknown=1), "TypeError"),
        (lambda state: state.update(special_tokens={"<s>": 0}), "stands for both"),
        (lambda state: state.update(special_tokens=3), "TypeError"),
    ],
)
def test_changed_files_are_named(tmp_path, change, message):
    path = tmp_path / "changed.json"
    save_tokenizer(Tokenizer.train(TEXT, 280), path)
    state = json.loads(path.read_text("utf-8"))
    change(state)
    path.write_text(json.dumps(state), "utf-8")
    with pytest.raises(ValueError, match=r"changed\.json.*" + message):
        load_tokenizer(path)


def test_a_file_cut_short_anywhere_is_named(tmp_path):
    path = tmp_path / "short.json"
    save_tokenizer(Tokenizer.train(TEXT, 280, special_tokens=["<s>"]), path)
    whole = path.read_bytes()
    for length in range(0, len(whole.rstrip()), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"short\.json cannot be read as a tokenizer: "):
            load_tokenizer(path)


@pytest.mark.parametrize("content", [b"[]", b"3", b"\xff\xfe", b'{"model": {}}', b""])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "other.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.json"):
        load_tokenizer(tmp_path / "other.json")


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_tokenizer(tmp_path / "absent.json")


# ---- published files -----------------------------------------------------------------------------


def test_gpt2(gpt2):
    assert gpt2.vocab_size == 50257
    assert gpt2.special_tokens == {"<|endoftext|>": 50256}
    assert gpt2.encode("Hello, world!") == [15496, 11, 995, 0]
    assert gpt2.decode([15496, 11, 995, 0]) == "Hello, world!"


def test_cl100k(cl100k):
    assert cl100k.encode("Hello, world!") == [9906, 11, 1917, 0]
    assert cl100k.vocab_size == 100277


def damage(files, tmp_path, which, change):
    paths = []
    for number, file in enumerate(files):
        text = file.read_text("utf-8")
        paths.append(tmp_path / file.name)
        paths[-1].write_text(change(text) if number == which else text, "utf-8")
    return paths


@pytest.mark.parametrize(
    ("which", "change", "message"),
    [
        (0, lambda text: text[: text.rindex("\n", 0, 200_000) + 3], "line .* not two tokens"),
        (0, lambda text: "\n".join(text.split("\n")[:40_000]), r"disagree on \d+ token"),
        (0, lambda text: text.replace("\nh e\n", "\nh  e\n", 1), "line 4: 'h  e' is not two"),
        (0, lambda text: text.replace("\nh e\n", "\nq z\n", 1), "disagree on"),
        (0, lambda text: text.replace("Ġ t\nĠ a\n", "Ġ a\nĠ t\n"), "do not follow the order"),
        (1, lambda text: text[:300_000], "no JSON"),
        (1, lambda text: "[1, 2]", "it holds a list, expected an object"),
        (1, lambda text: text.replace('"the":', '"zzzz":'), "disagree on 2 token"),
        (1, lambda text: text.replace('"!": 0', '"!": 1'), "id 1 stands for both"),
        (1, lambda text: text.replace('"!": 0', '"!": "0"'), "expected an integer"),
    ],
)
def test_damaged_gpt2_files_are_named(gpt2_files, tmp_path, which, change, message):
    paths = damage(gpt2_files, tmp_path, which, change)
    with pytest.raises(ValueError, match=message) as caught:
        load_gpt2_tokenizer(*paths)
    assert str(paths[which]) in str(caught.value)


def test_gpt2_files_name_their_special_tokens(gpt2_files):
    with pytest.raises(ValueError, match=r"disagree on 1 token.*<\|endoftext\|>.*special_tokens"):
        load_gpt2_tokenizer(*gpt2_files, special_tokens=())


# ---- Unicode -------------------------------------------------------------------------------------


def test_the_version_of_unicode_is_that_of_regex():
    """The package has no constant for it, but its page tells."""
    about = metadata("regex").get_payload() or metadata("regex")["Description"]
    assert f"Unicode {unicode_version()}" in about, "a newer one: add a letter that came with it"


@pytest.mark.parametrize(
    ("pattern", "warned"),
    [
        ("gpt2", True),
        ("o200k", True),
        (r"\S+|\s+", False),
        (r"\d+|\D+", True),
        (r"(?s:.)\b|(?s:.)", True),
        (r"\w+|\W+", True),
    ],
)
def test_another_version_of_unicode_is_told_where_it_matters(tmp_path, pattern, warned):
    path = tmp_path / "t.json"
    save_tokenizer(Tokenizer.train(TEXT, 280, pattern=pattern), path)
    state = json.loads(path.read_text("utf-8"))
    assert state["unicode"] == unicode_version()
    path.write_text(json.dumps(state | {"unicode": "9.0"}), "utf-8")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_tokenizer(path)
    assert [f"{path} was written with Unicode 9.0" in str(w.message) for w in caught] == (
        [True] if warned else []
    )
    del state["unicode"]  # as older files
    path.write_text(json.dumps(state), "utf-8")
    load_tokenizer(path)  # no warning: here it would be an error


@pytest.mark.parametrize(
    "load", [load_tokenizer, load_huggingface, partial(load_tiktoken, pattern="gpt2")]
)
def test_a_file_that_is_far_too_large_takes_no_memory(tmp_path, load):
    path = tmp_path / "tokenizer.json"
    with open(path, "wb") as file:
        file.truncate(1 << 33)  # with a hole, so that the disk is not full
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"tokenizer.json has 8,589,934,592 bytes, expected at"):
        load(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


SINGLE_BYTES = "".join(
    f"{base64.b64encode(bytes([byte])).decode()} {byte}\n" for byte in range(256)
)


def test_tiktoken_file(tmp_path):
    path = tmp_path / "x.tiktoken"
    path.write_text(SINGLE_BYTES + "YWI= 256\n", encoding="utf-8")
    tokenizer = load_tiktoken(path, pattern=r"\S+|\s", special_tokens=["<s>"], num_tokens=257)
    assert tokenizer.encode("abc<s>", allow_special="all") == [256, 99, 257]
    assert tokenizer.pattern == Pattern(r"\S+|\s")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (SINGLE_BYTES + "YWI=", "line 257: b'YWI=' is not a token in base64 and its rank"),
        (SINGLE_BYTES + "YWI= 2_5_6", "line 257: .*no whole number"),
        (SINGLE_BYTES + "YWI= ", "line 257"),
        (SINGLE_BYTES + "YWI= x", "line 257"),
        (SINGLE_BYTES + "YW*I= 256", "line 257"),
        (SINGLE_BYTES + "YWI 256", "line 257"),
        (SINGLE_BYTES + "\nYWI= 256", "line 257"),
        (SINGLE_BYTES + "YWI= 25", "id 25 stands for both"),
        (SINGLE_BYTES + "YQ== 256", "line 257: .* repeats an earlier token"),
        (SINGLE_BYTES[:1000], r"line \d+|single bytes are no tokens"),
        ("", "256 of the 256 single bytes"),
        ("<html>404</html>", "line 1"),
    ],
)
def test_damaged_tiktoken_files_are_named(tmp_path, content, message):
    path = tmp_path / "x.tiktoken"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        load_tiktoken(path, pattern="gpt2")
    assert str(path) in str(caught.value)


def test_tiktoken_file_cut_between_lines(tmp_path):
    path = tmp_path / "x.tiktoken"
    path.write_text(SINGLE_BYTES, encoding="utf-8")
    with pytest.raises(ValueError, match="256 tokens, expected 257: it is incomplete"):
        load_tiktoken(path, pattern="gpt2", num_tokens=257)

"""Files of word vectors: byte for byte by hand, to gensim and back, and what is damaged."""

import os

import numpy as np
import pytest

from minissl.data import vector_files
from minissl.data.vector_files import SUFFIXES, read_vectors, write_vectors
from minissl.data.vectors import WordVectors
from minissl.reading import FileError

HAND = WordVectors(["the", "café"], [[0.5, -2], [0.1, 1e-10]])
BYTES = {
    ".txt": b"the 0.500000000 -2.00000000\ncaf\xc3\xa9 0.100000001 1.00000001e-10\n",
    ".vec": b"2 2\nthe 0.500000000 -2.00000000\ncaf\xc3\xa9 0.100000001 1.00000001e-10\n",
    ".bin": b"2 2\nthe \0\0\0\x3f\0\0\0\xc0\ncaf\xc3\xa9 \xcd\xcc\xcc\x3d\xff\xe6\xdb\x2e\n",
}


def place(folder, data, suffix=".txt"):
    path = folder / f"a{suffix}"
    path.write_bytes(data)
    return path


def same(one, other):
    return one.words == other.words and np.array_equal(
        one.matrix.view(np.uint32), other.matrix.view(np.uint32)
    )


def every_kind_of_number(count=4000, width=3):
    """Finite float32 with any bits: tiny ones, huge ones, −0, the ends."""
    bits = np.random.default_rng(0).integers(0, 1 << 32, count * width, dtype=np.uint32)
    values = bits.view(np.float32)
    values[~np.isfinite(values)] = -0.0
    values[:6] = [np.finfo(np.float32).max, np.finfo(np.float32).tiny, 1e-45, -1e-45, 1, 1 << 24]
    words = [f"word{i}" for i in range(count - 6)]
    words += ["2", "3.5", "-", "日本", "a\u00a0b", "\u2028x\x85"]
    return WordVectors(words, values.reshape(count, width))


# ---- whole files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_written_byte_for_byte(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_vectors(HAND, path)
    assert path.read_bytes() == BYTES[suffix]
    assert same(read_vectors(path), HAND)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_float32_comes_back_bit_for_bit(tmp_path, suffix):
    vectors = every_kind_of_number()
    write_vectors(vectors, tmp_path / f"a{suffix}")
    assert same(read_vectors(tmp_path / f"a{suffix}"), vectors)


@pytest.mark.parametrize(
    ("suffix", "data"),
    [
        (".txt", BYTES[".vec"]),  # a first line as in .vec
        (".vec", BYTES[".txt"]),  # and none
        (".txt", BYTES[".txt"].replace(b"\n", b"\r\n")),
        (".vec", BYTES[".vec"].replace(b"\n", b"\r\n")),
        (".vec", BYTES[".vec"].replace(b"\n", b" \n")),  # as the first word2vec wrote it
        (".vec", b"\xef\xbb\xbf" + BYTES[".vec"]),
        (".txt", b"\xef\xbb\xbf" + BYTES[".txt"]),
        (".bin", BYTES[".bin"].replace(b"\xc0\n", b"\xc0")[:-1]),  # as gensim writes it
        (".bin", BYTES[".vec"]),  # text under the wrong name
        (".bin", BYTES[".vec"].replace(b"\n", b"\r\n")),
        (".TXT", BYTES[".txt"]),
        (".txt", b"the .5 -2\ncaf\xc3\xa9 1e-1 +1E-10\n"),
    ],
)
def test_what_other_programs_write(tmp_path, suffix, data):
    assert same(read_vectors(place(tmp_path, data, suffix)), HAND)


@pytest.mark.parametrize(
    ("data", "words", "width"),
    [
        (b"2 0.5 1\n3 1 2\n", ["2", "3"], 2),  # the first word is a number
        (b"1990 0.5\n1991 1.5\n", ["1990", "1991"], 1),
        (b"1990 1 2\n", ["1990"], 2),
        (b"2 2\n7 1 2\n8 3 4\n", ["7", "8"], 2),  # under a first line that promises
        (b". . . 1 2\nat name@domain.com 3 4\nx 5 6\n", [". . .", "at name@domain.com", "x"], 2),
        (b"a\xc2\xa0b 1 2\n\xc2\x85 3 4\n\xe2\x80\xa8 5 6\n", ["a\u00a0b", "\x85", "\u2028"], 2),
        (b"_ 1 2\na_b 3 4\n1_0 5 6\n", ["_", "a_b", "1_0"], 2),
        (b"nan 1 2\ninf 3 4\n-inf 5 6\n", ["nan", "inf", "-inf"], 2),
    ],
)
def test_odd_words_are_read_as_they_stand(tmp_path, data, words, width):
    vectors = read_vectors(place(tmp_path, data))
    assert (vectors.words, vectors.width) == (words, width)


@pytest.mark.parametrize("lines", [1023, 1024, 1025, 2050])
@pytest.mark.parametrize("suffix", [".txt", ".vec"])
def test_any_number_of_lines(tmp_path, lines, suffix):
    vectors = WordVectors([f"w{i}" for i in range(lines)], np.arange(2.0 * lines).reshape(-1, 2))
    write_vectors(vectors, tmp_path / f"a{suffix}")
    assert same(read_vectors(tmp_path / f"a{suffix}"), vectors)
    last = f"w{lines - 1} ".encode()
    broken = (tmp_path / f"a{suffix}").read_bytes().replace(last, last + b"x")
    number = lines + (suffix == ".vec")
    with pytest.raises(FileError, match=f"line {number:,} "):
        read_vectors(place(tmp_path, broken, suffix))


# ---- gensim --------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # gensim's, of a .txt
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_gensim_opens_ours_and_we_open_theirs(tmp_path, suffix):
    models = pytest.importorskip("gensim.models")
    how = {".txt": {"no_header": True}, ".vec": {}, ".bin": {"binary": True}}[suffix]
    vectors = every_kind_of_number(300)
    write_vectors(vectors, tmp_path / f"ours{suffix}")
    opened = models.KeyedVectors.load_word2vec_format(tmp_path / f"ours{suffix}", **how)
    assert same(WordVectors(opened.index_to_key, opened.vectors), vectors)

    written = models.KeyedVectors(vectors.width)
    written.add_vectors(vectors.words, vectors.matrix)
    header = {"write_header": False} if suffix == ".txt" else {}
    written.save_word2vec_format(tmp_path / f"theirs{suffix}", binary=suffix == ".bin", **header)
    assert same(read_vectors(tmp_path / f"theirs{suffix}"), vectors)


# ---- what is refused -----------------------------------------------------------------------------

ZERO = bytes(4)
WRONG = {
    "empty": (".txt", b"", "it is empty"),
    "empty, binary": (".bin", b"", "it is empty"),
    "packed, under a name that does not say so": (".txt", b"\x1f\x8b\x08\0", "it is packed .gzip"),
    "a NumPy array": (".bin", b"\x93NUMPY\x01\0", "it is a NumPy array"),
    "only line ends": (".txt", b"\n\n", "line 1 is ''"),
    "a header alone": (".vec", b"2 3\n", "promises 2 words of 3 numbers, at least 16 bytes"),
    "too few numbers": (".txt", b"a 1 2 3\nb 1 2\n", "line 2 is 'b 1 2' with 2 number"),
    "too many": (".txt", b"a 1 2 3\nb 1 2 3 4\n", "line 2 .* with 4 number.* a word and 3"),
    "too many in line 1": (".vec", b"1 2\na 1 2 3\n", "line 2 .* with 3 number"),
    "one too many, one too few": (".vec", b"2 2\na 1 2 3\nb 1\n", "line 2 .* with 3 number"),
    "fewer in line 1": (".txt", b"a 1 x 2\nb 1 2 3\n", "line 1 is 'a 1 x 2'|line 2 .* 3 number"),
    "no number": (".vec", b"2 2\na 1 2\nb 1 x\n", "line 3 has 'x', expected a number"),
    "no number in C": (".txt", b"a 1 2\nb 1_0 2\n", "line 2 is 'b 1_0 2'"),
    "a hexadecimal": (".txt", b"a 1 2\nb 0x1 2\n", "line 2 has '0x1'"),
    "digits of another script": (".txt", "a 1 2\nb ١ 2\n".encode(), "line 2 has '١'"),
    "a comma": (".txt", b"a 1 2\nb 0,5 2\n", "line 2 has '0,5'"),
    "two in one": (".txt", b"a 1 2\nb 1-2  3\n", "line 2 "),
    "tabs": (".txt", b"a\t1\t2\nb\t3\t4\n", "line 1 .* with one space between"),
    "two spaces": (".txt", b"a 1 2\nb 1  2\n", "line 2 "),
    "two spaces after the word": (".txt", b"a 1 2\nb  1 2\n", "line 2 .* one space"),
    "a space before the word": (".txt", b"a 1 2\n b 1 2\n", "line 2 .* one space"),
    "an empty word": (".txt", b"a 1 2\n 1 2\n", "line 2: the word is empty"),
    "an empty line": (".vec", b"2 2\na 1 2\n\nb 3 4\n", "line 3 is '' with 0"),
    "an empty line at the end": (".txt", b"a 1 2\n\n", "line 2 is ''"),
    "NaN": (".txt", b"a 1 2\nb nan 2\n", "line 2: the vector of 'b' is not finite"),
    "infinite": (".vec", b"2 2\na 1 -inf\nb 1 2\n", "line 2: the vector of 'a' is not finite"),
    "too large": (".txt", b"a 1 2\nb 1e39 2\n", "line 2: the vector of 'b' is not finite"),
    "a word twice": (".vec", b"3 1\na 1\nb 2\na 3\n", "line 2 and line 4 both .* 'a'"),
    "no UTF-8": (".txt", b"a 1 2\nb\xff 1 2\n", r"line 2: the word b'b\\xff' is no UTF-8"),
    "a NUL": (".txt", b"a 1 2\nb\0 1 2\n", "line 2: the word .* NUL"),
    "UTF-16": (".txt", "a 1 2\nb 3 4\n".encode("utf-16"), "it is UTF-16"),
    "fewer than promised": (".vec", b"3 1\na 1\nb 2\n  \n", "line 4 is ''"),
    "more than promised": (".vec", b"1 2\na 1 2\nb 3 4\n", "promises 1 words, 2 follow"),
    "cut after a line": (".vec", b"3 1\nalpha 1.0\nbeta 2.0\n", "promises 3 words, 2 follow"),
    "cut inside a number": (".txt", b"a 1 2\nb 0.5 0.2", "line 2 has no end: the file was cut"),
    "ten to the twelfth": (".vec", b"1000000000000 300\na 1\n", "promises 1,000,000,000,000 words"),
    "wide": (".vec", b"1 1000000000000\na 1\n", "promises 1 words of 1,000,000,000,000 numbers"),
    "the same, binary": (".bin", b"1000000000000 300\na 1\n", "at least 1,202,000,000,000,000"),
    "absurd": (".vec", b"9" * 400 + b" 2\na 1 2\n", "promises 9999999999"),
    "absurd for int()": (".vec", b"9" * 9000 + b" 2\na 1 2\n", "promises 9999999999"),
    "none": (".vec", b"0 2\n", "promises 0 2"),
    "no width": (".bin", b"2 0\na b ", "promises 2 0"),
    "a .bin that is text": (".bin", BYTES[".txt"], "begins with a line of two whole numbers"),
    "a .vec that is binary": (".vec", BYTES[".bin"], "no text: if word2vec .* ends with .bin"),
    "a .txt that is binary": (".txt", BYTES[".bin"], "no text: if word2vec .* ends with .bin"),
    "a .bin that is damaged text": (".bin", BYTES[".vec"][:-9], "line 3 has no end"),
    "a fastText model": (".bin", b"\xba\x16\x4f\x2f" + bytes(40), "line 1 has no end"),
    "binary, cut in a vector": (".bin", BYTES[".bin"][:-3], "it ends in the vector of word 2"),
    "binary, cut in a word": (".bin", BYTES[".bin"][:-12], "ends before the vector of word 2"),
    "binary, more follows": (".bin", BYTES[".bin"] + b"more", "more follows after 2 words"),
    "binary, no UTF-8": (".bin", b"1 1\na\xff " + ZERO, "word 1: .* no UTF-8"),
    "binary, an empty word": (".bin", b"2 1\nab " + ZERO + b" " + ZERO, "word 2: .* empty"),
    "binary, a word twice": (".bin", b"2 1\na " + ZERO + b"a " + ZERO, "word 1 and word 2 both"),
    "binary, NaN": (".bin", b"2 1\na " + ZERO + b"b \0\0\xc0\x7f", "word 2: the vector of 'b'"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_damaged_is_refused_with_its_file_and_line(tmp_path, case):
    suffix, data, said = WRONG[case]
    path = place(tmp_path, data, suffix)
    with pytest.raises(FileError, match=said) as caught:
        read_vectors(path)
    assert str(caught.value).startswith(f"{path} cannot be read as word vectors: ")
    assert len(str(caught.value)) < 400 + len(str(path))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("first", ["", "header"])
def test_a_file_that_was_cut_off_is_never_read_as_other_numbers(tmp_path, suffix, first):
    """Cut at every byte: refused, or (GloVe's text after a whole line) the words so far."""
    data = BYTES[suffix] if suffix != ".txt" or not first else BYTES[".vec"]
    for end in range(len(data)):
        try:
            found = read_vectors(place(tmp_path, data[:end], suffix))
        except FileError:
            continue
        assert (suffix, first, data[end - 1 : end]) == (".txt", "", b"\n")
        assert same(found, WordVectors(HAND.words[: len(found)], HAND.matrix[: len(found)]))


@pytest.mark.parametrize("change", ["lost", "added"])
def test_binary_in_which_a_byte_was_lost_or_added_is_never_other_numbers(tmp_path, change):
    """At every place of every vector: all numbers after it are shifted."""
    data = BYTES[".bin"]
    begins = [data.index(word) + len(word) for word in (b"the ", b"caf\xc3\xa9 ")]
    for at in (begin + byte for begin in begins for byte in range(8)):
        damaged = data[:at] + (data[at + 1 :] if change == "lost" else b"=" + data[at:])
        with pytest.raises(FileError, match=r"lost|more follows"):
            read_vectors(place(tmp_path, damaged, ".bin"))


def test_a_lie_about_the_size_takes_no_memory(tmp_path):
    import tracemalloc

    path = place(tmp_path, b"30000000 100\nword 1 2\n", ".vec")
    for suffix in (".vec", ".bin"):
        tracemalloc.start()
        with pytest.raises(FileError, match="promises 30,000,000 words"):
            read_vectors(path.rename(tmp_path / f"b{suffix}"))
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
        tracemalloc.stop()
        path = tmp_path / f"b{suffix}"


@pytest.mark.parametrize("name", ["a", "a.npz", "a.txt.gz", "a.bin.zip", "a.tsv", "a.model"])
def test_another_name_is_refused_before_anything_else(tmp_path, name):
    (tmp_path / name).write_bytes(BYTES[".txt"])
    expected = (
        "packed: unpack it first" if name.endswith(("gz", "zip")) else r"\.vec .*\.bin .*\.txt"
    )
    for call in (read_vectors, lambda path: write_vectors(HAND, path)):
        with pytest.raises(ValueError, match=expected) as caught:
            call(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
    assert (tmp_path / name).read_bytes() == BYTES[".txt"]


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "folder.vec").mkdir()
    with pytest.raises(FileError, match=r"folder\.vec .* no ordinary file"):
        read_vectors(tmp_path / "folder.vec")
    with pytest.raises(FileNotFoundError, match=r"none\.vec"):
        read_vectors(tmp_path / "none.vec")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.txt")
        with pytest.raises(FileError, match="no ordinary file"):
            read_vectors(tmp_path / "pipe.txt")


@pytest.mark.parametrize("word", ["new york", " a", "a\t", "a\nb", "\r", "\x0b", "\ufeffa", "a\0"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_word_that_would_not_come_back_is_not_written(tmp_path, suffix, word):
    path = place(tmp_path, b"what was there", suffix)
    with pytest.raises(ValueError, match="replace it, for example by _"):
        write_vectors(WordVectors(["a", word], np.ones((2, 2))), path)
    assert path.read_bytes() == b"what was there"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_disk_that_is_full_leaves_what_was_there(tmp_path, monkeypatch, suffix):
    def full(descriptor):
        raise OSError("no space left")

    path = place(tmp_path, b"what was there", suffix)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_vectors(HAND, path)
    assert path.read_bytes() == b"what was there"
    assert [*tmp_path.iterdir()] == [path]


def test_what_never_ends_is_not_read_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(vector_files, "LONGEST_LINE", 50)
    monkeypatch.setattr(vector_files, "LONGEST_WORD", 20)
    with pytest.raises(FileError, match="line 1 has more than 50 bytes"):
        read_vectors(place(tmp_path, b"a" + b" 1" * 100 + b"\n"))
    with pytest.raises(FileError, match="word 2 has more than 20 bytes: if it is text"):
        read_vectors(place(tmp_path, b"2 1\na " + ZERO + b"b" * 30 + b" " + ZERO, ".bin"))

"""WordPiece against the package ``tokenizers``, and its training by hand."""

import io
import json
import lzma
import random
import string
import unicodedata
from collections import Counter

import pytest
import regex
from tokenizers import BertWordPieceTokenizer
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from minissl.text.bert_cleaning import _category, clean
from minissl.text.wordpiece import SPECIAL_TOKENS, WordPiece, learn_pieces, longest_pieces
from tests.shared_data import shared_data

TEXTS = [
    "Café, naïve: ÅNGSTRÖM & straße; İstanbul ΣΊΣΥΦΟΣ ﬁne",
    "don't stop—it's 3.5% (really)! $100 + <tag> ^_^ ~`|#hash ##ing [MASK",
    "日本語のテキスト 中文字 한국어 텍스트 русский язык, ещё раз",
    "हिन्दी में लिखा שלום עולם مرحبا ạ̈o̧ e\u0301",
    "a\u200bb\u00adc\x00d\x85e\x1cf\x0bg\u2028h\u3000i\tj\nk\r\nl",
    "x≠y ≤ ½ ² ﷺ ǆ \ufffd 𝒳 🙂 \U0001f469\u200d\U0001f467",
    "",
    "  ",
    "a" * 100 + " " + "a" * 101,
]


def theirs(vocab, lowercase=True):
    tokenizer = BertWordPieceTokenizer(
        {token: number for number, token in enumerate(vocab)}, lowercase=lowercase
    )
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def vocabulary(seed=0, texts=TEXTS):
    """Special tokens, some of all characters, and random pieces of the texts."""
    draw = random.Random(seed)
    found = set()
    for lowercase in (True, False):
        words = WordPiece(["[UNK]"], lowercase=lowercase).words(" ".join(texts))
        for word in dict.fromkeys(words):
            for start in range(len(word)):
                ends = {start + 1, draw.randint(start + 1, len(word))}
                found |= {("##" if start else "") + word[start:end] for end in ends}
    kept = [piece for piece in sorted(found) if draw.random() < 0.85]
    return [*SPECIAL_TOKENS, *kept]


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_ids_are_those_of_tokenizers(seed, lowercase):
    vocab = vocabulary(seed)
    ours, expected = WordPiece(vocab, lowercase=lowercase), theirs(vocab, lowercase)
    for text in [*TEXTS, " ".join(TEXTS)]:
        assert ours.encode(text) == expected(text), text


def test_every_character_of_unicode():
    """All that this Python knows, also what is newer than the tables of the other."""
    normalizer, splitter = BertNormalizer(), BertPreTokenizer()
    for code in range(0x110000):
        character = chr(code)
        if unicodedata.category(character) in ("Cn", "Cs"):
            continue
        for lowercase in (True, False) if code < 0x3000 or code & 15 == 0 else (True,):
            normalizer.lowercase, normalizer.strip_accents = lowercase, lowercase
            text = normalizer.normalize_str(f"a{character}b")
            expected = [word for word, _ in splitter.pre_tokenize_str(text)]
            assert f"a{clean(character, lowercase=lowercase)}b".split() == expected, hex(code)


def test_what_a_newer_python_may_know_is_a_plain_letter_all_the_same():
    """By the newer tables of the package regex."""
    normalizer, splitter = BertNormalizer(), BertPreTokenizer()
    every = "".join(map(chr, range(0x110000)))
    newer = [c for c in regex.findall(r"[\p{Mn}\p{P}\p{Cf}\p{Z}]", every)
             if unicodedata.category(c) == "Cn"]  # fmt: skip
    for character in newer:
        expected = splitter.pre_tokenize_str(normalizer.normalize_str(f"a{character}b"))
        assert [word for word, _ in expected] == [f"a{character}b"]
        assert _category(character) == "Lo", hex(ord(character))


def is_tried(character):
    """Known to this Python, and no mark that stays: two of them keep their order only here."""
    stays = unicodedata.combining(character) and clean(character)
    return unicodedata.category(character) not in ("Cs", "Cn") and not stays


def some_texts(draw, count):
    """Texts of every kind that cleaning treats apart, from all characters of some 128 in a row."""
    every = [[chr(c) for c in range(start, start + 128)] for start in range(0, 0x1E980, 128)]
    rows = [row for row in ([c for c in row if is_tried(c)] for row in every) if row]
    marks = [c for row in rows for c in row if unicodedata.category(c) == "Mn"]
    odd = [*map(chr, range(33)), *"\x7f\x85\xa0\xad\u200b\u200d\u2028\u3000\ufeff\ufffd"]
    kinds = [
        lambda: draw.choice(draw.choice(rows)),
        lambda: draw.choice("aeiouncAEIOUNC") + draw.choice(marks),
        lambda: draw.choice(["run", "Running", "unable", "e\u0301" * draw.randint(45, 105)]),
        lambda: draw.choice(odd),
        lambda: draw.choice(string.punctuation),
        lambda: chr(draw.choice([0x4E00, 0x20000, 0xF900, 0xAC00, 0x3040]) + draw.randrange(80)),
        lambda: draw.choice([*SPECIAL_TOKENS, "[mask]", "##ing"]),
    ]
    for number in range(count):
        row = [*draw.choice(rows), " "]
        within = [lambda row=row: draw.choice(row)] if number % 2 else draw.choices(kinds, k=2)
        yield "".join(draw.choice(within)() for _ in range(draw.randint(1, 40)))


@pytest.mark.parametrize("lowercase", [True, False])
def test_texts_of_all_scripts_and_odd_characters(lowercase):
    draw = random.Random(int(lowercase))
    texts = list(some_texts(draw, 3000))
    ours = WordPiece(vocabulary(5, texts[:1500]), lowercase=lowercase)
    expected = theirs(ours.tokens, lowercase)
    found = [ours.encode(text, allow_special="all") for text in texts]
    for text, ids in zip(texts, found):
        assert ids == expected(text), ascii(text)
    assert 0.1 < sum(ids.count(1) for ids in found) / sum(map(len, found)) < 0.5  # [UNK]


def test_special_tokens_of_a_text_are_one_only_when_asked():
    ours = WordPiece([*SPECIAL_TOKENS, "a", "##b", "mask", "[", "]"])
    mask = ours.ids["[MASK]"]
    text = "ab[MASK]a [mask] [UNK]"
    assert ours.encode(text, allow_special="all") == theirs(ours.tokens)(text)
    assert ours.encode(text, allow_special="all").count(mask) == 1
    spelled = [ours.ids[token] for token in ("[", "mask", "]")]
    assert ours.encode("[MASK]") == ours.encode("[mask]", allow_special="all") == spelled
    for wrong in ("raise", True, ["[MASK]"]):
        with pytest.raises(ValueError, match='expected "none" or "all"'):
            ours.encode("a", allow_special=wrong)
    bare = WordPiece(["[UNK]", "a"])
    assert bare.encode("a[MASK]", allow_special="all") == bare.encode("a[MASK]")


def test_the_fast_way_gives_the_pieces():
    draw = random.Random(3)
    for longest in (5, 100):
        pieces = {"".join(draw.choices("abé", k=draw.randint(1, 4))) for _ in range(60)}
        tokens = {draw.choice(["", "##"]) + piece for piece in pieces} | {"##", "a" * 6}
        ours = WordPiece(["[UNK]", *sorted(tokens)], lowercase=False, longest=longest)
        for _ in range(2000):
            word = "".join(draw.choices("abéc", [5, 5, 5, 1], k=draw.randint(1, 9)))
            assert ours.encode(word) == [ours.ids[piece] for piece in ours.pieces(word)]


@pytest.mark.parametrize("size", [1, 3, 1 << 20])
def test_a_file_in_blocks(size, monkeypatch):
    monkeypatch.setattr("minissl.text.wordpiece._BLOCK", size)
    ours = WordPiece(vocabulary())
    for text in [*TEXTS, "\ufeff[MASK] a" * 9]:
        expected = ours.encode(text, allow_special="all")
        assert [*ours.encode_binary(io.BytesIO(text.encode()), allow_special="all")] == expected
    for data, place in ((b"na\xc3\xafve caf\xe9 x", 10), (b"caf\xc3", 3), (b"\xff", 0)):
        with pytest.raises(ValueError, match=f"byte 0x.. at offset {place} is not UTF-8"):
            list(ours.encode_binary(io.BytesIO(data)))


def test_published_vocabulary_in_many_scripts(tmp_path):
    path = tmp_path / "vocab.txt"
    packed = shared_data("tokenizers/bert-base-uncased-vocab.txt.xz")
    path.write_bytes(lzma.decompress(packed.read_bytes()))
    ours = WordPiece.read(path)
    assert (ours.vocab_size, ours.ids["[MASK]"]) == (30522, 103)
    assert ours.pieces("unaffable") == ["una", "##ffa", "##ble"]
    with lzma.open(shared_data("text/multilingual.jsonl.xz"), "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file]
    expected = theirs(ours.tokens)
    for text in texts[::5]:
        assert ours.encode(text) == expected(text)


def test_longest_match_by_hand():
    tokens = {"un", "una", "##ff", "##able", "##a", "##ble", "##ffa"}
    assert longest_pieces("unaffable", tokens) == ["una", "##ffa", "##ble"]
    assert longest_pieces("unaffables", tokens) is None  # of the whole word, for one letter
    assert longest_pieces("", tokens) == []
    ours = WordPiece(["[UNK]", *sorted(tokens)])
    assert ours.decode(ours.encode("UNAFFABLE, una")) == "unaffable [UNK] una"
    assert ours.words("Café, naïve") == ["cafe", ",", "naive"]


def test_words_of_more_than_a_hundred_characters_are_unknown():
    ours = WordPiece(["[UNK]", "a", "##a"])
    assert ours.pieces("a" * 100) == ["a"] + ["##a"] * 99
    assert ours.pieces("a" * 101) == ["[UNK]"]


# ---- training -----------------------------------------------------------------------------------


def test_training_by_hand():
    """abc x 3, ab x 2: where abc is kept, which takes 3, 5 - 3 = 2 are left for ab."""
    counts = {"abc": 3, "ab": 2}
    alphabet = ["##b", "##c", "a"]
    assert learn_pieces(counts, 3) == alphabet
    assert learn_pieces(counts, 4) == [*alphabet, "ab"]  # alone it begins all five
    assert learn_pieces(counts, 5) == [*alphabet, "abc", "ab"]
    assert learn_pieces(counts, 50)[:5] == [*alphabet, "abc", "ab"]
    assert learn_pieces({}, 0) == []
    with pytest.raises(ValueError, match=r"3 characters .* there is room for 2"):
        learn_pieces(counts, 2)


def test_frequent_words_become_tokens_and_nothing_is_unknown():
    draw = random.Random(1)
    stems = ["walk", "talk", "jump", "play", "look", "cook", "paint", "clean"]
    words = [draw.choice(stems) + draw.choice(["", "ed", "ing", "er", "s"]) for _ in range(3000)]
    words += ["zebra"] * 2
    ours = WordPiece.train(" ".join(words), 60)
    assert ours.vocab_size == 60
    assert ours.ids["[UNK]"] not in ours.encode(" ".join(words))
    cut = [len(ours.pieces(word)) for word in words]
    assert sum(cut) / len(cut) < 1.6 < 3 <= len(ours.pieces("zebra"))
    shuffled = WordPiece.train(" ".join(sorted(words)), 60)
    assert shuffled.tokens == ours.tokens  # of the counts alone
    assert ours.encode("walking painted") == theirs(ours.tokens)("walking painted")


def test_no_piece_is_rarer_than_one_that_was_left_out():
    draw = random.Random(2)
    counts = Counter("".join(draw.choices("abcd", k=draw.randint(1, 6))) for _ in range(400))
    for size in (20, 40, 80):
        assert len(set(learn_pieces(counts, size))) == size


# ---- files --------------------------------------------------------------------------------------


def test_a_file_is_read_as_it_was_written(tmp_path):
    ours, path = WordPiece(vocabulary()), tmp_path / "vocab.txt"
    ours.write(path)
    assert WordPiece.read(path).tokens == ours.tokens
    other = BertWordPieceTokenizer(str(path), lowercase=True)
    for text in TEXTS:
        assert ours.encode(text) == other.encode(text, add_special_tokens=False).ids
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert WordPiece.read(path).tokens == ours.tokens


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[UNK]\na\na\n", "the token 'a' stands twice"),
        (b"a\nb\n", r"no \[UNK\]"),
        (b"", r"no \[UNK\]"),
        (b"[UNK]\n\na\n", "line 2 is empty"),
        (b"[UNK]\n\xff\n", "utf-8"),
    ],
)
def test_files_that_are_no_vocabulary(tmp_path, content, message):
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        WordPiece.read(path)
    assert str(error.value).startswith(f"{path} cannot be read as a vocabulary of one token a line")


def test_what_is_refused():
    ours = WordPiece(vocabulary())
    with pytest.raises(TypeError, match="encode takes a text"):
        ours.encode(b"a")
    for texts in (b"a text", [b"a text"], [None]):
        with pytest.raises(TypeError, match="train takes texts"):
            WordPiece.train(texts, 50)
    for wrong in (-1, ours.vocab_size):
        with pytest.raises(ValueError, match=f"{wrong} is no id"):
            ours.decode([wrong])
    with pytest.raises(TypeError, match="float"):
        ours.decode([1.5])

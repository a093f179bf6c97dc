"""WordPiece against the package ``tokenizers``, and its training by hand."""

import json
import lzma
import random
import unicodedata
from collections import Counter

import pytest
from tokenizers import BertWordPieceTokenizer
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from minissl.text.wordpiece import SPECIAL_TOKENS, WordPiece, clean, learn_pieces, longest_pieces
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


def vocabulary(seed=0):
    """Special tokens, some of all characters, and random pieces of the texts above."""
    draw = random.Random(seed)
    found = set()
    for lowercase in (True, False):
        for word in WordPiece(["[UNK]"], lowercase=lowercase).words(" ".join(TEXTS)):
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
    """All that are what they were in Unicode 3.2; newer ones are not in the other's tables."""
    normalizer, splitter = BertNormalizer(), BertPreTokenizer()
    ancient = unicodedata.ucd_3_2_0
    for code in range(0x110000):
        character = chr(code)
        category = unicodedata.category(character)
        if category in ("Cn", "Cs") or ancient.category(character) != category:
            continue
        for lowercase in (True, False) if code < 0x3000 else (True,):
            normalizer.lowercase, normalizer.strip_accents = lowercase, lowercase
            text = normalizer.normalize_str(f"a{character}b")
            expected = [word for word, _ in splitter.pre_tokenize_str(text)]
            assert f"a{clean(character, lowercase=lowercase)}b".split() == expected, hex(code)


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

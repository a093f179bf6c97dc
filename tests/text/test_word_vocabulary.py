"""Words, characters and bytes as tokens: by hand, against a slow definition, and their files."""

import unicodedata
from collections import Counter
from pydoc_data import topics

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minissl.reading import FileError
from minissl.text import Bytes, Characters, Tokenizer, WordPiece, WordVocabulary, words_of

TEXT = "the cat, the dog; The CAT's dog isn't a dog"
TEXTS = [
    "", " \n", TEXT, "naïve nai\u0308ve ’tis don’t rock-’n’-roll snake_case a'b'c ''x''",
    "İstanbul ΣΊΣΥΦΟΣ straße ǅ \u212b x²y ½ 3.14 १२ \u0301lone", "你好吗 می\u200cخواهم क्\u200dष",
    "co\u00adoperate zero\u200bwidth \ufeffmark half \ud83d\ude42 \ud83d 🙂 \ufffd \x00\x1f",
]  # fmt: skip


# ---- what a word is ------------------------------------------------------------------------------


def test_words_by_hand():
    words = "don't re read the café's 2nd page".split()
    assert words_of("Don't re-read the Café's 2nd_page!") == words
    assert words_of("don’t 'quoted' ''") == ["don't", "quoted"]
    assert words_of("cafe\u0301") == words_of("CAF\u00c9") == ["caf\u00e9"]
    assert words_of("co\u00adoperate, \u0301x") == ["cooperate", "x"]
    assert words_of("می\u200cخواهم 你好吗\u200d.") == ["می\u200cخواهم", "你好吗"]
    assert words_of("\ud83d half \udcff of") == ["half", "of"]
    assert words_of("") == words_of(" –.!_\n") == []


def slowly(text):
    """The same from its description, one character at a time."""
    text = text.replace("\u2019", "'").replace("\u00ad", "").lower()
    text = unicodedata.normalize("NFC", text)
    words, joiner = [""], ""
    for character in text:
        kind = unicodedata.category(character)[0]
        if kind in "LN" or (kind == "M" and words[-1] and not joiner):
            words[-1] += joiner + character
            joiner = ""
        elif character in "'\u200c\u200d" and words[-1] and not joiner:
            joiner = character
        else:
            words.append("")
            joiner = ""
    return [word for word in words if word]


letters = st.sampled_from("aBzé\u0301e'’2²你क्Σσςİ \u200d\u00ad-_.\ud83d\n\u1100\u1161")


@settings(deadline=None, max_examples=300)
@given(st.text(letters, max_size=12) | st.text(max_size=8))
@example("a\u0301'b")
@example("\u1100 \u1161")
def test_words_are_what_the_description_says(text):
    words = words_of(text)
    if all(unicodedata.category(c) != "Cn" for c in text):  # newer Unicode in the package regex
        assert words == slowly(text)
    assert words_of(" ".join(words)) == words


def test_ascii_and_unicode_agree():
    """Two expressions, one rule: a character beyond ASCII elsewhere changes no word."""
    draw = np.random.default_rng(0)
    for _ in range(300):
        text = "".join(draw.choice(list("aZ09'_-. \n\t"), 15))
        assert words_of(text) == words_of(text + " é")[:-1], text


# ---- the vocabulary ------------------------------------------------------------------------------


def test_vocabulary_by_hand():
    ours = WordVocabulary.train(TEXT, min_count=2)
    assert ours.tokens == ["[UNK]", "dog", "the"]  # cat, cat's, isn't and a come once
    assert ours.counts.tolist() == [4, 3, 3]
    assert ours.counts.dtype == np.int64
    assert ours.vocab_size == 3
    assert ours.ids == {"[UNK]": 0, "dog": 1, "the": 2}
    assert ours.encode("The dog saw a DOG") == [2, 1, 0, 0, 1]
    assert ours.decode([2, 1, 0]) == "the dog [UNK]"
    assert ours.unknown_rate("the dog saw the bird") == 2 / 5
    assert ours.unknown_rate(["the dog", "saw"]) == 1 / 3


def test_three_words_that_a_vocabulary_loses():
    ours = WordVocabulary.train("learn tasty transformer " * 5)
    assert ours.decode(ours.encode("laern taaaasty Transformerify learn")) == "[UNK] " * 3 + "learn"
    assert ours.encode("[UNK] unk") == [0, 0]  # nobody can write the token itself


def test_order_is_of_the_counts_alone():
    texts = [*"dcba", "e e", "e", "f f f"]
    for order in (texts, texts[::-1], [" ".join(texts)]):
        ours = WordVocabulary.train(order, min_count=1)
        assert ours.tokens == ["[UNK]", "e", "f", "a", "b", "c", "d"]
    ours = WordVocabulary.train(texts, min_count=1, most=3)
    assert (ours.tokens, ours.counts.tolist()) == (["[UNK]", "e", "f", "a"], [3, 3, 3, 1])


def test_against_counting_on_real_words():
    text = "\n".join(topics.topics.values())[:300_000]
    counts = Counter(words_of(text))
    ours = WordVocabulary.train(text.split("\n"), min_count=3)
    kept = {word: n for word, n in counts.items() if n >= 3}
    assert dict(zip(ours.tokens[1:], ours.counts[1:].tolist())) == kept
    assert ours.counts[0] == counts.total() - sum(kept.values()) > 0
    assert (np.diff(ours.counts[1:]) <= 0).all()
    unknown = np.mean(np.array(ours.encode(text)) == 0)
    assert unknown == pytest.approx(ours.counts[0] / counts.total())
    assert ours.unknown_rate(text.split("\n")) == pytest.approx(unknown)


def test_what_a_vocabulary_refuses():
    for message, wrong in {
        "there is no word": {}, "'The' is not one word": {"The": 2}, "'a b' is not": {"a b": 2},
        r"'e\\u0301' is not": {"e\u0301": 3},
        r"'\[UNK\]' is not": {"[UNK]": 3}, "'' is not": {"": 3},
        "count of 'a' is 0": {"a": 0}, "count of 'a' is 1.5": {"a": 1.5},
        "count of 'a' is True": {"a": True}, "more than any text": {"a": 2**62, "b": 2**62},
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=message):
            WordVocabulary(wrong)
    with pytest.raises(ValueError, match=r"count of '\[UNK\]' is -1"):
        WordVocabulary({"a": 1}, -1)
    for options in ({"min_count": 0}, {"min_count": 2.0}, {"most": 0}, {"most": True}):
        with pytest.raises(ValueError, match=rf"{next(iter(options))} is .* of at least 1"):
            WordVocabulary.train(TEXT, **options)
    with pytest.raises(ValueError, match=r"min_count=5 .* of 6 words .* comes 3 times"):
        WordVocabulary.train(TEXT)
    with pytest.raises(ValueError, match="of 0 words"):
        WordVocabulary.train([])
    with pytest.raises(ValueError, match="no word, so none"):
        WordVocabulary({"a": 1}).unknown_rate("...")


# ---- one interface -------------------------------------------------------------------------------

EVERY = {
    "words": WordVocabulary.train(TEXT, 1),
    "characters": Characters.train(TEXTS),
    "bytes": Bytes(),
    "BPE": Tokenizer.train(TEXT, 260),
    "WordPiece": WordPiece.train(TEXT, 40),
}


@pytest.mark.parametrize("tokens", EVERY.values(), ids=EVERY)
def test_all_have_one_interface(tokens):
    for text in TEXTS:
        ids = tokens.encode(text)
        assert isinstance(ids, list)
        assert all(type(i) is int for i in ids)
        assert all(0 <= i < tokens.vocab_size for i in ids)
        once = tokens.decode(ids)
        assert isinstance(once, str)
        assert tokens.decode(np.array(ids, np.uint16)) == once
    assert tokens.encode("") == []
    assert tokens.decode([]) == ""
    assert tokens.decode(tokens.encode("the dog")) == "the dog"
    for wrong in (-1, tokens.vocab_size):
        with pytest.raises(ValueError, match=f"{wrong} is no id"):
            tokens.decode([0, wrong])
    with pytest.raises(TypeError, match="takes a text"):
        tokens.encode(None)


@pytest.mark.parametrize("tokens", [EVERY["words"], EVERY["characters"], EVERY["bytes"]])
def test_no_fraction_is_cut_off(tokens):
    with pytest.raises(TypeError, match="integer"):
        tokens.decode([1.5])


@pytest.mark.parametrize("kind", [WordVocabulary, Characters])
@pytest.mark.parametrize("wrong", [b"a text", [b"a text"], [None]])
def test_training_takes_texts(kind, wrong):
    with pytest.raises(TypeError, match="takes a text, got"):
        kind.train(wrong)


# ---- characters and bytes ------------------------------------------------------------------------


def test_characters_by_hand():
    ours = Characters.train(["ba", "a c\n"])
    assert ours.tokens == ["\ufffd", "\n", " ", "a", "b", "c"]
    assert ours.encode("a cab!") == [3, 2, 5, 3, 4, 0]
    assert ours.decode([3, 2, 5, 3, 4, 0]) == "a cab\ufffd"
    assert Characters("cb a\n").tokens == ours.tokens


def test_characters_that_were_seen_come_back():
    ours = EVERY["characters"]
    for text in TEXTS[:-1]:
        assert ours.decode(ours.encode(text)) == text
    # A surrogate pair is joined, half of a character is unknown, and so is the sign for it.
    assert ours.decode(ours.encode("\ud83d\ude42\ud83d\ufffd")) == "🙂\ufffd\ufffd"
    assert ours.encode("\ud83d\ufffd") == [0, 0]


def test_bytes_are_a_tokenizer_without_merges():
    other = Tokenizer.from_merges([])
    assert Bytes().vocab_size == other.vocab_size == 256
    for text in TEXTS:
        ids = Bytes().encode(text)
        assert ids == other.encode(text)
        for end in range(len(ids)):
            assert Bytes().decode(ids[:end]) == other.decode(ids[:end])
    with pytest.raises(UnicodeDecodeError):
        Bytes().decode([0xC3], "strict")


# ---- files --------------------------------------------------------------------------------------


def test_a_file_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "words.txt"
    ours = WordVocabulary.train(TEXTS, min_count=1, most=9)
    ours.write(path)
    lines = path.read_text(encoding="utf-8").split("\n")
    assert lines[:3] == [f"[UNK] {ours.counts[0]}", "dog 3", "the 3"]
    for data in (path.read_bytes(), path.read_bytes().replace(b"\n", b"\r\n")):
        path.write_bytes(data)
        again = WordVocabulary.read(path)
        assert again.tokens == ours.tokens
        assert again.counts.tolist() == ours.counts.tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1 must be"),
        ("dog 3\n", "line 1 must be"),
        ("[UNK] 2\n", "there is no word"),
        ("[UNK] 2\ndog 3", "cut off"),
        ("[UNK] 2\ndog\n", "line 2 is 'dog'"),
        ("[UNK] 2\ndog 3 4\n", "line 2 is"),
        ("[UNK] 2\ndog 3.0\n", "line 2 is"),
        ("[UNK] 2\ndog -3\n", "line 2 is"),
        ("[UNK] 2\ndog ३\n", "line 2 is"),
        ("[UNK] 2\n\n", "line 2 is ''"),
        ("[UNK] 2\ndog 0\n", "count of 'dog' is 0"),
        ("[UNK] 2\ndog " + "9" * 18 + "\n", None),
        ("[UNK] 2\ndog " + "9" * 19 + "\n", "line 2 is"),
        ("[UNK] 2\ndog 3\ndog 2\n", "line 3 has 'dog' a second time"),
        ("[UNK] 2\ncat 2\ndog 3\n", "line 2 has 'cat' where 'dog' belongs"),
        ("[UNK] 2\ndog 2\ncat 2\n", "line 2 has 'dog' where 'cat' belongs"),
        ("[UNK] 2\nDog 2\n", "'Dog' is not one word"),
        ("\ufeff[UNK] 2\ndog 2\n", "line 1 must be"),
        (b"[UNK] 2\nd\xffg 2\n", "utf-8"),
    ],
)
def test_files_that_are_no_vocabulary(tmp_path, content, message):
    path = tmp_path / "words.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if message is None:
        assert WordVocabulary.read(path).counts.tolist() == [2, 10**18 - 1]
        return
    with pytest.raises(FileError, match=message) as error:
        WordVocabulary.read(path)
    assert str(error.value).startswith(f"{path} cannot be read as a word vocabulary")

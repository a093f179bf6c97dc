"""Words between spaces: the same ids as by pieces, in every pattern, wherever a text is cut."""

import lzma
from itertools import chain

import pytest
import regex
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from minissl.text import CL100K, GPT2, Pattern, Tokenizer, patterns
from minissl.text.bpe import segment
from minissl.text.patterns import PATTERNS, NotAWord, split_words
from tests.shared_data import shared_data

relaxed = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

# Words of every kind of character, white space of every kind: single, doubled, at line ends.
WORDS = "the cat's 'll 34567 . /x !! “hat” é e\u0301 你好 ǅA aBC \x1c \x00 \U0010ffff"
GAPS = [" "] * 6 + ["  ", "\n", "\n\n", "\n\n\n", "\r\n", "\r\n\r\n", "\r", "\r\r", "\t"]
GAPS += ["\n ", " \n", "\n/", "/\n", "\u3000", "\xa0", "\x85", ""]
spaced_texts = st.lists(
    st.tuples(st.sampled_from(WORDS.split(" ")), st.sampled_from(GAPS)), max_size=14
).map(lambda parts: "".join(chain.from_iterable(parts)))

# Rules that do not begin a piece at a space: a sentence, pairs of characters.
SENTENCES = r"[^.\n]*[.\n]+|[^.\n]+"
OTHER_PATTERNS = {
    "sentences": Pattern(SENTENCES, SENTENCES, SENTENCES),
    "space behind": Pattern(r"\S+\s?|\s", r"\S+\s?|\s"),
    "no chunks": Pattern(r"(?s:.{1,2})"),
}
EVERY_PATTERN = {**PATTERNS, **OTHER_PATTERNS}


def cut(text, places):
    places = sorted({min(place, len(text)) for place in places})
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)])]


@pytest.fixture(scope="module")
def small():
    """Its tokens go across the borders of pieces: one in the wrong place changes the ids."""
    text = "".join(word + gap + gap for word in WORDS.split(" ") for gap in GAPS)
    return Tokenizer.train(text * 2, 1_200, pattern=r"(?s:.+)")


@pytest.fixture(scope="module", params=EVERY_PATTERN.values(), ids=list(EVERY_PATTERN))
def of_a_pattern(request, small):
    """A tokenizer whose memory fills from test to test, and each text's ids without any of it."""

    def ids_of(text):
        pieces = regex.findall(request.param.expression, text)
        return [small.ranks[token] for p in pieces for token in segment(p.encode(), small.ranks)]

    return Tokenizer(small.ranks, pattern=request.param), ids_of


@relaxed
@given(
    text=spaced_texts,
    size=st.sampled_from([1, 4, 20, 1 << 13]),
    places=st.lists(st.integers(0, 80), max_size=6),
)
@example(text="a b foo\n\tbar c d", size=1 << 13, places=[])
@example(text="a b foo\r\r bar c d", size=1 << 13, places=[])
@example(text="a the\n\ncat\r\n\r\nsat\r\non b c", size=1 << 13, places=[])
@example(text="a .\n/x b .\nx c", size=1 << 13, places=[])
@example(text="foo\n\t the cat \n\t", size=1 << 13, places=[])
def test_a_text_in_words_has_the_ids_of_its_pieces(of_a_pattern, text, size, places):
    """Whatever stretch a border falls in, whatever was remembered, wherever a stream is cut."""
    tokenizer, ids_of = of_a_pattern
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patterns, "_STRETCH", size)
        assert tokenizer.encode(text) == ids_of(text)
        assert list(tokenizer.encode_stream(cut(text, places))) == ids_of(text)


@pytest.mark.parametrize("text", ["", " ", " " * 9_999, "x" * 99_999, "x y" * 9_999, "x\n" * 9_999])
def test_texts_of_one_thing(of_a_pattern, text):
    tokenizer, ids_of = of_a_pattern
    parts = cut(text, [len(text) // 3, len(text) // 2])
    assert tokenizer.encode(text) == list(tokenizer.encode_stream(parts)) == ids_of(text)


def test_most_of_a_book_is_encoded_in_words(gpt2):
    """Not by chunks, which would be as right: the few that are, stand at the ends of stretches."""
    tokenizer = Tokenizer(gpt2.ranks)
    text = lzma.decompress(shared_data("text/british_fiction.txt.xz").read_bytes()).decode()[
        :300_000
    ]
    tokenizer.encode(text)
    assert len(tokenizer._word_ids) > 50 * len(tokenizer._chunk_ids) > 0
    list(tokenizer.encode_stream(text[i : i + 5_000] for i in range(0, len(text), 5_000)))
    assert len(tokenizer._word_ids) > 20 * len(tokenizer._chunk_ids)


NOT_AT_SPACES = {
    "through a space": SENTENCES,
    "a space behind": r"\S+\s?|\s",
    "pairs": r"(?s:.{1,2})",
    "through a line end": r"\S+\n?\S*|\s",
    "through two": r"\n\n\S+| ?\S+|\s",
    "through a line end of Windows": r"\r\n\S+| ?\S+|\s",
    "looks back": r"(?<=\S) \S| ?\S+|\s",
    "looks ahead": r" ?\S(?=\S* )| ?\S+|\s",
}


@pytest.mark.parametrize("expression", NOT_AT_SPACES.values(), ids=list(NOT_AT_SPACES))
def test_a_pattern_that_does_not_cut_at_spaces_cannot_say_so(expression):
    message = r"is one piece of the pattern .* word by word .* leave cuts_at_spaces out"
    with pytest.raises(ValueError, match=message):
        Pattern(expression, cuts_at_spaces=True)


def test_words_need_no_chunks(small):
    """A rule of one's own may cut at spaces too."""
    pattern = Pattern(r" ?\S+|\s", cuts_at_spaces=True)
    tokenizer = Tokenizer(small.ranks, pattern=pattern)
    text = "the cat sat\non  the\n\nmat " * 900
    expected = [i for piece in pattern.split(text) for i in tokenizer._encode_piece(piece)]
    assert tokenizer.encode(text) == expected


@pytest.mark.parametrize("pattern", PATTERNS)
def test_lines_without_a_space_do_not_wait_for_one(small, pattern):
    """A stream holds its last chunk (twice that, before it looks again), not all since a space."""
    tokenizer = Tokenizer(small.ranks, pattern=pattern)
    part = "a b" + "\ncat" * 1_000
    out = 0

    def parts():
        for number in range(1, 9):
            yield part
            assert number * len(part) - out < 30

    for token_id in tokenizer.encode_stream(parts()):
        out += len(tokenizer.token_bytes(token_id))
    assert out == 8 * len(part)


def test_split_words():
    assert split_words("on the mat\nsat the cat") == (
        "on",
        ["the", "mat\n", "\nsat", "the"],
        " cat",
    )
    assert split_words(" the\n\ncat sat\n") == ("", ["the\n\n", "\ncat"], " sat\n")
    for text in ("one word", "", " ", "a\n b c", "a b ", "a b \nc"):
        with pytest.raises(NotAWord):
            split_words(text)
    assert GPT2.split_word("cat's") == [" cat", "'s"]
    assert GPT2.split_word("mat\n\n") == [" mat", "\n", "\n"]  # as before a visible character
    assert CL100K.split_word("\nmat.\n\n") == ["mat", ".\n\n"]
    for word in ("", "\n", "\n\n", "\tmat", "mat\r", "mat\t", "\n/mat"):
        with pytest.raises(NotAWord):
            GPT2.split_word(word)

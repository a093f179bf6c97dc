"""Streams of bytes: the same ids wherever the blocks begin and end."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minissl.text import Tokenizer

SMALL = Tokenizer.train("the cat's hat\r\n naïve 你好 🙂 " * 3, 300, special_tokens=["<|end|>"])
PARTS = ["the cat", "\r\n", "\ufeff", "é", "你好", "🙂", " ", "<|end|>", "\x00", "\x1a"]
data = st.lists(
    st.one_of(
        st.binary(max_size=4),
        st.sampled_from(PARTS).map(str.encode),
        # What Python's decoder has stumbled over: surrogates, overlong forms, too large, cut off.
        st.sampled_from([b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xf0\x9f"]),
    )
).map(b"".join)


class Blocks(io.BytesIO):
    """Gives at most so many bytes at once, as a pipe may."""

    def __init__(self, data, size):
        super().__init__(data)
        self.size = size

    def read(self, size=-1):
        return super().read(self.size)


@settings(deadline=None, max_examples=300)
@given(data, st.integers(1, 5))
def test_blocks_of_any_size_give_the_same_ids(data, size):
    for rule in ("all", "none"):
        ids = list(SMALL.encode_binary(Blocks(data, size), allow_special=rule))
        assert ids == SMALL.encode(data, allow_special=rule)
        assert SMALL.decode_bytes(ids) == data


def test_the_file_stays_open():
    file = io.BytesIO(b"the cat\r\n")
    assert list(SMALL.encode_binary(file)) == SMALL.encode(b"the cat\r\n")
    assert not file.closed


def test_an_unknown_rule_is_refused_before_anything_is_read():
    file = io.BytesIO(b"the cat")
    with pytest.raises(ValueError, match="expected"):
        SMALL.encode_binary(file, allow_special="some")
    assert file.tell() == 0

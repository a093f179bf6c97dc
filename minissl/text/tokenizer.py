"""The byte-level BPE tokenizer: text to token ids and back, without loss.

Text is cut at special tokens, then into pieces (``patterns``), then each piece, as UTF-8 bytes,
into tokens (``bpe``). The same ids as tiktoken for the same ranks, pattern and special tokens, in
text up to Unicode 16, which tiktoken knows: of newer characters the package ``regex`` may know more
(the files say which Unicode it had). Lecture 03; Sennrich, Haddow and Birch (2016); Radford et al.
(2019).

What happens at the edges:

- bytes that are not UTF-8 encode as they are (each is a symbol to the pattern) and decode back;
- a lone surrogate in a string is no character and becomes U+FFFD; a surrogate pair is joined;
- ids that end inside a character decode to U+FFFD, or as ``errors`` says for ``bytes.decode``;
- a special token in a text raises unless the caller says what it is to mean.
"""

import codecs
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain, islice
from typing import BinaryIO, Self

import numpy as np

from minissl.options import several
from minissl.text.bpe import Pair, learn_merges, segment
from minissl.text.memory import Memory
from minissl.text.numbering import by_id, number_special_tokens
from minissl.text.patterns import (
    GPT2,
    NotAWord,
    Pattern,
    count_pieces,
    get_pattern,
    join_surrogates,
    split_words,
    without_surrogates,
)
from minissl.text.segment import merges_with_dropout

_BLOCK = 1 << 20  # bytes read from a file at once


class Tokenizer:
    """Byte-level BPE with a fixed vocabulary.

    ``ranks`` maps the bytes of every token to its id; among tokens that could be made, the one
    with the smaller id is made first. All 256 single bytes must be there. ``special_tokens`` maps
    strings to further ids, or lists strings that get the ids after the last; they are never split
    and never the result of a merge. ``pattern`` is a ``Pattern``, the name of one, or an expression
    of the package ``regex``. ``remember`` bounds how many words, how many chunks and how many
    pieces of text are kept with their ids.

    Raises ``ValueError`` for a missing byte, an id that is negative or used twice, or a special
    token that is empty or not valid Unicode.
    """

    def __init__(
        self,
        ranks: Mapping[bytes, int],
        *,
        pattern: str | Pattern = GPT2,
        special_tokens: Mapping[str, int] | Iterable[str] = (),
        remember: int = 1 << 18,
    ) -> None:
        self.ranks = dict(ranks)
        self.pattern = get_pattern(pattern)
        if missing := [byte for byte in range(256) if bytes([byte]) not in self.ranks]:
            raise ValueError(
                f"{len(missing)} of the 256 single bytes are no tokens, {missing[0]:#04x} the "
                "first: without them some texts have no encoding"
            )
        self._bytes = by_id(self.ranks.items())
        self.special_tokens = number_special_tokens(special_tokens, max(self._bytes) + 1)
        names = ((name.encode(), token_id) for name, token_id in self.special_tokens.items())
        self._bytes = by_id(names, self._bytes)
        self._special_expression = re.compile(
            "|".join(map(re.escape, sorted(self.special_tokens, key=len, reverse=True)))
        )
        self._piece_ids = Memory(self._encode_piece, remember)
        self._chunk_ids = Memory(self._encode_chunk, remember)
        self._word_ids = Memory(self._encode_word, remember)

    @classmethod
    def from_merges(
        cls,
        merges: Iterable[Pair],
        *,
        pattern: str | Pattern = GPT2,
        special_tokens: Mapping[str, int] | Iterable[str] = (),
    ) -> Self:
        """The tokenizer whose ids are the 256 bytes, then the merges in order.

        Raises ``ValueError`` when a merge joins something that is not yet a token.
        """
        ranks = {bytes([byte]): byte for byte in range(256)}
        for left, right in merges:
            if left not in ranks or right not in ranks or left + right in ranks:
                raise ValueError(
                    f"merge number {len(ranks) - 256} joins {left!r} and {right!r}: both must be "
                    "tokens already and the result must be new; are the merges in order?"
                )
            ranks[left + right] = len(ranks)
        return cls(ranks, pattern=pattern, special_tokens=special_tokens)

    @classmethod
    def train(
        cls,
        texts: str | Iterable[str],
        vocab_size: int,
        *,
        pattern: str | Pattern = GPT2,
        special_tokens: Iterable[str] = (),
        progress: bool = False,
    ) -> Self:
        """Learn a vocabulary of ``vocab_size`` ids: 256 bytes, the merges, the special tokens.

        ``texts`` is one text or several (nothing is learned across their borders); a special token
        in a text is such a border too. When every piece is one token before ``vocab_size`` is
        reached, the vocabulary stays smaller. Ties: see ``bpe``. ``progress`` shows a bar where
        standard error is a terminal.

        Raises ``ValueError`` when ``vocab_size`` leaves no room for the bytes and special tokens.
        """
        pattern = get_pattern(pattern)
        special_tokens = several(special_tokens, "special_tokens")
        num_merges = vocab_size - 256 - len(special_tokens)
        if num_merges < 0:
            raise ValueError(
                f"vocab_size={vocab_size} is too small: 256 bytes and {len(special_tokens)} "
                f"special token(s) need at least {256 + len(special_tokens)}"
            )
        counts = count_pieces(texts, pattern, special_tokens)
        merges: Iterable[Pair] = islice(learn_merges(counts), num_merges)
        if progress:
            from tqdm import tqdm

            # None: a log file is no place for a bar.
            merges = tqdm(merges, total=num_merges, desc="merges", unit="", disable=None)
        return cls.from_merges(merges, pattern=pattern, special_tokens=special_tokens)

    @property
    def vocab_size(self) -> int:
        """The largest id plus one: the rows an embedding needs (some ids may be unused)."""
        return max(self._bytes) + 1

    def __repr__(self) -> str:
        return f"Tokenizer(vocab_size={self.vocab_size}, special_tokens={self.special_tokens})"

    # ---- encode ----------------------------------------------------------------------------------

    def encode(
        self, text: str | bytes, *, allow_special: str | Collection[str] = "raise"
    ) -> list[int]:
        """The ids of a text, or of bytes taken as UTF-8.

        ``allow_special`` says what a special token inside the text means. A text from outside
        that spells ``<|endoftext|>`` must not end a document unasked, so the caller decides:
        ``"raise"`` (a ``ValueError`` names it), ``"none"`` (ordinary text), ``"all"`` (its id), or
        the collection of those that become their id, the others raising. Where two begin at one
        place, the longer is meant. Anything else in ``allow_special`` raises ``ValueError``.

        Text is cut at the special tokens, the rest by ``self.pattern.split`` into pieces; each, as
        UTF-8, is cut by ``segment`` into tokens of ``self.ranks``. Bytes that are not UTF-8 encode
        as they are (Python's error handler "surrogateescape").
        """
        allowed = self._allowed_special(allow_special)
        return self._encode(_as_text(text), allowed, self._encode_ordinary)

    def encode_with_dropout(
        self,
        text: str | bytes,
        probability: float,
        generator: np.random.Generator,
        *,
        allow_special: str | Collection[str] = "raise",
    ) -> list[int]:
        """The ids of one of many ways to cut a text, which decode to it all the same: BPE-dropout.

        See ``segment.merges_with_dropout``: probability 0 is ``encode``, 1 leaves single bytes, and
        0.1 is the paper's. Nothing is remembered, so it is slow.
        """
        allowed = self._allowed_special(allow_special)

        def ordinary(part: str) -> Iterator[int]:
            for piece in self.pattern.split(part):
                word = piece.encode("utf-8", "surrogateescape")
                tokens = merges_with_dropout(word, self.ranks, probability, generator)
                yield from map(self.ranks.__getitem__, tokens)

        return self._encode(_as_text(text), allowed, ordinary)

    def encode_stream(
        self, texts: Iterable[str], *, allow_special: str | Collection[str] = "raise"
    ) -> Iterator[int]:
        """Yield the ids of ``"".join(texts)``, exactly, without holding the whole of it.

        What is held is the last chunk of the pattern (for one without chunks, all the text, or what
        comes after the last single space if it cuts there).
        """
        allowed = self._allowed_special(allow_special)
        return self._stream(map(without_surrogates, join_surrogates(texts)), allowed)

    def encode_file(
        self, path: str | os.PathLike[str], *, allow_special: str | Collection[str] = "raise"
    ) -> Iterator[int]:
        """Yield the ids of a file's bytes, reading it in blocks; line ends stay as they are.

        Example: ``np.fromiter(tokenizer.encode_file("large.txt"), dtype=np.uint16)``.
        """
        with open(path, "rb") as file:
            yield from self.encode_binary(file, allow_special=allow_special)

    def encode_binary(
        self, file: BinaryIO, *, allow_special: str | Collection[str] = "raise"
    ) -> Iterator[int]:
        """Yield the ids of ``encode(file.read())``, reading in blocks, as ``encode_stream`` does.

        ``file`` is open for reading bytes, such as ``sys.stdin.buffer``; it stays open.
        """
        allowed = self._allowed_special(allow_special)
        blocks = iter(partial(file.read, _BLOCK), b"")
        return self._stream(codecs.iterdecode(blocks, "utf-8", "surrogateescape"), allowed)

    def _encode(
        self,
        text: str,
        allowed: Collection[str] | None,
        ordinary: Callable[[str], Iterable[int]],
    ) -> list[int]:
        ids: list[int] = []
        start = 0
        for match in self._find_special(text, allowed):
            ids.extend(ordinary(text[start : match.start()]))
            ids.append(self._special_id(match, allowed))
            start = match.end()
        ids.extend(ordinary(text[start:]))
        return ids

    def _stream(self, texts: Iterable[str], allowed: Collection[str] | None) -> Iterator[int]:
        longest = max(map(len, self.special_tokens), default=1) if allowed is not None else 1
        waiting: list[str] = []
        size = enough = 0
        for text in texts:
            waiting.append(text)
            size += len(text)
            if size < enough:
                continue
            buffer = "".join(waiting)
            start, end = 0, max(0, size - longest + 1)  # a special token may begin after the end
            for match in self._find_special(buffer, allowed):
                if match.start() >= end:
                    break
                yield from self._encode_ordinary(buffer[start : match.start()])
                yield self._special_id(match, allowed)
                start = match.end()
            part = buffer[start:end]
            cut = self.pattern.last_cut(part)
            yield from self._encode_ordinary(part[:cut])
            chunks = list(self.pattern.chunks(part[cut:]))[:-1]  # lines without a space
            yield from chain.from_iterable(map(self._chunk_ids.__getitem__, chunks))
            waiting = [buffer[start + cut + sum(map(len, chunks)) :]]
            size = len(waiting[0])
            enough = 2 * size  # so that a chunk without end is not scanned at every block
        yield from self._encode("".join(waiting), allowed, self._encode_ordinary)

    def _encode_ordinary(self, text: str) -> Iterator[int]:
        return chain.from_iterable(map(self._encode_stretch, self.pattern.stretches(text)))

    def _encode_stretch(self, stretch: str) -> list[int]:
        """Word by word where every space is a single one, else by chunks: the ids are the same."""
        if self.pattern.cuts_at_spaces and "  " not in stretch:
            try:
                first, words, last = split_words(stretch)
                ids = self._encode_chunks(first)
                ids.extend(chain.from_iterable(map(self._word_ids.__getitem__, words)))
                return ids + self._encode_chunks(last)
            except NotAWord:
                pass
        return self._encode_chunks(stretch)

    def _encode_chunks(self, text: str) -> list[int]:
        chunks = self.pattern.chunks(text)
        return list(chain.from_iterable(map(self._chunk_ids.__getitem__, chunks)))

    def _encode_word(self, word: str) -> tuple[int, ...]:
        return self._encode_pieces(self.pattern.split_word(word))

    def _encode_chunk(self, chunk: str) -> tuple[int, ...]:
        return self._encode_pieces(self.pattern.split(chunk))

    def _encode_pieces(self, pieces: list[str]) -> tuple[int, ...]:
        if len(pieces) == 1:
            return self._piece_ids[pieces[0]]
        if len(pieces) == 2:  # sooner than a chain
            return self._piece_ids[pieces[0]] + self._piece_ids[pieces[1]]
        return tuple(chain.from_iterable(map(self._piece_ids.__getitem__, pieces)))

    def _encode_piece(self, piece: str) -> tuple[int, ...]:
        word = piece.encode("utf-8", "surrogateescape")
        token_id = self.ranks.get(word)
        if token_id is not None:
            return (token_id,)
        return tuple(map(self.ranks.__getitem__, segment(word, self.ranks)))

    # ---- special tokens --------------------------------------------------------------------------

    def _allowed_special(self, allow_special: str | Collection[str]) -> Collection[str] | None:
        """The special tokens that may become their id; None when none is to be looked for."""
        if not isinstance(allow_special, str):
            if unknown := set(allow_special) - self.special_tokens.keys():
                raise ValueError(
                    f"allow_special has {sorted(unknown)}, which this tokenizer does not know: "
                    f"its special tokens are {sorted(self.special_tokens)}"
                )
            return frozenset(allow_special)
        if allow_special not in ("raise", "none", "all"):
            raise ValueError(
                f'allow_special={allow_special!r}: expected "raise", "none", "all" '
                "or a collection of special tokens"
            )
        choices = {"raise": (), "none": None, "all": self.special_tokens}
        return choices[allow_special]

    def _find_special(self, text: str, allowed: Collection[str] | None) -> Iterable[re.Match[str]]:
        if allowed is None or not self.special_tokens:
            return ()
        return self._special_expression.finditer(text)

    def _special_id(self, match: re.Match[str], allowed: Collection[str] | None) -> int:
        token = match.group()
        if allowed is not None and token not in allowed:
            around = match.string[max(0, match.start() - 20) : match.end() + 20]
            raise ValueError(
                f"the text contains the special token {token!r}, in {around!r}: pass "
                f'allow_special="none" to encode it as ordinary text, or "all" (or a collection '
                f"with it) to let it become id {self.special_tokens[token]}"
            )
        return self.special_tokens[token]

    # ---- decode ----------------------------------------------------------------------------------

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes one id stands for. Raises ``ValueError`` when it is not in the vocabulary."""
        return self.decode_bytes([token_id])

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of a list or one-dimensional array of ids.

        Raises ``ValueError`` for an id that is not in the vocabulary.
        """
        ids = ids.tolist() if hasattr(ids, "tolist") else ids
        try:
            return b"".join(map(self._bytes.__getitem__, ids))
        except KeyError as error:
            raise ValueError(
                f"{error.args[0]!r} is no id of this vocabulary: its {len(self._bytes)} ids lie "
                f"between {min(self._bytes)} and {self.vocab_size - 1}"
            ) from None

    def decode(self, ids: Iterable[int], errors: str = "replace") -> str:
        """The text of the ids; ``errors`` as for ``bytes.decode``, where they are not UTF-8.

        Tokens are bytes, and a character may be spread over several of them. Raises ``ValueError``
        for an id that is not in the vocabulary.
        """
        return self.decode_bytes(ids).decode("utf-8", errors)

    # ---- the vocabulary --------------------------------------------------------------------------

    def merges(self) -> list[Pair]:
        """The two tokens each longer token is made of, in order of rank.

        Raises ``ValueError`` when a token cannot be made of two earlier ones.
        """
        earlier = dict(self.ranks)
        merges: list[Pair] = []
        longer = [token for token in self.ranks if len(token) > 1]
        for token in sorted(longer, key=self.ranks.__getitem__, reverse=True):
            del earlier[token]
            parts = segment(token, earlier)
            if len(parts) != 2:
                raise ValueError(
                    f"token {self.ranks[token]} ({token!r}) is not a merge of two tokens with "
                    f"smaller ids (those give {parts}): this vocabulary is not one of merges"
                )
            merges.append((parts[0], parts[1]))
        return merges[::-1]


def _as_text(text: str | bytes) -> str:
    if not isinstance(text, str | bytes):
        raise TypeError(f"encode takes a text or bytes, got {type(text).__name__}: {text!r:.40}")
    if isinstance(text, bytes):
        return text.decode("utf-8", "surrogateescape")
    return without_surrogates(text)

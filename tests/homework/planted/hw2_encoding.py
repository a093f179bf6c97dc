"""Wrong answers to the half of homework 2 that encodes and decodes: tasks 2.4 to 2.7."""

import re
from collections import Counter
from itertools import pairwise

from minissl.text import bpe, patterns, tokenizer
from minissl.text.patterns import GPT2
from minissl.text.segment import longest_match
from tests.homework.planted import Collection

PLANTED = Collection()


# ---- 2.4 segment ---------------------------------------------------------------------------------


def segmenter(choose, once=False, finish=list):
    """The loop that joins pairs, with something to get wrong in it."""

    def segment(word, ranks):
        tokens = [bytes([byte]) for byte in word]
        while found := [
            (ranks[a + b], i) for i, (a, b) in enumerate(pairwise(tokens)) if a + b in ranks
        ]:
            i = choose(found)[1]
            tokens[i : i + 2] = [tokens[i] + tokens[i + 1]]
            if once:
                break
        return finish(tokens)

    return segment


@PLANTED.add("2.4", "the longest token first, from the left", shows="longest token")
def _(word, ranks):
    return longest_match(word, ranks)


for _mistake, _shows, _segment in [
    ("the leftmost pair", "leftmost pair", segmenter(lambda f: min(f, key=lambda p: p[1]))),
    ("the highest rank", "highest rank", segmenter(lambda f: max(f, key=lambda p: (p[0], -p[1])))),
    (
        "the rightmost of equal ranks",
        "rightmost",
        segmenter(lambda f: min(f, key=lambda p: (p[0], -p[1]))),
    ),
    ("one pair only", "only one pair", segmenter(min, once=True)),
    ("a tuple instead of a list", "not a tuple", segmenter(min, finish=tuple)),
]:
    PLANTED.add("2.4", _mistake, shows=_shows)(_segment)


@PLANTED.add("2.4", "ids instead of tokens", shows="not their ids")
def _(word, ranks):
    return [ranks[token] for token in bpe.segment(word, ranks)]


@PLANTED.add("2.4", "the dictionary is used up", shows="changed its input")
def _(word, ranks):
    tokens = bpe.segment(word, ranks)
    for token in tokens:
        ranks.pop(token, None)
    return tokens


@PLANTED.add(
    "2.4", "merges replayed once each: what they make is not joined", shows="only one pair"
)
def _(word, ranks):
    tokens = tuple(bytes([byte]) for byte in word)
    for token in sorted(ranks, key=ranks.get):
        if len(token) == 2:
            tokens = bpe.merge(tokens, (token[:1], token[1:]))
    return list(tokens)


# ---- 2.5 count_pieces ----------------------------------------------------------------------------


def counter(cut=None, glue="|", key=str.encode, special=re.escape, order=True, use=True):
    """count_pieces as it reads, with something to get wrong in it."""

    def count_pieces(texts, pattern=GPT2, special_tokens=()):
        names = sorted(special_tokens, key=len, reverse=order)
        border = re.compile("|".join(map(special, names)))
        counts: Counter = Counter()
        for text in [texts] if isinstance(texts, str) else texts:
            for part in border.split(text) if names and use else [text]:
                counts.update(map(key, (cut or pattern.split)(part)))
        return counts

    return count_pieces


for _mistake, _shows, _count in [
    ("strings as keys", "must be bytes", counter(key=str)),
    ("white space lost", "white space is lost", counter(cut=str.split)),
    ("special tokens not escaped", "escape them", counter(special=str)),
    ("special tokens counted as text", "counted as text", counter(use=False)),
    ("the shorter special token first", "the longer is meant", counter(order=False)),
    ("characters counted", "not their characters", counter(cut=list)),
]:
    PLANTED.add("2.5", _mistake, shows=_shows)(_count)


@PLANTED.add("2.5", "special tokens cut out, the rest joined", shows="it is a border")
def _(texts, pattern=GPT2, special_tokens=()):
    texts = [texts] if isinstance(texts, str) else list(texts)
    for token in sorted(special_tokens, key=len, reverse=True):
        texts = [text.replace(token, "") for text in texts]
    return patterns.count_pieces(texts, pattern)


@PLANTED.add("2.5", "all texts in one", shows="border of two texts")
def _(texts, pattern=GPT2, special_tokens=()):
    return patterns.count_pieces("".join(texts), pattern, special_tokens)


@PLANTED.add("2.5", "a string is a list of characters", shows="single text")
def _(texts, pattern=GPT2, special_tokens=()):
    return patterns.count_pieces(iter(texts), pattern, special_tokens)


@PLANTED.add("2.5", "a set of pieces in each text", shows="counts once")
def _(texts, pattern=GPT2, special_tokens=()):
    return Counter(dict.fromkeys(patterns.count_pieces(texts, pattern, special_tokens), 1))


# ---- 2.6 Tokenizer.decode ------------------------------------------------------------------------


def planted_decode(task, mistake, shows):
    """Decorator: the function is a wrong ``decode``."""

    def keep(decode):
        PLANTED.add(task, mistake, shows=shows)(
            type("Tokenizer", (tokenizer.Tokenizer,), {"decode": decode})
        )

    return keep


@planted_decode("2.6", "token by token", "one by one")
def _(self, ids, errors="replace"):
    return "".join(self.token_bytes(i).decode("utf-8", errors) for i in ids)


@planted_decode("2.6", "a character for each byte", "each byte became")
def _(self, ids, errors="replace"):
    return "".join(map(chr, self.decode_bytes(ids)))


@planted_decode("2.6", "strict unless told otherwise", "UnicodeDecodeError")
def _(self, ids, errors="strict"):
    return self.decode_bytes(ids).decode("utf-8", errors)


@planted_decode("2.6", "errors ignored", "are lost")
def _(self, ids, errors="replace"):
    return self.decode_bytes(ids).decode("utf-8", "ignore")


@planted_decode("2.6", "errors not handed on", "not handed on")
def _(self, ids, errors="replace"):
    return self.decode_bytes(ids).decode("utf-8", "replace")


@planted_decode("2.6", "special tokens skipped", "special tokens are left out")
def _(self, ids, errors="replace"):
    special = set(self.special_tokens.values())
    return self.decode_bytes([i for i in ids if i not in special]).decode("utf-8", errors)


@planted_decode("2.6", "KeyError for an unknown id", "KeyError")
def _(self, ids, errors="replace"):
    table = {number: token for token, number in self.ranks.items()}
    table |= {number: name.encode() for name, number in self.special_tokens.items()}
    return b"".join(table[int(i)] for i in ids).decode("utf-8", errors)


@planted_decode("2.6", "unknown ids passed over", "should raise a ValueError")
def _(self, ids, errors="replace"):
    known = set(self.ranks.values()) | set(self.special_tokens.values())
    return self.decode_bytes([int(i) for i in ids if i in known]).decode("utf-8", errors)


# ---- 2.7 Tokenizer.encode ------------------------------------------------------------------------


def encoder(
    *,
    cut=None,
    segment=bpe.segment,
    look=lambda allow: allow != "none",
    refuse=True,
    longest=True,
    to_bytes=lambda piece: piece.encode("utf-8", "surrogateescape"),
    keep=True,
    read=lambda data: data.decode("utf-8", "surrogateescape"),
):
    """A Tokenizer whose ``encode`` is as it reads, with something to get wrong in it."""

    class Tokenizer(tokenizer.Tokenizer):
        def encode(self, text, *, allow_special="raise"):
            if isinstance(text, bytes):
                text = read(text)
            if not isinstance(allow_special, str) and set(allow_special) - set(self.special_tokens):
                raise ValueError(f"{allow_special} has unknown special tokens")
            if isinstance(allow_special, str) and allow_special not in ("raise", "none", "all"):
                raise ValueError(f"{allow_special} is no choice")
            names = sorted(self.special_tokens, key=len, reverse=longest)
            parts = re.split("(" + "|".join(map(re.escape, names)) + ")", text)
            if not (names and look(allow_special)):
                parts = [text]
            ids = []
            for number, part in enumerate(parts):
                if number % 2 == 0:
                    for piece in (cut or self.pattern.split)(part):
                        tokens = segment(to_bytes(piece), self.ranks)
                        ids += [self.ranks[token] for token in tokens]
                elif refuse and allow_special != "all" and part not in allow_special:
                    raise ValueError(f"{part} is in the text")
                elif keep:
                    ids.append(self.special_tokens[part])
            return ids

    return Tokenizer


for _mistake, _shows, _class in [
    ("no pieces", "not cut into pieces", encoder(cut=lambda part: [part])),
    ("white space lost", "white space is lost", encoder(cut=str.split)),
    ("longest match", "longest token", encoder(segment=longest_match)),
    ("special tokens never found", "encoded as text", encoder(look=lambda a: False)),
    ('"none" ignored', "it raised ValueError", encoder(look=lambda a: True)),
    ("special tokens always allowed", "should raise a ValueError", encoder(refuse=False)),
    ("the shorter special token first", "the longer is meant", encoder(longest=False)),
    ("special tokens dropped", "special tokens are lost", encoder(keep=False)),
    ("bytes must be UTF-8", "UnicodeDecodeError", encoder(read=bytes.decode)),
    ("bytes replaced", "are replaced", encoder(read=lambda data: data.decode("utf-8", "replace"))),
    ("bytes as Latin-1", "not Latin-1", encoder(read=lambda data: data.decode("latin-1"))),
    ("no merges", "no pair is joined", encoder(segment=lambda w, r: [bytes([b]) for b in w])),
    ("only ASCII", "UnicodeEncodeError", encoder(to_bytes=lambda piece: piece.encode("ascii"))),
]:
    PLANTED.add("2.7", _mistake, shows=_shows)(_class)

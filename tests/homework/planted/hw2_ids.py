"""More wrong answers to tasks 2.6 and 2.7: other vocabularies, iterators, kinds of collections."""

import codecs
import re

from minissl.text import tokenizer
from tests.homework.planted import Collection
from tests.homework.planted.hw2_encoding import encoder, segmenter

PLANTED = Collection()


def wrong_decode(mistake, shows):
    """Decorator: the function is a wrong ``decode``."""

    def keep(decode):
        PLANTED.add("2.6", mistake, shows=shows)(
            type("Tokenizer", (tokenizer.Tokenizer,), {"decode": decode})
        )

    return keep


# ---- 2.6 Tokenizer.decode ------------------------------------------------------------------------


@wrong_decode("an iterator is read twice", "only once")
def _(self, ids, errors="replace"):
    if any(int(i) < 0 for i in ids):
        raise ValueError("negative")
    return self.decode_bytes(ids).decode("utf-8", errors)


@wrong_decode("what is incomplete at the end is lost", "at the end")
def _(self, ids, errors="replace"):
    return codecs.getincrementaldecoder("utf-8")(errors).decode(self.decode_bytes(ids))


@wrong_decode("white space at the ends is stripped", "white space at the ends")
def _(self, ids, errors="replace"):
    return self.decode_bytes(ids).decode("utf-8", errors).strip()


@wrong_decode("a token that comes again is left out", "each id")
def _(self, ids, errors="replace"):
    return self.decode_bytes(dict.fromkeys(int(i) for i in ids)).decode("utf-8", errors)


@wrong_decode("ids below 256 are taken for bytes", "byte's id")
def _(self, ids, errors="replace"):
    table = {number: token for token, number in self.ranks.items()}
    table |= {number: name.encode() for name, number in self.special_tokens.items()}
    try:
        data = b"".join(bytes([i]) if 0 <= i < 256 else table[int(i)] for i in ids)
    except KeyError:
        raise ValueError("no id") from None
    return data.decode("utf-8", errors)


@wrong_decode("special tokens have the ids after the last", "id of a special token|raised")
def _(self, ids, errors="replace"):
    table = [*self.ranks, *(name.encode() for name in self.special_tokens)]
    ids = [int(i) for i in ids]
    if any(not 0 <= i < len(table) for i in ids):
        raise ValueError("no id")
    return b"".join(table[i] for i in ids).decode("utf-8", errors)


@wrong_decode("a replacement character for every byte", "for every byte")
def _(self, ids, errors="replace"):
    data = self.decode_bytes(ids)
    if errors != "replace":
        return data.decode("utf-8", errors)
    text = data.decode("utf-8", "surrogateescape")
    return "".join("\ufffd" if "\udc80" <= c <= "\udcff" else c for c in text)


DECODED: dict = {}


@wrong_decode("texts are kept by ids alone", "earlier call")
def _(self, ids, errors="replace"):
    key = tuple(int(i) for i in ids)
    if key not in DECODED:
        DECODED[key] = self.decode_bytes(list(key)).decode("utf-8", errors)
    return DECODED[key]


@wrong_decode("truth of an array", "truth value")
def _(self, ids, errors="replace"):
    return self.decode_bytes(ids).decode("utf-8", errors) if ids else ""


@wrong_decode("a negative id counts from the end", "should raise a ValueError")
def _(self, ids, errors="replace"):
    table = {number: token for token, number in self.ranks.items()}
    table |= {number: name.encode() for name, number in self.special_tokens.items()}
    rows = [table.get(i, b"?") for i in range(max(table) + 1)]
    try:
        return b"".join(rows[int(i)] for i in ids).decode("utf-8", errors)
    except IndexError:
        raise ValueError("no id") from None


# ---- 2.7 Tokenizer.encode ------------------------------------------------------------------------


RIGHT = encoder()


def wrong_encode(mistake, shows, base=RIGHT):
    """Decorator: the function is a wrong ``encode``; ``right`` encodes as it should."""

    def keep(encode):
        def wrong(self, text, *, allow_special="raise"):
            return encode(self, text, allow_special, super(made, self).encode)

        made = type("Tokenizer", (base,), {"encode": wrong})
        PLANTED.add("2.7", mistake, shows=shows)(made)

    return keep


@wrong_encode("the error does not name the special token", "name")
def _(self, text, allow, right):
    try:
        return right(text, allow_special=allow)
    except ValueError:
        raise ValueError("there is a special token in the text") from None


@wrong_encode("only a list is a collection", "raised ValueError")
def _(self, text, allow, right):
    if not isinstance(allow, str | list):
        raise ValueError("allow_special must be a list")
    return right(text, allow_special=allow)


@wrong_encode("a token inside a longer one is refused", "longer is meant|raised ValueError")
def _(self, text, allow, right):
    for name in self.special_tokens:
        if (
            name in (text if isinstance(text, str) else "")
            and not isinstance(allow, str)
            and name not in allow
        ):
            raise ValueError(f"{name} is in the text")
    return right(text, allow_special=allow)


@wrong_encode("only those allowed are looked for", "should raise a ValueError")
def _(self, text, allow, right):
    if isinstance(allow, str) or not allow:
        return right(text, allow_special=allow)
    return kept_names(self, text, allow)


def kept_names(self, text, allow):
    names = {name: self.special_tokens[name] for name in self.special_tokens if name in allow}
    if set(allow) - set(self.special_tokens):
        raise ValueError("unknown")
    other = [name for name in self.special_tokens if name not in allow]
    border = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    ids = []
    for i, part in enumerate(re.split(f"({border})", text)):
        if i % 2:
            ids.append(names[part])
        elif any(name in part for name in other):
            raise ValueError(f"{other} in the text")
        else:
            for piece in self.pattern.split(part):
                ids += [self.ranks[t] for t in segmenter(min)(piece.encode(), self.ranks)]
    return ids


class BytesAreIds(tokenizer.Tokenizer):
    """Single bytes have their value as id, and merges are found by id."""

    def encode(self, text, *, allow_special="raise"):
        names = dict(self.ranks)
        names |= {bytes([byte]): byte for byte in range(256)}
        return with_table(self, text, allow_special, names, self.special_tokens)


class SpecialAfterTheLast(tokenizer.Tokenizer):
    """Special tokens get the ids after the last, whatever they were given."""

    def encode(self, text, *, allow_special="raise"):
        special = {name: len(self.ranks) + i for i, name in enumerate(self.special_tokens)}
        return with_table(self, text, allow_special, self.ranks, special)


def with_table(self, text, allow, table, special, kept=None):
    """encode that looks its ids up in other tables."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    if isinstance(allow, str) and allow not in ("raise", "none", "all"):
        raise ValueError("no choice")
    if not isinstance(allow, str) and set(allow) - set(special):
        raise ValueError("unknown")
    border = "|".join(map(re.escape, sorted(special, key=len, reverse=True)))
    ids = []
    cut = re.split(f"({border})", text) if special and allow != "none" else [text]
    for i, part in enumerate(cut):
        if i % 2:
            if allow != "all" and part not in allow:
                raise ValueError(f"{part} is in the text")
            ids.append(special[part])
            continue
        for piece in self.pattern.split(part):
            word = piece.encode("utf-8", "surrogateescape")
            if kept is None:
                ids += [table[token] for token in segmenter(min)(word, self.ranks)]
            else:
                if word not in kept:
                    kept[word] = [table[token] for token in segmenter(min)(word, self.ranks)]
                ids += kept[word]
    return ids


PLANTED.add("2.7", "a byte's id is taken to be its value", shows="byte's id")(BytesAreIds)
PLANTED.add("2.7", "special tokens get the ids after the last", shows="id of a special token")(
    SpecialAfterTheLast
)


MEMORY: dict = {}


class OneMemory(tokenizer.Tokenizer):
    """All tokenizers remember in one dictionary."""

    def encode(self, text, *, allow_special="raise"):
        return with_table(self, text, allow_special, self.ranks, self.special_tokens, MEMORY)


PLANTED.add("2.7", "one memory for all tokenizers", shows="earlier call")(OneMemory)


@wrong_encode("special tokens in bytes are text", "in bytes")
def _(self, text, allow, right):
    return right(text, allow_special="none" if isinstance(text, bytes) else allow)


@wrong_encode("the ends of the text are stripped", "ends of the text")
def _(self, text, allow, right):
    return right(text.strip(), allow_special=allow)


@wrong_encode("capitals are lost", "lower case")
def _(self, text, allow, right):
    return right(text.lower(), allow_special=allow)


@wrong_encode("every text begins with a special token", "nobody asked")
def _(self, text, allow, right):
    return [next(iter(self.special_tokens.values()), 0), *right(text, allow_special=allow)]


@wrong_encode("an id that is new gets into the vocabulary", "changed the tokenizer")
def _(self, text, allow, right):
    ids = right(text, allow_special=allow)
    if isinstance(text, str):
        self.ranks.setdefault(text.encode("utf-8", "replace")[:3] or b"x", len(self.ranks) + 7)
    return ids


@wrong_encode("special tokens are not escaped", "regular expressions|raised KeyError")
def _(self, text, allow, right):
    if allow == "none" or isinstance(text, bytes) or not self.special_tokens:
        return right(text, allow_special=allow)
    parts = re.split("(" + "|".join(self.special_tokens) + ")", text)
    if any(part not in self.special_tokens for part in parts[1::2]):
        raise KeyError(next(part for part in parts[1::2] if part not in self.special_tokens))
    return right(text, allow_special=allow)


@wrong_encode("ids as text", "ids must be whole numbers|list of ids")
def _(self, text, allow, right):
    return [str(i) for i in right(text, allow_special=allow)]


@wrong_encode("as few tokens as there can be", "as few tokens")
def _(self, text, allow, right):
    return encoder(segment=fewest)(
        self.ranks, pattern=self.pattern, special_tokens=self.special_tokens
    ).encode(text, allow_special=allow)


def fewest(word, ranks):
    """The best of all ways to cut."""
    ways = {0: []}
    for end in range(1, len(word) + 1):
        ways[end] = min(
            ([*ways[i], word[i:end]] for i in range(end) if word[i:end] in ranks), key=len
        )
    return ways[len(word)]

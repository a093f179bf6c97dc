"""Homework 2, written in other styles."""

import codecs
import re
from collections import Counter, defaultdict
from functools import reduce
from heapq import heapify, heappop, heappush
from itertools import pairwise

from minissl.text import tokenizer
from minissl.text.patterns import GPT2
from tests.homework.planted import hw2_encoding, hw2_experiment, hw2_learning, hw2_training

# ---- learning ------------------------------------------------------------------------------------


def sum_of_counters(words):
    """Each pair of each word as often as the word occurs, by Counter's own arithmetic."""
    every = (Counter(pairwise(list(word) * 1)) for word in words)
    return reduce(
        lambda found, one: found + one,
        (Counter({p: n * count for p, n in c.items()}) for c, count in zip(every, words.values())),
        Counter(),
    )


def by_index(words):
    """Places, a dictionary with a default, no Counter at all."""
    found = defaultdict(int)
    for word in words:
        for i in range(1, len(word)):
            found[(word[i - 1], word[i])] += words[word]
    return dict(found)


def on_a_stack(word, pair):
    """A token that completes the pair joins what was written last."""
    done = []
    for token in word:
        if done and done[-1] == pair[0] and token == pair[1]:
            done[-1] += token
        else:
            done.append(token)
    return tuple(done)


def by_places(word, pair):
    """First all places, of which none is beside the one before; then the word around them."""
    places = []
    for i, both in enumerate(pairwise(word)):
        if both == tuple(pair) and (not places or places[-1] < i - 1):
            places.append(i)
    skipped = {i + 1 for i in places}
    return tuple(
        b"".join(pair) if i in places else token for i, token in enumerate(word) if i not in skipped
    )


def sorting(counts):
    """Lists of bytes; the pairs are sorted for each merge."""
    words = [([bytes([b]) for b in word], count) for word, count in counts.items()]
    while True:
        found = defaultdict(int)
        for word, count in words:
            for pair in pairwise(word):
                found[pair] += count
        if not found:
            return
        best = sorted((count, pair) for pair, count in found.items())[-1][1]
        yield best
        words = [(list(on_a_stack(word, best)), count) for word, count in words]


# ---- cutting -------------------------------------------------------------------------------------


def all_merges_in_order(word, ranks):
    """Every token in the order of its rank, each once: nothing that comes later goes back."""
    tokens = [bytes([byte]) for byte in word]
    for token in sorted(ranks, key=ranks.__getitem__):
        i = 0
        while i + 1 < len(tokens):
            if tokens[i] + tokens[i + 1] == token:
                tokens[i : i + 2] = [token]
            i += 1
    return tokens


def linked(word, ranks):
    """Places in a linked list, pairs in a heap."""
    after = {i: i + 1 for i in range(len(word))}
    before = {i + 1: i for i in range(len(word))}

    def entry(start):
        end = after.get(after.get(start, len(word)))
        found = None if end is None else ranks.get(word[start:end])
        return None if found is None else (found, start, end)

    heap = [one for one in map(entry, range(len(word))) if one]
    heapify(heap)
    while heap:
        rank, start, end = heappop(heap)
        if start not in after or entry(start) != (rank, start, end):
            continue
        middle = after[start]
        del after[middle]
        after[start], before[end] = end, start
        for place in (before.get(start), start):
            if place is not None and (one := entry(place)):
                heappush(heap, one)
    return [word[start:end] for start, end in sorted(after.items())]


def walking(text, names):
    """The text in parts, special tokens being every second one, found letter by letter."""
    parts, i = [""], 0
    while i < len(text):
        here = [name for name in names if text[i : i + len(name)] == name]
        if here:
            name = max(here, key=len)
            parts += [name, ""]
            i += len(name)
        else:
            parts[-1] += text[i]
            i += 1
    return parts


def letter_by_letter(texts, pattern=GPT2, special_tokens=()):
    """count_pieces in a plain dictionary."""
    if isinstance(special_tokens, str):
        raise ValueError("special_tokens must be a list")
    found = {}
    for text in (texts,) if type(texts) is str else texts:
        for part in walking(text, special_tokens)[::2]:
            for piece in pattern.split(part):
                found[piece.encode("utf-8")] = found.get(piece.encode("utf-8"), 0) + 1
    return found


# ---- ids -----------------------------------------------------------------------------------------


class FromATable(tokenizer.Tokenizer):
    """decode by a table of its own, and a decoder that is told where the text ends."""

    def decode(self, ids, errors="replace"):
        table = {number: token for token, number in self.ranks.items()}
        for name, number in self.special_tokens.items():
            table[number] = name.encode()
        decoder = codecs.getincrementaldecoder("utf-8")(errors)
        text = []
        for number in ids:
            if int(number) not in table:
                raise ValueError(f"{number} is no id")
            text.append(decoder.decode(table[int(number)]))
        return "".join(text) + decoder.decode(b"", final=True)


class OneByOne(tokenizer.Tokenizer):
    """decode by the library's ``token_bytes``, encode letter by letter."""

    def decode(self, ids, errors="replace"):
        return str(b"".join(self.token_bytes(int(i)) for i in ids), "utf-8", errors)

    def encode(self, text, *, allow_special="raise"):
        if isinstance(text, bytes):
            text = str(text, "utf-8", "surrogateescape")
        choices = {"raise": set(), "none": set(), "all": set(self.special_tokens)}
        if isinstance(allow_special, str) and allow_special not in choices:
            raise ValueError(allow_special)
        allowed = choices[allow_special] if isinstance(allow_special, str) else set(allow_special)
        if not allowed <= set(self.special_tokens):
            raise ValueError(allowed)
        names = [] if allow_special == "none" else list(self.special_tokens)
        ids = []
        for i, part in enumerate(walking(text, names)):
            if i % 2 == 1 and part not in allowed:
                raise ValueError(f"there is {part} in the text")
            if i % 2 == 1:
                ids.append(self.special_tokens[part])
                continue
            for piece in self.pattern.split(part):
                data = piece.encode("utf-8", "surrogateescape")
                ids.extend(self.ranks[token] for token in linked(data, self.ranks))
        return ids


def one_string_is_refused(texts, pattern=GPT2, special_tokens=()):
    """count_pieces by re.split."""
    if isinstance(special_tokens, str):
        raise ValueError("several special tokens, not one string")
    return hw2_encoding.counter()(texts, pattern, special_tokens)


def in_a_buffer(ids, table):
    """The bytes, one after the other."""
    data = bytearray()
    for number in ids:
        data += table[number]
    return data


class WithABuffer(tokenizer.Tokenizer):
    """encode by splitting off the first special token; decode by a bytearray."""

    def decode(self, ids, errors="replace"):
        table = {number: name.encode() for name, number in self.special_tokens.items()}
        table.update({number: token for token, number in self.ranks.items()})
        try:
            return in_a_buffer((int(i) for i in ids), table).decode(errors=errors)
        except KeyError as error:
            raise ValueError(f"unknown id {error}") from None

    def encode(self, text, *, allow_special="raise"):
        text = text if isinstance(text, str) else text.decode("utf-8", "surrogateescape")
        known = set(self.special_tokens)
        if isinstance(allow_special, str) and allow_special in ("raise", "none", "all"):
            allowed = known if allow_special == "all" else set()
        elif isinstance(allow_special, str) or set(allow_special) - known:
            raise ValueError(f"{allow_special} is no choice")
        else:
            allowed = set(allow_special)
        names = sorted(known, key=len, reverse=True) if allow_special != "none" else []
        found = re.search("|".join(map(re.escape, names)), text) if names else None
        if found is None:
            return [
                self.ranks[token]
                for piece in self.pattern.split(text)
                for token in all_merges_in_order(
                    piece.encode("utf-8", "surrogateescape"), self.ranks
                )
            ]
        if found[0] not in allowed:
            raise ValueError(f"{found[0]} may not become an id")
        before = self.encode(text[: found.start()], allow_special="none")
        after = self.encode(text[found.end() :], allow_special=allow_special)
        return [*before, self.special_tokens[found[0]], *after]


RIGHT = {
    "2.1 counters, added": sum_of_counters,
    "2.1 by index": by_index,
    "2.1 a loop": hw2_learning.pair_counter(),
    "2.2 a stack": on_a_stack,
    "2.2 by places": by_places,
    "2.3 the pair with max": hw2_training.learner(hw2_training.largest),
    "2.3 sorted lists": sorting,
    "2.4 all pairs each time": hw2_encoding.segmenter(min),
    "2.4 all merges in order": all_merges_in_order,
    "2.4 a linked list and a heap": linked,
    "2.5 re.split": one_string_is_refused,
    "2.5 letter by letter": letter_by_letter,
    "2.6 a decoder that is told the end": FromATable,
    "2.6 token_bytes": OneByOne,
    "2.6 a bytearray": WithABuffer,
    "2.7 re.split": hw2_encoding.encoder(),
    "2.7 letter by letter": OneByOne,
    "2.7 by recursion over special tokens": WithABuffer,
    "2.8 words that have the pair": hw2_training.quick_learner(),
    "2.8 a heap": hw2_learning.heap_learner(),
    "2.9 arrays of counts": hw2_experiment.handed(
        bytes_per_token=hw2_experiment.ratio(),
        unused=hw2_experiment.idle(),
        measure=hw2_experiment.measured(),
    ),
    "2.9 bytes of the ids": hw2_experiment.handed(
        bytes_per_token=lambda tokenizer, texts: (
            len("".join(texts).encode())
            / len([i for text in texts for i in tokenizer.encode(text, allow_special="none")])
        ),
    ),
}

"""Hugging Face's ``tokenizer.json``, read and written: byte-level BPE alone. Lecture 03.

That format can say much more than our tokenizer can do. What a file asks for is honoured, or it is
refused by its name: the ids are those of the library ``tokenizers``, or there are none.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

from minissl.durable import replace_durably
from minissl.reading import read_json, reading
from minissl.text.bpe import Pair
from minissl.text.formats import TOKENIZER, StrPath, from_printable, to_json, to_printable
from minissl.text.patterns import GPT2, PATTERNS, Pattern
from minissl.text.tokenizer import Tokenizer

_BOTH = (True, False)
# What each part of a file may say, beside what is read: names and the values that change no id.
_TOP = {"version": ("1.0",), "truncation": (None,), "padding": (None,), "normalizer": (None,)}
_PARTS = ("model", "decoder", "post_processor", "pre_tokenizer", "added_tokens")
_MODEL = {
    "type": ("BPE",),
    "dropout": (None, 0),
    "unk_token": (None,),
    "fuse_unk": _BOTH,  # of what is unknown, and no byte is
    "byte_fallback": (False,),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "ignore_merges": _BOTH,  # each token is what its own bytes become, so both are the same
}
_BYTE_LEVEL = {
    "type": ("ByteLevel",),
    "add_prefix_space": (False,),
    "trim_offsets": _BOTH,  # of places in the text, not of ids
    "use_regex": _BOTH,
}
_AFTERWARDS = {**_BYTE_LEVEL, "add_prefix_space": _BOTH}  # as decoder and post-processor
_ADDED = {"single_word": (False,), "lstrip": (False,), "rstrip": (False,), "special": _BOTH}
_SPLIT = {"type": ("Split",)}

# Regular expressions that mean the same to Oniguruma, which that library uses, and to ``regex``:
# no anchors, no "." and no classes that one of the two lacks.
_CLASS = r"\\[pP]\{\^?[A-Z][a-z]?\}|\\[sSdrntfv]|\\[^\w\s]"
_SAME = re.compile(
    rf"(?:{_CLASS}|[^\\^$.\[\](){{}}*+?|&]|\[\^?(?:{_CLASS}|[^\\^\[\]&])+\]|[*+?][+?]?|\|"
    r"|\{\d+(?:,\d*)?\}(?![+?])|\(\?[:=!]|\)"
    r"|\(\?i:'s\|'t\|'re\|'ve\|'m\|'ll\|'d\)|\(\?i:\[sdmt\]\|ll\|ve\|re\))+"
)


def load_huggingface(path: StrPath, *, add_special_tokens: bool = True) -> Tokenizer:
    """A tokenizer from Hugging Face's ``tokenizer.json``.

    ``encode(text, allow_special="all")`` gives the ids of ``tokenizers.Tokenizer.from_file``. It
    reads byte-level BPE whose text is cut by GPT-2's rule or by one Split (see ``PATTERNS`` for
    those that are quick); added tokens become special tokens. Our tokenizer adds none of its own:
    a file with a template that does is refused, or with ``add_special_tokens=False`` gives the ids
    of their ``encode(text, add_special_tokens=False)``.

    Raises ``ValueError``, with the file's name and that of the field, for what our tokenizer
    cannot do: other models, normalizers, prefixes, truncation.
    """
    state = read_json(path, TOKENIZER, kind=object)
    with reading(path, TOKENIZER, "For other tokenizers there is the package tokenizers"):
        _require("the file", state, _TOP, _PARTS)
        if state.get("decoder") is not None:
            _require("decoder", state["decoder"], _AFTERWARDS, needed=("type",))
        _require_no_template(state.get("post_processor"), add_special_tokens)
        model = state["model"]
        _require("model", model, _MODEL, {"vocab", "merges"})
        special = _added_tokens(state.get("added_tokens") or [], model["vocab"])
        ranks = {
            from_printable(token): number
            for token, number in model["vocab"].items()
            if token not in special
        }
        merges = [_merge(entry) for entry in model["merges"]]
        tokenizer = Tokenizer(
            ranks, pattern=_pattern(state.get("pre_tokenizer")), special_tokens=special
        )
        _require_same_merges(tokenizer, merges)
    return tokenizer


def is_huggingface(path: StrPath) -> bool:
    """Whether a file is a JSON object with a ``"model"``, as Hugging Face's are."""
    try:
        return "model" in read_json(path, TOKENIZER)
    except ValueError:
        return False


def save_huggingface(tokenizer: Tokenizer, path: StrPath, *, begin_with: str | None = None) -> None:
    """Write ``tokenizer.json`` for Hugging Face's ``tokenizers.Tokenizer.from_file``.

    It gives the ids of ``encode(text, allow_special="all")``: that library has no other rule for
    special tokens in a text, and it decodes only those in ASCII faithfully. ``begin_with``: a
    special token that it is to put before every text. Raises ``ValueError`` when the vocabulary is
    not one of merges.
    """
    byte_level: dict[str, Any] = {"type": "ByteLevel", "add_prefix_space": False}
    byte_level |= {"trim_offsets": False, "use_regex": False}
    split: dict[str, Any] = {"type": "Split", "pattern": {"Regex": tokenizer.pattern.expression}}
    split |= {"behavior": "Isolated", "invert": False}
    vocabulary = {to_printable(token): rank for token, rank in tokenizer.ranks.items()}
    state = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": token_id, "content": name, "special": True, "normalized": False}
            | {"single_word": False, "lstrip": False, "rstrip": False}
            for name, token_id in sorted(tokenizer.special_tokens.items(), key=itemgetter(1))
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": None if begin_with is None else _template(tokenizer, begin_with),
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "vocab": vocabulary | tokenizer.special_tokens,
            "merges": [" ".join(map(to_printable, pair)) for pair in tokenizer.merges()],
        },
    }
    replace_durably(Path(path), to_json(state))


def _template(tokenizer: Tokenizer, begin_with: str) -> dict[str, Any]:
    """A post-processor that puts a special token before a text, and before the first of two."""
    first = {"SpecialToken": {"id": begin_with, "type_id": 0}}
    single = [first, {"Sequence": {"id": "A", "type_id": 0}}]
    token = {"ids": [tokenizer.special_tokens[begin_with]], "tokens": [begin_with]}
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {begin_with: {"id": begin_with, **token}},
    }


# ---- reading -------------------------------------------------------------------------------------


def _require(
    part: str,
    found: Any,
    allowed: Mapping[str, tuple[Any, ...]],
    read: Collection[str] = (),
    needed: Iterable[str] = (),
) -> None:
    """Raise ValueError for a field that is neither read nor has a value that changes no id."""
    if not isinstance(found, Mapping):
        raise ValueError(f"{part}: expected an object, got {found!r:.60}")
    for name, value in found.items():
        if name not in read and value not in allowed.get(name, ()):
            raise ValueError(
                f"{part} has {name} = {value!r:.80}, which this tokenizer does not do"
                + (f" (only {', '.join(map(repr, allowed[name]))})" if name in allowed else "")
            )
    for name in needed:
        if name not in found:
            raise ValueError(f"{part} lacks {name}")


def _require_no_template(part: Any, add_special_tokens: bool) -> None:
    """Raise ValueError for a post-processor that adds tokens which are asked for."""
    if part is None or not add_special_tokens:
        return
    if isinstance(part, Mapping) and part.get("type") != "ByteLevel":
        raise ValueError(
            f"post_processor has type = {part.get('type')!r:.60}, which may add tokens to a text: "
            "pass add_special_tokens=False for the ids without them"
        )
    _require("post_processor", part, _AFTERWARDS)


def _added_tokens(entries: Any, vocabulary: Mapping[str, int]) -> dict[str, int]:
    """The added tokens and their ids, in the order of the file."""
    found: dict[str, int] = {}
    kinds: dict[bool, list[str]] = {True: [], False: []}
    following = len(vocabulary)  # of a token that the model lacks, whatever the file says
    for entry in entries:
        name = entry["content"]
        _require(f"added token {name!r:.60}", entry, _ADDED, {"id", "content", "normalized"})
        number = vocabulary.get(name, following)
        if entry["id"] != number:
            raise ValueError(
                f"added token {name!r:.60} has the id {entry['id']!r:.60}, but would be number "
                f"{number} of the vocabulary"
            )
        found[name] = number
        following = max(following, number + 1)
        kinds[bool(entry.get("normalized", True))].append(name)
    for one in kinds[False]:  # these are looked for first
        for other in kinds[True]:
            if _may_overlap(one, other):
                raise ValueError(
                    f"the added tokens {one!r} and {other!r} may overlap in a text, and only one "
                    "is normalized: which is found first is not honoured here"
                )
    return found


def _may_overlap(one: str, other: str) -> bool:
    """Whether a text can hold both so that they share characters."""
    shorter = min(len(one), len(other))
    ends = any(
        a[-size:] == b[:size] for a, b in ((one, other), (other, one)) for size in range(1, shorter)
    )
    return one in other or other in one or ends


def _merge(entry: Any) -> Pair:
    """``"a b"`` or ``["a", "b"]``."""
    pair = entry.split(" ") if isinstance(entry, str) else entry
    if not isinstance(pair, list) or len(pair) != 2 or not all(pair):
        raise ValueError(f"merges: {entry!r:.60} is not two tokens")
    return from_printable(pair[0]), from_printable(pair[1])


def _pattern(found: Any) -> Pattern:
    """The rule of a pre-tokenizer: ByteLevel's own, or that of a Split before it."""
    _require("pre_tokenizer", found, {}, (found or {}).keys(), needed=("type",))
    steps = found["pretokenizers"] if found["type"] == "Sequence" else [found]
    kinds = [step["type"] for step in steps]
    if kinds not in (["ByteLevel"], ["Split", "ByteLevel"]):
        raise ValueError(
            f"pre_tokenizer is {' + '.join(map(str, kinds)) or 'empty'}: only ByteLevel, alone or "
            "behind one Split, is done here"
        )
    _require("pre_tokenizer ByteLevel", steps[-1], _BYTE_LEVEL, needed=("add_prefix_space",))
    own_rule = steps[-1].get("use_regex", True)
    if own_rule == (len(steps) == 2):
        raise ValueError(
            f"pre_tokenizer ByteLevel has use_regex = {own_rule} "
            f"{'behind a Split: two rules' if own_rule else 'and no Split: no rule'}, which this "
            "tokenizer does not do"
        )
    return GPT2 if own_rule else _split_pattern(steps[0])


def _split_pattern(split: Mapping[str, Any]) -> Pattern:
    _require("pre_tokenizer Split", split, _SPLIT, {"pattern", "behavior", "invert"})
    kept = (split["behavior"], split["invert"])
    if kept not in (("Isolated", False), ("Removed", True)):
        raise ValueError(
            f"pre_tokenizer Split has behavior = {kept[0]!r}, invert = {kept[1]!r}: only "
            "'Isolated' without invert, or 'Removed' with it, is done here"
        )
    expression = split["pattern"].get("Regex")
    if not isinstance(expression, str):
        raise ValueError(f"pre_tokenizer Split has pattern = {split['pattern']!r:.80}, no Regex")
    known = {pattern.expression: pattern for pattern in PATTERNS.values()}
    if expression in known:
        return known[expression]
    if not _SAME.fullmatch(expression) or "&&" in expression:
        raise ValueError(
            f"pre_tokenizer Split has the Regex {expression!r:.200}, in which something may mean "
            "another thing to Oniguruma than to Python's package regex: it is not honoured"
        )
    return Pattern(expression)


def _require_same_merges(tokenizer: Tokenizer, merges: Collection[Pair]) -> None:
    """Raise ValueError unless merging by the list is merging by the ids, in every text.

    It is when the ids follow the order of the list and each token's own bytes become its listed
    pair. Then two other neighbours never make that token: what stood between them would have been
    merged before. (So further pairs for a token, as files made from tiktoken's have, do nothing.)
    """
    ranks = tokenizer.ranks
    last = -1
    for left, right in merges:
        number = ranks.get(left + right)
        if number is None or left not in ranks or right not in ranks:
            raise ValueError(f"merges: {left!r} + {right!r} are not three tokens of the vocabulary")
        if number < last:
            raise ValueError(
                f"merges: {left + right!r} has the id {number}, smaller than that of the merge "
                "before it: the order of merges is not the order of ids"
            )
        last = number
    if unmade := {token for token in ranks if len(token) > 1} - {a + b for a, b in merges}:
        raise ValueError(f"{len(unmade)} token(s) such as {min(unmade)!r} are made by no merge")
    if odd := set(tokenizer.merges()) - set(merges):
        left, right = min(odd)
        raise ValueError(
            f"merges: {left + right!r} comes of {left!r} + {right!r} by the order of ids, which is "
            "not listed"
        )

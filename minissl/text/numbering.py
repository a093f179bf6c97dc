"""Which id stands for what: every token one, and every id one token. Lecture 03."""

from collections.abc import Iterable, Mapping
from itertools import count

from minissl.options import several
from minissl.text.patterns import without_surrogates


def number_special_tokens(
    special_tokens: Mapping[str, int] | Iterable[str], first_id: int
) -> dict[str, int]:
    if not isinstance(special_tokens, Mapping):
        names = several(special_tokens, "special_tokens")
        special_tokens = dict(zip(names, count(first_id)))
        if len(special_tokens) < len(names):
            raise ValueError(f"special_tokens names one token twice: {names}")
    for name in special_tokens:
        if not name or name != without_surrogates(name):
            raise ValueError(f"special token {name!r}: expected valid text of at least 1 character")
    return dict(special_tokens)


def by_id(
    tokens: Iterable[tuple[bytes, int]], taken: Mapping[int, bytes] | None = None
) -> dict[int, bytes]:
    """The bytes of every id, the ids of ``taken`` included."""
    by_id = dict(taken or {})
    for token, token_id in tokens:
        if not isinstance(token_id, int) or isinstance(token_id, bool) or token_id < 0:
            raise ValueError(f"token {token!r} has the id {token_id!r}: expected an integer >= 0")
        if token_id in by_id:
            raise ValueError(f"id {token_id} stands for both {by_id[token_id]!r} and {token!r}")
        by_id[token_id] = token
    return by_id

"""Files that are read: none is believed before it is checked, and every error names its file.

A file may be cut off, damaged, swapped with another, or made by somebody to do harm. So whatever
its content makes a reader raise becomes one sentence with the file's name (``reading``); what a
file promises is compared with its size before memory is taken; nothing is unpickled or started.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MOST_JSON = 256 << 20  # bytes; the largest published tokenizer has a tenth
DEEPEST = 100  # lists and objects in one another
LONGEST = 100  # digits of a whole number: a float has room for 308, a seed of 256 bits has 78
ADVICE = "It is damaged, or not what its name says: get it again"
HALF = re.compile(r"\\u[dD][89a-fA-F]")  # what may be half of a character
WORDS = {
    dict: "an object", list: "a list", str: "a text", int: "a whole number", float: "a number",
    bool: "true or false", type(None): "null",
}  # fmt: skip


class FileError(ValueError):
    """What is in a file is not what should be there. The message names the file."""


@contextmanager
def reading(
    path: str | os.PathLike[str],
    what: str,
    advice: str = ADVICE,
    raised: type[Exception] = FileError,
) -> Iterator[None]:
    """Around all that believes a file: what its content makes that raise becomes a ``FileError``.

    path: the file, or what to call it. what: what it should be, "a tokenizer". advice: what to do,
    a sentence without its full stop. raised: another error than ``FileError``.

    Passed on as they are: an error that names the file already, an OSError with a file name, a
    package that is missing, and a lack of memory, which gets the name.
    """
    name = shown(path)
    try:
        yield
    except (ImportError, NameError):  # no file's fault
        raise
    except MemoryError as error:
        raise MemoryError(f"{name} needs more memory than there is ({error})") from error
    except Exception as error:
        named = name in str(error) or getattr(error, "filename", None)
        if isinstance(error, raised) or (isinstance(error, OSError) and named):
            raise
        told = isinstance(error, FileError) or (isinstance(error, ValueError) and named)
        said = f"{name} cannot be read as {what}: {_reason(error)} {advice}"
        raise raised(str(error) if told else said) from error


def shown(path: str | os.PathLike[str]) -> str:
    """A file's name as text that can be printed: bytes that are no UTF-8 with backslashes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def read_bytes(file: Path, most: int | None = None) -> bytes:
    """The bytes of an ordinary file. Raises OSError with its name for any other, and never waits.

    ``most``: how many bytes are believed; FileError for a file of more, before it is read. A pipe
    is refused: who asks again what a run was trained on would find it empty.
    """
    try:
        if file.exists() and not file.is_file():
            raise OSError(f"{shown(file)!r} is no ordinary file: save what it gives in one first")
        if most is not None and (size := file.stat().st_size) > most:
            raise FileError(
                f"{shown(file)} has {size:,} bytes, expected at most {most:,}. {ADVICE}"
            )
        return file.read_bytes()
    except OSError as error:
        if error.errno is None:
            raise
        missing = isinstance(error, FileNotFoundError)
        advice = "give the name of one that is there" if missing else "repair it or leave it out"
        raise type(error)(
            error.errno, f"{shown(file)!r} cannot be read ({error.strerror}): {advice}"
        ) from error


# ---- JSON ----------------------------------------------------------------------------------------


def read_json(
    path: str | os.PathLike[str],
    what: str,
    keys: Mapping[str, type | tuple[type, ...]] | None = None,
    *,
    kind: type = dict,
    advice: str = ADVICE,
) -> Any:
    """The value in a JSON file: see ``parse_json``. OSError for a file that cannot be read."""
    return parse_json(read_bytes(Path(path), MOST_JSON), path, what, keys, kind=kind, advice=advice)


def parse_json(
    data: bytes | str,
    name: str | os.PathLike[str],
    what: str,
    keys: Mapping[str, type | tuple[type, ...]] | None = None,
    *,
    kind: type = dict,
    advice: str = ADVICE,
    loose: bool = False,
) -> Any:
    """The value of a JSON text, of one kind, with at least these keys and their types.

    name: of the file, for the FileError. ``kind``: ``object`` for any. ``keys``: of an object; an
    int is a float too, and neither True nor False is an int; further keys are no error. Refused
    beside what is no JSON: a name that comes twice, what is nested more than 100 deep, which other
    code could not print, and (unless ``loose``) NaN, infinity, and half of a character (but not
    what Python makes of a path whose bytes are no UTF-8).
    """
    with reading(name, what, advice):
        text = data if isinstance(data, str) else data.decode(json.detect_encoding(data))
        value = (_LOOSE if loose else _STRICT).decode(text)
        _check_depth(value)
        if HALF.search(text) and not loose:
            _check_characters(value)
        if not is_kind(value, kind):
            raise ValueError(f"it holds {in_words(value)}, expected {WORDS[kind]}")
        for key, expected in (keys or {}).items():
            kinds = expected if isinstance(expected, tuple) else (expected,)
            words = " or ".join(WORDS[one] for one in kinds)
            if key not in value:
                raise ValueError(f"it has no {key!r}, expected {words}")
            if not any(is_kind(value[key], one) for one in kinds):
                raise ValueError(f"its {key!r} is {in_words(value[key])}, expected {words}")
    return value


def is_kind(value: Any, kind: type) -> bool:
    """Whether a value of JSON is of this type: True is no number, 1 is a float, all is object."""
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return isinstance(value, kind)


def in_words(value: Any) -> str:
    """A value of JSON in a few words, for errors: "a list", "the text 'abc'"."""
    if isinstance(value, str):
        return f"the text {value!r:.40}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"the number {value!r:.40}"
    return WORDS.get(type(value), type(value).__name__)


def _names_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the name {twice!r:.60} comes twice in one object")
    return found


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text:.40} is too large")
    return value


def _whole(text: str) -> int:
    if len(text) > LONGEST:
        raise ValueError(f"the number {text[:20]}... has {len(text):,} digits")
    return int(text)


_STRICT = json.JSONDecoder(
    object_pairs_hook=_names_once, parse_int=_whole, parse_float=_finite, parse_constant=_no_number
)
_LOOSE = json.JSONDecoder(object_pairs_hook=_names_once, parse_int=_whole)


def _check_depth(value: Any) -> None:
    level = [value]  # all that is as deep
    for _ in range(DEEPEST):
        inner = [one.values() if isinstance(one, dict) else one for one in level if _holds(one)]
        level = [value for values in inner for value in values]
    if any(_holds(one) for one in level):
        raise ValueError(f"it is nested more than {DEEPEST} deep")


def _check_characters(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise ValueError(f"a text in it has half of a character ({half!r})") from None


def _holds(value: Any) -> bool:
    return isinstance(value, dict | list)


def _reason(error: Exception) -> str:
    """What an error says of a file's content: one line, a sentence or more."""
    text = " ".join(str(error).split())
    if isinstance(error, RecursionError):
        text = f"it is nested more than {DEEPEST} deep"
    elif isinstance(error, json.JSONDecodeError):
        text = f"no JSON ({text})"
    elif isinstance(error, KeyError):
        told = str(error.args[0]) if error.args else ""
        text = told if " " in told else f"it has no {text}"
    elif not isinstance(error, ValueError) or not text:
        text = f"{type(error).__name__}: {text}"
    return text if text.endswith((".", "?")) else f"{text}."

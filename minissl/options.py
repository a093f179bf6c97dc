"""Settings with a meaning and bounds: one sentence for Python and for the command line.

A group of settings is a frozen dataclass below ``Options`` whose fields are made by ``option``::

    class Settings(Options):
        temperature: float = option(0.5, "of the softmax", above=0)

``--help`` prints the meaning, and a value out of bounds is refused where it is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import Field, asdict, dataclass, field, fields
from numbers import Integral, Real
from typing import Any, Self, TypeVar


def option(
    default: Any,
    meaning: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    choices: Sequence[str] | None = None,
    free: bool = False,
    learned: bool = False,
) -> Any:
    """A setting: an int, a float, a bool or a text, by its default, with its meaning and bounds.

    ``least`` and ``most`` are allowed themselves, ``above`` is not. ``free``: it does not change
    what is learned, so a run may be continued with another value. ``learned``: it decides what a
    run learns from its data and keeps, its tokenizer, so that who begins with its weights has it.
    """
    bounds = {"least": least, "above": above, "most": most, "choices": choices}
    return field(
        default=default, metadata={"help": meaning, "free": free, "learned": learned, **bounds}
    )


@dataclass(frozen=True, kw_only=True)
class Options:
    """The base of all settings: every value is checked when they are made."""

    def __post_init__(self) -> None:
        for one in fields(self):
            try:
                check_value(one, getattr(self, one.name))
            except ValueError as error:
                raise ValueError(f"{one.name} {error}") from None

    def settled(self, data: Any) -> Self:
        """The same, with what was left to the data filled in: a run records what it was."""
        return self

    @classmethod
    def older(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a file says, where one written before some settings were meant something else."""
        return values


def check_value(one: Field, value: Any) -> None:
    """Raise ValueError, a sentence without its subject, unless the value is one of the option."""
    kind = type(one.default)
    fits = {
        bool: isinstance(value, bool),
        int: is_whole(value),
        float: isinstance(value, Real) and not isinstance(value, bool),
        str: isinstance(value, str),
    }[kind]
    if fits and kind in (int, float):
        fits = (kind is int or math.isfinite(value)) and _within(one.metadata, value)
    if fits and one.metadata.get("choices"):
        fits = value in one.metadata["choices"]
    if not fits:
        raise ValueError(f"must be {describe_values(one)}, got {value!r:.60}")


def is_whole(value: Any) -> bool:
    """Whether it is a whole number of any library, and not True or False."""
    return isinstance(value, Integral) and type(value) is not bool


def several(names: Iterable[str], argument: str) -> list[str]:
    """The names in a list. ValueError for one string, of which each letter would be a name."""
    if isinstance(names, str | bytes):
        raise ValueError(
            f"{argument} is one string, {names!r:.60}: expected several, such as [{names!r:.60}]"
        )
    return list(names)


def _within(bounds: Mapping[str, Any], value: float) -> bool:
    least, above, most = (bounds.get(name) for name in ("least", "above", "most"))
    return (
        (least is None or value >= least)
        and (above is None or value > above)
        and (most is None or value <= most)
    )


def describe_values(one: Field) -> str:
    """In words, what an option can be: "a whole number from 1 to 8"."""
    if one.metadata.get("choices"):
        return f"one of {', '.join(choice or repr('') for choice in one.metadata['choices'])}"
    words = {bool: "True or False", int: "a whole number", float: "a number", str: "a text"}
    least, above, most = (one.metadata.get(name) for name in ("least", "above", "most"))
    limits = [f"> {above:,}"] if above is not None else []
    limits += [f"≥ {least:,}"] if least is not None else []
    limits += [f"≤ {most:,}"] if most is not None else []
    return " ".join([words[type(one.default)], " and ".join(limits)]).strip()


def reader(one: Field) -> Callable[[str], Any]:
    """What turns the text of the command line into a value of the option, or says why not."""

    def read(text: str) -> Any:
        value: Any = text
        kind: Any = type(one.default)
        with suppress(ValueError):  # of a word the check says what was expected
            value = kind(text)
        check_value(one, value)
        return value

    return read


T = TypeVar("T", bound=Options)


def from_json(kind: type[T], values: Any, where: str) -> T:
    """The settings that a file holds; options that it lacks are newer than it and keep the default.

    ``where``: the file, for the error. Raises ValueError for anything else.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{where}: the settings are {values!r:.40}, expected names and values")
    known = {one.name for one in fields(kind)}
    if unknown := sorted(values.keys() - known):
        raise ValueError(
            f"{where}: {kind.__name__} has no setting {', '.join(map(str, unknown))}: "
            "the file is damaged, or of another version of minissl"
        )
    try:
        return kind(**kind.older(values))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def binding(settings: Options) -> dict[str, Any]:
    """The settings in JSON types, without those that a continued run may change."""
    free = {one.name for one in fields(settings) if one.metadata.get("free")}
    return {name: value for name, value in asdict(settings).items() if name not in free}

"""Put other modules in the place of some of a model's: what LoRA and adapters share. Lecture 11."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, get_args

from minissl.nn.convolution import Conv2d
from minissl.nn.layers import Linear
from minissl.nn.module import Module

OTHERWISE = (
    "take layers-on-top or finetune, which go with every run; a convolutional one takes lora and "
    "adapters too, a recurrent one bias, last-layers and prompts"
)


def replace_modules(model: Module, make: Callable[[str, Module], Module | None]) -> list[str]:
    """Replace every module below ``model`` for which ``make(path, module)`` gives another one.

    Paths are those of ``named_modules``: "blocks.0.attention.query". A module that stands in two
    places is asked about once and replaced in both by the same one; what was put in is not looked
    into. Returns the paths in the order of the model. The model itself is not asked about.
    """
    made: dict[int, Module | None] = {}
    kept: list[Module] = []  # so that no other module gets the id of one that was replaced
    replaced: list[str] = []

    def look(module: Module, prefix: str) -> None:
        for name, value in list(vars(module).items()):
            many = isinstance(value, list | tuple)
            children = list(value) if many else [value]
            for number, child in enumerate(children):
                if not isinstance(child, Module):
                    continue
                path = f"{prefix}{name}.{number}" if many else f"{prefix}{name}"
                if id(child) not in made:
                    kept.append(child)
                    made[id(child)] = make(path, child)
                new = made[id(child)]
                if new is None:
                    look(child, f"{path}.")
                else:
                    children[number] = new
                    replaced.append(path)
            if any(new is not old for new, old in zip(children, value if many else [value])):
                setattr(module, name, type(value)(children) if many else children[0])

    look(model, "")
    return replaced


def put_around(model: Module, layers: Sequence[Module], make: Callable[[Any], Module]) -> list[str]:
    """Replace each of these layers by what ``make(layer)`` gives. Returns their paths."""
    chosen = {id(layer) for layer in layers}
    return replace_modules(model, lambda _, one: make(one) if id(one) in chosen else None)


def matching(
    model: Module, where: str, usual: str, what: str, kinds: Any = Linear | Conv2d
) -> list[Any]:
    """The layers of these kinds that something is added to, by their paths.

    ``where``: a regular expression, searched in paths such as "blocks.0.attention.query"; empty:
    ``usual`` if it matches any, otherwise everything. Raises ValueError, with the paths that there
    are, when none matches. ``what``: is added, for the error: "LoRA could stand beside".
    """
    layers = {n: m for n, m in model.named_modules() if n and isinstance(m, kinds)}
    if not where and any(re.search(usual, name) for name in layers):
        where = usual
    try:
        pattern = re.compile(where)
    except re.error as error:
        raise ValueError(f"where is no regular expression: {where!r} ({error})") from None
    if not layers:
        raise ValueError(f"this network has no {_named(kinds)} that {what}: {OTHERWISE}")
    chosen = [layer for name, layer in layers.items() if pattern.search(name)]
    if not chosen:
        raise ValueError(f"no layer matches {where!r}; there are: {_listed(layers)}")
    return chosen


def _listed(paths: Iterable[str]) -> str:
    """Paths for a person: of those that differ in their numbers alone the first."""
    firsts: dict[str, str] = {}
    for path in (paths := [*paths]):
        firsts.setdefault(re.sub("[0-9]+", "0", path), path)
    more = f", and the same with other numbers: {len(paths)} in all"
    return ", ".join(firsts.values()) + (more if len(firsts) < len(paths) else "")


def _named(kinds: Any) -> str:
    return " or ".join(kind.__name__ for kind in get_args(kinds) or (kinds,))

"""Put other modules in the place of some of a model's: what LoRA and adapters share. Lecture 11."""

from __future__ import annotations

from collections.abc import Callable

from minissl.nn.module import Module


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

"""Whether the checker, NumPy and Python are still what they were before the student's code ran."""

from __future__ import annotations

import sys
from types import FunctionType, ModuleType
from typing import Any

_PACKAGES = ("minissl", "minissl_kernels", "numpy")
_MODULES = (
    *("__main__", "builtins", "contextlib", "dataclasses", "hmac", "json", "json.encoder"),
    *("math", "os", "torch", "torch._tensor"),
)


class Untouched:
    """What was there when it was made: functions, classes and their methods."""

    def __init__(self) -> None:
        self._modules = {**sys.modules}
        self._places: list[tuple[str, Any, str, Any, Any]] = []
        for name, module in self._modules.items():
            looked_at = name in _MODULES or name.split(".")[0] in _PACKAGES
            if looked_at and isinstance(module, ModuleType):
                self._note(name, module)

    def _note(self, label: str, where: ModuleType | type) -> None:
        for name, value in [*vars(where).items()]:
            if not callable(value) and not isinstance(value, property | staticmethod | classmethod):
                continue
            code = value.__code__ if isinstance(value, FunctionType) else None
            self._places.append((f"{label}.{name}", where, name, value, code))
            own = isinstance(where, ModuleType) and isinstance(value, type)
            if own and value.__module__ == where.__name__:
                self._note(f"{label}.{name}", value)

    def replaced(self) -> str:
        """The first of them that is another now, "numpy.allclose", or "".

        Calls nothing that could have been replaced.
        """
        for label, where, name, value, code in self._places:
            if where.__dict__.get(name) is not value:
                return label
            if code is not None and value.__code__ is not code:
                return label
        return ""

    def put_back(self) -> None:
        """Undo what a file replaced while it was loaded, so that it costs no other task."""
        sys.modules.update(self._modules)
        for _, where, name, value, code in self._places:
            if where.__dict__.get(name) is not value:
                setattr(where, name, value)
            if code is not None and value.__code__ is not code:
                value.__code__ = code

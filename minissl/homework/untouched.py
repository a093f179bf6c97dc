"""Whether the checker, NumPy and Python are still what they were before the student's code ran."""

from __future__ import annotations

import sys
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

_WATCHED = ("builtins", "hmac", "json", "numpy", "numpy.testing", "minissl.homework")
_KINDS = (BuiltinFunctionType, FunctionType, ModuleType, type)


def functions_of() -> dict[tuple[str, str], Any]:
    """(module, name) -> the functions, classes and modules that checks are made of."""
    watched = [
        (name, module)
        for name, module in list(sys.modules.items())
        if name in _WATCHED or name.startswith("minissl.homework.")
    ]
    return {
        (name, key): value
        for name, module in watched
        for key, value in list(vars(module).items())
        if isinstance(value, _KINDS)
        or type(value).__name__ in ("ufunc", "_ArrayFunctionDispatcher")
    }


def replaced(before: dict[tuple[str, str], Any]) -> str:
    """The first of these names that means something else now, "numpy.allclose", or ""."""
    for (module, key), value in before.items():
        now = getattr(sys.modules.get(module), "__dict__", {}).get(key)
        if now is not value:
            return f"{module}.{key}"
    return ""

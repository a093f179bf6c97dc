"""Spares Triton's interpreter what it repeats at every call of a function inside a kernel.

Before each such call it searches the whole of ``triton.language`` for functions to replace by
interpreted ones, 1.5 ms, though the launch has replaced them all: a quarter of the time of these
tests. Here they are replaced once in a launch, for each module of the language that a function
sees. The launch puts back what it replaced, as before.
"""

import functools

from triton.runtime import interpreter


@functools.cache
def install():
    """Once, before any kernel runs; older versions, which put nothing back, stay as they are."""
    if not hasattr(interpreter, "_LangPatchScope"):
        return
    patch_lang, language = interpreter._patch_lang, (interpreter.tl, interpreter.tl.core)
    replaced = set()  # the modules that the launch which is running has replaced

    class Scope(interpreter._LangPatchScope):
        def restore(self):
            super().restore()
            replaced.clear()

    def patch_once(function):
        seen = function.__globals__.values()
        modules = {index for index, m in enumerate(language) if any(v is m for v in seen)}
        if modules and modules <= replaced:
            return Scope()  # nothing to put back
        replaced.update(modules)
        return patch_lang(function)

    interpreter._LangPatchScope = Scope
    interpreter._patch_lang = patch_once

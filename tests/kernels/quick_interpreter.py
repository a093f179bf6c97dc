"""Spares Triton's interpreter what it repeats at every call: two thirds of the time of these tests.

- Before each call of a function inside a kernel it searches the whole of ``triton.language`` for
  functions to replace by interpreted ones, 1.5 ms, though the launch has replaced them all. Here
  they are replaced once in a launch, for each module of the language that a function sees. The
  launch puts back what it replaced, as before.
- Each sum, difference and product of integers is computed again in int64 and compared with the
  limits of its type, and the answer is thrown away: it is for a debug build, and the interpreter's
  options say that this is none.
- Each tensor gets new objects for its shape and its type, and a list of NumPy's types is made for
  each look into it. Here there is one for each shape.
"""

import dataclasses
import functools

from triton._utils import validate_block_shape
from triton.runtime import interpreter

core = interpreter.tl.core


@functools.cache
def install():
    """Once, before any kernel runs; older versions, which put nothing back, stay as they are."""
    if not hasattr(interpreter, "_LangPatchScope"):
        return
    replace_once_in_a_launch()
    skip_unused_checks()
    share_shapes()
    interpreter._get_np_dtype = NumpyTypes(interpreter._get_np_dtype)


def replace_once_in_a_launch():
    """The functions of the language, by interpreted ones."""
    patch_lang, language = interpreter._patch_lang, (interpreter.tl, core)
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


def skip_unused_checks():
    """No search for overflows where the interpreter would tell nobody what it finds."""
    builder = interpreter.interpreter_builder
    if not builder.options.debug:
        builder.options = dataclasses.replace(builder.options, sanitize_overflow=False)


def share_shapes():
    """The shape of a block, and of a tensor, is made once for all of the same sizes."""
    new_block, broadcast = core.block_type.__init__, interpreter.TritonSemantic.broadcast_impl_value

    @functools.cache
    def of_block(sizes):
        shape = core.tuple(sizes)
        return shape, validate_block_shape(shape), str(shape)

    @functools.cache
    def of_tensor(sizes):
        numel = functools.reduce(lambda a, b: a * b, sizes, 1)
        return core.constexpr(numel), core.tuple([core.constexpr(size) for size in sizes])

    def block(self, element_ty, shape):
        sizes = (*(s.value if isinstance(s, core.constexpr) else s for s in shape),)
        if not sizes or any(type(size) is not int for size in sizes):
            new_block(self, element_ty, shape)  # which refuses it
            return
        self.element_ty = element_ty
        self.shape, self.numel, name = of_block(sizes)
        self.name = f"<{name}, {element_ty}>"

    def tensor(self, handle, type):
        self.handle, self.type, self.dtype = handle, type, type.scalar
        self.numel, self.shape = of_tensor((*type.shape.values,) if type.is_block() else ())

    def broadcast_values(self, left, right):
        if left.shape is right.shape:
            return left, right
        return broadcast(self, left, right)

    core.block_type.__init__, core.tensor.__init__ = block, tensor
    interpreter.TritonSemantic.broadcast_impl_value = broadcast_values


class NumpyTypes(dict):
    """NumPy's type for each of Triton's, by its name."""

    def __init__(self, original):
        self.original = original

    def __call__(self, type):
        name = type.name
        if name not in self:
            self[name] = self.original(type)
        return self[name]

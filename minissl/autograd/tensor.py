"""``Tensor``: an array that remembers how it was made, and ``backward()``, which walks back.

An operation is a function from arrays to ``(output, vjps)``: what it computes, and below it, in the
same names, how a gradient of the output becomes a gradient of each input (a vector-Jacobian
product). ``@differentiable`` turns such a function into one from Tensors to a Tensor:

    @differentiable
    def multiply(a, b, /):
        '''c = a b;  ∂L/∂a = g b,  ∂L/∂b = g a.'''
        return a * b, (lambda g: g * b, lambda g: g * a)

Broadcasting is undone, dtypes are restored and gradients are added up in one place: ``backward``.
The last line imports the operations, which need Tensor: the one circle of the house. Lecture 02.
"""

from __future__ import annotations

import copy
import functools
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, cast

import numpy as np

from minissl.autograd.arrays import Array, dtype_name, is_floating, kind, namespace
from minissl.autograd.checked import Watched, is_checked, require_finite_output
from minissl.autograd.devices import move
from minissl.autograd.inputs import array_of, matched, refuse_promotion
from minissl.autograd.nodes import Node, output_and_rules, walk_back
from minissl.autograd.recording import is_recording
from minissl.autograd.rows import merged


class Tensor:
    """An array with a gradient. ``Tensor([[1.0, 2.0]], requires_grad=True)``.

    ``array``: a NumPy array, or a torch tensor used as plain memory. Lists and Python floats become
    float32 NumPy arrays; an array keeps its dtype. ``grad``: None, or an array of the same shape
    and dtype, or the ``Rows`` of it that are not zero, to which ``backward()`` adds (leaves only:
    inner results keep no gradient).
    ``requires_grad``: True for parameters, and for everything computed from them.

    Raises TypeError for data that is no array of numbers, and for integer tensors with gradients.
    """

    __slots__ = ("__weakref__", "array", "grad", "node", "requires_grad")
    __array_ufunc__ = None  # numpy_array * tensor becomes tensor.__rmul__, not an array of objects

    def __init__(self, data: Any, *, requires_grad: bool = False):
        self.array = as_array(data)
        if requires_grad and not is_floating(self.array):
            raise TypeError(
                f"a gradient needs a floating dtype, got {dtype_name(self.array)}: "
                "use a float array, or requires_grad=False"
            )
        self.requires_grad = requires_grad
        self.grad: Array | None = None
        self.node: Node | None = None

    # ---- what it is -------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes, as a tuple."""
        return tuple(self.array.shape)

    @property
    def ndim(self) -> int:
        """How many axes."""
        return self.array.ndim

    @property
    def size(self) -> int:
        """How many elements."""
        return math.prod(self.array.shape)

    @property
    def dtype(self) -> Any:
        """The array's dtype (of the array's own library)."""
        return self.array.dtype

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array (not a copy on the CPU). bfloat16 becomes float32."""
        return move(self.array, "cpu")

    def item(self) -> float:
        """The value of a tensor with one element, as a Python number."""
        if self.size != 1:
            raise ValueError(f"item() needs one element, this tensor has shape {self.shape}")
        return self.array.item()

    def detach(self) -> Tensor:
        """The same array without its history: gradients stop here."""
        return Tensor(self.array)

    def __repr__(self) -> str:
        values = np.array2string(self.numpy(), precision=4, threshold=20, prefix="Tensor(")
        made_by = f", made by {self.node.operation}" if self.node else ""
        flag = ", requires_grad" if self.requires_grad and not self.node else ""
        return f"Tensor({values}, {dtype_name(self.array)}{flag}{made_by})"

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("a zero-dimensional tensor has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    __hash__ = object.__hash__  # == compares elements, but a tensor is still a key by identity

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.requires_grad:
            raise TypeError(
                "a Tensor that needs a gradient was handed to NumPy, which would lose it: use "
                "minissl functions, or .detach() / .numpy() to leave the graph on purpose"
            )
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self.node is not None:
            raise TypeError(
                f"a result (made by {self.node.operation}) cannot be copied with its graph, which "
                "backward() frees: copy .detach(), or the leaves, and compute again"
            )
        twin = memo[id(self)] = copy.copy(self)
        twin.array, twin.grad = copy.deepcopy((self.array, self.grad), memo)
        return twin

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError(
            "a Tensor cannot be assigned into, because the graph may still need its old values. "
            "Use where(mask, new, old), concatenate(...) or a new Tensor; outside of a graph, "
            "assign into tensor.array"
        )

    # ---- the way back -----------------------------------------------------------------------

    def backward(
        self, gradient: Any = None, *, ready: Callable[[Tensor], None] | None = None
    ) -> None:
        """Add ∂self/∂leaf (times ``gradient``) to ``leaf.grad`` for every leaf it came from.

        ``gradient``: same shape and dtype as self; only a tensor with one element may leave it out
        (it is then 1). The walk frees the graph as it goes: a second ``backward()`` through the
        same graph raises RuntimeError. Leaves accumulate: set ``grad = None`` between steps.
        ``ready`` is called with each leaf as soon as its ``grad`` is complete.

        Raises RuntimeError if nothing here needs a gradient, ValueError for a wrong gradient.
        """
        if not self.requires_grad:
            raise RuntimeError(
                "backward() on a tensor that no parameter led to: create the inputs with "
                "requires_grad=True, and compute outside of no_grad()"
            )
        seed = self._cotangent(gradient)
        pairs = walk_back(self.node or self, seed)
        for leaf, total in pairs if ready else list(pairs):  # all or, when it fails, none
            leaf.grad = total if leaf.grad is None else merged([leaf.grad, total])
            if ready is not None:
                ready(leaf)

    def _cotangent(self, gradient: Any) -> Array:
        """Check the gradient that ``backward`` starts from, or make the default one."""
        if gradient is None:
            if self.size != 1:
                raise ValueError(
                    f"backward() without a gradient needs a tensor with one element, this one has "
                    f"shape {self.shape}: reduce it (.sum(), .mean()) or pass backward(gradient)"
                )
            return namespace(self.array).ones_like(self.array)
        gradient = as_array(gradient)
        if tuple(gradient.shape) != self.shape:
            raise ValueError(
                f"the gradient has shape {tuple(gradient.shape)}, the tensor {self.shape}: "
                "they must be equal"
            )
        if gradient.dtype != self.array.dtype or kind(gradient) != kind(self.array):
            raise ValueError(
                f"the gradient is {dtype_name(gradient)} ({kind(gradient)}), the tensor "
                f"{dtype_name(self.array)} ({kind(self.array)}): convert the gradient"
            )
        return gradient

    # ---- arithmetic: reflected operators (2 - x) land in the same operations ------------------

    def __add__(self, other: Any) -> Tensor:
        return ops.add(self, other)

    def __radd__(self, other: Any) -> Tensor:
        return ops.add(other, self)

    def __sub__(self, other: Any) -> Tensor:
        return ops.subtract(self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return ops.subtract(other, self)

    def __mul__(self, other: Any) -> Tensor:
        return ops.multiply(self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return ops.multiply(other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return ops.divide(self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return ops.divide(other, self)

    def __pow__(self, other: Any) -> Tensor:
        return ops.power(self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return ops.power(other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return ops.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return ops.matmul(other, self)

    def __neg__(self) -> Tensor:
        return ops.negative(self)

    def __abs__(self) -> Tensor:
        return ops.abs(self)

    def __getitem__(self, index: Any) -> Tensor:
        return ops.getitem(self, index)

    # ---- comparison: answers carry no gradient ------------------------------------------------

    def _compare(self, other: Any, compare: Callable[[Any, Any], Any]) -> Tensor:
        value = other.array if isinstance(other, Tensor) else other
        a, b = matched([self.array, value], "comparison", plain=[other])
        return Tensor(compare(a, b))

    def __eq__(self, other: Any) -> Tensor:  # type: ignore[override]
        return self._compare(other, lambda a, b: a == b)

    def __ne__(self, other: Any) -> Tensor:  # type: ignore[override]
        return self._compare(other, lambda a, b: a != b)

    def __lt__(self, other: Any) -> Tensor:
        return self._compare(other, lambda a, b: a < b)

    def __le__(self, other: Any) -> Tensor:
        return self._compare(other, lambda a, b: a <= b)

    def __gt__(self, other: Any) -> Tensor:
        return self._compare(other, lambda a, b: a > b)

    def __ge__(self, other: Any) -> Tensor:
        return self._compare(other, lambda a, b: a >= b)

    # ---- the operations that read better as methods -------------------------------------------

    def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """See ``minissl.autograd.operations.sum``."""
        return ops.sum(self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """See ``minissl.autograd.operations.mean``."""
        return ops.mean(self, axis=axis, keepdims=keepdims)

    def max(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """See ``minissl.autograd.operations.max``."""
        return ops.max(self, axis=axis, keepdims=keepdims)

    def reshape(self, *shape: int | Sequence[int]) -> Tensor:
        """``x.reshape(2, -1)`` or ``x.reshape((2, -1))``: same elements, in C order."""
        sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], Sequence) else shape
        return ops.reshape(self, tuple(sizes))

    def permute_dims(self, *axes: int) -> Tensor:
        """``x.permute_dims(0, 2, 1)``: the axes in a new order."""
        return ops.permute_dims(self, axes)

    def astype(self, dtype: Any) -> Tensor:
        """The same values in another dtype; the gradient is cast back."""
        return ops.astype(self, dtype=dtype)

    def to(self, device: str) -> Tensor:
        """The same values on another device ("cpu", "cuda"); the gradient is brought back."""
        return ops.to(self, device=device)

    @property
    def mT(self) -> Tensor:
        """The last two axes exchanged."""
        return ops.matrix_transpose(self)

    def _repr_svg_(self) -> str | None:
        """A notebook shows the graph; None, and so the text, where there is none to draw."""
        from minissl.autograd.graph import to_svg

        try:
            return to_svg(self)
        except ValueError:
            return None


Axis = int | tuple[int, ...] | None


class Operation(Protocol):
    """A function of Tensors, made by ``differentiable`` from one of arrays."""

    __wrapped__: Callable[..., tuple[Array, Any]]

    def __call__(self, *arguments: Any, **settings: Any) -> Tensor: ...


def differentiable(function: Callable[..., tuple[Array, Any]]) -> Operation:
    """Turn ``f(arrays, /, settings) -> (output, vjps)`` into an operation on Tensors.

    The positional-only parameters (or ``*arrays``) are the inputs; everything else is a setting
    and is passed as it is. ``vjps`` is a tuple with one function per input (None where there is no
    gradient), of which only the needed ones run, or one function that returns all gradients at
    once. The function on arrays stays within reach, as ``__wrapped__``.
    """
    parameters = inspect.signature(function).parameters.values()
    inputs = sum(p.kind is p.POSITIONAL_ONLY for p in parameters)
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        inputs = 1 << 30  # all positional arguments
    name = function.__name__.strip("_")
    if not inputs:
        raise TypeError(f"{name}: end its input arrays with a slash: def {name}(a, b, /, setting)")

    @functools.wraps(function)
    def operation(*arguments: Any, **settings: Any) -> Tensor:
        tensors = arguments[:inputs]
        values = [t.array if isinstance(t, Tensor) else t for t in tensors]
        arrays = matched(values, name, plain=tensors)
        try:
            returned = function(*arrays, *arguments[inputs:], **settings)
        except (ValueError, RuntimeError) as error:  # NumPy's and torch's words for the same
            if "broadcast" in str(error) or "must match the size" in str(error):
                shapes = " and ".join(str(tuple(array.shape)) for array in arrays)
                raise ValueError(f"{name}: shapes {shapes} do not broadcast") from error
            raise
        output, vjps = output_and_rules(name, returned, len(arrays))
        if output.dtype != arrays[0].dtype and not settings.keys() & {"dtype", "device"}:
            refuse_promotion(arrays, output, name)
        result = Tensor(output)
        if is_checked():
            require_finite_output(name, arrays, result.array)
        if is_recording():
            _remember(result, name, tensors, arrays, vjps)
        return result

    return cast(Operation, operation)


def _remember(
    result: Tensor, name: str, inputs: Sequence[Any], arrays: Sequence[Array], vjps: Any
) -> None:
    """Give a result its Node, if an input that has a rule needs a gradient."""
    parents: list[Node | Tensor | None] = []
    found = False
    for i, value in enumerate(inputs):
        has_rule = type(vjps) is not tuple or vjps[i] is not None  # a mask or an index has none
        if has_rule and isinstance(value, Tensor) and value.requires_grad:
            parents.append(value.node or value)
            found = True
        else:
            parents.append(None)
    if not found:
        return
    if type(vjps) is tuple:  # drop the rules that will not run, and the arrays they hold
        vjps = tuple([None if p is None else vjp for p, vjp in zip(parents, vjps)])
    result.requires_grad = True
    result.node = Node(name, tuple(parents), vjps, result.array)
    if is_checked():
        result.node.watched = Watched(arrays, result.array, vjps)


def as_array(data: Any) -> Array:
    """Tensors, NumPy and torch arrays as arrays; numbers and nested lists as float32 or integers.

    Raises TypeError for what is no array of numbers, and for torch tensors with requires_grad.
    """
    return data.array if isinstance(data, Tensor) else array_of(data)


from minissl.autograd import operations as ops  # noqa: E402  (the operations need Tensor)

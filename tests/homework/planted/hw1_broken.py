"""Wrong answers to homework 1 that are right but for one kind of shape."""

import numpy as np

from minissl.autograd.tensor import differentiable
from tests.homework.planted import Collection

PLANTED = Collection()


def turned(matrix):
    """The transposed matrices, but those of a batch that seem to fit as they are."""
    rows, columns = matrix.shape[-2:]
    return matrix if matrix.ndim > 2 and rows == columns else np.swapaxes(matrix, -1, -2)


@PLANTED.add("1.3", "B of a batch is not transposed where it is square", shows="square")
@differentiable
def left_as_it_fits(a, b, /):
    return a @ b, (lambda g: g @ turned(b), lambda g: np.swapaxes(a, -1, -2) @ g)


@PLANTED.add("1.3", "A of a batch is not transposed where it is square", shows="square")
@differentiable
def right_as_it_fits(a, b, /):
    return a @ b, (lambda g: g @ np.swapaxes(b, -1, -2), lambda g: turned(a) @ g)

"""Random programs: five to fifteen operations, results reused at will, against torch's autograd."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minissl.autograd import operations as ops
from tests.autograd.compare import assert_close, ours, random_like, torchs

ROWS, COLUMNS = 3, 4  # every value of a program has this shape, or one that broadcasts to it

ONE = [  # smooth, and no steeper than 1 or so: a program of fifteen stays in range
    (ops.tanh, torch.tanh),
    (ops.sigmoid, torch.sigmoid),
    (ops.erf, torch.erf),
    (ops.negative, torch.neg),
    (lambda a: ops.exp(ops.tanh(a)), lambda a: torch.exp(torch.tanh(a))),
    (lambda a: ops.log(a * a + 1.0), lambda a: torch.log(a * a + 1.0)),
    (lambda a: ops.sqrt(a**2 + 0.5), lambda a: torch.sqrt(a**2 + 0.5)),
    (lambda a: ops.softmax(a, axis=-1), lambda a: torch.softmax(a, -1)),
    (lambda a: ops.log_softmax(a, axis=0), lambda a: torch.log_softmax(a, 0)),
    (lambda a: a.mean(axis=0, keepdims=True), lambda a: a.mean(0, keepdim=True)),
    (lambda a: ops.logsumexp(a, keepdims=True), lambda a: a.logsumexp(-1, keepdim=True)),
    (lambda a: a.mT.reshape(a.shape), lambda a: a.mT.reshape(a.shape)),
    (lambda a: ops.cumsum(a, axis=-1) / 4, lambda a: a.cumsum(-1) / 4),
    (lambda a: ops.take(a, [-1 % a.shape[0], 0, 0]), lambda a: a[[-1, 0, 0]]),
    (lambda a: a[:, ::-1], lambda a: a.flip(1)),
]
TWO = [
    (ops.add, torch.add),
    (ops.subtract, torch.sub),
    (lambda a, b: a * ops.tanh(b), lambda a, b: a * torch.tanh(b)),
    (lambda a, b: a / (b * b + 1.0), lambda a, b: a / (b * b + 1.0)),
    (lambda a, b: (a @ b.mT) @ a / 9, lambda a, b: (a @ b.mT) @ a / 9),
    (lambda a, b: ops.concatenate([a, b])[1:4], lambda a, b: torch.cat([a, b])[1:4]),
    (lambda a, b: ops.where(MASK, a, b), lambda a, b: torch.where(torch.tensor(MASK), a, b)),
]
ZEROS = np.zeros((ROWS, COLUMNS)), torch.zeros(ROWS, COLUMNS, dtype=torch.float64)
MASK = np.arange(12).reshape(ROWS, COLUMNS) % 3 == 0


instruction = st.tuples(
    st.integers(0, len(ONE) + len(TWO) - 1), st.integers(0, 100), st.integers(0, 100)
)


def run(program, inputs, side):
    """``side`` 0: our operations, 1: torch's. Everything that was computed may be used again."""
    values = list(inputs)
    for which, first, second in program:
        a, b = values[first % len(values)], values[second % len(values)]
        result = ONE[which][side](a) if which < len(ONE) else TWO[which - len(ONE)][side](a, b)
        values.append(result + ZEROS[side])  # of the full shape: every operation may follow
    total = values[-1]
    for value in values[:-1]:  # so that no part of the program is left out
        total = total + 0.5 * value
    return total


@given(st.lists(instruction, min_size=5, max_size=15), st.integers(0, 2**16))
@settings(max_examples=120, deadline=None)
def test_random_programs(program, seed):
    generator = np.random.default_rng(seed)
    inputs = [generator.standard_normal((ROWS, COLUMNS)) for _ in range(2)]
    cotangent = random_like(np.empty((ROWS, COLUMNS)), seed)
    expected, expected_gradients = torchs(lambda *t: run(program, t, 1), inputs, cotangent)
    actual, gradients = ours(lambda *t: run(program, t, 0), inputs, cotangent)
    assert_close(actual, expected, bits=14)
    for gradient, expected_gradient in zip(gradients, expected_gradients):
        # Relative to the cotangent: where all uses cancel (x − x), what is left is rounding.
        assert_close(gradient + cotangent, expected_gradient.numpy() + cotangent, bits=16)

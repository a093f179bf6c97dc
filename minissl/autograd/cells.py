"""One step of an LSTM, forwards and backwards by hand. Lecture 05.

Plain functions of arrays, of any library, and the operation that they make: ``composed.lstm`` calls
it once for every step. The fused layer does the same for all steps at once.
"""

from minissl.autograd.arrays import Array, namespace
from minissl.autograd.half import rounded_once
from minissl.autograd.tensor import differentiable


def lstm_cell(gates: Array, c: Array) -> tuple[Array, Array]:
    """One step of an LSTM: h and c after it.

        i, f, o = σ(gates)   g = tanh(gate)        c ← f c + i g        h ← o tanh(c)

    Shapes: gates (batch, 4 hidden), what x and h have brought them (W_ih x + W_hh h + biases), in
    the order i, f, g, o; c (batch, hidden), the cell before the step -> h and c, (batch, hidden).
    Arrays, not Tensors; they are only read, and their dtype is kept.

    Hochreiter and Schmidhuber (1997); Gers, Schmidhuber and Cummins (2000) for f. Lecture 05.
    """
    xp = namespace(gates)
    i, f, g, o = quarters(gates)
    c = sigmoid(f) * c + sigmoid(i) * xp.tanh(g)
    return sigmoid(o) * xp.tanh(c), c


def lstm_cell_back(gates: Array, c: Array, dh: Array, dc: Array) -> tuple[Array, Array]:
    """The way back through ``lstm_cell(gates, c)``: the gradients of ``gates`` and of ``c``.

    Shapes: gates (batch, 4 hidden) and c (batch, hidden) as they were given to ``lstm_cell``; dh
    and dc (batch, hidden), the gradients of the loss that have arrived at h and c after the step ->
    (batch, 4 hidden) in the order i, f, g, o, of the gates before their σ and tanh, and (batch,
    hidden), of the cell before the step. Arrays, not Tensors; they are only read.

    The new c is used twice: by the step that follows, and inside of h. Lecture 05.
    """
    xp = namespace(gates)
    i, f, g, o = quarters(gates)
    _, new = lstm_cell(gates, c)
    dc = dc + dh * sigmoid(o) * tanh_slope(new)
    dgates = [
        dc * xp.tanh(g) * sigmoid_slope(i),
        dc * c * sigmoid_slope(f),
        dc * sigmoid(i) * tanh_slope(g),
        dh * xp.tanh(new) * sigmoid_slope(o),
    ]
    return xp.concat(dgates, axis=1), dc * sigmoid(f)


@differentiable
@rounded_once
def lstm_step(gates, c, /):
    """``lstm_cell`` as an operation: (2, batch, hidden), h and c after the step."""
    after = namespace(gates).stack(lstm_cell(gates, c))
    return after, lambda g: lstm_cell_back(gates, c, g[0], g[1])


def quarters(gates: Array) -> list[Array]:
    """(batch, 4 hidden) -> four of (batch, hidden), side by side in the width."""
    hidden = gates.shape[1] // 4
    return [gates[:, k * hidden : (k + 1) * hidden] for k in range(4)]


def sigmoid(a: Array) -> Array:
    """σ(a) = 1 / (1 + e⁻ᵃ), of an array; e⁻ᵃ does not overflow."""
    xp = namespace(a)
    e = xp.exp(-xp.abs(a))
    return xp.where(a >= 0, xp.ones_like(e), e) / (1 + e)


def sigmoid_slope(a: Array) -> Array:
    """σ′(a) = σ (1 − σ), with all its digits also where σ is nearly 1."""
    xp = namespace(a)
    e = xp.exp(-xp.abs(a))
    return e / ((1 + e) * (1 + e))


def tanh_slope(a: Array) -> Array:
    """tanh′(a) = 1 − tanh² a = 4 σ′(2a), with all its digits."""
    return 4 * sigmoid_slope(2 * a)

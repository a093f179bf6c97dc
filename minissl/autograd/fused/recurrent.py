"""One layer of an LSTM or a GRU, from the first step of a sequence to the last. Lecture 05.

What does not wait for the state is one large product for all steps, ``linear``. The recurrence is
here, forwards and backwards by hand: each step only does what has to wait for the step before it,
and the rest, the slopes and the gradient of the weight, is computed for all steps at once. Examples
do not see each other, so that the threads share the batch.
"""

import math
from typing import Any

import numpy as np

from minissl.autograd import composed
from minissl.autograd import operations as ops
from minissl.autograd.arrays import is_half, require_floating, total
from minissl.autograd.fused.chunks import for_each_chunk
from minissl.autograd.half import at_least_single
from minissl.autograd.inputs import matched
from minissl.autograd.tensor import Tensor, as_array, differentiable
from minissl.autograd.threads import product, share

ROWS = 16  # examples that one thread reads together
NUMBERS = 4096  # in a state of theirs: narrow layers have more rows, so that calls weigh less
UNPACKED = 10**6  # rows × inner × columns of a product, see ``_blocks``


def lstm(
    x: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any, h: Any, c: Any
) -> tuple[Tensor, Tensor]:
    """One LSTM layer: h of every step, and the last c.

        i, f, o = σ(gates)   g = tanh(gate)   with  gates = W_ih x + b_ih + W_hh h + b_hh
        c ← f c + i g        h ← o tanh(c)

    Shapes: x (batch, time, input_size), weight_ih (4 hidden, input_size), weight_hh (4 hidden,
    hidden), biases (4 hidden,), in the order i, f, g, o, and the state before the first step, h
    and c (batch, hidden) -> (batch, time, hidden) and (batch, hidden).

    Raises ValueError when shapes do not fit, TypeError for dtypes that differ. Hochreiter
    and Schmidhuber (1997). Lecture 05.
    """
    inputs = (x, weight_ih, weight_hh, bias_ih, bias_hh, h, c)
    _check("lstm", 4, *inputs)
    if is_half(as_array(x)):
        outputs, c = lstm(*map(at_least_single, inputs))
        return outputs.astype(x.dtype), c.astype(x.dtype)
    if not isinstance(as_array(x), np.ndarray):
        return composed.lstm(*inputs)
    gates = ops.linear(_time_first(x), weight_ih, ops.add(bias_ih, bias_hh))
    states = _lstm(gates, weight_hh, h, c)
    return _time_first(states[:-1]), states[-1]


def gru(x: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any, h: Any) -> Tensor:
    """One GRU layer: h of every step, the last of which is its final state.

        r, z = σ(gates)   with  gates = W_ih x + b_ih + W_hh h + b_hh    "reset" and "update"
        n = tanh(W_in x + b_in + r (W_hn h + b_hn))      h ← (1 − z) n + z h

    Shapes: x (batch, time, input_size), weight_ih (3 hidden, input_size), weight_hh (3 hidden,
    hidden), biases (3 hidden,), in the order r, z, n, and the state before the first step, h
    (batch, hidden) -> (batch, time, hidden).

    Raises ValueError when shapes do not fit, TypeError for dtypes that differ. Cho et al. (2014),
    in the form that multiplies with r after W_hn, as torch does. Lecture 05.
    """
    inputs = (x, weight_ih, weight_hh, bias_ih, bias_hh, h)
    _check("gru", 3, *inputs)
    if is_half(as_array(x)):
        return gru(*map(at_least_single, inputs)).astype(x.dtype)
    if not isinstance(as_array(x), np.ndarray):
        return composed.gru(*inputs)
    return _time_first(_gru(ops.linear(_time_first(x), weight_ih, bias_ih), weight_hh, bias_hh, h))


def _time_first(x: Any) -> Tensor:
    """(batch, time, n) <-> (time, batch, n): the examples of a step lie side by side."""
    return ops.permute_dims(x, (1, 0, 2))


def _check(name: str, gates: int, x: Any, *others: Any) -> None:
    """Raise ValueError unless all inputs of a layer fit to each other, TypeError for dtypes."""
    require_floating(name, x, *others)
    matched([as_array(given) for given in (x, *others)], name, plain=(x, *others))
    found = [tuple(other.shape) for other in others]
    if len(x.shape) != 3 or x.shape[1] == 0 or not found[1]:
        expected: Any = "with at least one time step"
    else:
        hidden = found[1][-1]
        expected = [(gates * hidden, x.shape[2]), (gates * hidden, hidden)]
        expected += [(gates * hidden,)] * 2 + [(x.shape[0], hidden)] * len(found[4:])
    if found != expected:
        raise ValueError(
            f"{name}: the input has shape {tuple(x.shape)}, weights, biases and state have {found};"
            f" expected (batch, time, input_size) and {expected}"
        )


# ---- the recurrences, on NumPy arrays: gates = W_ih x + b, whose array is overwritten ------------


@differentiable
def _lstm(gates, weight, h, c, /):
    """gates (time, batch, 4 hidden) -> (time + 1, batch, hidden): h of all steps, and the last c.

    The gates are kept with the other sign, which is what e⁻ᵃ is taken of, forwards and backwards.
    On the way back, with dh and dc for what has arrived at h and c:  dc += dh o tanh′(c);  then
    the gates get  dc g σ′(i),  dc c₋₁ σ′(f),  dc i tanh′(g),  dh tanh(c) σ′(o),  and the step
    before gets dc f and dgates W.  ∂L/∂W = Σ dgatesᵀ h₋₁, one product for all steps.
    """
    steps, (batch, hidden) = len(gates), h.shape
    states = np.empty((steps + 2, batch, hidden), gates.dtype)  # h before the first step, ..., c
    cells = np.empty((steps + 1, batch, hidden), gates.dtype)
    states[0], cells[0] = h, c
    blocks = _blocks(-weight.T, _rows(h))
    by_gate = gates.reshape(steps, batch, 4, hidden).swapaxes(1, 2)

    def read(_, piece):
        from_h, in_blocks = _room(states[0, piece], blocks, 4 * hidden)
        i, f, g, o = values = np.empty((4, len(from_h), hidden), gates.dtype)
        for t in range(steps):
            np.matmul(states[t, piece], blocks, out=in_blocks)
            a, cell = gates[t, piece], cells[t + 1, piece]
            np.subtract(from_h, a, out=a)  # now they are minus all that the gates see
            a = by_gate[t, :, piece]
            _sigmoid_of_minus(a, out=values)
            np.tanh(a[2], out=g)
            i *= g
            np.multiply(f, cells[t, piece], out=cell)
            cell -= i
            np.multiply(o, np.tanh(cell), out=states[t + 1, piece])

    _share_batch(read, h)
    states[-1] = cells[-1]
    return states[1:], lambda g: _lstm_back(g, gates, weight, states, cells)


def _lstm_back(g, gates, weight, states, cells):
    """The derivation is in ``_lstm``."""
    steps, (batch, hidden) = len(gates), cells.shape[1:]
    slopes, f, to_c = _lstm_slopes(gates, cells)
    blocks = _blocks(weight, _rows(cells[0]))
    by_rows = slopes.reshape(gates.shape)
    start = np.empty((2, batch, hidden), g.dtype)  # the gradients of h and c

    def read_back(_, piece):
        dh, in_blocks = _room(start[0, piece], blocks, hidden)
        dh[:], dc = 0, g[-1, piece].copy()
        for t in reversed(range(steps)):
            dh += g[t, piece]
            dgates, through = slopes[t, piece], to_c[t, piece]
            through *= dh
            dc += through
            dgates[:, :3] *= dc[:, None]
            dgates[:, 3] *= dh
            dc *= f[t, piece]
            _flush(dgates)
            np.matmul(by_rows[t, piece], blocks, out=in_blocks)
        start[0, piece], start[1, piece] = dh, dc

    _share_batch(read_back, cells[0])
    before = states[:steps].reshape(steps * batch, hidden)
    dgates = slopes.reshape(steps * batch, 4 * hidden)
    return by_rows, product(dgates.T, before), *start


def _lstm_slopes(gates, cells):
    """dgates / dc (the last: / dh), in the array of the gates; f; and o tanh′(c). All steps."""
    steps, (batch, hidden) = len(gates), cells.shape[1:]
    slopes = gates.reshape(steps, batch, 4, hidden)
    forget, to_c = np.empty((2, steps, batch, hidden), gates.dtype)

    def work(_, piece):
        a, before, c = slopes[piece], cells[:-1][piece], cells[1:][piece]
        g = np.tanh(a[:, :, 2])
        a[:, :, 2] *= 2
        value, rest = _sigmoid_and_rest_of_minus(a)
        i, f, o = value[:, :, 0], value[:, :, 1], value[:, :, 3]
        forget[piece], to_c[piece] = f, o * _tanh_slope(c)
        np.multiply(value, rest, out=a)
        g *= a[:, :, 0]
        np.negative(g, out=a[:, :, 0])  # it was tanh of minus what that gate sees
        a[:, :, 1] *= before
        a[:, :, 2] *= 4 * i  # tanh′(g) = 4 σ′(2g)
        a[:, :, 3] *= np.tanh(c)

    for_each_chunk(work, slopes)
    return slopes, forget, to_c


@differentiable
def _gru(gates, weight, bias, h, /):
    """gates (time, batch, 3 hidden) -> (time, batch, hidden): h of all steps.

    With u = W_hn h₋₁ + b_hn, which r multiplies, and dh for what has arrived at h, the way back is
    dn = dh (1 − z) tanh′(n),  dz = dh (h₋₁ − n) σ′(z),  dr = dn u σ′(r),  du = dn r.
    h₋₁ gets dh z + (dr, dz, du) W, and ∂L/∂W = Σ (dr, dz, du)ᵀ h₋₁, one product for all steps.
    """
    steps, (batch, hidden) = len(gates), h.shape
    states = np.empty((steps + 1, batch, hidden), gates.dtype)  # h before the first step, ...
    u = np.empty((steps, batch, hidden), gates.dtype)
    states[0] = h
    blocks = _blocks(weight.T, _rows(h))

    def read(_, piece):
        from_h, in_blocks = _room(states[0, piece], blocks, 3 * hidden)
        values = np.empty((2, len(from_h), hidden), gates.dtype)
        for t in range(steps):
            np.matmul(states[t, piece], blocks, out=in_blocks)
            from_h += bias
            a, n = gates[t, piece, : 2 * hidden], gates[t, piece, 2 * hidden :]
            a += from_h[:, : 2 * hidden]
            u[t, piece] = from_h[:, 2 * hidden :]
            r, z = _sigmoid(a.reshape(-1, 2, hidden).swapaxes(0, 1), out=values)
            r *= u[t, piece]
            n += r
            new = np.tanh(n)
            z *= states[t, piece] - new
            np.add(new, z, out=states[t + 1, piece])

    _share_batch(read, h)
    return states[1:], lambda g: _gru_back(g, gates, weight, states, u)


def _gru_back(g, gates, weight, states, u):
    """The derivation is in ``_gru``."""
    steps, batch, hidden = u.shape
    slopes, of_h, z = _gru_slopes(gates, states, u)
    blocks = _blocks(weight, _rows(states[0]))
    start = np.empty((batch, hidden), g.dtype)  # the gradient of h

    def read_back(_, piece):
        through, in_blocks = _room(start[piece], blocks, hidden)
        dh = np.zeros(through.shape, g.dtype)
        for t in reversed(range(steps)):
            dh += g[t, piece]
            slopes[t, piece] *= dh[:, None]
            of_h[t, piece] *= dh[:, None]
            _flush(of_h[t, piece])
            np.matmul(of_h[t, piece].reshape(-1, 3 * hidden), blocks, out=in_blocks)
            dh *= z[t, piece]
            dh += through
        start[piece] = dh

    _share_batch(read_back, start)
    before = states[:steps].reshape(steps * batch, hidden)
    rows = of_h.reshape(steps * batch, 3 * hidden)
    return slopes.reshape(gates.shape), product(rows.T, before), total(rows, 0), start


def _gru_slopes(gates, states, u):
    """(dr, dz, dn) / dh, in the array of the gates; (dr, dz, du) / dh; and z. All steps."""
    slopes = gates.reshape(*u.shape[:2], 3, u.shape[2])
    of_h, update = np.empty_like(slopes), np.empty_like(u)

    def work(_, piece):
        a, before = slopes[piece], states[:-1][piece]
        n = a[:, :, 2].copy()
        value, rest = _sigmoid_and_rest(a[:, :, :2])
        update[piece] = value[:, :, 1]
        np.multiply(rest[:, :, 1], _tanh_slope(n), out=a[:, :, 2])
        np.multiply(value[:, :, 0], a[:, :, 2], out=of_h[piece, :, 2])
        np.multiply(value, rest, out=a[:, :, :2])
        a[:, :, 0] *= u[piece] * a[:, :, 2]
        a[:, :, 1] *= before - np.tanh(n)
        of_h[piece, :, :2] = a[:, :, :2]

    for_each_chunk(work, slopes)
    return slopes, of_h, update


def _sigmoid(a, out):
    """σ(a) = 1 / (1 + e⁻ᵃ), which is 0 where e⁻ᵃ is infinite."""
    return _sigmoid_of_minus(np.negative(a, out=out), out)


def _sigmoid_of_minus(a, out):
    """σ(−a)."""
    with np.errstate(over="ignore"):
        np.exp(a, out=out)
    out += 1
    return np.reciprocal(out, out=out)


def _sigmoid_and_rest(a):
    """σ(a) and 1 − σ(a), both with all their digits: their product is the slope."""
    return _sigmoid_and_rest_of_minus(np.negative(a))


def _sigmoid_and_rest_of_minus(a):
    """With e = eᵃ, σ(−a) and 1 − σ(−a) are 1 / (1 + e) and e / (1 + e).

    Where e would be beyond the dtype, it stops.
    """
    e = np.minimum(a, -math.log(np.finfo(a.dtype).tiny))
    np.exp(e, out=e)
    value = 1 + e
    np.reciprocal(value, out=value)
    e *= value
    return value, e


def _flush(a):
    """Make denormal numbers 0, in place: processors compute with them up to a hundred times slower.

    Gradients that go through shut gates step after step fade until they are such numbers, a
    quarter of them in a network with large states.
    """
    np.copyto(a, 0, where=np.abs(a) < np.finfo(a.dtype).tiny)


def _tanh_slope(a):
    """tanh′(a) = 4 σ(2a) σ(−2a): with all its digits, also where tanh a is nearly 1."""
    value, rest = _sigmoid_and_rest(2 * a)
    value *= 4
    value *= rest
    return value


# ---- pieces of the batch, blocks of the weight --------------------------------------------------


def _rows(state):
    """How many examples of a state (batch, hidden) one piece has, whatever the threads are."""
    batch, hidden = state.shape
    pieces = math.ceil(batch / max(ROWS, NUMBERS // hidden))
    return math.ceil(batch / max(pieces, 1)) or 1


def _share_batch(work, state):
    """Call ``work(number, piece)`` for slices of the batch of a state, on all threads."""
    rows = _rows(state)
    share(work, [slice(start, start + rows) for start in range(0, len(state), rows)])


def _blocks(weight, rows):
    """(inner, columns) -> (blocks, inner, columns of one), for products with so many rows.

    OpenBLAS first copies the factors of a product to where it can read them fastest, which pays
    when there are many rows. Below rows × inner × columns = 10⁶ it multiplies them as they lie:
    16 rows of an LSTM of 256 then take 0.6 of the time (Xeon, AVX-512). Zeros fill the last block.
    """
    inner, columns = weight.shape
    width = columns
    if rows * inner * columns > UNPACKED:
        width = next((w for w in (64, 32) if rows * inner * w <= UNPACKED), columns)
    count = math.ceil(columns / width)
    blocks = np.zeros((inner, count * width), weight.dtype)
    blocks[:, :columns] = weight
    return np.ascontiguousarray(blocks.reshape(inner, count, width).swapaxes(0, 1))


def _room(rows, blocks, columns):
    """Room for rows @ weight, (rows, columns), and the view of it that matmul writes in blocks."""
    count, _, width = blocks.shape
    room = np.empty((len(rows), count * width), blocks.dtype)
    return room[:, :columns], room.reshape(-1, count, width).swapaxes(0, 1)

"""Wrong answers to homework 3, Transformer and language model: LSTM and truncated windows."""

import numpy as np

from minissl.autograd import cells
from tests.homework.planted import Collection

PLANTED = Collection()


def logistic(x):
    """σ without overflow, in another way than the library's."""
    return (0.5 * (1 + np.tanh(x / 2))).astype(x.dtype)


# ---- 3.9 lstm_cell -------------------------------------------------------------------------------


def stepper(
    order="ifgo",
    cut=lambda gates: np.split(gates, 4, axis=1),
    gate=logistic,
    value=np.tanh,
    squash=np.tanh,
    forget=lambda f, i: f,
    shown=lambda new, old: new,
    answer=lambda h, c: (h, c),
    into=lambda c, kept: kept,
):
    """lstm_cell as it reads, with something to get wrong in it."""

    def lstm_cell(gates, c):
        part = dict(zip(order, cut(gates)))
        i, f, o = (gate(part[name]) for name in "ifo")
        new = into(c, forget(f, i) * c) + i * value(part["g"])
        return answer(o * squash(shown(new, c)), new)

    return lstm_cell


def step_by_columns(gates, c):
    """lstm_cell number by number."""
    h, after = np.empty_like(c), np.empty_like(c)
    hidden = c.shape[1]
    for b, k in np.ndindex(c.shape):
        i, f, g, o = gates[b, k::hidden]
        after[b, k] = logistic(f) * c[b, k] + logistic(i) * np.tanh(g)
        h[b, k] = logistic(o) * np.tanh(after[b, k])
    return h, after


def _in_place(c, kept):
    c[...] = kept
    return c


def _every_fourth(gates):
    return [gates[:, k::4] for k in range(4)]


for _mistake, _shows, _step in [
    ("i and f exchanged", "i and f are exchanged", stepper("figo")),
    ("torch's order forgotten", "g and o are exchanged", stepper("ifog")),
    ("interleaved", "not every fourth", stepper(cut=_every_fourth)),
    ("g by σ", "g is σ of its gate", stepper(value=logistic)),
    ("g without tanh", "tanh is missing", stepper(value=lambda a: a)),
    ("no σ", "σ is missing", stepper(gate=lambda a: a)),
    ("tanh gates", "they are σ", stepper(gate=np.tanh)),
    ("h without tanh", "h is o c", stepper(squash=lambda a: a)),
    ("h of the old cell", "c before the step", stepper(shown=lambda new, old: old)),
    ("a GRU's forgetting", "with 1 − i", stepper(forget=lambda f, i: 1 - i)),
    ("f the wrong way", "f is how much stays", stepper(forget=lambda f, i: 1 - f)),
    ("never forgets", "f is missing", stepper(forget=lambda f, i: 1.0)),
    ("exchanged", "h comes first", stepper(answer=lambda h, c: (c, h))),
    ("h alone", "expected two arrays", stepper(answer=lambda h, c: h)),
    ("float64", "dtype", stepper(gate=lambda a: logistic(a.astype(float)))),
    ("in place", "changed its input", stepper(into=_in_place)),
]:  # fmt: skip
    PLANTED.add("3.9", _mistake, shows=_shows)(_step)


# ---- 3.10 lstm_cell_back -------------------------------------------------------------------------


def way_back(
    through=lambda dh, o, slope: dh * o * slope,
    total=lambda dc, through: dc + through,
    at=lambda new, old: new,
    slope=lambda y: y * (1 - y),
    tanh_slope=lambda y: 1 - y * y,
    g_slope=None,
    factors=lambda i, f, g, o, old, new: (g, old, i, np.tanh(new)),
    of_o=lambda dh, dc: dh,
    before=lambda total, dc, f: total * f,
    answer=lambda dgates, dc: (np.concatenate(dgates, axis=1), dc),
):
    """lstm_cell_back as it reads, with something to get wrong in it."""

    def lstm_cell_back(gates, c, dh, dc):
        a_i, a_f, a_g, a_o = np.split(gates, 4, axis=1)
        i, f, g, o = logistic(a_i), logistic(a_f), np.tanh(a_g), logistic(a_o)
        new = f * c + i * g
        arrived = total(dc, through(dh, o, tanh_slope(np.tanh(at(new, c)))))
        by = factors(i, f, g, o, c, new)
        slopes = slope(i), slope(f), (g_slope or (lambda y, a: tanh_slope(y)))(g, a_g), slope(o)
        gradients = arrived, arrived, arrived, of_o(dh, arrived)
        dgates = [d * k * s for d, k, s in zip(gradients, by, slopes)]
        return answer(dgates, before(arrived, dc, f))

    return lstm_cell_back


def back_by_loops(gates, c, dh, dc):
    """lstm_cell_back number by number, with slopes by e."""
    dgates, back = np.empty_like(gates), np.empty_like(c)
    hidden = c.shape[1]
    for b, k in np.ndindex(c.shape):
        a_i, a_f, a_g, a_o = gates[b, k::hidden]
        i, f, o = (logistic(a) for a in (a_i, a_f, a_o))
        g = np.tanh(a_g)
        new = f * c[b, k] + i * g
        d = dc[b, k] + dh[b, k] * o * (1 - np.tanh(new)) * (1 + np.tanh(new))
        back[b, k] = d * f
        dgates[b, k::hidden] = [
            d * g * i * logistic(-a_i),
            d * c[b, k] * f * logistic(-a_f),
            d * i * (1 - g) * (1 + g),
            dh[b, k] * np.tanh(new) * o * logistic(-a_o),
        ]
    return dgates, back


for _mistake, _shows, _back in [
    ("dh forgotten", "does not reach c", way_back(total=lambda dc, through: dc)),
    ("dc forgotten", "is lost", way_back(total=lambda dc, through: through)),
    ("no tanh′", "tanh′ of the new c is missing", way_back(lambda dh, o, slope: dh * o)),
    ("no o", "o is missing on the way", way_back(lambda dh, o, slope: dh * slope)),
    ("at the old cell", "c before the step: h is", way_back(at=lambda new, old: old)),
    (
        "no slopes",
        "slopes σ′ and tanh′ are missing",
        way_back(slope=np.ones_like, g_slope=lambda y, a: 1.0),
    ),
    (
        "slopes of values",
        "take them at the gates",
        way_back(
            slope=lambda y: logistic(y) * (1 - logistic(y)),
            g_slope=lambda y, a: 1 - np.tanh(y) ** 2,
        ),
    ),
    (
        "σ′ for g",
        "slope of tanh, not of σ",
        way_back(g_slope=lambda y, a: logistic(a) * (1 - logistic(a))),
    ),
    (
        "f with the new cell",
        "not the new one",
        way_back(factors=lambda i, f, g, o, old, new: (g, new, i, np.tanh(new))),
    ),
    (
        "i and g",
        "by i has the factor g",
        way_back(factors=lambda i, f, g, o, old, new: (i, old, g, np.tanh(new))),
    ),
    ("o from c", "made of dh alone", way_back(of_o=lambda dh, dc: dc)),
    (
        "o times c",
        "multiplies tanh.c.",
        way_back(factors=lambda i, f, g, o, old, new: (g, old, i, new)),
    ),
    ("everything stays", "f is missing", way_back(before=lambda total, dc, f: total)),
    ("dc alone goes on", "does not reach c", way_back(before=lambda total, dc, f: dc * f)),
    ("four parts", "shape of what it belongs to", way_back(answer=lambda d, dc: (np.stack(d), dc))),
    (
        "float64",
        "dtype",
        way_back(answer=lambda d, dc: (np.concatenate(d, axis=1).astype(float), dc)),
    ),
]:
    PLANTED.add("3.10", _mistake, shows=_shows)(_back)


@PLANTED.add("3.10", "slopes overflow", shows="slope 0|NaN")
def _(gates, c, dh, dc):
    dgates, back = cells.lstm_cell_back(gates, c, dh, dc)
    e = np.exp(-gates)
    return dgates * (e / (1 + e) ** 2 * (1 + e) ** 2 / e), back


# ---- 3.11 consecutive_windows --------------------------------------------------------------------


def windower(
    begin=lambda i, size, lanes, length: i * size // lanes,
    step=lambda length: length,
    tokens=lambda length: length + 1,
    wrap=lambda place, begin, size, lanes: place % size,
    check=True,
    finish=lambda windows: windows,
    number=lambda k: k,
):
    """consecutive_windows by a loop over lanes, with something to get wrong in it."""

    def consecutive_windows(stream, lanes, length, k):
        size = len(stream)
        if check and (lanes < 1 or length < 1 or k < 0 or size < max(lanes, length + 1)):
            raise ValueError("these are no windows")
        rows = []
        for lane in range(lanes):
            start = begin(lane, size, lanes, length)
            places = start + number(k) * step(length) + np.arange(tokens(length))
            rows.append(stream[wrap(places, start, size, lanes)])
        return finish(np.array(rows))

    return consecutive_windows


def windows_by_rolling(stream, lanes, length, number):
    """consecutive_windows by turning the stream."""
    if min(lanes, length, number + 1) < 1 or len(stream) <= length or len(stream) < lanes:
        raise ValueError("these are no windows")
    starts = [lane * len(stream) // lanes + number * length for lane in range(lanes)]
    return np.stack([np.roll(stream, -start)[: length + 1] for start in starts])


for _mistake, _shows, _windower in [
    ("no target", "only predicted", windower(tokens=lambda length: length)),
    ("length + 1", "not by length . 1", windower(step=lambda length: length + 1)),
    ("rounded first", "multiply first", windower(lambda i, size, n, length: i * (size // n))),
    ("side by side", "one beside the other", windower(lambda i, size, n, length: i)),
    ("in a row", "one window after the other", windower(lambda i, size, n, length: i * length)),
    ("always the first", "number is not used", windower(number=lambda k: 0)),
    ("by one token", "goes on by one token", windower(step=lambda length: 1)),
    ("turned", "axes are exchanged|shape", windower(finish=lambda windows: windows.T)),
    (
        "the last token again",
        "is a circle",
        windower(wrap=lambda p, begin, size, lanes: np.minimum(p, size - 1)),
    ),
    (
        "in its own part",
        "round in its own part",
        windower(wrap=lambda p, begin, size, n: begin + (p - begin) % (size // n)),
    ),
    ("not circular", "raised IndexError", windower(wrap=lambda p, begin, size, lanes: p)),
    ("int64", "dtype", windower(finish=lambda windows: windows.astype(np.int64))),
    ("nothing refused", "should raise|raised", windower(check=False)),
]:
    PLANTED.add("3.11", _mistake, shows=_shows)(_windower)

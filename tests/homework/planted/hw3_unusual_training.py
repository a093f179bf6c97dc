"""Wrong answers to homework 3 that small, even or friendly cases do not show: 3.9 to 3.15."""

import math

import numpy as np

from minissl.losses.language_modeling import next_token_loss
from minissl.nn.evaluating import evaluating
from minissl.optim.clip import clip_grad_norm
from tests.homework.planted import Collection
from tests.homework.planted.hw3_recurrent import stepper, way_back, windower
from tests.homework.planted.hw3_training import counter, looper, scheduler, updater
from tests.homework.planted.hw3_unusual import remembering

PLANTED = Collection()


# ---- 3.9 lstm_cell, 3.10 lstm_cell_back ----------------------------------------------------------


def _first_example(gates, c):
    return stepper()(np.repeat(gates[:1], len(gates), axis=0), c)


def _exploding(a):
    return np.exp(a) / (1 + np.exp(a))


def nudged(gates, c, dh, dc, width=1e-5):
    """lstm_cell_back by differences of lstm_cell: no formula of the way back in it."""
    step = stepper()

    def slope(arrays, k):
        answer = np.empty_like(arrays[k])
        for at in np.ndindex(answer.shape):
            moved = [a.astype(np.float64) for a in arrays]
            moved[k][at] += width
            h, new = step(*moved)
            moved[k][at] -= 2 * width
            h_before, before = step(*moved)
            change = (dh * (h - h_before) + dc * (new - before)).sum()
            answer[at] = change / (2 * width)
        return answer

    return slope((gates, c), 0), slope((gates, c), 1)


def _dc_overwritten(gates, c, dh, dc):
    right = way_back()(gates, c, dh, dc)
    dc += dh
    return right


def _by_memory():
    return remembering(way_back(), lambda gates, *rest: gates.shape)


def _interleaved(parts):
    return np.stack(parts, axis=2).reshape(len(parts[0]), -1)


for _mistake, _shows, _step in [
    ("the first example's gates", "each example has its own gates", _first_example),
    ("e^x above and below", "NaN", stepper(gate=_exploding)),
    (
        "remembered by shape",
        "earlier call with the same shape",
        remembering(stepper(), lambda gates, c: c.shape),
    ),
    ("one array", "expected two arrays", stepper(answer=lambda h, c: np.stack([h, c]))),
]:
    PLANTED.add("3.9", _mistake, shows=_shows)(_step)

for _mistake, _shows, _back in [
    ("nudged", "lost in rounding", nudged),
    ("dc overwritten", r"changed its input \(argument 4\)", _dc_overwritten),
    ("remembered by shape", "earlier call with the same shape", _by_memory()),
    (
        "another order",
        "the order is i, f, g, o",
        way_back(answer=lambda d, dc: (np.concatenate([d[1], d[0], d[2], d[3]], axis=1), dc)),
    ),
    (
        "interleaved",
        "one after the other",
        way_back(answer=lambda d, dc: (_interleaved(d), dc)),
    ),
    (
        "the mean over the batch",
        "not divided by the batch",
        way_back(answer=lambda d, dc: (np.concatenate(d, axis=1) / len(dc), dc / len(dc))),
    ),
]:
    PLANTED.add("3.10", _mistake, shows=_shows)(_back)


# ---- 3.11 consecutive_windows --------------------------------------------------------------------


def _backwards_too(stream, lanes, length, number):
    return windower()(stream, lanes, length, abs(number))


def _steps(stream, lanes, length, number):
    """Window by window, each by a call."""
    if number > 0:
        _steps(stream, lanes, length, number - 1)
    return windower()(stream, lanes, length, number)


def _twice(stream, lanes, length, number):
    windower()(stream, lanes, length, number)
    twice = np.concatenate([stream, stream])
    starts = [i * len(stream) // lanes + number * length for i in range(lanes)]
    return np.stack([twice[start : start + length + 1] for start in starts])


def _small_places(stream, lanes, length, number):
    windower()(stream, lanes, length, number)
    starts = np.arange(lanes) * len(stream) // lanes + number * length
    places = (starts[:, None] + np.arange(length + 1)).astype(stream.dtype)
    return stream[places % len(stream)]


for _mistake, _shows, _windower in [
    ("a negative number", "should raise a ValueError", _backwards_too),
    ("window by window, recursively", "raised RecursionError", _steps),
    ("the stream twice", "shape|raised", _twice),
    ("places as tokens", "dtype of the tokens", _small_places),
    ("to the nearest", "// rounds down", windower(lambda i, size, n, length: round(i * size / n))),
    (
        "the last lane at the end",
        "the last lane begins at the end",
        windower(lambda i, size, n, length: int(np.linspace(0, size, n)[i])),
    ),
]:
    PLANTED.add("3.11", _mistake, shows=_shows)(_windower)


# ---- 3.12 adamw_update ---------------------------------------------------------------------------


def _flat(parameter, gradient, first_moment, second_moment, **settings):
    arrays = [a.reshape(-1) for a in (parameter, gradient, first_moment, second_moment)]
    updater()(*arrays, **settings)


def _old_moments(
    parameter, gradient, first_moment, second_moment, *, step, lr, betas, eps, weight_decay
):
    m, v = first_moment.copy(), second_moment.copy()
    settings = {"step": step, "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
    updater(store=(False, True, True))(parameter, gradient, first_moment, second_moment, **settings)
    m, v = m / (1 - betas[0] ** step), v / (1 - betas[1] ** step)
    parameter *= 1 - lr * weight_decay
    parameter -= lr * m / (np.sqrt(v) + eps)


def _early_epsilon(
    parameter, gradient, first_moment, second_moment, *, step, lr, betas, eps, weight_decay
):
    smaller = eps / math.sqrt(1 - betas[1] ** step)
    updater()(
        parameter,
        gradient,
        first_moment,
        second_moment,
        step=step,
        lr=lr,
        betas=betas,
        eps=smaller,
        weight_decay=weight_decay,
    )


for _mistake, _shows, _updater in [
    ("flat copies", "a transposed array", _flat),
    ("the old moments", "the moments before the update", _old_moments),
    ("ε before the correction", "ε is added after", _early_epsilon),
    ("always step 1", "`step` is not used", updater(time=lambda step: 1)),
    ("grows", "the parameter grows", updater(shrink=lambda p, lr, decay: p * (1 + lr * decay))),
]:
    PLANTED.add("3.12", _mistake, shows=_shows)(_updater)


# ---- 3.13 warmup_cosine --------------------------------------------------------------------------


def _from_final(step, *, peak, warmup_steps, total_steps, final=0.0):
    if step < warmup_steps:
        return final + (peak - final) * (step + 1) / (warmup_steps + 1)
    return scheduler()(
        step, peak=peak, warmup_steps=warmup_steps, total_steps=total_steps, final=final
    )


def _last_step(step, warmup, total):
    return (step - warmup) / max(total - 1 - warmup, 1)


for _mistake, _shows, _scheduler in [
    ("warm-up from final", "the warm-up begins at 0", _from_final),
    ("final at the last step", "one step after the last", scheduler(progress=_last_step)),
    ("0 at the end", "is not used", scheduler(
        mix=lambda peak, final, share: final + (peak - final) * share if share else 0.0)),
]:  # fmt: skip
    PLANTED.add("3.13", _mistake, shows=_shows)(_scheduler)


@PLANTED.add("3.13", "asserts", shows="raised AssertionError")
def _(step, *, peak, warmup_steps, total_steps, final=0.0):
    assert 0 <= warmup_steps < total_steps
    return scheduler()(
        step, peak=peak, warmup_steps=warmup_steps, total_steps=total_steps, final=final
    )


@PLANTED.add("3.13", "peak for the floor", shows="is not used")
def _(step, *, peak, warmup_steps, total_steps, final=0.0):
    rate = scheduler()(step, peak=peak, warmup_steps=warmup_steps, total_steps=total_steps)
    return max(rate, final)


# ---- 3.14 plain_loop -----------------------------------------------------------------------------


def _at_least_one(method, optimizer, steps, **settings):
    return looper()(method, optimizer, max(steps, 1), **settings)


def _told_before(method, optimizer, steps, **settings):
    told, method_after = [], getattr(method, "after_step", None)
    if method_after is None:
        return looper()(method, optimizer, steps, **settings)
    update = optimizer.step

    def step():
        told.append(method_after(len(told) + 1))
        update()

    optimizer.step = step
    return looper(tell=lambda method, done: None)(method, optimizer, steps, **settings)


def _only_the_loss(parameters, most):
    clip_grad_norm(list(parameters), most)
    return 0.0


def _exchanged(seed, step, first):
    return np.random.default_rng([step, seed])


for _mistake, _shows, _loop in [
    ("at least one step", "0 steps", _at_least_one),
    ("told before the update", "before the update", _told_before),
    ("an infinite gradient", "norm", looper(cut=_only_the_loss)),
    ("step, seed", "in this order", looper(generator=_exchanged)),
    ("arrays are kept", "a loss is a Python number", looper(keep=lambda loss: loss.numpy())),
]:
    PLANTED.add("3.14", _mistake, shows=_shows)(_loop)


# ---- 3.15 stream_nats ----------------------------------------------------------------------------


def counting(counted):
    """stream_nats whose window counts ``counted(places, start, length, stride, targets)``."""

    def stream_nats(model, stream, *, stride=None, batch_size=16):
        counter()(model, stream, stride=stride)
        targets = len(stream) - 1
        length = min(model.context_length, targets)
        stride = max(length // 2, 1) if stride is None else stride
        total = 0.0
        with evaluating(model):
            for start in [*range(0, targets - length, stride), targets - length]:
                places = np.arange(start, start + length)
                kept = counted(places, start, length, stride)
                after = np.where(kept, stream[places + 1].astype(int), -100)
                loss = next_token_loss(model(stream[places][None]), after[None], reduction="sum")
                total += loss.item()
        return total

    return stream_nats


def _in_place(model, stream, *, stride=None, batch_size=16):
    total = counter()(model, stream, stride=stride)
    stream[-1] = 0
    return total


def _training_afterwards(model, stream, **settings):
    total = counter()(model, stream, **settings)
    model.train()
    return total


for _mistake, _shows, _counter in [
    ("the stream overwritten", r"changed its input \(argument 2\)", _in_place),
    ("uint8 as it is", "raised OverflowError", counter(target=lambda s, place: s[place + 1])),
    ("training mode afterwards", "was in evaluation mode", _training_afterwards),
    (
        "the last stride of every window",
        "the first window counts all",
        counting(lambda places, start, n, stride: places >= start + n - stride),
    ),
    (
        "the last window's stride",
        "the last window",
        counting(lambda places, start, n, stride: (places >= start + n - stride) | (start == 0)),
    ),
    (
        "the first half only",
        "the past is cut",
        counting(lambda places, start, n, stride: places < start + stride),
    ),
]:
    PLANTED.add("3.15", _mistake, shows=_shows)(_counter)

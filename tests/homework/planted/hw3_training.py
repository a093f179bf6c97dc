"""Wrong answers to homework 3, Transformer and language model: training and measuring."""

import math

import numpy as np

from minissl.losses.language_modeling import next_token_loss
from minissl.nn.evaluating import evaluating
from minissl.optim.clip import clip_grad_norm
from minissl.training.run import DivergedError
from tests.homework.planted import Collection

PLANTED = Collection()


# ---- 3.12 adamw_update ---------------------------------------------------------------------------


def updater(
    beta=lambda betas: betas,
    gradient=lambda g, p, decay: g,
    mean=lambda m, g, b: b * m + (1 - b) * g,
    square=lambda g: g * g,
    correct=(True, True),
    time=lambda step: step,
    divide=lambda m, v, eps: m / (np.sqrt(v) + eps),
    shrink=lambda p, lr, decay: p * (1 - lr * decay),
    move=lambda shrunk, step, factor: shrunk - step,
    store=(True, True, True),
    returns=False,
):
    """adamw_update as it reads, with something to get wrong in it."""

    def adamw_update(
        parameter, gradient_, first_moment, second_moment, *, step, lr, betas, eps, weight_decay
    ):
        b1, b2 = beta(betas)
        g = gradient(gradient_, parameter, weight_decay)
        m, v = mean(first_moment, g, b1), b2 * second_moment + (1 - b2) * square(g)
        t = time(step)
        m_hat = m / (1 - b1**t) if correct[0] else m
        v_hat = v / (1 - b2**t) if correct[1] else v
        with np.errstate(all="ignore"):
            way = lr * divide(m_hat, v_hat, eps)
        p = move(shrink(parameter, lr, weight_decay), way, 1 - lr * weight_decay)
        for array, value, kept in zip((parameter, first_moment, second_moment), (p, m, v), store):
            if kept:
                array[...] = value
        return p if returns else None

    return adamw_update


def update_by_numbers(
    parameter, gradient, first_moment, second_moment, *, step, lr, betas, eps, weight_decay
):
    """adamw_update number by number, with both corrections in two factors."""
    rate = lr * math.sqrt(1 - betas[1] ** step) / (1 - betas[0] ** step)
    floor = eps * math.sqrt(1 - betas[1] ** step)
    for at in np.ndindex(parameter.shape):
        g = gradient[at]
        first_moment[at] += (1 - betas[0]) * (g - first_moment[at])
        second_moment[at] += (1 - betas[1]) * (g * g - second_moment[at])
        parameter[at] -= lr * weight_decay * parameter[at]
        parameter[at] -= rate * first_moment[at] / (math.sqrt(second_moment[at]) + floor)


def _coupled(g, p, decay):
    return g + decay * p


def _gradient_is_changed(g, p, decay):
    g += decay * p
    return g


for _mistake, _shows, _updater in [
    ("no correction", "m and v are not corrected", updater(correct=(False, False))),
    ("half a correction", "v is not corrected", updater(correct=(True, False))),
    ("one step behind", "step before", updater(time=lambda step: max(step - 1, 1))),
    ("Adam with L2", "not AdamW", updater(gradient=_coupled, shrink=lambda p, lr, decay: p)),
    ("decay without lr", "lr is missing", updater(shrink=lambda p, lr, decay: p * (1 - decay))),
    ("no decay", "weight_decay is not used", updater(shrink=lambda p, lr, decay: p)),
    (
        "the step shrinks, too",
        "shrinking comes first",
        updater(shrink=lambda p, lr, d: p, move=lambda p, step, factor: (p - step) * factor),
    ),
    ("ε inside", "inside of the root", updater(divide=lambda m, v, eps: m / np.sqrt(v + eps))),
    ("no root", "square root of v", updater(divide=lambda m, v, eps: m / (v + eps))),
    ("no square", "not of g²|raised|NaN", updater(square=lambda g: g)),
    ("absolute", "mean of .g., not", updater(square=np.abs)),
    (
        "β the wrong way",
        "forgets too fast",
        updater(mean=lambda m, g, b: (1 - b) * m + b * g),
    ),
    ("β exchanged", "β₁ and β₂ are exchanged", updater(beta=lambda betas: betas[::-1])),
    ("uphill", "goes uphill", updater(move=lambda p, step, factor: p + step)),
    ("m not kept", "first_moment has not changed", updater(store=(True, False, True))),
    ("v not kept", "second_moment has not changed", updater(store=(True, True, False))),
    ("p not kept", "parameter has not changed", updater(store=(False, True, True))),
    ("returned", "return None", updater(returns=True)),
    ("the gradient is changed", "changed the gradient", updater(gradient=_gradient_is_changed)),
    (
        "no ε",
        "NaN|wrong after the update",
        updater(divide=lambda m, v, eps: m / np.sqrt(v)),
    ),
]:
    PLANTED.add("3.12", _mistake, shows=_shows)(_updater)


# ---- 3.13 warmup_cosine --------------------------------------------------------------------------


def scheduler(
    rise=lambda step, warmup: (step + 1) / (warmup + 1),
    fall=lambda x: (1 + math.cos(math.pi * x)) / 2,
    progress=lambda step, warmup, total: (step - warmup) / (total - warmup),
    last=lambda x: min(x, 1.0),
    mix=lambda peak, final, share: final + (peak - final) * share,
    check=True,
):
    """warmup_cosine as it reads, with something to get wrong in it."""

    def warmup_cosine(step, *, peak, warmup_steps, total_steps, final=0.0):
        if check and not 0 <= warmup_steps < total_steps:
            raise ValueError("no such schedule")
        if step < warmup_steps:
            return peak * rise(step, warmup_steps)
        return mix(peak, final, fall(last(progress(step, warmup_steps, total_steps))))

    return warmup_cosine


def schedule_by_a_table(step, *, peak, warmup_steps, total_steps, final=0.0):
    """warmup_cosine looked up in a list of all rates; half a cosine by a squared one."""
    if warmup_steps < 0 or warmup_steps >= total_steps:
        raise ValueError("no such schedule")
    rates = [peak * (k + 1) / (warmup_steps + 1) for k in range(warmup_steps)]
    quarter = math.pi / 2 / (total_steps - warmup_steps)
    rates += [
        final + (peak - final) * math.cos(quarter * k) ** 2
        for k in range(total_steps - warmup_steps)
    ]
    return rates[step] if step < total_steps else final


for _mistake, _shows, _scheduler in [
    ("from 0", "learns nothing", scheduler(rise=lambda step, warmup: step / warmup)),
    ("too early", "one step too early", scheduler(rise=lambda step, warmup: (step + 1) / warmup)),
    ("no warm-up", "there is no warm-up", scheduler(rise=lambda step, warmup: 1.0)),
    ("a line", "falls in a line", scheduler(fall=lambda x: 1 - x)),
    ("a quarter", "quarter of a cosine", scheduler(fall=lambda x: math.cos(math.pi * x / 2))),
    ("a whole one", "and rises again", scheduler(fall=lambda x: math.cos(math.pi * x) ** 2)),
    ("goes on", "after total_steps it rises", scheduler(last=lambda x: x)),
    ("no final", "is not used", scheduler(mix=lambda peak, final, share: peak * share)),
    ("final added", "is added", scheduler(mix=lambda peak, final, share: final + peak * share)),
    ("not shifted", "begins at warmup_steps", scheduler(progress=lambda s, w, n: s / (n - w))),
    ("over all", "total_steps − warmup_steps", scheduler(progress=lambda s, w, n: (s - w) / n)),
    ("one ahead", "one step ahead", scheduler(progress=lambda s, w, n: (s + 1 - w) / (n - w))),
    ("nothing refused", "should raise|raised ZeroDiv", scheduler(check=False)),
]:  # fmt: skip
    PLANTED.add("3.13", _mistake, shows=_shows)(_scheduler)


# ---- 3.14 plain_loop -----------------------------------------------------------------------------


def _each(seed, step, first):
    return np.random.default_rng([seed, step])


def looper(
    mode=lambda model: model.train(),
    rate=lambda schedule, step: schedule(step),
    set_first=True,
    generator=_each,
    again=False,
    forget=True,
    clip_first=True,
    cut=clip_grad_norm,
    note=lambda before, after: before,
    keep=lambda loss: loss.item(),
    check=True,
    updates=lambda steps: steps,
    tell=lambda method, done: method.after_step(done),
    finish=list,
):
    """plain_loop as it reads, with something to get wrong in it."""

    def plain_loop(method, optimizer, steps, *, schedule=None, seed=0, clip=None):
        mode(method.model)
        losses, first = [], np.random.default_rng(seed)
        for step in range(steps):
            if schedule is not None and set_first:
                optimizer.lr = rate(schedule, step)
            draws = generator(seed, step, first)
            batch = method.batch(draws)
            if again:
                draws = generator(seed, step, first)
            if forget:
                optimizer.zero_grad()
            state = draws.bit_generator.state
            loss = method.loss(batch, draws)
            loss.backward()
            norm = math.inf if clip is None else clip
            norm = cut(optimizer.parameters.values(), norm) if clip_first else 0.0
            if check and not math.isfinite(loss.item() + norm):
                raise DivergedError("not finite", step + 1)
            if step < updates(steps):
                optimizer.step()
            if not clip_first and clip is not None:
                cut(optimizer.parameters.values(), clip)
            if schedule is not None and not set_first:
                optimizer.lr = rate(schedule, step)
            if note(0, 1):
                draws.bit_generator.state = state
            losses.append(keep(note(loss, method.loss(batch, draws) if note(0, 1) else None)))
            if hasattr(method, "after_step"):
                tell(method, step + 1)
        return finish(losses)

    return plain_loop


def loop_by_train_steps(method, optimizer, steps, *, schedule=None, seed=0, clip=None):
    """plain_loop by what an optimizer does at once, with the loop turned inside out."""
    method.model.train()

    def one(step):
        optimizer.lr = optimizer.lr if schedule is None else schedule(step)
        draws = np.random.default_rng([seed, step, 0])
        for parameter in method.model.parameters():
            parameter.grad = None
        loss = method.loss(method.batch(draws), draws)
        loss.backward()
        value = loss.item()
        norm = optimizer.step_if_finite(value, math.inf if clip is None else clip)
        if not math.isfinite(value) or not math.isfinite(norm):
            raise DivergedError("not finite", step + 1)
        getattr(method, "after_step", lambda done: None)(step + 1)
        return value

    return [*map(one, range(steps))]


def _elements(parameters, most):
    for parameter in parameters:
        parameter.grad = np.clip(parameter.grad, -most, most)
    return 0.0


def _always(parameters, most):
    (parameter,) = parameters
    norm = math.sqrt(float((parameter.grad**2).sum()))
    if most < math.inf:
        parameter.grad = parameter.grad * most / norm
    return norm


def _generator(make):
    """plain_loop with a generator made of these: seed, step."""
    return looper(generator=lambda seed, step, first: np.random.default_rng(make(seed, step)))


for _mistake, _shows, _loop in [
    ("gradients add up", "gradients add up", looper(forget=False)),
    ("the same batch", "draws the same batch", _generator(lambda seed, step: seed)),
    ("one generator", "one generator goes through", looper(generator=lambda s, k, g: g)),
    ("no seed", "seed is not used", _generator(lambda seed, step: [0, step])),
    ("step alone", "step alone", _generator(lambda seed, step: step)),
    ("two generators", "generators of their own", looper(again=True)),
    ("no schedule", "schedule is not used", looper(rate=lambda schedule, step: 0.05)),
    ("the next rate", "that of the next step", looper(rate=lambda rates, k: rates(k + 1))),
    ("rate afterwards", "set after the update", looper(set_first=False)),
    ("clipped afterwards", "or comes after the update", looper(clip_first=False)),
    ("elements", "each element is clipped", looper(cut=_elements)),
    ("always scaled", "made larger", looper(cut=_always)),
    ("the loss afterwards", "before the update", looper(note=lambda before, after: after)),
    ("one update less", "last update is missing", looper(updates=lambda steps: steps - 1)),
    ("evaluation mode", "in evaluation mode", looper(mode=lambda model: model.eval())),
    ("no after_step", "number of updates made", looper(tell=lambda method, done: None)),
    ("after_step from 0", "number of updates made", looper(tell=lambda m, k: m.after_step(k - 1))),
    ("goes on with infinity", "should raise a DivergedError", looper(check=False)),
    ("Tensors are kept", "a Tensor would keep", looper(keep=lambda loss: loss)),
    ("no list", "expected a list", looper(finish=np.array)),
]:  # fmt: skip
    PLANTED.add("3.14", _mistake, shows=_shows)(_loop)


# ---- 3.15 stream_nats ----------------------------------------------------------------------------


def counter(
    stride_=lambda stride, length: max(length // 2, 1) if stride is None else stride,
    starts=lambda targets, length, stride: [*range(0, targets - length, stride), targets - length],
    twice=False,
    target=lambda stream, place: stream[place + 1].astype(np.int64),
    check=True,
    mode=evaluating,
    finish=lambda total, targets: total,
    first=False,
    reduction="sum",
):
    """stream_nats one window at a time, with something to get wrong in it."""

    def stream_nats(model, stream, *, stride=None, batch_size=16):
        targets, context = len(stream) - 1, model.config.context_length
        if check and stride is not None and not 1 <= stride <= context:
            raise ValueError("no such stride")
        length = min(context, targets)
        total, done = 0.0, 0
        with mode(model):
            for start in starts(targets, length, stride_(stride, length)):
                places = np.arange(start, start + length)
                after = target(stream, places).copy()
                if not twice:
                    after[places < done] = -100
                loss = next_token_loss(
                    model(stream[places][None]), after[None], reduction=reduction
                )
                total += loss.item()
                done = start + length
            if first:
                total += next_token_loss(model(stream[None, :1]), stream[None, :1]).item()
        return finish(total, targets)

    return stream_nats


def nats_token_by_token(model, stream, *, stride=None, batch_size=16):
    """stream_nats: for each token the window that predicts it, cut behind it."""
    targets = len(stream) - 1
    length = min(model.config.context_length, targets)
    stride = max(1, length // 2) if stride is None else stride
    if stride < 1 or stride > model.config.context_length:
        raise ValueError("no such stride")
    total = 0.0
    with evaluating(model):
        for place in range(targets):
            number = max(0, -(-(place - length + 1) // stride))
            start = min(number * stride, targets - length)
            row = model(stream[None, start : place + 1]).numpy()[0, -1]
            total += np.logaddexp.reduce(row) - row[stream[place + 1]]
    return float(total)


def _left_in_evaluation(model):
    model.eval()
    return evaluating(model)


class _AsItIs:
    def __init__(self, model):
        pass

    def __enter__(self):
        pass

    def __exit__(self, *error):
        pass


def _side_by_side(targets, length, stride):
    return [*range(0, targets - length, length), targets - length]


for _mistake, _shows, _counter in [
    ("counted twice", "counted twice", counter(twice=True)),
    ("side by side", "stand side by side", counter(starts=_side_by_side)),
    ("no stride", "stride is not used", counter(stride_=lambda stride, n: max(n // 2, 1))),
    (
        "the end left out",
        "end of the stream is left out",
        counter(starts=lambda n, length, stride: [*range(0, n - length + 1, stride)]),
    ),
    ("the token read", "after it was read", counter(target=lambda stream, place: stream[place])),
    ("the first token", "nothing before it", counter(first=True)),
    ("the mean", "this is the mean", counter(finish=lambda total, targets: total / targets)),
    ("bits", "this is in bits", counter(finish=lambda total, targets: total / math.log(2))),
    ("means of windows", "mean|sum is wrong", counter(reduction="mean")),
    ("nothing refused", "should raise|raised", counter(check=False)),
    ("left in evaluation", "left in evaluation mode", counter(mode=_left_in_evaluation)),
    ("dropout left on", "raised|sum is wrong", counter(mode=_AsItIs)),
]:
    PLANTED.add("3.15", _mistake, shows=_shows)(_counter)

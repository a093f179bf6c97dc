"""Wrong answers to homework 6, contrast: one answer against another."""

import math

import numpy as np

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.losses.contrastive import information_bound, normalize
from minissl.losses.metric import reduced
from minissl.nn.module import Parameter
from tests.homework.planted import Collection
from tests.homework.planted.hw6_triplets import summed

PLANTED = Collection()


# ---- 6.8 follow ----------------------------------------------------------------------------------


def follower(
    rule=lambda slow, new, decay: decay * slow + (1 - decay) * new,
    trained=lambda value: isinstance(value, Parameter),
    into=lambda slow, new, array: setattr(slow, "array", array),
    parts=lambda module: list(module.named_modules()),
):
    """follow over all parts, with something to get wrong in it."""

    def follow(slow, module, decay):
        for (_, copied), (_, part) in zip(parts(slow), parts(module)):
            for name, value in list(vars(part).items()):
                if isinstance(value, Tensor) and trained(value):
                    own = getattr(copied, name)
                    into(own, value, rule(own.array, value.array, decay))

    return follow


def follow_in_place(slow, module, decay):
    """By the names of the parameters, into the arrays that are there."""
    for path, parameter in module.named_parameters():
        part = slow
        for name in path.split("."):
            part = getattr(part, name)
        part.array[...] += (1 - decay) * (parameter.array - part.array)


def _as_parameter(copied, value, array):
    copied.array = array
    copied.requires_grad = True


for _mistake, _shows, _follower in [
    ("exchanged", "decay is the part that stays", follower(lambda s, n, d: (1 - d) * s + d * n)),
    ("nothing", "nothing has moved", follower(lambda s, n, d: 1.0 * s)),
    ("overwritten", "overwritten", follower(lambda s, n, d: 1.0 * n)),
    ("shrinks", "module's part is missing", follower(lambda s, n, d: d * s)),
    ("added whole", "was added whole", follower(lambda s, n, d: d * s + n)),
    ("away", "moved away", follower(lambda s, n, d: (2 - d) * s - (1 - d) * n)),
    ("only the outer part", "nothing has moved", follower(parts=lambda m: [("", m)])),
    ("buffers, too", "a buffer followed", follower(trained=lambda value: True)),
    ("into the network", "the network was changed|nothing has moved", follower(
        into=lambda slow, new, array: setattr(new, "array", array))),
    ("both", "the network was changed", follower(
        into=lambda slow, new, array: [setattr(x, "array", array) for x in (slow, new)])),
    ("one array", "shares its array", follower(
        lambda s, n, d: n if d == 0 else d * s + (1 - d) * n)),
    ("float64", "became others|the dtype is", follower(
        lambda s, n, d: np.float64(d) * s.astype(np.float64) + (1 - d) * n)),
    ("trained", "become trained|raised", follower(into=_as_parameter)),
]:  # fmt: skip
    PLANTED.add("6.8", _mistake, shows=_shows)(_follower)


# ---- 6.9 consistency_loss ------------------------------------------------------------------------


def refuse(target, logits, sharpen, confidence):
    """ValueError for what has to be refused."""
    if len(target.shape) != 2 or target.shape != logits.shape:
        raise ValueError("no logits")
    if not 0 < sharpen <= 1 or not 0 <= confidence < 1:
        raise ValueError("no such settings")


def still(x):
    """Without a gradient."""
    return x.detach() if isinstance(x, Tensor) else Tensor(x)


def agreer(
    hold=still,
    sharper=lambda said, sharpen: said / sharpen,
    answers=lambda target, logits: (target, logits),
    other=lambda logits, sharpen: logits,
    cost=lambda log_p, log_q: ops.exp(log_p) * (log_p - log_q),
    over=lambda costs: ops.sum(costs, axis=1),
    surest=lambda said, sharper: said,
    above=lambda surest, confidence: surest > confidence,
    finish=lambda losses, counts, how: reduced(losses, how),
    log_softmax=lambda x: ops.log_softmax(x, axis=1),
    check=refuse,
):
    """consistency_loss from ln p and ln q, with something to get wrong in it."""

    def consistency_loss(target_logits, logits, *, sharpen=1.0, confidence=0.0, reduction="mean"):
        check(target_logits, logits, sharpen, confidence)
        target_logits, logits = answers(target_logits, logits)
        said = hold(target_logits)
        log_p = log_softmax(sharper(said, sharpen))
        log_q = log_softmax(other(logits, sharpen))
        plain = surest(log_softmax(said), log_p).numpy()
        counts = above(np.exp(plain).max(axis=1), confidence)
        losses = ops.where(counts, over(cost(log_p, log_q)), 0.0)
        return finish(losses, counts, reduction)

    return consistency_loss


def agree_by_entropies(target_logits, logits, *, sharpen=1.0, confidence=0.0, reduction="mean"):
    """Cross-entropy less entropy, p as a plain array."""
    refuse(target_logits, logits, sharpen, confidence)
    said = target_logits.numpy().astype(np.float64)
    p = np.exp(said / sharpen - (said / sharpen).max(axis=1, keepdims=True))
    p = p / p.sum(axis=1, keepdims=True)
    entropy = -(p * np.log(np.where(p == 0, 1, p))).sum(axis=1)
    plain = np.exp(said - said.max(axis=1, keepdims=True))
    sure = (1 / plain.sum(axis=1) > confidence).astype(np.float64)
    dtype = logits.dtype
    below = ops.logsumexp(logits, axis=1)
    crossed = below - ops.sum(p.astype(dtype) * logits, axis=1)
    losses = sure.astype(dtype) * (crossed - entropy.astype(dtype))
    return {"none": losses, "sum": ops.sum(losses), "mean": ops.mean(losses)}[reduction]


for _mistake, _shows, _agreer in [
    ("turned", "q ‖ p", agreer(cost=lambda log_p, log_q: ops.exp(log_q) * (log_q - log_p))),
    ("cross-entropy", "take p's entropy off", agreer(
        cost=lambda log_p, log_q: -ops.exp(log_p) * log_q)),
    ("exchanged", "first and second are exchanged", agreer(answers=lambda t, x: (x, t))),
    ("no stop", "held still", agreer(hold=lambda x: x if isinstance(x, Tensor) else Tensor(x))),
    ("the other is held", "gradient", agreer(other=lambda x, _: still(x))),
    ("summed", "sum over the images", agreer(finish=lambda x, _, how: summed(x, how))),
    ("of the sure", "those that do not count", agreer(
        finish=lambda x, counts, how: reduced(x, how) if how != "mean"
        else ops.sum(x) / max(counts.sum(), 1))),
    ("the mean over classes", "mean over the classes", agreer(over=lambda x: ops.mean(x, axis=1))),
    ("not sharpened", "not sharpened", agreer(sharper=lambda said, sharpen: said)),
    ("blunted", "a temperature divides", agreer(sharper=lambda said, sharpen: said * sharpen)),
    ("both sharpened", "sharpened, too", agreer(other=lambda x, sharpen: x / sharpen)),
    ("sure when sharp", "asked before sharpening", agreer(surest=lambda said, sharp: sharp)),
    ("all count", "confidence is missing", agreer(above=lambda p, _: p > -1)),
    ("the unsure count", "values are wrong", agreer(above=lambda p, c: p <= c)),
    ("0 ln 0", "NaN|0 · ln 0", agreer(log_softmax=lambda x: ops.log(ops.softmax(x, axis=1)))),
    ("nothing refused", "should raise|it raised", agreer(check=lambda *_: None)),
]:  # fmt: skip
    PLANTED.add("6.9", _mistake, shows=_shows)(_agreer)


# ---- 6.10 info_nce -------------------------------------------------------------------------------


def chooser(
    unit=lambda x: x / ops.norm(x, axis=-1, keepdims=True),
    scale=lambda logits, temperature: logits / temperature,
    keys=lambda query, key, in_batch: in_batch,
    own=lambda negatives: negatives,
    log_p=lambda logits: ops.log_softmax(logits, axis=1),
    use=lambda negatives: negatives,
    finish=reduced,
    check=True,
):
    """info_nce from a table of all scores, with something to get wrong in it."""

    def info_nce(
        query, key, *, temperature, negatives=None, in_batch=True, normalize=True,
        gather=False, reduction="mean",
    ):  # fmt: skip
        batch, width = query.shape
        if check:
            shape = negatives.shape if negatives is not None else (0, width)
            fits = len(shape) in (2, 3) and shape[-1] == width
            fits &= len(shape) == 2 or shape[0] == batch
            if not fits or key.shape != query.shape or (negatives is None and not in_batch):
                raise ValueError("shapes")
        negatives = use(negatives)
        if normalize:
            query, key = unit(query), unit(key)
            negatives = None if negatives is None else unit(negatives)
        first = ops.sum(query * key, axis=1, keepdims=True)
        scores = [first]
        if keys(query, key, in_batch):
            others = ops.matmul(query, ops.matrix_transpose(key))
            scores.append(ops.where(np.eye(batch, dtype=bool), -1e300, others))
        if negatives is not None:
            negatives = own(negatives)
            each = ops.expand_dims(query, axis=1)
            rows = negatives if negatives.ndim == 3 else ops.expand_dims(negatives, axis=0)
            scores.append(ops.sum(each * rows, axis=2))
        logits = scale(ops.concatenate(scores, axis=1), temperature)
        return finish(-log_p(logits)[:, 0], reduction)

    return info_nce


def choose_one_by_one(
    query, key, *, temperature, negatives=None, in_batch=True, normalize=True, gather=False,
    reduction="mean",
):  # fmt: skip
    """The candidates of each query in a list, the right one in front."""
    if key.shape != query.shape or (negatives is None and not in_batch):
        raise ValueError("shapes")
    if negatives is not None and (
        negatives.shape[-1:] != query.shape[1:]
        or negatives.ndim not in (2, 3)
        or (negatives.ndim == 3 and len(negatives) != len(query))
    ):
        raise ValueError("shapes")

    def unit(x):
        return x / ops.norm(x) if normalize else x

    losses = []
    for i in range(len(query)):
        others = [key[j] for j in range(len(key)) if j != i] if in_batch else []
        if negatives is not None:
            others += list(negatives if negatives.ndim == 2 else negatives[i])
        scores = [ops.sum(unit(query[i]) * unit(x)) / temperature for x in (key[i], *others)]
        losses.append(ops.logsumexp(ops.stack(scores)) - scores[0])
    losses = ops.stack(losses)
    return {"none": losses, "sum": ops.sum(losses), "mean": ops.mean(losses)}[reduction]


def _for_everyone(negatives):
    return negatives if negatives.ndim == 2 else ops.reshape(negatives, (-1, negatives.shape[-1]))


for _mistake, _shows, _chooser in [
    ("no temperature", "temperature was forgotten", chooser(scale=lambda x, t: x)),
    ("inner products", "inner products were used", chooser(unit=lambda x: x)),
    ("summed", "sum over the queries", chooser(finish=summed)),
    ("no negatives", "negatives are missing", chooser(use=lambda negatives: None)),
    ("always with the keys", "in_batch=False: without", chooser(keys=lambda q, k, in_batch: True)),
    ("never with the keys", "values are wrong|in_batch=True: with", chooser(
        keys=lambda q, k, in_batch: False)),
    ("negatives of all", "those of the others", chooser(own=_for_everyone)),
    ("the first one's", "first one's negatives", chooser(
        own=lambda negatives: negatives[0] if negatives.ndim == 3 else negatives)),
    ("fixed negatives", "gradient reaches negatives|gradient by negatives", chooser(
        use=lambda negatives: None if negatives is None else negatives.detach())),
    ("negatives as they are", "made unit vectors, too", chooser(
        unit=lambda x: x if x.ndim == 3 else x / ops.norm(x, axis=-1, keepdims=True))),
    ("overflow", "overflow|NaN", chooser(
        log_p=lambda x: x - ops.log(ops.sum(ops.exp(x), axis=1, keepdims=True)))),
    ("nothing refused", "should raise|it raised", chooser(check=False)),
]:  # fmt: skip
    PLANTED.add("6.10", _mistake, shows=_shows)(_chooser)


# ---- 6.11 bilinear_info_nce ----------------------------------------------------------------------


def critic(
    scores=lambda c, z, w: ops.matmul(c, ops.matrix_transpose(ops.matmul(z, w))),
    log_p=lambda scores: ops.log_softmax(scores, axis=1),
    sign=-1,
    finish=reduced,
    check=True,
):
    """bilinear_info_nce from the table of scores, with something to get wrong in it."""

    def bilinear_info_nce(context, key, weight, *, gather=False, reduction="mean"):
        if check and weight.shape != (key.shape[1], context.shape[1]):
            raise ValueError("W has another shape")
        table = log_p(scores(context, key, weight))
        rows = np.arange(len(key))
        return finish(sign * table[rows, rows], reduction)

    return bilinear_info_nce


def critic_by_bounds(context, key, weight, *, gather=False, reduction="mean"):
    """Score by score; the mean as ln batch less the bound's mean."""
    if weight.shape != (key.shape[1], context.shape[1]):
        raise ValueError("W has another shape")
    losses = []
    for i in range(len(key)):
        scores = ops.stack([ops.sum(ops.matmul(z, weight) * context[i]) for z in key])
        gain = scores[i] - ops.logsumexp(scores) + math.log(len(key))
        losses.append(information_bound(gain, len(key)))
    losses = ops.stack(losses)
    return {"none": losses, "sum": ops.sum(losses), "mean": ops.mean(losses)}[reduction]


for _mistake, _shows, _critic in [
    ("turned W", "this is cᵀ W z|it raised", critic(
        lambda c, z, w: ops.matmul(c, ops.matrix_transpose(ops.matmul(z, ops.matrix_transpose(w))))
        if w.shape[0] == w.shape[1] else ops.matmul(c, ops.matrix_transpose(ops.matmul(z, w))))),
    ("cosines", "made unit vectors", critic(
        lambda c, z, w: ops.matmul(
            normalize(c), ops.matrix_transpose(ops.matmul(normalize(z), w))))),
    ("the wrong axis", "each key looks", critic(log_p=lambda s: ops.log_softmax(s, axis=0))),
    ("summed", "sum over the batch", critic(finish=summed)),
    ("the sign", "sign is wrong", critic(sign=1)),
    ("no W", "it raised|no zᵀ W c", critic(lambda c, z, w: ops.matmul(c, ops.matrix_transpose(
        z[:, :1] * np.ones(c.shape[1]))))),
    ("a fixed W", "gradient reaches weight|gradient by weight", critic(
        lambda c, z, w: ops.matmul(c, ops.matrix_transpose(ops.matmul(z, w.detach()))))),
    ("always the mean", "the shape is", critic(finish=lambda losses, _: ops.mean(losses))),
]:  # fmt: skip
    PLANTED.add("6.11", _mistake, shows=_shows)(_critic)

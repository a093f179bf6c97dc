"""Wrong answers to homework 6, contrast: right for most batches, or at a price the caller pays.

They know the labels 0, 1, 2 only, forget ``reduction="sum"``, keep masks between calls, draw from
where they should not, or write into what they were given.
"""

import numpy as np

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.losses.metric import reduced
from minissl.losses.triplets import Triplets
from tests.homework.planted import Collection, hw6_agreement, hw6_distances, hw6_groups
from tests.homework.planted.hw6_triplets import comparer, every, mine_by_masks, miner

PLANTED = Collection()


def no_sum(losses, how):
    """The mean where a sum was asked for."""
    return losses if how == "none" else ops.mean(losses)


def doubled(answer, name=0):
    """A loss that has set the gradient of an argument, too."""

    def loss(*arguments, **options):
        found = answer(*arguments, **options)
        if isinstance(arguments[name], Tensor) and arguments[name].requires_grad:
            arguments[name].grad = np.zeros(arguments[name].shape)
        return found

    return loss


def by_one_hot(answer):
    """Rows of one label found by products of one-hot rows: of the labels 0, 1, 2, ..."""

    def loss(rows, labels, *arguments, **options):
        one_hot = np.eye(int(np.max(labels)) + 1)[labels]
        return answer(rows, (one_hot @ one_hot.T).argmax(axis=1), *arguments, **options)

    return loss


def remembered(answer):
    """The labels of the first batch of each size."""
    kept = {}

    def loss(rows, labels, *arguments, **options):
        labels = kept.setdefault(len(labels), labels)
        return answer(rows, labels, *arguments, **options)

    return loss


# ---- 6.1 pairwise_distances ----------------------------------------------------------------------


@PLANTED.add("6.1", "float16 as it is", shows="half precision|the dtype is float16")
def _(first, second=None, *, squared=False):
    d = hw6_distances.measurer()(first, second, squared=squared)
    return ops.astype(d, dtype=first.dtype)


@PLANTED.add("6.1", "what is near is equal", shows="near rows are not equal")
def _(first, second=None, *, squared=False):
    d = hw6_distances.measurer()(first, second, squared=squared)
    return ops.where(d.array < (1e-8 if squared else 1e-4), 0.0, d)


@PLANTED.add("6.1", "0 on the diagonal, whatever stands there", shows="diagonal")
def _(first, second=None, *, squared=False):
    d = hw6_distances.measurer()(first, second, squared=squared)
    return ops.where(np.eye(*d.shape, dtype=bool), 0.0, d)


@PLANTED.add(
    "6.1",
    "the upper half, mirrored",
    shows="half of the table|IndexError|it raised|values are wrong",
)
def _(first, second=None, *, squared=False):
    d = hw6_distances.measurer()(first, second, squared=squared)
    if d.shape[0] != d.shape[1]:
        return d
    upper = np.triu(np.ones(d.shape, bool))
    return ops.where(upper, d, ops.matrix_transpose(d))


@PLANTED.add("6.1", "moves the rows to the middle in place", shows="changed its input")
def _(first, second=None, *, squared=False):
    found = hw6_distances.measurer()(first, second, squared=squared)
    first.array[...] -= first.array.mean(axis=0)
    return found


@PLANTED.add("6.1", "sets the gradient itself", shows="set the gradient")
def _(first, second=None, *, squared=False):
    return doubled(hw6_distances.measurer())(first, second, squared=squared)


# ---- 6.2 pair_loss, 6.3 triplet_loss -------------------------------------------------------------

PLANTED.add("6.2", "no sum", shows="reduction='sum'")(hw6_distances.pairer(finish=no_sum))
PLANTED.add("6.2", "sets the gradient itself", shows="set the gradient")(
    doubled(hw6_distances.pairer())
)
PLANTED.add("6.2", "of the different ones", shows="divided by|over all pairs")(
    hw6_distances.pairer(finish=lambda x, how: reduced(x, how) if how != "mean"
                         else ops.sum(x) / max(int((x.array > 0).sum()), 1))
)  # fmt: skip


@PLANTED.add("6.2", "turns the labels around in place", shows="changed its input")
def _(first, second, same, *, margin, definition="hadsell", reduction="mean"):
    found = hw6_distances.pairer()(
        first, second, same, margin=margin, definition=definition, reduction=reduction
    )
    np.logical_not(same, out=same, where=np.asarray(same).dtype == bool)
    return found


@PLANTED.add("6.2", "the margin squared in Song's", shows="margin itself")
def _(first, second, same, *, margin, definition="hadsell", reduction="mean"):
    return hw6_distances.pairer(song=lambda d, m: ops.relu(m * m - d * d))(
        first, second, same, margin=margin, definition=definition, reduction=reduction
    )


PLANTED.add("6.3", "no sum", shows="reduction='sum'")(comparer(finish=no_sum))


@PLANTED.add("6.3", "soft is always plain", shows="squared=True asks")
def _(anchor, positive, negative, *, margin, squared=False, reduction="mean"):
    return comparer()(
        anchor, positive, negative,
        margin=margin, squared=squared and margin is not None, reduction=reduction,
    )  # fmt: skip


@PLANTED.add("6.3", "the swap: the negative nearer of anchor and positive", shows="swap")
def _(anchor, positive, negative, *, margin, squared=False, reduction="mean"):
    def far(a, p, n):
        nearer = ops.norm(a - n, axis=1).array < ops.norm(p - n, axis=1).array
        return ops.where(nearer[:, None], a - n, p - n)

    return comparer(far=far)(
        anchor, positive, negative, margin=margin, squared=squared, reduction=reduction
    )


PLANTED.add("6.3", "float64", shows="the dtype is")(
    comparer(finish=lambda x, how: reduced(ops.astype(x, dtype=np.float64), how))
)
PLANTED.add("6.3", "sets the gradient itself", shows="set the gradient")(doubled(comparer()))


# ---- 6.4 mine_triplets ---------------------------------------------------------------------------


@PLANTED.add("6.4", "∞ on the diagonal of the caller's table", shows="changed its input")
def _(distances, labels, mining, **options):
    found = mine_by_masks(distances, labels, mining, **options)
    np.fill_diagonal(distances, np.inf)
    return found


@PLANTED.add("6.4", "one-hot labels", shows="labels may be any integers|it raised")
def _(distances, labels, mining, **options):
    return by_one_hot(lambda d, y, *a, **o: mine_by_masks(d, y, *a, **o))(
        distances, labels, mining, **options
    )


@PLANTED.add("6.4", "a generator of its own", shows="generator that is given")
def _(distances, labels, mining, *, generator=None, **options):
    own = np.random.default_rng(0) if generator else None
    return mine_by_masks(distances, labels, mining, generator=own, **options)


@PLANTED.add("6.4", "the global generator", shows="global generator|generator that is given")
def _(distances, labels, mining, *, generator=None, **options):
    own = np.random.mtrand._rand if generator else None
    return mine_by_masks(distances, labels, mining, generator=own, **options)


@PLANTED.add("6.4", "one draw for each anchor", shows="draw of its own")
def _(distances, labels, mining, **options):
    found = mine_by_masks(distances, labels, mining, **options)
    if mining != "distance-weighted":
        return found
    first = dict(zip(found.anchor.tolist(), found.negative.tolist()))
    return found._replace(negative=np.array([first[a] for a in found.anchor.tolist()], int))


@PLANTED.add("6.4", "nearest to the positive", shows="anchor's distances")
def _(distances, labels, mining, **options):
    if mining != "hard":
        return mine_by_masks(distances, labels, mining, **options)
    hard = mine_by_masks(distances, labels, mining, **options)
    different = labels[:, None] != labels
    nearest = np.where(different, distances, np.inf).argmin(axis=1)
    return Triplets(hard.anchor, hard.positive, nearest[hard.positive])


@PLANTED.add("6.4", "too far ones are drawn where there are no others", shows="1.4 away or more")
def _(distances, labels, mining, *, squared=False, width=None, generator=None, **options):
    found = mine_by_masks(
        distances, labels, mining, squared=squared, width=width, generator=generator, **options
    )
    if mining != "distance-weighted" or len(found.anchor):
        return found
    rows = {(a, p): n for a, p, n in every(labels.tolist())}
    return Triplets(*np.array([(*pair, n) for pair, n in rows.items()], int).reshape(-1, 3).T)


@PLANTED.add("6.4", "the width need not be told", shows="should raise a ValueError")
def _(distances, labels, mining, *, width=None, **options):
    return mine_by_masks(distances, labels, mining, width=width or 3, **options)


@PLANTED.add("6.4", "roots of what is no square", shows="too often or too rarely|1.4 away")
def _(distances, labels, mining, *, squared=False, **options):
    return miner()(distances, labels, mining, squared=True, **options)


# ---- 6.5 lifted_structured_loss ------------------------------------------------------------------

LIFTER = hw6_groups.lifter

PLANTED.add("6.5", "no sum", shows="reduction='sum'")(LIFTER(finish=no_sum))
PLANTED.add("6.5", "one-hot labels", shows="labels may be any integers|it raised")(
    by_one_hot(LIFTER())
)
PLANTED.add("6.5", "the labels of before", shows="labels of an earlier call")(remembered(LIFTER()))
PLANTED.add("6.5", "the nearest negative alone", shows="the largest of them alone")(
    LIFTER(sum_of=lambda x: ops.max(x, axis=1), both=ops.maximum)
)
PLANTED.add("6.5", "float64", shows="the dtype is")(
    LIFTER(finish=lambda x, how: reduced(ops.astype(x, dtype=np.float64), how))
)


# ---- 6.6 supcon_loss, 6.7 soft_nearest_neighbor_loss ---------------------------------------------


def no_sum_with_labels(answer):
    """The mean where a sum was asked for."""

    def loss(rows, labels, *, reduction="mean", **options):
        how = "mean" if reduction == "sum" else reduction
        return answer(rows, labels, reduction=how, **options)

    return loss


def with_the_same(answer):
    """Rows that are equal leave each other out: a mask by distances, not by the diagonal."""

    def loss(rows, labels, **options):
        values = rows.numpy()
        gone = (np.abs(values[:, None] - values).sum(axis=2) == 0) & ~np.eye(
            len(values), dtype=bool
        )
        kept = np.flatnonzero(~np.triu(gone).any(axis=0))
        return answer(rows[kept], np.asarray(labels)[kept], **options)

    return loss


def class_means(answer):
    """The mean of the labels' means."""

    def loss(rows, labels, *, reduction="mean", **options):
        if reduction != "mean":
            return answer(rows, labels, reduction=reduction, **options)
        each = answer(rows, labels, reduction="none", **options)
        names, counts = np.unique(labels, return_counts=True)
        means = [ops.mean(each[np.flatnonzero(labels == name)]) for name in names[counts > 1]]
        return ops.mean(ops.stack(means)) if means else 0 * ops.sum(each)

    return loss


for _number, _answer in (("6.6", hw6_groups.supcon()), ("6.7", hw6_groups.neighbor())):
    for _mistake, _shows, _wrong in [
        ("no sum", "reduction='sum'", no_sum_with_labels),
        ("one-hot labels", "labels may be any integers|it raised", by_one_hot),
        ("the labels of before", "labels of an earlier call", remembered),
        (
            "equal rows leave each other out",
            "twice in the batch|each other row has the probability",
            with_the_same,
        ),
        ("the mean of the labels' means", "labels' means", class_means),
        ("sets the gradient itself", "set the gradient", doubled),
    ]:
        PLANTED.add(_number, _mistake, shows=_shows)(_wrong(_answer))


@PLANTED.add("6.6", "τ / τ₀ in front", shows="no factor")
def _(features, labels, *, temperature, reduction="mean", **options):
    loss = hw6_groups.supcon()(
        features, labels, temperature=temperature, reduction=reduction, **options
    )
    return loss * temperature / 0.07


@PLANTED.add("6.7", "temperatures of 0", shows="should raise a ValueError")
def _(embeddings, labels, *, temperature, reduction="mean"):
    t = temperature if isinstance(temperature, Tensor) else max(temperature, 1e-3)
    return hw6_groups.neighbor()(embeddings, labels, temperature=t, reduction=reduction)


@PLANTED.add("6.6", "labels that are no integers", shows="should raise a ValueError")
def _(features, labels, **options):
    return hw6_groups.supcon()(features, np.asarray(labels).astype(int), **options)


# ---- 6.8 follow ----------------------------------------------------------------------------------

CALLS = []


@PLANTED.add(
    "6.8",
    "a decay that rises from call to call",
    shows="between calls|decay that is given|values are wrong",
)
def _(slow, module, decay):
    CALLS.append(decay)
    hw6_agreement.follower()(slow, module, decay * (1 - 0.1 * 0.5 ** len(CALLS)))


SEEN = set()


@PLANTED.add("6.8", "the first call of a network copies", shows="overwritten|nothing has moved")
def _(slow, module, decay):
    first = id(slow) not in SEEN
    SEEN.add(id(slow))
    KEPT.append(slow)
    hw6_agreement.follower()(slow, module, 0.0 if first else decay)


KEPT = []


@PLANTED.add("6.8", "matrices only", shows="nothing has moved")
def _(slow, module, decay):
    def into(own, value, array):
        if own.array.ndim > 1:
            own.array = array

    hw6_agreement.follower(into=into)(slow, module, decay)


@PLANTED.add("6.8", "the second call does nothing", shows="second call")
def _(slow, module, decay):
    if not getattr(slow, "followed", False):
        hw6_agreement.follower()(slow, module, decay)
    slow.followed = True


@PLANTED.add("6.8", "forgets the network's gradients", shows="gradients? of the network")
def _(slow, module, decay):
    hw6_agreement.follower()(slow, module, decay)
    for parameter in module.parameters():
        parameter.grad = None


# ---- 6.9 consistency_loss ------------------------------------------------------------------------

AGREER = hw6_agreement.agreer
PLANTED.add("6.9", "no sum", shows="reduction='sum'")(
    AGREER(finish=lambda x, _, how: no_sum(x, how))
)
PLANTED.add("6.9", "sets the gradient itself", shows="set the gradient")(doubled(AGREER(), 1))


@PLANTED.add("6.9", "a pseudo-label", shows="surest class alone")
def _(target_logits, logits, *, sharpen=1.0, confidence=0.0, reduction="mean"):
    hw6_agreement.refuse(target_logits, logits, sharpen, confidence)
    said = target_logits.numpy()
    p = np.exp(said - said.max(axis=1, keepdims=True))
    sure = (p / p.sum(axis=1, keepdims=True)).max(axis=1) > confidence
    log_q = ops.log_softmax(logits, axis=1)
    losses = ops.where(sure, -log_q[np.arange(len(said)), said.argmax(axis=1)], 0.0)
    return reduced(losses, reduction)


@PLANTED.add("6.9", "both ways", shows="both directions")
def _(target_logits, logits, *, sharpen=1.0, confidence=0.0, reduction="mean"):
    def cost(log_p, log_q):
        return ops.exp(log_p) * (log_p - log_q) / 2 + ops.exp(log_q) * (log_q - log_p) / 2

    return AGREER(cost=cost)(
        target_logits, logits, sharpen=sharpen, confidence=confidence, reduction=reduction
    )


@PLANTED.add("6.9", "how sure q is", shows="of the image as it is")
def _(target_logits, logits, *, sharpen=1.0, confidence=0.0, reduction="mean"):
    hw6_agreement.refuse(target_logits, logits, sharpen, confidence)
    each = AGREER()(target_logits, logits, sharpen=sharpen, reduction="none")
    sure = ops.softmax(logits, axis=1).numpy().max(axis=1) > confidence
    return reduced(ops.where(sure, each, 0.0), reduction)


@PLANTED.add("6.9", "squares of p − q", shows="squares of p − q")
def _(target_logits, logits, *, sharpen=1.0, confidence=0.0, reduction="mean"):
    def cost(log_p, log_q):
        return (ops.exp(log_p) - ops.exp(log_q)) ** 2

    return AGREER(cost=cost)(
        target_logits, logits, sharpen=sharpen, confidence=confidence, reduction=reduction
    )


# ---- 6.10 info_nce, 6.11 bilinear_info_nce -------------------------------------------------------

CHOOSER = hw6_agreement.chooser
PLANTED.add("6.10", "no sum", shows="reduction='sum'")(CHOOSER(finish=no_sum))
PLANTED.add("6.10", "a fixed temperature", shows="by temperature|reaches temperature")(
    CHOOSER(scale=lambda x, t: x / float(t))
)


@PLANTED.add("6.10", "as many negatives as queries: one each", shows="candidates of every query")
def _(query, key, *, negatives=None, **options):
    if negatives is not None and negatives.ndim == 2 and negatives.shape == query.shape:
        negatives = ops.expand_dims(negatives, axis=1)
    return CHOOSER()(query, key, negatives=negatives, **options)


@PLANTED.add("6.10", "both directions", shows="one direction")
def _(query, key, *, negatives=None, **options):
    one = CHOOSER()(query, key, negatives=negatives, **options)
    if negatives is not None:
        return one
    return (one + CHOOSER()(key, query, **options)) / 2


@PLANTED.add("6.10", "negatives are never made unit vectors", shows="values are wrong|unit vectors")
def _(query, key, *, negatives=None, normalize=True, **options):
    if negatives is not None and negatives.ndim == 2 and normalize:
        query, key = (x / ops.norm(x, axis=1, keepdims=True) for x in (query, key))
        normalize = False
    return CHOOSER()(query, key, negatives=negatives, normalize=normalize, **options)


@PLANTED.add("6.10", "sets the gradient itself", shows="set the gradient")
def _(query, key, **options):
    return doubled(CHOOSER())(query, key, **options)


PLANTED.add("6.11", "no sum", shows="reduction='sum'")(hw6_agreement.critic(finish=no_sum))
PLANTED.add("6.11", "divided by √width", shows="nothing is divided")(
    hw6_agreement.critic(
        scores=lambda c, z, w: (
            ops.matmul(c, ops.matrix_transpose(ops.matmul(z, w))) / z.shape[1] ** 0.5
        )
    )
)
PLANTED.add("6.11", "sets the gradient itself", shows="set the gradient")(
    doubled(hw6_agreement.critic())
)


@PLANTED.add("6.11", "the own key is no candidate", shows="own key is a candidate")
def _(context, key, weight, *, gather=False, reduction="mean"):
    if weight.shape != (key.shape[1], context.shape[1]):
        raise ValueError("W has another shape")
    scores = ops.matmul(context, ops.matrix_transpose(ops.matmul(key, weight)))
    if len(key) == 1:
        return reduced(0 * scores[:, 0], reduction)
    rows = np.arange(len(key))
    others = ops.where(np.eye(len(key), dtype=bool), -1e300, scores)
    return reduced(ops.logsumexp(others, axis=1) - scores[rows, rows], reduction)

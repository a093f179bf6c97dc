"""What a PyTorch user calls: one tile loop behind four contrastive losses."""

import math

import torch
from torch import Tensor

from minissl_kernels import launch
from minissl_kernels.contrastive.operator import POSITIVE, contrastive_losses


def info_nce(
    query: Tensor,
    key: Tensor,
    targets: Tensor | None = None,
    *,
    temperature: float | Tensor = 1.0,
    negatives: Tensor | None = None,
    normalize: bool = True,
    exclude_self: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy of picking each query's positive among all keys: −ln softmaxⱼ(cos(qᵢ, kⱼ) / τ).

    Shapes: query (rows, width), key (columns, width), ``targets`` (rows,) integers, the positive's
    column, by default the row's own number; ``negatives`` (count, width): more keys, which are
    nobody's positive (MoCo's queue). Embeddings in float32, float16 or bfloat16, all the same.
    ``temperature`` τ: a number or a floating tensor with one element, which then gets its gradient;
    used in float32. ``normalize``: every row is divided by its length first, and the gradient goes
    through that; False takes inner products of the rows as they are, which for unit vectors are the
    same. ``exclude_self``: row i may not pick key i. ``reduction``: ``"none"`` gives (rows,),
    ``"mean"`` and ``"sum"`` a number, in float32; the mean of no rows is 0.

    The (rows, columns) similarities are never stored: memory grows with rows + columns.

    Raises ValueError for shapes that do not fit, a temperature that is not positive and finite, or
    a row that is its own target with ``exclude_self``; TypeError for dtypes; IndexError for targets
    out of range; RuntimeError where Triton cannot run. Errors about values in GPU memory come with
    the next synchronisation. (van den Oord, Li and Vinyals 2018; He et al. 2020; in tiles that are
    never stored: Cheng et al. 2024, Inf-CL.) Lecture 12.
    """
    name = "info_nce"
    check_embeddings(name, query=query, key=key, negatives=negatives)
    rows, columns = query.shape[0], key.shape[0]
    given = targets is not None
    if targets is None:
        if rows > columns:
            raise ValueError(
                f"{name}: {rows} queries and {columns} keys: without targets, query i's positive "
                "is key i; pass targets or as many keys"
            )
        targets = torch.arange(rows, device=query.device)
    check_integers(name, "targets", targets, rows)
    trainable = columns
    if negatives is not None:
        trainable += negatives.shape[0] * negatives.requires_grad
        key = torch.cat([key, negatives])
    other: Tensor | None = None if key is query else key
    if normalize:
        query, other = unit_rows(query), None if other is None else unit_rows(other)
    losses, _ = run(
        name, query, other, targets, temperature,
        exclude_self=exclude_self, trainable=trainable, check_values=given or exclude_self,
    )  # fmt: skip
    return reduce(name, losses[0], reduction, rows)


def nt_xent(
    first: Tensor,
    second: Tensor,
    temperature: float | Tensor,
    *,
    normalize: bool = True,
    reduction: str = "mean",
) -> Tensor:
    """SimCLR's loss: each of 2N views must find its partner among the 2N − 1 other views.

    Shapes: first, second (batch, width), two views of the same things, row by row.
    ``reduction``: ``"none"`` gives (2 batch,), the first views on top. Exchanging the views changes
    nothing; a batch of 1 has the loss 0; equal embeddings have ln(2 batch − 1). The rest is as in
    ``info_nce``: without ``normalize`` pass unit vectors, or it is not the paper's loss. (Chen et
    al. 2020.) Lecture 12.
    """
    name = "nt_xent"
    check_embeddings(name, first=first, second=second)
    check_pairs(name, first=first, second=second)
    batch = first.shape[0]
    numbers = torch.arange(2 * batch, device=first.device)
    partners = torch.where(numbers < batch, numbers + batch, numbers - batch)
    views = torch.cat([first, second])
    views = unit_rows(views) if normalize else views
    losses, _ = run(name, views, None, partners, temperature, exclude_self=True)
    return reduce(name, losses[0], reduction, 2 * batch)


def clip_loss(
    image: Tensor, text: Tensor, *, temperature: float | Tensor, normalize: bool = True
) -> Tensor:
    """CLIP's loss: images pick their texts and texts pick their images; the mean of both.

    Shapes: image, text (batch, width), row i of both belonging together. The result is half the sum
    of ``info_nce(image, text)`` and ``info_nce(text, image)``, but the backward pass forms each
    similarity once for both directions. CLIP's learned ``logit_scale`` s is ``temperature=
    torch.exp(-s)``. The rest is as in ``info_nce``. (Radford et al. 2021.) Lecture 12.
    """
    name = "clip_loss"
    check_embeddings(name, image=image, text=text)
    check_pairs(name, image=image, text=text)
    batch = image.shape[0]
    numbers = torch.arange(batch, device=image.device)
    image, text = (unit_rows(image), unit_rows(text)) if normalize else (image, text)
    losses, _ = run(name, image, text, numbers, temperature, two_sided=True, trainable=batch)
    return reduce(name, losses, "mean", 2 * batch)


def supcon_loss(
    features: Tensor,
    labels: Tensor,
    *,
    temperature: float | Tensor,
    normalize: bool = True,
    reduction: str = "mean",
) -> Tensor:
    """Supervised contrastive loss: each row must find all other rows of its label.

    Minus the mean of ln softmaxⱼ(cos(fᵢ, fⱼ) / τ) over the other rows j of row i's label, where the
    softmax is over all rows but i (the paper's L_out). Shapes: features (batch, width), labels
    (batch,) integers; for several views of an image, repeat its label. A row that is alone with its
    label has no positive: its loss is 0, it does not count in the mean, but others still see it.
    The rest is as in ``info_nce``; there is no factor τ / τ₀ in front. (Khosla et al. 2020.)
    Lecture 12.
    """
    name = "supcon_loss"
    check_embeddings(name, features=features)
    check_integers(name, "labels", labels, features.shape[0])
    features = unit_rows(features) if normalize else features
    losses, stats = run(name, features, None, labels, temperature, by_label=True, exclude_self=True)
    counted = (stats[0, 2] > 0).sum().clamp(min=1)
    return reduce(name, losses[0], reduction, counted)


def unit_rows(embeddings: Tensor) -> Tensor:
    """Every row divided by its length, in its dtype, with torch's gradient; zeros stay zeros.

    In float32, and by the largest element first: of [300, 400] in float16, as of [1e30, 1e30], the
    squares are infinite and the row would come out as zeros. What is not finite becomes NaN.
    """
    if not embeddings.shape[-1]:
        return embeddings
    rows = embeddings.float()
    largest = rows.detach().abs().amax(-1, keepdim=True)  # cancels: it needs no gradient
    rows = rows / torch.where(largest == 0, 1.0, largest)
    length = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return (rows / torch.where(length == 0, 1.0, length)).to(embeddings.dtype)


def run(
    name, query, key, labels, temperature,
    by_label=False, exclude_self=False, two_sided=False, trainable=0, check_values=False,
):  # fmt: skip
    """The operator, with the temperature as a float32 tensor without axes."""
    if isinstance(temperature, Tensor):
        check_values = True
        if not temperature.is_floating_point() or temperature.numel() != 1:
            raise TypeError(
                f"{name}: temperature must be a number or a floating tensor with one element, got "
                f"{temperature.dtype} of shape {tuple(temperature.shape)}"
            )
        temperature = temperature.float().reshape(())
    elif temperature is None or isinstance(temperature, str | list | tuple):
        raise TypeError(
            f"{name}: temperature must be a number or a floating tensor with one element, got "
            f"{temperature!r:.60}"
        )
    elif not 0 < temperature < math.inf:
        raise ValueError(f"{name}: {POSITIVE}, got {temperature}")
    else:
        temperature = torch.full((), temperature, dtype=torch.float32, device=query.device)
    slope = temperature.requires_grad and torch.is_grad_enabled()
    return contrastive_losses(
        query, key, labels, temperature,
        by_label, exclude_self, two_sided, slope, trainable, check_values,
    )  # fmt: skip


def reduce(name, losses, reduction, count):
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    if reduction == "mean":
        return losses.sum() / (max(count, 1) if isinstance(count, int) else count)
    raise ValueError(f"{name}: reduction must be 'none', 'sum' or 'mean', got {reduction!r}")


def check_embeddings(name, **embeddings):
    given = {label: tensor for label, tensor in embeddings.items() if tensor is not None}
    launch.check_floating(name, **given)
    if any(t.dim() != 2 for t in given.values()) or len({t.shape[-1] for t in given.values()}) > 1:
        got = ", ".join(f"{label} {tuple(tensor.shape)}" for label, tensor in given.items())
        raise ValueError(f"{name}: expected (rows, width) with one width for all, got {got}")


def check_pairs(name, **embeddings):
    first, second = embeddings.values()
    if first.shape != second.shape:
        got = " and ".join(f"{label} {tuple(t.shape)}" for label, t in embeddings.items())
        raise ValueError(f"{name}: row i of both must belong together, got shapes {got}")


def check_integers(name, label, labels, rows):
    if labels.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"{name}: {label} must be int32 or int64, got {labels.dtype}")
    launch.check_shape(name, label, labels, (rows,), "(rows,)")

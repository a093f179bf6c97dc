"""Is the representation any good? Numbers that need no labels, on plain arrays. Lecture 12.

A contrastive run that collapses still has a falling loss when the loss has no negatives, and a
nearly constant one when it has; these numbers tell at once. Write them down before tuning anything.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

_ROWS = 256  # examples that are compared with all others together


def z_std(features: ArrayLike) -> float:
    """The spread of the directions, in units of the most that is possible on average: 0 to 1.

    Each row is scaled to length 1; the standard deviation of every column, averaged over columns,
    times √width. Features (examples, width). Directions spread evenly have about 1, a collapsed
    encoder about 0. Zero rows stay zero. (The collapse plot of SimSiam: Chen and He 2021.)
    """
    unit = _unit_rows(_matrix(features, "z_std"))
    return float(unit.std(axis=0).mean() * math.sqrt(unit.shape[1]))


def effective_rank(features: ArrayLike) -> float:
    """How many directions the features use: e^H for the entropy H of p = σ / Σσ, 0 to width.

    σ are the singular values of the (examples, width) matrix as it is, neither centred nor scaled:
    k equal ones give exactly k, features that are all the same vector give 1, zeros give 0. (Roy
    and Vetterli 2007; as a measure of self-supervised features, RankMe: Garrido et al. 2023.)
    """
    singular = np.linalg.svd(_matrix(features, "effective_rank"), compute_uv=False)
    if not singular.any():
        return 0.0
    p = singular / singular.sum()
    p = p[p > 0]
    return float(np.exp(-np.sum(p * np.log(p))))


def alignment(first: ArrayLike, second: ArrayLike, alpha: float = 2.0) -> float:
    """Mean ‖aᵢ − bᵢ‖^alpha of positive pairs on the unit sphere; 0: both views land on one point.

    first, second: (examples, width), row i of both from the same example. Smaller is better as long
    as ``uniformity`` is also small. (Wang and Isola 2020.)
    """
    a, b = _matrix(first, "alignment"), _matrix(second, "alignment")
    if a.shape != b.shape:
        raise ValueError(f"alignment: the views have shapes {a.shape} and {b.shape}, not equal")
    distances = np.linalg.norm(_unit_rows(a) - _unit_rows(b), axis=1)
    return float(np.mean(distances**alpha))


def uniformity(features: ArrayLike, t: float = 2.0) -> float:
    """ln of the mean of e^(−t ‖aᵢ − aⱼ‖²) over all pairs i < j on the unit sphere; at most 0.

    0: all on one point; the smaller, the more evenly spread (about −2t for many random directions
    in high dimension). Features (examples, width); ValueError for fewer than two examples.
    (Wang and Isola 2020.)
    """
    unit = _unit_rows(_matrix(features, "uniformity"))
    if len(unit) < 2:
        raise ValueError("uniformity needs two examples or more")
    pairs, near = len(unit) * (len(unit) - 1) / 2, 0.0
    for i in range(0, len(unit), _ROWS):  # all pairs of 10,000 examples at once would be 3 GB
        squared = np.maximum(2 - 2 * (unit[i : i + _ROWS] @ unit[i:].T), 0)
        near += np.triu(np.exp(-t * squared), k=1).sum()
    return float(np.log(near / pairs))


def _matrix(features: ArrayLike, name: str) -> NDArray[np.float64]:
    matrix = np.asarray(features, dtype=np.float64)
    if matrix.ndim != 2 or not matrix.size:
        raise ValueError(f"{name}: expected features (examples, width), got shape {matrix.shape}")
    return matrix


def _unit_rows(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix / np.where(lengths == 0, 1, lengths)

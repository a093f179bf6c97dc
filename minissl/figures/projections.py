"""Vectors in two dimensions."""

import numpy as np


def principal_components(vectors: np.ndarray, count: int = 2) -> np.ndarray:
    """Coordinates along the directions of largest variance: (examples, count)."""
    centered = vectors - vectors.mean(axis=0)
    left, scales, _ = np.linalg.svd(centered, full_matrices=False)
    return left[:, :count] * scales[:count]


def tsne(vectors: np.ndarray) -> np.ndarray:
    """scikit-learn's t-SNE (van der Maaten and Hinton 2008): (examples, 2), always the same."""
    from sklearn.manifold import TSNE

    if len(vectors) < 4:
        return principal_components(vectors)
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    points: np.ndarray = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(
        vectors
    )
    return points

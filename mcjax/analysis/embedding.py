"""t-SNE of a few points of weight space, from their distances alone (Fig. 4, A.1)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcjax import extras, sums


def distances(points: Sequence[Any]) -> np.ndarray:
    """Weight distances between pytrees, ``[N, N]``; no D-wide matrix is formed.

    Squares of differences are summed in float64, a pair of points at a time: a Gram matrix of the
    points themselves would lose the digits of a small difference of long vectors, and t-SNE's
    layout jumps with the last digits of float32 sums.
    """
    squares = np.zeros((len(points), len(points)))
    for chunk in sums.chunks(points):
        for i in range(1, len(points)):
            squares[i, :i] += np.sum((chunk[i] - chunk[:i]) ** 2, axis=-1)
    return np.sqrt(squares + squares.T)


def tsne(distances: np.ndarray, perplexity: float = 4.0, seed: int = 0) -> np.ndarray:
    """Coordinates ``[N, 2]`` by t-SNE (van der Maaten & Hinton, 2008).

    t-SNE keeps neighbourhoods, not distances: the figure shows that points are connected, no more.

    Raises:
      ValueError: there are not more points than ``perplexity``.
      ImportError: scikit-learn is not installed.
    """
    if len(distances) <= perplexity:
        raise ValueError(f"perplexity={perplexity} needs more than {len(distances)} points")
    with extras.needed_by(__name__):
        from sklearn.manifold import TSNE
    method = TSNE(
        metric="precomputed",
        init="random",
        perplexity=perplexity,
        random_state=seed,
        method="exact",
    )
    return method.fit_transform(distances.copy()).astype(np.float64)  # it squares in place

"""t-SNE of a few points of weight space, from their distances alone (Fig. 4, A.1)."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from sklearn.manifold import TSNE

from mcjax import curves


def distances(points: Sequence[Any]) -> np.ndarray:
    """Weight distances between pytrees, ``[N, N]``; no D-wide matrix is formed.

    Distances are measured from differences, two points at a time: a Gram matrix of the points
    themselves would lose the digits of a small difference of long vectors.
    """

    @jax.jit
    def squared(a, b):
        return curves.squared_norm(jax.tree.map(lambda x, y: x - y, a, b))

    found = np.zeros((len(points), len(points)))
    for i in range(len(points)):
        for j in range(i):
            found[i, j] = found[j, i] = np.sqrt(squared(points[i], points[j]))
    return found


def tsne(distances: np.ndarray, perplexity: float = 4.0, seed: int = 0) -> np.ndarray:
    """Coordinates ``[N, 2]`` by t-SNE (van der Maaten & Hinton, 2008).

    t-SNE keeps neighbourhoods, not distances: the figure shows that points are connected, no more.

    Raises:
      ValueError: there are not more points than ``perplexity``.
    """
    if len(distances) <= perplexity:
        raise ValueError(f"perplexity={perplexity} needs more than {len(distances)} points")
    method = TSNE(
        metric="precomputed",
        init="random",
        perplexity=perplexity,
        random_state=seed,
        method="exact",
    )
    return method.fit_transform(distances.copy()).astype(np.float64)  # it squares in place

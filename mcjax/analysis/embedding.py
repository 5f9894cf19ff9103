"""t-SNE of a few points of weight space, from their distances (Fig. 4, A.1)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcjax import extras, sums
from mcjax.typing import Float


def distances(points: Sequence[Any]) -> Float[np.ndarray, "points points"]:
    """Weight distances between pytrees, without forming a D-wide matrix.

    Squared differences are summed in float64 for each pair of points. A Gram matrix of the points
    would lose the digits of small differences between long vectors, and t-SNE's layout jumps with
    the last digits of float32 sums.

    Args:
      points: N pytrees of one structure.

    Returns:
      A symmetric matrix, in units of weight distance.

    >>> distances([{"w": np.zeros(2)}, {"w": np.array([3.0, 4.0])}])
    array([[0., 5.],
           [5., 0.]])
    """
    squares = np.zeros((len(points), len(points)))
    for chunk in sums.chunks(points):
        for i in range(1, len(points)):
            squares[i, :i] += np.sum((chunk[i] - chunk[:i]) ** 2, axis=-1)
    return np.sqrt(squares + squares.T)


def tsne(
    distances: Float[np.ndarray, "points points"], perplexity: float = 4.0, seed: int = 0
) -> Float[np.ndarray, "points 2"]:
    """Coordinates by t-SNE (van der Maaten & Hinton, 2008).

    t-SNE preserves neighbourhoods, not distances: a figure shows which points are close, no more.

    Args:
      distances: from `distances`.
      perplexity: about how many neighbours a point has.
      seed: for the first layout.

    Returns:
      Coordinates without a unit.

    Raises:
      ValueError: there are no more points than ``perplexity``.
      ImportError: scikit-learn is not installed.

    >>> tsne(distances([{"w": np.zeros(2)}, {"w": np.ones(2)}]))
    Traceback (most recent call last):
    ValueError: perplexity=4.0 needs more than 2 points
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
    return method.fit_transform(distances.copy()).astype(np.float64)  # it squares them in place

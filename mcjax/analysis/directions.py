"""Directions in weight space, for surfaces around a point (Li et al., 2018, section 4).

A direction is a pytree like the parameters. The plane through ``w`` along two directions is the
plane through the three points ``w``, ``w + d_1`` and ``w + d_2`` (`around`), which is all that
`mcjax.planes` and `mcjax.analysis.surfaces` need. For the Hessian's eigenvectors see
`mcjax.analysis.hessian`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mcjax import curves, sums
from mcjax.engine import derivatives, interop
from mcjax.typing import Float


class Principal(NamedTuple):
    """The two principal directions of points in weight space.

    Attributes:
      directions: two orthogonal pytrees, each as long as the standard deviation along it.
      variance: of the points along each (divided by N - 1), the larger one first.
      ratio: the same as shares of the total variance.

    >>> found = pca([np.array([0.0, 0.0]), np.array([0.0, 1.0]), np.array([4.0, 1.0])])
    >>> float(found.ratio.sum().round(2))  # three points lie in their plane
    1.0
    """

    directions: tuple[Any, Any]
    variance: Float[np.ndarray, "2"]
    ratio: Float[np.ndarray, "2"]


def around(params: curves.Params, directions: Sequence[curves.Params]) -> tuple[Any, Any, Any]:
    """The three points ``w, w + d_1, w + d_2`` of the plane through ``w`` along two directions.

    Args:
      params: the point ``w``.
      directions: two pytrees like it, in units of weight distance.

    Raises:
      ValueError: there are not two directions, they do not match the parameters, or one of them is
        zero or not finite.

    >>> around({"w": jnp.array([1.0, 2.0])}, [{"w": jnp.array([3.0, 0.0])}, {"w": jnp.ones(2)}])[1]
    {'w': Array([4., 2.], dtype=float32)}
    """
    if len(directions) != 2:
        raise ValueError(f"a plane needs two directions, got {len(directions)}")
    curves.check_matching((params, *directions))
    for index, direction in enumerate(directions, start=1):
        length = float(_norm(direction))
        if length == 0:
            raise ValueError(f"direction {index} is zero")
        if not np.isfinite(length):
            raise ValueError(f"direction {index} has values that are not finite")
    first, second = (_add(params, direction) for direction in directions)
    return params, first, second


def random(params: curves.Params, key: jax.Array | np.ndarray, ignore_vectors: bool = False) -> Any:
    """A Gaussian direction, as long as the parameters: ``d ||w|| / ||d||``.

    Args:
      params: the point that it starts from.
      key: a typed or legacy key of `jax.random`.
      ignore_vectors: whether to set leaves with fewer than two axes (biases, batch norm's
        parameters) to zero; the length is then that of the other leaves.

    Raises:
      ValueError: a leaf is not a floating-point array, or the key is not one.

    >>> w = {"bias": np.ones(3, np.float32), "kernel": np.full((4, 5), 2, np.float32)}
    >>> d = jax.jit(random, static_argnums=2)(w, jax.random.key(0), True)
    >>> d["bias"].tolist(), round(float(np.linalg.norm(d["kernel"]) ** 2), 3)
    ([0.0, 0.0, 0.0], 80.0)
    """
    params = _arrays(params)
    kept = _without_vectors(params) if ignore_vectors else params
    gaussian = _gaussian(params, key)
    drawn = _without_vectors(gaussian) if ignore_vectors else gaussian
    length = _norm(drawn)
    scale = jnp.where(length > 0, _norm(kept) / jnp.where(length > 0, length, 1), 0)
    return jax.tree.map(lambda d: _scaled(d, scale), drawn)


def filter_normalized(
    params: curves.Params, key: jax.Array | np.ndarray, ignore_vectors: bool = True
) -> Any:
    """A Gaussian direction, its filters as long as the parameters' (Li et al., 2018, section 4).

    ``d_ij <- d_ij ||w_ij|| / ||d_ij||`` for filter ``j`` of layer ``i``. A filter computes one
    output: it is a slice along the last axis of a leaf, as in Flax's kernels ``[height, width, in,
    out]`` and ``[in, out]``. This makes the sharpness of surfaces comparable between networks whose
    filters can be rescaled without changing the function (ReLU with batch norm).

    Args:
      params: the point that it starts from.
      key: a typed or legacy key of `jax.random`.
      ignore_vectors: whether to set leaves with fewer than two axes (biases, batch norm's
        parameters) to zero, as in the paper's figures. Otherwise each such leaf counts as one
        filter with a random direction; the authors' code (``ignore=''``) copies the weights there
        instead, so all its directions agree in these leaves.

    Raises:
      ValueError: a leaf is not a floating-point array, or the key is not one.

    >>> w = {"kernel": np.array([[3, 0], [4, 2]], np.float32)}
    >>> d = jax.jit(filter_normalized)(w, jax.random.key(0))
    >>> np.linalg.norm(d["kernel"], axis=0).round(3)
    array([5., 2.], dtype=float32)
    """

    def normalized(w: jax.Array, d: jax.Array) -> jax.Array:
        if w.ndim < 2 and ignore_vectors:
            return jnp.zeros_like(d)
        axes = tuple(range(max(w.ndim - 1, 1))) if w.ndim else ()
        tiny = float(jnp.finfo(w.dtype).tiny)
        return _scaled(d, _leaf_norm(w, axes) / jnp.maximum(_leaf_norm(d, axes), tiny))

    params = _arrays(params)
    return jax.tree.map(normalized, params, _gaussian(params, key))


def pca(points: Sequence[curves.Params]) -> Principal:
    """The two principal directions of a run's iterates, or of any points.

    With ``x_i`` the points minus their mean, the eigenvectors ``a`` of the ``N x N`` Gram matrix
    ``x_i . x_j`` give the directions ``sum_i a_i x_i``, without decomposing a ``D x N`` matrix.
    Computed on the host in float64 (`mcjax.sums`). The last point never lies before the first
    along a direction.

    Args:
      points: three or more parameter pytrees.

    Raises:
      ValueError: there are fewer than three points, their structures differ, they have values that
        are not finite, or they lie on a line (to one part in 1e6 of their spread).

    >>> found = pca([np.array([-3.0, 0, 0]), np.array([0, 1.0, 0]), np.array([3.0, 0, 0])])
    >>> found.variance.round(2), found.ratio.round(2)
    (array([9.  , 0.33]), array([0.96, 0.04]))
    >>> abs(found.directions[0]).round(2).tolist()  # as long as the standard deviation
    [3.0, 0.0, 0.0]
    """
    if len(points) < 3:
        raise ValueError(
            f"{len(points)} points do not have two principal directions: give 3 or more"
        )
    curves.check_matching(points)
    like, points = points[0], [derivatives.to_real(point) for point in points]
    gram = sums.gram(points, _centred)
    if not np.isfinite(gram).all():
        raise ValueError("a point has values that are not finite")
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[:-3:-1], vectors[:, :-3:-1]
    if values[1] <= 1e-12 * values[0]:
        raise ValueError("the points lie on a line: they have one principal direction")
    vectors = vectors * np.where(vectors[-1] < vectors[0], -1, 1) / np.sqrt(len(points) - 1)

    first, second = sums.combine(points, lambda x: vectors.T @ _centred(x))
    pair = derivatives.to_complex(like, first), derivatives.to_complex(like, second)
    return Principal(pair, values / (len(points) - 1), values / np.trace(gram))


def _centred(rows: Float[np.ndarray, "points chunk"]) -> Float[np.ndarray, "points chunk"]:
    return rows - rows.mean(axis=0)


def _arrays(params: curves.Params) -> Any:
    curves.check_matching((params,))
    return jax.tree.map(jnp.asarray, params)


def _gaussian(params: curves.Params, key: jax.Array | np.ndarray) -> Any:
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(interop.typed_key(key), len(leaves))
    drawn = [jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, drawn)


def _without_vectors(tree: Any) -> Any:
    return jax.tree.map(lambda x: x if x.ndim > 1 else jnp.zeros_like(x), tree)


def _leaf_norm(x: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    return jnp.sqrt(jnp.sum(jnp.abs(curves.wide(x)) ** 2, axis=axes, keepdims=True))


def _scaled(x: jax.Array, factor: jax.Array) -> jax.Array:
    wide = curves.wide(x)
    return (wide * factor.astype(wide.dtype)).astype(x.dtype)


def _norm(tree: Any) -> jax.Array:
    return jnp.sqrt(curves.squared_norm(tree))


def _add(params: Any, direction: Any) -> Any:
    return jax.tree.map(jnp.add, params, direction)

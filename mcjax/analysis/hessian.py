"""The Hessian of the training loss: its products with vectors, and its largest eigenvalues.

No matrix is formed. A product ``H v`` is the derivative of the gradient along ``v`` (Pearlmutter,
1994), over the whole training split in batches that all devices share. Eigenpairs come from
ARPACK's implicitly restarted Lanczos method (`scipy.sparse.linalg.eigsh`), which keeps its vectors
orthogonal to all others to rounding. It runs on the host: the device holds a few vectors of ``D``
numbers, the host 20 of them and what is asked for, and moving two a product is little beside the
passes over the data. jax itself needs scipy.

The loss is that of the evaluator: clean data, dropout off, no L2 penalty (``wd / 2 ||w||^2`` would
add ``wd`` to every eigenvalue). Batch-norm statistics are recomputed at the point and then held, as
in `mcjax.engine.evaluation.Evaluator.gradient_norm`: how they depend on the parameters is not part
of the Hessian.
"""

import contextlib
import functools
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse import linalg

from mcjax import curves, results
from mcjax.engine import derivatives, evaluation


class NoEigenvaluesError(ValueError):
    """The products are not finite, or Lanczos's method does not converge on them."""


class Eigenpairs(NamedTuple):
    """The largest eigenvalues of a symmetric matrix, with their eigenvectors.

    Attributes:
      values: ``[k]``, falling.
      vectors: k pytrees of unit length.
      residuals: ``[k]``, ``||A v - value v||``: an eigenvalue lies so close to ``value``.
    """

    values: np.ndarray
    vectors: tuple[Any, ...]
    residuals: np.ndarray


def make_product(evaluator: evaluation.Evaluator) -> Callable[[Any, Any, Any], Any]:
    """Products with the Hessian of the mean training loss; compiled once, on first use.

    Args:
      evaluator: for the network and data; its batches and devices are used.

    Returns:
      ``product(params, state, vector) -> H vector``, pytrees like ``params``. ``state`` is held:
      give `mcjax.engine.evaluation.Evaluator.statistics` of the point.
    """

    def of_batch(batch: Any, params: Any, state: Any, vector: Any) -> tuple[Any, jax.Array]:
        vector = jax.tree.map(lambda w, v: jnp.asarray(v, w.dtype), params, vector)
        gradient = lambda w: evaluation.gradient_of_sum(evaluator.objective, w, state, batch)  # noqa: E731
        _, product, size = jax.jvp(gradient, (params,), (vector,), has_aux=True)
        return product, size

    def mean(totals: Any, *args: Any) -> Any:
        return derivatives.divided(*totals)

    return evaluator.over_train(of_batch, mean)


def eigenpairs(
    product: Callable[[Any], Any],
    like: Any,
    count: int,
    *,
    tolerance: float = 1e-4,
    restarts: int = 100,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> Eigenpairs:
    """The largest eigenvalues of a symmetric matrix that is known by its products.

    Args:
      product: ``v -> A v`` on pytrees, called with numpy leaves.
      like: a pytree of the vectors' structure and shapes, such as the parameters.
      count: how many eigenvalues, fewer than there are dimensions.
      tolerance: residuals that ARPACK is content with, as a share of the eigenvalue; rounding in
        the products, 1e-6 of the largest in float32, comes on top.
      restarts: how many ARPACK may take, of up to 20 products each (2 k + 1 for a large ``count``).
      seed: of the vector that it starts with.
      progress: told how many products are done.

    Returns:
      Eigenvalues and eigenvectors. A matrix that takes the random start to zero is zero, as the
      Hessian of a piecewise linear loss: all its eigenvalues are, and the vectors are of no
      account.

    Raises:
      ValueError: ``count`` is out of range.
      NoEigenvaluesError: a product is not finite, or ARPACK does not converge.

    >>> matrix = np.diag([1.0, -9.0, 5.0, 2.0])
    >>> found = eigenpairs(lambda v: {"w": matrix @ v["w"]}, {"w": jnp.zeros(4)}, 2)
    >>> found.values.round(3)
    array([5., 2.])
    """
    leaves, structure = jax.tree.flatten(derivatives.to_real(like))
    shapes = [np.shape(x) for x in leaves]
    ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes])
    size = int(ends[-1]) if leaves else 0
    if not 0 < count < size:
        raise ValueError(f"{count} eigenvalues of a matrix of {size} rows: ask for 1 to {size - 1}")
    done = 0

    def tree(vector):
        parts = np.split(vector, ends[:-1])
        real = structure.unflatten(x.reshape(s) for x, s in zip(parts, shapes, strict=True))
        return derivatives.to_complex(like, real)

    def multiply(vector):
        nonlocal done
        result = jax.tree.leaves(derivatives.to_real(product(tree(vector.ravel()))))
        flat = np.concatenate([np.asarray(x, np.float32).ravel() for x in result])
        if not np.isfinite(flat).all():
            raise NoEigenvaluesError("a product with the matrix is not finite")
        done += 1
        progress(done)
        return flat

    start = np.random.default_rng(seed).standard_normal(size, np.float32)
    # ARPACK takes what is below 1e-5 for zero, and fails on zero itself.
    scale = float(_norm(multiply(start)) / _norm(start))
    if scale == 0:
        return Eigenpairs(np.zeros(count), tuple(map(tree, np.eye(count, size, dtype=np.float32))),
                          np.zeros(count))  # fmt: skip
    make: Any = linalg.LinearOperator
    operator = make((size, size), matvec=lambda v: multiply(v) / scale, dtype=np.float32)
    try:
        values, vectors = linalg.eigsh(
            operator, count, which="LA", v0=start, tol=tolerance, maxiter=restarts
        )
    except linalg.ArpackError as error:
        raise NoEigenvaluesError(f"after {done} products: {error}") from None
    order = np.argsort(-values)
    columns = [vectors[:, i] / np.linalg.norm(vectors[:, i]) for i in order]
    values = scale * values[order].astype(np.float64)
    residuals = [np.linalg.norm(multiply(v) - x * v) for x, v in zip(values, columns, strict=True)]
    return Eigenpairs(values, tuple(tree(v) for v in columns), np.asarray(residuals, np.float64))


def _norm(vector):
    return np.linalg.norm(vector.astype(np.float64))  # squares of 1e-30 are none in float32


def trace(
    product: Callable[[Any], Any], like: Any, samples: int = 32, *, seed: int = 0
) -> tuple[float, float]:
    """The trace of a symmetric matrix that is known by its products (Hutchinson, 1990).

    The mean of ``v . A v`` over vectors ``v`` of random signs, exact for a diagonal matrix.

    Args:
      product: ``v -> A v`` on pytrees, called with numpy leaves.
      like: a pytree of the vectors' structure and shapes, such as the parameters.
      samples: how many vectors, 2 or more.
      seed: of the signs.

    Returns:
      The estimate and its standard error.

    >>> trace(lambda v: {"w": np.array([1.0, -9.0, 5.0]) * v["w"]}, {"w": jnp.zeros(3)})
    (-3.0, 0.0)
    """
    rng, real = np.random.default_rng(seed), derivatives.to_real(like)
    found = []
    for _ in range(samples):
        signs = jax.tree.map(lambda x: rng.choice(np.array([-1, 1], np.float32), np.shape(x)), real)
        result = derivatives.to_real(product(derivatives.to_complex(like, signs)))
        pairs = zip(jax.tree.leaves(signs), jax.tree.leaves(result), strict=True)
        found.append(sum(np.sum(v * np.asarray(x, np.float64)) for v, x in pairs))
    return float(np.mean(found)), float(np.std(found, ddof=1) / np.sqrt(samples))


def at_point(
    evaluator: evaluation.Evaluator,
    product: Callable[[Any, Any, Any], Any],
    params: Any,
    state: Any,
    count: int = 1,
    *,
    samples: int = 0,
    seed: int = 0,
    tolerance: float = 1e-4,
    strict: bool = True,
    progress: Callable[[int], None] = lambda done: None,
) -> results.PointSharpness:
    """The Hessian's largest eigenvalues at a point, and its trace.

    Args:
      evaluator: for the network and data.
      product: from `make_product`.
      params: the point.
      state: the network's state; batch-norm averages in it are replaced.
      count: how many eigenvalues.
      samples: random vectors for the trace; without them it is not estimated.
      seed: of both.
      tolerance: as in `eigenpairs`.
      strict: whether to raise NoEigenvaluesError; otherwise eigenvalues and residuals are NaN.
      progress: called with how many products are done.

    Raises:
      ValueError: ``count`` is out of range.
      NoEigenvaluesError: the Hessian is not finite or ARPACK does not converge.
    """
    held = evaluator.statistics(params, state)
    loss = evaluator.with_state(params, held, "train")["loss"]
    multiply = functools.partial(product, params, held)
    values, residuals = np.full((2, count), np.nan)
    with contextlib.nullcontext() if strict else contextlib.suppress(NoEigenvaluesError):
        found = eigenpairs(
            multiply, params, count, tolerance=tolerance, seed=seed, progress=progress
        )
        values, residuals = found.values, found.residuals
    estimate = trace(multiply, params, samples, seed=seed) if samples else ()
    return results.PointSharpness(values, residuals, loss, *estimate)


def sharpness(
    evaluator: evaluation.Evaluator,
    control_points: Sequence[Any],
    coefficients: Any,
    state: Any,
    count: int = 1,
    *,
    tolerance: float = 1e-4,
    progress: Callable[[int, int], None] = lambda index, products: None,
    skip: Container[int] = (),
) -> Iterator[tuple[int, results.PointSharpness]]:
    """The Hessian's largest eigenvalues at points, such as those of a curve.

    Args:
      evaluator: for the network and data.
      control_points: K parameter pytrees.
      coefficients: ``[P, K]``, a row for each point.
      state: the network's state; batch-norm averages in it are replaced at every point.
      count: how many eigenvalues.
      tolerance: as in `eigenpairs`.
      progress: told the index of a point and how many products are done there.
      skip: indices of points that are known already.

    Yields:
      A point's index, and its sharpness without the trace. Whatever points came before, the
      numbers are the same. Where the Hessian is not finite or ARPACK does not converge,
      eigenvalues and residuals are NaN.
    """
    product, combine = make_product(evaluator), jax.jit(curves.combine)
    for index, row in enumerate(np.asarray(coefficients, np.float32)):
        if index in skip:
            continue
        params = combine(tuple(control_points), row)
        yield (
            index,
            at_point(
                evaluator, product, params, state, count, tolerance=tolerance, strict=False,
                progress=functools.partial(progress, index),
            ),
        )  # fmt: skip

"""The Hessian of the training loss: products with vectors, largest eigenvalues and trace.

No matrix is formed. A product ``H v`` is the derivative of the gradient along ``v`` (Pearlmutter,
1994), over the whole training split in batches shared by all devices. Eigenpairs come from ARPACK's
implicitly restarted Lanczos method (`scipy.sparse.linalg.eigsh`), which keeps its vectors
orthogonal up to rounding. It runs on the host: the device holds a few vectors of ``D`` numbers, the
host 20 more than the eigenvectors. Transferring two vectors per product costs little beside the
pass over the data.

The loss is the evaluator's: clean data, dropout off, no L2 penalty (``wd / 2 ||w||^2`` would add
``wd`` to every eigenvalue). Batch-norm statistics are recomputed at the point and then held fixed,
as in `mcjax.engine.evaluation.Evaluator.gradient_norm`: the Hessian does not include how they
depend on the parameters.
"""

import contextlib
import functools
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import scipy

from mcjax import curves, results
from mcjax.engine import derivatives, evaluation
from mcjax.typing import Float


class NoEigenvaluesError(ValueError):
    """A product with the matrix is not finite, or ARPACK does not converge.

    >>> eigenpairs(lambda v: {"w": np.nan * v["w"]}, {"w": jnp.zeros(4)}, 2)
    Traceback (most recent call last):
    mcjax.analysis.hessian.NoEigenvaluesError: a product with the matrix is not finite
    """


class Eigenpairs(NamedTuple):
    """The largest eigenvalues of a symmetric matrix, with their eigenvectors.

    Attributes:
      values: the largest first.
      vectors: k pytrees of unit length.
      residuals: ``||A v - value v||``; some eigenvalue is at most this far from ``value``.

    >>> matrix = np.diag([1.0, 2.0, 5.0])
    >>> found = eigenpairs(lambda v: matrix @ v, np.zeros(3), 1)
    >>> found.values.round(3), abs(found.vectors[0]).round(3)
    (array([5.]), array([0., 0., 1.], dtype=float32))
    """

    values: Float[np.ndarray, " k"]
    vectors: tuple[Any, ...]
    residuals: Float[np.ndarray, " k"]


Product = Callable[[Any], Any]
"""``v -> A v`` of a symmetric matrix, on pytrees with numpy leaves."""


@runtime_checkable
class HessianProduct(Protocol):
    """Multiplies by the Hessian at a point.

    >>> from mcjax.analysis import toy
    >>> isinstance(make_product(toy.evaluator()), HessianProduct)
    True
    """

    def __call__(self, params: Any, state: Any, vector: Any, /) -> Any:
        """``H vector``, a pytree like ``params``.

        ``state`` is held fixed: pass `mcjax.engine.evaluation.Evaluator.statistics` of the point.
        """


def make_product(evaluator: evaluation.Evaluator) -> HessianProduct:
    """Makes a function that multiplies by the Hessian of the mean training loss.

    It is compiled once, on first use, for the evaluator's data, batches and devices.

    Args:
      evaluator: for the network and data.

    >>> from mcjax.analysis import toy
    >>> product = make_product(toy.evaluator())
    >>> zero = curves.combine([toy.A, toy.B], np.array([0.5, 0.5], np.float32))
    >>> product(zero, {}, toy.A)["first"]["w"].round(2)  # H is [[0, -1], [-1, 0]] and A is [2, 2]
    Array([-2.], dtype=float32)
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
    product: Product,
    like: Any,
    count: int,
    *,
    tolerance: float = 1e-4,
    restarts: int = 100,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> Eigenpairs:
    """The largest eigenvalues of a symmetric matrix, from its products with vectors.

    Args:
      product: multiplies by the matrix.
      like: a pytree with the vectors' structure and shapes, such as the parameters.
      count: number of eigenvalues, less than the number of dimensions.
      tolerance: largest residual that ARPACK accepts, relative to the eigenvalue; rounding of the
        products adds 1e-6 of the largest eigenvalue in float32.
      restarts: limit for ARPACK; each takes up to 20 products (2 k + 1 for a large ``count``).
      seed: for the starting vector.
      progress: called with the number of products done.

    Returns:
      Eigenvalues and eigenvectors. If the product with the random starting vector is zero, the
      matrix is taken to be zero, as the Hessian of a piecewise linear loss is: its eigenvalues are
      zero, and the vectors are arbitrary.

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

    def tree(vector: np.ndarray) -> Any:
        parts = np.split(vector, ends[:-1])
        real = structure.unflatten(x.reshape(s) for x, s in zip(parts, shapes, strict=True))
        return derivatives.to_complex(like, real)

    def multiply(vector: np.ndarray) -> np.ndarray:
        nonlocal done
        result = jax.tree.leaves(derivatives.to_real(product(tree(vector.ravel()))))
        flat = np.concatenate([np.asarray(x, np.float32).ravel() for x in result])
        if not np.isfinite(flat).all():
            raise NoEigenvaluesError("a product with the matrix is not finite")
        done += 1
        progress(done)
        return flat

    start = np.random.default_rng(seed).standard_normal(size, np.float32)
    # ARPACK takes values below 1e-5 for zero, and fails if all are zero.
    scale = float(_norm(multiply(start)) / _norm(start))
    if scale == 0:
        return Eigenpairs(np.zeros(count), tuple(map(tree, np.eye(count, size, dtype=np.float32))),
                          np.zeros(count))  # fmt: skip
    make: Any = scipy.sparse.linalg.LinearOperator
    operator = make((size, size), matvec=lambda v: multiply(v) / scale, dtype=np.float32)
    try:
        values, vectors = scipy.sparse.linalg.eigsh(
            operator, count, which="LA", v0=start, tol=tolerance, maxiter=restarts
        )
    except scipy.sparse.linalg.ArpackError as error:
        raise NoEigenvaluesError(f"after {done} products: {error}") from None
    order = np.argsort(-values)
    columns = [vectors[:, i] / np.linalg.norm(vectors[:, i]) for i in order]
    values = scale * values[order].astype(np.float64)
    residuals = [np.linalg.norm(multiply(v) - x * v) for x, v in zip(values, columns, strict=True)]
    return Eigenpairs(values, tuple(tree(v) for v in columns), np.asarray(residuals, np.float64))


def _norm(vector: np.ndarray) -> np.floating:
    return np.linalg.norm(vector.astype(np.float64))  # the square of 1e-30 is zero in float32


def trace(product: Product, like: Any, samples: int = 32, *, seed: int = 0) -> tuple[float, float]:
    """Estimates the trace of a symmetric matrix from its products (Hutchinson, 1990).

    The mean of ``v . A v`` over vectors ``v`` of random signs; exact for a diagonal matrix.

    Args:
      product: multiplies by the matrix.
      like: a pytree with the vectors' structure and shapes, such as the parameters.
      samples: number of vectors, at least 2.
      seed: for the signs.

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
    product: HessianProduct,
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
      state: the network's state; its batch-norm averages are replaced.
      count: number of eigenvalues.
      samples: number of random vectors for the trace; with 0 it is not estimated.
      seed: for the eigenvalues and for the trace.
      tolerance: as in `eigenpairs`.
      strict: whether to raise NoEigenvaluesError; otherwise eigenvalues and residuals are NaN.
      progress: called with the number of products done.

    Raises:
      ValueError: ``count`` is out of range.
      NoEigenvaluesError: the Hessian is not finite or ARPACK does not converge.

    >>> from mcjax.analysis import toy
    >>> zero = curves.combine([toy.A, toy.B], np.array([0.5, 0.5], np.float32))
    >>> found = at_point(toy.evaluator(), make_product(toy.evaluator()), zero, {}, 1)
    >>> found.eigenvalues.round(2), round(found.loss, 2)  # a saddle of height log 2
    (array([1.]), 0.69)
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
      coefficients: ``[P, K]``, a row per point.
      state: the network's state; its batch-norm averages are replaced at every point.
      count: number of eigenvalues.
      tolerance: as in `eigenpairs`.
      progress: called with a point's index and the number of products done there.
      skip: indices of points to leave out.

    Yields:
      A point's index, and its sharpness without the trace; the numbers do not depend on ``skip``.
      If the Hessian is not finite or ARPACK does not converge, eigenvalues and residuals are NaN.

    >>> from mcjax.analysis import toy
    >>> rows = np.array([[1, 0], [0.5, 0.5]])  # a network, and half way to the other one
    >>> found = dict(sharpness(toy.evaluator(), [toy.A, toy.B], rows, {}))
    >>> [point.eigenvalues.round(2).tolist() for point in found.values()]
    [[0.08], [1.0]]
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

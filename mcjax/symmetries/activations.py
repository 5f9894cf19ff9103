"""Aligns two networks' units by their activations (Ainsworth et al., 2023, Section 3.1).

One pass over the data computes, for each layer's result (`mcjax.symmetries.taps`), the
correlations ``K[i, j] = corr(a_i, b_j)`` over all examples and positions. Permutations P of the
spec's groups then maximise ``sum over layers of sum_i K[i, P(i)]``, as `mcjax.symmetries.matching`
does.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from mcjax.symmetries import matching, programs, taps
from mcjax.symmetries import spec as specs
from mcjax.typing import Array, Float, PyTree


class Moments(NamedTuple):
    """Sums over samples of two networks' units; ``layers`` are a scan's iterations.

    Attributes:
      count: number of samples.
      means: each network's.
      squares: sums of squared deviations from them.
      products: sums of products of deviations, of a unit of A and one of B.
    """

    count: Any
    means: Float[Array | np.ndarray, "2 layers units"]
    squares: Float[Array | np.ndarray, "2 layers units"]
    products: Float[Array | np.ndarray, "layers units units"]


def match_activations(
    spec: specs.Spec,
    function: programs.Function,
    target: PyTree,
    params: PyTree,
    batches: Iterable[PyTree],
    *,
    seed: int = 0,
    restarts: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> matching.Match:
    """Finds permutations that make one network's activations most like another's.

    They maximise the sum of the correlations of units (Ainsworth et al., 2023, Section 3.1).
    Memory holds both networks' activations of one batch, and ``units^2`` numbers per layer.

    Args:
      spec: of ``function(params, *inputs)``.
      function: as in `find`, with dropout off.
      target: parameters that stay fixed.
      params: parameters to permute.
      batches: the function's inputs, a tuple per batch; read once.
      seed: for the order in which groups are visited.
      restarts: number of orders to try; the best result is returned. One is enough unless a layer's
        units belong to two groups (heads and their width): otherwise each group is a single
        assignment.
      progress: called with the number of batches done.

    Returns:
      The permutations; `Match`'s ``inner_product`` is the sum of correlations.

    Raises:
      ValueError: there are no batches or restarts, a batch is not a tuple, the trees do not fit the
        spec or are not finite, a group has no activations, or these are not finite.

    >>> from mcjax.symmetries import apply, find
    >>> network = lambda params, x: jnp.tanh(x @ params["in"]) @ params["out"]
    >>> rng = np.random.default_rng(0)
    >>> a = {"in": rng.normal(size=(2, 3)), "out": rng.normal(size=(3, 1))}
    >>> a, x = jax.tree.map(np.float32, a), np.float32(rng.normal(size=(8, 2)))
    >>> spec = find(network, a, x)
    >>> b = apply(spec, {"P0": [2, 0, 1]}, a)
    >>> match_activations(spec, network, a, b, [(x,)]).permutations["P0"].tolist()
    [1, 2, 0]
    """
    matching.check_restarts(restarts)
    for tree in (target, params):
        matching.named(spec, tree)
    found: list[taps.Tap] = []
    totals: list[Moments] = []
    values, moments = _values(spec, function), jax.jit(_moments)
    for i, inputs in enumerate(batches):
        inputs = taps.as_inputs(inputs)
        if not found:
            found = _read(spec, function, params, *inputs)[1]
        new = [
            jax.tree.map(np.asarray, moments(a, b))
            for a, b in zip(values(target, inputs), values(params, inputs), strict=True)
        ]
        totals = [_merged(a, b) for a, b in zip(totals, new, strict=True)] if totals else new
        progress(i + 1)
    if not totals:
        raise ValueError(taps.NO_DATA)
    return _match(spec, found, totals, seed, restarts)


def _read(
    spec: specs.Spec, function: programs.Function, params: PyTree, *inputs: PyTree
) -> tuple[core.ClosedJaxpr, list[taps.Tap]]:
    """Readable taps only; raises ValueError if a group has none."""
    program, found = taps.read(spec, function, params, *inputs)
    found = [tap for tap in found if tap.readable]
    missing = taps.hidden(spec, found)
    if missing:
        raise ValueError(
            f"the program shows no activation of group {missing[0]}: match by weights instead"
        )
    return program, found


def _values(spec: specs.Spec, function: programs.Function) -> Callable[..., list[jax.Array]]:
    """A function of ``(params, inputs)`` to each tap's values, ``[layers, samples, units]``."""

    @jax.jit
    def values(params: Any, inputs: tuple[Any, ...]) -> list[jax.Array]:
        program, found = _read(spec, function, params, *inputs)
        record = {tap.var: programs.Tap(lambda x, _, tap=tap: (x, tap.rows(x))) for tap in found}
        records = programs.evaluate(program, jax.tree.leaves((params, inputs)), record)[1]
        rows = [records[tap.var] for tap in found]
        return [x if tap.layers else x[None] for tap, x in zip(found, rows, strict=True)]

    return values


def _moments(
    a: Float[Array, "layers samples units"], b: Float[Array, "layers samples units"]
) -> Moments:
    both = jnp.stack([a, b]).astype(jnp.promote_types(a.dtype, jnp.float32))
    means = both.mean(-2)
    one, two = both - means[..., None, :]
    squares = jnp.stack([jnp.square(one).sum(-2), jnp.square(two).sum(-2)])
    products = jnp.einsum("lsi,lsj->lij", one, two, precision="highest")
    return Moments(a.shape[1], means, squares, products)


def _merged(a: Moments, b: Moments) -> Moments:
    """Moments of both sets of samples together (Chan et al., 1979), in float64."""
    first, second = float(a.count), float(b.count)  # a product of two int32 overflows
    count = first + second
    apart = np.asarray(b.means, np.float64) - a.means
    weight = first * second / count
    return Moments(
        count,
        a.means + apart * (second / count),
        a.squares + b.squares + weight * apart**2,
        a.products + b.products + weight * apart[0][:, :, None] * apart[1][:, None, :],
    )


def _match(
    spec: specs.Spec, found: list[taps.Tap], totals: list[Moments], seed: int, restarts: int
) -> matching.Match:
    """Matches K as weights: ``sum_i K[i, P(i)]`` is the inner product of I and ``P(K^T)``."""
    leaves: dict[str, tuple[specs.Axis, ...]] = {}
    a: dict[str, np.ndarray] = {}
    b: dict[str, np.ndarray] = {}
    for i, (tap, moments) in enumerate(zip(found, totals, strict=True)):
        scale = np.sqrt(moments.squares[0][:, :, None] * moments.squares[1][:, None, :])
        if not np.isfinite(scale).all():
            raise ValueError("activations are not finite: such networks cannot be matched")
        correlations = np.divide(
            moments.products, scale, out=np.zeros(scale.shape), where=scale > 0
        ).astype(np.float32)
        layers, units = correlations.shape[:2]
        name = f"activations/{i}"
        leaves[name] = (specs.Factor(layers), tap.joint, specs.Factor(units))
        a[name] = np.broadcast_to(np.eye(units, dtype=np.float32), correlations.shape)
        b[name] = correlations.swapaxes(1, 2)
    return matching.best_of(spec._replace(leaves=leaves), a, b, seed, restarts)

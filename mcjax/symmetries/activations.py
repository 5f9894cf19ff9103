"""Aligns the units of two networks by their activations (Ainsworth et al., 2023, Section 3.1).

Over permutations P of a spec's groups, the sum over layers of the correlations between a unit of A
and the unit of P(B) in its place is maximised: for each layer's result (`mcjax.symmetries.taps`)
``K[i, j] = corr(a_i, b_j)`` over all examples and positions, in one pass over the data; then
``sum over layers of sum_i K[i, P(i)]`` as in `mcjax.symmetries.matching`.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mcjax.symmetries import matching, programs, taps
from mcjax.symmetries import spec as specs


class Moments(NamedTuple):
    """Of samples of two networks' units, with a leading axis of a scan's iterations.

    Attributes:
      count: samples.
      means: of each network, ``[2, layers, units]``.
      squares: sums of squared deviations from them, ``[2, layers, units]``.
      products: sums of products of deviations, ``[layers, units of A, units of B]``.
    """

    count: Any
    means: Any
    squares: Any
    products: Any


def match_activations(
    spec: specs.Spec,
    function: Callable[..., Any],
    target: Any,
    params: Any,
    batches: Iterable[Sequence[Any]],
    *,
    seed: int = 0,
    restarts: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> matching.Match:
    """Permutations that bring a network's activations as near to another's as they can.

    Memory is that of both networks' activations of a batch, and of ``units^2`` for each layer.

    Args:
      spec: of ``function(params, *inputs)``.
      function: as in `find`; with dropout off.
      target: parameters of the network that stays.
      params: parameters to permute.
      batches: inputs of the function, a tuple for each batch; read once.
      seed: of the order in which groups are visited.
      restarts: how often to start again with another order; the best result is returned. One is
        enough where no layer's units belong to two groups (heads and their width): the problem
        then is one assignment a group.
      progress: called with the number of batches done.

    Returns:
      The permutations; `Match.inner_product` is the sum of correlations.

    Raises:
      ValueError: there are no batches, the trees do not fit the spec or are not finite, a group
        has no activations, or these are not finite.
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
            found = taps.read(spec, function, params, *inputs)[1]
        new = [
            jax.tree.map(np.asarray, moments(a, b))
            for a, b in zip(values(target, inputs), values(params, inputs), strict=True)
        ]
        totals = [_merged(a, b) for a, b in zip(totals, new, strict=True)] if totals else new
        progress(i + 1)
    if not totals:
        raise ValueError(taps.NO_DATA)
    return _match(spec, found, totals, seed, restarts)


def _values(spec: specs.Spec, function: Callable[..., Any]) -> Callable[..., list[jax.Array]]:
    """``(params, inputs) ->`` each tap's values, ``[layers, samples, units]``."""

    @jax.jit
    def values(params: Any, inputs: tuple[Any, ...]) -> list[jax.Array]:
        program, found = taps.read(spec, function, params, *inputs)
        record = {tap.var: programs.Tap(lambda x, _, tap=tap: (x, tap.rows(x))) for tap in found}
        records = programs.evaluate(program, jax.tree.leaves((params, inputs)), record)[1]
        rows = [records[tap.var] for tap in found]
        return [x if tap.layers else x[None] for tap, x in zip(found, rows, strict=True)]

    return values


def _moments(a: jax.Array, b: jax.Array) -> Moments:
    both = jnp.stack([a, b]).astype(jnp.promote_types(a.dtype, jnp.float32))
    means = both.mean(-2)
    one, two = both - means[..., None, :]
    squares = jnp.stack([jnp.square(one).sum(-2), jnp.square(two).sum(-2)])
    products = jnp.einsum("lsi,lsj->lij", one, two, precision="highest")
    return Moments(a.shape[1], means, squares, products)


def _merged(a: Moments, b: Moments) -> Moments:
    """Moments of both samples together (Chan et al., 1979), in float64."""
    count = float(a.count) + float(b.count)
    apart = np.asarray(b.means, np.float64) - a.means
    weight = a.count * b.count / count
    return Moments(
        count,
        a.means + apart * (b.count / count),
        a.squares + b.squares + weight * apart**2,
        a.products + b.products + weight * apart[0][:, :, None] * apart[1][:, None, :],
    )


def _match(
    spec: specs.Spec, found: list[taps.Tap], totals: list[Moments], seed: int, restarts: int
) -> matching.Match:
    """As weights: ``sum_i K[i, P(i)]`` is the inner product of the identity and P(K^T)."""
    leaves, a, b = {}, {}, {}
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

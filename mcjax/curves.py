"""Curves between parameter pytrees, and the loss that fits them. Needs jax and nothing else.

Every point of a curve is a linear combination of a few *control points* (the two ends and the
bends between them, each a pytree of parameters)::

    phi(t) = sum_k c_k(t) w_k,        t in [0, 1],  phi(0) = w_a,  phi(1) = w_b

A `Curve` is only the function ``t -> c``, independent of the parameters. `combine` mixes the
control points and is the only function here that touches their leaves. The training loss of
Gotmare et al. (2018, Section 2), ``l(theta) = E_{t~U(0,1)} L(phi_theta(t))``, is `curve_loss`.

An example with plain parameters, without any framework:

>>> import jax, jax.numpy as jnp
>>> from mcjax import curves
>>> start = {"w": jnp.array([-1.0, 0.0]), "scale": jnp.array(1.0)}
>>> end = {"w": jnp.array([1.0, 0.0]), "scale": jnp.array(1.0)}
>>> curve = curves.polygonal_chain(num_bends=1)
>>> bends = curves.straight_line(curve, start, end)
>>> def ring_loss(params, batch, key):  # low on a ring of radius 1
...     return (jnp.linalg.norm(params["scale"] * params["w"]) - batch) ** 2
>>> loss = curves.curve_loss(curve, ring_loss)
>>> bends = jax.tree.map(lambda x: x + 0.1, bends)  # off the symmetric saddle
>>> @jax.jit
... def step(bends, key):
...     gradient = jax.grad(loss)(bends, (start, end), 1.0, key)
...     return jax.tree.map(lambda x, g: x - 0.1 * g, bends, gradient)
>>> for i in range(300):
...     bends = step(bends, jax.random.key(i))
>>> middle = curves.point(curve, (start, *bends, end), 0.25)
>>> bool(ring_loss(middle, 1.0, None) < 0.05)
True
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

Params = Any
"""A pytree whose leaves are floating-point (or complex) arrays.

For a complex leaf `jax.grad` returns the conjugate of the direction in which a loss rises;
`mcjax.engine.derivatives.gradient` returns the direction itself.
"""


class Curve(NamedTuple):
    """A family of curves with a fixed number of bends.

    Attributes:
      name: ``segment``, ``chain`` or ``bezier``.
      num_bends: control points between the two ends; the paper's chain has one.
      coefficients: ``t -> c``, scalar to ``[num_bends + 2]``; ``c`` sums to one.

    >>> curve = polygonal_chain(1)
    >>> curve.name, curve.num_bends, curve.coefficients(0.5).tolist()
    ('chain', 1, [0.0, 1.0, 0.0])
    """

    name: str
    num_bends: int
    coefficients: Callable[[jax.typing.ArrayLike], jax.Array]


def segment() -> Curve:
    """The straight line: ``phi(t) = (1 - t) w_a + t w_b``.

    >>> segment().coefficients(0.25).tolist()
    [0.75, 0.25]
    """
    return polygonal_chain(0)._replace(name="segment")


def polygonal_chain(num_bends: int = 1) -> Curve:
    """The polygonal chain through equally spaced bends.

    With one bend this is Gotmare et al. (2018), Section 2:
    ``phi(t) = 2 (t theta + (0.5 - t) w_a)`` up to ``t = 0.5``, then
    ``2 ((t - 0.5) w_b + (1 - t) theta)``.

    The derivative at a bend is the right-hand one; at ``t = 1``, the left-hand one.

    Args:
      num_bends: control points between the two ends; 0 gives a segment.

    Raises:
      ValueError: ``num_bends`` is negative.

    >>> polygonal_chain(1).coefficients(0.125)
    Array([0.75, 0.25, 0.  ], dtype=float32)
    """
    _check_num_bends(num_bends)
    pieces = num_bends + 1

    def coefficients(t: jax.typing.ArrayLike) -> jax.Array:
        t = _as_float(t)
        index = jax.lax.stop_gradient(jnp.clip(jnp.floor(t * pieces), 0, pieces - 1))
        along = t * pieces - index
        corner = jnp.arange(pieces + 1, dtype=t.dtype)
        return jnp.where(corner == index, 1 - along, jnp.where(corner == index + 1, along, 0))

    return Curve("chain", num_bends, coefficients)


def bezier(num_bends: int = 1) -> Curve:
    """The Bezier curve of degree ``n = num_bends + 1`` (Garipov et al., 2018).

    ``c_k(t) = binom(n, k) t^k (1 - t)^(n - k)``.

    Args:
      num_bends: control points between the two ends.

    Raises:
      ValueError: ``num_bends`` is negative.

    >>> bezier(1).coefficients(0.25)
    Array([0.5625, 0.375 , 0.0625], dtype=float32)
    """
    _check_num_bends(num_bends)
    n = num_bends + 1

    def coefficients(t: jax.typing.ArrayLike) -> jax.Array:
        t = _as_float(t)
        return jnp.stack([math.comb(n, k) * t**k * (1 - t) ** (n - k) for k in range(n + 1)])

    return Curve("bezier", num_bends, coefficients)


FAMILIES = {"chain": polygonal_chain, "bezier": bezier}
"""Families with bends by name; ``FAMILIES[name](num_bends)`` is a `Curve`."""


def combine(
    control_points: Sequence[Params],
    coefficients: jax.typing.ArrayLike | Sequence[jax.typing.ArrayLike] | Params,
) -> Params:
    """The linear combination ``sum_k c_k w_k`` of parameter pytrees.

    Leaf dtypes are kept; float16 and bfloat16 are mixed in float32. A one-hot ``c`` returns its
    control point exactly, as long as the others are finite.

    Args:
      control_points: K pytrees of the same structure, shapes and dtypes.
      coefficients: real numbers of shape ``[K]``; or, for coefficients of their own in parts of the
        parameters, a pytree prefix of a control point with an array ``[K]`` at each of its leaves.

    Returns:
      A pytree like each of the control points.

    Raises:
      ValueError: the control points differ in structure, shape or dtype, have leaves that are not
        floating-point, or differ in number from the coefficients; or these are not a prefix.

    >>> a, b = ({"first": x, "second": {"w": x, "b": x}} for x in (jnp.float32(0), jnp.float32(1)))
    >>> found = combine([a, b], {"first": jnp.array([1, 0]), "second": jnp.array([0.5, 0.5])})
    >>> jax.tree.map(float, found)
    {'first': 0.0, 'second': {'b': 0.5, 'w': 0.5}}
    """
    check_matching(control_points)

    def mix(c: jax.Array, *leaves: Any) -> jax.Array:
        dtype, wider = jnp.result_type(leaves[0]), [wide(leaf) for leaf in leaves]
        weights = c.astype(wider[0].dtype)
        if wider[0].ndim < 2:
            # XLA:CPU computes a product once. It would fuse a sum into every use of a bias and
            # recompute it at every pixel: a seventh of the curve step of a narrow VGG16.
            return jnp.dot(weights, jnp.stack(wider), precision="highest").astype(dtype)
        terms = (c * leaf for c, leaf in zip(weights, wider, strict=True))
        return sum(terms, start=jnp.zeros((), weights.dtype)).astype(dtype)

    return jax.tree.map(mix, _at_leaves(coefficients, control_points), *control_points)


def is_prefix(coefficients: Any, axes: int = 1) -> bool:
    """Whether coefficients are a pytree prefix of the parameters, not the same for all leaves.

    Args:
      coefficients: an array, a (nested) sequence of numbers, or a prefix.
      axes: the least number of axes of a prefix's arrays.

    >>> is_prefix([0.5, 0.5]), is_prefix({"first": jnp.array([0.5, 0.5])})
    (False, True)
    """
    leaves = jax.tree.leaves(coefficients)
    if len(leaves) == 1 and leaves[0] is coefficients:
        return False
    own = any(getattr(leaf, "ndim", 0) >= axes for leaf in leaves)
    return own or not isinstance(coefficients, Sequence)


def _at_leaves(coefficients: Any, control_points: Sequence[Params]) -> Params:
    """Coefficients ``[K]`` at every leaf of a control point."""
    example, expected = control_points[0], (len(control_points),)
    if not is_prefix(coefficients):
        c = jnp.asarray(coefficients)
        if c.shape != expected:
            raise ValueError(
                f"coefficients of shape {c.shape} for {len(control_points)} control points: "
                f"expected shape {expected}"
            )
        return jax.tree.map(lambda _: c, example)
    for path, c in jax.tree_util.tree_leaves_with_path(coefficients):
        shape = getattr(c, "shape", ())
        if shape != expected:
            raise ValueError(
                f"the coefficients at {_name(path)} have shape {shape} for {len(control_points)} "
                f"control points: expected an array of shape {expected}"
            )
    try:
        return jax.tree.broadcast(jax.tree.map(jnp.asarray, coefficients), example)
    except ValueError:
        raise ValueError(_prefix_message(coefficients, example)) from None


def _prefix_message(coefficients: Any, params: Params) -> str:
    """Why coefficients are not a prefix of the parameters."""
    given, leaves = (
        [path for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
        for tree in (coefficients, params)
    )
    without = [leaf for leaf in leaves if not any(leaf[: len(p)] == p for p in given)]
    unused = [p for p in given if not any(leaf[: len(p)] == p for leaf in leaves)]
    detail = "the same names are in different containers"
    if without:
        detail = f"leaf {_name(without[0])} has no coefficients"
    if unused:
        detail = f"there are coefficients at {_name(unused[0])}, where there is no leaf"
    return f"the coefficients are not a pytree prefix of the control points: {detail}"


def check_curve(curve: Curve) -> None:
    """Checks that an argument is a `Curve`, not the name of a family, say.

    Raises:
      ValueError: it is not.

    >>> check_curve(bezier(1))
    """
    if not (hasattr(curve, "coefficients") and hasattr(curve, "num_bends")):
        name = getattr(curve, "__name__", curve)  # a family without its number of bends
        family = FAMILIES.get(name, polygonal_chain) if isinstance(name, str) else polygonal_chain
        raise ValueError(f"curve={name!r} is not a curve: use curves.{family.__name__}(1)")


def point(curve: Curve, control_points: Sequence[Params], t: jax.typing.ArrayLike) -> Params:
    """The curve's point ``phi(t) = sum_k c_k(t) w_k``.

    Args:
      curve: the family.
      control_points: ``(start, *bends, end)``.
      t: a scalar, from 0 to 1 between the ends.

    Returns:
      A pytree like each of the control points.

    Raises:
      ValueError: the number of control points does not fit the curve, or they do not match.

    >>> point(bezier(1), (jnp.zeros(2), jnp.ones(2), jnp.zeros(2)), 0.5)
    Array([0.5, 0.5], dtype=float32)
    """
    check_curve(curve)
    return combine(control_points, curve.coefficients(t))


def tangent(curve: Curve, control_points: Sequence[Params], t: jax.typing.ArrayLike) -> Params:
    """The derivative ``phi'(t)``, in units of weight distance per unit of ``t``.

    Args:
      curve: the family.
      control_points: ``(start, *bends, end)``.
      t: a scalar.

    Raises:
      ValueError: as `point`.

    >>> tangent(segment(), (jnp.zeros(2), jnp.array([3.0, 4.0])), 0.3)
    Array([3., 4.], dtype=float32)
    """
    return combine(control_points, tangent_coefficients(curve, t))


def tangent_coefficients(curve: Curve, t: jax.typing.ArrayLike) -> jax.Array:
    """``c'(t)`` of shape ``[num_bends + 2]``, by forward differentiation.

    >>> tangent_coefficients(segment(), 0.3)
    Array([-1.,  1.], dtype=float32)
    """
    check_curve(curve)
    t = _as_float(t)
    return jax.jvp(curve.coefficients, (t,), (jnp.ones_like(t),))[1]


def straight_line(curve: Curve, start: Params, end: Params) -> tuple[Params, ...]:
    """Bends equally spaced on the segment, the initialisation of Section 2.

    For one bend, ``theta = (w_a + w_b) / 2``.

    Returns:
      ``num_bends`` pytrees like ``start``.

    Raises:
      ValueError: the two ends do not match; the message names the first leaf that differs.

    >>> start, end = {"w": jnp.float32(0)}, {"w": jnp.float32(4)}
    >>> [float(bend["w"]) for bend in straight_line(polygonal_chain(3), start, end)]
    [1.0, 2.0, 3.0]
    """
    check_curve(curve)
    steps = curve.num_bends + 1
    return tuple(
        combine((start, end), jnp.array([1 - k / steps, k / steps])) for k in range(1, steps)
    )


def join(first: Sequence[Params], second: Sequence[Params]) -> tuple[Curve, tuple[Params, ...]]:
    """Joins two chains that share an end, without training (Section 3, last paragraph).

    The chains ``X, theta_GX, G`` and ``G, theta_GY, Y`` give the three-bend chain
    ``X, theta_GX, G, theta_GY, Y``.

    Args:
      first: the control points of a chain, ending where the second starts.
      second: the control points of the other chain; the first one is dropped.

    Returns:
      The chain and its control points.

    Raises:
      ValueError: the control points do not match.

    >>> curve, control_points = join((0.0, 0.5, 1.0), (1.0, 1.5, 2.0))
    >>> curve.num_bends, control_points
    (3, (0.0, 0.5, 1.0, 1.5, 2.0))
    """
    check_matching((*first, *second))
    control_points = (*first, *second[1:])
    return polygonal_chain(len(control_points) - 2), control_points


@runtime_checkable
class CurveLoss(Protocol):
    """``loss(bends, endpoints, *args, key, stratum=0)``: the objective at a random point.

    Differentiate it with respect to the first argument to keep the ends fixed, to the first two to
    train them. ``args`` are passed to the objective (a batch; a state and a batch), followed by a
    key. ``stratum`` is the number of the part of ``[0, 1]`` from which ``t`` is drawn.
    """

    def __call__(
        self,
        bends: Sequence[Params],
        endpoints: Sequence[Params],
        /,
        *args: Any,
        stratum: jax.typing.ArrayLike = 0,
    ) -> Any:
        """Returns what the objective returns."""
        ...


def curve_loss(curve: Curve, objective: Callable[..., Any], strata: int = 1) -> CurveLoss:
    """The loss at a random point of the curve, whose gradient estimates that of ``l(theta)``.

    ``grad_theta L(phi_theta(t))`` with ``t ~ U(0, 1)`` is unbiased for the gradient of
    ``l(theta) = E_t L(phi_theta(t))`` (Section 2).

    Args:
      curve: the family.
      objective: ``objective(params, *args, key)``; its result is returned as is.
      strata: number of equal parts of ``[0, 1]``; ``t`` is uniform on one of them.

    Returns:
      ``loss(bends, endpoints, *args, key, stratum=0)``, see `CurveLoss`.

    >>> loss = curve_loss(polygonal_chain(1), lambda w, key: w**2)
    >>> ends, bends = (jnp.float32(-1), jnp.float32(1)), (jnp.float32(0.5),)
    >>> gradient = jax.jit(jax.grad(loss))(bends, ends, jax.random.key(0))
    >>> round(float(gradient[0]), 3)  # the loss falls towards a bend of zero
    0.531
    """
    check_curve(curve)

    def loss(
        bends: Sequence[Params],
        endpoints: Sequence[Params],
        *args: Any,
        stratum: jax.typing.ArrayLike = 0,
    ) -> Any:
        *rest, key = args
        t_key, objective_key = jax.random.split(key)
        t = jax.random.uniform(t_key)
        t = (jnp.asarray(stratum, t.dtype) + t) / strata
        start, end = endpoints
        return objective(point(curve, (start, *bends, end), t), *rest, objective_key)

    return loss


def gram(trees: Sequence[Params]) -> jax.Array:
    """Inner products of K pytrees, each taken as one long vector, of shape ``[K, K]``.

    Args:
      trees: of one structure, in units of weight distance.

    >>> gram([{"w": jnp.array([3.0, 4.0])}, {"w": jnp.array([1.0, 0.0])}])
    Array([[25.,  3.],
           [ 3.,  1.]], dtype=float32)
    """

    def inner(a: Params, b: Params) -> jax.Array:
        products = jax.tree.map(
            lambda x, y: jnp.real(jnp.vdot(wide(x), wide(y), precision="highest")), a, b
        )
        return _total(products)

    size = len(trees)
    upper = {(i, j): inner(trees[i], trees[j]) for i in range(size) for j in range(i, size)}
    return jnp.stack(
        [jnp.stack([upper[min(i, j), max(i, j)] for j in range(size)]) for i in range(size)]
    )


def squared_norm(params: Params) -> jax.Array:
    """``||params||^2`` over all leaves, a scalar in float32 or wider.

    >>> squared_norm({"w": jnp.array([3.0, 4.0])})
    Array(25., dtype=float32)
    """
    return _total(jax.tree.map(lambda x: jnp.sum(jnp.abs(wide(x)) ** 2), params))


def arc_lengths(
    curve: Curve, control_points: Sequence[Params], t: jax.typing.ArrayLike, refine: int = 32
) -> jax.Array:
    """Length of the curve from ``t[0]`` to each ``t[i]``, in units of weight distance.

    Sums ``refine`` chords between neighbouring ``t``, which is exact for a chain whose bends are
    among their ends. Only the Gram matrix of the control points' differences is computed from the
    parameters, so the cost hardly depends on ``refine``.

    Args:
      curve: the family.
      control_points: ``(start, *bends, end)``.
      t: increasing, of shape ``[P]``.
      refine: chords between neighbouring ``t``.

    Returns:
      Lengths of shape ``[P]``, the first zero.

    Raises:
      ValueError: ``curve`` is not a `Curve`.

    >>> ends, t = (jnp.zeros(2), jnp.array([3.0, 4.0])), jnp.array([0.0, 0.5, 1.0])
    >>> jax.jit(arc_lengths, static_argnums=0)(segment(), ends, t)
    Array([0. , 2.5, 5. ], dtype=float32)
    """
    check_curve(curve)
    t = _as_float(t)
    inner = jnp.arange(refine, dtype=t.dtype)[None] / refine
    fine = jnp.append((t[:-1, None] + jnp.diff(t)[:, None] * inner).ravel(), t[-1])
    steps = jnp.diff(jax.vmap(curve.coefficients)(fine), axis=0)
    # A step's coefficients sum to zero: write it in differences of neighbouring control points.
    along = -jnp.cumsum(steps, axis=1)[:, :-1]
    differences = [
        jax.tree.map(lambda a, b: wide(b) - wide(a), a, b)
        for a, b in itertools.pairwise(control_points)
    ]
    products = gram(differences)
    along = along.astype(products.dtype)
    squares = jnp.einsum("pi,ij,pj->p", along, products, along, precision="highest")
    chords = jnp.sqrt(jnp.maximum(squares, 0)).reshape(-1, refine).sum(axis=1)
    return jnp.concatenate([jnp.zeros(1, chords.dtype), jnp.cumsum(chords)])


def check_matching(trees: Sequence[Params]) -> None:
    """Checks that pytrees can be mixed.

    Raises:
      ValueError: there are no trees, a leaf is not floating-point, or a tree differs from the first
        one in structure, shape or dtype; the message names the first such leaf.

    >>> check_matching([{"w": jnp.zeros(2)}, {"w": jnp.zeros(3)}])
    Traceback (most recent call last):
    ValueError: control points 0 and 1 do not match: leaf ['w'] has shape (2,) in the first and ...
    """
    if not trees:
        raise ValueError("no control points: a curve needs at least its two ends")
    reference, structure = jax.tree_util.tree_flatten_with_path(trees[0])
    for path, leaf in reference:
        # Checked first because result_type would read the text "f" as the name of a dtype.
        if not (hasattr(leaf, "dtype") or isinstance(leaf, bool | int | float | complex)):
            what = "text" if isinstance(leaf, str) else type(leaf).__name__
            raise ValueError(
                f"leaf {_name(path)} is the {what} {leaf!r}: only floating-point leaves can be "
                "mixed; keep the rest in the loss"
            )
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            raise ValueError(
                f"leaf {_name(path)} has dtype {jnp.result_type(leaf)}: only floating-point leaves "
                "can be mixed; keep counters and the like in the objective's state"
            )
    for index, tree in enumerate(trees[1:], start=1):
        leaves, other = jax.tree_util.tree_flatten_with_path(tree)
        if other != structure:
            raise ValueError(_structure_message(index, reference, leaves))
        for (path, a), (_, b) in zip(reference, leaves, strict=True):
            for what, x, y in (
                ("shape", jnp.shape(a), jnp.shape(b)),
                ("dtype", jnp.result_type(a), jnp.result_type(b)),
            ):
                if x != y:
                    raise ValueError(
                        f"control points 0 and {index} do not match: leaf {_name(path)} "
                        f"has {what} {x} in the first and {y} in the second"
                    )


_Leaves = list[tuple[tuple[Any, ...], Any]]


def _structure_message(index: int, reference: _Leaves, leaves: _Leaves) -> str:
    names, others = {_name(p) for p, _ in reference}, {_name(p) for p, _ in leaves}
    only = [f"{n} only in control point 0" for n in sorted(names - others)]
    only += [f"{n} only in control point {index}" for n in sorted(others - names)]
    detail = "; ".join(only[:3]) or "same leaf names in different containers"
    return f"control points 0 and {index} have different tree structures: {detail}"


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path) or "(the whole tree)"


def wide(x: jax.typing.ArrayLike) -> jax.Array:
    """Converts floats of fewer than 32 bits to float32.

    >>> wide(jnp.bfloat16(1.5))
    Array(1.5, dtype=float32)
    """
    dtype = jnp.result_type(x)
    return jnp.asarray(x, dtype if dtype.itemsize >= 4 else jnp.float32)


def _total(tree: Params) -> jax.Array:
    """The sum of a pytree's real scalars, in JAX's default float dtype."""
    start = jnp.zeros(())
    return sum((x.astype(start.dtype) for x in jax.tree.leaves(tree)), start)


def _as_float(t: jax.typing.ArrayLike) -> jax.Array:
    dtype = jnp.result_type(t)
    return jnp.asarray(t, dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.float32)


def _check_num_bends(num_bends: int) -> None:
    if num_bends < 0:
        raise ValueError(f"num_bends={num_bends}: use 0 or more")

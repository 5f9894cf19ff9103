"""The plane around one checkpoint along two directions: random, principal, or eigenvectors."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mcjax import curves
from mcjax.analysis import directions, hessian
from mcjax.engine import parallel
from mcjax.results import Directions

from ..cli import Progress, SurfaceConfig, UsageError, collect_signals, stop_if_signalled
from ..runs import Point, load_point, parse_name
from ..training import Problem

HIGHEST_SEED = 2**32 - 1
Pair = tuple[tuple[Any, ...], tuple[str, str], dict[str, np.ndarray]]
"""Two directions as parameter pytrees, their names, and fields of `Directions`."""


class Around(NamedTuple):
    """Three points that span a plane.

    Attributes:
      points: three checkpoints; or the centre, and the centre plus each of two directions.
      names: for figures, the names of the checkpoints, or of the two directions.
      directions: facts on the directions, for the surface's file; None without directions.
    """

    points: tuple[Any, ...]
    names: tuple[str, ...]
    directions: Directions | None


def check_flags(config: SurfaceConfig) -> None:
    """Raises UsageError for flags that are wrong by themselves or together."""
    kind, given = config.directions, ",".join(config.points)
    if config.extent is not None and kind in (None, "pca"):
        raise UsageError(
            f"--extent={config.extent}: this surface covers the points, the curve and the "
            "iterates; --margin enlarges it"
        )
    if not 0 < (1 if config.extent is None else config.extent) < np.inf:
        raise UsageError(f"--extent={config.extent}: use more than 0")
    if not 0 <= config.direction_seed <= HIGHEST_SEED:
        raise UsageError(f"--direction_seed={config.direction_seed}: use 0 to {HIGHEST_SEED}")
    if kind is None and len(config.points) != 3:
        raise UsageError(
            f"--points={given}: a plane needs three checkpoints, got {len(config.points)}; "
            "one is enough with --directions"
        )
    if kind and config.align:
        raise UsageError(
            f"--align={config.align}: with --directions there is no second point to align"
        )
    if kind == "pca" and not config.iterates:
        raise UsageError("--directions=pca needs --iterates=RUN, for their principal directions")
    if kind and len(config.points) != 1 and (config.points or kind != "pca"):
        raise UsageError(
            f"--points={given}: --directions={kind} needs one checkpoint, the centre, "
            f"got {len(config.points)}"
        )


def make(
    config: SurfaceConfig,
    problem: Problem,
    centre: Point,
    iterates: Sequence[tuple[str, int]],
) -> Around:
    """Makes the plane around a checkpoint along the directions of --directions.

    Raises:
      UsageError: the directions do not exist: the iterates lie on a line, or the Hessian is zero
        or not finite.
      Interrupted: a signal came.
    """
    try:
        match config.directions:
            case "pca":
                pair, names, facts = _principal(centre, iterates)
            case "hessian":
                pair, names, facts = _eigenvectors(config, problem, centre)
            case _:
                pair, names, facts = _random(config, centre)
        corners = directions.around(centre.params, pair)
    except ValueError as error:
        raise UsageError(f"--directions={config.directions}: {error}") from None
    lengths = [float(jnp.sqrt(curves.squared_norm(d))) for d in pair]
    return Around(corners, names, Directions(np.array(lengths), **facts))


def _random(config: SurfaceConfig, centre: Point) -> Pair:
    name, function = "random direction", directions.random
    if config.directions == "filter":
        name, function = "filter-normalized direction", directions.filter_normalized
    draw = jax.jit(function, static_argnums=2)
    keys = jax.random.split(jax.random.key(config.direction_seed))
    pair = tuple(draw(centre.params, key, config.ignore_vectors) for key in keys)
    return pair, _numbered(name), {}


def _principal(centre: Point, iterates: Sequence[tuple[str, int]]) -> Pair:
    weights = []
    for text, _ in iterates:
        weights.append(jax.tree.map(np.asarray, load_point(parse_name(text)).params))
        curves.check_matching((centre.params, weights[-1]))
    found = directions.pca(weights)
    one, two = (f"PC {i} ({100 * x:.3g} %)" for i, x in enumerate(found.ratio, start=1))
    facts = {"explained_variance": found.variance, "explained_variance_ratio": found.ratio}
    return found.directions, (one, two), facts


def _eigenvectors(config: SurfaceConfig, problem: Problem, centre: Point) -> Pair:
    """Computes the unit eigenvectors of the two largest eigenvalues."""
    params, state = parallel.replicate(tuple(centre), problem.mesh)
    product = hessian.make_product(problem.evaluator)
    held = problem.evaluator.statistics(params, state)
    bar = Progress(f"{Path(config.workdir).name}: Hessian", 2, "eigenvector")
    with collect_signals() as received:

        def progress(done: int) -> None:
            bar.update(0, f"{done} products")
            stop_if_signalled(received)

        try:
            found = hessian.eigenpairs(
                functools.partial(product, params, held), params, 2, progress=progress
            )
        finally:
            bar.close()
    if not found.values.any():
        raise ValueError("the Hessian is zero there; use --directions=filter or random")
    facts = {"eigenvalues": found.values, "residuals": found.residuals}
    return found.vectors, _numbered("eigenvector"), facts


def _numbered(name: str) -> tuple[str, str]:
    return f"{name} 1", f"{name} 2"

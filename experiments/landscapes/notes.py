"""Notes that commands print beside a result: what it does not show, and the page that explains it.

A note is printed only if the result itself proves it. `NOTES` has their texts and pages.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from mcjax import plots
from mcjax.results import Instability, Interpolation, Metrics, Points, Profile, Surface, named

from ..runs import Name, Run

PAGES = "docs/surfaces"
"""The folder of the pages, in the repository."""
NOTES = {
    "clipped": (
        "clipped",
        "the {metric} is above --clip={clip:.4g} on {share:.0%} of the grid, which is grey; "
        "without --clip, the colours end at {default:.4g}",
    ),
    "flat": (
        "clipped",
        "the {metric} differs by less than {share:.0%} on the whole grid; a larger {flag} shows "
        "more of the surface",
    ),
    "edge": (
        "no_cone",
        "the lowest {metric} of the grid, {low:.4g}, is at its edge; a larger {flag} may show "
        "lower ones",
    ),
    "off_centre": (
        "no_cone",
        "the lowest {metric} of the grid is {low:.4g}, at ({x:.4g}, {y:.4g}), and {own:.4g} at "
        "{name}: it is not the lowest point of this plane",
    ),
    "coarse_grid": (
        "points",
        "the {metric} is {own:.4g} at {name}, and {low:.4g} or more at the grid's points around "
        "it; a finer --grid shows the minimum",
    ),
    "two_points": (
        "points",
        "no point between the networks is evaluated, so that no barrier can be seen; use a larger "
        "{flag}",
    ),
    "one_point": (
        "points",
        "the highest {metric} {where} is at one of {count} points alone; a larger {flag} may "
        "show a higher one",
    ),
    "nan": ("nan", "{count} of {total} points {where} are not finite"),
    "averages": (
        "batch_norm",
        "{name} has {own:.2f} % validation accuracy with batch norm's statistics recomputed, as "
        "here, and {low:.2f} % with its running averages",
    ),
}
"""By case: the page, and the sentence. The existing hints on other pages are linked by `see`."""
FLAT = 0.01
"""A grid whose losses differ by less than this share of the highest is flat."""
LOWER = 0.05
"""A loss that is lower by this share counts as lower."""
COARSE = 10
"""A minimum is lost if the grid's points around it have so many times its loss."""
VISIBLE = 0.01
"""A difference of losses that is less than this share of the colour scale's top is not seen."""
ACCURACY = 0.01
"""Accuracies that differ by less than this are not worth a note."""


def see(page: str) -> str:
    """The link to a page, in parentheses."""
    return f" ({PAGES}/{page}.md)"


def text(case: str, **facts: Any) -> str:
    """The line of a note."""
    page, words = NOTES[case]
    return f"note: {words.format(**facts)}{see(page)}"


def of_surface(surface: Surface, clip: float | None = None) -> list[str]:
    """Notes on the first loss of a surface: one on its colours or minimum, and one on its grid.

    Args:
      surface: with its grid.
      clip: the upper end of the colours, if the user set it.
    """
    metric = _first_loss(surface.metrics)
    if not metric or not np.isfinite(named(surface.metrics)[metric]).any():
        return []
    values, own = named(surface.metrics)[metric], named(surface.networks.metrics)[metric]
    known = values  # what is interpolated between these proves nothing
    if surface.refinement is not None:
        known = np.where(surface.refinement.evaluated, values, np.nan)
    first = [
        *_colours(values, own, metric, clip, surface),
        *_minimum(known, own, metric, surface),
    ]
    return [*first[:1], *_coarse(known, own, metric, surface)]


def _flag(surface: Surface) -> str:
    """The flag that sets how far a surface reaches."""
    around = surface.directions
    return "--margin" if around is None or around.explained_variance is not None else "--extent"


def _colours(
    values: np.ndarray, own: np.ndarray, metric: str, clip: float | None, surface: Surface
) -> Iterator[str]:
    finite, words = values[np.isfinite(values)], plots.metric_words(metric)
    default = plots.default_clip(values, own)
    above = (finite > (default if clip is None else clip)).sum() / values.size
    if clip is not None and above > 0.5:
        yield text("clipped", metric=words, clip=clip, share=above, default=default)
    if finite.size == values.size and np.ptp(finite) < FLAT * np.abs(finite).max():
        yield text("flat", metric=words, share=FLAT, flag=_flag(surface))


def _minimum(values: np.ndarray, own: np.ndarray, metric: str, surface: Surface) -> Iterator[str]:
    low, words = np.nanmin(values), plots.metric_words(metric)
    row, column = np.argwhere(values == low)[0]
    lowest = np.nanmin(own) if np.isfinite(own).any() else np.inf
    if not low < lowest - LOWER * abs(lowest):
        return
    if row in (0, len(values) - 1) or column in (0, len(values[0]) - 1):
        yield text("edge", metric=words, low=low, flag=_flag(surface))
    elif surface.directions is not None:
        place = {"x": surface.x[column], "y": surface.y[row]}
        name = surface.networks.name[0]
        yield text("off_centre", metric=words, low=low, own=own[0], name=name, **place)


def _coarse(values: np.ndarray, own: np.ndarray, metric: str, surface: Surface) -> Iterator[str]:
    """Notes the first network whose minimum no point of the grid shows."""
    visible = VISIBLE * plots.default_clip(values, own)
    for name, loss, around in zip(
        surface.networks.name, own, _around(values, surface, surface.networks), strict=True
    ):
        low = around.min(initial=np.inf)
        if np.isfinite(low) and low > COARSE * loss >= 0 and low - loss > visible:
            words = plots.metric_words(metric)
            yield text("coarse_grid", metric=words, own=loss, low=low, name=name)
            return


def _around(values: np.ndarray, surface: Surface, networks: Points) -> Iterator[np.ndarray]:
    """The values at the corners of the grid's cell around each network; none if it is outside."""
    for x, y in networks.xy:
        column, row = np.searchsorted(surface.x, x), np.searchsorted(surface.y, y)
        inside = 0 < column < len(surface.x) and 0 < row < len(surface.y)
        yield values[row - 1 : row + 1, column - 1 : column + 1] if inside else np.zeros(0)


def of_profile(found: Profile) -> list[str]:
    """A note on the points of a profile."""
    metric, rows = _paths(found)
    finite = {where: row for where, row in rows.items() if np.isfinite(row).all()}
    return _of_points(finite, metric, "--points")  # the summary counts the others


def of_profiles(found: Mapping[str, Profile]) -> list[str]:
    """Notes on the points of several curves' profiles; the curves that share one are named."""
    curves: dict[str, list[str]] = {}
    for curve, profile in found.items():
        metric, rows = _paths(profile)
        for line in _of_points(rows, metric, "--points"):
            curves.setdefault(line, []).append(curve)
    return [f"{line}: {', '.join(names)}" for line, names in curves.items()]


def _paths(found: Profile) -> tuple[str, dict[str, np.ndarray]]:
    """The first loss of a profile, and its values ``[1, P]`` by path; none without a loss."""
    metric = _first_loss(next(iter(found.paths.values())).metrics)
    paths = found.paths.items() if metric else ()
    return metric, {f"on the {name}": named(path.metrics)[metric][None] for name, path in paths}


def of_instability(found: Instability) -> list[str]:
    """A note on the points of the segments between children."""
    metric = _first_loss(found.metrics)
    if not metric:
        return []
    rows = {"on the segments": named(found.metrics)[metric].reshape(-1, found.t.size)}
    return _of_points(rows, metric, "--num_points")


def of_interpolation(found: Interpolation) -> list[str]:
    """A note on the points of segments, and of curves, between networks."""
    metric, inner = _first_loss(found.networks.metrics), (found.t > 0) & (found.t < 1)
    each: dict[str, np.ndarray] = {}
    for path, one in found.paths.items() if metric else ():
        start, end = np.split(named(found.networks.metrics)[metric][one.pairs], 2, axis=1)
        where = f"on the {plots.PATH_WORDS[path]}"
        each[where] = np.hstack([start, named(one.metrics)[metric][:, inner], end])
    return _of_points(each, metric, "--num_points")


def _first_loss(metrics: Metrics) -> str:
    """The first loss, of the training split if it is there; empty without a loss."""
    return next((m for m in plots.metric_names(metrics) if plots.is_loss(m)), "")


def _of_points(each: dict[str, np.ndarray], metric: str, flag: str) -> list[str]:
    """Notes paths ``[N, P]`` without inner points, or whose highest point is alone."""
    for where, values in each.items():
        count = values.shape[1]
        if count < 3:
            return [text("two_points", flag=flag)]
        if strange := int((~np.isfinite(values)).sum()):
            return [text("nan", count=strange, total=values.size, where=where)]
        if any(map(_alone, values)):
            words = plots.metric_words(metric)
            return [text("one_point", metric=words, where=where, count=count, flag=flag)]
    return []


def _alone(losses: np.ndarray) -> bool:
    """Whether the highest point rises over the higher end twice as far as its neighbours do."""
    top, end = int(losses.argmax()), max(losses[0], losses[-1])
    height = losses[top] - end
    if not height > LOWER * abs(end):
        return False
    return bool(max(losses[top - 1], losses[top + 1]) - end < height / 2)


def of_averages(names: Iterable[Name]) -> list[str]:
    """Notes the mode whose running averages of batch norm change its accuracy most."""
    worst, found = ACCURACY, list[str]()
    for name in names:
        info = Run(name.run).info
        both = [info.get(key, {}) for key in ("final", "final_with_running_averages")]
        accuracies = [one.get("validation", {}).get("accuracy") for one in both]
        last = name.t is None and name.step is None
        if not last or name.epoch not in (None, info.get("flags", {}).get("epochs")):
            continue
        own, averages = accuracies
        if own is not None and averages is not None and abs(own - averages) > worst:
            worst = abs(own - averages)
            facts = {"own": 100 * own, "low": 100 * averages}
            found = [text("averages", name=name.run.name, **facts)]
    return found

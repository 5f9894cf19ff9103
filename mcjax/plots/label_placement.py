"""Places labels beside points so that they cover neither each other nor the points."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import patheffects
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.text import Text

from mcjax.typing import Bool, Float, Int, Num

FAR = (5, 9, 14, 20, 28, 38, 50, 64, 80, 100)
"""Gaps between a point and its label to try, in points."""
ANGLES = np.arange(24) * (np.pi / 12) + np.pi / 4
"""Directions to try, in radians."""
NEAR = 10.0
"""Labels farther than this from their point have a leader line, in points."""
NEARBY = 15.0
"""Optional labels are not farther than this from their point."""
ANCHOR = 7.0
"""The radius of an anchor's marker, in points, with some room; other markers have `MARKER`."""
MARKER = 4.0
STEP = 2.0
"""Distance between the points that represent a line."""
CONFLICT = 1000.0
"""The cost of covering something, against the gap's: a larger gap is better."""


class Label(NamedTuple):
    """A text beside a point.

    Attributes:
      text: the text, in matplotlib's markup.
      xy: the point, in data coordinates.
      anchor: whether it is one of the points that the figure is about.
      optional: whether to leave it out if there is no room nearby.
    """

    text: str
    xy: Num[np.ndarray, "2"]
    anchor: bool = False
    optional: bool = False


def halo(color: str, width: float) -> patheffects.AbstractPathEffect:
    """An outline around a line or text."""
    return patheffects.withStroke(linewidth=width, foreground=color)


class Labels(Artist):
    """Labels beside points, which cover neither each other nor what is drawn.

    It draws nothing itself, but moves the texts just before they are drawn, when the size of the
    axes is known.

    Args:
      ax: the axes; the texts are added to it.
      labels: what to write.
      lines: polylines that should not be covered.
      markers: points that should not be covered.
    """

    def __init__(
        self,
        ax: Axes,
        labels: Sequence[Label],
        lines: Sequence[Num[np.ndarray, "_ 2"]],
        markers: Num[np.ndarray, "markers 2"],
    ) -> None:
        super().__init__()
        self._on = ax
        self.set(zorder=2.5, in_layout=False)
        self._labels, self._lines, self._markers = labels, lines, markers
        self._texts = [
            ax.annotate(
                one.text, (one.xy[0], one.xy[1]), (0, 0), textcoords="offset points",
                ha="center", va="center",
                fontsize="medium" if one.anchor else "x-small", zorder=6,
                weight="bold" if one.anchor else "normal",
                path_effects=[halo("white", 2.2)], annotation_clip=False, in_layout=False,
                arrowprops={"arrowstyle": "-", "lw": 0.6, "shrinkA": 0, "shrinkB": 4},
            )
            for one in labels
        ]  # fmt: skip

    def draw(self, renderer: Any) -> None:  # a proxy in PDF and SVG
        """Moves the texts to their places."""
        points_to_pixels = self._on.figure.dpi / 72
        transform = lambda xy: self._on.transData.transform(xy) / points_to_pixels  # noqa: E731
        frame = self._on.get_window_extent(renderer).get_points().ravel() / points_to_pixels
        lines = [dense(transform(xy)) for xy in self._lines if len(xy) > 1]
        anchors = np.array([one.xy for one in self._labels if one.anchor]).reshape(-1, 2)
        taken = _Taken(
            frame, transform(self._markers), np.concatenate([np.empty((0, 2)), *lines]),
            transform(anchors),
        )  # fmt: skip
        both = zip(self._labels, self._texts, strict=True)
        for one, text in sorted(both, key=lambda pair: pair[0].optional):
            text.set_visible(True)  # a hidden text has no size
            box = Text.get_window_extent(text, renderer)
            size = np.array([box.width, box.height]) / points_to_pixels
            here = transform(one.xy)
            offset, far, conflict = _place(here, size, taken)
            shown = not (one.optional and (conflict or far > NEARBY))
            text.set_visible(shown)
            text.set_position((offset[0], offset[1]))
            assert text.arrow_patch is not None
            text.arrow_patch.set_visible(shown and far > NEAR)
            if shown:
                taken = taken.with_label(here, offset, size, far)


class _Taken(NamedTuple):
    """What labels should not cover; all in points."""

    frame: Float[np.ndarray, "4"]
    markers: Float[np.ndarray, "markers 2"]
    lines: Float[np.ndarray, "n 2"]
    anchors: Float[np.ndarray, "anchors 2"] = np.empty((0, 2))
    boxes: Float[np.ndarray, "boxes 4"] = np.empty((0, 4))
    leaders: Float[np.ndarray, "m 2"] = np.empty((0, 2))

    def with_label(
        self, here: np.ndarray, offset: np.ndarray, size: np.ndarray, far: float
    ) -> "_Taken":
        """Adds a label's box, and its leader if it has one."""
        boxes = np.concatenate([self.boxes, _boxes(here + offset, size)[None]])
        leader = dense(np.stack([here, here + offset]))[: None if far > NEAR else 0]
        return self._replace(boxes=boxes, leaders=np.concatenate([self.leaders, leader]))


def dense(xy: Num[np.ndarray, "n 2"]) -> Float[np.ndarray, "points 2"]:
    """Points along a polyline, `STEP` apart."""
    xy = xy[np.isfinite(xy).all(axis=1)]
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(xy, axis=0), axis=1))])
    at = np.linspace(0, length[-1], int(length[-1] / STEP) + 2)
    return np.stack([np.interp(at, length, side) for side in xy.T], axis=1)


def _boxes(
    centers: Num[np.ndarray, "*boxes 2"], size: Num[np.ndarray, "2"], pad: float = 1.0
) -> Float[np.ndarray, "*boxes 4"]:
    """Boxes (left, bottom, right, top) around centers."""
    return np.concatenate([centers - size / 2 - pad, centers + size / 2 + pad], axis=-1)


def _place(
    here: Num[np.ndarray, "2"], size: Num[np.ndarray, "2"], taken: _Taken
) -> tuple[Float[np.ndarray, "2"], float, bool]:
    """A label's cheapest offset from its point, the gap, and whether it covers anything."""
    far, angle = np.meshgrid(FAR, ANGLES, indexing="ij")
    far = far.ravel()
    towards = np.stack([np.cos(angle), np.sin(angle)], axis=-1).reshape(-1, 2)
    offsets = towards * (far[:, None] + size / 2)
    boxes = _boxes(here + offsets, size)
    outside = np.prod(size + 2.0) - _common(boxes, taken.frame)
    covered = _common(boxes[:, None], taken.boxes).sum(axis=1)
    leaders = here + np.linspace(0, 1, 40)[:, None] * offsets[:, None]  # [offsets, 40, 2]
    crossed = _inside(taken.boxes, leaders.reshape(-1, 2), each=True)
    crossed = crossed.reshape(len(offsets), -1).sum(axis=1) * (far > NEAR)
    markers = _inside(_boxes(here + offsets, size, MARKER), taken.markers)
    markers += _inside(_boxes(here + offsets, size, ANCHOR), taken.anchors)
    lines = _inside(boxes, taken.lines) + _inside(boxes, taken.leaders)
    conflicts = 0.1 * (outside + covered) + 3 * markers + lines + crossed
    conflicts = np.where(conflicts > 1e-6, conflicts, 0)  # rounding decides no ties
    best = np.argmin(far + CONFLICT * (conflicts > 0) + 100 * conflicts)
    return offsets[best], float(far[best]), bool(conflicts[best] > 0)


def _common(a: Num[np.ndarray, "*a 4"], b: Num[np.ndarray, "*b 4"]) -> Float[np.ndarray, "..."]:
    """The areas of the boxes' intersections."""
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    return np.prod(np.maximum(sides, 0), axis=-1)


def _inside(
    boxes: Num[np.ndarray, "boxes 4"], points: Num[np.ndarray, "points 2"], each: bool = False
) -> Int[np.ndarray, " boxes"] | Bool[np.ndarray, " points"]:
    """How many points each box covers; with ``each``, whether any box covers each point."""
    inside = (points > boxes[:, None, :2]) & (points < boxes[:, None, 2:])
    inside = inside.all(axis=-1)
    return np.asarray(inside.any(axis=0) if each else inside.sum(axis=1))

"""Words beside points of a figure, placed so that they cover neither one another nor the points."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import patheffects
from matplotlib.artist import Artist
from matplotlib.text import Text

FAR = (5, 9, 14, 20, 28, 38, 50, 64, 80, 100)
"""Gaps between a point and its label that are tried, in points."""
ANGLES = np.arange(24) * (np.pi / 12) + np.pi / 4
"""Directions that are tried, in radians."""
NEAR = 10.0
"""A label farther than this from its point has a leader line."""
STEP = 2.0
"""Between the points that stand for a line."""
CONFLICT = 1000.0
"""What it costs to cover something, beside the gap: a label is rather farther away."""


class Label(NamedTuple):
    """Words beside a point.

    Attributes:
      text: the words, as matplotlib writes them.
      xy: ``[2]``, the point in data coordinates.
      anchor: whether it is one of the points that the figure is about.
      optional: whether it is left out where there is no room.
    """

    text: str
    xy: np.ndarray
    anchor: bool = False
    optional: bool = False


def halo(color: str, width: float) -> patheffects.AbstractPathEffect:
    """An outline around a line or text."""
    return patheffects.withStroke(linewidth=width, foreground=color)


class Labels(Artist):
    """Words beside points, put where they cover neither one another nor what is drawn.

    Draws nothing itself: it moves the texts, just before they are drawn, since only then the size
    of the axes is known.

    Args:
      ax: the axes; the texts become its own.
      labels: what to write.
      lines: polylines ``[N, 2]`` that should not be covered.
      markers: ``[M, 2]``, likewise.
    """

    def __init__(
        self, ax, labels: Sequence[Label], lines: Sequence[np.ndarray], markers: np.ndarray
    ):
        super().__init__()
        self._on = ax
        self.set(zorder=2.5, in_layout=False)
        self._labels, self._lines, self._markers = labels, lines, markers
        self._texts = [
            ax.annotate(
                one.text, one.xy, (0, 0), textcoords="offset points", ha="center", va="center",
                fontsize="medium" if one.anchor else "x-small", zorder=6,
                weight="bold" if one.anchor else "normal",
                path_effects=[halo("white", 2.2)], annotation_clip=False, in_layout=False,
                arrowprops={"arrowstyle": "-", "lw": 0.6, "shrinkA": 0, "shrinkB": 4},
            )
            for one in labels
        ]  # fmt: skip

    def draw(self, renderer):
        """Finds the texts' places, in points from their anchors."""
        points_to_pixels = self._on.figure.dpi / 72
        transform = lambda xy: self._on.transData.transform(xy) / points_to_pixels  # noqa: E731
        frame = self._on.get_window_extent(renderer).get_points().ravel() / points_to_pixels
        lines = [dense(transform(xy)) for xy in self._lines if len(xy) > 1]
        taken = _Taken(frame, transform(self._markers), np.concatenate([np.empty((0, 2)), *lines]))
        both = zip(self._labels, self._texts, strict=True)
        for one, text in sorted(both, key=lambda pair: pair[0].optional):
            box = Text.get_window_extent(text, renderer)
            size = np.array([box.width, box.height]) / points_to_pixels
            here = transform(one.xy)
            offset, far, conflict = _place(here, size, taken)
            shown = not (one.optional and conflict)
            text.set_visible(shown)
            text.set_position(offset)
            text.arrow_patch.set_visible(shown and far > NEAR)
            if shown:
                taken = taken.with_label(here, offset, size, far)


class _Taken(NamedTuple):
    """What labels should not cover; all in points."""

    frame: np.ndarray
    markers: np.ndarray
    lines: np.ndarray
    boxes: np.ndarray = np.empty((0, 4))
    leaders: np.ndarray = np.empty((0, 2))

    def with_label(self, here, offset, size, far):
        boxes = np.concatenate([self.boxes, _boxes(here + offset, size)[None]])
        leader = dense(np.stack([here, here + offset]))[: None if far > NEAR else 0]
        return self._replace(boxes=boxes, leaders=np.concatenate([self.leaders, leader]))


def dense(xy: np.ndarray) -> np.ndarray:
    """Points along a polyline ``[N, 2]``, `STEP` apart."""
    xy = xy[np.isfinite(xy).all(axis=1)]
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(xy, axis=0), axis=1))])
    at = np.linspace(0, length[-1], int(length[-1] / STEP) + 2)
    return np.stack([np.interp(at, length, side) for side in xy.T], axis=1)


def _boxes(centers, size, pad=1.0):
    """Boxes ``[..., 4]`` (left, bottom, right, top) around centers ``[..., 2]``."""
    return np.concatenate([centers - size / 2 - pad, centers + size / 2 + pad], axis=-1)


def _place(here, size, taken):
    """The label's cheapest offset from its point, the gap between them, and what it covers."""
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
    markers = _inside(_boxes(here + offsets, size, 4.0), taken.markers)
    lines = _inside(boxes, taken.lines) + _inside(boxes, taken.leaders)
    conflicts = 0.1 * (outside + covered) + 3 * markers + lines + crossed
    cost = far + CONFLICT * (conflicts > 1e-6) + 100 * conflicts
    best = np.argmin(cost)
    return offsets[best], far[best], conflicts[best] > 1e-6


def _common(a, b):
    """The areas that boxes have in common."""
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    return np.prod(np.maximum(sides, 0), axis=-1)


def _inside(boxes, points, each=False):
    """How many of the points each box covers; or for each point whether a box covers it."""
    inside = (points > boxes[:, None, :2]) & (points < boxes[:, None, 2:])
    inside = inside.all(axis=-1)
    return inside.any(axis=0) if each else inside.sum(axis=1)

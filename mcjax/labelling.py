"""Words beside points of a figure, placed so that they cover neither one another nor the points."""

import numpy as np
from matplotlib import patheffects
from matplotlib.artist import Artist
from matplotlib.text import Text

FAR = (5, 9, 14, 20, 28, 38, 50, 64)
"""Gaps between a point and its label that are tried, in points."""
ANGLES = np.arange(24) * (np.pi / 12) + np.pi / 4
"""Directions that are tried, in radians."""


def halo(color: str, width: float) -> patheffects.AbstractPathEffect:
    """An outline around a line or text."""
    return patheffects.withStroke(linewidth=width, foreground=color)


class Labels(Artist):
    """Words beside points, put where they cover neither one another nor what is drawn.

    Draws nothing itself: it moves the texts, just before they are drawn, since only then the size
    of the axes is known.

    Args:
      ax: the axes; the texts become its own.
      labels: text, ``[2]`` in data coordinates, and whether it is one of the three points.
      lines: polylines ``[N, 2]`` that should not be covered.
    """

    def __init__(self, ax, labels, lines):
        super().__init__()
        self._on = ax
        self.set(zorder=2.5, in_layout=False)
        self._at = np.array([xy for _, xy, _ in labels])
        self._lines = np.concatenate([_dense(xy) for xy in lines if len(xy) > 1])
        self._texts = [
            ax.annotate(
                text, xy, (0, 0), textcoords="offset points", ha="center", va="center", zorder=6,
                fontsize="medium" if anchor else "x-small", weight="bold" if anchor else "normal",
                path_effects=[halo("white", 2.2)], annotation_clip=False, in_layout=False,
                arrowprops={"arrowstyle": "-", "lw": 0.6, "shrinkA": 0, "shrinkB": 4},
            )
            for text, xy, anchor in labels
        ]  # fmt: skip

    def draw(self, renderer):
        """Finds the texts' places, in points from their anchors."""
        points_to_pixels = self._on.figure.dpi / 72
        transform = lambda xy: self._on.transData.transform(xy) / points_to_pixels  # noqa: E731
        frame = self._on.get_window_extent(renderer).get_points().ravel() / points_to_pixels
        at, along = transform(self._at), transform(self._lines)
        placed = np.empty((0, 4))
        for text, here in zip(self._texts, at, strict=True):
            box = Text.get_window_extent(text, renderer)
            size = np.array([box.width, box.height]) / points_to_pixels
            offset, far = _place(here, size, frame, placed, at, along)
            text.set_position(offset)
            text.arrow_patch.set_visible(far > 10)
            placed = np.concatenate([placed, _boxes(here + offset, size)[None]])


def _dense(xy):
    """A polyline with 30 points a piece."""
    t = np.linspace(0, len(xy) - 1, 30 * (len(xy) - 1))
    return np.stack([np.interp(t, np.arange(len(xy)), side) for side in np.asarray(xy).T], axis=1)


def _boxes(centers, size, pad=1.0):
    """Boxes ``[..., 4]`` (left, bottom, right, top) around centers ``[..., 2]``."""
    return np.concatenate([centers - size / 2 - pad, centers + size / 2 + pad], axis=-1)


def _place(here, size, frame, placed, points, lines):
    """The label's cheapest offset from its point and the gap between them; all in points."""
    far, angle = np.meshgrid(FAR, ANGLES, indexing="ij")
    towards = np.stack([np.cos(angle), np.sin(angle)], axis=-1).reshape(-1, 2)
    offsets = towards * (far.reshape(-1, 1) + size / 2)
    boxes = _boxes(here + offsets, size)
    outside = np.prod(size + 2.0) - _common(boxes, frame)
    covered = _common(boxes[:, None], placed).sum(axis=1)
    cost = far.ravel() + 20 * (outside + covered)
    cost += 30 * _inside(_boxes(here + offsets, size, 4.0), points) + 2 * _inside(boxes, lines)
    best = np.argmin(cost)
    return offsets[best], far.flat[best]


def _common(a, b):
    """The areas that boxes have in common."""
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    return np.prod(np.maximum(sides, 0), axis=-1)


def _inside(boxes, points):
    """How many of the points each box covers."""
    inside = (points > boxes[:, None, :2]) & (points < boxes[:, None, 2:])
    return inside.all(axis=-1).sum(axis=1)

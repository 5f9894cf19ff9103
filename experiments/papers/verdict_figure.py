"""The figure of the deciding numbers of every claim, pair and seed, with their thresholds."""

import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from . import verdicts
from .judging import Claim, Quantity, Reading

LOOKS = {
    True: ("#0072B2", "holds"),
    False: ("#D55E00", "does not hold"),
    None: ("0.55", "cannot be tested"),
}
"""By ``holds`` of a measurement, its colour and label."""
MARKERS = "osD^vP*X"
ROW, HEAD = 0.16, 0.68
"""Height of a pair's row, and of a panel's title and axis, in inches."""
WIDE = 30.0
"""If the largest number exceeds the threshold by this factor, the axis is logarithmic."""


class Panel(NamedTuple):
    """A quantity of a claim.

    Attributes:
      title: the claim and its reading.
      quantity: what was measured.
      pairs: the pairs, from top to bottom.
      seeds: the reading of each seed.
    """

    title: str
    quantity: Quantity
    pairs: Sequence[str]
    seeds: Sequence[Reading]

    @property
    def height(self) -> float:
        """The height in inches."""
        return HEAD + ROW * len(self.pairs)


def draw(repetitions: Sequence[Sequence[Claim]]) -> Figure | None:
    """Draws one panel per measured quantity of each claim; None if nothing was measured."""
    panels = _panels(repetitions)
    if not panels:
        return None
    width, count = plt.rcParams["figure.figsize"][0], 1
    if width > 5:
        width, count = 1.35 * width, 3
    columns = _columns(panels, count)
    height = max(sum(p.height for p in column) for column in columns) + 0.4
    figure = Figure(figsize=(width, height), layout="constrained")
    parts: Any = figure.subfigures(1, len(columns), squeeze=False)[0]
    for part, column in zip(parts, columns, strict=True):
        rest = height - 0.4 - sum(p.height for p in column)
        ratios = [p.height for p in column] + ([rest] if rest > 0.05 else [])
        grid = part.add_gridspec(len(ratios), 1, height_ratios=ratios)
        for row, panel in enumerate(column):
            _panel(part.add_subplot(grid[row]), panel)
    figure.legend(handles=_handles(panels), loc="outside lower center", ncols=8, fontsize="small")
    return figure


def _panels(repetitions: Sequence[Sequence[Claim]]) -> list[Panel]:
    panels = []
    for claims in zip(*repetitions, strict=True):
        for seeds in verdicts.readings(claims):
            if not seeds[0].decides:
                continue
            label = verdicts.label_suffix(seeds)
            for quantity in verdicts.quantities(seeds):
                measured = [m for s in seeds for m in s.measurements if m.quantity == quantity]
                pairs = list(dict.fromkeys(m.pair for m in measured))
                panels.append(Panel(f"Claim {claims[0].number}{label}", quantity, pairs, seeds))
    return panels


def _columns(panels: Sequence[Panel], count: int) -> list[list[Panel]]:
    """Divides the panels, in order, into columns of about the same height."""
    columns: list[list[Panel]] = [[]]
    total, filled = sum(p.height for p in panels), 0.0
    for panel in panels:
        middle = filled + panel.height / 2
        if columns[-1] and middle > total * len(columns) / count and len(columns) < count:
            columns.append([])
        columns[-1].append(panel)
        filled += panel.height
    return columns


def _panel(ax: Axes, panel: Panel) -> None:
    quantity = panel.quantity
    values = [m.value for s in panel.seeds for m in s.measurements if m.quantity == quantity]
    finite = [v for v in values if np.isfinite(v)]
    limit = max(map(abs, [*finite, quantity.threshold]))
    scale = abs(quantity.threshold) or limit
    if limit > WIDE * scale:
        ax.set_xscale("symlog", linthresh=scale)
    ax.xaxis.set_major_formatter("{x:g}")
    for number, seed in enumerate(panel.seeds):
        shift = 0.5 * (number / max(len(panel.seeds) - 1, 1) - 0.5) if len(panel.seeds) > 1 else 0
        for m in seed.measurements:
            if m.quantity == quantity:
                color = LOOKS[m.holds][0]
                x = m.value if np.isfinite(m.value) else limit
                ax.plot(
                    x, panel.pairs.index(m.pair) + shift, MARKERS[number % len(MARKERS)], ms=3.6,
                    color=color, mfc=color if m.holds else "white", clip_on=False, zorder=3,
                )  # fmt: skip
    ax.axvline(quantity.threshold, color="black", lw=0.9, ls="--", zorder=2)
    if scale < 100:  # zero is shown, except where a percentage is compared with 100
        ax.plot(0, 0, ls="", marker=None)
    low, high = ax.get_xlim()
    needed = (
        (quantity.threshold, high) if quantity.relation == "above" else (low, quantity.threshold)
    )
    ax.axvspan(*needed, color="#0072B2", alpha=0.08, lw=0, zorder=0)
    ax.set_xlim(low, high)
    ax.set_ylim(len(panel.pairs) - 0.4, -0.6)
    ax.set_yticks(range(len(panel.pairs)), panel.pairs, fontsize="small")
    ax.tick_params(labelsize="x-small")
    ax.grid(False, axis="y")
    words = textwrap.fill(quantity.words, 46)
    title = f"{panel.title}: {verdicts.needed(quantity)}\n{words}"
    ax.set_title(title, fontsize="x-small", loc="left")


def _handles(panels: Sequence[Panel]) -> list[Line2D]:
    kinds = {m.holds for p in panels for s in p.seeds for m in s.measurements}
    handles = [
        Line2D([], [], color=color, marker="o", ls="", ms=4, mfc=color if holds else "white",
               label=label)
        for holds, (color, label) in LOOKS.items()
        if holds in kinds
    ]  # fmt: skip
    measured = sorted({k for p in panels for k, seed in enumerate(p.seeds) if seed.measurements})
    if measured[1:]:
        handles += [
            Line2D([], [], color="0.5", marker=MARKERS[k % len(MARKERS)], ls="", ms=4,
                   label=f"seed {k}")
            for k in measured
        ]  # fmt: skip
    return [*handles, Line2D([], [], color="black", lw=0.9, ls="--", label="threshold")]

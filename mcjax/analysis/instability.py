"""Instability analysis (Frankle et al., 2020): from which step on does the data order not matter?

A network is trained to step k; its children go on from there to the end, with different orders of
the data. Where the error on the segments between them stays within two points of the mean of the
ends, training was stable at step k.
"""

from collections.abc import Sequence

import numpy as np

from mcjax.results import Instability, Interpolation
from mcjax.results.metrics import Metrics


def collect(
    names: Sequence[str], steps: Sequence[int], per_epoch: int, found: Sequence[Interpolation]
) -> Instability:
    """Puts the segments of all fork points together.

    Args:
      names: the fork points'.
      steps: their steps, rising.
      per_epoch: steps per epoch.
      found: the segments between every two children of each fork point, with the same ``t`` and
        number of children.

    Returns:
      The segments' metrics and barriers, with a leading axis of fork points.

    >>> from mcjax.analysis import interpolation, toy
    >>> pair = interpolation.interpolate(
    ...     toy.evaluator(), [toy.A, toy.B], ["1", "2"], np.linspace(0, 1, 3), {})
    >>> found = collect(["s0", "2"], [0, 20], 10, [pair, pair])
    >>> found.epoch, found.barriers["train"]["loss"].round(2).tolist()
    (array([0., 2.]), [[0.67], [0.67]])
    """
    segments = [one.paths["segment"] for one in found]
    barriers = _stacked([
        {split: {name: x.over_mean for name, x in of_split.items()}
         for split, of_split in one.barriers.items()}
        for one in segments
    ])  # fmt: skip
    return Instability(
        np.array(list(names)),
        np.array(list(steps)),
        np.array(list(steps)) / per_epoch,
        found[0].t,
        segments[0].pairs,
        _stacked([one.networks.metrics for one in found]),
        _stacked([one.metrics for one in segments]),
        barriers,
    )


def _stacked(each: Sequence[Metrics]) -> Metrics:
    """Metrics with a leading axis of fork points."""
    return {
        split: {name: np.stack([one[split][name] for one in each]) for name in of_split}
        for split, of_split in each[0].items()
    }

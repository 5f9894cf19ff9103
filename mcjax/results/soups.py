"""Soups: averages of several networks, beside the networks and the segments between them."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mcjax.results.interpolations import Interpolation
from mcjax.results.metrics import Arrays, Metrics, Values, require, take_metrics, values_arrays
from mcjax.typing import Float, Shaped


class Soups(NamedTuple):
    """Averages of K networks by R recipes: ``soup.npz``.

    Attributes:
      segments: the networks, and the segments between every two of them with their barriers.
      recipe: names of the averages.
      coefficients: of each average over the networks.
      averages: the averages' metrics, of shape ``[R]``.
      ensemble: names of E ensembles, whose members' probabilities are averaged instead.
      ensembles: their metrics, ``ensembles[split][name]`` of shape ``[E]``.
    """

    segments: Interpolation
    recipe: Shaped[np.ndarray, " R"]
    coefficients: Float[np.ndarray, "R K"]
    averages: Values
    ensemble: Shaped[np.ndarray, " E"]
    ensembles: Metrics

    @property
    def extra(self) -> Mapping[str, np.ndarray]:
        """Other arrays of the file, by key."""
        return self.segments.extra

    def to_arrays(self) -> Arrays:
        """Those of ``segments``, and the averages' and ensembles' with a prefix."""
        arrays = {"recipe": self.recipe, "coefficients": self.coefficients}
        arrays |= values_arrays(*self.averages, "average_") | {"ensemble": self.ensemble}
        return self.segments.to_arrays() | arrays | values_arrays(self.ensembles, None, "ensemble_")

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Soups":
        """Inverts `to_arrays`.

        Raises:
          ValueError: an array is missing.
        """
        left = require(arrays, ("recipe", "coefficients", "ensemble"), "a result of soups")
        recipe, coefficients, ensemble = map(left.pop, ("recipe", "coefficients", "ensemble"))
        averages = Values(take_metrics(left, "average_", 1), left.pop("average_l2", None))
        ensembles = take_metrics(left, "ensemble_", 1)
        segments = Interpolation.from_arrays(left)
        return cls(segments, recipe, coefficients, averages, ensemble, ensembles)

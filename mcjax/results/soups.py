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

    >>> segments = Interpolation(np.zeros(0), np.array(["a", "b"]), Values({}), {})
    >>> averages = Values({"validation": {"loss": np.array([0.3])}})
    >>> found = Soups(segments, np.array(["uniform"]), np.array([[0.5, 0.5]]), averages,
    ...               np.array(["all"]), {"validation": {"loss": np.array([0.2])}})
    >>> dict(zip(found.recipe.tolist(), found.averages.metrics["validation"]["loss"].tolist()))
    {'uniform': 0.3}
    """

    segments: Interpolation
    recipe: Shaped[np.ndarray, " R"]
    coefficients: Float[np.ndarray, "R K"]
    averages: Values
    ensemble: Shaped[np.ndarray, " E"]
    ensembles: Metrics

    @property
    def extra(self) -> Mapping[str, np.ndarray]:
        """Other arrays of the file, by key.

        >>> arrays = {"t": np.zeros(0), "name": np.array(["a"]), "recipe": np.array(["uniform"])}
        >>> arrays |= {"coefficients": np.ones((1, 1)), "ensemble": np.zeros(0, str)}
        >>> Soups.from_arrays(arrays | {"note": np.ones(1)}).extra
        {'note': array([1.])}
        """
        return self.segments.extra

    def to_arrays(self) -> Arrays:
        """Those of ``segments``, and the averages' and ensembles' with a prefix.

        >>> segments = Interpolation(np.zeros(0), np.array(["a"]), Values({}), {})
        >>> averages = Values({"validation": {"loss": np.array([0.3])}})
        >>> recipe, ensemble = np.array(["uniform"]), np.zeros(0, str)
        >>> found = Soups(segments, recipe, np.ones((1, 1)), averages, ensemble, {})
        >>> list(found.to_arrays())
        ['t', 'name', 'recipe', 'coefficients', 'average_validation_loss', 'ensemble']
        """
        arrays = {"recipe": self.recipe, "coefficients": self.coefficients}
        arrays |= values_arrays(*self.averages, prefix="average_") | {"ensemble": self.ensemble}
        ensembles = values_arrays(self.ensembles, prefix="ensemble_")
        return self.segments.to_arrays() | arrays | ensembles

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Soups":
        """Inverts `to_arrays`.

        Raises:
          ValueError: an array is missing.

        >>> Soups.from_arrays({"recipe": np.array(["uniform"])})
        Traceback (most recent call last):
        ValueError: a result of soups needs recipe, coefficients, ensemble; coefficients, ...
        """
        left = require(arrays, ("recipe", "coefficients", "ensemble"), "a result of soups")
        recipe, coefficients, ensemble = map(left.pop, ("recipe", "coefficients", "ensemble"))
        averages = Values(take_metrics(left, "average_", 1), left.pop("average_l2", None))
        ensembles = take_metrics(left, "ensemble_", 1)
        segments = Interpolation.from_arrays(left)
        return cls(segments, recipe, coefficients, averages, ensemble, ensembles)

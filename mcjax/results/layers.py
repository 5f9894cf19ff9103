"""Layer-wise barriers: metrics on paths between two networks along which only some layers move."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mcjax.results.interpolations import PairHeights, heights_arrays, take_heights
from mcjax.results.metrics import (
    NONE,
    Arrays,
    Metrics,
    Values,
    require,
    take_metrics,
    values_arrays,
)
from mcjax.typing import Float, Shaped

LAYER_PATHS = ("single", "from_input", "from_output")
"""Which layers move from the first network to the second, while the others stay at the first: this
one alone; all up to this one; this one and all after it."""


class LayerPaths(NamedTuple):
    """Metrics at P points along the paths of one kind, one for each of L layers.

    Attributes:
      metrics: ``metrics[split][name]`` of shape ``[L, P]``.
      l2: squared norms.
      barriers: ``barriers[split][name]`` of every loss, error and accuracy, measured from the
        metrics of the two networks. At ``t = 1`` a path is not at the second network unless all
        layers move.

    >>> one = LayerPaths({"train": {"loss": np.array([[0.1, 0.4], [0.1, 0.2]])}})  # of two layers
    >>> one.metrics["train"]["loss"][:, -1]
    array([0.4, 0.2])
    """

    metrics: Metrics
    l2: Float[np.ndarray, "L P"] | None = None
    barriers: Mapping[str, Mapping[str, PairHeights]] = NONE


class Layers(NamedTuple):
    """Layer-wise barriers between two networks: ``layers.npz``.

    Attributes:
      t: from 0, where all layers are those of the first network, to 1.
      name: names of the two networks.
      layer: names of the layers, in the order of their use.
      networks: the networks' own metrics, of shape ``[2]``.
      paths: `LAYER_PATHS`, by name.
      extra: other arrays of the file, by key.

    >>> paths = {"single": LayerPaths({"train": {"loss": np.array([[0.1, 0.4], [0.1, 0.2]])}})}
    >>> names, layer = np.array(["a", "b"]), np.array(["conv", "dense"])
    >>> found = Layers(np.array([0.0, 1.0]), names, layer, Values({}), paths)
    >>> moved = found.paths["single"].metrics["train"]["loss"][:, -1]  # this layer alone
    >>> dict(zip(found.layer.tolist(), moved.tolist()))
    {'conv': 0.4, 'dense': 0.2}
    """

    t: Float[np.ndarray, " P"]
    name: Shaped[np.ndarray, " 2"]
    layer: Shaped[np.ndarray, " L"]
    networks: Values
    paths: dict[str, LayerPaths]
    extra: Mapping[str, np.ndarray] = NONE

    def to_arrays(self) -> Arrays:
        """``t``, ``name``, ``layer``, ``network_SPLIT_METRIC`` and ``PATH_SPLIT_METRIC``.

        >>> paths = {"single": LayerPaths({"train": {"loss": np.array([[0.1, 0.4]])}})}
        >>> names, layer = np.array(["a", "b"]), np.array(["dense"])
        >>> found = Layers(np.array([0.0, 1.0]), names, layer, Values({}), paths)
        >>> list(found.to_arrays())
        ['t', 'name', 'layer', 'single_train_loss']
        """
        arrays = {"t": self.t, "name": self.name, "layer": self.layer}
        arrays |= values_arrays(*self.networks, prefix="network_")
        for path, found in self.paths.items():
            arrays |= values_arrays(found.metrics, found.l2, prefix=f"{path}_")
            arrays |= heights_arrays(found.barriers, f"{path}_")
        return {**arrays, **self.extra}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Layers":
        """Inverts `to_arrays`.

        Raises:
          ValueError: ``t``, ``name`` or ``layer`` is missing.

        >>> Layers.from_arrays({"t": np.zeros(2), "name": np.array(["a", "b"])})
        Traceback (most recent call last):
        ValueError: a result of layers needs t, name, layer; layer is missing
        """
        left = require(arrays, ("t", "name", "layer"), "a result of layers")
        networks = Values(take_metrics(left, "network_", 1), left.pop("network_l2", None))
        paths: dict[str, LayerPaths] = {}
        for path in LAYER_PATHS:
            metrics = take_metrics(left, f"{path}_", 2)
            if metrics:
                heights = take_heights(left, metrics, f"{path}_")
                paths[path] = LayerPaths(metrics, left.pop(f"{path}_l2", None), heights)
        return cls(left.pop("t"), left.pop("name"), left.pop("layer"), networks, paths, left)

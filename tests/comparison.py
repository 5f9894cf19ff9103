"""How tests compare what two runs left."""

from typing import Any

import jax
import numpy as np


def assert_same_bits(a: Any, b: Any) -> None:
    """Checks that two pytrees have the same structure and equal arrays, NaN equal to NaN."""

    def same(path, x, y):
        np.testing.assert_array_equal(x, y, err_msg=jax.tree_util.keystr(path))

    jax.tree_util.tree_map_with_path(same, a, b)

"""Coefficients of their own for parts of the parameters: pytree prefixes in `curves.combine`."""

import jax
import numpy as np
import pytest

from mcjax import curves
from tests.mcjax.test_curves import random_points


def test_a_prefix_has_coefficients_for_each_part():
    points = random_points(curves.segment())
    c = {"layers": np.array([0.25, 0.75], np.float32), "scale": (np.array([2.0, -1.0]),)}
    found = curves.combine(points, c)
    for name, row in (("layers", [0.25, 0.75]), ("scale", [2.0, -1.0])):
        whole = curves.combine(points, row)
        jax.tree.map(np.testing.assert_array_equal, found[name], whole[name])
    lists = [[x["layers"][0], x["layers"][0]] for x in points]
    a, b = curves.combine(lists, [np.array([1.0, 0.0]), np.array([0.0, 1.0])])
    np.testing.assert_array_equal(a, points[0]["layers"][0])
    np.testing.assert_array_equal(b, points[1]["layers"][0])


HALF = np.array([0.5, 0.5])


@pytest.mark.parametrize(
    ("c", "message"),
    [
        ({"layers": HALF}, r"prefix of the control points: leaf \['scale'\]\[0\] has no coeff"),
        ({"layers": HALF, "scale": np.ones(3)}, r"at \['scale'\] have shape \(3,\) for 2 control"),
        ({"layers": 0.5, "scale": HALF}, r"at \['layers'\] have shape \(\) for 2 control points"),
        ({"layers": 0.5, "scale": 0.5}, r"at \['layers'\] have shape \(\) for 2 control points"),
        ({"layers": HALF, "scal": HALF, "scale": HALF}, r"coefficients at \['scal'\], where there"),
        ({"layers": HALF, "scale": [HALF]}, "the same names are in different containers"),
        ({"layers": {"w": HALF}, "scale": HALF}, r"at \['layers'\]\['w'\], where there is no leaf"),
        ([0.5, HALF], r"at \[0\] have shape \(\)"),
    ],
)  # fmt: skip
def test_a_wrong_prefix_names_the_leaf(c, message):
    with pytest.raises(ValueError, match=message) as error:
        curves.combine(random_points(curves.segment()), c)
    assert "\n" not in str(error.value)

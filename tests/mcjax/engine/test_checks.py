"""What a wrong argument of the API says: one line, before any long work."""

import jax
import numpy as np
import pytest

from mcjax import api, curves
from mcjax.engine import objectives
from tests.mcjax.test_api import CONTROL, CURVE, END, START, TARGETS, fit, quadratic

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"start": {**START, "a": jax.nn.relu}},
            r"leaf \['a'\] of control point 0 is of type .*eqx.part",
        ),
        (
            {"end": {**END, "a": np.array([1, 2])}},
            r"leaf \['a'\] of control point 1 is of dtype int",
        ),
        ({"start": {**START, "a": 0.5}}, r"leaf \['a'\] of control point 0 is of type float"),
        ({"end": {"a": END["a"]}}, r"different tree structures: \['b'\]"),
        ({"end": {**END, "a": np.ones(3, np.float32)}}, r"leaf \['a'\] has shape"),
        ({"data": {}}, "no array"),
        (
            {"data": {"x": TARGETS["x"], "y": np.ones(40)}},
            r"leaf \['y'\] of the data has shape \(40",
        ),
        (
            {"data": {"x": TARGETS["x"], "y": 3.0}},
            r"leaf \['y'\] of the data is of type float",
        ),
        ({"data": {"x": np.ones((0, 5))}}, r"leaf \['x'\] of the data has shape \(0, 5\)"),
        (
            {"data": {"x": TARGETS["x"], "y": np.array(["a"] * 41)}},
            r"leaf \['y'\].* expected numbers",
        ),
        ({"loss": lambda params: 0.0}, r"loss takes \(params\): expected \(params, batch"),
        ({"loss": lambda params, batch: batch["x"][0].sum(1)}, r"loss returned float32\[1\]"),
        ({"loss": lambda params, batch: (0.0, {})}, "loss returned tuple: expected a real scalar"),
        ({"loss": lambda params, batch: 1}, "expected a real scalar"),
        ({"epochs": 0}, "epochs=0"),
        ({"key": 0}, r"key=0 is not a key: use jax.random.key\(0\)"),
        ({"batch_size": 42}, "batch_size=42.* 41 examples"),
        ({"curve": curves.segment()}, "nothing to fit"),
        ({"loss": objectives.from_loss(quadratic), "data": TARGETS["x"]}, "Objective's data"),
    ],
)
def test_wrong_input_is_one_line(options, message):
    with pytest.raises(ValueError, match=message) as error:
        fit(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: api.profile(quadratic, CURVE, (START, END), TARGETS), "this curve has 4"),
        (lambda: api.profile(quadratic, CURVE, CONTROL, TARGETS, points=1), "points=1"),
        (lambda: api.profile(quadratic, CURVE, CONTROL, TARGETS, batch_size=0), "batch_size=0"),
        (lambda: api.profile(quadratic, CURVE, CONTROL, TARGETS, {}), "different tree struct"),
        (lambda: api.surface(quadratic, (START, END), TARGETS), "a plane needs three points"),
        (lambda: api.surface(quadratic, (START, END, START), TARGETS), "1 and 3 are equal"),
        (lambda: api.surface(quadratic, CONTROL[:3], TARGETS, names=("a",)), "1 names"),
        (lambda: api.surface(quadratic, CONTROL[:3], TARGETS, grid=(1, 5)), "at least 2"),
        (
            lambda: api.surface(quadratic, CONTROL[:3], TARGETS, curve=(CURVE, (START, END))),
            "this curve has 4",
        ),
    ],
)
def test_wrong_input_of_profiles_and_surfaces(call, message):
    with pytest.raises(ValueError, match=message):
        call()

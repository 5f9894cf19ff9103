"""A network's variables from arrays by their paths; files are tried in test_import_params.py."""

import numpy as np
import pytest

from mcjax.exchange import jax_files
from mcjax.exchange.mismatch import Mismatch

TEMPLATE = {"params": {"Dense_0": {"kernel": np.zeros((2, 3)), "bias": np.zeros(3)}}}
WHOLE = {"params/Dense_0/kernel": np.ones((2, 3)), "params/Dense_0/bias": np.ones(3)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"params/Dense_0/kernel": np.ones((3, 2))}, r"kernel \(\[3, 2\], not \[2, 3\]\)"),
        ({"params/Dense_1/bias": np.ones(3)}, "no place for params/Dense_1/bias"),
    ],
)
def test_one_array_that_does_not_fit_is_enough(changes, words):
    with pytest.raises(Mismatch, match=words):
        jax_files.to_variables(WHOLE | changes, TEMPLATE)


def test_parameters_that_lack_an_array_are_not_offered():
    part = {"ema/Dense_0/bias": np.ones(3)}
    assert jax_files.to_variables(WHOLE | part, TEMPLATE).others == ()
    whole = part | {"ema/Dense_0/kernel": np.ones((2, 3))}
    assert jax_files.to_variables(WHOLE | whole, TEMPLATE).others == ("ema",)

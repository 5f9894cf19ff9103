"""Tests by generated input: few cases each in the short run, many with ``-m long``."""

import pytest
from hypothesis import HealthCheck, given, settings

FEW = 30
CASES = pytest.mark.parametrize(
    "cases", [pytest.param(FEW, id="few"), pytest.param(1000, marks=pytest.mark.long, id="many")]
)
QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def fuzz(cases, *strategies):
    """``@fuzz(cases, strategy...)``: runs the function below on so many examples, now."""

    def run(function):
        settings(
            max_examples=cases,
            deadline=None,
            suppress_health_check=QUIET,
            database=None,
            derandomize=cases <= FEW,  # the short run is the same each time
        )(given(*strategies)(function))()

    return run

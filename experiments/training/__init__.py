"""Training modes and curves, from their flags to the last epoch."""

from . import alignment, ends, fits, fitting, forking, modes, pairs
from .failures import fail
from .fits import EVALUATION, Fit, evaluated_epochs, labels
from .further import pin as pin_further
from .problem import (
    MEASURED,
    Problem,
    check_joined,
    check_measured,
    check_problem,
    data_words,
    make_problem,
    measuring,
    pin_data,
    same_problem,
    sampled,
    shapes,
)  # fmt: skip

__all__ = [
    "EVALUATION",
    "MEASURED",
    "Fit",
    "Problem",
    "alignment",
    "check_joined",
    "check_measured",
    "check_problem",
    "data_words",
    "ends",
    "evaluated_epochs",
    "fail",
    "fits",
    "fitting",
    "forking",
    "labels",
    "make_problem",
    "measuring",
    "modes",
    "pairs",
    "pin_data",
    "pin_further",
    "same_problem",
    "sampled",
    "shapes",
]

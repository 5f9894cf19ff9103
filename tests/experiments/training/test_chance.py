"""Which networks have not trained: those that do no better than answers that ignore the images."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.cli import errors
from experiments.cli.configs import CurveConfig
from experiments.runs.arrays import load_arrays
from experiments.training import fits, fitting
from experiments.training.failures import failure, is_above_chance
from mcjax.results import Profile
from tests import finished_runs


def labels(*counts):
    return np.repeat(np.arange(len(counts)), counts)


@pytest.mark.parametrize(
    ("counts", "accuracy", "above"),
    [
        ((972, 28), 1.0, True),  # within 5 % of the majority share, and perfect
        ((972, 28), 0.972, False),  # always the majority
        ((97, 3), 1.0, True),  # few examples: a binomial test alone would refuse it
        ((97, 3), 0.98, False),
        ((500,) * 100, 0.015, True),  # many classes, early in training
        ((500,) * 100, 0.0105, False),  # no more than luck
        ((5,) * 10, 0.15, False),  # a small split, where chance reaches far above its share
        ((5,) * 10, 0.4, True),
        ((5,) * 10, 0.0, False),
        ((50,), 1.0, False),  # a constant network is perfect
        ((30, 20), np.nan, False),
    ],
)
def test_chance_is_judged_by_the_sampling_error_of_the_majority_share(counts, accuracy, above):
    assert is_above_chance(labels(*counts), accuracy) is above


@pytest.mark.parametrize("counts", [(60, 40), (90, 6, 4), (25, 25, 25, 25)])
def test_answers_that_ignore_the_images_seldom_pass(counts):
    """Below the level of one in a thousand, whatever the frequencies of the answers."""
    truth, rng = labels(*counts), np.random.default_rng(5)
    for weight in (0.0, 0.5, 0.9, 0.99):
        frequencies = (1 - weight) * np.array(counts) / len(truth)
        frequencies[0] += weight
        answers = rng.choice(len(counts), (5_000, len(truth)), p=frequencies)
        right, times = np.unique((answers == truth).sum(axis=1), return_counts=True)
        passed = [is_above_chance(truth, k / len(truth)) for k in right]
        assert times[passed].sum() / 5_000 < 2.5e-3


SKEWED = SimpleNamespace(dataset=SimpleNamespace(train=SimpleNamespace(labels=labels(972, 28))))


def test_modes_and_curves_of_a_skewed_data_set_are_judged_alike(tmp_path):
    """Imported runs are judged as modes are."""
    for accuracy, words in ((1.0, None), (0.972, r"97\.2 % of .* has 97\.2 % of 1000 examples")):
        final = {"train": {"loss": 0.1, "accuracy": accuracy}, "validation": {"loss": 0.2}}
        run = finished_runs.curve(tmp_path / f"{accuracy}", status="fitted")
        arrays = load_arrays(run.path / "curve.npz")
        found = Profile.from_arrays(arrays | {"curve_train_accuracy": np.full(5, accuracy)})
        fit = fits.Fit(run, CurveConfig(), None, None)
        if words is None:
            assert failure(SKEWED, final, "the network") is None
            fitting.judge(fit, SKEWED, found)
            assert run.status == "done"
        else:
            assert re.search(words, failure(SKEWED, final, "the network"))
            with pytest.raises(errors.RunFailed, match=words):
                fitting.judge(fit, SKEWED, found)
            assert run.status == "failed"

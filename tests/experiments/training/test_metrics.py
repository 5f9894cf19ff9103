"""--metrics: what a user's objective measures, beside a mode's own."""

import jax
import numpy as np
import pytest

from experiments.cli import UsageError
from experiments.cli.configs import ModeConfig
from experiments.training import networks
from experiments.training import problem as problems

MODE = ModeConfig(dataset="digits", train_size=100, validation_size=60, model="mlp", width=0.25)


@pytest.mark.parametrize(
    ("objective", "metrics"),
    [(None, "tests.nets:f1"), ("tests.nets:f1", "tests.nets:confidence, error")],
)
def test_metrics_of_all_objectives_are_reported(objective, metrics):
    from sklearn.metrics import f1_score

    mode = ModeConfig(**{**vars(MODE), "objective": objective})
    problem = problems.measuring(problems.make_problem(mode), problems.SPLITS, metrics)
    params, state = problems.init(problem, mode, jax.random.key(0))
    found = problem.evaluator.with_state(params, state, "validation")
    split = problem.dataset.validation
    images = np.float32((split.images / 255 - problem.mean) / problem.std)
    logits = np.asarray(problem.model.apply({"params": params}, images, False), np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    guesses = logits.argmax(axis=1)
    expected = {
        "loss": -np.log(probabilities[np.arange(60), split.labels]).mean(),
        "accuracy": (guesses == split.labels).mean(),
        "F1": f1_score(split.labels, guesses, average="macro", labels=range(10), zero_division=0),
    }
    if "confidence" in metrics:
        expected["confidence"] = probabilities.max(axis=1).mean()
        expected["error"] = 1 - expected["accuracy"]
    assert found == pytest.approx(expected, rel=1e-5)


def of_logits_alone(logits):
    return logits[:, 0]


def broken(model):
    raise RuntimeError("first line\nsecond line")


@pytest.mark.parametrize(
    ("flag", "name", "reason"),
    [
        ("metrics", "of_logits_alone", "TypeError: .* a metric takes two arguments"),
        ("objective", "broken", "RuntimeError: first line"),
    ],
)
def test_a_factory_that_fails_is_named_in_one_line(flag, name, reason):
    with pytest.raises(UsageError, match=f"--{flag}={__name__}:{name} fails.*{reason}") as error:
        networks.users_objective(flag, f"{__name__}:{name}", object())
    assert "\n" not in str(error.value)

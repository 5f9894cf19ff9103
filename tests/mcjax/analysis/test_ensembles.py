import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcjax.analysis import ensembles
from mcjax.engine import objectives, parallel
from mcjax.flax import models
from mcjax.flax.objective import cross_entropy
from tests import nets
from tests.mcjax import small
from tests.mcjax.engine.test_evaluation import SPLITS, by_numpy, combined, control_points, make

RNG = np.random.default_rng(0)
ROWS = np.array([[1.0, 0.0, 0.0], [0.2, 0.5, 0.3], [0.0, 0.0, 1.0]])


def softmax(logits):
    powers = np.exp(np.asarray(logits, np.float64))
    return powers / powers.sum(axis=-1, keepdims=True)


def test_average_of_probabilities_not_of_logits():
    logits = 3 * RNG.normal(size=(3, 20, 4))
    labels = RNG.integers(0, 4, 20)
    groups = {"first": [0], "all": range(3), "outer": (0, 2)}
    found = ensembles.averages(map(ensembles.log_probabilities, logits), groups)
    for name, group in groups.items():
        mean = softmax(logits[list(group)]).mean(axis=0)
        np.testing.assert_allclose(np.exp(found[name]), mean, rtol=1e-12)
        nll = -np.log(mean[np.arange(20), labels]).mean()
        metrics = ensembles.metrics(found[name], labels)
        assert metrics.nll == pytest.approx(nll, rel=1e-12)
        assert metrics.accuracy == (mean.argmax(axis=1) == labels).mean()


def test_calibration_error_by_hand():
    """Two examples at 0.9, one right; three at 0.6, all right; one at 0.5, wrong."""
    top, right = [0.9, 0.9, 0.6, 0.6, 0.6, 0.5], [1, 0, 1, 1, 1, 0]
    probabilities = np.array([[p, 0.7 * (1 - p), 0.3 * (1 - p)] for p in top])
    labels = np.where(right, 0, 2)
    expected = (2 * abs(0.5 - 0.9) + 3 * abs(1 - 0.6) + 1 * abs(0 - 0.5)) / 6
    found = ensembles.metrics(np.log(probabilities), labels)
    assert found.ece == pytest.approx(expected)
    assert found.accuracy == pytest.approx(4 / 6)
    one_bin = abs(4 / 6 - np.mean(top))
    assert ensembles.metrics(np.log(probabilities), labels, bins=1).ece == pytest.approx(one_bin)


def test_the_right_edge_belongs_to_its_bin():
    """One at 0.5, right, and one at 0.9, wrong, in two bins."""
    predictions = np.log([[0.5, 0.5], [0.9, 0.1]])
    found = ensembles.metrics(predictions, np.array([0, 1]), bins=2)
    assert found.ece == pytest.approx((0.5 + 0.9) / 2)


def test_calibration_error_of_many_examples():
    """Against Guo's definition, bin by bin."""
    probabilities = RNG.dirichlet([0.4] * 5, 400)
    probabilities[:3] = [[0.6, 0.4, 0, 0, 0], [1, 0, 0, 0, 0], [0.2, 0.2, 0.2, 0.2, 0.2]]
    labels = RNG.integers(0, 5, 400)
    labels[:3] = 0, 0, 4
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    total = 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    with np.errstate(divide="ignore"):
        found = ensembles.metrics(np.log(probabilities), labels)
    assert found.ece == pytest.approx(total, rel=1e-9)


def test_predictions_far_apart_keep_their_digits():
    found = ensembles.metrics(ensembles.log_probabilities([[0.0, 900.0]]), np.array([0]))
    assert found.nll == 900
    assert ensembles.log_probabilities([[40.0, 0.0]])[0, 0] == pytest.approx(
        -np.exp(-40), abs=1e-16
    )


def test_what_is_not_finite_is_wrong():
    logits = [[np.nan, 0.0, 0.0], [np.inf, 0.0, 0.0], [1.0, 0.0, 0.0]]
    found = ensembles.metrics(ensembles.log_probabilities(logits), np.array([0, 0, 0]))
    assert found.accuracy == pytest.approx(1 / 3)
    assert np.isnan(found.nll)
    assert np.isnan(found.ece)


def test_shapes_that_do_not_match():
    for probabilities, labels in ((np.ones((3, 2)), [0, 1]), (np.ones(3), [0, 1, 1])):
        with pytest.raises(ValueError, match=r"expected \[examples, classes\]"):
            ensembles.metrics(np.log(probabilities), np.array(labels))
    with pytest.raises(ValueError, match="bins=0"):
        ensembles.metrics(np.zeros((1, 1)), np.array([0]), bins=0)


@pytest.mark.slow
@pytest.mark.parametrize(("devices", "batch_size"), [(8, 10), (3, 500)])
def test_members_are_the_points_networks(devices, batch_size):
    model = models.create("mlp", num_classes=3, width=0.06)
    points, _ = control_points(model)
    evaluator = make(cross_entropy(model), SPLITS, devices, batch_size=batch_size)
    found = list(ensembles.members(evaluator, points, ROWS, {}, "validation"))
    assert len(found) == 3
    labels = SPLITS["validation"]["labels"]
    for row, one in zip(ROWS, found, strict=True):
        images = SPLITS["validation"]["images"]
        logits = model.apply({"params": combined(points, row)}, images, False)
        np.testing.assert_allclose(np.exp(one), softmax(logits), rtol=2e-5)
    own = evaluator(points, ROWS, {})["validation"]
    for i, one in enumerate(found):
        metrics = ensembles.metrics(one, labels)
        assert metrics.nll == pytest.approx(own["loss"][i], rel=1e-5)
        assert metrics.accuracy == pytest.approx(own["accuracy"][i], rel=1e-12)


@pytest.mark.long
def test_members_have_their_own_batch_norm_statistics():
    model = nets.Normed(3, parallel.DATA_AXIS)
    points, state = control_points(model)
    state = jax.tree.map(lambda x: x + 3.0, state)  # an old state: must not matter
    evaluator = make(cross_entropy(model), SPLITS, 8, batch_size=10, statistics_batch_size=16)
    batches = [list(rows) for rows in (range(16), range(16, 32), range(32, 45))]
    own = evaluator(points, ROWS, state)["validation"]
    found = ensembles.members(evaluator, points, ROWS, state, "validation")
    for i, one in enumerate(found):
        params = combined(points, ROWS[i])
        statistics = by_numpy(params, SPLITS["train"]["images"], batches=batches)
        logits = by_numpy(params, SPLITS["validation"]["images"], statistics)
        np.testing.assert_allclose(np.exp(one), softmax(logits), rtol=1e-4)
        metrics = ensembles.metrics(one, SPLITS["validation"]["labels"])
        assert metrics.nll == pytest.approx(own["loss"][i], rel=1e-5)


def test_an_objective_without_logits_has_no_ensembles():
    objective = objectives.from_loss(lambda w, batch: jnp.mean((w * batch["images"]) ** 2))
    evaluator = make(objective, {"train": small.data(4)})
    with pytest.raises(ValueError, match="has no logits"):
        next(ensembles.members(evaluator, (jnp.float32(1.0),), [[1.0]], {}, "train"))


@pytest.mark.parametrize("group", [[], [0, 0], [0, 2], [-1]])
def test_groups_that_name_no_network_or_one_twice(group):
    predictions = [np.log([[0.5, 0.5]])] * 2
    with pytest.raises(ValueError, match=r"ensemble 'odd' of networks .*: there are 2"):
        ensembles.averages(predictions, {"odd": group})

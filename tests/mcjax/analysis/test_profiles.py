import jax.numpy as jnp
import numpy as np
import pytest

from mcjax import curves, results
from mcjax.analysis import profiles
from mcjax.engine import evaluation, objectives
from tests.mcjax import small

T = np.array([0.0, 0.2, 0.5, 1.0])
LENGTH = np.array([0.0, 3.0, 4.0, 10.0])  # not uniform in t


def test_summaries_by_hand():
    metrics = {
        "train": {"loss": np.array([1.0, 4.0, 2.0, 1.5])},
        "validation": {"accuracy": np.array([0.9, 0.5, 0.6, 0.8])},
    }
    path = profiles.summarize(results.PathMetrics(metrics, np.ones(4), LENGTH), T)
    found = results.Profile(T, {"curve": path}).to_arrays()
    found = {n.removeprefix("curve_"): x for n, x in found.items() if not np.ndim(x)}
    expected = {
        "train_loss_mean": 0.2 * 2.5 + 0.3 * 3.0 + 0.5 * 1.75,
        "train_loss_arc_mean": (3 * 2.5 + 1 * 3.0 + 6 * 1.75) / 10,
        "train_loss_over_max": 4.0 - 1.5,
        "train_loss_over_mean": 4.0 - 1.25,
        "train_loss_over_chord": 4.0 - (0.8 * 1.0 + 0.2 * 1.5),
        "validation_accuracy_mean": 0.2 * 0.7 + 0.3 * 0.55 + 0.5 * 0.7,
        "validation_accuracy_arc_mean": (3 * 0.7 + 1 * 0.55 + 6 * 0.7) / 10,
    }
    assert {n: float(x) for n, x in found.items()} == pytest.approx(expected, rel=1e-12)
    assert abs(expected["train_loss_mean"] - expected["train_loss_arc_mean"]) > 0.1


def test_a_path_of_no_length_has_its_one_value_as_mean():
    path = results.PathMetrics({"train": {"loss": np.full(4, 2.5)}}, arc_length=np.zeros(4))
    assert profiles.summarize(path, T).means["train"]["loss"].over_length == 2.5


X = np.array([[0.5, -1.0], [1.5, 0.0], [0.7, 0.4], [2.0, 1.0], [-0.2, 0.3]], np.float32)
START, BEND, END = (np.array(w, np.float32) for w in ([1.0, 2.0], [0.5, -1.5], [-2.0, 0.5]))


@pytest.fixture(scope="module")
def evaluator():
    """The loss of ``w`` is the mean of ``|w - x|^2``."""

    def evaluate(params, state, batch):
        losses = jnp.sum((params[None] - batch["x"]) ** 2, axis=1)
        return {"loss": jnp.sum(losses * batch["weight"]), "count": jnp.sum(batch["weight"])}

    return evaluation.Evaluator(
        objectives.Objective(lambda *a: None, evaluate),
        lambda data, rows, examples, weight, key: {"x": data["x"][rows], "weight": weight},
        {"train": {"x": jnp.asarray(X)}, "validation": {"x": jnp.asarray(X[:2])}},
        small.mesh(1),
    )


def phi(t):
    return (
        2 * (t * BEND + (0.5 - t) * START) if t <= 0.5 else 2 * ((t - 0.5) * END + (1 - t) * BEND)
    )


def loss(w, x=X):
    return ((w - x) ** 2).sum(1).mean()


def test_profile_of_a_chain(evaluator):
    told = []
    found = profiles.along(
        evaluator, curves.polygonal_chain(1), (START, BEND, END), T, {}, told.append
    )
    train, validation = (found.metrics[split]["loss"] for split in ("train", "validation"))
    np.testing.assert_allclose(train, [loss(phi(t)) for t in T], rtol=1e-5)
    np.testing.assert_allclose(validation, [loss(phi(t), X[:2]) for t in T], rtol=1e-5)
    np.testing.assert_allclose(found.l2, [(phi(t) ** 2).sum() for t in T], rtol=1e-5)
    first, second = np.linalg.norm(BEND - START), np.linalg.norm(END - BEND)
    np.testing.assert_allclose(found.arc_length, [0, 0.4 * first, first, first + second], rtol=1e-5)
    assert told == [1, 2, 3, 4]
    values = np.array([loss(phi(t)) for t in T])
    height, means = found.barriers["train"]["loss"].over_max, found.means["train"]["loss"]
    np.testing.assert_allclose(height, values.max() - values[[0, -1]].max())
    assert means.over_length != pytest.approx(means.over_t, rel=1e-3)


def test_a_profile_measures_a_known_segment_only_once(evaluator):
    told = []
    options = {"progress": lambda path, done: told.append((path, done)), "slopes": True}
    control, state = (START, BEND, END), {}
    one = profiles.profile(evaluator, curves.polygonal_chain(1), control, T[::3], state, **options)
    assert list(one.paths) == ["curve", "segment"]
    assert told == [("segment", 1), ("segment", 2), ("curve", 1), ("curve", 2)]
    assert (list(one.curve.slopes), dict(one.segment.slopes)) == (["train", "validation"], {})
    told.clear()
    again = profiles.profile(
        evaluator, curves.polygonal_chain(1), control, T[::3], state, segment=one.segment, **options
    )
    assert told == [("curve", 1), ("curve", 2)]
    assert again.segment is one.segment
    assert list(again.paths) == ["curve", "segment"]


def test_slopes_point_into_the_curve_at_both_ends(evaluator):
    found = profiles.end_slopes(evaluator, curves.polygonal_chain(1), (START, BEND, END), {})
    for end, here in (("start", START), ("end", END)):
        inwards = (BEND - here) / np.linalg.norm(BEND - here)
        slope = float(2 * (here - X.mean(0)) @ inwards)
        measured = found["train"]["loss"]
        error = getattr(measured, f"{end}_error")
        assert abs(getattr(measured, end) - slope) <= error
        assert error < 0.05 * abs(slope)

import numpy as np
import pytest

from mcjax.analysis import refinement
from mcjax.results import Values, named, ranges

SHAPE = (33, 25)  # along x, along y
OWN = {"train": {"loss": np.array([0.05])}}


def valley(at, depth=0.05):
    """A curved valley: a loss over two decades, an accuracy and squared norms."""
    row, column = at.T / 8.0
    loss = depth + (row - 2 - 0.3 * (column - 3) ** 2) ** 2
    return Values(
        {"train": {"loss": loss, "accuracy": 1 / (1 + loss)}},
        7 + row**2 - row * column + 3 * column,
    )


def grid_of(values, shape=SHAPE):
    at = np.argwhere(np.ones(shape[::-1], bool))
    flat = values(at)
    metrics = {
        s: {n: x.reshape(shape[::-1]) for n, x in m.items()} for s, m in flat.metrics.items()
    }
    return Values(metrics, flat.l2.reshape(shape[::-1]))


def refine(values=valley, tolerance=0.03, shape=SHAPE, own=OWN):
    """The result, and the points of each call."""
    calls = []

    def evaluate(at):
        calls.append(at)
        return values(at)

    return *refinement.refine(evaluate, shape, tolerance, own), calls


def test_part_is_evaluated_and_the_rest_interpolated_within_the_tolerance():
    values, found, calls = refine()
    whole, name = grid_of(valley), "train_loss"
    assert found.evaluated.mean() < 0.3
    evaluated = np.concatenate(calls)
    assert len(np.unique(evaluated, axis=0)) == len(evaluated) == found.evaluated.sum()
    for key, exact in named(whole.metrics).items():
        got = named(values.metrics)[key]
        np.testing.assert_array_equal(got[found.evaluated], exact[found.evaluated])
        assert (got[~found.evaluated] != exact[~found.evaluated]).any()
    scale = ranges.drawn(name, whole.metrics["train"]["loss"], OWN["train"]["loss"])
    apart = np.abs(
        scale.share(values.metrics["train"]["loss"]) - scale.share(whole.metrics["train"]["loss"])
    )
    shown = scale.share(whole.metrics["train"]["loss"]) < 1
    assert np.quantile(apart[shown], 0.99) < 0.03
    np.testing.assert_allclose(values.l2, whole.l2, rtol=1e-12)


def test_the_misses_are_those_of_the_last_call():
    _, found, calls = refine()
    assert found.tolerance == 0.03
    assert found.misses["train"].keys() == {"loss", "accuracy"}
    assert found.misses["train"]["loss"].shape == (len(calls[-1]),) == (24,)
    assert 0 < found.misses["train"]["loss"].max() <= 0.03


def test_calls_are_the_same_again_and_tolerance_costs_points():
    _, found, calls = refine()
    _, _, again = refine()
    assert all(map(np.array_equal, calls, again))
    assert refine(tolerance=0.3)[1].evaluated.sum() < found.evaluated.sum()
    assert refine(tolerance=0.005)[1].evaluated.sum() > found.evaluated.sum()


def test_a_random_point_that_misses_starts_more_rounds():
    """An island that no coarse point meets, in a flat sea, is found by the random points alone."""
    rows, columns = slice(7, 12), slice(17, 24)

    def island(at):
        row, column = at.T
        inside = (row >= 7) & (row < 12) & (column >= 17) & (column < 24)
        return Values({"train": {"loss": np.where(inside, 30.0, 1.0)}}, np.ones(len(at)))

    values, found, _ = refine(island, 0.05, own={"train": {"loss": np.ones(1)}})
    loss = values.metrics["train"]["loss"]
    assert (loss[rows, columns] > 20).mean() > 0.9
    loss[rows, columns] = 1
    assert (loss < 2).mean() > 0.95
    assert found.evaluated.mean() < 0.6


def test_losses_alone_decide():
    def jumpy(at):
        found = valley(at)
        noise = np.random.default_rng(5).random(SHAPE[::-1])[tuple(at.T)]
        return Values({"train": found.metrics["train"] | {"accuracy": noise}}, found.l2)

    _, found, calls = refine(jumpy)
    assert [len(call) for call in calls] == [len(call) for call in refine()[2]]
    assert found.misses["train"]["accuracy"].max() > 0.3


def test_points_that_are_not_finite_are_beyond_the_range():
    def broken(at):
        found = valley(at)
        loss = np.where(at[:, 1] > 28, np.nan, found.metrics["train"]["loss"])
        return Values({"train": {"loss": loss}}, found.l2)

    values, found, _ = refine(broken)
    loss = values.metrics["train"]["loss"]
    assert np.isnan(loss[:, 29:][found.evaluated[:, 29:]]).all()
    high = ranges.drawn("train_loss", loss, OWN["train"]["loss"]).high
    assert np.isfinite(loss[~found.evaluated]).all()
    assert np.nanmedian(loss[:, 31:]) > high


@pytest.mark.parametrize("shape", [(2, 2), (4, 5), (2, 9)])
def test_small_grids_are_evaluated_whole(shape):
    values, found, _ = refine(shape=shape)
    assert found.evaluated.all()
    np.testing.assert_array_equal(values.l2, grid_of(valley, shape).l2)


@pytest.mark.parametrize("tolerance", [0.0, 1.0, -0.1, np.nan])
def test_wrong_tolerances(tolerance):
    with pytest.raises(ValueError, match=f"refine={tolerance}: use a share"):
        refine(tolerance=tolerance)

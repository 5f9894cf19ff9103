import numpy as np
import pytest

from experiments.papers.gotmare2018 import claims
from experiments.papers.gotmare2018.scales import CURVES, pair_names
from experiments.papers.judging import NOT_REPRODUCED, NOT_RUN, NOT_TESTABLE, REPRODUCED, Results
from mcjax.analysis import profiles
from mcjax.results import PathMetrics, Profile, Slopes, Surface

T = np.linspace(0, 1, 5)
SGDR, STEP = pair_names("sgdr"), pair_names("step")


def pair(segment_train, curve_train=(0.2, 0.1, 0.05, 0.05, 0.1), **more):
    """A profile, as fit_curve writes it."""
    shape = {
        "segment_validation": (0.4, 0.39, 0.37, 0.38, 0.42),
        "curve_validation": (0.4, 0.5, 0.6, 0.5, 0.42),
        "accuracy": (0.9, 0.89, 0.885, 0.89, 0.9),
    } | more
    paths = {}
    for path, train in (("segment", segment_train), ("curve", curve_train)):
        metrics = {
            "train": {"loss": np.array(train)},
            "validation": {"loss": np.array(shape[f"{path}_validation"]),
                           "accuracy": np.array(shape["accuracy"])},
        }  # fmt: skip
        paths[path] = profiles.summarize(PathMetrics(metrics, arc_length=3 * T), T)
    return with_slopes(Profile(T, paths))


def with_slopes(found, start=-0.02, end=-0.01, end_error=0.001):
    slopes = {"train": {"loss": Slopes(start, 0.001, end, end_error)}}
    return found._replace(paths=found.paths | {"curve": found.curve._replace(slopes=slopes)})


BARRIER = (0.2, 0.25, 0.3, 0.21, 0.1)
DESCENT = (0.4, 0.31, 0.22, 0.13, 0.05)


def surfaces(arrays):
    return {"surface_70_150": Surface.from_arrays(arrays)}


def results(**changes):
    curves = {f"{curve}{e}": pair(DESCENT) for curve in CURVES for e in ("", "@20", "@steps")}
    curves |= {name: pair(BARRIER) for name in SGDR} | {name: pair(DESCENT) for name in STEP}
    surface = {
        "x": np.arange(5.0),
        "y": np.arange(2.0),
        "point_name": np.array(["w70", "w150", "bend"]),
        "point_xy": np.array([[0, 0], [4, 0], [1, 1]]),
        "point_train_loss": np.array([0.2, 0.1, 0.05]),
        "train_loss": np.array([[0.2, 0.5, 0.5, 0.5, 0.1], [0.15, 0.1, 0.1, 0.1, 0.12]]),
    }
    norms = {"w70": 0.3, "w150": 0.1}
    found = Results(curves, surfaces(surface), {}, norms, "after 10,000 steps")
    curves |= changes.pop("curves", {})
    return found._replace(**changes)


def verdicts(found):
    return {c.number: c.readings[0].verdict for c in claims.judge(found)}


def judge(found, number):
    return claims.CLAIMS[number - 1](found)


def reading(found, number, index=0):
    return judge(found, number).readings[index]


def values(claim_reading):
    return {(m.quantity.words.split(",")[0], m.pair): m.value for m in claim_reading.measurements}


def test_all_hold_where_they_should():
    assert set(verdicts(results()).values()) == {REPRODUCED}
    assert sorted(verdicts(results())) == list(range(1, 10))


DIP = {"accuracy": (0.9, 0.89, 0.87, 0.89, 0.9)}


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({"GC": pair(DESCENT, **DIP)}, {1, 9}),
        ({"GD@20": pair(DESCENT, **DIP)}, {2}),
        ({"sgdr_70_150": pair((0.2, 0.21, 0.212, 0.211, 0.209))}, {3}),  # 1 % of the higher end
        ({"sgdr_30_150": pair((0.2, 0.2, 0.2, 0.205, 0.1))}, {3}),  # 2.5 % of the higher end
        ({"sgdr_30_70": pair(DESCENT)}, set()),  # the paper does not claim it
        ({"step_55_65": pair(BARRIER)}, {4}),
        ({"step_145_165": pair((0.4, 0.39, 0.38, 0.3, 0.05))}, {4}),  # bulges over the chord
        ({"sgdr_70_150": pair(BARRIER, (0.2, 0.05, 0.11, 0.05, 0.1))}, {5}),
        ({"sgdr_70_150": pair(BARRIER, (0.2, 0.1, 0.09, 0.15, 0.1))}, {6}),
        ({"sgdr_70_150": pair(BARRIER, curve_validation=(0.4, 0.4, 0.41, 0.4, 0.42))}, {6}),
        ({"sgdr_70_150": pair(BARRIER, segment_validation=(0.4, 0.5, 0.5, 0.5, 0.42))}, {7}),
        # Below the mean of the ends, not below the lower one; high outside the inner half.
        ({"sgdr_70_150": pair(BARRIER, segment_validation=(0.4, 0.41, 0.4, 0.4, 0.5))}, {7}),
        ({"sgdr_70_150": pair((0.2, 0.19, 0.22, 0.18, 0.1))}, {7}),
        ({"sgdr_70_150": with_slopes(pair(BARRIER), end=5e-4)}, {8}),
        ({"sgdr_70_150": with_slopes(pair(BARRIER), start=-5e-4)}, {8}),
    ],
)
def test_each_fails_alone(changed, wrong):
    found = verdicts(results(curves=changed))
    assert {n for n, v in found.items() if v == NOT_REPRODUCED} == wrong
    assert NOT_TESTABLE not in found.values()


def test_basins_by_the_lowest_pass():
    found = results()
    surface = found.surfaces["surface_70_150"].to_arrays()
    surface["train_loss"] = np.array([[0.2, 0.5, 0.5, 0.5, 0.1], [0.15, 0.1, 0.22, 0.1, 0.12]])
    claim = judge(found._replace(surfaces=surfaces(surface)), 8)
    # Corner steps are allowed: 0.15 to 0.12 must still pass the middle column, 0.22 at best.
    assert claim.numbers["lowest pass between them"] == 0.22
    assert claim.readings[0].verdict == NOT_REPRODUCED
    assert "lowest pass" in claim.readings[0].why


def test_a_coarse_grid_shows_no_basin():
    found = results()
    surface = found.surfaces["surface_70_150"].to_arrays() | {"x": 4 / 3 * np.arange(4)}
    surface["train_loss"] = surface["train_loss"][:, [0, 1, 3, 4]]
    judged = reading(found._replace(surfaces=surfaces(surface)), 8)
    assert judged.verdict == NOT_TESTABLE
    assert "3 steps" in judged.why
    # A slope that refutes the claim does so on any grid.
    arrays = dict(found.curves) | {"sgdr_70_150": with_slopes(pair(BARRIER), end=5e-4)}
    judged = reading(found._replace(curves=arrays, surfaces=surfaces(surface)), 8)
    assert judged.verdict == NOT_REPRODUCED


@pytest.mark.parametrize("number", [3, 5, 6, 7, 8])
def test_losses_below_the_resolution_of_float32_are_not_testable(number):
    """Claims 3 and 5 to 8, of SGDR's pairs: the shapes that hold, and their opposites."""
    found = results()
    surface = found.surfaces["surface_70_150"].to_arrays()
    for name in ("train_loss", "point_train_loss"):
        surface[name] = surface[name] * 1e-3
    found = found._replace(surfaces=surfaces(surface))
    for shape in (BARRIER, (0.2, 0.15, 0.1, 0.1, 0.1)):
        low = pair(np.array(shape) * 1e-3, np.array((0.2, 0.1, 0.3, 0.05, 0.1)) * 1e-3)
        judged = reading(
            found._replace(curves={**found.curves, **dict.fromkeys(SGDR, low)}), number
        )
        assert judged.verdict == NOT_TESTABLE
        assert "below what float32 cross-entropy resolves (0.001)" in judged.why


def test_what_exceeds_the_resolution_is_judged_between_tiny_ends():
    high = pair((2e-4, 0.3, 0.4, 0.3, 1e-4), (2e-4, 0.3, 0.4, 0.3, 1e-4))
    found = verdicts(results(curves=dict.fromkeys(SGDR, high)))
    assert found[3] == REPRODUCED
    assert found[5] == found[6] == NOT_REPRODUCED
    # One end above it: relative thresholds mean something.
    mixed = pair((2e-2, 2.05e-2, 2.05e-2, 1e-2, 1e-4))
    assert verdicts(results(curves=dict.fromkeys(SGDR, mixed)))[3] == NOT_REPRODUCED


def test_claim_4_refutes_by_what_can_be_told():
    bulge = np.array((2.0e-3, 2.0e-3, 1.9e-3, 1.8e-3, 1.5e-3))
    assert verdicts(results(curves={"step_55_65": pair(bulge)}))[4] == NOT_REPRODUCED
    assert verdicts(results(curves={"step_55_65": pair(bulge / 10)}))[4] == NOT_TESTABLE
    broken = pair((np.nan, 0.3, 0.2, 0.1, 0.05))
    judged = reading(results(curves={"step_55_65": broken}), 4)
    assert judged.verdict == NOT_TESTABLE
    assert "w55, w65: rise in training loss on the segment" in judged.why
    assert "not a number" in judged.why
    both = {"step_55_65": pair(bulge / 10), "step_55_165": pair(BARRIER)}
    assert verdicts(results(curves=both))[4] == NOT_REPRODUCED


def test_accuracies_that_are_not_a_number_are_not_testable():
    broken = pair(DESCENT, accuracy=(0.9, np.nan, 0.87, 0.89, 0.9))
    judged = reading(results(curves={"GC": broken}), 1)
    assert (judged.verdict, "GC: largest drop in validation accuracy" in judged.why) == (
        NOT_TESTABLE,
        True,
    )


def test_a_reference_of_exactly_zero_is_compared_directly():
    theta = pair(BARRIER, (0.02, 0.01, 0.0, 0.005, 0.01))
    assert verdicts(results(curves={"sgdr_70_150": theta}))[5] == REPRODUCED
    zero_end = pair(BARRIER, (0.2, 0.1, 0.05, 0.05, 0.0))
    assert verdicts(results(curves={"sgdr_70_150": zero_end}))[6] == NOT_REPRODUCED
    exact = with_slopes(pair(BARRIER), end_error=0.0)
    assert verdicts(results(curves={"sgdr_70_150": exact}))[8] == REPRODUCED


def test_claim_7_is_judged_on_the_inner_half_against_the_nearer_end():
    """t in [0.25, 0.75]; the comparison with the ends' mean stands beside it."""
    arrays = pair((0.2, 0.19, 0.19, 0.17, 0.05), segment_validation=(0.4, 0.41, 0.4, 0.4, 0.5))
    judged = judge(results(curves={"sgdr_70_150": arrays}), 7)
    strict, weaker = judged.readings
    assert (strict.verdict, weaker.verdict) == (NOT_REPRODUCED, REPRODUCED)
    assert (strict.decides, weaker.decides) == (True, False)
    training, validation = 100 * 0.55 / 3 / 0.2, 100 * 1.21 / 3 / 0.4
    np.testing.assert_allclose(sorted(values(strict).values()), [training, validation])
    means = 100 * 0.55 / 3 / 0.125, 100 * 1.21 / 3 / 0.45
    np.testing.assert_allclose(sorted(values(weaker).values()), sorted(means))


def test_claim_5_takes_theta_at_one_half_for_any_number_of_points():
    """With four points none is at the bend: the surface's anchor is, or nothing can be told."""
    curve = PathMetrics({"train": {"loss": np.array((0.2, 0.5, 0.6, 0.1))}})
    even = Profile(np.linspace(0, 1, 4), {"curve": curve})
    found = results(curves={"sgdr_70_150": even})
    claim = judge(found, 5)
    assert claim.numbers["L(θ)"] == 0.05
    assert claim.readings[0].verdict == REPRODUCED
    alone = judge(found._replace(surfaces={}), 5).readings[0]
    assert alone.verdict == NOT_TESTABLE
    assert "the 4 points" in alone.why
    odd = pair(BARRIER, (0.2, 0.5, 0.06, 0.5, 0.1))
    assert judge(results(curves={"sgdr_70_150": odd}), 5).numbers["L(θ)"] == 0.06


def test_claim_2_is_judged_at_epoch_20_and_at_the_papers_steps():
    low = {"accuracy": (0.9, 0.5, 0.5, 0.5, 0.9)}
    found = results(curves={"GB@20": pair(DESCENT, **low)})
    early, late = judge(found, 2).readings
    assert (early.verdict, late.verdict) == (NOT_REPRODUCED, REPRODUCED)
    assert (early.label, late.label) == ("at epoch 20", "after 10,000 steps")
    assert early.decides
    assert late.decides
    assert len(judge(found._replace(same_steps=""), 2).readings) == 1


def test_two_points_exactly_are_at_most_two_points():
    exact = pair(DESCENT, accuracy=(0.9, 0.89, 0.88, 0.89, 0.9))  # 0.9 - 0.88 > 0.02 in floats
    assert verdicts(results(curves={"GA": exact}))[1] == REPRODUCED
    below = pair(DESCENT, accuracy=(0.9, 0.89, 0.8799, 0.89, 0.9))
    assert verdicts(results(curves={"GA": below}))[1] == NOT_REPRODUCED


def test_each_pair_is_reported():
    judged = claims.judge(results())
    pairs = {c.number: {m.pair for m in c.readings[0].measurements} for c in judged}
    assert pairs[1] == {"GA", "GB", "GC", "GD", "GE", "GF"}
    assert pairs[3] == {"w30, w150", "w70, w150"}
    assert pairs[4] == {"w55, w65", "w145, w165", "w55, w165"}
    assert len(pairs[9]) == 21


def test_missing_runs_are_no_failures_and_say_why():
    curves = {k: v for k, v in results().curves.items() if not k.startswith("GE")}
    failed = results()._replace(curves=curves, missing={"GE": "mode E diverged"})
    for number in (1, 2, 9):
        judged = reading(failed, number)
        assert judged.verdict == NOT_TESTABLE
        assert "mode E diverged" in judged.why
        assert reading(failed._replace(missing={}), number).verdict == NOT_RUN
    assert "GF" in {m.pair for m in reading(failed, 1).measurements}
    low = {"accuracy": (0.9, 0.5, 0.5, 0.5, 0.9)}
    refuted = failed._replace(curves=curves | {"GA": pair(DESCENT, **low)})
    assert verdicts(refuted)[1] == verdicts(refuted)[9] == NOT_REPRODUCED
    assert verdicts(failed)[3] == REPRODUCED
    assert set(verdicts(Results({}, {}, {}, {})).values()) == {NOT_RUN}


def test_joined_chains_are_the_points_of_their_curves():
    """Claim 9 needs the lower end of the pair, not that of G."""
    low = {"accuracy": (0.9, 0.89, 0.88, 0.87, 0.86)}
    judged = reading(results(curves={"GA": pair(DESCENT, **low)}), 9)
    drops = {m.pair: m.value for m in judged.measurements}
    assert drops["GA"] == drops["AB"] == 0
    np.testing.assert_allclose(drops["BC"], 1.5)

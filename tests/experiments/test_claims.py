import numpy as np
import pytest

from experiments import claims, report
from experiments.claims import MODES, NOT_REPRODUCED, NOT_TESTABLE, REPRODUCED, SGDR, STEP
from mcjax import paths

T = np.linspace(0, 1, 5)


def pair(segment_train, curve_train=(0.2, 0.1, 0.05, 0.05, 0.1), **more):
    """Arrays of a curve, as fit_curve writes them."""
    shape = {
        "segment_validation": (0.4, 0.38, 0.37, 0.38, 0.42),
        "curve_validation": (0.4, 0.5, 0.6, 0.5, 0.42),
        "accuracy": (0.9, 0.89, 0.885, 0.89, 0.9),
    } | more
    arrays = {"t": T}
    for path, train in (("segment", segment_train), ("curve", curve_train)):
        found = {
            "train_loss": np.array(train),
            "validation_loss": np.array(shape[f"{path}_validation"]),
            "validation_accuracy": np.array(shape["accuracy"]),
            "arc_length": 3 * T,
        }
        found |= paths.summarize(found, T)
        arrays |= {f"{path}_{name}": x for name, x in found.items()}
    for end, slope in (("start", -0.02), ("end", -0.01)):
        arrays[f"curve_train_loss_{end}_slope"] = np.asarray(slope)
        arrays[f"curve_train_loss_{end}_slope_error"] = np.asarray(0.001)
    return arrays


BARRIER = (0.2, 0.25, 0.3, 0.2, 0.1)
DESCENT = (0.4, 0.31, 0.22, 0.13, 0.05)


def results(**changes):
    curves = {f"G{m}{e}": pair(DESCENT) for m in MODES for e in ("", "@20")}
    curves |= {name: pair(BARRIER) for name in SGDR} | {name: pair(DESCENT) for name in STEP}
    surface = {
        "x": np.arange(5.0),
        "y": np.arange(2.0),
        "point_xy": np.array([[0, 0], [4, 0], [1, 1]]),
        "point_train_loss": np.array([0.2, 0.1, 0.05]),
        "train_loss": np.array([[0.2, 0.5, 0.5, 0.5, 0.1], [0.15, 0.1, 0.1, 0.1, 0.12]]),
    }
    found = claims.Results(curves, {"surface_70_150": surface}, {}, {"w70": 0.3, "w150": 0.1})
    curves |= changes.pop("curves", {})
    return found._replace(**changes)


def verdicts(found):
    return {c.number: c.verdict for c in claims.judge(found)}


def test_all_hold_where_they_should():
    assert set(verdicts(results()).values()) == {REPRODUCED}
    assert sorted(verdicts(results())) == list(range(1, 10))


DIP = {"accuracy": (0.9, 0.89, 0.87, 0.89, 0.9)}


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({"GC": pair(DESCENT, **DIP)}, {1, 9}),
        ({"GD@20": pair(DESCENT, **DIP)}, {2}),
        ({"sgdr_70_150": pair((0.2, 0.208, 0.208, 0.207, 0.209))}, {3}),  # a height of zero
        ({"sgdr_30_150": pair((0.2, 0.2, 0.2, 0.205, 0.1))}, {3}),  # 2.5 % of the higher end
        ({"sgdr_30_70": pair(DESCENT)}, set()),  # the paper does not claim it
        ({"step_55_65": pair(BARRIER)}, {4}),
        ({"step_145_165": pair((0.4, 0.39, 0.38, 0.3, 0.05))}, {4}),  # bulges over the chord
        ({"sgdr_70_150": pair(BARRIER, (0.2, 0.1, 0.15, 0.05, 0.1))}, {5}),
        ({"sgdr_70_150": pair(BARRIER, (0.2, 0.1, 0.09, 0.15, 0.1))}, {6}),
        ({"sgdr_70_150": pair(BARRIER, curve_validation=(0.4, 0.4, 0.41, 0.4, 0.42))}, {6}),
        ({"sgdr_70_150": pair(BARRIER, segment_validation=(0.4, 0.5, 0.5, 0.5, 0.42))}, {7}),
        ({"sgdr_70_150": pair(BARRIER) | {"curve_train_loss_end_slope": 5e-4}}, {8}),
        ({"sgdr_70_150": pair(BARRIER) | {"curve_train_loss_start_slope": -5e-4}}, {8}),
    ],
)
def test_each_fails_alone(changed, wrong):
    found = verdicts(results(curves=changed))
    assert {n for n, v in found.items() if v == NOT_REPRODUCED} == wrong
    assert NOT_TESTABLE not in found.values()


def test_basins_by_the_lowest_pass():
    found = results()
    surface = dict(found.surfaces["surface_70_150"])
    surface["train_loss"] = np.array([[0.2, 0.5, 0.5, 0.5, 0.1], [0.15, 0.1, 0.22, 0.1, 0.12]])
    claim = claims.claim_8(found._replace(surfaces={"surface_70_150": surface}))
    # Corner steps are allowed: 0.15 to 0.12 must still pass the middle column, 0.22 at best.
    assert claim.numbers["lowest pass between them"] == 0.22
    assert claim.verdict == NOT_REPRODUCED
    assert "barrier" in claim.why


def test_a_coarse_grid_shows_no_basin():
    found = results()
    surface = dict(found.surfaces["surface_70_150"]) | {"x": 4 / 3 * np.arange(4)}
    surface["train_loss"] = surface["train_loss"][:, [0, 1, 3, 4]]
    claim = claims.claim_8(found._replace(surfaces={"surface_70_150": surface}))
    assert claim.verdict == NOT_TESTABLE
    assert "3 steps" in claim.why
    # A slope that refutes the claim does so on any grid.
    arrays = dict(found.curves) | {
        "sgdr_70_150": pair(BARRIER) | {"curve_train_loss_end_slope": 5e-4}
    }
    claim = claims.claim_8(found._replace(curves=arrays, surfaces={"surface_70_150": surface}))
    assert claim.verdict == NOT_REPRODUCED


def test_a_tiny_loss_needs_an_absolute_height():
    low = np.array(BARRIER) * 1e-3
    found = results(curves={name: pair(low) for name in SGDR})
    assert verdicts(found)[3] == NOT_REPRODUCED


def test_the_floor_of_claim_4_is_for_tiny_losses_only():
    bulge = np.array((2.0e-3, 2.0e-3, 1.9e-3, 1.8e-3, 1.5e-3))
    assert verdicts(results(curves={"step_55_65": pair(bulge)}))[4] == NOT_REPRODUCED
    assert verdicts(results(curves={"step_55_65": pair(bulge / 10)}))[4] == REPRODUCED
    broken = pair((np.nan, 0.3, 0.2, 0.1, 0.05))
    assert verdicts(results(curves={"step_55_65": broken}))[4] == NOT_REPRODUCED


def test_missing_runs_are_not_testable_and_say_why():
    curves = {k: v for k, v in results().curves.items() if not k.startswith("GE")}
    found = results()._replace(curves=curves, missing={"GE": "mode E diverged"})
    judged = {c.number: c for c in claims.judge(found)}
    for number in (1, 2, 9):
        assert judged[number].verdict == NOT_TESTABLE
    assert "mode E diverged" in judged[1].why
    assert "accuracy below the lower end, GF" in judged[1].numbers
    low = {"accuracy": (0.9, 0.5, 0.5, 0.5, 0.9)}
    refuted = found._replace(curves=curves | {"GA": pair(DESCENT, **low)})
    assert verdicts(refuted)[1] == verdicts(refuted)[9] == NOT_REPRODUCED
    assert judged[3].verdict == REPRODUCED


def test_joined_chains_are_the_points_of_their_curves():
    """Claim 9 needs the lower end of the pair, not that of G."""
    low = {"accuracy": (0.9, 0.89, 0.88, 0.87, 0.86)}
    claim = claims.claim_9(results(curves={"GA": pair(DESCENT, **low)}))
    assert claim.numbers["accuracy below the lower end, GA"] == 0
    assert claim.numbers["accuracy below the lower end, AB"] == 0
    np.testing.assert_allclose(claim.numbers["accuracy below the lower end, BC"], 0.015)


def test_several_seeds_give_intervals_and_one_verdict():
    good, bad = (
        claims.judge(r) for r in (results(), results(curves={"sgdr_70_150": pair(DESCENT)}))
    )
    third = next(c for c in zip(good, bad, strict=True) if c[0].number == 3)
    assert report.verdict(third) == "not reproduced (held in 1 of 2 seeds)"
    assert report.verdict(third[:1]) == REPRODUCED
    text = report.numbers(third)
    assert text["height, sgdr_70_150"] == "0.05 [0, 0.1]"
    assert text["height above zero, sgdr_70_150"] == "yes, no"

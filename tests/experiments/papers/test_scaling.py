import pytest

from experiments.cli.configs import CurveConfig, ModeConfig
from experiments.papers.scaling import scale_epochs

SGDR = ModeConfig(schedule="sgdr", epochs=150, keep=(10, 30, 50, 70, 150))
STEP = ModeConfig(schedule="step", epochs=165, milestones=(60, 150), keep=(55, 65, 145, 165))


def restarts(config):
    ends, period = [], config.sgdr_t0
    while not ends or ends[-1] < config.epochs:
        ends.append((ends[-1] if ends else 0) + period)
        period *= config.sgdr_mult
    return ends


def test_factor_one_changes_nothing():
    for config in (SGDR, STEP, CurveConfig(eval_epochs=(20, 80))):
        same, epochs = scale_epochs(config, 1.0)
        assert same == config
        assert all(there == here for there, here in epochs.items())


@pytest.mark.parametrize("factor", [2.0, 0.5, 0.27, 0.1, 0.01])
def test_kept_epochs_of_sgdr_stay_the_ones_before_restarts(factor):
    scaled, epochs = scale_epochs(SGDR, factor)
    assert [epochs[e] for e in (10, 30, 70, 150)] == restarts(scaled)
    assert scaled.epochs == epochs[150]
    assert epochs[30] < epochs[50] <= epochs[70]
    assert set(epochs.values()) == set(scaled.keep)


@pytest.mark.parametrize("factor", [0.5, 0.25, 0.1, 0.05])
def test_kept_epochs_of_step_decay_stay_on_their_side_of_a_milestone(factor):
    scaled, epochs = scale_epochs(STEP, factor)
    first, second = scaled.milestones
    assert 1 <= epochs[55] < first < epochs[65] < epochs[145] < second < epochs[165]
    assert scaled.epochs == epochs[165]


def test_a_curves_evaluated_epochs():
    scaled, epochs = scale_epochs(CurveConfig(epochs=200, eval_epochs=(20, 40, 60, 80)), 0.25)
    assert scaled.eval_epochs == (5, 10, 15, 20)
    assert epochs == {20: 5, 40: 10, 60: 15, 80: 20, 200: 50}
    tiny, epochs = scale_epochs(CurveConfig(epochs=200, eval_epochs=(20, 40, 60, 80)), 0.005)
    assert tiny.eval_epochs == (1,)
    assert epochs[60] == 1

import math

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mcjax.engine import schedules

S = 7  # steps per epoch


@pytest.mark.parametrize("step", [0, 3, 69, 70, 71, 209, 210, 400, 489, 490, 1049])
def test_sgdr_is_equation_1(step):
    start, period = 0, 10
    while step / S >= start + period:
        start, period = start + period, 2 * period
    t_cur = step / S - start
    expected = 1e-6 + 0.5 * (0.05 - 1e-6) * (1 + math.cos(math.pi * t_cur / period))
    found = schedules.sgdr(0.05, 150, S)(jnp.int32(step))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-8)


def test_sgdr_restarts_after_30_70_150():
    schedule = schedules.sgdr(0.05, 310, S)
    for epoch in (10, 30, 70, 150):
        assert schedule(epoch * S - 1) < 1e-3 * 0.05 * 10
        np.testing.assert_allclose(schedule(epoch * S), 0.05, rtol=1e-6)


def test_step_decay_and_linear():
    step = schedules.step_decay(0.05, (60, 150), S)
    np.testing.assert_allclose(
        [step(x * S + d) for x, d in ((60, -1), (60, 0), (150, -1), (150, 0), (164, 0))],
        [0.05, 0.01, 0.01, 0.002, 0.002],
        rtol=1e-5,
    )
    linear = schedules.linear_decay(0.05, 200, S)
    np.testing.assert_allclose([linear(0), linear(50 * S), linear(200 * S)], [0.05, 0.0375, 0])


def garipov(epoch, total, base):
    alpha = epoch / total
    factor = 1.0 if alpha <= 0.5 else (1.0 - (alpha - 0.5) / 0.4 * 0.99 if alpha <= 0.9 else 0.01)
    return base * factor


def test_curve_schedule_is_garipovs():
    schedule = schedules.curve_schedule(0.015, 200, S)
    for done in (0, 80, 99, 120, 160, 179, 185, 199):  # epochs
        np.testing.assert_allclose(schedule(done * S), garipov(done, 200, 0.015), rtol=1e-4)


@pytest.mark.parametrize("total", [10, 25, 200])
def test_curve_schedule_per_epoch_counts_from_one_as_garipovs(total):
    schedule = schedules.per_epoch(schedules.curve_schedule(0.015, total, S), S, first_epoch=1)
    found = schedule(np.arange(total * S))
    expected = [garipov(epoch, total, 0.015) for epoch in range(1, total + 1) for _ in range(S)]
    np.testing.assert_allclose(found, expected, rtol=5e-5)


def test_per_epoch_holds():
    schedule = schedules.per_epoch(schedules.linear_decay(1.0, 10, S), S)
    np.testing.assert_allclose([schedule(s) for s in (S, S + 3, 2 * S - 1)], [0.9] * 3, rtol=1e-6)


def test_optimizers_by_hand():
    params, gradient = jnp.float32(2.0), jnp.float32(0.5)
    lr = optax.constant_schedule(0.1)
    sgd = schedules.optimizer("sgd", lr, momentum=0.9)
    state, x = sgd.init(params), params
    for _ in range(2):
        updates, state = sgd.update(gradient, state, x)
        x = x + updates
    np.testing.assert_allclose(x, 2.0 - 0.1 * 0.5 - 0.1 * (0.5 + 0.9 * 0.5), rtol=1e-6)
    for name, decay in (("adam", 0.0), ("adamw", 0.1 * 0.3 * 2.0)):
        chain = schedules.optimizer(name, lr, weight_decay=0.3)
        updates, _ = chain.update(gradient, chain.init(params), params)
        np.testing.assert_allclose(updates, -0.1 - decay, rtol=1e-4)
    with pytest.raises(ValueError, match="optimizer='lion'"):
        schedules.optimizer("lion", lr)


def test_milestones_that_fall_together_both_count():
    schedule = schedules.step_decay(0.5, (3, 3, 7), steps_per_epoch=10)
    np.testing.assert_allclose([schedule(29), schedule(30), schedule(70)], [0.5, 0.02, 0.004], 1e-6)

"""What a step hands to the training function, passes on and counts as bad."""

import jax
import jax.numpy as jnp
import numpy as np

from mcjax.engine import training
from tests.mcjax import small
from tests.mcjax.engine.test_training import SGD, quadratic, rows_of_x


def test_steps_and_strata_have_their_own_keys_and_pass_the_state_on():
    """Recorded in the sums; what a stratum leaves in the state is there in the next."""

    def train(params, fixed, state, batch, key, stratum):
        seen = {"key": jax.random.uniform(key), "fetch": jnp.mean(batch["noise"])}
        parts = {f"{n}{i}": jnp.where(stratum == i, x, 0) for n, x in seen.items() for i in (0, 1)}
        loss = params * jnp.sum(batch["weight"])
        sums = {"loss": loss, "count": jnp.sum(batch["weight"]), **parts}
        sums["examples"] = jnp.sum(batch["examples"].astype(jnp.float32) * batch["weight"])
        return loss, (sums, 0.5 * state + jnp.asarray(stratum, jnp.float32) + 1)

    def fetch(data, rows, examples, weight, key):
        noise = jnp.full(rows.shape, jax.random.uniform(key))
        return {"weight": weight, "noise": noise, "examples": examples}

    trainer = training.make_trainer(
        train, fetch, SGD, size=8, batch_size=2, mesh=small.mesh(1), strata=2
    )
    data = {"x": np.zeros(8, np.float32)}
    state = trainer.init(jnp.float32(1), (), jnp.float32(4), data)
    chunks = training.chunks(trainer, state, (), data, 1, jax.random.key(7), seconds=1e-9)
    seen = [(jax.tree.map(float, chunk.sums), float(chunk.state.model_state)) for chunk in chunks]
    sums = {name: np.diff([0, *(each[name] for each, _ in seen)]) for name in seen[0][0]}
    keys = np.concatenate([sums["key0"], sums["key1"], sums["fetch0"]])
    assert len(np.unique(keys.round(4))) == 12
    np.testing.assert_allclose(sums["fetch1"], sums["fetch0"], atol=1e-6)  # one draw a step
    assert sums["examples"].sum() == sum(range(8))
    states = [4.0]
    for _ in range(4):
        states.append(0.5 * (0.5 * states[-1] + 1) + 2)
    np.testing.assert_allclose([state for _, state in seen], states[1:], rtol=1e-6)


def test_a_gradient_that_is_not_finite_is_bad_from_its_first_step_on():
    """The root of zero: the loss is finite, its slope is not."""

    def root(params, fixed, state, batch, key, stratum):
        loss, count = jnp.sqrt(params), jnp.sum(batch["weight"])
        return loss, ({"loss": loss * count, "count": count}, state)

    data = {"x": np.zeros(6, np.float32)}
    trainer = training.make_trainer(root, rows_of_x, SGD, size=6, batch_size=2, mesh=small.mesh(1))
    state = trainer.init(jnp.float32(0), (), {}, data)
    assert int(small.train(trainer, state, data, epochs=1).bad_step) == 0


def test_a_batch_may_be_the_whole_data_set():
    trainer = training.make_trainer(
        quadratic, rows_of_x, SGD, size=24, batch_size=24, mesh=small.mesh(1)
    )
    assert trainer.steps_per_epoch == 1


def test_chunks_end_at_the_stops():
    def line(params, fixed, state, batch, key, stratum):
        count = jnp.sum(batch["weight"])
        return params, ({"loss": params * count, "count": count}, state)

    data = {"x": np.zeros(24, np.float32)}
    trainer = training.make_trainer(line, rows_of_x, SGD, size=24, batch_size=2, mesh=small.mesh(1))
    state = trainer.init(jnp.float32(3), (), {}, data)
    chunks = training.chunks(trainer, state, (), data, 2, jax.random.key(7), stops={0, 5, 6, 24})
    assert {5, 6, 12, 24} <= {chunk.step for chunk in chunks}

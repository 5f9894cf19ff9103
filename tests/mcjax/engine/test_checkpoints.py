import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mcjax.engine import checkpoints, parallel, training
from tests.mcjax import small


def a_state(seed=0):
    """A train state as the engine has it, with an optimizer's state and odd bit patterns."""
    rng = np.random.default_rng(seed)
    params = {
        "dense": {"kernel": jnp.asarray(rng.normal(size=(3, 4)), jnp.float32)},
        "half": jnp.asarray(rng.normal(size=5), jnp.bfloat16),
        "strange": jnp.array([np.nan, -0.0, np.inf, 1e-42], jnp.float32),
    }
    optimizer = optax.adam(optax.linear_schedule(0.1, 0.0, 10))
    return training.TrainState(
        step=jnp.int32(17),
        params=(params, jax.tree.map(lambda x: x + 1, params)),
        opt_state=jax.tree.map(lambda x: x + 2, optimizer.init(params)),
        model_state={"batch_stats": {"mean": jnp.asarray(rng.normal(size=3), jnp.float32)}},
        sums={"loss": jnp.float32(1.25), "count": jnp.float32(8)},
        bad_step=jnp.int32(-1),
    )


def bits(x):
    x = np.asarray(x)
    return x.shape, x.dtype, x.tobytes()


def assert_same_bits(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert bits(x) == bits(y)


@pytest.mark.parametrize("devices", [1, 8])
def test_saved_and_restored_bit_for_bit(tmp_path, devices):
    mesh = small.mesh(devices)
    state = parallel.replicate(a_state(), mesh)
    with checkpoints.Checkpoints(tmp_path / "c", keep=(17,)) as saved:
        saved.save(17, state)
        like = parallel.replicate(a_state(seed=1), mesh)
        restored = saved.restore(17, like=like)
    assert isinstance(restored, training.TrainState)
    assert_same_bits(restored, state)
    assert restored.params[0]["half"].sharding == like.params[0]["half"].sharding


def test_restored_without_a_pattern(tmp_path):
    state = a_state()
    with checkpoints.Checkpoints(tmp_path / "c") as saved:
        saved.save(3, state)
    with checkpoints.Checkpoints(tmp_path / "c", read_only=True) as saved:
        tree = saved.restore(3)
    for index in (0, 1):
        for name in ("half", "strange"):
            assert bits(tree["params"][index][name]) == bits(state.params[index][name])
    assert bits(tree["model_state"]["batch_stats"]["mean"]) == bits(
        state.model_state["batch_stats"]["mean"]
    )
    assert tree["step"] == 17
    assert tree["params"][0]["half"].devices() == {jax.local_devices()[0]}


def test_kept_steps_stay_and_of_the_others_the_latest_two(tmp_path):
    tree = {"x": jnp.arange(3.0)}
    with checkpoints.Checkpoints(tmp_path / "c", keep=(4, 2, 9)) as saved:
        assert saved.steps() == []
        for step in range(1, 9):
            saved.save(step, jax.tree.map(lambda x, s=step: x + s, tree))
    with checkpoints.Checkpoints(tmp_path / "c", read_only=True) as saved:
        assert saved.steps() == [2, 4, 7, 8]
        np.testing.assert_array_equal(saved.restore(4)["x"], [4, 5, 6])
    with checkpoints.Checkpoints(tmp_path / "c", keep=(4, 2, 9)) as saved:
        saved.save(9, tree)
        saved.save(10, tree)
    with checkpoints.Checkpoints(tmp_path / "c", read_only=True) as saved:
        assert saved.steps() == [2, 4, 9, 10]


def test_a_step_that_is_there_is_left_as_it_is(tmp_path):
    with checkpoints.Checkpoints(tmp_path / "c", keep=(0,)) as saved:
        saved.save(0, {"x": jnp.float32(1)})
        saved.save(0, {"x": jnp.float32(2)})
        assert saved.restore(0)["x"] == 1


def test_what_is_saved_is_a_copy(tmp_path):
    """The next chunk of training consumes the buffers while orbax is still writing."""
    consume = jax.jit(lambda tree: jax.tree.map(lambda x: x * 0 - 1, tree), donate_argnums=0)
    tree = {"x": jnp.arange(1_000_000, dtype=jnp.float32)}
    with checkpoints.Checkpoints(tmp_path / "c") as saved:
        saved.save(1, tree)
        after = consume(tree)
        assert tree["x"].is_deleted()
        restored = saved.restore(1)["x"]
    np.testing.assert_array_equal(restored, np.arange(1_000_000, dtype=np.float32))
    assert after["x"][5] == -1


def test_reading_creates_nothing(tmp_path):
    with checkpoints.Checkpoints(tmp_path / "none" / "c", read_only=True) as saved:
        assert saved.steps() == []
    assert list(tmp_path.iterdir()) == []


def test_later_steps_are_dropped_and_the_step_itself_stays(tmp_path):
    with checkpoints.Checkpoints(tmp_path / "c", keep=range(9)) as saved:
        for step in (1, 2, 3, 5):
            saved.save(step, {"x": jnp.float32(step)})
        saved.drop_after(2)  # waits for the last one
        assert saved.steps() == [1, 2]
        saved.save(3, {"x": jnp.float32(30)})
        assert saved.restore(3)["x"] == 30


def test_a_changed_bit_and_exchanged_numbers_or_arrays_are_damage(tmp_path, monkeypatch):
    tree = {"a": np.float32([1, 2, 3]), "b": np.float32([4, 5, 6])}
    last_bit = np.nextafter(tree["a"], 9, where=[True, False, False], out=tree["a"].copy())
    with checkpoints.Checkpoints(tmp_path / "c") as saved:
        saved.save(1, tree)
        np.testing.assert_array_equal(saved.restore(1)["b"], tree["b"])
        read = saved._manager.restore
        exchanged = tree | {"a": tree["a"][[1, 0, 2]]}
        for changed in (tree | {"a": last_bit}, exchanged, {"a": tree["b"], "b": tree["a"]}):
            monkeypatch.setattr(
                saved._manager, "restore", lambda *a, t=changed, **k: read(*a, **k) | {"tree": t}
            )
            with pytest.raises(checkpoints.Damaged, match="its checksum differs"):
                saved.restore(1)


def test_a_pattern_of_another_structure_shape_or_type_is_refused(tmp_path):
    with checkpoints.Checkpoints(tmp_path / "c") as saved:
        saved.save(1, {"x": jnp.ones(3)})
        for like in ({"y": jnp.ones(3)}, {"x": jnp.ones(4)}, {"x": jnp.ones(3, jnp.int32)}):
            with pytest.raises(checkpoints.Damaged, match="structure or shapes differ"):
                saved.restore(1, like=like)

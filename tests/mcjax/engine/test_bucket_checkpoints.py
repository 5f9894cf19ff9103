"""Checkpoints at a bucket."""

import jax.numpy as jnp
import pytest

from mcjax import paths
from mcjax.buckets import requests, url_paths
from mcjax.engine import checkpoints, parallel
from tests.buckets import bucket, server
from tests.mcjax import small
from tests.mcjax.engine.test_checkpoints import a_state, assert_same_bits

__all__ = ["bucket", "server"]


@pytest.fixture
def folder(bucket):
    return paths.at(f"{bucket}/A/checkpoints")


def opened(folder, *keep, **options):
    return checkpoints.Checkpoints(folder, keep, **options)


def test_saved_and_restored_bit_for_bit(folder):
    mesh = small.mesh(8)
    state = parallel.replicate(a_state(), mesh)
    with opened(folder, 17) as saved:
        saved.save(17, state)
    like = parallel.replicate(a_state(seed=1), mesh)
    with opened(folder, read_only=True) as saved:
        restored = saved.restore(17, like=like)
        bare = saved.restore(17)
    assert_same_bits(restored, state)
    assert restored.params[0]["half"].sharding == like.params[0]["half"].sharding
    assert bare["model_state"]["batch_stats"]["mean"].shape == (3,)


def test_kept_and_latest_steps_stay(folder):
    with opened(folder, 10) as saved:
        for step in (10, 20, 30, 40):
            saved.save(step, {"w": jnp.ones(2)})
        saved.wait()
        assert saved.steps() == [10, 30, 40]
    with opened(folder, 10) as saved:
        assert saved.steps() == [10, 30, 40]
        saved.drop_after(30)
        assert saved.steps() == [10, 30]
    assert sorted(path.name for path in folder.iterdir()) == ["10", "30"]
    with opened(folder) as saved:
        saved.keep_only([10])
    with opened(folder, read_only=True) as saved:
        assert saved.steps() == [10]


def test_a_checkpoint_counts_only_when_it_is_whole(folder, monkeypatch):
    whole = url_paths.UrlPath.write_bytes
    count = []

    def write(path, data):
        count.append(path)
        if len(count) == 5:
            raise OSError(5, "no route", str(path))
        return whole(path, data)

    with opened(folder) as saved:
        saved.save(10, {"w": jnp.ones(2)})
        saved.wait()
        monkeypatch.setattr(url_paths.UrlPath, "write_bytes", write)
        saved.save(20, {"w": jnp.full(2, 2.0)})
        with pytest.raises(OSError, match=r"no checkpoint: .*no route"):
            saved.wait()
    assert (folder / "20").exists()
    with opened(folder) as later:
        assert later.steps() == [10]
        later.save(20, {"w": jnp.full(2, 3.0)})
        later.wait()
        assert later.restore(20)["w"].tolist() == [3, 3]


def test_a_server_that_is_gone_is_no_damage(folder, monkeypatch):
    with opened(folder) as saved:
        saved.save(10, {"w": jnp.ones(2)})
    with opened(folder, read_only=True) as saved:
        monkeypatch.setattr(requests, "filesystem", lambda scheme: object())
        with pytest.raises(OSError, match="has no attribute") as caught:
            saved.restore(10)
        assert not isinstance(caught.value, checkpoints.Damaged)


def test_damage_is_found(folder):
    with opened(folder) as saved:
        saved.save(10, {"w": jnp.arange(4000.0)})
    file = next(file for file in folder.rglob("*") if file.parent.name == "d")
    file.unlink()
    with (
        opened(folder, read_only=True) as saved,
        pytest.raises(checkpoints.Damaged, match="10 cannot be read"),
    ):
        saved.restore(10)

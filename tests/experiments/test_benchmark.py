"""The benchmark without PyTorch, on a network that takes no time."""

import json
from pathlib import Path

import flax.linen as nn
import pytest

from experiments import benchmark, convolution_table
from experiments.cli.configs import BenchmarkConfig
from experiments.cli.errors import UsageError
from mcjax.flax import models
from mcjax.flax.ops import convolution_table as committed


@pytest.mark.long
def test_rows_and_table(tmp_path, monkeypatch):
    tiny = benchmark.Net("a tiny net", "mlp", 0.125, (8, 8, 1), 200)
    monkeypatch.setitem(benchmark.NETS, "digits", tiny)
    monkeypatch.setattr(benchmark, "_torch", lambda: None)
    config = BenchmarkConfig(nets=("digits",), rounds=2, seconds=0.01, workdir=str(tmp_path))
    rows = benchmark.run(config)
    assert rows == json.loads((tmp_path / "benchmark.json").read_text())
    assert len(rows) == 5
    for row in rows:
        assert row["ms"] > 0
        assert row["share"] == pytest.approx(
            row["flops"] / (1e-3 * row["ms"]) / row["matmul_flops_per_second"]
        )
    against = next(row for row in rows if row["against"] == "training step")
    assert len(against["ratios"]) == 2
    assert all(row["ratios"] == [] for row in rows if row is not against)
    table = (tmp_path / "benchmark.md").read_text()
    assert "no PyTorch" in table
    assert table.count("a tiny net") == 5


def test_flops_are_those_of_direct_convolution():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            x = nn.Conv(4, (3, 3))(x)
            return nn.Dense(5)(x.reshape(len(x), -1))

    assert benchmark.forward_flops(Net(), (6, 6, 2)) == 2 * (36 * 4 * 9 * 2 + 36 * 4 * 5)
    vgg16 = benchmark.forward_flops(models.create("vgg16", num_classes=10), (32, 32, 3))
    assert vgg16 == pytest.approx(2 * 313.7e6, rel=0.001)


def test_wrong_flags():
    with pytest.raises(UsageError, match="--nets=resnet: there are vgg16"):
        benchmark.run(BenchmarkConfig(nets=("resnet",)))
    with pytest.raises(UsageError, match="--rounds"):
        benchmark.run(BenchmarkConfig(rounds=0))


def test_the_table_of_convolutions_is_the_one_that_was_written(monkeypatch):
    text = convolution_table.source(committed.FORWARD, committed.STEP)
    assert text == Path(committed.__file__).read_text()
    for table in (committed.FORWARD, committed.STEP):
        assert set(table) == set(convolution_table.SHAPES)
    monkeypatch.setattr(convolution_table, "BATCH", 2)
    monkeypatch.setattr(convolution_table, "SHAPES", ((2, 4, 4),))
    forward, step = convolution_table.run(convolution_table.TableConfig(seconds=1e-4))
    assert set(forward) == set(step) == {(2, 4, 4)}
    assert all(set(times) == {"direct", "winograd", "lax"} for times in forward.values())
    assert all(set(times) == {"direct", "winograd"} for times in step.values())
    assert all(
        0 < ms < 1e4 for table in (forward, step) for t in table.values() for ms in t.values()
    )

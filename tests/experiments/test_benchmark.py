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
    assert len(rows) == 6
    for row in rows:
        assert row["ms"] > 0
        assert row["share"] == pytest.approx(
            row["flops"] / (1e-3 * row["ms"]) / row["matmul_flops_per_second"]
        )
    against = next(row for row in rows if row["against"] == "training step")
    assert len(against["ratios"]) == 2
    together = next(row for row in rows if row["against"] == "one by one")
    assert len(together["ratios"]) == 2
    assert all(row["ratios"] == [] for row in rows if row not in (against, together))
    table = (tmp_path / "benchmark.md").read_text()
    assert "no PyTorch" in table
    assert table.count("a tiny net") == 6


def row(**changes):
    facts = {"work": "step", "precision": "float32", "share": 0.5, "ratios": [], "against": "it"}
    return facts | changes


@pytest.mark.parametrize(
    ("now", "times", "rows"),
    [
        ({"share": 0.4}, "1.25", 1),
        ({"share": 0.45}, None, 1),
        ({"share": 0.4, "ratios": [1.3, 1.5, 9.0]}, "1.25", 1),  # before, there was no ratio
        ({"share": 0.4, "work": "other"}, None, 0),
        ({"share": 0.4, "precision": "bf16"}, None, 0),
    ],
)
def test_what_is_slower_than_before_is_said(now, times, rows):
    *lines, summary = benchmark.compared([row(**now)], [row()], "old.json")
    slower = f"slower than before: {times} times, against the matrix product"
    assert lines == ([f"warning: step, float32: {slower}"] if times else [])
    assert summary == f"{len(lines)} of {rows} rows that old.json has, too, are 20 % slower"


def test_work_is_slower_if_all_its_ratios_say_so():
    before = [row(ratios=[1.0, 1.0, 7.0])]
    assert len(benchmark.compared([row(share=0.2, ratios=[1.1, 1.1, 9.0])], before, "")) == 1
    assert len(benchmark.compared([row(share=0.55, ratios=[2.0])], before, "")) == 1
    line, _ = benchmark.compared([row(share=0.2, ratios=[1.5])], before, "")
    assert line.endswith("1.50 times, against it and 2.50 times, against the matrix product")


def test_quick_sets_the_other_flags_and_reads_the_earlier_file(tmp_path, monkeypatch, capsys):
    seen = []

    def time_net(name, precision, config):
        seen.append((name, config.rounds, config.seconds))
        return [row(work=name, share=0.1, ms=2.0, goal=1.0)]

    monkeypatch.setattr(benchmark, "_time_net", time_net)
    file = tmp_path / "before.json"
    file.write_text(json.dumps([row(work="digits"), row(work="quarter", share=0.1)]))
    benchmark.run(BenchmarkConfig(quick=True, before=str(file)))
    assert seen == [("digits", 3, 0.5), ("quarter", 3, 0.5)]
    warned = [x for x in capsys.readouterr().out.splitlines() if x.startswith("warning")]
    slower = "slower than before: 5.00 times, against the matrix product"
    assert warned == [f"warning: digits, float32: {slower}"]
    for content in ("{", "[1]", '[{"work": "digits"}]'):
        file.write_text(content)
        with pytest.raises(UsageError, match=r"--before=.* is not a benchmark.json"):
            benchmark.run(BenchmarkConfig(before=str(file)))
    with pytest.raises(UsageError, match=r"nowhere: No such file"):
        benchmark.run(BenchmarkConfig(before=str(tmp_path / "nowhere")))


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

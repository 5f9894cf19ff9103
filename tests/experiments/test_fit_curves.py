"""`fit_curves`: many pairs at once are the pairs alone."""

import dataclasses
import itertools
import json
import shutil
import signal

import numpy as np
import pytest

from experiments import fit_curve, fit_curves, train_mode
from experiments.cli import errors, flags
from experiments.cli.configs import CurveConfig, CurvesConfig, ModeConfig
from experiments.cli.errors import UsageError
from experiments.landscapes import pair_table
from experiments.runs.arrays import load_arrays
from experiments.runs.folder import Run
from experiments.training import fits, loop, pairs
from mcjax import plots

MODE = ModeConfig(
    dataset="digits", train_size=200, validation_size=60, model="mlp", width=0.25,
    batch_size=40, epochs=3, lr=0.1, schedule="constant",
)  # fmt: skip
CURVES = CurvesConfig(batch_size=40, epochs=3, lr=0.1, points=9, eval_epochs=(1,), seed=5)
change = dataclasses.replace


@pytest.fixture(scope="module")
def base(png_only, tmp_path_factory):
    """Modes A to C and all three curves between them."""
    base = tmp_path_factory.mktemp("pairs")
    for seed, name in enumerate("ABC"):
        train_mode.run(change(MODE, seed=seed, workdir=str(base / name)))
    fit_curves.run(config(base))
    return base


def config(base, folder="pairs", **changes):
    modes = tuple(str(base / name) for name in "ABC")
    return change(CURVES, **({"modes": modes, "workdir": str(base / folder)} | changes))


def test_each_is_the_curve_alone(base, tmp_path):
    for start, end in itertools.combinations("ABC", 2):
        run = Run(base / "pairs" / f"{start}_{end}")
        assert (run.status, run.info["kind"]) == ("done", "curve")
    run = Run(base / "pairs" / "B_C")
    alone = change(
        CurveConfig(), start=str(base / "B"), end=str(base / "C"),
        workdir=str(tmp_path / "BC"), batch_size=40, epochs=3, lr=0.1, points=9,
        eval_epochs=(1,), seed=5,
    )  # fmt: skip
    fit_curve.run(alone)
    for name in ("curve.npz", "curve@1.npz"):
        mine, other = (load_arrays(r.path / name) for r in (run, Run(alone.workdir)))
        assert mine.keys() == other.keys()
        for key in mine:
            np.testing.assert_allclose(mine[key], other[key], rtol=2e-3, atol=2e-4)
    lines = [[m["train"]["loss"] for m in r.metrics()] for r in (run, Run(alone.workdir))]
    np.testing.assert_allclose(*lines, rtol=1e-4)
    fit_curve.run(change(alone, workdir=str(run.path)))  # fit_curve finds it done


def test_together_they_tell_all_barriers(base):
    rows = json.loads((base / "pairs" / "pairs.json").read_text())
    assert [(row["start"], row["end"]) for row in rows] == [("A", "B"), ("A", "C"), ("B", "C")]
    for row in rows:
        arrays = load_arrays(base / "pairs" / row["name"] / "curve.npz")
        for path in ("curve", "segment"):
            losses = arrays[f"{path}_train_loss"]
            assert row[path]["highest"] == losses.max()
            height = losses.max() - max(losses[0], losses[-1])
            assert row[path]["over_max"] == pytest.approx(height, abs=1e-9)
    assert (base / "pairs" / "figures" / "barriers.png").stat().st_size > 5000


def test_curves_are_named_while_they_are_evaluated(base, capsys):
    for name in ("A_B", "B_C"):
        Run(base / "pairs" / name).update(status="fitted")
    fit_curves.run(config(base))
    said = [x for x in capsys.readouterr().err.splitlines() if x.startswith("evaluating")]
    assert said == ["evaluating A_B: curve 1 of 3", "evaluating B_C: curve 3 of 3"]
    assert Run(base / "pairs" / "A_B").status == "done"


@pytest.mark.long
def test_shards_need_nobody_and_can_be_put_together(base, capsys):
    # With the schedule curve, a single epoch would end with a lower learning rate.
    short = {"epochs": 1, "eval_epochs": (), "points": 3, "schedule": "constant"}
    names = [
        {row["name"] for row in fit_curves.run(config(base, "shards", shard=f"{i}/2", **short))}
        for i in (1, 2)
    ]
    assert names == [{"A_B", "B_C"}, {"A_C"}]
    assert not (base / "shards" / "pairs.json").exists()
    before = (base / "shards" / "A_C" / "metrics.jsonl").stat().st_mtime_ns
    capsys.readouterr()
    fit_curves.run(config(base, "shards", **short))
    assert (base / "shards" / "A_C" / "metrics.jsonl").stat().st_mtime_ns == before
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("A_B", "A_C", "B_C", "barriers.png"))
    rows = json.loads((base / "shards" / "pairs.json").read_text())
    assert [row["name"] for row in rows] == ["A_B", "A_C", "B_C"]
    for name in ("A_B", "A_C", "B_C"):  # the same first epoch as all three together
        first = [Run(base / x / name).metrics()[0]["train"]["loss"] for x in ("pairs", "shards")]
        assert first[0] == pytest.approx(first[1], rel=1e-4)


@pytest.mark.long
def test_goes_on_where_it_was_stopped(base, monkeypatch):
    seen = []

    def interrupt_in_epoch_two(self, chunk, validation, real=loop.RunGroup.add):
        real(self, chunk, validation)
        seen.append(chunk.step)
        if chunk.step > 5 and len(seen) < 100:
            seen.extend([0] * 100)
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(loop.RunGroup, "add", interrupt_in_epoch_two)
    here = config(base, "stopped", eval_epochs=(), points=3)
    with pytest.raises(errors.Interrupted):
        fit_curves.run(here)
    assert Run(base / "stopped" / "A_B").status == "running"
    fit_curves.run(here)
    for name in ("A_B", "A_C", "B_C"):
        one, two = (Run(base / x / name) for x in ("pairs", "stopped"))
        middle = [load_arrays(r.path / "curve.npz")["curve_train_loss"] for r in (one, two)]
        assert middle[0][4] == middle[1][1]  # t = 0.5, bit for bit
        assert [m["train"] for m in one.metrics()] == [m["train"] for m in two.metrics()]


@pytest.mark.long
def test_one_that_fails_stops_no_other(base, capsys, monkeypatch):
    drawn = []
    plain = plots.barrier_matrix
    monkeypatch.setattr(plots, "barrier_matrix", lambda *both: drawn.append(both) or plain(*both))
    wild = change(MODE, seed=9, init_scale=1e6, lr=0.0, epochs=1, workdir=str(base / "W"))
    with pytest.raises(errors.RunFailed):
        train_mode.run(wild)
    pairs = (f"{base}/A:{base}/B", f"{base}/W:{base}/A")
    with pytest.raises(errors.RunFailed, match="1 of 2 curves failed"):
        fit_curves.run(config(base, "wild", modes=(), pairs=pairs))
    for along in drawn[0]:  # the mode whose only curve failed has its row
        assert [pair[:2] for pair in along] == [("A", "B"), ("W", "A")]
        assert np.isnan([height for _, _, height in along]).tolist() == [False, True]
    assert Run(base / "wild" / "A_B").status == "done"
    capsys.readouterr()
    with pytest.raises(errors.RunFailed, match=r"^1 of 2 curves failed$"):
        fit_curves.run(config(base, "wilder", modes=(), pairs=pairs, allow_failed=True, lr=0.05))
    assert Run(base / "wilder" / "A_B").status == "done"
    assert Run(base / "wilder" / "W_A").status == "failed"
    assert "W_A: the loss or its gradient was not finite at step" in capsys.readouterr().out


def test_the_table_has_a_word_per_pair_that_failed_and_each_reason_once():
    numbers = {"highest": 0.5, "over_max": 0.1}
    rows = [
        {"name": "A_B", "curve": numbers, "segment": numbers},
        *({"name": name, "why": "W failed (at chance)"} for name in ("A_W", "B_W")),
        {"name": "A_V", "why": "V failed"},
    ]
    lines = pair_table.table(rows).splitlines()[2:]
    assert [line.split() for line in lines[:4]] == [
        ["A_B", "0.5", "0.5", "0.1", "0.1"], ["A_W", "failed"], ["B_W", "failed"], ["A_V", "failed"]
    ]  # fmt: skip
    assert lines[4:] == ["A_W, B_W: W failed (at chance)", "A_V: V failed"]


@pytest.mark.slow
def test_runs_that_moved_with_their_modes_are_found(base, tmp_path):
    moved = tmp_path / "moved"
    for name in ("A", "B", "C", "pairs"):
        shutil.copytree(base / name, moved / name)
    before = {f: f.stat().st_mtime_ns for f in moved.rglob("curve*.npz")}
    rows = fit_curves.run(config(moved))
    assert [row["curve"] for row in rows] == [row["curve"] for row in fit_curves.run(config(base))]
    assert before == {f: f.stat().st_mtime_ns for f in moved.rglob("curve*.npz")}
    flags = Run(moved / "pairs" / "A_B").info["flags"]
    assert (flags["start"], flags["end"]) == (str(moved / "A"), str(moved / "B"))
    other = tmp_path / "other"
    shutil.copytree(base / "A", other / "B")
    pairs = (f"{moved}/A:{other}/B",)
    with pytest.raises(UsageError, match=r"--end=.*other/B is not the network of .*moved/B that"):
        fit_curves.run(config(moved, modes=(), pairs=pairs))


def test_without_a_launcher_the_table_is_that_of_the_curves_that_are_done(base, tmp_path, capsys):
    shutil.copytree(base / "pairs", tmp_path / "pairs")
    shutil.rmtree(tmp_path / "pairs" / "A_C")
    with pytest.raises(errors.RunFailed, match=r"^1 of 3 curves are missing$"):
        fit_curves.run(config(base, tmp_path / "pairs", launcher="none"))
    rows = json.loads((tmp_path / "pairs" / "pairs.json").read_text())
    assert [row.get("why") for row in rows] == [None, "not run", None]
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].split() == ["A_C", "not", "run"]
    assert lines[5].startswith("figure: ")


def test_jobs_train_modes_that_are_flagfiles_then_curves(base, tmp_path):
    (tmp_path / "D.cfg").write_text(flags.to_flags(change(MODE, seed=4)))
    modes = (str(base / "A"), str(base / "B"), f"{tmp_path}/D.cfg")
    few = config(base, tmp_path / "w", modes=modes)
    found = pairs.jobs(few, [*map(fits.check_flags, pairs.plan(few))])
    assert [(job.name, job.needs) for job in found[:4]] == [
        ("modes/D", ()), ("A_B", ()), ("A_D", ("modes/D",)), ("B_D", ("modes/D",))
    ]  # fmt: skip
    assert "--shard=2/3" in found[2].argv
    assert [run.path for run in found[2].runs] == [tmp_path / "w" / "A_D"]
    assert (found[4].name, found[4].needs) == ("table", ("modes/D", "A_B", "A_D", "B_D"))
    assert not any(job.tolerant for job in found[:4])
    found = pairs.jobs(change(few, jobs=2), [*map(fits.check_flags, pairs.plan(few))])
    assert [(job.name, job.tolerant) for job in found[1:3]] == [
        ("shards/1_of_2", True), ("A_D", False)
    ]  # fmt: skip
    assert [run.path.name for run in found[1].runs] == ["A_B", "B_D"]
    assert "--jobs=0" in found[1].argv


@pytest.mark.long
def test_seeds(base):
    rows = fit_curves.run(
        config(base, "seeds", modes=(), pairs=(f"{base}/A:{base}/B",), seeds=2, epochs=1,
               eval_epochs=())
    )  # fmt: skip
    assert [(row["name"], row["seed"]) for row in rows] == [("A_B_seed5", 5), ("A_B_seed6", 6)]
    assert rows[0]["curve"] != rows[1]["curve"]
    assert rows[0]["segment"] == rows[1]["segment"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modes": ()}, "--modes or --pairs is missing"),
        ({"modes": ("a",)}, "--modes or --pairs is missing"),
        ({"pairs": ("a-b",)}, "write START:END"),
        ({"pairs": ("a:b",), "shard": "0/2"}, "--shard=0/2"),
        ({"pairs": ("a:b",), "shard": "2"}, "--shard=2"),
        ({"pairs": ("a:b",), "shard": "1/2", "launcher": "slurm"}, "use --jobs, not --shard"),
        ({"pairs": ("a:b",), "jobs": 2}, "--jobs=2: use 1 or more, with --launcher=slurm"),
        ({"seeds": 0}, "--seeds=0"),
        ({"workdir": ""}, "--workdir"),
        ({"pairs": ("x/a:y/b", "z/a:z/b")}, "two pairs have the same folder"),
        ({"modes": ("no", "where")}, "no run at no"),
    ],
)
def test_wrong_flags(tmp_path, changes, message):
    values = {"modes": (), "workdir": str(tmp_path)} | changes
    with pytest.raises(UsageError, match=message):
        fit_curves.run(change(CURVES, **values))

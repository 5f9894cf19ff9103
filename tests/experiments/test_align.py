"""`align`: a permuted copy is recovered, and an aligned run is a reference like any other."""

import dataclasses
import functools
import json
import shutil

import jax
import numpy as np
import pytest

from experiments import align, fit_curve, loss_surface, train_mode
from experiments.cli import AlignConfig, CurveConfig, CurvesConfig, ModeConfig, SurfaceConfig
from experiments.cli.errors import RunFailed, UsageError
from experiments.landscapes import alignment as aligned_runs
from experiments.runs import load_point, load_result, open_checkpoints, restore, restore_ends
from experiments.runs.folder import Run
from experiments.runs.names import parse_name
from experiments.training import alignment, make_problem, pairs
from mcjax import symmetries
from mcjax.engine import parallel
from mcjax.results import Profile, Surface
from tests.comparison import assert_same_bits

MODE = ModeConfig(
    dataset="digits", train_size=200, validation_size=60, model="mlp", width=0.25,
    batch_size=40, epochs=3, lr=0.1, schedule="constant", keep=(1,),
)  # fmt: skip
CURVE = CurveConfig(batch_size=40, epochs=1, lr=0.05, points=3, seed=5, allow_failed=True)
change = dataclasses.replace


@pytest.fixture(scope="module")
def problem():
    return make_problem(MODE)


@pytest.fixture(scope="module")
def runs(png_only, problem, tmp_path_factory):
    """Modes a and b, a copy of a with permuted units, and one that is not finite."""
    folder = tmp_path_factory.mktemp("align")
    for seed, name in enumerate("ab"):
        train_mode.run(change(MODE, seed=seed, workdir=str(folder / name)))
    spec = spec_of(problem, folder / "a")
    order = symmetries.random(spec, jax.random.key(4))
    np.savez(folder / "order.npz", **order)
    copy(folder, "copy", lambda tree: symmetries.apply(spec, order, tree))
    copy(folder, "nan", lambda tree: jax.tree.map(lambda x: x.at[0].set(np.nan), tree))
    return folder


def copy(folder, name, change_params):
    shutil.copytree(folder / "a", folder / name)
    run, step = Run(folder / name), 15
    tree = restore(run)
    tree["params"] = change_params({"params": tree["params"]})["params"]
    shutil.rmtree(run.path / "checkpoints")
    with open_checkpoints(run) as saved:
        saved.save(step, tree)


def spec_of(problem, path):
    function = alignment.logits(problem)
    return alignment.find(problem, function, point(path))


def point(path):
    return load_point(parse_name(str(path)))


def config(runs, workdir, start="a", end="b", **changes):
    ends = {"start": str(runs / start), "end": str(runs / end)}
    return AlignConfig(**ends, workdir=str(workdir), **{"points": 3} | changes)


@pytest.fixture(scope="module")
def aligned(runs):
    return align.run(config(runs, runs / "aligned"))


@pytest.mark.parametrize("method", ["weights", "activations"])
def test_a_permuted_copy_is_recovered(runs, tmp_path, method):
    run = align.run(config(runs, tmp_path / "run", end="copy", method=method))
    assert_same_bits(tuple(point(run.path)), tuple(point(runs / "a")))
    facts = json.loads((run.path / "align.json").read_text())
    heights = {p: x["train"]["loss"]["over_max"] for p, x in facts["barriers"].items()}
    assert heights["before"] > 0.05
    assert abs(heights["after"]) < 1e-6
    assert abs(heights["repaired"]) < 1e-5
    with np.load(runs / "order.npz") as order:
        moved = [order[name] != np.arange(len(order[name])) for name in order]
    assert facts["moved"] == np.mean(np.concatenate(moved)) > 0.5
    assert (facts["groups"], facts["units"]) == (2, 64)
    assert facts["distance"]["before"] > 1
    assert facts["distance"]["after"] == 0


def test_an_aligned_run_is_a_mode_of_the_same_function(runs, aligned, problem):
    images = next(alignment.training_images(problem))[0]
    before, after = (
        alignment.logits(problem)(alignment.variables(point(p)), images)
        for p in (runs / "b", aligned.path)
    )
    np.testing.assert_allclose(after, before, rtol=0, atol=2e-6 * np.abs(before).max())
    there, here = (Run(p).info for p in (runs / "b", aligned.path))
    for split, metrics in there["final"].items():
        assert here["final"][split] == pytest.approx(metrics, rel=1e-5)
    assert (here["kind"], here["status"]) == ("mode", "done")
    assert_same_bits(point(aligned.path).params, point(f"{aligned.path}@3").params)


def test_profiles_are_those_of_the_segments(runs, aligned, problem):
    found = load_result(Profile, aligned.path / "align.npz")
    assert list(found.paths) == ["before", "after", "repaired"]
    start = point(runs / "a").params

    def middle(*points, at):
        points = parallel.replicate(points, problem.mesh)
        return problem.evaluator(points, [at], {})["train"]["loss"][0]

    for path, end in (("before", runs / "b"), ("after", aligned.path)):
        loss = middle(start, point(end).params, at=[0.5, 0.5])
        assert found.paths[path].metrics["train"]["loss"][1] == pytest.approx(loss, rel=1e-6)
        assert len(found.paths[path].barriers["validation"]["loss"]) == 3
    images = next(alignment.training_images(problem))
    assert images[0].shape == (200, 8, 8, 1)
    function, ends = alignment.logits(problem), (point(runs / "a"), point(aligned.path))
    trees = map(alignment.variables, ends)
    spec = spec_of(problem, runs / "a")
    corrected = symmetries.repair(spec, function, *trees, [images])
    leaves = json.loads((aligned.path / "align.json").read_text())["repair"]
    assert leaves == {k: list(getattr(corrected, k)) for k in ("corrected", "scaled", "left")}
    assert len(leaves["corrected"]) == 4
    loss = middle(corrected.params["params"], at=[1.0])
    assert found.paths["repaired"].metrics["train"]["loss"][1] == pytest.approx(loss, rel=1e-5)
    assert (aligned.path / "figures" / "align.png").stat().st_size > 5000


def test_a_stopped_command_resumes_and_a_done_one_only_prints(runs, tmp_path, monkeypatch, capsys):
    flags, whole = config(runs, tmp_path / "run", end="b@1"), aligned_runs.profiles.along
    with monkeypatch.context() as patch:
        paths = iter([whole])
        patch.setattr(aligned_runs.profiles, "along", lambda *args: next(paths)(*args))
        with pytest.raises(StopIteration):
            align.run(flags)
    run = Run(tmp_path / "run")
    assert run.status == "running"
    before = point(f"{run.path}@1")
    assert list(load_result(Profile, run.path / "align.npz").paths) == ["before"]
    monkeypatch.setattr(alignment, "align", None)
    align.run(flags)
    assert run.status == "done"
    assert_same_bits(tuple(before), tuple(point(run.path)))
    capsys.readouterr()
    monkeypatch.setattr(align, "make_problem", None)
    align.run(flags)
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith(f"{run.path}: train accuracy ")
    assert "of 64 units in 2 groups moved" in shown[1]
    assert all(f"{path} " in shown[2] for path in ("before", "after", "repaired"))
    with pytest.raises(UsageError, match="--method: weights there, activations now"):
        align.run(change(flags, method="activations"))
    with pytest.raises(UsageError, match="--restarts: 1 there, 2 now"):
        align.run(change(flags, restarts=2))
    run.update(
        aligned={k: v for k, v in run.info["aligned"].items() if k != "seed"}
    )  # an older run
    figure = (run.path / "figures" / "align.png").read_bytes()
    align.run(change(flags, style=("mcjax.one_column",)))
    assert (run.path / "figures" / "align.png").read_bytes() != figure


@pytest.mark.parametrize("method", ["weights", "activations"])
def test_restarts_and_their_seed_reach_the_match(runs, tmp_path, monkeypatch, method):
    def match(*_, seed, restarts, **__):
        raise ZeroDivisionError(f"{restarts} from {seed}")

    monkeypatch.setattr(symmetries, f"match_{method}", match)
    with pytest.raises(ZeroDivisionError, match="4 from 7"):
        align.run(config(runs, tmp_path / "run", method=method, restarts=4, seed=7))


@pytest.mark.slow
def test_an_aligned_run_is_fine_tuned(runs, aligned, tmp_path):
    flags = change(MODE, workdir=str(tmp_path / "run"), fork=str(aligned.path), keep=(), epochs=1,
                   lr=1e-7, weight_decay=0.0)  # fmt: skip
    run = train_mode.run(flags)
    assert run.info["forked_from"] == str(aligned.path)
    assert [line["epoch"] for line in run.metrics()] == [1]
    same = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(same, point(run.path).params, point(aligned.path).params)
    with pytest.raises(UsageError, match="do not fit this model"):
        train_mode.run(change(flags, workdir=str(tmp_path / "wide"), width=0.5))


def test_a_retrained_end_is_noticed(runs, tmp_path, monkeypatch):
    flags = config(runs, tmp_path / "run", end="copy")
    with monkeypatch.context() as patch:
        patch.setattr(aligned_runs, "_profile", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            align.run(flags)
    monkeypatch.setattr(alignment, "checksum", lambda params: 0)
    with pytest.raises(UsageError, match="was retrained since"):
        align.run(flags)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workdir": ""}, "--workdir is missing"),
        ({"start": ""}, "--start is missing"),
        ({"points": 1}, "--points=1"),
        ({"restarts": 0}, "--restarts=0"),
        ({"seed": -1}, "--seed=-1"),
        ({"style": ("nosuch",)}, "--style=nosuch"),
        ({"end": "none"}, "there is no run at none"),
        ({"end": "a@2"}, "has no checkpoint of epoch 2"),
        ({"end": "a~0.5"}, "only a curve has points"),
        ({"end": "wide"}, "they differ in --width: 0.25 and 0.5"),
        ({"workdir": "a"}, "a holds a run that is not aligned"),
    ],
)
def test_wrong_input_is_answered_before_data_are_read(runs, changes, message, monkeypatch):
    monkeypatch.chdir(runs)
    monkeypatch.setattr(align, "make_problem", None)
    if not (runs / "wide").exists():
        shutil.copytree(runs / "b", runs / "wide")
        flags = Run(runs / "wide").info["flags"] | {"width": 0.5}
        Run(runs / "wide").update(flags=flags)
    with pytest.raises(UsageError) as caught:
        align.run(change(AlignConfig(start="a", end="b", workdir="new"), **changes))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("which", ["start", "end"])
def test_networks_that_are_not_finite_are_refused(runs, tmp_path, which):
    with pytest.raises(UsageError, match="Dense_0/bias is not finite"):
        align.run(config(runs, tmp_path / "run", **{which: "nan"}))


@pytest.mark.long
def test_a_curve_to_an_aligned_end(runs, aligned, tmp_path, monkeypatch):
    """Its own end is the aligned one; it is resumed with it, and not if the end is another."""
    flags = change(CURVE, start=str(runs / "a"), end=str(runs / "b"), align="weights",
                   workdir=str(tmp_path / "curve"))  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(fit_curve.fitting.loop, "train", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fit_curve.run(flags)
    with monkeypatch.context() as patch:
        patch.setattr(alignment, "checksum", lambda params: 0)
        with pytest.raises(UsageError, match="--end has been retrained"):
            fit_curve.run(flags)
    with monkeypatch.context() as patch:
        patch.setattr(alignment, "align", None)
        run = fit_curve.run(flags)
    ends, facts = restore_ends(run), run.info["aligned"]
    assert_same_bits(ends["end"], point(aligned.path).params)
    assert_same_bits(ends["start"], point(runs / "a").params)
    assert (facts["method"], facts["units"]) == ("weights", 64)
    assert facts["moved"] == aligned.info["aligned"]["moved"]
    segment = load_result(Profile, run.path / "curve.npz").segment.metrics["train"]["loss"]
    after = load_result(Profile, aligned.path / "align.npz").paths["after"].metrics["train"]
    np.testing.assert_allclose(segment, after["loss"], rtol=1e-6)
    with pytest.raises(UsageError, match="--align: weights there, None now"):
        fit_curve.run(change(flags, align=None))
    curves = pairs.plan(CurvesConfig(modes=("a", "b"), align="activations", workdir="new"))
    assert curves[0].align == "activations"
    again = align.run(config(tmp_path, tmp_path / "again", start="curve~0", end="curve~1"))
    assert again.info["aligned"]["moved"] == 0


@pytest.mark.long
def test_a_surface_through_an_aligned_point(runs, aligned, tmp_path):
    """The second point is aligned with the first, as if an aligned run were given."""
    flags = {"grid": "2x2", "points": tuple(str(runs / n) for n in ("a", "b", "b@1"))}
    run = loss_surface.run(SurfaceConfig(workdir=str(tmp_path / "s"), align="weights", **flags))
    assert run.info["aligned"]["moved"] == aligned.info["aligned"]["moved"]
    flags["points"] = (flags["points"][0], str(aligned.path), flags["points"][2])
    named = loss_surface.run(SurfaceConfig(workdir=str(tmp_path / "t"), **flags))
    mine, other = (dict(np.load(one.path / "surface.npz")) for one in (run, named))
    assert mine.pop("point_name").tolist() == ["a", "b, aligned", "b@1"]
    assert other.pop("point_name").tolist() == ["a", "aligned", "b@1"]
    assert_same_bits(mine, other)
    flags["points"] = tuple(str(p) for p in (runs / "a", runs / "b", aligned.path))
    plane = loss_surface.run(SurfaceConfig(workdir=str(tmp_path / "v"), **flags))
    losses = load_result(Surface, plane.path / "surface.npz").points.metrics["train"]["loss"]
    assert losses[1] == pytest.approx(losses[2], rel=1e-5) != losses[0]
    alone = {"points": (str(runs / "a"),), "directions": "random", "align": "weights"}
    with pytest.raises(UsageError, match="no second point to align"):
        loss_surface.run(SurfaceConfig(workdir=str(tmp_path / "u"), **alone))


@pytest.mark.long
def test_a_network_at_chance_is_aligned_and_has_failed(runs, tmp_path):
    copy(runs, "zero", lambda tree: jax.tree.map(lambda x: 0 * x, tree))
    flags = config(runs, tmp_path / "run", end="zero")
    for message in ("aligned network is at chance", "failed before"):
        with pytest.raises(RunFailed, match=message):
            align.run(flags)
    assert (tmp_path / "run" / "align.json").exists()

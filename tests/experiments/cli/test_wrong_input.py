"""Wrong input: exit status 2 and one line on standard error, before any long work."""

import jax.numpy as jnp
import pytest

from experiments import fit_curve, train_mode
from experiments.cli import command
from experiments.cli.configs import CurveConfig, ModeConfig
from experiments.cli.flags import to_flags
from experiments.runs import open_checkpoints
from experiments.runs.folder import Run
from experiments.training import fitting
from mcjax.engine import training

SMALL = {"train_size": 200, "validation_size": 60, "model": "mlp", "width": 0.25}
MODE = ModeConfig(**SMALL, batch_size=40, epochs=4, schedule="constant", seed=1)
NORMED = ["--model=tests.nets:normed", "--width=1"]
COMMANDS = {"train_mode": (ModeConfig, train_mode), "fit_curve": (CurveConfig, fit_curve)}


@pytest.fixture
def refused(monkeypatch, capsys, tmp_path):
    """Runs a command that must be refused, and gives what it says."""

    def never(*args, **options):
        raise AssertionError("training began")

    monkeypatch.setattr(training, "make_trainer", never)
    monkeypatch.chdir(tmp_path)

    def run(name, *argv):
        config, module = COMMANDS[name]
        before = {p for p in tmp_path.rglob("*") if p.is_file()}
        full = [f"/bin/{name}.py", "--nocompilation_cache", *map(str, argv)]
        monkeypatch.setattr("sys.argv", full)
        with pytest.raises(SystemExit) as caught:
            command.main(config, module.run, module.__doc__)
        out, err = capsys.readouterr()
        assert caught.value.code == 2
        assert out == ""
        assert err.count("\n") == 1
        assert err.startswith(f"{name}: ")
        assert {p for p in tmp_path.rglob("*") if p.is_file()} == before
        return err

    return run


MODE_FLAGS = to_flags(MODE).split()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--dataset=digit"], ["'digit'", "did you mean digits"]),
        (["--dataset=cifar"], ["'cifar'", "cifar10"]),
        (["--dataset=fashion_mnist", "--data_dir=/nowhere"], ["/nowhere", "is not a folder"]),
        (["--model=vgg61"], ["'vgg61'", "did you mean", "vgg16"]),
        (["--model=no_such_package:net"], ["no_such_package"]),
        (["--schedule=stp"], ["--schedule=stp", "did you mean step"]),
        (["--optimizer=adamax"], ["--optimizer=adamax", "adam"]),
        (["--objective=tests.nets:nothing"], ["--objective=tests.nets:nothing"]),
        (["--objective=tests.nets:normed"], ["--objective=tests.nets:normed"]),
        (["--objective=tests.nets:no_accuracy", "--precision=bf16"], ["--precision=bf16", "dtype"]),
        (["--batch_size=201"], ["--batch_size=201", "200 examples"]),
        (["--batch_size=0"], ["--batch_size=0: use 1 or more"]),
        ([*NORMED, "--batch_size=20"], ["--batch_size=20", "8 devices", "multiple of 8"]),
        (["--train_size=5000"], ["train_size=5000"]),
        (["--keep=2,9"], ["--keep=9", "epochs 1 to 4"]),
        (["--epochs=0"], ["--epochs=0", "1 or more"]),
        (["--lr=-0.1"], ["--lr=-0.1"]),
        (["--lr=nan"], ["--lr=nan"]),
        (["--momentum=-0.9"], ["--momentum=-0.9: use 0 or more"]),
        (["--decay_factor=nan"], ["--decay_factor=nan: use 0 or more"]),
        (["--milestones=-5,10"], ["--milestones=-5,10: use 0 or more"]),
        (["--schedule=sgdr", "--sgdr_t0=0"], ["--sgdr_t0=0"]),
        (["--schedule=sgdr", "--lr=0"], ["--lr=0"]),
        (["--crop_padding=-1"], ["--crop_padding=-1"]),
        (["--width=0"], ["width"]),
        (["--init_scale=-1"], ["init_scale"]),
        (["--dropout=1"], ["dropout"]),
        (["--downsample=3"], ["downsample=3"]),
        (["--precison=bf16"], ["'precison'", "precision"]),
        (["seed=3"], ["'seed=3' is not a flag"]),
    ],
    ids=lambda x: " ".join(x) if x[0].startswith("--") else None,
)
def test_wrong_mode(refused, argv, words):
    said = refused("train_mode", *MODE_FLAGS, "--workdir=run", *argv)
    for word in words:
        assert word in said


def test_missing_workdir(refused):
    assert "--workdir is missing" in refused("train_mode", *MODE_FLAGS)


@pytest.mark.parametrize("workdir", ["file", "file/run", "file/deeper/run"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_in_the_way_of_the_workdir(refused, tmp_path, workdir, name):
    (tmp_path / "file").write_text("")
    (tmp_path / "G.cfg").write_text(to_flags(MODE))
    argv = MODE_FLAGS if name == "train_mode" else ["--start=G.cfg", "--end=G.cfg"]
    assert f"--workdir={workdir} cannot be written" in refused(name, *argv, f"--workdir={workdir}")


def test_an_unknown_flag_in_a_flagfile(refused, tmp_path):
    (tmp_path / "f.cfg").write_text("--workdir=run\n--epoch=3\n")
    said = refused("train_mode", "--flagfile=f.cfg")
    assert "'epoch'" in said
    assert "epochs" in said
    assert not (tmp_path / "run").exists()
    assert "nowhere.cfg" in refused("train_mode", "--flagfile=nowhere.cfg")


def test_a_folder_with_another_run(refused, tmp_path):
    Run(tmp_path / "run").open("mode", MODE, steps_per_epoch=5)
    said = refused("train_mode", *MODE_FLAGS, "--workdir=run", "--seed=2")
    assert "other flags (--seed: 1 there, 2 now)" in said
    (tmp_path / "G.cfg").write_text(to_flags(MODE))
    said = refused("fit_curve", "--workdir=run", "--start=G.cfg", "--end=G.cfg")
    assert "run holds a mode, not a curve; use another --workdir" in said


@pytest.fixture
def ends(tmp_path):
    """A finished mode with checkpoints of epochs 2 and 4, a curve and a few flagfiles."""
    for name, kind in (("G", "mode"), ("GB", "curve"), ("unfinished", "mode")):
        run = Run(tmp_path / name)
        config = MODE if kind == "mode" else CurveConfig()
        run.open(kind, config, steps_per_epoch=5, mode={})
        with open_checkpoints(run, keep=(10, 20)) as saved:
            for step in (10, 20):
                saved.save(step, {"x": jnp.float32(1)})
        run.update(status="running" if name == "unfinished" else "done")
    flags = to_flags(MODE)
    for name, text in (
        ("B", "--seed=2"),
        ("wide", "--width=0.5"),
        ("typo", "--wdith=0.5"),
        ("normed", "\n".join(NORMED)),
        ("unknown", "--dataset=digit"),
    ):
        (tmp_path / f"{name}.cfg").write_text(f"{flags}{text}\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "B.cfg").write_text(f"{flags}--seed=3\n")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--start="], ["--start is missing"]),
        (["--end="], ["--end is missing"]),
        (["--workdir="], ["--workdir is missing"]),
        (["--start=nothing"], ["there is no run at nothing"]),
        (["--start=G@3"], ["G has no checkpoint of epoch 3; it has 2, 4"]),
        (["--start=G@two"], ["there is no run at G@two", "RUN[@EPOCH][~T]"]),
        (["--start=unfinished"], ["unfinished is not finished"]),
        (["--start=G~0.5"], ["G is a mode", "only a curve has points"]),
        (["--start=GB~1.5"], ["'GB~1.5'", "from 0 to 1"]),
        (["--end=nothing.cfg"], ["no flagfile nothing.cfg"]),
        (["--end=typo.cfg"], ["'wdith'", "width"]),
        (["--end=unknown.cfg"], ["'digit'", "did you mean digits"]),
        (["--end=wide.cfg"], ["they differ in --width: 0.25 and 0.5"]),
        (["--start=B.cfg", "--end=other/B.cfg"], ["would both be trained in run/modes/B"]),
        (["--points=1"], ["--points=1", "two ends"]),
        (["--bends=0"], ["--bends=0", "use 1 or more", "experiments.interpolate --points"]),
        (["--t_strata=3"], ["--t_strata=3 does not divide --batch_size=40"]),
        (["--batch_size=400"], ["--batch_size=400", "200 examples"]),
        (["--eval_epochs=2,5"], ["no epoch 5", "--epochs=4"]),
        (["--epochs=0"], ["--epochs=0"]),
        (["--curve=line"], ["--curve=line", "There are chain, bezier"]),
        (["--model=mlp"], ["'model'"]),
        (
            ["--start=normed.cfg", "--end=normed.cfg", "--batch_size=20"],
            ["--batch_size=20", "8 devices", "multiple of 8"],
        ),
        (
            ["--start=normed.cfg", "--end=normed.cfg", "--t_strata=2"],
            ["--batch_size=40 in 2 parts", "multiple of 16"],
        ),
    ],
    ids=lambda x: " ".join(x) if x[0].startswith("--") else None,
)
@pytest.mark.usefixtures("ends")
def test_wrong_curve(refused, argv, words):
    given = ["--workdir=run", "--start=G", "--end=B.cfg", "--batch_size=40", "--epochs=4"]
    said = refused("fit_curve", *given, *argv)
    for word in words:
        assert word in said


@pytest.mark.usefixtures("ends")
def test_what_is_right_is_not_refused(monkeypatch, tmp_path):
    """The ends of the cases above, without a fault, come as far as training."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fitting, "train_if_needed", lambda *_: 1 / 0)
    for start, end in (("G", "B.cfg"), ("G@2", "G@4"), ("normed.cfg", "normed.cfg")):
        with pytest.raises(ZeroDivisionError):
            fit_curve.run(
                CurveConfig(workdir=f"{start}-run", start=start, end=end, batch_size=40, epochs=4)
            )

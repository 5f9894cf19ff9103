"""Wrong flags are answered before any data are read, and data are read once."""

import dataclasses

import pytest

from experiments import (
    fit_curve,
    fit_curves,
    interpolate,
    loss_surface,
    sharpness,
    soup,
    train_mode,
)
from experiments.cli.configs import (
    CurveConfig,
    CurvesConfig,
    InterpolateConfig,
    ModeConfig,
    SharpnessConfig,
    SoupConfig,
    SurfaceConfig,
)
from experiments.cli.errors import UsageError
from experiments.cli.flags import identity, to_flags
from experiments.runs import Run, Status, open_checkpoints, open_ends
from experiments.training import fitting, make_problem
from experiments.training.problem import for_mode
from mcjax import data

MODE = ModeConfig(train_size=60, validation_size=20, model="mlp", width=0.25, batch_size=20,
                  epochs=2, schedule="constant")  # fmt: skip
NAMES = ("start", "end", "points", "modes", "curve")
COMMANDS = {
    "train_mode": (train_mode, MODE),
    "fit_curve": (fit_curve, CurveConfig(start="a", end="b.cfg", batch_size=20)),
    "fit_curves": (fit_curves, CurvesConfig(modes=("a", "b.cfg"), batch_size=20)),
    "loss_surface": (loss_surface, SurfaceConfig(points=("a", "ab~0.2", "ab"), grid="2")),
    "interpolate": (interpolate, InterpolateConfig(points=("a", "ab~0.2"), curve=("ab",))),
    "sharpness": (sharpness, SharpnessConfig(curve="ab")),
    "soup": (soup, SoupConfig(points=("a", "ab@1-"), curve=("ab",))),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A mode, a flagfile of another and a curve, of which only the names are looked at."""
    place = tmp_path_factory.mktemp("runs")
    mode, curve = Run(place / "a"), Run(place / "ab")
    mode.open("mode", MODE, steps_per_epoch=3)
    flags = CurveConfig(start="a", end="b", epochs=2)
    curve.open("curve", flags, steps_per_epoch=3, mode=identity(MODE))
    for run, final in ((mode, Status.DONE), (curve, Status.FITTED)):
        with open_checkpoints(run, keep=(6,)) as saved:
            saved.save(6, {"params": {}, "model_state": {}})
        run.move_to(final)
    with open_ends(curve) as saved:
        saved.save(0, {"start": {}, "end": {}})
    for seed, name in enumerate("bc", start=1):
        other = dataclasses.replace(MODE, seed=seed, init_scale=1.0 + seed)
        (place / f"{name}.cfg").write_text(to_flags(other))
    return place


@pytest.fixture
def there(folder, monkeypatch):
    """The commands run where the runs are; they are refused, so nothing is written."""
    monkeypatch.chdir(folder)


def unread(*_, **__):
    raise AssertionError("data were read")


WRONG = [
    ("train_mode", {"dataset": "digit"}, "dataset 'digit' is unknown"),
    ("train_mode", {"dataset": "mnist", "data_dir": "nowhere"}, "nowhere"),
    ("train_mode", {"dataset": "npz:nowhere.npz"}, "there is no file"),
    ("train_mode", {"dataset": "npz:b.cfg"}, "b.cfg cannot be read"),
    ("train_mode", {"dataset": "folder:a"}, "has no images"),
    ("train_mode", {"train_size": 0}, "--train_size=0"),
    ("train_mode", {"normalization": "1/2/3"}, "normalization='1/2/3'"),
    ("train_mode", {"model": "mpl"}, "unknown model 'mpl'"),
    ("train_mode", {"width": -1.0}, "width is -1"),
    ("train_mode", {"objective": "no.such:thing"}, "--objective=no.such:thing"),
    ("train_mode", {"objective": "json:loads", "precision": "bf16"}, "--precision=bf16"),
    ("train_mode", {"lr": -1.0}, "--lr=-1"),
    ("train_mode", {"keep": (3,)}, "--keep=3"),
    ("train_mode", {"fork": "nowhere"}, "--fork=nowhere: its kind is missing, not mode"),
    ("train_mode", {"batch_size": 0}, "--batch_size=0"),
    *(
        (command, changes, message)
        for command in ("fit_curve", "fit_curves")
        for changes, message in (
            ({"splits": ("train", "tset")}, "--splits=train,tset"),
            ({"metrics": "no.such:thing"}, "--metrics=no.such:thing"),
            ({"style": ("nosuch",)}, "--style=nosuch"),
            ({"ensemble_with": ("d",)}, "no run at d"),
            ({"points": 1}, "--points=1"),
            ({"t_strata": 3}, "--t_strata=3"),
        )
    ),
    ("fit_curve", {"end": "d.cfg"}, "no flagfile d.cfg"),
    ("fit_curve", {"fork": "a"}, "--fork=a: its kind is mode, not curve"),
    ("fit_curve", {"fork": "ab", "align": "weights"}, "has --align=None, not weights"),
    ("fit_curve", {"end": "a~0.5"}, "only a curve has points"),
    ("fit_curves", {"shard": "1/2"}, "b is not trained"),
    ("fit_curves", {"pairs": ("a",)}, "--pairs=a"),
    ("loss_surface", {"splits": ("test",)}, "--splits=test"),
    ("loss_surface", {"metrics": "json"}, "--metrics=json"),
    ("loss_surface", {"curve": "ab@7"}, "no checkpoint of epoch 7"),
    ("loss_surface", {"curve": "ab@s6"}, "--curve=ab@s6: write RUN[@EPOCH] of a curve"),
    ("loss_surface", {"iterates": ("a@s6",)}, "--iterates=a@s6: write RUN or RUN@EPOCH"),
    ("loss_surface", {"iterates": ("a@s5",)}, "no checkpoint of step 5; it has 6"),
    ("loss_surface", {"grid": "1"}, "--grid=1"),
    ("loss_surface", {"points": ("a", "ab", "a")}, "--points=a,ab,a: a is there twice"),
    ("interpolate", {"points": ("a",)}, "--points=a"),
    ("soup", {"points": ("a", "b@all")}, "there is no run at b"),
    ("sharpness", {"curve": "a"}, "--curve=a"),
    ("sharpness", {"curve": "ab@7"}, "no checkpoint of epoch 7"),
    ("sharpness", {"eigenvalues": 0}, "--eigenvalues=0"),
]


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize(("name", "changes", "message"), WRONG)
def test_a_wrong_flag_is_answered_before_data_are_read(name, changes, message, monkeypatch):
    monkeypatch.setattr(data, "load", unread)
    module, config = COMMANDS[name]
    with pytest.raises(UsageError) as caught:
        module.run(dataclasses.replace(config, workdir="new", **changes))
    assert message in str(caught.value)


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize("name", COMMANDS)
def test_right_flags_come_as_far_as_the_data(name, monkeypatch):
    monkeypatch.setattr(data, "load", unread)
    module, config = COMMANDS[name]
    with pytest.raises(AssertionError, match="data were read"):
        module.run(dataclasses.replace(config, workdir="new"))


@pytest.mark.usefixtures("there")
def test_a_curve_and_its_modes_share_one_problem(monkeypatch):
    read, plain, given = [], data.load, []
    monkeypatch.setattr(data, "load", lambda *a, **k: read.append(a) or plain(*a, **k))
    monkeypatch.setattr(fitting, "train_if_needed", lambda end, problem, _: given.append(problem))
    monkeypatch.setattr(fitting, "train", lambda fit, problem: 1 / 0)
    config = CurveConfig(workdir="begun", start="b.cfg", end="c.cfg", batch_size=20, epochs=1)
    with pytest.raises(ZeroDivisionError):
        fit_curve.run(config)
    assert len(read) == 1
    assert given[0] is given[1]


def test_a_mode_with_other_dropout_has_its_own_network_and_the_same_data():
    problem = make_problem(MODE)
    assert for_mode(problem, dataclasses.replace(MODE, seed=3, init_scale=2.0)) is problem
    other = for_mode(problem, dataclasses.replace(MODE, dropout=0.25))
    assert other.model != problem.model
    assert other.mode.dropout == 0.25
    assert other.train is problem.train
    assert other.evaluator.splits == problem.evaluator.splits


@pytest.mark.usefixtures("there")
def test_what_needs_the_data_is_answered_right_after_them(monkeypatch):
    monkeypatch.setattr(fitting, "begin", unread)
    config = CurveConfig(workdir="new", start="a", end="b.cfg", batch_size=61)
    with pytest.raises(UsageError, match="--batch_size=61: the training split has 60 examples"):
        fit_curve.run(config)

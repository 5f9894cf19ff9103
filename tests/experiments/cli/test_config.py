import dataclasses
import os
import re
import signal

import jax
import numpy as np
import pytest

from experiments.cli import command, configs, flagfiles, flags
from experiments.cli.configs import CurveConfig, CurvesConfig, ModeConfig, SurfaceConfig
from experiments.cli.errors import UsageError
from experiments.training import optimization
from mcjax.engine import threads

FLAGFILES = sorted((flagfiles.PACKAGE_ROOT / "experiments" / "flags").rglob("*.cfg"))
COMMANDS = {
    "train_mode": "ModeConfig",
    "fit_curve": "CurveConfig",
    "fit_curves": "CurvesConfig",
    "loss_surface": "SurfaceConfig",
    "interpolate": "InterpolateConfig",
    "instability": "InstabilityConfig",
    "sharpness": "SharpnessConfig",
    "reproduce": "ReproduceConfig",
}

MODE = ModeConfig(
    workdir="runs/a b", data_dir="/data", precision="bf16", compilation_cache=False,
    cpu_devices=2, checkpoint_seconds=0.1,
    batch_size=7, epochs=3, optimizer="adamw", lr=1.5e-7, momentum=0.1 +
    0.2, weight_decay=0.0, schedule="sgdr", milestones=(), decay_factor=1 / 3, sgdr_t0=4,
    sgdr_mult=3, lr_min=1e-9, schedule_per_epoch=True, crop_padding=2, flip=True, seed=11,
    keep=(1, 3), tracker=("tensorboard",), eval_every=0, profile=True,
    keep_going=True, fork="runs/o", fork_weights=True, keep_steps=(4,),
    dataset="tfds:svhn_cropped", use_test=True, train_size=99,
    validation_size=13, downsample=2, pad_to=32, normalization="imagenet",
    model="my.package:net", width=0.25, dropout=0.0, init_scale=3.0, objective="my.package:loss",
)  # fmt: skip
CURVE = CurveConfig(
    workdir="runs/c", start="runs/G@20~0.25", end="runs/B", modes_dir="runs", curve="bezier",
    bends=3, free_ends=True, t_strata=5, points=8, eval_epochs=(1, 2), allow_failed=True, lr=0.1,
    schedule="linear", epochs=2,
)  # fmt: skip


@pytest.mark.parametrize("config", [MODE, CURVE, ModeConfig(), CurveConfig()])
def test_flags_give_the_config_again(tmp_path, config):
    file = tmp_path / "flags.cfg"
    file.write_text(flags.to_flags(config))
    again = flags.parse_flagfile(type(config), file)
    assert again == config
    for field in dataclasses.fields(config):
        assert type(getattr(again, field.name)) is type(getattr(config, field.name))


def test_every_flag_of_the_round_trip_is_off_its_default():
    for field in dataclasses.fields(ModeConfig):
        off = getattr(MODE, field.name) != field.default
        assert off == (field.name not in flags.LAUNCH), field.name


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--epoch=3"], "Unknown command line flag 'epoch'.*epochs"),
        (["--epochs=three"], "--epochs=three"),
        (["--epochs=2.5"], "--epochs=2.5"),
        (["--schedule=cosine"], "--schedule=cosine.*constant.*sgdr"),
        (["--keep=1,x"], "'1,x' is not a comma-separated list of integers"),
        (["--use_test=maybe"], "--use_test=maybe"),
        (["epochs=3"], "'epochs=3' is not a flag; flags are written --name=value"),
        (["--flip", "yes"], "'yes' is not a flag"),
        (["--flagfile=/nowhere/x.cfg"], "/nowhere/x.cfg"),
        (["--start=runs/G"], "Unknown command line flag 'start'"),
    ],
)
def test_wrong_flags(argv, message):
    with pytest.raises(UsageError, match=message) as caught:
        flags.parse(ModeConfig, argv)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("--epochs=3\n--wdith=2\n", "'wdith'.*width"), ("--epochs=3\nwidth=2\n", "'width=2'")],
)
def test_wrong_flagfile(tmp_path, text, message):
    file = tmp_path / "f.cfg"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        flags.parse_flagfile(ModeConfig, file)


@pytest.mark.parametrize("config", [ModeConfig, CurveConfig])
@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_names_every_flag(capsys, config, word):
    with pytest.raises(SystemExit) as caught:
        flags.parse(config, [word], "What the command does.")
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("What the command does.")
    for field in dataclasses.fields(config):
        assert re.search(rf"--(\[no\])?{field.name}\b", text), field.name
        assert field.metadata["help"][:25] in text


def command_of(file):
    """The command that a flagfile's header names, with this very file."""
    name = file.resolve().relative_to(flagfiles.PACKAGE_ROOT)
    found = re.search(
        rf"^# python -m experiments\.(\w+) --flagfile={name}( |$)", file.read_text(), re.M
    )
    assert found, f"{name} does not say how it is run"
    return found[1]


def parsed(file):
    return flags.parse_flagfile(getattr(configs, COMMANDS[command_of(file)]), file)


@pytest.mark.parametrize("file", FLAGFILES, ids=lambda f: f"{f.parent.name}/{f.stem}")
def test_committed_flagfiles(file):
    command = command_of(file)
    assert (command == "fit_curve") == ("--start=" in file.read_text())
    config = parsed(file)
    assert config.workdir or "--workdir=" in file.read_text()
    if command == "fit_curves":
        assert len({parsed(flags.find_flagfile(mode)).workdir for mode in config.modes}) == 7
    if command == "fit_curve":
        for end in (config.start, config.end):
            if flags.find_flagfile(end) is not None:
                parsed(flags.find_flagfile(end))
            else:
                run, epoch = end.split("@")
                mode = parsed(file.with_name(f"{run.split('/')[-1]}.cfg"))
                assert mode.workdir == run
                assert int(epoch) in (*mode.keep, mode.epochs)


def folders():
    return sorted({f.parent for f in FLAGFILES if f.stem == "G"})


@pytest.mark.parametrize("folder", folders(), ids=lambda f: f.name)
def test_every_mode_of_a_folder_has_its_own_seed(folder):
    modes = [parsed(f) for f in folder.glob("*.cfg") if command_of(f) == "train_mode"]
    assert len(modes) >= (2 if folder.name.startswith("quickstart") else 9)
    assert len({m.seed for m in modes}) == len(modes)
    given = [m.workdir for m in modes if m.workdir]
    assert len(set(given)) == len(given)
    assert len({(m.dataset, m.model, m.use_test, m.train_size, m.width) for m in modes}) == 1


def cifar(name):
    return parsed(flagfiles.PACKAGE_ROOT / "experiments" / "flags" / "cifar10" / f"{name}.cfg")


def differs(a, b):
    """The flags that differ between two modes, without those that must."""
    names = {f.name for f in dataclasses.fields(a)} - {"seed", "workdir"}
    return {n for n in names if getattr(a, n) != getattr(b, n)}


def test_the_paper_s_reference_mode():
    g = cifar("G")
    assert (g.dataset, g.use_test, g.model, g.width) == ("cifar10", True, "vgg16", 1.0)
    assert (g.epochs, g.batch_size, g.optimizer, g.momentum) == (200, 100, "sgd", 0.9)
    assert (g.lr, g.schedule, g.milestones) == (0.05, "step", (60, 120, 160))
    assert g.decay_factor == pytest.approx(1 / 5)
    assert (g.weight_decay, g.init_scale, g.crop_padding, g.flip) == (5e-4, 1.0, 4, False)
    assert (g.train_size, g.downsample, g.precision) == (None, 1, "bf16")


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("A", {"batch_size": 4000}),
        ("B", {"optimizer": "adam", "lr": 3e-4}),
        ("C", {"schedule": "linear"}),
        ("D", {"weight_decay": 5e-6}),
        ("E", {"init_scale": 3.0}),
        ("F", {"crop_padding": 0}),
    ],
)
def test_each_variant_changes_one_thing(name, changes):
    mode, g = cifar(name), cifar("G")
    assert differs(mode, g) == set(changes)
    assert {n: getattr(mode, n) for n in changes} == changes


def test_the_paper_s_trajectories():
    sgdr, step = cifar("sgdr"), cifar("step")
    assert (sgdr.epochs, sgdr.schedule, sgdr.sgdr_t0, sgdr.sgdr_mult) == (150, "sgdr", 10, 2)
    assert (sgdr.lr, sgdr.lr_min, sgdr.schedule_per_epoch) == (0.05, 1e-6, False)
    assert {30, 70, 150} <= set(sgdr.keep)
    assert (step.epochs, step.schedule, step.milestones) == (165, "step", (60, 150))
    assert (step.lr, step.decay_factor) == (0.05, 0.2)
    assert {55, 65, 145} <= set(step.keep)
    for mode in (sgdr, step):
        assert (mode.batch_size, mode.weight_decay, mode.crop_padding) == (100, 5e-4, 4)


@pytest.mark.parametrize("name", [f"G{m}" for m in "ABCDEF"])
def test_the_paper_s_curves(name):
    curve = cifar(name)
    assert curve.start.endswith("cifar10/G.cfg")
    assert curve.end.endswith(f"cifar10/{name[1]}.cfg")
    assert (curve.curve, curve.bends, curve.free_ends, curve.t_strata) == ("chain", 1, False, 1)
    assert (curve.epochs, curve.batch_size, curve.schedule) == (200, 100, "curve")
    assert (curve.lr, curve.optimizer, curve.momentum) == (0.015, "sgd", 0.9)
    assert (curve.weight_decay, curve.points, curve.precision) == (5e-4, 31, "bf16")
    assert curve.eval_epochs == (20, 40, 60, 80)


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        ("curve", [1, 1, 0.7525, 0.505, 0.2575, 0.01, 0.01]),  # Garipov's epochs 4 to 10 of 10
        ("linear", [0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
    ],
)
def test_schedule_per_epoch_of_the_curve_is_garipovs(schedule, values):
    run = CurveConfig(epochs=10, lr=1.0, schedule=schedule, schedule_per_epoch=True)
    found = optimization.make_schedule(run, steps_per_epoch=3)(np.arange(9, 30))
    np.testing.assert_allclose(found, np.repeat(values, 3), rtol=1e-5)


@pytest.mark.parametrize(
    ("run", "pairs"),
    [("sgdr", ((30, 70), (70, 150), (30, 150))), ("step", ((55, 65), (145, 165), (55, 165)))],
)
def test_the_paper_s_pairs_of_iterates(run, pairs):
    for first, second in pairs:
        curve = cifar(f"{run}_{first}_{second}")
        assert curve.start.endswith(f"cifar10/{run}@{first}")
        assert curve.end.endswith(f"cifar10/{run}@{second}")


def test_identity_leaves_out_where_and_how_fast():
    here = ModeConfig(workdir="a", data_dir="x", checkpoint_seconds=1.0, keep=(2,))
    there = ModeConfig(workdir="b", checkpoint_seconds=9.0, keep=(2,), compilation_cache=False)
    assert flags.identity(here) == flags.identity(there)
    assert flags.identity(here)["keep"] == [2]
    assert flags.identity(ModeConfig(seed=1)) != flags.identity(ModeConfig(seed=2))
    # What failed is connected by the same command with --allow_failed.
    assert flags.identity(CurveConfig()) == flags.identity(CurveConfig(allow_failed=True))


@pytest.mark.parametrize(
    ("config", "again"), [(ModeConfig, "resume"), (configs.BenchmarkConfig, "start again")]
)
def test_a_signal_where_nothing_is_to_be_saved(config, again, monkeypatch, capsys):
    """As while the data are read: nothing is lost, and a scheduler sees that it may go on."""
    monkeypatch.setattr("sys.argv", ["train_mode", "--nocompilation_cache"])
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        command.main(config, lambda config: os.kill(os.getpid(), signal.SIGTERM), "doc")
    assert signal.getsignal(signal.SIGTERM) == before
    assert ended.value.code == 75
    said = f"train_mode: stopped by SIGTERM; run the same command to {again}\n"
    assert capsys.readouterr().err == said


def test_a_core_is_a_device_where_there_is_much_to_divide():
    alone, divided = ModeConfig(), (SurfaceConfig(), CurvesConfig())
    assert command.cpu_devices(alone) == 0
    assert {command.cpu_devices(c) for c in divided} == {min(threads.cores(), 8)}
    change = dataclasses.replace
    assert [command.cpu_devices(change(c, cpu_devices=3)) for c in (alone, *divided)] == [3, 3, 3]
    assert command.cpu_devices(change(divided[0], coordinator="host:1")) == 0
    assert command.cpu_devices(change(divided[0], distributed=True)) == 0


@pytest.mark.parametrize(
    ("version", "given", "added"),
    [
        ((0, 10, 2), "", {"--xla_cpu_use_fusion_emitters", "--xla_backend_extra_options"}),
        ((0, 10, 2), "--xla_cpu_use_fusion_emitters=true", {"--xla_backend_extra_options"}),
        ((0, 11, 1), "--xla_dump_to=a", {"--xla_backend_extra_options"}),
        ((0, 13, 0), "--xla_dump_to=a", set()),  # it may not know them: XLA would abort
    ],
)
def test_xla_is_given_only_flags_that_its_version_knows(version, given, added, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", given)
    monkeypatch.setattr(command.jaxlib.version, "__version_info__", version)
    command._compile_faster()
    before, now = given.split(), os.environ["XLA_FLAGS"].split()
    assert now[: len(before)] == before
    assert {flag.split("=")[0] for flag in now[len(before) :]} == added


@pytest.mark.parametrize(
    ("platforms", "plugins", "left"),
    [("", {"jax_plugins"}, True), ("cuda,cpu", {"libtpu"}, True), ("cpu", {"libtpu"}, False),
     ("", set(), False)],
)  # fmt: skip
def test_compilation_is_left_alone_where_there_may_be_a_gpu(platforms, plugins, left, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: name in plugins)
    before = jax.config.values["jax_platforms"]
    jax.config.update("jax_platforms", platforms)
    try:
        command._compile_faster()
    finally:
        jax.config.update("jax_platforms", before)
    assert (os.environ["XLA_FLAGS"] == "") == left

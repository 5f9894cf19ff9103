"""Names of checkpoints, and text flags: whatever can be written can be named."""

import os
import pwd
from pathlib import Path

import numpy as np
import pytest

from experiments.cli import configs, flags
from experiments.cli.configs import (
    CurvesConfig,
    ExportConfig,
    ModeConfig,
    ReproduceConfig,
    SurfaceConfig,
)
from experiments.cli.errors import UsageError
from experiments.runs import epoch_of, expand, folder, names, open_checkpoints
from experiments.training import pairs


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("runs/G", ("runs/G", None, None)),
        ("runs/sgdr@70", ("runs/sgdr", 70, None)),
        ("GA~0.25", ("GA", None, 0.25)),
        ("/a/b.c/GA@20~.5", ("/a/b.c/GA", 20, 0.5)),
        ("GA@3~1", ("GA", 3, 1.0)),
        ("GA~1e-3", ("GA", None, 0.001)),
        ("a b/G=2@007", ("a b/G=2", 7, None)),
        ("me@lab/G~2/GA@20~0.25", ("me@lab/G~2/GA", 20, 0.25)),
        ("me@lab/G", ("me@lab/G", None, None)),
        ("G@two", ("G@two", None, None)),
        ("G@1@2", ("G@1", 2, None)),
        ("G~0.5@3", ("G~0.5", 3, None)),
        ("G@", ("G@", None, None)),
        ("G~-0.1", ("G~-0.1", None, None)),
        ("@3", ("@3", None, None)),
        ("lr@3/", ("lr@3", None, None)),
        ("lr~0.1/@7", ("lr~0.1", 7, None)),
    ],
)
def test_only_final_digits_and_t_are_parsed_of_a_name(text, name):
    assert names.parse_name(text)[:3] == (Path(name[0]), *name[1:])


@pytest.mark.parametrize("text", ["", "a\nb", "a\0b", "az://b/G@3"])
def test_what_is_no_name(text):
    with pytest.raises(UsageError) as caught:
        names.parse_name(text)
    assert "\n" not in str(caught.value).removeprefix(text)


@pytest.mark.parametrize("t", ["1.01", "2", "15e0"])
def test_t_lies_on_the_curve(t):
    with pytest.raises(UsageError, match="from 0 to 1"):
        names.parse_name(f"G~{t}")


@pytest.mark.parametrize("own_name", ["lr@3", "lr~0.1", "lr~3", "a@b/lr@3~0.5"])
def test_a_run_whose_own_name_looks_like_a_checkpoint_s(tmp_path, own_name):
    run = folder.Run(tmp_path / own_name)
    run.open("mode", ModeConfig(), steps_per_epoch=5)
    for text in (f"{run.path}", f"{run.path}/"):
        assert names.parse_name(text) == (run.path, None, None, None)
    assert names.parse_name(f"{run.path}@7") == (run.path, 7, None, None)
    other = folder.Run(tmp_path / "lr")
    other.open("mode", ModeConfig(), steps_per_epoch=5)
    assert names.parse_name(f"{other.path}@3") == (other.path, 3, None, None)
    assert names.parse_name(f"{other.path}@s17") == (other.path, None, None, 17)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def test_a_tilde_is_the_home_folder_in_every_flag(home):
    config = flags.parse(
        SurfaceConfig,
        [
            "--workdir=~/s",
            "--data_dir=~",
            "--points=~/a@3,~/b,c~0.5",
            "--curve=~/ab",
            "--style=~/x",
        ],
    )
    assert (config.workdir, config.data_dir) == (f"{home}/s", str(home))
    assert config.points == (f"{home}/a@3", f"{home}/b", "c~0.5")
    assert (config.curve, config.style) == (f"{home}/ab", (f"{home}/x",))
    assert folder.Run("~/m").path == home / "m"
    assert names.parse_name("~/m@3~0.5") == (home / "m", 3, 0.5, None)
    home.mkdir()
    (home / "G.cfg").write_text("--epochs=3\n")
    assert flags.find_flagfile("~/G.cfg") == home / "G.cfg"
    assert flags.parse(ModeConfig, ["--flagfile=~/G.cfg"]).epochs == 3
    assert not Path("~").exists()


def test_a_tilde_without_a_home_folder_is_refused(monkeypatch):
    def no_entry(_):
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    with pytest.raises(UsageError, match="--workdir=~/m: there is no home folder"):
        flags.parse(ModeConfig, ["--workdir=~/m"])


@pytest.mark.parametrize(
    ("config", "flag"),
    [
        (ModeConfig, "--workdir=az://b/run"),
        (ReproduceConfig, "--data_dir=s3://b/data"),
        (ModeConfig, "--fork=file:///b/G"),
        (ExportConfig, "--output=gs://b/curve.npz"),
        (ExportConfig, "--run=hdfs://b/G"),
        (SurfaceConfig, "--points=a,http://b/G@3,c"),
        (CurvesConfig, "--pairs=ftp://b/G:A"),
        (ModeConfig, "--flagfile=az://b/G.cfg"),
    ],
)
def test_remote_places_are_refused_up_front(config, flag):
    with pytest.raises(
        UsageError, match=r"://.* is not supported, only local paths.*: mount"
    ) as no:
        flags.parse(config, [flag])
    assert "\n" not in str(no.value)


def test_remote_places_are_refused_in_python_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for call in (folder.Run, names.parse_name, lambda x: flags.find_flagfile(f"{x}.cfg")):
        with pytest.raises(UsageError, match="az:// is not supported"):
            call("az://b/run")
    assert not list(tmp_path.iterdir())


def test_commas_and_colons_in_names_are_escaped(tmp_path):
    names = ("runs/a,b", "runs\\c", "d\\", 'e"')
    config = configs.SurfaceConfig(points=names)
    assert flags.parse(SurfaceConfig, flags.to_argv(config)) == config
    assert flags.parse(SurfaceConfig, [r"--points=runs/a\,b,runs\c"]).points == names[:2]
    config = flags.parse(CurvesConfig, [r"--pairs=a\:b:c,d:e\,f", f"--workdir={tmp_path}"])
    assert [(c.start, c.end) for c in pairs.plan(config)] == [("a:b", "c"), ("d", "e,f")]
    with pytest.raises(UsageError, match=r"--pairs=a:b:c: write START:END"):
        pairs.plan(CurvesConfig(workdir="w", pairs=("a:b:c",)))


@pytest.mark.parametrize("value", [os.fsdecode(b"\xff"), "a\nb", "a\rb"])
def test_what_no_flagfile_could_hold_is_refused(value):
    with pytest.raises(UsageError, match="not one line of Unicode text"):
        flags.parse(ModeConfig, [f"--workdir={value}"])


def test_ranges_of_checkpoints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("G", "lr@all"):
        run = folder.Run(name)
        config = ModeConfig(keep=(0, 2), keep_steps=(12,))
        run.open("mode", config, steps_per_epoch=5)
        with open_checkpoints(run, keep=(0, 10, 12, 47, 50)) as saved:
            for step in (0, 10, 12, 47, 50):  # that of step 47 was saved by the clock
                saved.save(step, {"w": np.zeros(1)})
    assert expand("G@all") == ["G@0", "G@2", "G@s12", "G@10"]
    assert expand("G@2-") == ["G@2", "G@s12", "G@10"]
    assert expand("G@1-2~0.5") == ["G@2~0.5"]
    assert expand("lr@all") == ["lr@all"]
    assert expand("lr@all@2-9") == ["lr@all@2", "lr@all@s12"]
    assert expand("G@3") == ["G@3"]
    assert epoch_of(names.parse_name("G@s12")) == 2.4
    with pytest.raises(UsageError, match="G@3-9: G has no such checkpoint; it has 0, 2, s12, 10"):
        expand("G@3-9")

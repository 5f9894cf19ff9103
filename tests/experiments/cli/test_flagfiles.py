import codecs

import pytest

from experiments.cli import configs, flagfiles, flags
from experiments.cli.configs import ModeConfig, SurfaceConfig
from experiments.cli.errors import UsageError
from mcjax.exchange import torch_names


@pytest.fixture
def write(tmp_path, monkeypatch):
    """``write(name, *lines)`` writes a flagfile in the folder where commands are given."""
    monkeypatch.chdir(tmp_path)

    def write(name, *lines):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
        return f"--flagfile={name}"

    return write


def test_flags_on_the_command_line_win_whatever_the_order(write):
    file = write("f.cfg", "# a comment", "", "--epochs=5", "--flip", "--keep=1,2", "--seed=7")
    own = ["--epochs=6", "--noflip", "--keep="]
    for argv in (
        [file, *own],
        [*own, file],
        [own[0], "--flagfile", "f.cfg", *own[1:]],
        [*own, "-flagfile=f.cfg"],
    ):
        config = flags.parse(ModeConfig, argv)
        assert (config.epochs, config.flip, config.keep, config.seed) == (6, False, (), 7)


def test_a_file_s_own_lines_override_those_of_a_file_that_it_names(write):
    write("deep.cfg", "--epochs=1", "--seed=1", "--lr=0.5")
    write("base.cfg", "--epochs=2", "--seed=2", "--flagfile=deep.cfg")
    file = write("f.cfg", "--epochs=3", "--flagfile=base.cfg")
    config = flags.parse(ModeConfig, [file])
    assert (config.epochs, config.seed, config.lr) == (3, 2, 0.5)
    later = write("later.cfg", "--epochs=9")
    assert flags.parse(ModeConfig, [file, later]).epochs == 9


def test_flagfiles_are_found_from_any_folder(write, tmp_path):
    name = "experiments/flags/quickstart.cfg"
    assert flags.find_flagfile(name) == flagfiles.PACKAGE_ROOT / name
    from_here = flags.parse(configs.CurveConfig, [f"--flagfile={name}"])
    assert from_here.start.endswith(".cfg")
    write(name, "--start=mine")
    assert flags.parse(configs.CurveConfig, [f"--flagfile={name}"]).start == "mine"
    assert flags.find_flagfile("runs/G@20") is None
    (tmp_path / "run.cfg").mkdir()
    assert flags.find_flagfile("run.cfg") is None  # a folder can be a run of this name
    with pytest.raises(UsageError, match=r"no flagfile nothing\.cfg"):
        flags.find_flagfile("nothing.cfg")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--flagfile=nowhere.cfg"], r"no flagfile nowhere\.cfg"),
        (["--flagfile"], "without a name"),
        (["--flagfile=loop.cfg"], r"--flagfile=loop\.cfg: the file includes itself"),
        (["--flagfile=utf16.cfg"], r"--flagfile=utf16\.cfg is not UTF-8"),
        (["--flagfile=typo.cfg"], "'epoch'.*epochs"),
    ],
)
def test_wrong_flagfiles_are_one_line(write, tmp_path, argv, message):
    write("loop.cfg", "--flagfile=other.cfg")
    write("other.cfg", "--flagfile=loop.cfg")
    write("typo.cfg", "--epoch=3")
    (tmp_path / "utf16.cfg").write_bytes("--epochs=3\n".encode("utf-16"))
    with pytest.raises(UsageError, match=message) as caught:
        flags.parse(ModeConfig, argv)
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_is_dropped(tmp_path, monkeypatch):
    """Windows editors put one at the start of a flagfile or name map."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.cfg").write_bytes(codecs.BOM_UTF8 + b"--epochs=3\r\n--seed=4\r\n")
    config = flags.parse(ModeConfig, ["--flagfile=f.cfg"])
    assert (config.epochs, config.seed) == (3, 4)
    for content in (b"fc = Dense_0", b'{"fc": "Dense_0"}'):
        (tmp_path / "map").write_bytes(codecs.BOM_UTF8 + content)
        (layer,) = torch_names.read_map(tmp_path / "map", ())
        assert (layer.theirs, layer.ours) == ("fc", "Dense_0")


def test_quotes_around_values_are_dropped(write):
    lines = ['--workdir="runs/a b"', "--model='mlp'", '"--data_dir=/my data"', '--objective="']
    config = flags.parse(ModeConfig, [write("f.cfg", *lines)])
    assert (config.workdir, config.model) == ("runs/a b", "mlp")
    assert (config.data_dir, config.objective) == ("/my data", '"')
    assert flags.parse(ModeConfig, ['--workdir="x"']).workdir == '"x"'  # the shell took its own


@pytest.mark.parametrize("value", ['"x"', "'", "''", " x", "x ", "", "#x", '"a", "b"', "a=b", "é"])
def test_every_value_comes_back_from_a_flagfile(write, tmp_path, value):
    config = SurfaceConfig(workdir=value, points=(f"a{value}b", "c"))
    (tmp_path / "f.cfg").write_text(flags.to_flags(config))
    assert flags.parse(SurfaceConfig, ["--flagfile=f.cfg"]) == config

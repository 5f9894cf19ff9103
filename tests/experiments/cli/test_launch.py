"""How a command starts: other processes, devices and the user's cache folder."""

import pwd
import threading

import jax
import pytest

from experiments.cli import command, errors, flags, processes
from experiments.cli.configs import ModeConfig
from experiments.cli.errors import UsageError

LAUNCH = ["--coordinator=host:1234", "--num_processes=4", "--process_id=0"]


@pytest.fixture
def started(monkeypatch, capsys):
    """Runs a command that prints its workdir; gives its status, output and errors."""

    def start(*argv):
        monkeypatch.setattr("sys.argv", ["train_mode", *argv])
        with pytest.raises(SystemExit) as ended:
            command.main(ModeConfig, lambda config: print(f"ran in {config.workdir}"), "doc")
        return ended.value.code, *capsys.readouterr()

    return start


def test_launch_flags_are_never_recorded():
    config = flags.parse(ModeConfig, [*LAUNCH, "--seed=3"])
    assert config.process_id == 0
    text = flags.to_flags(config)
    assert "--seed=3\n" in text
    assert not any(name in text for name in flags.LAUNCH)
    assert processes.given(config) == " ".join(LAUNCH)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--coordinator=host"], "--coordinator=host: write HOST:PORT"),
        (["--coordinator=:12"], "--coordinator=:12: write HOST:PORT"),
        (["--coordinator=host:0"], "--coordinator=host:0: write HOST:PORT"),
        (["--coordinator=host:70000"], "--coordinator=host:70000: write HOST:PORT"),
        (["--num_processes=2"], "--num_processes=2: a coordinator is missing; give"),
        (["--process_id=0"], "--process_id=0: a coordinator is missing; give"),
        ([LAUNCH[0], "--num_processes=0"], "--num_processes=0: use 1 or more"),
        ([*LAUNCH, "--process_id=4"], "--process_id=4: 4 processes count from 0"),
        ([*LAUNCH, "--process_id=-1"], "--process_id=-1: 4 processes count from 0"),
    ],
)
def test_wrong_launch_flags_are_one_line_that_names_them(started, argv, message):
    status, out, error = started("--nocompilation_cache", *argv)
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert error.startswith(f"train_mode: {message}")


def test_what_jax_refuses_names_the_flags_that_were_given(monkeypatch):
    def refuse(*_, **__):
        raise ValueError("no\ncluster")

    monkeypatch.setattr(jax.distributed, "initialize", refuse)
    for argv in (["--distributed"], LAUNCH):
        with pytest.raises(UsageError) as no:
            processes.join(flags.parse(ModeConfig, argv))
        assert str(no.value).startswith(f"{' '.join(argv)}: no cluster; if no cluster")


def test_waiting_for_processes_is_said_and_ends(monkeypatch, capsys):
    gone = threading.Event()
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **__: gone.wait(60))
    monkeypatch.setattr(processes, "QUIET_SECONDS", 0.01)
    monkeypatch.setattr(processes, "WAIT_SECONDS", 0.03)
    with pytest.raises(errors.Missing) as missing:
        processes.join(flags.parse(ModeConfig, LAUNCH))
    gone.set()
    whom = "4 processes at host:1234 (this is number 0, counted from 0)"
    assert capsys.readouterr().err == f"waiting for {whom}, up to 0.03 s\n"
    assert str(missing.value).startswith(f"after 0.03 s still waiting for {whom}")
    assert str(missing.value).endswith(f"run alone without {' '.join(LAUNCH)}")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (AssertionError(), "there is no such device, or jax has no plugin for it"),
        (RuntimeError("Unable to initialize\nbackend"), "Unable to initialize backend"),
    ],
)
def test_a_platform_without_a_device_is_one_right_line(started, monkeypatch, error, words):
    def devices():
        raise error

    monkeypatch.setattr(jax, "devices", devices)
    status, out, said = started("--nocompilation_cache", "--workdir=w")
    assert (status, out, said.count("\n")) == (2, "", 1)
    assert said.startswith(f"train_mode: JAX_PLATFORMS=cpu: {words}; unset it")


@pytest.fixture
def no_compilation_cache():
    before = jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.usefixtures("no_compilation_cache")
def test_without_a_home_folder_a_command_runs_without_a_cache(started, monkeypatch):
    def no_entry(_):
        raise KeyError

    for name in ("MCJAX_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    status, out, said = started("--workdir=w")
    assert (status, out) == (0, "ran in w\n")
    assert said.startswith("note: compiled programs are not cached: Could not determine home")
    assert said.endswith("; set MCJAX_CACHE to a folder\n")
    assert jax.config.values["jax_compilation_cache_dir"] is None


@pytest.mark.usefixtures("no_compilation_cache")
def test_a_cache_folder_that_cannot_be_made_is_said(started, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MCJAX_CACHE", str(tmp_path / "file"))
    status, out, said = started("--workdir=w")
    assert (status, out, said.count("\n")) == (0, "ran in w\n", 1)
    assert f"'{tmp_path}/file/programs'" in said

"""How a command starts: other processes, devices and the user's cache folder."""

import pwd
import sys

import jax
import pytest

from experiments.cli import command, flags, processes
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
        raise ValueError("no\nservice")

    monkeypatch.setattr(jax.distributed, "initialize", refuse)
    monkeypatch.setattr(processes.meeting, "meet", lambda *_: None)
    with pytest.raises(UsageError) as no:
        processes.join(flags.parse(ModeConfig, LAUNCH))
    assert str(no.value) == f"{' '.join(LAUNCH)}: no service"


def test_where_jax_detects_clusters_otherwise_jax_alone_joins(monkeypatch):
    joined = []
    monkeypatch.setitem(sys.modules, "jax._src.clusters", None)  # a module that cannot be imported
    monkeypatch.setattr(jax.distributed, "initialize", lambda *place, **_: joined.append(place))
    processes.join(flags.parse(ModeConfig, LAUNCH))
    processes.join(flags.parse(ModeConfig, ["--distributed"]))
    assert joined == [("host:1234", 4, 0), (None, None, None)]


@pytest.mark.parametrize("given", ["--distributed", LAUNCH[0], " ".join(LAUNCH[:2])])
def test_without_a_cluster_all_of_the_address_is_needed(given):
    with pytest.raises(UsageError) as no:
        processes.join(flags.parse(ModeConfig, given.split()))
    assert str(no.value) == f"{given}: JAX detects no cluster here; give {processes.USAGE}"


def test_slurms_variables_name_address_number_and_index(monkeypatch):
    for name, value in {
        "SLURM_JOB_ID": "4097", "SLURM_STEP_NODELIST": "node[07,11-12]", "SLURM_NTASKS": "3",
        "SLURM_PROCID": "2", "SLURM_LOCALID": "0",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    met = []
    monkeypatch.setattr(processes.meeting, "meet", lambda *arguments: met.append(arguments))
    monkeypatch.setattr(jax.distributed, "initialize", lambda *launch, **_: met.append(launch))
    argv = ["--distributed", "--epochs=3", "--keep=1,2", "--data_dir=here"]
    processes.join(flags.parse(ModeConfig, argv))
    (launch, record, remedy), again = met
    assert launch == again == ("node07:61441", 3, 2)
    assert remedy.endswith("or run alone without --distributed")
    assert (record["--epochs"], record["--keep"]) == ("--epochs=3", "--keep=1,2")
    assert record["jax"] == f"jax {jax.__version__}"
    assert record["number"] == "--num_processes=3"
    assert not {"--data_dir", "--process_id", "--cpu_devices"} & record.keys()


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

"""``--help`` of every command, and the list of commands."""

import contextlib
import dataclasses
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import __main__ as listing
from experiments.cli import command, configs, flag_help, flagfiles, flags
from mcjax import data
from mcjax.flax import models

MODULES = [importlib.import_module(f"experiments.{name}") for name in listing.commands()]
EVERY = pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__.split(".")[-1])


def config_of(module):
    name = re.search(r"    main\((\w+), run, __doc__\)", Path(module.__file__).read_text())[1]
    return getattr(module, name)


def page(module):
    return flag_help.page(config_of(module), module.__doc__)


def listed(text):
    return re.findall(r"^  --(?:\[no\])?(\w+)", text, re.M)


@EVERY
def test_help_shows_the_choices_of_every_flag_that_has_them(module):
    text = page(module)
    for field in dataclasses.fields(config_of(module)):
        if field.metadata["choices"] and field.name in listed(text):
            assert f"--{field.name}={'|'.join(field.metadata['choices'])}" in text
    words = set(re.split(r"[\s,.]+", text))
    if "model" in listed(text):
        assert {*models.names()} <= words
    if "dataset" in listed(text):
        assert {*data.names()} <= words


@EVERY
def test_help_lists_each_flag_once_with_its_default(module):
    config, text = config_of(module), page(module)
    fields = {f.name: f for f in dataclasses.fields(config)}
    assert sorted(listed(text)) == sorted(fields.keys() - set(config.unused))
    assert set(config.unused) <= fields.keys()
    assert all(len(line) <= 100 for line in text.removeprefix(module.__doc__.strip()).splitlines())
    entries = re.split(r"^  --(?:\[no\])?", text, flags=re.M)[1:]
    for entry in entries:
        default = fields[re.match(r"\w+", entry)[0]].default
        if isinstance(default, float | int) and not isinstance(default, bool):
            assert f"[{default}]" in " ".join(entry.split())


def test_help_is_grouped_by_topic():
    text = flag_help.page(configs.ModeConfig, "doc")
    topics = dict(re.findall(r"^(\w+)\n((?:  .+\n?)+)", text, re.M))
    assert list(topics) == ["data", "network", "optimisation", "machine", "output"]
    for topic, name in (
        ("data", "dataset"), ("network", "model"), ("optimisation", "lr"),
        ("machine", "cpu_devices"), ("output", "workdir"),
    ):  # fmt: skip
        assert f"--{name}=" in topics[topic]
    text = flag_help.page(configs.CurveConfig, "doc")
    assert re.search(r"^curve\n  --start=TEXT (?:.*\n)+?  --end=TEXT ", text, re.M)


def test_help_lists_only_flags_that_a_command_heeds(monkeypatch, capsys):
    view, export = (
        listed(flag_help.page(c, "")) for c in (configs.ViewConfig, configs.ExportConfig)
    )
    assert view == ["run", "output"]
    assert set(export) == {
        "run", "format", "name_map", "metric", "log", "data_dir", "precision",
        "compilation_cache", "output", "clip",
    }  # fmt: skip
    monkeypatch.setattr("sys.argv", ["view", "--nocompilation_cache", "--checkpoint_seconds=60"])
    with contextlib.suppress(SystemExit):
        command.main(configs.ViewConfig, lambda config: None, "doc")
    said = capsys.readouterr().err
    assert said == "note: --compilation_cache does nothing in this command\n"


@EVERY
def test_flagfiles_that_help_names_are_there(module):
    for name in re.findall(r"--flagfile=(\S+\.cfg)", module.__doc__):
        file = flags.find_flagfile(name)
        flags.parse_flagfile(config_of(module), file)


@pytest.mark.parametrize("package", ["mcjax", "experiments"])
def test_packages_list_their_commands_without_jax(package, tmp_path):
    (tmp_path / "jax.py").write_text("raise SystemExit('jax was imported')")
    root = str(flagfiles.PACKAGE_ROOT)
    found = subprocess.run(
        [sys.executable, "-m", package], cwd=root, env={"PYTHONPATH": f"{tmp_path}:{root}"},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for module in MODULES:
        first = module.__doc__.strip().partition("\n")[0]
        assert re.search(rf"^  {module.__name__.split('.')[-1]} +{re.escape(first)}$", found, re.M)
    assert {"train_mode", "fit_curve", "export"} <= listing.commands().keys()


@pytest.mark.parametrize(
    "argv", [["experiments"], pytest.param(["experiments.prune", "--help"], marks=pytest.mark.long)]
)
def test_a_reader_that_leaves_early_sees_no_traceback(argv):
    """As with ``--help | head``."""
    reader, writer = os.pipe()
    os.close(reader)
    found = subprocess.run(
        [sys.executable, "-m", *argv], cwd=flagfiles.PACKAGE_ROOT, stdout=writer,
        stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writer)
    assert found.stderr == ""


def test_a_command_imports_slow_libraries_when_it_needs_them():
    """``--help`` and the answer to a wrong flag do not wait for them."""
    slow = {"matplotlib", "orbax", "scipy.interpolate", "scipy.ndimage", "sklearn", "PIL"}
    code = f"import sys, experiments.fit_curve; print(sorted({slow} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "[]\n"), run.stderr

"""Commands where the extra ``experiments`` is not installed."""

import os
import subprocess
import sys

import pytest

from experiments.cli import command, configs, flagfiles
from mcjax import extras

WITHOUT = "import sys; sys.modules |= dict.fromkeys(('absl', 'matplotlib', 'tqdm'))"


@pytest.mark.parametrize(
    "words", [["experiments.fit_curve"], ["experiments.examples.linen"], ["mcjax", "fit_curve"]]
)
def test_a_command_without_the_extra_ends_in_one_line(words, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(WITHOUT)
    path = os.pathsep.join([str(tmp_path), str(flagfiles.PACKAGE_ROOT)])
    run = subprocess.run(
        [sys.executable, "-m", *words, "--help"],
        env=os.environ | {"PYTHONPATH": path}, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    expected = "the command needs absl, matplotlib, tqdm: pip install 'mcjax[experiments]'\n"
    assert (run.returncode, run.stdout, run.stderr) == (2, "", expected)


def test_an_extra_found_missing_while_a_command_runs_ends_it_in_one_line(monkeypatch, capsys):
    def run(config):
        with extras.needed_by("the data set digits"):
            raise ModuleNotFoundError(name="sklearn.datasets")

    monkeypatch.setattr(sys, "argv", ["train_mode", "--nocompilation_cache"])
    with pytest.raises(SystemExit) as end:
        command.main(configs.ModeConfig, run, "doc")
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said == ("train_mode: the data set digits needs sklearn: pip install 'mcjax[data]'\n")

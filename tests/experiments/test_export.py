import sys

import numpy as np
import pytest

from experiments import export
from experiments.cli import command, flags
from experiments.cli.configs import ExportConfig
from experiments.cli.errors import UsageError
from experiments.runs.arrays import load_arrays
from tests import finished_runs


@pytest.fixture
def folder(tmp_path):
    finished_runs.curve(tmp_path / "curve")
    finished_runs.surface(tmp_path / "surface")
    return tmp_path


def write(folder, run, form, name="out", **changes):
    output = str(folder / "new" / name)
    return export.run(ExportConfig(run=str(folder / run), format=form, output=output, **changes))


def test_the_flag_names_the_formats():
    choices = ExportConfig.__dataclass_fields__["format"].metadata["choices"]
    assert tuple(export.FORMATS) == choices


def test_garipovs_files_have_the_weight_decay_of_what_was_trained(folder):
    with np.load(write(folder, "curve", "garipov", "curve.npz")) as found:
        ours = load_arrays(folder / "curve" / "curve.npz")
        np.testing.assert_allclose(
            found["tr_loss"], ours["curve_train_loss"] + 0.5 * 0.04 * ours["curve_l2"]
        )
    with np.load(write(folder, "surface", "garipov", "plane.npz")) as found:
        ours = load_arrays(folder / "surface" / "surface.npz")
        np.testing.assert_allclose(
            found["te_loss"].T, ours["validation_loss"] + 0.5 * 0.02 * ours["l2"]
        )


def test_adamw_has_no_penalty_in_its_loss(folder):
    finished_runs.curve(folder / "adamw", optimizer="adamw")
    with np.load(write(folder, "adamw", "garipov")) as found:
        np.testing.assert_array_equal(found["tr_loss"], found["tr_nll"])


def test_h5py_reads_the_surface(folder):
    import h5py

    ours = load_arrays(folder / "surface" / "surface.npz")
    with h5py.File(write(folder, "surface", "h5")) as found:
        np.testing.assert_array_equal(found["xcoordinates"], ours["x"])
        np.testing.assert_array_equal(found["train_loss"], ours["train_loss"])
        np.testing.assert_allclose(found["test_acc"], 100 * ours["validation_accuracy"])
        assert found.attrs["provenance"] == "mcjax 0.1.0, data set digits, model mlp, width 0.5"


def test_paraviews_file_takes_metric_scale_and_clip(folder):
    text = write(folder, "surface", "vtp").read_text()
    assert "mcjax 0.1.0" in text
    other = [
        write(folder, "surface", "vtp", **changes).read_text()
        for changes in ({"metric": "validation_loss"}, {"log": True}, {"clip": 0.05})
    ]
    assert len({text, *other}) == 4


def test_paraviews_file_says_what_it_clips_and_has_the_curve(folder, capsys):
    finished_runs.surface(folder / "with_curve", curve=str(folder / "curve"))
    text = write(folder, "with_curve", "vtp").read_text()
    assert 'NumberOfPoints="5" NumberOfLines="1"' in text  # at the 5 t of the curve's own profile
    said = capsys.readouterr().err
    assert "note: 2 of 12 heights are clipped to 2 (1 of them are not finite)" in said
    write(folder, "surface", "vtp", name="unclipped", metric="validation_loss")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"output": ""}, "--output is missing"),
        ({"format": None}, "--format is missing: one of garipov, h5, vtp"),
        ({"run": ""}, "--run is missing"),
        ({"run": "nothing"}, "nothing: there is no run"),
        ({"run": "curve"}, "curve holds a curve; give the folder of a finished surface"),
        ({"run": "curve", "format": "h5"}, "holds a curve"),
        ({"run": "half"}, "half is not finished: run its command again"),
        ({"run": "failed", "format": "garipov"}, "failed and has no curve.npz: lr"),
        ({"metric": "train_nll"}, "--metric=train_nll: .* has train_loss, validation_loss"),
        ({"metric": "l2"}, "--metric=l2"),
        ({"clip": 0.0}, "--clip=0.0: use more than 0"),
        ({"output": "surface"}, "--output=.* is a folder"),
        ({"output": "curve/run.json/x"}, "--output=.* cannot be written"),
        ({"output": "surface/other.npz"}, "whose .npz files belong to the run"),
    ],
)
def test_wrong_input(folder, changes, words):
    finished_runs.surface(folder / "half", status="running")
    failed = finished_runs.curve(folder / "failed", status="failed")
    failed.update(reason="lr")
    (failed.path / "curve.npz").unlink()
    before = sorted(folder.rglob("*"))
    options = {"run": "surface", "format": "vtp", "output": "out"} | changes
    for name in ("run", "output"):
        options[name] = options[name] and str(folder / options[name])
    with pytest.raises(UsageError, match=words) as caught:
        export.run(ExportConfig(**options))
    assert "\n" not in str(caught.value)
    assert sorted(folder.rglob("*")) == before


def test_a_missing_package_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UsageError, match="needs h5py: pip install h5py"):
        write(folder, "surface", "h5")


def test_a_wrong_format_ends_with_status_2(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["export", "--run=x", "--format=vtpp", "--output=y"])
    with pytest.raises(SystemExit) as caught:
        command.main(ExportConfig, export.run, export.__doc__)
    assert caught.value.code == 2
    assert "did you mean vtp?" in capsys.readouterr().err
    with pytest.raises(UsageError, match="format"):
        flags.parse(ExportConfig, ["--format=npz"])

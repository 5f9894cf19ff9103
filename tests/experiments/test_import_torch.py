"""PyTorch's checkpoints as run folders, and run folders as PyTorch's checkpoints."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from experiments import align, export, fit_curve, import_torch, train_mode
from experiments.cli import errors
from experiments.cli.configs import (
    AlignConfig,
    CurveConfig,
    ExportConfig,
    ImportConfig,
    ModeConfig,
    SurfaceConfig,
)
from experiments.cli.errors import UsageError
from experiments.cli.flags import parse_flagfile
from experiments.exchange.export_torch import export_torch
from experiments.landscapes import surface_inputs
from experiments.runs import load_point, load_result
from experiments.runs.folder import Run
from experiments.runs.names import parse_name
from experiments.training import fits, make_problem, modes
from mcjax.data import augmentation
from mcjax.exchange import torch_files
from mcjax.results import Profile
from tests.comparison import assert_same_bits

NETWORK = {
    "dataset": "digits", "train_size": 200, "validation_size": 60, "model": "tests.nets:normed",
}  # fmt: skip
MODE = ModeConfig(**NETWORK, batch_size=40, epochs=4, lr=0.1, schedule="constant")
IMPORT = ImportConfig(**NETWORK, normalization="own", epoch=4)
CURVE = CurveConfig(batch_size=40, epochs=3, lr=0.1, points=5, seed=4)
RECORDED = Path(__file__).parents[1] / "mcjax" / "recorded"
NAMES = """
fc1 = Dense_0 flattens 1
norm = BatchNorm_0
fc2 = Dense_1
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A mode with batch norm, its weights as files in two orders of hidden units, and names."""
    folder = tmp_path_factory.mktemp("torch")
    (folder / "names").write_text(NAMES)
    train_mode.run(dataclasses.replace(MODE, workdir=str(folder / "a")))
    _export(folder, str(folder / "a"), "a.safetensors")
    arrays = torch_files.read(folder / "a.safetensors")
    for name, array in arrays.items():
        if name != "fc2.bias":
            arrays[name] = array[:, ::-1] if name == "fc2.weight" else array[::-1]
    torch_files.write(folder / "b.safetensors", arrays)
    return folder


@pytest.fixture(scope="module")
def curve(trained):
    """A curve between the two, imported."""
    start, end = (_import(trained, f"{n}.safetensors", trained / f"from_{n}").path for n in "ab")
    config = dataclasses.replace(
        CURVE, start=str(start), end=f"{end}@4", workdir=str(trained / "curve")
    )
    return fit_curve.run(config)


def _export(folder, name, file, names=None):
    found = export_torch(name, "safetensors", name_map=str(names or folder / "names"))
    (folder / file).write_bytes(found.content)
    return found


def _import(trained, file, workdir, **changes):
    changes = {"name_map": str(trained / "names"), **changes}
    return import_torch.run(
        dataclasses.replace(IMPORT, file=str(trained / file), workdir=str(workdir), **changes)
    )


def test_there_and_back(trained, tmp_path, capsys):
    """The same weights, state and metrics as the run that the file came from."""
    run = _import(trained, "a.safetensors", tmp_path / "run")
    before, now = Run(trained / "a").info, run.info
    for key in ("final", "final_with_running_averages"):
        assert now[key] == before[key]
    assert (now["kind"], now["status"]) == ("mode", "done")
    assert now["imported"]["file"] == "a.safetensors"
    for name in ("", "@4"):
        there, here = (load_point(parse_name(f"{f}{name}")) for f in (trained / "a", run.path))
        assert_same_bits(tuple(there), tuple(here))
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith(f"{run.path}: train accuracy ")
    assert shown[1].startswith("with its own running averages: train accuracy ")


@pytest.mark.parametrize("method", ["weights", "activations"])
def test_an_imported_network_aligns_and_is_exported(trained, curve, tmp_path, method):
    """Batch norm's averages are permuted along; it corrects every path, so there is no third."""
    start, end = curve.info["flags"]["start"], curve.info["flags"]["end"]
    run = align.run(
        AlignConfig(start=start, end=end, workdir=str(tmp_path / "run"), method=method, points=3)
    )
    _export(tmp_path, str(run.path), "aligned.safetensors", trained / "names")
    here, there = (folder / name for folder, name in ((tmp_path, "aligned.safetensors"),
                                                      (trained, "a.safetensors")))  # fmt: skip
    assert here.read_bytes() == there.read_bytes()
    facts = json.loads((run.path / "align.json").read_text())
    assert facts["correction"].startswith("batch norm's statistics")
    assert (facts["moved"], facts["units"]) == (1, 12)
    assert facts["barriers"]["repaired"] == facts["barriers"]["after"]
    assert facts["barriers"]["after"]["train"]["loss"]["over_max"] == pytest.approx(0, abs=1e-6)
    assert facts["barriers"]["before"]["train"]["loss"]["over_max"] > 0.05
    assert list(load_result(Profile, run.path / "align.npz").paths) == ["before", "after"]
    assert run.info["imported"]["file"] == "b.safetensors"


def test_the_command_writes_what_the_function_gives(trained, tmp_path):
    output = tmp_path / "a.safetensors"
    name, names = f"{trained / 'a'}@4", str(trained / "names")
    export.run(ExportConfig(run=name, format="safetensors", name_map=names, output=str(output)))
    assert output.read_bytes() == (trained / "a.safetensors").read_bytes()


def test_arrays_are_pytorchs(trained):
    """Dense kernels are ``[out, in]``; statistics are the mode's running averages."""
    arrays = torch_files.read(trained / "a.safetensors")
    params, state = load_point(parse_name(str(trained / "a")))
    assert arrays["fc1.weight"].shape == (12, 64)
    np.testing.assert_array_equal(arrays["fc2.weight"], params["Dense_1"]["kernel"].T)
    np.testing.assert_array_equal(
        arrays["norm.running_var"], state["batch_stats"]["BatchNorm_0"]["var"]
    )


def test_layers_that_were_never_run_are_said(trained, tmp_path):
    arrays = torch_files.read(trained / "a.safetensors")
    new = {n: np.zeros(3, np.float32) for n in ("b.running_mean", "b.weight", "b.bias")}
    torch_files.write(
        trained / "half.safetensors", arrays | new | {"b.running_var": np.ones(3, np.float32)}
    )
    with pytest.raises(UsageError, match=r"half.safetensors: no batch ever went through b, though"):
        _import(trained, "half.safetensors", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_again_is_nothing_to_do(trained, tmp_path, monkeypatch):
    run = _import(trained, "a.safetensors", tmp_path / "run")
    content = (run.path / "run.json").read_bytes()
    monkeypatch.setattr(modes, "evaluate", None)
    _import(trained, "a.safetensors", tmp_path / "run")
    assert (run.path / "run.json").read_bytes() == content
    with pytest.raises(UsageError, match=r"holds another file, a.safetensors; use another --work"):
        _import(trained, "b.safetensors", tmp_path / "run")


def test_flagfile_imports_it_again(trained, tmp_path):
    run = _import(trained, "a.safetensors", tmp_path / "run")
    again = parse_flagfile(ImportConfig, run.path / "flags.cfg")
    again = dataclasses.replace(again, workdir=str(tmp_path / "again"))
    assert import_torch.run(again).info["final"] == run.info["final"]


def check_curve(config):
    fit = fits.check_flags(config)
    fits.check_data(fit, make_problem(fit.start.mode))


@pytest.mark.long
def test_curves_take_it(curve, trained, capsys):
    """With its own metrics at the ends; of its seed nothing is known or said."""
    with np.load(curve.path / "curve.npz") as arrays:
        for split, metrics in Run(trained / "a").info["final"].items():
            for name in metrics if split != "params" else ():
                ends_of_curve = arrays[f"curve_{split}_{name}"][[0, -1]]
                np.testing.assert_allclose(ends_of_curve, metrics[name], rtol=1e-5)
    capsys.readouterr()
    check_curve(
        dataclasses.replace(
            CURVE, start=str(trained / "from_a"), end=str(trained / "from_b"), workdir="/nowhere"
        )
    )
    assert capsys.readouterr().err == ""


@pytest.mark.long
def test_surfaces_take_it(curve, trained):
    """With the epoch that it was said to be of."""
    points = (str(trained / "from_a"), str(trained / "from_b@4"), str(curve.path))
    found = surface_inputs.resolve(SurfaceConfig(points=points, iterates=(points[0],)))
    assert found.iterates == ((f"{points[0]}@4", 4),)


@pytest.mark.long
def test_point_of_a_curve_has_its_own_statistics(curve, trained, tmp_path):
    """What its importer sees with the averages of the file is what the evaluator recomputes."""
    _export(trained, f"{curve.path}~0.25", "middle.safetensors")
    info = _import(trained, "middle.safetensors", tmp_path / "run").info
    with np.load(curve.path / "curve.npz") as arrays:
        assert arrays["t"][1] == 0.25
        for split in ("train", "validation"):
            averages = info["final_with_running_averages"][split]
            assert averages["loss"] == pytest.approx(arrays[f"curve_{split}_loss"][1], rel=1e-5)
            assert averages == pytest.approx(info["final"][split], rel=1e-5)


def test_normalization(trained, tmp_path):
    """The same numbers said outright give the same metrics; others give others, and no curve.

    Batch norm behind the first layer hides the difference where its statistics are recomputed.
    """
    found = _export(trained, str(trained / "a"), "again.safetensors")
    same = f"{found.mean[0]!s}/{found.std[0]!s}"
    losses = {}
    for name, said in (("own", "own"), ("same", same), ("other", "0.2/0.5")):
        run = _import(trained, "a.safetensors", tmp_path / name, normalization=said)
        losses[name] = run.info["final_with_running_averages"]["train"]["loss"]
    assert losses["same"] == pytest.approx(losses["own"], rel=1e-5)
    assert losses["other"] > 1.2 * losses["own"]
    differing = dataclasses.replace(
        CURVE, start=str(tmp_path / "own"), end=str(tmp_path / "other"), workdir="/nowhere"
    )
    with pytest.raises(UsageError, match=r"differ in --normalization: None and 0\.2/0\.5"):
        check_curve(differing)


@pytest.mark.parametrize(
    ("text", "channels", "words"),
    [
        ("imagenet", 1, "'imagenet' of images with 1 channels"),
        ("0.1,0.2/1,1", 3, "as many means and deviations"),
        ("image", 3, "imagenet or cifar"),
        ("0.1", 1, "MEAN,.../STD"),
        ("nan/1", 1, "MEAN,.../STD"),
        ("0/0", 1, "must be positive"),
        ("0/inf", 1, "must be positive"),
    ],
)
def test_wrong_normalization(text, channels, words):
    with pytest.raises(ValueError, match=words.replace(".", r"\.")):
        augmentation.fixed_statistics(text, channels)


def test_named_normalizations():
    mean, std = augmentation.fixed_statistics("imagenet", 3)
    np.testing.assert_array_equal(mean, np.float32([0.485, 0.456, 0.406]))
    np.testing.assert_array_equal(std, np.float32([0.229, 0.224, 0.225]))
    assert augmentation.fixed_statistics("cifar", 3)[0][0] == np.float32(0.4914)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"workdir": ""}, "--workdir is missing"),
        ({"file": ""}, "--file is missing"),
        ({"file": "/nowhere/x.pt"}, "there is no file /nowhere/x.pt"),
        ({"normalization": None}, "--normalization is missing: how .* imagenet .*or own"),
        ({"normalization": "imagenet"}, "'imagenet' of images with 1 channels"),
        ({"epoch": 0}, "--epoch=0: use 1 or more"),
        ({"model": "vgg61"}, "unknown model 'vgg61'"),
        ({"name_map": None}, "no PyTorch names are known for a Normed: give a name map, --name_"),
        ({"name_map": "/nowhere/map"}, "name map /nowhere/map cannot be read"),
        ({"model": "mlp", "width": 0.25}, "the network has no layer 'BatchNorm_0'"),
    ],
    ids=str,
)
def test_wrong_flags(trained, tmp_path, changes, words):
    flags = {"file": str(trained / "a.safetensors"), "workdir": str(tmp_path / "run")}
    config = dataclasses.replace(IMPORT, name_map=str(trained / "names"), **flags)
    with pytest.raises(UsageError, match=words) as caught:
        import_torch.run(dataclasses.replace(config, **changes))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_names_that_do_not_fit_are_a_short_table_and_a_file(trained, tmp_path, capsys):
    """The first ten of a kind, once; the line has the counts, and the file has all names."""
    with pytest.raises(UsageError) as caught:
        _import(trained, "a.safetensors", tmp_path / "run", model="vgg7", name_map=None)
    assert str(caught.value).startswith(
        f"--file={trained / 'a.safetensors'} does not fit --model=vgg7: 8 of the file's arrays "
        "without a place in the network, 14 of the network's arrays without a value in the file; "
        "check --model, "
    )
    assert str(caught.value).endswith(f"; all names are in {tmp_path / 'run.names.txt'}")
    said = capsys.readouterr().err
    assert "\n  fc1.weight\n" in said
    assert said.count("Conv_3/bias (layer_blocks.1.1.bias)") == 1
    assert said.endswith("  Dense_0/kernel (classifier.1.weight)\n  ... and 4 more\n")
    assert "\n  Dense_2/kernel (classifier.6.weight)\n" in (tmp_path / "run.names.txt").read_text()


def test_few_names_that_do_not_fit_are_in_the_line(trained, tmp_path, capsys):
    arrays = torch_files.read(trained / "a.safetensors")
    arrays["head.bias"] = arrays.pop("fc2.bias")
    torch_files.write(tmp_path / "x.safetensors", arrays)
    names = str(trained / "names")
    with pytest.raises(UsageError, match=r"no place for head.bias; no value for Dense_1/bias \("):
        _import(tmp_path, "x.safetensors", tmp_path / "run", name_map=names)
    assert capsys.readouterr().err == ""


def test_networks_that_have_the_files_names_are_suggested(tmp_path):
    arrays = torch_files.read(RECORDED / "resnet18.safetensors")
    arrays = {f"model.{n}": a for n, a in arrays.items() if n not in ("images", "logits")}
    torch_files.write(tmp_path / "x.safetensors", arrays)
    with pytest.raises(UsageError, match=r"names are those of --model=resnet18 or resnet18_cifar"):
        _import(tmp_path, "x.safetensors", tmp_path / "run", model="preresnet8", name_map=None)


def test_the_weights_taken_are_said_and_others_taken_by_a_flag(trained, tmp_path, capsys):
    torch = pytest.importorskip("torch")
    folder, names = tmp_path, str(trained / "names")
    arrays = {n: torch.tensor(a) for n, a in torch_files.read(trained / "a.safetensors").items()}
    other = {n: torch.tensor(a) for n, a in torch_files.read(trained / "b.safetensors").items()}
    averaged = {f"module.{n}": a for n, a in other.items()} | {"n_averaged": torch.tensor(3)}
    torch.save({"state_dict": arrays, "model_ema": averaged}, folder / "x.pt")
    weights = {}
    for name, flag in (("plain", None), ("averaged", "model_ema")):
        run = _import(folder, "x.pt", folder / name, name_map=names, weights=flag)
        weights[name] = load_point(parse_name(str(run.path))).params["Dense_1"]["kernel"]
        assert run.info["imported"].get("weights") == flag
    np.testing.assert_array_equal(weights["plain"], weights["averaged"][::-1])
    said = capsys.readouterr().err
    assert "the weights 'state_dict' are taken; --weights=NAME takes others: model_ema\n" in said
    assert "the weights 'model_ema' are taken; --weights=NAME takes others: state_dict\n" in said
    with pytest.raises(UsageError, match=r"holds another file, x\.pt"):
        _import(folder, "x.pt", folder / "plain", name_map=names, weights="model_ema")


def test_files_of_jax_are_sent_to_import_params(trained, tmp_path):
    np.savez(tmp_path / "x.npz", a=np.ones(2))
    for name in ("x.npz", "."):
        with pytest.raises(UsageError, match=r"for .* there is python -m experiments.import_param"):
            _import(tmp_path, name, tmp_path / "run", name_map=str(trained / "names"))


def test_a_network_at_chance_has_failed(trained, tmp_path):
    arrays = torch_files.read(trained / "a.safetensors")
    arrays["fc2.weight"] = np.zeros_like(arrays["fc2.weight"])
    torch_files.write(tmp_path / "x.safetensors", arrays)
    with pytest.raises(errors.RunFailed, match=r"imported network is at chance .* --normali"):
        _import(tmp_path, "x.safetensors", tmp_path / "run", name_map=str(trained / "names"))
    assert Run(tmp_path / "run").status == "failed"


def test_a_trained_mode_is_left_alone(trained, tmp_path):
    run = train_mode.run(dataclasses.replace(MODE, workdir=str(tmp_path / "run"), epochs=1))
    content = (run.path / "run.json").read_bytes()
    same = json.loads(content)["flags"]
    assert same["epochs"] == 1
    with pytest.raises(UsageError, match="use another --workdir"):
        _import(trained, "a.safetensors", run.path, epoch=1)
    assert (run.path / "run.json").read_bytes() == content


def test_wrong_exports(trained):
    with pytest.raises(UsageError, match="no PyTorch names are known for a Normed"):
        export_torch(str(trained / "a"), "safetensors")
    with pytest.raises(UsageError, match="is a mode; only a curve has points"):
        export_torch(f"{trained / 'a'}~0.5", "safetensors")

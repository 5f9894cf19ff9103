"""PyTorch's checkpoints as run folders, and run folders as PyTorch's checkpoints."""

import dataclasses
import json

import numpy as np
import pytest

from experiments import export, import_torch, train_mode
from experiments.cli import errors
from experiments.cli.configs import (
    ExportConfig,
    ImportConfig,
)
from experiments.cli.errors import UsageError
from experiments.cli.flags import parse_flagfile
from experiments.exchange.export_torch import export_torch
from experiments.runs import load_point
from experiments.runs.folder import Run
from experiments.runs.names import parse_name
from experiments.training import modes
from mcjax.exchange import torch_files
from tests import torch_runs
from tests.comparison import assert_same_bits
from tests.torch_runs import CURVE, IMPORT, MODE, RECORDED, check_curve, exported, imported


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return torch_runs.trained(tmp_path_factory.mktemp("torch"))


def test_there_and_back(trained, tmp_path, capsys):
    """The same weights, state and metrics as the run that the file came from."""
    run = imported(trained, "a.safetensors", tmp_path / "run")
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
    with pytest.raises(UsageError, match=r"half.safetensors: no batch ever went through b, unlike"):
        imported(trained, "half.safetensors", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_again_is_nothing_to_do(trained, tmp_path, monkeypatch):
    run = imported(trained, "a.safetensors", tmp_path / "run")
    content = (run.path / "run.json").read_bytes()
    monkeypatch.setattr(modes, "evaluate", None)
    imported(trained, "a.safetensors", tmp_path / "run")
    assert (run.path / "run.json").read_bytes() == content
    with pytest.raises(UsageError, match=r"holds another file, a.safetensors; use another --work"):
        imported(trained, "b.safetensors", tmp_path / "run")


def test_flagfile_imports_it_again(trained, tmp_path):
    run = imported(trained, "a.safetensors", tmp_path / "run")
    again = parse_flagfile(ImportConfig, run.path / "flags.cfg")
    again = dataclasses.replace(again, workdir=str(tmp_path / "again"))
    assert import_torch.run(again).info["final"] == run.info["final"]


@pytest.mark.long
def test_normalization(trained, tmp_path):
    """The same numbers said outright give the same metrics; others give others, and no curve.

    Batch norm behind the first layer hides the difference where its statistics are recomputed.
    """
    found = exported(trained, str(trained / "a"), "again.safetensors")
    same = f"{found.mean[0]!s}/{found.std[0]!s}"
    losses = {}
    for name, said in (("own", "own"), ("same", same), ("other", "0.2/0.5")):
        run = imported(trained, "a.safetensors", tmp_path / name, normalization=said)
        losses[name] = run.info["final_with_running_averages"]["train"]["loss"]
    assert losses["same"] == pytest.approx(losses["own"], rel=1e-5)
    assert losses["other"] > 1.2 * losses["own"]
    differing = dataclasses.replace(
        CURVE,
        start=str(tmp_path / "own"),
        end=str(tmp_path / "other"),
        workdir="/nowhere",
    )
    with pytest.raises(UsageError, match=r"differ in --normalization: None and 0\.2/0\.5"):
        check_curve(differing)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"workdir": ""}, "--workdir is missing"),
        ({"file": ""}, "--file is missing"),
        ({"file": "/nowhere/x.pt"}, "there is no file /nowhere/x.pt"),
        ({"normalization": None}, "--normalization is missing: how .* imagenet .*or own"),
        ({"normalization": "imagenet"}, "'imagenet' for 1-channel images"),
        ({"epoch": 0}, "--epoch=0: use 1 or more"),
        ({"model": "vgg61"}, "unknown model 'vgg61'"),
        (
            {"name_map": None},
            "no PyTorch names are known for Normed: give a name map, --name_",
        ),
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
        imported(trained, "a.safetensors", tmp_path / "run", model="vgg7", name_map=None)
    assert str(caught.value).startswith(
        f"--file={trained / 'a.safetensors'} does not fit --model=vgg7: 8 of the file's arrays "
        "have no place in the network, 14 of the network's arrays have no value in the file; "
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
        imported(tmp_path, "x.safetensors", tmp_path / "run", name_map=names)
    assert capsys.readouterr().err == ""


def test_networks_that_have_the_files_names_are_suggested(tmp_path):
    arrays = torch_files.read(RECORDED / "resnet18.safetensors")
    arrays = {f"model.{n}": a for n, a in arrays.items() if n not in ("images", "logits")}
    torch_files.write(tmp_path / "x.safetensors", arrays)
    with pytest.raises(UsageError, match=r"names are those of --model=resnet18 or resnet18_cifar"):
        imported(tmp_path, "x.safetensors", tmp_path / "run", model="preresnet8", name_map=None)


def test_the_weights_taken_are_said_and_others_taken_by_a_flag(trained, tmp_path, capsys):
    torch = pytest.importorskip("torch")
    folder, names = tmp_path, str(trained / "names")
    arrays = {n: torch.tensor(a) for n, a in torch_files.read(trained / "a.safetensors").items()}
    other = {n: torch.tensor(a) for n, a in torch_files.read(trained / "b.safetensors").items()}
    averaged = {f"module.{n}": a for n, a in other.items()} | {"n_averaged": torch.tensor(3)}
    torch.save({"state_dict": arrays, "model_ema": averaged}, folder / "x.pt")
    weights = {}
    for name, flag in (("plain", None), ("averaged", "model_ema")):
        run = imported(folder, "x.pt", folder / name, name_map=names, weights=flag)
        weights[name] = load_point(parse_name(str(run.path))).params["Dense_1"]["kernel"]
        assert run.info["imported"].get("weights") == flag
    np.testing.assert_array_equal(weights["plain"], weights["averaged"][::-1])
    said = capsys.readouterr().err
    assert "importing the weights 'state_dict'; --weights=NAME imports others: model_ema\n" in said
    assert "importing the weights 'model_ema'; --weights=NAME imports others: state_dict\n" in said
    with pytest.raises(UsageError, match=r"holds another file, x\.pt"):
        imported(folder, "x.pt", folder / "plain", name_map=names, weights="model_ema")


def test_files_of_jax_are_sent_to_import_params(trained, tmp_path):
    np.savez(tmp_path / "x.npz", a=np.ones(2))
    for name in ("x.npz", "."):
        with pytest.raises(UsageError, match=r"for .* use `python -m experiments.import_params`"):
            imported(tmp_path, name, tmp_path / "run", name_map=str(trained / "names"))


def test_a_network_at_chance_has_failed(trained, tmp_path):
    arrays = torch_files.read(trained / "a.safetensors")
    arrays["fc2.weight"] = np.zeros_like(arrays["fc2.weight"])
    torch_files.write(tmp_path / "x.safetensors", arrays)
    with pytest.raises(errors.RunFailed, match=r"imported network is at chance .* --normali"):
        imported(tmp_path, "x.safetensors", tmp_path / "run", name_map=str(trained / "names"))
    assert Run(tmp_path / "run").status == "failed"


def test_a_trained_mode_is_left_alone(trained, tmp_path):
    run = train_mode.run(dataclasses.replace(MODE, workdir=str(tmp_path / "run"), epochs=1))
    content = (run.path / "run.json").read_bytes()
    same = json.loads(content)["flags"]
    assert same["epochs"] == 1
    with pytest.raises(UsageError, match="use another --workdir"):
        imported(trained, "a.safetensors", run.path, epoch=1)
    assert (run.path / "run.json").read_bytes() == content


def test_wrong_exports(trained):
    with pytest.raises(UsageError, match="no PyTorch names are known for Normed"):
        export_torch(str(trained / "a"), "safetensors")
    with pytest.raises(UsageError, match="is a mode; only a curve has points"):
        export_torch(f"{trained / 'a'}~0.5", "safetensors")

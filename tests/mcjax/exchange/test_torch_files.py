"""Files of PyTorch and safetensors: which weights are read, and what a wrong file gives."""

import jax.numpy as jnp
import numpy as np
import pytest

from mcjax.exchange import torch_files, torch_weights
from mcjax.exchange.torch_names import Layer
from mcjax.extras import MissingExtraError
from tests.mcjax.exchange.networks import RECORDED

LAYERS = [Layer("fc", "Dense_0"), Layer("norm", "BatchNorm_0")]


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def network(torch, scale=1.0):
    """A dense layer and a batch norm, all of whose values are ``scale``."""
    layers = {"fc": torch.nn.Linear(2, 3), "norm": torch.nn.BatchNorm1d(3)}
    module = torch.nn.ModuleDict(layers)
    for tensor in module.state_dict().values():
        tensor.fill_(scale)
    return module


def test_an_averaged_model_is_its_module(torch, tmp_path):
    """Its count is left out; alone, compiled, and in Lightning's module."""
    averaged = torch.optim.swa_utils.AveragedModel(network(torch))
    averaged.update_parameters(network(torch, 3.0))
    averaged.update_parameters(network(torch, 5.0))
    for begin in ("", "_orig_mod.", "model."):
        tensors = {f"{begin}{n}": t for n, t in averaged.state_dict().items()}
        assert f"{begin}n_averaged" in tensors
        torch.save(tensors, tmp_path / "x.pt")
        arrays = torch_files.read(tmp_path / "x.pt")
        if begin == "model.":
            arrays = torch_weights.without_prefix(arrays, LAYERS)
        assert arrays.keys() == {f"fc.{n}" for n in ("weight", "bias")} | {
            f"norm.{n}" for n in ("weight", "bias", "running_mean", "running_var")
        }
        np.testing.assert_array_equal(arrays["fc.weight"], np.full((3, 2), 4.0))


@pytest.mark.parametrize("average", ["swa_state_dict", "model_ema", "ema"])
@pytest.mark.parametrize("plain", ["state_dict", "model"])
def test_averages_beside_plain_weights_are_offered(torch, plain, average, tmp_path):
    averaged = torch.optim.swa_utils.AveragedModel(network(torch, 7.0))
    model = network(torch, 2.0)
    steps = torch.optim.Adam(model.parameters())
    model["fc"](torch.ones(1, 2)).sum().backward()
    steps.step()
    whole = {
        average: averaged.state_dict(),
        plain: network(torch, 2.0).state_dict(),
        "optimizer": steps.state_dict(),
        "optimizer_states": [steps.state_dict()],
        "callbacks": {"best": {"best_k_models": {"a.ckpt": torch.tensor(0.5)}}},
        "rng": torch.get_rng_state(),
        "epoch": 3,
    }
    torch.save(whole, tmp_path / "x.ckpt")
    found = torch_files.load(tmp_path / "x.ckpt")
    assert (found.name, found.others) == (plain, (average,))
    assert np.unique(found.arrays["fc.weight"]) == 2
    found = torch_files.load(tmp_path / "x.ckpt", average)
    assert (found.name, found.others) == (average, (plain,))
    assert np.unique(found.arrays["fc.weight"]) == 7
    with pytest.raises(ValueError, match=rf"x.ckpt: no weights are called 'emma': .*{average}"):
        torch_files.load(tmp_path / "x.ckpt", "emma")


def test_weights_anywhere_in_a_file(torch, tmp_path):
    """Nested, or the only ones under whatever name; of two unusual ones one has to be named."""
    path = tmp_path / "x.pt"
    tensors = network(torch).state_dict()
    torch.save({"trained": {"weights": tensors, "loss": 0.1}}, path)
    assert torch_files.load(path).name == "trained/weights"
    torch.save({"student": tensors, "teacher": network(torch, 2.0).state_dict()}, path)
    with pytest.raises(ValueError, match=r"name one of them: student, teacher"):
        torch_files.load(path)
    assert np.unique(torch_files.read(path, "teacher")["fc.bias"]) == 2


def test_what_an_optimizer_keeps_by_name_is_no_set_of_weights(torch, tmp_path):
    kept = {"state": {"w": {"exp_avg": torch.ones(2)}}}
    torch.save({"net": {"w": torch.ones(2)}, "optimizer": kept}, tmp_path / "x.pt")
    found = torch_files.load(tmp_path / "x.pt")
    assert (found.name, found.others) == ("net", ())


def test_weights_by_the_beginning_of_their_names(tmp_path):
    """Two networks in one state dict, as Lightning's modules have them."""
    pytest.importorskip("safetensors")
    arrays = {"model.fc.bias": np.ones(2), "ema.module.fc.bias": np.zeros(2)}
    torch_files.write(tmp_path / "x.safetensors", arrays)
    assert torch_files.read(tmp_path / "x.safetensors").keys() == arrays.keys()
    for weights, value in (("model", 1), ("ema", 0)):
        (only,) = torch_files.read(tmp_path / "x.safetensors", weights).items()
        assert (only[0], *np.unique(only[1])) == ("fc.bias", value)
    with pytest.raises(ValueError, match=r"no weights are called 'emma'.*There are ema, model"):
        torch_files.read(tmp_path / "x.safetensors", "emma")


@pytest.mark.parametrize("container", [None, *torch_files.CONTAINERS])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module."])
def test_containers_and_wrappers(container, prefix, tmp_path):
    torch = pytest.importorskip("torch")
    weights = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).state_dict()
    wrapped = {f"{prefix}{name}": tensor for name, tensor in weights.items()}
    whole = {container: wrapped, "epoch": 7, "optimizer": {"state": {}}} if container else wrapped
    torch.save(whole, tmp_path / "x.pth")
    arrays = torch_files.read(tmp_path / "x.pth")
    assert arrays.keys() == weights.keys() - {"1.num_batches_tracked"}
    np.testing.assert_array_equal(arrays["0.weight"], weights["0.weight"].numpy())


def test_a_prefix_of_some_names_stays(tmp_path):
    pytest.importorskip("safetensors")
    arrays = {"module.a": np.ones(2), "b": np.zeros(3)}
    torch_files.write(tmp_path / "x.safetensors", arrays)
    assert torch_files.read(tmp_path / "x.safetensors").keys() == arrays.keys()


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_types(suffix, tmp_path):
    """Half precision is read; bfloat16 as float32, which numpy's users can use."""
    torch = pytest.importorskip("torch")
    from safetensors import torch as safetensors

    tensors = {k: torch.tensor([0.5, -3.0]).to(getattr(torch, k)) for k in _FLOATS}
    path = tmp_path / f"x.{suffix}"
    torch.save(tensors, path) if suffix == "pt" else safetensors.save_file(tensors, path)
    for name, array in torch_files.read(path).items():
        assert array.dtype == _FLOATS[name]
        np.testing.assert_array_equal(array, [0.5, -3.0])


_FLOATS = {"float64": "float64", "float32": "float32", "float16": "float16", "bfloat16": "float32"}


def test_what_is_no_tensor_beside_the_weights_is_left_out(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.ones(2), "epoch": 3}, tmp_path / "x.pt")
    assert torch_files.read(tmp_path / "x.pt").keys() == {"w"}


def test_wrong_safetensors_files(tmp_path):
    content = (RECORDED / "preresnet8.safetensors").read_bytes()
    path = tmp_path / "x.safetensors"
    for wrong in (content[:-5], content[:100], b"", b"not such a file"):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=r"x\.safetensors is damaged or not a saf"):
            torch_files.read(path)
    torch_files.write(path, {})
    with pytest.raises(ValueError, match="holds no arrays"):
        torch_files.read(path)
    with pytest.raises(ValueError, match="there is no file"):
        torch_files.read(tmp_path / "y.safetensors")
    with pytest.raises(ValueError, match="format 'npz' is unknown: use pt or safetensors"):
        torch_files.encode({}, "npz")


def test_wrong_torch_files(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "x.pt"
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(ValueError, match=r"more than weights \(torch.nn.modules.linear.Linear\)"):
        torch_files.read(path)
    torch.save({"weights": [torch.ones(2)], "epoch": 3}, path)
    with pytest.raises(ValueError, match="holds a dict of weights, epoch, without a state dict"):
        torch_files.read(path)
    torch.save({"a": torch.ones(2)}, path)
    for wrong in (path.read_bytes()[:-40], b"", b"hello world"):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=r"x\.pt is damaged or not a PyTorch") as caught:
            torch_files.read(path)
        assert "\n" not in str(caught.value)


def test_packages_that_are_not_there(monkeypatch, tmp_path):
    for package in ("torch", "safetensors"):
        monkeypatch.setitem(__import__("sys").modules, package, None)
    for name, package in (("x.pt", "torch"), ("x.safetensors", "safetensors")):
        path, remedy = tmp_path / name, rf"{package}: pip install 'mcjax\[{package}\]'"
        path.write_bytes(b"")
        with pytest.raises(MissingExtraError, match=f"{path} needs {remedy}"):
            torch_files.read(path)
        with pytest.raises(MissingExtraError, match=f"needs {remedy}"):
            torch_files.write(path, {})


def test_numbers_of_other_types(tmp_path):
    torch = pytest.importorskip("torch")
    content = torch_files.encode({"w": np.ones(2, jnp.bfloat16)}, "pt")
    (tmp_path / "b.pt").write_bytes(content)
    assert torch.load(tmp_path / "b.pt", weights_only=True)["w"].dtype == torch.bfloat16
    torch.save({"w": torch.ones(2).to_sparse()}, tmp_path / "s.pt")
    with pytest.raises(ValueError, match=r"s\.pt: w has dtype torch.float32 .*sparse"):
        torch_files.read(tmp_path / "s.pt")

"""Which weights of a PyTorch file are read, where it holds several, and under which names."""

import numpy as np
import pytest

from mcjax.exchange import torch_files, torch_weights
from mcjax.exchange.torch_names import Layer

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


@pytest.mark.parametrize("prefix", ["model.", "net.0.", "module.backbone."])
def test_one_common_prefix_is_left_out(prefix):
    template = {"params": {"Dense_0": {"bias": np.zeros(2, np.float32)}}}
    arrays = {f"{prefix}fc.bias": np.arange(2)}
    variables = torch_weights.to_flax(arrays, template, LAYERS[:1])
    np.testing.assert_array_equal(variables["params"]["Dense_0"]["bias"], [0, 1])


def test_prefixes_that_a_name_map_has_stay():
    template = {"params": {"Dense_0": {"bias": np.zeros(2, np.float32)}}}
    layers = [Layer("model.fc", "Dense_0")]
    for name in ("model.fc.bias", "lightning.model.fc.bias"):
        torch_weights.to_flax({name: np.arange(2)}, template, layers)
    with pytest.raises(torch_weights.Mismatch, match=r"no place for a\.fc\.bias, b\.fc\.bias"):
        torch_weights.to_flax({"a.fc.bias": 1, "b.fc.bias": 1}, template, LAYERS[:1])


def test_variances_are_taken_over_as_pytorch_has_them(torch):
    """Equal outputs; the variance is n / (n - 1) times what is recomputed of the same batch."""
    import flax.linen as nn

    x = np.random.default_rng(0).normal(1, 2, (3, 2, 2, 5)).astype(np.float32)
    channels_first = torch.from_numpy(x).permute(0, 3, 1, 2)
    theirs = torch.nn.BatchNorm2d(5, momentum=1.0, affine=False)
    theirs(channels_first)  # its running averages are this batch's own now
    model = nn.BatchNorm(True, epsilon=1e-5, use_bias=False, use_scale=False)
    template = {"batch_stats": {n: np.zeros(5, np.float32) for n in ("mean", "var")}}
    layers = [Layer("norm.running_mean", "mean"), Layer("norm.running_var", "var")]
    arrays = {f"norm.{n}": t.numpy() for n, t in theirs.state_dict().items() if t.ndim}
    variables = torch_weights.to_flax(arrays, template, layers)
    with torch.no_grad():
        expected = theirs.eval()(channels_first).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(model.apply(variables, x), expected, rtol=1e-5, atol=1e-6)
    n = x[..., 0].size
    biased = x.var((0, 1, 2))
    np.testing.assert_allclose(variables["batch_stats"]["var"], biased * n / (n - 1), rtol=1e-5)
    back = torch_weights.from_flax(variables, layers)
    np.testing.assert_array_equal(back["norm.running_var"], arrays["norm.running_var"])

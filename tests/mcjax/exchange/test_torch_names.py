"""Which layer has which name in PyTorch, and files that say so for other networks."""

import json
import re

import jax
import numpy as np
import pytest

from mcjax.exchange import torch_names, torch_weights
from mcjax.exchange.torch_names import Layer
from mcjax.flax import models
from tests.comparison import assert_same_bits
from tests.mcjax.exchange.networks import network
from tests.mcjax.flax.networks import draw_variables


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.0 Conv_0", "line 1: write THEIRS = OURS"),
        ("a = B\n\n c = D flattens many", "line 3: write THEIRS = OURS"),
        ("a = B # one\na = C", "has a twice"),
        ("a = B\nc = B", "has B twice"),
        ("# nothing", "is empty"),
        ('{"a": "B"', "is not valid JSON"),
        (None, "cannot be read"),
    ],
)
def test_wrong_name_maps(text, words, tmp_path):
    if text is not None:
        (tmp_path / "map").write_text(text)
    with pytest.raises(ValueError, match=re.escape(words)):
        torch_names.read_map(tmp_path / "map")


def test_name_maps(tmp_path):
    layers = (Layer("fc.1", "Dense_0", 64), Layer("fc.2", "Dense_1", 3))
    (tmp_path / "lines").write_text("# theirs\nfc.1 = Dense_0\nfc.2=Dense_1  flattens 3 # so\n")
    pairs = {"fc.1": "Dense_0", "fc.2": "Dense_1 flattens 3"}
    (tmp_path / "json").write_text(json.dumps(pairs))
    known = [Layer("classifier.1", "Dense_0", 64)]
    assert torch_names.read_map(tmp_path / "lines", known) == layers
    assert torch_names.read_map(tmp_path / "json", known) == layers
    assert torch_names.read_map(tmp_path / "json")[0].flattened == 0


def test_networks_without_names():
    with pytest.raises(ValueError, match="no PyTorch names are known for MLP"):
        torch_names.layers_of(models.create("mlp", num_classes=3))


def test_a_map_of_arrays_flattens_as_the_layers_do(tmp_path):
    model, _, layers = network("vgg7", 0.1, 8)
    variables = draw_variables(model, np.zeros((1, 8, 8, 3), np.float32))
    arrays = torch_weights.from_flax(variables, layers)
    lines = [
        f"{layer.theirs}.{theirs} = {layer.ours}/{ours}"
        for layer in layers
        for theirs, ours in (("weight", "kernel"), ("bias", "bias"))
    ]
    (tmp_path / "map").write_text("\n".join(lines))
    named = torch_names.read_map(tmp_path / "map", layers)
    assert any(layer.flattened > 1 for layer in named)
    assert_same_bits(torch_weights.to_flax(arrays, variables, named), variables)


@pytest.mark.slow
def test_narrow_wide_resnets_have_the_names_of_their_layers():
    """At a sixteenth of the width the first 16 channels and the stage's 64 are both few."""
    for width in (1.0, 1 / 16, 1 / 64):
        model, template, layers = network("wrn16x4", width)
        variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), template)
        assert len(torch_weights.from_flax(variables, layers)) > 60, model


def test_names_are_torchvisions():
    layers = torch_names.layers_of(models.create("resnet50", num_classes=3))
    assert layers[:3] == (
        Layer("conv1", "conv1"),
        Layer("bn1", "bn1"),
        Layer("layer1.0.conv1", "layer1_0/conv1"),
    )
    assert Layer("layer1.0.downsample.1", "layer1_0/downsample_1") in layers
    assert "layer1.1.downsample.0" not in {layer.theirs for layer in layers}
    layers = torch_names.layers_of(models.create("torchvision_vgg11_bn", num_classes=3))
    assert layers[2:5] == (
        Layer("features.4", "Conv_1"),
        Layer("features.5", "BatchNorm_1"),
        Layer("features.8", "Conv_2"),
    )
    assert layers[-3:] == (
        Layer("classifier.0", "Dense_0", 512),
        Layer("classifier.3", "Dense_1"),
        Layer("classifier.6", "Dense_2"),
    )


def test_networks_are_recognised_by_the_names_of_a_file():
    for name, same in (
        ("resnet50", ["resnet50", "resnet50_cifar"]),
        ("torchvision_vgg13", ["torchvision_vgg13"]),
    ):
        layers = torch_names.layers_of(models.create(name, num_classes=2))
        names = [f"model.{layer.theirs}.weight" for layer in layers]
        assert torch_weights.networks_of(names) == same
    assert torch_weights.networks_of(["fc.weight"]) == []

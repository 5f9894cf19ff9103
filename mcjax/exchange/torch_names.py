"""Names of a network's layers in PyTorch.

For the networks of `mcjax.flax.models`, these are the names of Garipov's code
(timgaripov/dnn-mode-connectivity) or torchvision's. For any other network, `read_map` reads them
from a file.

>>> from mcjax.flax import models
>>> for layer in layers_of(models.create("vgg7_bn", num_classes=10))[-5:]:
...     print(layer.theirs, "=", layer.ours, layer.flattened or "")
layer_blocks.1.2 = Conv_3
layer_blocks.1.3 = BatchNorm_3
classifier.1 = Dense_0 64
classifier.4 = Dense_1
classifier.6 = Dense_2
"""

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mcjax import extras

with extras.needed_by(__name__):
    import flax.linen as nn

    from mcjax.flax.models import preresnet, residual, resnet, vgg, wide_resnet
    from mcjax.flax.ops import layers


class Layer(NamedTuple):
    """The two names of a layer or of a single array.

    Attributes:
      theirs: the layer's name in the state dict, such as ``layer1.0.conv1`` for
        ``layer1.0.conv1.weight``, or an array's full name.
      ours: the layer's path in the Flax variables without the collection, such as
        ``layer1_0/conv1``, or an array's full path, ``layer1_0/conv1/kernel``.
      flattened: channels of the image, if the layer is dense and its input is a flattened image:
        PyTorch flattens channel by channel, Flax pixel by pixel. Otherwise 0.

    >>> Layer(theirs="classifier.1", ours="Dense_0", flattened=64).theirs
    'classifier.1'
    """

    theirs: str
    ours: str
    flattened: int = 0


def layers_of(model: nn.Module) -> tuple[Layer, ...]:
    """Layers of a network of `mcjax.flax.models`, with Garipov's or torchvision's names.

    Raises:
      ValueError: neither has this network.

    >>> from mcjax.flax import models
    >>> found = layers_of(models.create("preresnet20", num_classes=10))
    >>> [(layer.theirs, layer.ours) for layer in found[1:3]]
    [('layer1.0.bn1', 'layer1_0/bn1'), ('layer1.0.conv1', 'layer1_0/conv1')]
    >>> layers_of(models.create("mlp", num_classes=10))
    Traceback (most recent call last):
    ValueError: no PyTorch names are known for MLP: give a name map
    """
    if isinstance(model, resnet.ResNet):
        return _resnet(model)
    if isinstance(model, vgg.TorchvisionVGG):
        return _torchvision_vgg(model)
    if isinstance(model, vgg.VGG):
        return _vgg(model)
    if isinstance(model, preresnet.PreResNet):
        count, bottleneck = preresnet.blocks(model.depth)
        parts = ["conv1", "conv2", "conv3"][: 3 if bottleneck else 2]
        parts = [p for name in parts for p in (name.replace("conv", "bn"), name)]
        return _residual(count, parts, "downsample", bottleneck, ("bn", "fc"))
    if isinstance(model, wide_resnet.WideResNet):
        count = (model.depth - 4) // 6
        parts = ["bn1", "conv1", "bn2", "conv2"]
        narrow, wide = (
            layers.scaled(residual.CHANNELS[0] * k, model.width) for k in (1, model.widen)
        )
        return _residual(count, parts, "shortcut", narrow != wide, ("bn1", "linear"))
    raise ValueError(f"no PyTorch names are known for {type(model).__name__}: give a name map")


def _vgg(model: vgg.VGG) -> tuple[Layer, ...]:
    """One list of layers per stage; the classifier repeats dropout, dense layer, ReLU."""
    found: list[Layer] = []
    numbers = itertools.count()
    for stage, channels in enumerate(model.stages):
        for i in range(len(channels)):
            number, place = next(numbers), i * (2 if model.batch_norm else 1)
            found.append(Layer(f"layer_blocks.{stage}.{place}", f"Conv_{number}"))
            if model.batch_norm:
                found.append(Layer(f"layer_blocks.{stage}.{place + 1}", f"BatchNorm_{number}"))
    places = [*range(1, 3 * len(model.dense), 3), 3 * len(model.dense)]
    dense = [Layer(f"classifier.{p}", f"Dense_{i}") for i, p in enumerate(places)]
    dense[0] = dense[0]._replace(flattened=layers.scaled(model.stages[-1][-1], model.width))
    return (*found, *dense)


def _torchvision_vgg(model: vgg.TorchvisionVGG) -> tuple[Layer, ...]:
    """One list with all layers, ReLU and pooling included, then dense layer, ReLU, dropout."""
    found: list[Layer] = []
    place = 0
    numbers = itertools.count()
    for channels in model.stages:
        for number in itertools.islice(numbers, len(channels)):
            found.append(Layer(f"features.{place}", f"Conv_{number}"))
            if model.batch_norm:
                found.append(Layer(f"features.{place + 1}", f"BatchNorm_{number}"))
            place += 3 if model.batch_norm else 2
        place += 1
    flattened = layers.scaled(model.stages[-1][-1], model.width)
    dense = [Layer(f"classifier.{3 * i}", f"Dense_{i}") for i in range(len(model.dense) + 1)]
    return (*found, dense[0]._replace(flattened=flattened), *dense[1:])


def _resnet(model: resnet.ResNet) -> tuple[Layer, ...]:
    """A block that changes the shape has a convolution and a batch norm as its shortcut."""
    convolutions = 3 if model.depth >= 50 else 2
    parts = [f"{kind}{i + 1}" for i in range(convolutions) for kind in ("conv", "bn")]
    found = [Layer(name, name) for name in ("conv1", "bn1")]
    for name, stage, _ in resnet.blocks(model.depth):
        theirs = name.replace("_", ".")
        found += [Layer(f"{theirs}.{part}", f"{name}/{part}") for part in parts]
        if theirs.endswith(".0") and (stage > 0 or convolutions == 3):
            found += [Layer(f"{theirs}.downsample.{i}", f"{name}/downsample_{i}") for i in (0, 1)]
    return (*found, Layer("fc", "fc"))


def _residual(
    count: int, parts: Sequence[str], shortcut: str, first_has_it: bool, last: Sequence[str]
) -> tuple[Layer, ...]:
    """Three stages of ``count`` blocks; the first block's shortcut is a convolution."""
    found = [Layer("conv1", "conv1")]
    for stage, block in itertools.product((1, 2, 3), range(count)):
        theirs, ours = f"layer{stage}.{block}", f"layer{stage}_{block}"
        found += [Layer(f"{theirs}.{part}", f"{ours}/{part}") for part in parts]
        if block == 0 and (stage > 1 or first_has_it):
            found.append(Layer(f"{theirs}.{shortcut}.0", f"{ours}/{shortcut}"))
    return (*found, *(Layer(name, name) for name in last))


def read_map(path: Path | str, known: Sequence[Layer] = ()) -> tuple[Layer, ...]:
    """Reads pairs of names from a file.

    The file has lines ``THEIRS = OURS``, with ``#`` for comments, or is a JSON object of such
    pairs. ``OURS flattens C`` says that the layer's input is a flattened image of C channels.

    Args:
      path: the file.
      known: the network's own layers if it has any; their ``flattened`` is the default.

    Raises:
      ValueError: the file cannot be read, a line is not a pair, or a name is repeated.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
    ...     print("net.0 = Dense_0 flattens 3  # the first layer", file=file, flush=True)
    ...     read_map(file.name)
    (Layer(theirs='net.0', ours='Dense_0', flattened=3),)
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"name map {path} cannot be read: {error}") from None
    flattened = {layer.ours: layer.flattened for layer in known}
    found: list[Layer] = []
    for where, theirs, ours in _pairs(path, text):
        match = re.fullmatch(r"(\S+)(?:\s+flattens\s+(\d+))?", ours)
        if not match or not theirs:
            raise ValueError(f"{where}: write THEIRS = OURS, or THEIRS = OURS flattens CHANNELS")
        name, channels = match.groups()
        inner = flattened.get(name.removesuffix("/kernel"), 0)
        found.append(Layer(theirs, name, int(channels or inner)))
    for names in zip(*[(layer.theirs, layer.ours) for layer in found], strict=True):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"name map {path} has {twice[0]} twice")
    if not found:
        raise ValueError(f"name map {path} is empty")
    return tuple(found)


def _pairs(path: Path | str, text: str) -> Iterator[tuple[str, str, str]]:
    """Yields the place in the file, their name and our name of every pair."""
    if text.lstrip().startswith("{"):
        try:
            pairs = json.loads(text, object_pairs_hook=list)
        except ValueError as error:
            raise ValueError(f"name map {path} is not valid JSON: {error}") from None
        for theirs, ours in pairs:
            yield f"name map {path}, {theirs!r}", theirs, str(ours).strip()
        return
    for number, line in enumerate(text.splitlines(), 1):
        line = line.partition("#")[0].strip()
        if line:
            theirs, _, ours = line.partition("=")
            yield f"name map {path}, line {number}", theirs.strip(), ours.strip()

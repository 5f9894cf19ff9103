"""Converts PyTorch weights to Flax variables and back.

Both have the same numbers in a different order: PyTorch's kernels are
``[out, in, height, width]`` and ``[out, in]``, Flax's ``[height, width, in, out]`` and
``[in, out]``. `mcjax.exchange.torch_names` matches the layers, `mcjax.exchange.torch_files` reads
and writes files.

Batch norm variances are copied unchanged in both directions, so a network computes the same in
both frameworks. They estimate different things: PyTorch's ``running_var`` averages unbiased
variances of training batches; those of Flax, and those recomputed by `mcjax.engine.evaluation`,
are biased. Their ratio is n / (n - 1), where n is images times pixels of a training batch in that
layer: 1.002 for 128 images of 2x2 pixels. No checkpoint stores n, and converting would change the
logits.

>>> variables = {"params": {"Dense_0": {"kernel": np.ones((3, 2)), "bias": np.zeros(2)}}}
>>> layers = [Layer("classifier.1", "Dense_0")]
>>> arrays = from_flax(variables, layers)
>>> {name: array.shape for name, array in arrays.items()}
{'classifier.1.bias': (2,), 'classifier.1.weight': (2, 3)}
>>> to_flax({"classifier.1.weight": np.ones((2, 4))}, variables, layers)
Traceback (most recent call last):
mcjax.exchange.mismatch.Mismatch: checkpoint and network do not fit: no value for Dense_0/bias
(classifier.1.bias); another shape in classifier.1.weight ([2, 4], not [2, 3])
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mcjax.exchange.mismatch import Mismatch
from mcjax.exchange.torch_files import Arrays
from mcjax.exchange.torch_names import Layer, layers_of
from mcjax.flax import models

_LEAVES = {
    "kernel": "weight", "scale": "weight", "embedding": "weight", "bias": "bias",
    "mean": "running_mean", "var": "running_var",
}  # fmt: skip


def to_flax(
    arrays: Mapping[str, np.ndarray | jax.Array], template: Any, layers: Sequence[Layer]
) -> Any:
    """Converts a state dict to Flax variables.

    Args:
      arrays: by PyTorch's names, from `mcjax.exchange.torch_files.read`. A prefix that all names
        share and no layer has, such as Lightning's ``model.``, is removed.
      template: the network's variables, ``{"params": ..., "batch_stats": ...}``; shapes suffice.
      layers: both names of each layer, from `mcjax.exchange.torch_names`.

    Returns:
      Numpy arrays with the template's structure and dtypes and the values of ``arrays``.

    Raises:
      Mismatch: (a ValueError) an array has no place, no value, or another shape.
      ValueError: the network has no such layer.

    >>> variables = {"params": {"Dense_0": {"kernel": np.zeros((3, 2)), "bias": np.zeros(2)}}}
    >>> arrays = {"fc.weight": np.arange(6.0).reshape(2, 3), "fc.bias": np.ones(2)}
    >>> to_flax(arrays, variables, [Layer("fc", "Dense_0")])["params"]["Dense_0"]["kernel"]
    array([[0., 3.],
           [1., 4.],
           [2., 5.]])
    """
    names = _names(template, layers)
    missing: list[str] = []
    misshapen: list[str] = []
    arrays = without_prefix(arrays, layers)

    def convert(path: tuple[Any, ...], leaf: Any) -> Any:
        theirs, flattened = names.get(_path(path), ("", 0))
        if theirs not in arrays:
            missing.append(f"{_inner(path)} ({theirs or 'without a name'})")
            return leaf
        array, expected = np.asarray(arrays[theirs]), _torch_shape(path, leaf)
        if array.shape != expected:
            misshapen.append(f"{theirs} ({list(array.shape)}, not {list(expected)})")
            return leaf
        if _is_kernel(path, leaf):
            if flattened:
                array = array.reshape(len(array), flattened, -1).swapaxes(1, 2)
            array = np.moveaxis(array.reshape(expected), (0, 1), (-1, -2))
        return np.array(array, leaf.dtype, order="C")

    variables = jax.tree_util.tree_map_with_path(convert, template)
    unplaced = [name for name in arrays if name not in {theirs for theirs, _ in names.values()}]
    if unplaced or missing or misshapen:
        raise Mismatch(unplaced, missing, misshapen)
    return variables


def without_prefix(arrays: Mapping[str, Any], layers: Sequence[Layer]) -> Mapping[str, Any]:
    """Strips the modules that all names share, as far as needed for a layer to match.

    >>> list(without_prefix({"model.net.fc.bias": 0, "model.net.fc.weight": 1}, [Layer("fc", "")]))
    ['fc.bias', 'fc.weight']
    """
    known, stripped = {layer.theirs for layer in layers}, dict(arrays)
    while not any({name, name.rpartition(".")[0]} & known for name in stripped):
        prefixes = {name.partition(".")[0] for name in stripped}
        if len(prefixes) != 1 or prefixes & stripped.keys():
            return arrays
        stripped = {name.partition(".")[2]: array for name, array in stripped.items()}
    return stripped


def networks_of(names: Collection[str]) -> list[str]:
    """Networks of `mcjax.flax.models` that have exactly the layers of a state dict.

    >>> networks_of(["net.0.weight", "net.0.bias"])
    []
    """
    found: list[str] = []
    for model in models.names():
        try:
            layers = layers_of(models.create(model, num_classes=1))
        except ValueError:  # a network without PyTorch names
            continue
        stripped = without_prefix(dict.fromkeys(names), layers)
        if {name.rpartition(".")[0] for name in stripped} == {layer.theirs for layer in layers}:
            found.append(model)
    return found


def unused_norms(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Batch norms that never saw a batch, if others did.

    Their running averages still have the initial values, zero and one. Garipov's VGG16BN and
    VGG19BN have such layers: their ``forward`` zips the layers of a block, convolutions and batch
    norms, with half as many activations, so the remaining layers never run. A network that runs
    all layers computes something else.

    Args:
      arrays: by PyTorch's names.

    Returns:
      Names of the layers.

    >>> arrays = {"bn1.running_mean": np.zeros(2), "bn1.running_var": np.ones(2)}
    >>> unused_norms(arrays | {"bn2.running_mean": np.full(2, 0.3)})
    ['bn1']
    """
    norms = [n.removesuffix(".running_mean") for n in arrays if n.endswith(".running_mean")]
    unused = [
        n
        for n in norms
        if not np.any(arrays[f"{n}.running_mean"])
        and np.all(np.asarray(arrays.get(f"{n}.running_var", 0)) == 1)
    ]
    return unused if len(unused) < len(norms) else []


def from_flax(variables: Any, layers: Sequence[Layer]) -> Arrays:
    """Converts Flax variables to a state dict for ``load_state_dict``: the inverse of `to_flax`.

    Args:
      variables: ``{"params": ..., "batch_stats": ...}``.
      layers: both names of each layer, from `mcjax.exchange.torch_names`.

    Raises:
      Mismatch: (a ValueError) an array of the network has no name.
      ValueError: the network has no such layer.

    >>> variables = {"params": {"Dense_0": {"kernel": np.arange(6.0).reshape(3, 2)}}}
    >>> from_flax(variables, [Layer("fc", "Dense_0")])
    {'fc.weight': array([[0., 2., 4.],
           [1., 3., 5.]])}
    """
    names = _names(variables, layers)
    arrays: Arrays = {}
    missing: list[str] = []
    for path, leaf in _leaves(variables):
        if _path(path) not in names:
            missing.append(f"{_inner(path)} (without a name)")
            continue
        theirs, flattened = names[_path(path)]
        array = np.asarray(leaf)
        if _is_kernel(path, leaf):
            array = np.moveaxis(array, (-1, -2), (0, 1))
            if flattened:
                array = array.reshape(len(array), -1, flattened).swapaxes(1, 2)
            array = array.reshape(_torch_shape(path, leaf))
        arrays[theirs] = array
    if missing:
        raise Mismatch([], missing, [])
    return arrays


def _names(variables: Any, layers: Sequence[Layer]) -> dict[str, tuple[str, int]]:
    """PyTorch's name and `Layer.flattened`, by path with the collection."""
    by_ours = {layer.ours: layer for layer in layers}
    found: dict[str, tuple[str, int]] = {}
    used: set[str] = set()
    for path, leaf in _leaves(variables):
        module, _, name = _inner(path).rpartition("/")
        if layer := by_ours.get(_inner(path)):
            found[_path(path)] = layer.theirs, layer.flattened
        elif (layer := by_ours.get(module)) and name in _LEAVES:
            found[_path(path)] = f"{layer.theirs}.{_LEAVES[name]}", layer.flattened
        if layer:
            used.add(layer.ours)
            if layer.flattened and _is_kernel(path, leaf) and leaf.shape[-2] % layer.flattened:
                raise ValueError(
                    f"{layer.ours} flattens {layer.flattened} channels, which do not divide its "
                    f"{leaf.shape[-2]} inputs"
                )
    for ours, layer in by_ours.items():
        if ours not in used:
            have = sorted({_inner(path).rpartition("/")[0] for path, _ in _leaves(variables)})
            raise ValueError(
                f"the network has no layer {ours!r} (for {layer.theirs}): it has {', '.join(have)}"
            )
    return found


_leaves = jax.tree_util.tree_leaves_with_path


def _path(path: tuple[Any, ...]) -> str:
    """``params/Conv_0/kernel``."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _inner(path: tuple[Any, ...]) -> str:
    """``Conv_0/kernel``."""
    return _path(path[1:])


def _is_kernel(path: tuple[Any, ...], leaf: Any) -> bool:
    return _path(path[-1:]) == "kernel" and len(leaf.shape) > 1


def _torch_shape(path: tuple[Any, ...], leaf: Any) -> tuple[int, ...]:
    shape = leaf.shape
    return (shape[-1], shape[-2], *shape[:-2]) if _is_kernel(path, leaf) else tuple(shape)

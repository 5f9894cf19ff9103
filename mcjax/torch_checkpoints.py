"""PyTorch's weights as Flax variables, and back.

A layer here and there is the same numbers in another order: PyTorch has kernels as
``[out, in, height, width]`` and ``[out, in]``, Flax as ``[height, width, in, out]`` and
``[in, out]``. `mcjax.torch_names` says which layer is which, `mcjax.torch_files` reads and writes.

>>> variables = {"params": {"Dense_0": {"kernel": np.ones((3, 2)), "bias": np.zeros(2)}}}
>>> layers = [Layer("classifier.1", "Dense_0")]
>>> arrays = from_flax(variables, layers)
>>> {name: array.shape for name, array in arrays.items()}
{'classifier.1.bias': (2,), 'classifier.1.weight': (2, 3)}
>>> to_flax({"classifier.1.weight": np.ones((2, 4))}, variables, layers)
Traceback (most recent call last):
mcjax.torch_checkpoints.Mismatch: checkpoint and network do not fit: no value for Dense_0/bias
(classifier.1.bias); another shape in classifier.1.weight ([2, 4], not [2, 3])
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mcjax import choices
from mcjax.torch_files import Arrays
from mcjax.torch_names import Layer

_LEAVES = {
    "kernel": "weight", "scale": "weight", "embedding": "weight", "bias": "bias",
    "mean": "running_mean", "var": "running_var",
}  # fmt: skip
SHOWN = 6
"""So many names of a kind are in a `Mismatch`'s message."""


class Mismatch(ValueError):
    """A checkpoint and a network that do not fit.

    Attributes:
      unplaced: names of the checkpoint's arrays that have no place in the network.
      missing: the network's arrays that have no value, each with the name looked for.
      misshapen: arrays of another shape, each with both shapes.
    """

    def __init__(self, unplaced: Sequence[str], missing: Sequence[str], misshapen: Sequence[str]):
        self.unplaced, self.missing, self.misshapen = unplaced, missing, misshapen
        said = []
        for words, names in (
            ("no place for", unplaced),
            ("no value for", missing),
            ("another shape in", misshapen),
        ):
            if names:
                said.append(f"{words} {choices.listed(names, SHOWN)}")
        super().__init__(f"checkpoint and network do not fit: {'; '.join(said)}")


def to_flax(arrays: Mapping[str, np.ndarray], template: Any, layers: Sequence[Layer]) -> Any:
    """Flax variables from a state dict.

    Args:
      arrays: by PyTorch's names, from `mcjax.torch_files.read`.
      template: the network's variables, ``{"params": ..., "batch_stats": ...}``; shapes suffice.
      layers: which layer is which, from `mcjax.torch_names`.

    Returns:
      ``template`` with numpy arrays of its types, and the values of ``arrays``.

    Raises:
      Mismatch: (a ValueError) an array has no place, no value, or another shape.
      ValueError: a layer is not in the network.
    """
    names, missing, misshapen = _names(template, layers), [], []

    def convert(path, leaf):
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


def unused_norms(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Batch norms that no batch ever went through, where one has gone through others.

    Their running averages are as they were made, zero and one. Garipov's VGG16BN and VGG19BN have
    such: their ``forward`` pairs the layers of a block, a convolution and a batch norm each, with
    half as many activations, and the rest is never run. What they compute is not what a network
    with all of these layers does.
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
    """A state dict from Flax variables: the inverse of `to_flax`, same arguments.

    PyTorch's ``load_state_dict`` takes it as it is.

    Raises:
      Mismatch: (a ValueError) an array of the network has no name.
      ValueError: a layer is not in the network.
    """
    names, arrays, missing = _names(variables, layers), {}, []
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


def _names(variables, layers) -> dict[str, tuple[str, int]]:
    """PyTorch's name, and the channels that are flattened, by path with the collection."""
    by_ours = {layer.ours: layer for layer in layers}
    found, used = {}, set()
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


def _path(path) -> str:
    """``params/Conv_0/kernel``."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _inner(path) -> str:
    """``Conv_0/kernel``."""
    return _path(path[1:])


def _is_kernel(path, leaf) -> bool:
    return _path(path[-1:]) == "kernel" and len(leaf.shape) > 1


def _torch_shape(path, leaf) -> tuple[int, ...]:
    shape = leaf.shape
    return (shape[-1], shape[-2], *shape[:-2]) if _is_kernel(path, leaf) else tuple(shape)

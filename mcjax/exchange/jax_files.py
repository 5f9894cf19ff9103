"""Checkpoints of JAX programs: Flax msgpack, ``.npz`` and orbax folders.

Arrays are named by their path in the file's tree, ``params/Dense_0/kernel``, whether the tree is
nested or was flattened with ``/`` or ``.``. The network's parameters may be anywhere in it: a set
of weights is a path with the network's own names below. Optimizer state has the same names and is
ignored.

>>> tree = {"step": 3, "params": {"Dense_0": {"bias": np.ones(2)}}, "ema": {"Dense_0.bias": 0.5}}
>>> arrays = flatten(tree)
>>> sorted(arrays)
['ema/Dense_0/bias', 'params/Dense_0/bias', 'step']
>>> template = {"params": {"Dense_0": {"bias": np.zeros(2)}}}
>>> variables, name, others = to_variables(arrays, template)
>>> variables["params"]["Dense_0"]["bias"], name, others
(array([1., 1.]), 'params', ('ema',))
"""

import collections
import re
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from mcjax import extras, spelling
from mcjax.exchange.mismatch import Mismatch

with extras.needed_by(__name__):
    import flax.serialization

    from mcjax.engine import checkpoints
    from mcjax.exchange.torch_names import Layer

Arrays = dict[str, np.ndarray]
"""Arrays by their path in the tree."""
USUAL = ("params", "")
"""Default paths of the parameters; the empty path is a file with nothing but parameters."""


class Found(NamedTuple):
    """A network's variables.

    Attributes:
      variables: numpy arrays with the template's structure and dtypes.
      name: path of the parameters.
      others: paths of other parameters that fit the network, such as moving averages.

    >>> template = {"params": {"Dense_0": {"bias": np.zeros(2)}}}
    >>> to_variables({"params/Dense_0/bias": np.ones(2)}, template).name
    'params'
    """

    variables: Any
    name: str
    others: tuple[str, ...]


def read(path: Path | str) -> Arrays:
    """Reads all arrays of a checkpoint: an orbax folder, ``.npz`` or Flax msgpack.

    Raises:
      ValueError: the file does not exist, is damaged, is of another kind, or is a pickle.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/weights.npz", **{"params/Dense_0/bias": np.ones(2)})
    ...     arrays = read(f"{folder}/weights.npz")
    >>> arrays
    {'params/Dense_0/bias': array([1., 1.])}
    >>> read("/nowhere/weights.npz")
    Traceback (most recent call last):
    ValueError: there is no file /nowhere/weights.npz
    """
    path = Path(path)
    if path.is_dir():
        return flatten(checkpoints.read_tree(path))
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    reader, kind = (_read_npz, ".npz") if zipfile.is_zipfile(path) else (_read_msgpack, "msgpack")
    try:
        arrays = flatten(reader(path))
    except Exception as error:  # msgpack, zipfile and numpy share no base class
        why = " ".join(str(error).split())[:100]
        raise ValueError(
            f"{path} is damaged or not a Flax msgpack, .npz or orbax checkpoint (read as {kind}: "
            f"{type(error).__name__}: {why})"
        ) from None
    if not arrays:
        raise ValueError(f"{path} holds no arrays")
    return arrays


def _read_npz(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _read_msgpack(path: Path) -> Mapping[str, Any]:
    tree = flax.serialization.msgpack_restore(path.read_bytes())
    if not isinstance(tree, Mapping):
        raise ValueError(f"a {type(tree).__name__} instead of a tree of arrays")
    return tree


def flatten(tree: Any) -> Arrays:
    """Arrays of a tree by path, without the trailing ``value`` of Flax boxes and NNX variables.

    >>> flatten({"params": {"Dense_0": {"bias": np.ones(2), "name": "a text"}}})
    {'params/Dense_0/bias': array([1., 1.])}
    """
    arrays: Arrays = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if isinstance(leaf, np.ndarray | np.generic | jax.Array | int | float):
            name = _path(jax.tree_util.keystr(path, simple=True, separator="/"))
            arrays[name.removesuffix("/value")] = np.asarray(leaf)
    return arrays


def _path(name: str) -> str:
    """Joins the parts of a name with ``/``: ``.params['Dense_0']`` becomes ``params/Dense_0``.

    >>> _path(".params['Dense_0'].kernel"), _path("Dense_0.kernel")
    ('params/Dense_0/kernel', 'Dense_0/kernel')
    """
    return "/".join(filter(None, re.split(r"[./\[\]'\"]+", name)))


def to_variables(
    arrays: Mapping[str, np.ndarray | jax.Array],
    template: Any,
    layers: Sequence[Layer] = (),
    weights: str | None = None,
) -> Found:
    """Converts the arrays of a file to a network's variables.

    Args:
      arrays: from `read`.
      template: the network's variables, ``{"params": ..., "batch_stats": ...}``; shapes suffice.
      layers: layers or arrays whose names differ, from `mcjax.exchange.torch_names.read_map`.
      weights: path of the parameters; by default the only ones, or one of `USUAL`.

    Raises:
      Mismatch: (a ValueError) an array has no place, no value, or another shape.
      ValueError: there are no parameters at ``weights``, the file has several and none of `USUAL`,
        or the network has no such layer.

    >>> template = {"params": {"Dense_0": {"bias": np.zeros(2)}}}
    >>> to_variables({"Dense_0/bias": np.ones(2)}, template).variables
    {'params': {'Dense_0': {'bias': array([1., 1.])}}}
    >>> to_variables({"Dense_0/bias": np.ones(3)}, template)
    Traceback (most recent call last):
    mcjax.exchange.mismatch.Mismatch: checkpoint and network do not fit: another shape ...
    """
    names = _names(template, layers)
    homes = {kind: _homes(arrays, set(inner.values())) for kind, inner in names.items()}
    asked = None if weights is None else _path(weights)
    if asked is not None and asked not in homes["params"]:
        complete = ", ".join(filter(None, homes["params"])) or "none"
        raise ValueError(f"no parameters of the network are at {weights!r}: there are {complete}")
    name = asked if asked is not None else spelling.pick(homes["params"] or [""], USUAL)
    places = {
        kind: name if kind == "params" else _beside(name, kind, homes[kind]) for kind in names
    }
    missing: list[str] = []
    misshapen: list[str] = []
    used: set[str] = set()

    def convert(path: tuple[Any, ...], leaf: Any) -> Any:
        kind, ours = _text(path[:1]), _text(path[1:])
        theirs = f"{places[kind]}/{names[kind][ours]}".lstrip("/")
        used.add(theirs)
        if theirs not in arrays:
            missing.append(f"{kind}/{ours} ({theirs})")
        elif arrays[theirs].shape != leaf.shape:
            misshapen.append(f"{theirs} ({list(arrays[theirs].shape)}, not {list(leaf.shape)})")
        else:
            return np.array(arrays[theirs], leaf.dtype, order="C")
        return leaf

    variables = jax.tree_util.tree_map_with_path(convert, template)
    unplaced = [n for n in _inside(arrays, places, name) if n not in used]
    if unplaced or missing or misshapen:
        raise Mismatch(unplaced, missing, misshapen)
    return Found(variables, name, tuple(other for other in homes["params"] if other != name))


def _names(template: Any, layers: Sequence[Layer]) -> dict[str, dict[str, str]]:
    """For each collection, the file's name of each of the network's arrays."""
    theirs = {layer.ours: _path(layer.theirs) for layer in layers}
    found: dict[str, dict[str, str]] = {kind: {} for kind in template}
    used: set[str] = set()
    for path, _ in jax.tree_util.tree_leaves_with_path(template):
        ours = _text(path[1:])
        module, _, leaf = ours.rpartition("/")
        used |= {ours, module}
        other = theirs.get(ours) or (f"{theirs[module]}/{leaf}" if module in theirs else ours)
        found[_text(path[:1])][ours] = other
    unknown = [ours for ours in theirs if ours not in used]
    if unknown:
        have = sorted(used & {n.rpartition("/")[0] for n in used})
        raise ValueError(f"the network has no layer {unknown[0]!r}: it has {', '.join(have)}")
    return found


def _homes(arrays: Collection[str], inner: Collection[str]) -> list[str]:
    """Paths with the most of the inner names below them, optimizer state excluded."""
    hits: collections.Counter[str] = collections.Counter()
    for name in arrays:
        parts = name.split("/")
        for i in range(len(parts)):
            if "/".join(parts[i:]) in inner and not any(p.startswith("opt") for p in parts[:i]):
                hits["/".join(parts[:i])] += 1
    most = max(hits.values(), default=0)
    return [home for home, count in hits.items() if count == most]


def _beside(name: str, kind: str, homes: list[str]) -> str:
    """Path of another collection, such as ``batch_stats``, beside the parameters."""
    parent = name.rpartition("/")[0]
    for place in (name.replace("params", kind), f"{parent}/{kind}".lstrip("/")):
        if place in homes:
            return place
    return spelling.pick(homes, (kind,)) if homes else f"{parent}/{kind}".lstrip("/")


def _inside(arrays: Collection[str], places: Mapping[str, str], name: str) -> list[str]:
    """Names below the network's collections, optimizer state excluded.

    In a file with nothing but parameters these are all names.
    """
    begins = tuple(f"{place}/" if place else "" for place in places.values())
    return [n for n in arrays if n.startswith(begins) and (name or not n.startswith("opt"))]


def _text(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")

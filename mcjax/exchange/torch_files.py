"""State dicts in PyTorch and safetensors files.

Files of ``torch.save`` need torch; only weights are read from them, and no code in them runs.
Safetensors files need only safetensors.
"""

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mcjax import extras, spelling

Arrays = dict[str, np.ndarray]
"""The arrays of a state dict by PyTorch's names."""
FORMATS = ("pt", "safetensors")
"""What `encode` writes."""
CONTAINERS = ("state_dict", "model_state_dict", "model_state", "model", "net")
"""Keys of the plain weights in a checkpoint that holds more; model_state is Garipov's."""
WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes that data parallelism, averaging and compilation add to every name."""
COUNTERS = ("num_batches_tracked", "n_averaged")
"""Counters of batch norm and of averaged models, which no network here has."""
_TYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": jnp.bfloat16,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8,
    "BOOL": np.bool_,
}  # fmt: skip


class Weights(NamedTuple):
    """A set of weights in a file.

    Attributes:
      arrays: by name; bfloat16 is converted to float32.
      name: keys that lead to the set, joined by ``/``; empty if the set is the whole file.
      others: names of the file's other sets, such as moving averages.

    >>> Weights({"fc.bias": np.ones(2)}, name="state_dict", others=("ema",)).others
    ('ema',)
    """

    arrays: Arrays
    name: str
    others: tuple[str, ...]


def load(path: Path | str, weights: str | None = None) -> Weights:
    """Reads a checkpoint: safetensors if the suffix says so, otherwise a file of ``torch.save``.

    The state dict may be the whole file or anywhere in nested dicts. If there are several, the
    first of `CONTAINERS` is read. `WRAPPERS` that all names share are removed, and so are
    `COUNTERS`.

    Args:
      path: the file.
      weights: the set to read instead: its name, or the prefix of its arrays' names (``ema`` for
        ``ema.conv1.weight``).

    Raises:
      ValueError: the file or set does not exist, is damaged, holds no weights, or is not safe to
        read.
      MissingExtraError: (an ImportError) torch or safetensors is not installed.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/model.safetensors", {"module.fc.bias": np.ones(2, np.float32)})
    ...     found = load(f"{folder}/model.safetensors")
    >>> found.arrays
    {'fc.bias': array([1., 1.], dtype=float32)}
    >>> load("/nowhere/model.pt")
    Traceback (most recent call last):
    ValueError: there is no file /nowhere/model.pt
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    flat = path.suffix == ".safetensors"
    sets = {"": _read_safetensors(path)} if flat else _read_torch(path)
    try:
        name, begin = _chosen(sets, weights)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    arrays = _arrays(path, {k: v for k, v in sets[name].items() if k.startswith(begin)})
    arrays = _plain({k.removeprefix(begin): v for k, v in arrays.items()})
    return Weights(arrays, name, tuple(other for other in sets if other != name))


def _chosen(sets: Mapping[str, Any], weights: str | None) -> tuple[str, str]:
    """Name of the chosen set, and prefix of the chosen arrays in it."""
    if weights is None or weights in sets:
        return spelling.pick(list(sets), CONTAINERS, weights), ""
    begin = f"{weights}."
    for name, arrays in sets.items():
        if any(key.startswith(begin) for key in arrays):
            return name, begin
    beginnings = {key.partition(".")[0] for arrays in sets.values() for key in arrays}
    return spelling.pick(list(filter(None, sets)) or sorted(beginnings), (), weights), ""


def read(path: Path | str, weights: str | None = None) -> Arrays:
    """Reads the arrays of a checkpoint; for arguments and errors see `load`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/model.safetensors", {"fc.bias": np.ones(2, np.float32)})
    ...     read(f"{folder}/model.safetensors")
    {'fc.bias': array([1., 1.], dtype=float32)}
    """
    return load(path, weights).arrays


def _plain(arrays: Arrays) -> Arrays:
    """Removes counters and wrappers."""
    arrays = {n: a for n, a in arrays.items() if n.rpartition(".")[2] not in COUNTERS}
    while prefix := next((w for w in WRAPPERS if all(n.startswith(w) for n in arrays)), ""):
        arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
    return arrays


def _read_safetensors(path: Path) -> Arrays:
    with extras.needed_by(str(path)):
        from safetensors import SafetensorError, deserialize
    try:
        found = deserialize(path.read_bytes())
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or not a safetensors file: {error}") from None
    arrays: Arrays = {}
    for name, raw in sorted(found, key=lambda pair: pair[0]):  # their order is random
        if raw["dtype"] not in _TYPES:
            raise ValueError(f"{path}: {name} has dtype {raw['dtype']}, which is not supported")
        array = np.frombuffer(raw["data"], _TYPES[raw["dtype"]]).reshape(raw["shape"])
        arrays[name] = array.astype(np.float32) if raw["dtype"] == "BF16" else array
    if not arrays:
        raise ValueError(f"{path} holds no arrays")
    return arrays


def _read_torch(path: Path) -> dict[str, dict[str, Any]]:
    """Tensors of every set of weights, by the set's name."""
    torch = _torch(str(path))
    try:
        with warnings.catch_warnings(action="ignore"):  # about sparse tensors, refused below
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has no exception for damaged files
        refused = re.search(r"GLOBAL (\S+) was not an allowed", str(error))
        if refused:
            raise ValueError(
                f"{path} holds more than weights ({refused[1]}), which is not safe to load: "
                "save the weights alone, torch.save(model.state_dict(), PATH)"
            ) from None
        why = " ".join(str(error).split())[:100]
        raise ValueError(
            f"{path} is damaged or not a PyTorch checkpoint ({type(error).__name__}: {why})"
        ) from None
    sets = dict(_sets(found, torch.Tensor))
    if not sets:
        keys = f" of {', '.join(map(str, found))}"[:100] if isinstance(found, Mapping) else ""
        raise ValueError(f"{path} holds a {type(found).__name__}{keys}, without a state dict")
    return sets


def _sets(found: Any, tensor: type, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the state dicts in nested dicts by name, optimizer state excluded."""
    if not isinstance(found, Mapping):
        return
    inner = [
        pair
        for key, value in found.items()
        if isinstance(key, str) and "optim" not in key
        for pair in _sets(value, tensor, f"{name}/{key}".lstrip("/"))
    ]
    tensors = {str(k): v for k, v in found.items() if isinstance(v, tensor)}
    if inner:
        yield from inner
    elif any(t.ndim and t.is_floating_point() for t in tensors.values()):
        yield name, tensors


def _arrays(path: Path, tensors: Mapping[str, Any]) -> Arrays:
    """Converts tensors to numpy arrays; arrays stay as they are."""
    arrays: Arrays = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, np.ndarray):
            arrays[name] = tensor
            continue
        try:
            wide = tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor
            arrays[name] = wide.detach().numpy()
        except (TypeError, RuntimeError):
            raise ValueError(
                f"{path}: {name} has dtype {tensor.dtype} ({tensor.layout}), which is not supported"
            ) from None
    return arrays


def encode(arrays: Mapping[str, np.ndarray | jax.Array], file_format: str) -> bytes:
    """Encodes a state dict as the bytes of a file.

    Args:
      arrays: by name.
      file_format: one of `FORMATS`; ``pt`` is for ``torch.load``.

    Raises:
      ValueError: the format is unknown.
      MissingExtraError: (an ImportError) torch or safetensors is not installed.

    >>> len(encode({"fc.bias": np.ones(2, np.float32)}, "safetensors")) > 8
    True
    >>> encode({}, "h5")
    Traceback (most recent call last):
    ValueError: format 'h5' is unknown: use pt or safetensors
    """
    solid = {name: np.array(array, order="C") for name, array in arrays.items()}
    if file_format == "pt":
        torch = _torch("format pt")
        buffer = io.BytesIO()
        torch.save({name: _tensor(torch, array) for name, array in solid.items()}, buffer)
        return buffer.getvalue()
    if file_format != "safetensors":
        raise ValueError(f"format {file_format!r} is unknown: use {' or '.join(FORMATS)}")
    with extras.needed_by("format safetensors"):
        from safetensors import numpy as safetensors
    return safetensors.save(solid, metadata={"format": "pt"})


def _tensor(torch: ModuleType, array: np.ndarray) -> Any:
    if array.dtype == jnp.bfloat16:
        return torch.from_numpy(array.astype(np.float32)).bfloat16()
    return torch.from_numpy(array)


def write(path: Path | str, arrays: Mapping[str, np.ndarray | jax.Array]) -> None:
    """Writes a state dict as safetensors if the suffix says so, otherwise as ``torch.save`` does.

    Args:
      path: ``.safetensors``, or any other name for a file of ``torch.save``.
      arrays: by name.

    Raises:
      MissingExtraError: (an ImportError) torch or safetensors is not installed.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/model.safetensors", {"fc.bias": np.ones(2, np.float32)})
    ...     list(read(f"{folder}/model.safetensors"))
    ['fc.bias']
    """
    path = Path(path)
    path.write_bytes(encode(arrays, "safetensors" if path.suffix == ".safetensors" else "pt"))


def _torch(user: str) -> ModuleType:
    with extras.needed_by(user):
        import torch
    return torch

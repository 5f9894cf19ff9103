"""Files of PyTorch's: state dicts as ``torch.save`` writes them, and safetensors.

The first need torch, and only weights are ever read from them: no code in them is run. The second
need safetensors alone.
"""

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from mcjax import spelling

Arrays = dict[str, np.ndarray]
"""A state dict: arrays by PyTorch's names."""
FORMATS = ("pt", "safetensors")
CONTAINERS = ("state_dict", "model_state_dict", "model_state", "model", "net")
"""Where a checkpoint that holds more has its plain weights; model_state is Garipov's."""
WRAPPERS = ("module.", "_orig_mod.")
"""What data parallelism, averaging and compilation put before every name."""
COUNTERS = ("num_batches_tracked", "n_averaged")
"""Of batch norm and of averaged models; no network here has them."""
_TYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": jnp.bfloat16,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8,
    "BOOL": np.bool_,
}  # fmt: skip


class Weights(NamedTuple):
    """One set of weights of a file.

    Attributes:
      arrays: by name; bfloat16 as float32.
      name: where in the file they are, keys joined by ``/``; empty where they are the whole file.
      others: the names of the file's other sets of weights, such as moving averages.
    """

    arrays: Arrays
    name: str
    others: tuple[str, ...]


def load(path: Path | str, weights: str | None = None) -> Weights:
    """Reads a checkpoint: a safetensors file by its suffix, else one that ``torch.save`` wrote.

    A state dict may stand alone or anywhere in nested dicts. Of several the first of `CONTAINERS`
    is taken. `WRAPPERS` before all names are taken off, and `COUNTERS` are left out.

    Args:
      path: the file.
      weights: which to read instead: the name of a set, or what its names begin with (``ema`` of
        ``ema.conv1.weight``).

    Raises:
      ValueError: there is no such file or set, it is damaged, it holds no weights or what is not
        safe to read, or the package that reads it is not installed.
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
    """The name of a set, and how the names of those of its arrays begin that are meant."""
    if weights is None or weights in sets:
        return spelling.pick(list(sets), CONTAINERS, weights), ""
    begin = f"{weights}."
    for name, arrays in sets.items():
        if any(key.startswith(begin) for key in arrays):
            return name, begin
    beginnings = {key.partition(".")[0] for arrays in sets.values() for key in arrays}
    return spelling.pick(list(filter(None, sets)) or sorted(beginnings), (), weights), ""


def read(path: Path | str, weights: str | None = None) -> Arrays:
    """The arrays of `load`."""
    return load(path, weights).arrays


def _plain(arrays: Arrays) -> Arrays:
    """Without counters and wrappers."""
    arrays = {n: a for n, a in arrays.items() if n.rpartition(".")[2] not in COUNTERS}
    while prefix := next((w for w in WRAPPERS if all(n.startswith(w) for n in arrays)), ""):
        arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
    return arrays


def _read_safetensors(path: Path) -> Arrays:
    try:
        from safetensors import SafetensorError, deserialize
    except ImportError:
        raise ValueError(f"{path} needs safetensors: pip install safetensors") from None
    try:
        found = deserialize(path.read_bytes())
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {error}") from None
    arrays = {}
    for name, raw in sorted(found, key=lambda pair: pair[0]):  # they come in a random order
        if raw["dtype"] not in _TYPES:
            raise ValueError(f"{path}: {name} is of type {raw['dtype']}, which is not read")
        array = np.frombuffer(raw["data"], _TYPES[raw["dtype"]]).reshape(raw["shape"])
        arrays[name] = array.astype(np.float32) if raw["dtype"] == "BF16" else array
    if not arrays:
        raise ValueError(f"{path} holds no arrays")
    return arrays


def _read_torch(path: Path) -> dict[str, dict[str, Any]]:
    """The tensors of every set of weights by its name."""
    torch = _torch(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # of sparse tensors, which are refused below
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has no class for what is wrong with a file
        refused = re.search(r"GLOBAL (\S+) was not an allowed", str(error))
        if refused:
            raise ValueError(
                f"{path} holds more than weights ({refused[1]}), and running what it holds is not "
                "safe: save the weights alone, torch.save(model.state_dict(), PATH)"
            ) from None
        why = " ".join(str(error).split())[:100]
        raise ValueError(
            f"{path} is damaged or no PyTorch checkpoint ({type(error).__name__}: {why})"
        ) from None
    sets = dict(_sets(found, torch.Tensor))
    if not sets:
        keys = f" of {', '.join(map(str, found))}"[:100] if isinstance(found, Mapping) else ""
        raise ValueError(f"{path} holds a {type(found).__name__}{keys}, and no state dict in it")
    return sets


def _sets(found: Any, tensor: type, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """The state dicts in nested dicts by name, but for what optimizers keep of every parameter."""
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
    """Tensors as numpy's arrays; arrays stay."""
    arrays = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, np.ndarray):
            arrays[name] = tensor
            continue
        try:
            wide = tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor
            arrays[name] = wide.detach().numpy()
        except (TypeError, RuntimeError):
            raise ValueError(
                f"{path}: {name} is of type {tensor.dtype} ({tensor.layout}), which is not read"
            ) from None
    return arrays


def encode(arrays: Mapping[str, np.ndarray], file_format: str) -> bytes:
    """A state dict as the bytes of a file.

    Args:
      arrays: by name.
      file_format: one of `FORMATS`; ``pt`` is what ``torch.load`` reads.

    Raises:
      ValueError: the format is unknown, or the package that writes it is not installed.
    """
    solid = {name: np.array(array, order="C") for name, array in arrays.items()}
    if file_format == "pt":
        torch = _torch("format pt")
        buffer = io.BytesIO()
        torch.save({name: _tensor(torch, array) for name, array in solid.items()}, buffer)
        return buffer.getvalue()
    if file_format != "safetensors":
        raise ValueError(f"format {file_format!r} is unknown: use {' or '.join(FORMATS)}")
    try:
        from safetensors import numpy as safetensors
    except ImportError:
        raise ValueError("format safetensors needs it: pip install safetensors") from None
    return safetensors.save(solid, metadata={"format": "pt"})


def _tensor(torch, array):
    if array.dtype == jnp.bfloat16:
        return torch.from_numpy(array.astype(np.float32)).bfloat16()
    return torch.from_numpy(array)


def write(path: Path | str, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a state dict: as safetensors by the suffix ``.safetensors``, else as PyTorch does.

    Raises:
      ValueError: the package that writes it is not installed.
    """
    path = Path(path)
    path.write_bytes(encode(arrays, "safetensors" if path.suffix == ".safetensors" else "pt"))


def _torch(what):
    try:
        import torch
    except ImportError:
        raise ValueError(f"{what} needs PyTorch: pip install torch") from None
    return torch

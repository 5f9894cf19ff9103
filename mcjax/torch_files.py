"""Files of PyTorch's: state dicts as ``torch.save`` writes them, and safetensors.

The first need torch, and only weights are ever read from them: no code in them is run. The second
need safetensors alone.
"""

import io
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np

Arrays = dict[str, np.ndarray]
"""A state dict: arrays by PyTorch's names."""
FORMATS = ("pt", "safetensors")
CONTAINERS = ("state_dict", "model_state_dict", "model_state", "model", "net")
"""Where a checkpoint that holds more than weights has them; model_state is Garipov's."""
WRAPPERS = ("module.", "_orig_mod.")
"""What data parallelism and compilation put before every name."""
_TYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": jnp.bfloat16,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8,
    "BOOL": np.bool_,
}  # fmt: skip


def read(path: Path | str) -> Arrays:
    """Reads a checkpoint: a safetensors file by its suffix, else one that ``torch.save`` wrote.

    A state dict may stand alone or in a dict under one of `CONTAINERS`. `WRAPPERS` before all names
    are taken off, and batch norm's ``num_batches_tracked`` is left out.

    Returns:
      Arrays by name; bfloat16 as float32.

    Raises:
      ValueError: there is no such file, it is damaged, it holds more than weights or no weights,
        or the package that reads it is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    arrays = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    if not arrays:
        raise ValueError(f"{path} holds no arrays")
    while prefix := next((w for w in WRAPPERS if all(n.startswith(w) for n in arrays)), ""):
        arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
    return {n: a for n, a in arrays.items() if not n.endswith("num_batches_tracked")}


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
    return arrays


def _read_torch(path: Path) -> Arrays:
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
    while isinstance(found, Mapping):
        inner = next((c for c in CONTAINERS if isinstance(found.get(c), Mapping)), None)
        if inner is None:
            break
        found = found[inner]
    tensors = {}
    if isinstance(found, Mapping):
        tensors = {str(k): v for k, v in found.items() if isinstance(v, torch.Tensor)}
    if not tensors:
        keys = f" of {', '.join(map(str, found))}"[:100] if isinstance(found, Mapping) else ""
        raise ValueError(
            f"{path} holds a {type(found).__name__}{keys}, not a state dict, alone or under "
            f"{', '.join(CONTAINERS)}"
        )
    arrays = {}
    for name, tensor in tensors.items():
        wide = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
        try:
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

"""A mode as PyTorch's files, and imports of them, for tests."""

import dataclasses
from pathlib import Path

from experiments import import_torch, train_mode
from experiments.cli.configs import CurveConfig, ImportConfig, ModeConfig
from experiments.exchange.export_torch import export_torch
from experiments.training import fits, make_problem
from mcjax.exchange import torch_files

NETWORK = {
    "dataset": "digits", "train_size": 200, "validation_size": 60, "model": "tests.nets:normed",
}  # fmt: skip
MODE = ModeConfig(**NETWORK, batch_size=40, epochs=4, lr=0.1, schedule="constant")
IMPORT = ImportConfig(**NETWORK, normalization="own", epoch=4)
CURVE = CurveConfig(batch_size=40, epochs=3, lr=0.1, points=5, seed=4)
RECORDED = Path(__file__).parent / "mcjax" / "exchange" / "recorded"
NAMES = """
fc1 = Dense_0 flattens 1
norm = BatchNorm_0
fc2 = Dense_1
"""


def trained(folder):
    """A mode with batch norm, its weights as files in two orders of hidden units, and names."""
    (folder / "names").write_text(NAMES)
    train_mode.run(dataclasses.replace(MODE, workdir=str(folder / "a")))
    exported(folder, str(folder / "a"), "a.safetensors")
    arrays = torch_files.read(folder / "a.safetensors")
    for name, array in arrays.items():
        if name != "fc2.bias":
            arrays[name] = array[:, ::-1] if name == "fc2.weight" else array[::-1]
    torch_files.write(folder / "b.safetensors", arrays)
    return folder


def exported(folder, name, file, names=None):
    """Exports a checkpoint into a folder; ``names`` is the folder's name map by default."""
    found = export_torch(name, "safetensors", name_map=str(names or folder / "names"))
    (folder / file).write_bytes(found.content)
    return found


def imported(trained, file, workdir, **changes):
    """Imports a file of the folder that `trained` made."""
    changes = {"name_map": str(trained / "names"), **changes}
    return import_torch.run(
        dataclasses.replace(IMPORT, file=str(trained / file), workdir=str(workdir), **changes)
    )


def check_curve(config):
    """Checks the flags and data of a curve that is not fitted."""
    fit = fits.check_flags(config)
    fits.check_data(fit, make_problem(fit.start.mode))

"""Modes and flags for surfaces in tests."""

from experiments import train_mode
from experiments.cli.configs import ModeConfig, SurfaceConfig

MODE = {"dataset": "digits", "model": "mlp", "width": 0.25, "train_size": 200, "batch_size": 40,
        "validation_size": 60, "schedule": "constant", "lr": 0.1}  # fmt: skip


def mode(folder, name, **changes):
    """Trains a small mode."""
    train_mode.run(ModeConfig(workdir=str(folder / name), **MODE | changes))


def modes(folder):
    """Trains the modes ``a``, ``b`` and ``c`` for an epoch; returns the folder."""
    for seed, name in enumerate("abc"):
        mode(folder, name, epochs=1, seed=seed)
    return folder


def through_modes(runs, workdir, **changes):
    """Flags of a surface through these, without a curve."""
    points = tuple(str(runs / name) for name in "abc")
    return make(runs, workdir, **{"points": points, "curve": ""} | changes)


def make(runs, workdir, **changes):
    """Flags of a surface through the modes ``a`` and ``b`` and the curve ``ab``."""
    points = tuple(str(runs / name) for name in ("a", "b", "ab"))
    options = {"points": points, "curve": str(runs / "ab"), "iterates": (str(runs / "a"),)}
    return SurfaceConfig(workdir=str(workdir), **options | {"grid": "4x3"} | changes)

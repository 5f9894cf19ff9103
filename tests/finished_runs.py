"""Folders of finished runs that were never run: small, generic numbers, infinite ones too."""

from pathlib import Path

import numpy as np

from experiments.runs.arrays import save_arrays
from experiments.runs.folder import Run

SPLITS = ("train", "validation")
MODE = {"dataset": "digits", "model": "mlp", "width": 0.5, "optimizer": "sgd", "weight_decay": 0.02}


def curve(folder: Path, status: str = "done", **flags) -> Run:
    """A curve's run with 5 points; the training loss is infinite at t = 0.25 on the segment."""
    t = np.linspace(0, 1, 5)
    arrays = {"t": t}
    for path, height in (("curve", 0.1), ("segment", 2.0)):
        bump = height * t * (1 - t)
        arrays |= {f"{path}_l2": 10 + t, f"{path}_arc_length": 3 * height * t**2}
        for split, shift in zip(SPLITS, (0.01, 0.05), strict=True):
            arrays[f"{path}_{split}_loss"] = shift + bump + 0.003 * t
            arrays[f"{path}_{split}_accuracy"] = 0.99 - shift - 0.3 * bump
            arrays[f"{path}_{split}_loss_mean"] = np.array(0.5)
    arrays["segment_train_loss"][1] = np.inf
    flags = {"start": "runs/A", "end": "runs/B@2", "epochs": 3, "optimizer": "sgd",
             "weight_decay": 0.04} | flags  # fmt: skip
    run = _run(folder, "curve", status, flags)
    save_arrays(run.path / "curve.npz", arrays)
    return run


def surface(folder: Path, curve: str = "", status: str = "done") -> Run:
    """A surface of 4 x 3 points; one training loss is infinite, one 1e5."""
    rng = np.random.default_rng(3)
    arrays = {"x": np.array([-1.0, 1.0, 3.0, 5.0]), "y": np.array([-1.0, 1.0, 3.0])}
    arrays["point_xy"] = np.array([[0, 0], [4.0, 0], [1.5, 2.0]])
    arrays["point_name"] = np.array(["A", "B</script>", "AB"])
    arrays |= {"l2": 10 + rng.random((3, 4)), "point_l2": 10 + rng.random(3)}
    iterates = {"xy": np.array([[1.0, 1.0], [0.5, 0.2]]), "epoch": np.array([1, 2]),
                "name": np.array(["A@1", "A@2"]), "distance": np.array([2.0, 0.5])}  # fmt: skip
    arrays |= {f"iterate_{name}": values for name, values in iterates.items()}
    for split in SPLITS:
        for prefix, shape in (("", (3, 4)), ("point_", 3), ("iterate_", 2)):
            arrays[f"{prefix}{split}_loss"] = 0.02 + 0.1 * rng.random(shape)
            arrays[f"{prefix}{split}_accuracy"] = rng.random(shape)
    arrays["train_loss"][2, :2] = np.inf, 1e5
    if curve:
        bend = np.array([[0, 0], [1.5, 2.0], [4.0, 0]])
        arrays |= {"curve_t": np.array([0, 0.5, 1]), "curve_xy": bend, "curve_control_xy": bend,
                   "curve_distance": np.array([0, 0.25, 0])}  # fmt: skip
    run = _run(folder, "surface", status, {"curve": curve})
    save_arrays(run.path / "surface.npz", arrays)
    return run


def both(folder: Path) -> Path:
    """A surface's run and that of its curve, in ``surface`` and ``curve``."""
    curve(folder / "curve")
    surface(folder / "surface", curve=str(folder / "curve"))
    return folder


def _run(folder, kind, status, flags):
    folder.mkdir()
    run = Run(folder)
    versions = {"mcjax": "0.1.0"}
    run.update(format=1, kind=kind, status=status, flags=flags, mode=MODE, versions=versions)
    return run

"""The page of file formats has the keys, shapes and types that results write, and no others."""

import re
from pathlib import Path

import numpy as np
import pytest

from mcjax import results
from tests.mcjax import test_results as written
from tests.mcjax.analysis import test_instability

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "files.md").read_text()
SECTIONS = dict(re.findall(r"^### ([\w.]+)\n(.*?)(?=^##)", PAGE, flags=re.DOTALL | re.MULTILINE))
ROW = re.compile(r"^\| `(\w+)` \| \[([\w, ]*)\] \| (\w+) \|", re.MULTILINE)
KINDS = {"float": "f", "int": "i", "bool": "b", "text": "U"}
PATHS = {
    "curve.npz": results.PATHS, "align.npz": results.ALIGNED_PATHS, "soup.npz": results.PAIR_PATHS,
    "interpolation.npz": results.PAIR_PATHS, "layers.npz": results.LAYER_PATHS,
}  # fmt: skip


def rows(section, file):
    """The keys in a section: of each a pattern, the names of its axes, its type and its length."""
    paths = "|".join(PATHS.get(file, ()))
    for key, axes, kind in ROW.findall(SECTIONS[section]):
        if "slope" in key and file == "align.npz":
            continue
        pattern = key.replace("PATH", f"(?:{paths})").replace("SPLIT", "(?:train|validation|test)")
        shape = [axis for axis in axes.split(", ") if axis]
        yield re.compile(pattern.replace("METRIC", r"\w+?") + "$"), shape, KINDS[kind], len(key)


def described(key, table):
    """The row that describes a key: of several the longest, as of ``..._loss_over_max``."""
    fitting = [row for row in table if row[0].match(key)]
    return max(fitting, key=lambda row: row[3]) if fitting else None


def layers():
    point = results.Values({"train": {"loss": np.ones(2)}}, np.ones(2))
    row = {"train": {"loss": np.ones((3, 4))}}
    heights = {"train": {"loss": results.PairHeights(*np.ones((3, 3)))}}
    paths = {p: results.LayerPaths(row, np.ones((3, 4)), heights) for p in results.LAYER_PATHS}
    names = np.array(["a", "b"]), np.array(["x", "y", "z"])
    return results.Layers(np.linspace(0, 1, 4), *names, point, paths).to_arrays()


def instability():
    return test_instability.analysis([0.5, 0.6, 0.7], [0.95, 0.93, 0.97]).to_arrays()


CASES = {
    "curve.npz": (written.recorded, ()),
    "align.npz": (written.aligned, ("curve.npz",)),
    "surface.npz": (written.on_plane, ()),
    "interpolation.npz": (written.between, ()),
    "soup.npz": (written.soup, ("interpolation.npz",)),
    "layers.npz": (layers, ()),
    "instability.npz": (instability, ()),
    "sharpness.npz": (written.hessian, ()),
}


@pytest.mark.parametrize("file", CASES)
def test_documented_keys_are_those_that_are_written(file):
    make, others = CASES[file]
    table, sizes, used = [], {}, set()
    for section in (file, *others):
        table += rows(section, file)
    arrays = make()
    for key, values in arrays.items():
        row = described(key, table)
        assert row, f"{key} of {file} is not in docs/files.md"
        _, axes, kind, _ = row
        assert values.dtype.kind == kind, key
        assert values.ndim == len(axes), f"{key}: {values.shape} is not {axes}"
        for axis, size in zip(axes, values.shape, strict=True):
            own = key.split("_")[0] if axis == "N" else ""  # each kind of paths has its number
            expected = int(axis) if axis.isdigit() else sizes.setdefault((axis, own), size)
            assert size == expected, f"{key}: {axis} is {size}"
        used.add(row[0].pattern)
    unused = [row[0].pattern for row in table if row[0].pattern not in used]
    assert not unused, f"{file} has no such keys"

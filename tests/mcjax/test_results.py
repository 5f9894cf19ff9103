"""Results as files have them: what is read and written again is the same."""

import io
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mcjax import results
from mcjax.results import (
    Interpolation,
    PointSharpness,
    Profile,
    Sharpness,
    Soups,
    Surface,
    Values,
)

ROOT = Path(results.__file__).parents[2]
RNG = np.random.default_rng(5)


def recorded():
    """``curve.npz`` of the recorded example of format 1."""
    with zipfile.ZipFile(ROOT / "tests" / "experiments" / "runs" / "format1.zip") as archive:
        content = io.BytesIO(archive.read("AB/curve.npz"))
    with np.load(content) as file:
        return dict(file)


def aligned():
    """``align.npz``: the recorded segment as each of three paths."""
    paths = {k.removeprefix("segment_"): x for k, x in recorded().items() if "segment_" in k}
    names = results.ALIGNED_PATHS
    return {"t": recorded()["t"]} | {f"{p}_{k}": x for p in names for k, x in paths.items()}


def on_plane():
    """Every key of ``surface.npz``."""
    arrays = {"x": np.arange(4.0), "y": np.arange(3.0), "l2": RNG.random((3, 4))}
    arrays |= {"point_xy": RNG.random((3, 2)), "point_name": np.array(["a", "b", "c"])}
    arrays |= {"point_l2": RNG.random(3), "iterate_l2": RNG.random(2)}
    arrays |= {"refined_tolerance": np.array(0.02), "refined_evaluated": RNG.random((3, 4)) < 0.5}
    arrays |= {"refined_miss_train_loss": RNG.random(5)}
    arrays["sampled_splits"] = np.array(results.SPLITS)
    arrays["sampled_stop_above"] = np.array(3.0)
    arrays["sampled_examples"] = np.array([[40, 60], [40, 50], [9, 9]])
    for split in results.SPLITS:
        arrays |= {
            f"error_{split}_loss": RNG.random((3, 4)),
            f"point_error_{split}_loss": RNG.random(3),
        }
        for prefix, shape in (("", (3, 4)), ("point_", 3), ("iterate_", 2)):
            arrays |= {f"{prefix}{split}_loss": RNG.random(shape)}
            arrays |= {f"{prefix}{split}_top_5_accuracy": RNG.random(shape).astype(np.float32)}
    shapes = {"curve_t": 5, "curve_xy": (5, 2), "curve_distance": 5, "curve_control_xy": (3, 2),
              "direction_norm": 2, "explained_variance": 2, "explained_variance_ratio": 2,
              "eigenvalues": 2, "residuals": 2, "iterate_xy": (2, 2), "iterate_distance": 2,
              "iterate_affine": (2, 3), "iterate_span": (2, 3), "iterate_span_distance": 2,
              "iterate_variance_share": ()}  # fmt: skip
    arrays |= {name: np.asarray(RNG.random(shape)) for name, shape in shapes.items()}
    return arrays | {"iterate_epoch": np.array([3, 8]), "iterate_name": np.array(["r@3", "r@8"])}


def hessian():
    shapes = {"t": 3, "eigenvalues": (3, 2), "residuals": (3, 2), "train_loss": 3}
    return {name: RNG.random(shape) for name, shape in shapes.items()}


def between():
    """Every key of ``interpolation.npz``: three networks, two pairs of them with curves."""
    arrays = {"t": np.linspace(-1, 1, 4), "name": np.array(["a", "b", "c"])}
    arrays |= {"group": np.array([0, 0, 1]), "epoch": np.array([1.0, 2.5, 1.0])}
    arrays["network_l2"] = RNG.random(3)
    for path, pairs in (("segment", [[0, 1], [0, 2], [1, 2]]), ("aligned", [[0, 1]]),
                        ("curve", [[1, 2], [0, 1]])):  # fmt: skip
        arrays |= {f"{path}_pairs": np.array(pairs), f"{path}_l2": RNG.random((len(pairs), 4))}
        arrays[f"{path}_length"] = RNG.random(len(pairs))
        for split in results.SPLITS:
            arrays[f"network_{split}_loss"] = RNG.random(3)
            arrays[f"{path}_{split}_loss"] = RNG.random((len(pairs), 4))
            arrays[f"{path}_{split}_margin"] = RNG.random((len(pairs), 4))
            for how in ("max", "mean", "chord"):
                arrays[f"{path}_{split}_loss_over_{how}"] = RNG.random(len(pairs))
    return arrays


def soup():
    """Every key of ``soup.npz``: those of the segments, averages and ensembles."""
    arrays = {"recipe": np.array(["uniform", "ema"]), "coefficients": RNG.random((2, 3))}
    arrays |= {"average_train_loss": RNG.random(2), "average_l2": RNG.random(2)}
    arrays |= {"ensemble": np.array(["all"]), "ensemble_test_nll": RNG.random(1)}
    return between() | arrays


def assert_same(found, arrays):
    assert found.keys() == arrays.keys()
    for name, values in arrays.items():
        assert found[name].dtype == values.dtype, name
        np.testing.assert_array_equal(found[name], values)


EXTRA = {"curve_note": np.array("a word"), "train_loss_over_max": np.array(0.5, np.float32),
         "iterate_train_gap_mean": np.array(1), "point_other": np.ones(3)}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        (Profile, recorded),
        (Profile, aligned),
        (Surface, on_plane),
        (Sharpness, hessian),
        (Interpolation, between),
        (Soups, soup),
    ],
)
def test_a_file_read_and_written_again_is_the_same(kind, make):
    arrays = make()
    found = kind.from_arrays(arrays)
    assert found.extra == {}
    assert_same(found.to_arrays(), arrays)
    with_extra = kind.from_arrays(arrays | EXTRA)
    assert with_extra.extra.keys() == EXTRA.keys()
    assert_same(with_extra.to_arrays(), arrays | EXTRA)
    assert_same(pickle.loads(pickle.dumps(found)).to_arrays(), arrays)


@pytest.mark.parametrize(
    ("kind", "make", "prefixes"),
    [
        (Profile, recorded, ("curve_", "segment_")),
        (Surface, on_plane, ("", "point_", "iterate_", "error_", "point_error_")),
        (Interpolation, between, ("network_", "segment_", "aligned_", "curve_")),
    ],
)
def test_splits_may_have_other_names(kind, make, prefixes):
    further, arrays = "mnist+noise=0.2", make()
    own = [split for split in results.SPLITS if any(f"{split}_loss" in key for key in arrays)]
    arrays = {k.replace("validation_", f"{further}_"): x for k, x in arrays.items()}
    found = kind.from_arrays(arrays)
    assert {*found.extra} == {key for key in arrays if further in key}  # nothing names the split
    names = np.array([further if split == "validation" else split for split in own])
    arrays |= {f"{prefix}splits": names for prefix in prefixes}
    found = kind.from_arrays(arrays)
    assert found.extra == {}
    assert_same(found.to_arrays(), arrays)


def test_a_part_without_the_further_split_keeps_its_own():
    curve = results.PathMetrics({"train": {"loss": np.ones(2)}, "mnist": {"loss": np.zeros(2)}})
    segment = results.PathMetrics({"train": {"loss": np.full(2, 3.0)}})
    found = Profile(np.arange(2.0), {"curve": curve, "segment": segment})
    again = Profile.from_arrays(found.to_arrays())
    assert again.curve.metrics["mnist"]["loss"].tolist() == [0, 0]
    assert {*again.curve.metrics} == {"train", "mnist"}
    assert {*again.segment.metrics} == {"train"}
    assert again.extra == {}


@pytest.mark.parametrize("name", ["a_b", "", "a b", "arc", "params", "+noise=0.2", "a/b"])
def test_a_name_that_cannot_be_part_of_a_key_is_refused(name):
    with pytest.raises(ValueError, match=re.escape(f"{name!r} cannot name a split")):
        results.check_splits(["train", name])
    results.check_splits(["train", "CIFAR-10.1", "test+noise=0.2"])


def test_files_are_written_in_the_order_they_always_were():
    assert list(Profile.from_arrays(recorded()).to_arrays()) == list(recorded())


def test_a_recorded_profile_has_its_numbers_where_they_belong():
    arrays, found = recorded(), Profile.from_arrays(recorded())
    curve, segment = found.curve, found.segment
    np.testing.assert_array_equal(curve.l2, arrays["curve_l2"])
    np.testing.assert_array_equal(segment.arc_length, arrays["segment_arc_length"])
    accuracy = segment.metrics["validation"]["accuracy"]
    np.testing.assert_array_equal(accuracy, arrays["segment_validation_accuracy"])
    key = "curve_validation_loss"
    heights, means = curve.barriers["validation"]["loss"], curve.means["validation"]["loss"]
    assert heights == tuple(arrays[f"{key}_over_{how}"] for how in ("max", "mean", "chord"))
    assert means == (arrays[f"{key}_mean"], arrays[f"{key}_arc_mean"])
    slopes = curve.slopes["validation"]["loss"]
    assert slopes.start == arrays[f"{key}_start_slope"]
    assert slopes.end_error == arrays[f"{key}_end_slope_error"]
    assert (set(curve.barriers["train"]), segment.slopes) == ({"loss"}, {})


def test_part_of_a_summary_is_kept_and_not_guessed_at():
    arrays = {"t": np.arange(2.0), "curve_train_loss": np.ones(2)}
    arrays["curve_train_loss_mean"] = np.array(1.0)
    found = Profile.from_arrays(arrays)
    assert found.curve.means == {}
    assert_same(found.to_arrays(), arrays)


def test_a_metric_whose_name_ends_as_a_summary_does_is_a_metric():
    arrays = {"t": np.arange(2.0), "curve_train_arc_mean": np.ones(2)}
    arrays |= {f"curve_train_arc_mean_{end}": np.array(2.0) for end in ("mean", "arc_mean")}
    found = Profile.from_arrays(arrays)
    assert found.curve.means == {"train": {"arc_mean": (2.0, 2.0)}}
    assert_same(found.to_arrays(), arrays)


def test_the_matrix_of_an_interpolation_has_each_pair_twice():
    arrays = between()
    found = Interpolation.from_arrays(arrays)
    a, b, c = arrays["segment_train_loss_over_chord"]
    matrix = found.matrix("train_loss", height="over_chord")
    np.testing.assert_array_equal(matrix, [[0, a, b], [a, 0, c], [b, c, 0]])
    c, a = arrays["curve_validation_loss_over_max"]
    expected = [[0, a, np.nan], [a, 0, c], [np.nan, c, 0]]
    np.testing.assert_array_equal(found.matrix("validation_loss", "curve"), expected)
    assert set(found.paths["curve"].barriers["test"]) == {"loss"}
    with pytest.raises(ValueError, match="train_margin has no barriers; there are train_loss"):
        found.matrix("train_margin")


def test_only_networks_are_networks():
    arrays = on_plane()
    around = Surface.from_arrays(arrays)
    assert around.networks.name.tolist() == ["a"]
    loss = around.networks.metrics["validation"]["loss"]
    np.testing.assert_array_equal(loss, arrays["point_validation_loss"][:1])
    np.testing.assert_array_equal(around.networks.l2, arrays["point_l2"][:1])
    through = around._replace(directions=None)
    assert through.networks.name.tolist() == ["a", "b", "c"]
    assert "direction_norm" not in through.to_arrays()


def test_rows_and_points_become_what_the_file_has():
    row = Values({"train": {"loss": np.arange(2.0)}}, np.ones(2))
    assert_same(row.to_arrays(), {"train_loss": np.arange(2.0), "l2": np.ones(2)})
    assert_same(Values.from_arrays(row.to_arrays()).to_arrays(), row.to_arrays())
    points = [PointSharpness(np.array([2.0, x]), np.zeros(2), 0.1 * x) for x in (1.0, np.nan)]
    again = [PointSharpness.from_arrays(point.to_arrays()) for point in points]
    found = Sharpness.along(np.array([0.0, 1.0]), again)
    np.testing.assert_array_equal(found.eigenvalues, [[2, 1], [2, np.nan]])
    np.testing.assert_array_equal(found.loss, [0.1, np.nan])


@pytest.mark.parametrize(
    ("kind", "arrays", "message"),
    [
        (Profile, {"curve_train_loss": np.ones(2)}, "a profile needs t; t is missing"),
        (Surface, {"x": np.ones(2), "y": np.ones(2)}, "point_xy, point_name is missing"),
        (Soups, between(), "a result of soups needs recipe, coefficients, ensemble"),
        (Interpolation, {"t": np.ones(2)}, "an interpolation needs t, name; name is missing"),
        (Sharpness, {"t": np.ones(2)}, "eigenvalues, residuals, train_loss is missing"),
        (
            Surface,
            {k: x for k, x in on_plane().items() if k != "curve_distance"},
            "a surface's curve needs .* curve_distance is missing",
        ),
        (
            Surface,
            {k: x for k, x in on_plane().items() if k != "iterate_epoch"},
            "a surface's iterates needs .* iterate_epoch is missing",
        ),
    ],
)
def test_what_is_missing_is_named(kind, arrays, message):
    with pytest.raises(ValueError, match=message):
        kind.from_arrays(arrays)


KEYS = re.compile(
    r"""
    ["'](curve|segment)_(train|validation|test|t|xy|distance|control_xy|l2|arc_length)\b
    | ["'](curve|segment)_(train|validation|test)_
    | ["'](point|iterate|direction)_\w+["']
    | f["'](\{path\}|curve|segment|point|iterate|direction)_\{
    | _(over_max|over_mean|over_chord|arc_mean|start_slope|end_slope)["']
    | startswith\(\(?["'](train|curve|segment|point|iterate)_
    """,
    re.VERBOSE,
)
"""What builds or parses a key, such as ``"curve_xy"``, ``f"{path}_{name}"`` and ``"point_xy"``."""


def test_nobody_else_knows_the_files_keys():
    """All read and write them by the types."""
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for folder in ("mcjax", "experiments")
        for file in sorted((ROOT / folder).rglob("*.py"))
        if file.parent != ROOT / "mcjax" / "results"
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if KEYS.search(line)
    ]
    assert found == []

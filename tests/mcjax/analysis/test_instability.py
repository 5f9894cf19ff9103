"""Instability: barriers of error over the mean of the ends, and where they become small."""

import numpy as np
import pytest

from mcjax.analysis import instability, interpolation
from mcjax.results import Instability, Interpolation, Values

T = np.array([0.0, 0.5, 1.0])
PAIRS = [(0, 1), (0, 2), (1, 2)]


def segments(ends, middles):
    """Accuracies of three networks, and in the middle of their three segments."""
    own = Values({"train": {"accuracy": np.array(ends)}}, np.ones(3))
    along = [
        Values({"train": {"accuracy": np.array([ends[i], middle, ends[j]])}}, np.ones(3))
        for (i, j), middle in zip(PAIRS, middles, strict=True)
    ]
    path = interpolation.collect(along, PAIRS, own, T, [1.0, 1.0, 1.0])
    return Interpolation(T, np.array(["a", "b", "c"]), own, {"segment": path})


def analysis(*middles):
    found = [segments([0.9, 0.96, 0.98], middle) for middle in middles]
    names = ["0", "s3", "2", "4"][: len(found)]
    return instability.collect(names, [0, 3, 10, 20][: len(found)], 5, found)


def test_the_barrier_is_the_error_over_the_mean_of_the_ends():
    found = analysis([0.5, 0.6, 0.7], [0.95, 0.93, 0.97])
    assert found.epoch.tolist() == [0, 0.6]
    heights = found.barriers["train"]["accuracy"]
    np.testing.assert_allclose(heights[0], [0.93 - 0.5, 0.94 - 0.6, 0.97 - 0.7])
    np.testing.assert_allclose(heights[1], [0.03, 0.04, 0.01], atol=1e-12)  # at an end
    spread = found.spread("train_accuracy")
    np.testing.assert_allclose(spread.mean[0], np.mean(heights[0]))
    np.testing.assert_allclose(spread.std[0], np.std(heights[0]))
    assert (spread.lowest[0], spread.highest[0]) == (heights[0].min(), heights[0].max())
    assert found.metrics["train"]["accuracy"].shape == (2, 3, 3)
    with pytest.raises(ValueError, match="train_margin has no barriers; there are train_accuracy"):
        found.spread("train_margin")


def test_stability_begins_after_the_last_unstable_fork():
    """The mean of the three barriers counts: 0.01, and 0.04 where one is high."""
    good, bad = [0.96, 0.95, 0.97], [0.87, 0.95, 0.97]

    def first(*middles):
        found = [segments([0.97, 0.97, 0.97], middle) for middle in middles]
        names = [str(k) for k in range(len(middles))]
        return instability.collect(names, range(len(middles)), 5, found).stable_from(
            "train_accuracy"
        )

    assert first(good, bad, good, good) == 2
    assert first(good, good) == 0
    assert first(good, bad) is None


def test_what_is_read_and_written_again_is_the_same():
    found = analysis([0.5, 0.6, 0.7], [0.95, 0.93, 0.97])
    again = Instability.from_arrays(found.to_arrays() | {"note": np.array("a word")})
    assert list(again.extra) == ["note"]
    for one, two in ((found.metrics, again.metrics), (found.barriers, again.barriers),
                     (found.networks, again.networks)):  # fmt: skip
        np.testing.assert_array_equal(one["train"]["accuracy"], two["train"]["accuracy"])
    assert again.name.tolist() == ["0", "s3"]
    with pytest.raises(ValueError, match=r"an instability analysis needs .* pairs is missing"):
        Instability.from_arrays({k: x for k, x in found.to_arrays().items() if k != "pairs"})

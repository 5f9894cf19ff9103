"""The printed table of barriers: every network can be told from the others."""

import numpy as np

from experiments.landscapes import interpolation_report
from mcjax.results import Interpolation, PairHeights, PairPaths, Values


def made(names):
    heights = PairHeights(*[np.array([0.25, 1.5, 3.0])] * 3)
    pairs = np.array([[0, 1], [0, 2], [1, 2]])
    path = PairPaths(pairs, {}, barriers={"train": {"loss": heights}})
    return Interpolation(np.array([0.5]), np.array(names), Values({}), {"segment": path})


def test_short_names_head_rows_and_columns():
    lines = interpolation_report.matrix(made(["a", "b", "a@1"]), "segment", "train_loss")
    assert lines[0] == "barriers of the training loss over the higher end, segments"
    assert [line.split() for line in lines[1:]] == [
        ["a", "b", "a@1"], ["a", ".", "0.25", "1.5"], ["b", "0.25", ".", "3"],
        ["a@1", "1.5", "3", "."],
    ]  # fmt: skip


def test_numbers_stand_for_long_names():
    names = ["seed0_of_many@30", "seed1_of_many@30", "a"]
    lines = interpolation_report.matrix(made(names), "segment", "train_loss")
    assert lines[1].split() == ["(1)", "(2)", "(3)"]
    assert [line[:20] for line in lines[2:4]] == [f"({k}) {names[k - 1]}" for k in (1, 2)]
    assert lines[3].split()[2:] == ["0.25", ".", "3"]

"""The benchmark of alignment: its tables, its flags and a small run."""

import dataclasses
import json

import pytest

from experiments import align_benchmark
from experiments.align_benchmark import AlignBenchmarkConfig
from experiments.cli.errors import UsageError
from experiments.landscapes.alignment_table import Chain, Pair, tables
from experiments.runs import load_result
from experiments.runs.folder import Run
from mcjax.results import Heights, PathMetrics, Profile

CONFIG = AlignBenchmarkConfig(
    train_size=200, validation_size=60, batch_size=20, epochs=4, widths=("0.25",), pairs=1,
    points=3, curve_epochs=2, lr=0.1,
)  # fmt: skip


def profile(height, accuracy, repaired=True):
    """A profile whose paths have a higher barrier and accuracy one after the other."""

    def path(i):
        metrics = {"train": {}, "validation": {"accuracy": [0.9, accuracy + 0.1 * i, 0.95]}}
        over = Heights(height * 2**-i, 0.0, 0.0)
        return PathMetrics(metrics, barriers={"train": {"loss": over}})

    names = ("before", "after", "repaired")[: 3 if repaired else 2]
    return Profile([0, 0.5, 1], {name: path(i) for i, name in enumerate(names)})


def test_ranges_over_pairs_and_epochs_to_be_as_low():
    def pair(scale, losses):
        aligned = {"weights": profile(scale, 0.5), "activations": profile(4, 0.2, repaired=False)}
        plain, other = ([3.0, 2.0, 1.0, 1.5], losses)
        return Pair(aligned, [Chain(20, plain, 0.5, 0.25), Chain(10, other, 0.125, 0.0625)])

    text = tables({"0.5": [pair(1, [2.0, 1.5, 1.0, 0.9]), pair(2, [1.0, 0.5, 0.5, 0.5])]})
    rows = [[x.strip() for x in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line]
    heights, accuracies, plain, aligned = (rows[i] for i in (2, 5, 8, 9))
    assert heights == ["0.5", "1 to 2", "0.5 to 1", "0.25 to 0.5", "2", "2"]
    assert accuracies == ["0.5", "90 to 95", "50", "60", "70", "30", "30"]
    assert plain == ["0.5", "as it is", "20", "3", "0.5", "0.25"]
    assert aligned == ["0.5", "aligned", "10", "1 to 2", "0.125", "0.0625"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workdir": ""}, "--workdir is missing"),
        ({"widths": ()}, "--widths is missing"),
        ({"widths": ("a",)}, "--widths=a: not a number"),
        ({"widths": ("0",)}, "width is 0.0"),
        ({"pairs": 0}, "--pairs=0"),
        ({"points": 4}, "--points=4: use an odd number"),
        ({"curve_epochs": -1}, "--curve_epochs=-1"),
        ({"model": "mpl"}, "did you mean"),
    ],
)
def test_wrong_flags_are_refused_before_data_are_read(changes, message, monkeypatch, tmp_path):
    monkeypatch.setattr(align_benchmark, "make_problem", None)
    with pytest.raises(UsageError) as caught:
        align_benchmark.run(dataclasses.replace(CONFIG, **{"workdir": str(tmp_path)} | changes))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.long
def test_a_small_benchmark(png_only, tmp_path, capsys, monkeypatch):
    config = dataclasses.replace(CONFIG, workdir=str(tmp_path))
    ((pair,),) = align_benchmark.run(config).values()
    text = capsys.readouterr().out
    assert (tmp_path / "tables.md").read_text() == text
    here = tmp_path / "0.25"
    for method in ("weights", "activations"):
        facts = json.loads((here / f"0_1_{method}" / "align.json").read_text())
        assert facts["method"] == method
        after = pair.aligned[method].paths["after"].barriers["train"]["loss"].over_max
        assert facts["barriers"]["after"]["train"]["loss"]["over_max"] == after
    for chain, name in zip(pair.chains, ("chain", "chain_aligned"), strict=True):
        found = load_result(Profile, here / f"0_1_{name}" / "curve.npz")
        assert chain.length == found.curve.arc_length[-1]
        assert chain.highest == found.curve.metrics["train"]["loss"].max()
        assert chain.losses == [m["train"]["loss"] for m in Run(here / f"0_1_{name}").metrics()]
    assert Run(here / "0_1_chain_aligned").info["aligned"]["method"] == "weights"
    monkeypatch.setattr(align_benchmark.alignment, "make", None)
    monkeypatch.setattr(align_benchmark.fitting, "train", lambda *_: None)
    align_benchmark.run(config)  # everything is done
    assert capsys.readouterr().out == text

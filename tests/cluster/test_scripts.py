"""The scripts that BUILD.md prints, submitted: their results are those of a single process."""

import json

import numpy as np
import pytest

from . import scripts

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def folder(cluster, tmp_path_factory):
    """Modes, trained before, and the curve of BUILD.md's first script over two nodes."""
    found = tmp_path_factory.mktemp("scripts")
    scripts.write_flagfiles(found, epochs=6)
    submit(cluster, found, scripts.fit_curve(found))
    return found


def submit(cluster, folder, script):
    job = cluster.submit(script, scripts.exported(folder), f"--chdir={scripts.ROOT}")
    assert {*job.wait()} == {"COMPLETED"}, job.output()
    return job


def two_nodes(folder, command, *flags):
    """BUILD.md's first script with another command."""
    ours = " ".join(flags)
    return scripts.fit_curve(
        folder, ("experiments.fit_curve", f"experiments.{command}"),
        (f"--flagfile={folder}/GA.cfg", ours), ("$SCRATCH/GA", f"$SCRATCH/{command}"),
    )  # fmt: skip


def test_a_curve_over_two_nodes(cluster, folder):
    flags = (f"--flagfile={folder}/GA.cfg", f"--modes_dir={folder}/alone")
    scripts.alone(cluster, "fit_curve", *flags, f"--workdir={folder}/one")
    for two, one in (("modes/G", "alone/G"), ("modes/A", "alone/A"), ("GA", "one")):
        np.testing.assert_array_equal(scripts.final(folder / two), scripts.final(folder / one))
    with np.load(folder / "one" / "curve.npz") as one, np.load(folder / "GA" / "curve.npz") as two:
        for key in one:
            np.testing.assert_array_equal(one[key], two[key], key)
    scripts.report("`fit_curve` over two nodes", "COMPLETED", "bit for bit")


def test_an_array_of_pairs_and_its_table(cluster, folder):
    flagfile = ("experiments/flags/cifar10/pairs.cfg", f"{folder}/pairs.cfg")
    train = (f"--flagfile={folder}/B.cfg", f"--workdir={folder}/modes/B")
    scripts.alone(cluster, "train_mode", *train)  # the others are trained
    script = scripts.adapt(
        scripts.printed("fit_curves"), scripts.PYTHON, flagfile, ("1-7", "1-2"), ("ID/7", "ID/2"),
        ("--cpus-per-task=8", "--cpus-per-task=1"),
    )  # fmt: skip
    assert len(submit(cluster, folder, script).tasks()) == 2
    assert not (folder / "pairs" / "pairs.json").exists()
    merge = scripts.adapt(
        script, ("--shard=$SLURM_ARRAY_TASK_ID/2", ""), ("#SBATCH --array=1-2", "#SBATCH")
    )
    said = submit(cluster, folder, merge).output()
    assert "barriers.png" in said
    assert "epoch" not in said  # nothing was trained
    flags = (f"--flagfile={folder}/pairs.cfg", f"--workdir={folder}/pairs_alone")
    scripts.alone(cluster, "fit_curves", *flags)
    one, two = (
        json.loads((folder / n / "pairs.json").read_text()) for n in ("pairs_alone", "pairs")
    )
    assert [row["name"] for row in two] == ["G_A", "G_B", "A_B"]
    for a, b in zip(one, two, strict=True):
        assert a["curve"]["highest"] == pytest.approx(b["curve"]["highest"], rel=1e-3)
    scripts.report("`fit_curves` as an array, and its table", "COMPLETED", "to 0.1 %")


@pytest.mark.parametrize(
    ("command", "file", "flags"),
    [
        ("loss_surface", "surface.npz",
         ("--points={0}/modes/G,{0}/modes/A,{0}/GA", "--curve={0}/GA", "--grid=3x4")),
        ("interpolate", "interpolation.npz",
         ("--points={0}/modes/G,{0}/modes/A", "--num_points=5")),
        ("sharpness", "sharpness.npz", ("--curve={0}/GA", "--points=3", "--eigenvalues=2")),
    ],
)  # fmt: skip
def test_evaluations_over_two_nodes(cluster, folder, command, file, flags):
    flags = [flag.format(folder) for flag in flags]
    submit(cluster, folder, two_nodes(folder, command, *flags))
    scripts.alone(cluster, command, *flags, f"--workdir={folder}/one_{command}")
    with (
        np.load(folder / f"one_{command}" / file) as one,
        np.load(folder / command / file) as two,
    ):
        for key in one:
            np.testing.assert_array_equal(one[key], two[key], key)
    scripts.report(f"`{command}` over two nodes", "COMPLETED", "bit for bit")

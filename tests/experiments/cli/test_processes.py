"""Several real processes on loopback, as on a cluster, and any number of devices."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from experiments import train_mode
from experiments.cli.configs import ModeConfig
from experiments.cli.flags import LAUNCH, parse_flagfile
from experiments.runs import open_checkpoints, restore
from experiments.runs.folder import Run
from tests.ports import free_port

MODE = (
    "--model=mlp", "--width=0.25", "--train_size=390", "--validation_size=101", "--dropout=0.2",
    "--crop_padding=1", "--batch_size=30", "--lr=0.05", "--schedule=constant", "--keep=1",
)  # fmt: skip
# A sum over 8 devices is taken in another order than over 1: each step differs in the last bits of
# float32 (6e-8), and some 40 steps of SGD multiply that by a few hundred.
TOLERANCE = {"rtol": 2e-4, "atol": 2e-5}
BOUNDED = 150
"""Seconds in which every process must have ended, whatever happens to another."""


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """``start(module, *flags, processes=, devices=)`` starts a command as so many processes."""
    running, home = [], tmp_path_factory.mktemp("cache")
    environment = os.environ | {"MCJAX_CACHE": str(home), "JAX_PLATFORMS": "cpu"}

    def start(module, *flags, processes=1, devices=1):
        together = [f"--coordinator=localhost:{free_port()}", f"--num_processes={processes}"]
        commands = [
            [*(together if processes > 1 else []), *([f"--process_id={i}"] * (processes > 1))]
            for i in range(processes)
        ]
        found = [
            subprocess.Popen(
                [sys.executable, "-m", f"experiments.{module}", *flags, *extra,
                 f"--cpu_devices={devices}"],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
            )
            for extra in commands
        ]  # fmt: skip
        running.extend(found)
        return found

    yield start
    for process in running:
        process.kill()
        process.communicate()


def end(processes, status=0):
    """Waits for all; returns what each said on standard error."""
    deadline, said = time.monotonic() + BOUNDED, []
    for process in processes:
        out, error = process.communicate(timeout=max(1, deadline - time.monotonic()))
        assert process.returncode == status, error
        assert "[Gloo]" not in out + error
        said.append((out, error))
    return said


def final(run):
    """The last checkpoint of a run, flat."""
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(restore(Run(run))["params"])])


@pytest.fixture(scope="module")
def by_two(start, tmp_path_factory):
    """Mode B, trained by two processes."""
    run = tmp_path_factory.mktemp("modes") / "B"
    said = end(
        start("train_mode", *MODE, "--epochs=3", "--seed=2", f"--workdir={run}", processes=2)
    )
    assert said[1] == ("", "")  # only the first one speaks
    assert [line["epoch"] for line in Run(run).metrics()] == [1, 2, 3]
    return run


@pytest.fixture(scope="module")
def modes(start, by_two):
    """The folder of B and of mode A, trained by one process."""
    end(start("train_mode", *MODE, "--epochs=3", "--seed=1", f"--workdir={by_two.parent}/A"))
    return by_two.parent


def test_results_do_not_depend_on_the_machine(by_two, tmp_path):
    config = parse_flagfile(ModeConfig, by_two / "flags.cfg")
    train_mode.run(dataclasses.replace(config, workdir=f"{tmp_path}/eight"))  # here are eight
    np.testing.assert_allclose(final(tmp_path / "eight"), final(by_two), **TOLERANCE)
    two, eight = Run(by_two).info, Run(tmp_path / "eight").info
    assert two["device"].startswith("2 x")
    assert two["final"]["train"]["loss"] == pytest.approx(eight["final"]["train"]["loss"], rel=1e-3)


@pytest.mark.long
def test_curve_and_surface_over_two_processes(start, modes, tmp_path):
    curve = (
        f"--start={modes}/A", f"--end={modes}/B", "--epochs=2", "--batch_size=30", "--points=7",
    )  # fmt: skip
    points = ["--grid=3x4", "--margin=0.1"]
    for count in (1, 2):
        here = f"{tmp_path}/{count}"
        end(start("fit_curve", *curve, f"--workdir={here}", processes=count))
        said = end(
            start(
                "loss_surface", *points, f"--points={modes}/A,{modes}/B,{here}", f"--curve={here}",
                f"--workdir={here}s", processes=count,
            )
        )  # fmt: skip
        assert "figure" in said[0][0]
        assert not any(out for out, _ in said[1:])
    for name, keys in (("curve.npz", "curve_train_loss"), ("s/surface.npz", "train_loss")):
        one, two = (
            np.load(f"{tmp_path}/{count}{'' if name[0] == 's' else '/'}{name}")[keys]
            for count in (1, 2)
        )
        np.testing.assert_allclose(one, two, rtol=1e-3)


@pytest.mark.long
def test_a_sampled_surface_over_two_processes(start, modes, tmp_path):
    flags = (
        f"--points={modes}/A", "--directions=filter", "--grid=7", "--extent=2", "--examples=100",
        "--stop_above=3",
    )  # fmt: skip
    for count in (1, 2):
        end(start("loss_surface", *flags, f"--workdir={tmp_path}/{count}", processes=count))
    one, two = (np.load(f"{tmp_path}/{count}/surface.npz") for count in (1, 2))
    exact = one["error_train_loss"] == 0
    assert 0 < exact.sum() < exact.size
    np.testing.assert_array_equal(exact, two["error_train_loss"] == 0)
    for key in ("train_loss", "error_train_loss"):
        np.testing.assert_allclose(one[key], two[key], rtol=1e-3)


@pytest.mark.long
def test_alignment_by_activations_over_two_processes(start, modes, tmp_path):
    """By the command, and on the way to a curve."""
    ends = (f"--start={modes}/A", f"--end={modes}/B", "--points=3")
    for count in (1, 2):
        flags = ("--method=activations", f"--workdir={tmp_path}/{count}")
        said = end(start("align", *ends, *flags, processes=count))
        assert "barrier of the training loss" in said[0][0]
        assert not any(out for out, _ in said[1:])
    np.testing.assert_array_equal(final(tmp_path / "1"), final(tmp_path / "2"))
    one, two = (json.loads((tmp_path / n / "align.json").read_text()) for n in "12")
    assert one["moved"] == two["moved"] > 0
    for path, splits in one["barriers"].items():
        here = two["barriers"][path]["train"]["loss"]["over_max"]
        assert here == pytest.approx(splits["train"]["loss"]["over_max"], rel=1e-3), path
    curve = ("--align=activations", "--epochs=1", "--batch_size=30", f"--workdir={tmp_path}/curve")
    end(start("fit_curve", *ends, *curve, processes=2))
    assert Run(tmp_path / "curve").info["aligned"]["moved"] == one["moved"]


@pytest.mark.long
def test_four_processes_and_curves_side_by_side(start, modes, tmp_path):
    """Three pairs on four processes, two rows of two: the curves of one process."""
    end(start("train_mode", *MODE, "--epochs=3", "--seed=3", f"--workdir={modes}/C", processes=4))
    curves = (
        f"--modes={modes}/A,{modes}/B,{modes}/C", "--epochs=2", "--batch_size=30", "--points=5",
    )  # fmt: skip
    for count in (1, 4):
        end(start("fit_curves", *curves, f"--workdir={tmp_path}/{count}", processes=count))
    one, four = (json.loads((tmp_path / f"{n}" / "pairs.json").read_text()) for n in (1, 4))
    assert len(one) == 3
    for a, b in zip(one, four, strict=True):
        assert a["curve"]["highest"] == pytest.approx(b["curve"]["highest"], rel=1e-3)


def wait_for_epoch(run, epoch):
    deadline = time.monotonic() + BOUNDED
    while time.monotonic() < deadline:
        if any(line["epoch"] >= epoch for line in Run(run).metrics()):
            return
        time.sleep(0.05)
    raise AssertionError(f"{run} has not come to epoch {epoch}")


@pytest.mark.long
def test_sigterm_of_one_saves_all_and_eight_devices_go_on(start, modes, tmp_path):
    flags = (*MODE, "--epochs=400", "--seed=2", "--eval_every=0")
    run = tmp_path / "run"
    both = start("train_mode", *flags, f"--workdir={run}", processes=2)
    wait_for_epoch(run, 3)
    both[1].send_signal(signal.SIGTERM)  # the scheduler tells one, not the first
    end(both, 75)
    with open_checkpoints(Run(run), read_only=True) as saved:
        step = saved.steps()[-1]
    assert 3 * 13 <= step < 400 * 13
    eight = start("train_mode", *flags, f"--workdir={run}", devices=8)
    wait_for_epoch(run, step // 13 + 2)
    eight[0].send_signal(signal.SIGTERM)
    end(eight, 75)
    epochs = [line["epoch"] for line in Run(run).metrics()]
    assert epochs == list(range(1, len(epochs) + 1))
    assert len(epochs) > step // 13 + 1


@pytest.mark.long
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_others(start, tmp_path, victim):
    flags = (*MODE, "--epochs=100000", "--seed=2", "--eval_every=0", "--checkpoint_seconds=0.5")
    run = tmp_path / "run"
    both = start("train_mode", *flags, f"--workdir={run}", processes=2)
    wait_for_epoch(run, 5)
    both[victim].kill()
    began = time.monotonic()
    _, error = both[1 - victim].communicate(timeout=BOUNDED)
    assert both[1 - victim].returncode not in (0, None)
    assert time.monotonic() - began < 90
    assert "another process" in error or "coordination service" in error.lower(), error
    one = start("train_mode", *flags, f"--workdir={run}")
    info = json.loads((run / "run.json").read_text())
    assert info["status"] == "running"
    done = len(Run(run).metrics())
    wait_for_epoch(run, done + 1)
    one[0].send_signal(signal.SIGTERM)
    end(one, 75)


@pytest.mark.long
def test_wrong_flags_are_said_once_and_end_all(start, tmp_path):
    both = start("train_mode", "--model=none", f"--workdir={tmp_path}", processes=2)
    said = end(both, 2)
    assert "there is no model" in said[0][1] or "none" in said[0][1]


def test_gloos_lines_stay_off_standard_output():
    """What C++ writes there is dropped, what Python prints stays, in order and at once."""
    program = (
        "import os; from experiments.cli import processes; print('before', flush=True);"
        "processes._drop_native_output(); os.write(1, b'[Gloo] Rank 0\\n'); print('after');"
        "os._exit(0)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (found.stdout, found.stderr) == ("before\nafter\n", "")


def test_no_cluster(start):
    said = end(start("train_mode", "--distributed"), 2)
    assert "--coordinator=HOST:PORT" in said[0][1]


def test_flags_of_a_launch_are_not_in_the_folder_that_it_leaves(by_two):
    there = parse_flagfile(ModeConfig, by_two / "flags.cfg")
    assert [getattr(there, name) for name in LAUNCH] == [False, None, None, None]

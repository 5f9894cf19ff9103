"""Evaluations by several processes: all stop if one has received a signal, and the run resumes."""

import signal
import time

import numpy as np
import pytest

from experiments.cli import errors, signals
from tests.experiments.cli.test_processes import BOUNDED, by_two, end, modes, start  # noqa: F401


def test_all_stop_at_the_signal_of_one(monkeypatch):
    monkeypatch.setattr(signals.parallel, "max_over_processes", lambda own: max(own, 15))
    with pytest.raises(errors.Interrupted) as stopped:
        signals.stop_if_signalled([])  # this process has received none
    assert stopped.value.signum == signal.SIGTERM


def test_nothing_stops_without_a_signal():
    signals.stop_if_signalled([])


def flags(command, modes):  # noqa: F811
    a, b, curve = modes / "A", modes / "B", modes / "curve"
    return {
        "sharpness": (f"--curve={curve}", "--points=9", "--eigenvalues=2"),
        "loss_surface": (f"--points={a},{b},{curve}", "--grid=20x40"),
        "loss_surface --refine": (f"--points={a},{b},{curve}", "--grid=49x49", "--refine=0.01"),
        "interpolate": (f"--points={a},{b},{curve}", "--num_points=201"),
    }[command]


@pytest.mark.long
@pytest.mark.parametrize(
    ("command", "saved", "file"),
    [
        ("sharpness", "points/*.npz", "sharpness.npz"),
        ("loss_surface", "rows/*.npz", "surface.npz"),
        ("loss_surface --refine", "rounds/*.npz", "surface.npz"),
        ("interpolate", "paths/*.npz", "interpolation.npz"),
    ],
)
def test_sigterm_of_the_second_process_stops_both(start, modes, tmp_path, command, saved, file):  # noqa: F811
    """What they saved is found again, and the result is that of one process."""
    if not (modes / "curve").exists():
        ends = f"--start={modes}/A", f"--end={modes}/B"
        end(start("fit_curve", *ends, "--epochs=2", "--points=3", f"--workdir={modes}/curve"))
    run = tmp_path / "two"
    own, command = flags(command, modes), command.split()[0]
    both = start(command, *own, f"--workdir={run}", processes=2)
    deadline = time.monotonic() + BOUNDED
    while not list(run.glob(saved)) and time.monotonic() < deadline:
        time.sleep(0.02)
    both[1].send_signal(signal.SIGTERM)
    end(both, 75)
    assert list(run.glob(saved))
    assert not (run / file).exists()
    end(start(command, *own, f"--workdir={run}", processes=2))
    end(start(command, *own, f"--workdir={tmp_path}/one"))
    with np.load(run / file) as two, np.load(tmp_path / "one" / file) as one:
        assert set(two) == set(one)
        for name in two:
            if two[name].dtype.kind == "f":
                np.testing.assert_allclose(two[name], one[name], rtol=2e-3, atol=1e-4, err_msg=name)

"""The commands that are attacked, small; and how their ends are compared."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from experiments.runs import restore

MODE = (
    "--model=mlp", "--width=0.25", "--train_size=400", "--validation_size=101", "--batch_size=40",
    "--lr=0.05", "--schedule=constant", "--crop_padding=1", "--keep=2", "--checkpoint_seconds=0",
)  # fmt: skip
CURVE = ("--epochs=4", "--batch_size=40", "--points=7", "--eval_epochs=2", "--checkpoint_seconds=0")


def commands(folder: Path, modes: Path) -> dict[str, tuple[str, list[str]]]:
    """Module and flags by the name of the run folder they make below ``folder``."""
    return {
        "mode": ("train_mode", [*MODE, "--epochs=6", "--seed=3", f"--workdir={folder}/mode"]),
        "curve": (
            "fit_curve",
            [*CURVE, f"--start={modes}/A", f"--end={modes}/B", f"--workdir={folder}/curve"],
        ),
        "surface": (
            "loss_surface",
            ["--grid=4x3", f"--points={modes}/A,{modes}/B,{modes}/AB", f"--curve={modes}/AB",
             f"--workdir={folder}/surface"],
        ),
        "reproduction": (
            "reproduce",
            ["--figures=2", "--epochs_factor=0.02", f"--workdir={folder}/reproduction"],
        ),
    }  # fmt: skip


def environment(cache: Path) -> dict[str, str]:
    """One core, one cache of compiled programs for all."""
    single = "--xla_cpu_multi_thread_eigen=false"
    return os.environ | {"MCJAX_CACHE": str(cache), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": single}


READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'


def finish(
    module: str,
    flags: list[str],
    cache: Path,
    sabotage: str = "",
    seconds: float = 600,
    with_children: bool = False,
    read_only: Path | None = None,
) -> tuple[int, str]:
    """Runs a command, with a sabotage (see `sabotage`) if one is named.

    Args:
      module: of the command.
      flags: its flags.
      cache: of compiled programs.
      sabotage: what befalls it.
      seconds: after so many it is killed.
      with_children: whether the processes that it started are killed with it.
      read_only: a folder that it cannot write.

    Returns:
      Its status, -9 if it was killed (here, after ``seconds``, or by its sabotage), and what it
      said on standard error.
    """
    runner = ["-m", "tests.campaign.sabotage", sabotage] if sabotage else ["-m"]
    command = [sys.executable, *runner, f"experiments.{module}", *flags]
    if read_only:
        command = ["unshare", "-rm", "sh", "-c", READ_ONLY, str(read_only), *command]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env=environment(cache),
    )  # fmt: skip
    try:
        error = process.communicate(timeout=seconds)[1]
    except subprocess.TimeoutExpired:
        for pid in [process.pid, *(children(process.pid) if with_children else ())]:
            os.kill(pid, signal.SIGKILL)
        process.communicate()
        return -9, f"not done after {seconds:.0f} s"
    return process.returncode, error


def children(pid: int) -> list[int]:
    """The processes that a process has started, on Linux."""
    started = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(text) for text in started.read_text().split()] if started.exists() else []


def result(run: Path) -> dict[str, Any]:
    """What a finished run holds, for comparison bit for bit: arrays, parameters, metrics lines."""
    from experiments.runs.folder import Run

    here = Run(run)
    found: dict[str, Any] = {"status": here.status, "stray": stray(run)}
    for file in sorted(run.glob("*.npz")):
        with np.load(file, allow_pickle=False) as arrays:
            found[file.name] = {name: digest(arrays[name]) for name in arrays}
    found["metrics"] = [{k: v for k, v in x.items() if k != "seconds"} for x in here.metrics()]
    if here.info["kind"] in ("mode", "curve"):
        import jax

        flags = here.info["flags"]
        kept = [*flags.get("keep", ()), *flags.get("eval_epochs", ()), None]  # the others vary
        found["checkpoints"] = {
            epoch: [digest(x) for x in jax.tree.leaves(restore(here, epoch))] for epoch in kept
        }
    if here.info["kind"] == "reproduction":
        found["runs"] = {f.parent.name: result(f.parent) for f in sorted(run.glob("*/run.json"))}
        found["claims"] = (run / "claims.json").read_text()
        text = (run / "report.md").read_text().replace(str(run), "")
        found["report"] = re.sub(r"Training alone took .* in all", "", text)
    found["figures"] = sorted(f.name for f in (run / "figures").glob("*") if f.stat().st_size)
    return json.loads(json.dumps(found))


def stray(run: Path) -> list[str]:
    """Files under a final name that are empty or torn."""
    empty = [str(f.relative_to(run)) for f in run.rglob("*.png") if f.stat().st_size == 0]
    for file in run.glob("figures/*.png"):
        if not file.name.startswith(".") and not file.read_bytes().endswith(b"IEND\xaeB`\x82"):
            empty.append(str(file.relative_to(run)))
    return empty


def digest(array: Any) -> str:
    """A hash of an array's bytes, shape and type."""
    array = np.asarray(array)
    about = f"{array.shape}{array.dtype}".encode()
    return hashlib.sha256(about + np.ascontiguousarray(array).tobytes()).hexdigest()[:16]

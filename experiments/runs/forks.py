"""Forks: runs that continue from a checkpoint of another run, or start with its network.

The checkpoint holds parameters, network state, optimizer state and step, so a fork's epochs and
schedule continue from there. ``--fork=RUN`` copies all checkpoints of the other run, ``RUN@EPOCH``
and ``RUN@sSTEP`` this one alone. Imported and aligned modes have a network, and nothing else.
"""

from typing import Any

from mcjax import paths
from mcjax.engine import parallel

from ..cli import ModeConfig, UsageError
from . import metrics
from .folder import Run
from .names import Name, parse_name
from .points import find_checkpoint
from .saved import step_of


def check(folder: Run, kind: str, config: Any) -> None:
    """Checks --fork of a run that is not begun yet, without reading data.

    Raises:
      UsageError: --fork has no such checkpoint, is a run of another kind, has another
        network or optimizer, or is a curve with another --align.
    """
    if getattr(config, "fork_weights", False) and not config.fork:
        raise UsageError("--fork_weights needs --fork=RUN[@EPOCH][~T]")
    if folder.info or not config.fork:
        return
    if kind == "mode" and takes_weights(config):
        find_checkpoint(config.fork)
        return
    name = parse_name(config.fork)
    other = Run(name.run)
    info = other.info
    there = info.get("kind", "missing")
    if there != kind:
        raise UsageError(f"--fork={config.fork}: its kind is {there}, not {kind}")
    if name.t is not None:
        raise UsageError(f"--fork={config.fork}: write RUN, RUN@EPOCH or RUN@sSTEP")
    _check_step(other, name, config)
    if kind == "mode":
        _check_arrays(config, info["flags"])
    before = info["flags"].get("align")
    if kind == "curve" and before != config.align:
        raise UsageError(
            f"--fork={config.fork} has --align={before}, not {config.align}: the ends of its curve "
            "are kept"
        )


def takes_weights(config: Any) -> bool:
    """Whether a mode takes the network alone from --fork: if asked to, or if no more is there."""
    return bool(config.fork) and (config.fork_weights or Run(parse_name(config.fork).run).is_made)


def _check_step(other: Run, name: Name, config: Any) -> None:
    """Checks that the named checkpoint exists and is not after the last epoch of the fork."""
    if name.epoch is None and name.step is None:
        return
    step, per_epoch = step_of(other, name.epoch, name.step), other.info["steps_per_epoch"]
    if step >= config.epochs * per_epoch:
        raise UsageError(
            f"--fork={config.fork}: nothing to train, --epochs={config.epochs} is not after it"
        )


def _check_arrays(config: ModeConfig, before: dict[str, Any]) -> None:
    """Checks that the checkpoints of a mode with the flags ``before`` hold the fork's arrays."""
    for name in ("model", "width", "optimizer"):
        there, here = before.get(name, getattr(ModeConfig(), name)), getattr(config, name)
        if there != here and {there, here} != {"adam", "adamw"}:
            remedy = "; --fork_weights takes its network alone" if name == "optimizer" else ""
            raise UsageError(
                f"--fork={config.fork} has --{name}={there}, not {here}: its checkpoints "
                f"hold other arrays{remedy}"
            )


def begin(folder: Run, config: Any, steps_per_epoch: int) -> dict[str, Any]:
    """Copies what a new run continues from; does nothing for a run that is begun.

    Args:
      folder: the run, locked.
      config: its flags, checked.
      steps_per_epoch: of the run.

    Returns:
      Facts for ``run.json`` of a new run.

    Raises:
      UsageError: the other run's epochs have another number of steps.
    """
    if folder.info or not config.fork:
        return {}
    facts: dict[str, Any] = {"forked_from": config.fork}
    if isinstance(config, ModeConfig) and takes_weights(config):
        return facts | {"fork_weights": True}
    name = parse_name(config.fork)
    other = Run(name.run)
    info = other.info
    there = info.get("steps_per_epoch")
    if there != steps_per_epoch:
        raise UsageError(
            f"--fork={config.fork}: its steps_per_epoch is {there}, not {steps_per_epoch}; modes "
            "can take its network alone with --fork_weights"
        )
    if parallel.is_first():
        _copy(other, name, folder)
    aligned = info["kind"] == "curve" and "aligned" in info
    return facts | ({"aligned": info["aligned"]} if aligned else {})


def _copy(other: Run, name: Name, folder: Run) -> None:
    """Copies the metrics, a curve's ends, and all checkpoints or the named one."""
    place = "checkpoints"
    if (name.epoch, name.step) != (None, None):
        place = f"checkpoints/{step_of(other, name.epoch, name.step)}"
    paths.remove_tree(folder.path / "checkpoints")
    for part in (metrics.FILE, "ends", place):
        source, target = other.path / part, folder.path / part
        paths.remove_tree(target)
        if source.exists():
            paths.copy(source, target)

"""The networks of an instability analysis: a parent, and children that fork from its training."""

import dataclasses
import re
from collections.abc import Sequence
from typing import NamedTuple

from ..cli import InstabilityConfig, ModeConfig, UsageError, say
from ..runs import UNTRAINED, Run, at
from . import modes
from .optimization import steps_per_epoch
from .problem import Problem, check_batch


class Fork(NamedTuple):
    """A point of the parent's training, and the flags of the children that start there.

    Attributes:
      text: as in --forks: an epoch, or ``s`` and a step.
      children: their flags, which differ in the seed and the run folder.
    """

    text: str
    children: tuple[ModeConfig, ...]

    def step(self, per_epoch: int) -> int:
        """The step of the fork."""
        text = self.text
        return int(text[1:]) if text.startswith("s") else int(text) * per_epoch


class Sweep(NamedTuple):
    """A parent and its forks, in the order of --forks."""

    parent: ModeConfig
    forks: tuple[Fork, ...]


def plan(config: InstabilityConfig) -> Sweep:
    """The flags of all networks, checked without reading data.

    Raises:
      UsageError: --forks or --children is wrong, or a flag of the networks is.
    """
    if config.children < 2:
        raise UsageError(f"--children={config.children}: use 2 or more, to have a segment")
    flag = f"--forks={','.join(config.forks)}"
    if len(config.forks) < 2 or len({*config.forks}) < len(config.forks):
        raise UsageError(f"{flag}: give two different epochs or steps or more, such as 0,s40,2,10")
    wrong = [text for text in config.forks if not re.fullmatch(r"s?(0|[1-9]\d*)", text)]
    if wrong:
        raise UsageError(f"{flag}: {wrong[0]!r} is neither an epoch nor a step such as s40")
    epochs = tuple(int(text) for text in config.forks if not text.startswith("s"))
    steps = tuple(int(text[1:]) for text in config.forks if text.startswith("s"))
    if max(epochs, default=0) >= config.epochs:
        raise UsageError(f"{flag}: forks are before the last epoch, --epochs={config.epochs}")
    folder = at(config.workdir)
    shared = {f.name: getattr(config, f.name) for f in dataclasses.fields(ModeConfig)}
    alike = ModeConfig(**shared | {"fork": None, "fork_weights": False, "profile": False})
    parent = dataclasses.replace(
        alike,
        workdir=str(folder / "parent"),
        keep=tuple(sorted({*config.keep, *epochs})),
        keep_steps=tuple(sorted({*config.keep_steps, *steps})),
    )
    modes.check_flags(parent)
    forks = (Fork(text, _children(config, alike, text)) for text in config.forks)
    return Sweep(parent, tuple(forks))


def _children(config: InstabilityConfig, alike: ModeConfig, text: str) -> tuple[ModeConfig, ...]:
    folder = at(config.workdir)
    return tuple(
        dataclasses.replace(
            alike,
            workdir=str(folder / f"fork_{text}_{number}"),
            seed=config.seed + number,
            fork=f"{folder / 'parent'}@{text}",
        )
        for number in range(1, config.children + 1)
    )


def check_data(sweep: Sweep, problem: Problem) -> int:
    """Checks what depends on the data, before any long work.

    Returns:
      The number of steps per epoch.

    Raises:
      UsageError: a fork is at or after the last step, or two forks are at the same step; or the
        batch size does not fit the data or the devices.
    """
    check_batch(problem, sweep.parent, sweep.parent.batch_size)
    per_epoch = steps_per_epoch(problem, sweep.parent)
    last = sweep.parent.epochs * per_epoch
    steps: dict[int, str] = {}
    for fork in sweep.forks:
        step = fork.step(per_epoch)
        if step >= last:
            raise UsageError(f"--forks: {fork.text} is not before the last step, {last}")
        if step in steps:
            raise UsageError(f"--forks: {steps[step]} and {fork.text} are the same step, {step}")
        steps[step] = fork.text
    modes.check_data(problem, sweep.parent)
    return per_epoch


def train(sweep: Sweep, problem: Problem) -> None:
    """Trains the parent, then the children of each fork side by side; finished ones are reused.

    Raises:
      RunFailed: a network did not train.
      Interrupted: a signal arrived; the states are saved.
    """
    before = Run(sweep.parent.workdir).status
    parent = modes.train(sweep.parent, problem)
    if before in UNTRAINED:
        say(modes.result(parent))
    for number, fork in enumerate(sweep.forks, 1):
        _train_fork(fork.children, problem, f"fork {fork.text}, {number} of {len(sweep.forks)}")


def _train_fork(children: Sequence[ModeConfig], problem: Problem, words: str) -> None:
    untrained = [one for one in children if Run(one.workdir).status in UNTRAINED]
    for one in untrained:
        modes.check_flags(one)
    if untrained:
        say(f"{words}: training {len(untrained)} networks at once on {problem.mesh.size} devices")
    modes.train_together(children, problem)
    for one in untrained:
        say(modes.result(Run(one.workdir)))

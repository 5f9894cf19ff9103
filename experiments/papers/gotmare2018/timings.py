"""How long the runs of a scale take, from measured times."""

from collections.abc import Iterable
from typing import NamedTuple

from ...jobs import Job


class Rates(NamedTuple):
    """Measured times of a scale's network and data on one device.

    Attributes:
      device: JAX's name of the device's kind.
      machine: the machine in words.
      precision: of the networks.
      epoch: seconds of a training epoch, of a mode or a curve.
      point: seconds of a point evaluated on both splits.
      start: seconds of a process before its first step, and of its compilation.
    """

    device: str
    machine: str
    precision: str
    epoch: float
    point: float
    start: float


def _vgg16(images: int) -> tuple[Rates, ...]:
    """Times of VGG16 at 32x32 pixels with ``images`` to train on, and 10,000 to validate.

    Steps and points are those that docs/speed.md lists, without its XLA flag. A point in bf16
    takes 2.2 ms per 1,000 images there; an evaluation within a run takes up to 3.5.
    """
    steps, thousands = images / 100, (images + 10_000) / 1000
    return (
        Rates("NVIDIA H200", "one NVIDIA H200", "bf16", 1.53e-3 * steps, 3.5e-3 * thousands, 35),
        Rates("NVIDIA H200", "one NVIDIA H200", "float32", 4.2e-3 * steps, 13.4e-3 * thousands, 60),
        Rates("cpu", "2 CPU cores", "float32", 0.385 * steps, 1.07 * thousands, 30),
    )


RATES = {
    "digits": (Rates("cpu", "2 CPU cores", "float32", 0.09, 0.03, 10),),
    "fashion_mnist": (Rates("cpu", "2 CPU cores", "float32", 2.6, 1.5, 10),),
    "fashion_mnist_vgg16": _vgg16(60_000),
    "cifar10": _vgg16(50_000),
}
"""By scale, what has been measured."""


def find(scale: str, precision: str, device: str) -> Rates | None:
    """The times on a kind of device, or else on the first one timed with this precision.

    >>> find("digits", "float32", "TPU v5").machine
    '2 CPU cores'
    """
    timed = [r for r in RATES[scale] if r.precision == precision]
    return next((r for r in timed if r.device == device), timed[0] if timed else None)


def seconds(rates: Rates, job: Job) -> float:
    """Estimated seconds of a job, with its start and compilation."""
    if job.module == "loss_surface":
        return rates.start + rates.point * (int(job.config.grid) ** 2 + 20)
    total = rates.start + rates.epoch * job.config.epochs
    if job.module == "train_mode":
        return total
    rounds = 2 + len(job.config.eval_epochs)
    return total + rates.point * rounds * job.config.points


def announcement(
    costs: Iterable[float], total: int, rates: Rates | None, precision: str, device: str
) -> str:
    """What is to be done, and about how long it takes.

    Args:
      costs: estimated seconds of each run to do.
      total: number of runs, with those that are done.
      rates: from `find`.
      precision: of the networks.
      device: JAX's name of the device's kind.
    """
    costs = list(costs)
    text = f"{len(costs)} of {total} runs to do"
    if rates is None:
        return f"{text}; this scale has not been timed with --precision={precision}"
    text += f": about {duration(sum(costs))} on {rates.machine}"
    if rates.device == device:
        return text
    return f"{text}; {device} has not been timed: finished runs correct the time left"


def duration(seconds: float) -> str:
    """A time in words.

    >>> duration(1572), duration(200_000)
    ('26 minutes', '56 hours')
    """
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.0f} hours"

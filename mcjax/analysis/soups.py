"""Averages of networks: model soups, stochastic weight averaging and exponential averages.

An average is a vector of coefficients over the networks, non-negative and of sum one, and thus a
point for the evaluator like any other: ``mcjax.curves.combine(networks, coefficients)``. Uniform
and greedy soups are those of Wortsman et al. (2022). Stochastic weight averaging (Izmailov et al.,
2018) is the uniform average of a training's checkpoints from some epoch on.

>>> uniform(4)
array([0.25, 0.25, 0.25, 0.25])
>>> since(np.array([0, 10, 20, 30]), 20)
array([0. , 0. , 0.5, 0.5])
>>> exponential(2, 0.25)
array([0.2, 0.8])
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mcjax.results import Interpolation, Metrics, Soups, Values, named
from mcjax.typing import Float, Num

Row = Float[np.ndarray, " K"]
"""Coefficients over K networks, in their order."""


class Greedy(NamedTuple):
    """A greedy soup.

    Attributes:
      coefficients: equal ones for its networks, zero for all others.
      members: indices of its networks, in the order in which they joined.
      score: of their average.

    >>> greedy(np.array([0.8, 0.9]), lambda row: 0.85).members  # the average is worse than the best
    (1,)
    """

    coefficients: Row
    members: tuple[int, ...]
    score: float


def uniform(count: int) -> Row:
    """Equal coefficients; raises ValueError without networks.

    >>> uniform(2)
    array([0.5, 0.5])
    """
    return _equal(count, range(count))


def since(epochs: Num[np.ndarray, " K"], start: float) -> Row:
    """Equal coefficients for the checkpoints from the epoch ``start`` on: SWA's.

    Args:
      epochs: of the checkpoints.
      start: the first epoch to average.

    Raises:
      ValueError: there is none.

    >>> since(np.array([0, 10, 20]), 10)
    array([0. , 0.5, 0.5])
    >>> since(np.array([0, 10, 20]), 30)
    Traceback (most recent call last):
    ValueError: no network from epoch 30 on; the last is of 20
    """
    chosen = np.flatnonzero(epochs >= start)
    if not chosen.size:
        raise ValueError(f"no network from epoch {start:g} on; the last is of {max(epochs):g}")
    return _equal(len(epochs), chosen)


def exponential(count: int, decay: float) -> Row:
    """Coefficients of an exponential moving average over networks in the order of training.

    Each network's is ``decay`` times that of the next one, and their sum is one: the average of
    `optax.ema` with its debiasing, which does not favour the first network.

    Args:
      count: number of networks.
      decay: between 0 and 1; the larger, the longer the memory.

    Raises:
      ValueError: there are no networks, or ``decay`` is not between 0 and 1.

    >>> exponential(3, 0.5).round(3)
    array([0.143, 0.286, 0.571])
    """
    if not 0 < decay < 1:
        raise ValueError(f"decay={decay:g}: use a number between 0 and 1")
    if count < 1:
        raise ValueError("an average needs networks")
    powers = decay ** np.arange(count - 1, -1, -1.0)
    return powers / powers.sum()


def greedy(scores: Num[np.ndarray, " K"], score: Callable[[Row], float]) -> Greedy:
    """The greedy soup: networks from the best down, each kept if the average does not get worse.

    Args:
      scores: of the networks, on held-out data; higher is better. Of equal ones the first is
        tried first.
      score: the score of an average, by its coefficients; called ``K - 1`` times.

    Raises:
      ValueError: there are no networks.

    >>> networks = np.array([1.0, -0.8, 3.0])  # the best average is zero
    >>> found = greedy(-abs(networks), lambda row: -abs(row @ networks))
    >>> found.members, round(found.score, 2)
    ((1, 0), np.float64(-0.1))
    """
    best, *others = np.argsort(-np.asarray(scores, np.float64), kind="stable").tolist() or [None]
    if best is None:
        raise ValueError("an average needs networks")
    found = Greedy(_equal(len(scores), [best]), (best,), float(scores[best]))
    for index in others:
        members = (*found.members, index)
        row = _equal(len(scores), members)
        here = score(row)
        if here >= found.score:
            found = Greedy(row, members, here)
    return found


def measure(
    evaluate: Callable[[Float[np.ndarray, "rows K"]], Values],
    segments: Interpolation,
    more: Mapping[str, Row],
) -> Soups:
    """The uniform and the greedy soup and other averages, with their metrics; no ensembles.

    Args:
      evaluate: returns the metrics of averages, by their coefficients.
      segments: the networks, and the segments between them.
      more: coefficients of other averages by name.

    Raises:
      ValueError: the networks have no held-out accuracy or loss.

    >>> from mcjax.analysis import interpolation, toy
    >>> t, evaluator = np.linspace(0, 1, 3), toy.evaluator()
    >>> pair = interpolation.interpolate(evaluator, [toy.A, toy.B], ["A", "B"], t, {})
    >>> evaluate = lambda rows: Values.joined([evaluator([toy.A, toy.B], rows, {})])
    >>> found = measure(evaluate, pair, {"ema": exponential(2, 0.5)})
    >>> found.recipe.tolist(), found.averages.metrics["validation"]["loss"].round(2)
    (['uniform', 'greedy', 'ema'], array([0.69, 0.03, 0.41]))
    """
    own = score(segments.networks.metrics)[1]
    chosen = greedy(own, lambda row: float(score(evaluate(row[None]).metrics)[1][0]))
    rows = {"uniform": uniform(len(own)), "greedy": chosen.coefficients, **more}
    coefficients = np.stack(list(rows.values()))
    averages = evaluate(coefficients)
    return Soups(segments, np.array(list(rows)), coefficients, averages, np.zeros(0, str), {})


def score(metrics: Metrics) -> tuple[str, Float[np.ndarray, " points"]]:
    """What a greedy soup is chosen by, and its values: held-out accuracy, or else minus the loss.

    Args:
      metrics: of some points, with a split ``validation``.

    Raises:
      ValueError: they have neither.

    >>> score({"validation": {"loss": np.array([0.3, 0.2])}})
    ('validation_loss', array([-0.3, -0.2]))
    """
    there = named(metrics)
    for name, sign in (("validation_accuracy", 1), ("validation_loss", -1)):
        if name in there:
            return name, sign * np.asarray(there[name], np.float64)
    raise ValueError("a greedy soup is chosen by the validation accuracy or loss: there is none")


def _equal(count: int, members: Sequence[int] | np.ndarray) -> Row:
    if not len(members):
        raise ValueError("an average needs networks")
    row = np.zeros(count)
    row[list(members)] = 1 / len(members)
    return row

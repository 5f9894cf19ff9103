"""Tables of what alignment changes between pairs of modes, in Markdown (see `align_benchmark`)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mcjax.results import PathMetrics, Profile

SEGMENTS = ("before", "weights", "and REPAIR", "activations", "and REPAIR")
CHAINS = ("width", "end", "length", "epochs to be as low", "highest training loss", "mean")


class Chain(NamedTuple):
    """What the table shows of a fitted chain.

    Attributes:
      length: in units of weight distance.
      losses: the mean training loss of each epoch.
      highest: training loss along the chain.
      mean: of the training loss, with ``t`` uniform.
    """

    length: float
    losses: list[float]
    highest: float
    mean: float


class Pair(NamedTuple):
    """What was measured of two modes.

    Attributes:
      aligned: by method, the profiles of ``align.npz``.
      chains: to the end as it is and to the aligned one, or none.
    """

    aligned: dict[str, Profile]
    chains: list[Chain]


def chain(found: Profile, epochs: Sequence[Mapping[str, Any]]) -> Chain:
    """What the table shows of a chain's profile and its lines of ``metrics.jsonl``."""
    curve = found.curve
    assert curve.arc_length is not None
    return Chain(
        float(curve.arc_length[-1]),
        [line["train"]["loss"] for line in epochs],
        float(np.max(curve.metrics["train"]["loss"])),
        float(curve.means["train"]["loss"].over_t),
    )


def tables(found: Mapping[str, Sequence[Pair]]) -> str:
    """Barriers of segments, accuracies in their middles, and chains, of pairs by width.

    A range is that of the pairs. Batch norm's statistics are recomputed along all segments, so
    with batch norm the columns of REPAIR repeat those before them.
    """
    text = [
        "Barrier of the segment's training loss over the higher end:",
        _table(
            ("width", *SEGMENTS), [[w, *_segments(pairs, _height)] for w, pairs in found.items()]
        ),
    ]
    pairs = [pair for of_width in found.values() for pair in of_width]
    if "accuracy" in pairs[0].aligned["weights"].paths["before"].metrics["validation"]:
        rows = [[w, _ends(pairs), *_segments(pairs, _middle)] for w, pairs in found.items()]
        text += [
            "Validation accuracy in % of the ends, and in the middle of the segment:",
            _table(("width", "ends", *SEGMENTS), rows),
        ]
    if all(pair.chains for pair in pairs):
        rows = [[w, *row] for w, pairs in found.items() for row in _chains(pairs)]
        text += ["One-bend chains:", _table(CHAINS, rows)]
    return "\n\n".join(text)


def _segments(pairs: Sequence[Pair], number: Callable[[PathMetrics], float]) -> Iterator[str]:
    """A number of each of `SEGMENTS`."""
    for method, path in (
        ("weights", "before"), ("weights", "after"), ("weights", "repaired"),
        ("activations", "after"), ("activations", "repaired"),
    ):  # fmt: skip
        paths = [pair.aligned[method].paths for pair in pairs]
        yield _range([number(found.get(path, found["after"])) for found in paths])


def _height(path: PathMetrics) -> float:
    return path.barriers["train"]["loss"].over_max


def _middle(path: PathMetrics) -> float:
    accuracy = path.metrics["validation"]["accuracy"]
    return 100 * accuracy[len(accuracy) // 2]


def _ends(pairs: Sequence[Pair]) -> str:
    paths = [pair.aligned["weights"].paths["before"] for pair in pairs]
    return _range(
        [100 * path.metrics["validation"]["accuracy"][i] for path in paths for i in (0, -1)]
    )


def _chains(pairs: Sequence[Pair]) -> Iterator[list[str]]:
    """Rows of the chains to the ends as they are, and to the aligned ones."""
    for i, end in enumerate(("as it is", "aligned")):
        chains = [pair.chains[i] for pair in pairs]
        as_low = [_as_low(pair.chains[i].losses, pair.chains[0].losses[-1]) for pair in pairs]
        columns = [[c.length for c in chains], as_low, *zip(*[c[2:] for c in chains], strict=True)]
        yield [end, *map(_range, columns)]


def _as_low(losses: Sequence[float], goal: float) -> float:
    """The first epoch whose loss is at most ``goal``; infinite if there is none."""
    return next((epoch for epoch, loss in enumerate(losses, 1) if loss <= goal), np.inf)


def _range(numbers: Sequence[float]) -> str:
    low, high = (f"{pick(numbers):.3g}" for pick in (min, max))
    return low if low == high else f"{low} to {high}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

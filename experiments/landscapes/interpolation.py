"""Evaluates the paths between every two networks; each is saved when it is done."""

import numpy as np

from mcjax.analysis import interpolation
from mcjax.analysis.interpolation import Pair
from mcjax.engine import parallel
from mcjax.results import Interpolation, PairPaths, Values
from mcjax.symmetries.spec import Spec

from ..cli import (
    InterpolateConfig,
    UsageError,
    collect_signals,
    identity,
)  # fmt: skip
from ..runs import Run, begin_evaluation
from ..training import MEASURED, alignment
from . import drawing, saved_logits, saved_paths
from .interpolation_inputs import Inputs

EVALUATION = ("t_range", "num_points", *MEASURED, "save_logits")
"""Flags of the evaluation, which runs again if they change."""
FILE, REPORT = "interpolation.npz", "interpolation.json"
NETWORKS = "networks"


def check_flags(config: InterpolateConfig) -> Run:
    """Checks the flags by themselves and against the run folder, without reading data.

    Returns:
      The run folder.

    Raises:
      UsageError: a flag is wrong, or the folder holds another run.
    """
    if not config.workdir:
        raise UsageError("--workdir is missing: the run's folder")
    positions(config)
    drawing.check_style(config.style)
    saved_logits.check_flags(config)
    folder = Run(config.workdir)
    folder.check_same("interpolation", config)
    return folder


def positions(config: InterpolateConfig) -> np.ndarray:
    """Every ``t`` of --t_range.

    Raises:
      UsageError: --t_range is not two numbers, or no ``t`` is between the networks.
    """
    if config.num_points < 2:
        raise UsageError(f"--num_points={config.num_points}: use 2 or more")
    try:
        low, high = map(float, config.t_range.split(","))
    except ValueError:
        raise UsageError(f"--t_range={config.t_range}: write two numbers, as -0.5,1.5") from None
    try:
        return interpolation.positions((low, high), config.num_points)
    except ValueError as error:
        raise UsageError(f"--t_range={config.t_range}: {error}") from None


def evaluate(folder: Run, config: InterpolateConfig, inputs: Inputs) -> Interpolation:
    """Evaluates the networks and all paths that are not saved yet, and writes the arrays.

    Raises:
      UsageError: a network was retrained after this run started, or cannot be aligned.
      Interrupted: a signal came; finished paths are saved.
    """
    sums = saved_paths.checksums(folder, inputs.control, "a network of --points or --curve")
    facts = {"different": list(inputs.different)} if inputs.different else {}
    folder.open("interpolation", config, mode=identity(inputs.mode), control_crc32=sums, **facts)
    begin_evaluation(folder, config, EVALUATION, (FILE, REPORT, *saved_paths.FOLDERS, "figures/*"))
    return saved_paths.completed(folder, FILE, Paths(folder, config, inputs).evaluated)


class Paths:
    """The metrics of all paths: those saved by an interrupted run, and those evaluated now.

    Args:
      folder: the run, opened and locked.
      config: the flags.
      inputs: the networks and curves.
    """

    def __init__(self, folder: Run, config: InterpolateConfig, inputs: Inputs) -> None:
        self._run, self._config, self._inputs = folder, config, inputs
        self._t = positions(config)
        self._pairs = interpolation.every_pair(len(inputs.names))
        self._specs: dict[int, Spec] = {}

    def evaluated(self) -> Interpolation:
        """Evaluates what is missing, and returns all."""
        rows = self._rows()
        more = len(self._pairs) * len(self._t) if self._config.align else 0
        total = sum(map(len, rows.values())) + more
        with collect_signals() as received:
            problem, state = self._inputs.problem, self._inputs.state
            logits = saved_logits.SavedLogits(self._run, self._config, problem)
            self._saved = saved_paths.SavedPaths(
                self._run, problem.evaluator, state, total, received, logits
            )
            try:
                self._saved.evaluate(self._inputs.control, rows)
                if self._config.align:
                    self._evaluate_aligned(self._config.align)
            finally:
                self._saved.bar.close()
        return self._collected()

    def _rows(self) -> dict[str, np.ndarray]:
        """Coefficients over all control points by key: the networks, segments and curves."""
        inputs, count = self._inputs, len(self._inputs.control)
        rows = {NETWORKS: np.eye(len(inputs.names), count)}
        for pair in self._pairs:
            rows[_key("segment", pair)] = interpolation.on_segment(pair, self._t, count)
        for index, curve in enumerate(inputs.curves.values()):
            own = interpolation.on_curve(curve.family, self._t, curve.reverse)
            rows[f"curve-{index}"] = np.zeros((len(own), count))
            rows[f"curve-{index}"][:, curve.control] = own
        return rows

    def _evaluate_aligned(self, method: str) -> None:
        """Aligns the second network of each pair with the first, and evaluates their segment."""
        inputs = self._inputs
        for pair in self._pairs:
            key = _key("aligned", pair)
            if key in self._saved.arrays:
                continue
            self._saved.stop_if_signalled()
            start, end = (inputs.points[k] for k in pair)
            first, second = (inputs.names[k] for k in pair)
            words = f"{second}, to match {first},"
            how = alignment.Method(method)
            if pair[1] not in self._specs:
                self._specs[pair[1]] = alignment.groups(inputs.problem, end, second)
            spec = self._specs[pair[1]]
            aligned, facts = alignment.align(inputs.problem, start, end, how, words, spec)
            known = self._run.info.get("aligned", {})
            self._run.update(aligned=known | {f"{first} to {second}": facts})
            control = parallel.replicate((start.params, aligned.params), inputs.problem.mesh)
            length = interpolation.length(interpolation.SEGMENT, control)
            rows = interpolation.on_segment((0, 1), self._t, 2)
            self._saved.evaluate(control, {key: rows}, length=length)

    def _collected(self) -> Interpolation:
        inputs, control = self._inputs, self._inputs.control
        lengths = {p: interpolation.length(interpolation.SEGMENT, [control[k] for k in p])
                   for p in self._pairs}  # fmt: skip
        paths = {"segment": self._path({_key("segment", p): p for p in self._pairs}, lengths)}
        if self._config.align:
            keys = {_key("aligned", pair): pair for pair in self._pairs}
            lengths = {pair: float(self._saved.arrays[key]["length"]) for key, pair in keys.items()}
            paths["aligned"] = self._path(keys, lengths)
        if inputs.curves:
            paths["curve"] = self._curves()
        return Interpolation(
            self._t, np.array(inputs.names), self._values(NETWORKS), paths, inputs.group,
            inputs.epoch,
        )  # fmt: skip

    def _path(self, keys: dict[str, Pair], lengths: dict[Pair, float]) -> PairPaths:
        """Paths of one kind, by the keys of their metrics."""
        found, own = map(self._values, keys), self._values(NETWORKS)
        each = [lengths[pair] for pair in keys.values()]
        return interpolation.collect(list(found), list(keys.values()), own, self._t, each)

    def _curves(self) -> PairPaths:
        control, found = self._inputs.control, list(self._inputs.curves.values())
        values = [interpolation.spread(self._values(f"curve-{k}"), self._t)
                  for k in range(len(found))]  # fmt: skip
        lengths = [
            interpolation.length(curve.family, [control[k] for k in curve.control])
            for curve in found
        ]
        own = self._values(NETWORKS)
        return interpolation.collect(values, [c.pair for c in found], own, self._t, lengths)

    def _values(self, key: str) -> Values:
        return self._saved.values(key)


def _key(path: str, pair: Pair) -> str:
    return f"{path}-{pair[0]}-{pair[1]}"

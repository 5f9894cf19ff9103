"""Modes and curves that train in a second, and what their runs hold."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from experiments.cli.configs import CurveConfig, ModeConfig
from experiments.cli.flags import parse_flagfile, to_flags
from experiments.runs import load_point, open_checkpoints, step_of
from experiments.runs.names import parse_name
from experiments.training import problem as problems
from mcjax.analysis import profiles
from mcjax.results import PathMetrics, Profile

MODE = ModeConfig(
    dataset="digits", train_size=200, validation_size=60, model="mlp", width=0.25,
    batch_size=40, epochs=4, lr=0.1, schedule="constant", keep=(2,),
)  # fmt: skip
CURVE = CurveConfig(batch_size=40, epochs=3, lr=0.1, points=9)
NORMED = {"model": "tests.nets:normed", "width": 1.0}
SPLITS = ("train", "validation")
STEPS = 5  # an epoch


def change(config, **changes):
    return dataclasses.replace(config, **changes)


def flagfile(path, config):
    path.write_text(to_flags(config))
    return str(path)


def own_metrics(text, split):
    """A point's loss and accuracy, computed from nothing but its parameters and the images."""
    point, problem = load_point(parse_name(text)), problems.make_problem(MODE)
    data = getattr(problem.dataset, split)
    images = (data.images / 255 - problem.mean) / problem.std
    logits = problem.model.apply({"params": point.params}, jnp.float32(images), False)
    logits = np.asarray(logits, np.float64)
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(logits)), data.labels]
    return losses.mean(), (logits.argmax(1) == data.labels).mean()


def tree_of(run, epoch=None):
    with open_checkpoints(run, read_only=True) as saved:
        return saved.restore(step_of(run, epoch))


def lines_of(run):
    return [{k: v for k, v in line.items() if k != "seconds"} for line in run.metrics()]


def files_of(folder):
    return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.rglob("*") if p.is_file()}


def curve_config(base, **changes):
    return change(parse_flagfile(CurveConfig, base / "GB" / "flags.cfg"), **changes)


def profile_of(losses):
    """A curve and a segment with the same training losses."""
    t = np.linspace(0, 1, len(losses))
    path = profiles.summarize(PathMetrics({"train": {"loss": np.array(losses)}}, arc_length=t), t)
    return Profile(t, {"curve": path, "segment": path})

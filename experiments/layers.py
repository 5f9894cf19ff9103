r"""Evaluates and draws layer-wise barriers between two checkpoints, without a fit.

    python -m experiments.layers --start=runs/A --end=runs/B --workdir=runs/AB_layers
    python -m experiments.layers --start=runs/A@30 --end=runs/B --align=weights --workdir=runs/more

--start and --end are checkpoints RUN[@EPOCH][~T] of the same network and data set. Some layers move
from --start to --end, while the others stay at --start (Adilova et al., 2024): each layer alone,
all layers up to it from the input, and all layers from it to the output. A layer is what shares a
path without its last key, such as a kernel and its bias; layers are in the order in which the
network uses them. layers.npz has the metrics along all paths, layers.json their barriers: over the
chord between the two networks, over the higher of them and over their mean. --align first permutes
the units of --end to match --start. An interrupted run resumes with the same command, at the path
where it stopped. A finished run is drawn again; another --num_points, --splits, --metrics or
--also_evaluate evaluate it again, and the earlier arrays and figures move to WORKDIR/earlier.
"""

from mcjax.results import Layers

from .cli import LayersConfig, main, show
from .landscapes import layers, layers_report
from .runs import Run, is_evaluated, load_result
from .training import make_problem, measuring, pin_further


def run(config: LayersConfig) -> Run:
    """Evaluates and draws the barriers.

    Raises:
      UsageError: wrong flags, found before any long work.
      Interrupted: a signal came; finished paths are saved.
    """
    config = pin_further(config)
    folder = layers.check_flags(config)
    inputs = None
    if not is_evaluated(folder, config, layers.FILE, layers.EVALUATION):
        found = layers.resolve(config)
        problem = make_problem(found.mode, config.precision)
        problem = measuring(problem, config.splits, config.metrics, config.also_evaluate)
        inputs = layers.load(found, problem)
    with folder.locked():
        if inputs is None:
            result = load_result(Layers, folder.path / layers.FILE)
        else:
            result = layers.evaluate(folder, config, inputs)
        show(layers_report.finish(folder, config, result))
    return folder


if __name__ == "__main__":
    main(LayersConfig, run, __doc__)

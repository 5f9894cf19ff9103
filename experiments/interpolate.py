r"""Evaluates and draws the segments between every two of several checkpoints, without a fit.

    python -m experiments.interpolate --points=runs/A,runs/B,runs/C --workdir=runs/ABC
    python -m experiments.interpolate --points=runs/A@10,runs/A,runs/AB~0.5 --t_range=-0.5,1.5 \
        --workdir=runs/more
    python -m experiments.interpolate --points=runs/A1,runs/A2,runs/A3 \
        --against=runs/B1,runs/B2,runs/B3 --align=weights --workdir=runs/groups
    python -m experiments.interpolate --points=runs/A@all --against=runs/B@all --workdir=runs/epochs

--points are two or more checkpoints RUN[@EPOCH][~T] of the same network and data set: modes, points
of curves, aligned or imported networks. RUN@all stands for all checkpoints of a run, RUN@10- for
those from epoch 10 on: with those of one run, or of two, a figure shows the barriers between every
two epochs. --curve shows fitted curves beside their segments; --align
adds each pair's segment after its second network's units are permuted to match the first; --against
gives a second group, and means with 95 % intervals. interpolation.npz has all profiles and the
matrices of barriers, interpolation.json the barriers in words. An interrupted run resumes with the
same command, at the pair where it stopped. A finished run is drawn again; another --t_range,
--num_points, --splits, --metrics or --also_evaluate evaluate it again, and the earlier arrays and
figures move to WORKDIR/earlier.
"""

from mcjax.results import Interpolation

from .cli import InterpolateConfig, main, show
from .landscapes import interpolation, interpolation_inputs, interpolation_report
from .runs import Run, is_evaluated, load_result
from .training import make_problem, measuring, pin_further


def run(config: InterpolateConfig) -> Run:
    """Evaluates and draws the segments.

    Raises:
      UsageError: wrong flags, found before any long work.
      Interrupted: a signal came; finished paths are saved.
    """
    config = pin_further(config)
    folder = interpolation.check_flags(config)
    inputs = None
    if not is_evaluated(folder, config, interpolation.FILE, interpolation.EVALUATION):
        found = interpolation_inputs.resolve(config, config.allow_different)
        problem = make_problem(found.mode, config.precision)
        problem = measuring(problem, config.splits, config.metrics, config.also_evaluate)
        inputs = interpolation_inputs.load(config, found, problem)
    with folder.locked():
        if inputs is None:
            result = load_result(Interpolation, folder.path / interpolation.FILE)
        else:
            result = interpolation.evaluate(folder, config, inputs)
        show(interpolation_report.finish(folder, config, result))
    return folder


if __name__ == "__main__":
    main(InterpolateConfig, run, __doc__)

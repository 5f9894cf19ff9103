r"""Evaluates and draws the loss on the plane through any three checkpoints (Section 5).

    python -m experiments.loss_surface --points=runs/G,runs/B,runs/GB --curve=runs/GB \
        --workdir=runs/plane

--points are three checkpoints RUN[@EPOCH][~T] of the same network and data set; for a curve, RUN
alone is its middle. --curve draws a curve, --iterates projects a run's iterates.

    python -m experiments.loss_surface --points=runs/G --directions=filter --workdir=runs/around_G

With --directions, the plane is around one checkpoint, along two directions (Li et al., 2018). They
point from the first of the three points to the others; lengths are weight distances. An interrupted
run resumes with the same command, at the row where it stopped. A finished run is drawn again, with
the --clip and --style given now; another --grid, --margin, --extent, --refine, --examples,
--stop_above, --splits, --metrics or --also_evaluate evaluate it again, and the earlier arrays and
figures move to WORKDIR/earlier.
"""

from mcjax.results import Surface

from .cli import SurfaceConfig, main, show
from .landscapes import surface_inputs, surfaces
from .runs import Run, is_evaluated, load_result
from .training import make_problem, measuring, pin_further, sampled


def run(config: SurfaceConfig) -> Run:
    """Evaluates and draws the surface.

    Raises:
      UsageError: wrong flags, found before any long work.
      Interrupted: a signal came; finished rows are saved.
    """
    config = pin_further(config)
    folder = surfaces.check_flags(config)
    inputs = None
    if not is_evaluated(folder, config, surfaces.FILE, surfaces.EVALUATION):
        found = surface_inputs.resolve(config)
        problem = make_problem(found.mode, config.precision)
        problem = measuring(problem, config.splits, config.metrics, config.also_evaluate)
        inputs = surface_inputs.load(config, found, problem)  # directions are of all examples
        if config.examples is not None:
            inputs = inputs._replace(problem=sampled(problem, config.examples, config.stop_above))
    with folder.locked():
        if inputs is None:
            surface = load_result(Surface, folder.path / surfaces.FILE)
        else:
            surface = surfaces.evaluate(folder, config, inputs)
        show(surfaces.finish(folder, config, surface))
    return folder


if __name__ == "__main__":
    main(SurfaceConfig, run, __doc__)

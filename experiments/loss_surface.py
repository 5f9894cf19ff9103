r"""Evaluates the loss on the plane through any three checkpoints and draws it (Section 5).

    python -m experiments.loss_surface --points=runs/G,runs/B,runs/GB --curve=runs/GB \
        --workdir=runs/plane

--points are three checkpoints RUN[@EPOCH][~T] (RUN alone is, for a curve, its middle) of the same
network and data set. --curve draws a curve, --iterates projects a run's iterates.

    python -m experiments.loss_surface --points=runs/G --directions=filter --workdir=runs/around_G

With --directions the plane is around one checkpoint, along two directions (Li et al., 2018). They
are the ways from the first of the three points to the others; lengths are weight distances, as
everywhere. The same command again resumes at the row where it was stopped; a done run is drawn
again, with --clip and --style as given now. With another --grid, --margin, --extent, --splits or
--metrics it is evaluated again, and the earlier arrays and figures are kept in WORKDIR/earlier.
"""

from mcjax.results import Surface

from .cli import SurfaceConfig, main, show
from .landscapes import surface_inputs, surfaces
from .runs import Run, load_result
from .training import make_problem, measuring


def run(config: SurfaceConfig) -> Run:
    """Evaluates and draws.

    Raises:
      UsageError: wrong flags, found before any long work.
      Interrupted: a signal came; the rows that are done are saved.
    """
    folder = surfaces.check_flags(config)
    inputs = None
    if not surfaces.is_evaluated(folder, config):
        found = surface_inputs.resolve(config)
        problem = make_problem(found.mode, config.precision)
        problem = measuring(problem, config.splits, config.metrics)
        inputs = surface_inputs.load(config, found, problem)
    with folder.locked():
        if inputs is None:
            surface = load_result(Surface, folder.path / surfaces.FILE)
        else:
            surface = surfaces.evaluate(folder, config, inputs)
        show(surfaces.finish(folder, config, surface))
    return folder


if __name__ == "__main__":
    main(SurfaceConfig, run, __doc__)

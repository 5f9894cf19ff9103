r"""Permutes the units of a network to match another, and compares the barriers.

    python -m experiments.align --start=runs/A --end=runs/B --workdir=runs/B_like_A

--start and --end are checkpoints RUN[@EPOCH], or points of a curve RUN[@EPOCH]~T, of the same
network and data set. The result is a run folder like that of a mode, and can be used wherever a
mode can: it computes the same function as --end. align.json has the share of units that moved and
the barriers of the segment from --start before, after, and after REPAIR (Jordan et al., 2023);
align.npz has the three profiles. With batch norm there is no third profile: its statistics are
recomputed at every point of every path, which is the same correction. An interrupted run resumes
with the same command; a finished run prints its result, and another --style draws it again.
"""

from mcjax.results import Profile

from .cli import AlignConfig, RunFailed, main, show
from .landscapes import alignment
from .runs import Run, Status, load_result
from .training import ends, make_problem


def run(config: AlignConfig) -> Run:
    """Aligns the network, and evaluates and draws the segments.

    Raises:
      UsageError: wrong flags or ends, found before any long work.
      RunFailed: the network is at chance.
    """
    folder = alignment.check_flags(config)
    if folder.status == Status.FAILED:
        raise RunFailed(f"{folder.path} failed before: {folder.info['reason']}")
    if folder.status != Status.DONE:
        found = alignment.resolve(config)
        problem = make_problem(found[0].mode, config.precision)
        ends.check_shapes(problem, *found)
        with folder.locked():
            alignment.make(folder, config, found, problem)
    else:
        profile = load_result(Profile, folder.path / alignment.FILE)
        alignment.draw(folder, config, profile)
    show(alignment.summarize(folder))
    return folder


if __name__ == "__main__":
    main(AlignConfig, run, __doc__)

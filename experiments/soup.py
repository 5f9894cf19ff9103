"""Averages the weights of several checkpoints: soups, SWA and exponential moving averages.

    python -m experiments.soup --points=runs/A@all --recipe=swa --swa_start=30 --workdir=runs/A_swa
    python -m experiments.soup --points=runs/A,runs/B,runs/C --recipe=greedy --workdir=runs/ABC
    python -m experiments.soup --points=runs/A,runs/B --curve=runs/AB --workdir=runs/AB_soup

--points are two or more checkpoints RUN[@EPOCH][~T] of the same network and data set; RUN@all
stands for all checkpoints of a run, RUN@30- for those from epoch 30 on. The barriers between every
two come first: an average of networks with a high barrier between them is bad. Then come the
networks, all averages and the ensemble of the networks. The result is a run folder like that of a
mode, holds the average of --recipe, and can be used wherever a mode can. Batch norm's statistics
are recomputed on the training split. The greedy soup (Wortsman et al., 2022) is chosen on the
validation split; SWA and exponential averages (Izmailov et al., 2018) are over one run's
checkpoints. soup.npz and soup.json have all numbers. An interrupted run resumes with the same
command; a finished one is drawn again.
"""

from mcjax.results import Soups

from .cli import RunFailed, SoupConfig, main, show
from .landscapes import soups, soups_report
from .runs import Run, Status, load_result
from .training import make_problem, measuring, modes, pin_further


def run(config: SoupConfig) -> Run:
    """Averages, evaluates and draws.

    Raises:
      UsageError: wrong flags or points, found before any long work.
      RunFailed: the average is at chance.
      Interrupted: a signal came; what is evaluated is saved.
    """
    config = pin_further(config)
    folder = soups.check_flags(config)
    if folder.status == Status.FAILED:
        raise RunFailed(f"{folder.path} failed before: {folder.info['reason']}")
    if folder.status == Status.DONE:
        with folder.locked():
            show(soups_report.finish(folder, config, load_result(Soups, folder.path / soups.FILE)))
    else:
        found = soups.resolve(config)
        problem = make_problem(found.points.mode, config.precision)
        problem = measuring(problem, config.splits, config.metrics, config.also_evaluate)
        inputs = soups.load(config, found, problem)
        with folder.locked():
            made = soups.make(folder, config, found, inputs)
            show(soups_report.finish(folder, config, made.found))
            name, hint = f"the {config.recipe} average", soups.hint(config)
            modes.finish(folder, problem, *made.point, name, hint)
    show(modes.result(folder))
    return folder


if __name__ == "__main__":
    main(SoupConfig, run, __doc__)

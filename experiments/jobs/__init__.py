"""The jobs of a plan, and launchers that run them: on this machine, or on Slurm."""

from . import launching
from .job import Job, last_job
from .local import Outcome, run_jobs

__all__ = ["Job", "Outcome", "last_job", "launching", "run_jobs"]

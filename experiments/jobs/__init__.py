"""The jobs of a plan, and launchers that run them: on this machine, or on Slurm."""

from . import launching
from .job import Job, last_job
from .local import run_jobs

__all__ = ["Job", "last_job", "launching", "run_jobs"]

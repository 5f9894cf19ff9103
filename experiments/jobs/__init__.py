"""The jobs of a plan, and the processes that run them."""

from .job import Job
from .local import Outcome, run_jobs

__all__ = ["Job", "Outcome", "run_jobs"]

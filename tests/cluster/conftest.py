"""A Slurm cluster for the tests of this folder."""

import pytest

from . import slurm


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A running `slurm.Cluster`; skips where Slurm is not installed."""
    if why := slurm.missing():
        pytest.skip(why)
    found = slurm.Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        found.start()
        yield found
    finally:
        found.stop()

"""A sample of the campaigns; in full they are ``python -m tests.campaign --folder=DIR``."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.campaign import damage, kills


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    folder = tmp_path_factory.mktemp("campaign")
    return folder, kills.prepare(folder, ("mode",))


@pytest.mark.long
def test_two_kills(ground, tmp_path):
    trials = kills.run(ground[1], tmp_path, 2, seed=1, report=lambda _: None, workers=1)
    assert sum(t.kills for t in trials) >= 2
    assert not [t.why for t in trials if t.why]


@pytest.mark.long
def test_every_file_of_a_mode_damaged(ground, tmp_path):
    """In a process of its own: what orbax leaves behind of a damaged checkpoint goes with it."""
    whole, alone = ground[0] / "whole", multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, alone) as pool:
        trials = pool.submit(
            damage.run, whole, whole, tmp_path, 0, 1.0, print, {("mode", "load")}
        ).result()
    assert len({t.file for t in trials}) > 15
    assert not [t for t in trials if not damage.is_good(t)]
    assert {"right", "error"} == {t.outcome for t in trials}

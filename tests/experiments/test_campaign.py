"""A sample of the campaigns; in full they are ``python -m tests.campaign --folder=DIR``."""

import gc

import pytest

from tests.campaign import damage, kills


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    folder = tmp_path_factory.mktemp("campaign")
    return folder, kills.prepare(folder, ("mode",))


def test_a_dozen_kills(ground, tmp_path):
    trials = kills.run(ground[1], tmp_path, 12, seed=1, report=lambda _: None, workers=1)
    assert sum(t.kills for t in trials) >= 12
    assert not [t.why for t in trials if t.why]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # orbax's tasks
def test_every_file_of_a_mode_damaged(ground, tmp_path):
    whole = ground[0] / "whole"
    trials = damage.run(whole, whole, tmp_path, 0, 1.0, lambda _: None, chosen={("mode", "load")})
    gc.collect()
    assert len({t.file for t in trials}) > 15
    assert not [t for t in trials if not damage.is_good(t)]
    assert {"right", "error"} == {t.outcome for t in trials}

"""Two modes and the curve between them, trained once for all tests of this folder."""

import contextlib
import io

import pytest

from experiments import fit_curve
from mcjax.plots import profile_plots

from .small import CURVE, MODE, change, flagfile


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """Modes G and B and the curve GB, made by one command."""
    base = tmp_path_factory.mktemp("runs")
    config = change(
        CURVE,
        workdir=str(base / "GB"),
        modes_dir=str(base),
        start=flagfile(base / "G.cfg", change(MODE, seed=1)),
        end=flagfile(base / "B.cfg", change(MODE, seed=2, optimizer="adam", lr=0.01)),
        eval_epochs=(1,),
        keep=(2,),
        seed=9,
    )
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.MonkeyPatch.context() as patch:
        patch.setattr(profile_plots, "FORMATS", ("png",))
        fit_curve.run(config)
    (base / "printed").write_text(printed.getvalue())
    return base

"""The same command again: nothing is retrained, missing files are restored, styles redraw."""

import numpy as np
import pytest

from experiments import fit_curve, landscapes, train_mode
from experiments.cli.configs import ModeConfig
from experiments.cli.errors import UsageError
from experiments.cli.flags import parse_flagfile
from experiments.runs.arrays import load_arrays
from mcjax.engine import training

from .small import curve_config, files_of

pytestmark = pytest.mark.usefixtures("png_only")


def test_the_same_command_again_does_nothing(base, monkeypatch):
    def never(*args, **options):
        raise AssertionError("it trained, or evaluated, again")

    for target, name in (
        (training, "chunks"), (training, "make_trainer"), (landscapes.profiles, "_measure"),
        (landscapes.profiles, "save_arrays"),
    ):  # fmt: skip
        monkeypatch.setattr(target, name, never)
    untouched = [base / "GB" / d for d in ("checkpoints", "ends", "figures")] + [base / "G"]
    before = [files_of(d) for d in untouched]
    fit_curve.run(curve_config(base))
    train_mode.run(parse_flagfile(ModeConfig, base / "G" / "flags.cfg"))
    after = [files_of(d) for d in untouched]
    for old, new in zip(before, after, strict=True):
        assert {p: x for p, x in new.items() if p.name != "flags.cfg"} == {
            p: x for p, x in old.items() if p.name != "flags.cfg"
        }


@pytest.mark.slow
def test_a_lost_figure_or_array_is_made_again(base):
    arrays = load_arrays(base / "GB" / "curve.npz")
    (base / "GB" / "figures" / "curve.png").unlink()
    (base / "GB" / "figures" / "curve@1.png").write_bytes(b"\x89PNG")
    (base / "GB" / "curve@1.npz").unlink()
    fit_curve.run(curve_config(base))
    for name in ("curve.png", "curve@1.png"):
        assert (base / "GB" / "figures" / name).stat().st_size > 5000
    again = load_arrays(base / "GB" / "curve@1.npz")
    np.testing.assert_array_equal(again["segment_train_loss"], arrays["segment_train_loss"])


@pytest.mark.long
def test_another_style_draws_a_done_run_again(base, tmp_path):
    png = base / "GB" / "figures" / "curve@1.png"
    plain = png.read_bytes()
    for color in ("red", "blue"):
        (tmp_path / "mine.mplstyle").write_text(f"text.color: {color}\n")
        before = png.read_bytes()
        fit_curve.run(curve_config(base, style=("ggplot", str(tmp_path / "mine.mplstyle"))))
        assert png.read_bytes() != before
    fit_curve.run(curve_config(base, style=()))
    assert png.read_bytes() == plain
    when = png.stat().st_mtime_ns
    fit_curve.run(curve_config(base, style=()))
    assert png.stat().st_mtime_ns == when


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such style; give a matplotlib style's name or an .mplstyle file"),
        ("axes.grids: True", "Bad key axes.grids"),
        ("font.size: huge", "Bad value"),
        ("no colon", "Missing colon"),
        (b"\xff\xfe", "decode"),
    ],
)
def test_a_wrong_style_is_said_before_any_work(base, tmp_path, content, message):
    file = tmp_path / "mine.mplstyle"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match=message) as caught:
        fit_curve.run(curve_config(base, workdir=str(tmp_path / "new"), style=(str(file),)))
    assert str(caught.value).startswith(f"--style={file}: ")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_the_ends_running_averages_are_noted_last(base, monkeypatch, capsys):
    said = lambda names: [f"note: {name.run.name}" for name in names]  # noqa: E731
    monkeypatch.setattr(landscapes.notes, "of_averages", said)
    fit_curve.run(curve_config(base))
    assert capsys.readouterr().out.splitlines()[-2:] == ["note: G", "note: B"]

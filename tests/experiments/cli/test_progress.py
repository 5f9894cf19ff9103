"""Lines of progress where standard error is not a terminal."""

from experiments.cli import Progress, progress


def test_an_overdue_line_is_printed_only_if_there_is_progress(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_SECONDS", -1.0)
    bar = Progress("G", 40, "epoch", done=2)
    for done, line in ((2, False), (3, False), (3, False), (3, True)):
        bar.update(done, "loss 1", line)
    bar.close()
    assert capsys.readouterr().err.splitlines() == 2 * ["G: epoch 3/40 loss 1"]


def test_work_of_unknown_length(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_SECONDS", -1.0)
    bar = Progress("B: weights", None, "group")
    bar.update(7)
    bar.close()
    assert capsys.readouterr().err == "B: weights: group 7\n"

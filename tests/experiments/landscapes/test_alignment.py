"""What `align` says of layers that REPAIR does not correct, or only in part."""

from experiments.landscapes import alignment
from mcjax.symmetries import Repaired


class Folder(dict):
    """A run folder whose facts are kept in memory."""


def test_leaves_that_are_not_corrected_are_reported(capsys):
    folder = Folder()
    scaled = tuple(f"scan/{k}" for k in range(7))
    alignment.say_what_is_left(folder, Repaired({}, ("a/bias",), scaled, ("table",)))
    assert folder["repair"] == {"corrected": ["a/bias"], "scaled": [*scaled], "left": ["table"]}
    first, second = capsys.readouterr().err.splitlines()
    five = "scan/0, scan/1, scan/2, scan/3, scan/4, ..."
    assert first == f"note: REPAIR sets no means, for want of a bias, in {five}"
    assert second == "note: REPAIR skips table"
    alignment.say_what_is_left(folder, Repaired({}, ("a/bias",), (), ()))
    assert capsys.readouterr() == ("", "")

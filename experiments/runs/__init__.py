"""Run folders: their files and status, references to checkpoints, and loading results."""

from . import forks, json_text
from .arrays import load_arrays, load_result, save_arrays
from .evaluations import begin_evaluation, changed_flags, is_evaluated
from .files import write_atomically
from .folder import MADE, Run, same_value
from .locks import in_use
from .metrics import add_metrics, cut_metrics
from .names import Name, a_kind, at, label, parse_name
from .points import (
    Checkpoint,
    Point,
    SavedCurve,
    changed_ends,
    check_unchanged,
    curve_name,
    epoch_of,
    expand,
    find_checkpoint,
    load_curve,
    load_point,
    mode_config,
)
from .results import (
    Loaded,
    Results,
    along_curve,
    check_output,
    finished,
    load,
    on_surface,
    provenance,
)
from .saved import checkpoint_steps, open_checkpoints, open_ends, restore, restore_ends, step_of
from .status import UNTRAINED, Status

__all__ = [
    "MADE",
    "UNTRAINED",
    "Checkpoint",
    "Loaded",
    "Name",
    "Point",
    "Results",
    "Run",
    "SavedCurve",
    "Status",
    "a_kind",
    "add_metrics",
    "along_curve",
    "at",
    "begin_evaluation",
    "changed_ends",
    "changed_flags",
    "check_output",
    "check_unchanged",
    "checkpoint_steps",
    "curve_name",
    "cut_metrics",
    "epoch_of",
    "expand",
    "find_checkpoint",
    "finished",
    "forks",
    "in_use",
    "is_evaluated",
    "json_text",
    "label",
    "load",
    "load_arrays",
    "load_curve",
    "load_point",
    "load_result",
    "mode_config",
    "on_surface",
    "open_checkpoints",
    "open_ends",
    "parse_name",
    "provenance",
    "restore",
    "restore_ends",
    "same_value",
    "save_arrays",
    "step_of",
    "write_atomically",
]

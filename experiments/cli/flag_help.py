"""The page that ``--help`` prints: a command's flags by topic, with choices and defaults."""

import dataclasses
import inspect
import shutil
import textwrap
import types
import typing
from typing import Any

from . import launch

WIDTH, COLUMN = 100, 26
"""The page's maximal width, and the column where explanations begin."""
TOPICS = {
    "data": (
        "dataset", "data_dir", "use_test", "train_size", "validation_size", "downsample", "pad_to",
        "normalization", "crop_padding", "flip",
    ),
    "network": ("model", "width", "dropout", "init_scale", "objective", "precision"),
    "optimisation": (
        "epochs", "batch_size", "optimizer", "lr", "momentum", "weight_decay", "schedule",
        "milestones", "decay_factor", "sgdr_t0", "sgdr_mult", "lr_min", "schedule_per_epoch",
        "seed", "keep_going", "fork", "fork_weights",
    ),
    "machine": (
        "cpu_devices", "compilation_cache", "distributed", "coordinator", "num_processes",
        "process_id",
    ),
    "output": (
        "workdir", "output", "splits", "metrics", "also_evaluate", "keep", "keep_steps",
        "checkpoint_seconds", "eval_every", "tracker", "profile", "style", "clip",
    ),
}  # fmt: skip
"""Flags that several commands have; all others are listed under the command's own ``topic``."""
PLACEHOLDERS: dict[Any, str] = {
    int: "N", float: "X", str: "TEXT", tuple[int, ...]: "N,N", tuple[str, ...]: "A,B",
}  # fmt: skip


def page(config: Any, doc: str) -> str:
    """The help page of a command.

    Args:
      config: the dataclass of its flags.
      doc: its docstring.
    """
    kinds = typing.get_type_hints(config)
    fields = {f.name: f for f in dataclasses.fields(config) if f.name not in config.unused}
    shared = {name for names in TOPICS.values() for name in names}
    own = [name for name in fields if name not in shared]
    own.sort(key=lambda name: name not in inspect.get_annotations(config))  # inherited ones last
    topics = {config.topic: own, **TOPICS}
    blocks = []
    for topic, names in topics.items():
        if entries := [_entry(fields[n], kinds[n]) for n in names if n in fields]:
            blocks.append("\n".join([topic, *entries]))
    head = (
        "Flags, with defaults in []. --flagfile=FILE reads flags from a file, one per line; flags "
        "on the\ncommand line override the file's."
    )
    doc = doc.strip().replace("python -m experiments.", launch.usage(""))
    return "\n\n".join([doc, head, *blocks])


def _entry(field: dataclasses.Field[Any], kind: Any) -> str:
    """A flag with its explanation, choices and default."""
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    head = f"  --[no]{field.name}" if bool in options else f"  --{field.name}="
    if field.metadata["choices"]:
        head += "|".join(field.metadata["choices"])
    else:
        head += next((PLACEHOLDERS[o] for o in options if o in PLACEHOLDERS), "")
    text = " ".join([field.metadata["help"], *_names(field.name), *_default(field.default)])
    margin = " " * COLUMN
    width = min(WIDTH, max(COLUMN + 30, shutil.get_terminal_size((WIDTH, 24)).columns))
    body = textwrap.fill(
        text, width, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False
    )
    return head.ljust(COLUMN) + body[COLUMN:] if len(head) < COLUMN - 1 else f"{head}\n{body}"


def _names(flag: str) -> list[str]:
    """The registered names that a flag accepts, as a sentence, if any."""
    if flag == "model":
        from mcjax.flax import models

        return [f"Names: {', '.join(models.names())}."]
    return []


def _default(value: Any) -> list[str]:
    """The default in brackets, if there is one."""
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    if isinstance(value, bool):
        value = "yes" if value else "no"
    return [] if value in (None, "") else [f"[{value}]"]

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
        "process_id", "launcher", "slurm_options", "status",
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
    blocks = [
        "\n".join([topic, *(_entry(field, kinds[field.name]) for field in fields)])
        for topic, fields in by_topic(config).items()
    ]
    head = (
        "Flags, with defaults in []. --flagfile=FILE reads flags from a file, one per line; flags "
        "on the\ncommand line override the file's."
    )
    doc = doc.strip().replace("python -m experiments.", launch.usage(""))
    return "\n\n".join([doc, head, *blocks])


def by_topic(config: Any) -> dict[str, list[dataclasses.Field[Any]]]:
    """A command's flags by topic: its own first, then those of `TOPICS` that it has."""
    fields = {f.name: f for f in dataclasses.fields(config) if f.name not in config.unused}
    shared = {name for names in TOPICS.values() for name in names}
    own = [name for name in fields if name not in shared]
    own.sort(key=lambda name: name not in inspect.get_annotations(config))  # inherited ones last
    topics = {config.topic: own, **TOPICS}
    found = {topic: [fields[n] for n in names if n in fields] for topic, names in topics.items()}
    return {topic: listed for topic, listed in found.items() if listed}


def spelling(field: dataclasses.Field[Any], kind: Any) -> str:
    """How a flag is written, with its choices or a placeholder for its value."""
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if bool in options:
        return f"--[no]{field.name}"
    placeholder = next((PLACEHOLDERS[o] for o in options if o in PLACEHOLDERS), "")
    return f"--{field.name}=" + ("|".join(field.metadata["choices"]) or placeholder)


def explanation(field: dataclasses.Field[Any]) -> str:
    """What a flag does, with its default in brackets."""
    return " ".join([field.metadata["help"], *_names(field.name), *_default(field.default)])


def _entry(field: dataclasses.Field[Any], kind: Any) -> str:
    """A flag's lines on the page."""
    head = f"  {spelling(field, kind)}"
    margin = " " * COLUMN
    width = min(WIDTH, max(COLUMN + 30, shutil.get_terminal_size((WIDTH, 24)).columns))
    body = textwrap.fill(
        explanation(field),
        width,
        initial_indent=margin,
        subsequent_indent=margin,
        break_on_hyphens=False,
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

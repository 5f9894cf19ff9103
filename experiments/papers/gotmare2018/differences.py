"""How the settings of a scale's runs differ from the paper's, by comparing flagfiles."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...cli import PACKAGE_ROOT, CurveConfig, ModeConfig, parse_flagfile
from . import scales

SETTINGS = {
    "epochs": "epochs",
    "lr": "lr",
    "optimizer": "optimizer",
    "schedule": "schedule",
    "batch_size": "batch",
    "weight_decay": "weight decay",
    "curve": "curve",
    "bends": "bends",
}
"""The compared flags, and their names in the report."""
SECTION_3 = (*scales.MODES, *scales.CURVES)
THETA = ("sgdr", scales.pair_name("sgdr", 70, 150))
RUNS = {
    **dict.fromkeys((1, 2, 9), SECTION_3),
    **dict.fromkeys((5, 6, 8), THETA),
    **dict.fromkeys((3, 7), ("sgdr",)),
    4: ("step",),
}
"""By claim, the runs it rests on."""
CONFIGS: dict[str, type[ModeConfig] | type[CurveConfig]] = {
    "mode": ModeConfig,
    "curve": CurveConfig,
}


def of_claim(number: int, jobs: Iterable[scales.Job]) -> str:
    """Describes how the runs of a claim differ from the paper, whose values are in parentheses.

    Returns:
      Empty if none of the claim's runs is among the jobs.
    """
    chosen = [job for job in jobs if job.name in RUNS[number]]
    words: list[str] = []
    for kind, config in CONFIGS.items():
        same_kind = [job for job in chosen if job.kind == kind]
        papers = {job.name: _paper_config(config, job.name) for job in same_kind}
        for flag, title in SETTINGS.items():
            if hasattr(config(), flag):
                pairs = {
                    job.name: (getattr(job.config, flag), getattr(papers[job.name], flag))
                    for job in same_kind
                }
                words += _groups(f"curve {title}" if kind == "curve" else title, pairs)
    return "; ".join(words) or ("as in the paper" if chosen else "")


def _paper_config(
    config: type[ModeConfig] | type[CurveConfig], name: str
) -> ModeConfig | CurveConfig:
    return parse_flagfile(
        config, PACKAGE_ROOT / "experiments" / "flags" / scales.PAPER / f"{name}.cfg"
    )


def _groups(title: str, pairs: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """A setting's differences; runs with the same difference are named together."""
    groups: dict[tuple[Any, Any], list[str]] = {}
    for name, (here, there) in pairs.items():
        if here != there:
            groups.setdefault((here, there), []).append(name)
    return [
        f"{title} {here} ({there}){_which(names, list(pairs))}"
        for (here, there), names in groups.items()
    ]


def _which(names: Sequence[str], every: Sequence[str]) -> str:
    left = [name for name in every if name not in names]
    if not left:
        return ""
    if len(left) == 1:
        return f" except for {left[0]}"
    return f" for {', '.join(names)}"


def of_scale(scale: scales.Scale, steps: int | None) -> str:
    """Describes how a scale differs from the paper: network, data, and steps per epoch."""
    paper = scales.SCALES[scales.PAPER]
    words = [
        f"{what} {here} ({there} in the paper)"
        for what, here, there in (
            ("network:", scale.network, paper.network),
            ("data:", scale.data, paper.data),
        )
        if here != there
    ]
    if steps and steps != scales.PAPER_STEPS:
        words.append(f"an epoch has {steps} steps ({scales.PAPER_STEPS} in the paper)")
    return "; ".join(words)

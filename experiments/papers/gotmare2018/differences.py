"""In which settings a scale's runs differ from the paper's, found by comparing their flagfiles."""

from collections.abc import Iterable, Sequence

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
"""Flags that are compared, and what they are called."""
MODES = tuple(scales.MODES)
CURVES = tuple(f"G{name}" for name in MODES[1:])
SECTION_3, THETA = MODES + CURVES, ("sgdr", "sgdr_70_150")
RUNS = {
    **dict.fromkeys((1, 2, 9), SECTION_3),
    **dict.fromkeys((5, 6, 8), THETA),
    **dict.fromkeys((3, 7), ("sgdr",)),
    4: ("step",),
}
"""The runs on which a claim rests."""
CONFIGS = {"mode": ModeConfig, "curve": CurveConfig}


def of_claim(number: int, jobs: Iterable[scales.Job]) -> str:
    """What differs from the paper in the runs of a claim, in words; the paper's in parentheses.

    Nothing where none of its runs is among the jobs.
    """
    chosen = [job for job in jobs if job.name in RUNS[number]]
    words = []
    for kind, config in CONFIGS.items():
        same_kind = [job for job in chosen if job.kind == kind]
        papers = {job.name: _paper(config, job.name) for job in same_kind}
        for flag, title in SETTINGS.items():
            if hasattr(config(), flag):
                pairs = {
                    job.name: (getattr(job.config, flag), getattr(papers[job.name], flag))
                    for job in same_kind
                }
                words += _groups(f"curve {title}" if kind == "curve" else title, pairs)
    return "; ".join(words) or ("as in the paper" if chosen else "")


def _paper(config, name):
    return parse_flagfile(
        config, PACKAGE_ROOT / "experiments" / "flags" / scales.PAPER / f"{name}.cfg"
    )


def _groups(title, pairs) -> list[str]:
    """A setting's differences; runs that share one are named together."""
    groups: dict[tuple, list[str]] = {}
    for name, (here, there) in pairs.items():
        if here != there:
            groups.setdefault((here, there), []).append(name)
    return [
        f"{title} {here} ({there}){_named(names, list(pairs))}"
        for (here, there), names in groups.items()
    ]


def _named(names: Sequence[str], every: Sequence[str]) -> str:
    left = [name for name in every if name not in names]
    if not left:
        return ""
    if len(left) == 1:
        return f" but for {left[0]}"
    return f" for {', '.join(names)}"


def of_scale(scale: scales.Scale, steps: int | None) -> str:
    """Network, data and length of an epoch beside the paper's."""
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

"""The command line, shared by all commands: flags, errors, signals, progress, processes."""

from . import configs, launch, processes
from .command import PRECISIONS, cores, main
from .configs import (
    AlignConfig,
    BenchmarkConfig,
    CurveConfig,
    CurvesConfig,
    ExportConfig,
    ImportConfig,
    ImportParamsConfig,
    InstabilityConfig,
    InterpolateConfig,
    Machine,
    ModeConfig,
    Network,
    PruneConfig,
    ReproduceConfig,
    SharpnessConfig,
    SurfaceConfig,
    Training,
    ViewConfig,
)
from .errors import Interrupted, RunFailed, UsageError
from .flag_parsers import local_text, split
from .flagfiles import PACKAGE_ROOT
from .flags import (
    LAUNCH,
    find_flagfile,
    flag,
    identity,
    parse_flagfile,
    recorded,
    to_argv,
    to_flags,
)
from .progress import Progress, say, show
from .signals import collect_signals

__all__ = [
    "LAUNCH",
    "PACKAGE_ROOT",
    "PRECISIONS",
    "AlignConfig",
    "BenchmarkConfig",
    "CurveConfig",
    "CurvesConfig",
    "ExportConfig",
    "ImportConfig",
    "ImportParamsConfig",
    "InstabilityConfig",
    "InterpolateConfig",
    "Interrupted",
    "Machine",
    "ModeConfig",
    "Network",
    "Progress",
    "PruneConfig",
    "ReproduceConfig",
    "RunFailed",
    "SharpnessConfig",
    "SurfaceConfig",
    "Training",
    "UsageError",
    "ViewConfig",
    "collect_signals",
    "configs",
    "cores",
    "find_flagfile",
    "flag",
    "identity",
    "launch",
    "local_text",
    "main",
    "parse_flagfile",
    "processes",
    "recorded",
    "say",
    "show",
    "split",
    "to_argv",
    "to_flags",
]

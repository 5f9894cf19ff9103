"""The flags of every command, a frozen dataclass each."""

from .landscapes import (
    AlignConfig,
    InstabilityConfig,
    InterpolateConfig,
    LayersConfig,
    SharpnessConfig,
    SoupConfig,
    SurfaceConfig,
)
from .shared import DEVICES, Combining, Drawing, Launched, Machine, Measuring
from .tools import BenchmarkConfig, ExportConfig, PruneConfig, ReproduceConfig, ViewConfig
from .training import (
    CurveConfig,
    CurvesConfig,
    Fitting,
    ImportConfig,
    ImportParamsConfig,
    ModeConfig,
    Network,
    Training,
)

__all__ = [
    "DEVICES",
    "AlignConfig",
    "BenchmarkConfig",
    "Combining",
    "CurveConfig",
    "CurvesConfig",
    "Drawing",
    "ExportConfig",
    "Fitting",
    "ImportConfig",
    "ImportParamsConfig",
    "InstabilityConfig",
    "InterpolateConfig",
    "Launched",
    "LayersConfig",
    "Machine",
    "Measuring",
    "ModeConfig",
    "Network",
    "PruneConfig",
    "ReproduceConfig",
    "SharpnessConfig",
    "SoupConfig",
    "SurfaceConfig",
    "Training",
    "ViewConfig",
]

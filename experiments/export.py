"""Exports a finished curve or surface, or a network, to another program's format.

    python -m experiments.export --run=runs/GB --format=garipov --output=curve.npz
    python -m experiments.export --run=runs/plane --format=vtp --log --output=plane.vtp

garipov: ``curve.npz`` or ``plane.npz`` with the keys of timgaripov/dnn-mode-connectivity; h5: a
surface file of tomgoldstein/loss-landscape (needs h5py); vtp: a surface for ParaView. See
experiments/exchange/plot_formats.py for what each converts and leaves out.

    python -m experiments.export --run=runs/G@60 --format=safetensors --output=G.safetensors

pt and safetensors: the weights of a checkpoint RUN[@EPOCH][~T] for PyTorch, with Garipov's or
torchvision's names.
"""

import functools
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mcjax import plots
from mcjax.exchange import torch_files
from mcjax.results import Surface

from .cli import ExportConfig, UsageError, main, say, show
from .exchange import export_torch, plot_formats
from .landscapes import notes
from .runs import Run, along_curve, check_output, finished, parse_name, provenance, write_atomically


def run(config: ExportConfig) -> Path:
    """Writes the file.

    Raises:
      UsageError: a flag is wrong, the run is not finished or does not suit the format, or the file
        cannot be written.
    """
    if not config.output:
        raise UsageError("--output is missing: the file to write")
    if not config.format:
        raise UsageError(f"--format is missing: one of {', '.join(FORMATS)}")
    output = Path(config.output)
    content = FORMATS[config.format](config)
    check_output(output)
    write_atomically(output, content)
    show(f"written: {output}")
    return output


def _garipov(config: ExportConfig) -> bytes:
    found = finished(config.run, ("curve", "surface"))
    kind = found.info["kind"]
    training = found.info["flags" if kind == "curve" else "mode"]
    penalty = 0.0 if training["optimizer"] == "adamw" else training["weight_decay"]
    if kind == "surface" and _imported(found.info):
        penalty = np.nan
        say("note: tr_loss and te_loss are NaN: the weight decay of imported networks is unknown")
    convert = plot_formats.garipov_curve if kind == "curve" else plot_formats.garipov_plane
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **convert(found.result, penalty))
    return buffer.getvalue()


def _imported(info: Mapping[str, Any]) -> bool:
    """Whether one of a surface's points was trained elsewhere."""
    return any("imported" in Run(parse_name(p).run).info for p in info["flags"].get("points", ()))


def _h5(config: ExportConfig) -> bytes:
    found = finished(config.run, ("surface",))
    try:
        import h5py
    except ImportError:
        raise UsageError("--format=h5 needs h5py: pip install h5py") from None
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["provenance"] = provenance(found.info)
        for name, values in plot_formats.goldstein(found.result).items():
            file[name] = values
    return buffer.getvalue()


def _vtp(config: ExportConfig) -> bytes:
    found = finished(config.run, ("surface",))
    surface: Surface = found.result
    names = plots.metric_names(surface.points.metrics)
    if config.metric not in names:
        raise UsageError(f"--metric={config.metric}: {config.run} has {', '.join(names)}")
    if config.clip is not None and not 0 < config.clip < np.inf:
        raise UsageError(f"--clip={config.clip}: use more than 0")
    note = f"{provenance(found.info)}; {config.run}"
    along = None
    if surface.curve is not None:
        along, _ = along_curve(found.info, surface, surface.curve, names)
    top, over, infinite = plot_formats.clipped(surface, config.metric, config.clip)
    if over or infinite:
        say(
            f"note: {over + infinite} of {surface.x.size * surface.y.size} heights are clipped to "
            f"{top:.4g} ({infinite} of them are not finite); --clip sets it; the array "
            f"{config.metric} is not clipped{notes.see('clipped')}"
        )
    text = plot_formats.vtp(surface, config.metric, config.log, config.clip, note, along)
    return text.encode()


def _weights(file_format: str, config: ExportConfig) -> bytes:
    if not config.run:
        raise UsageError("--run is missing: a checkpoint RUN[@EPOCH][~T]")
    found = export_torch.export_torch(
        config.run, file_format, config.data_dir, config.name_map, config.precision
    )
    mean, std = (", ".join(f"{x:.4g}" for x in values) for values in (found.mean, found.std))
    pixels = "pixels / 255" if found.full_range == 255 else "pixels"
    say(f"normalize its images by ({pixels} - mean) / std, mean {mean}, std {std}")
    if found.skipped_by_garipov:
        say(
            "note: VGG16BN and VGG19BN in Garipov's code skip layers (its issue 2): they load "
            "these weights but compute something else"
        )
    return found.content


class Format(Protocol):
    """Converts what --run names."""

    def __call__(self, config: ExportConfig, /) -> bytes:
        """Returns the file's bytes; raises UsageError if the run does not suit the format."""
        ...


FORMATS: dict[str, Format] = {
    "garipov": _garipov,
    "h5": _h5,
    "vtp": _vtp,
    **{name: functools.partial(_weights, name) for name in torch_files.FORMATS},
}
"""The formats of --format."""


if __name__ == "__main__":
    main(ExportConfig, run, __doc__)

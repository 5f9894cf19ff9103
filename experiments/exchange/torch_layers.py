"""The names of a network's layers in PyTorch."""

from mcjax.exchange import torch_names

from ..training import Problem


def layers_of(problem: Problem, name_map: str | None) -> tuple[torch_names.Layer, ...]:
    """Maps layers to their PyTorch names: Garipov's or torchvision's, or those of a file.

    Args:
      problem: the network's problem.
      name_map: a file with lines ``THEIRS = OURS``; None for the known names alone.

    Raises:
      ValueError: the network has no known names, or the file is wrong.
    """
    try:
        known = torch_names.layers_of(problem.model)
    except ValueError as error:
        if not name_map:
            raise ValueError(f"{error}, --name_map=FILE with lines THEIRS = OURS") from None
        known = ()
    return torch_names.read_map(name_map, known) if name_map else known

"""Which layer of a network has which name in PyTorch."""

from mcjax.exchange import torch_names

from ..training import Problem


def layers_of(problem: Problem, name_map: str | None) -> tuple[torch_names.Layer, ...]:
    """Which layer is which: Garipov's or torchvision's names, or those of a file.

    Raises:
      ValueError: the network has no names there, or the file is wrong.
    """
    try:
        known = torch_names.layers_of(problem.model)
    except ValueError as error:
        if not name_map:
            raise ValueError(f"{error}, --name_map=FILE with lines THEIRS = OURS") from None
        known = ()
    return torch_names.read_map(name_map, known) if name_map else known

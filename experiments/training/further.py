"""``--also_evaluate``: further data on which networks are measured."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

from mcjax import data, results
from mcjax.data import further

from ..cli import ModeConfig, UsageError, configs

C = TypeVar("C", bound=configs.Measuring)


def pin(config: C) -> C:
    """Checks --also_evaluate without reading images, and completes paths with checksums.

    Raises:
      UsageError: a text is wrong, a file is missing, or two names are the same.
    """
    found = [_pinned(text, config.data_dir) for text in config.also_evaluate]
    for name, times in Counter(name for name, _ in found).items():
        if times > 1:
            raise UsageError(f"--also_evaluate: {name} is there twice; write OTHER_NAME=...")
    return dataclasses.replace(config, also_evaluate=tuple(text for _, text in found))


def _pinned(text: str, data_dir: str | None) -> tuple[str, str]:
    """The name and the completed text."""
    try:
        name = further.parse(text).name
        if name in further.SPLITS:
            raise ValueError(f"{name} is a split: add it to --splits, or write NAME={text}")
        results.check_splits([name])
        return name, further.pinned(text, data_dir)
    except ValueError as error:
        raise UsageError(f"--also_evaluate={text}: {error}") from None


def read(texts: Sequence[str], dataset: data.Dataset, mode: ModeConfig) -> dict[str, data.Split]:
    """Reads further data, by name.

    Args:
      texts: of --also_evaluate, completed by `pin`.
      dataset: the problem's data, which they must match.
      mode: the problem's flags.

    Raises:
      UsageError: images or classes do not match, or the data cannot be read.
    """
    found: dict[str, data.Split] = {}
    for text in texts:
        one = further.parse(text)
        try:
            found[one.name] = further.read(
                one, dataset, data_dir=mode.data_dir, downsample=mode.downsample, pad_to=mode.pad_to
            )
        except ValueError as error:
            raise UsageError(f"--also_evaluate={text}: {error}") from None
    return found

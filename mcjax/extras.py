"""Optional dependencies: which extra of mcjax installs a missing package.

>>> missing(["json", "no_such_package"])
['no_such_package']
"""

import contextlib
import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path

EXTRAS = {
    "flax": "flax",
    "orbax": "checkpoints",
    "tensorflow_datasets": "data",
    "importlib_resources": "data",
    "array_record": "data",
    "sklearn": "data",
    "PIL": "data",
    "matplotlib": "plots",
    "s3fs": "buckets",
    "gcsfs": "buckets",
    "torch": "torch",
    "safetensors": "safetensors",
    "submitit": "slurm",
}
"""The extra that installs each package, by the package's import name."""


class MissingExtraError(ImportError):
    """An extra of mcjax is not installed; the message is one line with the install command."""


@contextlib.contextmanager
def needed_by(user: str) -> Iterator[None]:
    """Names the extra to install if an import in this context fails.

    Args:
      user: the module or feature that needs the package, such as ``__name__``.

    Raises:
      MissingExtraError: a package of `EXTRAS` is not installed.

    >>> with needed_by("mcjax.plots"):
    ...     raise ModuleNotFoundError(name="matplotlib.axes")
    Traceback (most recent call last):
    mcjax.extras.MissingExtraError: mcjax.plots needs matplotlib: pip install 'mcjax[plots]'
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        words = message(user, [package], EXTRAS[package])
        raise MissingExtraError(words, name=error.name) from None


def missing(packages: Iterable[str]) -> list[str]:
    """Returns the packages that are not installed, without importing any.

    >>> missing(["json", "no_such_package"])
    ['no_such_package']
    """
    return [name for name in packages if importlib.util.find_spec(name) is None]


def require(user: str, package: str) -> None:
    """Checks that a package of `EXTRAS` is installed, for a module that imports it later.

    Raises:
      MissingExtraError: it is not.

    >>> require("mcjax.plots", "matplotlib")
    """
    if missing([package]):
        raise MissingExtraError(message(user, [package], EXTRAS[package]), name=package)


def folder(package: str) -> Path:
    """Returns the folder of an installed package, without importing it.

    Raises:
      ModuleNotFoundError: it is not installed.

    >>> folder("json").name
    'json'
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    return Path(spec.origin).parent


def message(user: str, packages: Iterable[str], extra: str) -> str:
    """Returns the line that says what to install.

    >>> message("mcjax.plots", ["matplotlib"], "plots")
    "mcjax.plots needs matplotlib: pip install 'mcjax[plots]'"
    """
    return f"{user} needs {', '.join(packages)}: pip install 'mcjax[{extra}]'"

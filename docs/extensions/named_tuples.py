"""Leaves out NamedTuples' own descriptions of their fields: docstrings describe them."""

from collections import namedtuple
from typing import Any

from sphinx.application import Sphinx

FIELD = type(namedtuple("_Sample", ["field"]).field)


def skip(app: Sphinx, what: str, name: str, member: Any, skipped: bool, options: Any) -> bool:
    """Says whether autodoc leaves a member out."""
    return skipped or isinstance(member, FIELD)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connects `skip`."""
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True}

"""Signatures without what no reader passes: Flax's own fields, and a protocol's constructor."""

import inspect
from typing import Any

from sphinx.application import Sphinx

FLAX = ", parent: "
"""Flax appends this field and the next one to every module."""


def shorten(
    app: Sphinx, what: str, name: str, member: Any, options: Any, signature: str | None, rest: str
) -> tuple[str | None, str] | None:
    """The signature to show, or None for the usual one."""
    if not inspect.isclass(member) or signature is None:
        return None
    if getattr(member, "_is_protocol", False):
        return "", rest
    fields, found, _ = signature.partition(FLAX)
    return (f"{fields})", rest) if found else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Connects `shorten`."""
    app.connect("autodoc-process-signature", shorten)
    return {"parallel_read_safe": True}

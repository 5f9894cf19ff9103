"""Signatures as readers write them, and without what no reader passes."""

import inspect
from typing import Any

from sphinx.application import Sphinx

FLAX = ", parent: "
"""Flax appends this field and the next one to every module."""
ARRAY = "jaxlib._jax.Array"


def shorten(
    app: Sphinx, what: str, name: str, member: Any, options: Any, signature: str | None, rest: str
) -> tuple[str, str] | None:
    """The signature to show, and what it returns; a protocol's constructor has none."""
    if signature is None:
        return None
    if inspect.isclass(member):
        if getattr(member, "_is_protocol", False):
            return "", rest
        fields, found, _ = signature.partition(FLAX)
        signature = f"{fields})" if found else signature
    return signature.replace(ARRAY, "Array"), rest and rest.replace(ARRAY, "Array")


def setup(app: Sphinx) -> dict[str, bool]:
    """Connects `shorten`."""
    app.connect("autodoc-process-signature", shorten)
    return {"parallel_read_safe": True}

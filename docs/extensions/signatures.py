"""Signatures as readers write them, and without what no reader passes."""

import inspect
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.inspect import signature as signature_of
from sphinx.util.inspect import stringify_signature

FLAX = ", parent: "
"""Flax appends this field and the next one to every module."""
NAMES = {
    "jaxlib._jax.Array": "Array",
    "~jax.Array | ~numpy.ndarray | ~numpy.bool | ~numpy.number | bool | int | float | complex": (
        "ArrayLike"
    ),
    "ArrayLike | ~typing.Iterable[ArrayTree] | ~typing.Mapping[~typing.Any, ArrayTree]": "OptState",
    "~collections.abc.Callable[[ArrayLike], ArrayLike]": "Schedule",
}
"""What readers write for a type, in the order in which to replace."""


def shorten(
    app: Sphinx, what: str, name: str, member: Any, options: Any, signature: str | None, rest: str
) -> tuple[str, str] | None:
    """The signature to show, and what it returns; a protocol has that of its calls."""
    if signature is None:
        return None
    if inspect.isclass(member):
        if getattr(member, "_is_protocol", False):
            call = signature_of(member.__call__, bound_method=True)
            signature, _, rest = stringify_signature(call, unqualified_typehints=True).partition(
                " -> "
            )
        fields, found, _ = signature.partition(FLAX)
        signature = f"{fields})" if found else signature
    for long, short in NAMES.items():
        signature, rest = signature.replace(long, short), rest and rest.replace(long, short)
    return signature, rest


def setup(app: Sphinx) -> dict[str, bool]:
    """Connects `shorten`."""
    app.connect("autodoc-process-signature", shorten)
    return {"parallel_read_safe": True}

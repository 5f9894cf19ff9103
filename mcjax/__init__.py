"""mcjax: mode connectivity and loss-landscape analysis in JAX.

Everything here is made of three small things (see README.md):

* *coordinates to coefficients*: pure functions ``t -> c`` (``mcjax.curves``) or ``(x, y) -> c``
  (``mcjax.planes``);
* *combine*: ``(control points, c) -> params``, the only place where parameter pytrees are mixed;
* *objective*: ``(params, state, batch, key) -> loss and sums``, supplied by the caller.

The functions of `mcjax.api` are attributes of this package, loaded on first use:
``import mcjax.curves`` loads jax and no other package.

>>> import mcjax
>>> mcjax.fit_curve is mcjax.api.fit_curve
True
"""

import importlib
from typing import TYPE_CHECKING, Any

__all__ = ["fit_curve", "interpolate", "profile", "sharpness", "soup", "surface"]
__version__ = "0.1.0"

if TYPE_CHECKING:
    from mcjax.api import fit_curve, interpolate, profile, sharpness, soup, surface
else:  # hidden from type checkers: with it, any name would pass for an attribute

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module("mcjax.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

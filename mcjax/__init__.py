"""mcjax: mode connectivity and loss-landscape analysis in JAX.

Everything here is made of three small things (see README.md):

* *coordinates to coefficients*: pure functions ``t -> c`` (``mcjax.curves``) or ``(x, y) -> c``
  (``mcjax.planes``);
* *combine*: ``(control points, c) -> params``, the only place where parameter pytrees are mixed;
* *objective*: ``(params, state, batch, key) -> loss and sums``, supplied by the caller.

This file imports nothing: ``import mcjax.curves`` loads jax and no other package.
"""

__version__ = "0.1.0"

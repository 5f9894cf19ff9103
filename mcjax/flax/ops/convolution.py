"""Convolutions and pooling that suit the backend.

XLA:CPU converts convolutions to the layout of its fast kernels only in the entry computation.
Inside ``lax.scan``, ``while_loop`` and ``map``, the two convolutions that autodiff derives become
naive loops, thirty times slower (measured by this project: two layers of 32x32x32, batch 20, 937 ms
per step in a scan, 30 ms outside), and so does any 3x3 convolution of a 2x2 image. Matrix products
stay fast. So on CPU, a convolution is computed as matrix products, in one of two forms:

* `direct`: one shifted copy of the image per kernel element, and one product;
* `winograd`, for stride one and SAME padding: F(2x2,3x3) of Lavin & Gray (2016), "Fast Algorithms
  for Convolutional Neural Networks", section 4.1. Each 2x2 tile of the output is
  ``A^T [(G g G^T) * (B^T d B)] A`` with ``g`` the 3x3 kernel and ``d`` the 4x4 tile of the input
  around it. Summed over input channels, the elementwise product is sixteen matrix products, with
  16/36 of the multiplications of `direct`. The float32 error is about 1e-6 of the largest output.

Both are plain JAX, so gradients, ``vmap`` over kernels (products become batched) and ``shard_map``
work as usual. Without differentiation, the convolution of ``lax`` is a third form.

GPUs have no matrix units for full float32, and cuDNN's kernels run at half the rate of a matrix
product (VGG16, H200): there, `winograd` with its products in one batch is faster from 64 channels
on. In TF32 and bfloat16, and on TPU, ``lax`` is used. `conv_general_dilated` chooses.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero

from mcjax import curves
from mcjax.flax.ops.convolution_table import FORWARD, STEP
from mcjax.typing import Array, Float

AnyArray = jax.Array | np.ndarray
"""Networks accept numpy arrays, too."""
Pads = Sequence[tuple[int, int]]
"""Padding before and after each dimension."""

_NHWC = lax.conv_dimension_numbers((1, 1, 1, 1), (1, 1, 1, 1), ("NHWC", "HWIO", "NHWC"))


def conv_general_dilated(
    lhs: AnyArray,
    rhs: AnyArray,
    window_strides: Sequence[int],
    padding: str | Pads,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    out_sharding: Any = None,
) -> Array:
    """``lax.conv_general_dilated``, in a faster form if there is one.

    For ``flax.linen.Conv(..., conv_general_dilated=convolution.conv_general_dilated)``. The special
    forms are for NHWC images without dilation and groups; other convolutions use ``lax``. On CPU,
    many networks are faster in ``lax.map`` than in ``vmap``, which turns the form of ``lax`` into a
    grouped convolution.

    >>> import flax.linen as nn
    >>> layer = nn.Conv(8, (3, 3), conv_general_dilated=conv_general_dilated)
    >>> images = jax.ShapeDtypeStruct((5, 4, 4, 1), np.float32)
    >>> jax.eval_shape(layer.init_with_output, jax.random.key(0), images)[0].shape
    (5, 4, 4, 8)
    """
    lhs, rhs = jnp.asarray(lhs), jnp.asarray(rhs)
    precision = tuple(precision) if isinstance(precision, list) else precision
    plain = (
        lhs.ndim == 4
        and lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers) == _NHWC
        and feature_group_count == batch_group_count == 1
        and 0 not in lhs.shape + rhs.shape
        and lhs.shape[3] == rhs.shape[2]
        and all(set(s or (1,)) == {1} for s in (lhs_dilation, rhs_dilation))
        and lhs.dtype == rhs.dtype
        and jnp.issubdtype(lhs.dtype, jnp.floating)
        and preferred_element_type is None
        and out_sharding is None
    )
    if plain:
        on_cpu = jax.default_backend() == "cpu"
        pads = _pads(padding, lhs.shape[1:3], rhs.shape[:2], window_strides)
        if set(window_strides) == {1} and pads == _same(rhs.shape[:2]):
            if on_cpu:
                return _traced_once(lhs, rhs, precision)
            if _suits_gpu(lhs, rhs, precision):
                return winograd(lhs, rhs, precision=precision, batched=True)
        if on_cpu and _overlaps(lhs.shape[1:3], rhs.shape[:2], pads):
            return direct(lhs, rhs, window_strides, pads, precision=precision)
    return lax.conv_general_dilated(
        lhs,
        rhs,
        window_strides,
        padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
        batch_group_count=batch_group_count,
        precision=precision,
        preferred_element_type=preferred_element_type,
        out_sharding=out_sharding,
    )


def _suits_gpu(x: Array, kernel: Array, precision: lax.PrecisionLike) -> bool:
    """Whether `winograd` is faster than cuDNN: 3x3, wide, on a GPU, in full float32."""
    full = {"float32", "highest", lax.Precision.HIGHEST}
    # The attributes of jax.config are dynamic.
    asked = precision or jax.config.jax_default_matmul_precision  # pyrefly: ignore
    return (
        jax.default_backend() == "gpu"
        and x.dtype == jnp.float32
        and kernel.shape[:2] == (3, 3)
        and min(x.shape[1:3]) > 1
        and min(kernel.shape[2:]) >= GPU_CHANNELS
        and full.issuperset(asked if isinstance(asked, tuple) else (asked,))
    )


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _same_convolution(x: Array, kernel: Array, precision: lax.PrecisionLike) -> Array:
    """Stride one, SAME padding: one form for the value alone, another with gradients."""
    narrow = x.dtype.itemsize < 4  # lax would not sum it in float32
    return choose(x.shape, kernel.shape, narrow)(x, kernel, precision=precision)


@functools.partial(_same_convolution.defjvp, symbolic_zeros=True)
def _same_convolution_jvp(
    precision: lax.PrecisionLike, primals: tuple[Any, Any], tangents: tuple[Any, Any]
) -> tuple[Array, Array]:
    x, kernel = primals
    form = functools.partial(choose(x.shape, kernel.shape, True), precision=precision)
    moved = [not isinstance(t, SymbolicZero) for t in tangents]

    def of_moved(*values: Any) -> Array:
        left = iter(values)
        return form(*(next(left) if m else p for m, p in zip(moved, primals, strict=True)))

    only = lambda values: [v for m, v in zip(moved, values, strict=True) if m]  # noqa: E731
    return jax.jvp(of_moved, only(primals), only(tangents))


_traced_once = jax.jit(_same_convolution, static_argnums=2)
"""Traced and differentiated once for every shape, whatever networks and programs use it."""


def choose(
    images: Sequence[int], kernel: Sequence[int], differentiated: bool = False
) -> Callable[..., Array]:
    """Chooses the form on CPU by the shapes of images ``[B, H, W, C]`` and kernel ``[h, w, C, O]``.

    For stride one and SAME padding; otherwise there is only `direct`, as for kernels other than
    3x3. For 3x3 kernels, this is the form that was fastest at the nearest shape in
    `convolution_table` (in factors of size and channels), forward or, if ``differentiated``,
    forward and backward. ``python -m experiments.convolution_table --write`` measures the table.

    >>> choose((100, 32, 32, 3), (3, 3, 3, 64), differentiated=True).__name__
    'direct'
    >>> choose((100, 8, 8, 256), (3, 3, 256, 256), differentiated=True).__name__
    'winograd'
    """
    if tuple(kernel[:2]) != (3, 3):
        return direct
    shape = (math.sqrt(images[1] * images[2]), *kernel[2:])

    def distance(measured: tuple[int, int, int]) -> float:
        return sum(math.log(a / b) ** 2 for a, b in zip(shape, measured, strict=True))

    times = (STEP if differentiated else FORWARD)[min(FORWARD, key=distance)]
    return FORMS[min(times, key=lambda name: times[name] * IN_NETWORKS.get(name, 1))]


def direct(
    x: Float[AnyArray, "b h w c"],
    kernel: Float[AnyArray, "kernel_h kernel_w c o"],
    strides: Sequence[int] = (1, 1),
    padding: Pads | None = None,
    *,
    precision: lax.PrecisionLike = None,
) -> Float[Array, "b h_out w_out o"]:
    """Convolution as concatenated shifted slices and one matrix product.

    Args:
      x: images.
      kernel: a kernel of any size.
      strides: strides of rows and columns.
      padding: pixels before and after rows and columns, fewer than the kernel's; None for SAME at
        stride one.
      precision: precision of the product, as in ``lax.dot``.

    Returns:
      An array with the dtype of ``x`` and ``h_out = (h + padding - kernel_h) // stride + 1``.
      16-bit types are summed in float32.

    >>> image, kernel = np.arange(9.0, dtype=np.float32), np.ones((3, 3, 1, 1), np.float32)
    >>> jax.jit(direct)(image.reshape(1, 3, 3, 1), kernel).reshape(3, 3)
    Array([[ 8., 15., 12.],
           [21., 36., 27.],
           [20., 33., 24.]], dtype=float32)
    """
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    tops, lefts = padding or _same(kernel.shape[:2])
    down, rows, vertical = _reach(x.shape[1], kernel.shape[0], strides[0], tops)
    across, columns, horizontal = _reach(x.shape[2], kernel.shape[1], strides[1], lefts)
    kernel = kernel[rows, columns]  # the rest meets only zeros
    padded = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), vertical, horizontal, (0, 0, 0)))
    phases = _phases(padded, *strides)
    slices = []
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            (top, p), (left, q) = divmod(i, strides[0]), divmod(j, strides[1])
            slices.append(phases[p][q][:, top : top + down, left : left + across])
    patches = jnp.concatenate(slices, axis=-1)
    return _product(patches, kernel.reshape(-1, kernel.shape[-1]), precision).astype(x.dtype)


def winograd(
    x: Float[AnyArray, "b h w c"],
    kernel: Float[AnyArray, "3 3 c o"],
    *,
    precision: lax.PrecisionLike = None,
    batched: bool = False,
) -> Float[Array, "b h w o"]:
    """3x3 convolution with SAME padding by Winograd's F(2x2,3x3); see the module's docstring.

    The result has the dtype of ``x``; 16-bit types are computed in float32. ``precision`` is that
    of the products, as in ``lax.dot``: one batched product if ``batched``, otherwise sixteen.

    Args:
      x: images.
      kernel: 3x3.
      precision: of the products.
      batched: whether to compute one batched product.

    >>> image, kernel = np.arange(9.0, dtype=np.float32), np.ones((3, 3, 1, 1), np.float32)
    >>> jax.jit(winograd)(image.reshape(1, 3, 3, 1), kernel).reshape(3, 3).round(3)
    Array([[ 8.      , 15.000001, 12.000001],
           [21.000002, 36.      , 27.000002],
           [20.      , 33.      , 24.000002]], dtype=float32)
    """
    _, height, width, _ = x.shape
    down, across = -(-height // 2), -(-width // 2)
    wide = curves.wide(x)
    padding = ((0, 0), (1, 2 * down + 1 - height), (1, 2 * across + 1 - width), (0, 0))
    padded = jnp.pad(wide, padding)
    # All rows first, then columns, so that gradients are sums over whole rows, too.
    rows = _input_transform(*_elements(padded, axis=1))
    tiles = [d for row in rows for d in _input_transform(*_elements(row, axis=2))]
    kernel_rows = _kernel_transform(*kernel.astype(wide.dtype))
    kernels = [g for row in kernel_rows for g in _kernel_transform(*row)]
    if batched:
        products = _batched_products(tiles, kernels, precision)
    else:
        pairs = zip(tiles, kernels, strict=True)
        products = [_product(d, g, precision) for d, g in pairs]
    outputs = [_output_transform(*products[i : i + 4]) for i in range(0, 16, 4)]
    columns = [_output_transform(*column) for column in zip(*outputs, strict=True)]
    parts = list(zip(*columns, strict=True))
    return _interleaved(parts)[:, :height, :width].astype(x.dtype)


def _lax(x: Array, kernel: Array, *, precision: lax.PrecisionLike = None) -> Array:
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=_NHWC, precision=precision
    )


def max_pool_2x2(x: Float[AnyArray, "b h w c"]) -> Float[Array, "b h_out w_out c"]:
    """Maximum over 2x2 windows with stride two.

    An odd last row or column is dropped, and a dimension of size one stays. This is the maximum of
    the four parities, whose gradient is much faster on CPU than that of ``nn.max_pool``. Ties share
    the gradient.

    >>> image = np.arange(16.0, dtype=np.float32).reshape(1, 4, 4, 1)
    >>> jax.jit(max_pool_2x2)(image).reshape(2, 2)
    Array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    """
    x = x[:, : _even(x.shape[1]), : _even(x.shape[2])]
    phases = _phases(x, min(2, x.shape[1]), min(2, x.shape[2]))
    return functools.reduce(jnp.maximum, [part for row in phases for part in row])


def max_pool_3x3(x: Float[AnyArray, "b h w c"]) -> Float[Array, "b h_out w_out c"]:
    """Maximum over 3x3 windows with stride two, after padding by one pixel on all sides.

    Height and width are halved and rounded up. Implemented like `max_pool_2x2`.

    >>> image = np.arange(16.0, dtype=np.float32).reshape(1, 4, 4, 1)
    >>> jax.jit(max_pool_3x3)(image).reshape(2, 2)
    Array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    """
    x = jnp.asarray(x)
    for axis in (1, 2):
        size = x.shape[axis]
        pads = [(1, size % 2 + 1) if i == axis else (0, 0) for i in range(4)]
        first, second, third, _ = _elements(jnp.pad(x, pads, constant_values=-jnp.inf), axis)
        x = jnp.maximum(jnp.maximum(first, second), third)
    return x


def _pads(
    padding: str | Pads, sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Converts padding as lax accepts it to pairs."""
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(sizes, kernel, strides, padding)
    return tuple((before, after) for before, after in padding)


def _same(kernel: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """SAME padding at stride one."""
    return tuple(((k - 1) // 2, k // 2) for k in kernel)


def _overlaps(sizes: Sequence[int], kernel: Sequence[int], pads: Pads) -> bool:
    """Whether the kernel overlaps the image at every position, in each dimension."""
    return all(
        min(pair) >= 0 and max(pair) < k <= size + sum(pair)
        for size, k, pair in zip(sizes, kernel, pads, strict=True)
    )


def _reach(
    size: int, kernel: int, stride: int, pads: tuple[int, int]
) -> tuple[int, slice, tuple[int, int, int]]:
    """Outputs along a dimension, the kernel elements that meet the image, and their padding.

    The padding ``(before, after, 0)`` of ``lax.pad`` makes the size a multiple of the stride.
    """
    low, high = pads
    outputs = (size + low + high - kernel) // stride + 1
    first, last = max(0, low - (outputs - 1) * stride), min(kernel, low + size)
    whole = stride * (outputs - 1 + -(-(last - first) // stride))
    return outputs, slice(first, last), (low - first, whole - size - (low - first), 0)


def _product(x: Array, matrix: Array, precision: lax.PrecisionLike) -> Array:
    """Product over the last axis, reshaped to matrices: XLA would copy arrays with more axes."""
    y = jnp.dot(
        x.reshape(math.prod(x.shape[:-1]), x.shape[-1]),
        matrix,
        precision=precision,
        preferred_element_type=x.dtype if x.dtype.itemsize >= 4 else jnp.float32,
    )
    return y.reshape(*x.shape[:-1], matrix.shape[-1])


def _batched_products(
    tiles: Sequence[Array], kernels: Sequence[Array], precision: lax.PrecisionLike
) -> Array:
    d = jnp.stack(tiles)
    rows = d.reshape(len(tiles), -1, d.shape[-1])
    y = jnp.matmul(rows, jnp.stack(kernels), precision=precision)
    return y.reshape(*d.shape[:-1], y.shape[-1])


def _elements(x: Array, axis: int) -> tuple[Array, ...]:
    """The four elements of each of the n overlapping tiles of a dimension of size ``2 n + 2``."""
    even, odd = (jnp.squeeze(part, axis + 1) for part in _split(x, axis, 2))
    firsts = [lax.slice_in_dim(part, 0, -1, axis=axis) for part in (even, odd)]
    return *firsts, *(lax.slice_in_dim(part, 1, None, axis=axis) for part in (even, odd))


def _input_transform(d0: Array, d1: Array, d2: Array, d3: Array) -> tuple[Array, ...]:
    """``B^T d``."""
    return d0 - d2, d1 + d2, d2 - d1, d1 - d3


def _kernel_transform(g0: Array, g1: Array, g2: Array) -> tuple[Array, ...]:
    """``G g``."""
    return g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2


def _output_transform(m0: Array, m1: Array, m2: Array, m3: Array) -> tuple[Array, ...]:
    """``A^T m``."""
    return m0 + m1 + m2, m1 - m2 - m3


def _even(size: int) -> int:
    """Rounds a size down to an even number; one stays one."""
    return size - size % 2 if size > 1 else 1


def _phases(x: AnyArray, down: int, across: int) -> list[list[Array]]:
    """Returns ``[[x[:, p::down, q::across] for q in range(across)] for p in range(down)]``.

    Height and width must be multiples of the strides. Uses ``lax.split``, whose gradient is a
    concatenation; that of a strided slice is several times slower on CPU.
    """
    rows = _split(x, 1, down)
    return [[column[:, :, :, 0] for column in _split(row[:, :, 0], 2, across)] for row in rows]


def _split(x: AnyArray, axis: int, count: int) -> list[Array]:
    """Reshapes a dimension of size ``count n`` to ``n, count`` and splits along ``count``."""
    groups = x.reshape(*x.shape[:axis], x.shape[axis] // count, count, *x.shape[axis + 1 :])
    return list(lax.split(groups, [1] * count, axis + 1))


def _interleaved(parts: Sequence[Sequence[Array]]) -> Array:
    """Returns the image with the parities ``parts[p][q]``."""
    y = jnp.stack([jnp.stack(row, axis=3) for row in parts], axis=2)
    batch, down, _, across, _, channels = y.shape
    return y.reshape(batch, 2 * down, 2 * across, channels)


GPU_CHANNELS = 64
"""Smallest number of input and output channels for `winograd` on GPU; fewer were not measured."""

FORMS = {"direct": direct, "winograd": winograd, "lax": _lax}
"""Forms for `choose` by their names in the table; ``lax`` only without differentiation."""

IN_NETWORKS = {"lax": 1.2}
"""Slowdown of a form between other layers, relative to the table, which measures it alone.

At 16x16 pixels and 128 channels, the form of ``lax`` takes 21 ms in the table and `winograd` 22 ms,
but VGG16's forward pass takes 5 ms longer with the former.
"""

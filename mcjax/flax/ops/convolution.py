"""Convolutions and pooling that suit the backend.

XLA:CPU brings convolutions into the layout of its fast kernels in the entry computation only.
Inside ``lax.scan``, ``while_loop`` and ``map`` the two convolutions that autodiff derives become
naive loops, thirty times slower (measured by this project: two layers of 32x32x32, batch 20, 937 ms
a step in a scan, 30 ms outside), and so does any 3x3 convolution of a 2x2 image. Matrix products
have no such trap. So on CPU a convolution is written here as matrix products, in two forms:

* `direct`: one shifted copy of the image for each kernel element, and one product;
* `winograd`, at stride one with SAME padding: F(2x2,3x3) of Lavin & Gray (2016), "Fast Algorithms
  for Convolutional Neural Networks", section 4.1: each 2x2 tile of the output is
  ``A^T [(G g G^T) * (B^T d B)] A`` with ``g`` the 3x3 kernel and ``d`` the 4x4 tile of the input
  around it. Summed over input channels, the elementwise product is sixteen matrix products: 16/36
  of `direct`'s multiplications. Its float32 error is about 1e-6 of the largest output.

Both are plain jax, so gradients, ``vmap`` over kernels (products become batched) and ``shard_map``
need nothing special. Where nothing is differentiated ``lax``'s own convolution is a third form.

On GPU full float32 has no matrix units, and cuDNN's kernels run at half of the rate of a matrix
product (VGG16, H200): there `winograd` with its products in one batch is faster from 64 channels.
In TF32 and bfloat16, and on TPU, convolutions are ``lax``'s. `conv_general_dilated` chooses.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from mcjax import curves
from mcjax.flax.ops.convolution_table import FORWARD, STEP

_NHWC = lax.conv_dimension_numbers((1, 1, 1, 1), (1, 1, 1, 1), ("NHWC", "HWIO", "NHWC"))


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    out_sharding: Any = None,
) -> jax.Array:
    """``lax.conv_general_dilated``, the faster form where there is one.

    For ``flax.linen.Conv(..., conv_general_dilated=convolution.conv_general_dilated)``. The special
    forms are for NHWC images without dilation and groups; all other convolutions are lax's. On CPU
    many networks are faster in ``lax.map`` than in ``vmap``, which makes lax's form a grouped one.
    """
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
                return _same_convolution(lhs, rhs, precision)
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


def _suits_gpu(x, kernel, precision):
    """Whether `winograd` is faster than cuDNN: 3x3, wide, on a GPU, in full float32."""
    full = {"float32", "highest", lax.Precision.HIGHEST}
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
def _same_convolution(x, kernel, precision):
    """At stride one with SAME padding: one form for the value alone, another for gradients."""
    narrow = x.dtype.itemsize < 4  # lax's would not sum it in float32
    return choose(x.shape, kernel.shape, narrow)(x, kernel, precision=precision)


@functools.partial(_same_convolution.defjvp, symbolic_zeros=True)
def _same_convolution_jvp(precision, primals, tangents):
    x, kernel = primals
    form = functools.partial(choose(x.shape, kernel.shape, True), precision=precision)
    moved = [not isinstance(t, SymbolicZero) for t in tangents]

    def of_moved(*values):
        left = iter(values)
        return form(*(next(left) if m else p for m, p in zip(moved, primals, strict=True)))

    only = lambda values: [v for m, v in zip(moved, values, strict=True) if m]  # noqa: E731
    return jax.jvp(of_moved, only(primals), only(tangents))


def choose(
    images: Sequence[int], kernel: Sequence[int], differentiated: bool = False
) -> Callable[..., jax.Array]:
    """The form for images ``[B, H, W, C]`` and a kernel ``[h, w, C, O]`` on CPU, by their shapes.

    At stride one with SAME padding; elsewhere there is `direct` only. For 3x3 kernels it is the
    form that was faster at the nearest shape of `convolution_table` (in factors of size and
    channels), forward or, if ``differentiated``, forward and backward;
    ``python -m experiments.convolution_table --write`` measures it anew. Only `direct` takes other
    kernels.

    >>> choose((100, 32, 32, 3), (3, 3, 3, 64), differentiated=True).__name__
    'direct'
    >>> choose((100, 8, 8, 256), (3, 3, 256, 256), differentiated=True).__name__
    'winograd'
    """
    if tuple(kernel[:2]) != (3, 3):
        return direct
    shape = (math.sqrt(images[1] * images[2]), *kernel[2:])

    def distance(measured):
        return sum(math.log(a / b) ** 2 for a, b in zip(shape, measured, strict=True))

    times = (STEP if differentiated else FORWARD)[min(FORWARD, key=distance)]
    return FORMS[min(times, key=lambda name: times[name] * IN_NETWORKS.get(name, 1))]


def direct(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int] = (1, 1),
    padding: Sequence[tuple[int, int]] | None = None,
    *,
    precision: Any = None,
) -> jax.Array:
    """Convolution as shifted slices, concatenated, and one matrix product.

    Args:
      x: images ``[B, H, W, C]``.
      kernel: ``[h, w, C, O]`` of any size.
      strides: of rows and columns.
      padding: before and after rows and columns, less than the kernel; None for SAME at stride one.
      precision: the product's, as in ``lax.dot``.

    Returns:
      ``[B, H', W', O]`` in the dtype of ``x``, ``H' = (H + padding - h) // stride + 1``. 16-bit
      types are summed in float32.
    """
    tops, lefts = padding or _same(kernel.shape[:2])
    down, rows, vertical = _reach(x.shape[1], kernel.shape[0], strides[0], tops)
    across, columns, horizontal = _reach(x.shape[2], kernel.shape[1], strides[1], lefts)
    kernel = kernel[rows, columns]  # what lies beyond the image on both sides meets zeros only
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
    x: jax.Array, kernel: jax.Array, *, precision: Any = None, batched: bool = False
) -> jax.Array:
    """3x3 convolution with SAME padding by Winograd's F(2x2,3x3); see the module's docstring.

    From ``[B, H, W, C]`` of any size and ``[3, 3, C, O]`` to ``[B, H, W, O]`` in the dtype of
    ``x``; 16-bit types are computed in float32. ``precision`` is the products', as in ``lax.dot``;
    they are one batched product if ``batched``, else sixteen.
    """
    _, height, width, _ = x.shape
    down, across = -(-height // 2), -(-width // 2)
    wide = curves.wide(x)
    padding = ((0, 0), (1, 2 * down + 1 - height), (1, 2 * across + 1 - width), (0, 0))
    padded = jnp.pad(wide, padding)
    # All rows first, then columns: so the gradients, too, are sums over whole rows.
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


def _lax(x, kernel, *, precision=None):
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=_NHWC, precision=precision
    )


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """Maximum over 2x2 windows with stride two: ``[B, H, W, C]`` to ``[B, H // 2, W // 2, C]``.

    An odd last row or column is dropped, and a dimension of size one stays. Written as the maximum
    of the four parities, whose gradient is much faster on CPU than ``nn.max_pool``'s. Values that
    tie share the gradient.
    """
    x = x[:, : _even(x.shape[1]), : _even(x.shape[2])]
    phases = _phases(x, min(2, x.shape[1]), min(2, x.shape[2]))
    return functools.reduce(jnp.maximum, [part for row in phases for part in row])


def max_pool_3x3(x: jax.Array) -> jax.Array:
    """Maximum over 3x3 windows with stride two, the image padded by one pixel on all sides.

    From ``[B, H, W, C]`` to ``[B, ceil(H / 2), ceil(W / 2), C]``; written as `max_pool_2x2` is.
    """
    for axis in (1, 2):
        size = x.shape[axis]
        pads = [(1, size % 2 + 1) if i == axis else (0, 0) for i in range(4)]
        first, second, third, _ = _elements(jnp.pad(x, pads, constant_values=-jnp.inf), axis)
        x = jnp.maximum(jnp.maximum(first, second), third)
    return x


def _pads(padding, sizes, kernel, strides):
    """Padding as pairs, before and after each dimension, from whatever lax takes."""
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(sizes, kernel, strides, padding)
    return tuple(tuple(pair) for pair in padding)


def _same(kernel):
    """What SAME means at stride one."""
    return tuple(((k - 1) // 2, k // 2) for k in kernel)


def _overlaps(sizes, kernel, pads):
    """Whether every place of the kernel meets the image in each dimension."""
    return all(
        min(pair) >= 0 and max(pair) < k <= size + sum(pair)
        for size, k, pair in zip(sizes, kernel, pads, strict=True)
    )


def _reach(size, kernel, stride, pads):
    """Of a dimension: outputs, the kernel's elements that meet the image, the padding for them.

    The padding ``(before, after, 0)``, as of ``lax.pad``, makes the size a multiple of the stride.
    """
    low, high = pads
    outputs = (size + low + high - kernel) // stride + 1
    first, last = max(0, low - (outputs - 1) * stride), min(kernel, low + size)
    whole = stride * (outputs - 1 + -(-(last - first) // stride))
    return outputs, slice(first, last), (low - first, whole - size - (low - first), 0)


def _product(x, matrix, precision):
    """Product over the last axis; of matrices, since XLA copies what it contracts of more axes."""
    y = jnp.dot(
        x.reshape(math.prod(x.shape[:-1]), x.shape[-1]),
        matrix,
        precision=precision,
        preferred_element_type=x.dtype if x.dtype.itemsize >= 4 else jnp.float32,
    )
    return y.reshape(*x.shape[:-1], matrix.shape[-1])


def _batched_products(tiles, kernels, precision):
    d = jnp.stack(tiles)
    rows = d.reshape(len(tiles), -1, d.shape[-1])
    y = jnp.matmul(rows, jnp.stack(kernels), precision=precision)
    return y.reshape(*d.shape[:-1], y.shape[-1])


def _elements(x, axis):
    """The four elements along a dimension of size ``2 n + 2`` of its n tiles, which overlap."""
    even, odd = (jnp.squeeze(part, axis + 1) for part in _split(x, axis, 2))
    firsts = [lax.slice_in_dim(part, 0, -1, axis=axis) for part in (even, odd)]
    return *firsts, *(lax.slice_in_dim(part, 1, None, axis=axis) for part in (even, odd))


def _input_transform(d0, d1, d2, d3):
    """``B^T d``."""
    return d0 - d2, d1 + d2, d2 - d1, d1 - d3


def _kernel_transform(g0, g1, g2):
    """``G g``."""
    return g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2


def _output_transform(m0, m1, m2, m3):
    """``A^T m``."""
    return m0 + m1 + m2, m1 - m2 - m3


def _even(size):
    """The largest even number up to a size; a size of one stays."""
    return size - size % 2 if size > 1 else 1


def _phases(x, down, across):
    """``[[x[:, p::down, q::across] for q in range(across)] for p in range(down)]``.

    The image's sizes are multiples of the strides. By ``lax.split``, whose gradient is a
    concatenation: that of a strided slice is several times slower on CPU.
    """
    rows = _split(x, 1, down)
    return [[column[:, :, :, 0] for column in _split(row[:, :, 0], 2, across)] for row in rows]


def _split(x, axis, count):
    """Splits a dimension of ``count n`` into ``n, count`` and these into their ``count`` places."""
    groups = x.reshape(*x.shape[:axis], x.shape[axis] // count, count, *x.shape[axis + 1 :])
    return lax.split(groups, [1] * count, axis + 1)


def _interleaved(parts):
    """The image of which ``parts[p][q]`` are the parities."""
    y = jnp.stack([jnp.stack(row, axis=3) for row in parts], axis=2)
    batch, down, _, across, _, channels = y.shape
    return y.reshape(batch, 2 * down, 2 * across, channels)


GPU_CHANNELS = 64
"""From so many input and output channels `winograd` is taken on GPU; fewer are not measured."""

FORMS = {"direct": direct, "winograd": winograd, "lax": _lax}
"""What `choose` chooses from, by the names in the table; ``lax`` only where nothing is derived."""

IN_NETWORKS = {"lax": 1.2}
"""How much slower than in the table, where it is alone, a form is between other layers.

At 16x16 pixels and 128 channels, 21 ms in the table, lax's made VGG16's forward pass 5 ms longer
than `winograd`'s 22 ms do.
"""

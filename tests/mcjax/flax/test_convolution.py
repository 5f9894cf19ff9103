"""The convolution forms against lax's, and the pooling against flax's."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mcjax.flax.ops import convolution

LAYOUT = ("NHWC", "HWIO", "NHWC")
BATCHED = functools.partial(convolution.winograd, batched=True)
FORMS = [convolution.direct, convolution.winograd, BATCHED]
SHAPES = [  # [B, H, W, C] and the output channels
    ((2, 1, 1, 3), 4),
    ((3, 2, 2, 2), 3),
    ((1, 1, 6, 2), 3),
    ((1, 7, 4, 3), 2),
]


def reference(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT)


def dispatched(x, kernel, **options):
    return convolution.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT, **options
    )


def draw(*shapes, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(0.3, 1, shape).astype(dtype) for shape in shapes]


@functools.cache
def value_and_gradients(form):
    @jax.jit
    def run(x, kernel, cotangent):
        y, pull = jax.vjp(form, x, kernel)
        return y, *pull(cotangent)

    return run


def has_convolution(function, *args):
    return "conv_general_dilated[" in str(jax.make_jaxpr(function)(*args))


def assert_close(actual, expected, relative):
    for a, e in zip(actual, expected, strict=True):
        assert a.dtype == e.dtype
        assert a.shape == e.shape
        np.testing.assert_allclose(a, e, rtol=0, atol=relative * np.max(np.abs(e)))


@pytest.mark.parametrize(("shape", "out"), SHAPES)
@pytest.mark.parametrize("form", FORMS)
def test_forms_and_gradients_in_float64(form, shape, out):
    with jax.enable_x64(True):
        args = draw(shape, (3, 3, shape[-1], out), (*shape[:3], out))
        actual = value_and_gradients(form)(*args)
        assert actual[0].dtype == jnp.float64
        assert_close(actual, value_and_gradients(reference)(*args), 1e-13)


STRIDED = [  # [B, H, W, C], the kernel's [h, w], strides, padding
    ((2, 6, 5, 3), (3, 3), (2, 2), ((1, 1), (1, 1))),
    ((2, 7, 8, 3), (3, 3), (2, 2), ((1, 1), (1, 1))),
    ((2, 6, 5, 3), (1, 1), (2, 2), ((0, 0), (0, 0))),
    ((1, 8, 9, 2), (4, 5), (3, 2), ((0, 3), (2, 1))),
    ((2, 1, 2, 3), (3, 3), (2, 2), ((1, 1), (1, 1))),
    ((1, 9, 10, 2), (2, 1), (4, 3), ((0, 0), (0, 0))),  # most pixels are met by no kernel
]


@pytest.mark.parametrize("case", STRIDED)
def test_strides_and_their_gradients_in_float64(case):
    shape, size, strides, padding = case

    def convolve(form):
        return lambda x, kernel: form(x, kernel, strides, padding, dimension_numbers=LAYOUT)

    with jax.enable_x64(True):
        x, kernel = draw(shape, (*size, shape[-1], 4))
        expected = convolve(lax.conv_general_dilated)
        actual = convolve(convolution.conv_general_dilated)
        args = (x, kernel, draw(jax.eval_shape(expected, x, kernel).shape, seed=1)[0])
        assert not has_convolution(value_and_gradients(actual), *args)
        assert_close(
            value_and_gradients(actual)(*args), value_and_gradients(expected)(*args), 1e-13
        )


@pytest.mark.parametrize("form", FORMS)
def test_float32_error(form):
    args = draw((4, 9, 8, 64), (3, 3, 64, 48), (4, 9, 8, 48), dtype=np.float32)
    with jax.enable_x64(True):
        wide = value_and_gradients(reference)(*(a.astype(np.float64) for a in args))
    actual = value_and_gradients(form)(*args)
    assert_close(actual, [np.asarray(w, np.float32) for w in wide], 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_bfloat16_is_summed_in_float32(form):
    args = [jnp.asarray(a, jnp.bfloat16) for a in draw((2, 6, 5, 256), (3, 3, 256, 8))]
    y, *gradients = value_and_gradients(form)(*args, jnp.ones((2, 6, 5, 8), jnp.bfloat16))
    assert {a.dtype for a in (y, *gradients)} == {jnp.dtype(jnp.bfloat16)}
    exact = reference(*(a.astype(jnp.float32) for a in args))
    # One rounding to eight bits, and nothing lost before it.
    np.testing.assert_allclose(y.astype(jnp.float32), exact, rtol=2**-8, atol=1e-3)
    products = [e for e in jax.make_jaxpr(form)(*args).eqns if e.primitive is lax.dot_general_p]
    # As it is on CPU whatever is asked for.
    assert {e.params["preferred_element_type"] for e in products} <= {jnp.dtype("float32")}


@pytest.mark.parametrize("form", FORMS)
def test_precision_reaches_every_product(form):
    args = draw((1, 4, 4, 2), (3, 3, 2, 2), dtype=np.float32)
    jaxpr = jax.make_jaxpr(lambda x, k: form(x, k, precision="highest"))(*args)
    products = [e for e in jaxpr.eqns if e.primitive is lax.dot_general_p]
    assert len(products) == {convolution.direct: 1, convolution.winograd: 16, BATCHED: 1}[form]
    assert all(e.params["precision"] == (lax.Precision.HIGHEST,) * 2 for e in products)


@pytest.mark.long
def test_the_value_alone_has_a_form_of_its_own():
    shape, kernel = (2, 32, 32, 16), (3, 3, 16, 16)
    assert convolution.choose(shape, kernel).__name__ == "_lax"
    assert convolution.choose(shape, kernel, differentiated=True) is convolution.winograd
    narrow = [jnp.zeros(s, jnp.bfloat16) for s in (shape, kernel)]
    assert not has_convolution(dispatched, *narrow)
    with jax.enable_x64(True):
        x, k, dx, dk = draw(shape, kernel, shape, kernel)
        assert has_convolution(dispatched, x, k)
        assert not has_convolution(value_and_gradients(dispatched), x, k, x)

        def both(form):
            loss = lambda x, k: jnp.sum(form(x, k) ** 4)  # noqa: E731
            forward = jax.jvp(form, (x, k), (dx, dk))
            backward = jax.grad(loss, (0, 1))(x, k)
            one = jax.jvp(lambda k: form(x, k), (k,), (dk,))
            hessian = jax.jvp(jax.grad(loss, (0, 1)), (x, k), (dx, dk))[1]
            other = jax.grad(lambda x, k: jax.jvp(loss, (x, k), (dx, dk))[1], (0, 1))(x, k)
            return *forward, *backward, *one, *hessian, *other

        assert_close(jax.jit(lambda: both(dispatched))(), jax.jit(lambda: both(reference))(), 1e-12)


def test_only_the_gradients_asked_for_are_computed():
    args = [jnp.zeros(s) for s in ((2, 8, 8, 32), (3, 3, 32, 32))]
    loss = lambda x, k: jnp.sum(dispatched(x, k) ** 2)  # noqa: E731

    def products(argnums):
        return str(jax.make_jaxpr(jax.grad(loss, argnums))(*args)).count("dot_general[")

    assert [products(0), products(1), products((0, 1))] == [32, 32, 48]


@pytest.mark.parametrize("channels", [3, 16])
def test_gradients_in_a_scan_contain_no_convolution(channels):
    x, kernels, targets = draw((2, 5, 6, channels), (3, 3, 3, channels, 8), (2, 5, 6, 8))

    def descend(form):
        def step(kernel, start):
            gradient = jax.grad(lambda k: jnp.mean((form(x, k) - targets) ** 2))(kernel + start)
            return kernel - 0.1 * gradient, None

        return lambda kernels: lax.scan(step, jnp.zeros_like(kernels[0]), kernels)[0]

    with jax.enable_x64(True):
        assert has_convolution(descend(reference), kernels)
        assert not has_convolution(descend(dispatched), kernels)
        actual = jax.jit(descend(dispatched))(kernels)
        assert_close([actual], [jax.jit(descend(reference))(kernels)], 1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_vmap_over_kernels(form):
    x, kernels = draw((2, 3, 4, 5), (3, 3, 3, 5, 2))
    with jax.enable_x64(True):
        actual = jax.jit(jax.vmap(form, (None, 0)))(x, kernels)
        assert_close(actual, [reference(x, k) for k in kernels], 1e-13)


def test_even_kernels_are_padded_as_lax_pads_them():
    with jax.enable_x64(True):
        args = draw((2, 4, 5, 3), (2, 4, 3, 4))
        assert_close([convolution.direct(*args)], [reference(*args)], 1e-13)


def test_choice_by_shape():
    choose = convolution.choose
    assert choose((100, 32, 32, 64), (3, 3, 64, 64)) is convolution.winograd
    assert choose((100, 2, 2, 512), (3, 3, 512, 512)) is convolution.winograd
    assert choose((100, 32, 32, 3), (3, 3, 3, 64)) is convolution.direct
    assert choose((100, 1, 1, 512), (3, 3, 512, 512)) is convolution.direct
    assert choose((100, 8, 8, 64), (1, 1, 64, 64)) is convolution.direct


# name: shapes of images and kernel, other arguments, whether lax's convolution remains
CASES = {
    "one by one": ((2, 4, 5, 3), (1, 1, 3, 4), {}, False),
    "even kernel": ((2, 4, 5, 3), (2, 4, 3, 4), {}, False),
    "even kernel, pairs": ((2, 4, 5, 3), (2, 4, 3, 4), {"padding": ((0, 1), (1, 2))}, False),
    "even kernel, lower": ((2, 4, 5, 3), (2, 4, 3, 4), {"padding": ((1, 0), (2, 1))}, False),
    "kernel beyond the image": ((2, 2, 3, 16), (7, 5, 16, 4), {}, False),
    "padding in pairs": ((2, 4, 5, 3), (3, 3, 3, 4), {"padding": ((1, 1), (1, 1))}, False),
    "lower case": ((2, 4, 5, 3), (3, 3, 3, 4), {"padding": "same"}, False),
    "lopsided padding": ((2, 4, 5, 16), (3, 3, 16, 4), {"padding": ((0, 2), (1, 1))}, False),
    "valid": ((2, 4, 5, 16), (3, 3, 16, 4), {"padding": "VALID"}, False),
    "same with strides": ((2, 4, 5, 16), (3, 3, 16, 4), {"window_strides": (1, 2)}, False),
    "padding beyond the kernel": ((2, 4, 5, 3), (3, 3, 3, 4), {"padding": ((3, 0), (1, 1))}, True),
    "cropping": ((2, 4, 5, 3), (3, 3, 3, 4), {"padding": ((-1, 1), (1, 1))}, True),
    "no output": ((2, 4, 5, 3), (6, 3, 3, 4), {"padding": "VALID"}, True),
    "dilated kernel": ((2, 6, 5, 16), (3, 3, 16, 4), {"rhs_dilation": (1, 2)}, True),
    "dilated images": ((2, 4, 5, 16), (3, 3, 16, 4), {"lhs_dilation": (2, 1), "padding":
                       ((1, 1), (1, 1))}, True),
    "groups": ((2, 4, 5, 16), (3, 3, 8, 4), {"feature_group_count": 2}, True),
    "batch groups": ((2, 4, 5, 16), (3, 3, 16, 4), {"batch_group_count": 2}, True),
    "channels first": ((2, 16, 4, 4), (4, 16, 3, 3), {"dimension_numbers": None}, True),
    "one dimension": ((2, 9, 4), (3, 4, 5), {"window_strides": (1,), "dimension_numbers":
                      ("NWC", "WIO", "NWC")}, True),
    "no pixels": ((2, 0, 5, 3), (3, 3, 3, 4), {}, True),
    "no features": ((2, 4, 5, 3), (3, 3, 3, 0), {}, True),
    "precisions": ((2, 4, 5, 3), (3, 3, 3, 4), {"precision": ["highest", "highest"]}, False),
    "element type": ((2, 4, 5, 16), (3, 3, 16, 4), {"preferred_element_type": np.float64}, True),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_as_lax_for_every_argument(name):
    *shapes, options, remains = CASES[name]
    options = {
        "window_strides": (1, 1),
        "padding": "SAME",
        "dimension_numbers": LAYOUT,
        **options,
    }
    lax_s, ours = (
        lambda *a, f=f: f(*a, **options)
        for f in (lax.conv_general_dilated, convolution.conv_general_dilated)
    )
    with jax.enable_x64(True):
        args = draw(*shapes)
        assert has_convolution(ours, *args) == remains
        if remains:
            assert str(jax.make_jaxpr(ours)(*args)) == str(jax.make_jaxpr(lax_s)(*args))
        else:
            assert_close([jax.jit(ours)(*args)], [jax.jit(lax_s)(*args)], 1e-13)


def test_other_backends_keep_lax(monkeypatch):
    args = draw((2, 4, 4, 16), (3, 3, 16, 4), dtype=np.float32)
    assert not has_convolution(dispatched, *args)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert has_convolution(lambda *a: dispatched(*a), *args)  # a new function: no cached trace


@pytest.mark.slow
@pytest.mark.parametrize(
    ("channels", "precision", "dtype", "remains"),
    [
        (64, "float32", "float32", False),
        (64, "tensorfloat32", "float32", True),
        (64, None, "float32", True),  # which is TF32 there
        (64, "float32", "bfloat16", True),
        (48, "float32", "float32", True),
    ],
)
def test_wide_convolutions_on_gpu_in_full_float32(monkeypatch, channels, precision, dtype, remains):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    args = draw((2, 5, 4, channels), (3, 3, channels, 64), dtype=np.float32)
    args = [jnp.asarray(a, dtype) for a in args]
    with jax.default_matmul_precision(precision):
        assert has_convolution(lambda *a: dispatched(*a), *args) == remains
        assert_close([dispatched(*args)], [reference(*args)], 1e-5)
    assert has_convolution(functools.partial(dispatched, precision=precision), *args) == remains


@pytest.mark.parametrize("channels", [3, 16])
def test_as_the_convolution_of_a_flax_layer(channels):
    (x,) = draw((2, 5, 6, channels), dtype=np.float32)
    layer = nn.Conv(7, (3, 3), conv_general_dilated=convolution.conv_general_dilated)
    kernel, bias = draw((3, 3, channels, 7), (7,), dtype=np.float32)
    variables = {"params": {"kernel": kernel, "bias": bias}}
    assert not has_convolution(lambda v: layer.apply(v, x), variables)
    expected = nn.Conv(7, (3, 3)).apply(variables, x)
    assert_close([jax.jit(layer.apply)(variables, x)], [expected], 1e-5)

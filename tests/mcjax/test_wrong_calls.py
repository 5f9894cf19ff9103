"""What a wrong call of the library says: the value, and what to write instead."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mcjax import api, curves
from mcjax.analysis import directions
from mcjax.engine import objectives, parallel, training
from tests.mcjax import small

DATA = {
    "x": np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32),
    "label": np.arange(12) % 2,
}
ENDS = jnp.ones((3, 2)), jnp.arange(6.0).reshape(3, 2)
ADAM = optax.adam(0.1)

pytestmark = pytest.mark.usefixtures("unchecked")


def loss(params, batch):
    logits = batch["x"] @ params
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    mesh = small.mesh(1)
    monkeypatch.setattr(parallel, "make_mesh", lambda *devices: mesh)


def fit(loss=loss, data=DATA, **options):
    defaults = {"optimizer": ADAM, "epochs": 1, "batch_size": 6, "key": jax.random.key(0)}
    return api.fit_curve(loss, *ENDS, data, **defaults | options)


class Tensor:
    """As torch's, as far as jax sees it."""

    shape, dtype = (12, 3), "torch.float32"

    def __len__(self):
        return 12


BATCHES = [jax.tree.map(lambda x: x[:6], DATA), jax.tree.map(lambda x: x[6:], DATA)]  # fmt: skip
JOIN = r"pass one pytree of all examples: jax.tree.map\(lambda \*x: numpy.concatenate"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"data": {**DATA, "x": Tensor()}},
            r"leaf \['x'\] of the data is of type tests.Tensor: .*asarray",
        ),
        (
            {"data": iter(BATCHES)},
            r"of the data is of type list_iterator: expected",
        ),
        ({"data": BATCHES}, f"loss failed on a batch of one example.*TypeError: .*{JOIN}"),
        ({"data": [BATCHES[0], DATA]}, rf"leaf \[1\]\['label'\] of the data has shape.*{JOIN}"),
        ({"data": {"x": DATA["x"]}}, r"loss failed on .*float32\[1, 3\].*KeyError: 'label'"),
        ({"loss": "mse"}, "loss='mse' is not a function"),
        ({"loss": lambda params, batch, *, scale: 0.0}, "loss takes .*functools.partial"),
        ({"optimizer": "adam"}, "optimizer='adam' is not an optax optimizer: use optax.adam"),
        ({"optimizer": optax.adam}, "is not an optax optimizer"),
        ({"optimizer": optax.lbfgs(0.1)}, r"'value_fn'.*optax.lbfgs\(LEARNING_RATE, linesearch="),
        ({"curve": "bezier"}, r"curve='bezier' is not a curve: use curves.bezier\(1\)"),
        ({"curve": curves.polygonal_chain}, r"='polygonal_chain' is not a curve: use curves.poly"),
        ({"epochs": 1.5}, "epochs=1.5: use a whole number, 1 or more"),
        ({"batch_size": 6.0}, "batch_size=6.0: use a whole number"),
    ],
)
def test_wrong_arguments_of_a_fit(options, message):
    with pytest.raises(ValueError, match=message) as error:
        fit(**options)
    assert "\n" not in str(error.value)


def unusable(params, batch):
    raise AssertionError("the loss was called")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: api.profile(loss, "chain", ENDS, DATA), r"curve='chain'.*polygonal_chain\(1\)"),
        (lambda: api.profile(loss, curves.segment(), ENDS, DATA, points=2.5), "points=2.5"),
        (
            lambda: api.surface(loss, (*ENDS, -ENDS[0]), DATA, curve=("x", ENDS)),
            "curve='x' is not a curve",
        ),
        (  # before the loss is called
            lambda: api.surface(unusable, (*ENDS, -ENDS[0]), DATA, grid=5),
            r"grid=5: give the points along x and along y, such as \(21, 21\)",
        ),
        (lambda: api.surface(unusable, (*ENDS, -ENDS[0]), DATA, grid=(1, 5)), "at least 2"),
        (lambda: api.surface(unusable, (*ENDS, -ENDS[0]), DATA, margin=-1.0), "margin -1.0"),
        (
            lambda: api.interpolate(loss, ENDS, DATA, metrics="ece"),
            "'ece' needs logits, and the objective has none: give an Objective with logits",
        ),
        (
            lambda: api.profile(loss, curves.segment(), ENDS, DATA, metrics=["perplexty"]),
            "no metric 'perplexty': did you mean perplexity",
        ),
        (lambda: api.sharpness(loss, ENDS[0], DATA, count=6), "6 eigenvalues of a matrix of 6"),
        (lambda: api.sharpness(loss, ENDS[0], DATA, samples=1), "samples=1: use 2 or more"),
        (lambda: curves.point("bezier", ENDS, 0.5), "curve='bezier' is not a curve"),
        (lambda: curves.straight_line("bezier", *ENDS), "curve='bezier' is not a curve"),
        (lambda: curves.arc_lengths("bezier", ENDS, np.arange(2.0)), "curve='bezier' is not a"),
        (lambda: objectives.on_curve("bezier", objectives.from_loss(loss)), "is not a curve"),
    ],
)
def test_wrong_arguments_of_other_calls(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("draw", [directions.random, directions.filter_normalized])
def test_directions_of_trees_with_leaves_that_are_not_arrays(draw):
    for leaf, what in ((jax.nn.relu, "custom_jvp"), ("relu", "text"), (jnp.arange(3), "int32")):
        with pytest.raises(ValueError, match=rf"leaf \['other'\] .*{what}.*only floating-point"):
            draw({"w": jnp.ones((2, 3)), "other": leaf}, jax.random.key(0))
    assert draw({"w": jnp.ones((2, 3)), "other": 0.5}, jax.random.key(0))["other"].shape == ()


def test_labels_out_of_range_are_not_blamed_on_the_learning_rate():
    data = {**DATA, "label": DATA["label"] + 5}
    with pytest.raises(FloatingPointError, match=r"labels .*\['label'\] from 5 to 6") as error:
        fit(data=data)
    assert "learning rate" not in str(error.value)


def test_what_a_loss_is_given_as_its_third_argument():
    def plain(params, batch, scale=3.0):
        return scale * params

    def dropout(params, batch, rate=0.5, dropout_key=None):
        return dropout_key

    def keyword(params, batch, *, key):
        return key

    for loss, expected in (
        (plain, 6.0), (dropout, "k"), (keyword, "k"), (lambda p, b, noise: noise, "k"),
        (lambda *args: len(args), 2), (functools.partial(plain, scale=2.0), 4.0),
    ):  # fmt: skip
        assert objectives.with_key(loss)(2.0, None, "k") == expected


def test_a_key_goes_only_to_what_is_named_for_one_and_has_no_value():
    def bound(params, batch, rng):
        return rng

    for loss, expected in (
        (lambda p, b, use_rng=False: use_rng, False),
        (lambda p, b, monkey=None: monkey, None),
        (lambda p, b, init_key=1, rng=None: (init_key, rng), (1, "k")),
        (functools.partial(bound, rng="mine"), "mine"),
        (functools.partial(bound, rng=None), "k"),
    ):
        assert objectives.with_key(loss)(2.0, None, "k") == expected


def test_lbfgs_without_a_line_search_is_an_optimizer():
    training.make_trainer(
        lambda *args: None, lambda *args: None, optax.lbfgs(0.1, linesearch=None),
        size=4, batch_size=2, mesh=small.mesh(1),
    )  # fmt: skip
    training._opt_state(optax.lbfgs(0.1, linesearch=None), jnp.ones(2))

"""Input that nobody would give: the answer is a result or one line, never a traceback.

Each case count is small here and large with ``-m long``.
"""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies as st

from experiments import loss_surface
from experiments.cli import flags
from experiments.cli.configs import CurveConfig, ModeConfig, SurfaceConfig
from experiments.cli.errors import UsageError
from experiments.runs import folder
from experiments.runs.arrays import load_arrays
from experiments.training import fits, make_problem, modes, problem
from mcjax import api, curves
from tests.fuzzing import CASES, fuzz

NAMES = [f.name for f in dataclasses.fields(ModeConfig)]
TOKENS = st.one_of(
    st.text(max_size=20),
    st.builds(
        "--{}={}".format,
        st.sampled_from([*NAMES, "nothing", ""]),
        st.one_of(st.text(max_size=8), st.integers().map(str), st.floats().map(str)),
    ),
)


@CASES
def test_command_lines(cases):
    @fuzz(cases, st.lists(TOKENS, max_size=4))
    def one(tokens):
        if {"--help", "-h", "-help", "--helpfull"} & set(tokens):
            return
        try:
            config = flags.parse(ModeConfig, [t for t in tokens if "flagfile" not in t])
        except UsageError as error:
            assert "\n" not in str(error)
        else:
            assert flags.parse(ModeConfig, flags.to_argv(config)) == alone(config)


def alone(config):
    """The config without the flags of a launch, which are never recorded."""
    return dataclasses.replace(config, **{n: getattr(ModeConfig(), n) for n in flags.LAUNCH})


@CASES
def test_flagfiles(cases, tmp_path):
    @fuzz(cases, st.binary(max_size=60))
    def one(content):
        file = tmp_path / "f.cfg"
        file.write_bytes(content)
        try:
            flags.parse_flagfile(ModeConfig, file)
        except UsageError as error:
            assert str(error)


NUMBERS = st.one_of(st.integers(-3, 300), st.sampled_from([0, 10**9, -(10**9)]))
FLOATS = st.one_of(st.floats(), st.sampled_from([0.0, 0.05, 1e-3]))


@CASES
def test_flags_of_a_mode(cases, tmp_path):
    @fuzz(
        cases // 3,
        st.fixed_dictionaries(
            {},
            optional={
                "batch_size": NUMBERS, "epochs": NUMBERS, "lr": FLOATS, "momentum": FLOATS,
                "weight_decay": FLOATS, "milestones": st.lists(NUMBERS, max_size=3).map(tuple),
                "sgdr_t0": NUMBERS, "sgdr_mult": NUMBERS, "lr_min": FLOATS, "keep": st.lists(
                    NUMBERS, max_size=2).map(tuple), "eval_every": NUMBERS, "train_size": NUMBERS,
                "validation_size": NUMBERS, "downsample": st.integers(-1, 9),
                "pad_to": st.integers(-1, 12), "width": st.one_of(
                    st.floats(-1, 2), st.sampled_from([float("nan"), float("inf")])),
                "dropout": FLOATS, "init_scale": FLOATS, "crop_padding": st.integers(-1, 9),
                "model": st.sampled_from(["mlp", "vgg7", "no", "a:b", ":", "json:loads"]),
                "dataset": st.sampled_from(["digits", "", "tfds:", "mnist", "no"]),
                "schedule": st.sampled_from(["constant", "step", "linear", "sgdr", "curve"]),
                "objective": st.sampled_from([None, "", "json:loads", "tests.nets:nothing"]),
            },
        ),
    )  # fmt: skip
    def one(values):
        config = ModeConfig(workdir=str(tmp_path / "run"), data_dir=str(tmp_path), **values)
        try:
            modes.check_flags(config)
            modes.check_batch(make_problem(config), config, config.batch_size)
        except UsageError as error:
            assert str(error)
        assert not (tmp_path / "run").exists()


@CASES
def test_names_of_checkpoints(cases, tmp_path):
    @fuzz(cases, st.text(max_size=30), st.text(max_size=30))
    def one(start, end):
        with pytest.raises(UsageError):
            fits.check_flags(CurveConfig(workdir=str(tmp_path / "c"), start=start, end=end))
        with pytest.raises(UsageError):
            loss_surface.run(
                SurfaceConfig(workdir=str(tmp_path / "s"), points=(start, end, start + end))
            )
        assert not list(tmp_path.iterdir())


@CASES
def test_files_of_a_run_folder(cases, tmp_path):
    content = st.one_of(
        st.binary(max_size=60),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=6), x, max_size=4),
        ).map(lambda x: json.dumps(x).encode()),
    )

    @fuzz(cases, content)
    def one(content):
        run = folder.Run(tmp_path)
        (tmp_path / "run.json").write_bytes(content)
        (tmp_path / "metrics.jsonl").write_bytes(content + b"\n")
        (tmp_path / "curve.npz").write_bytes(content)
        for read in (lambda: run.info, run.metrics, lambda: load_arrays(tmp_path / "curve.npz")):
            with pytest.raises(UsageError, match=str(tmp_path)):
                read()


LEAVES = st.one_of(
    st.none(), st.integers(-5, 5), st.floats(), st.booleans(), st.text(max_size=2),
    st.sampled_from([
        np.ones((2, 3)), np.ones((2, 3), np.float32), np.arange(3), np.float64(1), jnp.ones(2),
        np.zeros((0, 2), np.float32), jnp.bfloat16(1), np.ones(2, complex), object,
    ]),
)  # fmt: skip
TREES = st.recursive(
    LEAVES,
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.sampled_from("abc"), x, max_size=3)
    | st.tuples(x, x),
)  # fmt: skip


@CASES
def test_control_points(cases):
    @fuzz(cases, TREES, TREES, st.floats(width=32))
    def one(a, b, t):
        try:
            point = curves.point(curves.segment(), (a, b), t)
        except (ValueError, TypeError, RuntimeWarning) as error:  # numpy's, beyond float32
            assert str(error)
        else:
            assert jax.tree.structure(point) == jax.tree.structure(a)


MODELS = st.fixed_dictionaries(
    {
        "takes": st.sampled_from(["images, train", "images", "", "images, train, more", "*a"]),
        "gives": st.sampled_from(
            ["x", "x[0]", "x[:, :3]", "x[:, 0]", "None", "(x, x)", "x.astype(int)", "0.5",
             "x > 0", "{'logits': x}", "x / 0", "x.astype(jnp.bfloat16)", "x + 1j", "nothing", "''"]
        ),
        "holds": st.sampled_from(
            ["nn.Dense(10)", "nn.BatchNorm(not train)", "lambda x: x",
            "lambda x: x[:, :10]", "nn.Dense(10, param_dtype=jnp.bfloat16)",
            "nn.Dense(9)", "None",
             "lambda x: x @ self.param('i', lambda key: jnp.ones((64, 10), int))",
             "lambda x: x @ self.param('e', lambda key: jnp.ones((64, 0)))",
             "lambda x: x * self.param('s', lambda key: jnp.float32(1))[()]",
             "lambda x: x * len(self.param('n', lambda key: None) or '')"]
        ),
    }
)  # fmt: skip


def write_model(takes, gives, holds):
    """The text of a module with one network."""
    return f"""
import flax.linen as nn
import jax.numpy as jnp
class Net(nn.Module):
    num_classes: int
    @nn.compact
    def __call__(self, {takes}):
        x = images.reshape(len(images), -1)
        x = ({holds})(x)
        return {gives}
"""


@CASES
def test_models_of_a_user(cases, tmp_path, monkeypatch):
    """A network is refused in one line, or it makes logits for two images of its own."""
    monkeypatch.syspath_prepend(tmp_path)

    @fuzz(cases // 3, MODELS)
    def one(chosen):
        name = f"net_{abs(hash(tuple(chosen.values())))}"
        (tmp_path / f"{name}.py").write_text(write_model(**chosen))
        mode = ModeConfig(model=f"{name}:Net", train_size=60, validation_size=20)
        try:
            made = problem.make_problem(mode)
            params, state = problem.init(made, mode, jax.random.key(0))
        except UsageError as error:
            assert "model" in str(error)
            assert "\n" not in str(error)
        else:
            logits = made.model.apply({"params": params, **state}, jnp.ones((2, 8, 8, 1)), False)
            assert logits.shape == (2, 10)
            assert jnp.issubdtype(logits.dtype, jnp.floating)


LOSSES = [
    lambda p, b: jnp.sum(p["w"] ** 2) + jnp.mean(b),
    lambda p, b, key: jnp.sum(p["w"]) + jnp.mean(b),
    lambda p: 1.0, lambda *a: a, lambda p, b, k, x: 1.0, lambda p, b: p["w"], lambda p, b: None,
    lambda p, b: jnp.sum(p["w"]).astype(int), lambda p, b: jnp.sum(p["w"]) * 1j,
    lambda p, b: "no",
    lambda p, b: jnp.log(-jnp.sum(p["w"] ** 2) - jnp.mean(b)), lambda p, b: 0.5,
    lambda p, b: p["v"],
    lambda p, b: jnp.sum(p["w"] @ b), lambda p, b: jnp.sum(p["w"])[None], None,
]  # fmt: skip
DATA = st.one_of(
    st.sampled_from([np.ones((6, 3), np.float32), np.ones((0, 3)), np.arange(6), np.ones(())]),
    TREES,
)


@CASES
def test_losses_and_parameters_of_a_user(cases):
    """Three arrays of losses, or an error that says something."""
    good = {"w": jnp.arange(3.0)}

    @fuzz(
        cases // 3,
        st.sampled_from(LOSSES), st.one_of(st.just(good), TREES), st.one_of(st.just(good), TREES),
        DATA,
    )  # fmt: skip
    def one(loss, start, end, data):
        try:
            points, losses = api.fit_curve(
                loss, start, end, data, optimizer=optax.sgd(0.01), epochs=1, batch_size=2,
                key=jax.random.key(0),
            )  # fmt: skip
            found = api.profile(loss, api.ONE_BEND, points, data, points=3)
        except (ValueError, TypeError, KeyError, IndexError, FloatingPointError) as error:
            assert str(error)
        else:
            assert losses.shape == (1,)
            assert np.isfinite(losses).all()
            assert found.curve.metrics["train"]["loss"].shape == (3,)

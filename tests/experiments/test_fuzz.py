"""Input that nobody would give: the answer is a result or one line, never a traceback.

Each case count is small here and large with ``-m long``.
"""

import dataclasses
import gzip
import json
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments import config as flags
from experiments import fit_curve, loss_surface, runs, train_mode
from experiments.arrays import load_arrays
from experiments.config import CurveConfig, ModeConfig, SurfaceConfig, UsageError
from mcjax import curves
from mcjax.data import idx

FEW = 30
CASES = pytest.mark.parametrize(
    "cases", [pytest.param(FEW, id="few"), pytest.param(1000, marks=pytest.mark.long, id="many")]
)
QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def fuzz(cases, *strategies):
    """``@fuzz(cases, strategy...)``: runs the function below on so many examples, now."""

    def run(function):
        settings(
            max_examples=cases,
            deadline=None,
            suppress_health_check=QUIET,
            database=None,
            derandomize=cases <= FEW,  # the short run is the same each time
        )(given(*strategies)(function))()

    return run


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
            assert flags.parse(ModeConfig, flags.to_flags(config).split("\n")[:-1]) == config


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
            train_mode.check(config)
        except UsageError as error:
            assert str(error)
        assert not (tmp_path / "run").exists()


@CASES
def test_names_of_checkpoints(cases, tmp_path):
    @fuzz(cases, st.text(max_size=30), st.text(max_size=30))
    def one(start, end):
        with pytest.raises(UsageError):
            fit_curve.check(CurveConfig(workdir=str(tmp_path / "c"), start=start, end=end))
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
        run = runs.Run(tmp_path)
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
        except (ValueError, TypeError) as error:
            assert str(error)
        else:
            assert jax.tree.structure(point) == jax.tree.structure(a)


@CASES
def test_idx_files(cases, tmp_path):
    whole = struct.pack(">BBBBIII", 0, 0, 8, 3, 4, 2, 2) + bytes(range(16))

    @fuzz(
        cases,
        st.one_of(
            st.binary(max_size=40),
            st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)).map(
                lambda x: whole[: x[0]] + bytes([x[1]]) + whole[x[0] + 1 :]
            ),
            st.integers(0, len(whole)).map(lambda n: whole[:n]),
        ),
        st.booleans(),
    )
    def one(content, compressed):
        path = tmp_path / f"images{'.gz' if compressed else ''}"
        path.write_bytes(gzip.compress(content) if compressed else content)
        try:
            array = idx.read_array(path, 3)
        except ValueError as error:
            assert str(path) in str(error)
        else:
            assert (array.ndim, array.dtype) == (3, np.uint8)
            assert array.size == len(content) - 16

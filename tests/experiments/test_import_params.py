"""Checkpoints of JAX programs as run folders: msgpack, .npz and orbax, of a TrainState or less."""

import dataclasses

import flax
import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax.training import train_state

from experiments import import_params, train_mode
from experiments.cli.configs import ImportParamsConfig, ModeConfig
from experiments.cli.errors import UsageError
from experiments.runs import load_point
from experiments.runs.folder import Run
from experiments.runs.names import parse_name
from tests.comparison import assert_same_bits

NETWORK = {
    "dataset": "digits", "train_size": 200, "validation_size": 60, "model": "tests.nets:normed",
}  # fmt: skip
MODE = ModeConfig(**NETWORK, batch_size=40, epochs=4, lr=0.1, schedule="constant")
IMPORT = ImportParamsConfig(**NETWORK, normalization="own")


class TrainState(train_state.TrainState):
    """As most programs have it: batch norm's averages and a moving average of the parameters."""

    batch_stats: dict
    ema_params: dict


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a trained mode, its variables, and a TrainState of them, on the host."""
    folder = tmp_path_factory.mktemp("params")
    train_mode.run(dataclasses.replace(MODE, workdir=str(folder / "mode")))
    params, state = jax.device_get(tuple(load_point(parse_name(str(folder / "mode")))))
    variables = {"params": params, **state}
    whole = TrainState.create(
        apply_fn=None,
        params=params,
        tx=optax.adam(0.1),
        batch_stats=state["batch_stats"],
        ema_params=jax.tree.map(lambda x: 2 * x, params),
    )
    return folder, variables, whole


def flat(tree, separator):
    return flax.traverse_util.flatten_dict(tree, sep=separator)


def state_dict(whole):
    return flax.serialization.to_state_dict(whole)


def save(path, tree):
    if path.suffix == ".npz":
        np.savez(path, allow_pickle=False, **tree)
    elif path.suffix:
        path.write_bytes(flax.serialization.to_bytes(tree))
    else:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(path, tree)


def run(file, workdir, **changes):
    return import_params.run(
        dataclasses.replace(IMPORT, file=str(file), workdir=str(workdir), **changes)
    )


def loaded(found):
    point = load_point(parse_name(str(found.path)))
    return {"params": point.params, **point.state}


LAYOUTS = {
    "state.msgpack": lambda variables, whole: whole,
    "variables.msgpack": lambda variables, whole: variables,
    "inner.msgpack": lambda variables, whole: {"step": 3, "model": {"params": variables}},
    "slashes.npz": lambda variables, whole: flat(variables, "/"),
    "dots.npz": lambda variables, whole: flat(variables, "."),
    "orbax": lambda variables, whole: state_dict(whole),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_same_network(trained, tmp_path, name, capsys):
    _, variables, whole = trained
    save(tmp_path / name, LAYOUTS[name](variables, whole))
    found = run(tmp_path / name, tmp_path / "run")
    assert_same_bits(loaded(found), variables)
    assert found.info["final"] == Run(trained[0] / "mode").info["final"]
    assert found.info["imported"]["file"] == name
    said = capsys.readouterr().err
    assert ("ema_params" in said) == (name in ("state.msgpack", "orbax"))


def test_moving_averages_are_taken_by_a_flag(trained, tmp_path):
    """With the statistics beside them: there are no others."""
    _, variables, whole = trained
    save(tmp_path / "x.msgpack", whole)
    found = loaded(run(tmp_path / "x.msgpack", tmp_path / "run", weights="ema_params"))
    assert_same_bits(found["params"], whole.ema_params)
    assert_same_bits(found["batch_stats"], variables["batch_stats"])
    with pytest.raises(UsageError, match=r"x.msgpack: .*at 'emma': there are ema_params, p"):
        run(tmp_path / "x.msgpack", tmp_path / "other", weights="emma")


def test_last_step_of_a_manager(trained, tmp_path):
    _, variables, _ = trained
    wrong = jax.tree.map(np.zeros_like, variables)
    with ocp.CheckpointManager(tmp_path / "saved") as manager:
        for step, tree in ((9, wrong), (10, variables)):
            manager.save(step, args=ocp.args.StandardSave(tree))
    assert_same_bits(loaded(run(tmp_path / "saved", tmp_path / "run")), variables)


def test_names_of_ones_own(trained, tmp_path):
    """A layer, an array, and what is not in the map under its own name; NNX's values in boxes."""
    _, variables, _ = trained
    tree = flat(variables["params"], "/") | flat(variables["batch_stats"], "/")
    tree["in/kernel"], tree["in/bias"] = tree.pop("Dense_0/kernel"), tree.pop("Dense_0/bias")
    tree["w"] = tree.pop("Dense_1/kernel")
    save(tmp_path / "x.npz", {f"{name}/value": array for name, array in tree.items()})
    (tmp_path / "map").write_text("in = Dense_0\nw = Dense_1/kernel\n")
    names = str(tmp_path / "map")
    assert_same_bits(loaded(run(tmp_path / "x.npz", tmp_path / "run", name_map=names)), variables)
    (tmp_path / "map").write_text("in = Conv_0\n")
    with pytest.raises(UsageError, match=r"no layer 'Conv_0': it has BatchNorm_0, Dense_0, "):
        run(tmp_path / "x.npz", tmp_path / "other", name_map=names)


def test_what_does_not_fit_is_said(trained, tmp_path, capsys):
    _, variables, _ = trained
    save(tmp_path / "alone.msgpack", variables["params"])
    with pytest.raises(UsageError, match=r"no value for batch_stats/.*; save the network's batch_"):
        run(tmp_path / "alone.msgpack", tmp_path / "run")
    few = {**variables, "params": {**variables["params"], "Dense_2": {"bias": np.ones(3)}}}
    few["params"]["Dense_1"] = {"kernel": np.ones((3, 2)), "bias": few["params"]["Dense_1"]["bias"]}
    save(tmp_path / "few.msgpack", few)
    with pytest.raises(UsageError) as caught:
        run(tmp_path / "few.msgpack", tmp_path / "run")
    assert (
        "no place for params/Dense_2/bias; another shape in params/Dense_1/kernel ([3, 2], not "
        "[12, 10])" in str(caught.value)
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.msgpack", b"\xc1", "is damaged or not a Flax msgpack, .npz or orbax checkpoint"),
        ("x.msgpack", b"\x80", "holds no arrays"),
        ("x", b"hello", "is damaged or not"),
        ("x.pt", b"", "use `python -m experiments.import_torch`"),
        ("x.pkl", b"", "is a pickle, which could run any code"),
        ("folder/file", b"", "contains no orbax checkpoint"),
        ("nothing", None, "there is no file"),
    ],
)
def test_wrong_files(tmp_path, name, content, words):
    file = tmp_path / name.split("/")[0]
    if content is not None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=words) as caught:
        run(file, tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_pickles_in_npz_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", params=np.array({"a": 1}, object))
    with pytest.raises(UsageError, match=r"read as \.npz: ValueError: Object arrays cannot be"):
        run(tmp_path / "x.npz", tmp_path / "run")

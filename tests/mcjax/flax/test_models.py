"""Networks by name: the built-in ones, a user's own, and wrong arguments."""

import re
import sys

import pytest

from mcjax.flax import models
from mcjax.flax.models import mlp, vgg


def test_names_and_their_modules():
    expected = {f"vgg{n}{bn}" for n in (7, 10, 11, 13, 16, 19) for bn in ("", "_bn")} | {"mlp"}
    residual = {"preresnet8", "preresnet20", "preresnet56", "preresnet110", "preresnet164"}
    torchvision = {f"torchvision_{name}" for name in expected if re.search(r"vgg1[1369]", name)}
    torchvision |= {f"resnet{n}{stem}" for n in (18, 34, 50) for stem in ("", "_cifar")}
    expected |= {"mlp10"}
    assert set(models.names()) == expected | residual | torchvision | {"wrn16x4", "wrn28x10"}
    for name in expected:
        model = models.create(name, num_classes=3, axis_name="data")
        assert isinstance(model, mlp.MLP if "mlp" in name else vgg.VGG)
        assert model.axis_name == "data"
        assert getattr(model, "batch_norm", False) == name.endswith("_bn")
        own = 0.0 if "mlp" in name or name.startswith(("vgg7", "vgg10")) else 0.5
        assert model.dropout == own
        assert models.create(name, num_classes=3, dropout=0.25).dropout == 0.25
    assert models.create("mlp10", num_classes=3).hidden == (128,) * 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"name": "vgg61"},
            r"unknown model 'vgg61': did you mean .*vgg16.*There are mlp, .*vgg7_bn",
        ),
        ({"name": "zzz"}, r"unknown model 'zzz': There are mlp"),
        ({"num_classes": 0}, "num_classes is 0"),
        ({"width": 0.0}, "width is 0.0"),
        ({"init_scale": float("nan")}, "init_scale is nan"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_refusals(settings, message):
    with pytest.raises(ValueError, match=message):
        models.create(**{"name": "vgg7", "num_classes": 3, **settings})


USERS = """
import flax.linen as nn
from mcjax.flax.models import mlp

def some(num_classes, width): return mlp.MLP(num_classes, width=width)
def everything(**settings): return mlp.MLP(hidden=(7,), **settings)
def own_dropout(num_classes, dropout=0.1): return mlp.MLP(num_classes, dropout=dropout)
def depth(num_classes, depth): return mlp.MLP(num_classes)
def wrong(num_classes): return 3
constant = 4
"""


@pytest.fixture
def users(tmp_path, monkeypatch):
    package = tmp_path / "mcjax_users_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "nets.py").write_text(USERS)
    (package / "broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "mcjax_users_package"
    for name in [n for n in sys.modules if n.startswith("mcjax_users_package")]:
        del sys.modules[name]


def test_users_factories(users):
    assert models.create(f"{users}.nets:some", num_classes=3, width=2.0).width == 2.0
    settings = {"num_classes": 3, "width": 0.5, "dropout": 0.2, "init_scale": 3.0}
    model = models.create(f"{users}.nets:everything", axis_name="data", **settings)
    assert model == mlp.MLP(hidden=(7,), axis_name="data", **settings)
    assert models.create(f"{users}.nets:own_dropout", num_classes=3).dropout == 0.1
    assert models.create(f"{users}.nets:own_dropout", num_classes=3, dropout=0.0).dropout == 0.0
    assert models.create("mcjax.flax.models.mlp:MLP", num_classes=3) == mlp.MLP(3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere:net", "importing 'nowhere' failed: ModuleNotFoundError"),
        ("{}.broken:net", "broken' failed: ZeroDivisionError"),
        ("{}.nets:missing", "no callable 'missing'"),
        ("{}.nets:constant", "no callable 'constant'"),
        ("{}.nets:", "no callable ''"),
        (":net", "importing '' failed"),
        ("{}.nets:wrong", "returned int"),
        ("{}.nets:depth", "missing a required argument: 'depth'"),
        ("{}.nets:own_dropout", "does not accept init_scale"),
    ],
)
def test_users_errors(users, name, message):
    scale = 3.0 if name.endswith("own_dropout") else 1.0
    with pytest.raises(ValueError, match=message):
        models.create(name.format(users), num_classes=3, init_scale=scale)

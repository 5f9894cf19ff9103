import json
import subprocess
import sys
import tomllib
from importlib import metadata

import numpy as np
import pytest

import mcjax
from mcjax import extras
from tests import mutation

NEEDS = {
    "mcjax.engine.checkpoints": "orbax: pip install 'mcjax[checkpoints]'",
    "mcjax.exchange.jax_files": "flax: pip install 'mcjax[flax]'",
    "mcjax.exchange.torch_names": "flax: pip install 'mcjax[flax]'",
    "mcjax.flax": "flax: pip install 'mcjax[flax]'",
    "mcjax.plots": "matplotlib: pip install 'mcjax[plots]'",
}


@pytest.fixture(scope="module")
def found():
    run = subprocess.run(
        [sys.executable, "-m", "tests.mcjax.without_extras"], cwd=mutation.ROOT,
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_every_module_imports_or_says_which_extra_it_needs(found):
    expected = {}
    for name in found["imports"]:
        room = next((n for n in NEEDS if f"{name}.".startswith(f"{n}.")), None)
        expected[name] = f"{room} needs {NEEDS[room]}" if room else ""
    expected["mcjax.exchange.torch_weights"] = expected["mcjax.exchange.torch_names"]
    assert found["imports"] == expected
    assert {"mcjax.api", "mcjax.engine.training", "mcjax.flax.models.vgg"} <= expected.keys()


def test_the_calls_work(found):
    numbers = found["numbers"]
    # The data are 8 numbers from -1 to 1 with mean square 3/7; the loss is that of (1 - product)^2.
    np.testing.assert_allclose(numbers["profile"], [0, 3 / 7 * (1 - 2.6**2) ** 2, 0], atol=1e-5)
    assert np.shape(numbers["losses"]) == (1,)
    assert np.shape(numbers["surface"]) == (3, 2)
    assert numbers["eigenvalue"] > 0


def test_calls_that_need_an_extra_say_which(found):
    assert found["calls"] == {
        "digits": "the data set digits needs sklearn: pip install 'mcjax[data]'",
        "tfds": "tfds needs tensorflow_datasets: pip install 'mcjax[data]'",
        "tsne": "mcjax.analysis.embedding needs sklearn: pip install 'mcjax[data]'",
    }


def test_the_extras_named_install_the_packages():
    project = tomllib.loads((mutation.ROOT / "pyproject.toml").read_text())["project"]
    installed_as = metadata.packages_distributions()
    for package, extra in extras.EXTRAS.items():
        listed = " ".join(project["optional-dependencies"][extra])
        names = installed_as.get(package, [package])  # PyTorch may not be installed
        assert any(name in listed for name in names), package
    own = {"torch", "safetensors", "slurm", "buckets"}
    assert set(extras.EXTRAS.values()) == {"flax", "checkpoints", "data", "plots"} | own
    assert "mcjax[flax,checkpoints,data,plots]" in project["optional-dependencies"]["experiments"]


def test_a_package_that_no_extra_installs_is_not_explained():
    with pytest.raises(ModuleNotFoundError, match="no_such_package"), extras.needed_by("x"):
        import no_such_package  # noqa: F401  # pyrefly: ignore[missing-import]


def test_lazy_attributes():
    assert {
        "fit_curve",
        "interpolate",
        "profile",
        "soup",
        "surface",
        "sharpness",
        "__version__",
    } <= {*dir(mcjax)}
    with pytest.raises(AttributeError, match="'mcjax' has no attribute 'fit_curves'"):
        mcjax.fit_curves  # noqa: B018

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import loss_surface, sharpness
from experiments.cli.configs import SharpnessConfig, SurfaceConfig
from experiments.cli.errors import UsageError
from experiments.runs.arrays import load_arrays
from experiments.training import problem as problems
from tests.experiments.test_sharpness import MODE, save_curve


@pytest.fixture(scope="module")
def certain(tmp_path_factory):
    """A curve of networks whose hidden units are dead and whose prediction is certain."""
    like = problems.init(problems.make_problem(MODE), MODE, jax.random.key(0))[0]
    last = max(like)

    def point(height):
        params = jax.tree.map(lambda x: jnp.full_like(x, -1.0 if x.ndim == 1 else 0.0), like)
        return params | {last: params[last] | {"bias": params[last]["bias"].at[3].set(height)}}

    return save_curve(tmp_path_factory.mktemp("runs"), *map(point, (1e3, 3e3, 2e3)))


@pytest.mark.long
def test_sharpness_of_a_zero_hessian_is_zero(certain, tmp_path):
    run = sharpness.run(
        SharpnessConfig(workdir=str(tmp_path / "s"), curve=str(certain), points=2, eigenvalues=2)
    )
    arrays = load_arrays(run.path / "sharpness.npz")
    np.testing.assert_array_equal(arrays["eigenvalues"], np.zeros((2, 2)))
    np.testing.assert_array_equal(arrays["residuals"], np.zeros((2, 2)))
    assert "start 0, end 0" in run.info["summary"]


@pytest.mark.slow
def test_zero_hessian_has_no_directions(certain, tmp_path):
    config = SurfaceConfig(
        workdir=str(tmp_path / "s"), points=(str(certain.parent / "a"),), directions="hessian"
    )
    with pytest.raises(UsageError, match="--directions=hessian: the Hessian is zero there; use"):
        loss_surface.run(config)

"""The table of symmetries: every network and example is matched back, and its outputs stay."""

import pytest

from experiments import symmetries
from experiments.cli.errors import UsageError
from mcjax.flax import models


def run(**flags):
    return symmetries.run(symmetries.SymmetriesConfig(**flags))


def check(rows, copies):
    for name, row in rows.items():
        assert row.exact == row.copies == copies, name
        assert row.change < 2e-6, name
        assert row.moved > 0.99, name
        assert row.groups > 0, name


def test_two_copies_of_a_network_and_an_example(capsys):
    rows = run(networks=("mlp", "examples.nnx"), copies=2)
    check(rows, 2)
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("network ")
    assert out[1].split()[:6] == ["mlp", "2", "100.0%", "2", "of", "2"]


@pytest.mark.long
@pytest.mark.parametrize("name", [*models.names(), *symmetries.EXAMPLES])
def test_ten_copies_of_every_network_and_example(name):
    check(run(networks=(name,)), 10)


def test_wrong_flags():
    with pytest.raises(UsageError, match="vgg17"):
        run(networks=("vgg17",))
    with pytest.raises(UsageError, match="--copies=0"):
        run(copies=0)
    with pytest.raises(UsageError, match="width"):
        run(networks=("mlp",), width=-1)

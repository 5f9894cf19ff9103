"""The cost against size, on networks that take no time."""

import json

import jax
import pytest

from experiments import scaling
from experiments.benchmarks.subjects import Net, Subject
from experiments.cli.errors import UsageError


@pytest.mark.long
def test_every_size_is_timed_and_what_is_sent_does_not_grow(tmp_path, monkeypatch, capsys):
    def subject(width=1.0, examples=200, devices=1):
        net = Net("a tiny net", "mlp", 0.125 * width, (8, 8, 1), examples)
        return Subject(net, "float32", devices=jax.devices()[:devices])

    monkeypatch.setattr(scaling, "_subject", subject)
    for name, sizes in (("EXAMPLES", (100, 200)), ("POINTS", (2, 4)), ("WIDTHS", (1.0, 2.0))):
        monkeypatch.setattr(scaling, name, sizes)
    monkeypatch.setattr(scaling, "DEVICES", (1, 4, 16))
    found = scaling.run(scaling.ScalingConfig(workdir=str(tmp_path), rounds=1, seconds=1e-3))
    file = json.loads((tmp_path / "scaling.json").read_text())
    assert file["sent"] == found["sent"]
    assert [size for size, _ in file["times"]["examples"]] == [100, 200]
    assert all(ms > 0 for pairs in file["times"].values() for _, ms in pairs)
    one, four = found["sent"]  # there are eight devices
    assert (one["bytes_of_step"], one["bytes_of_point"]) == (0, 0)
    assert 0 < four["bytes_of_step"] - four["parameter_bytes"] < 64
    numbers = 3 * 2 + 1  # of a point: loss, accuracy and count of two batches; a squared norm
    assert 4 * numbers <= four["bytes_of_point"] <= 4 * numbers + 8
    assert "time grows as examples to the power of" in capsys.readouterr().out
    assert (tmp_path / "figures" / "scaling.png").stat().st_size > 5000


def test_a_single_device_is_drawn(tmp_path):
    pairs, sent = [(1, 1.0), (2, 2.0)], {"devices": 1, "bytes_of_step": 0, "bytes_of_point": 0}
    found = {"times": dict.fromkeys(("examples", "points", "parameters"), pairs), "sent": [sent]}
    assert scaling._draw(found, tmp_path).stat().st_size > 5000


def test_wrong_flags(tmp_path):
    with pytest.raises(UsageError, match="--workdir is missing"):
        scaling.run(scaling.ScalingConfig())
    with pytest.raises(UsageError, match="--rounds and --seconds must be positive"):
        scaling.run(scaling.ScalingConfig(workdir=str(tmp_path), seconds=0.0))

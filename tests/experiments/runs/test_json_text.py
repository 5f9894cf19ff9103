"""What is not finite, in files that every JSON reader takes."""

import json
import math
import zlib

import numpy as np
import pytest

from experiments.cli.configs import ModeConfig
from experiments.runs import add_metrics, cut_metrics, json_text
from experiments.runs.folder import Run

STRANGE = {"nan": math.nan, "inf": math.inf, "minus": [-math.inf, 1.5], "word": "nan", "no": None}


def strict(text):
    """The text as a reader of the standard alone sees it."""

    def refuse(token):
        raise AssertionError(f"{token} is not JSON")

    return json.loads(text, parse_constant=refuse)


def same(a, b):
    return repr(a) == repr(b)  # NaN is not equal to itself


def test_numbers_that_are_not_finite_become_strings_and_come_back():
    text = json_text.dumps(STRANGE | {"numpy": np.float32(0.5), "tuple": (np.int64(3), True)})
    assert strict(text) == {
        "nan": "NaN", "inf": "Infinity", "minus": ["-Infinity", 1.5], "word": "nan", "no": None,
        "numpy": 0.5, "tuple": [3.0, True],
    }  # fmt: skip
    assert same(json_text.loads(json_text.dumps(STRANGE)), STRANGE)
    assert [float(x) for x in ("Infinity", "-Infinity")] == [math.inf, -math.inf]


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path / "G")
    run.open("mode", ModeConfig(), steps_per_epoch=5)
    return run


def test_run_files_are_json_whatever_happened(run):
    run.update(status="failed", final=STRANGE)
    add_metrics(run.path, epoch=1, step=5, train=STRANGE)
    add_metrics(run.path, epoch=2, step=10, train={"loss": math.nan})
    assert same(run.info["final"], STRANGE)
    assert same([line["train"] for line in run.metrics()], [STRANGE, {"loss": math.nan}])
    cut_metrics(run.path, 5, 5)
    run.update(reason="diverged")
    for text in (run.path / "run.json", run.path / "metrics.jsonl"):
        values = strict(text.read_text())
        crc = values.pop("crc32")
        assert crc == zlib.crc32(json.dumps(values, sort_keys=True).encode())
    assert same(run.info["final"], STRANGE)
    assert same([line["train"] for line in run.metrics()], [STRANGE])


def test_a_name_that_reads_like_a_number_stays_a_name(run):
    config = ModeConfig(model="NaN", objective="Infinity")
    other = Run(run.path.parent / "NaN")
    for _ in range(2):
        other.open("mode", config, steps_per_epoch=5)
    assert (other.info["flags"]["model"], other.info["flags"]["objective"]) == ("NaN", "Infinity")


def test_files_with_nan_from_earlier_versions_are_read(run):
    """They had Python's own tokens, and the checksum of those."""
    file = run.path / "run.json"
    for path, values in (
        (file, strict(file.read_text()) | {"final": STRANGE}),
        (run.path / "metrics.jsonl", {"epoch": 1, "step": 5, "train": STRANGE}),
    ):
        values.pop("crc32", None)
        crc = zlib.crc32(json.dumps(values, sort_keys=True).encode())
        path.write_text(json.dumps(values | {"crc32": crc}) + "\n")
        assert "NaN" in path.read_text()
    assert same(run.info["final"], STRANGE)
    assert same(run.metrics()[0]["train"], STRANGE)
    cut_metrics(run.path, 5, 5)
    run.update(status="done")
    assert same(strict((run.path / "metrics.jsonl").read_text())["train"]["nan"], "NaN")
    assert same(run.info["final"], STRANGE)


def test_a_byte_order_mark_before_json_is_dropped(run):
    add_metrics(run.path, epoch=1, step=5)
    before = run.info, run.metrics()
    for name in ("run.json", "metrics.jsonl"):
        file = run.path / name
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert (run.info, run.metrics()) == before

"""The benchmark's file, in the forms it is found in, and what is said about one that is something else."""

import gzip
import json

import numpy as np
import pytest

from bus.errors import DataError
from daemon.research.benchmark import read_levels
from tests.harness.command import plimsoll

LEVELS = np.round(np.geomspace(0.1, 3, 3) * np.exp(0.006 * np.cumsum(
    np.random.default_rng(1).standard_normal((1200, 3)), axis=0)), 6)  # fmt: skip
TEXT = "\n".join(",".join(f"{value:.6f}" for value in day) for day in LEVELS)


def rolling(days=(1140, 1170, 1200)):
    return "\n".join(
        json.dumps({"start": "1990-01-01", "target": LEVELS[:day, series].tolist(), "feat_static_cat": [series]})
        for day in days
        for series in range(3)
    )


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.replace(",", "\t").encode(),
        TEXT.replace(",", "  ").encode() + b"\n\n",
        gzip.compress(TEXT.encode()),
        rolling().encode(),
        gzip.compress(rolling().encode()),
    ],
    ids=["commas", "tabs", "spaces", "gzip", "json lines", "json lines, gzip"],
)
def test_every_form_gives_the_same_levels(tmp_path, data):
    (tmp_path / "data").write_bytes(data)
    assert (read_levels(tmp_path / "data") == LEVELS).all()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"\x1f\x8bnot really", "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"date,open\n2001-01-01,1.2", "numbers alone"),
        (b"1.0,2.0\n1.0", "numbers alone"),
        (b"1.0\n2.0", "at least two series"),
        (b"1.0,0.0\n2.0,1.0", "positive"),
        (b"1.0,nan\n2.0,1.0", "positive"),
        (b'{"target": [1, 2]}\n{"target": [1, 2, 4, 5]}\n{"target": [3, 3, 3]}', "different lengths"),
        (b'{"values": [1, 2]}', "line 1"),
        (b'{"target": [1, 2]}\n{"target"', "line 2"),
    ],
)  # fmt: skip
def test_what_is_not_the_file_is_refused_with_the_reason(tmp_path, data, says):
    (tmp_path / "data").write_bytes(data)
    with pytest.raises(DataError, match=says):
        read_levels(tmp_path / "data")


def test_the_command_prints_one_object_with_the_walks_beside_our_own(tmp_path):
    (tmp_path / "rates.txt").write_text(TEXT)
    done = plimsoll("validate", "--protocol", "gluonts", "--data", tmp_path / "rates.txt", "--models", "ridge",
                    "--samples", "40", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["days"], found["series"]) == (1200, 3)
    assert set(found["protocols"]) == {"A", "C"}
    models = {(row["protocol"], row["model"]) for row in found["rows"]}
    assert {
        ("A", "ewma-random-walk"),
        ("A", "ridge"),
        ("C", "seasonal-naive"),
        ("C", "ridge"),
        ("A", "var-1"),
    } <= models
    assert {row["seed"] for row in found["rows"]} == {7}
    assert any("not the published file" in note for note in found["notes"])
    assert any("at least 1,000" in note for note in found["notes"])
    shown = plimsoll("validate", "--protocol", "gluonts", "--data", tmp_path / "rates.txt", "--models", "none",
                     "--samples", "20")  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert "bootstrap-walk-250" in shown.stdout
    assert "ridge" not in shown.stdout


def test_the_command_refuses_what_it_cannot_measure(tmp_path):
    (tmp_path / "rates.txt").write_text("\n".join(TEXT.splitlines()[:200]))
    done = plimsoll("validate", "--protocol", "gluonts", "--data", tmp_path / "rates.txt")
    assert done.returncode == 1
    assert "too few" in done.stderr
    assert "Traceback" not in done.stderr

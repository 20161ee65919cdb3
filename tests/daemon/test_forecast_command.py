"""`plimsoll forecast` as a user runs it: bars and models in, a table out."""

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from models.registry import Registry
from tests.harness.command import plimsoll
from tests.harness.trained import TRADE, trained


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """A state directory whose registry has models for EURUSD hours."""
    where = tmp_path_factory.mktemp("state")
    made = trained()
    Registry(where / "models").publish(made.artifacts, active=made.active)
    return where


@pytest.fixture(scope="module")
def bars(tmp_path_factory):
    """EURUSD hours as CSV."""
    times = np.datetime_as_string(TRADE.ts_open_ns.astype("datetime64[ns]").astype("datetime64[s]"))
    columns = (getattr(TRADE, f"{name}_e5") / 1e5 for name in ("open", "high", "low", "close"))
    rows = "\n".join(
        f"{t}Z,{o:.5f},{h:.5f},{low:.5f},{c:.5f},4" for t, o, h, low, c in zip(times, *columns, strict=True)
    )
    file = tmp_path_factory.mktemp("bars") / "EURUSD_H1.csv"
    file.write_text(f"time,open,high,low,close,volume\n{rows}\n")
    return file


def forecast(state, bars, out, *more):
    return plimsoll("forecast", "--data", bars, "--out", out, "--state", state, *more)


def test_every_model_forecasts_every_bar_and_all_formats_say_the_same(state, bars, tmp_path):
    done = forecast(state, bars, tmp_path / "table.parquet", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    table = pq.read_table(tmp_path / "table.parquet").to_pylist()
    assert told["rows"] == len(table) > 1_500
    assert told["symbols"][0]["models"][0] == "random-walk"
    assert {row["horizon"] for row in table} == {1, 4, 24}
    known = [row for row in table if row["lower_90"] is not None]
    assert all(
        row["lower_90"] <= row["lower_10"] <= row["point"] <= row["upper_10"] <= row["upper_90"] for row in known
    )
    held = [row["lower_90"] <= row["actual"] <= row["upper_90"] for row in known if row["actual"] is not None]
    assert np.mean(held) == pytest.approx(0.9, abs=0.04)

    for kind in ("csv", "jsonl"):
        assert forecast(state, bars, tmp_path / f"table.{kind}").returncode == 0
    lines = [json.loads(line) for line in (tmp_path / "table.jsonl").read_text().splitlines()]
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["point"] for row in lines] == [float(row["point"]) for row in rows] == [row["point"] for row in table]
    assert {path.name for path in tmp_path.iterdir()} == {"table.parquet", "table.csv", "table.jsonl"}


@pytest.mark.parametrize(
    ("out", "more", "says"),
    [
        ("table.xls", (), "end it with one of"),
        ("nowhere/table.csv", (), "no such folder"),
        ("table.csv", ("--symbol", "GBPUSD"), "nothing to read for GBPUSD"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_written(state, bars, tmp_path, out, more, says):
    done = forecast(state, bars, tmp_path / out, *more)
    assert done.returncode != 0
    assert says in done.stderr
    assert not list(tmp_path.iterdir())


def test_without_models_it_says_how_to_make_them(bars, tmp_path):
    (tmp_path / "empty").mkdir()
    done = forecast(tmp_path / "empty", bars, tmp_path / "table.csv")
    assert done.returncode == 1
    assert "plimsoll train" in done.stderr

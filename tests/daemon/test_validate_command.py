"""`plimsoll validate` as a user runs it: files in, one object out."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.harness.command import plimsoll
from tests.harness.markets import made_up_bars

ROW = {
    "symbol", "horizon", "model", "method", "n", "coverage", "coverage_lo", "coverage_hi", "width", "winkler", "crps",
    "directional_accuracy", "worst_window_coverage",
}  # fmt: skip


def prices(series, shift):
    return {
        name: (getattr(series, f"{name}_e5") + shift) / 1e5 for name in ("open", "high", "low", "close")
    }  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """EURUSD as a bid and an ask Parquet file, USDCHF as one CSV file."""
    where = tmp_path_factory.mktemp("bars")
    euro, franc = made_up_bars(1400, 3), made_up_bars(1400, 4, symbol="USDCHF")
    for side, shift in (("bid", 0), ("ask", 9)):
        columns = {"ts": pa.array(euro.ts_open_ns, pa.timestamp("ns", "UTC")), **prices(euro, shift)}
        table = pa.table({**columns, "volume": np.full(len(euro), 4.0)})
        pq.write_table(table, where / f"EURUSD_H1_{side}.parquet")
    times = np.datetime_as_string(franc.ts_open_ns.astype("datetime64[ns]").astype("datetime64[s]"))
    rows = zip(times, *prices(franc, 0).values(), strict=True)
    text = "\n".join(f"{ts}Z,{o:.5f},{h:.5f},{low:.5f},{c:.5f},4" for ts, o, h, low, c in rows)
    (where / "USDCHF_H1.csv").write_text(f"time,open,high,low,close,volume\n{text}\n")
    return where


def test_one_object_with_the_rows_of_every_symbol_and_horizon(folder):
    done = plimsoll(
        "validate", "--data", folder, "--symbols", "EURUSD,usdchf", "--horizons", "1h,4h", "--level", "0.9",
        "--test-fraction", "0.3", "--window", "10", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert found["default"] == ["seasonal-random-walk", "pid"]
    assert [data["symbol"] for data in found["data"]] == ["EURUSD", "USDCHF"]
    assert {(row["symbol"], row["horizon"]) for row in found["rows"]} == {
        (symbol, horizon) for symbol in ("EURUSD", "USDCHF") for horizon in ("1h", "4h")
    }
    for row in found["rows"]:
        assert set(row) >= ROW
        assert row["coverage_lo"] <= row["coverage"] <= row["coverage_hi"]
    models = {row["model"] for row in found["rows"]}
    assert {"random-walk", "ewma-random-walk"} <= models
    assert {row["method"] for row in found["joint"]} == {"max-score", "bonferroni"}
    again = plimsoll("validate", "--data", folder, "--symbols", "EURUSD", "--horizons", "1h,4h", "--window", "10",
                     "--json", hash_seed="9")  # fmt: skip
    assert json.loads(again.stdout)["rows"] == [row for row in found["rows"] if row["symbol"] == "EURUSD"]


def test_a_table_for_people_with_the_default_among_the_rows(folder):
    done = plimsoll("validate", "--data", folder, "--symbols", "EURUSD", "--horizons", "1h")
    assert done.returncode == 0, done.stderr
    assert "seasonal, pid" in done.stdout
    assert "random-walk" in done.stdout or "random, split" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80


def test_dates_cut_the_bars(folder):
    arguments = ("validate", "--data", folder, "--symbols", "EURUSD", "--horizons", "1h", "--json")
    done = plimsoll(*arguments, "--since", "2017-04-20", "--until", "2017-06-20")
    data = json.loads(done.stdout)["data"][0]
    assert (data["first"], data["last"]) == ("2017-04-20", "2017-06-19")
    for option in (("--since", "2030-01-01"), ("--until", "1999-01-01")):
        done = plimsoll(*arguments, *option)
        assert done.returncode == 1
        assert "no bars between the dates" in done.stderr


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("--symbols", "GBPUSD"), 1, "GBPUSD"),
        (("--horizons", "90m"), 78, "no whole number of bars"),
        (("--horizons", ""), 78, "horizons (none)"),
        (("--level", "90"), 78, "level 90"),
        (("--test-fraction", "1"), 78, "test fraction 1"),
        (("--since", "yesterday"), 78, "write a date"),
        (("--horizons", "1w", "--test-fraction", "0.1"), 1, "too few"),
    ],
)
def test_what_cannot_be_measured_is_one_clear_line(folder, options, code, says):
    done = plimsoll("validate", "--data", folder, "--symbols", "EURUSD", *options)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr

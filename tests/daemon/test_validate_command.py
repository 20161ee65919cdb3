"""`plimsoll validate` as a user runs it: files in, one object out."""

import json
import re

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


@pytest.fixture(scope="module")
def forecasters(folder):
    """The one object and the page of a run with a trained forecaster."""
    page = folder.parent / "pages" / "validation.html"
    done = plimsoll(
        "validate", "--data", folder, "--horizons", "1h,4h", "--window", "10", "--models", "ridge", "--folds", "2",
        "--embargo", "0", "--trials", "40", "--json", "--html", page,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), page.read_text()


def test_forecasters_stand_beside_the_random_walk_in_tables_of_their_own(forecasters):
    found, _ = forecasters
    for row in found["rows"]:
        assert row["model"] != "ridge"
    for table in ("skill", "trading", "calibration", "agreement"):
        for symbol in ("EURUSD", "USDCHF"):
            models = {row["model"] for row in found[table] if row["symbol"] == symbol}
            assert models == {"random-walk", "ridge"}, table
    assert {row["cost_from"] for row in found["trading"] if row["symbol"] == "EURUSD"} == {"data"}
    assert {row["cost_from"] for row in found["trading"] if row["symbol"] == "USDCHF"} == {"stated"}
    assert {row["trials"] for row in found["trading"]} == {40}
    assert {row["rule"] for row in found["trading"]} == {"interval", "sign"}
    assert found["verdict"]["headline"]
    assert found["notes"] == []


def test_the_page_says_the_verdict_first_and_needs_nothing_but_itself(forecasters):
    found, page = forecasters
    assert page.index(found["verdict"]["headline"]) < page.index("<table")
    assert not re.findall(r"https?:|//[a-z0-9-]+\.[a-z]{2,}|@import|<link (?!rel=\"icon\" href=\"data:)", page)
    assert not re.findall(r"<(script|iframe|object|embed|img|video|audio)\b", page)
    assert "default-src 'none'" in page
    assert "None" not in page
    for heading in ("Forecasters", "After costs", "Horizons against each other", "Calibration", "Intervals"):
        section = page[page.index(f">{heading}</h2>") :]
        assert "random-walk" in section[: section.index("</section>")], heading
    assert page.count("<svg") == 1 + 3 * 4  # the mark; coverage, reliability and PIT of two models on two symbols
    for symbol in ("EURUSD", "USDCHF"):
        assert f"Coverage of {symbol}, ridge, over time" in page
    assert len(re.findall(r'id="([^"]+)"', page)) == len(set(re.findall(r'id="([^"]+)"', page)))


def test_a_run_that_cannot_train_says_so_and_measures_the_rest(folder):
    done = plimsoll("validate", "--data", folder, "--symbols", "EURUSD", "--horizons", "1h", "--json", "--html",
                    folder.parent / "short.html")  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["skill"] == found["trading"] == []
    assert "no expanding windows" in found["notes"][0]
    assert found["rows"]
    page = (folder.parent / "short.html").read_text()
    assert "No trained forecaster was measured." in page
    assert "no expanding windows" in page


def test_people_are_told_the_verdict_too(folder):
    done = plimsoll("validate", "--data", folder, "--symbols", "EURUSD", "--horizons", "1h,4h", "--embargo", "0",
                    "--folds", "1")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ridge, interval" in done.stdout
    assert "The daemon's intervals of 90 % held" in " ".join(done.stdout.split())


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
        (("--models", "oracle"), 78, "models oracle"),
        (("--folds", "0"), 78, "at least one window"),
        (("--protocol", "gluonts", "--html", "page.html"), 78, "no page for --protocol"),
    ],
)
def test_what_cannot_be_measured_is_one_clear_line(folder, options, code, says):
    done = plimsoll("validate", "--data", folder, "--symbols", "EURUSD", *options)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr

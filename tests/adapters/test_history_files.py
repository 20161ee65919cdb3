"""Files and folders as users have them: broken, packed, split by month and side, on foreign clocks.

One file past 400 lines: one format after another, each with its own small maker of files.
"""

import gzip
import lzma
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from adapters.history import contract, load, read, sample
from adapters.history.clocks import to_utc
from bus.errors import DataError
from bus.series import BarSeries, TickSeries
from bus.values import LARGEST
from tests.harness.history_files import BARS_E5, EXAMPLES, MINUTES_UTC, bar_columns, parquet, zipped

HEADER = "time,open,high,low,close\n"
ROW = "2014-01-06 15:0{}:00,1.1,1.2,1.0,1.1\n"
FIRST = HEADER + ROW.format(0)
HOUR = 3_600 * 10**9


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def csv_rows(minutes, price="1.1") -> str:
    return HEADER + "".join(f"2014-01-06 15:{m:02}:00,{price},1.2,1.0,1.1\n" for m in minutes)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("EURUSD.csv", b"", "the file is empty"),
        ("EURUSD.csv", HEADER, "no rows in it"),
        ("EURUSD.csv", b"\x8f\x00\x01\xfe" * 50, "neither text nor a known binary format"),
        ("EURUSD.csv", "hello\nworld\n", "line 1: 'hello' fits no known format"),
        ("EURUSD.csv.gz", gzip.compress(HEADER.encode(), mtime=0), "packed with gzip; unpack it first"),
        ("EURUSD.csv", FIRST + "2014-02-30 15:01:00,1.1,1.2,1.0,1.1\n", "line 3: time .* does not exist"),
        ("EURUSD.csv", FIRST + "2014/01-06 15:01:00,1.1,1.2,1.0,1.1\n", "line 3: time .* not understood"),
        ("EURUSD.csv", FIRST + "yesterday,1.1,1.2,1.0,1.1\n", "line 3: time 'yesterday' is not underst"),
        ("EURUSD.csv", HEADER + "\n\n" + ROW.format(0) + "\n2014-01-06 15:01:00,1,2\n", "line 6: 3 fields where 5"),
        ("EURUSD.csv", FIRST + ROW.format(0), "line 3: 2014-01-06 15:00:00 UTC repeats the time of"),
        ("EURUSD.csv", HEADER + "2014-01-06 15:00:00,1.1,1.0,1.2,1.1\n", "line 2: high is below low"),
        ("EURUSD.csv", HEADER + "2014-01-06 15:00:00,1.1,1.2,1.0,1.3\n", "line 2: high is below open or close"),
        ("EURUSD.csv", HEADER + "2014-01-06 15:00:00,0.9,1.2,1.0,1.1\n", "line 2: low is above open or close"),
        ("EURUSD.csv", HEADER + "2014-01-06 15:00:00,1.1,1.2,,1.1\n", "line 2: low is missing"),
        ("EURUSD.csv", FIRST + f"2014-01-06 15:01:00,1.1,1.{'2' * 40}e5,1.0,1.1\n", "line 3: high is .* not a number"),
        ("EURUSD.csv", FIRST + f"1389020460.{'0' * 40}x,1.1,1.2,1.0,1.1\n", "line 3: time .* is not understood"),
        ("EURUSD.csv", HEADER + "2014-01-06 15:00:00,1.1,1.2,1.0,1.1\n", "one bar alone does not tell how long"),
        ("EURUSD.csv", FIRST + "2014-01-06 15:01:00Z,1.1,1.2,1.0,1.1\n", "some times in this file have"),
        ("EURUSD.csv", FIRST + "x" * 5000 + "\n", "line 3: line longer than"),
        ("EURUSD.csv", "time,bid,ask\n2014-01-06 15:00:00,1.2,1.1\n", "every quote has its ask below its bid"),
        ("prices.csv", csv_rows([0, 1]), "of which symbol. Pass --symbol EURUSD, or name the file"),
        ("20149999_EURUSD.csv", "100,1.1,1.2\n", "no name has the day"),
        ("20140230_EURUSD.csv", "100,1.1,1.2\n", "the day in its name does not exist"),
        ("20140106_EURUSD.csv", "86400000,1.1,1.2\n", "line 1: time '86400000' is not within a day"),
        ("x.csv", "EUR/USD,20140106 15:00:00.1,1,2\nUSD/JPY,20140106 15:00:00.2,1,2\n", "line 2: pair 'USD/JPY'"),
        ("EURUSD.zip", b"PK\x05\x06" + b"\0" * 18, "no files in it"),
        ("EURUSD.zip", b"PK\x03\x04 nothing more", "the zip is damaged"),
        ("EURUSD.parquet", b"PAR1 and then rubbish PAR1", "damaged or unusual Parquet"),
        ("EURUSD/2014/00/06/15h_ticks.bi5", b"\x5d\x00\x00\x80\x00rubbish", "damaged LZMA"),
        ("EURUSD/2014/12/06/15h_ticks.bi5", b"\x5d\x00\x00\x80\x00rubbish", "needs its folders"),
        ("EURUSD/15h_ticks.bi5", b"\x5d\x00\x00\x80\x00rubbish", "needs its folders"),
        ("EURUSD/2014/00/06/x.bi5", b"\x5d\x00\x00\x80\x00rubbish", "cannot tell ticks from candles"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_one_line_with_the_reason(name, content, reason, tmp_path):
    path = write(tmp_path, name, content)
    with pytest.raises(DataError, match=reason) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_nothing_at_a_path_is_said(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        read(tmp_path / "gone.csv")
    with pytest.raises(DataError, match="nothing to read for any symbol"):
        read(tmp_path)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_zip_is_refused(share, tmp_path):
    whole = zipped("EURUSD.zip", "EURUSD.csv", csv_rows(range(60)).encode())(tmp_path)
    whole.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    with pytest.raises(DataError, match="the zip is damaged or not readable"):
        read(whole)


def test_a_zip_with_a_changed_byte_is_refused(tmp_path):
    whole = zipped("EURUSD.zip", "EURUSD.csv", csv_rows(range(60)).encode())(tmp_path)
    data = bytearray(whole.read_bytes())
    data[90] ^= 0xFF
    whole.write_bytes(data)
    with pytest.raises(DataError, match="the zip is damaged"):
        read(whole)


def test_limits_stop_large_files_and_zip_bombs(tmp_path, monkeypatch):
    bomb = zipped("EURUSD.zip", "EURUSD.csv", b"0" * 100_000)(tmp_path)
    packed = write(tmp_path, "EURUSD/2014/00/06/15h_ticks.bi5", lzma.compress(b"\0" * 100_000, lzma.FORMAT_ALONE))
    monkeypatch.setattr(contract, "MAX_UNPACKED_BYTES", 50_000)
    for path in (bomb, packed):
        with pytest.raises(DataError, match="unpacks to more than the limit of 50000 bytes"):
            read(path)
    table = parquet("EURUSD.parquet", bar_columns())(tmp_path)
    monkeypatch.setattr(contract, "MAX_UNPACKED_BYTES", 10)
    with pytest.raises(DataError, match="more than the limit of 10"):
        read(table)
    monkeypatch.setattr(contract, "MAX_FILE_BYTES", 10)
    with pytest.raises(DataError, match="more than the limit of 10"):
        read(bomb)
    monkeypatch.setattr(contract, "MAX_FILES", 2)
    with pytest.raises(DataError, match="more than 2 files"):
        read(tmp_path)


def test_a_zip_with_too_many_members_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(contract, "MAX_MEMBERS", 1)
    with pytest.raises(DataError, match="2 files in the zip"):
        read(zipped("EURUSD.zip", "EURUSD.csv", b"x")(tmp_path))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=300),
        st.builds(
            lambda magic, rest, tail: magic + rest + tail,
            st.sampled_from(
                [b"PAR1", b"PK\x03\x04", b"\x5d\x00\x00\x80\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\x1f\x8b"]
            ),
            st.binary(max_size=200),
            st.sampled_from([b"", b"PAR1", b"\n"]),
        ),
        st.lists(st.text('0123456789.,;:-eE \t"TZ+/\r', max_size=60), max_size=6).map(
            lambda lines: ("time,bid,ask\n" + "\n".join(lines)).encode()
        ),
    ),
    st.sampled_from(["EURUSD.csv", "20140106_EURUSD.zip", "EURUSD/2014/00/06/15h_ticks.bi5", "x"]),
)
@example(b"\n", "x")
@example(b'""\n', "x")
@example(b"\xff\xfe\n", "EURUSD.csv")
def test_rubbish_gives_a_data_error_and_nothing_else(tmp_path, content, name):
    path = write(tmp_path, name, content)
    try:
        read(path, symbol="EURUSD")
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(range(len(EXAMPLES))), st.data())
def test_a_damaged_file_reads_or_gives_a_data_error(tmp_path, which, data):
    path = _fresh(tmp_path, which)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        for series in read(path, symbol="EURUSD"):
            if isinstance(series, BarSeries):
                series.check()
            else:
                assert (np.diff(series.ts_ns) >= 0).all()
                assert (series.bid_e5 <= series.ask_e5).all()
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017


def _fresh(folder: Path, which: int) -> Path:
    (folder / str(which)).mkdir(exist_ok=True)
    return EXAMPLES[which].make(folder / str(which))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 10**9), min_size=2, max_size=8), st.integers(0, 9), st.sampled_from(["", "0", "+"]))
def test_prices_are_read_exactly_and_rounded_half_away_from_zero(tmp_path, units, decimals, prefix):
    texts = [
        f"{prefix}{unit // 10**decimals}.{unit % 10**decimals:0{decimals}d}" if decimals else str(unit)
        for unit in units
    ]
    lines = [f"2014-01-06 15:00:0{i},{text},{text}\n" for i, text in enumerate(texts)]
    path = write(tmp_path, "EURUSD.csv", "time,bid,ask\n" + "".join(lines))
    scaled = [unit * 10**5 for unit in units]
    expected = [(2 * value + 10**decimals) // (2 * 10**decimals) for value in scaled]
    if min(expected) == 0 or max(expected) > LARGEST:
        with pytest.raises(DataError, match="is not a positive price|is beyond any price"):
            read(path)
        return
    (series,) = read(path)
    assert series.bid_e5.tolist() == expected


def test_crossed_quotes_are_dropped_and_counted(tmp_path):
    lines = [f"2014-01-06 15:00:0{i},1.1,{ask}\n" for i, ask in enumerate(("1.2", "1.0", "1.1"))]
    history = load(write(tmp_path, "EURUSD.csv", "time,bid,ask\n" + "".join(lines)))
    assert len(history.series[0]) == 2
    assert [(note.rows, note.reason) for note in history.notes] == [(1, "ask below bid")]


def test_a_large_file_reads_over_block_borders(tmp_path, monkeypatch):
    monkeypatch.setattr("adapters.history.text.BLOCK_BYTES", 200)
    path = write(tmp_path, "EURUSD.csv", csv_rows(range(60)))
    (series,) = read(path)
    assert len(series) == 60
    path.write_text(csv_rows(range(60)) + "x\n")
    with pytest.raises(DataError, match="line 62: 1 fields where 5"):
        read(path)


# --- folders, sides, symbols ------------------------------------------------------------------------------------


def test_a_bid_and_an_ask_file_become_one_series_of_their_common_times(tmp_path):
    parquet("EURUSD_M1_bid.parquet", bar_columns())(tmp_path)
    later = [*MINUTES_UTC[1:], MINUTES_UTC[2] + 60]
    parquet("other.parquet", bar_columns(0.0002, later), {"symbol": "EURUSD", "side": "ask"})(tmp_path)
    history = load(tmp_path)
    (series,) = history.series
    assert series.ts_open_ns.tolist() == [s * 10**9 for s in MINUTES_UTC[1:]]
    assert series.ask_e5.tolist() == [[price + 20 for price in bar] for bar in BARS_E5[:2]]
    assert series.close_e5.tolist() == [bar[3] for bar in BARS_E5[1:]]
    assert series.spread_e5.tolist() == [max(0, BARS_E5[i][3] + 20 - BARS_E5[i + 1][3]) for i in range(2)]
    assert [note.rows for note in history.notes] == [2]


def test_an_ask_file_alone_is_refused_because_bars_are_bid_bars(tmp_path):
    with pytest.raises(DataError, match="only the ask side of EURUSD"):
        read(parquet("EURUSD_ask.parquet", bar_columns())(tmp_path))


def test_months_are_put_together_and_the_first_path_wins_where_they_overlap(tmp_path):
    write(tmp_path, "EURUSD_b.csv", csv_rows(range(5, 10), "1.15"))
    write(tmp_path, "EURUSD_a.csv", csv_rows(range(7), "1.1"))
    history = load(tmp_path)
    (series,) = history.series
    assert series.open_e5.tolist() == [110_000] * 7 + [115_000] * 3
    assert [note.rows for note in history.notes] == [2]


def test_tick_files_follow_each_other_whatever_their_names(tmp_path):
    def line(second):
        return f"2014-01-06 15:00:{second:02},1.1,1.2\n"

    write(tmp_path, "EURUSD_a.csv", "time,bid,ask\n" + "".join(line(s) for s in range(5, 9)))
    write(tmp_path, "EURUSD_b.csv", "time,bid,ask\n" + "".join(line(s) for s in range(6)))
    (series,) = read(tmp_path)
    assert isinstance(series, TickSeries)
    assert np.diff(series.ts_ns).tolist() == [10**9] * 8


def test_a_folder_gives_every_symbol_sorted_and_notes_what_is_no_market_data(tmp_path):
    for symbol in ("USDJPY", "EURUSD", "XAUUSD"):
        write(tmp_path, f"{symbol.lower()}.csv", csv_rows([0, 1]))
    write(tmp_path, "README.txt", "about these files\n")
    write(tmp_path, ".hidden", "x")
    write(tmp_path, "unnamed.csv", csv_rows([0, 1]))
    history = load(tmp_path)
    assert [series.symbol for series in history.series] == ["EURUSD", "USDJPY", "XAUUSD"]
    assert {note.reason for note in history.notes} == {"of no known format", "does not say its symbol"}


def test_a_symbol_picks_its_files_and_names_the_nameless(tmp_path):
    write(tmp_path, "EURUSD.csv", csv_rows([0, 1]))
    write(tmp_path, "GBPUSD.csv", csv_rows([0, 1]))
    assert [series.symbol for series in read(tmp_path, symbol="GBP/USD")] == ["GBPUSD"]
    with pytest.raises(DataError, match="nothing to read for AUDUSD; it has EURUSD, GBPUSD"):
        read(tmp_path, symbol="AUDUSD")
    nameless = write(tmp_path, "prices.csv", csv_rows([0, 1]))
    assert [series.symbol for series in read(nameless, symbol="us500")] == ["US500"]


def test_a_folder_name_does_not_overrule_the_user(tmp_path):
    path = write(tmp_path, "usdjpy/prices.csv", csv_rows([0, 1]))
    assert read(path, symbol="EURUSD")[0].symbol == "EURUSD"
    with pytest.raises(DataError, match="of which symbol"):
        read(path)


def test_one_broken_file_in_a_folder_is_not_passed_over(tmp_path):
    write(tmp_path, "EURUSD_1.csv", csv_rows([0, 1]))
    write(tmp_path, "EURUSD_2.csv", csv_rows([2]) + "2014-01-06 15:03:00,1.1,x,1.0,1.1\n")
    with pytest.raises(DataError, match=r"EURUSD_2\.csv: line 3: high is 'x'"):
        read(tmp_path)


def test_files_of_several_periods_need_a_choice(tmp_path):
    write(tmp_path, "EURUSD_M1.csv", csv_rows([0, 1, 2]))
    write(tmp_path, "EURUSD_M5.csv", csv_rows([0, 5, 10]))
    with pytest.raises(DataError, match="EURUSD comes in bars of 60 s, 300 s; choose one"):
        read(tmp_path)
    (series,) = read(tmp_path, period_ns=300 * 10**9)
    assert series.period_ns == 300 * 10**9


def test_the_period_is_found_in_spite_of_holes_and_can_be_stated(tmp_path):
    holes = write(tmp_path, "EURUSD.csv", csv_rows([0, 1, 2, 9, 10, 30]))
    assert read(holes)[0].period_ns == 60 * 10**9
    single = write(tmp_path, "GBPUSD.csv", csv_rows([0]))
    assert read(single, period_ns=HOUR)[0].period_ns == HOUR
    with pytest.raises(DataError, match="bars are 60 s long, not 3600 s; read them and resample"):
        read(holes, period_ns=HOUR)


def test_ticks_and_bars_of_one_symbol_do_not_mix(tmp_path):
    write(tmp_path, "EURUSD_1.csv", csv_rows([0, 1]))
    write(tmp_path, "EURUSD_2.csv", "time,bid,ask\n2014-01-06 15:00:00,1.1,1.2\n")
    with pytest.raises(DataError, match="EURUSD comes as ticks and as bars"):
        read(tmp_path)


def test_utf_16_and_byte_order_marks_are_read(tmp_path):
    text = csv_rows([0, 1])
    for name, data in (("EURUSD.csv", text.encode("utf-8-sig")), ("EURUSD_16.csv", text.encode("utf-16"))):
        assert len(read(write(tmp_path, name, data))[0]) == 2


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"ts": [1], "high": [1.0]}, "needs a time column"),
        ({"ts": ["now"], "bid": [1.0], "ask": [1.0]}, "time column is of type string"),
        ({"ts": [5], "bid": [1.0], "ask": [1.0]}, "integer times are not"),
        ({"ts": [1389020400, None], "bid": [1.0, 1.0], "ask": [1.0, 1.0]}, "1 rows have no time"),
        ({"ts": [1389020400, 1389020401], "bid": [1.0, float("nan")], "ask": [1.0, 1.0]}, "row 2: bid is missing"),
        ({"ts": [1389020400, 1389020401], "bid": [1.0, None], "ask": [1.0, 1.0]}, "row 2: bid is missing"),
        (
            {"ts": [1389020400, 1389020401], "bid": [1.0, float("inf")], "ask": [1.0, 1.0]},
            "row 2: bid is missing or not",
        ),
        ({"ts": [1389020400, 1389020401], "bid": [1.0, -1.0], "ask": [1.0, 1.0]}, "row 2: bid is not a positive"),
        (
            {"ts": [1389020401, 1389020400], "bid": [1.0, 1.0], "ask": [1.0, 1.0]},
            "row 2: .* comes before the row above",
        ),
        ({"ts": [1389020400], "bid": ["x"], "ask": [1.0]}, "damaged or unusual Parquet"),
        (
            {"ts": pa.array([], pa.int64()), "bid": pa.array([], pa.float64()), "ask": pa.array([], pa.float64())},
            "no rows",
        ),
    ],
)
def test_impossible_parquet_rows_are_refused_by_row(columns, reason, tmp_path):
    with pytest.raises(DataError, match=reason):
        read(parquet("EURUSD.parquet", columns)(tmp_path))


# --- clocks -----------------------------------------------------------------------------------------------------


def utc_of(text: str, clock: str) -> str:
    local = np.datetime64(text, "ns").astype(np.int64).reshape(1)
    return str(to_utc(local, clock).astype("datetime64[ns]")[0])[:16]


@pytest.mark.parametrize(
    ("clock", "written", "utc"),
    [
        ("utc", "2020-07-01T12:00", "2020-07-01T12:00"),
        ("utc+2", "2020-07-01T12:00", "2020-07-01T10:00"),
        ("UTC-3:30", "2020-07-01T12:00", "2020-07-01T15:30"),
        ("est", "2020-07-01T12:00", "2020-07-01T17:00"),
        ("new_york", "2020-07-01T12:00", "2020-07-01T16:00"),
        ("new_york", "2020-01-01T12:00", "2020-01-01T17:00"),
        ("new_york", "2020-03-08T01:59", "2020-03-08T06:59"),
        ("new_york", "2020-03-08T03:00", "2020-03-08T07:00"),
        ("eet", "2020-07-01T12:00", "2020-07-01T09:00"),
        ("eet", "2020-01-01T12:00", "2020-01-01T10:00"),
        ("histdata", "2018-03-20T12:00", "2018-03-20T16:00"),
        ("histdata", "2019-03-20T12:00", "2019-03-20T17:00"),
        ("histdata", "2019-04-20T12:00", "2019-04-20T16:00"),
        ("Asia/Tokyo", "2020-07-01T12:00", "2020-07-01T03:00"),
    ],
)
def test_clocks_convert_to_utc(clock, written, utc):
    assert utc_of(written, clock) == utc


@pytest.mark.parametrize("clock", ["mars", "utc+15", "utc2", "", "../etc/passwd", "\0"])
def test_an_unknown_clock_is_refused_before_anything_is_read(clock, tmp_path):
    with pytest.raises(DataError, match="clock"):
        read(tmp_path / "not even there", clock=clock)


def test_the_hour_that_comes_twice_in_autumn_is_told_apart_by_order(tmp_path):
    times = ["00:30", "01:00", "01:30", "01:00", "01:30", "02:00"]
    rows = "".join(f"2020-11-01 {time}:00,1.1,1.2,1.0,1.1\n" for time in times)
    (series,) = read(write(tmp_path, "EURUSD.csv", HEADER + rows), clock="new_york")
    assert np.diff(series.ts_open_ns).tolist() == [HOUR // 2] * 5


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 20 * 8766), min_size=1, max_size=50), st.sampled_from(["new_york", "eet", "Asia/Tokyo"]))
def test_a_clock_agrees_with_the_standard_library(hours, clock):
    from datetime import datetime, timedelta
    from zoneinfo import ZoneInfo

    names = {"new_york": "America/New_York", "eet": "Europe/Helsinki"}
    zone = ZoneInfo(names.get(clock, clock))
    hours = sorted(set(hours))
    local = np.asarray([946_684_800 + 3600 * hour for hour in hours], np.int64) * 10**9
    plain = [(datetime(2000, 1, 1) + timedelta(hours=hour)).replace(tzinfo=zone).timestamp() for hour in hours]
    assert to_utc(local, clock).tolist() == [round(moment) * 10**9 for moment in plain]


def test_an_offset_in_the_time_wins_over_the_clock(tmp_path):
    rows = "".join(f"2014-01-06 17:0{i}:00+02:00,1.1,1.2,1.0,1.1\n" for i in range(2))
    (series,) = read(write(tmp_path, "EURUSD.csv", HEADER + rows), clock="est")
    assert series.ts_open_ns[0] == MINUTES_UTC[0] * 10**9


def test_a_clock_moves_a_format_that_has_another_by_default(tmp_path):
    mt4 = next(made for made in EXAMPLES if made.format == "MetaTrader 4 bars").make(tmp_path)
    assert read(mt4, clock="utc")[0].ts_open_ns[0] - read(mt4)[0].ts_open_ns[0] == 2 * HOUR


# --- the sample, and what importing costs -----------------------------------------------------------------------


def test_the_sample_is_real_hours_of_eurusd():
    pytest.importorskip("importlib.metadata").distribution("backtesting")
    series = sample()
    series.check()
    assert (series.symbol, len(series), series.period_ns) == ("EURUSD", 5000, HOUR)
    assert (
        str(series.ts_open_ns[[0, -1]].astype("datetime64[ns]").astype("datetime64[h]"))
        == "['2017-04-19T09' '2018-02-07T15']"
    )
    assert [series.open_e5[0], series.high_e5[0], series.low_e5[0], series.close_e5[0]] == [
        107160,
        107220,
        107083,
        107219,
    ]
    assert "backtesting" not in sys.modules


def test_without_the_sample_package_the_user_is_told_what_to_do(monkeypatch):
    from importlib import metadata

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(DataError, match="install the sample extra .* or pass --data"):
        sample()


def test_importing_history_loads_neither_numpy_nor_pyarrow_and_reading_text_no_pyarrow(tmp_path):
    path = write(tmp_path, "EURUSD.csv", csv_rows([0, 1]))
    code = (
        "import sys, pathlib, adapters.history as h\n"
        "assert 'numpy' not in sys.modules and 'pyarrow' not in sys.modules\n"
        f"assert len(h.read(pathlib.Path({str(path)!r}))[0]) == 2\n"
        "assert 'pyarrow' not in sys.modules and 'backtesting' not in sys.modules\n"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


def test_zip_members_are_read_in_order_and_reports_beside_them_are_left_out(tmp_path):
    path = tmp_path / "EURUSD.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("status.txt", "no gaps")
        archive.writestr("b_EURUSD.csv", csv_rows([2, 3]))
        archive.writestr("a_EURUSD.csv", csv_rows([0, 1]))
    assert len(read(path)[0]) == 4


# --- what single formats promise --------------------------------------------------------------------------------


def test_a_metatrader_spread_counts_points_of_the_last_written_decimal(tmp_path):
    header = "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n"
    rows = "".join(f"2014.01.06\t17:0{i}:00\t104.10\t104.123\t104.1\t104.11\t5\t0\t12\n" for i in range(2))
    (series,) = read(write(tmp_path, "USDJPY_M1.csv", header + rows))
    assert series.spread_e5.tolist() == [1200, 1200]  # 12 points of 0.001
    assert series.quotes.tolist() == [5, 5]


def test_metatrader_ticks_before_both_sides_are_known_are_dropped_and_counted(tmp_path):
    header = "<DATE>\t<TIME>\t<BID>\t<ASK>\t<LAST>\t<VOLUME>\t<FLAGS>\n"
    rows = ["\t1.2\t", "1.1\t\t", "\t1.3\t"]
    lines = "".join(f"2014.01.06\t17:00:0{i}.000\t{row}\t\t6\n" for i, row in enumerate(rows))
    history = load(write(tmp_path, "EURUSD.csv", header + lines))
    assert history.series[0].bid_e5.tolist() == [110_000, 110_000]
    assert history.series[0].ask_e5.tolist() == [120_000, 130_000]
    assert [(note.rows, note.reason) for note in history.notes] == [(1, "one side not known yet")]


def test_lean_bars_without_one_side_are_dropped_and_counted(tmp_path):
    whole = "1.1,1.2,1.0,1.1,0,1.2,1.3,1.1,1.2,0"
    lines = [f"0,{whole}", "60000,1.1,1.2,1.0,1.1,0,,,,,", f"120000,{whole}", f"180000,{whole}"]
    history = load(write(tmp_path, "20140106_eurusd.csv", "\n".join(lines)))
    assert len(history.series[0]) == 3
    assert [(note.rows, note.reason) for note in history.notes] == [(1, "one side missing")]


def test_flat_dukascopy_candles_of_no_volume_are_dropped_and_counted(tmp_path):
    flat = "1.1,1.1,1.1,1.1"
    rows = [f"06.01.2014 15:0{i}:00.000,{flat},{volume}\n" for i, volume in enumerate(("1.5", "0", "0.25"))]
    history = load(write(tmp_path, "EURUSD_BID.csv", "Gmt time,Open,High,Low,Close,Volume\n" + "".join(rows)),
                   period_ns=60 * 10**9)  # fmt: skip
    assert len(history.series[0]) == 2
    assert [(note.rows, note.reason) for note in history.notes] == [(1, "flat candle of volume 0")]


@pytest.mark.parametrize(
    "time",
    ["2014-01-06T15:00:00Z", "2014-01-06 10:00:00-05:00", "2014-01-06T20:30:00.000+0530",
     "06.01.2014 17:00:00 GMT+0200",
     "1389020400", "1389020400000", "1389020400000000", "1389020400000000000", "20140106 15:00:00", "2014.01.06 15:00",
     "2014/01/06 15:00:00.000000000", "20140106150000"],
)  # fmt: skip
def test_times_are_understood_in_the_ways_people_write_them(time, tmp_path):
    (series,) = read(write(tmp_path, "EURUSD.csv", f"time,bid,ask\n{time},1.1,1.2\n"))
    assert series.ts_ns.tolist() == [1_389_020_400 * 10**9]

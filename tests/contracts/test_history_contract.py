"""What every market-data format must do. A new format joins by an entry in tests/harness/history_files.py."""

from pathlib import Path

import numpy as np
import pytest

from adapters.history import load, read
from adapters.history.registry import FORMATS, format_of
from adapters.history.source import sources_of
from bus.errors import DataError
from bus.series import BarSeries, TickSeries
from tests.harness.history_files import BARS_E5, EXAMPLES, MINUTES_UTC, SECONDS_UTC, TICKS_E5, Example

TEXT = [example for example in EXAMPLES if example.format not in {"Parquet", "Dukascopy bi5"}]


def ids(example: Example) -> str:
    return f"{example.format}{', ticks' if example.ticks else ''}{', both sides' if example.two_sided else ''}"


def test_every_format_has_an_example_and_a_name_of_its_own():
    names = [candidate.name for candidate in FORMATS]
    assert sorted(names) == sorted({example.format for example in EXAMPLES})


@pytest.mark.parametrize("example", EXAMPLES, ids=ids)
def test_a_file_is_recognised_by_its_content_and_by_one_format_first(example, tmp_path):
    source = next(sources_of(example.make(tmp_path)))
    assert format_of(source.head).name == example.format


@pytest.mark.parametrize("example", EXAMPLES, ids=ids)
def test_a_file_reads_as_the_same_prices_and_times_in_every_format(example, tmp_path):
    (series,) = read(example.make(tmp_path))
    assert series.symbol == "EURUSD"
    if example.ticks:
        assert isinstance(series, TickSeries)
        assert series.ts_ns.tolist() == [round(s * 1000) * 10**6 for s in SECONDS_UTC]
        assert np.stack((series.bid_e5, series.ask_e5), axis=1).tolist() == TICKS_E5
        return
    assert isinstance(series, BarSeries)
    series.check()
    assert series.period_ns == 60 * 10**9
    assert series.ts_open_ns.tolist() == [s * 10**9 for s in MINUTES_UTC]
    assert np.stack((series.open_e5, series.high_e5, series.low_e5, series.close_e5), axis=1).tolist() == BARS_E5
    if example.two_sided:
        assert series.ask_e5.tolist() == [[price + 10 for price in bar] for bar in BARS_E5]
        assert series.spread_e5.tolist() == [10, 10, 10]
    elif example.spread_e5:
        assert series.spread_e5.tolist() == list(example.spread_e5)
    else:
        assert series.spread_e5 is None


@pytest.mark.parametrize("example", EXAMPLES, ids=ids)
def test_columns_are_integers_of_one_length(example, tmp_path):
    (series,) = read(example.make(tmp_path))
    columns = (
        (series.ts_ns, series.bid_e5, series.ask_e5)
        if isinstance(series, TickSeries)
        else (series.ts_open_ns, series.open_e5, series.high_e5, series.low_e5, series.close_e5, series.quotes)
    )
    assert {column.dtype for column in columns} == {np.dtype(np.int64)}
    assert {len(column) for column in columns} == {3}


def content_of(path: Path) -> bytes:
    return next(sources_of(path)).data


def rewritten(example: Example, folder: Path, change) -> Path:
    """The example as a plain file with its lines changed, under a name that keeps symbol and day."""
    made = example.make(folder)
    lines = content_of(made).replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")
    first_row = 0 if lines[0][:1].isdigit() or lines[0].startswith(b"EUR/") else 1
    path = folder / "broken" / "oanda" / "20140106_EURUSD.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\n".join(change(lines, first_row)) + b"\n")
    return path


def price_replaced(by: bytes):
    def change(lines, first_row):
        row = lines[first_row + 1]
        price = b"1.1000300" if b"1.100030" in row else b"1.10003" if b"1.10003" in row else b"1.10020"
        price = b"1.100030" if b"1.100030" in row else b"1.100200" if b"1.100200" in row else price
        lines[first_row + 1] = row.replace(price, by, 1)
        assert lines[first_row + 1] != row
        return lines

    return change


@pytest.mark.parametrize("word", [b"abc", b"NaN", b"inf", b"-1.10003", b"0", b"1e99", b"1_0", b"\xff\x00"])
@pytest.mark.parametrize("example", TEXT, ids=ids)
def test_a_price_that_is_none_is_refused_with_its_line(example, word, tmp_path):
    path = rewritten(example, tmp_path, price_replaced(word))
    line = 2 if content_of(path)[:1].isdigit() or content_of(path).startswith(b"EUR/") else 3
    if b"\x00" in word:  # a NUL byte early in a file makes it no text at all
        with pytest.raises(DataError, match="neither text"):
            read(path)
        return
    with pytest.raises(DataError, match=rf"20140106_EURUSD\.csv: line {line}: .*") as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("example", TEXT, ids=ids)
def test_a_row_of_the_wrong_width_is_refused_with_its_line(example, tmp_path):
    path = rewritten(example, tmp_path, lambda lines, first: [*lines[:-1], lines[-1] + b",7;7\t7"])
    last = content_of(path).count(b"\n")
    with pytest.raises(DataError, match=rf"line {last}: \d+ fields where \d+ are expected"):
        read(path)


@pytest.mark.parametrize("example", TEXT, ids=ids)
def test_rows_out_of_order_are_refused_with_their_line(example, tmp_path):
    path = rewritten(example, tmp_path, lambda lines, first: [*lines[: first + 1], lines[first + 2], lines[first + 1]])
    with pytest.raises(DataError, match=r"line [34]: 2014-01-06 1[05]:0\d:0\d UTC comes before the line above"):
        read(path)


@pytest.mark.parametrize("example", EXAMPLES, ids=ids)
def test_reading_twice_gives_the_same_and_changes_nothing(example, tmp_path):
    path = example.make(tmp_path)
    before = path.read_bytes()
    first, second = load(path), load(path)
    assert first.notes == second.notes
    for one, two in zip(first.series, second.series, strict=True):
        for name in type(one).__slots__:
            assert np.array_equal(getattr(one, name), getattr(two, name))
    assert path.read_bytes() == before

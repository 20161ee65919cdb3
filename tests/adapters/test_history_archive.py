"""A folder that grows: killed at any step it is whole, finished the same bytes, and readers take it as one series."""

import contextlib
import itertools
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters import history
from adapters.history.archive import TICKS, Archive, check_folder, locked
from adapters.history.spans import Span, missing, union
from bus.calendar import to_ns
from bus.errors import ConfigError, DataError
from bus.series import BarSeries, TickSeries
from bus.values import NS_PER_DAY, NS_PER_HOUR


def at(*moment):
    return to_ns(datetime(*moment, tzinfo=UTC))


def hours(start_ns, count, symbol="EURUSD", step_ns=NS_PER_HOUR):
    """Bars whose prices follow from their times."""
    times = start_ns + np.arange(count, dtype=np.int64) * step_ns
    base = 110_000 + times // NS_PER_HOUR % 977
    return BarSeries(
        symbol=symbol, period_ns=step_ns, ts_open_ns=times, open_e5=base, high_e5=base + 7, low_e5=base - 3,
        close_e5=base + 2, quotes=times // NS_PER_HOUR % 5,
    )  # fmt: skip


def quotes_of(start_ns, count, step_ns=7_001_000_000):
    times = start_ns + np.arange(count, dtype=np.int64) * step_ns
    bids = 110_000 + np.arange(count, dtype=np.int64) % 13
    return TickSeries(symbol="EURUSD", ts_ns=times, bid_e5=bids, ask_e5=bids + 3)


def archive_of(folder, granularity="H1", source="broker demo", symbol="EURUSD"):
    empty = quotes_of(0, 0) if granularity == TICKS else hours(0, 0, symbol, _LENGTH[granularity])
    return Archive(folder, symbol, granularity, source, empty)


_LENGTH = {"H1": NS_PER_HOUR, "M1": NS_PER_HOUR // 60, "D1": NS_PER_DAY}
FROM, TO = at(2019, 11, 1), at(2020, 2, 1)
WHOLE = hours(FROM, (TO - FROM) // NS_PER_HOUR)


def part(span, of=WHOLE):
    first, last = np.searchsorted(of.ts_open_ns, [span.start_ns, span.end_ns])
    return of.slice(int(first), int(last))


def bytes_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def equal(one, other):
    assert one.symbol == other.symbol
    names = ("ts_ns", "bid_e5", "ask_e5") if isinstance(one, TickSeries) else (
        "ts_open_ns", "open_e5", "high_e5", "low_e5", "close_e5", "quotes")  # fmt: skip
    for name in names:
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


# --- what is kept -------------------------------------------------------------------------------------------------


def test_bars_of_two_years_are_two_files_and_read_as_one_series(tmp_path):
    archive_of(tmp_path).store(Span(FROM, TO), WHOLE)

    assert sorted(bytes_of(tmp_path)) == ["EURUSD/EURUSD_H1_2019.parquet", "EURUSD/EURUSD_H1_2020.parquet"]
    found = history.load(tmp_path)
    (series,) = found.series
    assert found.notes == ()
    assert series.period_ns == NS_PER_HOUR
    equal(series, WHOLE)


def test_minutes_are_kept_by_month_and_ticks_by_day(tmp_path):
    minutes = hours(at(2020, 1, 31, 23), 120, step_ns=_LENGTH["M1"])
    archive_of(tmp_path / "m", "M1").store(Span(at(2020, 1, 31, 23), at(2020, 2, 1, 1)), minutes)
    ticks = quotes_of(at(2020, 1, 31, 23), 1_000)
    archive_of(tmp_path / "t", TICKS).store(Span(at(2020, 1, 31, 23), at(2020, 2, 1, 12)), ticks)

    assert [Path(name).name for name in bytes_of(tmp_path)] == [
        "EURUSD_M1_2020-01.parquet", "EURUSD_M1_2020-02.parquet", "EURUSD_ticks_2020-01-31.parquet",
        "EURUSD_ticks_2020-02-01.parquet",
    ]  # fmt: skip
    equal(history.read(tmp_path / "m")[0], minutes)
    equal(history.read(tmp_path / "t")[0], ticks)


def test_a_lone_bar_a_file_is_read_with_its_length(tmp_path):
    days = hours(at(2019, 12, 31), 2, step_ns=NS_PER_DAY)
    archive_of(tmp_path, "D1").store(Span(at(2019, 12, 31), at(2020, 1, 2)), days)

    (series,) = history.read(tmp_path)
    assert series.period_ns == NS_PER_DAY
    equal(series, days)


def test_prices_of_every_size_come_back_as_the_same_integers(tmp_path):
    prices = np.array([1, 99_999, 2_528_164_000, 19_999_999_999_999], np.int64)
    ticks = TickSeries(symbol="EURUSD", ts_ns=FROM + np.arange(4), bid_e5=prices, ask_e5=prices + 1)
    archive_of(tmp_path, TICKS).store(Span(FROM, FROM + 4), ticks)

    equal(history.read(tmp_path)[0], ticks)


def test_a_time_without_rows_is_known_and_no_file_that_readers_meet(tmp_path):
    archive = archive_of(tmp_path)
    archive.store(Span(at(2019, 1, 1), at(2020, 1, 1)), hours(0, 0))
    assert archive_of(tmp_path).covered == (Span(at(2019, 1, 1), at(2020, 1, 1)),)
    assert archive.files(Span(0, TO)) == []
    with pytest.raises(DataError, match="nothing to read"):
        history.read(tmp_path)

    archive.store(Span(FROM, TO), WHOLE)  # the year gets rows after all
    assert sorted(bytes_of(tmp_path)) == ["EURUSD/EURUSD_H1_2019.parquet", "EURUSD/EURUSD_H1_2020.parquet"]
    equal(history.read(tmp_path)[0], WHOLE)


def test_rows_are_counted_within_a_span_only(tmp_path):
    archive = archive_of(tmp_path)
    archive.store(Span(FROM, TO), WHOLE)

    for there in (archive, archive_of(tmp_path)):
        assert there.count(Span(0, 2**62)) == len(WHOLE)
        assert there.count(Span(FROM + NS_PER_HOUR, FROM + 5 * NS_PER_HOUR)) == 4
        assert there.count(Span(at(2019, 12, 31), at(2020, 1, 2))) == 48
        assert there.count(Span(0, FROM)) == 0
        assert [path.name for path in there.files(Span(at(2020, 1, 2), TO))] == ["EURUSD_H1_2020.parquet"]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, len(WHOLE)), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_parts_in_any_order_with_the_folder_opened_anew_for_each_give_the_same_bytes(tmp_path, cuts, random):
    straight = tmp_path / "straight"
    if not straight.exists():
        straight.mkdir()
        archive_of(straight).store(Span(FROM, TO), WHOLE)
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    edges = [FROM, *sorted(FROM + cut * NS_PER_HOUR for cut in set(cuts)), TO]
    spans = [Span(*pair) for pair in itertools.pairwise(edges) if pair[0] < pair[1]]
    random.shuffle(spans)
    stored = []
    for span in spans:
        archive = archive_of(folder)
        assert archive.covered == union(stored)
        archive.store(span, part(span))
        stored.append(span)

    assert archive_of(folder).missing(Span(FROM, TO)) == ()
    assert bytes_of(folder) == bytes_of(straight)


def test_what_is_stored_again_is_replaced_and_not_doubled(tmp_path):
    archive = archive_of(tmp_path)
    archive.store(Span(FROM, TO), WHOLE)
    before = bytes_of(tmp_path)
    span = Span(at(2019, 12, 20), at(2020, 1, 5))
    archive.store(span, part(span))

    assert bytes_of(tmp_path) == before


# --- killed -------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


class Reaper:
    """Ends the process before or after its n-th touch of the disk."""

    def __init__(self, monkeypatch, step, *, after):
        self.left, self.after = step, after
        steps = [(os, "fsync"), (Path, "replace"), (Path, "unlink"), (Path, "open")]
        for owner, name in steps[: 3 if after else 4]:  # what was opened would never be closed
            monkeypatch.setattr(owner, name, self.touching(getattr(owner, name)))

    def touching(self, real):
        def touch(*arguments, **more):
            self.left -= 1
            if self.left == 0 and not self.after:
                raise Killed
            done = real(*arguments, **more)
            if self.left == 0:
                raise Killed
            return done

        return touch


@pytest.mark.parametrize("after", [False, True])
def test_a_kill_at_any_step_leaves_the_folder_as_it_was_or_as_it_will_be(tmp_path, monkeypatch, after):
    first, second = Span(at(2019, 1, 1), FROM), Span(FROM, TO)  # an empty year that gets rows, and a new one
    straight = tmp_path / "straight"
    straight.mkdir()
    archive_of(straight).store(first, hours(0, 0))
    archive_of(straight).store(second, WHOLE)
    for step in range(1, 100):
        folder = tmp_path / f"{step}"
        folder.mkdir()
        archive_of(folder).store(first, hours(0, 0))
        with monkeypatch.context() as patched:
            reaper = Reaper(patched, step, after=after)
            with contextlib.suppress(Killed):
                archive_of(folder).store(second, WHOLE)
        if reaper.left > 0:
            break  # it was through before its turn to die came
        there = (folder / "EURUSD" / "EURUSD_H1_2019.parquet").exists()
        archive = archive_of(folder)
        assert not there or missing(Span(FROM, at(2020, 1, 1)), archive.covered) == (), "what is there is forgotten"
        for span in archive.covered:
            assert archive.count(span) == len(part(span))
        assert archive.count(Span(0, 2**62)) == sum(archive.count(span) for span in archive.covered), "unclaimed rows"
        assert missing(first, archive.covered) == ()
        for span in archive.missing(Span(FROM, TO)):
            archive.store(span, part(span))
        assert bytes_of(folder) == bytes_of(straight), step
    assert 7 < step < 99


def test_half_a_file_of_a_killed_process_is_swept_away(tmp_path):
    archive_of(tmp_path).store(Span(FROM, TO), WHOLE)
    before = bytes_of(tmp_path)
    (tmp_path / "EURUSD" / ".EURUSD_H1_2020.parquet.new").write_bytes(b"PAR1 and no more")

    assert archive_of(tmp_path).covered == (Span(FROM, TO),)
    assert bytes_of(tmp_path) == before


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    archive = archive_of(tmp_path)
    archive.store(Span(FROM, at(2020, 1, 1)), part(Span(FROM, at(2020, 1, 1))))
    before = bytes_of(tmp_path)

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            archive.store(Span(at(2020, 1, 1), TO), part(Span(at(2020, 1, 1), TO)))
    assert archive.covered == (Span(FROM, at(2020, 1, 1)),)
    again = archive_of(tmp_path)
    assert bytes_of(tmp_path) == before
    again.store(Span(at(2020, 1, 1), TO), part(Span(at(2020, 1, 1), TO)))
    equal(history.read(tmp_path)[0], WHOLE)


# --- what does not belong there -----------------------------------------------------------------------------------


def test_a_folder_takes_one_granularity_and_says_so(tmp_path):
    archive_of(tmp_path).store(Span(FROM, TO), WHOLE)

    with pytest.raises(ConfigError, match="H1 or M1, not both"):
        archive_of(tmp_path, "M1")
    with pytest.raises(ConfigError, match="H1 or ticks, not both"):
        check_folder(tmp_path, TICKS)


def test_files_of_other_makers_are_left_alone_and_refused(tmp_path):
    (tmp_path / "EURUSD.csv").write_text("time,open,high,low,close\n")

    with pytest.raises(ConfigError, match=r"EURUSD\.csv, which is no file of"):
        archive_of(tmp_path)


def test_a_file_of_our_name_that_somebody_else_wrote_is_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "EURUSD").mkdir()
    pq.write_table(pa.table({"ts": [1], "bid": [1.0], "ask": [1.0]}), tmp_path / "EURUSD" / "EURUSD_H1_2020.parquet")

    with pytest.raises(ConfigError, match="was not written by"):
        archive_of(tmp_path)


def test_prices_of_another_broker_are_not_mixed_in(tmp_path):
    archive_of(tmp_path).store(Span(FROM, TO), WHOLE)

    with pytest.raises(ConfigError, match="'broker demo', not of 'broker live'"):
        archive_of(tmp_path, source="broker live")


def test_a_damaged_file_is_named_with_what_to_do(tmp_path):
    archive_of(tmp_path).store(Span(FROM, TO), WHOLE)
    path = tmp_path / "EURUSD" / "EURUSD_H1_2020.parquet"
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(DataError, match=r"EURUSD_H1_2020\.parquet: damaged .* remove it, and it is fetched again"):
        archive_of(tmp_path)
    path.unlink()
    assert archive_of(tmp_path).missing(Span(FROM, TO)) == (Span(at(2020, 1, 1), TO),)


def test_two_symbols_share_a_folder_and_are_read_as_two_series(tmp_path):
    archive_of(tmp_path).store(Span(FROM, TO), WHOLE)
    pounds = hours(FROM, 50, "GBPUSD")
    archive_of(tmp_path, symbol="GBPUSD").store(Span(FROM, TO), pounds)

    euro, pound = history.read(tmp_path)
    equal(euro, WHOLE)
    equal(pound, pounds)


def test_one_process_writes_at_a_time(tmp_path):
    with (
        locked(tmp_path / "new"),
        pytest.raises(ConfigError, match=f"by process {os.getpid()}"),
        locked(tmp_path / "new"),
    ):
        pass
    with locked(tmp_path / "new"):
        pass

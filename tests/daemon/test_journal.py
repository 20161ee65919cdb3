"""The journal: what was appended comes back, what was altered is found, what was torn is cut off."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.errors import ConfigError, DataError, InvariantBroken
from bus.messages import Quote, RunEnded
from daemon.journal import INPUT, OUTPUT, Journal, read, segments, verify


def quote(n):
    return Quote(symbol="EURUSD", bid_e5=107_000 + n, ask_e5=107_008 + n, ts_event_ns=n, ts_init_ns=n)


def write(folder: Path, count: int, **options) -> Journal:
    journal = Journal(folder, **options)
    for n in range(count):
        journal.append(OUTPUT if n % 3 == 2 else INPUT, quote(n))
    journal.close()
    return journal


def test_what_was_appended_comes_back_in_order_over_several_segments(tmp_path):
    write(tmp_path, 500, segment_bytes=4096)

    journal = Journal(tmp_path, segment_bytes=4096)
    for n in range(500, 1000):
        journal.append(INPUT, quote(n))
        journal.commit()
    journal.close()

    records = list(read(tmp_path))
    assert [record.seq for record in records] == list(range(1, 1001))
    assert [record.message for record in records] == [quote(n) for n in range(1000)]
    assert len(segments(tmp_path)) > 3
    assert verify(tmp_path).intact


def test_a_journal_opened_again_continues_its_chain(tmp_path):
    whole = write(tmp_path / "whole", 20)
    write(tmp_path / "parts", 11)
    journal = Journal(tmp_path / "parts")
    for n in range(11, 20):
        journal.append(OUTPUT if n % 3 == 2 else INPUT, quote(n))
    journal.close()

    assert whole.digest == journal.digest == verify(tmp_path / "parts").digest


@settings(max_examples=150, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_any_altered_byte_is_found(tmp_path_factory, position, flip):
    folder = tmp_path_factory.mktemp("j")
    write(folder, 30)
    path = segments(folder)[0]
    data = bytearray(path.read_bytes())
    data[int(position * len(data))] ^= flip
    path.write_bytes(data)

    verdict = verify(folder)

    # The one alteration that looks like a crash: the last record's length now reaches past the end.
    assert not verdict.intact or (verdict.torn_bytes > 0 and verdict.records < 30)


def test_a_record_taken_out_is_found(tmp_path):
    write(tmp_path, 10)
    path = segments(tmp_path)[0]
    data = path.read_bytes()
    size = (len(data) - data.index(b"\n") - 1) // 10
    start = data.index(b"\n") + 1 + 3 * size
    path.write_bytes(data[:start] + data[start + size :])

    verdict = verify(tmp_path)

    assert not verdict.intact
    assert verdict.broken_at == 4


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(1, 400))
def test_an_incomplete_last_record_is_cut_off_and_the_journal_goes_on(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("j")
    write(folder, 10)
    path = segments(folder)[0]
    os.truncate(path, max(path.stat().st_size - cut, 100))

    journal = Journal(folder)
    kept = journal.seq
    journal.append(INPUT, quote(99))
    journal.close()

    assert [record.seq for record in read(folder)] == list(range(1, kept + 2))
    assert verify(folder).intact


def test_zeros_left_by_a_power_cut_are_cut_off(tmp_path):
    write(tmp_path, 10)
    with segments(tmp_path)[0].open("ab") as file:
        file.write(bytes(4096))

    assert Journal(tmp_path).seq == 10


def test_a_broken_chain_refuses_to_be_continued_and_is_left_untouched(tmp_path):
    write(tmp_path, 10)
    path = segments(tmp_path)[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    with pytest.raises(InvariantBroken, match="does not match its digest.*--new"):
        Journal(tmp_path)

    assert path.read_bytes() == bytes(data)


def test_a_folder_without_a_journal_and_a_file_that_is_none_are_named(tmp_path):
    with pytest.raises(ConfigError, match="no journal in"):
        verify(tmp_path)
    (tmp_path / "000000000001.seg").write_bytes(b"something else entirely\n")
    with pytest.raises(DataError, match="not a Plimsoll journal segment"):
        list(read(tmp_path))


def test_a_commit_is_durable_before_it_returns_and_costs_nothing_when_nothing_is_new(tmp_path, monkeypatch):
    synced = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (synced.append(os.fstat(fd).st_size), real(fd)))
    journal = Journal(tmp_path)
    journal.append(INPUT, quote(1))
    journal.commit()
    journal.commit()

    assert synced == [segments(tmp_path)[0].stat().st_size]


def test_a_full_disk_stops_the_commit(tmp_path, monkeypatch):
    journal = Journal(tmp_path)
    journal.append(INPUT, quote(1))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        journal.commit()


def test_a_message_that_no_reader_would_take_is_refused_before_it_is_written(tmp_path):
    journal = Journal(tmp_path)
    journal.append(INPUT, quote(1))
    huge = RunEnded(reason="x" * 5_000_000, flatten=False, ts_init_ns=1)
    with pytest.raises(DataError, match="a RunEnded of 50000"):
        journal.append(INPUT, huge)
    journal.append(INPUT, quote(2))
    journal.close()

    assert [record.message for record in read(tmp_path)] == [quote(1), quote(2)]

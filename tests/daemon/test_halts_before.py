"""A new run does not lift what an earlier one of the same account latched; and what watches cannot hurt."""

import errno
import os

import pytest

from bus.messages import HaltLevel, HaltTrading, ResumeTrading, SubmitOrder
from daemon.core import CoreSettings, StrategySettings
from daemon.engine import Engine, harmless
from daemon.liveapp import halts_before
from daemon.state import State
from tests.harness.paper import START_NS, exchange, opening, synthetic_quotes


def run_of(state, origin, *messages):
    """A run of an account, with what came after its beginning."""
    run = state.new_run()
    start = [each for each in opening(CoreSettings(data=origin)) if type(each).__name__ != "Bar"]
    engine = Engine(run.journal)
    for message in [*start, exchange().snapshot(START_NS), *messages]:
        engine.step(message)
    engine.close()
    return run


def halt(level=HaltLevel.FLATTEN, source="web"):
    return HaltTrading(level=level, source=source, operator="mo", reason="drill", ts_init_ns=START_NS)


RESUME = ResumeTrading(operator="mo", reason="checked", ts_init_ns=START_NS)


@pytest.fixture
def state(tmp_path):
    made = State(tmp_path)
    made.create()
    return made


def test_what_is_latched_goes_on_in_a_new_run_of_the_same_account(state):
    run_of(state, "demo 1", halt(), halt(HaltLevel.NO_NEW_RISK, "file"))
    run_of(state, "demo 2")
    now = state.new_run()

    told = halts_before(state, now, "demo 1")
    assert [(each.source, each.level) for each in told] == [("web", HaltLevel.FLATTEN), ("file", 1)]
    assert "still in force from run 0001: mo: drill" in told[0].reason
    assert halts_before(state, now, "demo 2") == []


def test_what_was_lifted_does_not(state):
    run_of(state, "demo 1", halt(), RESUME)

    assert halts_before(state, state.new_run(), "demo 1") == []


def test_the_newest_run_of_the_account_counts(state):
    run_of(state, "demo 1", halt())
    run_of(state, "demo 1", halt(), RESUME)

    assert halts_before(state, state.new_run(), "demo 1") == []


def test_a_run_that_cannot_be_read_is_taken_to_be_halted(state):
    run = run_of(state, "demo 1", halt())
    (segment,) = run.journal.glob("*.seg")
    segment.write_bytes(b"nonsense\n")

    (told,) = halts_before(state, state.new_run(), "demo 1")
    assert (told.level, told.source) == (HaltLevel.NO_NEW_RISK, "journal")


def test_a_watcher_that_fails_is_noted_once_and_hurts_nobody(tmp_path):
    notes, seen = [], []

    def fails(seq, message):
        seen.append(seq)
        raise RuntimeError("the page is broken")

    engine = Engine(tmp_path / "j", watch=[harmless(fails, notes.append)])
    for message in opening():
        engine.step(message)
    engine.step(halt())

    assert engine.core.halts.level is HaltLevel.FLATTEN
    assert len(seen) > 2
    assert len(notes) == 1
    assert "the page is broken" in notes[0]


def test_without_a_journal_only_what_reduces_risk_leaves_and_under_ids_of_its_own(tmp_path, monkeypatch):
    engine = Engine(tmp_path / "j")
    eager = CoreSettings(strategies=(StrategySettings(name="metronome", params={"every_quotes": 1}),))
    for message in [*opening(eager), exchange().snapshot(START_NS)]:
        engine.step(message)
    venue = exchange()
    quotes = list(synthetic_quotes(4))
    for quote in quotes[:2]:
        venue.on_quote(quote)
        for command in engine.step(quote):
            if isinstance(command, SubmitOrder) and not command.position_id:
                for fact in venue.execute(command, quote.ts_init_ns):
                    engine.step(fact)
        if engine.core.book.positions:
            break
    held = set(engine.core.book.positions)
    last = engine.journal.seq
    monkeypatch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        engine.step(halt(HaltLevel.NO_NEW_RISK))  # what must be durable at once
    leaving = engine.go_adrift(OSError(errno.ENOSPC, "No space left on device"), HaltLevel.FLATTEN)

    assert held
    assert {each.position_id for each in leaving} == held
    assert all("-off" in each.client_order_id for each in leaving)
    assert "journal" in engine.core.halts.latched
    for quote in quotes[2:]:
        assert engine.step(quote) == []  # wants in, and may not
    assert engine.journal.seq <= last + 2  # nothing more is even tried

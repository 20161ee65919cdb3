"""Halting, cancelling and flattening do not depend on what anything is worth, or on what a strategy thinks."""

import msgspec
import pytest

import strategies
from bus.errors import InvariantBroken
from bus.messages import (
    HaltLatched,
    HaltLevel,
    HaltLifted,
    HaltTrading,
    IntentRefused,
    ResumeRefused,
    ResumeTrading,
    SubmitOrder,
)
from bus.values import NS_PER_S
from daemon.core import Core, CoreSettings, StrategySettings
from risk.book import Book
from risk.halt import Halts
from risk.marks import Marks
from risk.policy import Policy
from tests.daemon.test_core_trouble import Bench, halt, quote
from tests.harness.paper import START_NS, exchange, opening

NOW = START_NS + NS_PER_S
EAGER = StrategySettings(name="metronome", params={"every_quotes": 1})


def raises(*_, **__):
    raise ZeroDivisionError("planted")


def resume(operator, reason, at=NOW):
    return ResumeTrading(operator=operator, reason=reason, ts_init_ns=at)


def bench_with(*, level=3, strategy=EAGER):
    settings = CoreSettings(strategies=(strategy,), risk=Policy(loss_halt_level=level))
    bench = Bench()
    bench.core, bench.seq = Core(), 0
    for message in [*opening(settings), exchange().snapshot(START_NS)]:
        bench.tell(message)
    return bench


@pytest.mark.parametrize(
    ("owner", "name"),
    [(Marks, "scale_of"), (Halts, "check"), (Book, "_raise_peak")],
    ids=["conversion", "loss limits", "peak"],
)
def test_a_profit_calculation_that_raises_latches_a_halt_that_closes_everything(owner, name, monkeypatch):
    bench = Bench()
    bench.open(NOW)
    if name == "_raise_peak":
        monkeypatch.setattr(Book, "equity", property(raises))
    else:
        monkeypatch.setattr(owner, name, raises)
    said = bench.tell(quote(NOW + 1, bid=119_500, ask=119_508))

    (latched,) = [each for each in said if isinstance(each, HaltLatched)]
    assert (latched.rule, latched.level) == ("valuation", HaltLevel.FLATTEN)
    assert "ZeroDivisionError: planted" in latched.reason
    assert [each.position_id for each in said if isinstance(each, SubmitOrder)] == ["P1"]
    assert not bench.tell(quote(NOW + 2, bid=119_000, ask=119_008), HaltLatched)  # once a breach


def test_it_goes_no_further_than_a_loss_would():
    bench = bench_with(level=1)
    bench.core.book.blind = "planted"
    (latched,) = bench.tell(quote(NOW), HaltLatched)

    assert latched.level is HaltLevel.NO_NEW_RISK


def test_an_operator_closes_everything_while_nothing_can_be_valued(monkeypatch):
    bench = bench_with(level=1)
    bench.open(NOW)
    monkeypatch.setattr(Marks, "scale_of", raises)
    monkeypatch.setattr(Book, "equity", property(raises))
    bench.tell(quote(NOW + 1))
    closing = bench.tell(halt(NOW + 2), SubmitOrder)

    assert [each.position_id for each in closing] == ["P1"]


def test_a_fill_is_folded_whether_or_not_it_can_be_valued(monkeypatch):
    whole, blind = Bench(), Bench()
    whole.open(NOW)
    with monkeypatch.context() as patch:
        patch.setattr(Marks, "scale_of", raises)
        blind.open(NOW)
    for bench in (whole, blind):
        bench.tell(quote(NOW + 1, bid=119_900, ask=119_908))
    ours, theirs = (each.core.book.positions["P1"] for each in (whole, blind))

    assert (ours.volume_e2, ours.cost, ours.profit) == (theirs.volume_e2, theirs.cost, theirs.profit)
    assert whole.core.book.equity == blind.core.book.equity


def test_an_entry_that_no_limit_can_be_held_against_is_refused_and_halts(monkeypatch):
    bench = bench_with()
    monkeypatch.setattr("daemon.core.review", raises)
    said = bench.tell(quote(NOW))

    assert [each.rule for each in said if isinstance(each, HaltLatched)] == ["valuation"]
    assert [each.rule for each in said if isinstance(each, IntentRefused)] == ["valuation"]


def test_a_strategy_that_raises_risks_nothing_new_and_does_not_end_the_run(monkeypatch):
    bench = bench_with()
    bench.open(NOW)
    monkeypatch.setattr(strategies.STRATEGIES["metronome"][1], "on_quote", raises)
    said = bench.tell(quote(NOW + 1))

    assert [(each.rule, each.level) for each in said if isinstance(each, HaltLatched)] == [("strategy", 1)]
    assert not bench.tell(quote(NOW + 2), HaltLatched)
    assert [each.position_id for each in bench.tell(halt(NOW + 3), SubmitOrder)] == ["P1"]


def test_books_that_contradict_themselves_still_end_the_run(monkeypatch):
    def broken(*_):
        raise InvariantBroken("planted")

    bench = bench_with()
    monkeypatch.setattr(Halts, "check", broken)
    with pytest.raises(InvariantBroken):
        bench.tell(quote(NOW))


@pytest.mark.parametrize(("operator", "reason"), [("", "fine"), ("mo", ""), ("  ", "fine"), ("mo", " \t"), ("-", ".")])
def test_a_halt_is_not_lifted_by_nobody_or_for_no_reason(operator, reason):
    bench = Bench()
    bench.tell(halt(NOW))
    (refused,) = bench.tell(resume(operator, reason))

    assert isinstance(refused, ResumeRefused)
    assert "say who you are and why" in refused.why
    assert bench.core.halts.level is HaltLevel.FLATTEN
    assert isinstance(bench.tell(resume("mo", "checked"))[0], HaltLifted)


def test_whoever_lifts_while_it_is_still_blind_halts_again_at_once(monkeypatch):
    bench = Bench()
    bench.open(NOW)
    monkeypatch.setattr(Marks, "scale_of", raises)
    bench.tell(quote(NOW + 1))
    bench.tell(resume("mo", "hope", NOW + 2))

    assert [each.rule for each in bench.tell(quote(NOW + 3), HaltLatched)] == ["valuation"]


def test_a_position_without_a_conversion_rate_is_closed_like_any_other():
    settings = CoreSettings()
    bench = Bench()
    bench.core, bench.seq = Core(), 0
    start = [m for m in opening(settings) if type(m).__name__ != "Bar"]
    start[0] = msgspec.structs.replace(start[0], currency="CHF")  # nothing links it to the dollar
    snapshot = msgspec.structs.replace(exchange().snapshot(START_NS), currency="CHF")
    for message in [*start, snapshot]:
        bench.tell(message)
    bench.open(NOW)

    assert bench.core.book.marks.scale_of("EURUSD") is None
    assert [each.position_id for each in bench.tell(halt(NOW + 1), SubmitOrder)] == ["P1"]


def test_a_halt_command_without_a_name_halts_all_the_same():
    bench = Bench()
    command = HaltTrading(level=HaltLevel.FLATTEN, source="web", operator="", reason="", ts_init_ns=NOW)

    assert bench.tell(command, HaltLatched)

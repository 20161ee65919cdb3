"""What the core does by itself for limits, and what it is told for them."""

import msgspec
import pytest

from bus.calendar import week_end_ns
from bus.errors import ConfigError
from bus.messages import CancelOrder, ClockTick, IntentRefused, NewsEvent, NewsScheduled, SubmitOrder
from bus.values import NS_PER_HOUR, NS_PER_S
from daemon.config import load
from daemon.core import Core, CoreSettings, StrategySettings
from daemon.news import scheduled
from risk.policies.hours import Hours
from risk.policies.news import News
from risk.policies.orders import Orders
from risk.policies.scopes import SymbolLimits
from risk.policy import Policy
from risk.sizing import SizingSettings
from tests.harness.paper import START_NS, exchange, opening, synthetic_quotes


def run(policy, *, every=4, messages=(), start_ns=START_NS, quotes=40, step_ns=60 * NS_PER_S):
    """A core and a venue on quotes a minute apart; everything that the core said, with the time at which it did."""
    beat = (StrategySettings(name="metronome", params={"every_quotes": every}),)
    settings = CoreSettings(risk=policy, sizing=SizingSettings(method="fixed", fixed_lots_e2=1), strategies=beat)
    core, venue, said, seq = Core(), exchange(), [], 0
    for message in [*opening(settings), *messages, venue.snapshot(START_NS)]:
        seq += 1
        core.process(seq, message)
    for each in synthetic_quotes(quotes, step_ns=step_ns, sigma_e5=1):
        shift = start_ns - START_NS
        now_ns = each.ts_init_ns + shift
        quote = msgspec.structs.replace(each, ts_event_ns=each.ts_event_ns + shift, ts_init_ns=now_ns)
        facts = [*venue.advance(now_ns), *venue.on_quote(quote)]
        for message in (quote, *facts, ClockTick(ts_init_ns=now_ns)):
            seq += 1
            for answer in core.process(seq, message):
                said.append((now_ns, answer))
                if isinstance(answer, SubmitOrder | CancelOrder):
                    for fact in venue.execute(answer, now_ns):
                        seq += 1
                        said += [(now_ns, more) for more in core.process(seq, fact)]
    return core, said


def exits(said):
    return [(now_ns, each.reason) for now_ns, each in said if isinstance(each, SubmitOrder) and each.position_id]


def refusals(said):
    return {each.rule for _, each in said if isinstance(each, IntentRefused)}


def test_a_position_that_was_held_too_long_is_closed_by_the_core():
    _, said = run(Policy(orders=Orders(max_holding_s=300)), every=15)
    assert {reason for _, reason in exits(said)} == {"held too long"}
    assert {reason for _, reason in exits(run(Policy(), every=15)[1])} == {"beat"}


def test_before_the_weekend_everything_is_closed_and_nothing_entered_any_more():
    end_ns = week_end_ns(START_NS)
    policy = Policy(hours=Hours(weekend_flat_min=15))
    core, said = run(policy, every=13, start_ns=end_ns - NS_PER_HOUR, quotes=60)
    flat_ns = end_ns - 15 * 60 * NS_PER_S
    assert {reason for now_ns, reason in exits(said) if now_ns < flat_ns} == {"beat"}
    assert {reason for now_ns, reason in exits(said) if now_ns >= flat_ns} == {"weekend"}
    assert not core.book.positions
    entries = [now_ns for now_ns, each in said if isinstance(each, SubmitOrder) and not each.position_id]
    assert entries
    assert max(entries) < flat_ns
    assert "weekend" in refusals(said)


def test_a_calendar_that_was_told_blacks_entries_out_and_one_told_later_takes_its_place():
    policy = Policy(news=News(file="calendar.csv", before_min=600, after_min=600))

    def calendar(*currencies):
        events = tuple(
            NewsEvent(ts_ns=START_NS + NS_PER_HOUR, currency=each, impact=3, title="x") for each in currencies
        )
        return NewsScheduled(source="calendar.csv", events=events, ts_init_ns=START_NS)

    assert refusals(run(policy)[1]) == refusals(run(policy, messages=[calendar("USD")])[1]) == {"news"}
    assert not refusals(run(policy, messages=[calendar("JPY")])[1])
    assert not refusals(run(policy, messages=[calendar("USD"), calendar("JPY")])[1])


def test_a_limit_of_a_symbol_that_is_not_traded_stops_the_start():
    with pytest.raises(ConfigError, match=r"risk\.symbols\.EURUSB: nothing of that name is traded"):
        run(Policy(symbols={"EURUSB": SymbolLimits()}))


def test_the_configured_calendar_becomes_one_message_and_a_bad_one_stops_the_start(tmp_path):
    calendar = tmp_path / "calendar.csv"
    rows = ["2018-03-01T12:00Z,USD,high,old", "2018-05-02T12:00Z,USD,high,new", "2018-04-20T12:00Z,EUR,low,recent"]
    calendar.write_text("\n".join(["time,currency,impact,title", *rows]))
    file = tmp_path / "plimsoll.toml"
    file.write_text(f'[risk.news]\nfile = "{calendar}"\nbefore_min = 5\n')
    assert scheduled(load(overrides={"web.port": 0}), START_NS) == ()
    now_ns = 1_525_186_800_000_000_000  # 1 May 2018
    (told,) = scheduled(load(file), now_ns)
    assert [event.title for event in told.events] == ["recent", "new"]
    assert (told.source, told.ts_init_ns) == ("calendar.csv", now_ns)
    (told,) = scheduled(load(file), now_ns + 10**17)
    assert [event.title for event in told.events] == ["new"]
    calendar.write_text("nothing")
    with pytest.raises(ConfigError, match=r"risk\.news\.file: .*calendar\.csv: line 1: no column 'time'"):
        scheduled(load(file), now_ns)

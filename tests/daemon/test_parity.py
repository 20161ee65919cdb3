"""A day run again as it should have been: nothing where all went right, and every planted fault by its kind."""

import asyncio
import json

import msgspec
import pytest
from click.testing import CliRunner

from adapters.exchange import ExecutionModel
from bus import messages as m
from bus.calendar import trading_day
from bus.errors import ConfigError
from bus.values import NS_PER_HOUR, NS_PER_MS, NS_PER_S
from daemon.cli import cli
from daemon.core import CoreSettings, StrategySettings
from daemon.journal import INPUT, Journal, Record, read
from daemon.nightly import bounds_of, check_day, name_of
from daemon.paper import Latencies
from daemon.parity import KINDS, parity
from daemon.rerun import requests_of, rerun
from tests.harness.paper import START_NS, Day, scripted_forecasts, synthetic_quotes

AT_ONCE = Latencies(model_latency_ns=20 * NS_PER_MS, order_latency_ns=0, fact_latency_ns=0)
SLOW = Latencies(model_latency_ns=20 * NS_PER_MS, order_latency_ns=NS_PER_S, fact_latency_ns=NS_PER_S)
CHANCE = ExecutionModel(rollover_minutes=0, reject_pct=10)
CERTAIN = ExecutionModel(rollover_minutes=0, slippage_points=0, slippage_jitter_points=0, liquidity_e2=0)


class Told(Day):
    """A paper day whose journal says how its venue executes, as that of the command does."""

    def __init__(self, folder, quotes, *, model=CERTAIN, tamper=None, **more):
        super().__init__(folder, quotes, model=model, latencies=more.pop("latencies", AT_ONCE), **more)
        run = msgspec.structs.replace(self._opening[0], venue_json=msgspec.json.encode(model).decode())
        self._opening[0] = run
        if tamper is not None:
            execute = self.venue.execute
            self.venue.execute = lambda command, now_ns: tamper(command, now_ns) or execute(command, now_ns)


def day(folder, quotes=None, **more):
    """The records of a day in which all that `more` says went on."""
    Told(folder / "journal", quotes or synthetic_quotes(900), **more).run()
    return list(read(folder / "journal"))


def kinds(found):
    return {row.kind: row.n for row in found.by_kind if row.n}


def adds_up(found):
    assert sum(each.money for each in found.differences) == found.net_happened - found.net_should
    assert sum(row.money for row in found.by_kind) == found.net_happened - found.net_should
    assert [each.number for each in found.differences] == list(range(1, len(found.differences) + 1))
    return found


def entries_of(records):
    return [
        each.message for each in records if isinstance(each.message, m.SubmitOrder) and not each.message.position_id
    ]


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return day(tmp_path_factory.mktemp("clean"))


# --- nothing to find ---------------------------------------------------------------------------------------------


def test_a_day_without_latency_run_again_is_the_same_day_message_for_message(clean):
    again = rerun(clean)

    assert len(entries_of(clean)) > 10
    assert again.should == again.happened
    found = adds_up(parity(clean))
    assert (found.agrees, found.delayed, kinds(found)) == (True, 0, {})
    assert found.net_happened == found.net_should != 0


@pytest.mark.parametrize(("seed", "hedged"), [(1, True), (2, False), (3, True)])
def test_so_is_one_with_slippage_refusals_partial_fills_and_two_symbols(seed, hedged, tmp_path_factory):
    model = msgspec.structs.replace(CHANCE, seed=seed, liquidity_e2=5_000_000)
    quotes = sorted(
        [*synthetic_quotes(500, seed=seed), *synthetic_quotes(500, symbol="GBPUSD", seed=seed + 1)],
        key=lambda quote: quote.ts_init_ns,
    )
    records = day(tmp_path_factory.mktemp("chance"), quotes, model=model, symbols=("EURUSD", "GBPUSD"), hedged=hedged)

    again = rerun(records)
    assert again.should == again.happened
    assert parity(records).agrees


def test_a_day_in_the_middle_is_taken_over_with_what_was_open(clean):
    days = {name_of(each.message.ts_init_ns) for each in clean if isinstance(each.message, m.OrderFilled)}
    for name in sorted(days):
        bounds = bounds_of(name, 0)
        found = check_day(clean, bounds)
        assert found.agrees, found.differences
        assert bounds[0] <= found.ts_from_ns <= found.ts_to_ns < bounds[1]
    assert len(days) > 5


# --- planted faults ----------------------------------------------------------------------------------------------


def busy_quotes(count=6_000):
    """Prices every two seconds that never stand still: whoever is late gets another price."""
    return synthetic_quotes(count, step_ns=2 * NS_PER_S, sigma_e5=6)


def test_orders_that_travel_are_latency_and_cost_what_the_market_moved(tmp_path):
    slow = Latencies(model_latency_ns=0, order_latency_ns=5 * NS_PER_S, fact_latency_ns=NS_PER_S)
    records = day(tmp_path, synthetic_quotes(20_000, step_ns=2 * NS_PER_S, sigma_e5=6), latencies=slow)
    found = adds_up(parity(records))

    assert kinds(found).keys() == {"latency"}
    deals = {each.message.deal_id: each.message for each in records if isinstance(each.message, m.OrderFilled)}
    late = [each for each in found.differences if each.what in {"entry", "exit"} and not each.follows]
    assert 2 <= len(late) <= len(deals)


def test_deals_that_came_later_at_the_same_price_are_no_difference_but_counted(tmp_path):
    found = adds_up(parity(day(tmp_path, latencies=SLOW)))

    assert found.agrees
    assert found.delayed > 10


def spoilt(records, which, change):
    """A day in which the venue told one closing deal otherwise."""
    closing = [
        at for at, each in enumerate(records) if isinstance(each.message, m.OrderFilled) and each.message.closing
    ]
    at = closing[which]
    deal = records[at].message
    return [*records[:at], Record(records[at].seq, INPUT, change(deal)), *records[at + 1 :]], deal


def test_a_deal_away_from_the_price_on_record_is_price(clean):
    def dearer(deal):
        loss = -30 * deal.volume_e2 // 100_000
        return msgspec.structs.replace(deal, price_e5=deal.price_e5 + 30 * deal.side, balance=deal.balance + loss,
                                       gross_profit=deal.gross_profit + loss)  # fmt: skip

    records, deal = spoilt(clean, 3, dearer)
    (found,) = adds_up(parity(records)).differences

    assert (found.kind, found.what, found.follows) == ("price", "exit", 0)
    assert found.money == -30 * deal.volume_e2 // 100_000
    assert found.position_id == deal.position_id


def test_a_later_deal_at_another_price_is_split_into_what_the_market_moved_and_the_rest(clean):
    def later(deal):
        moved, beyond = 20 * deal.side, 5 * deal.side  # both to our loss: a buy dearer, a sale cheaper
        loss = -25 * deal.volume_e2 // 100_000
        return msgspec.structs.replace(
            deal, price_e5=deal.price_e5 + moved + beyond, bid_e5=deal.bid_e5 + moved, ask_e5=deal.ask_e5 + moved,
            ts_event_ns=deal.ts_event_ns + 3 * NS_PER_S, gross_profit=deal.gross_profit + loss,
            balance=deal.balance + loss,
        )  # fmt: skip

    records, deal = spoilt(clean, 3, later)
    found = adds_up(parity(records))

    assert {each.kind: each.money for each in found.differences} == {
        "latency": -20 * deal.volume_e2 // 100_000, "price": -5 * deal.volume_e2 // 100_000,
    }  # fmt: skip


def test_a_price_that_the_venue_saw_at_the_same_moment_and_the_record_has_not_is_price(clean):
    def elsewhere(deal):
        loss = -30 * deal.volume_e2 // 100_000
        away = 30 * deal.side
        return msgspec.structs.replace(
            deal, price_e5=deal.price_e5 + away, bid_e5=deal.bid_e5 + away, ask_e5=deal.ask_e5 + away,
            balance=deal.balance + loss, gross_profit=deal.gross_profit + loss,
        )  # fmt: skip

    records, _ = spoilt(clean, 3, elsewhere)
    assert kinds(adds_up(parity(records))) == {"price": 1}


def test_other_charges_at_the_same_prices_are_price_as_well(clean):
    records, _ = spoilt(
        clean, 3, lambda deal: msgspec.structs.replace(deal, booked_commission=deal.booked_commission - 9)
    )
    (found,) = adds_up(parity(records)).differences

    assert (found.kind, found.what, found.money) == ("price", "charges", -9)


def test_an_order_that_the_venue_refused_is_rejection_and_costs_what_it_would_have_made(tmp_path, clean):
    wanted = entries_of(clean)[4].client_order_id

    def refuse(command, now_ns):
        if isinstance(command, m.SubmitOrder) and command.client_order_id == wanted:
            return [m.OrderRejected(client_order_id=wanted, symbol=command.symbol, code="NO_QUOTES", text="",
                                    ts_event_ns=now_ns, ts_init_ns=now_ns)]  # fmt: skip
        return None

    found = adds_up(parity(day(tmp_path, tamper=refuse)))
    first = found.differences[0]

    assert (first.kind, first.what, first.follows) == ("rejection", "missing", 0)
    assert "NO_QUOTES" in first.happened
    assert first.intent_id == wanted
    assert all(each.follows for each in found.differences[1:]), "whatever else differs follows from it"
    assert kinds(found).keys() == {"rejection"}


def test_an_order_that_was_filled_in_part_is_rejection_of_the_rest(tmp_path):
    thin = msgspec.structs.replace(CERTAIN, liquidity_e2=100_000, depth_levels=1, impact_points=0)
    records = day(tmp_path, model=thin)
    # what should have been: the venue of the journal, with all the volume that was wanted
    run = msgspec.structs.replace(records[0].message, venue_json=msgspec.json.encode(CERTAIN).decode())
    found = adds_up(parity([Record(1, INPUT, run), *records[1:]]))
    sizes = [each for each in found.differences if each.what == "size"]

    assert sizes
    assert sizes[0].kind == "rejection"
    assert sizes[0].happened.startswith("100000 of ")


class Watched:
    """Quotes at which somebody does something."""

    def __init__(self, quotes, at, act):
        self.quotes, self.at, self.act = quotes, at, act

    def __iter__(self):
        for number, quote in enumerate(self.quotes):
            if number == self.at:
                self.act()
            yield quote


def halted_day(tmp_path, level, at=300):
    made = []

    def halt():
        made[0].shell.tell(m.HaltTrading(level=level, source="operator", operator="ann", reason="lunch", ts_init_ns=0))

    made.append(Told(tmp_path / "journal", Watched(list(synthetic_quotes(900)), at, halt)))
    made[0].run()
    return list(read(tmp_path / "journal"))


def test_entries_that_a_person_halted_are_operator(tmp_path):
    found = adds_up(parity(halted_day(tmp_path, m.HaltLevel.NO_NEW_RISK)))
    first = found.differences[0]

    assert (first.kind, first.what, first.follows) == ("operator", "missing", 0)
    assert "halted by ann" in first.happened
    assert kinds(found).keys() == {"operator"}


def test_a_position_that_a_person_flattened_is_operator(tmp_path, clean):
    """At a quote at which the undisturbed day holds something."""
    held = open_ = None
    number = 0
    for record in clean:
        if isinstance(record.message, m.Quote):
            number += 1
            if open_ and number > 300:
                held = number
                break
        elif isinstance(record.message, m.OrderFilled):
            open_ = not record.message.closing
    found = adds_up(parity(halted_day(tmp_path, m.HaltLevel.FLATTEN, at=held)))
    exits = [each for each in found.differences if each.what == "exit"]

    assert exits
    assert exits[0].kind == "operator"
    assert exits[0].happened == "order: operator"


def test_a_position_that_somebody_closed_by_hand_is_operator(clean):
    """The venue tells a deal of an order that nobody here gave."""
    records, deal = spoilt(clean, 3, lambda deal: msgspec.structs.replace(deal, client_order_id="", cause="order"))
    found = adds_up(parity(records))

    assert deal.cause == "order" or deal.level_e5
    assert [(each.kind, each.what, each.happened) for each in found.differences] == [
        ("operator", "exit", "order: of nobody here")
    ]


def without_trade(records, intent_id):
    """The day as if nobody had wished this entry: what a forecast that never came makes of it."""
    gone = {intent_id}
    positions = {each.message.position_id for each in records
                 if isinstance(each.message, m.OrderFilled) and each.message.client_order_id == intent_id}  # fmt: skip
    gone |= {each.message.client_order_id for each in records
             if isinstance(each.message, m.SubmitOrder) and each.message.position_id in positions}  # fmt: skip
    return [
        each for each in records
        if getattr(each.message, "client_order_id", None) not in gone
        and getattr(each.message, "intent_id", None) not in gone
        and getattr(each.message, "position_id", None) not in positions
    ]  # fmt: skip


def test_a_forecast_that_came_too_late_is_model(clean):
    order = entries_of(clean)[4]
    intent = next(each.message for each in clean
                  if isinstance(each.message, m.Intent) and each.message.intent_id == order.intent_id)  # fmt: skip
    records = []
    for record in without_trade(clean, order.intent_id):
        message = record.message
        if isinstance(message, m.CalibratedForecast) and message.request_id == intent.request_id:
            message = m.ForecastMissed(request_id=message.request_id, symbol=message.symbol, model_id=message.model_id,
                                       reason="late", detail="", ts_init_ns=message.ts_init_ns)  # fmt: skip
        records.append(Record(record.seq, record.kind, message))
    found = adds_up(parity(records))
    first = found.differences[0]

    assert (first.kind, first.what, first.follows) == ("model", "missing", 0)
    assert "too late" in first.happened
    assert kinds(found).keys() == {"model"}


def test_a_forecast_that_never_came_is_model_when_the_model_is_asked_again(tmp_path, clean):
    order = entries_of(clean)[4]
    intent = next(each.message for each in clean
                  if isinstance(each.message, m.Intent) and each.message.intent_id == order.intent_id)  # fmt: skip

    async def silent_once(request):
        if request.request_id == intent.request_id:
            return [m.ForecastMissed(request_id=request.request_id, symbol=request.symbol, model_id="scripted-0",
                                     reason="error", detail="x", ts_init_ns=request.as_of_ns)]  # fmt: skip
        return await scripted_forecasts(request)

    records = day(tmp_path, ask=silent_once)
    assert parity(records).agrees, "who is not asked again says nothing else"
    (request,) = [each for each in requests_of(records, 0, 2**63 - 1) if each.request_id == intent.request_id]
    found = adds_up(parity(records, answers={request.request_id: asyncio.run(scripted_forecasts(request))}))
    first = found.differences[0]

    assert (first.kind, first.what, first.follows) == ("model", "missing", 0)
    assert first.ts_ns == intent.ts_init_ns or abs(first.ts_ns - intent.ts_init_ns) <= 20 * NS_PER_MS
    assert all(each.follows for each in found.differences[1:])


def test_what_nothing_explains_is_unknown(clean):
    order = entries_of(clean)[4]
    found = adds_up(parity(without_trade(clean, order.intent_id)))

    assert (found.differences[0].kind, found.differences[0].what) == ("unknown", "missing")
    assert found.differences[0].happened == "no wish to enter"


def test_a_stop_that_the_venue_did_not_execute_is_price(tmp_path):
    """The venue sleeps through the first stop that its prices reach."""
    made = []

    def run(asleep):
        told = Told(tmp_path / str(asleep), synthetic_quotes(900, sigma_e5=120))
        protect, slept = told.venue._matcher.protect, []

        def sleepy(market, now_ns, facts):
            before = {name: position.stop_loss_e5 for name, position in market.positions.items()}
            if asleep:
                for position in market.positions.values():
                    slept.append(position.position_id)
                    if position.position_id == slept[0]:
                        position.stop_loss_e5 = 0
            protect(market, now_ns, facts)
            for name, stop in before.items():
                if name in market.positions:
                    market.positions[name].stop_loss_e5 = stop

        told.venue._matcher.protect = sleepy
        made.append(told.run())
        return list(read(tmp_path / str(asleep)))

    undisturbed = run(False)
    stopped = [each.message for each in undisturbed if isinstance(each.message, m.OrderFilled)
               and each.message.cause == "stop_loss"]  # fmt: skip
    assert stopped, "some stop is reached on these prices"
    found = adds_up(parity(run(True)))
    exits = [each for each in found.differences if each.what == "exit"]
    if stopped[0].position_id == "P1":
        assert exits[0].kind == "price"
        assert exits[0].should == "stop_loss"


# --- the command, the night --------------------------------------------------------------------------------------


def test_a_trading_day_is_named_by_its_end_and_last_is_the_newest_that_ended():
    from_ns, to_ns = bounds_of("2018-05-01", 0)
    assert name_of(from_ns) == "2018-05-01"
    assert trading_day(from_ns) == trading_day(to_ns - 1) == trading_day(from_ns - 1) + 1
    assert bounds_of("last", to_ns) == (from_ns, to_ns)
    assert bounds_of("last", to_ns - 1)[1] == from_ns
    sunday = START_NS + 5 * 24 * NS_PER_HOUR
    assert name_of(bounds_of("last", sunday)[0]) == "2018-05-04", "the weekend had none"
    with pytest.raises(ConfigError, match="write one as 2018-05-01"):
        bounds_of("yesterday", 0)


def test_a_day_of_which_the_journal_has_nothing_is_refused(clean):
    with pytest.raises(ConfigError, match="nothing of this time"):
        check_day(clean, bounds_of("2030-01-02", 0))


def test_the_command_lists_differences_and_writes_them_beside_the_journal(clean, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    order = entries_of(clean)[4]
    journal = Journal(tmp_path / "state" / "runs" / "0001" / "journal")
    for record in without_trade(clean, order.intent_id):
        journal.append(record.kind, record.message)
    journal.close()
    state = ["--state", str(tmp_path / "state")]

    shown = CliRunner().invoke(cli, ["parity", *state])
    assert shown.exit_code == 0, shown.output
    assert "unknown" in shown.output
    said = json.loads(CliRunner().invoke(cli, ["parity", *state, "--write", "--json"]).output)
    written = json.loads((tmp_path / "state" / "runs" / "0001" / "parity" / "run.json").read_text())
    assert written == said["parity"]
    assert [row["kind"] for row in written["by_kind"]] == list(KINDS)
    assert written["differences"][0]["kind"] == "unknown"


def test_a_metronome_that_is_slowed_down_is_paired_beat_by_beat(tmp_path):
    """A strategy without forecasts: wishes are paired by their moments."""
    beat = CoreSettings(strategies=(StrategySettings(name="metronome", params={"every_quotes": 40}),))
    slow = Latencies(model_latency_ns=0, order_latency_ns=3 * NS_PER_S, fact_latency_ns=NS_PER_S)
    found = adds_up(parity(day(tmp_path, busy_quotes(), settings=beat, latencies=slow)))

    assert found.entries > 20
    assert kinds(found).keys() <= {"latency"}

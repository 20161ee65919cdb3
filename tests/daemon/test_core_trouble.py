"""What the core does when prices, forecasts, venues and markets are not as they should be."""

import itertools

import msgspec
import pytest

from adapters.exchange import ExecutionModel
from bus.messages import (
    Bar,
    CalibratedForecast,
    CancelOrder,
    ClockTick,
    Forecast,
    ForecastRequested,
    HaltLatched,
    HaltLevel,
    HaltTrading,
    HorizonForecast,
    Intent,
    OrderAccepted,
    OrderFilled,
    OrderRejected,
    ProtectionChanged,
    Quote,
    SubmitOrder,
)
from bus.values import NS_PER_DAY, NS_PER_HOUR, NS_PER_S, OrderType, Side
from daemon.core import Core, CoreSettings, StrategySettings
from tests.harness.disasters import with_resting
from tests.harness.paper import MODEL, START_NS, exchange, opening

FRIDAY_NIGHT_NS = START_NS + 3 * NS_PER_DAY + 22 * NS_PER_HOUR  # an hour after the market has closed


def quote(at, bid=120_000, ask=120_008, symbol="EURUSD"):
    return Quote(symbol=symbol, bid_e5=bid, ask_e5=ask, ts_event_ns=at, ts_init_ns=at)


class Bench:
    """A core that has started, and all it says."""

    def __init__(self, *strategies, hedged=True):
        settings = CoreSettings(strategies=strategies or (StrategySettings(name="interval"),))
        self.core, self.seq = Core(), 0
        for message in [*opening(settings, hedged=hedged), exchange().snapshot(START_NS)]:
            self.tell(message)

    def tell(self, message, *kinds):
        self.seq += 1
        said = self.core.process(self.seq, message)
        return [each for each in said if not kinds or isinstance(each, kinds)]

    def open(self, at, *, stop=119_000, position="P1"):
        """A position that the venue tells of."""
        self.tell(quote(at))
        self.tell(
            OrderFilled(
                deal_id=f"D{position}", client_order_id=f"X{position}", order_id="O1", position_id=position,
                symbol="EURUSD", side=Side.BUY, volume_e2=1_000_000, price_e5=120_008, closing=False, cause="order",
                remaining_e2=1_000_000, commission=0, gross_profit=0, booked_commission=0, booked_swap=0,
                conversion_fee=0, balance=1_000_000, bid_e5=120_000, ask_e5=120_008, ts_event_ns=at, ts_init_ns=at,
            )
        )  # fmt: skip
        self.tell(
            ProtectionChanged(position_id=position, symbol="EURUSD", stop_loss_e5=stop, take_profit_e5=0,
                              trailing_e5=0, ts_event_ns=at, ts_init_ns=at)
        )  # fmt: skip

    def refuse(self, order, at, code="REJECTED"):
        return self.tell(
            OrderRejected(client_order_id=order.client_order_id, symbol="EURUSD", code=code, text="", ts_event_ns=at,
                          ts_init_ns=at)
        )  # fmt: skip


def halt(at, level=HaltLevel.FLATTEN):
    return HaltTrading(level=level, source="web", operator="mo", reason="drill", ts_init_ns=at)


@pytest.mark.parametrize(("bid", "ask"), [(0, 120_008), (-5, 8), (120_008, 120_000), (120_000, 10**15)])
def test_an_impossible_quote_makes_no_bar_and_is_counted(bid, ask):
    bench = Bench()
    bench.tell(quote(START_NS + 1))
    bench.tell(quote(START_NS + 2, bid, ask))
    (bar,) = bench.tell(ClockTick(ts_init_ns=START_NS + NS_PER_HOUR), Bar)

    assert (bar.low_e5, bar.high_e5, bar.quotes) == (120_000, 120_000, 1)
    assert bench.core.counters.quotes_impossible == 1


def asked(bench, at=START_NS):
    bench.tell(quote(at + 1))
    (request,) = bench.tell(ClockTick(ts_init_ns=at + NS_PER_HOUR), ForecastRequested)
    return request


def answer(request, at, **changes):
    forecast = Forecast(
        request_id=request.request_id, symbol="EURUSD", model_id=MODEL, as_of_ns=request.as_of_ns,
        expires_ns=request.deadline_ns, ts_init_ns=at,
        horizons=tuple(HorizonForecast(horizon=h, point_e5=120_000, sigma_e5=50) for h in request.horizons),
    )  # fmt: skip
    return msgspec.structs.replace(forecast, **changes)


def test_the_same_answer_told_twice_counts_once():
    bench = Bench()
    request = asked(bench)
    at = START_NS + NS_PER_HOUR + 1

    assert bench.tell(answer(request, at), CalibratedForecast)
    assert not bench.tell(answer(request, at), CalibratedForecast)
    assert bench.core.counters.forecasts_unasked == 1


def test_an_answer_about_another_bar_is_no_answer():
    bench = Bench()
    request = asked(bench)

    assert not bench.tell(answer(request, START_NS + NS_PER_HOUR + 1, as_of_ns=START_NS), CalibratedForecast)


@pytest.mark.parametrize(("point", "sigma"), [(0, 50), (-120_000, 50), (10**17, 50), (120_000, 0), (120_000, 10**17),
                                          (float("nan"), 50), (120_000, float("inf")), (120_000.5, 50)])  # fmt: skip
def test_a_forecast_of_impossible_numbers_is_no_forecast_and_is_counted(point, sigma):
    bench = Bench()
    request = asked(bench)
    horizons = (HorizonForecast(horizon=4, point_e5=point, sigma_e5=sigma),)

    assert not bench.tell(answer(request, START_NS + NS_PER_HOUR + 1, horizons=horizons))
    assert bench.core.counters.forecasts_impossible == 1


def test_a_horizon_that_has_passed_before_the_answer_came_teaches_nothing():
    bench = Bench()
    run = msgspec.structs.replace(opening()[0], period_ns=NS_PER_S)
    bench.core, bench.seq = Core(), 0
    for message in [run, *opening()[1:2], exchange().snapshot(START_NS)]:
        bench.tell(message)
    bench.tell(quote(START_NS + 1))
    (request,) = bench.tell(ClockTick(ts_init_ns=START_NS + NS_PER_S), ForecastRequested)
    bench.tell(quote(START_NS + NS_PER_S + 1))
    bench.tell(ClockTick(ts_init_ns=START_NS + 2 * NS_PER_S))
    (calibrated,) = bench.tell(answer(request, START_NS + 2 * NS_PER_S + 1), CalibratedForecast)

    assert [view.horizon for view in calibrated.horizons] == [4, 24]


def test_a_close_is_not_asked_of_a_closed_market_and_comes_when_it_opens():
    bench = Bench()
    bench.open(START_NS + 1)
    assert not bench.tell(halt(FRIDAY_NIGHT_NS), Intent)
    for second in range(0, 7_200, 60):
        assert not bench.tell(ClockTick(ts_init_ns=FRIDAY_NIGHT_NS + second * NS_PER_S), Intent)

    monday = START_NS + 6 * NS_PER_DAY
    assert bench.tell(ClockTick(ts_init_ns=monday), SubmitOrder)


def test_a_close_that_is_refused_again_and_again_is_repeated_ever_more_slowly():
    bench = Bench()
    bench.open(START_NS + 1)
    at, sent = START_NS + NS_PER_S, []
    bench.refuse(bench.tell(halt(at), SubmitOrder)[0], at)
    for second in range(1, 601):
        now = at + second * NS_PER_S
        for order in bench.tell(ClockTick(ts_init_ns=now), SubmitOrder):
            sent.append(second)
            bench.refuse(order, now)

    assert sent[:5] == [1, 3, 7, 15, 31]
    assert all(later - earlier == 60 for earlier, later in itertools.pairwise(sent[6:]))
    assert len(sent) < 20


@pytest.mark.parametrize("level", [HaltLevel.CANCEL_ENTRIES, HaltLevel.FLATTEN])
def test_an_entry_that_comes_to_rest_after_the_halt_is_withdrawn(level, monkeypatch):
    with_resting(monkeypatch)
    bench = Bench(StrategySettings(name="resting", params={"every_quotes": 1}))
    (order,) = bench.tell(quote(START_NS + 1), SubmitOrder)
    assert order.order_type in {OrderType.LIMIT, OrderType.STOP}
    assert not bench.tell(halt(START_NS + 2, level), CancelOrder)
    accepted = OrderAccepted(client_order_id=order.client_order_id, order_id="O1", symbol="EURUSD",
                             ts_event_ns=START_NS + 3, ts_init_ns=START_NS + 3)  # fmt: skip

    assert [cancel.client_order_id for cancel in bench.tell(accepted, CancelOrder)] == [order.client_order_id]
    bench.refuse(order, START_NS + 4, code="TIMEOUT")
    assert bench.tell(ClockTick(ts_init_ns=START_NS + 5), CancelOrder)


def test_a_position_of_which_we_learn_late_is_not_closed_before_its_levels_can_be_told():
    bench = Bench()
    late = 60 * NS_PER_S
    at = START_NS + NS_PER_S
    fill = OrderFilled(
        deal_id="D1", client_order_id="X", order_id="O1", position_id="P1", symbol="EURUSD", side=Side.BUY,
        volume_e2=1_000_000, price_e5=120_008, closing=False, cause="order", remaining_e2=1_000_000, commission=0,
        gross_profit=0, booked_commission=0, booked_swap=0, conversion_fee=0, balance=1_000_000, bid_e5=120_000,
        ask_e5=120_008, ts_event_ns=at, ts_init_ns=at + late,
    )  # fmt: skip
    bench.tell(quote(at))
    assert not bench.tell(fill, Intent)

    # Levels that do not come within the time allowed are a missing stop, whoever was late.
    assert not bench.tell(quote(at + late + 9 * NS_PER_S), Intent)
    (exit_order,) = bench.tell(quote(at + late + 11 * NS_PER_S), SubmitOrder)
    assert exit_order.reason == "unprotected"


def test_a_halt_before_the_first_quote_holds():
    bench = Bench(StrategySettings(name="metronome", params={"every_quotes": 1}))
    assert bench.tell(halt(START_NS, HaltLevel.NO_NEW_RISK), HaltLatched)

    assert not bench.tell(quote(START_NS + 1), SubmitOrder)


def test_the_rest_of_an_order_that_opens_another_position_brings_its_stop_again():
    venue = exchange(hedged=True, model=ExecutionModel(liquidity_e2=500_000, depth_levels=1, slippage_points=0,
                                                       slippage_jitter_points=0))  # fmt: skip
    at = START_NS
    venue.on_quote(quote(at))
    entry = SubmitOrder(client_order_id="a", intent_id="a", strategy="s", symbol="EURUSD", side=Side.BUY,
                        order_type=OrderType.LIMIT, volume_e2=1_500_000, reference_e5=120_008, limit_e5=120_008,
                        time_in_force="gtc", stop_loss_e5=119_900, ts_init_ns=at)  # fmt: skip
    venue.execute(entry, at)
    assert venue.positions[0].stop_loss_e5 == 119_900
    (first,) = venue.positions
    leave = SubmitOrder(client_order_id="b", intent_id="b", strategy="s", symbol="EURUSD", side=Side.SELL,
                        order_type=OrderType.MARKET, volume_e2=500_000, reference_e5=120_000,
                        position_id=first.position_id, ts_init_ns=at)  # fmt: skip
    venue.execute(leave, at)
    venue.on_quote(quote(at + 1))

    (second,) = venue.positions
    assert second.position_id != first.position_id
    assert second.stop_loss_e5 == 119_900

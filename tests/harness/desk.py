"""A demo account's journal written message by message: plain defaults, times in nanoseconds after T.

`day()` is one whole trading day with every kind of deal in it, of which tests know each figure.
"""

from bus import messages as m
from bus.values import NS_PER_HOUR, NS_PER_S, OrderType, Side, default_instrument
from risk.adherence.records import Money, Trade

T = 1_525_176_000 * 10**9  # Tuesday, 1 May 2018, 12:00 UTC: the trading day 2018-05-01, the week 2018-W18
HOUR, S = NS_PER_HOUR, NS_PER_S
BUY, SELL = Side.BUY, Side.SELL
RIDGE, OTHER = "ridge-1", "tree-2"


def numbered(messages):
    return list(enumerate(messages, start=1))


def run(at=0, *, symbols=("EURUSD", "USDJPY"), config='{"risk":{}}', **more):
    values = {"run_id": "h", "schema": 1, "mode": "demo", "currency": "USD", "money_digits": 2, "leverage": 30,
              "hedged": True, "period_ns": HOUR, "horizons": (1, 4), "levels_ppm": (900_000, 500_000),
              "instruments": tuple(default_instrument(symbol) for symbol in symbols)} | more  # fmt: skip
    return m.RunStarted(config_json=config, ts_init_ns=T + at, **values)


def snapshot(at=0, balance=1_000_000, positions=(), account="a"):
    return m.AccountSnapshot(account_id=account, currency="USD", money_digits=2, hedged=True, leverage=30,
                             balance=balance, positions=tuple(positions), orders=(), ts_event_ns=T + at,
                             ts_init_ns=T + at)  # fmt: skip


def held(position="P1", symbol="EURUSD", side=BUY, volume=1_000_000, price=110_000, stop=0, target=0, commission=0,
         swap=0, opened=None):  # fmt: skip
    return m.PositionState(position_id=position, symbol=symbol, side=side, volume_e2=volume, price_e5=price,
                           stop_loss_e5=stop, take_profit_e5=target, commission=commission, swap=swap,
                           ts_open_ns=0 if opened is None else T + opened)  # fmt: skip


def quote(at, bid=110_000, ask=110_010, symbol="EURUSD"):
    return m.Quote(symbol=symbol, bid_e5=bid, ask_e5=ask, ts_event_ns=T + at, ts_init_ns=T + at)


def bar(at, close=110_000, symbol="EURUSD", high=None, low=None):
    return m.Bar(symbol=symbol, period_ns=HOUR, ts_open_ns=T + at - HOUR, ts_close_ns=T + at, open_e5=close,
                 high_e5=high or close + 7, low_e5=low or close - 5, close_e5=close, spread_e5=10,
                 quotes=4)  # fmt: skip


def forecast(request, at, model=RIDGE, *, as_of=0, active=True, symbol="EURUSD", horizons=()):
    return m.CalibratedForecast(request_id=request, symbol=symbol, model_id=model, active=active, as_of_ns=T + as_of,
                                expires_ns=T + at + HOUR, close_e5=110_000, horizons=tuple(horizons),
                                ts_init_ns=T + at)  # fmt: skip


def intent(name, at, side=BUY, reference=110_008, *, action="enter", symbol="EURUSD", model=RIDGE, request="q1",
           horizon=4, edge=17, reason="wish", strategy="s1", **more):  # fmt: skip
    return m.Intent(intent_id=name, strategy=strategy, symbol=symbol, action=action, side=side, reason=reason,
                    reference_e5=reference, ts_init_ns=T + at, horizon=horizon, model_id=model, request_id=request,
                    edge_e5=edge, **more)  # fmt: skip


def order(name, at, side=BUY, volume=1_000_000, reference=110_008, *, intent=None, symbol="EURUSD", stop=0, target=0,
          kind=OrderType.MARKET, position="", reason="order", expected=0, strategy="s1", **more):  # fmt: skip
    return m.SubmitOrder(client_order_id=name, intent_id=intent or f"i-{name}", strategy=strategy, symbol=symbol,
                         side=side, order_type=kind, volume_e2=volume, reference_e5=reference, ts_init_ns=T + at,
                         stop_loss_e5=stop, take_profit_e5=target, position_id=position, reason=reason,
                         expected_profit=expected, **more)  # fmt: skip


def accepted(name, at, *, told=None, sent=None, symbol="EURUSD"):
    return m.OrderAccepted(client_order_id=name, order_id=f"o-{name}", symbol=symbol, ts_event_ns=T + at,
                           ts_init_ns=T + (at if told is None else told),
                           ts_sent_ns=0 if sent is None else T + sent)  # fmt: skip


def rejected(name, at, code="NO_MONEY", text="margin 0.00", *, sent=None, symbol="EURUSD"):
    return m.OrderRejected(client_order_id=name, symbol=symbol, code=code, text=text, ts_event_ns=T + at,
                           ts_init_ns=T + at, ts_sent_ns=0 if sent is None else T + sent)  # fmt: skip


def cancelled(name, at, reason="IOC", filled=0, symbol="EURUSD"):
    return m.OrderCancelled(client_order_id=name, symbol=symbol, reason=reason, filled_e2=filled, ts_event_ns=T + at,
                            ts_init_ns=T + at)  # fmt: skip


def expired(name, at, symbol="EURUSD"):
    return m.OrderExpired(client_order_id=name, symbol=symbol, filled_e2=0, ts_event_ns=T + at, ts_init_ns=T + at)


def unknown(name, at, symbol="EURUSD"):
    return m.OrderUnknown(client_order_id=name, symbol=symbol, ts_init_ns=T + at)


def refused(name, at, rule="spread", limit="1.0 pips", value="2.0 pips", *, strategy="s1", symbol="EURUSD"):
    return m.IntentRefused(intent_id=name, strategy=strategy, symbol=symbol, rule=rule, limit=limit, value=value,
                           would_pass=f"{limit} or less", ts_init_ns=T + at)  # fmt: skip


def deal(name, at, side, volume, price, *, position="P1", order="", bid=None, ask=None, told=None, closing=False,
         left=0, balance=1_000_000, symbol="EURUSD", done=True, **more):  # fmt: skip
    values = {"cause": "order" if order else "stop_loss", "commission": 0, "gross_profit": 0, "booked_commission": 0,
              "booked_swap": 0, "conversion_fee": 0} | more  # fmt: skip
    bid = (price if side < 0 else price - 10) if bid is None else bid
    return m.OrderFilled(
        deal_id=name, client_order_id=order, order_id="o", position_id=position, symbol=symbol, side=side,
        volume_e2=volume, price_e5=price, closing=closing, remaining_e2=left, balance=balance, bid_e5=bid,
        ask_e5=bid + 10 if ask is None else ask, ts_event_ns=T + at, ts_init_ns=T + (at + 5 if told is None else told),
        order_done=done, **values,
    )  # fmt: skip


def levels(at, stop, target=0, position="P1", symbol="EURUSD"):
    return m.ProtectionChanged(position_id=position, symbol=symbol, stop_loss_e5=stop, take_profit_e5=target,
                               trailing_e5=0, ts_event_ns=T + at, ts_init_ns=T + at)  # fmt: skip


def swap(at, amount, position="P1", symbol="EURUSD"):
    return m.SwapCharged(position_id=position, symbol=symbol, amount=amount, nights=1, ts_event_ns=T + at,
                         ts_init_ns=T + at + 3)  # fmt: skip


def moved(name, at, delta, balance, cause="cash"):
    return m.BalanceMoved(move_id=name, cause=cause, delta=delta, balance=balance, ts_event_ns=T + at,
                          ts_init_ns=T + at)  # fmt: skip


def a_trade(number=1, **fields):
    """The record of a closed trade in which nothing happened, but for the fields given."""
    values = dict.fromkeys(Trade.__struct_fields__, 0) | {
        "number": number, "position_id": "P1", "symbol": "EURUSD", "strategy": "s", "model_id": RIDGE, "horizon": 4,
        "side": 1, "reason": "", "exit_reason": "", "cause": "order", "ts_close_ns": 9, "protect_ns": 0,
        "decision_ns": None, "send_ns": None, "accept_ns": None, "fill_ns": None, "money": Money(),
        "client_order_id": "", "intent_id": "", "request_id": "",
    } | fields  # fmt: skip
    return Trade(**values)


def day():
    """A long position in two deals that an order closes in two, and a short one in yen that its stop closes."""
    return [
        run(),
        bar(-HOUR),  # before any price: history
        snapshot(),
        quote(1),
        quote(2, 10_900_000, 10_901_000, "USDJPY"),
        forecast("q1", 18, as_of=10),
        intent("i-c1", 20),
        order("c1", 25, volume=1_500_000, stop=109_900, target=110_200, expected=444),
        accepted("c1", 50, told=75, sent=30),
        deal("d1", 80, BUY, 1_000_000, 110_011, order="c1", bid=110_000, ask=110_010, told=90, left=1_000_000,
             commission=-31, done=False),
        deal("d2", 100, BUY, 300_001, 110_015, order="c1", bid=110_003, ask=110_014, told=110, left=1_300_001,
             commission=-9, done=False),
        cancelled("c1", 120, "no more volume", 1_300_001),
        levels(130, 109_900, 110_200),
        bar(HOUR),
        forecast("q2", HOUR + 5, OTHER, as_of=HOUR),
        intent("i-c2", HOUR + 9, SELL, 10_900_000, symbol="USDJPY", model=OTHER, request="q2", horizon=1,
               strategy="s2"),
        order("c2", HOUR + 10, SELL, 2_000_000, 10_900_000, symbol="USDJPY", stop=10_930_000, strategy="s2"),
        deal("d3", HOUR + 60, SELL, 2_000_000, 10_899_000, position="P2", order="c2", symbol="USDJPY",
             bid=10_899_500, ask=10_900_500, told=HOUR + 66, left=2_000_000, commission=-60),
        levels(HOUR + 70, 10_930_000, position="P2", symbol="USDJPY"),
        bar(2 * HOUR),
        bar(2 * HOUR, 10_900_000, "USDJPY"),
        swap(10 * HOUR, -71),
        swap(10 * HOUR, 13, "P2", "USDJPY"),
        quote(11 * HOUR, 110_050, 110_062),
        intent("i-x1", 11 * HOUR, SELL, 110_050, action="exit", model="", request="", horizon=0, reason="over",
               position_id="P1"),
        order("x1", 11 * HOUR + 4, SELL, 1_300_001, 110_050, position="P1", reason="over"),
        accepted("x1", 11 * HOUR + 40, told=11 * HOUR + 50),
        deal("d4", 11 * HOUR + 60, SELL, 400_000, 110_047, order="x1", bid=110_048, ask=110_060, closing=True,
             left=900_001, commission=-12, gross_profit=140, booked_commission=-24, booked_swap=-22,
             balance=1_000_094, done=False),
        deal("d5", 11 * HOUR + 80, SELL, 900_001, 110_052, order="x1", bid=110_052, ask=110_064, closing=True,
             commission=-27, gross_profit=360, booked_commission=-55, booked_swap=-49, conversion_fee=-4,
             balance=1_000_346),
        quote(12 * HOUR, 10_928_000, 10_929_000, "USDJPY"),
        quote(12 * HOUR + 2 * S, 10_929_500, 10_930_500, "USDJPY"),
        deal("d6", 12 * HOUR + 5 * S, BUY, 2_000_000, 10_932_000, position="P2", symbol="USDJPY", closing=True,
             bid=10_930_600, ask=10_931_600, cause="stop_loss", level_e5=10_930_000, commission=-61,
             gross_profit=-6_040, booked_commission=-121, booked_swap=13, conversion_fee=-3, balance=994_195),
        moved("cash-1", 13 * HOUR, 5_000, 999_195),
        quote(13 * HOUR + 1, 110_040, 110_050),
    ]  # fmt: skip


# --- what the trades of `day` earn ----------------------------------------------------------------------------------

# Bought 10,000 and 3,000.01 EUR at 3 and 7 points worse than the 1.10008 that the decision saw: 0.30 and 0.21 USD, of
# which the market had moved 2 and 6 points: 0.20 and 0.18. Half of spreads of 10 and 11 points: 0.50 and 0.17 (0.165).
# Sold 4,000 and 9,000.01 EUR at 3 points worse (2 by the market) and 2 better (all of it): -0.12 and +0.18, delays
# -0.08 and +0.18; half of spreads of 12 points: 0.24 and 0.54.
LONG = Money(before_costs=500 + 145 + 45, spread=-50 - 17 - 24 - 54, slippage=-30 - 21 - 12 + 18, gross=500,
             commission=-31 - 9 - 12 - 27, swap=-71, conversion_fee=-4, net=346,
             delay=-20 - 18 - 8 + 18, impact=-17)  # fmt: skip
# Sold 20,000 USD for yen 1,000 points (half of them the market's) below what was seen, at 109.005 yen a dollar: 1.83
# and 0.92 USD; stopped 2,000 points (1,600 the market's) above the stop, at 109.30: 3.66 and 2.93; half of 1.83 twice.
SHORT = Money(before_costs=-6_040 + 184 + 549, spread=-92 - 92, slippage=-183 - 366, gross=-6_040, commission=-121,
              swap=13, conversion_fee=-3, net=-6_151, delay=-92 - 293, impact=-164)  # fmt: skip
TOTAL = Money(before_costs=-4_617, spread=-329, slippage=-594, gross=-5_540, commission=-200, swap=-58,
              conversion_fee=-7, net=-5_805, delay=-413, impact=-181)  # fmt: skip

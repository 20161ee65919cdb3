"""A small synthetic journal as (sequence number, message) pairs: two symbols, trades, refusals, forecasts, a halt."""

from bus import messages as m
from bus.values import NS_PER_HOUR, OrderType, Side, default_instrument

START_NS = 1_500_000_000 * 10**9
BALANCE = 1_000_000
SYMBOL = "EURUSD"


def run_started(run_id="r1", ts_init_ns=START_NS):
    return m.RunStarted(
        run_id=run_id,
        schema=1,
        mode="paper",
        currency="USD",
        money_digits=2,
        leverage=30,
        hedged=True,
        period_ns=NS_PER_HOUR,
        horizons=(1, 4, 24),
        levels_ppm=(900_000, 200_000),
        instruments=(default_instrument(SYMBOL),),
        config_json="{}",
        ts_init_ns=ts_init_ns,
    )


def snapshot(ts=START_NS, balance=BALANCE, positions=()):
    return m.AccountSnapshot(
        account_id="paper",
        currency="USD",
        money_digits=2,
        hedged=True,
        leverage=30,
        balance=balance,
        positions=tuple(positions),
        orders=(),
        ts_event_ns=ts,
        ts_init_ns=ts,
    )


def quote(bid_e5, ts, spread_e5=10, symbol=SYMBOL):
    return m.Quote(symbol=symbol, bid_e5=bid_e5, ask_e5=bid_e5 + spread_e5, ts_event_ns=ts, ts_init_ns=ts)


def submit(number, ts, side=Side.BUY, volume_e2=10_000_000, position_id="", reason="test"):
    return m.SubmitOrder(
        client_order_id=f"r1-{number}",
        intent_id=f"i{number}",
        strategy="interval",
        symbol=SYMBOL,
        side=side,
        order_type=OrderType.MARKET,
        volume_e2=volume_e2,
        reference_e5=110_000,
        stop_loss_e5=0 if position_id else 109_000,
        position_id=position_id,
        reason=reason,
        ts_init_ns=ts,
    )


def fill(number, order, ts, price_e5, position_id, balance, remaining_e2, **money):
    values = {
        "commission": -300,
        "gross_profit": 0,
        "booked_commission": 0,
        "booked_swap": 0,
        "conversion_fee": 0,
        "closing": bool(order.position_id),
        "cause": "order",
    } | money
    return m.OrderFilled(
        deal_id=f"d{number}",
        client_order_id=order.client_order_id,
        order_id=f"o{number}",
        position_id=position_id,
        symbol=SYMBOL,
        side=order.side,
        volume_e2=money.pop("volume_e2", order.volume_e2),
        price_e5=price_e5,
        remaining_e2=remaining_e2,
        balance=balance,
        bid_e5=price_e5,
        ask_e5=price_e5 + 10,
        ts_event_ns=ts,
        ts_init_ns=ts,
        **{name: value for name, value in values.items() if name != "volume_e2"},
    )


def band(level_ppm, lower_e5, upper_e5, bounded=True):
    return m.Band(level_ppm=level_ppm, lower_e5=lower_e5, upper_e5=upper_e5, bounded=bounded)


def calibrated(ts, point_e5=110_050, half_e5=80, active=True, model_id="ridge"):
    horizons = tuple(
        m.CalibratedHorizon(
            horizon=horizon,
            point_e5=point_e5,
            sigma_e5=50,
            bands=(
                band(900_000, point_e5 - half_e5 * scale, point_e5 + half_e5 * scale),
                band(200_000, point_e5 - 10 * scale, point_e5 + 10 * scale),
            ),
        )
        for scale, horizon in ((1, 1), (2, 4), (4, 24))
    )
    return m.CalibratedForecast(
        request_id=f"{SYMBOL}-{ts}",
        symbol=SYMBOL,
        model_id=model_id,
        active=active,
        as_of_ns=ts,
        expires_ns=ts + NS_PER_HOUR,
        close_e5=110_000,
        horizons=horizons,
        ts_init_ns=ts,
    )


def resolved(ts, horizon=1, actual_e5=110_000, covered=True, active=True, model_id="ridge"):
    return m.ForecastResolved(
        symbol=SYMBOL,
        model_id=model_id,
        active=active,
        horizon=horizon,
        as_of_ns=ts,
        close_e5=110_000,
        point_e5=110_010,
        sigma_e5=40,
        actual_e5=actual_e5,
        bands=(band(900_000, 109_900, 110_100), band(200_000, 110_000, 110_020)),
        covered=(covered, False),
        ts_init_ns=ts + horizon * NS_PER_HOUR,
    )


def refused(number, ts, rule="spread"):
    return m.IntentRefused(
        intent_id=f"x{number}",
        strategy="interval",
        symbol=SYMBOL,
        rule=rule,
        limit="2.0 pips",
        value="3.1 pips",
        would_pass="a spread of 2.0 pips or less",
        ts_init_ns=ts,
    )


def bar(ts_close_ns, close_e5):
    return m.Bar(
        symbol=SYMBOL,
        period_ns=NS_PER_HOUR,
        ts_open_ns=ts_close_ns - NS_PER_HOUR,
        ts_close_ns=ts_close_ns,
        open_e5=close_e5,
        high_e5=close_e5 + 20,
        low_e5=close_e5 - 20,
        close_e5=close_e5,
        spread_e5=10,
        quotes=4,
    )


def trade(number, ts, balance, profit):
    """Open, get protection, pay a night's swap, close: told as a venue tells it, each deal twice."""
    opening = submit(2 * number, ts)
    position_id = f"p{number}"
    closing = submit(2 * number + 1, ts + 1000, side=Side.SELL, position_id=position_id)
    after = balance + profit - 600 - 70
    closed = fill(
        2 * number + 1,
        closing,
        ts + 2000,
        110_000 + profit // 100,
        position_id,
        after,
        0,
        gross_profit=profit,
        booked_commission=-600,
        booked_swap=-70,
    )
    opened = fill(2 * number, opening, ts + 10, 110_000, position_id, balance, opening.volume_e2)
    messages = [
        opening,
        m.OrderAccepted(
            client_order_id=opening.client_order_id,
            order_id=f"o{2 * number}",
            symbol=SYMBOL,
            ts_event_ns=ts,
            ts_init_ns=ts,
        ),
        opened,
        opened,
        m.ProtectionChanged(
            position_id=position_id,
            symbol=SYMBOL,
            stop_loss_e5=109_000,
            take_profit_e5=111_000,
            trailing_e5=0,
            ts_event_ns=ts + 10,
            ts_init_ns=ts + 10,
        ),
        m.SwapCharged(
            position_id=position_id, symbol=SYMBOL, amount=-70, nights=1, ts_event_ns=ts + 500, ts_init_ns=ts + 500
        ),
        closing,
        closed,
        closed,
    ]
    return messages, after


def journal(trades=6, run_id="r1"):
    """All kinds of record that a projection looks at, numbered from 1."""
    messages = [run_started(run_id), snapshot()]
    balance = BALANCE
    for number in range(trades):
        ts = START_NS + (number + 1) * NS_PER_HOUR
        messages += [quote(110_000 + number * 10 + part, ts - NS_PER_HOUR + part) for part in range(4)]
        messages += [bar(ts, 110_000 + number * 10), calibrated(ts)]
        messages += [resolved(ts, horizon, covered=number % 3 != 0) for horizon in (1, 4, 24)]
        told, balance = trade(number, ts + 100, balance, 5_000 if number % 2 else -2_500)
        messages += told
        messages.append(refused(number, ts + 50, rule="spread" if number % 2 else "exposure"))
    now = START_NS + (trades + 2) * NS_PER_HOUR
    rejected, lost, resting = submit(900, now), submit(901, now), submit(902, now)
    messages += [
        rejected,
        m.OrderRejected(
            client_order_id="r1-900", symbol=SYMBOL, code="NOT_ENOUGH_MONEY", text="", ts_event_ns=now, ts_init_ns=now
        ),
        lost,
        m.OrderUnknown(client_order_id="r1-901", symbol=SYMBOL, ts_init_ns=now),
        resting,
        m.OrderCancelled(
            client_order_id="r1-902", symbol=SYMBOL, reason="halt", filled_e2=0, ts_event_ns=now, ts_init_ns=now
        ),
        m.HaltLatched(
            level=m.HaltLevel.NO_NEW_RISK, rule="daily_loss", limit="2 %", value="2.1 %", reason="x", ts_init_ns=now
        ),
        m.HaltLifted(operator="ann", reason="looked at it", ts_init_ns=now + 5),
        m.RunResumed(reason="after a crash", ts_init_ns=now + 6),
        m.RunEnded(reason="end of data", flatten=True, ts_init_ns=now + 7),
    ]
    return list(enumerate(messages, start=1))


def pattern(name, **facts):
    """A named pattern; `facts` makes it another, or the autoencoder's."""
    fields = {"error_ppm": 0, "threshold_ppm": 0, "percentile": 0.0, "candles": (0,), "model_id": "pattern-rules"}
    return m.PatternSeen(request_id="r", symbol="EURUSD", pattern=name, as_of_ns=5, ts_init_ns=5, **(fields | facts))

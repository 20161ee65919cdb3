"""Short ways to say what an alert hears of, and a story for every rule: a breach, and its end."""

import msgspec

from bus import messages as m
from bus.values import NS_PER_S, Side, default_instrument
from risk.alerts import RULES, Alerts, AlertSettings
from risk.alerts.operation import CLOCK_QUOTES, clock_reading, disk_reading
from risk.alerts.rule import Reading
from risk.policy import Policy
from tests.harness.books import NOW_NS, account, fill, levels, order, quote, rejected

MODEL = "ridge-1"
PERIOD_NS = 3_600 * NS_PER_S


def started(policy=None, symbols=("EURUSD",)):
    settings = msgspec.json.encode({"risk": policy or Policy()}).decode()
    return m.RunStarted(
        run_id="r", schema=1, mode="paper", currency="USD", money_digits=2, leverage=30, hedged=True,
        period_ns=PERIOD_NS, horizons=(1,), levels_ppm=(900_000,),
        instruments=tuple(default_instrument(each) for each in symbols), config_json=settings, ts_init_ns=NOW_NS,
    )  # fmt: skip


def opening(policy=None):
    return [started(policy), account(), quote()]


def tick(ts=NOW_NS):
    return m.ClockTick(ts_init_ns=ts)


def link(up, ts=NOW_NS):
    return m.LinkChanged(up=up, reason="" if up else "reset by peer", ts_init_ns=ts)


def latched(rule="daily_loss", ts=NOW_NS):
    return m.HaltLatched(level=m.HaltLevel.FLATTEN, rule=rule, limit="3 %", value="3.1 %", reason="", ts_init_ns=ts)


def lifted(ts=NOW_NS):
    return m.HaltLifted(operator="ada", reason="looked", ts_init_ns=ts)


def missed(request, symbol="EURUSD", ts=NOW_NS):
    return m.ForecastMissed(request_id=request, symbol=symbol, model_id=MODEL, reason="late", detail="", ts_init_ns=ts)


def came(request, symbol="EURUSD", *, active=True, ts=NOW_NS):
    return m.CalibratedForecast(request_id=request, symbol=symbol, model_id=MODEL, active=active, as_of_ns=ts,
                                expires_ns=ts, close_e5=1, horizons=(), ts_init_ns=ts)  # fmt: skip


def resolved(covered, *, active=True, model=MODEL, ts=NOW_NS):
    band = m.Band(level_ppm=900_000, lower_e5=1, upper_e5=2, bounded=True)
    return m.ForecastResolved(symbol="EURUSD", model_id=model, active=active, horizon=1, as_of_ns=ts, close_e5=1,
                              point_e5=1, sigma_e5=1, actual_e5=1, bands=(band,), covered=(covered,),
                              ts_init_ns=ts)  # fmt: skip


def trade(name, slip_e5=0, side=Side.BUY, volume=100_000, ts=NOW_NS):
    """An entry filled so far from the price that was seen, and closed at once by its stop: nothing stays open."""
    command = order(name, side, volume)
    price = command.reference_e5 + side * slip_e5
    opened = fill(f"D-{name}", command, f"P-{name}", price, remaining=volume, ts=ts)
    back = msgspec.structs.replace(command, side=side.opposite)
    closed = fill(f"C-{name}", back, f"P-{name}", price, closing=True, cause="stop_loss", ts=ts)
    return [command, opened, closed]


def refusal(name, code="NOT_ENOUGH_MONEY"):
    return [order(name), rejected(name, code)]


def cost(raised):
    if raised:
        return m.AlertRaised(rule="cost", subject="EURUSD", severity="warning", value="2", limit="1", advice="wait",
                             ts_init_ns=NOW_NS, size_ppm=500_000)  # fmt: skip
    return m.AlertCleared(rule="cost", subject="EURUSD", severity="warning", value="1", limit="1",
                          ts_raised_ns=NOW_NS, ts_init_ns=NOW_NS)  # fmt: skip


def holding(volume):
    """A position of that volume, with everything that belongs to it."""
    command = order("h", volume=volume)
    return [command, fill("D-h", command, "P-h", command.reference_e5, remaining=volume), levels("P-h", 100_000)]


def priced(bid, ts=NOW_NS):
    return quote(bid=bid, ts=ts)


def apart(ms, start=NOW_NS):
    return [msgspec.structs.replace(quote(ts=start + n), ts_event_ns=start + n - ms * 1_000_000)
            for n in range(2 * CLOCK_QUOTES)]  # fmt: skip


def told(rule, reading, ts=NOW_NS):
    return (rule, reading, ts)


BOUNDS = AlertSettings()
TIGHT = Policy(max_orders_per_minute=0, daily_loss_pct_e2=300, trailing_drawdown_pct_e2=0, max_position_pct_equity=0,
               max_exposure_pct_equity=0, max_leverage_pct=0, min_free_margin_pct=0)  # fmt: skip


def _broken(breached):
    return told("journal", Reading(subject="run", breached=breached, words=lambda: ("EIO", "none")))


# rule -> (policy, what happens to raise exactly one alert of it, what happens to clear it; None = nothing clears it)
STORIES = {
    "slippage": (TIGHT, trade("a", 121), trade("b", 100)),
    "slippage_mean": (TIGHT, [e for n in range(10) for e in trade(f"a{n}", 121)],
                      [e for n in range(10) for e in trade(f"b{n}", 60)]),
    "rejections": (TIGHT, [e for n in range(18) for e in trade(f"a{n}")] + refusal("r1") + refusal("r2"),
                   [e for n in range(30) for e in trade(f"b{n}")]),
    "cost": (TIGHT, [cost(True)], [cost(False)]),
    # 90,000 units on 10,000 USD: a fall of 300 points is 2.7 % of the equity, of 400 points 3.6 %
    "limit_near": (TIGHT, [*holding(9_000_000), priced(119_700)], [priced(120_000)]),
    "limit_reached": (TIGHT, [*holding(9_000_000), priced(119_600)], [priced(120_000)]),
    "books": (TIGHT, [fill("x", order("x"), "P-x", 120_000, closing=True)], None),
    "coverage": (TIGHT, [resolved(n % 3 != 0) for n in range(60)], [resolved(True) for _ in range(250)]),
    "coverage_blocked": None,
    "drift": None,
    "drift_blocked": None,
    "gate": None,
    "forecasts": (TIGHT, [missed("q1"), missed("q1"), missed("q2"), missed("q3")], [came("q4")]),
    "connection": (TIGHT, [link(False)], [link(True)]),
    "halt": (TIGHT, [latched()], [lifted()]),
    "unknown_outcome": (TIGHT, [order("u"), m.OrderUnknown(client_order_id="u", symbol="EURUSD", ts_init_ns=NOW_NS)],
                        [m.OrderAccepted(client_order_id="u", order_id="o", symbol="EURUSD", ts_event_ns=NOW_NS,
                                         ts_init_ns=NOW_NS)]),
    "clock": (TIGHT, apart(1_500), apart(40)),
    "clock_step": (TIGHT, [told("clock_step", clock_reading("m", -2 * 10**9, BOUNDS))],
                   [told("clock_step", clock_reading("m", 0, BOUNDS))]),
    "disk": (TIGHT, [told("disk", disk_reading("/d", 10**8, BOUNDS))],
             [told("disk", disk_reading("/d", 2 * 10**9, BOUNDS))]),
    "journal": (TIGHT, [_broken(True)], None),
    "stopped": (TIGHT, [told("stopped", Reading(subject="run", breached=True, words=lambda: ("x", "y")))], None),
}  # fmt: skip
"""None = the rule hears what another room announces; it has tests of its own."""


def play(alerts: Alerts, happenings):
    """All that is said about what happens, in order."""
    said = []
    for each in happenings:
        said.extend(alerts.tell(*each) if isinstance(each, tuple) else alerts.on(each))
    return said


ADVICE = {rule.name: rule.advice for rule in RULES}


def raised(rule, subject, value, limit, severity="critical", ts=NOW_NS):
    """All that the alert of a rule says."""
    return m.AlertRaised(rule=rule, subject=subject, severity=severity, value=value, limit=limit, advice=ADVICE[rule],
                         ts_init_ns=ts)  # fmt: skip


def cleared(rule, subject, value, limit, severity="critical", since=NOW_NS, ts=NOW_NS):
    """All that its end says."""
    return m.AlertCleared(rule=rule, subject=subject, severity=severity, value=value, limit=limit, ts_raised_ns=since,
                          ts_init_ns=ts)  # fmt: skip


def fresh(policy=None, symbols=("EURUSD",), **bounds):
    """A fold at the beginning of a run."""
    alerts = Alerts(AlertSettings(**bounds))
    play(alerts, [started(policy, symbols), account(), *(quote(each) for each in symbols)])
    return alerts

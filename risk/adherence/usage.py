"""How much of each limit was used at most, worked out again from the journal alone.

Theory of operation. The limits in force stand in `RunStarted.config_json`. Equity floats with every price while a
position is open and is held against the marks from which losses and drawdowns are counted (`risk.watermarks`, fed by
the ledger's own equity); an operator who lifts a halt begins them anew. Exposure and the other limits of an entry are
looked at when its order is decided, the order counted as filled, as the gate does. Limits that nothing here can work
out again are told with their refusals alone.

To add one: a line in LIMITS, and where its use is known a `_peak` of it.
"""

from typing import cast

import msgspec

from bus.calendar import next_rollover_ns
from bus.errors import ConfigError
from bus.messages import IntentRefused, RunStarted, SubmitOrder
from bus.values import NS_PER_S, OrderType, divide_half_away
from risk.adherence.ledger import Ledger
from risk.adherence.rolled import LimitPeak
from risk.policy import Policy
from risk.watermarks import Watermarks

# rule: key in the settings, unit, by how much the key is divided to get the unit
LIMITS: dict[str, tuple[str, str, int]] = {
    "order_volume": ("max_order_lots_e2", "lots", 100),
    "position_size": ("max_position_pct_equity", "% of equity", 1),
    "exposure": ("max_exposure_pct_equity", "% of equity", 1),
    "leverage": ("max_leverage_pct", "% of equity", 1),
    "daily_loss": ("daily_loss_pct_e2", "%", 100),
    "trailing_drawdown": ("trailing_drawdown_pct_e2", "%", 100),
    "weekly_loss": ("losses.weekly_loss_pct_e2", "%", 100),
    "static_drawdown": ("losses.static_drawdown_pct_e2", "%", 100),
    "day_end_drawdown": ("losses.day_end_drawdown_pct_e2", "%", 100),
    "intraday_drawdown": ("losses.intraday_drawdown_pct_e2", "%", 100),
    "order_rate": ("max_orders_per_minute", "orders a minute", 1),
    "spread": ("max_spread_pips_e1", "pips", 10),
    "stop_distance": ("max_stop_distance_pct_e2", "% of the price", 100),
    "stale_quote": ("max_quote_age_s", "s", 1),
}


class _Peak(msgspec.Struct):
    value: float = 0.0
    ts_ns: int = 0


class Usage:
    """Folds one journal's use of its limits; peaks are kept by trading day."""

    def __init__(self, ledger: Ledger, run: RunStarted) -> None:
        self.limits = _limits(run)
        self.peaks: dict[str, dict[int, _Peak]] = {rule: {} for rule in self.limits}
        self.refusals: dict[tuple[int, str], int] = {}
        self._ledger = ledger
        self._instruments = {entry.symbol: entry for entry in run.instruments}
        self._policy = _policy(run)
        self._marks = Watermarks(self._policy, run.money_digits)
        self._sent_ns: list[int] = []

    def begin(self, ts_ns: int) -> None:
        """The first snapshot came, or a halt was lifted: losses count from here."""
        if self._marks.next_day_ns:
            self._marks.resume(self._ledger.equity())
        else:
            self._marks.start(self._ledger.equity(), self._ledger.balance, ts_ns)

    def at(self, ts_ns: int, *, priced: bool) -> None:
        """Time or money moved on.

        Args:
            ts_ns: now.
            priced: a price or a deal may have changed the equity.
        """
        marks = self._marks
        if not marks.next_day_ns:
            return
        if ts_ns >= marks.next_day_ns:
            marks.turn(self._ledger.equity(), self._ledger.balance, ts_ns)
        if not priced:
            return
        equity = self._ledger.equity()
        if equity > marks.peak:
            marks.rise(equity)
        initial = marks.initial
        daily = initial if self._policy.losses.percent_of == "initial" else marks.day_start
        weekly = initial if self._policy.losses.percent_of == "initial" else marks.week_start
        for rule, mark, base in (  # also where the limit is off: what was lost is worth knowing
            ("daily_loss", marks.day_start, daily),
            ("trailing_drawdown", marks.peak, marks.peak),
            ("weekly_loss", marks.week_start, weekly),
            ("static_drawdown", marks.static_mark, initial),
            ("day_end_drawdown", marks.day_end_peak, initial),
            ("intraday_drawdown", marks.intraday_peak, initial),
        ):
            if equity < mark and base > 0:
                self._used(rule, 100.0 * (mark - equity) / base, ts_ns)

    def paid(self, delta: int) -> None:
        """Cash came or went: no result of trading, so the references move with it."""
        self._marks.moved(delta)

    def refused(self, fact: IntentRefused) -> None:
        """A rule said no."""
        key = (next_rollover_ns(fact.ts_init_ns), fact.rule)
        self.refusals[key] = self.refusals.get(key, 0) + 1

    def ordered(self, order: SubmitOrder) -> None:
        """An order was decided; exits count for the rate alone."""
        now_ns = order.ts_init_ns
        self._sent_ns = [ts_ns for ts_ns in self._sent_ns if ts_ns > now_ns - 60 * NS_PER_S]
        self._sent_ns.append(now_ns)
        instrument, quote = self._instruments.get(order.symbol), self._ledger.quotes.get(order.symbol)
        if order.position_id or instrument is None or quote is None:
            return
        self._used("order_rate", len(self._sent_ns), now_ns)
        self._used("order_volume", order.volume_e2 / instrument.lot_e2, now_ns)
        self._used("spread", (quote.ask_e5 - quote.bid_e5) / instrument.pip_e5, now_ns)
        self._used("stale_quote", max(0, now_ns - quote.ts_init_ns) / NS_PER_S, now_ns)
        touch_e5 = quote.ask_e5 if order.side > 0 else quote.bid_e5
        price_e5 = touch_e5 if order.order_type is OrderType.MARKET else order.limit_e5 or order.trigger_e5
        if order.stop_loss_e5 and price_e5:
            self._used("stop_distance", 100.0 * (price_e5 - order.stop_loss_e5) * order.side / price_e5, now_ns)
        self._exposed(order)

    def _exposed(self, order: SubmitOrder) -> None:
        ledger = self._ledger
        equity = ledger.equity()
        if equity <= 0:
            return
        sides: dict[str, list[int]] = {}
        for position in ledger.positions.values():
            sides.setdefault(position.symbol, [0, 0])[position.side < 0] += position.volume_e2
        for track in ledger.at_work.values():
            if not track.order.position_id:
                rest_e2 = track.order.volume_e2 - track.filled_e2
                sides.setdefault(track.order.symbol, [0, 0])[track.order.side < 0] += rest_e2
        gross = net = own = 0
        for symbol, (long_e2, short_e2) in sides.items():
            quote = ledger.quotes.get(symbol)
            if quote is None:
                continue
            mid_e5 = divide_half_away(quote.bid_e5 + quote.ask_e5, 2)
            long_value, short_value = (ledger.worth(symbol, volume, mid_e5) for volume in (long_e2, short_e2))
            gross += long_value + short_value
            net += max(long_value, short_value)
            if symbol == order.symbol:
                own = long_value if order.side > 0 else short_value
        for rule, value in (("position_size", own), ("exposure", gross), ("leverage", net)):
            self._used(rule, 100.0 * value / equity, order.ts_init_ns)

    def _used(self, rule: str, value: float, ts_ns: int) -> None:
        days = self.peaks.get(rule)
        if days is None:
            return
        # Days are counted from the next rollover back: the same moment gives the same day as the calendar's.
        day = next_rollover_ns(ts_ns)
        peak = days.get(day)
        if peak is None:
            days[day] = _Peak(value, ts_ns)
        elif value > peak.value:
            peak.value, peak.ts_ns = value, ts_ns


class _Decided(msgspec.Struct):
    """What of `RunStarted.config_json` is looked at."""

    risk: Policy = Policy()


def _policy(run: RunStarted) -> Policy:
    """The limits in force; all by default where the settings are of a version that this one cannot read."""
    try:
        return msgspec.json.decode(run.config_json, type=_Decided).risk
    except (msgspec.MsgspecError, ConfigError):
        return Policy()


def _limits(run: RunStarted) -> dict[str, float]:
    """The limits in force by rule, in their units; those that the settings do not name are left out."""
    try:
        risk = msgspec.json.decode(run.config_json, type=dict[str, object]).get("risk")
    except msgspec.MsgspecError:
        return {}
    found: dict[str, float] = {}
    for rule, (key, _, scale) in LIMITS.items():
        value: object = risk
        for part in key.split("."):
            value = cast("dict[str, object]", value).get(part) if isinstance(value, dict) else None
        if isinstance(value, int) and not isinstance(value, bool):
            found[rule] = value / scale
    return found


def limit_peaks(usages: list[Usage], from_ns: int, to_ns: int) -> tuple[LimitPeak, ...]:
    """The highest use of every limit in whole trading days, over several journals; the limit is that of the peak."""
    best: dict[str, LimitPeak] = {}
    refusals: dict[str, int] = {}
    for usage in usages:
        for (day_ends_ns, rule), n in usage.refusals.items():
            if from_ns < day_ends_ns <= to_ns:
                refusals[rule] = refusals.get(rule, 0) + n
        for rule, limit in usage.limits.items():
            key, unit, _ = LIMITS[rule]
            inside = [peak for peak in usage.peaks[rule].values() if from_ns <= peak.ts_ns < to_ns]
            peak = max(inside, key=lambda each: each.value, default=_Peak())
            share = peak.value / limit if limit else None
            known = best.get(rule)
            if known is None or (share or 0.0) > (known.share or 0.0):
                best[rule] = LimitPeak(
                    rule=rule, key=key, unit=unit, limit=limit, peak=peak.value, share=share, ts_ns=peak.ts_ns,
                    refusals=0,
                )  # fmt: skip
    for rule in refusals:
        if rule not in best:
            best[rule] = LimitPeak(
                rule=rule, key="", unit="", limit=0.0, peak=None, share=None, ts_ns=0, refusals=0
            )  # fmt: skip
    return tuple(
        msgspec.structs.replace(best[rule], refusals=refusals.get(rule, 0))
        for rule in sorted(best, key=lambda rule: (-(best[rule].share or 0.0), rule))
    )

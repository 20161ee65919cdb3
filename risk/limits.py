"""The limits. One pure function a rule: what an entry would make of the book, in; a breach or None, out.

Theory of operation. `look` works out once what every rule needs to know (`Check`); each rule then compares a few
integers. RULES lists them in the order in which they are asked; the first breach refuses. A rule of value 0 in the
policy is off. Tightening any limit can only turn an acceptance into a refusal, never the reverse.

To add a rule: write the function, give it a line in RULES.
"""

from collections.abc import Callable

import msgspec

from bus.messages import HaltLevel, Intent, Quote
from bus.values import LARGEST, NS_PER_S, Instrument, OrderType, Side
from risk.book import Book
from risk.marks import possible
from risk.policy import Policy

_LARGEST_NS = 2**63 - 1
_PCT_E2 = 10_000
_ORDER_TYPES = {OrderType.MARKET, OrderType.LIMIT, OrderType.STOP}


class Breach(msgspec.Struct, frozen=True):
    """A limit that would be broken: which, what it allows, what it met, and what would have passed."""

    rule: str
    limit: str
    value: str
    would_pass: str


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """All that a rule may look at. Money in the account's smallest unit, volumes in 1/100 units.

    `price_e5` is where the position would open and `closing_e5` where it could close then (the side that triggers its
    stop); both 0 without a quote. `position_value`, `gross_value` and `net_value` are worst cases that include the
    entry and everything at work: one side of the symbol, all sides added up, and the larger side of each symbol. They
    and `margin` are None while a conversion rate is missing.
    """

    intent: Intent
    instrument: Instrument
    policy: Policy
    now_ns: int
    halt_level: HaltLevel
    quote: Quote | None
    suspect: bool
    unknown: bool
    volume_e2: int
    price_e5: int
    closing_e5: int
    equity: int
    day_start_equity: int
    peak_equity: int
    margin: int | None
    position_value: int | None
    gross_value: int | None
    net_value: int | None
    orders_in_last_minute: int
    link_up: bool = True


Rule = Callable[[Check], Breach | None]

NO_CONNECTION = Breach("connection", "a ready connection", "none", "the same intent once the venue is reached again")
"""Holds for exits too: nothing can leave, and nothing is kept for later."""


def impossible(intent: Intent, multiplier_ppm: object, now_ns: object) -> Breach | None:
    """Whether a number is none: NaN, infinite, not whole, negative or beyond every market. Holds for exits too."""
    for name in ("reference_e5", "stop_loss_e5", "take_profit_e5", "trailing_e5", "price_e5", "scale_e5", "point_e5"):
        value: object = getattr(intent, name)
        if not possible(value):
            return Breach("number", f"0 to {LARGEST}", f"{name} = {value!r}", "a whole number within the limit")
    if not possible(intent.edge_e5, -LARGEST):
        return Breach("number", f"+-{LARGEST}", f"edge_e5 = {intent.edge_e5!r}", "a whole number within the limit")
    for name, value in (("horizon", intent.horizon), ("valid_until_ns", intent.valid_until_ns), ("now_ns", now_ns)):
        if not possible(value, 0, _LARGEST_NS):
            return Breach("number", "0 to 2**63 - 1", f"{name} = {value!r}", "a whole number within the limit")
    if not possible(multiplier_ppm, 0, 1_000_000):
        return Breach("number", "0 to 1000000 ppm", f"multiplier = {multiplier_ppm!r}", "a whole number within")
    if type(intent.side) is not Side or intent.action not in {"enter", "exit"}:
        return Breach("number", "enter or exit, BUY or SELL", f"{intent.action!r} {intent.side!r}", "one of each")
    if intent.order_type not in _ORDER_TYPES or (intent.order_type != OrderType.MARKET and intent.price_e5 <= 0):
        value = f"{intent.order_type!s} at {intent.price_e5}"
        return Breach("number", "market, or limit or stop with a price", value, "a market order, or a price above 0")
    return None


def halt(c: Check) -> Breach | None:
    """Whether a halt is in force."""
    if c.halt_level > HaltLevel.NONE:
        return Breach("halt", "no new risk", HaltLevel(c.halt_level).name, "an exit, or an operator who resumes")
    return None


def connection(c: Check) -> Breach | None:
    """Whether there is no way to the venue; an order that waits for one is not the order that was meant."""
    return None if c.link_up else NO_CONNECTION


def unknown_outcome(c: Check) -> Breach | None:
    """Whether a command of unknown outcome hangs over the symbol."""
    if c.unknown:
        return Breach("unknown_outcome", "0 commands unanswered", "1 or more", "evidence of what became of it")
    return None


def crossed_quote(c: Check) -> Breach | None:
    """Whether the newest quote cannot be true."""
    if c.suspect:
        return Breach("crossed_quote", "0 < bid <= ask", "an impossible quote", "a possible quote")
    return None


def stale_quote(c: Check) -> Breach | None:
    """Whether there is no quote, or only an old one."""
    limit_s = c.policy.max_quote_age_s
    if c.quote is None:
        return Breach("stale_quote", f"{limit_s} s", "no quote", "a first quote")
    age_ns = c.now_ns - c.quote.ts_init_ns
    if limit_s and age_ns > limit_s * NS_PER_S:
        return Breach("stale_quote", f"{limit_s} s", f"{age_ns / NS_PER_S:.3f} s", f"a quote within {limit_s} s")
    return None


def spread(c: Check) -> Breach | None:
    """Whether the spread is too wide to enter."""
    limit_e1 = c.policy.max_spread_pips_e1
    if limit_e1 and c.quote is not None:
        width_e5 = c.quote.ask_e5 - c.quote.bid_e5
        if width_e5 * 10 > limit_e1 * c.instrument.pip_e5:
            value = f"{width_e5 / c.instrument.pip_e5:.1f} pips"
            return Breach("spread", f"{limit_e1 / 10:.1f} pips", value, f"{limit_e1 / 10:.1f} pips or less")
    return None


def missing_stop(c: Check) -> Breach | None:
    """Whether an entry comes without a stop."""
    if c.intent.stop_loss_e5 <= 0:
        return Breach("missing_stop", "a stop", "none", "a stop on the losing side of the entry")
    return None


def stop_side(c: Check) -> Breach | None:
    """Whether stop or target lie on the wrong side of where the position could close."""
    intent, side = c.intent, c.intent.side
    if (intent.stop_loss_e5 - c.closing_e5) * side >= 0:
        where = "below" if side > 0 else "above"
        return Breach("stop_side", f"{where} {c.closing_e5}", str(intent.stop_loss_e5), f"a stop {where} it")
    if intent.take_profit_e5 and (intent.take_profit_e5 - c.closing_e5) * side <= 0:
        where = "above" if side > 0 else "below"
        return Breach("stop_side", f"{where} {c.closing_e5}", str(intent.take_profit_e5), f"a target {where} it")
    return None


def stop_distance(c: Check) -> Breach | None:
    """Whether the stop is so far away that it protects nothing."""
    limit_e2 = c.policy.max_stop_distance_pct_e2
    distance_e5 = (c.price_e5 - c.intent.stop_loss_e5) * c.intent.side
    if limit_e2 and distance_e5 * _PCT_E2 > c.price_e5 * limit_e2:
        value = f"{distance_e5 * 100 / c.price_e5:.2f} %"
        return Breach("stop_distance", f"{limit_e2 / 100:.2f} % of the price", value, f"{limit_e2 / 100:.2f} % or less")
    return None


def price_collar(c: Check) -> Breach | None:
    """Whether the price the decision saw, or the price of a resting entry, is far from the market."""
    if c.quote is None:
        return None
    touch_e5 = c.quote.ask_e5 if c.intent.side > 0 else c.quote.bid_e5
    resting_e1 = c.policy.resting_collar_pips_e1 if c.intent.order_type != OrderType.MARKET else 0
    for what, price_e5, limit_e1 in (
        ("reference", c.intent.reference_e5, c.policy.price_collar_pips_e1),
        ("order price", c.intent.price_e5, resting_e1),
    ):
        away_e5 = abs(price_e5 - touch_e5)
        if limit_e1 and away_e5 * 10 > limit_e1 * c.instrument.pip_e5:
            value = f"{what} {away_e5 / c.instrument.pip_e5:.1f} pips from {touch_e5}"
            return Breach("price_collar", f"{limit_e1 / 10:.1f} pips", value, f"within {limit_e1 / 10:.1f} pips")
    return None


def order_rate(c: Check) -> Breach | None:
    """Whether orders already leave too fast."""
    limit = c.policy.max_orders_per_minute
    if limit and c.orders_in_last_minute >= limit:
        value = f"{c.orders_in_last_minute} in the last minute"
        return Breach("order_rate", f"{limit} a minute", value, f"fewer than {limit} in the minute before")
    return None


def equity(c: Check) -> Breach | None:
    """Whether there is equity to trade with at all."""
    if c.equity <= 0:
        return Breach("equity", "above 0", str(c.equity), "an account with equity")
    return None


def _lost(c: Check, rule: str, reference: int, limit_e2: int) -> Breach | None:
    if limit_e2 and (reference - c.equity) * _PCT_E2 >= reference * limit_e2 and reference > 0:
        value = f"{(reference - c.equity) * 100 / reference:.2f} % of {reference}"
        return Breach(rule, f"{limit_e2 / 100:.2f} %", value, f"a loss below {limit_e2 / 100:.2f} %, or a resume")
    return None


def daily_loss(c: Check) -> Breach | None:
    """Whether the trading day has lost too much, floating; the same bound latches a halt (`risk.halt`)."""
    return _lost(c, "daily_loss", c.day_start_equity, c.policy.daily_loss_pct_e2)


def trailing_drawdown(c: Check) -> Breach | None:
    """Whether floating equity is too far below its highest; the same bound latches a halt."""
    return _lost(c, "trailing_drawdown", c.peak_equity, c.policy.trailing_drawdown_pct_e2)


def conversion_rate(c: Check) -> Breach | None:
    """Whether something held or wanted cannot be valued."""
    if c.margin is None:
        return Breach(
            "conversion_rate", "a price chain to the account's currency", "none", "quotes of the linking pair"
        )
    return None


def order_volume(c: Check) -> Breach | None:
    """Whether the sized volume suits the venue and the largest order allowed."""
    spec, volume_e2 = c.instrument, c.volume_e2
    lots = c.policy.max_order_lots_e2
    largest_e2 = min(spec.max_volume_e2, lots * spec.lot_e2 // 100) if lots else spec.max_volume_e2
    if not spec.min_volume_e2 <= volume_e2 <= largest_e2 or volume_e2 % spec.step_volume_e2:
        limit = f"{spec.min_volume_e2} to {largest_e2} in steps of {spec.step_volume_e2} (1/100 units)"
        value = str(volume_e2) if volume_e2 else "0: the sized volume is below the smallest order"
        return Breach(
            "order_volume", limit, value, "more equity or a nearer stop" if not volume_e2 else "such a volume"
        )
    return None


def _beyond(c: Check, rule: str, limit_pct: int, value: int | None) -> Breach | None:
    if limit_pct and value is not None and value * 100 > c.equity * limit_pct:
        return Breach(rule, f"{limit_pct} % of equity", f"{value * 100 / c.equity:.1f} %", f"{limit_pct} % or less")
    return None


def position_size(c: Check) -> Breach | None:
    """Whether one side of the symbol would become too large."""
    return _beyond(c, "position_size", c.policy.max_position_pct_equity, c.position_value)


def exposure(c: Check) -> Breach | None:
    """Whether everything together would become too large."""
    return _beyond(c, "exposure", c.policy.max_exposure_pct_equity, c.gross_value)


def leverage(c: Check) -> Breach | None:
    """Whether the account would carry too much on its equity."""
    return _beyond(c, "leverage", c.policy.max_leverage_pct, c.net_value)


def margin(c: Check) -> Breach | None:
    """Whether too little equity would stay free of margin."""
    limit = c.policy.min_free_margin_pct
    if limit and c.margin is not None and (c.equity - c.margin) * 100 < c.equity * limit:
        free = (c.equity - c.margin) * 100 / c.equity
        return Breach("margin", f"{limit} % of equity free", f"{free:.1f} %", f"{limit} % or more")
    return None


RULES: tuple[tuple[Rule, str], ...] = (
    (halt, "While a halt is in force nothing new is risked."),
    (connection, "Nothing is ordered while the venue cannot be reached, and nothing is kept for later."),
    (unknown_outcome, "A symbol with a command of unknown outcome takes no new risk until there is evidence."),
    (crossed_quote, "Nothing is decided on a quote that cannot be true."),
    (stale_quote, "Nothing is decided on an old price."),
    (spread, "An entry pays the spread; a wide one is waited out."),
    (missing_stop, "Every open position has a stop at the broker, so an entry without one is refused."),
    (stop_side, "A stop lies on the losing side and a target on the winning side of the market."),
    (stop_distance, "A stop too far away protects nothing."),
    (price_collar, "What was decided at one price is not executed at quite another."),
    (order_rate, "A strategy gone wild is stopped by the minute."),
    (equity, "Without equity there is nothing to risk."),
    (daily_loss, "A day that has lost too much, counting what still floats, takes no more risk."),
    (trailing_drawdown, "Nor does an account that has fallen too far from its highest floating equity."),
    (conversion_rate, "What cannot be valued cannot be limited."),
    (
        order_volume,
        "The venue takes volumes between its minimum and maximum, in steps; the policy sets a largest order.",
    ),
    (position_size, "One side of one symbol stays small against equity."),
    (exposure, "All positions and entries together stay small against equity."),
    (leverage, "The larger sides of all symbols together stay within a leverage."),
    (margin, "Enough equity stays free of margin to live through a move."),
)
"""Every rule with its reason, in the order of asking. `number` (see `impossible`) comes before all of them."""


def first_breach(check: Check) -> Breach | None:
    """The first limit that an entry would break, or None."""
    for rule, _ in RULES:
        breach = rule(check)
        if breach is not None:
            return breach
    return None


def look(
    intent: Intent,
    book: Book,
    policy: Policy,
    *,
    volume_e2: int,
    now_ns: int,
    halt_level: HaltLevel,
    link_up: bool = True,
) -> Check:
    """Work out what the rules need to know about an entry of a volume in a configured symbol."""
    symbol, side = intent.symbol, intent.side
    quote = book.quotes.get(symbol)
    touch_e5 = closing_e5 = 0
    if quote is not None:
        touch_e5, closing_e5 = (quote.ask_e5, quote.bid_e5) if side > 0 else (quote.bid_e5, quote.ask_e5)
    if intent.order_type != OrderType.MARKET:
        touch_e5 = closing_e5 = intent.price_e5
    position_value, gross_value, net_value, margin_used = _worst_values(book, symbol, side, volume_e2)
    return Check(
        intent=intent,
        instrument=book.instruments[symbol],
        policy=policy,
        now_ns=now_ns,
        halt_level=halt_level,
        quote=quote,
        suspect=symbol in book.suspect,
        unknown=symbol in book.table.unknown.values(),
        volume_e2=volume_e2,
        price_e5=touch_e5,
        closing_e5=closing_e5,
        equity=book.equity,
        day_start_equity=book.day_start_equity,
        peak_equity=book.peak_equity,
        margin=margin_used,
        position_value=position_value,
        gross_value=gross_value,
        net_value=net_value,
        orders_in_last_minute=book.orders_in_last_minute(now_ns),
        link_up=link_up,
    )


def _worst_values(
    book: Book, symbol: str, side: Side, volume_e2: int
) -> tuple[int, int, int, int] | tuple[None, None, None, None]:
    """Value of the entry's side of its symbol, of all sides, of the larger sides, and the margin of those.

    Every volume counts at its symbol's mid price, entries at work as if filled and the entry itself on top.
    """
    sides = book.worst_case_e2()
    long_e2, short_e2 = sides.get(symbol, (0, 0))
    sides[symbol] = (long_e2 + volume_e2, short_e2) if side > 0 else (long_e2, short_e2 + volume_e2)
    position_value = gross = net = margin_used = 0
    for name, (bought_e2, sold_e2) in sides.items():
        if name not in book.instruments:
            return None, None, None, None  # somebody else's, in a symbol that nothing here can value
        mid_e5, scale = book.marks.mid_e5(name), book.marks.scale_of(name)
        if mid_e5 is None or scale is None:
            return None, None, None, None
        _, multiplier, divisor = scale
        long_value = -(-bought_e2 * mid_e5 * multiplier // divisor)  # rounded up: never in favour of more risk
        short_value = -(-sold_e2 * mid_e5 * multiplier // divisor)
        larger = max(long_value, short_value)
        gross += long_value + short_value
        net += larger
        margin_used += -(-larger // book.leverage_of(name))
        if name == symbol:
            position_value = long_value if side > 0 else short_value
    return position_value, gross, net, margin_used

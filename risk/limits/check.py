"""What a rule may look at, and what it answers."""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from bus.messages import HaltLevel, Intent, Quote
from bus.values import Instrument, OrderType, Side
from risk.book import Book
from risk.policy import Policy


class Breach(msgspec.Struct, frozen=True):
    """A limit that would be broken: which, what it allows, what it met, and what would have passed."""

    rule: str
    limit: str
    value: str
    would_pass: str


class Rule(NamedTuple):
    """One limit.

    Attributes:
        ask: a pure function; its name is the rule's.
        why: the reason for the rule, in a sentence.
        keys: the settings that it reads, below ``risk.`` (``max_spread_pips_e1``, ``losses.weekly_loss_pct_e2``).
    """

    ask: "Callable[[Check], Breach | None]"
    why: str
    keys: tuple[str, ...] = ()


class _Scoped:
    """A policy as tight as a symbol and a strategy make it, worked out once for each pair with limits."""

    def __init__(self) -> None:
        self._policy: Policy | None = None
        self._known: dict[tuple[str, str], Policy] = {}

    def __call__(self, policy: Policy, symbol: str, strategy: str) -> Policy:
        if policy is not self._policy:
            self._policy, self._known = policy, {}
        pair = symbol if symbol in policy.symbols else "", strategy if strategy in policy.strategies else ""
        found = self._known.get(pair)
        if found is None:
            found = self._known[pair] = policy.within(*pair)
        return found


_scoped = _Scoped()


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """All that a rule may look at. Money in the account's smallest unit, volumes in 1/100 units.

    `policy` is as tight as the entry's symbol and strategy make it.
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
        policy=_scoped(policy, symbol, intent.strategy),
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

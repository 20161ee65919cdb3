"""What a rule may look at, and what it answers."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from bus.messages import HaltLevel, Intent, NewsEvent, Quote
from bus.values import Instrument, OrderType, Side
from risk.book import Book
from risk.orders import Order, Position
from risk.policies.scopes import ScopeLimits
from risk.policy import Policy
from risk.record import ACCOUNT, Scope, in_last_minute
from risk.watermarks import Floor


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
        keys: the settings that it reads, below ``risk.``: ``max_spread_pips_e1``, ``losses.weekly_loss_pct_e2``, and
            ``*.max_spread_pips_e1`` for those of a scope (`risk.policies.scopes`).
    """

    ask: "Callable[[Check], Breach | None]"
    why: str
    keys: tuple[str, ...] = ()


class Values(NamedTuple):
    """Worst cases in the account's smallest unit, the entry and everything at work included, nothing closed.

    `position` is the entry's side of its symbol, `gross` all sides added up, `net` the larger side of each symbol,
    `margin` what those need.
    """

    position: int
    gross: int
    net: int
    margin: int


class Figures(msgspec.Struct, frozen=True, gc=False):
    """What stands in one scope (the account, a symbol, a strategy) before the entry; `values` with it.

    `positions` counts open ones and entries at work. `spent` is the day's slippage and `result` its profit or loss,
    floating; `losses` are those in a row, the last of them at `last_loss_ns`. `orders` and `cancels` are the last
    minute's. `values` is None while a conversion rate is missing.
    """

    name: str
    values: Values | None
    positions: int
    orders: int
    cancels: int
    spent: int
    result: int
    losses: int
    last_loss_ns: int


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

    `policy` is as tight as the entry's symbol and strategy make it; `scopes` are those two, where they have limits of
    their own. `price_e5` is where the position would open and `closing_e5` where it could close then (the side that
    triggers its stop); both 0 without a quote. `legs` are the entry's two currencies with their largest sides.
    `latest_ns` is the newest moment that was told of. `news` is the event whose blackout `now_ns` lies in.
    """

    intent: Intent
    instrument: Instrument
    policy: Policy
    now_ns: int
    latest_ns: int
    halt_level: HaltLevel
    quote: Quote | None
    suspect: bool
    unknown: bool
    volume_e2: int
    price_e5: int
    closing_e5: int
    equity: int
    unit: int
    day_start_equity: int
    day_begin_ns: int
    floors: tuple[Floor, ...]
    account: Figures
    scopes: tuple[tuple[ScopeLimits, Figures], ...]
    legs: tuple[tuple[str, int], ...]
    news: NewsEvent | None
    calendar_last_ns: int | None
    link_up: bool = True

    def limits(self, key: str, of_account: int) -> "list[tuple[int, Figures]]":
        """Every scope in which a limit is on, with the limit.

        Args:
            key: of `ScopeLimits`.
            of_account: the account's own; 0 = off.
        """
        found = [(of_account, self.account)] if of_account else []
        for limits, figures in self.scopes:
            value: int = getattr(limits, key)
            if value:
                found.append((value, figures))
        return found


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
    instrument = book.instruments[symbol]
    quote = book.quotes.get(symbol)
    touch_e5 = closing_e5 = 0
    if quote is not None:
        touch_e5, closing_e5 = (quote.ask_e5, quote.bid_e5) if side > 0 else (quote.bid_e5, quote.ask_e5)
    if intent.order_type != OrderType.MARKET:
        touch_e5 = closing_e5 = intent.price_e5
    record = book.record
    worth = _worth(book, _with(book.worst_case_e2(), symbol, side, volume_e2))
    calendar = record.calendar if policy.news.on else None
    return Check(
        intent=intent,
        instrument=instrument,
        policy=_scoped(policy, symbol, intent.strategy),
        now_ns=now_ns,
        latest_ns=max(record.latest_ns, quote.ts_init_ns if quote is not None else 0),
        halt_level=halt_level,
        quote=quote,
        suspect=symbol in book.suspect,
        unknown=symbol in book.table.unknown.values(),
        volume_e2=volume_e2,
        price_e5=touch_e5,
        closing_e5=closing_e5,
        equity=book.equity,
        unit=10**book.money_digits,
        day_start_equity=book.day_start_equity,
        day_begin_ns=record.day_begin_ns,
        floors=book.watermarks.floors(policy),
        account=_figures(book, ACCOUNT, worth, symbol, side, now_ns),
        scopes=_scopes(intent, book, policy, worth, volume_e2, now_ns),
        legs=_legs(book, worth, (instrument.base, instrument.quote)),
        news=calendar.near((instrument.base, instrument.quote), now_ns, policy.news) if calendar is not None else None,
        calendar_last_ns=calendar.last_ns if calendar is not None else None,
        link_up=link_up,
    )


Sides = Mapping[str, tuple[int, int]]
"""By symbol: long and short volume in 1/100 units, or their values in the account's smallest unit."""


def _with(sides: dict[str, tuple[int, int]], symbol: str, side: Side, volume_e2: int) -> Sides:
    long_e2, short_e2 = sides.get(symbol, (0, 0))
    sides[symbol] = (long_e2 + volume_e2, short_e2) if side > 0 else (long_e2, short_e2 + volume_e2)
    return sides


def _worth(book: Book, sides: Sides) -> Sides | None:
    """The value of every side at its symbol's mid price; None where something cannot be valued."""
    worth: dict[str, tuple[int, int]] = {}
    for name, (bought_e2, sold_e2) in sides.items():
        if name not in book.instruments:
            return None  # somebody else's, in a symbol that nothing here can value
        mid_e5, scale = book.marks.mid_e5(name), book.marks.scale_of(name)
        if mid_e5 is None or scale is None:
            return None
        _, multiplier, divisor = scale
        # Rounded up: never in favour of more risk.
        worth[name] = -(-bought_e2 * mid_e5 * multiplier // divisor), -(-sold_e2 * mid_e5 * multiplier // divisor)
    return worth


def _values(book: Book, worth: Sides, symbol: str, side: Side) -> Values:
    gross = net = margin = 0
    for name, (long_value, short_value) in worth.items():
        larger = max(long_value, short_value)
        gross += long_value + short_value
        net += larger
        margin += -(-larger // book.leverage_of(name))
    return Values(worth[symbol][0 if side > 0 else 1], gross, net, margin)


def _legs(book: Book, worth: Sides | None, currencies: tuple[str, str]) -> tuple[tuple[str, int], ...]:
    """Of each currency the larger of what is bought and what is sold of it."""
    legs: list[tuple[str, int]] = []
    for currency in currencies if worth is not None else ():
        bought = sold = 0
        for name, (long_value, short_value) in worth.items() if worth is not None else ():
            instrument = book.instruments[name]
            if instrument.base == currency:
                bought, sold = bought + long_value, sold + short_value
            elif instrument.quote == currency:
                bought, sold = bought + short_value, sold + long_value
        legs.append((currency, max(bought, sold)))
    return tuple(legs)


def _scopes(
    intent: Intent, book: Book, policy: Policy, worth: Sides | None, volume_e2: int, now_ns: int
) -> tuple[tuple[ScopeLimits, Figures], ...]:
    """The entry's symbol and strategy, where they have limits of their own."""
    symbol, strategy, side = intent.symbol, intent.strategy, intent.side
    found: list[tuple[ScopeLimits, Figures]] = []
    of_symbol = policy.symbols.get(symbol)
    if of_symbol is not None:
        own = {symbol: worth[symbol]} if worth is not None else None
        found.append((of_symbol, _figures(book, ("symbol", symbol), own, symbol, side, now_ns)))
    of_strategy = policy.strategies.get(strategy)
    if of_strategy is not None:
        sides: dict[str, tuple[int, int]] = {}
        for held in book.positions.values():
            if held.strategy == strategy:
                _with(sides, held.symbol, held.side, held.volume_e2)
        for order in book.orders.values():
            if order.strategy == strategy and not order.position_id:
                _with(sides, order.symbol, order.side, order.remaining_e2)
        own = _worth(book, _with(sides, symbol, side, volume_e2))
        found.append((of_strategy, _figures(book, ("strategy", strategy), own, symbol, side, now_ns)))
    return tuple(found)


def _figures(book: Book, scope: Scope, worth: Sides | None, symbol: str, side: Side, now_ns: int) -> Figures:
    kind, name = scope

    def within(one: Position | Order) -> bool:
        return kind == "account" or name == (one.symbol if kind == "symbol" else one.strategy)

    positions = [each for each in book.positions.values() if within(each)]
    entries = sum(not order.position_id and within(order) for order in book.orders.values())
    theirs = sum(kind == "account" or (kind == "symbol" and each.symbol == name) for each in book.foreign.values())
    tally = book.record.tally(scope)
    floating = sum(each.profit + each.commission + each.swap for each in positions)
    return Figures(
        name or kind,
        _values(book, worth, symbol, side) if worth is not None else None,
        len(positions) + entries + theirs,
        book.orders_in_last_minute(now_ns) if kind == "account" else in_last_minute(tally.orders_ns, now_ns),
        in_last_minute(tally.cancels_ns, now_ns),
        tally.spent,
        tally.booked + floating - tally.floating_before,
        tally.losses,
        tally.last_loss_ns,
    )

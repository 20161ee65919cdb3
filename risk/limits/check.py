"""What a rule may look at, and what it answers."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bus.messages import HaltLevel, Intent, NewsEvent, Quote
from bus.values import Instrument, OrderType, Side
from risk.book import Book
from risk.evidence import ModelStanding
from risk.orders import remember
from risk.policies.scopes import ScopeLimits
from risk.policy import Policy
from risk.portfolio.outlook import Outlook, look_ahead
from risk.record import ACCOUNT, Scope, in_last_minute
from risk.watermarks import Floor

if TYPE_CHECKING:
    from risk.portfolio.model import Portfolio


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


_SCOPED_KEPT = 64
_scoped_known: dict[tuple[int, str, str], tuple[Policy, Policy]] = {}


def _scoped(policy: Policy, symbol: str, strategy: str) -> Policy:
    """A policy as tight as a symbol and a strategy make it, worked out once for each pair."""
    if symbol not in policy.symbols:
        symbol = ""
    if strategy not in policy.strategies:
        strategy = ""
    if not (symbol or strategy):
        return policy
    key = id(policy), symbol, strategy
    found = _scoped_known.get(key)
    if found is None or found[0] is not policy:  # the first of the pair keeps it alive, so that its id stays its own
        found = policy, policy.within(symbol, strategy)
        remember(_scoped_known, key, found, _SCOPED_KEPT)
    return found[1]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """All that a rule may look at. Money in the account's smallest unit, volumes in 1/100 units.

    `policy` is as tight as the entry's symbol and strategy make it; `scopes` are those two, where they have limits of
    their own. `price_e5` is where the position would open and `closing_e5` where it could close then (the side that
    triggers its stop); both 0 without a quote. `legs` are the entry's two currencies with their largest sides.
    `latest_ns` is the newest moment that was told of. `news` is the event whose blackout `now_ns` lies in.
    `model` is what the entry rests on; None = not known.
    `outlook` is the book as a whole; None while a rate is missing, and where no limit of the book as a whole is on.
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
    model: ModelStanding | None = None
    outlook: Outlook | None = None

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
    model: ModelStanding | None = None,
    portfolio: "Portfolio | None" = None,
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
        account=_account(book, _values(book, worth, symbol, side) if worth is not None else None, now_ns),
        scopes=_scopes(intent, book, policy, worth, volume_e2, now_ns),
        legs=_legs(book, worth, instrument) if worth is not None else (),
        news=calendar.near((instrument.base, instrument.quote), now_ns, policy.news) if calendar is not None else None,
        calendar_last_ns=calendar.last_ns if calendar is not None else None,
        link_up=link_up,
        model=model,
        outlook=None if portfolio is None else look_ahead(book, portfolio, symbol, side, volume_e2),
    )


Sides = dict[str, tuple[int, int]]
"""By symbol: long and short volume in 1/100 units, or their values in the account's smallest unit."""


def _with(sides: Sides, symbol: str, side: Side, volume_e2: int) -> Sides:
    long_e2, short_e2 = sides.get(symbol, (0, 0))
    sides[symbol] = (long_e2 + volume_e2, short_e2) if side > 0 else (long_e2, short_e2 + volume_e2)
    return sides


def _worth(book: Book, sides: Sides) -> Sides | None:
    """The value of every side at its symbol's mid price; None where something cannot be valued."""
    worth: Sides = {}
    quotes, scale_of = book.quotes, book.marks.scale_of
    for name, (bought_e2, sold_e2) in sides.items():
        quote = quotes.get(name)
        # Somebody else's symbol, which nothing here can value, has no quote either.
        scale = scale_of(name) if quote is not None else None
        if quote is None or scale is None:
            return None
        unit, divisor = (quote.bid_e5 + quote.ask_e5) // 2 * scale[1], scale[2]
        # Rounded up: never in favour of more risk.
        worth[name] = -(-bought_e2 * unit // divisor), -(-sold_e2 * unit // divisor)
    return worth


def _values(book: Book, worth: Sides, symbol: str, side: Side) -> Values:
    gross = net = margin = 0
    for name, (long_value, short_value) in worth.items():
        larger = long_value if long_value > short_value else short_value  # noqa: FURB136 (asked for every order)
        gross += long_value + short_value
        net += larger
        margin -= -larger // book.leverage_of(name)
    return Values(worth[symbol][0 if side > 0 else 1], gross, net, margin)


def _legs(book: Book, worth: Sides, instrument: Instrument) -> tuple[tuple[str, int], ...]:
    """Of both currencies of a symbol the larger of what is bought and what is sold of it."""
    base, quote = instrument.base, instrument.quote
    bought = {base: 0, quote: 0}
    sold = {base: 0, quote: 0}
    for name, (long_value, short_value) in worth.items():
        each = book.instruments[name]
        if each.base in bought:
            bought[each.base] += long_value
            sold[each.base] += short_value
        if each.quote in bought:
            bought[each.quote] += short_value
            sold[each.quote] += long_value
    return tuple((currency, max(bought[currency], sold[currency])) for currency in bought)


def _account(book: Book, values: Values | None, now_ns: int) -> Figures:
    tally = book.record.tally(ACCOUNT)
    entries = 0
    for order in book.orders.values():
        if not order.position_id:
            entries += 1
    return Figures(
        "account",
        values,
        len(book.positions) + len(book.foreign) + entries,
        book.orders_in_last_minute(now_ns),
        in_last_minute(tally.cancels_ns, now_ns),
        tally.spent,
        book.equity - book.day_start_equity,
        tally.losses,
        tally.last_loss_ns,
    )


def _scopes(
    intent: Intent, book: Book, policy: Policy, worth: Sides | None, volume_e2: int, now_ns: int
) -> tuple[tuple[ScopeLimits, Figures], ...]:
    """The entry's symbol and strategy, where they have limits of their own."""
    symbol, strategy, side = intent.symbol, intent.strategy, intent.side
    of_symbol, of_strategy = policy.symbols.get(symbol), policy.strategies.get(strategy)
    if of_symbol is None and of_strategy is None:
        return ()
    # One walk for both: how many positions, what floats on them, and the sides of the strategy.
    counts, floats = [0, 0], [0, 0]
    sides: Sides = {}
    for held in book.positions.values():
        floating = held.profit + held.commission + held.swap
        if held.symbol == symbol:
            counts[0] += 1
            floats[0] += floating
        if held.strategy == strategy:
            counts[1] += 1
            floats[1] += floating
            _with(sides, held.symbol, held.side, held.volume_e2)
    for order in book.orders.values():
        if not order.position_id:
            counts[0] += order.symbol == symbol
            if order.strategy == strategy:
                counts[1] += 1
                _with(sides, order.symbol, order.side, order.remaining_e2)
    counts[0] += sum(each.symbol == symbol for each in book.foreign.values())
    found: list[tuple[ScopeLimits, Figures]] = []
    if of_symbol is not None:
        own = {symbol: worth[symbol]} if worth is not None else None
        values = _values(book, own, symbol, side) if own is not None else None
        found.append((of_symbol, _figures(book, ("symbol", symbol), values, counts[0], floats[0], now_ns)))
    if of_strategy is not None:
        own = _worth(book, _with(sides, symbol, side, volume_e2))
        values = _values(book, own, symbol, side) if own is not None else None
        found.append((of_strategy, _figures(book, ("strategy", strategy), values, counts[1], floats[1], now_ns)))
    return tuple(found)


def _figures(book: Book, scope: Scope, values: Values | None, positions: int, floating: int, now_ns: int) -> Figures:
    tally = book.record.tally(scope)
    return Figures(
        scope[1],
        values,
        positions,
        in_last_minute(tally.orders_ns, now_ns),
        in_last_minute(tally.cancels_ns, now_ns),
        tally.spent,
        tally.booked + floating - tally.floating_before,
        tally.losses,
        tally.last_loss_ns,
    )

"""What stands in the account, in a symbol, in a strategy before an entry, and what it would be worth.

One walk through the book counts for all three (`count_all`), one prices every side (`value_all`). This is asked for
every entry, so it is written for speed: plain loops, no objects between.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from bus.messages import Intent
from bus.values import Instrument
from risk.book import Book
from risk.record import ACCOUNT, Scope, in_last_minute


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


Sides = dict[str, list[int]]
"""By symbol: long and short volume in 1/100 units."""

Worth = dict[str, tuple[int, int, int, int, int]]
"""By symbol: the values of those in the account's smallest unit, and what made them: unit, divisor and leverage."""


class Count(NamedTuple):
    """What a walk through the book counts. `sides` are everybody's; `in_symbol` and `in_strategy` are how many."""

    sides: Sides
    own: Sides
    entries: int
    in_symbol: int
    in_strategy: int
    floating_symbol: int
    floating_strategy: int


def count_all(book: Book, symbol: str, strategy: str | None) -> Count:
    """Everything held and at work, in one walk; `strategy` = None counts nothing of any strategy's own.

    Every entry at work counts as filled, and nothing as closed.
    """
    sides: Sides = {symbol: [0, 0]}
    own: Sides = {symbol: [0, 0]}
    entries = in_symbol = in_strategy = floating_symbol = floating_strategy = 0
    for held in book.positions.values():
        name, at, volume_e2 = held.symbol, held.side < 0, held.volume_e2
        if name in sides:
            sides[name][at] += volume_e2
        else:
            sides[name] = [0, volume_e2] if at else [volume_e2, 0]
        if name == symbol:
            in_symbol += 1
            floating_symbol += held.profit + held.commission + held.swap
        if held.strategy == strategy:
            in_strategy += 1
            floating_strategy += held.profit + held.commission + held.swap
            if name in own:
                own[name][at] += volume_e2
            else:
                own[name] = [0, volume_e2] if at else [volume_e2, 0]
    for order in book.orders.values():
        if order.position_id:
            continue
        name, at = order.symbol, order.side < 0
        entries += 1
        sides.setdefault(name, [0, 0])[at] += order.remaining_e2
        in_symbol += name == symbol
        if order.strategy == strategy:
            in_strategy += 1
            own.setdefault(name, [0, 0])[at] += order.remaining_e2
    for theirs in book.foreign.values():
        name = theirs.symbol
        sides.setdefault(name, [0, 0])[theirs.side < 0] += theirs.volume_e2
        in_symbol += name == symbol
    return Count(sides, own, entries, in_symbol, in_strategy, floating_symbol, floating_strategy)


def value_all(book: Book, sides: Mapping[str, Sequence[int]]) -> tuple[Worth, tuple[int, int, int]] | None:
    """Every side at its symbol's mid price, and gross, net and margin of all; None where something cannot be valued."""
    worth: Worth = {}
    gross = net = margin = 0
    quotes, scale_of, leverage_of = book.quotes, book.marks.scale_of, book.leverage_of
    for name, (bought_e2, sold_e2) in sides.items():
        quote = quotes.get(name)
        # Somebody else's symbol, which nothing here can value, has no quote either.
        scale = scale_of(name) if quote is not None else None
        if quote is None or scale is None:
            return None
        unit, divisor = (quote.bid_e5 + quote.ask_e5) // 2 * scale[1], scale[2]
        # Rounded up: never in favour of more risk.
        long_value, short_value = -(-bought_e2 * unit // divisor), -(-sold_e2 * unit // divisor)
        larger = long_value if long_value > short_value else short_value  # noqa: FURB136 (asked for every order)
        leverage = leverage_of(name)
        worth[name] = long_value, short_value, unit, divisor, leverage
        gross += long_value + short_value
        net += larger
        margin -= -larger // leverage
    return worth, (gross, net, margin)


def legs(book: Book, worth: Worth, instrument: Instrument) -> tuple[tuple[str, int], ...]:
    """Of both currencies of a symbol the larger of what is bought and what is sold of it."""
    base, quote, instruments = instrument.base, instrument.quote, book.instruments
    base_bought = base_sold = quote_bought = quote_sold = 0
    for name, (long_value, short_value, _, _, _) in worth.items():
        each = instruments[name]
        if each.base == base:
            base_bought += long_value
            base_sold += short_value
        elif each.base == quote:
            quote_bought += long_value
            quote_sold += short_value
        if each.quote == quote:
            quote_bought += short_value
            quote_sold += long_value
        elif each.quote == base:
            base_bought += short_value
            base_sold += long_value
    return (base, max(base_bought, base_sold)), (quote, max(quote_bought, quote_sold))


NOTHING = Figures("", None, 0, 0, 0, 0, 0, 0, 0)
"""Of a scope without limits of its own: nobody asks."""


def of_account(book: Book, count: Count, values: Values | None, now_ns: int) -> Figures:
    """Of the account; `values` are of everybody's sides, the entry's included."""
    tally = book.record.tally(ACCOUNT)
    return Figures(
        "account",
        values,
        len(book.positions) + len(book.foreign) + count.entries,
        book.orders_in_last_minute(now_ns),
        in_last_minute(tally.cancels_ns, now_ns),
        tally.spent,
        book.equity - book.day_start_equity,
        tally.losses,
        tally.last_loss_ns,
    )


def of_symbol(book: Book, count: Count, worth: Worth | None, symbol: str, at: int, now_ns: int) -> Figures:
    """Of the entry's symbol; `worth` has the entry in it and is None where something cannot be valued."""
    values = None
    if worth is not None:
        long_value, short_value, _, _, leverage = worth[symbol]
        larger = max(long_value, short_value)
        values = Values(short_value if at else long_value, long_value + short_value, larger, -(-larger // leverage))
    return _figures(book, ("symbol", symbol), values, count.in_symbol, count.floating_symbol, now_ns)


def of_strategy(book: Book, count: Count, worth: Worth | None, intent: Intent, at: int, now_ns: int) -> Figures:
    """Of the entry's strategy; `count.own` and `worth` have the entry in them."""
    values = None
    if worth is not None:
        gross = net = margin = position = 0
        for name, sides in count.own.items():
            _, _, unit, divisor, leverage = worth[name]
            long_value, short_value = -(-sides[0] * unit // divisor), -(-sides[1] * unit // divisor)
            larger = long_value if long_value > short_value else short_value  # noqa: FURB136 (asked for every order)
            gross += long_value + short_value
            net += larger
            margin -= -larger // leverage
            if name == intent.symbol:
                position = short_value if at else long_value
        values = Values(position, gross, net, margin)
    return _figures(book, ("strategy", intent.strategy), values, count.in_strategy, count.floating_strategy, now_ns)


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

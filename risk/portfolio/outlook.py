"""What an entry would make of the book as a whole, in the numbers that rules compare.

Two books are looked at, the larger loss counts: everything held with every entry at work filled, and everything held
with none of them filled; for an entry that would hedge may never be filled. Others' positions and orders count like
ours. A close at work counts as not done.
"""

from typing import TYPE_CHECKING

import msgspec

from bus.values import Side
from risk.book import Book
from risk.policies.portfolio import PortfolioLimits

if TYPE_CHECKING:  # at run time it comes with numpy, and only where a limit needs it
    from risk.portfolio.model import Portfolio

Values = dict[str, int]

_PCT_E2 = 10_000


class Figures(msgspec.Struct, frozen=True, gc=False):
    """What a book may lose over the horizon, in the account's smallest unit (`risk.portfolio.model.Measure`)."""

    at_risk: int
    shortfall: int
    together: int
    factors: tuple[int, ...]


class Outlook(msgspec.Struct, frozen=True):
    """The book with an entry, and without it.

    Attributes:
        measured: whether there is enough history for any figure; there are none where there is not.
        bars: how many bars the measure rests on.
        after: with the entry.
        before: without it; None where no limit is near enough for that to matter.
        names: of the principal components.
    """

    measured: bool
    bars: int = 0
    after: Figures = Figures(0, 0, 0, ())
    before: Figures | None = None
    names: tuple[str, ...] = ()


def held_and_wanted(book: Book) -> tuple[dict[str, int], dict[str, int]]:
    """Signed volumes by symbol: of all positions; and of all positions with every entry at work filled."""
    held: dict[str, int] = {}
    for position in book.positions.values():
        held[position.symbol] = held.get(position.symbol, 0) + position.side * position.volume_e2
    at_work: list[tuple[str, int]] = [
        (order.symbol, order.side * order.remaining_e2) for order in book.orders.values() if not order.position_id
    ]
    for theirs in book.foreign.values():
        if theirs.kind == "position":
            held[theirs.symbol] = held.get(theirs.symbol, 0) + theirs.side * theirs.volume_e2
        else:
            at_work.append((theirs.symbol, theirs.side * theirs.volume_e2))
    if not at_work:
        return held, held
    wanted = dict(held)
    for symbol, volume_e2 in at_work:
        wanted[symbol] = wanted.get(symbol, 0) + volume_e2
    return held, wanted


def values_of(book: Book, volumes: dict[str, int]) -> Values | None:
    """Signed values at mid prices in the account's smallest unit, rounded down; None while one cannot be told."""
    values: Values = {}
    quotes, scale_of = book.quotes, book.marks.scale_of
    for symbol, volume_e2 in volumes.items():
        quote = quotes.get(symbol)
        scale = None if quote is None else scale_of(symbol)
        if quote is None or scale is None:
            return None
        values[symbol] = volume_e2 * (quote.bid_e5 + quote.ask_e5) * scale[1] // (2 * scale[2])
    return values


def look_ahead(book: Book, portfolio: "Portfolio", symbol: str, side: Side, volume_e2: int) -> Outlook | None:
    """What an entry would make of the book; None while something cannot be valued."""
    if not portfolio.ready:
        return Outlook(measured=False)
    held, wanted = held_and_wanted(book)
    before = values_of(book, held)
    entry = values_of(book, {symbol: side * volume_e2})
    if before is None or entry is None:
        return None
    befores = [before]
    if wanted is not held:
        filled = values_of(book, wanted)
        if filled is None:
            return None
        befores.append(filled)
    with_it = _figures(portfolio, [{**each, symbol: each.get(symbol, 0) + entry[symbol]} for each in befores], symbol)
    near = _near(with_it, portfolio.limits, book.equity)
    return Outlook(
        measured=True,
        bars=portfolio.bars,
        after=with_it,
        before=_figures(portfolio, befores, symbol) if near else None,
        names=portfolio.names,
    )


def _figures(portfolio: "Portfolio", books: list[Values], symbol: str) -> Figures:
    """Figure by figure the largest of several books."""
    found = portfolio.measure(books, symbol) or ()
    if len(found) == 1:
        one = found[0]
        return Figures(one.value_at_risk, one.shortfall, one.together, one.factors)
    return Figures(
        max(each.value_at_risk for each in found),
        max(each.shortfall for each in found),
        max(each.together for each in found),
        tuple([max(losses) for losses in zip(*(each.factors for each in found), strict=True)]),
    )


def _near(figures: Figures, limits: PortfolioLimits, equity: int) -> bool:
    """Whether any limit could be broken; if none is, how the book was before changes nothing."""
    unit = max(equity, 0)
    at_risk = figures.at_risk * _PCT_E2
    return (
        0 < limits.var_pct_e2 * unit < at_risk
        or 0 < limits.entry_var_pct_e2 * unit < at_risk
        or 0 < limits.shortfall_pct_e2 * unit < figures.shortfall * _PCT_E2
        or 0 < limits.correlated_pct_equity * unit < figures.together * 100
        or 0 < limits.factor_pct_e2 * unit < max(figures.factors, default=0) * _PCT_E2
        or unit == 0
    )

"""What a rule may look at, and what it answers."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from bus.messages import HaltLevel, Intent, NewsEvent, Quote
from bus.values import Instrument, OrderType
from risk.book import Book
from risk.evidence import ModelStanding
from risk.orders import remember
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
        needs: the attribute of a check without which the rule has nothing to say; it is not asked then.
    """

    ask: "Callable[[Check], Breach | None]"
    why: str
    keys: tuple[str, ...] = ()
    needs: Literal["", "model", "fallen", "outlook"] = ""


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


ACCOUNT_AT, SYMBOL_AT, STRATEGY_AT = range(3)
"""Places in `Check.figures`."""

Limits = dict[str, tuple[tuple[int, int], ...]]
"""By key of `ScopeLimits`: each scope in which it is on, as its limit and its place in `Check.figures`."""


class Terms(NamedTuple):
    """What a policy says of entries in a symbol by a strategy; `policy` is as tight as those two make it."""

    policy: Policy
    limits: Limits
    of_symbol: bool
    of_strategy: bool


_KEPT = 64
_known: dict[tuple[int, str, str], tuple[Policy, Terms]] = {}


def terms_of(policy: Policy, symbol: str, strategy: str) -> Terms:
    """What a policy says of entries in a symbol by a strategy, worked out once for each pair."""
    key = id(policy), symbol, strategy
    found = _known.get(key)
    if found is None or found[0] is not policy:  # the first of the pair keeps it alive, so that its id stays its own
        found = policy, _terms(policy, symbol, strategy)
        remember(_known, key, found, _KEPT)
    return found[1]


def _terms(policy: Policy, symbol: str, strategy: str) -> Terms:
    of_account = {
        "max_position_pct_equity": policy.max_position_pct_equity,
        "max_exposure_pct_equity": policy.max_exposure_pct_equity,
        "max_leverage_pct": policy.max_leverage_pct,
        "max_margin_use_pct": policy.sizes.max_margin_use_pct,
        "max_open_positions": policy.sizes.max_open_positions,
        "max_orders_per_minute": policy.max_orders_per_minute,
        "max_cancels_per_minute": policy.orders.max_cancels_per_minute,
        "slippage_budget_pct_e2": policy.orders.slippage_budget_pct_e2,
        "daily_loss_pct_e2": 0,  # the account's is a floor, which latches (`risk.watermarks`)
        "max_consecutive_losses": policy.streaks.max_consecutive_losses,
    }
    of_symbol, of_strategy = policy.symbols.get(symbol), policy.strategies.get(strategy)
    limits: Limits = {}
    for key, own in of_account.items():
        asked = (
            (own, ACCOUNT_AT),
            (0 if of_symbol is None else getattr(of_symbol, key), SYMBOL_AT),
            (0 if of_strategy is None else getattr(of_strategy, key), STRATEGY_AT),
        )
        limits[key] = tuple(each for each in asked if each[0])
    return Terms(policy.within(symbol, strategy), limits, of_symbol is not None, of_strategy is not None)


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """All that a rule may look at. Money in the account's smallest unit, volumes in 1/100 units.

    `policy` is as tight as the entry's symbol and strategy make it. `figures` are those of the account, of the symbol
    and of the strategy, the latter two where they have limits of their own; `limits` says which limit is on in which
    of them. `price_e5` is where the position would open and `closing_e5` where it could close then (the side that
    triggers its stop); both 0 without a quote. `legs` are the entry's two currencies with their largest sides.
    `fallen` are the floors that equity is not above.
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
    fallen: tuple[Floor, ...]
    limits: Limits
    figures: tuple[Figures, Figures, Figures]
    legs: tuple[tuple[str, int], ...]
    news: NewsEvent | None
    calendar_last_ns: int | None
    link_up: bool = True
    model: ModelStanding | None = None
    outlook: Outlook | None = None

    @property
    def values(self) -> Values | None:
        """The account's worst cases; None while something cannot be valued."""
        return self.figures[0].values

    def whose(self, place: int) -> str:
        """Whose limit it is, for a sentence; nothing where it is the account's."""
        return f" in {self.figures[place].name}" if place else ""


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
    terms = terms_of(policy, symbol, intent.strategy)
    count = _count(book, symbol, intent.strategy if terms.of_strategy else None)
    at = side < 0
    count.sides[symbol][at] += volume_e2
    count.own[symbol][at] += volume_e2
    valued = _valued(book, count.sides, symbol, at)
    worth = None if valued is None else valued[0]
    equity = book.equity
    calendar = record.calendar if policy.news.on else None
    return Check(
        intent=intent,
        instrument=instrument,
        policy=terms.policy,
        now_ns=now_ns,
        latest_ns=max(record.latest_ns, quote.ts_init_ns if quote is not None else 0),
        halt_level=halt_level,
        quote=quote,
        suspect=symbol in book.suspect,
        unknown=symbol in book.table.unknown.values(),
        volume_e2=volume_e2,
        price_e5=touch_e5,
        closing_e5=closing_e5,
        equity=equity,
        unit=10**book.money_digits,
        day_start_equity=book.day_start_equity,
        day_begin_ns=record.day_begin_ns,
        fallen=tuple([floor for floor in book.watermarks.floors(policy) if equity <= floor.at]),
        limits=terms.limits,
        figures=(
            _of_account(book, count, None if valued is None else valued[1], now_ns),
            _of_symbol(book, count, worth, symbol, at, now_ns) if terms.of_symbol else _NONE,
            _of_strategy(book, count, worth, intent, at, now_ns) if terms.of_strategy else _NONE,
        ),
        legs=() if worth is None else _legs(book, worth, instrument),
        news=calendar.near((instrument.base, instrument.quote), now_ns, policy.news) if calendar is not None else None,
        calendar_last_ns=calendar.last_ns if calendar is not None else None,
        link_up=link_up,
        model=model,
        outlook=None if portfolio is None else look_ahead(book, portfolio, symbol, side, volume_e2),
    )


Sides = dict[str, list[int]]
"""By symbol: long and short volume in 1/100 units."""

Worth = dict[str, tuple[int, int, int, int, int]]
"""By symbol: the values of those in the account's smallest unit, and what made them: unit, divisor and leverage."""


class _Count(NamedTuple):
    """What a walk through the book counts. `sides` are everybody's; `in_symbol` and `in_strategy` are how many."""

    sides: Sides
    own: Sides
    entries: int
    in_symbol: int
    in_strategy: int
    floating_symbol: int
    floating_strategy: int


def _count(book: Book, symbol: str, strategy: str | None) -> _Count:
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
    return _Count(sides, own, entries, in_symbol, in_strategy, floating_symbol, floating_strategy)


def _valued(book: Book, sides: Sides, symbol: str, at: int) -> tuple[Worth, Values] | None:
    """Every side at its symbol's mid price, and the sums; None where something cannot be valued.

    Args:
        book: has the prices.
        sides: to be valued.
        symbol: the entry's.
        at: the entry's side: 0 = long, 1 = short.
    """
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
    return worth, Values(worth[symbol][at], gross, net, margin)


def _legs(book: Book, worth: Worth, instrument: Instrument) -> tuple[tuple[str, int], ...]:
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


_NONE = Figures("", None, 0, 0, 0, 0, 0, 0, 0)
"""Of a scope without limits of its own: nobody asks."""


def _of_account(book: Book, count: _Count, values: Values | None, now_ns: int) -> Figures:
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


def _of_symbol(book: Book, count: _Count, worth: Worth | None, symbol: str, at: int, now_ns: int) -> Figures:
    values = None
    if worth is not None:
        long_value, short_value, _, _, leverage = worth[symbol]
        larger = max(long_value, short_value)
        values = Values(short_value if at else long_value, long_value + short_value, larger, -(-larger // leverage))
    return _figures(book, ("symbol", symbol), values, count.in_symbol, count.floating_symbol, now_ns)


def _of_strategy(book: Book, count: _Count, worth: Worth | None, intent: Intent, at: int, now_ns: int) -> Figures:
    """Of a strategy; `count.own` has the entry in it."""
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

"""What a rule may look at, and what it answers."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from bus.messages import HaltLevel, Intent, NewsEvent, Quote
from bus.values import Instrument, OrderType
from risk.book import Book
from risk.evidence import ModelStanding
from risk.limits.figures import (
    NOTHING,
    Figures,
    Values,
    count_all,
    legs,
    of_account,
    of_strategy,
    of_symbol,
    value_all,
)
from risk.orders import remember
from risk.policy import Policy
from risk.portfolio.outlook import Outlook, look_ahead
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
    count = count_all(book, symbol, intent.strategy if terms.of_strategy else None)
    at = side < 0
    count.sides[symbol][at] += volume_e2
    count.own[symbol][at] += volume_e2
    valued = value_all(book, count.sides)
    worth = None if valued is None else valued[0]
    values = None if valued is None else Values(valued[0][symbol][at], *valued[1])
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
            of_account(book, count, values, now_ns),
            of_symbol(book, count, worth, symbol, at, now_ns) if terms.of_symbol else NOTHING,
            of_strategy(book, count, worth, intent, at, now_ns) if terms.of_strategy else NOTHING,
        ),
        legs=() if worth is None else legs(book, worth, instrument),
        news=calendar.near((instrument.base, instrument.quote), now_ns, policy.news) if calendar is not None else None,
        calendar_last_ns=calendar.last_ns if calendar is not None else None,
        link_up=link_up,
        model=model,
        outlook=None if portfolio is None else look_ahead(book, portfolio, symbol, side, volume_e2),
    )

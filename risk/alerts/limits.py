"""How much of each limit is in use, told near the limit and at it.

Theory of operation. `USES` lists functions from the book and the policy to `LimitUse`: the share of a limit that is in
use. Losses are looked at with every quote while a position is open, the rest when an order, a fact or a second passes.
A limit is told at `limit_warning_pct` and at 100 %, each once a breach.

To let another limit be watched: write a function here, or anywhere in the room, and give it a line in USES.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, cast

import msgspec

from bus.messages import (
    AccountSnapshot,
    BalanceMoved,
    CancelOrder,
    ClockTick,
    ForeignChanged,
    HaltLifted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    Quote,
    SubmitOrder,
    SwapCharged,
)
from risk.alerts.rule import Context, Reading, Rule, Words
from risk.book import Book
from risk.limits.figures import value_all
from risk.policy import Policy
from risk.record import ACCOUNT, in_last_minute

_PPM = 1_000_000
_PCT_E2 = 10_000


class LimitUse(msgspec.Struct, frozen=True, kw_only=True):
    """A limit, the share of it that is in use (1,000,000 = all of it), and use and limit in words.

    `name` is the rule's name in `risk.limits`, with a symbol behind it where there is one a symbol.
    """

    name: str
    used_ppm: int
    words: Words


Uses = Callable[[Book, Policy, int], Iterable[LimitUse]]


def losses(book: Book, policy: Policy, now_ns: int) -> Iterable[LimitUse]:  # noqa: ARG001 (the shape of Uses)
    """Every limit on losses and drawdowns that is on, on floating equity (`risk.watermarks`)."""
    equity = book.equity
    for floor in book.watermarks.floors(policy):
        yield LimitUse(
            name=floor.rule,
            used_ppm=max(0, (floor.mark - equity) * _PPM // max(1, floor.mark - floor.at)),
            words=lambda floor=floor: (floor.lost(equity), floor.limit),
        )


def _share(name: str, value: int, equity: int, limit_pct: int) -> Iterable[LimitUse]:
    if limit_pct:
        yield LimitUse(
            name=name,
            used_ppm=value * 100 * _PPM // (equity * limit_pct),
            words=lambda: (f"{value * 100 / equity:.1f} % of equity", f"{limit_pct} % of equity"),
        )


def holdings(book: Book, policy: Policy, now_ns: int) -> Iterable[LimitUse]:  # noqa: ARG001 (the shape of Uses)
    """Position size a symbol, exposure, leverage and margin, every entry at work counted as filled.

    Nothing where something held cannot be valued, or no equity is left: then nothing new is risked either.
    """
    equity = book.equity
    if equity <= 0:
        return
    valued = value_all(book, book.worst_case_e2())
    if valued is None:
        return
    worth, (gross, net, margin) = valued
    for symbol, (long_value, short_value, *_) in worth.items():
        larger = max(long_value, short_value)
        yield from _share(f"position_size {symbol}", larger, equity, policy.max_position_pct_equity)
    yield from _share("exposure", gross, equity, policy.max_exposure_pct_equity)
    yield from _share("leverage", net, equity, policy.max_leverage_pct)
    if policy.min_free_margin_pct:
        yield from _share("margin", margin, equity, 100 - policy.min_free_margin_pct)
    yield from _share("margin_use", margin, equity, policy.sizes.max_margin_use_pct)


def _count(name: str, n: int, limit: int, what: str) -> Iterable[LimitUse]:
    if limit:
        yield LimitUse(name=name, used_ppm=n * _PPM // limit, words=lambda: (f"{n} {what}", f"{limit}"))


def counts(book: Book, policy: Policy, now_ns: int) -> Iterable[LimitUse]:
    """Orders and cancels in the last minute, and positions with the entries at work."""
    tally = book.record.tally(ACCOUNT)
    orders, cancels = in_last_minute(tally.orders_ns, now_ns), in_last_minute(tally.cancels_ns, now_ns)
    held = len(book.positions) + sum(not order.position_id for order in book.orders.values())
    yield from _count("order_rate", orders, policy.max_orders_per_minute, "orders in the last minute")
    yield from _count("cancel_rate", cancels, policy.orders.max_cancels_per_minute, "cancels in the last minute")
    yield from _count("open_positions", held, policy.sizes.max_open_positions, "positions and entries at work")


def slippage(book: Book, policy: Policy, now_ns: int) -> Iterable[LimitUse]:  # noqa: ARG001 (the shape of Uses)
    """What the trading day has lost to slippage."""
    limit_e2, start = policy.orders.slippage_budget_pct_e2, book.day_start_equity
    if limit_e2 and start > 0:
        spent = book.record.tally(ACCOUNT).spent
        yield LimitUse(
            name="slippage_budget",
            used_ppm=spent * _PCT_E2 * _PPM // (start * limit_e2),
            words=lambda: (f"{spent} spent", f"{limit_e2 / 100:.2f} % of {start}"),
        )


USES: tuple[tuple[Uses, bool], ...] = (
    (losses, True),
    (holdings, False),
    (counts, False),
    (slippage, False),
)
"""Every function with whether a price alone can change its answer so much that every quote is looked at."""


def limit_uses(book: Book, policy: Policy, now_ns: int, *, at_quote: bool = False) -> list[LimitUse]:
    """How much of each limit is in use; with `at_quote` only what every quote is looked at for."""
    return [use for uses, every in USES if every or not at_quote for use in uses(book, policy, now_ns)]


class _Limits(ABC):
    """Holds the limits' use against a share of them."""

    hears: tuple[type[Any], ...] = (
        Quote,
        ClockTick,
        SubmitOrder,
        CancelOrder,
        OrderFilled,
        OrderRejected,
        OrderCancelled,
        OrderExpired,
        SwapCharged,
        AccountSnapshot,
        BalanceMoved,
        ForeignChanged,
        HaltLifted,
    )
    name: str

    def __init__(self) -> None:
        self._told: set[str] = set()  # what stands at the bound or above, until it is well below

    def on(self, message: Any, context: Context) -> Iterable[Reading]:
        """Look at every limit that the message may have moved; a symbol that is held no more uses nothing."""
        book, policy = context.book, context.policy
        at_quote = type(message) is Quote
        if book is None or policy is None or book.balance is None or (at_quote and not book.at_risk):
            return ()
        bound = self.bound_ppm(context)
        readings: list[Reading] = []
        there: set[str] = set()
        if context.shared is None:
            context.shared = limit_uses(book, policy, context.now_ns, at_quote=at_quote)
        for use in cast("list[LimitUse]", context.shared):
            there.add(use.name)
            if use.used_ppm >= bound or use.name in self._told:
                readings.append(self._reading(use, bound, context))
        if not at_quote:
            gone = sorted(self._told - there)
            readings += [Reading(subject=name, breached=False, words=lambda: ("nothing in use", "")) for name in gone]
        self._told.difference_update(each.subject for each in readings if each.breached is False)
        self._told.update(each.subject for each in readings if each.breached)
        return readings

    @abstractmethod
    def bound_ppm(self, context: Context) -> int:
        """From which share of a limit on it is told."""

    @staticmethod
    def _reading(use: LimitUse, bound: int, context: Context) -> Reading:
        clear = use.used_ppm * 100 < bound * context.settings.clear_pct

        def words() -> tuple[str, str]:
            value, limit = use.words()
            return f"{use.used_ppm / 1e4:.1f} % in use: {value}", limit

        breached = True if use.used_ppm >= bound else False if clear else None
        return Reading(subject=use.name, breached=breached, words=words)


class LimitNear(_Limits):
    """A limit is nearly used up."""

    name = "limit_near"
    severity = "warning"
    why = "A limit is used up to the share at which it is told."
    advice = "expect refusals or a halt soon; reduce by hand only if you must"

    def bound_ppm(self, context: Context) -> int:
        """The share that is set."""
        return context.settings.limit_warning_pct * 10_000


class LimitReached(_Limits):
    """A limit is used up."""

    name = "limit_reached"
    severity = "critical"
    why = "A limit is used up: entries are refused, and where it is a loss a halt latches."
    advice = "look at open positions now; a loss limit needs an operator who resumes"

    def bound_ppm(self, context: Context) -> int:  # noqa: ARG002 (its sibling's shape)
        """All of it."""
        return _PPM


class Books:
    """The account that the alerts keep contradicts itself."""

    name = "books"
    severity = "critical"
    why = "The account that is kept for the alerts contradicts itself, so limits are watched no more."
    advice = "run `plimsoll replay`; the core keeps its own account and stops by itself where that one breaks"
    hears: tuple[type[Any], ...] = (ClockTick, OrderFilled, AccountSnapshot)

    def on(self, message: Any, context: Context) -> Iterable[Reading]:  # noqa: ARG002 (the protocol's shape)
        """Say how it broke."""
        if context.broken:
            yield Reading(subject="account", breached=True, words=lambda: (context.broken, "books that agree"))


RULES: tuple[type[Rule], ...] = (LimitNear, LimitReached, Books)

"""What the limits remember besides orders, positions and prices: rates, results in a row, slippage, the calendar.

Theory of operation. A fold over commands that leave and deals that the book has taken (each once, since the book knows
what it was told before). Everything is kept for the account, for each symbol and for each strategy (`Scope`); a trading
day begins where the book's does (`risk.watermarks`). Bounded: a scope keeps the send times of one minute, and a handful
of sums; scopes are the configured symbols and the running strategies.

A result counts when its position is closed to the last unit, with everything that was booked on it. Slippage counts
where a fill was worse than what it was meant for, in the account's money at the rate of that moment; better fills give
nothing back.
"""

from collections import deque
from collections.abc import Iterable

import msgspec

from bus.messages import NewsEvent
from bus.values import NS_PER_S
from risk.news import Calendar
from risk.orders import Position

_MINUTE_NS = 60 * NS_PER_S
MOST_A_MINUTE = 1_000_000

ACCOUNT = ("account", "")
Scope = tuple[str, str]
"""``account``, ``symbol`` or ``strategy``, and its name."""


def scopes_of(symbol: str, strategy: str) -> tuple[Scope, Scope, Scope]:
    """What an order or a position counts in."""
    return ACCOUNT, ("symbol", symbol), ("strategy", strategy)


class Tally(msgspec.Struct):
    """What is remembered of one scope. Money in the account's smallest unit.

    Attributes:
        orders_ns: when its orders left in the last minute, oldest first.
        cancels_ns: the same of its cancels.
        spent: slippage of the trading day.
        booked: what closing deals booked in the trading day.
        floating_before: what its positions stood at when the day began.
        losses: losing positions in a row.
        last_loss_ns: when the last of them was closed.
    """

    orders_ns: deque[int] = msgspec.field(default_factory=lambda: deque(maxlen=MOST_A_MINUTE))
    cancels_ns: deque[int] = msgspec.field(default_factory=lambda: deque(maxlen=MOST_A_MINUTE))
    spent: int = 0
    booked: int = 0
    floating_before: int = 0
    losses: int = 0
    last_loss_ns: int = 0


_NOTHING = Tally()


def in_last_minute(sent_ns: deque[int], now_ns: int) -> int:
    """How many of these times lie in the sixty seconds before a moment."""
    since_ns, over = now_ns - _MINUTE_NS, 0
    for each_ns in sent_ns:
        if each_ns > since_ns:
            break
        over += 1
    return len(sent_ns) - over


class Record:
    """The memory of the limits.

    Attributes:
        calendar: events around which no entries are made; None = none was told.
        day_begin_ns: when the trading day began; 0 = with the run.
        latest_ns: the newest moment at which anything left or was told.
    """

    def __init__(self) -> None:
        self.calendar: Calendar | None = None
        self.day_begin_ns = 0
        self.latest_ns = 0
        self._tallies: dict[Scope, Tally] = {}

    def tally(self, scope: Scope) -> Tally:
        """What is remembered of a scope; to look at, not to change."""
        return self._tallies.get(scope, _NOTHING)

    def ordered(self, symbol: str, strategy: str, now_ns: int) -> None:
        """An order leaves now."""
        self.latest_ns = max(self.latest_ns, now_ns)
        for tally in self._of(symbol, strategy):
            _push(tally.orders_ns, now_ns)

    def cancelled(self, symbol: str, strategy: str, now_ns: int) -> None:
        """A cancel leaves now."""
        self.latest_ns = max(self.latest_ns, now_ns)
        for tally in self._of(symbol, strategy):
            _push(tally.cancels_ns, now_ns)

    def slipped(self, symbol: str, strategy: str, amount: int) -> None:
        """A fill was worse than it was meant to be, by so much money."""
        for tally in self._of(symbol, strategy):
            tally.spent += amount

    def booked(self, position: Position, amount: int, *, closed: bool, now_ns: int) -> None:
        """A closing deal booked an amount.

        Args:
            position: as it was; `position.booked` has the amount in it.
            amount: of this deal.
            closed: whether nothing of the position is left.
            now_ns: when we were told.
        """
        self.latest_ns = max(self.latest_ns, now_ns)
        for tally in self._of(position.symbol, position.strategy):
            tally.booked += amount
            if closed and position.booked < 0:
                tally.losses += 1
                tally.last_loss_ns = now_ns
            elif closed and position.booked > 0:
                tally.losses = 0

    def turn(self, positions: Iterable[Position], now_ns: int) -> None:
        """A trading day begins with these positions."""
        self.day_begin_ns = now_ns
        for tally in self._tallies.values():
            tally.spent = tally.booked = tally.floating_before = 0
        for position in positions:
            floating = position.profit + position.commission + position.swap
            for tally in self._of(position.symbol, position.strategy):
                tally.floating_before += floating

    def scheduled(self, events: Iterable[NewsEvent]) -> None:
        """A calendar was told; it takes the place of the one before."""
        self.calendar = Calendar(events)

    def _of(self, symbol: str, strategy: str) -> list[Tally]:
        found: list[Tally] = []
        for scope in scopes_of(symbol, strategy):
            tally = self._tallies.get(scope)
            if tally is None:
                tally = self._tallies[scope] = Tally()
            found.append(tally)
        return found


def _push(sent_ns: deque[int], now_ns: int) -> None:
    while sent_ns and sent_ns[0] <= now_ns - _MINUTE_NS:
        sent_ns.popleft()
    sent_ns.append(now_ns)

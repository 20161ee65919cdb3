"""What to ask the broker about the past, and what its answers prove: the plan of a download, without I/O.

Theory of operation. An answer holds the newest rows of its window, and may hold fewer than the window has: the limit is
not published, and whether the answer says that it was cut is not to be relied on (reference 6.1 and 6.2). So nothing is
concluded from how many rows came. The past is read from its end to its beginning, and a cursor stands where the known
part begins:

    rows came         everything from the oldest of them on is known; the cursor moves there
    none came         the window is empty; the cursor moves to its beginning
    none came, and the answer says that there are more, or has rows of a later time only:
                      nothing is known; the window is halved, six times at most, then it is an error

The next window ends just before the cursor and is as long as the broker allows, so a cut answer costs nothing but the
rest of it, and every answer moves the cursor or shortens the window: the plan ends. What an answer proves is handed out
at once with its rows; whoever keeps both can be interrupted anywhere and plan anew what is missing.

Ticks come by side. Of several within one millisecond the newest counts, and that one leads whatever page it is on. A
row of bid and ask needs the other side's last price, which may lie before the part that is asked for: a side is read on
until one is found, at most a week back from the beginning of the UTC day. So the rows of a day depend on nothing but
the broker's ticks, not on where a download began or stopped. They are handed out a UTC day at a time.

The present is where the broker's newest minute is, not where our clock is: a clock that is ahead must not make half a
bar whole. The broker has its bars complete up to a second after their end, so the minute before the newest is the last
thing believed. Days have up to 25 hours, so a bar longer than an hour counts an hour more.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from adapters.ctrader.series import (
    ASK,
    BID,
    NEVER_NS,
    TICK_WINDOW_MS,
    WINDOW_MS,
    bar_series,
    bars_request,
    has_more,
    tick_series,
    tick_side,
    ticks_request,
)
from adapters.ctrader.wire import NS_PER_MINUTE, PERIODS_NS
from adapters.history.spans import Span
from bus.errors import DataError
from bus.series import BarSeries, Column, TickSeries
from bus.values import NS_PER_DAY, NS_PER_HOUR, NS_PER_MS

Part = tuple[Span, BarSeries | TickSeries]
"""A span, and all rows in it."""

_MOST_HALVINGS = 6
_LOOK_BACK_NS = TICK_WINDOW_MS * NS_PER_MS


def complete_end_ns(period: int | None, newest_minute_ns: int) -> int:
    """Up to where (excluded) all bars that have opened, or all ticks, are complete.

    Args:
        period: the wire's number of a bar's length; None = ticks.
        newest_minute_ns: when the newest minute bar opened that the broker has.
    """
    settled_ns = newest_minute_ns - NS_PER_MINUTE
    if period is None:
        return settled_ns
    length_ns = PERIODS_NS[period]
    if length_ns <= NS_PER_HOUR:
        return settled_ns // length_ns * length_ns
    return settled_ns - length_ns - NS_PER_HOUR


def empty_series(symbol: str, period: int | None) -> BarSeries | TickSeries:
    """A series without rows: bars of a length by the wire's number, or (None) ticks."""
    none = np.zeros(0, np.int64)
    if period is None:
        return TickSeries(symbol=symbol, ts_ns=none, bid_e5=none, ask_e5=none)
    return BarSeries(
        symbol=symbol, period_ns=PERIODS_NS[period], ts_open_ns=none, open_e5=none, high_e5=none, low_e5=none,
        close_e5=none, quotes=none,
    )  # fmt: skip


class Plan(Protocol):
    """What a download asks, one request at a time."""

    @property
    def left_ns(self) -> int:
        """Time that is not known yet."""
        ...

    def request(self) -> Any | None:
        """What to ask now; None = all is known. The same until it is answered."""
        ...

    def take(self, response: Any) -> list[Part]:
        """Take its answer, and hand out what is complete by now, newest first.

        Raises:
            DataError: impossible prices, or an answer that answers something else.
        """
        ...

    def shorten(self) -> bool:
        """The broker finds the window too long: halve it. False = it has been halved often enough."""
        ...


class Pages:
    """One stream of the past, read from its end to its beginning. Times are multiples of a millisecond."""

    def __init__(self, span: Span, longest_ns: int) -> None:
        """Begin at the end.

        Args:
            span: what is wanted.
            longest_ns: of one request.
        """
        self.cursor_ns = span.end_ns
        self._start_ns = span.start_ns
        self._length_ns = longest_ns
        self._halvings = 0

    @property
    def window(self) -> Span:
        """What to ask for now; empty = all is known."""
        return Span(max(self._start_ns, self.cursor_ns - self._length_ns), self.cursor_ns)

    def take(self, times_ns: Column, *, more: bool) -> Span:
        """Take the times of an answer to `window`, in any order and perhaps beyond it.

        Args:
            times_ns: shape (n,).
            more: the answer says that it was cut.

        Returns:
            What is known since; empty = the answer proves nothing, and a shorter window is asked for.

        Raises:
            DataError: the shortest window has not helped either.
        """
        window = self.window
        inside = times_ns[(times_ns >= window.start_ns) & (times_ns < window.end_ns)]
        before_ns = self.cursor_ns
        if len(inside):
            self.cursor_ns = int(inside.min())
        elif bool(np.any(times_ns < window.start_ns)) or not (more or len(times_ns)):
            self.cursor_ns = window.start_ns
        elif not self.shorten():
            raise DataError(
                "the broker's answers contradict themselves: nothing of the time asked for, and more to come"
            )
        return Span(self.cursor_ns, before_ns)

    def shorten(self) -> bool:
        """Halve the windows from now on; False = that was done often enough."""
        self._halvings += 1
        if self._halvings > _MOST_HALVINGS:
            return False
        self._length_ns = self._length_ns // (2 * NS_PER_MS) * NS_PER_MS
        return True


class BarPlan:
    """The bars of one symbol that open within a span. See the module for the theory."""

    def __init__(self, account_id: int, symbol_id: int, symbol: str, period: int, span: Span) -> None:
        """Plan.

        Args:
            account_id: that asks.
            symbol_id: the broker's number.
            symbol: our name.
            period: the wire's number of a bar's length, M1 (1) to W1 (13).
            span: where the bars open; it ends at `complete_end_ns` or before.
        """
        self._ids = account_id, symbol_id
        self._symbol, self._period = symbol, period
        self._start_ns = span.start_ns
        self._pages = Pages(span, WINDOW_MS[period] * NS_PER_MS)

    @property
    def left_ns(self) -> int:
        """Time that is not known yet."""
        return self._pages.cursor_ns - self._start_ns

    def request(self) -> Any | None:
        """What to ask now; None = all is known."""
        window = self._pages.window
        if window.length_ns <= 0:
            return None
        return bars_request(*self._ids, self._period, window.start_ns, window.end_ns - NS_PER_MS)

    def take(self, response: Any) -> list[Part]:
        """Take the answer; what it proves is handed out at once."""
        bars = bar_series(response, self._symbol, self._period, NEVER_NS)  # the span ends before the forming one
        known = self._pages.take(bars.ts_open_ns, more=has_more(response))
        if known.length_ns <= 0:
            return []
        first, last = (int(row) for row in np.searchsorted(bars.ts_open_ns, known))
        return [(known, bars.slice(first, last))]

    def shorten(self) -> bool:
        """The broker finds the window too long: halve it."""
        return self._pages.shorten()


class _Side:
    """One side's ticks that were read and not handed out yet; times in ms, oldest first within each page."""

    def __init__(self, pages: Pages) -> None:
        self.pages = pages
        self._held: list[tuple[Column, Column]] = []

    def take(self, times_ms: Column, prices_e5: Column, *, more: bool) -> None:
        """Take a page, oldest first, into what is held."""
        known = self.pages.take(times_ms * NS_PER_MS, more=more)
        newest = np.concatenate([times_ms[1:] != times_ms[:-1], np.ones(min(1, len(times_ms)), np.bool_)])
        within = (times_ms * NS_PER_MS >= known.start_ns) & (times_ms * NS_PER_MS < known.end_ns)
        rows = newest & within
        if rows.any():
            self._held.append((times_ms[rows], prices_e5[rows]))

    def settled(self, start_ns: int, floor_ns: int) -> bool:
        """Whether all is read from a moment on, and the last price before it too, or there is none from a floor on."""
        if self.pages.cursor_ns > start_ns:
            return False
        oldest_ns = int(self._held[-1][0][0]) * NS_PER_MS if self._held else start_ns
        return oldest_ns < start_ns or self.pages.cursor_ns <= floor_ns

    def hand_out(self, start_ns: int, floor_ns: int) -> tuple[Column, Column]:
        """What is held from a moment on, led by the last price before it; that and what is older stays."""
        empty = np.zeros(0, np.int64)
        times = np.concatenate([each[0] for each in self._held[::-1]] or [empty])
        prices = np.concatenate([each[1] for each in self._held[::-1]] or [empty])
        first = int(np.searchsorted(times, start_ns // NS_PER_MS))
        self._held = [(times[:first], prices[:first])] if first else []
        if first and int(times[first - 1]) * NS_PER_MS >= floor_ns:
            first -= 1
        return times[first:], prices[first:]


class TickPlan:
    """The ticks of one symbol within a span, both sides merged. See the module for the theory."""

    def __init__(self, account_id: int, symbol_id: int, symbol: str, span: Span) -> None:
        """Plan; arguments as `BarPlan`."""
        self._ids = account_id, symbol_id
        self._symbol = symbol
        self._span = span
        self._end_ns = span.end_ns
        _, floor_ns = _day(span.start_ns)
        self._sides = {side: _Side(Pages(Span(floor_ns, span.end_ns), _LOOK_BACK_NS)) for side in (BID, ASK)}
        self._asked = BID

    @property
    def left_ns(self) -> int:
        """Time that is not known yet, in the middle of both sides."""
        start_ns = self._span.start_ns
        return sum(max(0, each.pages.cursor_ns - start_ns) for each in self._sides.values()) // len(self._sides)

    def request(self) -> Any | None:
        """What to ask now: the side that is behind; None = all is known."""
        if self._end_ns <= self._span.start_ns:
            return None
        start_ns, floor_ns = self._part()
        behind = [side for side, each in self._sides.items() if not each.settled(start_ns, floor_ns)]
        self._asked = max(behind, key=lambda side: self._sides[side].pages.cursor_ns)
        window = self._sides[self._asked].pages.window
        return ticks_request(*self._ids, self._asked, window.start_ns, window.end_ns - NS_PER_MS)

    def take(self, response: Any) -> list[Part]:
        """Take the answer; every day of which both sides are known by now is handed out."""
        self._sides[self._asked].take(*tick_side(response), more=has_more(response))
        return list(self._complete())

    def shorten(self) -> bool:
        """The broker finds the window too long: halve it."""
        return self._sides[self._asked].pages.shorten()

    def _part(self) -> tuple[int, int]:
        """Where the newest day begins that is not handed out, and how far back its first prices may lie."""
        day_ns, floor_ns = _day(self._end_ns - NS_PER_MS)
        return max(day_ns, self._span.start_ns), floor_ns

    def _complete(self) -> Iterator[Part]:
        while self._end_ns > self._span.start_ns:
            start_ns, floor_ns = self._part()
            if not all(side.settled(start_ns, floor_ns) for side in self._sides.values()):
                return
            ticks = tick_series(self._symbol, *(self._sides[side].hand_out(start_ns, floor_ns) for side in (BID, ASK)))
            own = ticks.ts_ns >= start_ns
            yield (
                Span(start_ns, self._end_ns),
                TickSeries(
                    symbol=self._symbol, ts_ns=ticks.ts_ns[own], bid_e5=ticks.bid_e5[own], ask_e5=ticks.ask_e5[own]
                ),
            )
            self._end_ns = start_ns


def _day(ts_ns: int) -> tuple[int, int]:
    """When the UTC day of a moment begins, and the earliest price that its first rows may rest on."""
    start_ns = ts_ns // NS_PER_DAY * NS_PER_DAY
    return start_ns, max(0, start_ns - _LOOK_BACK_NS)

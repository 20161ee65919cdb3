"""Quotes become bars, one at a time; the newest bars make a request for forecasts. No numpy: this is the hot path.

Theory of operation. `BarBuilder` holds one open bar in plain attributes. A quote below the bar's end changes at most
three integers. A quote at or past the end closes the bar and opens the one it falls into; a clock reading at or past
the end closes the bar and opens none. Bars start at multiples of the period since 1970 and carry bid prices; a period
without a quote makes no bar. A closed bar is never reopened: a quote stamped before the open bar (or before what the
clock has closed) is late, changes nothing and is counted in `late`. Within the open bar quotes count in the order in
which they arrive, whatever their stamps, so the close is the last quote told.
"""

from collections import deque

from bus.messages import Bar, ForecastRequested, Quote

REQUEST_BARS = 256
"""How many bars a request for forecasts carries (`ForecastRequested`)."""


class BarBuilder:
    """Builds the bars of one symbol. Feed it that symbol's quotes only; it does not look.

    Attributes:
        late: quotes that belonged to a bar already closed, and were ignored.
        end_ns: when the open bar ends; where no bar is open, the first moment that may open one.
    """

    __slots__ = ("_close_e5", "_high_e5", "_low_e5", "_open_e5", "_quotes", "_spread_e5", "_start_ns",
                 "end_ns", "late", "period_ns", "symbol")  # fmt: skip

    def __init__(self, symbol: str, period_ns: int) -> None:
        if period_ns <= 0:
            raise ValueError(f"a bar of {symbol} lasts {period_ns} ns; the period must be positive")
        self.symbol = symbol
        self.period_ns = period_ns
        self.late = 0
        self.end_ns = 0
        self._start_ns = 0
        self._quotes = 0
        self._open_e5 = self._high_e5 = self._low_e5 = self._close_e5 = self._spread_e5 = 0

    def on_quote(self, quote: Quote) -> Bar | None:
        """Take one quote by its `ts_event_ns`; give the bar that it closed, if it closed one."""
        ts_ns = quote.ts_event_ns
        bid_e5 = quote.bid_e5
        if self._start_ns <= ts_ns < self.end_ns:
            if bid_e5 > self._high_e5:
                self._high_e5 = bid_e5
            elif bid_e5 < self._low_e5:
                self._low_e5 = bid_e5
            self._close_e5 = bid_e5
            self._spread_e5 = quote.ask_e5 - bid_e5
            self._quotes += 1
            return None
        if ts_ns < self.end_ns:
            self.late += 1
            return None
        closed = self._bar() if self._quotes else None
        self._start_ns = ts_ns - ts_ns % self.period_ns
        self.end_ns = self._start_ns + self.period_ns
        self._open_e5 = self._high_e5 = self._low_e5 = self._close_e5 = bid_e5
        self._spread_e5 = quote.ask_e5 - bid_e5
        self._quotes = 1
        return closed

    def on_time(self, now_ns: int) -> Bar | None:
        """Close by the clock: give the open bar if its end has come. Safe to call at any moment, and again."""
        if now_ns < self.end_ns:
            return None
        closed = self._bar() if self._quotes else None
        self._quotes = 0
        self._start_ns = self.end_ns = now_ns - now_ns % self.period_ns
        return closed

    def adopt(self, bar: Bar) -> None:
        """Take the bar in the making as history tells it; what was built of it, with quotes missing, is replaced.

        Ignored where a later bar is open already, or the clock has closed this one.
        """
        if bar.ts_open_ns < self._start_ns or bar.ts_close_ns <= self.end_ns - self.period_ns:
            return
        if self._quotes and bar.ts_open_ns == self._start_ns:
            self._spread_e5 = self._spread_e5 or bar.spread_e5
        else:
            self._spread_e5 = bar.spread_e5
        self._start_ns, self.end_ns = bar.ts_open_ns, bar.ts_open_ns + self.period_ns
        self._open_e5, self._high_e5, self._low_e5, self._close_e5 = (
            bar.open_e5, bar.high_e5, bar.low_e5, bar.close_e5,
        )  # fmt: skip
        self._quotes = max(1, bar.quotes)

    def skip_to(self, ts_ns: int) -> None:
        """Forget an open bar that began before a moment: history tells it, and tells it whole."""
        if self._start_ns < ts_ns:
            self._quotes = 0
            self._start_ns = self.end_ns = ts_ns

    def _bar(self) -> Bar:
        return Bar(
            symbol=self.symbol,
            period_ns=self.period_ns,
            ts_open_ns=self._start_ns,
            ts_close_ns=self._start_ns + self.period_ns,
            open_e5=self._open_e5,
            high_e5=self._high_e5,
            low_e5=self._low_e5,
            close_e5=self._close_e5,
            spread_e5=self._spread_e5,
            quotes=self._quotes,
        )


class BarWindow:
    """The newest `capacity` bars of one symbol, kept as columns so that a request costs a few copies.

    Bars come in the order of their open times; one that does not come after the last (`last_ns`, -1 = none yet) is
    ignored, so that feeding the same bar twice changes nothing.
    """

    __slots__ = ("_columns", "capacity", "last_ns", "period_ns", "symbol")

    def __init__(self, symbol: str, period_ns: int, capacity: int = REQUEST_BARS) -> None:
        self.symbol = symbol
        self.period_ns = period_ns
        self.capacity = capacity
        self.last_ns = -1
        self._columns: tuple[deque[int], ...] = tuple(deque[int](maxlen=capacity) for _ in range(7))

    def __len__(self) -> int:
        """Bars held."""
        return len(self._columns[0])

    def append(self, bar: Bar) -> None:
        """Add a closed bar; the oldest leaves when the window is full."""
        if bar.ts_open_ns <= self.last_ns:
            return
        self.last_ns = bar.ts_open_ns
        ts_open_ns, open_e5, high_e5, low_e5, close_e5, spread_e5, quotes = self._columns
        ts_open_ns.append(bar.ts_open_ns)
        open_e5.append(bar.open_e5)
        high_e5.append(bar.high_e5)
        low_e5.append(bar.low_e5)
        close_e5.append(bar.close_e5)
        spread_e5.append(bar.spread_e5)
        quotes.append(bar.quotes)

    def request(
        self, request_id: str, *, as_of_ns: int, horizons: tuple[int, ...], deadline_ns: int
    ) -> ForecastRequested:
        """Ask for forecasts from the bars held. `as_of_ns` is the close of the newest bar, horizons count bars."""
        ts_open_ns, open_e5, high_e5, low_e5, close_e5, spread_e5, quotes = self._columns
        return ForecastRequested(
            request_id=request_id,
            symbol=self.symbol,
            as_of_ns=as_of_ns,
            period_ns=self.period_ns,
            horizons=horizons,
            deadline_ns=deadline_ns,
            ts_open_ns=tuple(ts_open_ns),
            open_e5=tuple(open_e5),
            high_e5=tuple(high_e5),
            low_e5=tuple(low_e5),
            close_e5=tuple(close_e5),
            spread_e5=tuple(spread_e5),
            quotes=tuple(quotes),
        )

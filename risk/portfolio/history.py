"""Closed bars of many symbols become rows of returns at equal times, in whole numbers.

Theory of operation. A row belongs to an opening time. It is finished when every symbol has told its bar, or when a bar
of a later time is told: what has not come by then is missing. A missing bar is a price that did not move, as the
account's own mark did not; the next bar brings the whole move. A bar that comes after its row was finished (history
told symbol by symbol, a link that was down) makes all remembered rows be folded again, in the order of time; so the
rows depend on the bars, not on the order in which symbols told them. Volatilities then start anew with the oldest
remembered bar and differ a little from those of a history that was never interrupted: that bar's weight is small.

A return is the simple one, (close - before) / before, in 1e-9: what a position of value v wins is then v times the
return, exactly, and sums over symbols are exact too; a sum of log-returns would be neither. It is that of the symbol's
price; that the rate of its quote asset into the account's currency moves in the same bar is of second order and left
out.

The volatility known before a bar is the exponentially weighted root mean square of the returns before it (RiskMetrics
1996, with the weights normalised to one, so that no first value needs to be guessed). A return over it is the
standardised one, in 1e-6. Both need WARM bars.
"""

import math
from collections import deque
from collections.abc import Sequence

import msgspec

from bus.values import divide_half_away

RETURN_SCALE = 1_000_000_000
SCORE_SCALE = 1_000_000
DECAY_PPM = 985_000
"""Weight of a bar's square against that of the bar after it: half of the weight lies on the newest 46 bars."""
WARM = 20
FLOOR = 10_000
"""The smallest volatility, 0.001 % a bar: a price that stood still has not promised to."""
LARGEST_SCORE = 100 * SCORE_SCALE
LARGEST_RETURN = RETURN_SCALE
_WEIGHT = 1 << 40


class Row(msgspec.Struct, frozen=True, gc=False):
    """Returns (1e-9) and standardised returns (1e-6) by symbol, in the order of `History.symbols`; 0 where missing."""

    ts_ns: int
    returns: tuple[int, ...]
    scores: tuple[int, ...]


class _Symbol:
    """Closes of one symbol, and its volatility as of the last row."""

    __slots__ = ("before", "closes", "first", "present", "seen", "squares", "weights")

    def __init__(self) -> None:
        self.closes: dict[int, int] = {}
        self.reset()

    def reset(self) -> None:
        self.before = 0  # close of its last bar in a row
        self.squares = self.weights = 0
        self.seen = 0  # returns that the volatility knows
        self.first = -1  # number of its first row with a standardised return
        self.present: deque[int] = deque()  # numbers of such rows, within the window

    @property
    def volatility(self) -> int:
        """Of one bar, in 1e-9."""
        return max(FLOOR, math.isqrt(self.squares * _WEIGHT // self.weights)) if self.weights else FLOOR

    def step(self, close_e5: int, number: int) -> tuple[int, int]:
        """Take the next close; its return and its standardised return."""
        before, self.before = self.before, close_e5
        if not before:
            return 0, 0
        change = divide_half_away((close_e5 - before) * RETURN_SCALE, before)
        change = max(-LARGEST_RETURN, min(LARGEST_RETURN, change))
        score = 0
        if self.seen >= WARM:
            score = divide_half_away(change * SCORE_SCALE, self.volatility)
            score = max(-LARGEST_SCORE, min(LARGEST_SCORE, score))
            self.first = number if self.first < 0 else self.first
            self.present.append(number)
        self.squares = self.squares * DECAY_PPM // 1_000_000 + change * change
        self.weights = self.weights * DECAY_PPM // 1_000_000 + _WEIGHT
        self.seen += 1
        return change, score


class History:
    """Rows of several symbols, the newest `window`.

    Attributes:
        symbols: in the order of every row.
        rows: finished rows, oldest first; `count` counts all that ever were since the last folding from the start.
        generation: grows when all rows were folded again.
    """

    def __init__(self, symbols: Sequence[str], window: int) -> None:
        self.symbols = tuple(symbols)
        self.window = window
        self.rows: deque[Row] = deque(maxlen=window)
        self.count = 0
        self.generation = 0
        self._kept = window + WARM + 1
        self._of = {symbol: _Symbol() for symbol in self.symbols}
        self._open_ns = -1
        self._told: set[str] = set()
        self._ready: list[int] = []
        self._late = False

    def note(self, symbol: str, ts_ns: int, close_e5: int) -> None:
        """Remember a closed bar. Cheap; `settle` does the rest.

        Args:
            symbol: one that is not among `symbols` is ignored, and so is a bar told before and a price of 0 or less.
            ts_ns: when the bar opened.
            close_e5: its last price.
        """
        each = self._of.get(symbol)
        if each is None or close_e5 <= 0 or ts_ns in each.closes:
            return
        each.closes[ts_ns] = close_e5
        if len(each.closes) > self._kept:
            del each.closes[min(each.closes)]
        if ts_ns > self._open_ns:
            if self._told:
                self._ready.append(self._open_ns)
            self._open_ns = ts_ns
            self._told = {symbol}
        elif ts_ns == self._open_ns and self._told:
            self._told.add(symbol)
        else:
            self._late = True
        if len(self._told) == len(self.symbols):
            self._ready.append(self._open_ns)
            self._told = set()

    def settle(self) -> bool:
        """Fold the rows that have been finished since; whether there was one."""
        if self._late:
            self._again()
            return True
        for ts_ns in self._ready:
            self._fold(ts_ns)
        settled, self._ready = bool(self._ready), []
        return settled

    def volatility(self, symbol: str) -> int:
        """Of one bar, in 1e-9, as of the last row."""
        return self._of[symbol].volatility

    def bars(self, symbol: str) -> int:
        """Standardised returns that the rows hold of a symbol."""
        each = self._of.get(symbol)
        return len(each.present) if each is not None else 0

    def since(self, symbol: str) -> int:
        """The number of the first row, in the window, from which the symbol is in the rows."""
        return max(self._of[symbol].first, self.count - len(self.rows))

    def _again(self) -> None:
        self.generation += 1
        self._late = False
        self._ready = []
        self.rows.clear()
        self.count = 0
        times: set[int] = set()
        for each in self._of.values():
            each.reset()
            times.update(each.closes)
        for ts_ns in sorted(times)[-self._kept :]:
            if ts_ns < self._open_ns or not self._told:
                self._fold(ts_ns)

    def _fold(self, ts_ns: int) -> None:
        returns: list[int] = []
        scores: list[int] = []
        oldest = self.count + 1 - self.window
        for each in self._of.values():
            close_e5 = each.closes.get(ts_ns)
            change, score = each.step(close_e5, self.count) if close_e5 is not None else (0, 0)
            returns.append(change)
            scores.append(score)
            if each.present and each.present[0] < oldest:
                each.present.popleft()
        self.rows.append(Row(ts_ns, tuple(returns), tuple(scores)))
        self.count += 1

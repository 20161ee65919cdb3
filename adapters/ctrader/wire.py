"""The only place that scales what cTrader sends and takes: prices, volumes, money and time. Pure, but for two memories.

Theory of operation. Two price encodings meet here: integers in 1/100000 of a price unit (quotes, bars, ticks, relative
levels), which are ours already, and doubles (orders, positions, deals), which are read by their shortest decimal and
so become integers exactly. Volumes are in 1/100 of a unit on both sides. Money comes in 10**-moneyDigits of the
account's currency, where every message says its own exponent. Times are UTC milliseconds.

Nothing is believed because it was said: a value that no market has (a price of nothing, a time after 2038, money of 400
digits) raises `DataError` here, so that no message of ours carries it further.

`Spots` remembers both sides of every symbol, because a spot event brings one or both: what is absent is unchanged,
never zero. A crossed pair is remembered (the other side usually follows) and not told. A price that jumps is told only
when a second one confirms it. `LiveBars` closes a bar when a later one arrives; its close is the bid before that.
"""

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import msgspec

from bus.errors import DataError
from bus.messages import Bar, Quote
from bus.values import LARGEST, NS_PER_MS, PRICE_SCALE, Instrument, Side, divide_half_away

NS_PER_MINUTE = 60_000_000_000
DEFAULT_MONEY_DIGITS = 2
JUMP_PCT = 10
LATEST_MS = 2_147_483_646_000
"""The end of time for this broker, in January 2038."""
LARGEST_MONEY = 10**18
"""A billion of a currency with nine decimals."""
LONGEST_TEXT = 300
"""Characters kept of what the broker says in words: a journal's record has a limit."""

_MOST_MONEY_DIGITS = 9
_AHEAD_NS = 24 * 60 * NS_PER_MINUTE

PERIODS_NS = {
    1: NS_PER_MINUTE,
    2: 2 * NS_PER_MINUTE,
    3: 3 * NS_PER_MINUTE,
    4: 4 * NS_PER_MINUTE,
    5: 5 * NS_PER_MINUTE,
    6: 10 * NS_PER_MINUTE,
    7: 15 * NS_PER_MINUTE,
    8: 30 * NS_PER_MINUTE,
    9: 60 * NS_PER_MINUTE,
    10: 240 * NS_PER_MINUTE,
    11: 720 * NS_PER_MINUTE,
    12: 1_440 * NS_PER_MINUTE,
    13: 10_080 * NS_PER_MINUTE,
}
"""Length of a bar by `ProtoOATrendbarPeriod`. MN1 (14) has no length and is left out."""

_BUY, _SELL = 1, 2


# --- single values ---------------------------------------------------------------------------------------------


def price_e5_of(price: float) -> int:
    """Read a price that came as a double: its shortest decimal, half away from zero beyond five decimals.

    Raises:
        DataError: not a positive price, or one that rounds to nothing.
    """
    if not 0 < price <= LARGEST / PRICE_SCALE:  # NaN compares false
        raise DataError(f"not a price: {price!r}")
    # The nearest integer is right unless the product came close to a half; the decimal decides those.
    scaled = price * PRICE_SCALE
    nearest = round(scaled)
    if abs(scaled - nearest) >= 0.49:
        nearest = int((Decimal(repr(price)) * PRICE_SCALE).to_integral_value(ROUND_HALF_UP))
    if not nearest:
        raise DataError(f"not a price: {price!r}")
    return nearest


def optional_price_e5(message: Any, name: str) -> int:
    """A price field of a message, 0 where it is absent or zero."""
    value = getattr(message, name)
    return price_e5_of(value) if value else 0


def double_of(price_e5: int) -> float:
    """The double nearest to a price in 1/100000; dividing integers rounds once and correctly."""
    return price_e5 / PRICE_SCALE


def digits_of(message: Any) -> int:
    """Decimals of the money that a message tells; what it leaves out is 2.

    Raises:
        DataError: more than any currency has.
    """
    digits: int = message.moneyDigits if message.HasField("moneyDigits") else DEFAULT_MONEY_DIGITS
    if digits > _MOST_MONEY_DIGITS:
        raise DataError(f"money of {digits} decimals; at most {_MOST_MONEY_DIGITS}")
    return digits


def money_of(message: Any, name: str, money_digits: int) -> int:
    """A money field in the account's smallest unit, whatever exponent its message uses; 0 where it is absent.

    Raises:
        DataError: more money than there is, or of more decimals than any has.
    """
    amount: int = getattr(message, name)
    theirs = digits_of(message)
    if theirs < money_digits:
        amount *= 10 ** (money_digits - theirs)
    elif theirs > money_digits:
        amount = divide_half_away(amount, 10 ** (theirs - money_digits))
    if abs(amount) > LARGEST_MONEY:
        raise DataError(f"{name} {amount} is more money than there is")
    return amount


def volume_of(message: Any, name: str) -> int:
    """A volume field.

    Raises:
        DataError: below 0, or more than anybody trades.
    """
    volume_e2: int = getattr(message, name)
    if not 0 <= volume_e2 <= LARGEST:
        raise DataError(f"{name} {volume_e2} is no volume")
    return volume_e2


def time_of(message: Any, name: str) -> int:
    """A time field in UTC milliseconds; 0 = absent.

    Raises:
        DataError: before 1970 or after `LATEST_MS`.
    """
    moment_ms: int = getattr(message, name)
    if not 0 <= moment_ms <= LATEST_MS:
        raise DataError(f"{name} {moment_ms} is no time")
    return moment_ms


def words(text: str) -> str:
    """What the broker says, at a length that can be kept."""
    return text[:LONGEST_TEXT]


def side_of(trade_side: int) -> Side:
    """BUY or SELL.

    Raises:
        DataError: neither.
    """
    if trade_side == _BUY:
        return Side.BUY
    if trade_side == _SELL:
        return Side.SELL
    raise DataError(f"trade side {trade_side} is neither BUY (1) nor SELL (2)")


def trade_side_of(side: Side) -> int:
    """The wire's number of a side."""
    return _BUY if side is Side.BUY else _SELL


def ns_of(milliseconds: int) -> int:
    """UTC nanoseconds of a wire time; 0 = absent."""
    return milliseconds * NS_PER_MS


def ms_of(ts_ns: int) -> int:
    """Wire time of UTC nanoseconds, truncated: an order never lives longer than asked."""
    return ts_ns // NS_PER_MS


# --- spots -----------------------------------------------------------------------------------------------------


class _Sides(msgspec.Struct):
    """Last known sides of one symbol, 0 = never told; and a jump that waits to be confirmed."""

    bid_e5: int = 0
    ask_e5: int = 0
    jumped_bid_e5: int = 0
    jumped_ask_e5: int = 0
    told: bool = False


class Spots:
    """Merges one-sided spot events into quotes.

    Args:
        instruments: by symbolId.
        jump_pct: a side that moves further than this at once waits for a second event at the new level.

    Attributes:
        quotes: the last quote told of each symbol.
        passed_over: events that made no quote because a side was missing or the event carried none.
    """

    def __init__(self, instruments: dict[int, Instrument], jump_pct: int = JUMP_PCT) -> None:
        self._instruments = instruments
        self._jump_pct = jump_pct
        self._sides: dict[int, _Sides] = {}
        self.quotes: dict[str, Quote] = {}
        self.passed_over = 0

    def forget(self) -> None:
        """The connection was lost: what the sides are now is not known. The last quotes remain."""
        self._sides.clear()

    def merge(self, event: Any, now_ns: int) -> Quote | None:
        """Take one `ProtoOASpotEvent`.

        The first event after subscribing repeats the last price, of any age: without a timestamp it is remembered and
        not told; with one it is told under its own time.

        Args:
            event: the event.
            now_ns: UTC nanoseconds.

        Returns:
            The quote, or None where there is nothing to tell.

        Raises:
            DataError: an impossible or unconfirmed price, an unknown symbol, or a time more than a day ahead of ours.
                Count it; the next event is fine.
        """
        instrument = self._instruments.get(event.symbolId)
        if instrument is None:
            raise DataError(f"spot of symbol {event.symbolId}, which is not in the catalogue")
        sides = self._sides.get(event.symbolId)
        if sides is None:
            sides = self._sides[event.symbolId] = _Sides()
        has_bid, has_ask = event.HasField("bid"), event.HasField("ask")
        if not (has_bid or has_ask):
            self.passed_over += 1
            return None
        ts_event_ns = ns_of(event.timestamp) if event.timestamp > 0 else 0
        if ts_event_ns > now_ns + _AHEAD_NS:
            # One such quote would hold up every bar until that time has come.
            raise DataError(f"{instrument.symbol}: a price of {event.timestamp} ms, more than a day ahead of our clock")
        bid_e5 = self._checked(event.bid, instrument) if has_bid else 0
        ask_e5 = self._checked(event.ask, instrument) if has_ask else 0
        suspect = has_bid and self._jumps(sides.bid_e5, bid_e5, sides.jumped_bid_e5)
        suspect |= has_ask and self._jumps(sides.ask_e5, ask_e5, sides.jumped_ask_e5)
        if suspect:
            sides.jumped_bid_e5, sides.jumped_ask_e5 = bid_e5 or sides.bid_e5, ask_e5 or sides.ask_e5
            raise DataError(
                f"{instrument.symbol}: {bid_e5 or sides.bid_e5} / {ask_e5 or sides.ask_e5} is more than "
                f"{self._jump_pct} % from {sides.bid_e5} / {sides.ask_e5}; waiting for a second one"
            )
        sides.bid_e5, sides.ask_e5 = bid_e5 or sides.bid_e5, ask_e5 or sides.ask_e5
        sides.jumped_bid_e5 = sides.jumped_ask_e5 = 0
        return self._quote(instrument, sides, ts_event_ns, now_ns)

    def _quote(self, instrument: Instrument, sides: _Sides, ts_event_ns: int, now_ns: int) -> Quote | None:
        first, sides.told = not sides.told, True
        if not sides.bid_e5 or not sides.ask_e5 or (first and not ts_event_ns):
            self.passed_over += 1
            return None
        if sides.bid_e5 > sides.ask_e5:
            raise DataError(f"{instrument.symbol}: bid {sides.bid_e5} is above ask {sides.ask_e5}")
        quote = Quote(
            symbol=instrument.symbol,
            bid_e5=sides.bid_e5,
            ask_e5=sides.ask_e5,
            ts_event_ns=ts_event_ns or now_ns,
            ts_init_ns=now_ns,
        )
        self.quotes[instrument.symbol] = quote
        return quote

    def _checked(self, price_e5: int, instrument: Instrument) -> int:
        rounded_e5 = instrument.round_price_e5(price_e5)
        if not 0 < rounded_e5 <= LARGEST:
            raise DataError(f"{instrument.symbol}: price {price_e5} is impossible")
        return rounded_e5

    def _jumps(self, last_e5: int, price_e5: int, waiting_e5: int) -> bool:
        return _apart(last_e5, price_e5, self._jump_pct) and (
            not waiting_e5 or _apart(waiting_e5, price_e5, self._jump_pct)
        )


def _apart(last_e5: int, price_e5: int, pct: int) -> bool:
    return last_e5 > 0 and abs(price_e5 - last_e5) * 100 > pct * last_e5


# --- live bars -------------------------------------------------------------------------------------------------


class _Forming(msgspec.Struct):
    """A bar that may still change. Prices in 1/100000; `close_e5` is the running bid, 0 = none seen yet."""

    ts_open_ns: int
    open_e5: int
    high_e5: int
    low_e5: int
    quotes: int
    close_e5: int
    spread_e5: int


class LiveBars:
    """Closes the broker's own live bars, which carry no close and no end."""

    def __init__(self, instruments: dict[int, Instrument]) -> None:
        self._instruments = instruments
        self._forming: dict[tuple[int, int], _Forming] = {}

    def forget(self) -> None:
        """The connection was lost: bars in the making may have missed something; read them from history."""
        self._forming.clear()

    def update(self, event: Any, bid_e5: int, ask_e5: int) -> list[Bar]:
        """Take one `ProtoOASpotEvent` and the quote that it made (0 = none); gives bars that are over.

        Raises:
            DataError: a bar of an unknown symbol or period, or with an impossible price or time; nothing of the event
                is taken.
        """
        for bar in event.trendbar:
            self._check(event.symbolId, bar)
        closed: list[Bar] = []
        for bar in event.trendbar:
            key, ts_open_ns = (event.symbolId, bar.period), bar.utcTimestampInMinutes * NS_PER_MINUTE
            held = self._forming.get(key)
            if held is not None and ts_open_ns < held.ts_open_ns:
                continue  # told again late
            if held is not None and ts_open_ns > held.ts_open_ns and held.close_e5:
                closed.append(self._closed(event.symbolId, PERIODS_NS[bar.period], held))
            self._forming[key] = _Forming(
                ts_open_ns=ts_open_ns,
                open_e5=bar.low + bar.deltaOpen,
                high_e5=bar.low + bar.deltaHigh,
                low_e5=bar.low,
                quotes=bar.volume,
                close_e5=held.close_e5 if held is not None and held.ts_open_ns == ts_open_ns else 0,
                spread_e5=held.spread_e5 if held is not None else 0,
            )
        if bid_e5 > 0:
            for (symbol_id, _), held in self._forming.items():
                if symbol_id == event.symbolId:
                    held.close_e5, held.spread_e5 = bid_e5, max(0, ask_e5 - bid_e5)
        return closed

    def _check(self, symbol_id: int, bar: Any) -> None:
        # The period is always told here; one that is left out, or that this version does not know, would read as M1.
        if symbol_id not in self._instruments or not bar.HasField("period") or bar.period not in PERIODS_NS:
            raise DataError(
                f"live bar of symbol {symbol_id}, period {bar.period if bar.HasField('period') else 'unknown'}"
            )
        minutes, highest = bar.utcTimestampInMinutes, bar.low + max(bar.deltaOpen, bar.deltaHigh)
        if not 0 < bar.low <= highest <= LARGEST or not 0 <= bar.volume <= LARGEST or minutes * 60_000 > LATEST_MS:
            raise DataError(f"live bar of symbol {symbol_id}: {bar.low} to {highest} at minute {minutes}")

    def _closed(self, symbol_id: int, period_ns: int, bar: _Forming) -> Bar:
        # A bid between two bar updates may lie outside what the last update said.
        return Bar(
            symbol=self._instruments[symbol_id].symbol,
            period_ns=period_ns,
            ts_open_ns=bar.ts_open_ns,
            ts_close_ns=bar.ts_open_ns + period_ns,
            open_e5=bar.open_e5,
            high_e5=max(bar.high_e5, bar.open_e5, bar.close_e5),
            low_e5=min(bar.low_e5, bar.close_e5),
            close_e5=bar.close_e5,
            spread_e5=bar.spread_e5,
            quotes=bar.quotes,
        )

"""Which column is which, by the names people give them. Shared by the generic CSV and the Parquet reader."""

from collections.abc import Sequence
from dataclasses import dataclass

# A column without a name is a data frame's index.
_TIME = ("ts", "timestamp", "datetime", "date_time", "time", "gmt_time", "utc_time", "utc", "open_time", "date", "")
_OPEN = ("open", "o", "bid_open", "open_bid", "bidopen", "openbid")
_HIGH = ("high", "h", "bid_high", "high_bid", "bidhigh", "highbid")
_LOW = ("low", "l", "bid_low", "low_bid", "bidlow", "lowbid")
_CLOSE = ("close", "c", "bid_close", "close_bid", "bidclose", "closebid")
_ASK = (
    ("ask_open", "open_ask", "askopen", "openask"),
    ("ask_high", "high_ask", "askhigh", "highask"),
    ("ask_low", "low_ask", "asklow", "lowask"),
    ("ask_close", "close_ask", "askclose", "closeask"),
)
_BID_TICK = ("bid", "bid_price", "bidprice")
_ASK_TICK = ("ask", "ask_price", "askprice", "offer")
_VOLUME = ("tickvol", "tickvolume", "tick_volume", "ticks", "tickqty", "bidtickqty", "volume", "vol", "v")
_SPREAD = ("spread",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Column numbers; None = no such column.

    Attributes:
        time: the time, or the date where ``time_of_day`` is given.
        time_of_day: a second column with the time.
        ohlc: the bid bar (or the only one).
        ask: the ask bar.
        bid_ask: the two prices of a tick; either ``ohlc`` or this is given.
        volume: number of updates.
        spread: in price units.
    """

    time: int
    time_of_day: int | None
    ohlc: tuple[int, int, int, int] | None
    ask: tuple[int, int, int, int] | None
    bid_ask: tuple[int, int] | None
    volume: int | None
    spread: int | None


def normal(name: str) -> str:
    """A column name without quotes, brackets and case; blanks become underscores."""
    return name.strip().strip("\"'<>").strip().lower().replace(" ", "_").replace("-", "_").replace(".", "_")


def layout_of(header: Sequence[str]) -> Layout | None:
    """Find the columns.

    Returns:
        None where there is no time column, or neither a whole bar nor bid with ask.
    """
    columns = [normal(name) for name in header]

    def find(*choices: str) -> int | None:
        return next((columns.index(name) for name in choices if name in columns), None)

    time = find(*_TIME)
    time_of_day = None
    if "date" in columns and "time" in columns:
        time, time_of_day = columns.index("date"), columns.index("time")
    if time is None:
        return None
    ohlc = _all(find(*_OPEN), find(*_HIGH), find(*_LOW), find(*_CLOSE))
    ask = _all(*(find(*choices) for choices in _ASK))
    bid, offer = find(*_BID_TICK), find(*_ASK_TICK)
    ticks = (bid, offer) if bid is not None and offer is not None else None
    if ohlc is None and ticks is None:
        return None
    return Layout(
        time=time,
        time_of_day=time_of_day,
        ohlc=ohlc,
        ask=ask,
        bid_ask=None if ohlc else ticks,
        volume=find(*_VOLUME),
        spread=find(*_SPREAD),
    )


def _all(*places: int | None) -> tuple[int, int, int, int] | None:
    first, high, low, last = places
    if first is None or high is None or low is None or last is None:
        return None
    return first, high, low, last

"""History from the wire: bars and ticks as columns, and the requests that ask for them. Needs numpy; the core does not.

Bars are bid bars, delta coded against their low. Ticks come newest first, each as the difference to the one before it
in both time and price; bid and ask are asked for on their own and merged here.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from google.protobuf.unknown_fields import UnknownFieldSet
from numpy.typing import NDArray

from adapters.ctrader.messages import model, openapi
from adapters.ctrader.wire import LATEST_MS, NS_PER_MINUTE, PERIODS_NS, ms_of
from bus.errors import DataError
from bus.messages import Bar
from bus.series import BarSeries, Column, TickSeries
from bus.values import LARGEST, NS_PER_MS, Instrument

BID, ASK = 1, 2
NEVER_NS = 2**62
"""A time that does not come: no bar forms then."""
_M1 = 1
_HAS_MORE = 7
_DAY_MS = 86_400_000
_MINUTE_MS = 60_000

WINDOW_MS = (
    dict.fromkeys(range(1, 6), 35 * _DAY_MS)
    | dict.fromkeys(range(6, 10), 245 * _DAY_MS)
    | dict.fromkeys(range(10, 13), 366 * _DAY_MS)
    | {13: 1_830 * _DAY_MS}
)
"""Longest window of one request for bars, by period; beyond it the server may cut without a word."""
TICK_WINDOW_MS = 7 * _DAY_MS
DEAL_WINDOW_MS = 7 * _DAY_MS


def bars_request(account_id: int, symbol_id: int, period: int, from_ns: int, to_ns: int) -> Any:
    """Ask for the bars that open from one moment to another, both included.

    Raises:
        DataError: an unknown period, an empty window, or one longer than `WINDOW_MS`.
    """
    if period not in PERIODS_NS:
        raise DataError(f"period {period} has no fixed length; use M1 (1) to W1 (13)")
    start, stop = _window(from_ns, to_ns, WINDOW_MS[period], f"bars of period {period}")
    return openapi.ProtoOAGetTrendbarsReq(
        ctidTraderAccountId=account_id, symbolId=symbol_id, period=period, fromTimestamp=start, toTimestamp=stop
    )


def ticks_request(account_id: int, symbol_id: int, quote_type: int, from_ns: int, to_ns: int) -> Any:
    """Ask for one side's ticks (`BID` or `ASK`), at most a week.

    Raises:
        DataError: an empty window, or one longer than a week.
    """
    start, stop = _window(from_ns, to_ns, TICK_WINDOW_MS, "ticks")
    return openapi.ProtoOAGetTickDataReq(
        ctidTraderAccountId=account_id, symbolId=symbol_id, type=quote_type, fromTimestamp=start, toTimestamp=stop
    )


def newest_bar_request(account_id: int, symbol_id: int, now_ns: int) -> Any:
    """Ask for the newest minute there is, however old: a count is answered back from the end, whatever the start says.

    Two are asked for, because a request for N bars may yield N - 1.
    """
    request = bars_request(account_id, symbol_id, _M1, now_ns - WINDOW_MS[_M1] * NS_PER_MS, now_ns)
    request.count = 2
    return request


def deals_request(account_id: int, from_ns: int, to_ns: int) -> Any:
    """Ask for deals, at most a week.

    Raises:
        DataError: an empty window, or one longer than a week.
    """
    start, stop = _window(from_ns, to_ns, DEAL_WINDOW_MS, "deals")
    return openapi.ProtoOADealListReq(ctidTraderAccountId=account_id, fromTimestamp=start, toTimestamp=stop)


def orders_request(account_id: int, from_ns: int, to_ns: int) -> Any:
    """Ask for orders by their last update, at most a week.

    Raises:
        DataError: an empty window, or one longer than a week.
    """
    start, stop = _window(from_ns, to_ns, DEAL_WINDOW_MS, "orders")
    return openapi.ProtoOAOrderListReq(ctidTraderAccountId=account_id, fromTimestamp=start, toTimestamp=stop)


def reconcile_request(account_id: int) -> Any:
    """Ask for open positions and all orders, protective ones included (field 3, which old bindings lack)."""
    request = openapi.ProtoOAReconcileReq(ctidTraderAccountId=account_id)
    if "returnProtectionOrders" in request.DESCRIPTOR.fields_by_name:
        request.returnProtectionOrders = True
    else:
        request.MergeFromString(b"\x18\x01")
    return request


def _window(from_ns: int, to_ns: int, longest_ms: int, what: str) -> tuple[int, int]:
    start, stop = max(0, -(-from_ns // NS_PER_MS)), min(ms_of(to_ns), LATEST_MS)
    if stop < start or stop - start > longest_ms:
        raise DataError(f"{what}: window of {stop - start} ms; it must lie between 0 and {longest_ms} ms")
    return start, stop


def period_of(period_ns: int) -> int:
    """The wire's number of a bar length.

    Raises:
        DataError: the broker has no such bars.
    """
    for period, length_ns in PERIODS_NS.items():
        if length_ns == period_ns:
            return period
    raise DataError(
        f"no bars of {period_ns / 1e9:g} s at this broker; it has M1 M2 M3 M4 M5 M10 M15 M30 H1 H4 H12 D1 W1"
    )


def has_more(response: Any) -> bool:
    """Whether an answer says that it was cut. Old bindings have no name for it in answers with bars."""
    if "hasMore" in response.DESCRIPTOR.fields_by_name:
        return bool(response.hasMore)
    return any(field.field_number == _HAS_MORE and bool(field.data) for field in UnknownFieldSet(response))


def bar_series(response: Any, symbol: str, period: int, now_ns: int) -> BarSeries:
    """Decode a `ProtoOAGetTrendbarsRes`; may be empty.

    The period is the request's (bars leave it unset). A high below the body is repaired: high = max(open, close, low +
    deltaHigh), a known defect of the broker's history. The bar still forming at `now_ns` is dropped, repetitions too.

    Raises:
        DataError: an unknown period, or a price, count or time that cannot be.
    """
    period_ns = PERIODS_NS.get(period, 0)
    if not period_ns:
        raise DataError(f"period {period} has no fixed length")
    columns = _table(
        symbol,
        (
            (bar.utcTimestampInMinutes, bar.low, bar.deltaOpen, bar.deltaHigh, bar.deltaClose, bar.volume)
            for bar in response.trendbar
        ),
        rows=len(response.trendbar),
        width=6,
    )
    if np.any(columns[:, 1] <= 0) or np.any(columns < 0) or np.any(columns[:, 0] > LATEST_MS // _MINUTE_MS):
        raise DataError(f"{symbol}: a bar with a low, a distance, a count or a time that cannot be")
    times, rows = np.unique(columns[:, 0], return_index=True)
    columns = columns[rows[times * NS_PER_MINUTE + period_ns <= now_ns]]
    low = columns[:, 1]
    opens, closes = low + columns[:, 2], low + columns[:, 4]
    return BarSeries(
        symbol=symbol,
        period_ns=period_ns,
        ts_open_ns=columns[:, 0] * NS_PER_MINUTE,
        open_e5=opens,
        high_e5=np.maximum(np.maximum(opens, closes), low + columns[:, 3]),
        low_e5=low.copy(),
        close_e5=closes,
        quotes=columns[:, 5].copy(),
    )


def bars_told(response: Any, instrument: Instrument, period: int) -> list[Bar]:
    """The bars of a `ProtoOAGetTrendbarsRes` as messages, oldest first, the one in the making included.

    Their spread is 0: the broker's history has bid prices only.

    Raises:
        DataError: as `bar_series`.
    """
    series = bar_series(response, instrument.symbol, period, NEVER_NS)
    columns = (series.ts_open_ns, series.open_e5, series.high_e5, series.low_e5, series.close_e5, series.quotes)
    return [
        Bar(
            symbol=instrument.symbol,
            period_ns=series.period_ns,
            ts_open_ns=opened_ns,
            ts_close_ns=opened_ns + series.period_ns,
            open_e5=open_e5,
            high_e5=high_e5,
            low_e5=low_e5,
            close_e5=close_e5,
            spread_e5=0,
            quotes=quotes,
        )
        for opened_ns, open_e5, high_e5, low_e5, close_e5, quotes in zip(
            *(column.tolist() for column in columns), strict=True
        )
    ]


def tick_side(response: Any) -> tuple[Column, Column]:
    """Decode a `ProtoOAGetTickDataRes`: times in milliseconds and prices in 1/100000, oldest first, both shape (n,).

    Raises:
        DataError: a price that is not positive, a time that cannot be, or time that runs the wrong way.
    """
    ticks = response.tickData
    steps = _table("ticks", ((tick.timestamp, tick.tick) for tick in ticks), rows=len(ticks), width=2)
    times, prices = np.cumsum(steps[:, 0]), np.cumsum(steps[:, 1])
    if np.any(prices <= 0) or np.any(prices > LARGEST) or np.any(np.diff(times) > 0):
        raise DataError("ticks: a price is not positive, or they are not newest first")
    if np.any(times < 0) or np.any(times > LATEST_MS):
        raise DataError("ticks: a time before 1970 or after 2038")
    return times[::-1].copy(), prices[::-1].copy()


def _table(name: str, values: Iterable[tuple[int, ...]], *, rows: int, width: int) -> NDArray[np.int64]:
    """Numbers of the wire in rows, none so large that a sum of many could overflow.

    Raises:
        DataError: one is.
    """
    try:
        flat = np.fromiter((value for row in values for value in row), dtype=np.int64, count=rows * width)
    except OverflowError:  # the wire's unsigned numbers reach further than these
        raise DataError(f"{name}: a number beyond 2**63") from None
    if np.any(flat > LARGEST) or np.any(flat < -LARGEST):
        raise DataError(f"{name}: a number beyond {LARGEST}")
    return flat.reshape(rows, width)


def tick_series(symbol: str, bid: tuple[Column, Column], ask: tuple[Column, Column]) -> TickSeries:
    """Merge the two sides by time: one row for each moment at which a side changed, from when both are known.

    Rows in which the bid is above the ask (one side told a moment before the other) are left out.
    """
    moments: Column = np.union1d(bid[0], ask[0])
    bid_rows: NDArray[np.int64] = np.searchsorted(bid[0], moments, side="right") - 1
    ask_rows: NDArray[np.int64] = np.searchsorted(ask[0], moments, side="right") - 1
    known = (bid_rows >= 0) & (ask_rows >= 0)
    moments, bids, asks = moments[known], bid[1][bid_rows[known]], ask[1][ask_rows[known]]
    sane = bids <= asks
    return TickSeries(symbol=symbol, ts_ns=moments[sane] * NS_PER_MS, bid_e5=bids[sane], ask_e5=asks[sane])


PERIOD_NAMES: dict[str, int] = dict(model.ProtoOATrendbarPeriod.items())
"""`M1` to `MN1` by the wire's number."""

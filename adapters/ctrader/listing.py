"""Lists from the broker, whole: windows of at most a week, pages within them, every row once.

`ask` sends a request and gives its answer. Lists come newest first, so a page that says there is more is followed by
one that ends where it began; rows are told apart by their ids. The newest window ends a day ahead, because the server's
clock, not ours, stamps what it lists.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from adapters.ctrader.catalogue import Ask
from adapters.ctrader.messages import openapi
from adapters.ctrader.series import (
    DEAL_WINDOW_MS,
    LATEST_MS,
    WINDOW_MS,
    bars_request,
    bars_told,
    has_more,
    period_of,
    reconcile_request,
)
from adapters.ctrader.symbols import Specification
from bus.errors import DataError, Refused
from bus.messages import Bar
from bus.values import NS_PER_MS

__all__ = ["DAY_MS", "OVERLAP_MS", "bars", "cash", "deals", "details", "newest_bars", "orders", "reconcile_request"]


class _List(NamedTuple):
    """One kind of list: its request, and where its rows, their ids and their times stand."""

    request: Any
    rows: str
    row_id: str
    row_time: str


_DEALS = _List(openapi.ProtoOADealListReq, "deal", "dealId", "executionTimestamp")
_ORDERS = _List(openapi.ProtoOAOrderListReq, "order", "orderId", "utcLastUpdateTimestamp")
_CASH = _List(openapi.ProtoOACashFlowHistoryListReq, "depositWithdraw", "balanceHistoryId", "changeBalanceTimestamp")

DAY_MS = 86_400_000
OVERLAP_MS = 60_000
"""Rows are asked for again from a minute before the last known one; what was told is known by its id."""
NEWEST_BARS = 512
_MOST_PAGES = 1_000
MOST_ROWS = 100_000
"""Rows of one list, and five times as many bars: more than a year of busy trading, and 50 MB of memory."""


async def deals(ask: Ask, account_id: int, since_ms: int, now_ms: int) -> list[Any]:
    """Every `ProtoOADeal` executed since a moment.

    Args:
        ask: for a logged-in account.
        account_id: ctidTraderAccountId.
        since_ms: UTC milliseconds.
        now_ms: the same; a day to either side does no harm.

    Raises:
        BrokerError: as `Connection.request`.
        DataError: a list of more than MOST_ROWS.
    """
    return await _list(ask, _DEALS, account_id, since_ms, now_ms)


async def orders(ask: Ask, account_id: int, since_ms: int, now_ms: int) -> list[Any]:
    """Every `ProtoOAOrder` last updated since a moment; see `deals`."""
    return await _list(ask, _ORDERS, account_id, since_ms, now_ms)


async def cash(ask: Ask, account_id: int, since_ms: int, now_ms: int) -> list[Any]:
    """Every `ProtoOADepositWithdraw` since a moment; see `deals`."""
    return await _list(ask, _CASH, account_id, since_ms, now_ms)


async def details(ask: Ask, account_id: int, order_ids: Sequence[int]) -> list[Any]:
    """The `ProtoOAOrder`s with these ids; one that the broker does not know is left out."""
    found: list[Any] = []
    for order_id in order_ids:
        try:
            answer = await ask(openapi.ProtoOAOrderDetailsReq(ctidTraderAccountId=account_id, orderId=order_id))
        except Refused:
            continue
        found.append(answer.order)
    return found


async def _list(ask: Ask, kind: _List, account_id: int, since_ms: int, now_ms: int) -> list[Any]:
    """Windows from the newest back, each page by page."""
    found: dict[int, Any] = {}
    stop = min(max(now_ms, since_ms) + DAY_MS, LATEST_MS)
    for _ in range(_MOST_PAGES):
        start = max(0, since_ms, stop - DEAL_WINDOW_MS)
        request = kind.request(ctidTraderAccountId=account_id, fromTimestamp=start, toTimestamp=stop)
        answer = await ask(request)
        rows: list[Any] = list(getattr(answer, kind.rows))
        known = len(found)
        for row in rows:
            found.setdefault(getattr(row, kind.row_id), row)
        if len(found) > MOST_ROWS:
            raise DataError(f"the broker lists more than {MOST_ROWS} rows since {since_ms} ms")
        if getattr(answer, "hasMore", False) and len(found) > known:
            stop = min(getattr(row, kind.row_time) for row in rows)
        elif start <= since_ms:
            break
        else:
            stop = start
    return list(found.values())


async def bars(
    ask: Ask, account_id: int, specification: Specification, period_ns: int, *, since_ns: int, now_ns: int
) -> list[Bar]:
    """Bars of a symbol that open at a moment or later, oldest first, up to the one in the making.

    Args:
        ask: for a logged-in account.
        account_id: ctidTraderAccountId.
        specification: of the symbol.
        period_ns: a length that the broker has.
        since_ns: UTC nanoseconds.
        now_ns: the same.

    Raises:
        DataError: the broker has no such bars, or tells impossible ones.
        BrokerError: as `Connection.request`.
    """
    period = period_of(period_ns)
    found: dict[int, Bar] = {}
    stop_ns = now_ns
    for _ in range(_MOST_PAGES):
        start_ns = max(since_ns, stop_ns - WINDOW_MS[period] * NS_PER_MS)
        if start_ns > stop_ns:
            break
        answer = await ask(bars_request(account_id, specification.symbol_id, period, start_ns, stop_ns))
        told = bars_told(answer, specification.instrument, period)
        found.update((bar.ts_open_ns, bar) for bar in told)
        if len(found) > 5 * MOST_ROWS:
            raise DataError(f"the broker tells more than {5 * MOST_ROWS} bars since {since_ns} ns")
        if has_more(answer) and told:
            stop_ns = told[0].ts_open_ns - NS_PER_MS
        elif start_ns <= since_ns:
            break
        else:
            stop_ns = start_ns - NS_PER_MS
    return [found[opened_ns] for opened_ns in sorted(found) if opened_ns >= since_ns]


async def newest_bars(ask: Ask, account_id: int, specification: Specification, period_ns: int) -> list[Bar]:
    """The newest bars that the broker has, whatever its time is."""
    period = period_of(period_ns)
    request = openapi.ProtoOAGetTrendbarsReq(
        ctidTraderAccountId=account_id, symbolId=specification.symbol_id, period=period, count=NEWEST_BARS,
        fromTimestamp=0, toTimestamp=LATEST_MS,
    )  # fmt: skip
    return bars_told(await ask(request), specification.instrument, period)

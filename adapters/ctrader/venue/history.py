"""Answers about the past: bars, ticks, deals, orders, cash. Windows and paging follow section 6 of the reference."""

from collections.abc import Mapping
from typing import Any

from adapters.ctrader.messages import model, openapi
from adapters.ctrader.venue.account import Account
from adapters.ctrader.venue.extras import put_varint
from adapters.ctrader.venue.records import DealRecord, OrderRecord
from adapters.ctrader.venue.specs import Limits
from adapters.ctrader.venue.tape import Tape, TapeBar
from adapters.ctrader.venue.trading import Refused
from bus.values import NS_PER_MS, NS_PER_S

LAST_MS = 2_147_483_646_000
_WEEK_MS = 604_800_000
_MINUTES, _QUARTERS, _DAYS, _WEEKS = 3_024_000_000, 21_168_000_000, 31_622_400_000, 158_112_000_000
_WINDOW_MS = {
    **dict.fromkeys(range(1, 6), _MINUTES),
    **dict.fromkeys(range(6, 10), _QUARTERS),
    **dict.fromkeys(range(10, 13), _DAYS),
    **dict.fromkeys((13, 14), _WEEKS),
}


def bar_message(bar: TapeBar, *, period: int = 0, close: bool = True) -> Any:
    """A bar of the wire. Bars of a history answer leave the period unset, live ones leave the close out."""
    out = model.ProtoOATrendbar(
        volume=bar.ticks,
        low=bar.low_e5,
        deltaOpen=bar.open_e5 - bar.low_e5,
        deltaHigh=bar.high_e5 - bar.low_e5,
        utcTimestampInMinutes=bar.ts_open_ns // (60 * NS_PER_S),
    )
    if close:
        out.deltaClose = bar.close_e5 - bar.low_e5
    if period:
        out.period = period
    return out


class History:
    """Reads the tapes of the venue and the records of an account."""

    def __init__(self, tapes: Mapping[int, Tape], limits: Limits) -> None:
        self._tapes = tapes
        self._limits = limits

    def answer(self, account: Account, request: Any) -> Any | Refused:
        """Answer a historical request for a logged-in account."""
        return _ANSWERS[request.DESCRIPTOR.name](self, account, request)

    def trendbars(self, account: Account, request: Any) -> Any | Refused:
        """Bars, oldest first; a window too large is cut at its old end, as recorded, not refused."""
        tape = self._tapes.get(request.symbolId)
        if tape is None:
            return Refused("SYMBOL_NOT_FOUND", f"no symbol {request.symbolId}")
        window = _window(request)
        if window is None:
            return _bounds()
        from_ms, to_ms = window
        from_ms = max(from_ms, to_ms - _WINDOW_MS[request.period])
        bars, more = tape.bars(
            request.period,
            from_ms * NS_PER_MS,
            min(to_ms * NS_PER_MS, tape.last_ns),
            limit=self._limits.bars_per_response,
            count=request.count,
        )
        out = openapi.ProtoOAGetTrendbarsRes(
            ctidTraderAccountId=account.account_id, period=request.period, timestamp=to_ms, symbolId=request.symbolId
        )
        out.trendbar.extend(bar_message(bar) for bar in bars)
        put_varint(out, 7, int(more))
        return out

    def ticks(self, account: Account, request: Any) -> Any | Refused:
        """Ticks of one side, newest first, each after the first as differences to the one before it."""
        tape = self._tapes.get(request.symbolId)
        if tape is None:
            return Refused("SYMBOL_NOT_FOUND", f"no symbol {request.symbolId}")
        window = _window(request)
        if window is None or window[1] - window[0] > _WEEK_MS:
            return _bounds()
        ticks, more = tape.ticks(
            window[0] * NS_PER_MS,
            (window[1] + 1) * NS_PER_MS,
            bid=request.type == 1,
            limit=self._limits.ticks_per_response,
        )
        out = openapi.ProtoOAGetTickDataRes(ctidTraderAccountId=account.account_id, hasMore=more)
        before_ms = before_e5 = 0
        for ts_ns, price_e5 in ticks:
            ts_ms = ts_ns // NS_PER_MS
            out.tickData.add(timestamp=ts_ms - before_ms, tick=price_e5 - before_e5)
            before_ms, before_e5 = ts_ms, price_e5
        return out

    def deals(self, account: Account, request: Any) -> Any | Refused:
        """Deals of a window of at most a week, newest first."""
        window = _window(request)
        if window is None or window[1] - window[0] > _WEEK_MS:
            return _bounds()
        rows = [deal for deal in account.deals if window[0] <= deal.executed_ms <= window[1]]
        return self._deals(openapi.ProtoOADealListRes, account, rows, request.maxRows)

    def deals_by_position(self, account: Account, request: Any) -> Any | Refused:
        """Deals of a position; without a window, all."""
        window = _window(request)
        if window is None:
            return _bounds()
        rows = [
            deal
            for deal in account.deals
            if deal.position_id == request.positionId and window[0] <= deal.executed_ms <= window[1]
        ]
        return self._deals(openapi.ProtoOADealListByPositionIdRes, account, rows, 0)

    def _deals(self, kind: Any, account: Account, rows: list[DealRecord], asked: int) -> Any:
        limit = min(asked if asked > 0 else self._limits.rows_per_response, self._limits.rows_per_response)
        out = kind(ctidTraderAccountId=account.account_id)
        out.hasMore = type(out.hasMore)(len(rows) > limit)  # an integer in one of the two messages
        out.deal.extend(deal.message for deal in rows[::-1][:limit])
        return out

    def orders(self, account: Account, request: Any) -> Any | Refused:
        """Orders last updated in a window of at most a week, newest first."""
        window = _window(request)
        if window is None or window[1] - window[0] > _WEEK_MS:
            return _bounds()
        return self._orders(openapi.ProtoOAOrderListRes, account, window, list(account.orders.values()))

    def orders_by_position(self, account: Account, request: Any) -> Any | Refused:
        """Orders of a position; without a window, all."""
        window = _window(request)
        if window is None:
            return _bounds()
        rows = [order for order in account.orders.values() if order.position_id == request.positionId]
        return self._orders(openapi.ProtoOAOrderListByPositionIdRes, account, window, rows)

    def _orders(self, kind: Any, account: Account, window: tuple[int, int], rows: list[OrderRecord]) -> Any:
        rows = [order for order in rows if window[0] <= order.updated_ms <= window[1]]
        rows.sort(key=lambda order: (-order.updated_ms, -order.order_id))
        limit = self._limits.rows_per_response
        out = kind(ctidTraderAccountId=account.account_id, hasMore=len(rows) > limit)
        out.order.extend(order.message() for order in rows[:limit])
        return out

    def order_details(self, account: Account, request: Any) -> Any | Refused:
        """One order, also long finished, with its deals."""
        order = account.orders.get(request.orderId)
        if order is None:
            return Refused("ORDER_NOT_FOUND", f"Order not found: {request.orderId}")
        out = openapi.ProtoOAOrderDetailsRes(ctidTraderAccountId=account.account_id, order=order.message())
        out.deal.extend(deal.message for deal in account.deals if deal.order_id == order.order_id)
        return out

    def offsets(self, account: Account, request: Any) -> Any | Refused:
        """Which deals closed a deal, and which it closed."""
        out = openapi.ProtoOADealOffsetListRes(ctidTraderAccountId=account.account_id)
        by_id = {deal.deal_id: deal for deal in account.deals}
        own = by_id.get(request.dealId)
        if own is None:
            return Refused("ENTITY_NOT_FOUND", f"no deal {request.dealId}")
        for number, volume in own.offsets:
            out.offsetting.add(**_offset(by_id[number], volume))
        for deal in account.deals:
            for number, volume in deal.offsets:
                if number == own.deal_id:
                    out.offsetBy.add(**_offset(deal, volume))
        return out

    def cash(self, account: Account, request: Any) -> Any | Refused:
        """Deposits and withdrawals of a window of at most a week."""
        window = _window(request)
        if window is None or window[1] - window[0] > _WEEK_MS:
            return _bounds()
        out = openapi.ProtoOACashFlowHistoryListRes(ctidTraderAccountId=account.account_id)
        out.depositWithdraw.extend(
            entry for entry in account.cash if window[0] <= entry.changeBalanceTimestamp <= window[1]
        )
        return out


def _offset(deal: DealRecord, volume_e2: int) -> dict[str, Any]:
    return {
        "dealId": deal.deal_id,
        "volume": volume_e2,
        "executionTimestamp": deal.executed_ms,
        "executionPrice": deal.message.executionPrice,
    }


def _window(request: Any) -> tuple[int, int] | None:
    """From and to of a request in ms; None where they are impossible. Left out, they reach as far as they can."""
    to_ms = request.toTimestamp if request.HasField("toTimestamp") else LAST_MS
    from_ms = request.fromTimestamp if request.HasField("fromTimestamp") else 0
    counted = request.DESCRIPTOR.name == "ProtoOAGetTrendbarsReq" and request.count
    if not 0 <= to_ms <= LAST_MS or from_ms < 0 or (from_ms > to_ms and not counted):
        return None
    return from_ms, to_ms


def _bounds() -> Refused:
    return Refused("INCORRECT_BOUNDARIES", "the window is too large, reversed or beyond the end of time")


_ANSWERS: dict[str, Any] = {
    "ProtoOAGetTrendbarsReq": History.trendbars,
    "ProtoOAGetTickDataReq": History.ticks,
    "ProtoOADealListReq": History.deals,
    "ProtoOADealListByPositionIdReq": History.deals_by_position,
    "ProtoOAOrderListReq": History.orders,
    "ProtoOAOrderListByPositionIdReq": History.orders_by_position,
    "ProtoOAOrderDetailsReq": History.order_details,
    "ProtoOADealOffsetListReq": History.offsets,
    "ProtoOACashFlowHistoryListReq": History.cash,
}
HISTORY_REQUESTS = frozenset(_ANSWERS)
"""Names of the requests that `History.answer` takes."""

"""Market data to subscribers: spots, live bars inside them, depth. Sections 5.2 to 5.5 of the reference."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from adapters.ctrader.messages import openapi
from adapters.ctrader.venue.gatekeeping import Connection
from adapters.ctrader.venue.history import bar_message
from adapters.ctrader.venue.specs import Catalogue, Symbol
from adapters.ctrader.venue.tape import Tape, TapeBar, bar_open_ns
from adapters.ctrader.venue.trading import Refused
from bus.messages import Quote
from bus.values import NS_PER_MS

_LEVELS = 5
_D1 = 12


@dataclass(slots=True)
class _Board:
    """What is shown of one symbol: the last quote, bars in the making, depth quotes by id once somebody wanted them."""

    quote: Quote | None = None
    bars: dict[int, TapeBar] = field(default_factory=dict[int, TapeBar])
    depth: dict[int, tuple[bool, int, int]] = field(default_factory=dict[int, tuple[bool, int, int]])
    deep: bool = False


class Market:
    """Tapes and boards of every symbol. `offset_ms` makes the venue's clock wrong on purpose."""

    def __init__(self, catalogue: Catalogue, depth_size_e2: int) -> None:
        self._catalogue = catalogue
        self.tapes: dict[int, Tape] = {symbol.symbol_id: Tape() for symbol in catalogue.symbols}
        self.offset_ms = 0
        self._boards = {symbol.symbol_id: _Board() for symbol in catalogue.symbols}
        self._depth_size_e2 = depth_size_e2 or 100_000_000
        self._depth_ids = 0

    # --- subscriptions --------------------------------------------------------------------------------------------

    def answer(self, connection: Connection, request: Any) -> tuple[Any, list[Any]] | Refused:
        """Change subscriptions of a logged-in account: the response, and what is pushed right after it."""
        return _ANSWERS[request.DESCRIPTOR.name](self, connection, request)

    def _wanted(self, request: Any) -> list[Symbol] | Refused:
        found = [self._catalogue.by_id(number) for number in dict.fromkeys(request.symbolId)]
        symbols = [symbol for symbol in found if symbol is not None]
        if len(symbols) < len(found) or not found:
            return Refused("SYMBOL_NOT_FOUND", f"one of {list(request.symbolId)} is no symbol")
        return symbols

    def subscribe_spots(self, connection: Connection, request: Any) -> tuple[Any, list[Any]] | Refused:
        """Spots: a batch with an id already subscribed fails as a whole."""
        account_id = request.ctidTraderAccountId
        symbols = self._wanted(request)
        if isinstance(symbols, Refused):
            return symbols
        if any((account_id, symbol.symbol_id) in connection.spots for symbol in symbols):
            return Refused("ALREADY_SUBSCRIBED", "one of the symbols is subscribed already")
        pushed: list[Any] = []
        for symbol in symbols:
            connection.spots[account_id, symbol.symbol_id] = request.subscribeToSpotTimestamp
            first = self._technical(account_id, symbol, stamped=request.subscribeToSpotTimestamp)
            pushed.extend([] if first is None else [first])
        return openapi.ProtoOASubscribeSpotsRes(ctidTraderAccountId=account_id), pushed

    def unsubscribe_spots(self, connection: Connection, request: Any) -> tuple[Any, list[Any]] | Refused:
        """No more spots, and so no more live bars and depth."""
        account_id = request.ctidTraderAccountId
        keys = [(account_id, number) for number in request.symbolId]
        if any(key not in connection.spots for key in keys):
            return Refused("NOT_SUBSCRIBED_TO_SPOTS", "one of the symbols is not subscribed")
        for key in keys:
            for table in (connection.spots, connection.bars, connection.depth):
                table.pop(key, None)
        return openapi.ProtoOAUnsubscribeSpotsRes(ctidTraderAccountId=account_id), []

    def subscribe_bars(self, connection: Connection, request: Any) -> tuple[Any, list[Any]] | Refused:
        """Live bars of one period; they need spots and travel in them."""
        key = request.ctidTraderAccountId, request.symbolId
        if key not in connection.spots:
            return Refused("INVALID_REQUEST", "Not subscribed to spots of this symbol")
        periods = connection.bars.setdefault(key, [])
        if request.period in periods:
            return Refused("ALREADY_SUBSCRIBED", "this period is subscribed already")
        periods.append(request.period)
        board, tape = self._boards[request.symbolId], self.tapes[request.symbolId]
        if request.period not in board.bars:
            last, _ = tape.bars(request.period, 0, tape.last_ns, limit=1, count=1)
            board.bars[request.period] = last[0] if last else TapeBar(-1, 0, 0, 0, 0, 0)
        return openapi.ProtoOASubscribeLiveTrendbarRes(ctidTraderAccountId=request.ctidTraderAccountId), []

    def unsubscribe_bars(self, connection: Connection, request: Any) -> tuple[Any, list[Any]] | Refused:
        """No more live bars of one period."""
        periods = connection.bars.get((request.ctidTraderAccountId, request.symbolId), [])
        if request.period in periods:
            periods.remove(request.period)
        return openapi.ProtoOAUnsubscribeLiveTrendbarRes(ctidTraderAccountId=request.ctidTraderAccountId), []

    def subscribe_depth(self, connection: Connection, request: Any) -> tuple[Any, list[Any]] | Refused:
        """Depth; the first event is the whole book."""
        account_id = request.ctidTraderAccountId
        symbols = self._wanted(request)
        if isinstance(symbols, Refused):
            return symbols
        if any((account_id, symbol.symbol_id) not in connection.spots for symbol in symbols):
            return Refused("NOT_SUBSCRIBED_TO_SPOTS", "depth needs spots of the symbol")
        pushed: list[Any] = []
        for symbol in symbols:
            connection.depth[account_id, symbol.symbol_id] = True
            board = self._boards[symbol.symbol_id]
            board.deep = True
            if not board.depth and board.quote is not None:
                self._new_depth(symbol, board.quote)
            pushed.append(self._depth_event(account_id, symbol.symbol_id, []))
        return openapi.ProtoOASubscribeDepthQuotesRes(ctidTraderAccountId=account_id), pushed

    def unsubscribe_depth(self, connection: Connection, request: Any) -> tuple[Any, list[Any]] | Refused:
        """No more depth."""
        for number in request.symbolId:
            connection.depth.pop((request.ctidTraderAccountId, number), None)
        return openapi.ProtoOAUnsubscribeDepthQuotesRes(ctidTraderAccountId=request.ctidTraderAccountId), []

    # --- quotes ---------------------------------------------------------------------------------------------------

    def _technical(self, account_id: int, symbol: Symbol, *, stamped: bool) -> Any | None:
        """The first event after a subscription: both sides as they are, and the close of the day before."""
        quote = self._boards[symbol.symbol_id].quote
        if quote is None:
            return None
        event = openapi.ProtoOASpotEvent(
            ctidTraderAccountId=account_id, symbolId=symbol.symbol_id, bid=quote.bid_e5, ask=quote.ask_e5
        )
        tape = self.tapes[symbol.symbol_id]
        before, _ = tape.bars(_D1, 0, bar_open_ns(_D1, tape.last_ns) - 1, limit=1, count=1)
        for bar in before:
            event.sessionClose = bar.close_e5
        if stamped:
            event.timestamp = quote.ts_event_ns // NS_PER_MS + self.offset_ms
        return event

    def on_quote(self, symbol: Symbol, quote: Quote, connections: Iterable[Connection]) -> list[tuple[Connection, Any]]:
        """Show a quote to every subscriber. A side that did not change is left out; where neither did, both go."""
        board = self._boards[symbol.symbol_id]
        before, board.quote = board.quote, quote
        self.tapes[symbol.symbol_id].append(quote)
        for period, bar in board.bars.items():
            board.bars[period] = _extended(bar, period, quote)
        bid = before is None or before.bid_e5 != quote.bid_e5
        ask = before is None or before.ask_e5 != quote.ask_e5
        if not bid and not ask:
            bid = ask = True
        events: dict[tuple[int, bool, tuple[int, ...]], Any] = {}
        gone = self._new_depth(symbol, quote) if board.deep else []
        out: list[tuple[Connection, Any]] = []
        for connection in connections:
            for (account_id, number), stamped in connection.spots.items():
                if number != symbol.symbol_id:
                    continue
                periods = tuple(connection.bars.get((account_id, number), ()))
                key = account_id, stamped, periods
                if key not in events:
                    events[key] = self._spot(board, quote, key, number, bid=bid, ask=ask)
                out.append((connection, events[key]))
                if (account_id, number) in connection.depth:
                    out.append((connection, self._depth_event(account_id, number, gone)))
        return out

    def _spot(
        self, board: _Board, quote: Quote, key: tuple[int, bool, tuple[int, ...]], number: int, *, bid: bool, ask: bool
    ) -> Any:
        account_id, stamped, periods = key
        event = openapi.ProtoOASpotEvent(ctidTraderAccountId=account_id, symbolId=number)
        if bid:
            event.bid = quote.bid_e5
        if ask:
            event.ask = quote.ask_e5
        if stamped:
            event.timestamp = quote.ts_event_ns // NS_PER_MS + self.offset_ms
        for period in periods:
            if period in board.bars:
                event.trendbar.append(bar_message(board.bars[period], period=period, close=False))
        return event

    # --- depth ----------------------------------------------------------------------------------------------------

    def _new_depth(self, symbol: Symbol, quote: Quote) -> list[int]:
        """Replace the book by one around a quote; the ids that are gone."""
        board, point = self._boards[symbol.symbol_id], symbol.instrument.point_e5
        gone = list(board.depth)
        board.depth.clear()
        for level in range(_LEVELS):
            for bid, price_e5 in ((True, quote.bid_e5 - level * point), (False, quote.ask_e5 + level * point)):
                self._depth_ids += 1
                board.depth[self._depth_ids] = bid, max(price_e5, point), self._depth_size_e2
        return gone

    def _depth_event(self, account_id: int, number: int, gone: list[int]) -> Any:
        event = openapi.ProtoOADepthEvent(ctidTraderAccountId=account_id, symbolId=number)
        event.deletedQuotes.extend(gone)
        for each, (bid, price_e5, size_e2) in self._boards[number].depth.items():
            event.newQuotes.add(id=each, size=size_e2, **{"bid" if bid else "ask": price_e5})
        return event


def _extended(bar: TapeBar, period: int, quote: Quote) -> TapeBar:
    """A bar with one more quote, or the bar that the quote begins."""
    opened_ns, bid = bar_open_ns(period, quote.ts_event_ns), quote.bid_e5
    if opened_ns != bar.ts_open_ns:
        return TapeBar(opened_ns, bid, bid, bid, bid, 1)
    return TapeBar(opened_ns, bar.open_e5, max(bar.high_e5, bid), min(bar.low_e5, bid), bid, bar.ticks + 1)


_ANSWERS: dict[str, Any] = {
    "ProtoOASubscribeSpotsReq": Market.subscribe_spots,
    "ProtoOAUnsubscribeSpotsReq": Market.unsubscribe_spots,
    "ProtoOASubscribeLiveTrendbarReq": Market.subscribe_bars,
    "ProtoOAUnsubscribeLiveTrendbarReq": Market.unsubscribe_bars,
    "ProtoOASubscribeDepthQuotesReq": Market.subscribe_depth,
    "ProtoOAUnsubscribeDepthQuotesReq": Market.unsubscribe_depth,
}
MARKET_REQUESTS = frozenset(_ANSWERS)
"""Names of the requests that `Market.answer` takes."""

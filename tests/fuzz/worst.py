"""The largest things a peer may send, each taken whole: seconds of processor and growth of memory, a JSON line each.

Each is made in one process and taken in a fork of it, whose peak of memory begins at what is there already: so neither
the making nor another message counts.
"""

import contextlib
import json
import os
import resource
import time
from collections.abc import Callable
from typing import Any

from adapters.ctrader import series, symbols
from adapters.ctrader.account import Account
from adapters.ctrader.frames import encode_frame
from adapters.ctrader.messages import common, model, openapi
from adapters.ctrader.wire import LiveBars, Spots
from bus.errors import DataError
from tests.harness.ctrader_broker import ACCOUNT, HOLDER, SYMBOLS, Broker
from tests.harness.ctrader_peer import opened
from tests.harness.ctrader_targets import NOW, envelope_of
from tests.harness.hostile import TODAY_MS
from tests.harness.venue import HEDGED, Desk

Take = Callable[[], Any]
FIELDS = 299_990  # just below what a frame may hold
TEXT = "x" * 14_000_000


def received(number: int, payload: bytes) -> Take:
    """Hand a frame to a session that is open."""
    peer = opened()
    data = encode_frame(common.ProtoMessage(payloadType=number, payload=payload).SerializeToString())
    return lambda: peer.session.receive(data, peer.now)


def fresh() -> Account:
    account = Account(HOLDER, SYMBOLS, {}, currency="USD")
    account.begin(Broker().trader(), Broker().reconcile(), [], NOW)
    return account


def position(number: int, volume: int = 100_000, **more: Any) -> Any:
    data = model.ProtoOATradeData(symbolId=1, volume=volume, tradeSide=1, label="by hand")
    return model.ProtoOAPosition(
        positionId=number, positionStatus=1, swap=0, price=1.12569, tradeData=data,
        utcLastUpdateTimestamp=TODAY_MS + number, **more,
    )  # fmt: skip


def deal(number: int, at: int, *, side: int = 1, close: bool = False, order: int = 11) -> Any:
    made = model.ProtoOADeal(
        dealId=number, orderId=order, positionId=at, symbolId=1, volume=100_000, filledVolume=100_000, tradeSide=side,
        createTimestamp=TODAY_MS, executionTimestamp=TODAY_MS + number, executionPrice=1.12569 + number % 97 / 100_000,
        dealStatus=2,
    )  # fmt: skip
    if close:
        detail = made.closePositionDetail
        detail.entryPrice, detail.grossProfit, detail.swap, detail.commission, detail.balance = 1.12569, 0, 0, 0, 10**6
    return made


def order(number: int) -> Any:
    data = model.ProtoOATradeData(symbolId=1, volume=100_000, tradeSide=1, label="by hand")
    return model.ProtoOAOrder(orderId=number, orderType=2, orderStatus=1, limitPrice=1.1, tradeData=data)


def recovered(deals: list[Any], orders: list[Any], positions: list[Any], *, final: bool = False) -> Take:
    account, trader = fresh(), Broker().trader()
    stands = openapi.ProtoOAReconcileRes(ctidTraderAccountId=ACCOUNT, position=positions, order=orders)

    def take() -> None:
        with contextlib.suppress(DataError):
            account.recover(deals, orders, trader, stands, NOW, final=final)

    return take


def flooded(events: list[Any]) -> Take:
    account = fresh()

    def take() -> None:
        for event in events:
            with contextlib.suppress(DataError):
                account.execution(event, NOW)

    return take


def event(entity: Any, held: Any) -> Any:
    return openapi.ProtoOAExecutionEvent(ctidTraderAccountId=ACCOUNT, executionType=3, deal=entity, position=held)


def traded_to_and_fro(times: int) -> list[Any]:
    deals, volume = [deal(1, 5)], 100_000
    for number in range(2, times):
        closes = number % 2 == 0
        part = 100_000 * (1 + number % 3)
        made = deal(number, 5, side=2 if closes and volume > part else 1, close=closes and volume > part)
        made.volume = made.filledVolume = part
        volume += -part if made.HasField("closePositionDetail") else part
        deals.append(made)
    return deals


def listed() -> Take:
    rows = [
        model.ProtoOALightSymbol(symbolId=n, symbolName=f"S{n}", enabled=True, description="x" * 200)
        for n in range(1, 40_000)
    ]
    answer = openapi.ProtoOASymbolsListRes(ctidTraderAccountId=1, symbol=rows)
    return lambda: symbols.light_symbols(answer)


def specified() -> Take:
    endless = model.ProtoOALightSymbol(symbolId=1, symbolName=TEXT, enabled=True, baseAssetId=1, quoteAssetId=1)
    whole = model.ProtoOASymbol(
        symbolId=1, digits=5, pipPosition=4, lotSize=1, minVolume=1, stepVolume=1, maxVolume=1, scheduleTimeZone=TEXT,
        schedule=[{"startSecond": 0, "endSecond": 1}] * 100_000,
    )  # fmt: skip

    def take() -> None:
        with contextlib.suppress(DataError):
            symbols.specification(whole, endless, {1: "USD"}).hours.next_open_ns(NOW)

    return take


def spotted() -> Take:
    bars = [{"volume": 1, "period": 1, "low": 112_569, "utcTimestampInMinutes": 29_166_666 + n} for n in range(66_000)]
    message = openapi.ProtoOASpotEvent(ctidTraderAccountId=1, symbolId=1, bid=112_569, ask=112_571, trendbar=bars)
    spots, live = Spots({1: SYMBOLS[1].instrument}), LiveBars({1: SYMBOLS[1].instrument})
    return lambda: (spots.merge(message, NOW), live.update(message, 112_569, 112_571))


def aged() -> Take:
    bars = [{"volume": 1, "low": 112_569, "utcTimestampInMinutes": n} for n in range(1, 66_000)]
    answer = openapi.ProtoOAGetTrendbarsRes(ctidTraderAccountId=1, period=1, timestamp=0, trendbar=bars)
    return lambda: series.bar_series(answer, SYMBOLS[1].instrument, 1, NOW)


def ticked() -> Take:
    ticks = [{"timestamp": TODAY_MS, "tick": 112_569}] + [{"timestamp": -1, "tick": n % 3 - 1} for n in range(130_000)]
    answer = openapi.ProtoOAGetTickDataRes(ctidTraderAccountId=1, tickData=ticks, hasMore=False)
    return lambda: series.tick_series("EURUSD", series.tick_side(answer), series.tick_side(answer))


def asked(name: str) -> Take:
    desk = Desk()
    desk.quote(112_569)
    client = desk.client()
    client.send("SubscribeSpotsReq", account=HEDGED, symbolId=[1])
    request = getattr(openapi, f"ProtoOA{name}")(ctidTraderAccountId=HEDGED, symbolId=[1] * 250_000)
    raw = envelope_of(request, "x" * 500_000)
    return lambda: client.raw(raw)


def spoken() -> Take:
    account, long = fresh(), order(11)
    long.tradeData.label, long.clientOrderId = f"plimsoll/{TEXT}", TEXT
    message = openapi.ProtoOAExecutionEvent(ctidTraderAccountId=ACCOUNT, executionType=7, order=long, errorCode=TEXT)
    return lambda: account.execution(message, NOW)


CASES: dict[str, Callable[[], Take]] = {
    "positions of nothing": lambda: received(2125, b"\x10\x01" + b"\x1a\x00" * FIELDS),
    "deals of nothing": lambda: received(2134, b"\x10\x01" + b"\x1a\x00" * FIELDS),
    "deals with nothing booked": lambda: received(2134, b"\x10\x01" + b"\x1a\x02\x72\x00" * (FIELDS // 2)),
    "unknown fields": lambda: received(2125, b"\x10\x01" + b"\xa0\x06\x01" * FIELDS),
    "bars of nothing": lambda: received(2138, b"\x10\x01\x18\x01" + b"\x2a\x02\x18\x01" * (FIELDS // 2)),
    "one text": lambda: received(2142, b"\x1a\x80\xda\xc4\x06" + TEXT.encode()),
    "positions": lambda: recovered([], [], [position(n) for n in range(1, 9_000)]),
    "more positions than can be": lambda: recovered([], [], [position(n) for n in range(1, 15_000)]),
    "orders": lambda: recovered([], [order(n) for n in range(1, 25_000)], []),
    "deals in one position": lambda: recovered([deal(n, 5) for n in range(1, 30_000)], [], [], final=True),
    "deals backwards": lambda: recovered([deal(n, 5) for n in range(30_000, 1, -1)], [], []),
    "deals in as many positions": lambda: recovered([deal(n, n) for n in range(1, 30_000)], [], []),
    "a position that never rests": lambda: recovered(traded_to_and_fro(20_000), [order(11)], []),
    "fills that fit nowhere": lambda: flooded(
        [event(deal(n, n, close=True, side=2), position(n)) for n in range(1, 5_000)]
    ),
    "fills that wait in one place": lambda: flooded([event(deal(n, 5), position(5, 10**9)) for n in range(1, 5_000)]),
    "a list of symbols": listed,
    "a symbol": specified,
    "a spot with bars": spotted,
    "bars": aged,
    "ticks": ticked,
    "symbols asked for": lambda: asked("SymbolByIdReq"),
    "spots asked for": lambda: asked("SubscribeSpotsReq"),
    "depth asked for": lambda: asked("SubscribeDepthQuotesReq"),
    "words": spoken,
}


def main() -> None:
    """Take each."""
    for take in (received(2125, b"\x10\x01"), recovered([deal(1, 5)], [order(11)], [position(5)]), aged(), ticked()):
        take()  # what is loaded at the first use is no growth
    for name, prepare in CASES.items():
        _in_a_fork(lambda name=name, prepare=prepare: _prepared(name, prepare()))


def _prepared(name: str, take: Take) -> None:
    _in_a_fork(lambda: _taken(name, take))


def _taken(name: str, take: Take) -> None:
    began, before_kb = time.process_time(), _peak_kb()
    take()
    line = {"case": name, "cpu_s": round(time.process_time() - began, 3), "grew_kb": _peak_kb() - before_kb}
    print(json.dumps(line), flush=True)  # noqa: T201


def _in_a_fork(what: Callable[[], None]) -> None:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            what()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit(f"a case ended with {status}")


def _peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()

"""What a hostile server or client is let loose on, and what must still hold afterwards.

A target takes bytes, decides by them what the peer does, and asserts that only the errors promised come out, that what
is told can be journalled, and that the same object serves an honest peer afterwards. Hypothesis and atheris drive the
same targets.

One file past 400 lines, because both drivers take their targets from one table.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import msgspec

from adapters.ctrader import frames, listing, money, series, symbols
from adapters.ctrader.account import Account
from adapters.ctrader.catalogue import Terms, read_catalogue
from adapters.ctrader.events import SETTLING
from adapters.ctrader.frames import FrameDecoder, OversizeFrame, decode_envelope, encode_frame
from adapters.ctrader.messages import common, model, openapi
from adapters.ctrader.orders import Refusal, new_order
from adapters.ctrader.session import Link
from adapters.ctrader.venue.endpoint import Endpoint
from adapters.ctrader.wire import LiveBars, Spots
from bus import codec
from bus.errors import ConfigError, DataError, NotSent, ProtocolError, RateLimited
from bus.messages import (
    AccountSnapshot,
    AmendProtection,
    CancelOrder,
    OrderAccepted,
    OrderFilled,
    Quote,
    SubmitOrder,
)
from bus.values import OrderType, Side, divide_half_away
from tests.harness import ctrader_peer as peers
from tests.harness.ctrader_broker import ACCOUNT, HOLDER, SYMBOLS, Broker
from tests.harness.ctrader_rig import Rig
from tests.harness.hostile import TODAY_MS, Choices, message_of, with_accidents
from tests.harness.venue import HEDGED, NETTED, OPENED, Desk, S

NOW = 1_760_000_000_000_000_000
ENTITIES = {
    "ctidTraderAccountId": (ACCOUNT,),
    "symbolId": (1, 2, 3),
    "positionId": (5, 6, 7),
    "orderId": (11, 12, 13, 14),
    "dealId": (21, 22, 23, 24, 25),
    "balanceHistoryId": (31, 32),
    "label": ("plimsoll/run-1", "plimsoll/run-2", "by hand", ""),
    "clientOrderId": ("run-1", "run-2", "run-3", "srv-9"),
    "price": (1.12569, 1.126, 1.119875),
    "executionPrice": (1.12569, 1.126, 1.119875),
    "executedVolume": (0, 100_000, 500_000, 1_000_000),
    "volume": (100_000, 500_000, 1_000_000),
    "filledVolume": (100_000, 500_000, 1_000_000),
    "closedVolume": (100_000, 500_000, 1_000_000),
    "executionType": (2, 3, 3, 4, 5, 6, 7, 8, 9, 11),
    "dealStatus": (2, 3),
    "orderType": (1, 1, 2, 4),
}


def journalled(told: list[Any]) -> None:
    """Whatever is told can be written to the journal and read again."""
    for each in told:
        assert codec.decode(codec.encode(each)) == each


# --- frames and session ----------------------------------------------------------------------------------------


def take_bytes(choices: Choices) -> None:
    """Any bytes are frames, of messages or of the peer's protocol errors, however they are cut."""
    data = choices.raw(10**6)
    cut = data[0] * 3 + 1 if data else 1
    found = _frames([data[at : at + cut] for at in range(0, len(data), cut)])
    assert _frames([data]) == found
    for each in [*found, data]:
        with contextlib.suppress(ProtocolError):
            envelope = decode_envelope(each)
            assert envelope.payload_type > 0
            if envelope.message is not None and not frames.missing_fields(envelope.message):
                frames.unread_values(envelope.message)


def _frames(pieces: list[bytes]) -> list[bytes]:
    decoder, found = FrameDecoder(limit=1_000_000), list[bytes]()
    for piece in pieces:
        try:
            found += decoder.feed(piece)
        except OversizeFrame as broken:
            return found + broken.frames_before
    return found


_ASKED = (
    peers.new_order,
    peers.trader,
    peers.reconcile,
    peers.deals,
    openapi.ProtoOAVersionReq,
    lambda: openapi.ProtoOACancelOrderReq(ctidTraderAccountId=peers.ACCOUNT, orderId=11),
)
_KINDS = [frames.MESSAGES[number] for number in sorted(frames.MESSAGES)]
_SESSION = {**ENTITIES, "ctidTraderAccountId": (peers.ACCOUNT, peers.ACCOUNT, 1), "ctidTraderAccountIds": (1234567,)}


def take_session(choices: Choices) -> None:
    """Whatever a server sends, every request is settled once, and the next connection serves an honest server."""
    peer = peers.opened()
    session, told, asked, ids = peer.session, [], [], [""]
    while not choices.spent:
        what = choices.below(10)
        if what < 2:
            try:
                asked.append(session.request(choices.of(_ASKED)(), peer.now))
                ids += [envelope.client_msg_id for envelope in peer.sent()]
            except (NotSent, RateLimited):
                continue
        elif what < 7:
            kind = choices.of(_KINDS)
            raw = envelope_of(message_of(choices, kind, _SESSION), choices.of(ids[-8:]))
            told += session.receive(encode_frame(raw if what < 6 else with_accidents(choices, raw)), peer.now)
        elif what == 7:
            peer.now += choices.of((1, S // 10, S, 9 * S, 70 * S))
            told += session.timer(peer.now)
        elif what == 8:
            told += session.receive(choices.raw(choices.below(40)), peer.now)
        elif session.link is Link.DEAD:
            told += _again(peer)
        session.data_to_send()
    told += _again(peer)
    settled = [each.request for each in told if isinstance(each, SETTLING)]
    assert sorted(settled) == sorted(asked)
    assert session.is_logged_in(peers.ACCOUNT)
    number, name = peer.ask(peers.trader())
    answer = openapi.ProtoOATraderRes(ctidTraderAccountId=peers.ACCOUNT)
    answer.trader.CopyFrom(Broker().trader())
    (only,) = peer.tell((answer, name))
    assert only.request == number


def _again(peer: Any) -> list[Any]:
    told = peer.session.disconnected(peer.now)
    peer.sent()
    peer.now += 3_700 * S
    return told + peer.open(peers.ACCOUNT)


def envelope_of(message: Any, name: str = "") -> bytes:
    """A message in its envelope, complete or not."""
    raw = common.ProtoMessage(payloadType=message.payloadType, payload=message.SerializePartialToString())
    if name:
        raw.clientMsgId = name
    return raw.SerializeToString()


# --- market data -----------------------------------------------------------------------------------------------


def take_market(choices: Choices) -> None:
    """Spots and live bars: only DataError comes out, no impossible quote, and an honest price is told afterwards."""
    instruments = {number: entry.instrument for number, entry in SYMBOLS.items()}
    spots, bars = Spots(instruments), LiveBars(instruments)
    known = {"bid": (112_569, 112_570, 90_000), "ask": (112_571, 112_572, 90_002), "symbolId": (1, 1, 2, 9)}
    while not choices.spent:
        event = message_of(choices, openapi.ProtoOASpotEvent, known)
        quote = None
        with contextlib.suppress(DataError):
            quote = spots.merge(event, NOW)
        if quote is not None:
            assert 0 < quote.bid_e5 <= quote.ask_e5
            journalled([quote])
        try:
            closed = bars.update(event, quote.bid_e5 if quote else 0, quote.ask_e5 if quote else 0)
        except DataError:
            continue
        for bar in closed:
            assert 0 < bar.low_e5 <= min(bar.open_e5, bar.close_e5) <= max(bar.open_e5, bar.close_e5) <= bar.high_e5
        journalled(closed)
    honest = openapi.ProtoOASpotEvent(
        ctidTraderAccountId=1, symbolId=1, bid=112_569, ask=112_571, timestamp=NOW // 10**6
    )
    for _ in range(2):  # a jump from what was told before needs a second witness
        try:
            quote = spots.merge(honest, NOW)
        except DataError:
            continue
    assert quote is not None
    assert (quote.bid_e5, quote.ask_e5, quote.ts_event_ns) == (112_569, 112_571, NOW)
    bars.forget()
    for minute in (29_166_700, 29_166_701):
        bar = model.ProtoOATrendbar(volume=1, period=1, low=112_569, utcTimestampInMinutes=minute)
        closed = bars.update(openapi.ProtoOASpotEvent(symbolId=1, trendbar=[bar]), 112_569, 112_571)
    assert [bar.close_e5 for bar in closed] == [112_569]


def take_history(choices: Choices) -> None:
    """Bars and ticks of history: columns that a market can have, or DataError."""
    instrument = SYMBOLS[1].instrument
    answer = message_of(choices, openapi.ProtoOAGetTrendbarsRes, {})
    try:
        found = series.bar_series(answer, instrument, choices.of((1, 5, 9, 13, 14, 0)), NOW)
    except DataError:
        pass
    else:
        assert int(found.ts_open_ns.min(initial=1)) >= 0
        assert int(found.quotes.min(initial=0)) >= 0
        if len(found):
            found.check()
    sides = []
    for _ in range(2):
        try:
            sides.append(series.tick_side(message_of(choices, openapi.ProtoOAGetTickDataRes, {})))
        except DataError:
            continue
    if len(sides) == 2:
        ticks = series.tick_series("EURUSD", *sides)
        assert (ticks.bid_e5 <= ticks.ask_e5).all()
        assert (ticks.ts_ns[1:] > ticks.ts_ns[:-1]).all()
        assert int(ticks.ts_ns.min(initial=0)) >= 0


# --- catalogue -------------------------------------------------------------------------------------------------


def take_catalogue(choices: Choices) -> None:
    """Symbols and assets: ConfigError, DataError, or a specification that orders, hours and money can be made of."""
    known = {
        "assetId": (1, 2, 3), "baseAssetId": (2,), "quoteAssetId": (1,), "name": ("USD", "EUR", "JPY"),
        "minVolume": (100_000,), "stepVolume": (100_000,), "maxVolume": (10**10,), "swapLong": (-1.106,),
        "startSecond": (0, 86_700), "endSecond": (172_500, 604_800), "holidayDate": (20_000, 20_254),
        "preciseTradingCommissionRate": (250_000_000, 70, 0), "preciseMinCommission": (0, 10**8),
    }  # fmt: skip
    _read_whole(choices, known)
    names = symbols.assets(message_of(choices, openapi.ProtoOAAssetListRes, known)) | {1: "USD", 2: "EUR"}
    listed = message_of(choices, openapi.ProtoOASymbolsListRes, known)
    rows = []
    with contextlib.suppress(DataError):
        rows = list(symbols.light_symbols(listed).values())
    rows.append(message_of(choices, model.ProtoOALightSymbol, known))
    for row in rows:
        whole = message_of(choices, model.ProtoOASymbol, known)
        try:
            made = symbols.specification(whole, row, names, choices.of((0, 112_569)), choices.of((0, 10**8)))
        except (ConfigError, DataError):
            continue
        msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=symbols.Specification)
        opens_ns = made.hours.next_open_ns(NOW)
        assert opens_ns is None or made.hours.open_at(opens_ns)
        request = new_order(_submit(volume_e2=made.instrument.min_volume_e2), made, HOLDER, NOW)
        assert isinstance(request, Refusal) or request.IsInitialized()
        charge = money.commission(
            made.commission, made.instrument.min_volume_e2, made.instrument.lot_e2, 112_569, money.Rates(), 2
        )
        assert charge <= 0


_HONEST = {
    2112: openapi.ProtoOAAssetListRes(
        ctidTraderAccountId=1, asset=[{"assetId": 1, "name": "USD"}, {"assetId": 2, "name": "EUR"}]
    ),
    2114: openapi.ProtoOASymbolsListRes(
        ctidTraderAccountId=1,
        symbol=[{"symbolId": 1, "symbolName": "EURUSD", "enabled": True, "baseAssetId": 2, "quoteAssetId": 1}],
    ),
    2121: openapi.ProtoOATraderRes(ctidTraderAccountId=1, trader=Broker().trader()),
    2124: openapi.ProtoOAReconcileRes(ctidTraderAccountId=1),
}


def _read_whole(choices: Choices, known: dict[str, Any]) -> None:
    """The way the shell reads it, and lists page by page: what a broker error would be, or a whole catalogue."""
    ids = {**known, "symbolId": (1, 2), "depositAssetId": (1,), "assetId": (1, 2), "name": ("USD", "EUR")}

    async def ask(request: Any) -> Any:
        if request.payloadType in _HONEST and choices.below(3):
            return _HONEST[request.payloadType]
        return message_of(choices, frames.MESSAGES[frames.ANSWERS[request.payloadType]], ids)

    with contextlib.suppress(ConfigError, DataError):
        found = _ran(read_catalogue(ask, 1, ["EURUSD"]))
        assert found.terms.traded == ("EURUSD",)
        msgspec.msgpack.decode(msgspec.msgpack.encode(found.terms), type=Terms)
    for of in (listing.deals, listing.orders, listing.cash):
        with contextlib.suppress(DataError):
            rows = _ran(of(ask, 1, TODAY_MS - 1_000, TODAY_MS))
            assert len(rows) <= listing.MOST_ROWS
    with contextlib.suppress(DataError):
        bars = _ran(listing.bars(ask, 1, SYMBOLS[1], 60 * S, since_ns=TODAY_MS * 10**6 - S, now_ns=TODAY_MS * 10**6))
        journalled(bars)


def _ran(work: Any) -> Any:
    """What a coroutine gives that never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waited")


# --- the account -----------------------------------------------------------------------------------------------


def _submit(name: str = "run-1", **changes: Any) -> SubmitOrder:
    return SubmitOrder(
        **{
            "client_order_id": name, "intent_id": "i", "strategy": "s", "symbol": "EURUSD", "side": Side.BUY,
            "order_type": OrderType.MARKET, "volume_e2": 1_000_000, "reference_e5": 112_569, "ts_init_ns": NOW,
            **changes,
        }
    )  # fmt: skip


_COMMANDS = (
    _submit(),
    _submit("run-2", position_id="5", side=Side.SELL),
    _submit("run-3", order_type=OrderType.LIMIT, limit_e5=112_000),
    CancelOrder(client_order_id="run-3", symbol="EURUSD", reason="r", ts_init_ns=NOW),
    AmendProtection(
        position_id="5", symbol="EURUSD", stop_loss_e5=112_000, take_profit_e5=0, trailing_e5=100, reason="r",
        ts_init_ns=NOW,
    ),
)  # fmt: skip


def take_account(choices: Choices) -> None:
    """Whatever is told of an account: only DataError comes out, and the next recovery is as the venue says."""
    quotes = {"EURUSD": Quote(symbol="EURUSD", bid_e5=112_567, ask_e5=112_569, ts_event_ns=NOW, ts_init_ns=NOW)}
    account = Account(HOLDER, SYMBOLS, quotes, currency="USD", adopt=choices.below(8) == 7)
    try:
        trader, stands = _make(choices, model.ProtoOATrader), _make(choices, openapi.ProtoOAReconcileRes)
        told = account.begin(trader, stands, _made(choices, model.ProtoOADeal), NOW)
    except DataError:
        account = Account(HOLDER, SYMBOLS, quotes, currency="USD")
        told = account.begin(Broker().trader(), Broker().reconcile(), [], NOW)
    journalled(told)
    for command in _COMMANDS[: choices.below(len(_COMMANDS) + 1)]:
        account.sent(command)
    while not choices.spent:
        before, told = _all_of(account), None
        with contextlib.suppress(DataError):
            told = _step(account, choices)
        if told is None:
            assert _all_of(account) == before, "half of it was taken"
            continue
        journalled(told)
        assert all(isinstance(number, int) for number in account.unexplained)
        account.foreign_volume_e2()
        with contextlib.suppress(DataError):
            assert account.figures().balance == account.balance
    _is_usable(account)


def _all_of(account: Account) -> str:
    of_account, of_its_worth = vars(account), vars(account.valuation)
    shared = {"_specifications", "_quotes", "valuation"}
    return repr([(name, of[name]) for of in (of_account, of_its_worth) for name in of if name not in shared])


def _make(choices: Choices, kind: Any) -> Any:
    return message_of(choices, kind, ENTITIES)


def _made(choices: Choices, kind: Any) -> list[Any]:
    return [_make(choices, kind) for _ in range(choices.below(4))]


def _step(account: Account, choices: Choices) -> list[Any]:
    what, command = choices.below(17), choices.of(_COMMANDS)
    if what < 8:
        return account.execution(_make(choices, openapi.ProtoOAExecutionEvent), NOW, choices.of(("", "run-1", "run-2")))
    if what == 8:
        return account.trailing_moved(_make(choices, openapi.ProtoOATrailingSLChangedEvent), NOW)
    if what == 9:
        account.trader_updated(_make(choices, model.ProtoOATrader))
        return []
    if what == 10:
        event = _make(choices, openapi.ProtoOAOrderErrorEvent)
        return account.order_error(event, command if choices.below(2) else None, NOW)
    if what == 11:
        return account.unknown(command, NOW)
    if what == 12:
        account.protected(choices.of(("5", "6", "x", "٣", "")))
        return account.refused(command, "POSITION_NOT_FOUND", "t", NOW)
    if what == 13:
        account.margin_changed(_make(choices, openapi.ProtoOAMarginChangedEvent))
        return []
    return account.recover(
        _made(choices, model.ProtoOADeal),
        _made(choices, model.ProtoOAOrder),
        _make(choices, model.ProtoOATrader),
        _make(choices, openapi.ProtoOAReconcileRes),
        NOW,
        cash=_made(choices, model.ProtoOADepositWithdraw),
        final=choices.below(3) == 2,
    )


def _is_usable(account: Account) -> None:
    """An honest server speaks again: one recovery brings the account to what it says, and its next fill is told."""
    broker = Broker(balance=1_234_567, version=50)
    broker.now_ms = TODAY_MS + 10_000
    account.recover([], [], broker.trader(), broker.reconcile(), NOW)
    account.recover([], [], broker.trader(), broker.reconcile(), NOW, final=True)
    told = account.recover([], [], broker.trader(), broker.reconcile(), NOW)
    assert not account.needs_recovery
    snapshot = told[-1]
    assert isinstance(snapshot, AccountSnapshot)
    expected = divide_half_away(1_234_567 * 10**account.money_digits, 100)
    assert (snapshot.balance, snapshot.positions, snapshot.orders) == (expected, (), ())
    journalled(told)
    broker._next = 10**6
    account.sent(_submit("honest", volume_e2=300_000))
    broker.order(1, 1, 300_000, 112_569, name="honest")
    broker.order(1, -1, 300_000, 112_669, held=next(iter(broker.positions.values())), closing=True)
    told = [fact for event, name in broker.events for fact in account.execution(event, NOW, name)]
    assert [type(fact) for fact in told] == [OrderAccepted, OrderFilled, OrderFilled], told
    assert told[1].price_e5 == 112_569
    assert told[2].balance == account.balance == divide_half_away(broker.balance * 10**account.money_digits, 100)
    assert not account.needs_recovery


# --- the venue -------------------------------------------------------------------------------------------------

_REQUESTS = [frames.MESSAGES[number] for number in sorted(frames.REQUESTS)]
_ORDERS = [frames.MESSAGES[number] for number in (2106, 2106, 2106, 2108, 2109, 2110, 2111)]
_VENUE = {
    "ctidTraderAccountId": (HEDGED, NETTED, HEDGED, 3),
    "symbolId": (1, 1, 1, 2, 3),
    "positionId": (501, 502, 503, 504),
    "orderId": (1001, 1002, 1003, 1004),
    "dealId": (2001, 2002, 2003),
    "volume": (100_000, 500_000, 1_000_000, 123),
    "limitPrice": (1.12, 1.125, 1.13),
    "stopPrice": (1.13, 1.127, 1.12),
    "stopLoss": (1.12, 1.11, 1.13),
    "takeProfit": (1.13, 1.14),
    "baseSlippagePrice": (1.1257, 1.126),
    "relativeStopLoss": (200, 500),
    "relativeTakeProfit": (200, 400),
    "slippageInPoints": (0, 5, 10),
    "label": ("a", ""),
    "clientOrderId": ("c1", "c2"),
    "comment": ("", "x"),
    "accessToken": ("no",),
    "refreshToken": ("no",),
    "fromTimestamp": (0, OPENED // 10**6 - 3_600_000),
    "toTimestamp": (OPENED // 10**6 + 60_000,),
    "count": (1, 10),
    "maxRows": (0, 5),
    "timeInForce": (1, 2, 3, 4),
    "expirationTimestamp": (OPENED // 10**6 + 5_000,),
    "orderType": (1, 1, 2, 3, 5, 6),
    "stopTriggerMethod": (1,),
    "guaranteedStopLoss": (False,),
    "firstAssetId": (1, 2, 3, 9),
    "lastAssetId": (1, 2, 3),
}


def take_venue(choices: Choices) -> None:
    """Whatever a client sends, the venue serves the others, and its money and records still agree."""
    desk = Desk("EURUSD", "USDJPY")
    desk.quote(112_569, 112_571)
    desk.quote(14_900_000, 14_900_900, symbol="USDJPY")
    end, now, price = Endpoint(desk.venue), 0, 112_569
    hostile, honest = _signed_in(end, desk), _signed_in(end, desk)
    while not choices.spent:
        what = choices.below(10)
        now += S // 20
        if what < 4:
            raw = envelope_of(message_of(choices, choices.of(_ORDERS), _VENUE), "h")
        elif what < 7:
            raw = envelope_of(message_of(choices, choices.of(_REQUESTS), _VENUE), "h")
        elif what == 7:
            raw = with_accidents(choices, envelope_of(message_of(choices, choices.of(_KINDS), _VENUE), "h"))
        else:
            price += choices.below(400) - 200
            moment = desk.venue.market_ns + S
            end.on_quote(
                Quote(symbol="EURUSD", bid_e5=price, ask_e5=price + 2, ts_event_ns=moment, ts_init_ns=moment), now
            )
            continue
        data = encode_frame(raw)
        if what == 7:
            data = with_accidents(choices, data)
        size = sum(len(wire.data) for wire in end.data(hostile, data, now))
        assert size < 2_000_000
        if hostile not in desk.venue.connections:
            hostile = _signed_in(end, desk, now)
    _agrees(desk, end, honest, now)


def _signed_in(end: Endpoint, desk: Desk, now: int = 0) -> int:
    number, tokens = end.connect(now), desk.venue.tokens
    hello = openapi.ProtoOAApplicationAuthReq(clientId=tokens.client_id, clientSecret=tokens.client_secret)
    logins = (
        openapi.ProtoOAAccountAuthReq(ctidTraderAccountId=account, accessToken=desk.grant.access)
        for account in (HEDGED, NETTED)
    )
    for message in (hello, *logins):
        end.data(number, encode_frame(envelope_of(message, "hello")), now)
    return number


def _agrees(desk: Desk, end: Endpoint, number: int, now: int) -> None:
    for account_id in (HEDGED, NETTED):
        account = desk.venue.accounts[account_id]
        answers = []
        for request in (
            openapi.ProtoOATraderReq(ctidTraderAccountId=account_id),
            openapi.ProtoOAReconcileReq(ctidTraderAccountId=account_id),
        ):
            (wire,) = end.data(number, encode_frame(envelope_of(request, "honest")), now)
            (frame,) = FrameDecoder().feed(wire.data)
            answers.append(decode_envelope(frame).message)
        trader, stands = answers
        assert trader.trader.balance == account.broker.balance == 1_000_000 + _booked(account)
        held = [(entry.tradeData.volume, entry.commission, entry.swap) for entry in stands.position]
        assert held == [(entry.volume_e2, entry.commission, entry.swap) for entry in account.broker.positions]
        known = {each.position_id for each in (*account.orders.values(), *account.deals)}
        assert set(account.positions) <= known, "what was refused left a position"


def _booked(account: Any) -> int:
    details = [deal.message.closePositionDetail for deal in account.deals if deal.closing]
    return sum(each.grossProfit + each.commission + each.swap + each.pnlConversionFee for each in details)


# --- both ------------------------------------------------------------------------------------------------------


def take_line(choices: Choices) -> None:
    """The adapter trades against the venue while bytes of the venue's are spoilt; on a clean line it is exact again."""
    rig = Rig("EURUSD")
    rig.quote(112_569, 112_571)
    rig.accident = lambda data: data if choices.spent or choices.below(6) else with_accidents(choices, data)
    price = 112_569
    while not choices.spent:
        what = choices.below(12)
        if rig.session.link is not Link.OPEN or what == 0:
            rig.connect()
        elif not rig.specifications:
            rig.learn()
        elif rig.account is None:
            rig.begin()
        elif what < 4:
            price += choices.below(200) - 100
            rig.quote(price, price + 2)
        elif what < 7:
            rig.send(rig.command(volume_e2=100_000 * (1 + choices.below(9)), side=choices.of((Side.BUY, Side.SELL))))
        elif what < 10:
            held = [state for state in rig.venue.accounts[HEDGED].positions.values() if state.volume_e2]
            if held:
                rig.send(
                    rig.command(
                        position_id=str(held[0].position_id), side=held[0].side.opposite,
                        volume_e2=100_000 * (1 + choices.below(9)),
                    )
                )  # fmt: skip
        else:
            rig.recover()
    rig.accident = None
    rig.connect()
    assert rig.specifications or rig.learn()
    assert rig.account is not None or rig.begin()
    rig.recover()
    rig.recover(final=True)
    assert rig.recover()
    journalled(rig.told)
    snapshot, broker = rig.told[-1], rig.venue.accounts[HEDGED].broker
    assert snapshot.balance == broker.balance
    held = sorted((state.volume_e2, state.side, state.price_e5) for state in broker.positions)
    assert [entry[:2] for entry in held] == sorted((state.volume_e2, state.side) for state in snapshot.positions)
    fills = [fact.deal_id for fact in rig.told if isinstance(fact, OrderFilled)]
    assert len(fills) == len(set(fills))


TARGETS: dict[str, Callable[[Choices], None]] = {
    "bytes": take_bytes,
    "session": take_session,
    "market": take_market,
    "history": take_history,
    "catalogue": take_catalogue,
    "account": take_account,
    "venue": take_venue,
    "line": take_line,
}
"""By name; a fuzzer's first byte chooses one."""

"""A third party's script: the official client and nothing of ours. Its own process and reactor; prints one JSON line.

python official_client.py '{"port": …, "http_port": …, "client_id": …, …}'
"""

import json
import sys
import uuid

from ctrader_open_api import Auth, Client, Protobuf, TcpProtocol
from ctrader_open_api.messages import OpenApiMessages_pb2 as messages
from ctrader_open_api.messages import OpenApiModelMessages_pb2 as model
from twisted.internet import defer, reactor

venue = json.loads(sys.argv[1])
account = venue["accounts"][0]["ctidTraderAccountId"]
seen = {"executions": [], "spots": 0, "errors": []}
waiting = []


def on_message(_client, raw):
    if raw.payloadType == 51:
        return
    message = Protobuf.extract(raw)
    name = type(message).__name__
    if name == "ProtoOASpotEvent":
        seen["spots"] += 1
        seen["spot"] = message
    elif name == "ProtoOAExecutionEvent":
        seen["executions"].append(message)
    elif name in ("ProtoOAErrorRes", "ProtoOAOrderErrorEvent"):
        seen["errors"].append(f"{message.errorCode}: {message.description}")
    for number, (matches, answer) in enumerate(waiting):
        if matches(message):
            del waiting[number]
            reactor.callLater(0, answer.callback, message)  # the client has yet to look at this message itself
            return


def until(matches):
    answer = defer.Deferred()
    waiting.append((matches, answer))
    return answer.addTimeout(8, reactor)


def execution(kind, server=None):
    wanted = model.ProtoOAExecutionType.Value(kind)

    def matches(message):
        return (
            type(message).__name__ == "ProtoOAExecutionEvent"
            and message.executionType == wanted
            and (server is None or message.isServerEvent == server)
        )

    return matches


@defer.inlineCallbacks
def conversation(client):
    def ask(message):
        # Its own ids are object addresses and come again; later events of an old request would answer a new one.
        sent = client.send(message, clientMsgId=str(uuid.uuid4()), responseTimeoutInSeconds=8)
        return sent.addCallback(Protobuf.extract)

    out = {}
    yield ask(messages.ProtoOAApplicationAuthReq(clientId=venue["client_id"], clientSecret=venue["client_secret"]))
    listed = yield ask(messages.ProtoOAGetAccountListByAccessTokenReq(accessToken=venue["access_token"]))
    out["accounts"] = [each.ctidTraderAccountId for each in listed.ctidTraderAccount]
    yield ask(messages.ProtoOAAccountAuthReq(ctidTraderAccountId=account, accessToken=venue["access_token"]))
    symbols, trader = yield defer.gatherResults(
        [
            ask(messages.ProtoOASymbolsListReq(ctidTraderAccountId=account)),
            ask(messages.ProtoOATraderReq(ctidTraderAccountId=account)),
        ]
    )
    light = symbols.symbol[0]
    out["symbol"], out["balance"] = light.symbolName, trader.trader.balance
    full, _ = yield defer.gatherResults(
        [
            ask(messages.ProtoOASymbolByIdReq(ctidTraderAccountId=account, symbolId=[light.symbolId])),
            ask(
                messages.ProtoOASubscribeSpotsReq(
                    ctidTraderAccountId=account, symbolId=[light.symbolId], subscribeToSpotTimestamp=True
                )
            ),
        ]
    )
    spec = full.symbol[0]
    out["lot"], out["digits"] = spec.lotSize, spec.digits
    while seen["spots"] < 3:
        yield until(lambda message: type(message).__name__ == "ProtoOASpotEvent")
    now = seen["spot"].timestamp

    protected = until(execution("ORDER_ACCEPTED", server=True))
    first = yield ask(
        messages.ProtoOANewOrderReq(
            ctidTraderAccountId=account, symbolId=light.symbolId, orderType=model.MARKET, tradeSide=model.BUY,
            volume=2 * spec.minVolume, relativeStopLoss=5_000, relativeTakeProfit=9_000, label="third party",
        )
    )  # fmt: skip
    out["first_event"] = model.ProtoOAExecutionType.Name(first.executionType)
    event = yield protected
    position = event.position
    out["protected"] = [position.price, position.stopLoss, position.takeProfit]
    amended = yield ask(
        messages.ProtoOAAmendPositionSLTPReq(
            ctidTraderAccountId=account, positionId=position.positionId,
            stopLoss=round(position.stopLoss - 0.001, 5), takeProfit=position.takeProfit,
        )
    )  # fmt: skip
    out["amended"] = [model.ProtoOAExecutionType.Name(amended.executionType), amended.position.stopLoss]
    reconciled = yield ask(messages.ProtoOAReconcileReq(ctidTraderAccountId=account))
    out["open"] = [[each.positionId, each.tradeData.volume, each.stopLoss] for each in reconciled.position]

    cancelled = until(execution("ORDER_CANCELLED", server=True))
    yield ask(
        messages.ProtoOAClosePositionReq(
            ctidTraderAccountId=account, positionId=position.positionId, volume=2 * spec.minVolume
        )
    )
    yield cancelled
    day, last = 24 * 3_600_000, now + 24 * 3_600_000
    bars, ticks, deals, empty = yield defer.gatherResults(
        [
            ask(
                messages.ProtoOAGetTrendbarsReq(
                    ctidTraderAccountId=account, symbolId=light.symbolId, period=model.H1,
                    fromTimestamp=now - 4 * day, toTimestamp=now,
                )
            ),
            ask(
                messages.ProtoOAGetTickDataReq(
                    ctidTraderAccountId=account, symbolId=light.symbolId, type=model.BID,
                    fromTimestamp=now - 4 * day, toTimestamp=now,
                )
            ),
            ask(messages.ProtoOADealListReq(ctidTraderAccountId=account, fromTimestamp=now - day, toTimestamp=last)),
            ask(messages.ProtoOAReconcileReq(ctidTraderAccountId=account)),
        ]
    )  # fmt: skip
    out["bars"], out["ticks"], out["left_open"] = len(bars.trendbar), len(ticks.tickData), len(empty.position)
    out["bars_complete"] = all(bar.HasField("deltaClose") for bar in bars.trendbar) and bars.IsInitialized()
    out["deals"] = [[deal.tradeSide, deal.filledVolume] for deal in deals.deal]
    detail = deals.deal[0].closePositionDetail
    out["booked"] = detail.grossProfit + detail.commission + detail.swap + detail.pnlConversionFee
    out["balance_after"] = detail.balance
    out["executions"] = [
        [model.ProtoOAExecutionType.Name(each.executionType), each.isServerEvent] for each in seen["executions"]
    ]
    invalidated = until(lambda message: type(message).__name__ == "ProtoOAAccountsTokenInvalidatedEvent")
    refreshed = yield ask(messages.ProtoOARefreshTokenReq(refreshToken=venue["refresh_token"]))
    yield invalidated
    auth = Auth(venue["client_id"], venue["client_secret"], "http://127.0.0.1/nowhere")
    uri = f"http://127.0.0.1:{venue['http_port']}/apps/token"
    out["old_refresh_token"] = auth.refreshToken(venue["refresh_token"], baseUri=uri)["errorCode"]
    by_http = auth.refreshToken(refreshed.refreshToken, baseUri=uri)
    out["tokens_differ"] = len({venue["access_token"], refreshed.accessToken, by_http["accessToken"]}) == 3
    again = yield ask(messages.ProtoOAAccountAuthReq(ctidTraderAccountId=account, accessToken=by_http["accessToken"]))
    out["logged_in_again"] = again.ctidTraderAccountId == account
    out["errors"] = seen["errors"]
    sys.stdout.write(json.dumps(out) + "\n")


def connected(client):
    def failed(failure):
        sys.stderr.write(f"{failure.getTraceback()}\n{seen['errors']}\n")

    conversation(client).addErrback(failed).addBoth(lambda _: reactor.stop())


client = Client(venue["host"], venue["port"], TcpProtocol)
client.setConnectedCallback(connected)
client.setMessageReceivedCallback(on_message)
client.startService()
reactor.callLater(40, reactor.stop)
reactor.run()

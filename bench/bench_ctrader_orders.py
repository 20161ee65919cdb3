"""An order over loopback TLS, from `request` to its acceptance: our connection, then the official client, same venue.

Acceptance is the venue's first execution event back at the client, so the venue's own work and the way back count too,
for both alike. The official client sends fewer orders, because each takes it about a second.
"""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

from adapters.ctrader.connection import Connection
from adapters.ctrader.messages import model, openapi
from adapters.ctrader.secret import Secret
from adapters.ctrader.shell import Server
from bench.common import percentiles, report
from tests.harness.venue_process import venue_process

ORDERS = 300
OFFICIAL_ORDERS = 40
APART_S = 0.03

OFFICIAL = """
import json, sys, time
from ctrader_open_api import Client, TcpProtocol
from ctrader_open_api.messages import OpenApiMessages_pb2 as messages
from twisted.internet import defer, reactor, task

venue, orders, apart_s = json.loads(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
account = venue["accounts"][0]["ctidTraderAccountId"]
client = Client(venue["host"], venue["port"], TcpProtocol)

@defer.inlineCallbacks
def talk():
    taken = []
    yield client.send(messages.ProtoOAApplicationAuthReq(
        clientId=venue["client_id"], clientSecret=venue["client_secret"]), clientMsgId="app")
    yield client.send(messages.ProtoOAAccountAuthReq(
        ctidTraderAccountId=account, accessToken=venue["access_token"]), clientMsgId="account")
    yield client.send(messages.ProtoOASubscribeSpotsReq(
        ctidTraderAccountId=account, symbolId=[venue["symbols"][0]["symbolId"]]), clientMsgId="spots")
    yield task.deferLater(reactor, 1, lambda: None)
    for number in range(orders):
        order = messages.ProtoOANewOrderReq(ctidTraderAccountId=account, symbolId=venue["symbols"][0]["symbolId"],
            orderType=1, tradeSide=1 + number % 2, volume=100_000)
        begin = time.perf_counter_ns()
        yield client.send(order, clientMsgId=f"o{number}", responseTimeoutInSeconds=10)
        taken.append(time.perf_counter_ns() - begin)
        yield task.deferLater(reactor, apart_s, lambda: None)
    print(json.dumps(taken))

client.setConnectedCallback(lambda _: talk().addErrback(lambda f: f.printTraceback()).addBoth(lambda _: reactor.stop()))
client.setMessageReceivedCallback(lambda *_: None)
client.startService()
reactor.run()
"""


async def ours(venue):
    server = Server(venue["host"], venue["port"], venue["ca_file"])
    connection = Connection(server, venue["client_id"], Secret(venue["client_secret"]), on_event=lambda _: None)
    account, symbol = venue["accounts"][0]["ctidTraderAccountId"], venue["symbols"][0]["symbolId"]
    await connection.start()
    await connection.login(account, Secret(venue["access_token"]))
    await connection.request(openapi.ProtoOASubscribeSpotsReq(ctidTraderAccountId=account, symbolId=[symbol]))
    await asyncio.sleep(1)
    taken = []
    for number in range(ORDERS):
        side = model.BUY if number % 2 else model.SELL
        order = openapi.ProtoOANewOrderReq(
            ctidTraderAccountId=account, symbolId=symbol, orderType=model.MARKET, tradeSide=side, volume=100_000
        )
        begin = time.perf_counter_ns()
        answer = await connection.request(order)
        taken.append(time.perf_counter_ns() - begin)
        assert answer.executionType == model.ORDER_ACCEPTED, answer
        await asyncio.sleep(APART_S)
    await connection.close()
    return taken


def official(venue):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", OFFICIAL, json.dumps(venue), str(OFFICIAL_ORDERS), str(APART_S)],
        capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def figures(taken):
    return {**percentiles(taken), "max": round(max(taken) / 1_000, 2), "orders": len(taken)}


def main():
    with venue_process("--seed", 5) as venue:
        mine = asyncio.run(ours({**venue, "ca_file": Path(venue["ca_file"])}))
        report("ctrader_orders", request_to_acceptance_us=figures(mine), official_client_us=figures(official(venue)))


if __name__ == "__main__":
    main()

"""cTrader's protocol core on one core: spot events from bytes to events, and an order from request to bytes."""

import gc
import time

from adapters.ctrader.events import Pushed
from adapters.ctrader.messages import openapi
from bench.common import percentiles, report
from tests.harness.ctrader_peer import ACCOUNT, S, execution, frame, new_order, opened

SPOTS = 200_000
CHUNKS = {"one_a_read": 1, "fifty_a_read": 50}
ORDERS = 5_000
ROUNDS = 5


def spots(count):
    return [
        frame(
            openapi.ProtoOASpotEvent(
                ctidTraderAccountId=ACCOUNT, symbolId=1 + n % 20, bid=112_569 + n % 100, timestamp=1_700_000_000_000 + n
            )
        )
        for n in range(count)
    ]


def spots_a_second(frames, a_read):
    pieces = [b"".join(frames[n : n + a_read]) for n in range(0, len(frames), a_read)]
    peer, bids = opened(), 0
    receive, now = peer.session.receive, peer.now
    begin = time.perf_counter()
    for piece in pieces:
        for event in receive(piece, now):
            if type(event) is Pushed:
                bids += event.message.bid > 0
    took_s = time.perf_counter() - begin
    assert bids == len(frames)
    return len(frames) / took_s


def orders_us():
    """From `request` to the bytes in hand, each order answered before the next."""
    peer, taken = opened(), []
    order = new_order()
    for _ in range(ORDERS):
        peer.now += S
        begin = time.perf_counter_ns()
        peer.session.request(order, peer.now)
        raw = peer.session.data_to_send()
        taken.append(time.perf_counter_ns() - begin)
        msg_id = raw[-raw[::-1].index(0x1A) + 1 :].decode()
        assert len(peer.session.receive(frame(execution(), msg_id), peer.now)) == 2
    return percentiles(taken)


def main():
    frames = spots(SPOTS)
    gc.collect()
    gc.freeze()
    figures = {
        f"spots_{name}_per_s": round(max(spots_a_second(frames, a_read) for _ in range(ROUNDS)))
        for name, a_read in CHUNKS.items()
    }
    report("ctrader", rounds=ROUNDS, best_of=True, **figures, order_request_to_bytes_us=orders_us())


if __name__ == "__main__":
    main()

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.ctrader.events import NeverSent, RefusedBy
from adapters.ctrader.limits import Bucket, Kind, Limits, kind_of
from adapters.ctrader.messages import openapi
from adapters.ctrader.requests import MOST_WAITING
from bus.errors import NotSent, RateLimited
from tests.harness.ctrader_peer import (
    ACCOUNT,
    Peer,
    S,
    common_error,
    deals,
    error,
    new_order,
    opened,
    reconcile,
    reconciled,
    trader,
)

HISTORICAL = {2133, 2137, 2143, 2145, 2175, 2179, 2181, 2183, 2185}


def most_in_a_second(moments):
    """The largest number of moments in any closed second, counted the slow way."""
    return max((sum(start <= other <= start + S for other in moments) for start in moments), default=0)


def test_what_reads_a_span_of_the_past_is_historical_and_what_trades_is_an_order():
    assert {number for number in range(2100, 2200) if kind_of(number) is Kind.HISTORY} == HISTORICAL
    orders = {number for number in range(2100, 2200) if kind_of(number) is Kind.ORDER}
    assert orders == {2106, 2108, 2109, 2110, 2111}


@given(st.sampled_from(list(Kind)), st.lists(st.integers(0, 300_000_000), max_size=300))
@settings(max_examples=100, deadline=None)
def test_no_second_ever_holds_more_than_the_limit_however_greedy_the_sender(kind, gaps):
    limits, now, moments = Limits(), 0, []
    for gap in gaps:
        now += gap
        while limits.bucket_ready_ns(kind) <= now:
            limits.take(kind, now)
            moments.append(now)
    assert most_in_a_second(moments) <= (5 if kind is Kind.HISTORY else 50)


def test_a_steady_sender_gets_nine_tenths_of_what_the_broker_allows():
    for kind, rate in ((Kind.ORDER, 45), (Kind.HISTORY, 4.5)):
        limits, now = Limits(), 0
        for _ in range(1000):
            now = max(now, limits.bucket_ready_ns(kind))
            limits.take(kind, now)
        assert 1000 / (now / S) == pytest.approx(rate, rel=0.01)


def test_an_idle_bucket_saves_up_its_burst_and_no_more():
    bucket = Bucket(100, 3)
    for now in (0, 1_000_000 * S):
        taken = 0
        while bucket.ready_ns() <= now:
            bucket.take(now)
            taken += 1
        assert taken == 3


@given(
    st.lists(
        st.tuples(st.sampled_from(["order", "data", "history", "wait"]), st.integers(1, 80), st.floats(0, 1.5)),
        max_size=25,
    )
)
@settings(max_examples=60, deadline=None)
def test_bursts_of_requests_leave_within_the_limits_in_any_second_and_each_is_settled(script):
    peer = opened()
    asked, settled, moments = set(), [], {"general": [peer.now - S] * 2, "history": []}
    make = {"order": new_order, "data": trader, "history": deals}

    def look(events):
        settled.extend(event.request for event in events)
        for envelope in peer.sent():
            bucket = "history" if envelope.payload_type in HISTORICAL else "general"
            moments[bucket].append(peer.now)

    for what, count, seconds in script:
        if what != "wait":
            for _ in range(count):
                try:
                    asked.add(peer.session.request(make[what](), peer.now))
                except NotSent:
                    assert len(asked) >= MOST_WAITING
        look([])
        end = peer.now + int(seconds * S)
        while peer.session.link.value == "open" and peer.session.next_timer_ns() <= end:
            look(peer.wait())
        peer.now = end
    look(peer.session.disconnected(peer.now))
    settled = [number for number in settled if number]
    assert sorted(settled) == sorted(asked)
    assert most_in_a_second(moments["general"]) <= 50
    assert most_in_a_second(moments["history"]) <= 5


def test_an_order_goes_before_data_that_waited_longer():
    peer = opened()
    for _ in range(20):
        peer.session.request(trader(), peer.now)
    peer.sent()
    peer.session.request(new_order(), peer.now)
    assert peer.types() == [2106]  # at once: data leaves the last of the burst to orders
    for _ in range(5):
        peer.session.request(new_order(), peer.now)
    seen = peer.types()
    while len(seen) < 5:
        peer.wait()
        seen += peer.types()
    assert seen == [2106] * 5


def test_a_reconnect_gives_no_new_burst():
    peer, moments = Peer(), []
    for _ in range(30):
        peer.connect()
        for _ in range(10):
            moments += [peer.now] * len(peer.sent())
            peer.now += S // 100
            peer.session.timer(peer.now)
        peer.session.disconnected(peer.now)
    assert most_in_a_second(moments) <= 50


def test_too_many_waiting_requests_are_refused_before_they_are_kept():
    peer = opened()
    for _ in range(MOST_WAITING + 3):  # three leave at once
        peer.session.request(trader(), peer.now)
    with pytest.raises(NotSent, match="1000 requests are waiting"):
        peer.session.request(trader(), peer.now)


def test_a_blocked_type_is_paused_as_long_as_the_broker_says_and_others_go_on():
    peer = opened()
    number, msg_id = peer.ask(deals())
    (refused,) = peer.tell((error("BLOCKED_PAYLOAD_TYPE", "slow down", retry_after=300), msg_id))
    assert isinstance(refused, RefusedBy)
    assert (refused.request, refused.retry_after_s, refused.next_step) == (
        number,
        300,
        "wait for the pause to pass, then repeat",
    )
    with pytest.raises(RateLimited) as limited:
        peer.session.request(deals(), peer.now)
    assert limited.value.retry_after_s == 300
    peer.now += S
    peer.ask(openapi.ProtoOAOrderListReq(ctidTraderAccountId=ACCOUNT, fromTimestamp=0, toTimestamp=1))
    peer.ask(trader())
    peer.now += 299 * S
    peer.ask(deals())


def test_a_pause_that_fits_into_the_patience_of_a_request_is_waited_for():
    peer = opened()
    _, msg_id = peer.ask(reconcile())
    peer.tell((error("BLOCKED_PAYLOAD_TYPE", retry_after=5), msg_id))
    number = peer.session.request(reconcile(), peer.now)
    other, _ = peer.ask(trader())  # waits for nobody
    start = peer.now
    peer.wait()
    assert peer.now == start + 5 * S
    (envelope,) = peer.sent()
    assert envelope.payload_type == 2124
    events = peer.tell((reconciled(), envelope.client_msg_id))
    assert [event.request for event in events] == [number]
    assert other > number


@pytest.mark.parametrize("make", [error, common_error])
def test_without_a_hint_the_pause_doubles_up_to_two_minutes_and_an_answer_ends_it(make):
    peer, pauses = opened(), []
    for _ in range(9):
        _, msg_id = peer.ask(reconcile())
        (refused,) = peer.tell((make("REQUEST_FREQUENCY_EXCEEDED"), msg_id))
        pauses.append(refused.retry_after_s)
        peer.now += refused.retry_after_s * S
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 120, 120]
    _, msg_id = peer.ask(reconcile())
    peer.tell((reconciled(), msg_id))
    _, msg_id = peer.ask(reconcile())
    (refused,) = peer.tell((make("REQUEST_FREQUENCY_EXCEEDED"), msg_id))
    assert refused.retry_after_s == 1


def test_the_refusals_of_one_burst_are_one_strike():
    peer = opened()
    ids = [peer.ask(reconcile())[1] for _ in range(3)]
    pauses = [peer.tell((error("REQUEST_FREQUENCY_EXCEEDED"), each))[0].retry_after_s for each in ids]
    assert pauses == [1, 1, 1]
    assert peer.session.counts.throttled == 3


def test_an_absurd_hint_silences_nothing_for_ever():
    peer = opened()
    _, msg_id = peer.ask(reconcile())
    (refused,) = peer.tell((error("BLOCKED_PAYLOAD_TYPE", retry_after=2**63), msg_id))
    assert refused.retry_after_s == 3600


def test_what_waited_when_its_type_was_paused_is_withdrawn_when_its_patience_ends():
    peer = opened()
    number, msg_id = peer.ask(new_order())
    peer.tell((error("BLOCKED_PAYLOAD_TYPE", retry_after=1), msg_id))
    waiting = peer.session.request(new_order(), peer.now)
    peer.session._limits.throttled(2106, 60, peer.now)
    events = peer.wait(2)
    assert events == [NeverSent(waiting, "its turn did not come in time")]
    assert number < waiting
    assert 2106 not in peer.types()

"""The session without I/O: the link's states, every request settled once, limits, logins, silence, hostile frames.

One file past 400 lines, because all of it plays on one small peer, and a reader of `session.py` has it beside them.
"""

import contextlib
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.ctrader.codes import NextStep
from adapters.ctrader.events import (
    AccountAuthorised,
    AccountLost,
    Answered,
    ApplicationAuthorised,
    ApplicationLost,
    LinkDead,
    NeverSent,
    NotUnderstood,
    OutcomeIsUnknown,
    Pushed,
    RefusedBy,
)
from adapters.ctrader.frames import MAX_FRAME_BYTES
from adapters.ctrader.limits import Kind, Limits
from adapters.ctrader.messages import common, model, openapi
from adapters.ctrader.session import DEAD_AFTER_NS, Link, Session
from bus.errors import NotSent, ProtocolError, RateLimited
from tests.harness.ctrader_peer import (
    ACCOUNT,
    Peer,
    S,
    common_error,
    deals,
    error,
    execution,
    frame,
    new_order,
    opened,
    order_error,
    reconcile,
    reconciled,
    settled,
    spot,
    trader,
)

OTHER = 7654321
HEARTBEAT = 51


def account_auth(account=ACCOUNT):
    return openapi.ProtoOAAccountAuthRes(ctidTraderAccountId=account)


def account_gone(account=ACCOUNT):
    return openapi.ProtoOAAccountDisconnectEvent(ctidTraderAccountId=account)


def token_gone(*accounts):
    return openapi.ProtoOAAccountsTokenInvalidatedEvent(ctidTraderAccountIds=accounts, reason="refreshed")


def application_gone():
    return openapi.ProtoOAClientDisconnectEvent(reason="bye")


def told(events, kind):
    return [event for event in events if isinstance(event, kind)]


# Signing in.


def test_the_application_comes_first_then_every_account_with_its_own_token():
    peer = Peer()
    peer.session.login(ACCOUNT, "one", peer.now)
    peer.session.login(OTHER, "two", peer.now)
    peer.connect()
    (hello,) = peer.sent()
    assert (hello.message.clientId, hello.message.clientSecret) == ("id", "secret")
    assert peer.tell((openapi.ProtoOAApplicationAuthRes(), hello.client_msg_id)) == [ApplicationAuthorised()]
    first, second = peer.sent()
    assert (first.message.ctidTraderAccountId, first.message.accessToken) == (ACCOUNT, "one")
    assert (second.message.ctidTraderAccountId, second.message.accessToken) == (OTHER, "two")
    assert peer.tell((account_auth(OTHER), second.client_msg_id)) == [AccountAuthorised(OTHER)]
    assert (peer.session.is_logged_in(OTHER), peer.session.is_logged_in(ACCOUNT)) == (True, False)
    assert peer.tell((account_auth(), first.client_msg_id)) == [AccountAuthorised(ACCOUNT)]


def test_many_accounts_are_logged_in_within_the_limits():
    peer = Peer()
    events = peer.open(*range(1, 31))
    assert told(events, AccountAuthorised) == [AccountAuthorised(n) for n in range(1, 31)]


def test_being_signed_in_already_is_success():
    peer = Peer()
    peer.session.login(ACCOUNT, "t", peer.now)
    peer.connect()
    (hello,) = peer.sent()
    answer = common_error("CH_CLIENT_ALREADY_AUTHENTICATED")
    assert peer.tell((answer, hello.client_msg_id)) == [ApplicationAuthorised()]
    (auth,) = peer.sent()
    assert peer.tell((error("ALREADY_LOGGED_IN"), auth.client_msg_id)) == [AccountAuthorised(ACCOUNT)]


@pytest.mark.parametrize("code", ["CH_CLIENT_AUTH_FAILURE", "CH_OA_CLIENT_NOT_FOUND", "CANT_ROUTE_REQUEST"])
def test_a_refused_application_ends_the_link_and_says_why(code):
    peer = Peer()
    peer.connect()
    (hello,) = peer.sent()
    lost, dead = peer.tell((error(code, account=0), hello.client_msg_id))
    assert (lost.code, type(dead), dead.theirs) == (code, LinkDead, False)
    assert lost.next_step is (NextStep.RETRY_LATER if code == "CANT_ROUTE_REQUEST" else NextStep.CORRECT)


def test_an_application_that_is_not_answered_ends_the_link():
    peer = Peer()
    peer.connect()
    (dead,) = peer.wait(30)
    assert dead == LinkDead("the application's authorisation was not answered")


def test_an_account_that_is_not_answered_is_asked_for_again_with_growing_pauses():
    peer = Peer()
    peer.session.login(ACCOUNT, "t", peer.now)
    peer.connect()
    peer.tell((openapi.ProtoOAApplicationAuthRes(), peer.sent()[0].client_msg_id))
    moments = []
    end = peer.now + 300 * S
    while peer.now < end:
        moments += [peer.now for envelope in peer.sent() if envelope.payload_type == 2102]
        peer.wait()
        peer.tell(common.ProtoHeartbeatEvent())
    gaps = [(b - a) // S for a, b in itertools.pairwise(moments)]
    assert gaps[:6] == [21, 22, 24, 28, 36, 52]


@pytest.mark.parametrize("code", ["OA_AUTH_TOKEN_EXPIRED", "CH_ACCESS_TOKEN_INVALID"])
def test_a_refused_token_is_not_tried_again_until_there_is_another(code):
    peer = Peer()
    peer.session.login(ACCOUNT, "old", peer.now)
    peer.connect()
    peer.tell((openapi.ProtoOAApplicationAuthRes(), peer.sent()[0].client_msg_id))
    (auth,) = peer.sent()
    assert peer.tell((error(code), auth.client_msg_id)) == [AccountLost(ACCOUNT, code, "", NextStep.REFRESH_TOKEN)]
    peer.wait(60)
    assert set(peer.types()) <= {HEARTBEAT}
    peer.session.login(ACCOUNT, "new", peer.now)
    (again,) = peer.sent()
    assert again.message.accessToken == "new"


def test_a_new_token_that_came_while_the_old_one_was_asked_for_is_tried_next():
    peer = Peer()
    peer.session.login(ACCOUNT, "old", peer.now)
    peer.connect()
    peer.tell((openapi.ProtoOAApplicationAuthRes(), peer.sent()[0].client_msg_id))
    (auth,) = peer.sent()
    peer.session.login(ACCOUNT, "new", peer.now)
    assert peer.sent() == []
    peer.tell((error("CH_ACCESS_TOKEN_INVALID"), auth.client_msg_id))
    (again,) = peer.sent()
    assert again.message.accessToken == "new"


def test_a_code_that_nobody_knows_does_not_lock_an_account_out():
    peer = Peer()
    peer.session.login(ACCOUNT, "t", peer.now)
    peer.connect()
    peer.tell((openapi.ProtoOAApplicationAuthRes(), peer.sent()[0].client_msg_id))
    peer.tell((error("NEVER_HEARD_OF"), peer.sent()[0].client_msg_id))
    peer.wait(2)
    assert peer.types() == [2102]


def test_nothing_of_a_secret_shows_in_a_representation():
    peer = opened()
    peer.session.login(OTHER, "hush-hush", peer.now)
    assert b"hush-hush" in peer.session.data_to_send()
    shown = [vars(peer.session), vars(peer.session._logins), vars(peer.session._requests)]
    assert "hush-hush" not in repr([*shown, *peer.session._requests._table.values()])


# Losing and regaining a login.


@pytest.mark.parametrize("event", [account_gone(), token_gone(ACCOUNT, OTHER)])
def test_a_lost_account_is_told_once_and_logged_in_again_at_once(event):
    peer = opened()
    peer.now += 100 * S
    (lost,) = peer.tell(event)
    assert (lost.account_id, lost.next_step) == (ACCOUNT, NextStep.LOG_IN)
    (auth,) = peer.sent()
    assert auth.message.accessToken == f"token-{ACCOUNT}"
    assert peer.tell(account_gone(), token_gone(ACCOUNT)) == []  # the answer under way will tell
    assert peer.types() == []
    assert peer.tell((account_auth(), auth.client_msg_id)) == [AccountAuthorised(ACCOUNT)]


def test_a_login_that_does_not_last_is_repeated_slower_and_slower():
    peer, moments = opened(), []
    for _ in range(8):
        peer.tell(account_gone())
        while not (asked := [each for each in peer.sent() if each.payload_type == 2102]):
            peer.wait()
        moments.append(peer.now)
        peer.tell((account_auth(), asked[0].client_msg_id))
    assert [(b - a) // S for a, b in itertools.pairwise(moments)] == [1, 2, 4, 8, 16, 32, 60]


def test_losses_that_are_minutes_apart_are_each_the_first():
    peer = opened()
    for _ in range(5):
        peer.wait(70)
        peer.tell(account_gone())
        (auth,) = (each for each in peer.sent() if each.payload_type == 2102)
        assert peer.tell((account_auth(), auth.client_msg_id)) == [AccountAuthorised(ACCOUNT)]


def test_an_answer_that_outlived_a_new_start_of_the_login_changes_nothing():
    peer = Peer()
    peer.session.login(ACCOUNT, "t", peer.now)
    peer.connect()
    peer.tell((openapi.ProtoOAApplicationAuthRes(), peer.sent()[0].client_msg_id))
    (old,) = peer.sent()
    peer.tell(application_gone())
    peer.now += S
    peer.tell((openapi.ProtoOAApplicationAuthRes(), peer.sent()[0].client_msg_id))
    (new,) = peer.sent()
    assert peer.tell((error("CH_CLIENT_NOT_AUTHENTICATED"), old.client_msg_id)) == []
    assert peer.tell((account_auth(), new.client_msg_id)) == [AccountAuthorised(ACCOUNT)]


def test_other_accounts_go_on_when_one_is_lost():
    peer = opened(ACCOUNT, OTHER)
    peer.tell(account_gone())
    with pytest.raises(NotSent, match="1234567 is not logged in"):
        peer.session.request(trader(), peer.now)
    peer.session.request(trader(OTHER), peer.now)


def test_what_waits_for_its_turn_is_withdrawn_with_its_account():
    peer = opened(ACCOUNT, OTHER)
    numbers = [peer.session.request(trader(), peer.now) for _ in range(6)]
    kept = peer.session.request(trader(OTHER), peer.now)
    peer.sent()
    events = peer.tell(account_gone())
    assert [event.request for event in settled(events)] == numbers[3:]
    assert all(isinstance(event, NeverSent) for event in settled(events))
    assert kept not in {event.request for event in settled(events)}


def test_accounts_that_nobody_wanted_are_passed_on_as_they_came():
    peer = opened()
    assert peer.tell(account_gone(OTHER)) == [Pushed(account_gone(OTHER))]
    assert peer.tell(token_gone(OTHER)) == []
    peer.session.forget(ACCOUNT)
    assert peer.tell(account_gone()) == [Pushed(account_gone())]
    assert peer.types() == []


@pytest.mark.parametrize(
    "answer", [error("ACCOUNT_NOT_AUTHORIZED"), error("INVALID_REQUEST", "Trading account is not authorized")]
)
def test_a_login_that_vanished_silently_shows_in_a_refusal_and_is_renewed(answer):
    peer = opened()
    number, msg_id = peer.ask(new_order())
    refused, lost = peer.tell((answer, msg_id))
    assert (refused.request, refused.next_step) == (number, NextStep.LOG_IN)
    assert (type(lost), lost.account_id) == (AccountLost, ACCOUNT)
    peer.wait(1)
    assert 2102 in peer.types()


def test_a_lost_application_is_authorised_again_with_all_its_accounts():
    peer = opened(ACCOUNT, OTHER)
    assert peer.tell(application_gone()) == [
        ApplicationLost("CLIENT_DISCONNECTED", "bye", NextStep.AUTHORISE_APPLICATION)
    ]
    with pytest.raises(NotSent, match="greeting"):
        peer.session.request(trader(), peer.now)
    (hello,) = peer.sent()
    assert peer.tell((openapi.ProtoOAApplicationAuthRes(), hello.client_msg_id)) == [ApplicationAuthorised()]
    assert peer.types() == [2102, 2102]


def test_an_application_lost_again_within_a_minute_ends_the_link():
    peer = opened()
    peer.tell(application_gone())
    peer.tell((openapi.ProtoOAApplicationAuthRes(), peer.sent()[0].client_msg_id))
    lost, dead = peer.tell(application_gone())
    assert (type(lost), type(dead)) == (ApplicationLost, LinkDead)


def test_an_error_without_id_can_say_that_the_application_is_lost():
    peer = opened()
    lost, pushed = peer.tell(error("CH_CLIENT_NOT_AUTHENTICATED", account=0))
    assert (type(lost), type(pushed)) == (ApplicationLost, Pushed)
    assert peer.types() == [2100]


# Requests and answers.


def test_an_answer_settles_its_request_once_and_a_second_one_is_an_event():
    peer = opened()
    number, msg_id = peer.ask(reconcile())
    assert peer.tell((reconciled(), msg_id)) == [Answered(number, reconciled())]
    assert peer.tell((reconciled(), msg_id)) == [Pushed(reconciled())]
    assert peer.session.counts.late == 1


def test_answers_may_come_in_any_order():
    peer = opened()
    first, second = peer.ask(reconcile()), peer.ask(reconcile())
    events = peer.tell((reconciled(), second[1]), (reconciled(), first[1]))
    assert [event.request for event in events] == [second[0], first[0]]


def test_somebody_elses_id_is_an_event_and_no_answer():
    peer = opened()
    peer.ask(new_order())
    assert peer.tell((execution(), "4711"), (reconciled(), "p-x")) == [Pushed(execution()), Pushed(reconciled())]
    assert (peer.session.counts.foreign, peer.session.counts.late) == (1, 1)


def test_a_message_with_our_id_that_cannot_answer_is_an_event():
    peer = opened()
    number, msg_id = peer.ask(reconcile())
    wrong = [spot(), execution(), reconciled(OTHER), error("X", account=OTHER)]
    assert peer.tell(*((each, msg_id) for each in wrong)) == [Pushed(each) for each in wrong]
    assert peer.session.counts.mismatched == 4
    assert peer.tell((reconciled(), msg_id)) == [Answered(number, reconciled())]


ANSWERING = [
    model.ORDER_ACCEPTED, model.ORDER_FILLED, model.ORDER_PARTIAL_FILL, model.ORDER_REPLACED, model.ORDER_CANCELLED,
    model.ORDER_EXPIRED,
]  # fmt: skip


@pytest.mark.parametrize("kind", ANSWERING)
def test_the_first_execution_event_answers_an_order_and_is_told_as_a_fact_as_well(kind):
    peer = opened()
    number, msg_id = peer.ask(new_order())
    event = execution(kind)
    assert peer.tell((event, msg_id)) == [Answered(number, event), Pushed(event, number)]
    assert peer.tell((execution(model.ORDER_FILLED), msg_id)) == [Pushed(execution(model.ORDER_FILLED))]


@pytest.mark.parametrize("kind", [model.SWAP, model.DEPOSIT_WITHDRAW, model.BONUS_DEPOSIT_WITHDRAW])
def test_what_is_no_order_event_answers_no_order(kind):
    peer = opened()
    _, msg_id = peer.ask(new_order())
    assert peer.tell((execution(kind), msg_id)) == [Pushed(execution(kind))]


def test_a_stop_that_the_server_made_does_not_answer_the_order_it_belongs_to():
    peer = opened()
    number, msg_id = peer.ask(new_order())
    made = execution(isServerEvent=True)
    assert peer.tell((made, msg_id), (execution(), msg_id)) == [
        Pushed(made),
        Answered(number, execution()),
        Pushed(execution(), number),
    ]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (order_error("TRADING_BAD_STOPS", orderId=0, positionId=0), "TRADING_BAD_STOPS"),
        (order_error("NEVER_HEARD_OF"), "NEVER_HEARD_OF"),
        (error("MARKET_CLOSED"), "MARKET_CLOSED"),
        (common_error("CANT_ROUTE_REQUEST"), "CANT_ROUTE_REQUEST"),
        (execution(model.ORDER_REJECTED, errorCode="NOT_ENOUGH_MONEY"), "NOT_ENOUGH_MONEY"),
        (execution(model.ORDER_REJECTED), "ORDER_REJECTED"),
        (execution(model.ORDER_CANCEL_REJECTED, errorCode="ORDER_NOT_FOUND"), "ORDER_NOT_FOUND"),
    ],
)
def test_an_order_is_refused_through_any_of_the_three_channels(answer, code):
    peer = opened()
    number, msg_id = peer.ask(new_order())
    events = peer.tell((answer, msg_id))
    (refused,) = settled(events)
    assert (type(refused), refused.request, refused.code) == (RefusedBy, number, code)
    assert told(events, Pushed) == ([Pushed(answer, number)] if answer.payloadType == 2126 else [])


@pytest.mark.parametrize("code", ["TIMEOUT_ERROR", "UNKNOWN_ERROR", "CH_SERVER_NOT_REACHABLE", "NEVER_HEARD_OF"])
def test_an_error_that_does_not_say_what_became_of_an_order_leaves_it_unknown(code):
    peer = opened()
    number, msg_id = peer.ask(new_order())
    assert peer.tell((error(code, "text"), msg_id)) == [OutcomeIsUnknown(number, f"{code}: text")]
    number, msg_id = peer.ask(reconcile())
    (refused,) = peer.tell((error(code), msg_id))
    assert (type(refused), refused.request) == (RefusedBy, number)


def test_an_order_without_answer_becomes_unknown_and_its_late_answer_is_a_fact():
    peer = opened()
    number, msg_id = peer.ask(new_order())
    start = peer.now
    assert peer.wait(9.9) == []
    assert peer.wait(0.2) == [OutcomeIsUnknown(number, "no answer in time")]
    assert peer.now - start < 11 * S
    assert peer.tell((execution(), msg_id)) == [Pushed(execution())]


def test_the_late_answer_to_a_token_refresh_is_not_lost():
    peer = opened()
    number, msg_id = peer.ask(openapi.ProtoOARefreshTokenReq(refreshToken="r"))
    assert peer.wait(20) == [OutcomeIsUnknown(number, "no answer in time")]
    answer = openapi.ProtoOARefreshTokenRes(accessToken="a", tokenType="bearer", expiresIn=1, refreshToken="n")
    assert peer.tell((answer, msg_id)) == [Pushed(answer)]


def test_what_has_not_left_cannot_be_answered():
    peer = opened()
    number = peer.session.request(new_order(), peer.now)
    assert peer.tell((execution(), f"p-{number}")) == [Pushed(execution())]
    (envelope,) = peer.sent()
    assert settled(peer.tell((execution(), envelope.client_msg_id))) == [Answered(number, execution())]


def test_nobody_can_send_history_faster_or_pass_a_request_off_as_a_login():
    peer = opened()
    numbers = [peer.session.request(deals(), peer.now, kind=Kind.ORDER) for _ in range(3)]
    assert peer.types() == [2133]
    number, msg_id = peer.ask(reconcile(), kind=Kind.LOGIN)
    assert peer.tell((reconciled(), msg_id)) == [Answered(number, reconciled())]
    assert len(peer.session.disconnected(peer.now)) == len(numbers)


def test_a_caller_may_rank_a_request_for_data_with_the_orders():
    peer = opened()
    for _ in range(10):
        peer.session.request(trader(), peer.now)
    assert peer.types() == [2121] * 3
    peer.ask(reconcile(), kind=Kind.ORDER)


def test_a_timer_that_rings_late_settles_everybody_before_the_link_is_dead():
    peer = Peer()
    peer.connect()
    number, _ = peer.session.request(openapi.ProtoOAVersionReq(), peer.now), peer.sent()
    events = peer.session.timer(peer.now + 25 * S)
    assert [type(event) for event in events] == [OutcomeIsUnknown, LinkDead]
    assert events[0].request == number


def test_values_that_this_version_does_not_know_leave_an_order_unknown_and_the_link_up():
    peer = opened()
    number, msg_id = peer.ask(new_order())
    raw = execution().SerializeToString().replace(b"\x18\x02", b"\x18\x63")
    envelope = common.ProtoMessage(payloadType=2126, payload=raw, clientMsgId=msg_id).SerializeToString()
    events = peer.session.receive(len(envelope).to_bytes(4, "big") + envelope, peer.now)
    assert [type(event) for event in events] == [OutcomeIsUnknown, NotUnderstood]
    assert (events[0].request, events[1].fields) == (number, ("executionType",))
    assert peer.session.link is Link.OPEN


def test_unknown_types_and_unknown_fields_are_survived_and_counted():
    peer = opened()
    unknown = common.ProtoMessage(payloadType=2189, payload=b"x").SerializeToString()
    odd = openapi.ProtoOASpotEvent.FromString(spot().SerializeToString() + b"\xa0\x06\x01")
    assert peer.session.receive(len(unknown).to_bytes(4, "big") + unknown + frame(odd), peer.now) == [Pushed(odd)]
    assert (peer.session.counts.unknown_types, peer.session.counts.unknown_fields) == (1, 1)


def test_ids_are_never_used_again_across_connections():
    peer, ids = Peer(), []
    for _ in range(5):
        peer.open(ACCOUNT)
        for _ in range(3):
            peer.now += S
            ids.append(peer.ask(trader())[1])
        peer.session.disconnected(peer.now)
        peer.now += S
    assert len(set(ids)) == len(ids) == 15
    assert all(each.startswith("p-") for each in ids)


@pytest.mark.parametrize("prefix", ["", "x" * 25, "ä"])
def test_a_prefix_that_makes_no_good_ids_is_refused(prefix):
    with pytest.raises(ValueError, match="prefix"):
        Session("id", "secret", prefix)


@pytest.mark.parametrize(
    "message",
    [
        spot(),
        common.ProtoHeartbeatEvent(),
        openapi.ProtoOAApplicationAuthReq(clientId="", clientSecret=""),
        openapi.ProtoOANewOrderReq(ctidTraderAccountId=ACCOUNT),
    ],
)
def test_what_is_no_complete_request_of_the_callers_is_our_own_error(message):
    peer = opened()
    with pytest.raises(ProtocolError) as broken:
        peer.session.request(message, peer.now)
    assert broken.value.whose == "ours"
    assert peer.sent() == []


# Down, dead, and in between.


def test_while_down_nothing_is_queued():
    peer = Peer()
    with pytest.raises(NotSent, match="down"):
        peer.session.request(trader(), peer.now)
    peer.open(ACCOUNT)
    assert peer.sent() == []
    peer.session.disconnected(peer.now)
    for message in (trader(), openapi.ProtoOARefreshTokenReq(refreshToken="r")):
        with pytest.raises(NotSent):
            peer.session.request(message, peer.now)
    peer.connect()
    assert peer.types() == [2100]


def test_before_the_application_is_authorised_only_a_token_refresh_and_the_version_may_be_asked():
    peer = Peer()
    peer.connect()
    peer.sent()
    peer.ask(openapi.ProtoOARefreshTokenReq(refreshToken="r"))
    peer.ask(openapi.ProtoOAVersionReq())
    with pytest.raises(NotSent):
        peer.session.request(trader(), peer.now)


def test_when_the_link_drops_what_was_handed_out_is_unknown_and_the_rest_never_left():
    peer = opened()
    sent, _ = peer.ask(new_order())
    written = peer.session.request(new_order(), peer.now)  # in the buffer, not taken
    waiting = [peer.session.request(deals(), peer.now) for _ in range(3)][1:]
    events = peer.session.disconnected(peer.now)
    assert events[0] == OutcomeIsUnknown(sent, "the connection is gone")
    assert [event.request for event in told(events, NeverSent)] == [written, waiting[0] - 1, *waiting]
    assert peer.session.data_to_send() == b""
    assert peer.session.disconnected(peer.now) == []


def test_connecting_twice_is_our_own_error():
    peer = opened()
    with pytest.raises(ProtocolError, match="disconnected first"):
        peer.session.connected(peer.now)


def test_a_heartbeat_leaves_after_nine_silent_seconds_and_none_is_answered():
    peer = opened()
    peer.now -= S  # opened a second ago
    last = peer.now
    for _ in range(20):
        peer.wait()
        assert peer.types() == [HEARTBEAT]
        assert peer.now - last == 9 * S
        last = peer.now
        assert peer.tell(common.ProtoHeartbeatEvent(), common.ProtoHeartbeatEvent()) == []
        assert peer.sent() == []
    assert peer.session.counts.heartbeats_sent == 20


def test_a_request_takes_the_place_of_a_heartbeat():
    peer = opened()
    for _ in range(10):
        peer.wait(5)
        peer.tell((reconciled(), peer.ask(reconcile())[1]))
    assert peer.session.counts.heartbeats_sent == 0


def test_a_silent_peer_is_dead_after_75_seconds_and_heartbeats_alone_keep_it_alive():
    peer = opened()
    for _ in range(20):
        peer.wait(30)
        assert peer.tell(common.ProtoHeartbeatEvent()) == []
    peer.sent()
    number, _ = peer.ask(deals())
    heard = peer.now
    events = peer.wait(100)
    assert events == [OutcomeIsUnknown(number, "no answer in time"), LinkDead("no frame for 75 s")]
    assert peer.session.next_timer_ns() is None
    assert DEAD_AFTER_NS == 75 * S
    assert heard + 100 * S == peer.now


def test_a_peer_that_dribbles_bytes_without_finishing_a_frame_is_dead_too():
    peer, events = opened(), []
    peer.session.receive((1000).to_bytes(4, "big"), peer.now)
    for _ in range(80):
        events += peer.session.receive(b"x", peer.now)
        events += peer.wait(1)
    assert events == [LinkDead("no frame for 75 s")]


HOSTILE = {
    "oversize": (MAX_FRAME_BYTES + 1).to_bytes(4, "big"),
    "garbage": b"\x00\x00\x00\x05\xff\xff\xff\xff\xff",
    "an empty frame": b"\x00\x00\x00\x00",
    "an HTTP answer": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "truncated inside": frame(spot())[:3] + b"\x0e" + frame(spot())[4:-1],
    "wrong inner type": b"\x00\x00\x00\x0e\x08\xd3\x10\x12\x09\x10\x01\x1a\x01X\x22\x02no",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_a_hostile_frame_ends_the_link_after_all_that_came_before_it(name, step):
    peer, events = opened(), []
    number, _ = peer.ask(new_order())
    stream = frame(spot(1)) + frame(spot(2)) + HOSTILE[name] + frame(spot(3))
    for at in range(0, len(stream), step):
        events += peer.session.receive(stream[at : at + step], peer.now)
    assert events[:2] == [Pushed(spot(1)), Pushed(spot(2))]
    unknown, dead = events[2:]
    assert (type(unknown), unknown.request) == (OutcomeIsUnknown, number)
    assert dead.theirs
    assert dead.reason.startswith("protocol broken (theirs)")
    assert (peer.session.data_to_send(), peer.session.next_timer_ns()) == (b"", None)
    with pytest.raises(NotSent, match="dead"):
        peer.session.request(trader(), peer.now)
    assert peer.session.timer(peer.now + 1000 * S) == []
    assert peer.session.disconnected(peer.now) == []
    assert AccountAuthorised(ACCOUNT) in peer.open(ACCOUNT)


# Properties.


def conversation():
    """A stream that a server could send to a session with three requests pending, under the ids given."""
    ids = ["p-3", "p-4", "p-5"]
    return b"".join(
        [
            frame(spot(1)), frame(execution(), "p-3"), frame(common.ProtoHeartbeatEvent()), frame(reconciled(), "p-4"),
            frame(execution(model.ORDER_FILLED), ids[0]), frame(execution(), "foreign"), frame(spot(2)),
            frame(account_gone()), frame(error("BLOCKED_PAYLOAD_TYPE", retry_after=3), "p-5"), frame(spot(3)),
            frame(application_gone()), frame(spot(4)), b"\x00\x00\x00\x03\xff\xff\xff", frame(spot(5)),
        ]
    )  # fmt: skip


def after_asking():
    peer = opened()
    assert [peer.ask(make())[1] for make in (new_order, reconcile, trader)] == ["p-3", "p-4", "p-5"]
    return peer


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_cut_of_the_stream_gives_the_same_events(data):
    stream, whole = conversation(), after_asking()
    expected = whole.session.receive(stream, whole.now)
    assert isinstance(expected[-1], LinkDead)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=60)))
    peer, events = after_asking(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        events += peer.session.receive(stream[start:end], peer.now)
    assert events == expected


STEPS = st.one_of(
    st.tuples(st.just("ask"), st.sampled_from([new_order, reconcile, trader, deals])),
    st.tuples(st.just("take"), st.none()),
    st.tuples(st.just("answer"), st.tuples(st.integers(0, 30), st.integers(0, 12))),
    st.tuples(st.just("push"), st.sampled_from([account_gone, application_gone, token_gone, spot, execution])),
    st.tuples(st.just("wait"), st.sampled_from([0.001, 0.1, 1, 5, 12, 40, 80])),
    st.tuples(st.just("drop"), st.none()),
    st.tuples(st.just("hostile"), st.sampled_from(list(HOSTILE.values()))),
)


def some_answer(envelope, choice):
    """An answer of some kind, often a fitting one, to something the session wrote."""
    account = getattr(envelope.message, "ctidTraderAccountId", ACCOUNT)
    fitting = {2100: openapi.ProtoOAApplicationAuthRes(), 2102: account_auth(account), 2124: reconciled(account)}
    choices = [
        execution(account=account), execution(model.ORDER_FILLED), execution(model.ORDER_REJECTED), order_error("X"),
        error("MARKET_CLOSED"), error("BLOCKED_PAYLOAD_TYPE", retry_after=2), error("TIMEOUT_ERROR"), spot(),
        error("CH_CLIENT_NOT_AUTHENTICATED"), error("ACCOUNT_NOT_AUTHORIZED"),
    ]  # fmt: skip
    default = execution(account=account)
    return choices[choice] if choice < len(choices) else fitting.get(envelope.payload_type, default)


@given(st.lists(STEPS, max_size=60))
@settings(max_examples=200, deadline=None)
def test_every_request_is_settled_once_whatever_happens(script):
    peer, asked, ends, seen = opened(), set(), [], []
    for what, how in script:
        events = []
        if what == "ask":
            with contextlib.suppress(NotSent, RateLimited):
                asked.add(peer.session.request(how(), peer.now))
        elif what == "take":
            seen += [each for each in peer.sent() if each.payload_type != HEARTBEAT]
        elif what == "answer" and seen:
            envelope = seen[how[0] % len(seen)]  # doubled, late and from another connection as it comes
            events = peer.tell((some_answer(envelope, how[1]), envelope.client_msg_id))
        elif what == "push":
            events = peer.tell((how(), "somebody"))
        elif what == "wait":
            events = peer.wait(how)
        elif what == "drop":
            events = peer.session.disconnected(peer.now)
        elif what == "hostile":
            events = peer.session.receive(how, peer.now)
        ends += settled(events)
        if peer.session.link in {Link.DOWN, Link.DEAD}:
            ends += settled(peer.session.disconnected(peer.now))
            ends += settled(peer.open(ACCOUNT))
        if (due := peer.session.next_timer_ns()) is not None and due <= peer.now:
            ends += settled(peer.session.timer(peer.now))
            after = peer.session.next_timer_ns()
            assert after is None or after > peer.now  # a timer that rang does not ring again at once
    ends += settled(peer.session.disconnected(peer.now))
    assert sorted(event.request for event in ends) == sorted(asked)
    assert not peer.session._requests._table


@given(st.lists(st.tuples(st.sampled_from(["ask", "hear", "nothing"]), st.floats(0, 20)), max_size=40))
@settings(max_examples=100, deadline=None)
def test_outbound_silence_never_lasts_longer_than_ten_seconds(script):
    peer = opened()
    last, longest = peer.now - S, 0
    for what, seconds in script:
        end = peer.now + int(seconds * S)
        while peer.session.link is Link.OPEN:
            if peer.sent():
                longest, last = max(longest, peer.now - last), peer.now
            if peer.session.next_timer_ns() > end:
                break
            peer.wait()
        else:
            break
        peer.now = end
        if what == "ask":
            peer.session.request(deals(), peer.now)
        elif what == "hear":
            peer.tell(common.ProtoHeartbeatEvent())
    assert longest <= 10 * S


@given(st.binary(max_size=300), st.integers(0, 400))
@settings(max_examples=300, deadline=None)
def test_any_bytes_at_any_point_of_a_conversation_are_survived(noise, at):
    stream = conversation()
    peer = after_asking()
    events = peer.session.receive(stream[:at] + noise + stream[at:], peer.now)
    events += peer.session.disconnected(peer.now)
    assert sorted(event.request for event in settled(events)) == [3, 4, 5]


def test_two_sessions_may_share_the_limits_of_one_application():
    limits = Limits()
    first, second = opened(limits=limits), opened(limits=limits)
    second.now = first.now = max(first.now, second.now) + S
    second.sent()
    for _ in range(3):
        first.session.request(trader(), first.now)
    assert first.types() == [2121] * 3
    second.session.request(trader(), second.now)
    assert second.types() == []

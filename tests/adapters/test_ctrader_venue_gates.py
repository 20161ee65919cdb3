"""Who may talk to the venue, how often, and what happens to those who may not."""

import pytest

from adapters.ctrader.frames import encode_envelope
from adapters.ctrader.messages import common, openapi
from adapters.ctrader.venue.core import CLOSE
from adapters.ctrader.venue.specs import Limits
from tests.harness.venue import BUY, HEDGED, NETTED, Desk, S


@pytest.fixture
def desk():
    desk = Desk()
    desk.quote(112_569, 112_571)
    return desk


def code(message):
    return getattr(message, "errorCode", type(message).__name__)


def test_nothing_but_signing_in_is_heard_before_the_application_is_known(desk):
    client = desk.client(sign_in=False)
    assert code(client.ask("TraderReq", account=HEDGED)) == "CH_CLIENT_NOT_AUTHENTICATED"
    assert client.ask("VersionReq").version
    tokens = desk.venue.tokens
    assert code(client.ask("ApplicationAuthReq", clientId="x", clientSecret="y")) == "CH_OA_CLIENT_NOT_FOUND"
    wrong = client.ask("ApplicationAuthReq", clientId=tokens.client_id, clientSecret="y")
    assert code(wrong) == "CH_CLIENT_AUTH_FAILURE"
    right = {"clientId": tokens.client_id, "clientSecret": tokens.client_secret}
    assert code(client.ask("ApplicationAuthReq", **right)) == "ProtoOAApplicationAuthRes"
    assert code(client.ask("ApplicationAuthReq", **right)) == "CH_CLIENT_ALREADY_AUTHENTICATED"
    assert code(client.ask("TraderReq", account=HEDGED)) == "ACCOUNT_NOT_AUTHORIZED"
    assert code(client.ask("AccountAuthReq", account=HEDGED, accessToken="no")) == "CH_ACCESS_TOKEN_INVALID"
    assert code(client.ask("AccountAuthReq", account=HEDGED, accessToken=desk.grant.access)) == "ProtoOAAccountAuthRes"
    assert code(client.ask("AccountAuthReq", account=HEDGED, accessToken=desk.grant.access)) == "ALREADY_LOGGED_IN"


def test_ids_are_echoed_and_other_clients_see_events_under_the_originators_id(desk):
    trader, watcher, stranger = desk.client(), desk.client(), desk.client(NETTED)
    for client in (trader, watcher, stranger):
        client.got.clear()
    trader.send(
        "NewOrderReq", account=HEDGED, message_id="mine", symbolId=1, orderType=1, tradeSide=BUY, volume=100_000
    )
    assert [e.client_msg_id for e, _ in trader.got] == ["mine", "mine"]
    assert [e for e, _ in watcher.got] == [e for e, _ in trader.got]
    assert stranger.got == []


def test_unknown_and_unsupported_messages_are_answered_with_their_id_and_heartbeats_never(desk):
    client = desk.client()
    assert client.raw(encode_envelope(common.ProtoHeartbeatEvent())) == []
    unknown = common.ProtoMessage(payloadType=2999, clientMsgId="u1", payload=b"\x08\x01").SerializeToString()
    for raw, name in (
        (unknown, "u1"),
        (encode_envelope(openapi.ProtoOASymbolChangedEvent(ctidTraderAccountId=7), "u2"), "u2"),
    ):
        (answer,) = client.raw(raw)
        assert (answer.message.errorCode, answer.client_msg_id) == ("UNSUPPORTED_MESSAGE", name)
    assert code(client.raw(b"\xff\xff\xff")[0].message) == "INVALID_REQUEST"
    lacking = common.ProtoMessage(payloadType=2106, clientMsgId="u3", payload=b"\x10\x07").SerializeToString()
    (answer,) = client.raw(lacking)
    assert (code(answer.message), answer.client_msg_id) == ("INVALID_REQUEST", "u3")


def test_the_server_sends_heartbeats_and_closes_silent_and_unauthorised_connections(desk):
    idle, strange = desk.client(), desk.client(sign_in=False)
    idle.got.clear()
    start, moments = desk.now, []
    while (moment := desk.venue.next_timer_ns()) is not None:
        desk.now = moment
        strange.raw(encode_envelope(common.ProtoHeartbeatEvent()))  # heartbeats do not save it
        desk.deliver(desk.venue.timer(moment))
        moments.append((moment - start) / S)
    assert [(e and e.payload_type, (due - start) / S) for e, due in idle.got] == [(51, 25), (None, 30)]
    assert [(e and e.payload_type, (due - start) / S) for e, due in strange.got] == [(51, 25), (None, 30)]


def test_too_many_requests_are_refused_not_executed_and_insisting_blocks_the_type():
    desk = Desk(limits=Limits(requests_per_s=5, history_per_s=2))
    client = desk.client(sign_in=False)
    tokens = desk.venue.tokens
    client.ask("ApplicationAuthReq", clientId=tokens.client_id, clientSecret=tokens.client_secret)
    client.ask("AccountAuthReq", account=HEDGED, accessToken=desk.grant.access)
    codes = [code(client.ask("DealListReq", account=HEDGED, fromTimestamp=0, toTimestamp=1)) for _ in range(8)]
    assert codes == ["ProtoOADealListRes"] * 2 + ["REQUEST_FREQUENCY_EXCEEDED"] * 4 + ["BLOCKED_PAYLOAD_TYPE"] * 2
    codes = [code(client.ask("TraderReq", account=HEDGED)) for _ in range(4)]
    assert codes == ["ProtoOATraderRes"] * 3 + ["REQUEST_FREQUENCY_EXCEEDED"]
    desk.now += 2 * S
    assert code(client.ask("DealListReq", account=HEDGED, fromTimestamp=0, toTimestamp=1)) == "ProtoOADealListRes"


def test_a_refresh_rotates_both_tokens_drops_the_logins_of_the_old_one_and_works_once(desk):
    client, other = desk.client(), desk.client()
    independent = desk.venue.tokens.issue(desk.now)
    old = desk.grant.refresh
    other.got.clear()
    answer, *told = [e.message for e in client.send("RefreshTokenReq", refreshToken=old)]
    assert [type(m).__name__ for m in told] == [
        "ProtoOAAccountsTokenInvalidatedEvent", "ProtoOAAccountDisconnectEvent", "ProtoOAAccountDisconnectEvent",
    ]  # fmt: skip
    assert len(other.take("AccountDisconnectEvent")) == 2
    assert code(client.ask("TraderReq", account=HEDGED)) == "ACCOUNT_NOT_AUTHORIZED"
    assert code(client.ask("RefreshTokenReq", refreshToken=old)) == "CH_ACCESS_TOKEN_INVALID"
    assert code(client.ask("AccountAuthReq", account=HEDGED, accessToken=answer.accessToken)) == "ProtoOAAccountAuthRes"
    assert code(client.ask("AccountAuthReq", account=NETTED, accessToken=independent.access)) == "ProtoOAAccountAuthRes"


def test_the_token_endpoint_speaks_camel_case_and_refuses_used_tokens_and_codes(desk):
    venue = desk.venue
    secret = {"client_id": venue.tokens.client_id, "client_secret": venue.tokens.client_secret}
    issued = venue.tokens.code("http://here", desk.now)
    form = {**secret, "grant_type": "authorization_code", "code": issued, "redirect_uri": "http://here"}
    status, reply, _ = venue.token_request(form, desk.now)
    assert (status, reply["tokenType"], reply["expiresIn"]) == (200, "bearer", 2_628_000)
    assert venue.token_request(form, desk.now)[0] == 400
    form = {**secret, "grant_type": "refresh_token", "refresh_token": reply["refreshToken"]}
    status, fresh, _ = venue.token_request(form, desk.now)
    assert status == 200
    assert fresh["accessToken"] != reply["accessToken"]
    assert venue.token_request(form, desk.now)[1]["errorCode"]
    assert venue.token_request({**form, "client_secret": "x"}, desk.now)[1]["errorCode"]


def test_an_expired_token_a_viewing_token_and_a_silent_logout_are_told_apart(desk):
    viewer = desk.venue.tokens.issue(desk.now, trade=False)
    client = desk.client(sign_in=False)
    tokens = desk.venue.tokens
    client.ask("ApplicationAuthReq", clientId=tokens.client_id, clientSecret=tokens.client_secret)
    client.ask("AccountAuthReq", account=HEDGED, accessToken=viewer.access)
    assert code(client.order()[0]) == "TRADING_NOT_ALLOWED"
    desk.deliver(desk.venue.drop_account(HEDGED, desk.now, silent=True))
    assert code(client.ask("TraderReq", account=HEDGED)) == "ACCOUNT_NOT_AUTHORIZED"
    tokens.expire()
    assert code(client.ask("AccountAuthReq", account=HEDGED, accessToken=viewer.access)) == "OA_AUTH_TOKEN_EXPIRED"


def test_logging_out_is_completed_by_the_disconnect_event_and_maintenance_answers_everything(desk):
    client = desk.client()
    told = client.send("AccountLogoutReq", account=NETTED)
    assert [code(e.message) for e in told] == ["ProtoOAAccountLogoutRes", "ProtoOAAccountDisconnectEvent"]
    desk.venue.maintain(desk.now + S)
    assert code(client.ask("TraderReq", account=HEDGED)) == "CANT_ROUTE_REQUEST"
    desk.now += S
    assert code(client.ask("TraderReq", account=HEDGED)) == "ProtoOATraderRes"
    assert CLOSE == b""

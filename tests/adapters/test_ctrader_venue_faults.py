"""A venue that lies like the real one: every fault on a script, and the same faults from the same seed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.ctrader.frames import FrameDecoder, decode_envelope, encode_envelope, encode_frame
from adapters.ctrader.messages import model, openapi
from adapters.ctrader.venue.endpoint import Endpoint
from adapters.ctrader.venue.faults import Fault, Faults, Plan, plan_of, seeded
from adapters.ctrader.venue.specs import Limits
from bus.errors import ConfigError, ProtocolError
from bus.messages import Quote
from tests.harness.venue import BUY, HEDGED, OPENED, Desk, S

MS = 10**6


class Line:
    """One client at the end of a wire that may lie."""

    def __init__(self, *faults, seed=1, limits=None):
        self.venue = Desk(limits=limits or Limits(requests_per_s=1_000, history_per_s=1_000)).venue
        self.token = self.venue.tokens.issue(0).access
        self.end = Endpoint(self.venue, Plan(faults=faults, seed=seed))
        self.now, self.market, self.wires = 0, OPENED, []
        self.quote(112_569)
        self.number = self.end.connect(0)
        tokens = self.venue.tokens
        self.send(
            openapi.ProtoOAApplicationAuthReq(clientId=tokens.client_id, clientSecret=tokens.client_secret), "app"
        )
        self.log_in()

    def log_in(self):
        self.send(openapi.ProtoOAAccountAuthReq(ctidTraderAccountId=HEDGED, accessToken=self.token), "account")
        self.wires.clear()

    def send(self, message, name):
        self.raw(encode_frame(encode_envelope(message, name)))

    def raw(self, data):
        self.wires += self.end.data(self.number, data, self.now)

    def order(self, name="o"):
        self.send(
            openapi.ProtoOANewOrderReq(
                ctidTraderAccountId=HEDGED, symbolId=1, orderType=1, tradeSide=BUY, volume=100_000, relativeStopLoss=500
            ),
            name,
        )

    def reconcile(self, name="r"):
        self.send(openapi.ProtoOAReconcileReq(ctidTraderAccountId=HEDGED), name)

    def quote(self, bid, after=1):
        self.now, self.market = self.now + after * S, self.market + after * S
        quote = Quote(symbol="EURUSD", bid_e5=bid, ask_e5=bid + 2, ts_event_ns=self.market, ts_init_ns=self.market)
        self.wires += self.end.on_quote(quote, self.now)

    def heard(self):
        """What a client decodes, in the order in which it would read it."""
        wires = sorted(self.wires, key=lambda wire: wire.due_ns)
        envelopes = [decode_envelope(frame) for frame in FrameDecoder().feed(b"".join(w.data for w in wires))]
        return [self.name(each) for each in envelopes]

    @staticmethod
    def name(envelope):
        if envelope.payload_type == 2126:
            return model.ProtoOAExecutionType.Name(envelope.message.executionType).removeprefix("ORDER_")
        return getattr(envelope.message, "errorCode", envelope.message.DESCRIPTOR.name.removeprefix("ProtoOA"))

    @property
    def held(self):
        return len(self.venue.accounts[HEDGED].broker.positions)


WHOLE = ["ACCEPTED", "FILLED", "ACCEPTED", "ReconcileRes"]


@pytest.mark.parametrize(
    ("fault", "heard", "held"),
    [
        (None, WHOLE, 1),
        (Fault(kind="lose", on="filled"), ["ACCEPTED", "ACCEPTED", "ReconcileRes"], 1),
        (Fault(kind="double", on="filled"), ["ACCEPTED", "FILLED", "FILLED", "ACCEPTED", "ReconcileRes"], 1),
        (Fault(kind="reorder", on="accepted"), ["FILLED", "ACCEPTED", "ACCEPTED", "ReconcileRes"], 1),
        (Fault(kind="late", on="filled", min_ms=50, max_ms=60), ["ACCEPTED", "ACCEPTED", "ReconcileRes", "FILLED"], 1),
        (Fault(kind="silent_after", on="accepted"), ["ACCEPTED", "ReconcileRes"], 1),
        (Fault(kind="deaf", on="NewOrderReq"), ["ReconcileRes"], 0),
        (Fault(kind="half_open", on="NewOrderReq"), [], 0),
        (Fault(kind="half_open", on="filled"), ["ACCEPTED"], 1),
        (Fault(kind="reset_before", on="NewOrderReq"), [], 0),
        (Fault(kind="reset_after", on="NewOrderReq"), [], 1),
        (Fault(kind="reset_before", on="filled"), ["ACCEPTED"], 1),
        (Fault(kind="reset_within", on="filled"), ["ACCEPTED"], 1),
        (Fault(kind="reset_after", on="filled"), ["ACCEPTED", "FILLED"], 1),
        (Fault(kind="truncated", on="ReconcileRes"), WHOLE, 1),
    ],
)  # fmt: skip
def test_what_a_client_hears_differs_from_what_has_happened(fault, heard, held):
    line = Line(*([] if fault is None else [fault]))
    line.order()
    line.reconcile()

    assert line.heard() == heard
    assert line.held == held
    resets = fault is not None and fault.kind.startswith("reset")
    assert [wire.then for wire in line.wires if wire.then] == (["reset"] if resets else []) + (
        ["close"] if fault is not None and fault.kind == "truncated" else []
    )


@pytest.mark.parametrize("kind", ["oversize", "garbage", "wrong_type"])
def test_hostile_frames_are_frames_that_a_careful_client_refuses(kind):
    line = Line(Fault(kind=kind, on="ReconcileRes"))
    line.reconcile()
    with pytest.raises(ProtocolError):
        line.heard()


def test_what_a_newer_server_may_send_is_told_without_harm():
    line = Line(Fault(kind="unknown_type", on="ReconcileRes"), Fault(kind="unknown_field", on="ReconcileRes"))
    line.reconcile()
    frames = FrameDecoder().feed(b"".join(wire.data for wire in line.wires))
    opened = [decode_envelope(frame) for frame in frames]
    assert [each.payload_type for each in opened] == [model.PROTO_OA_RECONCILE_RES, 2999]
    assert opened[0].unknown_fields == 1
    assert opened[1].message is None


def test_an_event_may_come_a_second_time_under_an_id_that_the_client_waits_for():
    line = Line(Fault(kind="deaf", on="ReconcileReq"), Fault(kind="borrowed_id", on="spot"))
    line.send(openapi.ProtoOASubscribeSpotsReq(ctidTraderAccountId=HEDGED, symbolId=[1]), "spots")
    line.reconcile("mine")
    line.wires.clear()
    line.quote(112_600)
    opened = [decode_envelope(frame) for frame in FrameDecoder().feed(b"".join(wire.data for wire in line.wires))]
    assert {each.message.DESCRIPTOR.name for each in opened} == {"ProtoOASpotEvent"}


def test_history_may_lack_its_last_bar():
    def bars(*faults):
        line = Line(*faults)
        for minute in range(5):
            line.quote(112_600 + minute, after=60)
        line.wires.clear()
        to_ms = line.market // MS
        line.send(
            openapi.ProtoOAGetTrendbarsReq(
                ctidTraderAccountId=HEDGED, symbolId=1, period=1, fromTimestamp=to_ms - 600_000, toTimestamp=to_ms
            ),
            "bars",
        )
        (frame,) = FrameDecoder().feed(b"".join(wire.data for wire in line.wires))
        return [bar.utcTimestampInMinutes for bar in decode_envelope(frame).message.trendbar]

    whole = bars()
    assert len(whole) > 3
    assert bars(Fault(kind="short", on="GetTrendbarsRes")) == whole[:-1]


def test_for_a_while_nobody_is_let_in():
    line = Line(Fault(kind="refused", at_s=5, for_s=10))
    assert [line.end.refuses(second * S) for second in (4, 6, 14, 16)] == [False, True, True, False]


def test_an_expired_token_is_found_out_at_the_next_login_and_a_new_pair_helps():
    line = Line(Fault(kind="token_expired", at_s=5), Fault(kind="silent_logout", at_s=5))
    line.quote(112_600, after=6)
    line.wires.clear()
    line.send(openapi.ProtoOAAccountAuthReq(ctidTraderAccountId=HEDGED, accessToken=line.token), "again")
    assert line.heard() == ["OA_AUTH_TOKEN_EXPIRED"]
    line.token = line.venue.tokens.issue(line.now).access
    line.log_in()
    line.reconcile()
    assert line.heard() == ["ReconcileRes"]


@pytest.mark.parametrize(
    ("fault", "heard"),
    [
        (Fault(kind="token_invalidated", at_s=5),
         ["AccountsTokenInvalidatedEvent", "AccountDisconnectEvent", "ACCOUNT_NOT_AUTHORIZED"]),
        (Fault(kind="account_disconnect", at_s=5), ["AccountDisconnectEvent", "ACCOUNT_NOT_AUTHORIZED"]),
        (Fault(kind="silent_logout", at_s=5), ["ACCOUNT_NOT_AUTHORIZED"]),
        (Fault(kind="client_disconnect", at_s=5), ["ClientDisconnectEvent", "CH_CLIENT_NOT_AUTHENTICATED"]),
        (Fault(kind="maintenance", at_s=5, for_s=10), ["CANT_ROUTE_REQUEST"]),
        (Fault(kind="throttle", at_s=5, for_s=10, payload_type=2124), ["BLOCKED_PAYLOAD_TYPE"]),
    ],
)  # fmt: skip
def test_timed_faults_begin_at_their_time(fault, heard):
    line = Line(fault)
    line.reconcile()
    assert line.heard() == ["ReconcileRes"]
    line.wires.clear()
    line.now = max(line.now, line.end.next_timer_ns() if fault.at_s * S >= line.end.next_timer_ns() else 6 * S)
    line.wires += line.end.timer(6 * S)
    line.now = 6 * S
    line.reconcile()
    assert line.heard() == heard


def test_a_silent_feed_keeps_its_heartbeats_and_a_wrong_clock_shifts_spots_alone():
    line = Line(
        Fault(kind="silent_feed", at_s=10, for_s=10), Fault(kind="clock_offset", at_s=20, for_s=20, min_ms=-7_000)
    )
    line.send(
        openapi.ProtoOASubscribeSpotsReq(ctidTraderAccountId=HEDGED, symbolId=[1], subscribeToSpotTimestamp=True), "s"
    )
    line.wires.clear()
    line.quote(112_570, after=12)
    assert line.heard() == []
    line.wires += line.end.timer(25 * S)
    line.now = 25 * S
    assert line.heard() == ["ProtoHeartbeatEvent"]
    line.wires.clear()
    line.quote(112_580, after=1)
    (event,) = [decode_envelope(frame).message for frame in FrameDecoder().feed(line.wires[0].data)]
    assert event.timestamp == line.market // MS - 7_000


def test_latency_lies_within_its_bounds_and_keeps_the_order():
    line = Line(Fault(kind="latency", min_ms=5, max_ms=50))
    for number in range(30):
        line.reconcile(f"r{number}")
    delays = [(wire.due_ns - line.now) / MS for wire in line.wires]
    assert delays == sorted(delays)
    assert all(5 <= delay <= 50 for delay in delays)


def test_a_frame_beyond_the_limit_is_told_off_and_the_connection_closed():
    line = Line(limits=Limits(frame_bytes=1_000))
    line.raw(b"\x00\x01\x00\x00" + b"x" * 50)
    assert line.heard() == ["FRAME_TOO_LONG"]
    assert line.wires[-1].then == "close"
    line.wires.clear()
    line.reconcile()
    assert line.wires == []


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_seed_is_a_plan_and_the_same_plan_twice_is_the_same_to_the_byte(seed):
    def day():
        line = Line(*seeded(seed, horizon_s=40).faults, seed=seed)
        for number in range(40):
            line.quote(112_569 + number)
            line.wires += line.end.timer(line.now)
            if line.number not in line.venue.connections:
                line.number = line.end.connect(line.now)
            line.log_in() if number % 10 == 9 else line.order(f"o{number}")
        return line.wires, line.held

    assert day() == day()
    assert seeded(seed) == seeded(seed)


def test_a_plan_is_a_seed_a_file_or_json_and_anything_else_is_one_clear_line(tmp_path):
    path = tmp_path / "faults.json"
    path.write_text('{"seed": 4, "faults": [{"kind": "lose", "on": "filled"}]}')
    assert plan_of(str(path)) == Plan(seed=4, faults=(Fault(kind="lose", on="filled"),))
    assert plan_of('[{"kind": "deaf", "on": "request"}]').faults[0].kind == "deaf"
    assert plan_of("seed:9") == seeded(9)
    for wrong in ("nowhere.json", '[{"kind": "explode"}]', '[{"kind": "lose", "typo": 1}]'):
        with pytest.raises(ConfigError, match="--faults"):
            plan_of(wrong)


@given(at_s=st.floats(0.001, 20), started_ns=st.integers(0, 10**13))
def test_a_timed_fault_has_begun_when_the_timer_that_was_asked_for_it_rings(at_s, started_ns):
    faults = Faults(Plan(faults=(Fault(kind="maintenance", at_s=at_s),)))
    faults.start(started_ns)

    assert len(faults.due(faults.next_ns())) == 1
    assert faults.next_ns() is None


def test_in_a_calm_nothing_strikes_any_more_and_what_was_half_open_is_reset():
    line = Line(
        Fault(kind="half_open", on="NewOrderReq"), Fault(kind="maintenance", at_s=5, for_s=100),
        Fault(kind="lose", on="ReconcileRes", times=0),
    )  # fmt: skip
    line.order()
    line.now = 6 * S
    line.wires += line.end.timer(line.now)
    (reset,) = line.end.calm(line.now)
    assert (reset.connection, reset.then) == (line.number, "reset")

    line.number = line.end.connect(line.now)
    tokens = line.venue.tokens
    line.send(openapi.ProtoOAApplicationAuthReq(clientId=tokens.client_id, clientSecret=tokens.client_secret), "app")
    line.log_in()
    line.order()
    line.reconcile()
    assert line.heard() == WHOLE

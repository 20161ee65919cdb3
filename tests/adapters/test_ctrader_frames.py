import random
import resource
import time
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.ctrader.frames import (
    ANSWERS,
    MAX_FRAME_BYTES,
    MESSAGES,
    REQUESTS,
    FrameDecoder,
    OversizeFrame,
    decode_envelope,
    encode_envelope,
    encode_frame,
    missing_fields,
    unread_values,
)
from adapters.ctrader.messages import common, model, openapi
from bus.errors import ProtocolError
from tests.harness.ctrader_peer import ACCOUNT, common_error, error, execution, frame, order_error, reconciled, spot

VECTORS = {
    "heartbeat": (common.ProtoHeartbeatEvent(), "", "00 00 00 02 08 33"),
    "application auth": (
        openapi.ProtoOAApplicationAuthReq(clientId="id", clientSecret="sec"),
        "a1",
        "00 00 00 12 08 b4 10 12 09 12 02 69 64 1a 03 73 65 63 1a 02 61 31",
    ),
    "application auth answer": (openapi.ProtoOAApplicationAuthRes(), "a1", "00 00 00 07 08 b5 10 1a 02 61 31"),
    "account auth": (
        openapi.ProtoOAAccountAuthReq(ctidTraderAccountId=ACCOUNT, accessToken="tok"),
        "a2",
        "00 00 00 12 08 b6 10 12 09 10 87 ad 4b 1a 03 74 6f 6b 1a 02 61 32",
    ),
    "spot, bid only": (spot(112569), "", "00 00 00 0f 08 d3 10 12 0a 10 87 ad 4b 18 01 20 b9 ef 06"),
    "spot, both sides": (
        openapi.ProtoOASpotEvent(
            ctidTraderAccountId=ACCOUNT, symbolId=1, bid=112569, ask=112571, timestamp=1700000000000
        ),
        "",
        "00 00 00 1a 08 d3 10 12 15 10 87 ad 4b 18 01 20 b9 ef 06 28 bb ef 06 40 80 d0 95 ff bc 31",
    ),
    "market order": (
        openapi.ProtoOANewOrderReq(
            ctidTraderAccountId=ACCOUNT, symbolId=1, orderType=model.MARKET, tradeSide=model.BUY, volume=100000,
            relativeStopLoss=100, label="L",
        ),
        "a4",
        "00 00 00 1e 08 ba 10 12 15 10 87 ad 4b 18 01 20 01 28 01 30 a0 8d 06 82 01 01 4c 98 01 64 1a 02 61 34",
    ),
    "error": (
        error("INVALID_REQUEST", "x"),
        "a3",
        f"00 00 00 21 08 de 10 12 18 10 87 ad 4b 1a 0f {b'INVALID_REQUEST'.hex()} 22 01 78 1a 02 61 33",
    ),
}  # fmt: skip

TRAFFIC = [
    frame(*pair)
    for pair in (
        *((message, msg_id) for message, msg_id, _ in VECTORS.values()),
        (reconciled(), "p-7"),
        (execution(), "p-8"),
        (order_error("TRADING_BAD_STOPS", orderId=0), "p-9"),
        (common_error("CANT_ROUTE_REQUEST", "größer"), "p-10"),
        (
            openapi.ProtoOASymbolsListRes(ctidTraderAccountId=1, symbol=[{"symbolId": 1, "symbolName": "EURUSD"}]),
            "p-11",
        ),
    )
]


@pytest.mark.parametrize("name", VECTORS)
def test_the_wire_test_vectors_of_the_reference_are_written_and_read(name):
    message, msg_id, text = VECTORS[name]
    raw = bytes.fromhex(text)
    assert encode_frame(encode_envelope(message, msg_id)) == raw
    (payload,) = FrameDecoder().feed(raw)
    envelope = decode_envelope(payload)
    assert envelope == (message.payloadType, msg_id, message, 0)
    assert type(envelope.message) is type(message)


def test_every_request_of_the_reference_is_known_with_the_answer_it_has():
    assert len(MESSAGES) == 2 + 89
    assert {number for number in REQUESTS if number not in ANSWERS} == {2106, 2108, 2109, 2110, 2111}
    assert (ANSWERS[2100], ANSWERS[2102], ANSWERS[2124], ANSWERS[2149]) == (2101, 2103, 2125, 2150)
    # Two whose answers do not have the next number.
    assert (ANSWERS[2135], ANSWERS[2136]) == (2165, 2166)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_any_cut_of_the_stream_gives_the_same_frames(data):
    stream = b"".join(TRAFFIC)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=40)))
    decoder, frames = FrameDecoder(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        frames += decoder.feed(stream[start:end])
    assert frames == [each[4:] for each in TRAFFIC]


def test_a_length_beyond_the_limit_ends_the_stream_and_keeps_the_frames_before_it():
    for chunks in ([TRAFFIC[0] + b"\x00\xff\xff\xff"], [TRAFFIC[0], b"\x00\xff", b"\xff\xff"]):
        decoder = FrameDecoder(limit=1000)
        frames = [each for chunk in chunks[:-1] for each in decoder.feed(chunk)]
        with pytest.raises(OversizeFrame, match="16777215") as broken:
            decoder.feed(chunks[-1])
        assert broken.value.whose == "theirs"
        assert frames + broken.value.frames_before == [TRAFFIC[0][4:]]
        with pytest.raises(ProtocolError, match="after"):
            decoder.feed(TRAFFIC[0])


def test_a_frame_at_the_limit_passes_and_one_byte_more_does_not():
    assert FrameDecoder(limit=3).feed(b"\x00\x00\x00\x03abc") == [b"abc"]
    with pytest.raises(OversizeFrame):
        FrameDecoder(limit=3).feed(b"\x00\x00\x00\x04")
    with pytest.raises(ValueError, match="limit"):
        encode_frame(bytes(MAX_FRAME_BYTES + 1))


def test_an_endless_frame_within_the_limit_holds_no_more_than_itself():
    decoder = FrameDecoder(limit=1_000_000)
    decoder.feed((1_000_000).to_bytes(4, "big"))
    tracemalloc.start()
    for _ in range(999):
        assert decoder.feed(bytes(1000)) == []
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2_500_000
    assert [len(each) for each in decoder.feed(bytes(1000) + TRAFFIC[0])] == [1_000_000, 2]


def test_an_unknown_payload_type_is_survived():
    raw = common.ProtoMessage(payloadType=2189, payload=b"\xff\xff", clientMsgId="x").SerializeToString()
    assert decode_envelope(raw) == (2189, "x", None, 0)


def test_unknown_fields_are_survived_and_counted_at_any_depth():
    event = openapi.ProtoOASpotEvent.FromString(spot().SerializeToString() + b"\xa0\x06\x01")
    symbol = model.ProtoOALightSymbol.FromString(
        model.ProtoOALightSymbol(symbolId=1).SerializeToString() + b"\xa0\x06\x01"
    )
    listed = openapi.ProtoOASymbolsListRes(ctidTraderAccountId=1, symbol=[symbol, symbol])
    envelope = encode_envelope(spot()) + b"\xa0\x06\x01"
    assert decode_envelope(encode_envelope(event)).unknown_fields == 1
    assert decode_envelope(encode_envelope(listed)).unknown_fields == 2
    assert decode_envelope(envelope).unknown_fields == 1
    assert decode_envelope(envelope).message.bid == 112569


def test_a_value_unknown_to_an_enumeration_is_survived():
    raw = execution().SerializeToString().replace(b"\x18\x02", b"\x18\x63")
    envelope = decode_envelope(common.ProtoMessage(payloadType=2126, payload=raw).SerializeToString())
    assert envelope.unknown_fields == 1
    assert (missing_fields(envelope.message), unread_values(envelope.message)) == ([], ["executionType"])
    listed = openapi.ProtoOADealListRes(ctidTraderAccountId=1, deal=[{"dealId": 1}], hasMore=False)
    assert "deal[0].dealStatus" in unread_values(listed)
    assert "deal[0].orderId" in missing_fields(listed)


def test_a_message_without_required_fields_is_found_and_the_relaxed_ones_are_forgiven():
    assert missing_fields(openapi.ProtoOASpotEvent(symbolId=1)) == ["ctidTraderAccountId"]
    bars = openapi.ProtoOAGetTrendbarsRes(ctidTraderAccountId=1, period=model.M1)
    assert not bars.IsInitialized()
    assert missing_fields(bars) == []
    with pytest.raises(ProtocolError, match=r"ours.*symbolId") as broken:
        encode_envelope(openapi.ProtoOASpotEvent(ctidTraderAccountId=1))
    assert broken.value.whose == "ours"


def envelope_of(number, payload, msg_id=b""):
    return common.ProtoMessage(payloadType=number, payload=payload).SerializeToString() + msg_id


HOSTILE = {
    "nothing": b"",
    "garbage": b"\xff" * 20,
    "an HTTP answer": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a truncated envelope": TRAFFIC[1][4:-3],
    "no payload type": b"\x12\x00\x1a\x01x",
    "garbage inside": envelope_of(2131, b"\xff\xff\xff"),
    "a truncated message inside": envelope_of(2131, spot().SerializeToString()[:-1]),
    "an inner type that contradicts": envelope_of(2131, b"\x08\xd4\x10" + spot().SerializeToString()),
    "an id that is not UTF-8": envelope_of(51, b"", b"\x1a\x01\xff"),
    "text inside that is not UTF-8": envelope_of(2142, b"\x1a\x02\xc3\x28"),
    "deep text that is not UTF-8": envelope_of(2115, b"\x10\x01\x1a\x05\x08\x01\x12\x01\xff"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_frames_are_the_peers_protocol_error_and_nothing_else(name):
    with pytest.raises(ProtocolError) as broken:
        decode_envelope(HOSTILE[name])
    assert broken.value.whose == "theirs"


@pytest.mark.parametrize(
    ("number", "item"),
    [(2115, b"\x1a\x00"), (2131, b"\x50\x00"), (2134, b"\x1a\x02\x72\x00"), (2147, None), (51, b"\x50\x00")],
)
def test_a_frame_of_a_million_tiny_fields_is_refused_within_a_second_and_little_memory(number, item):
    size = 2_000_000
    packed = b"\x12\x80\x89\x7a" + bytes(size)  # a list of numbers, one byte each
    raw = envelope_of(number, packed if item is None else item * (size // len(item)))
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(ProtocolError, match="more than 300000 fields"):
        decode_envelope(raw)
    assert time.monotonic() - begin < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_a_long_list_of_symbols_is_no_attack():
    symbols = [
        {"symbolId": n, "symbolName": f"SYMBOL{n}", "enabled": True, "description": "x" * 40} for n in range(20000)
    ]
    listed = openapi.ProtoOASymbolsListRes(ctidTraderAccountId=1, symbol=symbols)
    raw = encode_envelope(listed)
    assert len(raw) > 1_000_000
    assert len(decode_envelope(raw).message.symbol) == 20000


def survives(raw):
    try:
        return decode_envelope(raw).payload_type > 0
    except ProtocolError as broken:
        return broken.whose == "theirs"


@given(st.binary(max_size=200))
@example(b"\x08\x33\x0b\x0c")
@settings(max_examples=500, deadline=None)
def test_any_bytes_are_an_envelope_or_the_peers_error(raw):
    assert survives(raw)


def test_ten_thousand_mutations_of_valid_traffic_break_nothing():
    randomly = random.Random(20240501)
    stream = b"".join(TRAFFIC)
    for _ in range(10_000):
        mutant = bytearray(stream)
        for _ in range(randomly.randint(1, 4)):
            at = randomly.randrange(len(mutant))
            move = randomly.randrange(4)
            if move == 0:
                mutant[at] = randomly.randrange(256)
            elif move == 1:
                mutant[at] ^= 1 << randomly.randrange(8)
            elif move == 2:
                del mutant[at : at + randomly.randint(1, 5)]
            else:
                mutant[at:at] = randomly.randbytes(randomly.randint(1, 5))
        try:
            frames = FrameDecoder().feed(bytes(mutant))
        except OversizeFrame as broken:
            frames = broken.frames_before
        for each in frames:
            assert survives(each)

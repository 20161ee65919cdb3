"""Messages to bytes and back."""

import contextlib

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bus.codec import (
    LARGEST_MESSAGE_BYTES,
    SCHEMA_VERSION,
    decode,
    decode_versioned,
    encode,
    encode_versioned,
)
from bus.errors import DataError
from bus.messages import ClockTick, RunEnded
from bus.wire import LARGEST_ANSWER, decode_answers, encode_answers
from tests.harness.messages import KINDS, any_message, struct_of

TICK = ClockTick(ts_init_ns=1)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_message_type_survives_the_journey(kind, data):
    message = data.draw(struct_of(kind))
    again = decode(encode(message))
    assert type(again) is kind
    assert again == message
    assert encode(again) == encode(message)
    assert decode_versioned(encode_versioned(message)) == message


@settings(max_examples=150, deadline=None)
@given(messages=st.lists(any_message(), max_size=5))
def test_several_messages_in_one_frame_survive_in_order(messages):
    assert decode_answers(encode_answers(messages)) == messages


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=200))
@example(data=b"")
@example(data=b"\x91" * 150_000)  # nested deeper than a decoder may go
@example(data=b"\xdd\xff\xff\xff\xff")  # an array that claims four billion members
def test_hostile_bytes_are_a_data_error_and_nothing_else(data):
    for reader in (decode, decode_versioned, decode_answers):
        for attempt in (data, bytes([SCHEMA_VERSION]) + data):
            with contextlib.suppress(DataError):
                reader(attempt)


@settings(max_examples=150, deadline=None)
@given(message=any_message(), data=st.data())
def test_a_damaged_message_is_a_data_error_or_another_message_but_never_a_crash(message, data):
    whole = bytearray(encode_versioned(message))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    for attempt in (bytes(whole), cut):
        with contextlib.suppress(DataError):
            decode_versioned(attempt)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_a_message_cut_short_is_refused(kind, data):
    whole = encode(data.draw(struct_of(kind)))
    for length in range(len(whole)):
        with pytest.raises(DataError):
            decode(whole[:length])


def test_another_schema_version_is_refused_with_advice():
    with pytest.raises(DataError, match="schema 9, but this build speaks 1; run the same release"):
        decode_versioned(bytes([9]) + encode(TICK))


def test_a_wrong_type_in_a_field_is_refused():
    with pytest.raises(DataError, match="not a message"):
        decode(msgspec.msgpack.encode(["ClockTick", "noon"]))
    with pytest.raises(DataError, match="not a message"):
        decode(msgspec.msgpack.encode(["Horoscope", 1]))


def test_a_message_too_large_for_a_transport_is_refused_on_both_sides():
    large = RunEnded(reason="x" * LARGEST_MESSAGE_BYTES, flatten=False, ts_init_ns=1)
    with pytest.raises(DataError, match="RunEnded of 4194[0-9]+ bytes exceeds"):
        encode_versioned(large)
    with pytest.raises(DataError, match="a frame of"):
        decode_versioned(bytes([SCHEMA_VERSION]) + encode(large))


def test_an_answer_of_too_many_messages_is_refused_on_both_sides():
    with pytest.raises(DataError, match="1001 messages"):
        encode_answers([TICK] * (LARGEST_ANSWER + 1))
    forged = bytes([SCHEMA_VERSION]) + msgspec.msgpack.encode([encode(TICK)] * (LARGEST_ANSWER + 1))
    with pytest.raises(DataError, match="1001 messages"):
        decode_answers(forged)


def test_a_message_of_a_later_release_with_one_more_field_still_reads():
    tick = ClockTick(ts_init_ns=5)
    longer = [*msgspec.msgpack.decode(encode(tick)), "a field of a later release"]
    assert decode(msgspec.msgpack.encode(longer)) == tick

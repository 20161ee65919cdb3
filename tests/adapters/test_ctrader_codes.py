import pytest

from adapters.ctrader.codes import CODES, NextStep, maintenance_ends_ns, meaning_of, retry_after_s
from adapters.ctrader.messages import common, common_model, model, openapi
from tests.harness.ctrader_peer import common_error, error, order_error

# The reference's own classes (8.6), one letter a code; - is "treat as success".
REFERENCE = {
    "-": "ALREADY_LOGGED_IN CH_CLIENT_ALREADY_AUTHENTICATED ALREADY_SUBSCRIBED",
    "A": "CH_CLIENT_NOT_AUTHENTICATED",
    "T": "OA_AUTH_TOKEN_EXPIRED CH_ACCESS_TOKEN_INVALID",
    "L": "ACCOUNT_NOT_AUTHORIZED",
    "R": "UNKNOWN_ERROR TIMEOUT_ERROR CANT_ROUTE_REQUEST CONCURRENT_MODIFICATION CH_SERVER_NOT_REACHABLE "
    "POSITION_LOCKED SERVER_IS_UNDER_MAINTENANCE PENDING_EXECUTION",
    "W": "BLOCKED_PAYLOAD_TYPE CONNECTIONS_LIMIT_EXCEEDED REQUEST_FREQUENCY_EXCEEDED",
    "N": "ENTITY_NOT_FOUND POSITION_NOT_FOUND ORDER_NOT_FOUND POSITION_NOT_OPEN UNABLE_TO_CANCEL_ORDER "
    "UNABLE_TO_AMEND_ORDER POSITION_NOT_FOUND_OR_NOT_OPENED ALREADY_CLOSED",
    "B": "MARKET_CLOSED WORSE_GSL_NOT_ALLOWED SYMBOL_HAS_HOLIDAY CHANNEL_IS_BLOCKED NO_QUOTES NOT_ENOUGH_MONEY "
    "MAX_EXPOSURE_REACHED TOO_MANY_POSITIONS TRADING_BAD_VOLUME TRADING_BAD_STOPS TRADING_BAD_PRICES TRADING_BAD_STAKE "
    "PROTECTION_IS_TOO_CLOSE_TO_MARKET TRADING_BAD_EXPIRATION_DATE TRADING_DISABLED TRADING_NOT_ALLOWED "
    "SHORT_SELLING_NOT_ALLOWED NO_ENOUGH_MONEY_TO_OPEN_POSITION",
    "X": "UNSUPPORTED_MESSAGE INVALID_REQUEST FRAME_TOO_LONG RET_NO_SUCH_LOGIN INCORRECT_BOUNDARIES SYMBOL_NOT_FOUND "
    "RET_ACCOUNT_DISABLED CH_CLIENT_AUTH_FAILURE CH_CTID_TRADER_ACCOUNT_NOT_FOUND CH_OA_CLIENT_NOT_FOUND "
    "UNKNOWN_SYMBOL NOT_SUBSCRIBED_TO_SPOTS NOT_SUBSCRIBED_TO_PNL",
}
LETTERS = {
    "-": NextStep.TREAT_AS_DONE, "A": NextStep.AUTHORISE_APPLICATION, "T": NextStep.REFRESH_TOKEN,
    "L": NextStep.LOG_IN, "R": NextStep.RETRY_LATER, "W": NextStep.WAIT, "N": NextStep.LOOK_AGAIN,
    "B": NextStep.REPORT, "X": NextStep.CORRECT,
}  # fmt: skip


def test_every_code_of_the_reference_has_the_step_of_its_class():
    expected = {code: LETTERS[letter] for letter, codes in REFERENCE.items() for code in codes.split()}
    assert {code: meaning.next_step for code, meaning in CODES.items()} == expected
    assert all(meaning.why for meaning in CODES.values())


def test_every_code_of_the_bindings_is_in_the_table():
    assert {*common_model.ProtoErrorCode.keys(), *model.ProtoOAErrorCode.keys()} <= set(CODES)


def test_only_a_lost_server_or_a_code_nobody_knows_leaves_an_outcome_open():
    assert {code for code, meaning in CODES.items() if meaning.outcome_open} == {
        "TIMEOUT_ERROR",
        "UNKNOWN_ERROR",
        "CH_SERVER_NOT_REACHABLE",
    }
    assert meaning_of("BRAND_NEW").outcome_open
    assert meaning_of("").next_step is NextStep.REPORT


@pytest.mark.parametrize("text", ["Account is not authorized", "TRADING ACCOUNT NOT AUTHORISED"])
def test_an_invalid_request_that_speaks_of_authorisation_is_a_lost_login(text):
    assert meaning_of("INVALID_REQUEST", text).next_step is NextStep.LOG_IN
    assert meaning_of("INVALID_REQUEST", "nothing to amend").next_step is NextStep.CORRECT
    assert meaning_of("TRADING_BAD_STOPS", text).next_step is NextStep.REPORT


def test_the_hint_to_wait_is_read_although_the_bindings_do_not_know_it():
    assert "retryAfter" not in openapi.ProtoOAErrorRes.DESCRIPTOR.fields_by_name
    assert retry_after_s(error("BLOCKED_PAYLOAD_TYPE", retry_after=7)) == 7
    assert retry_after_s(error("BLOCKED_PAYLOAD_TYPE")) == 0
    assert retry_after_s(common_error("REQUEST_FREQUENCY_EXCEEDED")) == 0
    text = openapi.ProtoOAErrorRes.FromString(error("X").SerializeToString() + b"\x32\x01x")
    assert retry_after_s(text) == 0


@pytest.mark.parametrize(
    ("stamp", "ends_s"), [(1_700_000_000, 1_700_000_000), (1_700_000_000_000, 1_700_000_000), (0, 0)]
)
def test_the_end_of_maintenance_is_read_in_seconds_and_in_milliseconds(stamp, ends_s):
    for kind in (openapi.ProtoOAErrorRes, common.ProtoErrorRes):
        message = kind(errorCode="SERVER_IS_UNDER_MAINTENANCE", maintenanceEndTimestamp=stamp)
        assert maintenance_ends_ns(message) == round(ends_s * 1_000) * 1_000_000


def test_an_absurd_end_of_maintenance_is_none():
    for stamp in (2**63 - 1, -5):
        assert maintenance_ends_ns(openapi.ProtoOAErrorRes(errorCode="X", maintenanceEndTimestamp=stamp)) == 0
    assert maintenance_ends_ns(order_error("X")) == 0

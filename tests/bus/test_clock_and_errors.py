"""Clocks never go back; errors say what may be done next."""

import inspect

import pytest

from bus import errors
from bus.clock import ManualClock, SystemClock


def test_the_system_clock_never_goes_back(monkeypatch):
    readings = iter([100, 90, 95, 101, 101])
    monkeypatch.setattr("bus.clock.time.time_ns", lambda: next(readings))
    clock = SystemClock()
    assert [clock.now_ns() for _ in range(5)] == [100, 100, 100, 101, 101]


def test_the_system_clock_tells_nanoseconds_of_this_century():
    assert 1_500_000_000 * 10**9 < SystemClock().now_ns() < 4_000_000_000 * 10**9


def test_a_manual_clock_moves_only_when_told_and_only_forward():
    clock = ManualClock(5)
    assert clock.now_ns() == clock.now_ns() == 5
    clock.advance_to(9)
    clock.advance_to(7)
    assert clock.now_ns() == 9


def test_every_error_is_a_trading_error_and_in_the_documented_tree():
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]
    assert len(kinds) >= 11
    for kind in kinds:
        assert issubclass(kind, errors.TradingError)
        assert kind.__doc__
        assert kind.__name__ in errors.__doc__
        indented = f"\n    {kind.__name__}" in errors.__doc__
        assert indented == (issubclass(kind, errors.BrokerError) and kind is not errors.BrokerError)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (errors.Refused("NO_MONEY", "not enough"), "NO_MONEY: not enough"),
        (errors.Refused("NO_MONEY"), "NO_MONEY"),
        (errors.RateLimited(1.26), "rate limited; retry after 1.3 s"),
        (errors.OutcomeUnknown("r1-7"), "outcome of order r1-7 unknown; reconcile before anything else"),
        (errors.ProtocolError("theirs", "no length"), "protocol broken (theirs): no length"),
    ],
)
def test_errors_read_as_one_clear_line(error, text):
    assert str(error) == text


def test_errors_carry_what_a_program_needs():
    assert errors.Refused("A", "b").code == "A"
    assert errors.RateLimited(2).retry_after_s == 2
    assert errors.OutcomeUnknown("r1-7").client_order_id == "r1-7"
    assert errors.ProtocolError("ours", "x").whose == "ours"

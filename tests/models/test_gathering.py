"""Requests wait for one another briefly, never past a deadline, and never where there is nobody to wait for."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from models.gathering import Gathering
from tests.harness.markets import request_at
from tests.harness.trained import TRADE

SECOND = 10**9
HOUR = 3_600 * SECOND
BASE = request_at(TRADE, 350)
SYMBOLS = ("EURUSD", "GBPUSD", "USDJPY")


class Clocks:
    """A monotonic and a wall clock that pass together."""

    def __init__(self, wall_ns=0):
        self.passed_ns, self.wall_ns = 0, wall_ns

    def gathering(self, window_ns=1_000_000, markets=SYMBOLS):
        made = Gathering(window_ns, lambda: self.passed_ns, lambda: self.wall_ns + self.passed_ns)
        made.expect({(symbol, HOUR) for symbol in markets})
        return made


def asked(symbol="EURUSD", deadline_ns=SECOND, period_ns=HOUR):
    return replace(BASE, symbol=symbol, deadline_ns=deadline_ns, period_ns=period_ns)


def test_the_first_of_several_markets_waits_for_the_others_and_no_longer():
    clocks = Clocks()
    gathering = clocks.gathering()
    held = [asked("EURUSD")]
    assert gathering.patience_s(held) == 0.001
    clocks.passed_ns = 400_000
    held.append(asked("GBPUSD"))
    assert gathering.patience_s(held) == 0.0006
    held.append(asked("USDJPY"))
    assert gathering.patience_s(held) == 0
    gathering.begin()
    clocks.passed_ns = 5_000_000
    assert gathering.patience_s([asked("GBPUSD")]) == 0.001  # of the next bar: a window of its own


def test_who_is_alone_waits_for_nobody():
    assert Clocks().gathering(markets=("EURUSD",)).patience_s([asked()]) == 0
    assert Clocks().gathering(markets=()).patience_s([asked()]) == 0
    assert Clocks().gathering(window_ns=0).patience_s([asked()]) == 0
    assert Clocks().gathering().patience_s([]) == 0
    # bars of other lengths close at other times
    assert Clocks().gathering().patience_s([asked(period_ns=60 * SECOND)]) == 0


def test_simulated_time_never_waits():
    assert Clocks(wall_ns=2 * SECOND).gathering().patience_s([asked()]) == 0


@given(
    st.integers(0, 20_000_000),
    st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(1, 40_000_000)), min_size=1, max_size=6),
)
def test_nobody_is_held_beyond_the_window_or_half_of_what_was_left_until_a_deadline(window_ns, arrivals):
    clocks = Clocks()
    gathering = clocks.gathering(window_ns, markets=("never asks", *SYMBOLS))
    held, must_ns = [], None
    for after_ns, until_deadline_ns in arrivals:
        due_ns = clocks.passed_ns + gathering.patience_s(held) * 1e9 if held else None
        if due_ns is not None and due_ns <= clocks.passed_ns + after_ns:
            break  # those held are answered before this one comes
        clocks.passed_ns += after_ns
        held.append(asked(deadline_ns=clocks.passed_ns + until_deadline_ns))
        must_ns = min(clocks.passed_ns + min(window_ns, until_deadline_ns // 2), must_ns or 2**60)
        assert clocks.passed_ns + gathering.patience_s(held) * 1e9 <= max(must_ns, clocks.passed_ns) + 1
        assert clocks.passed_ns + gathering.patience_s(held) * 1e9 <= min(one.deadline_ns for one in held)

"""Named patterns: their geometry, and silence where it is not met."""

import numpy as np
import pytest

from models.columns import Columns
from models.patterns import DETECTORS, MINIMUM_CONFIDENCE, RANGE, engulfing, inside_bar, look, pin_bar, three_in_a_row
from tests.harness.markets import made_up_bars, replaced_after, request_at

QUIET = [(1000, 1050, 950, 1000)] * (RANGE + 2)


def market(*candles):
    rows = np.array([*QUIET, *candles], np.int64)
    return Columns(
        period_ns=60,
        ts_open_ns=np.arange(len(rows)) * 60,
        open_e5=rows[:, 0],
        high_e5=rows[:, 1],
        low_e5=rows[:, 2],
        close_e5=rows[:, 3],
        spread_e5=rows[:, 0] * 0,
        quotes=rows[:, 0] * 0,
    )


@pytest.mark.parametrize(
    ("detector", "candles", "name"),
    [
        (engulfing, [(1010, 1020, 980, 990), (985, 1110, 980, 1100)], "bullish_engulfing"),
        (engulfing, [(990, 1020, 980, 1010), (1015, 1020, 880, 890)], "bearish_engulfing"),
        (pin_bar, [(1000, 1010, 960, 1000), (1000, 1005, 890, 1003)], "bullish_pin_bar"),
        (pin_bar, [(1000, 1010, 960, 1000), (1000, 1120, 995, 998)], "bearish_pin_bar"),
        (inside_bar, [(1000, 1100, 900, 1050), (1010, 1030, 1000, 1020)], "inside_bar"),
        (three_in_a_row, [(1000, 1075, 995, 1070), (1070, 1145, 1065, 1140), (1140, 1215, 1138, 1210)],
         "three_white_soldiers"),
        (three_in_a_row, [(1000, 1005, 925, 930), (930, 935, 855, 860), (860, 862, 785, 790)], "three_black_crows"),
    ],
)  # fmt: skip
def test_a_textbook_pattern_is_seen_with_confidence_and_in_both_directions(detector, candles, name):
    sighting = detector(market(*candles))
    assert sighting.name == name
    assert MINIMUM_CONFIDENCE <= sighting.confidence <= 1
    assert sighting.candles[0] == 0


@pytest.mark.parametrize(
    ("detector", "candles"),
    [
        (engulfing, [(1010, 1020, 980, 990), (995, 1110, 980, 1100)]),  # opens within the body before
        (engulfing, [(990, 1020, 980, 1010), (985, 1110, 980, 1100)]),  # same direction
        (engulfing, [(1000, 1020, 980, 1000), (985, 1110, 980, 1100)]),  # nothing to cover
        (pin_bar, [(1000, 1010, 850, 1000), (1000, 1005, 890, 1003)]),  # no lower low
        (pin_bar, [(1000, 1010, 960, 1000), (1000, 1050, 890, 1003)]),  # two wicks
        (inside_bar, [(1000, 1100, 900, 1050), (1010, 1100, 1000, 1020)]),  # touches the mother's high
        (three_in_a_row, [(1000, 1075, 995, 1070), (1070, 1145, 1065, 1140), (1140, 1215, 1000, 1150)]),
        (three_in_a_row, [(1000, 1075, 995, 1070), (1000, 1075, 995, 1070), (1140, 1215, 1138, 1210)]),
    ],
)
def test_what_misses_the_geometry_is_not_seen(detector, candles):
    assert detector(market(*candles)) is None


@pytest.mark.parametrize("detector", DETECTORS)
def test_too_few_bars_or_a_market_that_stands_still_show_nothing(detector):
    assert detector(market().tail(3)) is None
    flat = market()
    still = np.full(len(flat), 1000)
    assert (
        detector(
            Columns(
                period_ns=60,
                ts_open_ns=flat.ts_open_ns,
                open_e5=still,
                high_e5=still,
                low_e5=still,
                close_e5=still,
                spread_e5=still * 0,
                quotes=still * 0,
            )
        )
        is None
    )


def test_patterns_come_as_messages_with_confidence_in_millionths_and_ignore_the_future():
    from models.columns import from_request

    bars = made_up_bars(400, 8)
    seen = 0
    for row in range(30, 399):
        request = request_at(bars, row, bars=40)
        found = look(request, from_request(request))
        if row % 20 == 0:
            other = request_at(replaced_after(bars, row, 5), row, bars=40)
            assert look(other, from_request(other)) == found
        for pattern in found:
            seen += 1
            assert MINIMUM_CONFIDENCE * 1e6 <= pattern.error_ppm <= 1_000_000
            assert pattern.percentile == pytest.approx(pattern.error_ppm / 1e4, abs=1e-3)
            assert (pattern.request_id, pattern.as_of_ns) == (request.request_id, request.as_of_ns)
    assert 10 < seen < 369

"""Named chart patterns: pure rules over the newest candles, each with its geometry and a confidence from 0 to 1.

Theory of operation. A detector looks at the last few closed candles, in exact integers, and measures them against the
average true range of the RANGE candles before the pattern (the context), so that a pattern in a quiet night is not
louder than one in a busy day. Confidence grows from 0 at the edge of the definition to 1 where the geometry is as clear
as the docstring says; what stays below MINIMUM_CONFIDENCE is not told. Confidence is a statement about shape, not
about what comes after it.

Adding a pattern is one function here and one entry in DETECTORS.
"""

from itertools import pairwise

from bus.messages import ForecastRequested, PatternSeen
from models.columns import Columns
from models.contract import Detector, Sighting

MODEL_ID = "pattern-rules"
MINIMUM_CONFIDENCE = 0.5
RANGE = 14

_Candle = tuple[int, int, int, int]


def engulfing(columns: Columns) -> Sighting | None:
    """The newest body covers the body of an opposite candle before it.

    Confidence: the covering body in average true ranges (1 or more counts 1), half of it lost where the covered body
    is as large as the covering one.
    """
    context = _context(columns, 2)
    if context is None:
        return None
    (before, last), average = context
    body, covered = last[3] - last[0], before[3] - before[0]
    if body * covered >= 0 or max(last[0], last[3]) < max(before[0], before[3]):
        return None
    if min(last[0], last[3]) > min(before[0], before[3]):
        return None
    size = min(1.0, abs(body) / average)
    name = "bullish_engulfing" if body > 0 else "bearish_engulfing"
    return Sighting(name=name, confidence=size * (1.0 - 0.5 * abs(covered) / abs(body)), candles=(0, 1))


def pin_bar(columns: Columns) -> Sighting | None:
    """One long wick that reaches beyond the candle before, with a small body at the other end.

    The wick is at least two thirds of the candle, the other wick at most a sixth. A long lower wick with a lower low is
    bullish. Confidence: wick share from 2/3 (0.5) to 1 (1), times the candle in average true ranges (up to 1).
    """
    context = _context(columns, 2)
    if context is None:
        return None
    (before, (opening, high, low, close)), average = context
    span = high - low
    if span <= 0:
        return None
    upper, lower = high - max(opening, close), min(opening, close) - low
    wick, other = max(upper, lower), min(upper, lower)
    bullish = lower > upper
    reaches = low < before[2] if bullish else high > before[1]
    if 3 * wick < 2 * span or 6 * other > span or not reaches:
        return None
    clarity = 0.5 + 1.5 * (wick / span - 2.0 / 3.0)
    name = "bullish_pin_bar" if bullish else "bearish_pin_bar"
    return Sighting(name=name, confidence=clarity * min(1.0, span / average), candles=(0,))


def inside_bar(columns: Columns) -> Sighting | None:
    """The newest candle lies strictly within the one before (the mother), which is no small one.

    Confidence: how much smaller it is (1 - its range / the mother's), times the mother's range in average true ranges
    (up to 1).
    """
    context = _context(columns, 2)
    if context is None:
        return None
    (mother, last), average = context
    if not (mother[2] < last[2] and last[1] < mother[1]):
        return None
    span = mother[1] - mother[2]
    confidence = (1.0 - (last[1] - last[2]) / span) * min(1.0, span / average)
    return Sighting(name="inside_bar", confidence=confidence, candles=(0, 1))


def three_in_a_row(columns: Columns) -> Sighting | None:
    """Three soldiers or crows: three candles one way, each closing beyond the last, bodies over half the range.

    Confidence: the run from first open to last close in units of two average true ranges (up to 1).
    """
    context = _context(columns, 3)
    if context is None:
        return None
    candles, average = context
    sign = 1 if candles[2][3] > candles[0][0] else -1
    for index, (opening, high, low, close) in enumerate(candles):
        if 2 * sign * (close - opening) <= high - low or (index and sign * (close - candles[index - 1][3]) <= 0):
            return None
    run = sign * (candles[2][3] - candles[0][0])
    name = "three_white_soldiers" if sign > 0 else "three_black_crows"
    return Sighting(name=name, confidence=min(1.0, run / (2.0 * average)), candles=(0, 1, 2))


DETECTORS: tuple[Detector, ...] = (engulfing, pin_bar, inside_bar, three_in_a_row)


def look(request: ForecastRequested, columns: Columns) -> list[PatternSeen]:
    """Every named pattern in the newest candles of a request, as messages.

    `error_ppm` carries the confidence in millionths, `threshold_ppm` the least that is told, `percentile` the
    confidence in percent.
    """
    seen: list[PatternSeen] = []
    for detect in DETECTORS:
        sighting = detect(columns)
        if sighting is None or sighting.confidence < MINIMUM_CONFIDENCE:
            continue
        seen.append(
            PatternSeen(
                request_id=request.request_id,
                symbol=request.symbol,
                pattern=sighting.name,
                model_id=MODEL_ID,
                as_of_ns=request.as_of_ns,
                error_ppm=round(sighting.confidence * 1_000_000),
                threshold_ppm=round(MINIMUM_CONFIDENCE * 1_000_000),
                percentile=round(sighting.confidence * 100.0, 4),
                candles=sighting.candles,
                ts_init_ns=request.as_of_ns,
            )
        )
    return seen


def _context(columns: Columns, count: int) -> tuple[list[_Candle], float] | None:
    """The newest `count` candles as (open, high, low, close), oldest first, and the average true range before them.

    None where there are too few bars or the market stood still.
    """
    tail = columns.tail(RANGE + count + 1)
    if len(tail) < RANGE + count + 1:
        return None
    candles: list[_Candle] = list(
        zip(tail.open_e5.tolist(), tail.high_e5.tolist(), tail.low_e5.tolist(), tail.close_e5.tolist(), strict=True)
    )
    total = sum(
        max(candle[1], before[3]) - min(candle[2], before[3]) for before, candle in pairwise(candles[: RANGE + 1])
    )
    return (candles[-count:], total / RANGE) if total > 0 else None

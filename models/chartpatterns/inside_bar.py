"""Inside bars: a pause within the candle before."""

from models.chart import Chart, grade, least
from models.contract import Pattern, Sighting


def inside_bar(chart: Chart) -> Sighting | None:
    """The newest candle lies strictly within the one before (the mother), which is no small one.

    Geometry (A = ATR before the two candles; span = high - low):
        mother's low < low, high < mother's high
        mother's span >= 0.8 A        ideal 1.6
        span <= 0.75 mother's span    ideal 0.3

    Confidence: the least of the two graded inequalities. It has no direction.
    """
    last = chart.last
    average = chart.atr(last - 2)
    if average <= 0.0:
        return None
    high, low, top, bottom = chart.highs[last], chart.lows[last], chart.highs[last - 1], chart.lows[last - 1]
    if not (bottom < low and high < top):
        return None
    confidence = least((grade((top - bottom) / average, 0.8, 1.6), grade((high - low) / (top - bottom), 0.75, 0.3)))
    return None if confidence is None else Sighting(confidence=confidence, bars=(last, last - 1))


PATTERNS = (Pattern(detect=inside_bar, bullish="inside_bar", bearish=""),)

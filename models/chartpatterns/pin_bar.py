"""Pin bars: a long wick that the market has left again."""

from models.chart import Chart, grade, least
from models.contract import Pattern, Sighting


def pin_bar(chart: Chart) -> Sighting | None:
    """A long lower wick below the low before, with the body at the upper end.

    Geometry (A = ATR before the candle; span = its high - low; wicks are beyond the body):
        low < the low of the candle before
        span >= 0.8 A                 ideal 1.6
        lower wick >= 2/3 span        ideal 0.85
        upper wick <= 1/6 span        ideal 0.05

    Confidence: the least of the three graded inequalities.
    """
    last = chart.last
    average = chart.atr(last - 1)
    if average <= 0.0:
        return None
    high, low = chart.highs[last], chart.lows[last]
    span = high - low
    if span <= 0 or low >= chart.lows[last - 1]:
        return None
    opening, close = chart.opens[last], chart.closes[last]
    confidence = least(
        (
            grade(span / average, 0.8, 1.6),
            grade((min(opening, close) - low) / span, 2.0 / 3.0, 0.85),
            grade((high - max(opening, close)) / span, 1.0 / 6.0, 0.05),
        )
    )
    return None if confidence is None else Sighting(confidence=confidence, bars=(last,))


PATTERNS = (Pattern(detect=pin_bar, bullish="bullish_pin_bar", bearish="bearish_pin_bar"),)

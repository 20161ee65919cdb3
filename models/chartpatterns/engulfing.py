"""Engulfing candles."""

from models.chart import Chart, grade, least
from models.contract import Pattern, Sighting


def engulfing(chart: Chart) -> Sighting | None:
    """A rising body covers the falling body before it.

    Geometry (A = ATR before the two candles; O, C = open, close of the newest, o, c = of the one before):
        C > O, c < o
        C >= o
        O - c <= 0.1 A                ideal 0: a market that does not jump opens where it has closed
        C - O >= 0.6 A                ideal 1.2
        o - c >= 0.1 A                ideal 0.3
        C - O >= 1.1 (o - c)          ideal 2

    Confidence: the least of the graded inequalities.
    """
    last = chart.last
    average = chart.atr(last - 2)
    if average <= 0.0:
        return None
    body, covered = chart.closes[last] - chart.opens[last], chart.opens[last - 1] - chart.closes[last - 1]
    if body <= 0 or covered <= 0 or chart.closes[last] < chart.opens[last - 1]:
        return None
    confidence = least(
        (
            grade((chart.opens[last] - chart.closes[last - 1]) / average, 0.1, 0.0),
            grade(body / average, 0.6, 1.2),
            grade(covered / average, 0.1, 0.3),
            grade(body / covered, 1.1, 2.0),
        )
    )
    return None if confidence is None else Sighting(confidence=confidence, bars=(last, last - 1))


PATTERNS = (Pattern(detect=engulfing, bullish="bullish_engulfing", bearish="bearish_engulfing"),)

"""Breakouts of a range with volume."""

from models.chart import Chart, grade, least
from models.contract import Pattern, Sighting

BOX = 24
QUIET = 12


def range_breakout(chart: Chart) -> Sighting | None:
    """A close above a flat range that had held for 24 bars, with more price updates than the range had.

    Geometry (the range = the 24 bars before the newest, high and low their extremes, h = high - low; A = mean true
    range of the range; volume = price updates in a bar, known and so above 0 in every one):
        close - high >= 0.25 A                        ideal 1
        volume >= 1.5 times the range's mean volume   ideal 3
        h <= 4 A                                      ideal 2.5
        the extremes of the older 12 bars and those of the newer differ by <= 0.45 h on each side, ideal 0.3
        the last 12 bars of the range closed <= 0.15 A above the bars of the range before each of them, ideal 0

    Confidence: the least of the graded inequalities. Where volume is not told, or always the same, there is none.
    The last inequality keeps one breakout from being told twice.
    """
    last = chart.last
    first = last - BOX
    if first < 1:
        return None
    high = max(chart.highs[first:last])
    if chart.closes[last] <= high:
        return None
    low, volumes, average = min(chart.lows[first:last]), chart.quotes[first:last], chart.mean_range(first, last - 1)
    if high == low or min(volumes) <= 0:
        return None
    middle = first + BOX // 2
    tops = abs(max(chart.highs[first:middle]) - max(chart.highs[middle:last]))
    bottoms = abs(min(chart.lows[first:middle]) - min(chart.lows[middle:last]))
    confidence = least(
        (
            grade((chart.closes[last] - high) / average, 0.25, 1.0),
            grade(chart.quotes[last] * BOX / sum(volumes), 1.5, 3.0),
            grade((high - low) / average, 4.0, 2.5),
            grade(max(tops, bottoms) / (high - low), 0.45, 0.3),
            grade(_farthest_stray(chart, first, last) / average, 0.15, 0.0),
        )
    )
    return None if confidence is None else Sighting(confidence=confidence, bars=(last, last - 1, first))


def _farthest_stray(chart: Chart, first: int, last: int) -> int:
    """How far a close of the newest bars of the range lay above all bars of the range before it, at most."""
    highest = max(chart.highs[first : last - QUIET])
    farthest = chart.closes[last - QUIET] - highest
    for bar in range(last - QUIET, last):
        farthest = max(farthest, chart.closes[bar] - highest)
        highest = max(highest, chart.highs[bar])
    return farthest


PATTERNS = (Pattern(detect=range_breakout, bullish="range_breakout_up", bearish="range_breakout_down"),)

"""Three soldiers and three crows."""

from models.chart import Chart, grade, least
from models.contract import Pattern, Sighting


def three_in_a_row(chart: Chart) -> Sighting | None:
    """Three rising candles, each closing above the last, with bodies that fill them.

    Geometry (A = ATR before the three candles; body = close - open, span = high - low):
        each body >= 0.3 A            ideal 0.6
        each body >= 1/2 span         ideal 0.8
        each close > the close before
        last close - first open >= 1.5 A, ideal 3
        the candle before the three breaks one of the first two: the run starts with the first of the three

    Confidence: the least of the graded inequalities. Told at the third candle; a fourth does not tell it again.
    """
    last = chart.last
    first = last - 2
    average = chart.atr(first - 1)
    if average <= 0.0 or least(_fullness(chart, first - 1, average)) is not None:
        return None
    if not chart.closes[first - 1] < chart.closes[first] < chart.closes[first + 1] < chart.closes[last]:
        return None
    confidence = least(
        (
            *(each for bar in range(first, last + 1) for each in _fullness(chart, bar, average)),
            grade((chart.closes[last] - chart.opens[first]) / average, 1.5, 3.0),
        )
    )
    return None if confidence is None else Sighting(confidence=confidence, bars=(last, last - 1, first))


def _fullness(chart: Chart, bar: int, average: float) -> tuple[float, float]:
    body, span = chart.closes[bar] - chart.opens[bar], chart.highs[bar] - chart.lows[bar]
    return grade(body / average, 0.3, 0.6), grade(body / span if span else 0.0, 0.5, 0.8)


PATTERNS = (Pattern(detect=three_in_a_row, bullish="three_white_soldiers", bearish="three_black_crows"),)

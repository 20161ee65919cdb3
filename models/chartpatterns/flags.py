"""Flags: a pole, a pause that leans against it, and the way on."""

from models.chart import Chart, grade, least
from models.contract import Pattern, Sighting

POLE = 14
SHORTEST, LONGEST = 5, 20


def flag(chart: Chart) -> Sighting | None:
    """A steep rise (the pole), a small channel after it that does not follow it, and a close above the channel.

    Geometry (T = the pole's tip, B = its foot = the lowest of the 14 bars before T; p = high of T - low of B; A = ATR
    at B; the flag = the bars after T and before the newest; its channel runs along the least-squares line of its
    closes, up to the farthest high and down to the farthest low):
        T is the highest of all bars from 20 before it to the one before the newest (of equal ones the first)
        5 to 20 bars in the flag
        p >= 4.5 A                                    ideal 6.5
        high of T - lowest low of the flag <= 0.55 p  ideal 0.35
        slope of the channel <= 0.01 p a bar and >= -0.05 p a bar, ideal -0.005 p and -0.035 p
        height of the channel <= 0.45 p               ideal 0.25
        close - upper line >= 0.2 A                   ideal 0.8
        no bar since T has fulfilled all this before

    Confidence: the least of the graded inequalities.
    """
    last = chart.last
    if last < LONGEST + SHORTEST + 2 or chart.closes[last] <= chart.closes[last - 1]:
        return None
    start = last - LONGEST - 1
    highs = chart.highs[start:last]
    tip = start + highs.index(max(highs))
    if last - tip - 1 < SHORTEST or tip < LONGEST or max(chart.highs[tip - LONGEST : tip]) >= chart.highs[tip]:
        return None
    confidence = _judge(chart, tip, last)
    if confidence is None or any(_judge(chart, tip, bar) is not None for bar in range(tip + 1 + SHORTEST, last)):
        return None
    return Sighting(confidence=confidence, bars=(last, tip, _foot(chart, tip)))


def _foot(chart: Chart, tip: int) -> int:
    lows = chart.lows[tip - POLE : tip]
    return tip - POLE + lows.index(min(lows))


def _judge(chart: Chart, tip: int, bar: int) -> float | None:
    """The confidence of the flag from `tip` that `bar` completes; None where it completes none."""
    if chart.closes[bar] <= chart.closes[bar - 1]:
        return None
    foot = _foot(chart, tip)
    average, pole = chart.atr(foot), chart.highs[tip] - chart.lows[foot]
    if average <= 0.0 or pole < average:
        return None
    slope, level, above, below = _channel(chart, tip, bar)
    lean = slope / pole
    return least(
        (
            grade(pole / average, 4.5, 6.5),
            grade((chart.highs[tip] - min(chart.lows[tip + 1 : bar])) / pole, 0.55, 0.35),
            grade(lean, 0.01, -0.005),
            grade(lean, -0.05, -0.035),
            grade((above + below) / pole, 0.45, 0.25),
            grade((chart.closes[bar] - (level + slope * (bar - tip) + above)) / average, 0.2, 0.8),
        )
    )


def _channel(chart: Chart, tip: int, stop: int) -> tuple[float, float, float, float]:
    """The flag's channel: slope a bar, level at `tip`, how far it reaches above and below its line."""
    # measured from the tip, where nothing that depends on the price level is left to round
    origin = chart.highs[tip]
    closes = [close - origin for close in chart.closes[tip + 1 : stop]]
    n = len(closes)
    middle = (n + 1) / 2
    slope = sum((x - middle) * close for x, close in enumerate(closes, 1)) * 12 / (n * (n * n - 1))
    level = sum(closes) / n - slope * middle
    line = [origin + level + slope * x for x in range(1, n + 1)]
    above = max(high - value for high, value in zip(chart.highs[tip + 1 : stop], line, strict=True))
    below = max(value - low for low, value in zip(chart.lows[tip + 1 : stop], line, strict=True))
    return slope, origin + level, above, below


PATTERNS = (Pattern(detect=flag, bullish="bull_flag", bearish="bear_flag"),)

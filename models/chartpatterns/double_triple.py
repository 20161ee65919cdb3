"""Double and triple bottoms and, mirrored, tops."""

from models.chart import Chart, grade, least
from models.chartpatterns._breaking import Line, breaks_out, evenness, swings
from models.contract import Pattern, Sighting


def double_bottom(chart: Chart) -> Sighting | None:
    """Two bottoms at one level after a fall, and a close above the top between them (the neck).

    Geometry (pivots P, 1, N, 2 = top, bottom, top, bottom; A = mean true range from 1 to 2;
    h = neck - mean of the bottoms):
        h >= 3 A                                      ideal 5
        |bottom 1 - bottom 2| <= 0.25 h               ideal 0.05
        P - neck >= 0.3 h: the fall came from above   ideal 1
        shorter leg >= 0.25 of the longer (bars)      ideal 0.7
        bars from 2 to the close <= those from 1 to 2, ideal 1/2
        close > neck, for the first time since 2 has been known

    Confidence: the least of the graded inequalities.
    """
    pivots = swings(chart, 4)
    if pivots is None:
        return None
    before, first, neck, second = pivots
    if not breaks_out(chart, second, Line(neck.bar, neck.price)):
        return None
    height = neck.price - (first.price + second.price) / 2
    average = chart.mean_range(first.bar, second.bar)
    confidence = least(
        (
            grade(height / average, 3.0, 5.0),
            grade(abs(first.price - second.price) / height, 0.25, 0.05),
            grade((before.price - neck.price) / height, 0.3, 1.0),
            grade(evenness(neck.bar - first.bar, second.bar - neck.bar), 0.25, 0.7),
            grade((chart.last - second.bar) / (second.bar - first.bar), 1.0, 0.5),
        )
    )
    if confidence is None:
        return None
    return Sighting(confidence=confidence, bars=(chart.last, second.bar, neck.bar, first.bar))


def triple_bottom(chart: Chart) -> Sighting | None:
    """Three bottoms at one level after a fall, and a close above both tops between them.

    Geometry (pivots P, 1, N, 2, M, 3 = top, bottom, top, bottom, top, bottom; neck = the higher of N and M;
    A = mean true range from 1 to 3; h = neck - mean of the bottoms):
        h >= 3 A                                      ideal 5
        highest bottom - lowest bottom <= 0.25 h      ideal 0.05
        |N - M| <= 0.3 h                              ideal 0.1
        P - neck >= 0.3 h: the fall came from above   ideal 1
        bars from 1 to 2 and from 2 to 3: shorter >= 0.3 of the longer, ideal 0.7
        bars from 3 to the close <= 1/2 of those from 1 to 3, ideal 1/4
        close > neck, for the first time since 3 has been known

    Confidence: the least of the graded inequalities.
    """
    pivots = swings(chart, 6)
    if pivots is None:
        return None
    before, first, left, second, right, third = pivots
    neck = max(left.price, right.price)
    if not breaks_out(chart, third, Line(left.bar, neck)):
        return None
    bottoms = (first.price, second.price, third.price)
    height = neck - sum(bottoms) / 3
    average = chart.mean_range(first.bar, third.bar)
    confidence = least(
        (
            grade(height / average, 3.0, 5.0),
            grade((max(bottoms) - min(bottoms)) / height, 0.25, 0.05),
            grade(abs(left.price - right.price) / height, 0.3, 0.1),
            grade((before.price - neck) / height, 0.3, 1.0),
            grade(evenness(second.bar - first.bar, third.bar - second.bar), 0.3, 0.7),
            grade((chart.last - third.bar) / (third.bar - first.bar), 0.5, 0.25),
        )
    )
    if confidence is None:
        return None
    bars = (chart.last, third.bar, right.bar, second.bar, left.bar, first.bar)
    return Sighting(confidence=confidence, bars=bars)


PATTERNS = (
    Pattern(detect=double_bottom, bullish="double_bottom", bearish="double_top"),
    Pattern(detect=triple_bottom, bullish="triple_bottom", bearish="triple_top"),
)

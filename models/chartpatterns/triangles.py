"""Triangles: ascending and, mirrored, descending; symmetrical ones that break out upwards or, mirrored, downwards."""

from models.chart import Chart, grade, least
from models.chartpatterns._breaking import Line, breaks_out, evenness, swings
from models.contract import Pattern, Sighting


def ascending_triangle(chart: Chart) -> Sighting | None:
    """Two tops at one level over two rising bottoms, and a close above the tops.

    Geometry (pivots N, 1, M, 2 = top, bottom, top, bottom; h = mean of the tops - bottom 1; A = mean true range from N
    to 2):
        h >= 4 A                                      ideal 6
        |N - M| <= 0.2 h                              ideal 0.05
        bottom 2 - bottom 1 >= 0.25 h and <= 0.75 h   ideal 0.4 and 0.6
        bars from N to M and from 1 to 2: shorter >= 0.3 of the longer, ideal 0.7
        bars from 2 to the close <= those from N to M, ideal 1/2
        close > both tops, for the first time since 2 has been known

    Confidence: the least of the graded inequalities.
    """
    pivots = swings(chart, 4)
    if pivots is None:
        return None
    left, first, right, second = pivots
    level = max(left.price, right.price)
    if not breaks_out(chart, second, Line(left.bar, level)):
        return None
    height = (left.price + right.price) / 2 - first.price
    average = chart.mean_range(left.bar, second.bar)
    rise = (second.price - first.price) / height
    confidence = least(
        (
            grade(height / average, 4.0, 6.0),
            grade(abs(left.price - right.price) / height, 0.2, 0.05),
            grade(rise, 0.25, 0.4),
            grade(rise, 0.75, 0.6),
            grade(evenness(right.bar - left.bar, second.bar - first.bar), 0.3, 0.7),
            grade((chart.last - second.bar) / (right.bar - left.bar), 1.0, 0.5),
        )
    )
    if confidence is None:
        return None
    bars = (chart.last, second.bar, right.bar, first.bar, left.bar)
    return Sighting(confidence=confidence, bars=bars)


def symmetrical_triangle(chart: Chart) -> Sighting | None:
    """A falling top over a rising bottom, and a close above the line through the tops before the lines meet.

    Geometry (pivots N, 1, M, 2 = top, bottom, top, bottom; h = N - bottom 1; A = mean true range from N to 2; the upper
    line runs through N and M, the lower one through 1 and 2; the apex is where they meet):
        h >= 4 A                                      ideal 6
        N - M >= 0.12 h, bottom 2 - bottom 1 >= 0.12 h, ideal 0.22
        N - M <= 0.6 h, bottom 2 - bottom 1 <= 0.6 h, ideal 0.45
        flatter line >= 0.25 of the steeper one's slope, ideal 0.7
        bars from N to M and from 1 to 2: shorter >= 0.3 of the longer, ideal 0.7
        bars from N to the close <= those from N to the apex, ideal 0.8 of them
        close > upper line, for the first time since 2 has been known

    Confidence: the least of the graded inequalities.
    """
    pivots = swings(chart, 4)
    if pivots is None:
        return None
    left, first, right, second = pivots
    fall, rise = left.price - right.price, second.price - first.price
    if fall <= 0 or rise <= 0:
        return None
    if not breaks_out(chart, second, Line.through(left, right)):
        return None
    down, up = fall / (right.bar - left.bar), rise / (second.bar - first.bar)
    height = left.price - first.price
    average = chart.mean_range(left.bar, second.bar)
    # the lower line at the bar of N lies that far below it, and both lines close the gap together
    to_apex = (height + up * (first.bar - left.bar)) / (down + up)
    confidence = least(
        (
            grade(height / average, 4.0, 6.0),
            grade(min(fall, rise) / height, 0.12, 0.22),
            grade(max(fall, rise) / height, 0.6, 0.45),
            grade(min(down, up) / max(down, up), 0.25, 0.7),
            grade(evenness(right.bar - left.bar, second.bar - first.bar), 0.3, 0.7),
            grade((chart.last - left.bar) / to_apex, 1.0, 0.8),
        )
    )
    if confidence is None:
        return None
    bars = (chart.last, second.bar, right.bar, first.bar, left.bar)
    return Sighting(confidence=confidence, bars=bars)


PATTERNS = (
    Pattern(detect=ascending_triangle, bullish="ascending_triangle", bearish="descending_triangle"),
    Pattern(detect=symmetrical_triangle, bullish="symmetrical_triangle", bearish="symmetrical_triangle"),
)

"""Head and shoulders and, the other way up, the inverse."""

from models.chart import Chart, grade, least
from models.chartpatterns._breaking import Line, breaks_out, evenness, swings
from models.contract import Pattern, Sighting


def inverse_head_and_shoulders(chart: Chart) -> Sighting | None:
    """Three bottoms after a fall, the middle one deepest, and a close above the line through the tops between them.

    Geometry (pivots P, S, N, H, M, R = top, left shoulder, top, head, top, right shoulder; neck(t) = line through N and
    M at bar t; h = neck - price at H; l, r = neck - price at S and at R; A = mean true range from S to R):
        h >= 4 A                                      ideal 6
        l >= 0.2 h and r >= 0.2 h                     ideal 0.4
        h - l >= 0.2 h and h - r >= 0.2 h             ideal 0.35
        |l - r| <= 0.35 h                             ideal 0.1
        |N - M| <= 0.35 h                             ideal 0.1
        P - N >= 0.2 h: the fall came from above      ideal 0.6
        bars from S to H and from H to R: shorter >= 0.3 of the longer, ideal 0.7
        bars from R to the close <= 3/4 of those from S to R, ideal 3/8
        close > neck, for the first time since R has been known

    Confidence: the least of the graded inequalities.
    """
    pivots = swings(chart, 6)
    if pivots is None:
        return None
    before, shoulder, left_top, head, right_top, right = pivots
    neck = Line.through(left_top, right_top)
    if not breaks_out(chart, right, neck):
        return None
    height = neck.at(head.bar) - head.price
    average = chart.mean_range(shoulder.bar, right.bar)
    if height < average:
        return None
    left_depth, right_depth = ((neck.at(one.bar) - one.price) / height for one in (shoulder, right))
    confidence = least(
        (
            grade(height / average, 4.0, 6.0),
            grade(min(left_depth, right_depth), 0.2, 0.4),
            grade(1.0 - max(left_depth, right_depth), 0.2, 0.35),
            grade(abs(left_depth - right_depth), 0.35, 0.1),
            grade(abs(left_top.price - right_top.price) / height, 0.35, 0.1),
            grade((before.price - left_top.price) / height, 0.2, 0.6),
            grade(evenness(head.bar - shoulder.bar, right.bar - head.bar), 0.3, 0.7),
            grade((chart.last - right.bar) / (right.bar - shoulder.bar), 0.75, 0.375),
        )
    )
    if confidence is None:
        return None
    bars = (chart.last, right.bar, right_top.bar, head.bar, left_top.bar, shoulder.bar)
    return Sighting(confidence=confidence, bars=bars)


PATTERNS = (
    Pattern(detect=inverse_head_and_shoulders, bullish="inverse_head_and_shoulders", bearish="head_and_shoulders"),
)

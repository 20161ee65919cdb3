"""What formations made of swings have in common: a run of pivots that ends in a bottom, and a close that breaks out."""

from typing import NamedTuple

from models.chart import Chart
from models.pivots import Pivot


def swings(chart: Chart, count: int) -> tuple[Pivot, ...] | None:
    """The newest `count` known pivots, oldest first, where the newest is a bottom; None where there are not as many."""
    pivots = chart.pivots
    if len(pivots) < count or pivots[-1].top:
        return None
    return pivots[-count:]


class Line(NamedTuple):
    """A straight line through one pivot, level or through a second one. Comparisons are exact integers."""

    start: int
    price: int
    run: int = 1
    rise: int = 0

    @classmethod
    def through(cls, one: Pivot, other: Pivot) -> "Line":
        """The line through two pivots, `one` before `other`."""
        return cls(one.bar, one.price, other.bar - one.bar, other.price - one.price)

    def at(self, bar: int) -> float:
        """Its price at a bar."""
        return self.price + self.rise * (bar - self.start) / self.run

    def below(self, price: int, bar: int) -> bool:
        """Whether it runs below `price` at a bar."""
        return (price - self.price) * self.run > self.rise * (bar - self.start)


def breaks_out(chart: Chart, bottom: Pivot, neck: Line) -> bool:
    """Whether the newest bar is the first to close above `neck` since `bottom` has been known.

    So a formation completes once: at the first bar at whose close both its last pivot is known and the price is
    through the line.
    """
    closes, last = chart.closes, chart.last
    if not neck.below(closes[last], last):
        return False
    return not any(neck.below(closes[bar], bar) for bar in range(bottom.known, last))


def evenness(*spans: int) -> float:
    """The shortest of some spans over the longest, 0 to 1: how evenly a formation is spread over time."""
    return min(spans) / max(spans)
